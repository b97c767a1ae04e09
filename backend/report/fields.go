package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a notice writes and reads of what others say, in octets.
const (
	maxLine        = 998 // RFC 5322 section 2.1.1, without CRLF
	foldAt         = 76
	longestValue   = 2000 // of a field
	longestAddress = 320  // 64 + 1 + 255
	longestID      = 900  // of a Message-ID, which cannot be folded
	longestHeader  = 128 << 10
)

// fieldWriter writes the fields of a delivery status. Nothing that is written gets
// out of its field: it makes its own line ends.
type fieldWriter struct {
	b    bytes.Buffer
	wide bool // UTF-8 stands as it is
}

// field writes a field, folded where it has blanks. The value is ASCII, or UTF-8, without controls.
func (f *fieldWriter) field(name, value string) {
	f.b.WriteString(name + ":")
	column := len(name) + 1
	for i, word := range strings.Fields(cut(value, longestValue)) {
		word = cut(word, maxLine-foldAt)
		if column+1+len(word) > foldAt && i > 0 {
			f.b.WriteString("\r\n")
			column = 0
		}
		f.b.WriteString(" " + word)
		column += 1 + len(word)
	}
	f.b.WriteString("\r\n")
}

// address is a typed address (RFC 3464 section 2.3.1, RFC 6533 section 3). One with characters beyond
// ASCII is of type utf-8, whatever it was said to be.
func (f *fieldWriter) address(kind, address string) string {
	if !ascii(address) || strings.EqualFold(kind, "utf-8") {
		return "utf-8; " + f.escape(address, `\+=`)
	}
	if !addressType(kind) {
		kind = "rfc822"
	}
	return kind + "; " + f.text(address)
}

// text is free text for a field: what cannot stand there is escaped.
func (f *fieldWriter) text(s string) string { return f.escape(s, "") }

// escape writes line ends as blanks, and controls, and what special names, as \x{HEX}
// (RFC 6533 section 3, EmbeddedUnicodeChar); without wide also what is not ASCII.
func (f *fieldWriter) escape(s, special string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case r == '\r' || r == '\n' || r == '\t' || r == ' ':
			b.WriteByte(' ')
		case r < utf8.RuneSelf && r > ' ' && r != 0x7f && !strings.ContainsRune(special, r),
			r >= utf8.RuneSelf && f.wide && unicode.IsGraphic(r) && !unicode.IsSpace(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return b.String()
}

// unescape undoes escape.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		hex, rest, closed := strings.Cut(after[:min(len(after), 7)], "}")
		r, err := strconv.ParseUint(hex, 16, 32)
		if !closed || err != nil || !utf8.ValidRune(rune(r)) {
			b.WriteString(`\x{`)
			s = after
			continue
		}
		b.WriteRune(rune(r))
		s = after[len(after[:min(len(after), 7)])-len(rest):]
	}
}

// line makes of any text one line of valid UTF-8 without controls, marks of direction and the
// like, of at most so many octets.
func line(s string, longest int) string {
	var b strings.Builder
	blank := false
	for _, r := range s {
		if b.Len() >= longest {
			break
		}
		switch {
		case unicode.IsSpace(r):
			blank = b.Len() > 0
			continue
		case !unicode.IsGraphic(r) || r == utf8.RuneError:
			r = '?'
		}
		if blank {
			b.WriteByte(' ')
			blank = false
		}
		b.WriteRune(r)
	}
	return strings.TrimRight(cut(b.String(), longest), " ")
}

// cut shortens a text to so many octets, between characters.
func cut(s string, longest int) string {
	if len(s) <= longest {
		return s
	}
	for longest > 0 && !utf8.RuneStart(s[longest]) {
		longest--
	}
	return s[:longest]
}

// ascii reports whether no octet has its eighth bit.
func ascii[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// clean makes every line end CRLF and leaves no NUL. It returns octets themselves when they
// are clean, as those of all messages we took in are.
func clean(octets []byte) []byte {
	dirty := bytes.IndexByte(octets, 0) >= 0
	for i := 0; !dirty && i < len(octets); i++ {
		switch octets[i] {
		case '\n':
			dirty = i == 0 || octets[i-1] != '\r'
		case '\r':
			dirty = i+1 == len(octets) || octets[i+1] != '\n'
		}
	}
	if !dirty {
		return octets
	}
	out := make([]byte, 0, len(octets)+len(octets)/32+2)
	for i, c := range octets {
		switch {
		case c == 0:
			out = append(out, '?')
		case c == '\n' && i > 0 && octets[i-1] == '\r':
		case c == '\r' || c == '\n':
			out = append(out, '\r', '\n')
		default:
			out = append(out, c)
		}
	}
	return out
}

// longestLine is the length of the longest line, without its CRLF.
func longestLine(octets []byte) int {
	longest := 0
	for l := range bytes.SplitSeq(octets, []byte("\r\n")) {
		longest = max(longest, len(l))
	}
	return longest
}

// headerOf is the header of a message in CRLF lines: its fields, up to the first line that is part of
// none. A field that was cut off is left out, so that no text of the body is taken for a header.
func headerOf(octets []byte) []byte {
	end := 0
	for end < len(octets) {
		n := bytes.Index(octets[end:], []byte("\r\n"))
		if n <= 0 || end+n > longestHeader {
			break
		}
		l := octets[end : end+n]
		if l[0] == ' ' || l[0] == '\t' {
			if end == 0 {
				break
			}
		} else if colon := bytes.IndexByte(l, ':'); colon <= 0 || !fieldName(bytes.TrimRight(l[:colon], " \t")) {
			break
		}
		end += n + 2
	}
	return octets[:end:end]
}

// fieldName tells a name of RFC 5322 section 3.6.8.
func fieldName(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(b) > 0
}
