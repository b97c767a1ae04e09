package imapd

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strconv"

	"telesphore/backend/auth"
	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// What the session's commands return besides the errors of storage, auth and
// wire. Some of them wrap one of those, to tell what it means here.
var (
	errGone     = errors.New("imapd: client left")
	errShutdown = errors.New("imapd: server shutting down")
	errBusy     = errors.New("imapd: too much memory in use")

	errUnknownCommand = errors.New("imapd: unknown command")
	errNotNow         = errors.New("imapd: command not allowed now")
	errLogInFirst     = errors.New("imapd: not logged in")
	errSelectFirst    = errors.New("imapd: no mailbox selected")
	errNeedTLS        = errors.New("imapd: log-in without TLS")
	errHaveTLS        = errors.New("imapd: TLS is on already")
	errMechanism      = errors.New("imapd: unknown mechanism")
	errBase64         = errors.New("imapd: not base64")
	errCancelled      = errors.New("imapd: log-in cancelled by the client")
	errToldBefore     = errors.New("imapd: told on this connection before")
	errLogInOver      = errors.New("imapd: log-in is over")
	errMayNot         = errors.New("imapd: known, but not well enough")
	errAccountLimit   = errors.New("imapd: too many sessions of the account")

	errReadOnly       = errors.New("imapd: mailbox is read-only")
	errTryCreate      = errors.New("imapd: no such destination")
	errUseAttr        = errors.New("imapd: special use not supported")
	errNotSubscribed  = errors.New("imapd: not subscribed")
	errKeyword        = errors.New("imapd: keyword too long, or too many")
	errLiteralNUL     = errors.New("imapd: NUL in a literal")
	errMailboxDeleted = errors.New("imapd: selected mailbox was deleted")
	errAccountChanged = errors.New("imapd: account disabled or its credentials changed")
	errTooManyBad     = errors.New("imapd: too many bad commands")
	errTooManyLogins  = errors.New("imapd: too many failed log-ins")
	errAutologout     = errors.New("imapd: no command for too long")
	errLoginTime      = errors.New("imapd: no log-in for too long")
	errPanic          = errors.New("imapd: panic")
	errLoggedOut      = errors.New("imapd: client logged out")
	errUpgraded       = errors.New("imapd: STARTTLS answered already")
)

// answer is what a client is told in place of an error.
type answer struct {
	status string // OK, NO or BAD
	code   string // without brackets, may be ""
	text   string
	fault  bool // it is the server's: goes to the log
}

// judge translates an error of a command. It knows nothing of the error's
// text, so that nothing internal reaches a stranger.
func judge(err error) answer {
	var syntax *wire.SyntaxError
	var big *wire.TooBig
	var refusal *auth.Refusal
	switch {
	case errors.As(err, &syntax):
		return answer{status: "BAD", text: syntax.Text}
	case errors.As(err, &big):
		return judgeTooBig(big)
	case errors.As(err, &refusal):
		return judgeRefusal(refusal, err)
	}
	for _, judged := range [...]func(error) (answer, bool){judgeProtocol, judgeSession, judgeStore} {
		if a, ok := judged(err); ok {
			return a
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return answer{"NO", "UNAVAILABLE", "Command was broken off", false}
	}
	return answer{"NO", "SERVERBUG", "Something went wrong on the server; it has been logged", true}
}

func judgeTooBig(e *wire.TooBig) answer {
	if e.Message() {
		return answer{"NO", "TOOBIG", "Message is larger than " + strconv.FormatInt(e.Limit, 10) + " octets", false}
	}
	return answer{"BAD", "TOOBIG", "Command is too long", false}
}

// judgeRefusal has one text for all that is wrong with credentials, so that
// nobody learns which accounts exist. What somebody has to do who gave the right
// ones goes under ALERT, since some programs show no other text.
func judgeRefusal(r *auth.Refusal, err error) answer {
	told := errors.Is(err, errToldBefore)
	switch {
	case errors.Is(err, errMayNot):
		return answer{"NO", "NOPERM", cmp.Or(r.Text, "Strong authentication is required"), false}
	case r.Code == auth.Disabled:
		return answer{"NO", "CONTACTADMIN", cmp.Or(r.Text, "Account is disabled: ask your administrator"), false}
	case r.Code == auth.TooManyFailures:
		return answer{"NO", "UNAVAILABLE", "Too many failed log-ins, try again later", false}
	case r.Code == auth.Unavailable:
		return answer{"NO", "UNAVAILABLE", cmp.Or(r.Text, "Log-in is not possible at the moment"), true}
	case r.Code == auth.BadCredentials || r.Text == "":
		return answer{"NO", "AUTHENTICATIONFAILED", "Authentication failed", false}
	case told || aboutCard(r): // an untagged ALERT came before
		return answer{"NO", "AUTHENTICATIONFAILED", r.Text, false}
	}
	return answer{"NO", "ALERT", r.Text, false}
}

// aboutCard says whether the advice of a refusal is about the card, which was shown
// before anybody said who he is: it goes into an answer of its own, so that the
// tagged one can keep the code that programs know.
func aboutCard(r *auth.Refusal) bool {
	return (r.Code == auth.CardRefused || r.Code == auth.CardUnlinked) && r.Text != ""
}

// writeAlert makes a text pop up at the client (RFC 9051 section 7.1).
func writeAlert(e *wire.Encoder, status, text string) {
	e.Raw("* ").Raw(status).Raw(" [ALERT] ").Raw(text).CRLF()
}

// judgeProtocol is about what the client may ask for, and when.
func judgeProtocol(err error) (answer, bool) {
	switch {
	case errors.Is(err, errUnknownCommand):
		return answer{"BAD", "", "Unknown command", false}, true
	case errors.Is(err, errNotNow):
		return answer{"BAD", "", "Command is not allowed now", false}, true
	case errors.Is(err, errLogInFirst):
		return answer{"BAD", "", "Log in first", false}, true
	case errors.Is(err, errSelectFirst):
		return answer{"BAD", "", "No mailbox is selected", false}, true
	case errors.Is(err, errHaveTLS):
		return answer{"BAD", "", "TLS is not possible now", false}, true
	case errors.Is(err, errNeedTLS):
		return answer{"NO", "PRIVACYREQUIRED", "Log-in needs TLS: use STARTTLS, or the port for TLS", false}, true
	case errors.Is(err, errMechanism):
		return answer{"NO", "CANNOT", "Mechanism is not supported", false}, true
	case errors.Is(err, errBase64):
		return answer{"BAD", "", "Invalid base64", false}, true
	case errors.Is(err, errCancelled):
		return answer{"BAD", "", "Authentication cancelled", false}, true
	case errors.Is(err, auth.ErrSyntax):
		return answer{"BAD", "", "Malformed credentials", false}, true
	case errors.Is(err, errAccountLimit):
		return answer{"NO", "LIMIT", "Too many connections of this account: close another program", false}, true
	}
	return answer{}, false
}

// judgeSession is about mailboxes and messages as the session sees them.
func judgeSession(err error) (answer, bool) {
	switch {
	case errors.Is(err, errReadOnly):
		return answer{"NO", "READ-ONLY", "Mailbox is selected read-only", false}, true
	case errors.Is(err, errTryCreate):
		return answer{"NO", "TRYCREATE", "No such mailbox", false}, true
	case errors.Is(err, errUseAttr):
		return answer{"NO", "USEATTR", "Special use is not supported or taken", false}, true
	case errors.Is(err, errNotSubscribed):
		return answer{"NO", "NONEXISTENT", "Mailbox is not subscribed", false}, true
	case errors.Is(err, errKeyword):
		return answer{"NO", "LIMIT", "Keyword is too long, or there are too many", false}, true
	case errors.Is(err, errLiteralNUL):
		return answer{"BAD", "", "NUL needs a literal8", false}, true
	case errors.Is(err, errBadCharset):
		return answer{"NO", "BADCHARSET (UTF-8 US-ASCII)", "Charset is not supported", false}, true
	case errors.Is(err, errTooCostly):
		return answer{"NO", "LIMIT", "Search is too costly: name fewer words, or fewer messages", false}, true
	case errors.Is(err, errExpungeIssued):
		return answer{"OK", "EXPUNGEISSUED", "Some messages are gone", false}, true
	case errors.Is(err, errUnknownCTE):
		return answer{"NO", "UNKNOWN-CTE", "Transfer encoding is not known", false}, true
	case errors.Is(err, errBusy):
		return answer{"NO", "UNAVAILABLE", "Server is busy, try again later", true}, true
	}
	return answer{}, false
}

func judgeStore(err error) (answer, bool) {
	switch {
	case errors.Is(err, storage.ErrNoMailbox):
		return answer{"NO", "NONEXISTENT", "No such mailbox", false}, true
	case errors.Is(err, storage.ErrMailboxExists):
		return answer{"NO", "ALREADYEXISTS", "Mailbox exists", false}, true
	case errors.Is(err, storage.ErrMailboxName):
		return answer{"NO", "CANNOT", "Mailbox name is not allowed: too long, too deep, or with an empty level or control character", false}, true
	case errors.Is(err, storage.ErrMailboxLimit):
		return answer{"NO", "LIMIT", "Too many mailboxes: delete one first", false}, true
	case errors.Is(err, storage.ErrSpecialUse):
		return answer{"NO", "USEATTR", "Another mailbox has this special use", false}, true
	case errors.Is(err, storage.ErrInbox):
		return answer{"NO", "CANNOT", "Not possible with INBOX", false}, true
	case errors.Is(err, storage.ErrKeywordLimit):
		return answer{"NO", "LIMIT", "No room for another keyword: use one that the mailbox has", false}, true
	case errors.Is(err, storage.ErrNoMessage):
		return answer{"NO", "EXPUNGEISSUED", "Message is gone", false}, true
	case errors.Is(err, storage.ErrOverQuota):
		return answer{"NO", "OVERQUOTA", "The account is full: delete messages, or ask for more room", false}, true
	case errors.Is(err, storage.ErrNoSpace):
		return answer{"NO", "UNAVAILABLE", "The server has no room for more mail at the moment, try again later", false}, true
	case errors.Is(err, storage.ErrTooMany):
		return answer{"NO", "LIMIT", "Too many messages at once: take fewer at a time", false}, true
	case errors.Is(err, storage.ErrNoAccount):
		return answer{"NO", "CONTACTADMIN", "Account is gone", false}, true
	}
	return answer{}, false
}

// farewell is what "* BYE" says at a session's end; "" when nothing can be
// said any more.
func farewell(err error) string {
	switch {
	case errors.Is(err, errShutdown):
		return "Server shutting down"
	case errors.Is(err, errAutologout):
		return "Autologout, no command for too long"
	case errors.Is(err, errLoginTime):
		return "No log-in for too long"
	case errors.Is(err, errTooManyBad):
		return "Too many bad commands"
	case errors.Is(err, errTooManyLogins):
		return "Too many failed log-ins"
	case errors.Is(err, errLogInOver):
		return "[ALERT] Your log-in has ended: log in again"
	case errors.Is(err, errMailboxDeleted):
		return "Selected mailbox was deleted"
	case errors.Is(err, errAccountChanged):
		return "[UNAVAILABLE] Account was disabled or changed, log in again"
	case errors.Is(err, errBusy):
		return "[UNAVAILABLE] Server is busy, try again later"
	case errors.Is(err, wire.ErrDiscard):
		return "[TOOBIG] Command is too long"
	case errors.Is(err, errPanic):
		return "[SERVERBUG] Something went wrong on the server; it has been logged"
	}
	return ""
}

// write puts the answer to a command into the reply.
func (a answer) write(e *wire.Encoder, tag string) {
	e.Raw(tag).SP().Raw(a.status).SP()
	if a.code != "" {
		e.Byte('[').Raw(a.code).Raw("] ")
	}
	e.Raw(a.text).CRLF()
}

// report logs what is the server's fault. Commands are named, never quoted.
func (s *session) report(command string, err error) {
	s.log.LogAttrs(s.ctx, slog.LevelError, "IMAP command failed",
		slog.String("command", command), slog.Any("err", err))
}
