package message

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"
)

// A description of any octets is in order, can be sent, and survives being kept.
func FuzzDescribe(f *testing.F) {
	for _, m := range malformed() {
		f.Add(m)
	}
	f.Add(sample(3, 2<<10))
	f.Add(sample(1, 20<<10))
	f.Fuzz(func(t *testing.T, octets []byte) {
		m := Describe(octets)
		if err := checkMeta(m, octets); err != nil {
			t.Fatal(err)
		}
		kept := m.Marshal(1 << 30)
		again, err := UnmarshalMeta(kept)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(again.Root(), m.Root()) {
			t.Fatal("another tree after keeping")
		}
		if !bytes.Equal(again.Marshal(1<<30), kept) {
			t.Fatal("another form after keeping twice")
		}
		if !utf8.ValidString(m.Preview) || utf8.RuneCountInString(m.Preview) > 200 {
			t.Fatalf("preview %q", m.Preview)
		}
		for _, with := range []bool{true, false} {
			for text := range m.Root().Texts(octets, with) {
				_ = text
			}
		}
		names := []string{"From", "content-type"}
		kind, other := FilterHeader(m.Header, names, false), FilterHeader(m.Header, names, true)
		blank := len(m.Header)
		for range fields(m.Header) {
		}
		for fd := range fields(m.Header) {
			blank -= len(fd.raw)
		}
		if len(kind)+len(other) != len(m.Header)+blank {
			t.Fatal("a filter and its opposite do not make the header")
		}
	})
}

// Octets that are no kept form are refused or read, never a panic.
func FuzzUnmarshalMeta(f *testing.F) {
	f.Add(Describe(sample(3, 2<<10)).Marshal(MetaLimit))
	f.Add(Describe(sample(1, 20<<10)).Marshal(MetaLimit))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := UnmarshalMeta(b)
		if err != nil {
			return
		}
		m.Root()
		m.Marshal(MetaLimit)
	})
}

// Decoded text is UTF-8 whatever stood in the field.
func FuzzHeaderText(f *testing.F) {
	for _, s := range []string{"=?utf-8?Q?caf=C3=A9?= =?utf-8?B?w6k=?=", "=?x?b?", "=?utf-8?q?=41?=", "caf\xe9", "a@b, g: c@d;, <@r:e@f>", "\"q\\\"\" (c(d)) <e@[1.2.3.4]>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(DecodeHeader(s)) {
			t.Fatalf("%q", DecodeHeader(s))
		}
		list := Addresses([]byte("To: "+s+"\r\n\r\n"), "to")
		if slices.ContainsFunc(list, func(a string) bool { return !utf8.ValidString(a) }) {
			t.Fatalf("%q", list)
		}
	})
}
