package imapd

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// searchFold appends text to dst in a form in which two texts that differ in
// case or in accents are the same: i;unicode-casemap (RFC 5051) without the
// combining marks, since people who write French often search without accents. ok is false when text is not UTF-8; what is wrong in it
// becomes U+FFFD.
func searchFold[T string | []byte](dst []byte, text T) (folded []byte, ok bool) {
	ok = true
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		// The next run beyond ASCII. It may begin with an accent of the letter
		// before it.
		j := i
		for j < len(text) && text[j] >= utf8.RuneSelf {
			j++
		}
		run := []byte(text[i:j])
		ok = ok && utf8.Valid(run)
		for _, r := range string(norm.NFKD.Bytes(run)) {
			if !unicode.Is(unicode.Mn, r) {
				dst = utf8.AppendRune(dst, unicode.ToLower(unicode.ToUpper(r)))
			}
		}
		i = j
	}
	return dst, ok
}
