package message

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

func TestMetaIsKept(t *testing.T) {
	for name, octets := range malformed() {
		m := Describe(octets)
		again, err := UnmarshalMeta(m.Marshal(1 << 20))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again.root, again.tree = again.Root(), nil
		for _, wire := range []*[]byte{&m.Header, &again.Header} { // nothing and no header mean the same
			if len(*wire) == 0 {
				*wire = nil
			}
		}
		if !reflect.DeepEqual(again, m) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, again, m)
		}
	}
}

func TestMetaKeepsItsLimit(t *testing.T) {
	octets := append(crlf("Subject: x\nX-Long: "), bytes.Repeat([]byte("long "), 4000)...)
	m := Describe(octets)
	kept := m.Marshal(MetaLimit)
	if len(kept) == 0 || len(kept) > MetaLimit {
		t.Fatalf("%d octets", len(kept))
	}
	again, err := UnmarshalMeta(kept)
	if err != nil || again.Header != nil || !bytes.Equal(again.Envelope, m.Envelope) {
		t.Errorf("%v, a header of %d octets", err, len(again.Header))
	}
	m = Describe(append(crlf("Subject: "), bytes.Repeat([]byte("long "), 4000)...))
	if kept := m.Marshal(MetaLimit); kept != nil {
		t.Errorf("%d octets", len(kept))
	}
}

func TestDamagedMetaIsRefused(t *testing.T) {
	kept := Describe(crlf(nested)).Marshal(MetaLimit)
	for n := range kept {
		if _, err := UnmarshalMeta(kept[:n]); !errors.Is(err, ErrMeta) {
			t.Fatalf("the first %d octets: %v", n, err)
		}
	}
	other := bytes.Clone(kept)
	other[0]++
	if _, err := UnmarshalMeta(other); !errors.Is(err, ErrMeta) {
		t.Errorf("another version: %v", err)
	}
	for i := range kept { // must not panic, whatever it reads
		other := bytes.Clone(kept)
		other[i] ^= 0xff
		if m, err := UnmarshalMeta(other); err == nil {
			m.Root()
		}
	}
}
