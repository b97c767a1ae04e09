package message

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestBodyStructure(t *testing.T) {
	tests := []struct{ name, message, body, extended string }{
		{
			"default type", "Subject: x\n\none\ntwo\n",
			`("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2)`,
			`("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2 NIL NIL NIL NIL)`,
		},
		{
			"every field",
			"Content-Type: Application/PDF; name=\"a b.pdf\"; x=1\nContent-Transfer-Encoding: Base64\nContent-ID: <1@x>\nContent-Description: =?utf-8?Q?r=C3=A9sum=C3=A9?=\n" +
				"Content-MD5: Q2hlY2s=\nContent-Disposition: attachment; filename=\"a b.pdf\"; size=3\nContent-Language: fr, en-GB\nContent-Location: http://x/\n\nYWJj\n",
			`("application" "pdf" ("name" "a b.pdf" "x" "1") "<1@x>" "=?utf-8?Q?r=C3=A9sum=C3=A9?=" "base64" 6)`,
			`("application" "pdf" ("name" "a b.pdf" "x" "1") "<1@x>" "=?utf-8?Q?r=C3=A9sum=C3=A9?=" "base64" 6 "Q2hlY2s=" ("attachment" ("filename" "a b.pdf" "size" "3")) ("fr" "en-GB") "http://x/")`,
		},
		{
			"no body", "Content-Type: text/html\n",
			`("text" "html" NIL NIL NIL "7bit" 0 0)`,
			`("text" "html" NIL NIL NIL "7bit" 0 0 NIL NIL NIL NIL)`,
		},
		{
			"malformed type", "Content-Type: text\n\nx",
			`("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0)`,
			`("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL)`,
		},
		{
			"multipart",
			"Content-Type: multipart/mixed; boundary=\"foo\n bar\"\nContent-Language: fr\n\npreamble\n--foo bar \nContent-Type: text/html; charset=us-ascii\n\nhello\n\n--foo bar--\nepilogue\n",
			`(("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 7 1) "mixed")`,
			`(("text" "html" ("charset" "us-ascii") NIL NIL "7bit" 7 1 NIL NIL NIL NIL) "mixed" ("boundary" "foo bar") NIL ("fr") NIL)`,
		},
		{
			"embedded message", "Content-Type: message/rfc822\n\nSubject: in\n\nx\n",
			`("message" "rfc822" NIL NIL NIL "7bit" 18 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1) 3)`,
			`("message" "rfc822" NIL NIL NIL "7bit" 18 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1 NIL NIL NIL NIL) 3 NIL NIL NIL NIL)`,
		},
		{
			"digest", "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b\nContent-Type: text/plain\n\ny\n--b--\n",
			`(("message" "rfc822" NIL NIL NIL "7bit" 16 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0) 2)("text" "plain" NIL NIL NIL "7bit" 1 0) "digest")`,
			"",
		},
		{
			"no delimiter: all of the body is text", "Content-Type: multipart/mixed; boundary=b\n\nhello\n",
			`(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1) "mixed")`,
			`(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 7 1 NIL NIL NIL NIL) "mixed" ("boundary" "b") NIL NIL NIL)`,
		},
		{
			"a report is no message", "Content-Type: message/delivery-status\n\nx\n",
			`("message" "delivery-status" NIL NIL NIL "7bit" 3)`,
			`("message" "delivery-status" NIL NIL NIL "7bit" 3 NIL NIL NIL NIL)`,
		},
		{
			"parameters of RFC 2231 stay", "Content-Type: text/plain; name*0*=utf-8''caf%C3%A9; name*1=.txt\n\n",
			`("text" "plain" ("name*0*" "utf-8''caf%C3%A9" "name*1" ".txt") NIL NIL "7bit" 0 0)`, "",
		},
		{
			"parameters as programs write them", "Content-Type: text/plain (c); charset=utf-8 (d); name=a b.pdf; ; x; y=\"\\\"\\\\\";z=\"\nContent-Disposition: inline\n\n",
			`("text" "plain" ("charset" "utf-8" "name" "a b.pdf" "y" "\"\\" "z" "") NIL NIL "7bit" 0 0)`,
			`("text" "plain" ("charset" "utf-8" "name" "a b.pdf" "y" "\"\\" "z" "") NIL NIL "7bit" 0 0 NIL ("inline" NIL) NIL NIL)`,
		},
		{
			"8-bit parameter", "Content-Type: text/plain; name=\"caf\xe9\"\n\n",
			"(\"text\" \"plain\" (\"name\" {4}\r\ncaf\xe9) NIL NIL \"7bit\" 0 0)", "",
		},
		{
			"a composite part has no encoding", "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n\nx\n",
			`("message" "rfc822" NIL NIL NIL "7bit" 5 (NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 1) 2)`, "",
		},
	}
	for _, test := range tests {
		m := Describe(crlf(test.message))
		if string(m.Body) != test.body {
			t.Errorf("%s: BODY\n got %s\nwant %s", test.name, m.Body, test.body)
		}
		if test.extended != "" && string(m.BodyStructure) != test.extended {
			t.Errorf("%s: BODYSTRUCTURE\n got %s\nwant %s", test.name, m.BodyStructure, test.extended)
		}
	}
}

// outline names the parts of a message, with the text of the leaves.
func outline(p *Part, octets []byte) string {
	switch {
	case p.IsMultipart() || p.IsMessage():
		var s []string
		for _, child := range p.Children {
			s = append(s, outline(child, octets))
		}
		return p.Subtype + "(" + strings.Join(s, " ") + ")"
	}
	return fmt.Sprintf("%s%q", p.Subtype, octets[p.BodyStart:p.End])
}

func TestBoundaries(t *testing.T) {
	multipart := func(boundary string) string {
		return "Content-Type: multipart/mixed; boundary=" + boundary + "\n\n"
	}
	tests := []struct{ name, message, want string }{
		{"two parts", multipart("b") + "--b\n\none\n--b\n\ntwo\n--b--\n", `mixed(plain"one" plain"two")`},
		{"bare LF keeps its octets", "\x00" + multipart("b") + "--b\n\none\n\n--b--\n", `mixed(plain"one\n")`},
		{"the last line break is the delimiter's", multipart("b") + "--b\n\none\n\n--b--\n", `mixed(plain"one\r\n")`},
		{"no closing delimiter", multipart("b") + "--b\n\none\n--b\n\ntwo\n", `mixed(plain"one" plain"two\r\n")`},
		{"preamble and epilogue", multipart("b") + "pre\n--b\n\none\n--b--\n--x\nepi\n", `mixed(plain"one")`},
		{"blanks behind the delimiter", multipart("b") + "--b \t\n\none\n--b-- \n", `mixed(plain"one")`},
		{"not at the beginning of a line", multipart("b") + "--b\n\none --b\n --b\n--b--\n", `mixed(plain"one --b\r\n --b")`},
		{"empty parts", multipart("b") + "--b\n--b\n\n--b--\n", `mixed(plain"" plain"")`},
		{"header cut by a delimiter", multipart("b") + "--b\nContent-Type: text/html\n--b--\n", `mixed(html"")`},
		{"inner one not closed", multipart("a") + "--a\n" + multipart("b") + "--b\n\none\n--a\n\ntwo\n--a--\n", `mixed(mixed(plain"one") plain"two")`},
		{"inner name begins with the outer", multipart("b") + "--b\n" + multipart("bb") + "--bb\n\none\n--bb--\n--b\n\ntwo\n--b--\n", `mixed(mixed(plain"one") plain"two")`},
		{"outer name begins with the inner", multipart("bb") + "--bb\n" + multipart("b") + "--b\n\none\n--b--\n--bb\n\ntwo\n--bb--\n", `mixed(mixed(plain"one") plain"two")`},
		{"one name twice: the inner", multipart("b") + "--b\n" + multipart("b") + "--b\n\none\n--b\n\ntwo\n--b--\n--b--\n", `mixed(mixed(plain"one" plain"two"))`},
		{"closed at once", multipart("b") + "--b--\n", `mixed(plain"--b--\r\n")`},
		{"no boundary", multipart("") + "--\n\none\n", `mixed(plain"--\r\n\r\none\r\n")`},
		{"message between delimiters", multipart("b") + "--b\nContent-Type: message/rfc822\n\nSubject: in\n\none\n--b--\n", `mixed(rfc822(plain"one"))`},
		{"message without octets", multipart("b") + "--b\nContent-Type: message/rfc822\n\n--b--\n", `mixed(rfc822(plain""))`},
		{"message of a message", multipart("b") + "--b\nContent-Type: message/rfc822\n\nContent-Type: message/global\n\n\none\n--b\n\ntwo\n--b--\n", `mixed(rfc822(global(plain"one")) plain"two")`},
	}
	for _, test := range tests {
		octets := crlf(test.message)
		if test.message[0] == 0 {
			octets = []byte(test.message[1:])
		}
		if got := outline(Describe(octets).Root(), octets); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestDepthIsBounded(t *testing.T) {
	for name, octets := range map[string][]byte{"messages": deepMessages(4000), "multiparts": deepMultiparts(4000)} {
		m := Describe(octets)
		if err := checkMeta(m, octets); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p := m.Root()
		depth := 1
		for ; len(p.Children) > 0; depth++ {
			p = p.Children[0]
		}
		if depth != MaxDepth || p.Type != "application" || p.Subtype != "octet-stream" {
			t.Errorf("%s: %s/%s at depth %d", name, p.Type, p.Subtype, depth)
		}
	}
}

func TestPartsAreBounded(t *testing.T) {
	octets := crlf("Content-Type: multipart/mixed; boundary=a\n\n--a\n\nfirst\n--a\nContent-Type: multipart/digest; boundary=b\n\n" + strings.Repeat("--b\n\nSubject: x\n\n", 2*MaxParts) + "--b--\n--a--\n")
	m := Describe(octets)
	if err := checkMeta(m, octets); err != nil {
		t.Fatal(err)
	}
	count := 0
	var walk func(p *Part)
	walk = func(p *Part) {
		count++
		for _, child := range p.Children {
			walk(child)
		}
	}
	walk(m.Root())
	if count != MaxParts {
		t.Errorf("%d parts", count)
	}
}

// What a sender can write must not cost more than its length: each of these takes
// hours where the cost is its square.
func TestCostIsLinear(t *testing.T) {
	const size = 2 << 20
	times := func(s string) string { return strings.Repeat(s, size/len(s)) }
	hostile := map[string][]byte{
		"messages":            crlf(times("Content-Type: message/rfc822\n\n")),
		"messages, LF":        []byte(times("Content-Type: message/rfc822\n\n")),
		"multiparts":          deepMultiparts(size / 50),
		"delimiters":          crlf(openMultiparts(MaxDepth, strings.Repeat("x", 60)) + times("\n--"+strings.Repeat("x", 60)+"\n--")),
		"parts":               crlf("Content-Type: multipart/mixed; boundary=b\n\n" + times("--b\n")),
		"parts of multiparts": crlf("Content-Type: multipart/mixed; boundary=b\n\n" + times("--b\nContent-Type: multipart/mixed\n\n")),
		"addresses":           crlf("To: " + times("a,") + "\n\n"),
		"address fields":      crlf(times("To: a\n") + "\n"),
		"brackets":            crlf("To: " + times("[") + "\n\n"),
		"angles":              crlf("To: " + times("<@") + "\n\n"),
		"angles, commas":      crlf("To: " + times("<@,") + "\n\n"),
		"domain brackets":     crlf("To: " + times("@[") + "\n\n"),
		"comments":            crlf("To: " + times("(") + "\n\n"),
		"comments, closed":    crlf("Content-Type: " + times("()") + "\n\n"),
		"quotes":              crlf("To: " + times("\"") + "\n\n"),
		"encoded words":       crlf("From: " + times(",=?a?q?") + "\nSubject: " + times("=?a?q?") + "\n\n"),
		"groups":              crlf("To: " + times("a:") + "\n\n"),
		"parameters":          crlf("Content-Type: text/plain" + times(";a=b") + "\n\n"),
		"parameter names":     crlf("Content-Type: text/plain" + times("; a (") + "\n\n"),
		"parameter comments":  crlf("Content-Type: text/plain" + times("; a=b (") + "\n\n"),
		"languages":           crlf("Content-Language: " + times("a,") + "\n\n"),
		"subject":             crlf("Subject: " + times("[a]") + "\n\n"),
		"references":          crlf("References: " + times("<a>") + "\n\n"),
		"folds":               crlf("Subject: " + times("\n a") + "\n\n"),
		"HTML":                crlf("Content-Type: text/html\n\n" + times("<a <!--")),
	}
	for name, octets := range hostile {
		start := time.Now()
		m := Describe(octets)
		root := m.Root()
		for range root.Texts(octets, true) {
		}
		Addresses(m.Header, "To")
		if spent := time.Since(start); spent > 10*time.Second {
			t.Errorf("%s: %v for %d octets", name, spent, len(octets))
		}
	}
}
