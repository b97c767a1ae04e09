package smtpd

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/emersion/go-smtp"
)

// errQuit ends a connection that never got to TLS.
var errQuit = errors.New("the client left")

// maxClear is how many commands a client may send in clear.
const maxClear = 20

// starttls holds the conversation in clear up to STARTTLS. There is not much to
// say there: who logs in or sends mail is told to use TLS first (RFC 6409 section
// 4.3, RFC 8314 section 3.3). Nothing said here is remembered behind TLS (RFC 3207
// section 4.2), and octets that were sent along with STARTTLS are dropped.
func (s *Server) starttls(w *wireConn) error {
	l := newLines(w)
	l.out = fmt.Appendf(l.out, "220 %s ESMTP Service Ready\r\n", s.Hostname)
	for range maxClear {
		text, err := l.readLine()
		var refusal *smtp.SMTPError
		switch {
		case errors.As(err, &refusal):
			l.put(refusal)
			if refusal == errLineEnd {
				return errors.Join(errQuit, l.flush())
			}
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.put(w.silenced())
			return errors.Join(err, l.flush())
		case err != nil:
			return err
		}
		verb, arg, _ := strings.Cut(string(text), " ")
		switch verb = strings.ToUpper(verb); verb {
		case "STARTTLS":
			if arg != "" {
				l.put(errSyntax)
				continue
			}
			l.put(okTLS)
			return l.flush()
		case "QUIT":
			l.put(okBye)
			return errors.Join(errQuit, l.flush())
		case "EHLO", "HELO":
			s.hello(l, verb, arg)
		default:
			l.put(inClear(verb))
		}
	}
	l.put(errTooManyBad)
	return errors.Join(io.ErrNoProgress, l.flush())
}

// hello answers EHLO and HELO with what is true before TLS. SMTPUTF8 is told here already
// because Postfix gives a message up that needs it and does not see it in the first answer.
func (s *Server) hello(l *lines, verb, arg string) {
	switch {
	case !hostLike(strings.Trim(arg, " ")):
		l.put(errHelo)
	case verb == "HELO":
		l.out = fmt.Appendf(l.out, "250 %s\r\n", s.Hostname)
	default:
		l.out = fmt.Appendf(l.out, "250-%s\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n"+
			"250-SMTPUTF8\r\n250-SIZE %d\r\n250 STARTTLS\r\n", s.Hostname, s.Limits.MessageSize)
	}
}

// inClear answers the other commands.
func inClear(verb string) *smtp.SMTPError {
	switch verb {
	case "NOOP", "RSET":
		return okDone
	case "AUTH":
		return errAuthNeedsTLS
	case "MAIL", "RCPT", "DATA", "BDAT", "VRFY", "EXPN", "HELP":
		return errNeedTLS
	}
	return errUnknown
}
