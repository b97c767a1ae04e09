package storage_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"telesphore/storage"
)

// problems is what Verify reports.
func (d *disk) problems(t *testing.T) (all []string) {
	t.Helper()
	if err := d.Verify(t.Context(), func(p string) { all = append(all, p) }); err != nil {
		t.Fatal(err)
	}
	return all
}

// readers read each noun of an account.
func readers(a storage.AccountID) map[string]func(*storage.Tx) error {
	return map[string]func(*storage.Tx) error{
		"cards":                func(tx *storage.Tx) error { _, err := tx.Cards(a); return err },
		"link window":          func(tx *storage.Tx) error { _, err := tx.LinkWindow(a); return err },
		"factor":               func(tx *storage.Tx) error { _, err := tx.Factor(a); return err },
		"challenge":            func(tx *storage.Tx) error { _, err := tx.Challenge(a); return err },
		"grants":               func(tx *storage.Tx) error { _, err := tx.Grants(a); return err },
		"passwords":            func(tx *storage.Tx) error { _, err := tx.AppPasswords(a); return err },
		"application password": func(tx *storage.Tx) error { _, err := tx.AppPassword(a, 1); return err },
		"verifier":             func(tx *storage.Tx) error { _, err := tx.PasswordVerifier(a); return err },
		"networks":             func(tx *storage.Tx) error { _, err := tx.KnownNetworks(a); return err },
	}
}

func TestDamagedCredentialsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(v []byte) []byte{
		"one bit":  func(v []byte) []byte { v[len(v)/2] ^= 1; return v },
		"cut":      func(v []byte) []byte { return v[:len(v)-1] },
		"short":    func(v []byte) []byte { return v[:3] },
		"empty":    func(v []byte) []byte { return []byte{} },
		"unsealed": func(v []byte) []byte { return []byte{1, 0, 0, 0} },
	} {
		t.Run(name, func(t *testing.T) {
			d, a := newStore(t, storage.Limits{})
			d.store(t, a, sample())
			d.Flush(t)
			for _, table := range "dfgw" {
				d.Spoil(t, byte(table), spoil)
			}
			for what, read := range readers(a) {
				if err := d.View(t.Context(), read); !errors.Is(err, storage.ErrRecord) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if got := d.problems(t); len(got) != len(readers(a))-1 { // one password is read twice above
				t.Errorf("Verify reports %q", got)
			}
		})
	}
}

// Who can write to the index, but has no key, moves a record in vain.
func TestMovedCredentialsAreRefused(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	d.store(t, a, sample())
	d.store(t, b, sample())
	d.Flush(t)
	for _, table := range "dfgw" {
		var values [][]byte
		d.Spoil(t, byte(table), func(v []byte) []byte { values = append(values, v); return v })
		d.Spoil(t, byte(table), func([]byte) []byte {
			values = append(values[1:], values[0])
			return values[0]
		})
	}
	for _, account := range []storage.AccountID{a, b} {
		for what, read := range readers(account) {
			if err := d.View(t.Context(), read); !errors.Is(err, storage.ErrRecord) {
				t.Errorf("%s of account %d: %v", what, account, err)
			}
		}
	}
}

func TestVerifyFindsHalfALink(t *testing.T) {
	for name, test := range map[string]struct {
		table byte
		spoil func(v []byte) []byte
		want  []string
	}{
		"no entry":          {'e', func([]byte) []byte { return nil }, []string{"a card of account 1 does not open it"}},
		"no card":           {'d', func([]byte) []byte { return nil }, []string{"link 1 opens an account that has no such card"}},
		"another account":   {'e', func([]byte) []byte { return []byte{2, 0, 0, 0} }, []string{"link 1 opens an account that has no such card"}},
		"no account at all": {'e', func([]byte) []byte { return []byte{1} }, []string{"link 1 opens an account that has no such card"}},
	} {
		d, a := newStore(t, storage.Limits{})
		d.newAccount(t, "b@hopital.test")
		d.update(t, func(tx *storage.Tx) error { return tx.PutCard(a, &storage.Card{Identity: "igc|1"}) })
		d.verify(t)
		d.Spoil(t, test.table, test.spoil)
		if got := d.problems(t); !slices.Equal(got, test.want) {
			t.Errorf("%s: %s", name, strings.Join(got, "; "))
		}
		err := d.View(t.Context(), func(tx *storage.Tx) error {
			ids, err := tx.CardAccounts("igc|1")
			if err == nil && name == "no account at all" {
				err = fmt.Errorf("opens %v", ids)
			}
			return err
		})
		if damaged := errors.Is(err, storage.ErrRecord); damaged != (name == "no account at all") || err != nil && !damaged {
			t.Errorf("%s: accounts of the card: %v", name, err)
		}
	}
}
