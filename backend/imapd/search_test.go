package imapd

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// searchInbox has six messages that differ in what SEARCH can ask for.
func searchInbox(t testing.TB) *testInbox {
	f := newTestInbox(t)
	day := func(d int) func(*storage.Target) {
		return func(t *storage.Target) { t.InternalDate = time.Date(2024, 3, d, 23, 59, 59, 0, time.UTC) }
	}
	f.file("From: Anne Élan <anne@a.test>\r\nTo: bob@b.test, \"Docteur, X\" <x@x.test>\r\nSubject: Hello World\r\n"+
		"Date: Fri, 1 Mar 2024 23:30:00 -0800\r\n\r\nThe cat\r\n", flagged(storage.Seen|storage.Answered, "$Work"), day(1))
	f.file("From: =?utf-8?q?=C3=89lodie?= <e@a.test>\r\nCc: anne@a.test\r\nSubject: =?iso-8859-1?q?=C9t=E9?=\r\n"+
		"Date: Sat, 2 Mar 2024 00:30:00 +0000\r\n\r\nThe dog\r\n", flagged(storage.Flagged), day(2))
	f.file("From: c@c.test\r\nBcc: anne@a.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"+
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nun r=E9sultat = CAT=\r\ns\r\n", flagged(storage.Deleted|storage.Draft, "other"), day(3))
	f.file("Subject:\r\nX-Long: "+strings.Repeat("y", 20<<10)+"\r\nX-Mark: found me\r\n\r\nlong header\r\n", day(4))
	f.file(multipartMail, day(5))
	f.file("Subject: own\r\n\r\n", day(6), func(t *storage.Target) { t.Prefix = []byte("Delivered-To: Anne@Here.test\r\n") })
	f.Recent = func(uid uint32) bool { return uid >= 5 }
	return f
}

func TestSearchKeys(t *testing.T) {
	f := searchInbox(t)
	for _, c := range []struct{ keys, want string }{
		{"ALL", "1 2 3 4 5 6"}, {"2:4", "2 3 4"}, {"*", "6"}, {"1,5:*", "1 5 6"}, {"5:99", "5 6"}, {"99", ""}, {"UID 2,4:99", "2 4 5 6"}, {"UID 99:*", "6"},
		{"SEEN", "1"}, {"UNSEEN", "2 3 4 5 6"}, {"ANSWERED", "1"}, {"UNANSWERED 1:2", "2"}, {"FLAGGED", "2"}, {"UNFLAGGED 1:3", "1 3"},
		{"DELETED", "3"}, {"UNDELETED", "1 2 4 5 6"}, {"DRAFT", "3"}, {"UNDRAFT 2:3", "2"}, {"KEYWORD $work", "1"}, {"UNKEYWORD $Work", "2 3 4 5 6"},
		{"KEYWORD nowhere", ""}, {"RECENT", "5 6"}, {"OLD", "1 2 3 4"}, {"NEW", "5 6"}, {"NEW SEEN", ""},
		{"BEFORE 3-Mar-2024", "1 2"}, {"ON 3-Mar-2024", "3"}, {"SINCE \"3-Mar-2024\"", "3 4 5 6"},
		{"SENTON 1-Mar-2024", "1"}, {"SENTBEFORE 2-Mar-2024", "1"}, {"SENTSINCE 2-Mar-2024", "2"}, {"NOT SENTSINCE 2-Mar-2024", "1 3 4 5 6"},
		{"SAVEDSINCE 1-Jan-2020", "1 2 3 4 5 6"}, {"SAVEDBEFORE 1-Jan-2020", ""}, {"SAVEDATESUPPORTED", "1 2 3 4 5 6"},
		{"LARGER 15000", "4"}, {"SMALLER 60", "6"}, {fmt.Sprintf("LARGER %d 6", f.placement(6).Size), ""}, {fmt.Sprintf("SMALLER %d 6", f.placement(6).Size+1), "6"},
		{"FROM anne", "1"}, {"FROM a.test", "1 2"}, {"FROM {5+}\r\nélod", "2"}, {"FROM {4+}\r\nÉLA", "1"}, {"TO x@x.test", "1"}, {"TO docteur", "1"}, {"CC anne", "2"}, {"BCC ANNE", "3"},
		{"SUBJECT hello", "1"}, {"SUBJECT \"lo wo\"", "1"}, {"CHARSET UTF-8 SUBJECT {5+}\r\nÉTÉ", "2"}, {"SUBJECT {7+}\r\ne\u0301te\u0301", "2"},
		{"HEADER Subject \"\"", "1 2 4 5 6"}, {"HEADER X-Mark FOUND", "4"}, {"HEADER x-none \"\"", ""}, {"HEADER Delivered-To here", "6"}, {"HEADER Delivered-To elsewhere", ""},
		{"BODY cat", "1 3"}, {"BODY cats", "3"}, {"CHARSET utf-8 BODY {7+}\r\nRÉSULT", "3"}, {"BODY hello", ""}, {"TEXT hello", "1"}, {"TEXT HERE.test", "6"},
		{"BODY inside", "5"}, {"TEXT inner", "5"}, {"BODY inner", "5"}, {"BODY \"\"", "1 2 3 4 5 6"}, {"TEXT \"found me\"", "4"},
		{"OR SEEN FLAGGED", "1 2"}, {"NOT 1:3", "4 5 6"}, {"NOT NOT 1", "1"}, {"(1:3 NOT 2)", "1 3"}, {"OR (1:2 SEEN) (OR 5 6)", "1 5 6"}, {"((((3))))", "3"},
		{"OR BODY cat SUBJECT {5+}\r\nété", "1 2 3"}, {"NOT BODY cat 1:3", "2"}, {"UNSEEN NOT FROM anne BODY dog", "2"}, {"OR BODY cat SEEN NOT BODY cats", "1"},
	} {
		want := "* SEARCH"
		if c.want != "" {
			want += " " + c.want
		}
		f.expect("SEARCH "+c.keys, want+"\r\n")
	}
	f.Recent = nil
	f.expect("SEARCH OR RECENT NEW", "* SEARCH\r\n")
	f.expect("SEARCH OLD", "* SEARCH 1 2 3 4 5 6\r\n")
	f.expect("SEARCH EMAILID "+storage.EmailID(f.Account, f.placement(3).Object), "* SEARCH 3\r\n")
	f.expect("SEARCH THREADID "+storage.ThreadID(f.Account, f.placement(2).Object), "* SEARCH 2\r\n")
	f.expect("SEARCH NOT THREADID T0 BODY dog", "* SEARCH 2\r\n")
}

func TestSearchRefuses(t *testing.T) {
	f := searchInbox(t)
	for _, keys := range []string{
		"", "FOO", "()", "(ALL", "ALL)", "ALL  ALL", "ALL ", "NOT", "OR ALL", "OR ALL ALL)", "KEYWORD", "KEYWORD \\Seen", "UNALL", "UNBODY x", "UNOLD",
		"BEFORE 32-Mar-2024", "BEFORE", "ON 2024-03-01", "LARGER x", "LARGER -1", "HEADER x", "BODY", "BODY {1+}\r\n\xe9", "BODY \"\xe9\"",
		"0", "1:", "UID x", "$1", "MODSEQ x", "MODSEQ \"/flags/\" all 1", "MODSEQ \"/flags/\\\\Seen\" none 1", "MODSEQ 9223372036854775808",
		"CHARSET", "CHARSET UTF-8", "ALL CHARSET UTF-8", "RETURN (MIN)", "RETURN ALL", "RETURN (FOO) ALL", "RETURN (MIN MAX ALL", "RETURN (SAVED) ALL",
		"CHARSET UTF-8 RETURN () ALL",
	} {
		f.refused("SEARCH " + keys)
	}
	for line, want := range map[string]error{
		"SEARCH CHARSET KOI8-R ALL": errBadCharset,
		"SEARCH " + strings.Repeat("(", 10) + "ALL" + strings.Repeat(")", 10): errTooCostly,
		"SEARCH " + strings.Repeat("NOT ", 50) + "ALL":                        errTooCostly,
		"SEARCH " + strings.Repeat("SEEN ", 100) + "ALL":                      errTooCostly,
		"SEARCH OR " + strings.Repeat("(OR 1 ", 9) + "2":                      errTooCostly,
	} {
		if _, err := f.do(line); !errors.Is(err, want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	f.expect("SEARCH CHARSET \"us-ascii\" 1", "* SEARCH 1\r\n")
}

func TestSearchOpensNoMoreThanAllowed(t *testing.T) {
	f := searchInbox(t)
	f.Limits.Messages = 2
	f.expect("SEARCH BODY cat SEEN", "* SEARCH 1\r\n")
	f.expect("SEARCH BODY cat FROM anne@a", "* SEARCH 1\r\n")
	if got, err := f.do("SEARCH BODY cat"); !errors.Is(err, errTooCostly) || got != "" {
		t.Errorf("%q %v", got, err)
	}
}

func TestSearchAnswers(t *testing.T) {
	f := searchInbox(t)
	f.expunge(2)
	f.refresh() // the client has been told: numbers and UIDs differ now
	modSeq := func(uid uint32) storage.ModSeq { return f.placement(uid).ModSeq }
	f.expect("UID SEARCH 2:3", "* SEARCH 3 4\r\n")
	f.expect("SEARCH RETURN () ALL", "* ESEARCH (TAG \"A1\") ALL 1:5\r\n")
	f.expect("UID SEARCH RETURN (ALL) ALL", "* ESEARCH (TAG \"A1\") UID ALL 1,3:6\r\n")
	f.expect("UID SEARCH RETURN (MIN MAX COUNT) ALL", "* ESEARCH (TAG \"A1\") UID MIN 1 MAX 6 COUNT 5\r\n")
	f.expect("SEARCH RETURN (MIN MAX COUNT ALL) KEYWORD none", "* ESEARCH (TAG \"A1\") COUNT 0\r\n")
	f.expect("SEARCH RETURN (min) CHARSET UTF-8 2:4", "* ESEARCH (TAG \"A1\") MIN 2\r\n")
	f.expect(fmt.Sprintf("SEARCH MODSEQ %d", modSeq(5)), fmt.Sprintf("* SEARCH 4 5 (MODSEQ %d)\r\n", modSeq(6)))
	f.expect(fmt.Sprintf("SEARCH MODSEQ \"/flags/\\\\draft\" all %d 4", modSeq(5)), fmt.Sprintf("* SEARCH 4 (MODSEQ %d)\r\n", modSeq(5)))
	f.expect("SEARCH MODSEQ 9223372036854775807", "* SEARCH\r\n")
	f.expect("SEARCH RETURN (COUNT) MODSEQ 0", fmt.Sprintf("* ESEARCH (TAG \"A1\") COUNT 5 MODSEQ %d\r\n", modSeq(6)))
	f.expect("SEARCH RETURN (MIN) MODSEQ 0", fmt.Sprintf("* ESEARCH (TAG \"A1\") MIN 1 MODSEQ %d\r\n", modSeq(1)))
	f.MaxModSeq = modSeq(5)
	f.expect("SEARCH RETURN (MIN MAX) MODSEQ 0", fmt.Sprintf("* ESEARCH (TAG \"A1\") MIN 1 MAX 5 MODSEQ %d\r\n", modSeq(5)))
	f.Rev2 = true
	f.expect("SEARCH SEEN", "* ESEARCH (TAG \"A1\") ALL 1\r\n")
	f.expect("SEARCH KEYWORD none", "* ESEARCH (TAG \"A1\")\r\n")
}

// TestSearchOfExpungedMessages: what is gone matches nothing, and the numbers
// of the others stay.
func TestSearchOfExpungedMessages(t *testing.T) {
	f := searchInbox(t)
	f.expunge(1)
	f.expect("SEARCH ALL", "* SEARCH 2 3 4 5 6\r\n")
	f.expect("SEARCH BODY cat", "* SEARCH 3\r\n")
}

func TestSearchOfNoMessages(t *testing.T) {
	f := newTestInbox(t)
	f.expect("SEARCH 1:*", "* SEARCH\r\n")
	f.expect("UID SEARCH RETURN (COUNT) NOT UID 1:*", "* ESEARCH (TAG \"A1\") UID COUNT 0\r\n")
}

func TestSearchFold(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"ÉTÉ", "été", true}, {"e\u0301", "É", true}, {"STRASSE", "strasse", true}, {"ΣΊΣΥΦΟΣ", "σίσυφος", true}, {"ﬁn", "FIN", true},
		{"K", "k", true}, {"echinocoque", "Échinocoque", true}, {"ø", "o", false}, {"a", "b", false}, {"", "", true},
	} {
		a, _ := searchFold(nil, c.a)
		b, _ := searchFold(nil, []byte(c.b))
		if same := string(a) == string(b); same != c.same {
			t.Errorf("%q %q: %q %q", c.a, c.b, a, b)
		}
	}
	if _, ok := searchFold(nil, "a\xe9b"); ok {
		t.Error("Latin-1 taken for UTF-8")
	}
}

func BenchmarkSearch(b *testing.B) {
	f := bigTestInbox(b, 10_000)
	f.Flush = func() error { f.Out.B = f.Out.B[:0]; return nil }
	f.Limits.Messages = 10_000
	for _, keys := range []string{"ALL", "UNSEEN", "SINCE 1-Jan-2024", "SUBJECT hello", "FROM anne", "BODY cat"} {
		b.Run(strings.Fields(keys)[0], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.do("UID SEARCH " + keys); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
