package smtpd

import (
	"errors"
	"fmt"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/auth"
)

// This file is how a session learns who its user is: by AUTH, or by the
// certificate of the connection when the first MAIL comes without AUTH.

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return s.s.role.mechanisms(s) }

// Auth implements smtp.AuthSession (RFC 4954).
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch {
	case s.tx != nil:
		return nil, errAuthInTx
	case s.who != nil:
		return nil, errTwice
	}
	if err := s.try(); err != nil {
		return nil, err
	}
	if len(s.s.role.mechanisms(s)) == 0 {
		return nil, errNoAuth
	}
	x := s.s.Auth.Begin(s.guard.caller, mechanism)
	switch {
	case x != nil:
		return &dialog{s: s, sasl: x}, nil
	case mechanism == sasl.External: // which is known here, but there is no certificate
		return nil, errBadCredentials
	}
	return nil, errMechanism
}

// dialog is a SASL exchange as go-smtp runs one. All its errors are replies:
// go-smtp shows others' texts to the client.
type dialog struct {
	s    *session
	sasl *auth.Exchange
}

// Next implements sasl.Server.
func (e *dialog) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = e.sasl.Next(e.s.ctx, response)
	if err != nil {
		return nil, false, e.s.failed(err)
	}
	if done {
		return nil, true, e.s.enter(e.sasl.Principal)
	}
	return challenge, false, nil
}

// present logs the owner of the connection's certificate in. Thunderbird has no
// EXTERNAL for sending: it sends MAIL and no AUTH at all. The certificate is looked
// at no sooner, since who has one may want to log in otherwise.
func (s *session) present(sender backend.Address) error {
	if err := s.try(); err != nil {
		return err
	}
	p, err := s.s.Auth.Certificate(s.ctx, s.guard.caller, sender.String())
	if err != nil {
		return because(s.failed(err), err)
	}
	return s.enter(p)
}

// try counts the tries to log in, however they end.
func (s *session) try() error {
	if s.tries++; s.tries > s.s.Limits.AuthTries {
		s.guard.hangUp()
		return errTooManyFailures
	}
	return nil
}

// failed makes the reply to a try that failed. A connection has only so many guesses.
func (s *session) failed(err error) *smtp.SMTPError {
	r := translate(err)
	var refusal *auth.Refusal
	if errors.As(err, &refusal) && refusal.Guess() {
		s.failures++
	}
	if s.failures >= s.s.Limits.AuthFailures {
		r = errTooManyFailures
	}
	if r.Code == 421 {
		s.guard.hangUp()
	}
	return r
}

// enter begins the time in which p is logged in.
func (s *session) enter(p *auth.Principal) error {
	if err := s.s.role.admit(s, p); err != nil {
		p.Close()
		s.failures++ // whose secret it was must not show
		return s.failed(s.refuse("AUTH", err))
	}
	if !s.s.enterAccount(p.Account) {
		p.Close()
		s.guard.hangUp()
		return errTooManyConns
	}
	s.who = p
	s.guard.known = true
	wire := s.guard.wire
	wire.prove()
	p.OnEnd(func() { wire.stop(errEnded) })
	return nil
}

// lasting says whether the log-in still holds.
func (s *session) lasting() error {
	if s.who == nil {
		return nil
	}
	why := s.who.Err()
	if why == nil {
		return nil
	}
	s.guard.hangUp()
	return fmt.Errorf("%w: %w", errEnded, why)
}
