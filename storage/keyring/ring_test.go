package keyring

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"sync"
	"testing"
)

// newRing makes a master file with a keyring in dir.
func newRing(t testing.TB, dir string) (*Ring, MasterFile) {
	t.Helper()
	m := MasterFile{Path: filepath.Join(dir, "master.key")}
	if err := CreateMasterFile(m.Path); err != nil {
		t.Fatal(err)
	}
	if err := Create(filepath.Join(dir, "keyring"), m); err != nil {
		t.Fatal(err)
	}
	return open(t, dir, m), m
}

func open(t testing.TB, dir string, m Master) *Ring {
	t.Helper()
	r, err := Open(filepath.Join(dir, "keyring"), m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func add(t testing.TB, r *Ring, account uint32) *Account {
	t.Helper()
	if err := r.Add(account); err != nil {
		t.Fatal(err)
	}
	a, err := r.Account(account)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestKeysOutliveTheProcess(t *testing.T) {
	dir := t.TempDir()
	r, m := newRing(t, dir)
	ad := []byte("mailbox 7, name")
	log := r.Log().Seal(nil, []byte("accept"), ad)
	sealed := map[uint32][]byte{}
	macs := map[uint32][16]byte{}
	for _, account := range []uint32{9, 0, 3, 1 << 31} {
		a := add(t, r, account)
		sealed[account] = a.Seal([]byte("before"), []byte("Résultats"), ad)
		macs[account] = a.MAC("name", []byte("Résultats"))
		if err := r.Add(account); err != nil { // again
			t.Fatal(err)
		}
	}
	r = open(t, dir, m)
	for account, s := range sealed {
		a, err := r.Account(account)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := a.Open([]byte("x"), bytes.TrimPrefix(s, []byte("before")), ad)
		if err != nil || string(plain) != "xRésultats" {
			t.Errorf("account %d: %q, %v", account, plain, err)
		}
		if a.MAC("name", []byte("Résultats")) != macs[account] {
			t.Errorf("account %d: another MAC", account)
		}
	}
	if plain, err := r.Log().Open(nil, log, ad); err != nil || string(plain) != "accept" {
		t.Errorf("log: %q, %v", plain, err)
	}
	if _, err := r.Account(4); !errors.Is(err, ErrUnknown) {
		t.Errorf("account 4: %v, want ErrUnknown", err)
	}
}

func TestCreateReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	_, m := newRing(t, dir)
	if err := CreateMasterFile(m.Path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("master: %v, want ErrExist", err)
	}
	if err := Create(filepath.Join(dir, "keyring"), m); !errors.Is(err, fs.ErrExist) {
		t.Errorf("keyring: %v, want ErrExist", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	r, m := newRing(t, dir)
	var wg sync.WaitGroup
	for g := range uint32(4) {
		wg.Go(func() {
			for i := range uint32(10) {
				account := g*100 + i
				if err := r.Add(account); err != nil {
					t.Error(err)
				}
				a, err := r.Account(account)
				if err != nil {
					t.Error(err)
					return
				}
				sealed := a.Seal(nil, []byte("value"), nil)
				if i%5 == 0 {
					if err := r.Erase(account); err != nil {
						t.Error(err)
					}
					continue
				}
				if plain, err := a.Open(nil, sealed, nil); err != nil || string(plain) != "value" {
					t.Errorf("account %d: %q, %v", account, plain, err)
				}
			}
		})
	}
	wg.Wait()
	if r = open(t, dir, m); len(r.Erased()) != 8 || len(r.file.accounts) != 32 || r.Epoch() != 9 {
		t.Errorf("%d erased, %d left, epoch %d", len(r.Erased()), len(r.file.accounts), r.Epoch())
	}
}
