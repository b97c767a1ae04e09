package smtpd

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
)

// submission is the role of the door for our users: who sends is logged in.
type submission struct{ s *Server }

// extensions implements role.
func (r submission) extensions() []string {
	return []string{holdExtension(r.hold(), time.Now())}
}

// hold implements role.
func (r submission) hold() time.Duration { return r.s.Limits.Hold }

// mechanisms implements role.
func (r submission) mechanisms(s *session) []string { return s.s.Auth.Mechanisms(s.guard.caller) }

// admit implements role: every account may send.
func (r submission) admit(*session, *auth.Principal) error { return nil }

// begin implements role.
func (r submission) begin(s *session, sender backend.Address) (party, error) {
	if s.who == nil && s.guard.caller.TLS.Peer == nil {
		return nil, errNeedAuth
	}
	if s.who == nil {
		if err := s.present(sender); err != nil {
			return nil, err
		}
	}
	owned, err := s.addresses()
	if err != nil {
		return nil, err
	}
	// The null reverse-path is nobody's: receipts (RFC 8098 section 3) have it.
	if !sender.IsZero() && !slices.Contains(owned, sender.Normal()) {
		return nil, errNotOwned
	}
	return &user{s: s, owned: owned, level: s.who.Level, sending: r.s.Router.Sending}, nil
}

// user is the party of an account of ours.
type user struct {
	s       *session
	owned   []string // addresses that it may write as, normalised
	level   int      // how well it is known
	sending storage.SendLimits
	away    []string // recipients so far that other servers get it for, normalised
}

// limit implements party.
func (u *user) limit() int64 { return 0 }

// reserve implements party.
func (u *user) reserve() int64 { return 0 }

// rcpt implements party.
func (u *user) rcpt(to backend.Address) error {
	server, say := u.s.s, phrases{u.s.s.Language}
	switch server.Router.Zone(to.Domain) {
	case backend.Local:
		return say.list(server.Router.MayWrite(u.s.ctx, u.s.tx.envelope.From, to.String(), 0))
	case backend.Trusted:
		if err := u.allow(); err != nil {
			return say.forbidden(err, to.Domain)
		}
	case backend.Outside:
	default:
		if when, left := server.Router.Left(to.Domain); left {
			return say.left(to.Domain, when)
		}
		if !server.Router.ListKnown() {
			return errListUnknown
		}
		return say.unlisted(to.Domain, server.Router.Domains)
	}
	if server.Reaches != nil && !server.Reaches(to.Domain) {
		return say.notConnected(to.Domain)
	}
	return u.spend(to)
}

// allow says whether the account is known well enough to write into the trust space.
func (u *user) allow() error {
	a, who := u.s.s.Auth, u.s.who
	if u.level >= a.Need(who.Address, auth.TrustSpace) {
		return nil
	}
	return a.Allow(u.s.ctx, who, auth.TrustSpace)
}

// spend counts a recipient at another server, unless that is one too many for today.
// The count on disk moves when the message is taken over.
func (u *user) spend(to backend.Address) error {
	normal := to.Normal()
	if u.sending == (storage.SendLimits{}) || slices.Contains(u.away, normal) {
		return nil
	}
	away := append(slices.Clip(u.away), normal)
	var sent storage.Sent
	now := time.Now()
	err := u.s.s.Store.View(u.s.ctx, func(tx *storage.Tx) (err error) {
		if sent, err = tx.SentOn(u.s.who.Account, now); err != nil {
			return err
		}
		return tx.MaySend(u.s.who.Account, now, away, u.sending)
	})
	if errors.Is(err, storage.ErrSendQuota) {
		return because(u.exhausted(sent, len(u.away), now), err)
	}
	if err == nil {
		u.away = away
	}
	return err
}

// exhausted tells which of the limits of a day is reached, when more recipients were to be added to pending ones.
func (u *user) exhausted(sent storage.Sent, pending int, now time.Time) error {
	say := phrases{u.s.s.Language}
	if u.sending.Messages > 0 && sent.Messages+pending >= u.sending.Messages {
		return say.sentEnough(min(sent.Messages+pending, u.sending.Messages), u.sending.Messages, now)
	}
	return say.metEnough(u.sending.First, now)
}

// author implements party (RFC 6409 section 8.1 calls it enforcing; ours is the only
// notion of who wrote a message that readers have). Whoever resends a message signs for that too.
func (u *user) author(h *header) error {
	authors, err := h.authors(h.resent...)
	if err != nil {
		return err
	}
	for _, a := range authors {
		if !slices.Contains(u.owned, a.Normal()) {
			return errFromOwned
		}
	}
	return nil
}

// examine implements party: it adds what every message must or should have.
func (u *user) examine(m *incoming, h *header) (string, error) {
	return "", m.prepend(h.completion(u.s.s.Hostname))
}

// channel implements party. How our users reach us is nobody else's business.
func (u *user) channel() string { return "" }

// vouch implements party.
func (u *user) vouch(e *backend.Envelope) {
	e.Account, e.Sending = u.s.who.Account, u.sending
	_, e.Origin, _ = strings.Cut(u.s.who.Address, "@")
}

// explain implements party. Another connection of the account may have used the quota up meanwhile.
func (u *user) explain(err error) error {
	if !errors.Is(err, storage.ErrSendQuota) {
		return err
	}
	now := time.Now()
	var sent storage.Sent
	failed := u.s.s.Store.View(u.s.ctx, func(tx *storage.Tx) (err error) {
		sent, err = tx.SentOn(u.s.who.Account, now)
		return err
	})
	return because(u.exhausted(sent, len(u.away)-1, now), cmp.Or(failed, err))
}

// String implements party.
func (u *user) String() string { return u.s.who.Address }
