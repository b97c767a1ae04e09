package keyring

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Test vectors of c2sp.org/XAES-256-GCM.
func TestXAES(t *testing.T) {
	for _, v := range []struct {
		key        byte
		ad, sealed string
	}{
		{1, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{3, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES((*Key)(bytes.Repeat([]byte{v.key}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		sealed := x.Seal(nil, nonce, []byte("XAES-256-GCM"), []byte(v.ad))
		if got := hex.EncodeToString(sealed); got != v.sealed {
			t.Errorf("key %d: %s, want %s", v.key, got, v.sealed)
		}
		if plain, err := x.Open(nil, nonce, sealed, []byte(v.ad)); err != nil || string(plain) != "XAES-256-GCM" {
			t.Errorf("key %d: %q, %v", v.key, plain, err)
		}
	}
}

// Both kinds of key: a value opens under its own key and associated data only,
// and not when any bit of it differs.
func TestSealedValues(t *testing.T) {
	r, _ := newRing(t, t.TempDir())
	for name, a := range map[string]*Account{"account": add(t, r, 1), "log": r.Log()} {
		for _, plain := range []string{"", "x", strings.Repeat("p", 1000)} {
			sealed := a.Seal(nil, []byte(plain), []byte("ad"))
			if len(sealed) != len(plain)+a.Overhead() {
				t.Errorf("%s: %d octets sealed to %d", name, len(plain), len(sealed))
			}
			if bytes.Equal(sealed, a.Seal(nil, []byte(plain), []byte("ad"))) {
				t.Errorf("%s: sealed twice to the same octets", name)
			}
			for i := range sealed {
				sealed[i] ^= 4
				if got, err := a.Open(nil, sealed, []byte("ad")); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: octet %d changed: %q, %v", name, i, got, err)
				}
				sealed[i] ^= 4
			}
			for i := range sealed {
				if got, err := a.Open(nil, sealed[:i], []byte("ad")); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: cut to %d: %q, %v", name, i, got, err)
				}
			}
			if _, err := a.Open(nil, sealed, []byte("other")); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: other associated data: %v", name, err)
			}
			if _, err := add(t, r, 2).Open(nil, sealed, []byte("ad")); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: other key: %v", name, err)
			}
		}
	}
}

func TestMAC(t *testing.T) {
	r, _ := newRing(t, t.TempDir())
	a, b := add(t, r, 1), add(t, r, 2)
	seen := map[[16]byte]string{}
	for _, v := range []struct{ label, data string }{{"", ""}, {"name", ""}, {"name", "INBOX"}, {"nam", "eINBOX"}, {"", "nameINBOX"}, {"msgid", "INBOX"}} {
		for _, x := range []*Account{a, b} {
			sum := x.MAC(v.label, []byte(v.data))
			if other, ok := seen[sum]; ok {
				t.Errorf("%v has the MAC of %s", v, other)
			}
			seen[sum] = v.label + "/" + v.data
			if sum != x.MAC(v.label, []byte(v.data)) {
				t.Errorf("%v has two MACs", v)
			}
		}
	}
}

// Every bit of the keyring: it does not open, and the error is about the file.
func TestEveryOctetFlipped(t *testing.T) {
	r, m := newRing(t, t.TempDir())
	add(t, r, 1)
	add(t, r, 2)
	b, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 1 << (i % 8)
		if err := os.WriteFile(r.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.path, m); !errors.Is(err, ErrDamaged) {
			t.Errorf("octet %d: %v, want ErrDamaged", i, err)
		}
		b[i] ^= 1 << (i % 8)
	}
	for i := range b {
		if _, err := parseRing(b[:i]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d: %v, want ErrDamaged", i, err)
		}
	}
}

// Who can write the file but has not the master key cannot take an account out
// or swap two keys.
func TestForgedRing(t *testing.T) {
	r, m := newRing(t, t.TempDir())
	add(t, r, 1)
	add(t, r, 2)
	var other Key
	forger, err := newGCM(&other)
	if err != nil {
		t.Fatal(err)
	}
	f := *r.file
	f.accounts = map[uint32]wrapped{1: r.file.accounts[2], 2: r.file.accounts[1]}
	swapped := f.encode(forger)
	f.accounts = map[uint32]wrapped{1: r.file.accounts[1]}
	for name, b := range map[string][]byte{"swapped": swapped, "taken out": f.encode(forger)} {
		if err := os.WriteFile(r.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.path, m); !errors.Is(err, ErrWrongMaster) {
			t.Errorf("%s: %v, want ErrWrongMaster", name, err)
		}
	}
	// Even under the right seal a key opens for its own account only.
	r.file.accounts[1] = r.file.accounts[2]
	delete(r.accounts, 1)
	if _, err := r.Account(1); !errors.Is(err, ErrDamaged) {
		t.Errorf("another account's key: %v, want ErrDamaged", err)
	}
}

func TestMasterText(t *testing.T) {
	key := strings.Repeat("0a", 32)
	for text, want := range map[string]int{
		"telesphore-master 1\n1 " + key + "\n":                      1,
		"telesphore-master 1\r\n1 " + key + "\r\n7 " + key + "\r\n": 2,
		"telesphore-master 1\n1 " + strings.ToUpper(key):            1,
		"":                                                         0,
		"telesphore-master 1\n":                                    0,
		"telesphore-master 2\n1 " + key:                            0,
		"1 " + key:                                                 0,
		"telesphore-master 1\n1 " + key[:62]:                       0,
		"telesphore-master 1\n1 " + key + "0\n":                    0,
		"telesphore-master 1\n1 " + key + " \n":                    0,
		"telesphore-master 1\n1  " + key + "\n":                    0,
		"telesphore-master 1\n-1 " + key + "\n":                    0,
		"telesphore-master 1\n4294967296 " + key + "\n":            0,
		"telesphore-master 1\n2 " + key + "\n1 " + key + "\n":      0,
		"telesphore-master 1\n1 " + key + "\n1 " + key + "\n":      0,
		"telesphore-master 1\n\n1 " + key + "\n":                   0,
		"telesphore-master 1\n1 " + strings.Repeat("xy", 32):       0,
		"telesphore-master 1\n# kept in the safe\n1 " + key + "\n": 0,
	} {
		keys, err := parseMaster([]byte(text))
		if len(keys) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d keys, %v; want %d", text, len(keys), err, want)
		}
		if err != nil && (!errors.Is(err, ErrFormat) || strings.Contains(err.Error(), key[:20])) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestErasureText(t *testing.T) {
	for text, want := range map[string]int{
		"telesphore-erased 1\n":                         0,
		"telesphore-erased 1\n3 2026-11-22T19:39:00Z\n": 1,
		"telesphore-erased 1\n3 2026-11-22T19:39:00Z\ntelesphore-erased 1\n4 2026-11-22T20:39:00+01:00\n": 2,
		"telesphore-erased 1\n3 2026-11-22T19:39:00Z\n3 2026-11-23T19:39:00Z\n":                           1,
		"":                      -1,
		"telesphore-erased 1":   -1,
		"telesphore-erased 2\n": -1,
		"telesphore-erased 1\n3 2026-11-22T19:39:00Z":    -1,
		"telesphore-erased 1\n\n":                        -1,
		"telesphore-erased 1\n3\n":                       -1,
		"telesphore-erased 1\nx 2026-11-22T19:39:00Z\n":  -1,
		"telesphore-erased 1\n3 22/11/2026\n":            -1,
		"telesphore-erased 1\n-3 2026-11-22T19:39:00Z\n": -1,
	} {
		list, err := parseErasures([]byte(text))
		if (err != nil) != (want < 0) || err == nil && len(list) != want {
			t.Errorf("%q: %d, %v; want %d", text, len(list), err, want)
		}
	}
}

// testdata holds what the first version of this package wrote. It must be
// readable for ever.
func TestVersion1(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"keyring", "keyring.erased", "master.key"} {
		b, err := os.ReadFile(filepath.Join("testdata", "version1", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := open(t, dir, MasterFile{Path: filepath.Join(dir, "master.key")})
	a, err := r.Account(4711)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]struct {
		key    *Account
		sealed string
	}{
		"account": {a, accountValue},
		"log":     {r.Log(), logValue},
	} {
		sealed, err := hex.DecodeString(v.sealed)
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := v.key.Open(nil, sealed, []byte("ad")); err != nil || string(plain) != "version 1" {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	if sum := a.MAC("label", []byte("data")); hex.EncodeToString(sum[:]) != macValue {
		t.Errorf("MAC %x, want %s", sum, macValue)
	}
	if _, err := r.Account(4712); !errors.Is(err, ErrErased) {
		t.Errorf("%v, want ErrErased", err)
	}
}

// What belongs to testdata/version1.
const (
	accountValue = "6f0e708cfa685422f69efc2ac0f129dac9febb6252479e84e9f07ff9e32ff86f5c10bcac4a"
	logValue     = "bf25d9c54279c55b44e7db0c9617382ab5e3c954b4e14154e2adb27333db32e46079a16ff6147293c143ee70bc1769969a"
	macValue     = "06699291fa61608422708c63573f52cc"
)
