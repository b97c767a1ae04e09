package bolt

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage/kv"
)

// logged opens a DB with a log that does nothing.
func logged(t *testing.T, o Options) *DB {
	t.Helper()
	if o.BeforeCommit == nil {
		o.BeforeCommit = func() error { return nil }
	}
	return fresh(t, o)
}

// waiting tells whether a group has returned and is not committed.
func (db *DB) waiting() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.behind
}

func has(t *testing.T, db *DB, key string) bool {
	t.Helper()
	found := false
	err := db.View(t.Context(), func(r kv.Reader) error {
		v, err := r.Get([]byte(key))
		found = v != nil
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLoggedUpdatesShareATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := logged(t, Options{Lag: time.Hour})
		for i := range 3 {
			if err := db.UpdateLogged(t.Context(), put(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if !db.waiting() {
				t.Fatalf("Update %d waited for its commit", i)
			}
		}
		if !has(t, db, "0") || !has(t, db, "2") {
			t.Error("a View does not show what was acknowledged")
		}
		if db.waiting() {
			t.Error("a View showed what is not committed")
		}
		if err := db.UpdateLogged(t.Context(), put("3")); err != nil {
			t.Fatal(err)
		}
		if err := db.Update(t.Context(), put("4")); err != nil {
			t.Fatal(err)
		}
		if db.waiting() {
			t.Error("an Update that is not logged returned before its commit")
		}
	})
}

func TestLoggedUpdatesAreCommittedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := logged(t, Options{Lag: time.Second})
		if err := db.UpdateLogged(t.Context(), put("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		if !db.waiting() {
			t.Error("committed too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if db.waiting() {
			t.Error("not committed in time")
		}
	})
}

func TestWithoutALogNothingIsEarly(t *testing.T) {
	db := fresh(t, Options{Lag: time.Hour})
	if err := db.UpdateLogged(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	if db.waiting() {
		t.Error("returned before the commit, although no log holds it")
	}
}

func TestCloseCommitsWhatWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, Options{Lag: time.Hour, BeforeCommit: func() error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.UpdateLogged(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if !has(t, db, "a") {
		t.Error("lost by Close")
	}
}

// A log that fails takes the groups with it that wait for their commit: a
// restart finds them in the log.
func TestFailingLog(t *testing.T) {
	broken := errors.New("disk on fire")
	var fail error
	db := logged(t, Options{Lag: time.Hour, BeforeCommit: func() error { return fail }})
	if err := db.UpdateLogged(t.Context(), put("a")); err != nil {
		t.Fatal(err)
	}
	fail = broken
	if err := db.UpdateLogged(t.Context(), put("b")); !errors.Is(err, kv.ErrReadOnly) || !errors.Is(err, broken) {
		t.Errorf("with a broken log: %v", err)
	}
	if has(t, db, "a") || has(t, db, "b") {
		t.Error("the index shows what its log may not hold")
	}
	if err := db.UpdateLogged(t.Context(), put("c")); !errors.Is(err, kv.ErrReadOnly) {
		t.Errorf("afterwards: %v", err)
	}
}

// Whoever has been answered finds the writes, whoever asks.
func TestViewsShowLoggedUpdates(t *testing.T) {
	db := logged(t, Options{})
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 50 {
				key := fmt.Sprintf("%d/%d", w, i)
				update := db.UpdateLogged
				if i%7 == 3 {
					update = db.Update
				}
				if err := update(t.Context(), put(key)); err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 && !has(t, db, key) {
					t.Errorf("%s is not shown", key)
				}
			}
		})
	}
	all.Wait()
}
