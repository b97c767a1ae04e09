package smtpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
)

// Every reply of the doors that is not go-smtp's own is made in this file: code
// (RFC 5321 section 4.2), enhanced code (RFC 3463), text for the stranger. The cause
// goes to the log. Texts are ASCII; those of MAIL, RCPT and DATA reach people's
// screens, those of AUTH do not in Thunderbird.
//
// Users get no 451 or 452 at MAIL, where Thunderbird takes them for too many recipients.
var (
	errNeedTLS      = reply(530, 5, 7, 0, "Must issue a STARTTLS command first")
	errAuthNeedsTLS = reply(538, 5, 7, 11, "Encryption required for requested authentication mechanism")
	errNeedAuth     = reply(530, 5, 7, 0, "Authentication required: log in, or insert your card")
	errNotOwned     = reply(550, 5, 7, 1, "Sender address not owned by user")

	errBadCredentials  = reply(535, 5, 7, 8, "Authentication credentials invalid")
	errDisabled        = reply(525, 5, 7, 13, "User account disabled")
	errTooManyFailures = reply(421, 4, 7, 0, "Too many authentication failures")
	errAuthUnavailable = reply(454, 4, 7, 0, "Temporary authentication failure")
	errAuthInTx        = reply(503, 5, 5, 1, "AUTH is not allowed during a mail transaction")
	errMechanism       = reply(504, 5, 5, 4, "Authentication mechanism not supported")
	errBase64          = reply(501, 5, 5, 2, "Cannot decode the response")
	errSASLSyntax      = reply(501, 5, 5, 2, "Malformed authentication response")
	errAuthLine        = reply(500, 5, 5, 6, "Authentication exchange line is too long")
	errTwice           = reply(503, 5, 5, 1, "Already authenticated")
	errCodeNeeded      = reply(535, 5, 7, 8, "One-time code required: use your password followed by the code")
	errTooWeak         = reply(534, 5, 7, 9, "Authentication mechanism is too weak: use your card or a one-time code")
	errCardRefused     = reply(535, 5, 7, 8, "The card is refused")
	errCardUnlinked    = reply(535, 5, 7, 8, "This card is not linked to an account yet: log in once with the card and your password")
	errNoAuth          = reply(503, 5, 5, 1, "Authentication is not offered here")
	errEnded           = reply(421, 4, 7, 0, "The log-in has ended: log in again")

	errUnknown      = reply(500, 5, 5, 2, "Command not recognized")
	errLineEnd      = reply(500, 5, 5, 2, "Lines end with CR LF and hold neither alone, nor NUL")
	errLineLength   = reply(500, 5, 5, 2, "Line too long")
	errSyntax       = reply(501, 5, 5, 4, "Syntax error in parameters")
	errPathSyntax   = reply(501, 5, 5, 2, "Expected an address in angle brackets")
	errHelo         = reply(501, 5, 5, 4, "Expected a host name or an address literal")
	errParameter    = reply(555, 5, 5, 4, "Parameter not supported")
	errSequence     = reply(503, 5, 5, 1, "Bad sequence of commands")
	errNested       = reply(503, 5, 5, 1, "A mail transaction is under way: RSET first")
	errAlreadyTLS   = reply(503, 5, 5, 1, "TLS is already active")
	errSenderForm   = reply(553, 5, 1, 7, "Address syntax not supported: use name@domain without quotes")
	errRcptForm     = reply(553, 5, 1, 3, "Address syntax not supported: use name@domain without quotes")
	errNeedUTF8     = reply(553, 5, 6, 7, "Addresses beyond ASCII need SMTPUTF8")
	errTooManyBad   = reply(421, 4, 7, 0, "Too many errors")
	errTooManyIdle  = reply(421, 4, 7, 0, "Too many commands without a message")
	errTooManyConns = reply(421, 4, 7, 0, "Too many connections")
	errTooManyMails = reply(421, 4, 7, 0, "Enough messages for one connection: open another one")

	errShutdown = reply(421, 4, 3, 2, "The service is shutting down")
	errIdle     = reply(421, 4, 4, 2, "Waited too long")
	errCut      = reply(421, 4, 4, 2, "The connection broke off")

	errOctets    = reply(550, 5, 6, 0, "The message has a bare CR, a bare LF or a NUL: RFC 5321 section 2.3.8 forbids them")
	errTooLarge  = reply(552, 5, 3, 4, "The message is too large: send fewer or smaller attachments at a time, they grow by a third on the way")
	errMemory    = reply(452, 4, 3, 1, "Too many messages at once: try again")
	errHeader    = reply(550, 5, 6, 0, "The message header is malformed")
	errFromCount = reply(550, 5, 6, 0, "The message must have exactly one From field with an address, and at most one Sender field")
	errFromOwned = reply(550, 5, 7, 1, "From, Sender and Resent-From must be addresses of the user who is logged in")

	errQuota     = reply(450, 4, 7, 1, "Enough messages sent for today: try again tomorrow")
	errHold      = reply(501, 5, 5, 4, "HOLDFOR or HOLDUNTIL is malformed, there are both, or it is too late a time")
	errHops      = reply(554, 5, 4, 6, "The message has passed too many servers: it goes round in circles")
	errScanned   = reply(550, 5, 7, 1, "The message is refused by the filter")
	errScanLater = reply(451, 4, 7, 1, "The filter cannot be asked at the moment: try again later")

	errAuthorUnclear = reply(550, 5, 7, 1, "From must name one domain, in a header that is not too long, so that its policy can be asked (DMARC)")
	errListUnknown   = reply(451, 4, 7, 1, "The white list is not known at the moment: try again later")

	errPeer        = reply(550, 5, 7, 1, "The certificate of this server is refused")
	errPeerLater   = reply(451, 4, 7, 1, "The certificate cannot be checked at the moment: try again later")
	errNoRelay     = reply(550, 5, 7, 1, "This server relays for its own users and systems only")
	errFullNow     = reply(452, 4, 2, 2, "The recipient's mailbox is full at the moment")
	errOriginLater = reply(451, 4, 7, 1, "The DNS of the author's domain does not answer: try again later")
	errHarvest     = reply(421, 4, 7, 0, "Too many unknown recipients")
	errRate        = reply(450, 4, 7, 1, "Too many recipients in a minute: try again later")

	errRemote     = reply(550, 5, 7, 1, "This server does not send to that domain")
	errNoSuchUser = reply(550, 5, 1, 1, "There is no such address here: check its spelling")
	errNotMember  = reply(550, 5, 7, 1, "Only its members may write to this list")
	errNotOurs    = reply(550, 5, 7, 1, "Only accounts of this server may write to this list")
	errListOff    = reply(550, 5, 2, 1, "This list takes no mail at the moment")
	errListEmpty  = reply(550, 5, 2, 4, "Nobody on this list can be reached: tell who looks after it")
	errListSize   = reply(550, 5, 5, 3, "There are too many recipients behind these lists: write to fewer of them at a time")
	errLoop       = reply(550, 5, 4, 6, "The message would go round in circles: it has been here before, or the list leads back to itself")
	errNoSpace    = reply(452, 4, 3, 1, "The server has no room for more mail at the moment: try again later")
	errFull       = reply(552, 5, 2, 2, "The recipient's mailbox is full")
	errLocal      = reply(451, 4, 3, 0, "Temporary trouble on our side: try again later")

	okMail  = reply(250, 2, 1, 0, "Sender accepted")
	okRcpt  = reply(250, 2, 1, 5, "Recipient accepted")
	okAuth  = reply(235, 2, 7, 0, "Authentication successful")
	okTLS   = reply(220, 2, 0, 0, "Ready to start TLS")
	okChunk = reply(250, 2, 0, 0, "Chunk received")
	okDone  = reply(250, 2, 0, 0, "Done")
	okBye   = reply(221, 2, 0, 0, "Bye")
)

func reply(code, class, subject, detail int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}

// with is r with a sentence for the person who is refused, if there is one.
func with(r *smtp.SMTPError, sentence string) *smtp.SMTPError {
	if sentence == "" {
		return r
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: r.EnhancedCode, Message: sentence}
}

// line is text as it can stand in a reply: other programs' words may be long.
func line(text string) string {
	const most = 400 // a reply has 512 octets (RFC 5321 section 4.5.3.1.5)
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return text[:min(len(text), most)]
}

// because is a refusal with its cause, which goes to the log.
func because(r, cause error) error { return fmt.Errorf("%w: %w", r, cause) }

// phrases makes the refusals that tell people which mail goes where, in their language.
type phrases struct{ language string }

func (p phrases) choose(english, french string) string {
	if p.language == "fr" {
		return french
	}
	return english
}

// forbidden is for who may not write to a domain, being known too little. err
// says what would do.
func (p phrases) forbidden(err error, domain string) *smtp.SMTPError {
	var refusal *auth.Refusal
	if !errors.As(err, &refusal) || refusal.Code != auth.TooWeak {
		return translate(err)
	}
	need := cmp.Or(refusal.Text, p.choose("Strong authentication is required", "Une authentification forte est requise"))
	return reply(530, 5, 7, 0, need+p.choose(" to write to ", " pour ecrire a ")+domain)
}

// notConnected is for a domain that one may write to, and to which there is no way yet.
func (p phrases) notConnected(domain string) *smtp.SMTPError {
	return reply(550, 5, 7, 1, domain+p.choose(
		" is not connected yet: this server cannot send mail there for now",
		" n'est pas encore raccorde : ce serveur ne peut pas y envoyer de courrier pour le moment"))
}

// sentEnough is for an account that has sent what it may in a day.
func (p phrases) sentEnough(sent, limit int, now time.Time) *smtp.SMTPError {
	return reply(450, 4, 7, 1, fmt.Sprintf(p.choose(
		"%d of %d messages sent today: more from %s on",
		"%d messages sur %d envoyes aujourd'hui : la suite a partir de %s"), sent, limit, tomorrow(now)))
}

// metEnough is for an account that has written to as many new people as it may in a day.
func (p phrases) metEnough(limit int, now time.Time) *smtp.SMTPError {
	return reply(450, 4, 7, 1, fmt.Sprintf(p.choose(
		"At most %d recipients a day that you never wrote to before: more from %s on",
		"Au plus %d destinataires nouveaux par jour : la suite a partir de %s"), limit, tomorrow(now)))
}

// tomorrow is when the next day of the counts (UTC) begins, on a clock of here.
func tomorrow(now time.Time) string {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC).Local().Format("15:04")
}

// unlisted is for a domain that nobody may write to. It tells where one can.
func (p phrases) unlisted(domain string, ours []string) *smtp.SMTPError {
	where := p.choose("a domain of the trust space", "un domaine de l'espace de confiance")
	if len(ours) > 0 {
		// One is enough of an example: a reply has 512 octets.
		where = ours[0] + p.choose(" or at ", " ou ") + where
	}
	return reply(550, 5, 7, 1, domain+p.choose(
		" is not in the trust space: write to an address at ",
		" ne fait pas partie de l'espace de confiance : ecrivez a une adresse dans ")+where)
}

// list is for who may not write to a list; all other errors stay as they are.
func (p phrases) list(err error) error {
	switch {
	case errors.Is(err, backend.ErrNotMember):
		return with(errNotMember, p.choose("", "Seuls ses membres peuvent ecrire a cette liste"))
	case errors.Is(err, backend.ErrNotOurs):
		return with(errNotOurs, p.choose("", "Seuls les comptes de ce serveur peuvent ecrire a cette liste"))
	}
	return err
}

// left is for a domain that one could write to before its operator left.
func (p phrases) left(domain string, when time.Time) *smtp.SMTPError {
	return reply(550, 5, 7, 1, domain+p.choose(
		" has left the trust space on "+when.Local().Format(time.DateOnly)+": ask its people for their new address",
		" a quitte l'espace de confiance le "+when.Local().Format("02/01/2006")+" : demandez la nouvelle adresse"))
}

// The refusals that follow are for other servers, whose users get to read them.

// stranger is for a server whose domain is none that mail is taken from.
func (p phrases) stranger(domain string) *smtp.SMTPError {
	return reply(550, 5, 7, 1, domain+p.choose(
		" is not in the trust space: this server takes no mail from there",
		" ne fait pas partie de l'espace de confiance : ce serveur n'en accepte pas de courrier"))
}

// gone is for a server whose domain has left the trust space.
func (p phrases) gone(domain string, when time.Time) *smtp.SMTPError {
	return reply(550, 5, 7, 1, domain+p.choose(
		" has left the trust space on "+when.Local().Format(time.DateOnly)+": this server takes no mail from there",
		" a quitte l'espace de confiance le "+when.Local().Format("02/01/2006")+" : ce serveur n'en accepte plus de courrier"))
}

// uncertified is for a server that does not prove that it may send for a domain.
func (p phrases) uncertified(domain string) *smtp.SMTPError {
	return reply(550, 5, 7, 1, p.choose(
		"Mail of "+domain+" comes with the certificate that the white list names for it",
		"Le courrier de "+domain+" vient avec le certificat que la liste blanche lui attribue"))
}

// ours is for a server that uses one of our own domains.
func (p phrases) ours(domain string) *smtp.SMTPError {
	return reply(550, 5, 7, 1, p.choose(
		"Mail of "+domain+" comes from its own users and systems only",
		"Le courrier de "+domain+" ne vient que de ses propres utilisateurs et applications"))
}

// unaligned is for mail whose author's domain asks to refuse it (RFC 7489 section 6.3).
func (p phrases) unaligned() *smtp.SMTPError {
	return reply(550, 5, 7, 1, p.choose(
		"The domain in From asks to refuse mail that does not prove to be from there (DMARC)",
		"Le domaine de From demande de refuser le courrier qui ne prouve pas en venir (DMARC)"))
}

// okAccepted names the message as the log does.
func okAccepted(id string) *smtp.SMTPError { return reply(250, 2, 0, 0, "Accepted as "+id) }

// translate gives the reply for an error of another package.
func translate(err error) *smtp.SMTPError {
	var ours *smtp.SMTPError
	var refusal *auth.Refusal
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &refusal):
		return refused(refusal)
	case errors.Is(err, auth.ErrSyntax):
		return errSASLSyntax
	case errors.Is(err, backend.ErrAddress):
		return errRcptForm
	case errors.Is(err, backend.ErrNoSuchUser), errors.Is(err, storage.ErrNoAccount):
		return errNoSuchUser
	case errors.Is(err, backend.ErrRemote):
		return errRemote
	case errors.Is(err, backend.ErrNotMember):
		return errNotMember
	case errors.Is(err, backend.ErrNotOurs):
		return errNotOurs
	case errors.Is(err, backend.ErrAliasOff):
		return errListOff
	case errors.Is(err, backend.ErrAliasEmpty):
		return errListEmpty
	case errors.Is(err, backend.ErrRecipients):
		return errListSize
	case errors.Is(err, backend.ErrAliasLoop), errors.Is(err, backend.ErrAliasDepth), errors.Is(err, backend.ErrMailLoop):
		return errLoop
	case errors.Is(err, storage.ErrSendQuota):
		return errQuota
	case errors.Is(err, storage.ErrOverQuota):
		return errFull
	case errors.Is(err, storage.ErrNoSpace):
		return errNoSpace
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errCut
	}
	return errLocal
}

// refused gives the reply to a try to log in.
func refused(r *auth.Refusal) *smtp.SMTPError {
	switch r.Code {
	case auth.BadCredentials:
		return errBadCredentials
	case auth.CodeNeeded:
		return with(errCodeNeeded, r.Text)
	case auth.TooWeak:
		return with(errTooWeak, r.Text)
	case auth.CardRefused:
		return with(errCardRefused, r.Text)
	case auth.CardUnlinked:
		return with(errCardUnlinked, r.Text)
	case auth.Disabled:
		return with(errDisabled, r.Text)
	case auth.TooManyFailures:
		return errTooManyFailures
	}
	return with(errAuthUnavailable, r.Text)
}

// correct replaces what go-smtp answers by itself where RFC 5321 section
// 4.3.2 or RFC 4954 wants another code. Its own "502" means a wrong order, its
// "500 5.5.4" an unknown parameter, its "554 5.0.0" and "451 4.0.0" the text of
// some error, which is nobody's business.
func correct(verb string, code int, enhanced string) *smtp.SMTPError {
	switch {
	case code == 502 && verb != "HELP" && verb != "EXPN":
		return errSequence
	case code == 500 && enhanced == "5.5.4":
		return errParameter
	case code == 552 && enhanced == "5.3.4":
		return errTooLarge
	case code == 554 && enhanced == "5.0.0", code != 421 && enhanced == "4.0.0":
		return errLocal
	case verb == "MAIL" && code == 250:
		return okMail
	case verb == "RCPT" && code == 250:
		return okRcpt
	case verb == "AUTH" && code == 235:
		return okAuth
	case (verb == "NOOP" || verb == "RSET") && code == 250:
		return okDone
	}
	return nil
}
