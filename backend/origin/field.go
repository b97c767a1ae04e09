package origin

import (
	"strings"

	"telesphore/backend"
)

// lineLength is where the field is folded, in octets (RFC 5322 section 2.1.1).
const lineLength = 78

// field writes Authentication-Results (RFC 8601 section 2.2). A certificate has no
// method there: the method "auth" is for SMTP AUTH alone (section 2.7.4). So it has one
// of its own (section 2.7.6).
func (c *Checker) field(a *Arrival, r *Result, sender spfResult, signatures []*signature, author string) []byte {
	w := &fieldWriter{}
	w.word("Authentication-Results:")
	w.word(quoted(c.Hostname))
	if a.Peer != "" {
		name, _ := backend.ParseDomain(a.Peer)
		w.method("x-tls-client", pass, "")
		w.property("policy.name", name)
	}
	if sender.result != "" {
		w.method("spf", sender.result, "")
		w.property(sender.property, sender.domain)
	}
	for _, s := range signatures {
		w.method("dkim", s.result, s.reason)
		w.property("header.d", s.domain)
		w.property("header.s", s.selector)
		w.property("header.a", s.algorithm)
	}
	if len(signatures) == 0 {
		w.method("dkim", none, "")
	}
	if r.DMARC != "" {
		w.method("dmarc", r.DMARC, "")
		w.property("polrec.p", r.Policy)
		w.property("header.from", author)
	}
	w.text.WriteString("\r\n")
	return []byte(w.text.String())
}

// fieldWriter writes a structured field and folds it between words.
type fieldWriter struct {
	text   strings.Builder
	column int
}

func (w *fieldWriter) word(s string) {
	if w.column > 0 && w.column+1+len(s)+len(";") > lineLength {
		w.fold()
	} else if w.column > 0 {
		w.text.WriteByte(' ')
		w.column++
	}
	w.text.WriteString(s)
	w.column += len(s)
}

func (w *fieldWriter) fold() {
	w.text.WriteString("\r\n ")
	w.column = 1
}

// method begins a result, on a line of its own.
func (w *fieldWriter) method(name, result, reason string) {
	w.text.WriteString(";\r\n")
	w.column = 0
	w.text.WriteByte(' ')
	w.column = 1
	w.text.WriteString(name + "=" + result)
	w.column += len(name) + 1 + len(result)
	if reason != "" {
		w.word("reason=" + quoted(reason))
	}
}

// property is left out without value.
func (w *fieldWriter) property(name, value string) {
	if value != "" {
		w.word(name + "=" + quoted(value))
	}
}

// quoted writes a value of RFC 8601 section 2.2: a token of RFC 2045 section 5.1, or a quoted-string.
// What a quoted-string cannot hold becomes a question mark.
func quoted(s string) string {
	if isToken(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r < ' ' || r > '~':
			r = '?'
		case r == '"' || r == '\\':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	b.WriteByte('"')
	return b.String()
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenChar(c byte) bool {
	return c > ' ' && c < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, c) < 0
}
