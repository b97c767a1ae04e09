package storage_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/bolt"
	"telesphore/storage/keyring"
)

// With a master key that only people can rotate, an erasure says so, is an
// erasure all the same, and does not keep the store from opening again.
func TestErasureByHand(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	object := d.accept(t, "secret", storage.Target{Account: a})[0].Object
	d.Close(t)

	use := func(f func(s *storage.Store)) {
		t.Helper()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		keys, err := keyring.Open(filepath.Join(dir, "keyring"), keyring.MasterCommand{Args: []string{"cat", filepath.Join(dir, "master.key")}})
		must(err)
		log, err := body.Open(filepath.Join(dir, "bodies"), body.Options{})
		must(err)
		index, err := bolt.Open(filepath.Join(dir, "index.db"), bolt.Options{BeforeCommit: log.Flush, InitialMmapSize: 1 << 26})
		must(err)
		cache, err := bolt.Open(filepath.Join(dir, "cache.db"), bolt.Options{NoSync: true, InitialMmapSize: 1 << 26})
		must(err)
		s, err := storage.Open(context.Background(), storage.Config{
			DB: index, Cache: cache, Log: log, Keys: keys, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		must(err)
		f(s)
		must(errors.Join(s.Close(), index.Close(), cache.Close(), log.Close()))
	}
	use(func(s *storage.Store) {
		if err := s.EraseAccount(t.Context(), a); !errors.Is(err, storage.ErrByHand) {
			t.Errorf("erase: %v, want ErrByHand", err)
		}
		if _, err := s.Open(t.Context(), a, object); !errors.Is(err, storage.ErrNoAccount) {
			t.Errorf("the erased account's message: %v", err)
		}
	})
	use(func(s *storage.Store) {
		if _, err := s.Open(t.Context(), a, object); !errors.Is(err, storage.ErrNoAccount) {
			t.Errorf("after a restart: %v", err)
		}
	})
}
