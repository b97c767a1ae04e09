package imapd

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"telesphore/storage"
)

const plainMail = "From: Anne <anne@a.test>\r\nTo: bob@b.test\r\nSubject: hello\r\n" +
	"Date: Mon, 7 Feb 1994 23:52:25 -0800\r\nMessage-ID: <1@a.test>\r\n\r\nHello\r\nBob\r\n"

const multipartMail = "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" +
	"--x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\nYQBiw6k=\r\n" +
	"--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\nFrom: c@c.test\r\n\r\nInside\r\n" +
	"--x\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: x-unknown\r\n\r\n?\r\n--x--\r\n"

func TestFetchPlacementItems(t *testing.T) {
	f := newTestInbox(t)
	f.file(plainMail, flagged(storage.Seen|storage.Flagged, "$Work", "b"))
	f.file(plainMail, flagged(0))
	f.file(plainMail, flagged(storage.Answered|storage.Deleted|storage.Draft, "b"))
	f.Recent = func(uid uint32) bool { return uid == 2 }
	known := ""
	f.Known = func(k []string) { known = strings.Join(k, " ") }
	f.expect("FETCH 1:* FLAGS", "* 1 FETCH (FLAGS (\\Seen \\Flagged $Work b))\r\n* 2 FETCH (FLAGS (\\Recent))\r\n"+
		"* 3 FETCH (FLAGS (\\Answered \\Deleted \\Draft b))\r\n")
	if known != "$Work b" {
		t.Errorf("keywords announced: %q", known)
	}
	f.expect("fetch 2 fast", "* 2 FETCH (FLAGS (\\Recent) INTERNALDATE \" 7-Feb-2024 21:52:25 +0000\" RFC822.SIZE "+fmt.Sprint(len(plainMail))+")\r\n")
	f.expect("UID FETCH 3 (UID)", "* 3 FETCH (UID 3)\r\n")
	f.expect("UID FETCH *:3,99 (RFC822.SIZE)", fmt.Sprintf("* 3 FETCH (RFC822.SIZE %d UID 3)\r\n", len(plainMail)))
	f.expect("UID FETCH 99 FLAGS", "")
	f.expect("UID FETCH 99:* UID", "* 3 FETCH (UID 3)\r\n")
	f.expect("FETCH *,1,1 UID", "* 1 FETCH (UID 1)\r\n* 3 FETCH (UID 3)\r\n")
	f.expect("FETCH 1 (EMAILID THREADID)", fmt.Sprintf("* 1 FETCH (EMAILID (%s) THREADID (%s))\r\n",
		storage.EmailID(f.Account, f.placement(1).Object), storage.ThreadID(f.Account, f.placement(1).Object)))
	got, _ := f.do("FETCH 1 SAVEDATE")
	if !strings.HasPrefix(got, "* 1 FETCH (SAVEDATE \"") {
		t.Errorf("SAVEDATE: %q", got)
	}
}

func (f *testInbox) placement(uid uint32) (p storage.Placement) {
	f.view(func(tx *storage.Tx) error {
		return tx.Placements(f.Account, f.Mailbox, storage.UIDSet{{Lo: uid, Hi: uid}}, func(q *storage.Placement) bool {
			p = *q
			return false
		})
	})
	return p
}

func TestFetchRefuses(t *testing.T) {
	f := newTestInbox(t)
	f.file(plainMail)
	for _, line := range []string{
		"FETCH 1", "FETCH 1 ()", "FETCH 1 (ALL)", "FETCH 1 NOSUCH", "FETCH 1  FLAGS", "FETCH 1 (FLAGS  UID)", "FETCH 1 (FLAGS UID",
		"FETCH 2 FLAGS", "FETCH 1:2 FLAGS", "FETCH 0 FLAGS", "FETCH $1 FLAGS", "FETCH 4294967295 FLAGS",
		"FETCH 1 BODY[", "FETCH 1 BODY[FOO]", "FETCH 1 BODY[MIME]", "FETCH 1 BODY[1.]", "FETCH 1 BODY[.1]", "FETCH 1 BODY[0]", "FETCH 1 BODY[01]",
		"FETCH 1 BODY[1..2]", "FETCH 1 BODY[1TEXT]", "FETCH 1 BODY[HEADER.FIELDS]", "FETCH 1 BODY[HEADER.FIELDS ()]", "FETCH 1 BODY[HEADER.FIELDS (a",
		"FETCH 1 BODY[]<0>", "FETCH 1 BODY[]<0.0>", "FETCH 1 BODY[]<0.9223372036854775808>", "FETCH 1 BODY[]<-1.1>", "FETCH 1 BODY.PEEK",
		"FETCH 1 BODY[]<0.1", "FETCH 1 BINARY", "FETCH 1 BINARY[HEADER]", "FETCH 1 BINARY[1.]", "FETCH 1 BINARY.SIZE[1]<0.1>",
		"FETCH 1 RFC822.PEEK", "FETCH 1 RFC822[]", "FETCH 1 FLAGS (CHANGEDSINCE)", "FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)",
		"FETCH 1 FLAGS (FOO 1)", "FETCH 1 FLAGS ()", "FETCH 1 FLAGS (CHANGEDSINCE 9223372036854775808)", "FETCH 1 FLAGS UID", "FETCH 1 FLAGS ",
		"FETCH 1 BODY[4294967296]",
	} {
		f.refused(line)
	}
	empty := newTestInbox(t)
	empty.expect("FETCH 1:* FLAGS", "")
	empty.refused("FETCH 1 FLAGS")
}

func TestFetchSections(t *testing.T) {
	f := newTestInbox(t)
	f.file(plainMail)
	f.file(multipartMail)
	f.file("")
	f.file("no header here", func(t *storage.Target) { t.Prefix = []byte("Return-Path: <x@x.test>\r\n") })
	f.ReadOnly = true
	lit := func(s string) string { return fmt.Sprintf("{%d}\r\n%s", len(s), s) }
	header, text, _ := strings.Cut(plainMail, "\r\n\r\n")
	header += "\r\n\r\n"
	_, multiText, _ := strings.Cut(multipartMail, "\r\n\r\n")
	for _, c := range []struct{ items, want string }{
		{"1 BODY[]", "BODY[] " + lit(plainMail)},
		{"1 RFC822", "RFC822 " + lit(plainMail)},
		{"1 body.peek[header]", "BODY[HEADER] " + lit(header)},
		{"1 RFC822.HEADER", "RFC822.HEADER " + lit(header)},
		{"1 BODY[TEXT]", "BODY[TEXT] " + lit(text)},
		{"1 RFC822.TEXT", "RFC822.TEXT " + lit(text)},
		{"1 BODY[1]", "BODY[1] " + lit(text)},
		{"1 BODY[2]", "BODY[2] NIL"},
		{"1 BODY[1.1]", "BODY[1.1] NIL"},
		{"1 BODY[1.HEADER]", "BODY[1.HEADER] NIL"},
		{"1 BODY[]<0.5>", "BODY[]<0> " + lit("From:")},
		{"1 BODY[]<1.9223372036854775807>", "BODY[]<1> " + lit(plainMail[1:])},
		{"1 BODY[]<9223372036854775807.9223372036854775807>", "BODY[]<9223372036854775807> " + lit("")},
		{"1 BODY[TEXT]<5.3>", "BODY[TEXT]<5> " + lit("\r\nB")},
		{"1 BODY[HEADER.FIELDS (to SUBJECT none)]", "BODY[HEADER.FIELDS (to SUBJECT none)] " + lit("To: bob@b.test\r\nSubject: hello\r\n\r\n")},
		{"1 BODY[HEADER.FIELDS (\"To\")]<4.3>", "BODY[HEADER.FIELDS (To)]<4> " + lit("bob")},
		{"1 BODY[HEADER.FIELDS (\"a b\")]", "BODY[HEADER.FIELDS (\"a b\")] " + lit("\r\n")},
		{"1 BODY[HEADER.FIELDS.NOT (From To Date Message-ID)]", "BODY[HEADER.FIELDS.NOT (From To Date Message-ID)] " + lit("Subject: hello\r\n\r\n")},
		{"1 (BODY[HEADER.FIELDS (To)] BODY[1]<0.1>)", "BODY[HEADER.FIELDS (To)] " + lit("To: bob@b.test\r\n\r\n") + " BODY[1]<0> " + lit("H")},
		{"2 BODY[TEXT]", "BODY[TEXT] " + lit(multiText)},
		{"2 BODY[1]", "BODY[1] " + lit("YQBiw6k=")},
		{"2 BODY[1.MIME]", "BODY[1.MIME] " + lit("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n")},
		{"2 BODY[2.HEADER]", "BODY[2.HEADER] " + lit("Subject: inner\r\nFrom: c@c.test\r\n\r\n")},
		{"2 BODY[2.TEXT]", "BODY[2.TEXT] " + lit("Inside")},
		{"2 BODY[2.1]", "BODY[2.1] " + lit("Inside")},
		{"2 BODY[2.HEADER.FIELDS (from)]", "BODY[2.HEADER.FIELDS (from)] " + lit("From: c@c.test\r\n\r\n")},
		{"2 BODY[4]", "BODY[4] NIL"},
		{"2 BODY[1.HEADER.FIELDS (a)]", "BODY[1.HEADER.FIELDS (a)] NIL"},
		{"2 BINARY[1]", "BINARY[1] ~{5}\r\na\x00b\xc3\xa9"},
		{"2 BINARY[1]<2.2>", "BINARY[1]<2> {2}\r\nb\xc3"},
		{"2 BINARY.PEEK[2]", "BINARY[2] " + lit("Subject: inner\r\nFrom: c@c.test\r\n\r\nInside")},
		{"2 BINARY.SIZE[1]", "BINARY.SIZE[1] 5"},
		{"2 BINARY.SIZE[]", fmt.Sprintf("BINARY.SIZE[] %d", len(multipartMail))},
		{"2 BINARY[7]", "BINARY[7] NIL"},
		{"3 (BODY[] BODY[HEADER] BODY[TEXT])", "BODY[] {0}\r\n BODY[HEADER] {0}\r\n BODY[TEXT] {0}\r\n"},
		{"4 BODY[]", "BODY[] " + lit("Return-Path: <x@x.test>\r\nno header here")},
		{"4 RFC822.SIZE", "RFC822.SIZE 39"},
		{"4 BODY[HEADER.FIELDS (return-path)]", "BODY[HEADER.FIELDS (return-path)] " + lit("Return-Path: <x@x.test>\r\n")},
	} {
		seq, _, _ := strings.Cut(c.items, " ")
		f.expect("FETCH "+c.items, "* "+seq+" FETCH ("+c.want+")\r\n")
	}
	// One message that cannot be answered does not keep the others from it.
	got, err := f.do("FETCH 1:3 BINARY.PEEK[3]")
	if want := "* 1 FETCH (BINARY[3] NIL)\r\n* 3 FETCH (BINARY[3] NIL)\r\n"; !errors.Is(err, errUnknownCTE) || got != want {
		t.Errorf("unknown encoding: %q %v", got, err)
	}
}

// TestFetchHeaderAndTextAreTheMessage holds for whatever stands in a message.
func TestFetchHeaderAndTextAreTheMessage(t *testing.T) {
	f := newTestInbox(t)
	mails := []string{
		"a\nb: c\n\nbody\n", "From me Mon\r\nSubject: x\r\n\r\n.", " folded first\r\nSubject: x\r\n\r\ny", "Subject: only header", "\r\n\r\n",
		"nothing", "Content-Type: multipart/mixed\r\n\r\n", "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a", "Subject: \xe9\x00\r\n\r\n\x00",
	}
	for _, m := range mails {
		f.file(m, func(t *storage.Target) { t.Prefix = []byte("Delivered-To: me\r\n") })
	}
	for i, m := range mails {
		if _, err := f.do(fmt.Sprintf("FETCH %d (ENVELOPE BODY BODYSTRUCTURE)", i+1)); err != nil {
			t.Errorf("%q: %v", m, err)
		}
		section := func(name string) string {
			got, err := f.do(fmt.Sprintf("FETCH %d BODY.PEEK[%s]", i+1, name))
			if err != nil {
				t.Errorf("%q: %v", m, err)
			}
			_, got, _ = strings.Cut(got, "}\r\n")
			return strings.TrimSuffix(got, ")\r\n")
		}
		if whole, parts := section(""), section("HEADER")+section("TEXT"); whole != "Delivered-To: me\r\n"+m || parts != whole {
			t.Errorf("%q: BODY[] is %q, HEADER and TEXT %q", m, whole, parts)
		}
	}
}

func TestFetchEnvelopeAndStructure(t *testing.T) {
	f := newTestInbox(t)
	f.file(plainMail)
	long := "Subject: long\r\nX-Long: " + strings.Repeat("x", 20<<10) + "\r\n\r\nbody"
	f.file(long)
	f.expect("FETCH 1 (ENVELOPE BODY)", "* 1 FETCH (ENVELOPE (\"Mon, 7 Feb 1994 23:52:25 -0800\" \"hello\" ((\"Anne\" NIL \"anne\" \"a.test\")) "+
		"((\"Anne\" NIL \"anne\" \"a.test\")) ((\"Anne\" NIL \"anne\" \"a.test\")) ((NIL NIL \"bob\" \"b.test\")) NIL NIL NIL \"<1@a.test>\") "+
		"BODY (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 12 2))\r\n")
	f.expect("FETCH 2 (ENVELOPE BODY.PEEK[HEADER.FIELDS (Subject)])", "* 2 FETCH (ENVELOPE (NIL \"long\" NIL NIL NIL NIL NIL NIL NIL NIL) "+
		"BODY[HEADER.FIELDS (Subject)] {17}\r\nSubject: long\r\n\r\n)\r\n")
	for _, macro := range []string{"ALL", "FULL"} {
		got, err := f.do("FETCH 1:2 " + macro)
		if err != nil || strings.Count(got, "ENVELOPE (") != 2 || strings.Contains(got, " BODY (") != (macro == "FULL") {
			t.Errorf("%s: %q %v", macro, got, err)
		}
	}
}

func TestFetchSetsSeen(t *testing.T) {
	f := newTestInbox(t)
	for range 3 {
		f.file("Subject: x\r\n\r\nbody")
	}
	told := []uint32{}
	f.Told = func(p *storage.Placement) { told = append(told, p.UID) }
	seen := func(uid uint32) bool { return f.placement(uid).Flags&storage.Seen != 0 }
	f.ReadOnly = true
	f.expect("FETCH 1 BODY[TEXT]", "* 1 FETCH (BODY[TEXT] {4}\r\nbody)\r\n")
	f.ReadOnly = false
	f.expect("FETCH 1 (BODY.PEEK[TEXT] RFC822.HEADER BINARY.SIZE[1])",
		"* 1 FETCH (BODY[TEXT] {4}\r\nbody RFC822.HEADER {14}\r\nSubject: x\r\n\r\n BINARY.SIZE[1] 4)\r\n")
	if seen(1) {
		t.Error("EXAMINE or PEEK set \\Seen")
	}
	f.CondStore = true
	before := f.placement(1).ModSeq
	got, _ := f.do("FETCH 1 BODY[TEXT]")
	if after := f.placement(1).ModSeq; after <= before || got != fmt.Sprintf("* 1 FETCH (BODY[TEXT] {4}\r\nbody FLAGS (\\Seen) MODSEQ (%d))\r\n", after) {
		t.Errorf("%q", got)
	}
	f.expect("FETCH 1 BODY[TEXT]", "* 1 FETCH (BODY[TEXT] {4}\r\nbody)\r\n")
	f.CondStore = false
	f.expect("UID FETCH 2:3 (FLAGS BINARY[1])", "* 2 FETCH (FLAGS (\\Seen) BINARY[1] {4}\r\nbody UID 2)\r\n* 3 FETCH (FLAGS (\\Seen) BINARY[1] {4}\r\nbody UID 3)\r\n")
	if fmt.Sprint(told) != "[1 2 3]" || !seen(2) || !seen(3) {
		t.Errorf("told %v", told)
	}
}

func TestFetchChangedSince(t *testing.T) {
	f := newTestInbox(t)
	f.file(plainMail)
	middle := f.file(plainMail).ModSeq
	last := f.file(plainMail).ModSeq
	f.expect(fmt.Sprintf("FETCH 1:* (UID) (CHANGEDSINCE %d)", middle), fmt.Sprintf("* 3 FETCH (UID 3 MODSEQ (%d))\r\n", last))
	f.expect(fmt.Sprintf("UID FETCH 1:* FLAGS (changedsince %d)", last), "")
	f.MaxModSeq = middle
	f.expect("FETCH 3 MODSEQ", fmt.Sprintf("* 3 FETCH (MODSEQ (%d))\r\n", middle))
}

func TestFetchOfExpungedMessages(t *testing.T) {
	f := newTestInbox(t)
	for range 4 {
		f.file(plainMail)
	}
	f.expunge(2)
	f.expunge(4)
	for _, items := range []string{"UID", "(UID BODY.PEEK[]<0.1>)", "(UID ENVELOPE)"} {
		got, err := f.do("FETCH 1:4 " + items)
		if !errors.Is(err, errExpungeIssued) || strings.Count(got, " FETCH (") != 2 || !strings.Contains(got, "* 3 FETCH (UID 3") {
			t.Errorf("%s: %q %v", items, got, err)
		}
	}
	if got, err := f.do("UID FETCH 4 BODY[]"); got != "" || !errors.Is(err, errExpungeIssued) {
		t.Errorf("%q %v", got, err)
	}
}

// TestFetchStreams has a message larger than what may wait.
func TestFetchStreams(t *testing.T) {
	f := newTestInbox(t)
	mail := "Subject: big\r\n\r\n" + strings.Repeat("0123456789", 30_000)
	f.file(mail)
	most := 0
	flush := f.Flush
	f.Flush = func() error { most = max(most, len(f.Out.B)); return flush() }
	f.expect("FETCH 1 BODY.PEEK[]", fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s)\r\n", len(mail), mail))
	if most > flushAt || f.flushes < 4 {
		t.Errorf("%d octets waited, %d flushes", most, f.flushes)
	}
	f.Flush = func() error { return io.ErrClosedPipe }
	if _, err := f.do("FETCH 1 BODY.PEEK[]"); !errors.Is(err, errCutShort) || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken connection: %v", err)
	}
}

func BenchmarkFetchFlags50k(b *testing.B) {
	f := bigTestInbox(b, 50_000)
	f.Flush = func() error { f.Out.B = f.Out.B[:0]; return nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.do("UID FETCH 1:* (FLAGS)"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchEnvelope(b *testing.B) {
	f := bigTestInbox(b, 1000)
	f.Flush = func() error { f.Out.B = f.Out.B[:0]; return nil }
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.do("FETCH 1:* (ENVELOPE BODYSTRUCTURE)"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchBody(b *testing.B) {
	f := newTestInbox(b)
	f.file("Subject: x\r\n\r\n" + strings.Repeat("The quick brown fox. 0123456789\r\n", 3000))
	f.Flush = func() error { f.Out.B = f.Out.B[:0]; return nil }
	b.SetBytes(int64(f.placement(1).Size))
	for b.Loop() {
		if _, err := f.do("FETCH 1 BODY.PEEK[]"); err != nil {
			b.Fatal(err)
		}
	}
}

// bigTestInbox has n small messages: copies, for the sake of speed.
func bigTestInbox(b *testing.B, n int) *testInbox {
	f := newTestInbox(b)
	f.fileUnseen(plainMail)
	for have := 1; have < n; {
		k := min(have, n-have, 5000)
		if _, err := f.Store.Copy(b.Context(), f.Account, f.Mailbox, storage.UIDSet{{Lo: 1, Hi: uint32(k)}}, f.Mailbox); err != nil {
			b.Fatal(err)
		}
		have += k
	}
	f.refresh()
	return f
}
