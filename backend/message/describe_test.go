package message

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMalformedMessagesAreDescribed(t *testing.T) {
	for name, octets := range malformed() {
		if err := checkMeta(Describe(octets), octets); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnvelope(t *testing.T) {
	ann := `((NIL NIL "ann" "a.example"))`
	tests := []struct{ name, header, want string }{
		{
			"every field",
			"Date: Sat, 03 Feb 2024 01:02:03 +0100\nSubject: results\nFrom: Ann Lee <ann@a.example>\nSender: Bo <bo@b.example>\n" +
				"Reply-To: Cy <cy@c.example>\nTo: Di <di@d.example>\nCc: ed@e.example\nBcc: <flo@f.example>\nIn-Reply-To: <1@x>\nMessage-ID: <2@x>\n",
			`("Sat, 03 Feb 2024 01:02:03 +0100" "results" (("Ann Lee" NIL "ann" "a.example")) (("Bo" NIL "bo" "b.example")) (("Cy" NIL "cy" "c.example")) ` +
				`(("Di" NIL "di" "d.example")) ((NIL NIL "ed" "e.example")) ((NIL NIL "flo" "f.example")) "<1@x>" "<2@x>")`,
		},
		{"no field", "", `(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"empty fields", "Subject:\nTo:\nFrom: ann@a.example\nSender: \nReply-To: \n", `(NIL "" ` + ann + ` ` + ann + ` ` + ann + ` NIL NIL NIL NIL NIL)`},
		{"a field twice: the first", "Subject: one\nSubject: two\n", `(NIL "one" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"To twice: both", "To: a@x\nTo: b@x\n", `(NIL NIL NIL NIL NIL ((NIL NIL "a" "x")(NIL NIL "b" "x")) NIL NIL NIL NIL)`},
		{"quotes and backslashes", "Subject: say \"a\\b\"\n", `(NIL "say \"a\\b\"" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"folded", "Subject: one\n two\n\tthree\n", "(NIL \"one two\tthree\" NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"encoded words stay", "Subject: =?utf-8?Q?caf=C3=A9?=\n", `(NIL "=?utf-8?Q?caf=C3=A9?=" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"raw 8-bit in literals", "Subject: caf\xe9\n", "(NIL {4}\r\ncaf\xe9 NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"a lonely CR in a literal", "Subject: a\rb\n", "(NIL {3}\r\na\rb NIL NIL NIL NIL NIL NIL NIL NIL)"},
		{"NUL left out", "Subject: a\x00b\n", `(NIL "ab" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"blank before the colon", "Subject : x\n", `(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"junk lines", "From a@b Mon Jan 1 10:00:00 2024\nno colon\nSubject: x\n", `(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`},
		{"folded first line", " Subject: no\nSubject: x\n", `(NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL)`},
	}
	for _, test := range tests {
		m := Describe(crlf(test.header + "\nbody\n"))
		if string(m.Envelope) != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, m.Envelope, test.want)
		}
	}
}

func TestEnvelopeAddresses(t *testing.T) {
	tests := []struct{ name, to, want string }{
		{"plain", "a@x.example", `((NIL NIL "a" "x.example"))`},
		{"phrase of words", "Ann B. Lee <a@x>", `(("Ann B. Lee" NIL "a" "x"))`},
		{"quoted phrase", `"Lee, \"Ann\"" <a@x>`, `(("Lee, \"Ann\"" NIL "a" "x"))`},
		{"name in a comment", "a@x (Ann (of) Lee)", `(("Ann (of) Lee" NIL "a" "x"))`},
		{"comments inside", "<a (c)@ (d) x.example>", `((NIL NIL "a" "x.example"))`},
		{"quoted local part", `"a b"@x`, `((NIL NIL "a b" "x"))`},
		{"obsolete blanks", "a . b @ x . example", `((NIL NIL "a.b" "x.example"))`},
		{"route", "<@r.example:a@x>", `((NIL "@r.example" "a" "x"))`},
		{"long route", "Ann <@r , @s:a@x>", `(("Ann" "@r,@s" "a" "x"))`},
		{"domain literal", "a@[192.0.2.1]", `((NIL NIL "a" "[192.0.2.1]"))`},
		{"IPv6 literal", "a@[IPv6:2001:db8::1]", `((NIL NIL "a" "[IPv6:2001:db8::1]"))`},
		{"group", "team: a@x, Bo <b@x>;", `((NIL NIL "team" NIL)(NIL NIL "a" "x")("Bo" NIL "b" "x")(NIL NIL NIL NIL))`},
		{"empty group", "undisclosed-recipients:;", `((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))`},
		{"two groups", "one: a@x;, two: b@x;", `((NIL NIL "one" NIL)(NIL NIL "a" "x")(NIL NIL NIL NIL)(NIL NIL "two" NIL)(NIL NIL "b" "x")(NIL NIL NIL NIL))`},
		{"group and address", "g: a@x; , b@x", `((NIL NIL "g" NIL)(NIL NIL "a" "x")(NIL NIL NIL NIL)(NIL NIL "b" "x"))`},
		{"group not ended", "g: a@x", `((NIL NIL "g" NIL)(NIL NIL "a" "x")(NIL NIL NIL NIL))`},
		{"group in a group", "g: h: a@x;", `((NIL NIL "g" NIL)(NIL NIL NIL NIL)(NIL NIL "h" NIL)(NIL NIL "a" "x")(NIL NIL NIL NIL))`},
		{"no @", "postmaster", `((NIL NIL "postmaster" ""))`},
		{"no @ in brackets", "Ann <ann>", `(("Ann" NIL "ann" ""))`},
		{"null address", "<>", `((NIL NIL "" ""))`},
		{"empty members", ", ,a@x,,", `((NIL NIL "a" "x"))`},
		{"semicolons between", "a@x; b@x", `((NIL NIL "a" "x")(NIL NIL "b" "x"))`},
		{"address as phrase", "a@x <a@x>", `(("a@x" NIL "a" "x"))`},
		{"missing comma", "<a@x> <b@x>", `((NIL NIL "a" "x")(NIL NIL "b" "x"))`},
		{"bracket not closed", "Ann <a@x, b@x", `(("Ann" NIL "a" "x")(NIL NIL "b" "x"))`},
		{"encoded phrase", "=?utf-8?Q?Andr=C3=A9?= =?utf-8?Q?Lee?= <a@x>", `(("=?utf-8?Q?Andr=C3=A9?= =?utf-8?Q?Lee?=" NIL "a" "x"))`},
		{"comma in an encoded word", "=?utf-8?Q?=4Cee,_Ann?= <a@x>", `(("=?utf-8?Q?=4Cee,_Ann?=" NIL "a" "x"))`},
		{"raw 8-bit phrase", "Andr\xe9 <a@x>", "(({5}\r\nAndr\xe9 NIL \"a\" \"x\"))"},
		{"folded", "Ann\n Lee\n <a@x>,\n b@x", `(("Ann Lee" NIL "a" "x")(NIL NIL "b" "x"))`},
		{"folded quotes", "\"Ann\n Lee\" <a@x>", `(("Ann Lee" NIL "a" "x"))`},
		{"comment alone", "(nobody)", `NIL`},
	}
	for _, test := range tests {
		m := Describe(crlf("To: " + test.to + "\n\n"))
		want := `(NIL NIL NIL NIL NIL ` + test.want + ` NIL NIL NIL NIL)`
		if string(m.Envelope) != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, m.Envelope, want)
		}
	}
}

func TestEnvelopeAddressesAreBounded(t *testing.T) {
	m := Describe(crlf("To: g: " + strings.Repeat("a@x,", MaxAddresses+10) + ";\n\n"))
	v, err := readWire(m.Envelope)
	if err == nil {
		err = checkEnvelope(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := len(v.(list)[5].(list)); n != MaxAddresses+1 { // with the group's end
		t.Errorf("%d addresses", n)
	}
}

func TestBaseSubject(t *testing.T) {
	tests := map[string]string{
		"":                                      "",
		"results":                               "results",
		"Re: results":                           "results",
		"RE: re: Fwd: FW: results":              "results",
		"Re [2]: results":                       "results",
		"RE : results":                          "results",
		"[list] Re: [list] results":             "results",
		"[list] results":                        "results",
		"[list]":                                "[list]",
		"Re: [list]":                            "[list]",
		"results (fwd)":                         "results",
		"results (FWD)  (fwd) ":                 "results",
		"[fwd: results]":                        "results",
		"Re: [Fwd: Re: results (fwd)] (fwd)":    "results",
		"[foo] Fwd: [bar] Re: fw: b (fWd)  (f)": "b (fWd) (f)",
		"Reply: results":                        "Reply: results",
		"Re results":                            "Re results",
		"a\n\t b":                               "a b",
		"=?utf-8?Q?Re=3A_caf=C3=A9?=":           "café",
		"[a[b] results":                         "[a[b] results",
	}
	for subject, want := range tests {
		if m := Describe(crlf("Subject: " + subject + "\n\n")); m.BaseSubject != want {
			t.Errorf("%q: %q, want %q", subject, m.BaseSubject, want)
		}
	}
}

func TestSentDate(t *testing.T) {
	tests := []struct {
		date string
		want string // in its zone, "" when it is no date
	}{
		{"Sat, 03 Feb 2024 01:02:03 +0100", "2024-02-03T01:02:03+01:00"},
		{"3 Feb 2024 01:02 -0930", "2024-02-03T01:02:00-09:30"},
		{"Sat,3 feb 2024 01:02:03 GMT (comment)", "2024-02-03T01:02:03Z"},
		{"Sat, 03 Feb 24 01:02:03 EST", "2024-02-03T01:02:03-05:00"},
		{"03 Feb 99 01:02:03 PDT", "1999-02-03T01:02:03-07:00"},
		{"03 Feb 124 01:02:03 Z", "2024-02-03T01:02:03Z"},
		{"03 February 2024 01:02:03", "2024-02-03T01:02:03Z"},
		{"31 Dec 2016 23:59:60 +0000", "2017-01-01T00:00:00Z"},
		{"(c) Sat (d), 03 Feb 2024\n 01:02:03 +0000", "2024-02-03T01:02:03Z"},
		{"Sat, 03 Feb 2024 01:02:03 +9999", "2024-02-03T01:02:03Z"},
		{"", ""},
		{"yesterday", ""},
		{"2024-02-03 01:02:03", ""},
		{"32 Feb 2024 01:02:03 +0000", ""},
		{"03 Foo 2024 01:02:03 +0000", ""},
		{"03 anf 2024 01:02:03 +0000", ""},
		{"03 Feb 2024 25:02:03 +0000", ""},
		{"03 Feb 2024 0102 +0000", ""},
	}
	for _, test := range tests {
		m := Describe(crlf("Date: " + test.date + "\n\n"))
		if test.want == "" {
			if !m.Sent.IsZero() {
				t.Errorf("%q: %v, want no date", test.date, m.Sent)
			}
			continue
		}
		got := m.Sent.In(time.FixedZone("", m.SentZone)).Format(time.RFC3339)
		if got != test.want {
			t.Errorf("%q: %s, want %s", test.date, got, test.want)
		}
	}
}

func TestMessageIDs(t *testing.T) {
	m := Describe(crlf("Message-ID:\n <\"a b\"@x> (c)\nReferences: <1@x> <2@x>\n\t<1@x> junk <<3@x>\nIn-Reply-To: your mail <2@x>, <4@x>\n\n"))
	if m.MessageID != "<ab@x>" {
		t.Errorf("Message-ID %q", m.MessageID)
	}
	if want := []string{"<1@x>", "<2@x>", "<3@x>", "<4@x>"}; !slices.Equal(m.References, want) {
		t.Errorf("references %q, want %q", m.References, want)
	}
	if m := Describe(crlf("Message-ID: 1@x\nReferences: <>, <\n\n")); m.MessageID != "" || len(m.References) != 0 {
		t.Errorf("%q %q", m.MessageID, m.References)
	}
}

func TestReferencesAreBounded(t *testing.T) {
	var ids strings.Builder
	for i := range 20_000 {
		ids.WriteString(" <" + strings.Repeat("i", i%50) + string(rune('a'+i%26)) + "@x>")
	}
	m := Describe(crlf("References: <oldest@x>" + ids.String() + " <newest@x>\n\n"))
	if n := len(m.References); n != MaxReferences {
		t.Fatalf("%d references", n)
	}
	if m.References[0] != "<oldest@x>" || m.References[MaxReferences-1] != "<newest@x>" {
		t.Errorf("from %s to %s", m.References[0], m.References[MaxReferences-1])
	}
}

func TestPreview(t *testing.T) {
	long := strings.Repeat("é ", 150)
	tests := []struct{ name, message, want string }{
		{"plain", "Subject: x\n\nGood\tmorning,\n\n  Ann\n", "Good morning, Ann"},
		{"quotations left out", "\n> old\n>> older\nnew\n", "new"},
		{"nothing but quotations", "\n> old\n", "> old"},
		{"at most 200 characters", "Content-Type: text/plain; charset=utf-8\n\n" + long, strings.TrimSpace(long[:300])},
		{"quoted-printable", "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\ncaf=E9 =\nnoir\n", "café noir"},
		{"HTML", "Content-Type: text/html\n\n<html><head><title>t</title><style>p{}</style></head><body><p>Good&nbsp;morning<br>Ann &amp; Bo</p><script>x</script>\n", "Good morning Ann & Bo"},
		{"HTML that closes nothing", "Content-Type: text/html\n\n<html><head><title>t</title><body><p>Good <b>morn</b>ing<!-- x --> &lt;Ann\n", "Good morning <Ann"},
		{"first of alternatives", "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nplain\n--b\nContent-Type: text/html\n\n<p>html\n--b--\n", "plain"},
		{"no text", "Content-Type: image/png\n\nxxxx\n", ""},
		{"an embedded message only", "Content-Type: message/rfc822\n\n\nsecret\n", ""},
		{"fillers left out", "Content-Type: text/plain; charset=utf-8\n\nHi\u200c\u034f\u00ad there\x07\n", "Hi there"},
		{"unknown encoding", "Content-Transfer-Encoding: x-own\n\nxx\n", ""},
	}
	for _, test := range tests {
		if m := Describe(crlf(test.message)); m.Preview != test.want {
			t.Errorf("%s: %q, want %q", test.name, m.Preview, test.want)
		}
	}
}
