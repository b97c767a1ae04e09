package message

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
)

// toUTF8 converts text to valid UTF-8. Without a charset, with an unknown one or with
// one that is plainly wrong, text that is valid UTF-8 stays and other text is
// taken for Windows-1252, which gives every octet a character. The result may
// alias b.
func toUTF8(charset string, b []byte) []byte {
	if charset == "" || isUnicode(charset) {
		if utf8.Valid(b) {
			return b
		}
		if strings.EqualFold(charset, "utf-8") {
			return bytes.ToValidUTF8(b, []byte("\uFFFD"))
		}
	}
	for _, e := range []encoding.Encoding{charsetEncoding(charset), charmap.Windows1252} {
		if e == nil {
			if utf8.Valid(b) {
				return b
			}
			continue
		}
		if text, err := e.NewDecoder().Bytes(b); err == nil && utf8.Valid(text) {
			return text
		}
	}
	return bytes.ToValidUTF8(b, []byte("\uFFFD"))
}

// isUnicode tells the charsets whose text is UTF-8 as it stands.
func isUnicode(charset string) bool {
	return strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii") || strings.EqualFold(charset, "utf8")
}

// charsetEncoding is nil when the charset is unknown. The names of browsers come first:
// they read ISO-8859-1 as Windows-1252, which is what is meant.
func charsetEncoding(charset string) encoding.Encoding {
	if e, err := htmlindex.Get(charset); err == nil && e != encoding.Replacement {
		return e
	}
	if e, err := ianaindex.MIME.Encoding(charset); err == nil {
		return e
	}
	return nil
}
