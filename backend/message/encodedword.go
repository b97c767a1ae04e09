package message

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// longestEncodedWord bounds the search for the end of an encoded word. RFC 2047 section
// 2 allows 75 octets; programs that do not fold write whole subjects in one.
const longestEncodedWord = 1024

// encodedWord is the anatomy of "=?charset?encoding?text?=".
type encodedWord struct {
	charset  string
	encoding byte // 'b' or 'q'
	text     string
	length   int // of the whole
}

// splitEncodedWord reads the encoded word that s begins with. Its text may hold
// blanks: programs write them, and readers show what was meant.
func splitEncodedWord(s string) (w encodedWord, ok bool) {
	if !strings.HasPrefix(s, "=?") {
		return w, false
	}
	s = s[:min(len(s), longestEncodedWord)]
	end := strings.IndexByte(s[2:], '?') + 2
	if end <= 2 || end+3 > len(s) || s[end+2] != '?' || strings.ContainsAny(s[2:end], " \t\r\n=") {
		return w, false
	}
	w.charset, _, _ = strings.Cut(s[2:end], "*") // RFC 2231 section 5: a language may follow
	w.encoding = lowerByte(s[end+1])
	s = s[end+3:]
	n := strings.Index(s, "?=")
	if n < 0 || w.encoding != 'b' && w.encoding != 'q' {
		return w, false
	}
	w.text, w.length = s[:n], end+3+n+2
	return w, true
}

// encodedWordLength is the length of the encoded word without blanks that b begins
// with, 0 when it does not begin with one.
func encodedWordLength(b []byte) int {
	if !bytes.HasPrefix(b, []byte("=?")) {
		return 0
	}
	head := b[:min(len(b), longestEncodedWord)]
	at := 2
	for range 2 { // behind charset, behind encoding
		i := bytes.IndexAny(head[at:], "? \t\r\n,")
		if i < 0 || head[at+i] != '?' {
			return 0
		}
		at += i + 1
	}
	end := bytes.Index(head[at:], []byte("?="))
	if end < 0 || bytes.ContainsAny(head[at:at+end], " \t\r\n") {
		return 0
	}
	return at + end + 2
}

// DecodeHeader decodes the encoded words of an unfolded value to UTF-8 (RFC 2047). It
// never fails: what is no encoded word stays, raw 8-bit text is taken for
// UTF-8 or else Windows-1252.
func DecodeHeader(raw string) string {
	if !strings.Contains(raw, "=?") {
		if utf8.ValidString(raw) {
			return raw
		}
		return string(toUTF8("", []byte(raw)))
	}
	var d headerDecoder
	for len(raw) > 0 {
		i := strings.Index(raw, "=?")
		if i < 0 {
			break
		}
		w, ok := splitEncodedWord(raw[i:])
		if !ok {
			d.text(raw[:i+2])
			raw = raw[i+2:]
			continue
		}
		d.text(raw[:i])
		d.word(w)
		raw = raw[i+w.length:]
	}
	d.text(raw)
	d.flush()
	return d.out.String()
}

// headerDecoder joins what encoded words say. Octets of neighbours in one charset are
// gathered before they are decoded: programs split characters between words.
type headerDecoder struct {
	out     strings.Builder
	charset string
	octets  []byte
	pending bool // an encoded word came last
}

// text adds what stands between encoded words; blanks alone do not count (RFC 2047 section 6.2).
func (d *headerDecoder) text(s string) {
	if s == "" || d.pending && strings.Trim(s, " \t") == "" {
		return
	}
	d.flush()
	d.out.Write(toUTF8("", []byte(s)))
}

func (d *headerDecoder) word(w encodedWord) {
	if d.pending && !strings.EqualFold(w.charset, d.charset) {
		d.flush()
	}
	d.pending, d.charset = true, w.charset
	if w.encoding == 'b' {
		d.octets = appendBase64(d.octets, []byte(w.text))
		return
	}
	d.octets = appendQ(d.octets, w.text)
}

func (d *headerDecoder) flush() {
	d.out.Write(toUTF8(d.charset, d.octets))
	d.octets, d.pending = d.octets[:0], false
}

// appendQ decodes the "Q" encoding (RFC 2047 section 4.2).
func appendQ(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			dst = append(dst, ' ')
		case c == '=' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			dst = append(dst, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
