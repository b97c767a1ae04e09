package relay

import (
	"errors"
	"fmt"
)

// Errors of Send, to be tested with errors.Is.
var (
	ErrNoRoute   = errors.New("no route to this domain")
	ErrPermanent = errors.New("refused for good")      // trying again changes nothing
	ErrTemporary = errors.New("not possible just now") // trying again may help
)

// Error is why an attempt failed. It is an ErrPermanent or an ErrTemporary, and
// repeats nothing that the peer wrote: that is in the log.
type Error struct {
	Step     string // what we were doing: "connect", "RCPT", ...
	Code     int    // of the peer's reply, 0 when there was none
	Enhanced string // its enhanced status code "5.1.1" (RFC 3463), "" for none
	Cause    error  // when there was no reply

	permanent bool
}

func (e *Error) Error() string {
	switch {
	case e.Cause != nil:
		return fmt.Sprintf("relay: %s: %v", e.Step, e.Cause)
	case e.Enhanced != "":
		return fmt.Sprintf("relay: %s: answered %d %s", e.Step, e.Code, e.Enhanced)
	}
	return fmt.Sprintf("relay: %s: answered %d", e.Step, e.Code)
}

func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is find ErrPermanent or ErrTemporary.
func (e *Error) Is(target error) bool {
	return target == ErrPermanent && e.permanent || target == ErrTemporary && !e.permanent
}

// Permanent reports whether trying again is of no use.
func (e *Error) Permanent() bool { return e.permanent }
