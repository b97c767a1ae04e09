// Package storagetest is a store for the length of a test.
//
// It is the real one, over the real engine, in the test's temporary directory.
package storagetest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/bolt"
	"telesphore/storage/keyring"
	"telesphore/storage/kv"
)

// Disk is an open store with the directory it lies in.
type Disk struct {
	*storage.Store
	Dir   string
	close func() error
}

// Open opens the store in dir, making it when it is new, with the limits and
// hooks of c and o. Checked puts [kv.Checked] before the engines: it finds broken
// rules, and runs every change twice, which leaves dead records in the log.
func Open(tb testing.TB, dir string, c storage.Config, o body.Options, checked bool) *Disk {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	master, ring := keyring.MasterFile{Path: filepath.Join(dir, "master.key")}, filepath.Join(dir, "keyring")
	if _, err := os.Stat(ring); err != nil {
		must(keyring.CreateMasterFile(master.Path))
		must(keyring.Create(ring, master))
	}
	keys, err := keyring.Open(ring, master)
	must(err)
	log, err := body.Open(filepath.Join(dir, "bodies"), o)
	must(err)
	index, err := bolt.Open(filepath.Join(dir, "index.db"), bolt.Options{BeforeCommit: log.Flush, InitialMmapSize: mapSize})
	must(err)
	cache, err := bolt.Open(filepath.Join(dir, "cache.db"), bolt.Options{NoSync: true, InitialMmapSize: mapSize})
	must(err)
	c.DB, c.Cache, c.Log, c.Keys, c.Logger = index, cache, log, keys, slog.New(slog.DiscardHandler)
	if checked {
		c.DB, c.Cache = kv.Checked(index), kv.Checked(cache)
	}
	s, err := storage.Open(context.Background(), c)
	must(err)
	return &Disk{s, dir, func() error { return errors.Join(s.Close(), index.Close(), cache.Close(), log.Close()) }}
}

// Damage cuts every record of a table of the index (storage/key.go) short. No store is open in dir.
func Damage(tb testing.TB, dir string, table byte) {
	tb.Helper()
	index, err := bolt.Open(filepath.Join(dir, "index.db"), bolt.Options{InitialMmapSize: mapSize})
	if err != nil {
		tb.Fatal(err)
	}
	err = index.Update(context.Background(), func(tx kv.Tx) error {
		damaged := map[string][]byte{}
		err := tx.Scan([]byte{table}, []byte{table + 1}, func(key, value []byte) bool {
			damaged[string(key)] = bytes.Clone(value[:len(value)/2])
			return true
		})
		for key, value := range damaged {
			err = errors.Join(err, tx.Put([]byte(key), value))
		}
		return err
	})
	if err := errors.Join(err, index.Close()); err != nil {
		tb.Fatal(err)
	}
}

// mapSize is less than a server maps, since tests open many stores at once.
const mapSize = 1 << 28

// Close closes everything, as a clean stop does.
func (d *Disk) Close(tb testing.TB) {
	tb.Helper()
	if err := d.close(); err != nil {
		tb.Fatal(err)
	}
}

// New makes an empty store, checked unless for a benchmark, and closes it when
// the test ends.
func New(tb testing.TB) *storage.Store {
	tb.Helper()
	_, benchmark := tb.(*testing.B)
	d := Open(tb, tb.TempDir(), storage.Config{}, body.Options{}, !benchmark)
	tb.Cleanup(func() { d.Close(tb) })
	return d.Store
}

// Account makes an account with an address and a stored password ("" for none).
func Account(tb testing.TB, s *storage.Store, password string, addresses ...string) storage.AccountID {
	tb.Helper()
	a := &storage.Account{Addresses: addresses, Password: password}
	if err := s.NewAccount(context.Background(), a); err != nil {
		tb.Fatal(err)
	}
	return a.ID
}

// Inbox returns the messages of the account's INBOX in the order of their UIDs.
func Inbox(tb testing.TB, s *storage.Store, id storage.AccountID) []string {
	tb.Helper()
	ctx := context.Background()
	var objects []storage.ObjectID
	err := s.View(ctx, func(tx *storage.Tx) error {
		m, err := tx.MailboxByName(id, "INBOX")
		if err != nil {
			return err
		}
		return tx.Placements(id, m.ID, storage.AllUIDs, func(p *storage.Placement) bool {
			objects = append(objects, p.Object)
			return true
		})
	})
	if err != nil {
		tb.Fatal(err)
	}
	var messages []string
	for _, o := range objects {
		b, err := s.Open(ctx, id, o)
		if err != nil {
			tb.Fatal(err)
		}
		octets := make([]byte, b.Size())
		if _, err := b.ReadAt(octets, 0); err != nil {
			tb.Fatal(err)
		}
		if err := b.Close(); err != nil {
			tb.Fatal(err)
		}
		messages = append(messages, string(octets))
	}
	return messages
}
