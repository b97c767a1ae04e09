package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// newDecoder reads in, and counts how often a literal was asked for.
func newDecoder(in string, lim Limits) (*Decoder, *int) {
	asked := new(int)
	d := NewDecoder(bufio.NewReaderSize(strings.NewReader(in), 16), lim, func() error { *asked++; return nil })
	return d, asked
}

func TestBegin(t *testing.T) {
	for _, c := range []struct{ in, tag, command, err string }{
		{"a1 NOOP\r\n", "a1", "NOOP", ""},
		{"a]1 uid FETCH\r\n", "a]1", "UID", ""},
		{". x\r\n", ".", "X", ""},
		{"\r\n", "", "", "tag expected"},
		{" a NOOP\r\n", "", "", "tag expected"},
		{"a+ NOOP\r\n", "", "", "space expected"},
		{"+ NOOP\r\n", "", "", "tag expected"},
		{"a\r\n", "", "", "space expected"},
		{"a \r\n", "a", "", "atom expected"},
		{"a  NOOP\r\n", "a", "", "atom expected"},
		{"\"a\" NOOP\r\n", "", "", "tag expected"},
		{"é NOOP\r\n", "", "", "tag expected"},
		{"", "", "", "EOF"},
		{"a", "", "", "unexpected EOF"},
		{"a NOOP", "a", "", "unexpected EOF"},
	} {
		d, _ := newDecoder(c.in, DefaultLimits())
		tag, command, err := d.Begin()
		if tag != c.tag || command != c.command || text(err) != c.err {
			t.Errorf("%q: got %q %q %q, want %q %q %q", c.in, tag, command, text(err), c.tag, c.command, c.err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestGrammar reads one value between "a X " and CRLF.
func TestGrammar(t *testing.T) {
	const bad = "BAD"
	atom := func(d *Decoder) any { return d.Atom() }
	astring := func(d *Decoder) any { return d.AString() }
	str := func(d *Decoder) any { return d.String() }
	nstring := func(d *Decoder) any { s, ok := d.NString(); return fmt.Sprintf("%s %v", s, ok) }
	number := func(d *Decoder) any { return d.Number() }
	nz := func(d *Decoder) any { return d.NzNumber() }
	n64 := func(d *Decoder) any { return d.Number64() }
	modseq := func(d *Decoder) any { return d.ModSeq() }
	flag := func(d *Decoder) any { return d.Flag() }
	flags := func(d *Decoder) any { return strings.Join(d.FlagList(), "|") }
	set := func(d *Decoder) any { return string(AppendSet(nil, d.Set())) }
	date := func(d *Decoder) any { return d.Date().Format(time.DateOnly) }
	dateTime := func(d *Decoder) any { return d.DateTime().UTC().Format(time.RFC3339) }
	mailbox := func(d *Decoder) any { return d.Mailbox() }
	mailbox8 := func(d *Decoder) any { d.UTF8 = true; return d.Mailbox() }
	list := func(d *Decoder) any { return d.ListMailbox() }
	nested := func(d *Decoder) any {
		out := ""
		d.List(func() { d.ListOrEmpty(func() { out += d.Atom() + "," }) })
		return out
	}
	for _, c := range []struct {
		read func(*Decoder) any
		in   string
		want any
	}{
		{atom, "a1$'}+[~", "a1$'}+[~"}, {atom, "", bad}, {atom, "a]", bad}, {atom, "a*", bad}, {atom, "a%", bad},
		{atom, `a\`, bad}, {atom, `a"`, bad}, {atom, "a{", bad}, {atom, "a(", bad}, {atom, "\x7f", bad}, {atom, "\x01", bad}, {atom, "é", bad},
		{astring, "a]", "a]"}, {astring, `"a b"`, "a b"}, {astring, "{3+}\r\na b", "a b"}, {astring, "NIL", "NIL"}, {astring, `""`, ""},
		{str, `"a\"\\"`, `a"\`}, {str, `"a\n"`, bad}, {str, `"a`, bad}, {str, "\"a\nb\"", bad}, {str, "\"a\rb\"", bad}, {str, "\"a\x00\"", bad},
		{str, `"é"`, "é"}, {str, "\"\xe9\"", bad}, {str, "atom", bad}, {str, "{3+}\r\na\xe9b", "a\xe9b"}, {str, "{1+}\r\n\x00", bad},
		{str, "{0+}\r\n", ""}, {str, "{3}\r\nabc", "abc"}, {str, "{003+}\r\nabc", "abc"}, {str, "{+}", bad}, {str, "{-1+}", bad},
		{str, "{1+}\na", bad}, {str, "{1 +}\r\na", bad}, {str, "{1++}\r\na", bad}, {str, "~{1+}\r\na", bad},
		{nstring, "nil", " false"}, {nstring, `"nil"`, "nil true"}, {nstring, "nix", bad},
		{number, "0", uint32(0)}, {number, "007", uint32(7)}, {number, "4294967295", uint32(4294967295)}, {number, "4294967296", bad},
		{number, "-1", bad}, {number, "", bad}, {number, "99999999999999999999999", bad}, {nz, "0", bad}, {nz, "01", bad}, {nz, "10", uint32(10)},
		{n64, "9223372036854775807", uint64(1<<63 - 1)}, {n64, "9223372036854775808", bad}, {modseq, "0", bad}, {modseq, "12", uint64(12)},
		{flag, `\seen`, `\Seen`}, {flag, `\DRAFT`, `\Draft`}, {flag, "$Forwarded", "$Forwarded"}, {flag, `\Recent`, bad}, {flag, `\*`, bad},
		{flag, `\Foo`, bad}, {flag, `\`, bad}, {flag, "a]", bad}, {flags, "()", ""}, {flags, `(\Seen a b)`, `\Seen|a|b`}, {flags, "(a  b)", bad},
		{flags, "( a)", bad}, {flags, "(a )", bad}, {flags, "(a", bad}, {flags, "a", bad},
		{set, "1,3:5,7:*,*:2,*", "1,3:5,7:*,*:2,*"}, {set, "0", bad}, {set, "1:", bad}, {set, "1,", bad}, {set, ",1", bad}, {set, "1::2", bad},
		{set, "4294967295", "4294967295"}, {set, "4294967296", bad}, {set, "01", bad}, {set, "1:2:3", bad}, {set, "$", bad}, {set, "", bad},
		{date, "1-Feb-2024", "2024-02-01"}, {date, `"29-fEB-2024"`, "2024-02-29"}, {date, "29-Feb-2023", bad}, {date, "0-Feb-2023", bad},
		{date, "001-Feb-2023", bad}, {date, "1-Foo-2023", bad}, {date, "1-February-2023", bad}, {date, "1-Feb-23", bad}, {date, `"1-Feb-2023`, bad},
		{dateTime, `" 7-Feb-1994 21:52:25 -0800"`, "1994-02-08T05:52:25Z"}, {dateTime, `"17-Jul-1996 02:44:25 +0000"`, "1996-07-17T02:44:25Z"},
		{dateTime, `"7-Feb-1994 21:52:25 -0800"`, bad}, {dateTime, `"31-Feb-1994 21:52:25 -0800"`, bad}, {dateTime, `"17-Jul-1996 25:44:25 +0000"`, bad},
		{dateTime, `"17-Jul-1996 02:44:25 UTC"`, bad}, {dateTime, `17-Jul-1996 02:44:25 +0000`, bad},
		{mailbox, "inbox", "INBOX"}, {mailbox, "InBox/x", "INBOX/x"}, {mailbox, "inboxes", "inboxes"}, {mailbox, "&AOk-t&AOk-", "été"},
		{mailbox, "AT&-T", "AT&T"}, {mailbox, "AT&T", bad}, {mailbox, `"p&AOk"`, bad}, {mailbox, `"é"`, "é"}, {mailbox, "{1+}\r\n\xe9", bad}, {mailbox8, "AT&T", "AT&T"},
		{mailbox8, `"é&AOk-"`, "é&AOk-"}, {mailbox8, "{1+}\r\n\xe9", bad}, {mailbox, "a%", bad}, {mailbox, "a]b", "a]b"},
		{list, "%/*]", "%/*]"}, {list, `"&"`, "&"}, {list, "a&b*", "a&b*"}, {list, "&AOk-%", "é%"}, {list, `""`, ""}, {list, "a(", bad},
		{nested, "((a b) () (c))", "a,b,c,"}, {nested, "()", bad}, {nested, "((a)", bad}, {nested, "((a)) ", bad}, {nested, "((a)(b))", bad},
	} {
		d, _ := newDecoder("a X "+c.in+"\r\nb NOOP\r\n", DefaultLimits())
		d.Begin()
		d.SP()
		got := c.read(d)
		var syntax *SyntaxError
		if err := d.End(); errors.As(err, &syntax) {
			got = bad
		} else if err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		if got != c.want {
			t.Errorf("%q: got %v, want %v", c.in, got, c.want)
		}
		if c.in == "\"a\nb\"" || strings.Contains(c.in, "\r\na") && got == bad {
			continue // what follows is not certain to be a command
		}
		if tag, command, err := d.Begin(); tag != "b" || command != "NOOP" || err != nil {
			t.Errorf("%q: then %q %q %v", c.in, tag, command, err)
		}
	}
}

func TestSynchronisingLiterals(t *testing.T) {
	d, asked := newDecoder("a LOGIN {3}\r\nbob {4+}\r\n1234\r\n", DefaultLimits())
	d.Begin()
	d.SP()
	user := d.AString()
	if *asked != 1 {
		t.Errorf("asked %d times", *asked)
	}
	d.SP()
	secret := d.AString()
	if err := d.End(); err != nil || user != "bob" || secret != "1234" || *asked != 1 {
		t.Errorf("%q %q %v, asked %d times", user, secret, err, *asked)
	}
}

func TestStreamedLiteral(t *testing.T) {
	d, _ := newDecoder("a APPEND ~{5+}\r\na\x00b\r\n {4+}\r\nwxyz\r\nb NOOP\r\n", DefaultLimits())
	d.Begin()
	d.SP()
	size, r, binary := d.Literal(5)
	octets, err := io.ReadAll(r)
	if size != 5 || !binary || string(octets) != "a\x00b\r\n" || err != nil {
		t.Errorf("%d %v %q %v", size, binary, octets, err)
	}
	d.SP()
	size, r, binary = d.Literal(5)
	io.ReadFull(r, make([]byte, 2))
	if d.SP(); d.Err() == nil || size != 4 || binary {
		t.Errorf("read on inside a literal: %d %v", size, binary)
	}
	if tag, _, err := d.Begin(); tag != "b" || err != nil {
		t.Errorf("then %q %v", tag, err)
	}
}

// TestNothingRefusedRuns has DELETE where a parser that loses its place finds
// it; the next command of each must be b NOOP.
func TestNothingRefusedRuns(t *testing.T) {
	lim := DefaultLimits()
	lim.Line, lim.Literal, lim.Literals, lim.Discard = 100, 20, 2, 1000
	const inside = "z DELETE victim\r\n" // 17 octets
	long := strings.Repeat("x", 200)
	for name, c := range map[string]struct{ in, err string }{
		"literal over its limit":         {"a X {34+}\r\n" + inside + inside + "\r\n", "literal larger than 20"},
		"synchronising, over its limit":  {"a X {34}\r\n", "literal larger than 20"},
		"literal behind a bad token":     {"a X ) {17+}\r\n" + inside + "\r\n", "string expected"},
		"literal8 behind a bad token":    {"a X ) ~{17+}\r\n" + inside + "\r\n", "string expected"},
		"two literals, the first bad":    {"a X {34+}\r\n" + inside + inside + " {17+}\r\n" + inside + "\r\n", "literal larger than 20"},
		"too many literals":              {"a X {1+}\r\nx {1+}\r\nx {17+}\r\n" + inside + "\r\n", "literals larger than 2"},
		"line too long":                  {"a X " + long + inside, "line larger than 100"},
		"line too long, with a literal":  {"a X " + long + " {17+}\r\n" + inside + inside, "line larger than 100"},
		"bare LF in a quoted string":     {"a X \"\n" + inside, "'\"' expected"},
		"bare CR in a quoted string":     {"a X \"\r" + inside, "'\"' expected"},
		"NUL in a quoted string":         {"a X \"\x00" + inside, "'\"' expected"},
		"header ends with LF":            {"a X {17+}\n" + inside, "end of line expected"},
		"literal in an unfinished quote": {"a X \"{17+}\r\n" + inside + "\r\n", "'\"' expected"},
		"NUL in a literal":               {"a X {18+}\r\n\x00" + inside + "\r\n", "NUL in a literal"},
		"header cut by the line limit":   {"a X " + strings.Repeat("y", 89) + " {17+}\r\n" + inside + "\r\n", "line larger than 100"},
		"one more octet":                 {"a X " + strings.Repeat("y", 88) + " {17+}\r\n" + inside + "\r\n", "space expected"},
		"no tag":                         {"\x01 {17+}\r\n" + inside + "\r\n", "tag expected"},
	} {
		d, asked := newDecoder(c.in+"b NOOP\r\n", lim)
		_, _, err := d.Begin()
		for err == nil {
			d.SP()
			d.AString()
			err = d.Err()
		}
		if err.Error() != c.err || *asked != 0 {
			t.Errorf("%s: %v, asked %d times", name, err, *asked)
		}
		if tag, command, err := d.Begin(); tag != "b" || command != "NOOP" || err != nil {
			t.Errorf("%s: then %q %q %v", name, tag, command, err)
		}
	}
}

func TestDiscardGivesUp(t *testing.T) {
	lim := DefaultLimits()
	lim.Discard = 100
	for name, in := range map[string]string{
		"large literal":       "a X {101+}\r\n",
		"size beyond 63 bits": "a X {9223372036854775808+}\r\n",
		"size of 40 digits":   "a X {0000000000000000000000000000000000000001+}\r\n",
		"long line":           "a X " + strings.Repeat("x", 101),
		"line after line":     strings.Repeat("a X {10+}\r\n0123456789", 20),
	} {
		d, _ := newDecoder(in+"b NOOP\r\n", lim)
		d.Begin()
		d.SP()
		if err := d.Discard(); err != ErrDiscard {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndTakesBareLF(t *testing.T) {
	d, _ := newDecoder("a NOOP\nb NOOP\r\n", DefaultLimits())
	d.Begin()
	if err := d.End(); err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Fatal(err)
	}
	if tag, _, err := d.Begin(); tag != "b" || err != nil {
		t.Errorf("%q %v", tag, err)
	}
}

func TestConnectionErrorsStay(t *testing.T) {
	broken := errors.New("deadline")
	d := NewDecoder(bufio.NewReader(io.MultiReader(strings.NewReader("a X {5+}\r\nab"), &failing{broken})), DefaultLimits(), nil)
	d.Begin()
	d.SP()
	d.AString()
	if d.Err() != broken || d.Discard() != broken {
		t.Errorf("%v, then %v", d.Err(), d.Discard())
	}
	if _, _, err := d.Begin(); err != broken {
		t.Errorf("Begin: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestDepth(t *testing.T) {
	lim := DefaultLimits()
	lim.Depth = 3
	for _, c := range []struct {
		in string
		ok bool
	}{{"(((a)))", true}, {"((((a))))", false}} {
		d, _ := newDecoder("a X "+c.in+"\r\n", lim)
		d.Begin()
		d.SP()
		var open func()
		open = func() {
			if d.Peek() == '(' {
				d.List(open)
			} else {
				d.Atom()
			}
		}
		open()
		if ok := d.End() == nil; ok != c.ok {
			t.Errorf("%s: %v", c.in, d.Err())
		}
	}
}

func TestLine(t *testing.T) {
	lim := DefaultLimits()
	lim.Line = 20
	d, _ := newDecoder("a IDLE\r\ndone\r\n*\nAGJvYgBzZWNyZXQ= {1+}\r\n"+strings.Repeat("x", 30)+"\r\nb NOOP\r\n", lim)
	d.Begin()
	d.End()
	for _, want := range []string{"done", "*"} {
		if line, err := d.Line(); string(line) != want || err != nil {
			t.Errorf("%q %v, want %q", line, err, want)
		}
	}
	if _, err := d.Line(); err == nil {
		t.Error("long line accepted")
	}
}

func TestEndOfCommandIsEnd(t *testing.T) {
	d, _ := newDecoder("a X\r\nb NOOP\r\n", DefaultLimits())
	d.Begin()
	d.End()
	if s := d.Atom(); s != "" || d.Err() == nil {
		t.Errorf("read %q of the next command", s)
	}
}
