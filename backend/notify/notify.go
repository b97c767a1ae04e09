// Package notify writes the mails that tell owners about their accounts.
//
// [auth.Notice] says what happened, this package puts it into words. A code goes to the
// contact address outside; everything else goes into the account's own mailbox
// and, when there is one, to the contact address too. What goes outside travels by the store's
// queue, before other mail; a code leaves the queue when it is over.
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
	"telesphore/storage"
)

// Errors of Notice, to be tested with errors.Is.
var (
	ErrNoRoute = errors.New("no mail can be sent to the contact address")
	ErrNotice  = errors.New("a notice that cannot be put into words") // a mistake of ours
)

// Notifier sends notices. Set the fields before the first call and leave them
// alone; a zero field means the default it names. It is safe for concurrent use.
type Notifier struct {
	Router   *backend.Router // takes the mails over
	Hostname string          // ours, in Message-ID; default the domain of From
	From     string          // address in the headers; default postmaster at the Router's first domain

	// Reach says whether there is a way to a domain that the Router allows; nil for always.
	Reach func(domain string) bool

	Timeout time.Duration // for the store to take a mail over; default 30 s
	Logger  *slog.Logger  // default slog.Default()

	once sync.Once
}

func (n *Notifier) start() {
	n.once.Do(func() {
		n.Timeout = cmp.Or(n.Timeout, 30*time.Second)
		if n.From == "" && len(n.Router.Domains) > 0 {
			n.From = "postmaster@" + n.Router.Domains[0]
		}
		if n.Logger == nil {
			n.Logger = slog.Default()
		}
	})
}

// Notice files a notice in the account's own mailbox, and puts the mail to the outside into the queue: both
// are on disk when it returns. The end of ctx stops neither. Errors: ErrNoRoute, then nothing is sent outside;
// backend.ErrAddress; ErrNotice; what the Router says.
func (n *Notifier) Notice(ctx context.Context, notice *auth.Notice) error {
	n.start()
	code := notice.Kind == auth.LogInCode || notice.Kind == auth.ContactCode
	if code {
		return n.sendOutside(ctx, notice)
	}
	// Neither way hangs on the other: a mailbox may be full.
	err := n.file(ctx, notice)
	if notice.Contact != "" {
		err = errors.Join(err, n.sendOutside(ctx, notice))
	}
	return err
}

// sendOutside puts a mail to the contact address into the queue. A code does not wait there
// longer than it lives.
func (n *Notifier) sendOutside(ctx context.Context, notice *auth.Notice) error {
	if err := n.reachable(notice.Contact); err != nil {
		return err
	}
	e := &backend.Envelope{Priority: storage.Urgent, Lifetime: notice.Life}
	if err := n.accept(ctx, notice, notice.Contact, e); err != nil {
		return fmt.Errorf("send a notice: %w", err)
	}
	n.Logger.InfoContext(ctx, "notify.queued", "account", notice.Address, "kind", notice.Kind, "message", e.Name)
	return nil
}

// file puts a notice into the account's own mailbox.
func (n *Notifier) file(ctx context.Context, notice *auth.Notice) error {
	if err := n.accept(ctx, notice, notice.Address, &backend.Envelope{}); err != nil {
		return fmt.Errorf("file a notice: %w", err)
	}
	return nil
}

// accept writes a mail and hands it to the Router, even when whoever caused the notice does not wait.
// The reverse-path is null: nobody answers a notice with another one (RFC 3834 section 3.3).
func (n *Notifier) accept(ctx context.Context, notice *auth.Notice, to string, e *backend.Envelope) (err error) {
	if e.Octets, err = n.compose(notice, to); err != nil {
		return err
	}
	e.Rcpts = []backend.Rcpt{{Address: to, Notify: storage.NotifyNever}}
	if len(n.Router.Domains) > 0 {
		e.Origin = n.Router.Domains[0]
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.Timeout)
	defer cancel()
	return n.Router.Accept(ctx, e)
}

// reachable says whether mail can be sent to an outside address. What we send is
// ASCII, so its address must be.
func (n *Notifier) reachable(contact string) error {
	a, err := backend.ParseAddress(contact)
	if err != nil {
		return fmt.Errorf("contact: %w", err)
	}
	if !a.ASCII() || n.Router.Zone(a.Domain) == backend.Unlisted || n.Reach != nil && !n.Reach(a.Domain) {
		return ErrNoRoute
	}
	return nil
}
