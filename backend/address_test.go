package backend

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	local64, label63 := strings.Repeat("a", 64), strings.Repeat("b", 63)
	for _, c := range []struct{ in, normal string }{
		{"medecin@hopital.test", "medecin@hopital.test"},
		{"Jean.Dupont+tri@HOPITAL.Test", "jean.dupont+tri@hopital.test"},
		{"!#$%&'*+-/=?^_`{|}~@x.test", "!#$%&'*+-/=?^_`{|}~@x.test"},
		{"a@b", "a@b"},
		{local64 + "@x.test", local64 + "@x.test"},
		{"a@" + label63 + ".test", "a@" + label63 + ".test"},
		{"postmaster", "postmaster"},
		{"PostMaster", "postmaster"},
		{"é@hôpital.test", "é@xn--hpital-ixa.test"},
		{"E\u0301LAN@x.test", "élan@x.test"},
		{"a@XN--HPITAL-IXA.test", "a@xn--hpital-ixa.test"},
	} {
		a, err := ParseAddress(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if a.Normal() != c.normal {
			t.Errorf("%q: normal form %q, want %q", c.in, a.Normal(), c.normal)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, in := range []string{
		"", "@", "a", "a@", "@b", "a@b@c", "a@@b", ".a@b", "a.@b", "a..b@c", "lab..test@x",
		`"a"@b.test`, `"a b"@b.test`, `"victim@evil.test> NOTIFY=NEVER ORCPT=rfc822;x"@lab.test`,
		"victim@evil.test> NOTIFY=NEVER@lab.test", "a b@c", " a@b", "a@b ", "a@b\r\n", "a\x00@b", "a(c)@b", "<a@b>",
		"a@[127.0.0.1]", "a@[IPv6:::1]", "a@-b.test", "a@b-.test", "a@b_c.test", "a@b..test", "a@.test", "a@b.test.", "a@b.test\n",
		"\xff@b.test", "a@\xff.test", "a\u200bb@c.test", "a\u202eb@c.test", "a\u00a0b@c.test", "\ufffd@b.test",
		"a@xn--\u00e9.test", "a@xn--a.test", "a@b\u200d.test",
		strings.Repeat("a", 65) + "@b.test", "a@" + strings.Repeat("b", 64) + ".test",
		"a@" + strings.Repeat("b.", 127) + "c",
	} {
		if a, err := ParseAddress(in); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v, %v; want ErrAddress", in, a, err)
		}
	}
}

func TestParseMailboxes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{"a@b.test", []string{"a@b.test"}},
		{" <A@b.test>", []string{"A@b.test"}},
		{"Jean Dupont <a@b.test>", []string{"a@b.test"}},
		{`"Dupont, Jean" <a@b.test>, c@d.test`, []string{"a@b.test", "c@d.test"}},
		{`"<x@evil.test>" <a@b.test>`, []string{"a@b.test"}},
		{`"a\"b <x@evil.test>" <a@b.test> (comment (nested, \) ) <y@evil.test>)`, []string{"a@b.test"}},
		{"=?UTF-8?Q?x?=\r\n <a@b.test>", []string{"a@b.test"}},
		{"Équipe <a@b.test>", []string{"a@b.test"}},
		{"raw latin1 \xe9 <a@b.test>", []string{"a@b.test"}},
		{"Team: a@b.test, C <c@d.test>;", []string{"a@b.test", "c@d.test"}},
		{"Team: a@b.test;, e@f.test", []string{"a@b.test", "e@f.test"}},
		{"Nobody:;", nil},
		{"", nil},
		{", a@b.test,, c@d.test,", []string{"a@b.test", "c@d.test"}},
		{"(c) a@b.test (d)", []string{"a@b.test"}},
		{"c@d.test <a@b.test>", []string{"c@d.test", "a@b.test"}},
		{"Jean c@d.test <a@b.test>, Jean @ home <e@f.test>", []string{"c@d.test", "a@b.test", "e@f.test"}},
		{"c@d.test: a@b.test;", []string{"c@d.test", "a@b.test"}},
		{`"c@d.test" <a@b.test>`, []string{"a@b.test"}},
	} {
		got, err := ParseMailboxes(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		var s []string
		for _, a := range got {
			s = append(s, a.String())
		}
		if !slices.Equal(s, c.want) {
			t.Errorf("%q: %q, want %q", c.in, s, c.want)
		}
	}
}

func TestParseMailboxesRefuses(t *testing.T) {
	for _, in := range []string{
		"Jean Dupont", `"a@b.test"`, "<a@b.test", "a@b.test>", "<a@b.test> <c@d.test>", "<a@b.test> x", `<a@b.test> "x"`,
		"a@b.test <c@d.test", "<@r.test:a@b.test>", `<"a"@b.test>`, "a @ b.test", "(a@b.test", `"a <a@b.test>`,
		"T: a@b.test", "a@b.test;", "T: U: a@b.test;;", ": a@b.test;", "<>", "postmaster", "a@b.test c@d.test",
	} {
		if got, err := ParseMailboxes(in); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v, %v; want ErrAddress", in, got, err)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b.test", "é@hôpital.test", "postmaster", `"a"@b`, "a@[::1]", "İ@x.test", "a@xn--hpital-ixa.test", "ǅ@ß.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.String(), "\r\n\x00 \t<>()[]\",;:\\") {
			t.Fatalf("%q gives %q", s, a.String())
		}
		b, err := ParseAddress(a.String())
		if err != nil || a != b {
			t.Fatalf("%q gives %q, read again %q, %v", s, a, b, err)
		}
		n, err := ParseAddress(a.Normal())
		if err != nil || n.Normal() != a.Normal() {
			t.Fatalf("normal form %q of %q, read again %q, %v", a.Normal(), s, n.Normal(), err)
		}
	})
}

func FuzzParseMailboxes(f *testing.F) {
	for _, s := range []string{"a@b.test", `"x, y" <a@b.test>, T: c@d.test;`, "(a(b)\\)) <a@b.test>", "a@b.test,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := ParseMailboxes(s)
		if err != nil {
			return
		}
		// Every address found stands in the text, and reads back alone.
		for _, a := range got {
			again, err := ParseMailboxes("x <" + a.String() + ">")
			if err != nil || len(again) != 1 || again[0] != a {
				t.Fatalf("%q gives %q, read again %q, %v", s, a, again, err)
			}
		}
	})
}
