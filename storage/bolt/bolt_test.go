package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage/kv"
	"telesphore/storage/kvtest"
)

// open opens the DB of a directory; the caller closes it.
func open(t *testing.T, dir string, o Options) *DB {
	t.Helper()
	db, err := Open(filepath.Join(dir, "index.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// fresh opens an empty DB, and checks and closes it when the test ends.
func fresh(t *testing.T, o Options) *DB {
	t.Helper()
	db := open(t, t.TempDir(), o)
	t.Cleanup(func() {
		if err := errors.Join(db.Check(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// put returns a function for Update that writes one key.
func put(key string) func(kv.Tx) error {
	return func(tx kv.Tx) error { return tx.Put([]byte(key), []byte("v")) }
}

// keys returns the keys of db, joined by spaces.
func keys(t *testing.T, db kv.DB) string {
	t.Helper()
	var found []string
	err := db.View(context.WithoutCancel(t.Context()), func(r kv.Reader) error {
		return r.Scan(nil, nil, func(key, _ []byte) bool {
			found = append(found, string(key))
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(found, " ")
}

func TestContract(t *testing.T) {
	kvtest.Run(t, func(t *testing.T, dir string) kv.DB { return open(t, dir, Options{}) })
}

func TestContractChecked(t *testing.T) {
	kvtest.Run(t, func(t *testing.T, dir string) kv.DB { return kv.Checked(open(t, dir, Options{})) })
}

func TestContractSmallGroups(t *testing.T) {
	kvtest.Run(t, func(t *testing.T, dir string) kv.DB { return open(t, dir, Options{MaxGroup: 3, NoSync: true}) })
}

// Close waits for a View, and does not hang one that opens another.
func TestCloseDuringAView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t, t.TempDir(), Options{})
		release := make(chan struct{})
		closing := make(chan error, 1)
		go func() {
			<-release
			closing <- db.Close()
		}()
		err := db.View(t.Context(), func(r kv.Reader) error {
			close(release)
			synctest.Wait()
			select {
			case err := <-closing:
				t.Errorf("Close returned %v while a View was under way", err)
			default:
			}
			if err := db.View(t.Context(), func(kv.Reader) error { return nil }); !errors.Is(err, kv.ErrClosed) {
				t.Errorf("a View inside it returned %v, want kv.ErrClosed", err)
			}
			_, err := r.Get([]byte("a"))
			return err
		})
		if err := errors.Join(err, <-closing); err != nil {
			t.Error(err)
		}
	})
}

func explode(kv.Tx) error { panic("boom") }

func TestPanicKeepsItsStack(t *testing.T) {
	db := fresh(t, Options{})
	defer func() {
		v, stack := recover(), string(debug.Stack())
		if v != "boom" || !strings.Contains(stack, "bolt.explode") || !strings.Contains(stack, t.Name()) {
			t.Errorf("recovered %v with the stack\n%s", v, stack)
		}
	}()
	_ = db.Update(t.Context(), explode)
}

func TestMisuseIsRefused(t *testing.T) {
	db := fresh(t, Options{})
	var kept kv.Tx
	err := db.Update(t.Context(), func(tx kv.Tx) error {
		kept = tx
		if err := put("a")(tx); err != nil {
			return err
		}
		return tx.Scan(nil, nil, func(key, _ []byte) bool {
			if _, err := tx.Get(key); !errors.Is(err, errNested) {
				t.Errorf("Get inside a Scan returned %v", err)
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(t.Context(), func(tx kv.Tx) error {
		return tx.Scan(nil, nil, func(key, _ []byte) bool { return tx.Put(key, nil) == nil })
	})
	if !errors.Is(err, errNested) {
		t.Errorf("an Update that ignores a Put refused inside a Scan returned %v", err)
	}
	if err := kept.Put([]byte("b"), nil); !errors.Is(err, errEnded) {
		t.Errorf("Put after the end returned %v", err)
	}
	if _, err := kept.Get([]byte("a")); !errors.Is(err, errEnded) {
		t.Errorf("Get after the end returned %v", err)
	}
	if got := keys(t, db); got != "a" {
		t.Errorf("keys: %s", got)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, Options{})
	_, err := Open(filepath.Join(dir, "index.db"), Options{LockTimeout: time.Millisecond})
	if !errors.Is(err, ErrLocked) {
		t.Errorf("a second Open returned %v, want ErrLocked", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, dir, Options{}).Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesAnotherFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("not a database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if db, err := Open(path, Options{}); err == nil {
		t.Error("Open of another file succeeded")
		_ = db.Close()
	}
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("Open of a directory succeeded")
	}
}

// What Update has acknowledged lies in the file, without Close.
func TestAcknowledgedIsInTheFile(t *testing.T) {
	dir, copied := t.TempDir(), t.TempDir()
	db := open(t, dir, Options{})
	defer db.Close()
	for i := range 50 {
		if err := db.Update(t.Context(), put(fmt.Sprintf("%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	octets, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, "index.db"), octets, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, copied, Options{})
	defer again.Close()
	if got, want := keys(t, again), keys(t, db); got != want {
		t.Errorf("the copied file holds %s, want %s", got, want)
	}
}

// A copy taken while others write holds one state: each Update moves both keys.
func TestWriteTo(t *testing.T) {
	db := fresh(t, Options{NoSync: true})
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			value := []byte(fmt.Sprint(i))
			err := db.Update(t.Context(), func(tx kv.Tx) error {
				return errors.Join(tx.Put([]byte("a"), value), tx.Put([]byte("z"), value))
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 5 {
		dir := t.TempDir()
		f, err := os.Create(filepath.Join(dir, "index.db"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := db.WriteTo(f)
		if info, _ := f.Stat(); err != nil || n != info.Size() {
			t.Errorf("WriteTo returned %d, %v for %d octets", n, err, info.Size())
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		backup := open(t, dir, Options{})
		err = backup.View(t.Context(), func(r kv.Reader) error {
			a, _ := r.Get([]byte("a"))
			z, _ := r.Get([]byte("z"))
			if !bytes.Equal(a, z) {
				return fmt.Errorf("the copy mixes states %s and %s", a, z)
			}
			return nil
		})
		if err := errors.Join(err, backup.Check(), backup.Close()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	group.Wait()
}
