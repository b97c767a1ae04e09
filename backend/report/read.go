package report

import (
	"bytes"
	"iter"
	"strings"

	"telesphore/backend/message"
)

// groups walks the groups of fields of a status, which empty lines divide. Each keeps its line ends.
func groups(status []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for start, pos := 0, 0; pos < len(status); {
			end := len(status)
			if i := bytes.IndexByte(status[pos:], '\n'); i >= 0 {
				end = pos + i + 1
			}
			empty := len(bytes.Trim(status[pos:end], " \t\r\n")) == 0
			group := status[start:pos]
			if !empty {
				group = status[start:end]
			}
			if (empty || end == len(status)) && len(group) > 0 && !yield(group) {
				return
			}
			if empty {
				start = end
			}
			pos = end
		}
	}
}

// first is the value of the first field called name, "" when there is none.
func first(group []byte, name string) string {
	if values := message.HeaderValues(group, name); len(values) > 0 {
		return cut(values[0], 2*longestValue)
	}
	return ""
}

// word is what a value begins with, before a blank or a comment.
func word(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t\r\n(;"); i >= 0 {
		s = s[:i]
	}
	return s
}

// fromXtext undoes xtext (RFC 3461 section 4). A report says what it decoded, but some servers hand
// on what they got: only what must be encoded counts as encoded, since "+" stands in addresses.
func fromXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			hi, lo := upperHex(s[i+1]), upperHex(s[i+2])
			if c := hi<<4 | lo; hi >= 0 && lo >= 0 && (c == '+' || c == '=' || c == ' ') {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func upperHex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// validStatus tells a status-code of RFC 3463 section 2.
func validStatus(s string) bool {
	if len(s) < 5 || s[0] != '2' && s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return false
	}
	subject, detail, ok := strings.Cut(s[2:], ".")
	return ok && upTo3Digits(subject) && upTo3Digits(detail)
}

func upTo3Digits(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// addressType tells what may name a type of addresses: an atom without specials.
func addressType(s string) bool { return s != "" && len(s) <= 30 && lettersAndDigits(s) }

// hostname tells what may stand as the name of a host.
func hostname(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || !lettersAndDigits(label) {
			return false
		}
	}
	return len(s) <= 253
}

// lettersAndDigits allows hyphens too.
func lettersAndDigits(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}
