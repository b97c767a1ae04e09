package kv_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"telesphore/storage/bolt"
	"telesphore/storage/kv"
)

func checked(t *testing.T) kv.DB {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "index.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := kv.Checked(db)
	t.Cleanup(func() { c.Close() })
	err = c.Update(t.Context(), func(tx kv.Tx) error {
		return errors.Join(tx.Put([]byte("a"), []byte("1")), tx.Put([]byte("b"), []byte("2")))
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Each function breaks one rule and hides the error.
func TestBrokenRules(t *testing.T) {
	a, b := []byte("a"), []byte("b")
	long := make([]byte, kv.MaxKey+1)
	tests := map[string]struct {
		f    func(tx kv.Tx)
		want error
	}{
		"Get inside Scan": {func(tx kv.Tx) {
			_ = tx.Scan(nil, nil, func(_, _ []byte) bool { _, _ = tx.Get(a); return true })
		}, kv.ErrMisuse},
		"Put inside MultiGet": {func(tx kv.Tx) {
			_ = tx.MultiGet([][]byte{a}, func(int, []byte) error { _ = tx.Put(a, nil); return nil })
		}, kv.ErrMisuse},
		"Scan inside Scan": {func(tx kv.Tx) {
			_ = tx.Scan(nil, nil, func(_, _ []byte) bool {
				_ = tx.Scan(nil, nil, func(_, _ []byte) bool { return true })
				return true
			})
		}, kv.ErrMisuse},
		"a value modified": {func(tx kv.Tx) {
			v, _ := tx.Get(a)
			v[0] = 'x'
		}, kv.ErrMisuse},
		"a scanned key modified": {func(tx kv.Tx) {
			_ = tx.Scan(nil, nil, func(key, _ []byte) bool { key[0] = 'x'; return true })
			_, _ = tx.Get(b)
		}, kv.ErrMisuse},
		"a dead value modified": {func(tx kv.Tx) {
			v, _ := tx.Get(a)
			_ = tx.Put(b, v)
		}, kv.ErrMisuse},
		"a key buffer used again after Put": {func(tx kv.Tx) {
			key := []byte("x")
			_ = tx.Put(key, nil)
			key[0] = 'y'
		}, kv.ErrMisuse},
		"a value changed after Put": {func(tx kv.Tx) {
			v := []byte("x")
			_ = tx.Put(a, v)
			v[0] = 'y'
		}, kv.ErrMisuse},
		"a long key read":    {func(tx kv.Tx) { _, _ = tx.Get(long) }, kv.ErrLimit},
		"an empty key read":  {func(tx kv.Tx) { _ = tx.MultiGet([][]byte{nil}, nil) }, kv.ErrLimit},
		"a long key deleted": {func(tx kv.Tx) { _ = tx.Delete(long) }, kv.ErrLimit},
		"a large value":      {func(tx kv.Tx) { _ = tx.Put(a, make([]byte, kv.MaxValue+1)) }, kv.ErrLimit},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db := checked(t)
			err := db.Update(t.Context(), func(tx kv.Tx) error { test.f(tx); return nil })
			if !errors.Is(err, test.want) {
				t.Errorf("Update returned %v, want %v", err, test.want)
			}
			err = db.View(t.Context(), func(r kv.Reader) error {
				v, err := r.Get(a)
				if string(v) != "1" {
					t.Errorf("the Update wrote %q although it broke a rule", v)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNestedTransactions(t *testing.T) {
	db := checked(t)
	ctx := t.Context()
	nothing := func(kv.Tx) error { return nil }
	look := func(kv.Reader) error { return nil }
	err := db.View(ctx, func(kv.Reader) error {
		if err := db.View(ctx, look); err != nil {
			t.Errorf("a View inside a View returned %v", err)
		}
		if err := db.Update(ctx, nothing); !errors.Is(err, kv.ErrMisuse) {
			t.Errorf("an Update inside a View returned %v, want kv.ErrMisuse", err)
		}
		if err := db.Close(); !errors.Is(err, kv.ErrMisuse) {
			t.Errorf("Close inside a View returned %v, want kv.ErrMisuse", err)
		}
		if !kv.InTransaction() {
			t.Error("InTransaction does not see the View around it")
		}
		done := make(chan error)
		go func() { done <- db.Update(ctx, nothing) }()
		return <-done
	})
	if err != nil {
		t.Error(err)
	}
	err = db.Update(ctx, func(kv.Tx) error {
		if err := db.View(ctx, look); !errors.Is(err, kv.ErrMisuse) {
			t.Errorf("a View inside an Update returned %v, want kv.ErrMisuse", err)
		}
		if err := db.Update(ctx, nothing); !errors.Is(err, kv.ErrMisuse) {
			t.Errorf("an Update inside an Update returned %v, want kv.ErrMisuse", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if kv.InTransaction() {
		t.Error("InTransaction sees a transaction where there is none")
	}
}

func TestDeadSlicesAreSpoilt(t *testing.T) {
	db := checked(t)
	dead := []byte{0xDB}
	var kept []byte
	err := db.View(t.Context(), func(r kv.Reader) error {
		v, err := r.Get([]byte("a"))
		if err != nil || string(v) != "1" {
			t.Errorf("Get = %q, %v", v, err)
		}
		if kept, err = r.Get([]byte("b")); err != nil || string(kept) != "2" {
			t.Errorf("Get = %q, %v", kept, err)
		}
		if !bytes.Equal(v, dead) {
			t.Errorf("a slice outlived the next call: %q", v)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if !bytes.Equal(kept, dead) {
		t.Errorf("a slice outlived its transaction: %q", kept)
	}
}

func TestUpdateRunsTwice(t *testing.T) {
	db := checked(t)
	runs := 0
	var tx kv.Tx
	err := db.Update(t.Context(), func(t kv.Tx) error {
		runs++
		tx = t
		return t.Put([]byte("c"), []byte("3"))
	})
	if err != nil || runs != 2 {
		t.Errorf("the function ran %d times, %v, want 2", runs, err)
	}
	if err := tx.Put([]byte("d"), nil); !errors.Is(err, kv.ErrMisuse) {
		t.Errorf("Put after the end returned %v, want kv.ErrMisuse", err)
	}
}
