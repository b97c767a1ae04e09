package auth

import (
	"cmp"
	"context"
	"errors"
	"strings"
)

// How well we know who is calling.
const (
	LevelPassword = 1
	LevelCode     = 2 // a password and a code, or what was issued to somebody so known
	LevelCard     = 3
)

// Levels are what a domain asks of those who have an account there. A zero field means
// what it is in DefaultLevels.
type Levels struct {
	LogIn       int // to log in at all; an account with codes switched on needs LevelCode anyhow
	Read        int // to open mailboxes
	TrustSpace  int // to write to another operator's domain
	Credentials int // to change what one logs in with
}

// DefaultLevels are those of a domain that the policy does not name.
func DefaultLevels() Levels {
	return Levels{LogIn: LevelPassword, Read: LevelPassword, TrustSpace: LevelCode, Credentials: LevelCard}
}

// Policy says which level each domain asks for.
type Policy struct {
	Default Levels
	Domains map[string]Levels // normalised names
}

// of returns the levels for an account with that primary address.
func (p *Policy) of(address string) Levels {
	l, ok := p.Domains[address[strings.LastIndexByte(address, '@')+1:]]
	if !ok {
		l = p.Default
	}
	d := DefaultLevels()
	return Levels{
		LogIn: cmp.Or(l.LogIn, d.LogIn), Read: cmp.Or(l.Read, d.Read),
		TrustSpace: cmp.Or(l.TrustSpace, d.TrustSpace), Credentials: cmp.Or(l.Credentials, d.Credentials),
	}
}

// Action is something that takes a level.
type Action int

// The actions that Allow knows.
const (
	Read        Action = iota + 1 // open a mailbox
	TrustSpace                    // write to another operator's domain
	Credentials                   // change what one logs in with
)

func (a Action) String() string {
	switch a {
	case Read:
		return "read"
	case TrustSpace:
		return "write into the trust space"
	case Credentials:
		return "change credentials"
	}
	return "unknown action"
}

// Need is the level that an account with that primary address needs to do something.
func (a *Authenticator) Need(address string, what Action) int {
	l := a.Policy.of(address)
	switch what {
	case Read:
		return l.Read
	case TrustSpace:
		return l.TrustSpace
	case Credentials:
		return l.Credentials
	}
	return LevelCard
}

// Allow says whether who may do something. The error is a *Refusal with TooWeak.
func (a *Authenticator) Allow(ctx context.Context, who *Principal, what Action) error {
	a.start()
	need := a.Need(who.Address, what)
	if who.Level >= need {
		return nil
	}
	a.deny(ctx, who, what)
	return &Refusal{Code: TooWeak, Cause: errors.New(what.String()), Text: a.phrases().strong(need)}
}
