package wire

import (
	"bufio"
	"bytes"
	"io"
	"testing"
	"unicode/utf8"
)

// counter counts what was read from it.
type counter struct {
	r *bytes.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// FuzzDecoder reads stream with the methods that script names. Wherever a
// command begins, a plain reading of lines and literals must see a beginning too.
func FuzzDecoder(f *testing.F) {
	for _, s := range []struct{ script, stream string }{
		{"a", "a LOGIN {3+}\r\nbob {4}\r\n1234\r\nb NOOP\r\n"},
		{"Lm", "a APPEND x {17+}\r\nz DELETE victim\r\n\r\nb NOOP\r\n"},
		{"qfs", "a STORE 1:* (\\Seen x) \"\n{5+}\r\nhello\r\n"},
		{"ltdN", "a X (a (b)) \" 7-Feb-1994 21:52:25 -0800\" 1-Feb-2024 NIL\nb X\r\n"},
		{"aaaaa", "a X {99999999999999999999+}\r\nb NOOP\r\n"},
		{"e", "a X\n{3+}\r\nabc\r\n"},
	} {
		f.Add([]byte(s.script), []byte(s.stream))
	}
	f.Fuzz(func(t *testing.T, script, stream []byte) {
		lim := Limits{Line: 200, Literal: 40, Literals: 3, Depth: 4, SetRanges: 8, Discard: 500}
		in := &counter{r: bytes.NewReader(stream)}
		r := bufio.NewReaderSize(in, 16)
		at := func() int { return in.n - r.Buffered() }
		asked := map[int]bool{}
		d := NewDecoder(r, lim, func() error { asked[at()] = true; return nil })
		for start := 0; ; {
			_, _, err := d.Begin()
			for i := 0; i < len(script) && err == nil; i++ {
				d.TrySP()
				err = d.use(script[i])
			}
			if err == nil {
				err = d.End()
			}
			ended := err == nil
			if d.Discard() != nil {
				return
			}
			end := at()
			want := commandEnd(stream, start, asked)
			if bareLF := ended && stream[end-1] == '\n'; end != want && !bareLF {
				t.Fatalf("command at %d ends at %d, want %d (%v)", start, end, want, err)
			}
			start = end
		}
	})
}

// use calls the method that c stands for and checks what it returned.
func (d *Decoder) use(c byte) error {
	var s string
	switch c {
	case 'a':
		s = d.AString()
	case 'A':
		s = d.Atom()
	case 'q':
		s = d.String()
	case 'm':
		s = d.Mailbox()
	case 'p':
		s = d.ListMailbox()
	case 'f':
		s = d.Flag()
	case 'F':
		d.FlagList()
	case 's':
		d.Set().Resolve(10)
	case 'l':
		var open func()
		open = func() {
			if d.Peek() == '(' {
				d.ListOrEmpty(open)
			} else {
				d.Atom()
			}
		}
		open()
	case 't':
		d.DateTime()
	case 'd':
		d.Date()
	case 'n':
		d.Number64()
	case 'N':
		d.NString()
	case 'L':
		_, r, _ := d.Literal(60)
		io.Copy(io.Discard, r)
	case 'h':
		_, r, _ := d.Literal(60)
		r.Read(make([]byte, 3))
	}
	if d.err != nil && s != "" {
		panic("a value with an error")
	}
	return d.err
}

// commandEnd finds where the command that begins at start ends: at the first
// line end that is not followed by a literal.
func commandEnd(stream []byte, start int, asked map[int]bool) int {
	for at := start; ; {
		i := bytes.Index(stream[at:], []byte("\r\n"))
		if i < 0 {
			return -1
		}
		line := stream[at : at+i]
		at += i + 2
		size, plain := bytes.CutSuffix(line, []byte("}"))
		size, follows := bytes.CutSuffix(size, []byte("+"))
		open := bytes.LastIndexByte(size, '{')
		if !plain || open < 0 || open == len(size)-1 || !follows && !asked[at] {
			return at
		}
		n, ok := parse63(size[open+1:])
		if bytes.ContainsFunc(size[open+1:], func(r rune) bool { return r < '0' || r > '9' }) {
			return at
		}
		if !ok || n > uint64(len(stream)-at) {
			return -1
		}
		at += int(n)
	}
}

func FuzzMatchList(f *testing.F) {
	f.Add("a*b%c", "axxb/c")
	f.Add("%/%", "a/b")
	f.Add("**%*%", "a//b")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 12 || len(name) > 12 {
			MatchList(pattern, name, '/')
			return
		}
		if got, want := MatchList(pattern, name, '/'), matches(pattern, name); got != want {
			t.Errorf("MatchList(%q, %q) = %v", pattern, name, got)
		}
	})
}

// matches is MatchList as its definition reads.
func matches(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	switch c := pattern[0]; c {
	case '*', '%':
		return matches(pattern[1:], name) || name != "" && (c == '*' || name[0] != '/') && matches(pattern, name[1:])
	default:
		return name != "" && name[0] == c && matches(pattern[1:], name[1:])
	}
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"INBOX", "été", "a&b", "台北", "😀/x", "&AOk-", "&-", "&", "&AOk", "&2D3cAA-", "&AOl-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		wire := EncodeUTF7(s)
		for i := range len(wire) {
			if wire[i] < 0x20 || wire[i] > 0x7e {
				t.Fatalf("%q is written %q", s, wire)
			}
		}
		if back, err := DecodeUTF7(wire); utf8.ValidString(s) && (back != s || err != nil) {
			t.Errorf("%q is written %q, read %q %v", s, wire, back, err)
		}
		if name, err := DecodeUTF7(s); err == nil && EncodeUTF7(name) != s {
			t.Errorf("%q is read %q, written %q", s, name, EncodeUTF7(name))
		}
	})
}
