package message

import "strings"

// subjectRead bounds the subject a base subject is made of, in octets: repeated
// prefixes take quadratic time.
const subjectRead = 1 << 10

// baseSubject takes from a subject what replying and forwarding add (RFC 5256 section 2.1).
func baseSubject(raw []byte) string {
	raw = unfold(raw)
	s := DecodeHeader(string(raw[:min(len(raw), subjectRead)]))
	s = collapse(s) // (1)
	for {
		s = trimTrailers(s) // (2)
		for {
			t, ok := cutLeader(s) // (3)
			if !ok {
				t, ok = cutBlob(s) // (4)
				ok = ok && t != ""
			}
			if !ok {
				break // (5)
			}
			s = t
		}
		inner, ok := cutPrefixFold(s, "[fwd:")
		if !ok || !strings.HasSuffix(inner, "]") {
			return s
		}
		s = strings.TrimSuffix(inner, "]") // (6)
	}
}

// collapse makes every run of white space one blank.
func collapse(s string) string {
	if !strings.ContainsAny(s, "\t\r\n") && !strings.Contains(s, "  ") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// trimTrailers removes subj-trailer as often as it stands.
func trimTrailers(s string) string {
	const forwarded = "(fwd)"
	for {
		s = strings.TrimRight(s, " ")
		n := len(s) - len(forwarded)
		if n < 0 || !strings.EqualFold(s[n:], forwarded) {
			return s
		}
		s = s[:n]
	}
}

// cutLeader removes one subj-leader: "Re:", "[list] Fwd [3]:" or a blank.
func cutLeader(s string) (string, bool) {
	if strings.HasPrefix(s, " ") {
		return s[1:], true
	}
	rest := s
	for {
		t, ok := cutBlob(rest)
		if !ok {
			break
		}
		rest = t
	}
	t, ok := cutPrefixFold(rest, "re")
	if !ok {
		if t, ok = cutPrefixFold(rest, "fwd"); !ok {
			t, ok = cutPrefixFold(rest, "fw")
		}
	}
	if !ok {
		return s, false
	}
	t = strings.TrimLeft(t, " ")
	if u, ok := cutBlob(t); ok {
		t = u
	}
	t, ok = strings.CutPrefix(t, ":")
	return t, ok
}

// cutBlob removes one subj-blob, "[text]" and the blanks after it.
func cutBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]") + 1
	if end < 1 || s[end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+1:], " "), true
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
