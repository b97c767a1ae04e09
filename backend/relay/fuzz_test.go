package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	for _, c := range []struct{ in, status, diagnostic string }{
		{"250 ok\r\n", "2.0.0", "250 ok"},
		{"250\r\n", "2.0.0", "250"},
		{"250 ok\n", "2.0.0", "250 ok"},
		{"250-a\r\n250-\r\n250 b\r\n", "2.0.0", "250 a b"},
		{"550-5.1.1 no\r\n550 5.1.1 mailbox\r\n", "5.1.1", "550 5.1.1 no mailbox"},
		{"550 5.1.1\r\n", "5.1.1", "550 5.1.1"},
		{"550 5.7.999 x\r\n", "5.7.999", "550 5.7.999 x"},
		{"550 5.01.1 x\r\n", "5.0.0", "550 5.01.1 x"},
		{"550 5.1.1000 x\r\n", "5.0.0", "550 5.1.1000 x"},
		{"550 4.1.1 x\r\n", "5.0.0", "550 4.1.1 x"},
		{"550 5.1 x\r\n", "5.0.0", "550 5.1 x"},
		{"550 5.-1.1 x\r\n", "5.0.0", "550 5.-1.1 x"},
		{"", "", ""},
		{"250 ok", "", ""},
		{"250-ok\r\n", "", ""},
		{"250-a\r\n251 b\r\n", "", ""},
		{"25\r\n", "", ""},
		{"2500 a\r\n", "", ""},
		{"250_a\r\n", "", ""},
		{"150 a\r\n", "", ""},
		{"650 a\r\n", "", ""},
		{"+50 a\r\n", "", ""},
		{"HTTP/1.1 400\r\n", "", ""},
		{"250 " + strings.Repeat("a", maxLine) + "\r\n", "", ""},
		{strings.Repeat("250-a\r\n", 1000) + "250 a\r\n", "", ""},
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(c.in), maxLine), 5000)
		if (err == nil) != (c.status != "") || err == nil && (r.status() != c.status || r.diagnostic() != c.diagnostic) {
			t.Errorf("%.40q: %+v, %v; want %s, %q", c.in, r, err, c.status, c.diagnostic)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 no\r\n", "550 5.1.1\r\n", "250\n", "42", "421-x\r\n420 y\r\n", "250 \xff\x00\x1b\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		const size = 8192
		r, err := readReply(bufio.NewReaderSize(bytes.NewReader(in), maxLine), size)
		if err != nil {
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) == 0 || len(r.lines) > size/4 {
			t.Errorf("%q: %+v", in, r)
		}
		if s := r.status(); s[0] != byte('0'+r.code/100) || len(s) > len("5.999.999") {
			t.Errorf("%q: status %q", in, s)
		}
		d := r.diagnostic()
		if len(d) > longest || strings.ContainsFunc(d, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q: diagnostic %q", in, d)
		}
	})
}

// What a server makes of what is sent are the octets, whichever way they are read.
func FuzzContent(f *testing.F) {
	for _, seed := range []string{
		"", "a", ".", "..\r\n", "a\r\n.\r\nb\r\n", "\r\n", "a\r", "a\nb", "\x00", "a: é\r\n\r\nb", "\r\n.\r\n.\r\n", "a\r\n\r\n\xff",
	} {
		f.Add([]byte(seed), 1)
		f.Add([]byte(seed), 1000)
	}
	f.Fuzz(func(t *testing.T, in []byte, hold int) {
		open := func() (io.ReadCloser, error) { return io.NopCloser(&oneByte{in}), nil }
		m, err := examine(open, int64(hold))
		bare := bytes.IndexByte(in, 0) >= 0
		rest := bytes.ReplaceAll(in, []byte("\r\n"), nil)
		// What is left of CR CR LF LF once the pair is gone is CR LF, as bare as before.
		bare = bare || bytes.ContainsAny(rest, "\r\n")
		if bare != errors.Is(err, errBare) || !bare && err != nil {
			t.Fatalf("%q: %v, bare %v", in, err, bare)
		}
		if err != nil {
			return
		}
		want := in
		if len(in) > 0 && !bytes.HasSuffix(in, []byte("\r\n")) {
			want = append(bytes.Clone(in), "\r\n"...)
		}
		if m.size != int64(len(want)) || m.eightBit != bytes.ContainsFunc(in, func(c rune) bool { return c > '~'+1 }) {
			t.Errorf("%q: %+v", in, m.scan)
		}
		header, _, _ := bytes.Cut(append([]byte("\r\n"), in...), []byte("\r\n\r\n"))
		if m.eightBitHeader != bytes.ContainsFunc(header, func(c rune) bool { return c > '~'+1 }) {
			t.Errorf("%q: %+v", in, m.scan)
		}
		var wire bytes.Buffer
		w := bufio.NewWriter(&wire)
		if err := m.send(w); err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		w.WriteString(".\r\n")
		w.Flush()
		if n := bytes.Count(append([]byte("\r\n"), wire.Bytes()...), []byte("\r\n.\r\n")); n != 1 {
			t.Errorf("%q: %d ends of data in %q", in, n, wire.Bytes())
		}
		// DotReader makes LF of CR LF.
		got, err := textproto.NewReader(bufio.NewReader(&wire)).ReadDotBytes()
		if err != nil || !bytes.Equal(got, bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))) {
			t.Errorf("%q: %q arrived, %v", in, got, err)
		}
	})
}

// oneByte gives one octet at a time.
type oneByte struct{ left []byte }

func (r *oneByte) Read(b []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:1], r.left)
	r.left = r.left[n:]
	return n, nil
}

func TestXtext(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a@b": "a@b", "a+b=c": "a+2Bb+3Dc", "a b": "a+20b", "a\r\nb": "a+0D+0Ab", "\x7f": "+7F",
	} {
		if got := xtext(in); got != want {
			t.Errorf("xtext(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"a@b": "a@b", "é@b": `\x{E9}@b`, `\`: `\x{5C}`, "a b+c=": `a\x{20}b\x{2B}c\x{3D}`, "😀\r\n": `\x{1F600}\x{0D}\x{0A}`,
	} {
		if got := utf8xtext(in); got != want {
			t.Errorf("utf8xtext(%q) = %q, want %q", in, got, want)
		}
	}
	for _, c := range []struct {
		kind, address, want string
		ok                  bool
	}{
		{"rfc822", "a@b", "rfc822;a@b", true},
		{"RFC822", "a b", "RFC822;a+20b", true},
		{"utf-8", "é", `utf-8;\x{E9}`, true},
		{"rfc822", "é", "", false},
		{"", "a", "", false},
		{"rfc822", "", "", false},
		{"rfc822 NOTIFY=NEVER", "a", "", false},
		{"rfc822", strings.Repeat("a", 500), "", false},
	} {
		got, ok := orcpt(c.kind, c.address)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("orcpt(%q, %q) = %q, %v", c.kind, c.address, got, ok)
		}
	}
}
