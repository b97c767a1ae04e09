package wire

import (
	"strings"
	"unicode/utf8"
)

// Atom reads an atom (RFC 9051 section 9).
func (d *Decoder) Atom() string {
	s := d.span(IsAtomChar)
	if s == "" {
		d.Fail("atom expected")
	}
	return s
}

// Keyword reads an atom that is a word of the protocol, in upper case.
func (d *Decoder) Keyword() string { return strings.ToUpper(d.Atom()) }

// Word reads letters, digits, dots and hyphens, in upper case: a name that other
// atom characters may follow, as "BODY.PEEK" in "BODY.PEEK[TEXT]".
func (d *Decoder) Word() string {
	s := strings.ToUpper(d.span(isWordChar))
	if s == "" {
		d.Fail("word expected")
	}
	return s
}

func isWordChar(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || isDigit(c) || c == '.' || c == '-'
}

// AString reads an atom, which may hold "]" here, or a string.
func (d *Decoder) AString() string {
	if c := d.Peek(); c == '"' || c == '{' {
		return d.String()
	}
	s := d.span(isAStringChar)
	if s == "" {
		d.Fail("string expected")
	}
	return s
}

// String reads a quoted string or a literal of at most Limits.Literal octets.
// Octets beyond ASCII stand in a quoted string only as UTF-8 (RFC 9051 section
// 9, QUOTED-CHAR); a literal may hold any octet but NUL.
func (d *Decoder) String() string {
	switch d.Peek() {
	case '"':
		return d.quoted()
	case '{':
		return d.literalString()
	}
	d.Fail("string expected")
	return ""
}

// NString reads a string, or NIL with ok false.
func (d *Decoder) NString() (s string, ok bool) {
	if c := d.Peek(); c == '"' || c == '{' {
		return d.String(), true
	}
	if d.Keyword() != "NIL" {
		d.Fail("string or NIL expected")
	}
	return "", false
}

func (d *Decoder) quoted() string {
	b := d.quotedOctets()
	if d.err == nil && !utf8.Valid(b) {
		d.Fail("quoted string is not UTF-8")
	}
	if d.err != nil {
		return ""
	}
	return string(b)
}

// quotedOctets reads a quoted string of whatever octets.
func (d *Decoder) quotedOctets() []byte {
	d.Special('"')
	b := d.bytes(isPlainQuoted)
	for d.Try('\\') {
		c := d.Peek()
		if c != '"' && c != '\\' {
			d.Fail("only a quote or a backslash may follow a backslash")
		}
		d.Try(c)
		b = append(append(b, c), d.bytes(isPlainQuoted)...)
	}
	d.Special('"')
	return b
}

func isPlainQuoted(c byte) bool {
	return c != '"' && c != '\\' && c != '\r' && c != '\n' && c != 0
}

// IsAtomChar says whether c may stand in an atom.
func IsAtomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > ' ' && c < 0x7f
}

func isAStringChar(c byte) bool { return IsAtomChar(c) || c == ']' }

func isTagChar(c byte) bool { return isAStringChar(c) && c != '+' }

func isListChar(c byte) bool { return isAStringChar(c) || c == '%' || c == '*' }
