package notify

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"telesphore/backend"
	"telesphore/backend/auth"
)

// letter is what one kind of mail says. In the body {account} and the like stand for
// what the notice tells.
type letter struct{ subject, body string }

// language is all that is written in one language.
type language struct {
	tag     string // RFC 5646
	letters map[auth.Kind]letter
	when    string // layout of a time
	through string // %s is a protocol: where something came from
	from    string // %s is an IP address, behind through
	office  string // in place of both: it was the administration
}

// compose writes a mail to an address. A mail that carries a code is ASCII, and
// nothing else in its body is as many digits long (programs look for the code).
func (n *Notifier) compose(notice *auth.Notice, to string) ([]byte, error) {
	from, err := backend.ParseAddress(n.From)
	if err != nil || !from.ASCII() || from.Domain == "" {
		return nil, fmt.Errorf("%w: the sender is no plain address", ErrNotice)
	}
	host, err := backend.ParseDomain(n.Hostname)
	if err != nil {
		host = from.Domain
	}
	rcpt, err := backend.ParseAddress(to)
	if err != nil {
		return nil, err
	}
	l := english()
	if notice.Lang == "fr" {
		l = french()
	}
	words, ok := l.letters[notice.Kind]
	if !ok {
		return nil, fmt.Errorf("%w: kind %d", ErrNotice, notice.Kind)
	}
	code := strings.Contains(words.body, "{code}")
	if code && (len(notice.Code) < 6 || strings.Trim(notice.Code, "0123456789") != "") {
		return nil, fmt.Errorf("%w: its code is not made of 6 digits or more", ErrNotice)
	}
	// All replacements happen in one pass: what a name says is not replaced again.
	body := strings.NewReplacer(l.facts(notice, code)...).Replace(words.body)

	var b bytes.Buffer
	head := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	head("From", from.String())
	head("To", header(rcpt))
	head("Date", notice.When.Format(time.RFC1123Z))
	head("Message-ID", "<"+rand.Text()+"@"+host+">")
	head("Subject", mime.QEncoding.Encode("utf-8", words.subject))
	head("Auto-Submitted", "auto-generated") // RFC 3834 section 5
	head("Content-Language", l.tag)
	head("MIME-Version", "1.0")
	if code {
		head("Content-Type", "text/plain; charset=us-ascii")
		head("Content-Transfer-Encoding", "7bit")
		b.WriteString("\r\n" + strings.ReplaceAll(body, "\n", "\r\n"))
		return b.Bytes(), nil
	}
	head("Content-Type", "text/plain; charset=utf-8")
	head("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(body, "\n", "\r\n"))) // into memory: no error
	_ = w.Close()
	return b.Bytes(), nil
}

// header is an address for To. One that is not ASCII has no place in a message
// that is (RFC 6532), and the reader knows it.
func header(a backend.Address) string {
	if !a.ASCII() {
		return "undisclosed-recipients:;"
	}
	return a.String()
}

// facts are the replacements in a body. What comes from elsewhere is made harmless,
// and in a mail with a code also ASCII without other digits that look like one.
func (l *language) facts(n *auth.Notice, code bool) []string {
	minutes := max(1, int(n.Life/time.Minute))
	where := l.office
	if n.Proto != "" {
		where = fmt.Sprintf(l.through, strings.ToUpper(n.Proto))
		if n.Remote.IsValid() {
			// Without the zone, which is free text. What remains has no more than
			// four digits in a row.
			where += fmt.Sprintf(l.from, n.Remote.Unmap().WithZone(""))
		}
	}
	facts := []string{
		"{account}", n.Address, "{card}", n.Card, "{name}", n.Name,
		"{minutes}", strconv.Itoa(minutes), "{when}", n.When.Format(l.when), "{where}", where,
	}
	for i := 1; i < len(facts); i += 2 {
		facts[i] = plain(facts[i])
		if code {
			facts[i] = abridge(ascii(facts[i]), len(n.Code))
		}
	}
	return append(facts, "{code}", n.Code)
}

// plain takes out of a text what does more than stand in a line: controls, line
// ends, marks of direction. A long one is cut.
func plain(s string) string {
	const longest = 254 // characters: an address fits
	var b strings.Builder
	count := 0
	for _, r := range s {
		if count++; count > longest {
			return b.String() + "..."
		}
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case !unicode.IsGraphic(r) || r == utf8.RuneError:
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

// abridge shortens whatever is as many digits long as a code, or more: 12345678
// becomes 12...78. Addresses may hold a national number.
func abridge(s string, digits int) string {
	var b strings.Builder
	for s != "" {
		n := 0
		for n < len(s) && '0' <= s[n] && s[n] <= '9' {
			n++
		}
		if n >= digits {
			b.WriteString(s[:2] + "..." + s[n-2:n])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
		if s != "" {
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}
