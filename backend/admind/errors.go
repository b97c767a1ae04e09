package admind

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/tls"
)

// Code tells a program what went wrong.
type Code string

// The codes of the protocol.
const (
	BadRequest    Code = "bad_request"     // not a request, or a member that is missing or not allowed
	Busy          Code = "busy"            // too many callers, too much work, or the server is closing
	NoSuchAccount Code = "no_such_account" // no account has this address
	AddressTaken  Code = "address_taken"   // an account or an alias has this address
	BadAddress    Code = "bad_address"     // not an address, or in a domain that is not ours
	WeakPassword  Code = "weak_password"   // against the password policy
	ByHand        Code = "by_hand"         // done, but for a step that only a person can do
	TimedOut      Code = "timed_out"       // it took longer than allowed
	Internal      Code = "internal"        // the server's log says more

	NoSuchAlias Code = "no_such_alias" // no alias has this address
	BadMember   Code = "bad_member"    // nothing here has the member's address, or it is no member
	AliasLoop   Code = "alias_loop"    // the alias would lead back to itself

	BadCertificate Code = "bad_certificate" // not a certificate
	BadCard        Code = "bad_card"        // a certificate that nobody may log in with
	Unchecked      Code = "unchecked"       // whether a card is revoked cannot be known now
	NoSuchCard     Code = "no_such_card"    // the account has no such card
	SeveralCards   Code = "several_cards"   // the account has several: name one
	CardElsewhere  Code = "card_elsewhere"  // the card opens another account
	Limit          Code = "limit"           // the account has as many as it may have
	TooWeak        Code = "too_weak"        // what the policy asks for cannot be had here

	BadContact Code = "bad_contact" // not an address outside this server
	WrongCode  Code = "wrong_code"  // wrong, used or over
	NoCode     Code = "no_code"     // no code is under way
	TooSoon    Code = "too_soon"    // too many codes were sent
	NoCourier  Code = "no_courier"  // the mail with the code cannot be sent

	NoSuchGrant       Code = "no_such_grant"
	NoSuchAppPassword Code = "no_such_app_password"
	BadAppPassword    Code = "bad_app_password" // a name, doors or a life that are not allowed
	Off               Code = "off"              // the server's configuration switches it off

	NoSuchMessage Code = "no_such_message" // the account has sent no such message, or it was too long ago

	BadWhiteList Code = "bad_white_list" // it cannot be read, or is refused
	HeldBack     Code = "held_back"      // it waits to be accepted

	NotQueued Code = "not_queued" // no such message is in the queue
	Damaged   Code = "damaged"    // the message of the queue cannot be read
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
	errLife        = errors.New("admind: length of time out of range")
	errNetwork     = errors.New("admind: not a network")
	errIdentity    = errors.New("admind: not an identity")
	errCertificate = errors.New("admind: not a certificate")
	errSeveral     = errors.New("admind: several cards")
	errMember      = errors.New("admind: nobody has the member's address")
	errMemberAway  = errors.New("admind: the member is elsewhere")
	errNotMember   = errors.New("admind: not a member")
	errNoMembers   = errors.New("admind: an alias without members")
	errWriters     = errors.New("admind: unknown writers")
	errAliasState  = errors.New("admind: unknown state of an alias")
	errPostmaster  = errors.New("admind: postmaster hears everybody")
	errNoChange    = errors.New("admind: nothing to change")
	errLast        = errors.New("admind: negative number of messages")
	errWhichGrant  = errors.New("admind: neither one grant nor all")
)

// phrase is what callers are told of a cause.
type phrase struct {
	cause error
	Error
}

// phrases tell people what to do next; the first whose cause matches counts.
func phrases() []phrase {
	return slices.Concat(requestPhrases(), accountPhrases(), aliasPhrases(), credentialPhrases(), whiteListPhrases(), queuePhrases())
}

func requestPhrases() []phrase {
	return []phrase{
		{errBadRequest, Error{BadRequest, "the request is not one line of JSON with known members"}},
		{errLineTooLong, Error{BadRequest, "the request line is too long"}},
		{errBusy, Error{Busy, "too many programs are using the administration socket: try again in a moment"}},
		{errUnknownOp, Error{BadRequest, "there is no such operation"}},
		{errNoAddress, Error{BadRequest, "the request needs an address"}},
		{errName, Error{BadRequest, fmt.Sprintf("a name has at most %d octets of UTF-8 and no control characters", maxName)}},
		{errQuota, Error{BadRequest, "a quota cannot be negative"}},
		{errLife, Error{BadRequest, "a length of time is at least 0 and at most ten years"}},
		{errNetwork, Error{BadRequest, "this is no network: write it like 192.0.2.0/24 or 2001:db8::/64"}},
		{errIdentity, Error{BadRequest, fmt.Sprintf("the identity of a card has at most %d octets of UTF-8 and no control characters", maxIdentity)}},
		{errWhichGrant, Error{BadRequest, "name one grant, or say that all are meant"}},
		{errLast, Error{BadRequest, "a number of messages cannot be negative"}},
		{storage.ErrNoTrace, Error{NoSuchMessage, "the account has sent no message of this name or Message-ID, or it was too long ago"}},
		{context.DeadlineExceeded, Error{TimedOut, "the server took too long: look whether the change was made before trying again"}},
	}
}

func accountPhrases() []phrase {
	return []phrase{
		{errForeign, Error{BadAddress, "this domain is not served here: add it to domains in the configuration first"}},
		{backend.ErrAddress, Error{BadAddress, "this is not an address of the form name@domain"}},
		{auth.ErrCharacters, Error{WeakPassword, auth.ErrCharacters.Error()}},
		{auth.ErrTooShort, Error{WeakPassword, auth.ErrTooShort.Error()}},
		{auth.ErrTooCommon, Error{WeakPassword, auth.ErrTooCommon.Error()}},
		{auth.ErrHasName, Error{WeakPassword, auth.ErrHasName.Error()}},
		{storage.ErrNoAccount, Error{NoSuchAccount, "there is no account with this address"}},
		{storage.ErrAccountExists, Error{AddressTaken, "an account has this address already"}},
		{storage.ErrByHand, Error{ByHand, "the account is gone and its mail unreadable here, but its key must still be destroyed by hand: the server's log says how"}},
	}
}

func aliasPhrases() []phrase {
	return []phrase{
		{storage.ErrAliasExists, Error{AddressTaken, "an alias has this address already"}},
		{storage.ErrNoAlias, Error{NoSuchAlias, "there is no alias with this address: see telesphore alias list"}},
		{errMember, Error{BadMember, "no account and no alias has the address of a member: check its spelling"}},
		{errMemberAway, Error{BadMember, "a member is not in a domain of this server: an alias leads to addresses here only"}},
		{errNotMember, Error{BadMember, "this is not a member: see telesphore alias show"}},
		{errNoMembers, Error{BadRequest, "an alias needs a member: delete the alias if there is none"}},
		{errWriters, Error{BadRequest, "who may write to an alias is one of everyone, domain and members"}},
		{errAliasState, Error{BadRequest, "the state of an alias is active or disabled"}},
		{errPostmaster, Error{BadRequest, "postmaster must hear everybody (RFC 5321 section 4.5.1): leave it open and switched on"}},
		{errNoChange, Error{BadRequest, "say what to change"}},
		{backend.ErrAliasLoop, Error{AliasLoop, "the alias would lead back to itself, by way of its members"}},
		{backend.ErrAliasDepth, Error{Limit, "too many aliases would lie inside each other: the configuration says how many may"}},
		{backend.ErrMembers, Error{Limit, "the alias would have more members than it may have: the configuration says how many"}},
		{backend.ErrRecipients, Error{Limit, "a message to an alias would have more recipients than it may have: the configuration says how many"}},
	}
}

func credentialPhrases() []phrase {
	return []phrase{
		{errCertificate, Error{BadCertificate, "this is not a certificate in DER"}},
		{tls.ErrUnknownIssuer, Error{BadCard, "it was issued by an authority that the configuration does not name, or no issuer of cards is configured"}},
		{tls.ErrExpired, Error{BadCard, "its certificate has expired: the holder needs a renewed card"}},
		{tls.ErrNotYetValid, Error{BadCard, "its certificate is not valid yet: look at its dates, and at this machine's clock"}},
		{tls.ErrUsage, Error{BadCard, "this certificate is not for logging in, or does not say whose it is: take the card's authentication certificate"}},
		{tls.ErrRevoked, Error{BadCard, "its certificate has been revoked by its issuer: the holder needs a new card"}},
		{tls.ErrRevocationUnknown, Error{Unchecked, "whether it is revoked cannot be known now: see telesphore card lists"}},
		{storage.ErrNoCard, Error{NoSuchCard, "the account has no such card: see telesphore card list"}},
		{errSeveral, Error{SeveralCards, "the account has several such cards: name the identity of one, see telesphore card list"}},
		{auth.ErrCardElsewhere, Error{CardElsewhere, "the card opens another account: unlink it there first, or say that it is to open this one also (--also)"}},
		{auth.ErrGroup, Error{BadRequest, auth.ErrGroup.Error()}},
		{auth.ErrCardLimit, Error{Limit, "the account has as many cards as it may have: unlink one first"}},

		{auth.ErrContact, Error{BadContact, "the contact address must be an address outside this server, since a code that lies in the mailbox that it opens protects nothing"}},
		{auth.ErrWrongCode, Error{WrongCode, "the code is wrong, used or over: look at the last one, or begin again"}},
		{auth.ErrNoCode, Error{NoCode, "no code is under way: have one sent first (telesphore code on)"}},
		{auth.ErrTooSoon, Error{TooSoon, "too many codes were sent: use the last one, or wait before asking for another"}},
		{auth.ErrNoCourier, Error{NoCourier, "the mail with the code cannot be sent to this address: the server's log says why"}},

		{storage.ErrNoGrant, Error{NoSuchGrant, "the account has no such grant: see telesphore grant list"}},
		{storage.ErrNoAppPassword, Error{NoSuchAppPassword, "the account has no such application password: see telesphore app-password list"}},
		{auth.ErrAppLimit, Error{Limit, "the account has as many application passwords as it may have: remove one first"}},
		{auth.ErrAppOff, Error{Off, "application passwords are switched off in the configuration"}},
		{auth.ErrAppRequest, Error{BadAppPassword, "an application password needs a name, doors that this server has, and a life within its limit"}},
	}
}

// translate is the only place that makes codes.
func translate(err error) *Error {
	for _, p := range phrases() {
		if errors.Is(err, p.cause) {
			return &p.Error
		}
	}
	if refusal := new(auth.Refusal); errors.As(err, &refusal) {
		switch refusal.Code {
		case auth.Unavailable, auth.TooManyFailures:
			return &Error{Busy, "the server has too much to do: try again in a moment"}
		case auth.TooWeak:
			return &Error{TooWeak, "the policy for this domain asks for more than an administrator has"}
		}
	}
	return &Error{Internal, "the server could not do it: its log says why"}
}
