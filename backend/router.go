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
	"strings"
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
	Postmaster string   // gets the mail for postmaster at our domains unless an account or alias has that address; may be empty
	SubAddress string   // what separates a detail in a local part, like "+"; "" for nothing
	Aliases    AliasLimits

	TrustSpace []string // domains of the other operators that are trusted
	WhiteList  Peers    // more of them, as they are now; nil for none
	Outside    []string // domains of the ordinary Internet that mail may go to
}

// Peers is a list of the trust space that changes while it is used.
type Peers interface {
	Has(domain string) bool
	Left(domain string) (time.Time, bool) // when it went off the list; false when it has it, or never had
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
	case lists(r.TrustSpace, name), r.WhiteList != nil && r.WhiteList.Has(name):
		return Trusted
	case lists(r.Outside, name):
		return Outside
	}
	return Unlisted
}

// Left says when a domain that is Unlisted left the trust space, false when it is
// not known to have been there.
func (r *Router) Left(domain string) (time.Time, bool) {
	if r.WhiteList == nil || r.Zone(domain) != Unlisted {
		return time.Time{}, false
	}
	return r.WhiteList.Left(domain)
}

// lists reports whether one of domains, as people write them, is name, in its
// comparison form.
func lists(domains []string, name string) bool {
	return slices.ContainsFunc(domains, func(d string) bool {
		one, err := ParseDomain(d)
		return err == nil && one == name
	})
}

// Resolve finds the accounts behind an address: one, or those behind an alias,
// each once. Errors: ErrAddress, ErrRemote, ErrNoSuchUser, for an alias ErrAliasOff,
// ErrAliasEmpty, ErrAliasLoop, ErrAliasDepth, ErrRecipients, or what the store says.
func (r *Router) Resolve(ctx context.Context, addr string) (ids []storage.AccountID, err error) {
	err = r.look(ctx, addr, func(tx *storage.Tx, a Address) error {
		found, err := r.resolve(tx, a, nil)
		for _, f := range found {
			ids = append(ids, f.account.ID)
		}
		return err
	})
	return ids, err
}

// MayWrite resolves an address for a sender, "" for the null reverse-path. The
// sender's address must be proven: by a log-in, or by who its domain's server is.
// Postmaster hears everybody (RFC 5321 section 4.5.1). Errors: those of Resolve,
// ErrNotMember, ErrNotOurs.
func (r *Router) MayWrite(ctx context.Context, sender, addr string) error {
	return r.look(ctx, addr, func(tx *storage.Tx, a Address) error {
		if _, err := r.resolve(tx, a, nil); err != nil || a.postmaster() {
			return err
		}
		p, err := r.Place(tx, a)
		if err != nil || p.Alias == nil {
			return err
		}
		return r.mayWrite(tx, sender, p.Alias)
	})
}

// look parses an address of ours and has f look it up.
func (r *Router) look(ctx context.Context, addr string, f func(*storage.Tx, Address) error) error {
	a, err := ParseAddress(addr)
	if err != nil {
		return err
	}
	if !r.Local(a) {
		return ErrRemote
	}
	if err := r.Store.View(ctx, func(tx *storage.Tx) error { return f(tx, a) }); err != nil {
		return fmt.Errorf("resolve an address: %w", err)
	}
	return nil
}

// postmaster reports whether a is postmaster, at whatever domain.
func (a Address) postmaster() bool { return strings.EqualFold(a.Local, "postmaster") }

// resolve finds the accounts behind an address of ours. been are the addresses
// that the message was delivered to before.
func (r *Router) resolve(tx *storage.Tx, a Address, been map[string]bool) ([]reached, error) {
	if a.Domain == "" {
		if len(r.Domains) == 0 {
			return nil, ErrNoSuchUser
		}
		a.Domain, _ = ParseDomain(r.Domains[0])
	}
	found, err := r.behind(tx, a, been)
	unheard := errors.Is(err, ErrNoSuchUser) || errors.Is(err, ErrAliasOff) || errors.Is(err, ErrAliasEmpty)
	if !unheard || !a.postmaster() || r.Postmaster == "" {
		return found, err
	}
	if a, err = ParseAddress(r.Postmaster); err != nil {
		return nil, fmt.Errorf("postmaster of the configuration: %w", err)
	}
	return r.behind(tx, a, been)
}

// behind finds the account that has an address, or those behind the alias that has it.
func (r *Router) behind(tx *storage.Tx, a Address, been map[string]bool) ([]reached, error) {
	p, err := r.Place(tx, a)
	if err != nil {
		return nil, err
	}
	if p.Account != nil {
		return []reached{{account: p.Account}}, nil
	}
	if p.Alias.State != storage.Active {
		return nil, ErrAliasOff
	}
	x := r.expansion(tx)
	if err := x.alias(p.Alias, nil); err != nil {
		return nil, err
	}
	for alias := range x.seen {
		if been[alias] {
			return nil, ErrMailLoop
		}
	}
	if len(x.found) == 0 {
		return nil, ErrAliasEmpty
	}
	return x.found, nil
}

// Accept takes a message over for all its recipients, or for none. When it
// returns nil the message is on disk. An account gets one copy, whatever number of
// addresses and aliases lead to it. Errors: those of Resolve, ErrMailLoop,
// storage.ErrOverQuota, or what the store says.
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
	targets, err := r.targets(ctx, e)
	if err != nil {
		return err
	}
	for i := range targets {
		t := &targets[i]
		t.MessageID, t.References, t.BaseSubject = meta.MessageID, meta.References, meta.BaseSubject
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

// targets finds every account that gets a copy of a message, with the lines that
// stand in front of it there: Delivered-To names the recipient as SMTP had it, above
// it the aliases on the way and the address of the account.
func (r *Router) targets(ctx context.Context, e *Envelope) (targets []storage.Target, err error) {
	been, now, known := r.been(e.Octets), time.Now(), map[storage.AccountID]bool{}
	limit := len(e.Rcpts) + r.Aliases.withDefaults().Recipients
	for _, rcpt := range e.Rcpts {
		err := r.look(ctx, rcpt.Address, func(tx *storage.Tx, a Address) error {
			found, err := r.resolve(tx, a, been)
			for _, f := range found {
				if known[f.account.ID] {
					continue
				}
				known[f.account.ID] = true
				prefix := fmt.Appendf(nil, "Return-Path: <%s>\r\n", e.From)
				for _, address := range f.path {
					if !slices.Contains(r.forms(a), address) {
						prefix = fmt.Appendf(prefix, "Delivered-To: %s\r\n", address)
					}
				}
				prefix = fmt.Appendf(prefix, "Delivered-To: %s\r\n", rcpt.Address)
				targets = append(targets, storage.Target{Account: f.account.ID, InternalDate: now, Prefix: prefix})
			}
			return err
		})
		if err == nil && len(targets) > limit {
			err = ErrRecipients
		}
		if err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// been are the addresses that a message says it was delivered to, with and without
// their details. One that comes again to an alias would go round for ever: one
// of the members sends it back.
func (r *Router) been(octets []byte) map[string]bool {
	been := map[string]bool{}
	for _, value := range message.HeaderValues(octets, "Delivered-To") {
		a, err := ParseAddress(strings.TrimSpace(value))
		if err != nil {
			continue
		}
		for _, form := range r.forms(a) {
			been[form] = true
		}
	}
	return been
}

// forms are what an alias may be called for a to lead to it: a, and a without its detail.
func (r *Router) forms(a Address) []string {
	if base, ok := r.base(a); ok {
		return []string{a.Normal(), base.Normal()}
	}
	return []string{a.Normal()}
}
