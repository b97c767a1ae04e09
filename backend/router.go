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
	"telesphore/backend/xdm"
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

	WhiteList Peers    // the other operators that are trusted; nil for none
	Outside   []string // domains of the ordinary Internet that mail may go to; "*" for all others that never were in the trust space

	// Sign returns header lines that prove where a message comes from, to be put in
	// front of it for other servers; nil for none.
	Sign func(octets []byte) ([]byte, error)

	Lifetime  time.Duration // in the queue; default 5 days (RFC 5321 section 4.5.4.1)
	Sending   storage.SendLimits
	Documents xdm.Limits
}

// Peers is a list of the trust space that changes while it is used.
type Peers interface {
	Known() bool // there is a list: before that, nobody knows who is on it
	Has(domain string) bool
	Akin(domain string) bool              // to one that it has: under the same organisational domain
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
	Name   string // of the message in the log and in replies; "" lets Accept choose
	From   string // reverse-path without angle brackets, "" for <>
	Rcpts  []Rcpt
	Octets []byte // as all recipients get it, trace fields of this server included
	UTF8   bool   // SMTPUTF8 was asked for (RFC 6531)

	Account    storage.AccountID  // who sends it, logged in; 0 for nobody of ours
	Sending    storage.SendLimits // of Account, for today; zero for the Router's
	Origin     string             // domain that vouches for who sends it: our own, or the peer's; "" for nobody
	Peer       bool               // it comes from an operator of the trust space, who proved that
	Priority   storage.Priority
	Lifetime   time.Duration // in the queue; 0 for the Router's
	RequireTLS bool          // RFC 8689
	HoldUntil  time.Time     // FUTURERELEASE (RFC 4865): nobody gets it before; zero for at once

	// For delivery notices (RFC 3461).
	EnvelopeID string // ENVID, decoded
	Return     string // RET: "FULL", "HDRS" or ""

	// Changes are made in the queue when the message is on disk, and not without it: a
	// notice takes the delivery out that it tells about.
	Changes []storage.DeliveryChange
}

// Rcpt is one recipient of an Envelope.
type Rcpt struct {
	Address      string
	Notify       storage.Notify
	OriginalType string // ORCPT's address type, "" when not given
	Original     string // ORCPT's address, decoded
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
	case r.WhiteList != nil && r.WhiteList.Has(name):
		return Trusted
	case lists(r.Outside, name), slices.Contains(r.Outside, "*") && !r.reserved(name):
		return Outside
	}
	return Unlisted
}

// reserved reports whether a domain is, may be or was of the trust space, or pretends to be by its
// name: "everything else" is never meant for it.
func (r *Router) reserved(domain string) bool {
	if r.WhiteList == nil {
		return false
	}
	_, left := r.WhiteList.Left(domain)
	return left || !r.ListKnown() || r.WhiteList.Akin(domain)
}

// ListKnown reports whether it is known who is in the trust space. Until then a domain that is
// Unlisted may turn out to be of it: whoever asks is told to try again.
func (r *Router) ListKnown() bool { return r.WhiteList == nil || r.WhiteList.Known() }

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
// Postmaster hears everybody, and is never full (RFC 5321 section 4.5.1). With size, in
// octets, somebody behind the address must have room for as much; 0 does not ask.
// Errors: those of Resolve, ErrNotMember, ErrNotOurs, storage.ErrOverQuota.
func (r *Router) MayWrite(ctx context.Context, sender, addr string, size int64) error {
	return r.look(ctx, addr, func(tx *storage.Tx, a Address) error {
		found, err := r.resolve(tx, a, nil)
		if err != nil || a.postmaster() {
			return err
		}
		if err := room(tx, found, size); err != nil {
			return err
		}
		p, err := r.Place(tx, a)
		if err != nil || p.Alias == nil {
			return err
		}
		return r.mayWrite(tx, sender, p.Alias)
	})
}

// room says whether one of the accounts has room for size octets.
func room(tx *storage.Tx, found []reached, size int64) (err error) {
	for _, f := range found {
		if size == 0 {
			return nil
		}
		if err = tx.Room(f.account.ID, size); !errors.Is(err, storage.ErrOverQuota) {
			return err
		}
	}
	return err
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
