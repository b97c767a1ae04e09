package storage_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"telesphore/storage"
)

func TestNoMailIsTakenWhenSpaceRunsOut(t *testing.T) {
	var free atomic.Int64
	free.Store(10 << 20)
	limits := storage.Limits{FreeBytes: 1 << 20}
	d := openWith(t, t.TempDir(), storage.Config{Limits: limits, Free: func() (int64, error) { return free.Load(), nil }})
	defer d.Close(t)
	a := d.newAccount(t, "a@hopital.test")
	d.accept(t, "first", storage.Target{Account: a})
	free.Store(1000)
	d.LookAtSpace()
	c, err := d.Seal([]byte("second"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Accept(t.Context(), c, &storage.Acceptance{Targets: []storage.Target{{Account: a}}}); !errors.Is(err, storage.ErrNoSpace) {
		t.Errorf("with little space: %v", err)
	}
	// Making room by deleting still works.
	in := d.mailbox(t, a, "INBOX")
	d.update(t, func(tx *storage.Tx) error {
		_, err := tx.StoreFlags(a, in.ID, set(1), storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Deleted})
		return err
	})
	free.Store(10 << 20)
	d.LookAtSpace()
	if _, err := d.Accept(t.Context(), c, &storage.Acceptance{Targets: []storage.Target{{Account: a}}}); err != nil {
		t.Errorf("with space again: %v", err)
	}
}
