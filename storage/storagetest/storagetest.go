// Package storagetest is a store for the length of a test.
//
// It is the real one, over the real engine, in the test's temporary directory.
package storagetest

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/bolt"
	"telesphore/storage/keyring"
)

// New makes an empty store and closes it when the test ends.
func New(tb testing.TB) *storage.Store {
	tb.Helper()
	dir := tb.TempDir()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	master, ring := keyring.MasterFile{Path: filepath.Join(dir, "master.key")}, filepath.Join(dir, "keyring")
	must(keyring.CreateMasterFile(master.Path))
	must(keyring.Create(ring, master))
	keys, err := keyring.Open(ring, master)
	must(err)
	log, err := body.Open(filepath.Join(dir, "bodies"), body.Options{})
	must(err)
	index, err := bolt.Open(filepath.Join(dir, "index.db"), bolt.Options{BeforeCommit: log.Flush})
	must(err)
	cache, err := bolt.Open(filepath.Join(dir, "cache.db"), bolt.Options{NoSync: true})
	must(err)
	s, err := storage.Open(context.Background(), storage.Config{
		DB: index, Cache: cache, Log: log, Keys: keys, Logger: slog.New(slog.DiscardHandler),
	})
	must(err)
	tb.Cleanup(func() {
		must(s.Close())
		must(index.Close())
		must(cache.Close())
		must(log.Close())
	})
	return s
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
		return tx.Placements(id, m.ID, storage.UIDSet{{Lo: 1, Hi: 1<<32 - 1}}, func(p *storage.Placement) bool {
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
