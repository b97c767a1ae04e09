package smtpd

import (
	"crypto/x509"
	"errors"
	"fmt"

	"telesphore/backend"
	"telesphore/backend/origin"
	"telesphore/storage"
)

// foreign is what servers of others have in common: they bring mail for us, nothing else.
type foreign struct {
	s *session
	x *exchange
}

// limit implements party.
func (f *foreign) limit() int64 { return 0 }

// reserve implements party: an operator is known.
func (f *foreign) reserve() int64 { return 0 }

// rcpt implements party.
func (f *foreign) rcpt(to backend.Address) error {
	router, say := f.x.s.Router, phrases{f.x.s.Language}
	if !router.Local(to) {
		return errNoRelay
	}
	err := say.list(router.MayWrite(f.s.ctx, f.s.tx.envelope.From, to.String(), max(f.s.tx.size, 1)))
	if err != nil && translate(err) == errNoSuchUser {
		if f.s.unknown++; f.s.unknown > f.x.s.Limits.Unknown {
			f.s.guard.hangUp()
			return because(errHarvest, err)
		}
	}
	return f.explain(err)
}

// check finds out where a message comes from. peer is the name of a certificate that
// vouches for it, "" for none.
func (f *foreign) check(m *incoming, peer string) *origin.Result {
	if f.x.Origin == nil {
		return &origin.Result{}
	}
	return f.x.Origin.Check(f.s.ctx, &origin.Arrival{
		Remote: f.s.guard.wire.remote, Helo: f.s.conn.Hostname(), From: f.s.tx.envelope.From,
		Octets: m.body(), Peer: peer,
	})
}

// explain implements party. A mailbox that is full may have room later, and the other server waits.
func (f *foreign) explain(err error) error {
	if errors.Is(err, storage.ErrOverQuota) {
		return because(errFullNow, err)
	}
	return err
}

// operator is a server of the trust space: its certificate is good, and named for the
// domain of the reverse-path.
type operator struct {
	foreign
	leaf   *x509.Certificate
	domain string // of the author
}

// author implements party: the certificate is named for every author's domain. What a server says
// in its own name, most notices, may come from the host that the certificate is for.
func (o *operator) author(h *header) error {
	authors, err := h.authors()
	if err != nil {
		return err
	}
	for _, a := range authors {
		if !o.owns(a.Domain) {
			return because(phrases{o.x.s.Language}.uncertified(a.Domain),
				fmt.Errorf("an author is of a domain that the certificate of %q is not named for", o.leaf.Subject))
		}
	}
	o.domain = authors[0].Domain
	return nil
}

// owns reports whether the certificate proves that an author's domain is the operator's.
func (o *operator) owns(domain string) bool {
	switch o.x.s.Router.Zone(domain) {
	case backend.Trusted:
		return o.x.covers(domain, o.leaf)
	case backend.Local:
		return false
	}
	return o.s.tx.envelope.From == "" && o.leaf.VerifyHostname(domain) == nil
}

// examine implements party.
func (o *operator) examine(m *incoming, _ *header) (string, error) {
	// The field names a host; which name the certificate has in full, Received says.
	host := o.leaf.Subject.CommonName
	if len(o.leaf.DNSNames) > 0 {
		host = o.leaf.DNSNames[0]
	}
	return string(o.check(m, host).Field), nil
}

// channel implements party.
func (o *operator) channel() string {
	return o.s.channel() + ", verified certificate of " + o.leaf.Subject.String()
}

// vouch implements party.
func (o *operator) vouch(e *backend.Envelope) { e.Origin, e.Peer = o.domain, true }

// String implements party.
func (o *operator) String() string { return "operator " + o.leaf.Subject.String() }

// stranger is a server of the ordinary Internet.
type stranger struct {
	foreign
	domain string // that has proven the author and the reverse-path; "" for none
}

// author implements party: nobody says without proof to be of ours, or of the trust space.
func (g *stranger) author(h *header) error {
	authors, err := h.authors()
	if err != nil {
		return err
	}
	say := phrases{g.x.s.Language}
	for _, a := range authors {
		switch g.x.s.Router.Zone(a.Domain) {
		case backend.Outside:
		case backend.Local:
			return say.ours(a.Domain)
		case backend.Trusted:
			return say.uncertified(a.Domain)
		default:
			return g.x.unlisted(a.Domain)
		}
	}
	return nil
}

// reserve implements party: anybody can be a stranger, and hold messages back for an hour.
func (g *stranger) reserve() int64 { return g.x.s.Limits.Memory / 2 }

// examine implements party: the domain of the author says what becomes of mail that is not its own.
func (g *stranger) examine(m *incoming, _ *header) (string, error) {
	if g.x.Origin == nil {
		return "", nil
	}
	r := g.check(m, "")
	// DMARC speaks for the author, SPF for the reverse-path, to which notices go.
	from, err := backend.ParseAddress(g.s.tx.envelope.From)
	if err == nil && r.DMARC == "pass" && r.SPF == "pass" && r.Author == from.Domain {
		g.domain = from.Domain
	}
	cause := fmt.Errorf("DMARC %q, SPF %q, DKIM %q, policy %q", r.DMARC, r.SPF, r.DKIM, r.Policy)
	switch {
	case g.x.Mark:
	case r.Author == "":
		// Whose policy would it be? Nobody else's is dodged by that (RFC 7489 section 6.6.1).
		return "", because(errAuthorUnclear, cause)
	case r.DMARC == "fail" && (r.Policy == "reject" || r.Policy == "quarantine"):
		return "", because(phrases{g.x.s.Language}.unaligned(), cause)
	case r.DMARC == "temperror" && r.Policy != "none":
		return "", because(errOriginLater, cause)
	}
	return string(r.Field), nil
}

// channel implements party.
func (g *stranger) channel() string { return g.s.channel() + ", no verified certificate" }

// vouch implements party.
func (g *stranger) vouch(e *backend.Envelope) { e.Origin = g.domain }

// String implements party.
func (g *stranger) String() string { return "stranger" }

// channel tells of the connection.
func (s *session) channel() string {
	return "using " + s.guard.caller.TLS.Version + " with " + s.guard.caller.TLS.Cipher
}
