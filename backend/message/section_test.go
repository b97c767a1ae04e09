package message

import (
	"fmt"
	"testing"
)

// nested is a message with every kind of part: text (1), an embedded multipart (2), an
// embedded message that holds another (3).
const nested = `Subject: outer
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=a

preamble
--a
Content-Type: text/html

<p>one</p>

--a
Content-Type: message/rfc822

Subject: two
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain

two one
--b
Content-Type: text/html

two two
--b--
epilogue two
--a
Content-Type: message/rfc822
X-Part: three

Subject: three
Content-Type: message/rfc822

Subject: three one

three one
--a--
epilogue
`

func TestSections(t *testing.T) {
	none := "(none)"
	tests := []struct {
		path []int
		spec Specifier
		want string // with LF for CRLF
	}{
		{nil, Whole, nested},
		{nil, Header, "Subject: outer\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=a\n\n"},
		{nil, MIME, none},
		{[]int{1}, Whole, "<p>one</p>\n"},
		{[]int{1}, MIME, "Content-Type: text/html\n\n"},
		{[]int{1}, Header, none},
		{[]int{1}, Text, none},
		{[]int{1, 1}, Whole, none},
		{[]int{2}, MIME, "Content-Type: message/rfc822\n\n"},
		{[]int{2}, Header, "Subject: two\nContent-Type: multipart/alternative; boundary=b\n\n"},
		{[]int{2}, Text, "--b\nContent-Type: text/plain\n\ntwo one\n--b\nContent-Type: text/html\n\ntwo two\n--b--\nepilogue two"},
		{[]int{2, 1}, Whole, "two one"},
		{[]int{2, 1}, MIME, "Content-Type: text/plain\n\n"},
		{[]int{2, 2}, Whole, "two two"},
		{[]int{2, 3}, Whole, none},
		{[]int{2, 0}, Whole, none},
		{[]int{2, -1}, Whole, none},
		{[]int{3}, Whole, "Subject: three\nContent-Type: message/rfc822\n\nSubject: three one\n\nthree one"},
		{[]int{3}, MIME, "Content-Type: message/rfc822\nX-Part: three\n\n"},
		{[]int{3}, Header, "Subject: three\nContent-Type: message/rfc822\n\n"},
		{[]int{3}, Text, "Subject: three one\n\nthree one"},
		{[]int{3, 1}, Whole, "Subject: three one\n\nthree one"},
		{[]int{3, 1}, MIME, "Subject: three\nContent-Type: message/rfc822\n\n"},
		{[]int{3, 1}, Header, "Subject: three one\n\n"},
		{[]int{3, 1}, Text, "three one"},
		{[]int{3, 1, 1}, Whole, "three one"},
		{[]int{3, 1, 1}, MIME, "Subject: three one\n\n"},
		{[]int{3, 1, 1, 1}, Whole, none},
		{[]int{3, 2}, Whole, none},
		{[]int{4}, Whole, none},
		{[]int{0}, Whole, none},
	}
	octets := crlf(nested)
	root := Describe(octets).Root()
	for _, test := range tests {
		want := string(crlf(test.want))
		got := none
		if from, to, ok := root.Range(test.path, test.spec); ok {
			got = string(octets[from:to])
		}
		if got != want {
			t.Errorf("section %v of kind %d:\n got %q\nwant %q", test.path, test.spec, got, want)
		}
	}
}

func TestSectionsOfASinglePart(t *testing.T) {
	octets := crlf("Subject: x\n\nbody\n")
	root := Describe(octets).Root()
	for _, test := range []struct {
		path []int
		spec Specifier
		want string
	}{
		{nil, Whole, "Subject: x\r\n\r\nbody\r\n"},
		{nil, Text, "body\r\n"},
		{[]int{1}, Whole, "body\r\n"},
		{[]int{1}, MIME, "Subject: x\r\n\r\n"},
		{[]int{1}, Text, ""},
		{[]int{1, 1}, Whole, ""},
		{[]int{2}, Whole, ""},
	} {
		from, to, ok := root.Range(test.path, test.spec)
		if got := string(octets[from:to]); got != test.want || ok != (test.want != "") {
			t.Errorf("section %v of kind %d: %q", test.path, test.spec, got)
		}
	}
}

// Every octet of a message is in HEADER or in TEXT, however its header looks.
func TestSectionsAreOctetExact(t *testing.T) {
	tests := []struct{ message, header string }{
		{"", ""},
		{"\r\n", "\r\n"},
		{"\r\nbody", "\r\n"},
		{"Subject: x", "Subject: x"},
		{"Subject: x\r\n", "Subject: x\r\n"},
		{"Subject: x\n\nbody\n", "Subject: x\n\n"},
		{"Subject: x\r\n \r\n\r\nbody", "Subject: x\r\n \r\n\r\n"},
		{"Subject: x\r\n\nbody\r\n", "Subject: x\r\n\n"},
		{"From a@x Mon Jan  1 10:00:00 2024\r\nSubject: x\r\n\r\nbody", "From a@x Mon Jan  1 10:00:00 2024\r\nSubject: x\r\n\r\n"},
		{"no colon\r\n\r\nbody", "no colon\r\n\r\n"},
		{" folded\r\nSubject: x\r\n\r\nbody", " folded\r\nSubject: x\r\n\r\n"},
		{"a\rb: c\r\r\n\r\nbody", "a\rb: c\r\r\n\r\n"},
	}
	for _, test := range tests {
		octets := []byte(test.message)
		m := Describe(octets)
		_, end, _ := m.Root().Range(nil, Header)
		start, size, _ := m.Root().Range(nil, Text)
		if string(octets[:end]) != test.header || start != end || size != int64(len(octets)) || m.Size != size {
			t.Errorf("%q: header %q, text %q", test.message, octets[:end], octets[start:size])
		}
		if string(m.Header) != test.header {
			t.Errorf("%q: header %q kept", test.message, m.Header)
		}
	}
}

func TestFilterHeader(t *testing.T) {
	header := "From junk\r\nSubject: one\r\n two\r\nTO: a@x\r\nX-Y : z\r\nno colon\r\nto: b@x\r\n\r\n"
	tests := []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"To"}, false, "TO: a@x\r\nto: b@x\r\n\r\n"},
		{[]string{"To"}, true, "From junk\r\nSubject: one\r\n two\r\nX-Y : z\r\nno colon\r\n\r\n"},
		{[]string{"x-y", "SUBJECT"}, false, "Subject: one\r\n two\r\nX-Y : z\r\n\r\n"},
		{[]string{"Cc"}, false, "\r\n"},
		{nil, false, "\r\n"},
		{nil, true, header},
		{[]string{"", "From junk", "no colon"}, false, "\r\n"},
	}
	for _, test := range tests {
		if got := string(FilterHeader([]byte(header), test.names, test.not)); got != test.want {
			t.Errorf("%q, not %v:\n got %q\nwant %q", test.names, test.not, got, test.want)
		}
	}
	// RFC 9051 section 6.4.5.1: no empty line where the message has none.
	if got := FilterHeader([]byte("To: a\nCc: b"), []string{"cc"}, false); string(got) != "Cc: b" {
		t.Errorf("%q", got)
	}
}

func TestHeaderValues(t *testing.T) {
	header := []byte("X: one\r\n\ttwo \r\ny: no\r\nx:\r\nX :caf\xe9\n\nX: body\n")
	if got := fmt.Sprintf("%q", HeaderValues(header, "x")); got != `["one\ttwo" "" "caf\xe9"]` {
		t.Errorf("%s", got)
	}
}
