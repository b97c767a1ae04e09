package imapd

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/emersion/go-sasl"

	"telesphore/backend/auth"
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
	if err := s.startTLS(ctx, s.srv.TLS, s.srv.Limits.Handshake); err != nil {
		s.log.Debug("TLS handshake failed", "err", err)
		return "", errGone
	}
	s.link.wait(s.srv.Limits.Stall)
	s.in.Reset(&s.conn)
	s.dec.Reset(s.in)
	return "", errUpgraded
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
	return s.verify(ctx, &auth.Attempt{Mech: "LOGIN", User: user, Secret: secret})
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
	a := &auth.Attempt{Mech: name}
	mech, ok := mechanism(name, a)
	if !ok {
		return "", errMechanism
	}
	if err := s.converse(mech, initial, haveInitial); err != nil {
		return "", err
	}
	return s.verify(ctx, a)
}

// mechanism returns the server side of a SASL mechanism that fills a.
func mechanism(name string, a *auth.Attempt) (sasl.Server, bool) {
	switch name {
	case "PLAIN":
		return sasl.NewPlainServer(func(identity, user, password string) error {
			a.AuthzID, a.User, a.Secret = identity, user, password
			return nil
		}), true
	case "LOGIN":
		return &loginServer{attempt: a}, true
	}
	return nil, false
}

// converse exchanges challenges and responses until mech has what it needs.
func (s *session) converse(mech sasl.Server, initial string, haveInitial bool) error {
	var response []byte
	if haveInitial {
		var err error
		if response, err = decodeInitial(initial); err != nil {
			return err
		}
	}
	for {
		challenge, done, err := mech.Next(response)
		if err != nil {
			return errMalformed
		}
		if done {
			return nil
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

// loginServer is the server side of LOGIN (draft-murchison-sasl-login), with
// the prompts that clients look for.
type loginServer struct {
	attempt *auth.Attempt
	step    int
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	if l.step == 0 && response == nil {
		l.step = 1
		return []byte("Username:"), false, nil
	}
	if l.step <= 1 { // the name, perhaps as an initial response
		l.attempt.User = string(response)
		l.step = 2
		return []byte("Password:"), false, nil
	}
	l.attempt.Secret = string(response)
	return nil, true, nil
}

// verify asks who it is, and opens the account.
func (s *session) verify(ctx context.Context, a *auth.Attempt) (string, error) {
	a.Proto, a.Remote, a.ConnID = "imap", s.remote, s.id
	var who *auth.Principal
	err := s.watched(ctx, func(ctx context.Context) (err error) {
		who, err = s.srv.Auth.Verify(ctx, a)
		return err
	})
	a.Secret = ""
	if err != nil {
		return "", s.failed(err)
	}
	if s.share = s.srv.enterAccount(who.Account); s.share == nil {
		return "", errAccountLimit
	}
	s.account, s.epoch = who.Account, who.Epoch
	s.watch()
	s.link.limit(time.Time{})
	s.log = s.log.With("account", uint32(s.account))
	s.tune()
	s.log.Info("logged in", "mech", a.Mech, "tls", s.tls)
	return "[CAPABILITY " + s.capabilities() + "] Logged in", nil
}

// failed counts a refusal. The last one that is allowed ends the session.
func (s *session) failed(err error) error {
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	if s.failures++; s.failures >= s.srv.Limits.Failures {
		return errors.Join(err, errTooManyLogins)
	}
	return err
}
