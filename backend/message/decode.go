package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
)

// ErrEncoding is a Content-Transfer-Encoding nobody knows (RFC 9051 section 6.4.5.1,
// [UNKNOWN-CTE]).
var ErrEncoding = errors.New("unknown content transfer encoding")

// Decode undoes a transfer encoding (RFC 2045 section 6), as BINARY asks. What is
// malformed is decoded as far as it goes. The result may alias b; the only
// error is ErrEncoding.
func Decode(encoding string, b []byte) ([]byte, error) {
	var buf [32]byte
	switch string(lowered(&buf, []byte(encoding))) {
	case "", "7bit", "8bit", "binary":
		return b, nil
	case "base64":
		return appendBase64(nil, b), nil
	case "quoted-printable":
		return decodeQuotedPrintable(b), nil
	}
	return nil, ErrEncoding
}

// appendBase64 decodes b. Octets outside the alphabet are passed over (RFC 2045 section
// 6.8); padding ends a quantum, and another may follow.
func appendBase64(dst, b []byte) []byte {
	n := len(dst)
	dst = slices.Grow(dst, base64.StdEncoding.DecodedLen(len(b)))
	if m, err := base64.StdEncoding.Decode(dst[n:cap(dst)], b); err == nil {
		return dst[:n+m]
	}
	var bits uint32
	digits := 0
	for _, c := range b {
		d := base64Digit(c)
		switch {
		case d < 64:
			bits, digits = bits<<6|uint32(d), digits+1
		case c != '=':
			continue
		}
		if c == '=' || digits == 4 {
			dst = appendQuantum(dst, bits, digits)
			bits, digits = 0, 0
		}
	}
	return appendQuantum(dst, bits, digits)
}

// appendQuantum appends the octets of up to four base64 digits.
func appendQuantum(dst []byte, bits uint32, digits int) []byte {
	switch digits {
	case 4:
		return append(dst, byte(bits>>16), byte(bits>>8), byte(bits))
	case 3:
		return append(dst, byte(bits>>10), byte(bits>>2))
	case 2:
		return append(dst, byte(bits>>4))
	}
	return dst
}

// base64Digit is the value of c, 64 when c is outside the alphabet.
func base64Digit(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c - 'A'
	case 'a' <= c && c <= 'z':
		return c - 'a' + 26
	case '0' <= c && c <= '9':
		return c - '0' + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	}
	return 64
}

// decodeQuotedPrintable decodes b line by line (RFC 2045 section 6.7). Blanks at the end of
// a line were added in transport; an "=" that begins nothing stays.
func decodeQuotedPrintable(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		end := lineEnd(b, 0)
		text := trimLineEnd(b[:end])
		ending := b[len(text):end]
		text = bytes.TrimRight(text, " \t")
		if n := len(text); n > 0 && text[n-1] == '=' {
			text, ending = text[:n-1], nil
		}
		for {
			i := bytes.IndexByte(text, '=')
			if i < 0 {
				break
			}
			out = append(out, text[:i]...)
			if i+2 < len(text) && isHex(text[i+1]) && isHex(text[i+2]) {
				out = append(out, unhex(text[i+1])<<4|unhex(text[i+2]))
				text = text[i+3:]
				continue
			}
			out = append(out, '=')
			text = text[i+1:]
		}
		out = append(append(out, text...), ending...)
		b = b[end:]
	}
	return out
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= lowerByte(c) && lowerByte(c) <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return lowerByte(c) - 'a' + 10
}
