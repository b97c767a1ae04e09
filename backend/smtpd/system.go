package smtpd

import (
	"net/netip"
	"slices"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/xdm"
	"telesphore/storage"
)

// System is a system of ours that sends through the door for other servers, like a
// laboratory's: an account with rules of its own. It logs in like any account, by a linked certificate of
// its organisation, or from its networks by password.
type System struct {
	Account  string         // its primary address, normalised
	Senders  []string       // what it may write as, normalised; default the account's addresses
	Networks []netip.Prefix // where it is; none: anywhere, but then with a certificate

	PerMinute int   // recipients; 0 for no limit
	PerDay    int   // recipients at other servers; 0 for what every account may
	Message   int64 // octets of one message; 0 for the server's limit
	Fill      bool  // the X-MSS fields that a message lacks are made from its documents
}

// inside reports whether the system's networks have an address.
func (y *System) inside(remote netip.Addr) bool {
	return slices.ContainsFunc(y.Networks, func(p netip.Prefix) bool { return p.Contains(remote) })
}

// system returns the rules for an account, nil when it is no system.
func (x *exchange) system(account string) *System {
	i := slices.IndexFunc(x.Systems, func(y System) bool { return y.Account == account })
	if i < 0 {
		return nil
	}
	return &x.Systems[i]
}

// beginSystem is for the system that is logged in.
func (x *exchange) beginSystem(s *session, sender backend.Address) (party, error) {
	if leaf := s.guard.caller.TLS.Peer; leaf != nil && s.who.Level >= auth.LevelCard {
		// It rests on the certificate, which may have been revoked since.
		if err := x.good(s.ctx, leaf); err != nil {
			return nil, peerRefusal(errPeer, err)
		}
	}
	owned, err := s.addresses()
	if err != nil {
		return nil, err
	}
	rules := x.system(s.who.Address)
	if rules == nil { // its primary address has changed
		return nil, errEnded
	}
	if len(rules.Senders) > 0 {
		owned = rules.Senders
	}
	if !sender.IsZero() && (!x.s.Router.Local(sender) || !slices.Contains(owned, sender.Normal())) {
		return nil, errNotOwned
	}
	y := &system{user: user{s: s, owned: owned, level: s.who.Level, sending: x.s.Router.Sending}, x: x, rules: rules}
	if rules.inside(s.guard.caller.Remote) {
		// To be where the operator said is a second factor, as a code is.
		y.level = max(y.level, auth.LevelCode)
	}
	if rules.PerDay > 0 {
		y.sending = storage.SendLimits{Messages: rules.PerDay}
	}
	return y, nil
}

// system is the party of a System: a user with other limits.
type system struct {
	user
	x     *exchange
	rules *System
}

// limit implements party.
func (y *system) limit() int64 { return y.rules.Message }

// rcpt implements party.
func (y *system) rcpt(to backend.Address) error {
	if y.rules.PerMinute > 0 && !y.x.take(y.s.who.Account, y.rules.PerMinute, time.Now()) {
		return errRate
	}
	return y.user.rcpt(to)
}

// examine implements party.
func (y *system) examine(m *incoming, h *header) (string, error) {
	fields, err := y.user.examine(m, h)
	if err == nil && y.rules.Fill {
		err = m.prepend(string(xdm.Inspect(m.whole(), y.x.s.Router.Documents).Fields))
	}
	return fields, err
}

// channel implements party.
func (y *system) channel() string { return y.s.channel() }

// pace is a bucket of what a system may do: it fills in a minute.
type pace struct {
	left float64
	at   time.Time
}

// take takes one out of an account's bucket of perMinute.
func (x *exchange) take(account storage.AccountID, perMinute int, now time.Time) bool {
	x.s.mu.Lock()
	defer x.s.mu.Unlock()
	most := float64(perMinute)
	p := x.pace[account]
	if p == nil {
		p = &pace{left: most, at: now}
		x.pace[account] = p
	}
	p.left = min(most, p.left+now.Sub(p.at).Minutes()*most)
	p.at = now
	if p.left < 1 {
		return false
	}
	p.left--
	return true
}
