package wire

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Encoder appends replies to B. Its methods return it, so that a line can be
// written as one expression. Nothing is sent: the owner of B does that.
type Encoder struct {
	B []byte

	// UTF8 says that the client takes UTF-8 in quoted strings and mailbox names:
	// it enabled UTF8=ACCEPT or IMAP4rev2.
	UTF8 bool
}

// maxQuoted is the longest string that is quoted; longer ones become literals,
// for the sake of clients with small line buffers.
const maxQuoted = 1024

// Raw appends s as it is.
func (e *Encoder) Raw(s string) *Encoder {
	e.B = append(e.B, s...)
	return e
}

// Byte appends c as it is.
func (e *Encoder) Byte(c byte) *Encoder {
	e.B = append(e.B, c)
	return e
}

// SP appends a space.
func (e *Encoder) SP() *Encoder { return e.Byte(' ') }

// CRLF ends a line.
func (e *Encoder) CRLF() *Encoder { return e.Raw("\r\n") }

// Num appends a number.
func (e *Encoder) Num(n uint64) *Encoder {
	e.B = strconv.AppendUint(e.B, n, 10)
	return e
}

// Atom appends s, which must be an atom.
func (e *Encoder) Atom(s string) *Encoder { return e.Raw(s) }

// String appends s as a quoted string, or as a literal when it cannot be quoted.
func (e *Encoder) String(s string) *Encoder {
	if len(s) > maxQuoted || !e.quotable(s) {
		return e.LiteralHeader(int64(len(s))).Raw(s)
	}
	return e.Quoted(s)
}

func (e *Encoder) quotable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c == 0 || c == '\r' || c == '\n' || c > 0x7e && !e.UTF8 {
			return false
		}
	}
	return !e.UTF8 || utf8.ValidString(s)
}

// NString appends s as String does, or NIL when ok is false.
func (e *Encoder) NString(s string, ok bool) *Encoder {
	if !ok {
		return e.Raw("NIL")
	}
	return e.String(s)
}

// Quoted appends s as a quoted string. s holds no CR, LF or NUL.
func (e *Encoder) Quoted(s string) *Encoder {
	e.Byte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			e.Byte('\\')
		}
		e.Byte(s[i])
	}
	return e.Byte('"')
}

// Mailbox appends a mailbox name, given in UTF-8, as an astring in the spelling
// the client understands.
func (e *Encoder) Mailbox(name string) *Encoder {
	if !e.UTF8 {
		name = EncodeUTF7(name)
	}
	bare := name != "" && !strings.EqualFold(name, "NIL")
	for i := range len(name) {
		bare = bare && isAStringChar(name[i])
	}
	if !bare {
		return e.String(name)
	}
	return e.Raw(name)
}

// Literal appends b as a literal.
func (e *Encoder) Literal(b []byte) *Encoder {
	e.LiteralHeader(int64(len(b)))
	e.B = append(e.B, b...)
	return e
}

// LiteralHeader announces n octets, which the caller appends next.
func (e *Encoder) LiteralHeader(n int64) *Encoder {
	return e.Byte('{').Num(uint64(n)).Raw("}\r\n")
}

// Literal8Header announces n octets that may be NUL (RFC 9051 section 4.3).
func (e *Encoder) Literal8Header(n int64) *Encoder {
	return e.Byte('~').LiteralHeader(n)
}

// Flags appends a list of flags in parentheses.
func (e *Encoder) Flags(list []string) *Encoder {
	e.Byte('(')
	for i, f := range list {
		if i > 0 {
			e.SP()
		}
		e.Raw(f)
	}
	return e.Byte(')')
}

// DateTime appends a quoted date-time.
func (e *Encoder) DateTime(t time.Time) *Encoder {
	e.B = t.AppendFormat(e.B, `"_2-Jan-2006 15:04:05 -0700"`)
	return e
}

// Set appends a sequence-set.
func (e *Encoder) Set(s Set) *Encoder {
	e.B = AppendSet(e.B, s)
	return e
}
