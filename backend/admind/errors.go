package admind

import (
	"context"
	"errors"
	"fmt"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
)

// Code tells a program what went wrong.
type Code string

// The codes of the protocol.
const (
	BadRequest    Code = "bad_request"     // not a request, or a member that is missing or not allowed
	Busy          Code = "busy"            // too many callers, or the server is closing
	NoSuchAccount Code = "no_such_account" // no account has this address
	AddressTaken  Code = "address_taken"   // another account has this address
	BadAddress    Code = "bad_address"     // not an address, or in a domain that is not ours
	WeakPassword  Code = "weak_password"   // against the password policy
	ByHand        Code = "by_hand"         // done, but for a step that only a person can do
	TimedOut      Code = "timed_out"       // it took longer than allowed
	Internal      Code = "internal"        // the server's log says more
)

// Error is how a request failed.
type Error struct {
	Code Code   `json:"code"`
	Text string `json:"text"` // for people, in English
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

// What this package itself refuses.
var (
	errBadRequest  = errors.New("admind: request not understood")
	errLineTooLong = errors.New("admind: request line too long")
	errBusy        = errors.New("admind: too many callers")
	errUnknownOp   = errors.New("admind: unknown operation")
	errNoAddress   = errors.New("admind: request without an address")
	errName        = errors.New("admind: name too long or with control characters")
	errQuota       = errors.New("admind: negative quota")
	errForeign     = errors.New("admind: domain is not ours")
)

// phrases are what callers are told, by cause; the first that matches counts.
func phrases() []struct {
	cause error
	Error
} {
	return []struct {
		cause error
		Error
	}{
		{errBadRequest, Error{BadRequest, "the request is not one line of JSON with known members"}},
		{errLineTooLong, Error{BadRequest, "the request line is too long"}},
		{errBusy, Error{Busy, "too many programs are using the administration socket: try again in a moment"}},
		{errUnknownOp, Error{BadRequest, "there is no such operation"}},
		{errNoAddress, Error{BadRequest, "the request needs an address"}},
		{errName, Error{BadRequest, fmt.Sprintf("a name has at most %d octets of UTF-8 and no control characters", maxName)}},
		{errQuota, Error{BadRequest, "a quota cannot be negative"}},
		{errForeign, Error{BadAddress, "this domain is not served here: add it to domains in the configuration first"}},
		{backend.ErrAddress, Error{BadAddress, "this is not an address of the form name@domain"}},
		{auth.ErrCharacters, Error{WeakPassword, auth.ErrCharacters.Error()}},
		{auth.ErrTooShort, Error{WeakPassword, auth.ErrTooShort.Error()}},
		{auth.ErrTooCommon, Error{WeakPassword, auth.ErrTooCommon.Error()}},
		{auth.ErrHasName, Error{WeakPassword, auth.ErrHasName.Error()}},
		{storage.ErrNoAccount, Error{NoSuchAccount, "there is no account with this address"}},
		{storage.ErrAccountExists, Error{AddressTaken, "another account has this address already"}},
		{storage.ErrByHand, Error{ByHand, "the account is gone and its mail unreadable here, but its key must still be destroyed by hand: the server's log says how"}},
		{context.DeadlineExceeded, Error{TimedOut, "the server took too long: look whether the change was made before trying again"}},
	}
}

// translate is the only place that makes codes.
func translate(err error) *Error {
	for _, p := range phrases() {
		if errors.Is(err, p.cause) {
			return &p.Error
		}
	}
	return &Error{Internal, "the server could not do it: its log says why"}
}
