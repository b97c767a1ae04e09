// Package kvtest is the contract of kv.DB as a test.
//
// An engine passes when Run does, over the bare engine and over
// kv.Checked of it. The functions given to Update obey the rules of package kv
// themselves: they may run more than once.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"telesphore/storage/kv"
)

// Run tests the engine that open opens over a directory. A directory that was
// used before holds what was committed to it. Run closes every DB.
func Run(t *testing.T, open func(t *testing.T, dir string) kv.DB) {
	scenarios := []struct {
		name string
		run  func(t *testing.T, open opener)
	}{
		{"an update is kept over a reopening", reopen},
		{"an empty value is not an absent one", emptyValue},
		{"a failed update writes nothing", atomic},
		{"a panic reaches the caller and writes nothing", panics},
		{"a function that ends its goroutine writes nothing", exits},
		{"an update sees its own writes", ownWrites},
		{"a scan has bounds", scanBounds},
		{"a scan merges own writes", scanMerges},
		{"MultiGet calls in order and stops", multiGet},
		{"limits", limits},
		{"a view is a snapshot", snapshot},
		{"updates that share a commit are isolated", isolation},
		{"a cancelled context", cancelled},
		{"closed", closed},
		{"model", model},
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.run(t, open) })
	}
}

type opener = func(t *testing.T, dir string) kv.DB

// fresh opens an empty DB that the test closes.
func fresh(t *testing.T, open opener) kv.DB {
	t.Helper()
	db := open(t, t.TempDir())
	t.Cleanup(func() {
		if err := db.Close(); err != nil && !errors.Is(err, kv.ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return db
}

// update runs f and fails the test when Update does.
func update(t *testing.T, db kv.DB, f func(kv.Tx) error) {
	t.Helper()
	if err := db.Update(t.Context(), f); err != nil {
		t.Fatalf("update: %v", err)
	}
}

// put writes pairs, each "key=value".
func put(tx kv.Tx, pairs ...string) error {
	for _, p := range pairs {
		key, value, _ := strings.Cut(p, "=")
		if err := tx.Put([]byte(key), []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// scan returns the pairs in [lo, hi) as "key=value".
func scan(r kv.Reader, lo, hi []byte) ([]string, error) {
	pairs := []string{}
	err := r.Scan(lo, hi, func(key, value []byte) bool {
		pairs = append(pairs, fmt.Sprintf("%s=%s", key, value))
		return true
	})
	return pairs, err
}

// holds fails the test unless db holds exactly the pairs, in that order.
func holds(t *testing.T, db kv.DB, want ...string) {
	t.Helper()
	var got []string
	err := db.View(context.WithoutCancel(t.Context()), func(r kv.Reader) (err error) {
		got, err = scan(r, nil, nil)
		return err
	})
	if err != nil {
		t.Fatalf("view: %v", err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the database holds %q, want %q", got, want)
	}
}

func reopen(t *testing.T, open opener) {
	dir := t.TempDir()
	db := open(t, dir)
	holds(t, db)
	update(t, db, func(tx kv.Tx) error { return put(tx, "a=1", "b=2", "c=3") })
	update(t, db, func(tx kv.Tx) error { return errors.Join(put(tx, "b=two"), tx.Delete([]byte("a"))) })
	holds(t, db, "b=two", "c=3")
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	db = open(t, dir)
	holds(t, db, "b=two", "c=3")
	update(t, db, func(tx kv.Tx) error { return put(tx, "d=4") })
	holds(t, db, "b=two", "c=3", "d=4")
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func emptyValue(t *testing.T, open opener) {
	db := fresh(t, open)
	check := func(r kv.Reader) error {
		for _, key := range []string{"empty", "nil"} {
			if v, err := r.Get([]byte(key)); err != nil || v == nil || len(v) != 0 {
				return fmt.Errorf("get %q = %#v, %v, want an empty value", key, v, err)
			}
		}
		if v, err := r.Get([]byte("absent")); err != nil || v != nil {
			return fmt.Errorf("get of an absent key = %#v, %v, want nil", v, err)
		}
		return nil
	}
	update(t, db, func(tx kv.Tx) error {
		if err := errors.Join(tx.Put([]byte("empty"), []byte{}), tx.Put([]byte("nil"), nil)); err != nil {
			return err
		}
		return check(tx)
	})
	if err := db.View(t.Context(), check); err != nil {
		t.Error(err)
	}
}

func atomic(t *testing.T, open opener) {
	db := fresh(t, open)
	update(t, db, func(tx kv.Tx) error { return put(tx, "a=1", "b=2") })
	refusal := errors.New("refusal")
	err := db.Update(t.Context(), func(tx kv.Tx) error {
		return errors.Join(put(tx, "a=x", "c=x"), tx.Delete([]byte("b")), refusal)
	})
	if !errors.Is(err, refusal) {
		t.Errorf("Update returned %v, want the error of its function", err)
	}
	if err := db.View(t.Context(), func(kv.Reader) error { return refusal }); !errors.Is(err, refusal) {
		t.Errorf("View returned %v, want the error of its function", err)
	}
	holds(t, db, "a=1", "b=2")
}

func panics(t *testing.T, open opener) {
	db := fresh(t, open)
	value := errors.New("thrown")
	thrown := func(f func()) (v any) {
		defer func() { v = recover() }()
		f()
		return nil
	}
	v := thrown(func() {
		_ = db.Update(t.Context(), func(tx kv.Tx) error {
			_ = put(tx, "a=1")
			panic(value)
		})
	})
	if v != value {
		t.Errorf("Update panicked with %v, want %v", v, value)
	}
	v = thrown(func() { _ = db.View(t.Context(), func(kv.Reader) error { panic(value) }) })
	if v != value {
		t.Errorf("View panicked with %v, want %v", v, value)
	}
	v = thrown(func() {
		_ = db.Update(t.Context(), func(tx kv.Tx) error {
			_ = put(tx, "a=1")
			return tx.Scan(nil, nil, func(_, _ []byte) bool { panic(value) })
		})
	})
	if v != value {
		t.Errorf("Update panicked with %v from inside a Scan, want %v", v, value)
	}
	holds(t, db)
	update(t, db, func(tx kv.Tx) error { return put(tx, "b=2") })
	holds(t, db, "b=2")
}

// exits covers what t.Fatal does inside a function.
func exits(t *testing.T, open opener) {
	db := fresh(t, open)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = db.Update(t.Context(), func(tx kv.Tx) error {
			_ = put(tx, "a=1")
			exit()
			return nil
		})
	}()
	<-ended
	update(t, db, func(tx kv.Tx) error { return put(tx, "b=2") })
	holds(t, db, "b=2")
}

func multiGet(t *testing.T, open opener) {
	db := fresh(t, open)
	update(t, db, func(tx kv.Tx) error { return put(tx, "a=1", "b=2", "c=") })
	keys := [][]byte{[]byte("c"), []byte("x"), []byte("a"), []byte("a"), []byte("b")}
	check := func(r kv.Reader, want string) error {
		var got bytes.Buffer
		err := r.MultiGet(keys, func(i int, value []byte) error {
			fmt.Fprintf(&got, "%d:%s:%t ", i, value, value == nil)
			return nil
		})
		if err != nil || got.String() != want {
			return fmt.Errorf("multiget gave %q, %v, want %q", got.String(), err, want)
		}
		return nil
	}
	err := db.View(t.Context(), func(r kv.Reader) error {
		return check(r, "0::false 1::true 2:1:false 3:1:false 4:2:false ")
	})
	if err != nil {
		t.Error(err)
	}
	update(t, db, func(tx kv.Tx) error {
		if err := errors.Join(put(tx, "x=new", "a=one"), tx.Delete([]byte("b"))); err != nil {
			return err
		}
		return check(tx, "0::false 1:new:false 2:one:false 3:one:false 4::true ")
	})
	enough, calls := errors.New("enough"), 0
	err = db.View(t.Context(), func(r kv.Reader) error {
		calls = 0
		err := r.MultiGet(keys, func(i int, _ []byte) error {
			if calls++; i == 1 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			return fmt.Errorf("multiget returned %v, want its function's error", err)
		}
		return nil
	})
	if err != nil || calls != 2 {
		t.Errorf("MultiGet called its function %d times, want 2; %v", calls, err)
	}
}
