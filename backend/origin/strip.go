package origin

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"telesphore/backend"
)

// Strip removes the Authentication-Results fields that claim to be of hostname (RFC 8601 section 5), of whatever
// spelling, and those that do not say clearly whose they are. It returns octets itself when there is none, and a
// new slice otherwise.
func Strip(octets []byte, hostname string) []byte {
	header, _ := split(octets)
	var kept []byte
	start := 0 // of what is not in kept yet
	pos := 0
	for field := range fields(header) {
		next := pos + len(field)
		if forged(field, hostname) {
			if kept == nil {
				kept = make([]byte, 0, len(octets)-len(field))
			}
			kept = append(kept, octets[start:pos]...)
			start = next
		}
		pos = next
	}
	if kept == nil {
		return octets
	}
	return append(kept, octets[start:]...)
}

// forged reports whether a field is Authentication-Results and may be read as one of
// hostname. Its name counts with any white space around it that some reader may overlook.
func forged(field []byte, hostname string) bool {
	name, value, ok := cutField(field)
	if !ok || !bytes.EqualFold(bytes.TrimSpace(name), []byte("Authentication-Results")) {
		return false
	}
	id, ok := serviceID(string(value))
	return !ok || sameHost(id, hostname)
}

// serviceID reads the authserv-id (RFC 8601 section 2.2): comments and folding, a token or quoted-string,
// then a version or not, then the end or a semicolon. ok is false for everything else.
func serviceID(value string) (id string, ok bool) {
	rest, ok := skipSpace(value)
	if !ok {
		return "", false
	}
	if strings.HasPrefix(rest, `"`) {
		id, rest, ok = quotedString(rest)
	} else {
		n := 0
		for n < len(rest) && (isTokenChar(rest[n]) || rest[n] >= utf8.RuneSelf) {
			n++
		}
		id, rest, ok = rest[:n], rest[n:], n > 0
	}
	if !ok {
		return "", false
	}
	if rest, ok = skipSpace(rest); !ok {
		return "", false
	}
	if rest, ok = skipSpace(strings.TrimLeft(rest, "0123456789")); !ok {
		return "", false
	}
	return id, rest == "" || rest[0] == ';'
}

// skipSpace skips white space, folding and comments (RFC 5322 section 3.2.2). ok is false
// for a comment without end.
func skipSpace(s string) (rest string, ok bool) {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '(':
			depth++
		case depth > 0 && c == ')':
			depth--
		case depth > 0 && c == '\\':
			i++
		case depth > 0, strings.IndexByte(" \t\r\n", c) >= 0:
		default:
			return s[i:], true
		}
	}
	return "", depth == 0
}

// quotedString reads the quoted-string that s begins with (RFC 5322 section 3.2.4).
func quotedString(s string) (content, rest string, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], true
		case '\r', '\n': // of folding
		case '\\':
			if i++; i < len(s) {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// sameHost compares names as a reader may: without regard to case, blanks, a root's dot or
// U-labels. A name beyond ASCII that is no domain is taken for the same, because
// nobody knows what a reader makes of it.
func sameHost(id, hostname string) bool {
	id, hostname = strings.Trim(strings.Join(strings.Fields(id), ""), "."), strings.TrimSuffix(hostname, ".")
	if strings.EqualFold(id, hostname) {
		return true
	}
	name, err := backend.ParseDomain(id)
	if err != nil {
		return strings.IndexFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) >= 0
	}
	ours, err := backend.ParseDomain(hostname)
	return err == nil && name == ours
}
