package message

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"
)

const (
	previewLength = 200      // characters, RFC 8970 section 3.1
	previewPlain  = 4 << 10  // octets of plain text looked at
	previewHTML   = 32 << 10 // octets of HTML looked at: style sheets come first
)

// preview is the beginning of what a reader sees first: the text of the first
// plain or HTML part without quotations. It is "" when there is none.
func preview(root *Part, octets []byte) string {
	part := firstText(root)
	if part == nil {
		return ""
	}
	limit := previewPlain
	if part.Subtype == "html" {
		limit = previewHTML
	}
	body := octets[part.BodyStart:part.End]
	raw, err := Decode(part.Encoding, body[:min(len(body), limit)])
	if err != nil {
		return ""
	}
	if len(body) > limit {
		raw = trimRune(raw)
	}
	text := toUTF8(part.Charset, raw)
	if part.Subtype == "html" {
		return shorten(htmlText(text))
	}
	if own := shorten(withoutQuotes(text)); own != "" {
		return own
	}
	return shorten(text)
}

// firstText is the first plain or HTML part outside embedded messages.
func firstText(p *Part) *Part {
	switch {
	case p.Type == "text" && (p.Subtype == "plain" || p.Subtype == "html"):
		return p
	case p.IsMultipart():
		for _, child := range p.Children {
			if found := firstText(child); found != nil {
				return found
			}
		}
	}
	return nil
}

// trimRune drops a UTF-8 character that was cut in two.
func trimRune(b []byte) []byte {
	for n := len(b) - 1; n >= 0 && n >= len(b)-utf8.UTFMax; n-- {
		if utf8.RuneStart(b[n]) {
			if !utf8.FullRune(b[n:]) {
				return b[:n]
			}
			break
		}
	}
	return b
}

// withoutQuotes drops the lines that quote another message.
func withoutQuotes(text []byte) []byte {
	if text = bytes.TrimSpace(text); bytes.IndexByte(text, '>') < 0 {
		return text
	}
	kept := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		if line[0] != '>' {
			kept = append(kept, line...)
		}
	}
	return kept
}

// htmlText is the text of an HTML document's beginning.
func htmlText(document []byte) []byte {
	var text []byte
	z := html.NewTokenizer(bytes.NewReader(document))
	for hidden := 0; len(text) < previewPlain; {
		kind := z.Next()
		switch kind {
		case html.ErrorToken:
			return text
		case html.TextToken:
			if hidden == 0 {
				text = append(text, z.Text()...)
			}
			continue
		case html.StartTagToken, html.EndTagToken, html.SelfClosingTagToken:
		default:
			continue
		}
		name, _ := z.TagName()
		switch {
		case isHidden(name) && kind == html.StartTagToken:
			hidden++
		case isHidden(name) && kind == html.EndTagToken:
			hidden = max(0, hidden-1)
		case !isInline(name):
			text = append(text, ' ')
		}
	}
	return text
}

// isInline tells the elements that do not end a word.
func isInline(name []byte) bool {
	switch string(name) {
	case "a", "b", "em", "font", "i", "s", "small", "span", "strong", "sub", "sup", "u":
		return true
	}
	return false
}

// isHidden tells the elements whose text nobody sees.
func isHidden(name []byte) bool {
	switch string(name) {
	case "style", "script", "title", "template":
		return true
	}
	return false
}

// shorten makes one line of at most previewLength characters.
func shorten(text []byte) string {
	var s strings.Builder
	blank := true // at the beginning, where none is written
	count := 0
	for len(text) > 0 && count < previewLength {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case unicode.IsSpace(r):
			if !blank {
				s.WriteByte(' ')
				blank = true
				count++
			}
			continue
		case isInvisible(r):
			continue
		}
		s.WriteRune(r)
		blank = false
		count++
	}
	return strings.TrimRight(s.String(), " ")
}

// isInvisible tells the characters newsletters fill previews with.
func isInvisible(r rune) bool {
	switch r {
	case '\u00AD', '\u034F', '\u200B', '\u200C', '\u200E', '\u200F', '\u2060', '\uFEFF':
		return true
	}
	return unicode.IsControl(r)
}
