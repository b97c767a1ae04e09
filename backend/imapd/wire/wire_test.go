package wire

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

func TestSetResolve(t *testing.T) {
	for _, c := range []struct {
		in   Set
		max  uint32
		want string
	}{
		{Set{{1, 1}}, 5, "1"},
		{Set{{0, 0}}, 5, "5"},
		{Set{{0, 3}}, 5, "3:5"},
		{Set{{7, 0}}, 5, "5:7"},
		{Set{{5, 2}, {3, 9}, {11, 11}, {10, 10}}, 20, "2:11"},
		{Set{{1, 4294967295}, {4294967295, 4294967295}}, 5, "1:4294967295"},
		{Set{{0, 0}, {1, 0}, {3, 3}}, 0, "3"},
		{Set{{8, 9}, {1, 2}, {4, 5}}, 9, "1:2,4:5,8:9"},
	} {
		got := c.in.Resolve(c.max)
		if s := string(AppendSet(nil, got)); s != c.want {
			t.Errorf("%v of %d: %s, want %s", c.in, c.max, s, c.want)
		}
		for n := uint32(1); n < 15; n++ {
			in := false
			for _, r := range got {
				in = in || r.Lo <= n && n <= r.Hi
			}
			if got.Contains(n) != in {
				t.Errorf("%v.Contains(%d) = %v", got, n, !in)
			}
		}
	}
	if (Set{}).Max() != 0 || (Set{{1, 2}, {5, 9}}).Max() != 9 {
		t.Error("Max")
	}
}

func TestAppendNumbers(t *testing.T) {
	for _, c := range []struct {
		in   []uint32
		want string
	}{
		{nil, ""}, {[]uint32{3}, "3"}, {[]uint32{1, 2, 3, 5, 7, 8}, "1:3,5,7:8"}, {[]uint32{4294967294, 4294967295}, "4294967294:4294967295"},
	} {
		if got := string(AppendNumbers(nil, c.in)); got != c.want {
			t.Errorf("%v: %s", c.in, got)
		}
	}
}

func TestMatchList(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"%", "a", true}, {"%", "a/b", false}, {"%/%", "a/b", true}, {"%/%", "a/b/c", false},
		{"a*c", "a/b/c", true}, {"a%c", "a/c", false}, {"", "", true}, {"", "a", false}, {"a", "A", false}, {"%é", "été é", true},
		{"*%b", "a/b", true}, {"%*", "a/b", true}, {"a/%", "a/", true}, {"a", "ab", false}, {"ab", "a", false},
	} {
		if got := MatchList(c.pattern, c.name, '/'); got != c.want {
			t.Errorf("%q %q: %v", c.pattern, c.name, got)
		}
	}
}

// TestMatchListStars is row 3 of the measured defects: 0.1, 3.2, over 20 s for 5, 6, 7 stars.
func TestMatchListStars(t *testing.T) {
	start := time.Now()
	name := strings.Repeat("a", 1000)
	if MatchList(strings.Repeat("*a", 500)+"b", name, '/') || MatchList(strings.Repeat("%a", 500)+"b", name, '/') {
		t.Error("matches")
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestEncoder(t *testing.T) {
	at := time.Date(1994, 2, 7, 21, 52, 25, 0, time.FixedZone("", -8*3600))
	for _, c := range []struct {
		utf8 bool
		do   func(e *Encoder)
		want string
	}{
		{false, func(e *Encoder) { e.Raw("* ").Num(12).SP().Atom("EXISTS").CRLF() }, "* 12 EXISTS\r\n"},
		{false, func(e *Encoder) { e.String(`a "b" \`) }, `"a \"b\" \\"`},
		{false, func(e *Encoder) { e.String("é") }, "{2}\r\né"},
		{true, func(e *Encoder) { e.String("é") }, `"é"`},
		{true, func(e *Encoder) { e.String("\xe9") }, "{1}\r\n\xe9"},
		{true, func(e *Encoder) { e.String("a\r\nb") }, "{4}\r\na\r\nb"},
		{false, func(e *Encoder) { e.NString("", true).SP().NString("x", false) }, `"" NIL`},
		{false, func(e *Encoder) { e.Mailbox("été").SP().Mailbox("a b").SP().Mailbox("").SP().Mailbox("nil") }, `&AOk-t&AOk- "a b" "" "nil"`},
		{true, func(e *Encoder) { e.Mailbox("été").SP().Mailbox("a&b]") }, `"été" a&b]`},
		{false, func(e *Encoder) { e.Flags([]string{`\Seen`, "x"}).Flags(nil) }, `(\Seen x)()`},
		{false, func(e *Encoder) { e.DateTime(at) }, `" 7-Feb-1994 21:52:25 -0800"`},
		{false, func(e *Encoder) { e.Literal8Header(1).Raw("\x00").Literal([]byte("ab")) }, "~{1}\r\n\x00{2}\r\nab"},
		{false, func(e *Encoder) { e.Set(Set{{1, 3}, {7, 0}}) }, "1:3,7:*"},
	} {
		e := &Encoder{UTF8: c.utf8}
		if c.do(e); string(e.B) != c.want {
			t.Errorf("got %q, want %q", e.B, c.want)
		}
	}
}

func BenchmarkDecoder(b *testing.B) {
	const line = "a12 UID FETCH 1:500,600,700:* (UID FLAGS)\r\n"
	r := strings.NewReader("")
	br := bufio.NewReaderSize(r, 4096)
	d := NewDecoder(br, DefaultLimits(), nil)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(line)
		br.Reset(r)
		d.Begin()
		d.SP()
		d.Keyword()
		d.SP()
		d.Set()
		d.SP()
		d.List(func() { d.Keyword() })
		if err := d.End(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLiteral(b *testing.B) {
	in := "a APPEND {1048576+}\r\n" + strings.Repeat("x", 1<<20) + "\r\n"
	r := strings.NewReader("")
	br := bufio.NewReaderSize(r, 4096)
	d := NewDecoder(br, DefaultLimits(), nil)
	buf := make([]byte, 64<<10)
	b.SetBytes(1 << 20)
	for b.Loop() {
		r.Reset(in)
		br.Reset(r)
		d.Begin()
		d.SP()
		_, lit, _ := d.Literal(1 << 20)
		for {
			if _, err := lit.Read(buf); err == io.EOF {
				break
			}
		}
		if err := d.End(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMatchList(b *testing.B) {
	for b.Loop() {
		MatchList("*a*b*c*d*e", "patients/2024/archive/documents/recus", '/')
	}
}
