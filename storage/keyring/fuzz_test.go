package keyring

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"
)

// FuzzRing parses any octets as a keyring: what is accepted encodes to the same
// accounts, and only the right master key opens it.
func FuzzRing(f *testing.F) {
	r, _ := newRing(f, f.TempDir())
	for account := range uint32(3) {
		b, err := os.ReadFile(r.path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b[:len(b)-5], true)
		add(f, r, account)
	}
	master, err := newGCM(&Key{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, mended bool) {
		if mended { // else a fuzzer never gets past the checksum
			b = binary.LittleEndian.AppendUint32(bytes.Clone(b), checksum(b))
		}
		ring, err := parseRing(b)
		if err != nil {
			return
		}
		if err := verify(b, master); err == nil {
			t.Error("opens under another master key")
		}
		again := ring.encode(master)
		back, err := parseRing(again)
		if err != nil || back.epoch != ring.epoch || back.log != ring.log || len(back.accounts) != len(ring.accounts) {
			t.Fatalf("encoded again: %v", err)
		}
		for account, w := range ring.accounts {
			if back.accounts[account] != w {
				t.Errorf("account %d differs", account)
			}
		}
		if err := verify(again, master); err != nil {
			t.Error(err)
		}
	})
}

// FuzzMaster parses any octets as a master file or a command's output.
func FuzzMaster(f *testing.F) {
	f.Add([]byte("telesphore-master 1\n1 0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\n"))
	f.Add([]byte("telesphore-master 1\r\n1 zz"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := parseMaster(b)
		if err != nil {
			return
		}
		back, err := parseMaster(formatMaster(keys))
		if err != nil || len(back) != len(keys) {
			t.Fatalf("written again: %v", err)
		}
		for i := range keys {
			if keys[i] != back[i] || i > 0 && keys[i].Number <= keys[i-1].Number {
				t.Errorf("key %d differs or does not rise", i)
			}
		}
	})
}

// FuzzErasures parses any octets as an erasure list.
func FuzzErasures(f *testing.F) {
	f.Add([]byte("telesphore-erased 1\n3 2026-11-22T19:39:00Z\n"))
	f.Add([]byte("telesphore-erased 1\n3 2026-11-22T19:39:00+01:00\ntelesphore-erased 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseErasures(b)
		if err != nil {
			return
		}
		back, err := parseErasures(list.encode())
		if err != nil || len(back) != len(list) {
			t.Fatalf("written again: %v", err)
		}
	})
}
