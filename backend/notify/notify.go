// Package notify writes the mails that tell owners about their accounts.
//
// [auth.Notice] says what happened, this package puts it into words and sends it.
// A code goes to the contact address outside; everything else goes into the
// account's own mailbox and, when there is one, to the contact address too.
//
// Mails wait in memory only: a code is worth nothing after minutes, and whoever
// needs one asks again. A clean stop files what waits for our own mailboxes.
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
	Drain   time.Duration // to file what waits for our own mailboxes, at the end; default 1 s
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
		n.Drain = cmp.Or(n.Drain, time.Second)
		if n.From == "" && len(n.Router.Domains) > 0 {
			n.From = "postmaster@" + n.Router.Domains[0]
		}
		if n.Logger == nil {
			n.Logger = slog.Default()
		}
		n.queue = newQueue()
	})
}

// Notice takes a notice over and returns at once; the mails leave while Run
// runs. Errors: ErrFull and ErrStopped, then nothing is sent; ErrNoRoute, then
// nothing is sent outside; backend.ErrAddress; ErrNotice.
func (n *Notifier) Notice(ctx context.Context, notice *auth.Notice) error {
	n.start()
	if err := ctx.Err(); err != nil {
		return err
	}
	code := notice.Kind == auth.LogInCode || notice.Kind == auth.ContactCode
	var jobs []*job
	if !code {
		j, err := n.job(notice, notice.Address)
		if err != nil {
			return err
		}
		j.local = true
		jobs = append(jobs, j)
	}
	var unreachable error
	if code || notice.Contact != "" {
		if unreachable = n.reachable(notice.Contact); unreachable == nil {
			j, err := n.job(notice, notice.Contact)
			if err != nil {
				return err
			}
			if j.code = code; code {
				j.until = time.Now().Add(notice.Life)
			}
			jobs = append(jobs, j)
		}
	}
	if len(jobs) > 0 {
		if err := n.queue.put(n.Queue, code, jobs...); err != nil {
			return err
		}
	}
	return unreachable
}

func (n *Notifier) job(notice *auth.Notice, to string) (*job, error) {
	octets, err := n.compose(notice, to)
	if err != nil {
		return nil, fmt.Errorf("write a notice: %w", err)
	}
	return &job{account: notice.Address, kind: int(notice.Kind), to: to, octets: octets, due: time.Now()}, nil
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.Drain)
	defer cancel()
	for _, j := range n.queue.close() {
		if !j.local {
			n.log(ctx, slog.LevelWarn, "notify.lost", j, ErrStopped)
		} else if err := n.deliver(ctx, j); err != nil {
			n.log(ctx, slog.LevelWarn, "notify.lost", j, err)
		}
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
	err := n.deliver(limited, j)
	if err == nil {
		n.log(ctx, slog.LevelInfo, "notify.sent", j, nil)
		return
	}
	if ctx.Err() != nil {
		_ = n.queue.put(0, j.code, j) // the queue is closed after the workers' end
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
	_ = n.queue.put(0, j.code, j)
}

// permanent reports whether trying again is of no use.
func permanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent() || errors.Is(err, backend.ErrNoSuchUser)
}

// deliver makes one attempt. The reverse-path is null: nobody answers a notice
// with another one (RFC 3834 section 3.3).
func (n *Notifier) deliver(ctx context.Context, j *job) error {
	if j.local {
		return n.Router.Accept(ctx, &backend.Envelope{
			Rcpts: []backend.Rcpt{{Address: j.to}}, Octets: j.octets,
		})
	}
	return n.Send(ctx, "", j.to, j.octets)
}

// log writes about a job; contact addresses and what mails say stay out of it.
func (n *Notifier) log(ctx context.Context, level slog.Level, event string, j *job, err error) {
	where := "contact"
	if j.local {
		where = "mailbox"
	}
	args := []any{"account", j.account, "kind", j.kind, "to", where, "tries", j.tries}
	if err != nil {
		args = append(args, "err", err)
	}
	n.Logger.Log(ctx, level, event, args...)
}
