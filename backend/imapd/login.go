package imapd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"telesphore/backend/auth"
	"telesphore/tls"
)

// upgrade is STARTTLS (RFC 9051 section 6.2.1).
func (s *session) upgrade(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if s.tls || s.srv.TLS == nil {
		return "", errHaveTLS
	}
	s.out.Raw(tag).Raw(" OK Begin TLS\r\n")
	if err := s.flush(); err != nil {
		return "", err
	}
	// What came in clear behind the command may be somebody else's: it is
	// dropped, never run inside TLS (CVE-2011-0411).
	s.haveAhead = false
	s.in.Reset(nil)
	if err := s.secure(ctx); err != nil {
		return "", err
	}
	s.link.wait(s.srv.Limits.Stall)
	s.in.Reset(&s.conn)
	s.dec.Reset(s.in)
	return "", errUpgraded
}

// secure shakes hands and learns what TLS tells of the client.
func (s *session) secure(ctx context.Context) error {
	t, err := s.startTLS(ctx, s.srv.TLS, s.srv.Limits.Handshake)
	if err != nil {
		s.log.Debug("TLS handshake failed", "err", err)
		return errGone
	}
	s.caller.TLS = tls.FactsOf(t)
	return nil
}

// mayLogIn says whether passwords are accepted as the connection is.
func (s *session) mayLogIn() bool { return s.tls || s.srv.InsecureAuth }

// login is LOGIN (RFC 9051 section 6.2.3).
func (s *session) login(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	user := s.dec.AString()
	s.dec.SP()
	secret := s.dec.Secret()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if !s.mayLogIn() {
		return "", errNeedTLS
	}
	var who *auth.Principal
	err := s.watched(ctx, func(ctx context.Context) (err error) {
		who, err = s.srv.Auth.LogIn(ctx, s.caller, &auth.Attempt{Mech: "LOGIN", User: user, Secret: secret})
		return err
	})
	if err != nil {
		return "", s.failed(err)
	}
	return s.openAccount(who)
}

// authenticate is AUTHENTICATE (RFC 9051 section 6.2.2) with SASL-IR.
func (s *session) authenticate(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	name := s.dec.Keyword()
	var initial string
	haveInitial := s.dec.TrySP()
	if haveInitial {
		initial = s.dec.Atom()
	}
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if !s.mayLogIn() {
		return "", errNeedTLS
	}
	exchange := s.srv.Auth.Begin(s.caller, name)
	if exchange == nil {
		return "", errMechanism
	}
	var response []byte
	if haveInitial {
		var err error
		if response, err = decodeInitial(initial); err != nil {
			return "", err
		}
	}
	if err := s.converse(ctx, exchange, response); err != nil {
		return "", s.failed(err)
	}
	return s.openAccount(exchange.Principal)
}

// converse exchanges challenges and responses until it is clear who it is.
func (s *session) converse(ctx context.Context, exchange *auth.Exchange, response []byte) error {
	for {
		var challenge []byte
		var done bool
		err := s.watched(ctx, func(ctx context.Context) (err error) {
			challenge, done, err = exchange.Next(ctx, response)
			return err
		})
		if err != nil || done {
			return err
		}
		if response, err = s.challenge(challenge); err != nil {
			return err
		}
	}
}

// decodeInitial reads an initial response; "=" stands for an empty one.
func decodeInitial(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	return decode64(s)
}

func decode64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// challenge sends one challenge and reads the client's response.
func (s *session) challenge(challenge []byte) ([]byte, error) {
	s.out.Raw("+ ").Raw(base64.StdEncoding.EncodeToString(challenge)).CRLF()
	if err := s.flush(); err != nil {
		return nil, err
	}
	line, err := s.dec.Line()
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, errCancelled
	}
	return decode64(string(line))
}

// openAccount begins what comes after a log-in.
func (s *session) openAccount(who *auth.Principal) (string, error) {
	if s.share = s.srv.enterAccount(who.Account); s.share == nil {
		who.Close()
		return "", errAccountLimit
	}
	s.who = who
	// The wait for the client fails then, which ends the session: also in IDLE.
	who.OnEnd(s.link.interrupt)
	s.watch()
	s.link.limit(time.Time{})
	s.log = s.log.With("account", uint32(who.Account))
	s.tune()
	s.log.Info("logged in", "mech", who.Mech, "level", who.Level,
		"tls", s.caller.TLS.Version, "resumed", s.caller.TLS.Resumed)
	s.caller, s.alerted = nil, ""
	if alert := who.Alert(); alert != "" {
		writeAlert(&s.out, "OK", alert)
	}
	return "[CAPABILITY " + s.capabilities() + "] Logged in", nil
}

// failed counts a refusal, and sees to it that its advice pops up at the client
// once: mail programs send one password in several ways. The last guess that is
// allowed ends the session.
func (s *session) failed(err error) error {
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	switch {
	case refusal.Text == "":
	case refusal.Text == s.alerted:
		err = fmt.Errorf("%w: %w", errToldBefore, err)
	default:
		s.alerted = refusal.Text
		if aboutCard(refusal) {
			writeAlert(&s.out, "NO", refusal.Text)
		}
	}
	if !refusal.Guess() {
		return err
	}
	if s.failures++; s.failures >= s.srv.Limits.Failures {
		return errors.Join(err, errTooManyLogins)
	}
	return err
}
