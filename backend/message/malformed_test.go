package message

import (
	"strconv"
	"strings"
)

// crlf writes a message with the line ends of the network.
func crlf(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// malformed are messages that mail programs, gateways and attackers send.
func malformed() map[string][]byte {
	return map[string][]byte{
		"nothing":             {},
		"a line end":          []byte("\r\n"),
		"no line end":         []byte("Subject: x"),
		"header only":         crlf("Subject: x\nFrom: a@b.example\n"),
		"no header":           crlf("\nbody\n"),
		"bare LF":             []byte("Subject: x\nFrom: a@b.example\n\nbody\n"),
		"mixed line ends":     []byte("Subject: x\n y\r\n z\nFrom: a@b.example\r\n\nbody\r\n"),
		"mbox line":           crlf("From a@b.example Mon Jan  1 10:00:00 2024\nSubject: x\n\nbody\n"),
		"missing colon":       crlf("Subject: x\nno colon here\nFrom: a@b.example\n\nbody\n"),
		"folded first line":   crlf(" folded\nSubject: x\n\nbody\n"),
		"raw 8-bit header":    []byte("Subject: caf\xe9\r\nFrom: Ren\xc3\xa9 <r@b.example>\r\n\r\nbody\r\n"),
		"NUL octets":          []byte("Subject: a\x00b\r\nFrom: \"x\x00y\" <a@b.example>\r\n\r\nbo\x00dy\r\n"),
		"lonely CR":           []byte("Subject: a\rb\r\n\r\nbody\r\n"),
		"empty multipart":     crlf("Content-Type: multipart/mixed; boundary=b\n\n"),
		"closed at once":      crlf("Content-Type: multipart/mixed; boundary=b\n\n--b--\n"),
		"no boundary":         crlf("Content-Type: multipart/mixed\n\nbody\n"),
		"empty boundary":      crlf("Content-Type: multipart/mixed; boundary=\"\"\n\n--\n\nbody\n--\n"),
		"empty parts":         crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b--\n"),
		"no closing boundary": crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n"),
		"inner not closed":    crlf("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--a\n\ntwo\n--a--\n"),
		"boundary in header":  crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\nSubject: x\n--b--\n"),
		"prefix boundaries":   crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n--bb\n\none\n--bb--\n--b\n\ntwo\n--b--\n"),
		"same boundaries":     crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n--b--\n"),
		"digest":              crlf("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\none\n--b\nContent-Type: text/plain\n\ntwo\n--b--\n"),
		"message at the end":  crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n--b--\n"),
		"bad types":           crlf("Content-Type: text\nContent-Transfer-Encoding: ???\nContent-Disposition: ;a=b\nContent-Language: ,,\n\nbody\n"),
		"bad parameters":      crlf("Content-Type: text/plain; =x; a; b=; c=\"d; charset=utf-8\n\nbody\n"),
		"bad addresses":       crlf("From: <\nTo: >, \"x, (y, a@b@c, <@:>, :;, ;:, <<a>>, [, [1.2.3.4, =?, (((\nCc: g: a@b.example\n\nbody\n"),
		"deep messages":       deepMessages(200),
		"deep multiparts":     deepMultiparts(200),
	}
}

// deepMessages are messages in one another.
func deepMessages(depth int) []byte {
	return crlf(strings.Repeat("Content-Type: message/rfc822\n\n", depth) + "Subject: x\n\nbody\n")
}

// deepMultiparts are multiparts in one another, all closed.
func deepMultiparts(depth int) []byte {
	var closing strings.Builder
	for i := depth - 1; i >= 0; i-- {
		closing.WriteString("\n--x" + strconv.Itoa(i) + "--\n")
	}
	return crlf(openMultiparts(depth, "x") + "\nbody\n" + closing.String())
}

// openMultiparts begins multiparts in one another, whose boundaries are a prefix and a
// number.
func openMultiparts(depth int, prefix string) string {
	var s strings.Builder
	for i := range depth {
		b := prefix + strconv.Itoa(i)
		s.WriteString("Content-Type: multipart/mixed; boundary=" + b + "\n\n--" + b + "\n")
	}
	return s.String()
}
