package storage_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

const ward1, ward2 = "cardiologie@hopital.test", "urgences@hopital.test"

func (d *disk) alias(t testing.TB, address string) (a *storage.Alias, err error) {
	t.Helper()
	err = d.View(t.Context(), func(tx *storage.Tx) (err error) { a, err = tx.Alias(address); return err })
	return a, err
}

func (d *disk) newAlias(t testing.TB, a *storage.Alias) error {
	t.Helper()
	return d.Update(t.Context(), func(tx *storage.Tx) error { return tx.NewAlias(a) })
}

func TestAnAliasComesBackAsItWasStored(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	want := &storage.Alias{
		Address: ward1, Name: "Cardiologie, 2e étage", State: storage.Disabled, Writers: storage.Members,
		Members: []string{"a@hopital.test", "hélène@hopital.test"},
	}
	if err := d.newAlias(t, want); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(want.Created); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	defer d.Close(t)
	if got, err := d.alias(t, ward1); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	created := want.Created
	want.Members, want.State, want.Created = nil, storage.Active, time.Time{}
	d.update(t, func(tx *storage.Tx) error { return tx.PutAlias(want) })
	if got, err := d.alias(t, ward1); err != nil || len(got.Members) > 0 || got.State != storage.Active || !got.Created.Equal(created) {
		t.Errorf("changed: %+v, %v", got, err)
	}
	d.update(t, func(tx *storage.Tx) error { return tx.DeleteAlias(ward1) })
	if got, err := d.alias(t, ward1); !errors.Is(err, storage.ErrNoAlias) {
		t.Errorf("deleted: %+v, %v", got, err)
	}
	for what, change := range map[string]func(*storage.Tx) error{
		"put":    func(tx *storage.Tx) error { return tx.PutAlias(want) },
		"delete": func(tx *storage.Tx) error { return tx.DeleteAlias(ward1) },
	} {
		if err := d.Update(t.Context(), change); !errors.Is(err, storage.ErrNoAlias) {
			t.Errorf("%s without alias: %v", what, err)
		}
	}
}

func TestAnAddressIsAnAccountsOrAnAliases(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	if err := d.newAlias(t, &storage.Alias{Address: "a@hopital.test"}); !errors.Is(err, storage.ErrAccountExists) {
		t.Errorf("alias with an account's address: %v", err)
	}
	if err := d.newAlias(t, &storage.Alias{Address: ward1}); err != nil {
		t.Fatal(err)
	}
	if err := d.newAlias(t, &storage.Alias{Address: ward1}); !errors.Is(err, storage.ErrAliasExists) {
		t.Errorf("second alias: %v", err)
	}
	err := d.NewAccount(t.Context(), &storage.Account{Addresses: []string{"b@hopital.test", ward1}})
	if !errors.Is(err, storage.ErrAliasExists) || errors.Is(err, storage.ErrAccountExists) || !strings.Contains(err.Error(), ward1) {
		t.Errorf("account with an alias's address: %v", err)
	}
	// What goes gives its address free.
	if err := d.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := d.newAlias(t, &storage.Alias{Address: "a@hopital.test"}); err != nil {
		t.Errorf("alias with an erased account's address: %v", err)
	}
	d.update(t, func(tx *storage.Tx) error { return tx.DeleteAlias(ward1) })
	d.newAccount(t, ward1)
	if got := d.problems(t); len(got) > 0 {
		t.Errorf("Verify reports %q", got)
	}
}

func TestAliasesAreListedByPages(t *testing.T) {
	d, _ := newStore(t, storage.Limits{})
	for _, address := range []string{"c@hopital.test", "a.b@hopital.test", "a+@hopital.test", "é@hopital.test"} {
		if err := d.newAlias(t, &storage.Alias{Address: address}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for behind := ""; ; {
		var page []storage.Alias
		err := d.View(t.Context(), func(tx *storage.Tx) (err error) { page, err = tx.Aliases(behind, 1); return err })
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		behind = page[0].Address
		got = append(got, behind)
	}
	want := []string{"a+@hopital.test", "a.b@hopital.test", "c@hopital.test", "é@hopital.test"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDamagedAliasesAreRefused(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"cut":     func(v []byte) []byte { return v[:len(v)-1] },
		"longer":  func(v []byte) []byte { return append(v, 0) },
		"empty":   func([]byte) []byte { return []byte{} },
		"version": func(v []byte) []byte { v[0]++; return v },
		"state":   func(v []byte) []byte { v[1] = 2; return v },
		"writers": func(v []byte) []byte { v[2] = 3; return v },
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newStore(t, storage.Limits{})
			if err := d.newAlias(t, &storage.Alias{Address: ward2, Members: []string{"a@hopital.test"}}); err != nil {
				t.Fatal(err)
			}
			d.Spoil(t, 'j', spoil)
			if _, err := d.alias(t, ward2); !errors.Is(err, storage.ErrRecord) {
				t.Errorf("read: %v", err)
			}
			err := d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.Aliases("", 0); return err })
			if !errors.Is(err, storage.ErrRecord) {
				t.Errorf("list: %v", err)
			}
			if got := d.problems(t); len(got) != 1 {
				t.Errorf("Verify reports %q", got)
			}
		})
	}
}
