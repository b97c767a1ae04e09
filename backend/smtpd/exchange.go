package smtpd

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/origin"
	"telesphore/storage"
	"telesphore/tls"
)

// Exchange makes a [Server] the door for other servers (port 25): operators of the trust space, who
// prove by their certificate whose mail they carry, systems of ours, who log in,
// and servers of the ordinary Internet, as far as mail is exchanged with their domains.
//
// All of them use TLS, as on the door for users: nothing is said here in clear but STARTTLS.
type Exchange struct {
	Anchors *tls.Anchors    // who certifies organisations; nil for nobody
	Peers   Peers           // whose certificates carry whose mail; nil for nobody's
	Systems []System        // of ours
	Origin  *origin.Checker // what is found out about mail of others; nil for nothing
	Mark    bool            // mail that fails its author's DMARC policy is marked, not refused
}

// Peers says whose certificate may send for whom. *tls.WhiteList does. That a certificate
// is genuine is for the caller to know.
type Peers interface {
	Covers(domain string, leaf *x509.Certificate) bool // for that domain
	Named(leaf *x509.Certificate) bool                 // for any domain
}

var _ Peers = (*tls.WhiteList)(nil)

// exchange is the role of the door for other servers.
type exchange struct {
	*Exchange
	s    *Server
	pace map[storage.AccountID]*pace // of systems; guarded by s.mu
}

// extensions implements role.
func (x *exchange) extensions() []string { return nil }

// hold implements role: that is for whoever submits a message (RFC 4865 section 2).
func (x *exchange) hold() time.Duration { return 0 }

// mechanisms implements role. Passwords are asked of systems only, and guessed by nobody elsewhere.
func (x *exchange) mechanisms(s *session) []string {
	for i := range x.Systems {
		if x.Systems[i].inside(s.guard.caller.Remote) {
			return s.s.Auth.Mechanisms(s.guard.caller)
		}
	}
	return nil
}

// admit implements role: only systems log in here, where they are expected.
func (x *exchange) admit(s *session, p *auth.Principal) error {
	y := x.system(p.Address)
	switch {
	case y == nil:
		return because(errBadCredentials, errors.New("the account is no system"))
	case len(y.Networks) > 0 && !y.inside(s.guard.caller.Remote):
		return because(errBadCredentials, errors.New("the system is not in its networks"))
	case len(y.Networks) == 0 && p.Level < auth.LevelCard:
		// AUTH is offered in the networks of other systems.
		return because(errBadCredentials, errors.New("the system has no networks, and showed no certificate"))
	}
	return nil
}

// begin implements role.
func (x *exchange) begin(s *session, sender backend.Address) (party, error) {
	if sender.IsZero() {
		return x.beginNull(s)
	}
	leaf := s.guard.caller.TLS.Peer
	zone := x.s.Router.Zone(sender.Domain)
	switch {
	case zone == backend.Trusted && (s.who == nil || x.covers(sender.Domain, leaf)):
		return x.beginOperator(s, sender.Domain)
	case s.who != nil:
		return x.beginSystem(s, sender)
	case zone == backend.Local:
		return x.beginOurs(s, sender)
	case zone == backend.Outside:
		return &stranger{foreign: foreign{s: s, x: x}}, nil
	}
	return nil, x.unlisted(sender.Domain)
}

// unlisted is the refusal of a domain that no mail is taken from.
func (x *exchange) unlisted(domain string) error {
	say := phrases{x.s.Language}
	if when, left := x.s.Router.Left(domain); left {
		return say.gone(domain, when)
	}
	if !x.s.Router.ListKnown() {
		return errListUnknown
	}
	return say.stranger(domain)
}

// beginNull finds out whose notice it is.
func (x *exchange) beginNull(s *session) (party, error) {
	if s.who != nil {
		return x.beginSystem(s, backend.Address{})
	}
	leaf := s.guard.caller.TLS.Peer
	err := x.good(s.ctx, leaf)
	switch {
	case errors.Is(err, tls.ErrUnknownIssuer): // or no certificate: anybody may have one of elsewhere
		return &stranger{foreign: foreign{s: s, x: x}}, nil
	case x.Peers != nil && x.Peers.Named(leaf):
		if err != nil {
			return nil, peerRefusal(errPeer, err)
		}
		return x.operator(s, leaf), nil
	case err != nil || len(x.Systems) == 0 || s.unlinked:
		return &stranger{foreign: foreign{s: s, x: x}}, nil
	}
	p, err := x.beginOurs(s, backend.Address{})
	if s.unlinked {
		return &stranger{foreign: foreign{s: s, x: x}}, nil
	}
	return p, err
}

// beginOperator wants the certificate that the white list names for a domain.
func (x *exchange) beginOperator(s *session, domain string) (party, error) {
	leaf, say := s.guard.caller.TLS.Peer, phrases{x.s.Language}
	if leaf == nil {
		return nil, because(say.uncertified(domain), errors.New("no certificate was presented"))
	}
	if err := x.good(s.ctx, leaf); err != nil {
		return nil, peerRefusal(say.uncertified(domain), err)
	}
	if !x.covers(domain, leaf) {
		return nil, because(say.uncertified(domain), fmt.Errorf("the certificate of %q is not named for it", leaf.Subject))
	}
	return x.operator(s, leaf), nil
}

// operator is the party of a certificate that is good and in the white list.
func (x *exchange) operator(s *session, leaf *x509.Certificate) party {
	s.guard.wire.prove()
	return &operator{foreign: foreign{s: s, x: x}, leaf: leaf}
}

// beginOurs lets a system of ours in by its certificate alone.
func (x *exchange) beginOurs(s *session, sender backend.Address) (party, error) {
	refusal := phrases{x.s.Language}.ours(sender.Domain)
	leaf := s.guard.caller.TLS.Peer
	if leaf == nil || s.unlinked {
		return nil, because(refusal, errors.New("nobody is logged in"))
	}
	// Before the log-in is tried: what servers of elsewhere show is no try.
	if err := x.good(s.ctx, leaf); err != nil {
		return nil, peerRefusal(refusal, err)
	}
	if err := s.present(sender); err != nil {
		var unlinked *auth.Refusal
		if errors.As(err, &unlinked) && unlinked.Code == auth.CardUnlinked {
			s.unlinked, err = true, because(refusal, err)
		}
		return nil, err
	}
	return x.beginSystem(s, sender)
}

// good says whether a certificate is an organisation's, and good at this moment.
func (x *exchange) good(ctx context.Context, leaf *x509.Certificate) error {
	_, err := x.Anchors.EvaluatePeer(ctx, leaf)
	return err
}

func (x *exchange) covers(domain string, leaf *x509.Certificate) bool {
	return x.Peers != nil && leaf != nil && x.Peers.Covers(domain, leaf)
}

// peerRefusal is r because of what is wrong with a certificate, unless that is our trouble.
func peerRefusal(r, cause error) error {
	if errors.Is(cause, tls.ErrRevocationUnknown) {
		r = errPeerLater
	}
	return because(r, cause)
}
