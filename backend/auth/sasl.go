package auth

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrSyntax reports a response that the mechanism does not allow. Its door
// answers as to any malformed command.
var ErrSyntax = errors.New("auth: malformed response")

// Names of the mechanisms, as they are registered.
const (
	mechExternal  = "EXTERNAL"
	mechScramPlus = "SCRAM-SHA-256-PLUS"
	mechScram     = "SCRAM-SHA-256"
	mechBearer    = "OAUTHBEARER"
	mechXOAuth2   = "XOAUTH2"
	mechPlain     = "PLAIN"
	mechLogin     = "LOGIN"
)

// Mechanisms lists the SASL mechanisms to offer on a connection, the best first.
// EXTERNAL is there whenever a certificate was presented, good or bad: programs
// that find it in the list choose it even without one.
func (a *Authenticator) Mechanisms(c *Caller) []string {
	a.start()
	var list []string
	if c.TLS.Peer != nil {
		list = append(list, mechExternal)
	}
	if a.scramOffered() {
		if c.TLS.Binding != nil {
			list = append(list, mechScramPlus)
		}
		list = append(list, mechScram)
	}
	if len(a.Tokens) > 0 {
		list = append(list, mechBearer, mechXOAuth2)
	}
	list = append(list, mechPlain, mechLogin)
	return slices.DeleteFunc(list, func(mech string) bool { return slices.Contains(a.Hidden[c.Proto], mech) })
}

// Exchange is one SASL exchange (RFC 4422), the server's side. It is not safe for
// concurrent use, and needs no end: a client that cancels is just not asked again.
type Exchange struct {
	// Principal is who it was, once Next has said that it is done.
	Principal *Principal

	a    *Authenticator
	c    *Caller
	mech string
	then step // what takes the next response, nil when the exchange is over
}

// step takes a response. It returns a challenge with the step that takes the
// answer to it, or no step when the exchange is over.
type step func(ctx context.Context, response []byte) (challenge []byte, then step, err error)

// Begin starts an exchange; nil when there is no such mechanism on the connection.
func (a *Authenticator) Begin(c *Caller, mech string) *Exchange {
	a.start()
	if !slices.Contains(a.Mechanisms(c), mech) {
		return nil
	}
	e := &Exchange{a: a, c: c, mech: mech}
	switch mech {
	case mechExternal:
		e.then = clientFirst(e.external)
	case mechScramPlus, mechScram:
		e.then = clientFirst(e.scram)
	case mechBearer, mechXOAuth2:
		e.then = clientFirst(e.token)
	case mechLogin:
		e.then = e.loginFirst
	default:
		e.then = clientFirst(e.plain)
	}
	return e
}

// Next takes the client's response, nil when it has not sent any yet and empty
// when it sent an empty one, and returns the next challenge, or done. The error is
// ErrSyntax, a *Refusal or ctx's; any of them ends the exchange.
func (e *Exchange) Next(ctx context.Context, response []byte) (challenge []byte, done bool, err error) {
	if e.then == nil {
		return nil, false, ErrSyntax
	}
	challenge, e.then, err = e.then(ctx, response)
	if err != nil {
		e.then = nil
		return nil, false, err
	}
	return challenge, e.then == nil, nil
}

// finish keeps who it was.
func (e *Exchange) finish(p *Principal, err error) ([]byte, step, error) {
	e.Principal = p
	return nil, nil, err
}

// clientFirst asks for the response that a mechanism begins with, when the client has
// not sent it along (RFC 4422 section 5).
func clientFirst(first step) step {
	return func(ctx context.Context, response []byte) ([]byte, step, error) {
		if response == nil {
			return []byte{}, first, nil
		}
		return first(ctx, response)
	}
}

// plain takes the message of PLAIN (RFC 4616 section 2). Whether it is UTF-8 is
// not looked at: passwords in Latin-1 are common, see forms.
func (e *Exchange) plain(ctx context.Context, response []byte) ([]byte, step, error) {
	part := bytes.Split(response, []byte{0})
	if len(part) != 3 || len(part[1]) == 0 || len(part[2]) == 0 {
		return nil, nil, ErrSyntax
	}
	return e.finish(e.a.LogIn(ctx, e.c, &Attempt{
		Mech: e.mech, AuthzID: string(part[0]), User: string(part[1]), Secret: string(part[2]),
	}))
}

// loginFirst begins LOGIN (draft-murchison-sasl-login). Thunderbird knows the
// prompts by these very words.
func (e *Exchange) loginFirst(ctx context.Context, response []byte) ([]byte, step, error) {
	if response == nil {
		return []byte("Username:"), e.loginName, nil
	}
	return e.loginName(ctx, response)
}

func (e *Exchange) loginName(_ context.Context, response []byte) ([]byte, step, error) {
	if len(response) == 0 || bytes.IndexByte(response, 0) >= 0 {
		return nil, nil, ErrSyntax
	}
	name := string(response)
	return []byte("Password:"), func(ctx context.Context, response []byte) ([]byte, step, error) {
		if len(response) == 0 || bytes.IndexByte(response, 0) >= 0 {
			return nil, nil, ErrSyntax
		}
		return e.finish(e.a.LogIn(ctx, e.c, &Attempt{Mech: e.mech, User: name, Secret: string(response)}))
	}, nil
}

// external takes the message of EXTERNAL (RFC 4422 appendix A): whom to act as,
// mostly nobody in particular.
func (e *Exchange) external(ctx context.Context, response []byte) ([]byte, step, error) {
	authzID := string(response)
	if !utf8.ValidString(authzID) || strings.IndexByte(authzID, 0) >= 0 {
		return nil, nil, ErrSyntax
	}
	return e.finish(e.a.external(ctx, e.c, authzID))
}
