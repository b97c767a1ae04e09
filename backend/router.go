// Package backend is what the server does.
//
// Its folders are the verbs: each door speaks one protocol, auth knows who is
// calling, message reads mail. This package itself holds what all doors share:
// addresses, and the [Router], which says where an address lives and takes a
// message over for good.
package backend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"telesphore/backend/message"
	"telesphore/storage"
)

// Errors of the Router, to be tested with errors.Is.
var (
	ErrNoSuchUser = errors.New("no such user")
	ErrRemote     = errors.New("domain is not ours")
)

// Router says where addresses live and files messages there.
type Router struct {
	Store      *storage.Store
	Domains    []string // ours; the first one completes "postmaster"
	Postmaster string   // gets the mail for postmaster at our domains unless an account has that address; may be empty

	TrustSpace []string // domains of the other operators that are trusted
	Outside    []string // domains of the ordinary Internet that mail may go to
}

// Zone says what a domain is to us.
type Zone int

// The zones. What is ours is Local, whatever the other lists say.
const (
	Unlisted Zone = iota // nobody's list has it: no mail goes there
	Local                // ours
	Trusted              // another operator's, in the trust space
	Outside              // of the ordinary Internet, allowed
)

// Envelope is a message with what SMTP says about it (RFC 5321 section 2.3.1).
type Envelope struct {
	From   string // reverse-path without angle brackets, "" for <>
	Rcpts  []Rcpt
	Octets []byte // as all recipients get it, trace fields of this server included
	UTF8   bool   // SMTPUTF8 was asked for (RFC 6531)

	// For delivery notices (RFC 3461): kept here for whoever relays or bounces.
	EnvelopeID string // ENVID, decoded
	Return     string // RET: "FULL", "HDRS" or ""
}

// Rcpt is one recipient of an Envelope.
type Rcpt struct {
	Address      string
	Notify       []string // NOTIFY: "NEVER", or some of "SUCCESS", "FAILURE", "DELAY"; nil when not given
	OriginalType string   // ORCPT's address type, "" when not given
	Original     string   // ORCPT's address, decoded
}

// Local reports whether addr is in one of our domains.
func (r *Router) Local(addr Address) bool {
	return addr.Domain == "" || lists(r.Domains, addr.Domain)
}

// Zone says what a domain is to us. It may be written as people write it; ""
// is the domain of postmaster alone, ours.
func (r *Router) Zone(domain string) Zone {
	if domain == "" {
		return Local
	}
	name, err := ParseDomain(domain)
	switch {
	case err != nil:
		return Unlisted
	case lists(r.Domains, name):
		return Local
	case lists(r.TrustSpace, name):
		return Trusted
	case lists(r.Outside, name):
		return Outside
	}
	return Unlisted
}

// lists reports whether one of domains, as people write them, is name, in its
// comparison form.
func lists(domains []string, name string) bool {
	return slices.ContainsFunc(domains, func(d string) bool {
		one, err := ParseDomain(d)
		return err == nil && one == name
	})
}

// Resolve finds the account behind an address. Errors: ErrAddress, ErrRemote,
// ErrNoSuchUser, or what the store says.
func (r *Router) Resolve(ctx context.Context, addr string) (storage.AccountID, error) {
	a, err := ParseAddress(addr)
	if err != nil {
		return 0, err
	}
	if !r.Local(a) {
		return 0, ErrRemote
	}
	var id storage.AccountID
	err = r.Store.View(ctx, func(tx *storage.Tx) error {
		id, err = r.resolve(tx, a)
		return err
	})
	if err != nil && !errors.Is(err, ErrNoSuchUser) {
		return 0, fmt.Errorf("resolve an address: %w", err)
	}
	return id, err
}

func (r *Router) resolve(tx *storage.Tx, a Address) (storage.AccountID, error) {
	postmaster := Address{Local: a.Local}.Normal() == "postmaster"
	if a.Domain == "" {
		if len(r.Domains) == 0 {
			return 0, ErrNoSuchUser
		}
		a.Domain, _ = ParseDomain(r.Domains[0])
	}
	account, err := tx.AccountByAddress(a.Normal())
	if errors.Is(err, storage.ErrNoAccount) && postmaster && r.Postmaster != "" {
		if a, err = ParseAddress(r.Postmaster); err != nil {
			return 0, fmt.Errorf("postmaster of the configuration: %w", err)
		}
		account, err = tx.AccountByAddress(a.Normal())
	}
	if errors.Is(err, storage.ErrNoAccount) || err == nil && account.State == storage.Erasing {
		return 0, ErrNoSuchUser
	}
	if err != nil {
		return 0, err
	}
	return account.ID, nil
}

// Accept takes a message over for all its recipients, or for none. When it
// returns nil the message is on disk. Several addresses of one account get one
// copy. Errors: those of Resolve, storage.ErrOverQuota, or what the store says.
func (r *Router) Accept(ctx context.Context, e *Envelope) error {
	if len(e.Rcpts) == 0 {
		return errors.New("accept a message: no recipient")
	}
	if e.From != "" {
		// Nothing gets into a header line that was not parsed on the way.
		from, err := ParseAddress(e.From)
		if err != nil {
			return err
		}
		e.From = from.String()
	}
	meta := message.Describe(e.Octets)
	target := storage.Target{
		InternalDate: time.Now(),
		MessageID:    meta.MessageID,
		References:   meta.References,
		BaseSubject:  meta.BaseSubject,
	}
	var targets []storage.Target
	for _, rcpt := range e.Rcpts {
		id, err := r.Resolve(ctx, rcpt.Address)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(targets, func(t storage.Target) bool { return t.Account == id }) {
			continue
		}
		t := target
		t.Account = id
		t.Prefix = fmt.Appendf(nil, "Return-Path: <%s>\r\nDelivered-To: %s\r\n", e.From, rcpt.Address)
		targets = append(targets, t)
	}
	content, err := r.Store.Seal(e.Octets, meta.Marshal(message.MetaLimit))
	if err != nil {
		return fmt.Errorf("seal a message: %w", err)
	}
	if _, err := r.Store.Accept(ctx, content, targets); err != nil {
		return fmt.Errorf("file a message: %w", err)
	}
	return nil
}
