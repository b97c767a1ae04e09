package auth

import (
	"fmt"
)

// Code is why an attempt is refused, as far as a stranger may know.
type Code int

// The codes of a Refusal.
const (
	BadCredentials  Code = iota + 1 // no such user, wrong secret, not allowed to act as AuthzID
	Disabled                        // the secret was right, the account is switched off
	TooManyFailures                 // guesses from there or at that account: come back later
	Unavailable                     // our own trouble: try again
	CodeNeeded                      // the password was right; a one-time code belongs behind it
	TooWeak                         // who it is is known, but not well enough for this
	CardRefused                     // the card's certificate is not good: Cause says why
	CardUnlinked                    // a good card that opens no account yet
)

func (c Code) String() string {
	switch c {
	case BadCredentials:
		return "bad credentials"
	case Disabled:
		return "account disabled"
	case TooManyFailures:
		return "too many failures"
	case Unavailable:
		return "unavailable"
	case CodeNeeded:
		return "code needed"
	case TooWeak:
		return "too weak"
	case CardRefused:
		return "card refused"
	case CardUnlinked:
		return "card not linked"
	}
	return fmt.Sprintf("code %d", int(c))
}

// Refusal is why somebody is refused. Its Error is for the log, Code and Text are
// for the stranger.
type Refusal struct {
	Code  Code
	Cause error // may be nil

	// Text tells the person what to do, in the server's language and in ASCII;
	// "" when a door's own words will do. It gives nothing away that Code does not.
	Text string

	// Repeated: the same wrong secret was refused less than an hour ago. It is no
	// new guess; mail programs send a password in two or three ways.
	Repeated bool
}

func (r *Refusal) Error() string {
	if r.Cause == nil {
		return "refused: " + r.Code.String()
	}
	return "refused: " + r.Code.String() + ": " + r.Cause.Error()
}

func (r *Refusal) Unwrap() error { return r.Cause }

// Guess says whether the refusal is of a secret, or of something else that can be
// tried again and again: doors count those.
func (r *Refusal) Guess() bool {
	return r.Code != CodeNeeded && r.Code != TooWeak && r.Code != Unavailable
}
