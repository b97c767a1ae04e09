package wire

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// errUTF7 says that a name is not modified UTF-7.
var errUTF7 = errors.New("wire: not modified UTF-7")

// Mailbox reads a mailbox name and returns it as UTF-8. INBOX comes in capitals
// in whatever case it was sent, also as the first level of a longer name. A name
// with 8-bit octets cannot be modified UTF-7: it is taken as UTF-8 also without
// ENABLE, as some clients send it once they have heard of IMAP4rev2.
func (d *Decoder) Mailbox() string {
	name := d.AString()
	if d.err != nil {
		return ""
	}
	if !d.UTF8 && !strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) {
		var err error
		if name, err = DecodeUTF7(name); err != nil {
			d.Fail("mailbox name is not modified UTF-7")
			return ""
		}
	} else if !utf8.ValidString(name) {
		d.Fail("mailbox name is not UTF-8")
		return ""
	}
	return canonicalInbox(name)
}

func canonicalInbox(name string) string {
	const inbox = "INBOX"
	if len(name) < len(inbox) || !strings.EqualFold(name[:len(inbox)], inbox) {
		return name
	}
	if rest := name[len(inbox):]; rest == "" || rest[0] == '/' {
		return inbox + rest
	}
	return name
}

// ListMailbox reads a list-mailbox: a name with the wildcards "*" and "%". A
// pattern that is not modified UTF-7 matches nothing that exists, which is no
// reason to refuse it: it is returned as it was sent.
func (d *Decoder) ListMailbox() string {
	var p string
	if c := d.Peek(); c == '"' || c == '{' {
		p = d.String()
	} else if p = d.span(isListChar); p == "" {
		d.Fail("mailbox pattern expected")
	}
	if d.UTF8 {
		return p
	}
	if name, err := DecodeUTF7(p); err == nil {
		return name
	}
	return p
}

// utf7 is base64 with "," for "/" and no padding (RFC 3501 section 5.1.3).
func utf7() *base64.Encoding {
	return base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
		WithPadding(base64.NoPadding).Strict()
}

// EncodeUTF7 writes a UTF-8 name in modified UTF-7. Invalid UTF-8 becomes U+FFFD.
func EncodeUTF7(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		n := strings.IndexFunc(s, notPrintable)
		if n < 0 {
			n = len(s)
		}
		b.WriteString(strings.ReplaceAll(s[:n], "&", "&-"))
		s = s[n:]
		if n = strings.IndexFunc(s, printable); n < 0 {
			n = len(s)
		}
		if n > 0 {
			b.WriteString("&" + utf7().EncodeToString(utf16BE(s[:n])) + "-")
		}
		s = s[n:]
	}
	return b.String()
}

func printable(r rune) bool    { return r >= 0x20 && r <= 0x7e }
func notPrintable(r rune) bool { return !printable(r) }

func utf16BE(s string) []byte {
	units := utf16.Encode([]rune(s))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = append(b, byte(u>>8), byte(u))
	}
	return b
}

// DecodeUTF7 reads modified UTF-7. Only the one right spelling of a name is
// accepted, so that two names on the wire never mean the same mailbox.
func DecodeUTF7(s string) (string, error) {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return "", errUTF7
		}
	}
	if !strings.Contains(s, "&") {
		return s, nil
	}
	var b strings.Builder
	rest := s
	for {
		plain, shifted, found := strings.Cut(rest, "&")
		b.WriteString(plain)
		if !found {
			break
		}
		var code string
		if code, rest, found = strings.Cut(shifted, "-"); !found {
			return "", errUTF7
		}
		if code == "" {
			b.WriteByte('&')
			continue
		}
		text, err := decodeShifted(code)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	if name := b.String(); EncodeUTF7(name) == s {
		return name, nil
	}
	return "", errUTF7
}

func decodeShifted(code string) (string, error) {
	b, err := utf7().DecodeString(code)
	if err != nil || len(b)%2 != 0 {
		return "", errUTF7
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return string(utf16.Decode(units)), nil
}

// MatchList says whether name matches a LIST pattern: "*" stands for anything,
// "%" for anything without delim. It takes len(pattern) * len(name) steps
// whatever the pattern: there is nothing to try again.
func MatchList(pattern, name string, delim byte) bool {
	var small [128]bool
	reach := small[:] // reach[n]: the pattern so far matches name[:n]
	if len(name) >= len(small) {
		reach = make([]bool, len(name)+1)
	}
	reach = reach[:len(name)+1]
	reach[0] = true
	for i := range len(pattern) {
		switch c := pattern[i]; c {
		case '*', '%':
			for n := range len(name) {
				if reach[n] && (c == '*' || name[n] != delim) {
					reach[n+1] = true
				}
			}
		default:
			for n := len(name); n > 0; n-- {
				reach[n] = reach[n-1] && name[n-1] == c
			}
			reach[0] = false
		}
	}
	return reach[len(name)]
}
