// Package notify writes the mails that tell owners about their accounts.
//
// [auth.Notice] says what happened, this package puts it into words and sends it.
// A code goes to the contact address outside; everything else goes into the
// account's own mailbox and, when there is one, to the contact address too.
//
// Mails to the outside wait in memory only: a code is worth nothing after minutes,
// and whoever needs one asks again.
package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
)

// Errors of Notice, to be tested with errors.Is.
var (
	ErrFull    = errors.New("too many mails wait")
	ErrStopped = errors.New("no more mails are sent")
	ErrNoRoute = errors.New("no mail can be sent to the contact address")
	ErrNotice  = errors.New("a notice that cannot be put into words") // a mistake of ours
)

var errLate = errors.New("the code is over")

// Notifier sends notices. Set the fields before the first call and leave them
// alone; a zero field means the default it names. It is safe for concurrent use.
type Notifier struct {
	Router   *backend.Router // files in our own mailboxes
	Hostname string          // ours, in Message-ID; default the domain of From
	From     string          // address in the headers; default postmaster at the Router's first domain

	// Send hands a mail to the server of its recipient. When its error has a
	// method Permanent() bool that says true, the mail is given up.
	Send func(ctx context.Context, from, to string, octets []byte) error

	// Reach says whether Send knows a way to a domain; nil for always.
	Reach func(domain string) bool

	Queue   int           // mails that wait at most, codes and others each; default 1,000
	Workers int           // mails sent at once, one place being for codes only; default 4, at least 2
	Attempt time.Duration // for one attempt; default 30 s
	Retries int           // attempts after the first; default 8
	Backoff time.Duration // before the second attempt, doubled for each further one; default 2 s
	Logger  *slog.Logger  // default slog.Default()

	once  sync.Once
	queue *queue
}

func (n *Notifier) start() {
	n.once.Do(func() {
		n.Queue = cmp.Or(n.Queue, 1000)
		n.Workers = max(cmp.Or(n.Workers, 4), 2)
		n.Attempt = cmp.Or(n.Attempt, 30*time.Second)
		n.Retries = cmp.Or(n.Retries, 8)
		n.Backoff = cmp.Or(n.Backoff, 2*time.Second)
		if n.From == "" && len(n.Router.Domains) > 0 {
			n.From = "postmaster@" + n.Router.Domains[0]
		}
		if n.Logger == nil {
			n.Logger = slog.Default()
		}
		n.queue = newQueue()
	})
}

// Notice files a notice in the account's own mailbox before it returns, and takes
// over the mail to the outside, which leaves while Run runs. The end of ctx stops
// neither. Errors: ErrFull, ErrStopped and ErrNoRoute, then nothing is sent outside;
// backend.ErrAddress; ErrNotice; what the Router says, then the mailbox has nothing.
func (n *Notifier) Notice(ctx context.Context, notice *auth.Notice) error {
	n.start()
	code := notice.Kind == auth.LogInCode || notice.Kind == auth.ContactCode
	if code {
		return n.sendOutside(notice, true)
	}
	// Neither way hangs on the other: a mailbox may be full.
	err := n.file(ctx, notice)
	if notice.Contact != "" {
		err = errors.Join(err, n.sendOutside(notice, false))
	}
	return err
}

// sendOutside has a mail wait for its way to the contact address.
func (n *Notifier) sendOutside(notice *auth.Notice, code bool) error {
	if err := n.reachable(notice.Contact); err != nil {
		return err
	}
	octets, err := n.compose(notice, notice.Contact)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	j := &job{account: notice.Address, kind: notice.Kind, to: notice.Contact, code: code, octets: octets, due: time.Now()}
	if code {
		j.until = time.Now().Add(notice.Life)
	}
	return n.queue.put(n.Queue, j)
}

// file puts a notice into the account's own mailbox: it is on disk then. It does so
// even when whoever caused the notice does not wait.
func (n *Notifier) file(ctx context.Context, notice *auth.Notice) error {
	octets, err := n.compose(notice, notice.Address)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.Attempt)
	defer cancel()
	// The reverse-path is null: nobody answers a notice with another one (RFC 3834
	// section 3.3).
	err = n.Router.Accept(ctx, &backend.Envelope{Rcpts: []backend.Rcpt{{Address: notice.Address}}, Octets: octets})
	if err != nil {
		return fmt.Errorf("file a notice: %w", err)
	}
	return nil
}

// reachable says whether mail can be sent to an outside address. What we send is
// ASCII, so its address must be.
func (n *Notifier) reachable(contact string) error {
	a, err := backend.ParseAddress(contact)
	if err != nil {
		return fmt.Errorf("contact: %w", err)
	}
	if n.Send == nil || !a.ASCII() || n.Reach != nil && !n.Reach(a.Domain) {
		return ErrNoRoute
	}
	return nil
}

// Run sends mails until ctx ends. It is called once.
func (n *Notifier) Run(ctx context.Context) {
	n.start()
	var workers sync.WaitGroup
	for i := range n.Workers {
		// However slow the way of other mails is, one worker is free for codes.
		workers.Go(func() { n.work(ctx, i == 0) })
	}
	workers.Wait()
	for _, j := range n.queue.close() {
		n.log(ctx, slog.LevelWarn, "notify.lost", j, ErrStopped)
	}
}

func (n *Notifier) work(ctx context.Context, codes bool) {
	for ctx.Err() == nil {
		j, changed, wait := n.queue.take(time.Now(), codes)
		if j != nil {
			n.attempt(ctx, j)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// attempt sends a job, puts it back for later or gives it up.
func (n *Notifier) attempt(ctx context.Context, j *job) {
	if !j.until.IsZero() && time.Now().After(j.until) {
		n.log(ctx, slog.LevelWarn, "notify.lost", j, errLate)
		return
	}
	limited, cancel := context.WithTimeout(ctx, n.Attempt)
	defer cancel()
	err := n.Send(limited, "", j.to, j.octets) // the reverse-path is null, as in file
	if err == nil {
		n.log(ctx, slog.LevelInfo, "notify.sent", j, nil)
		return
	}
	if ctx.Err() != nil {
		_ = n.queue.put(0, j) // the queue is closed after the workers' end
		return
	}
	wait := n.Backoff << j.tries
	j.tries++
	j.due = time.Now().Add(wait)
	if j.tries > n.Retries || permanent(err) || !j.until.IsZero() && j.due.After(j.until) {
		n.log(ctx, slog.LevelWarn, "notify.lost", j, err)
		return
	}
	n.log(ctx, slog.LevelInfo, "notify.delayed", j, err)
	_ = n.queue.put(0, j)
}

// permanent reports whether trying again is of no use.
func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}

// log writes about a job; contact addresses and what mails say stay out of it.
func (n *Notifier) log(ctx context.Context, level slog.Level, event string, j *job, err error) {
	args := []any{"account", j.account, "kind", j.kind, "tries", j.tries}
	if err != nil {
		args = append(args, "err", err)
	}
	n.Logger.Log(ctx, level, event, args...)
}
