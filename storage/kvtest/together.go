package kvtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"telesphore/storage/kv"
)

// exit ends the calling goroutine; a function of its own, because vet
// rightly sees that nothing behind it runs.
func exit() { runtime.Goexit() }

func snapshot(t *testing.T, open opener) {
	db := fresh(t, open)
	update(t, db, func(tx kv.Tx) error { return put(tx, "a=1", "b=2") })
	err := db.View(t.Context(), func(r kv.Reader) error {
		done := make(chan error, 1)
		go func() { // not from inside the View, which would be a mistake
			done <- db.Update(t.Context(), func(tx kv.Tx) error {
				return errors.Join(put(tx, "a=new", "c=new"), tx.Delete([]byte("b")))
			})
		}()
		if err := <-done; err != nil {
			return err
		}
		if got, err := scan(r, nil, nil); err != nil || !slices.Equal(got, []string{"a=1", "b=2"}) {
			return fmt.Errorf("a view under way shows %q, %v", got, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	holds(t, db, "a=new", "c=new")
}

// isolation holds one Update until many others have queued behind it, every
// third of which fails or panics after writing.
func isolation(t *testing.T, open opener) {
	synctest.Test(t, func(t *testing.T) {
		db := fresh(t, open)
		release := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			update(t, db, func(tx kv.Tx) error {
				err := put(tx, "first=1")
				<-release
				return err
			})
		})
		synctest.Wait()
		holds(t, db) // a write not committed shows nowhere

		const n = 30
		refusal := errors.New("refusal")
		outcomes := make([]any, n) // errors returned and values thrown
		for i := range n {
			group.Go(func() {
				defer func() {
					if v := recover(); v != nil {
						outcomes[i] = v
					}
				}()
				if err := db.Update(t.Context(), func(tx kv.Tx) error { return member(tx, i, refusal) }); err != nil {
					outcomes[i] = err
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()

		want := []string{"count=" + string(rune(n/3)), "first=1"}
		for i, got := range outcomes {
			switch err, _ := got.(error); {
			case i%3 == 0:
				want = append(want, fmt.Sprintf("member%02d=kept", i))
				if got != nil {
					t.Errorf("member %d failed: %v", i, got)
				}
			case i%3 == 1 && !errors.Is(err, refusal):
				t.Errorf("member %d got %v, want the error of its function", i, got)
			case i%3 == 2 && got != i:
				t.Errorf("member %d got %v, want its panic", i, got)
			}
		}
		holds(t, db, want...)
	})
}

// member counts itself in a shared key and leaves a key of its own; then it
// succeeds, fails or panics.
func member(tx kv.Tx, i int, refusal error) error {
	count, err := tx.Get([]byte("count"))
	if err != nil {
		return err
	}
	c := 1
	for _, r := range string(count) {
		c = int(r) + 1
	}
	if err := put(tx, "count="+string(rune(c)), fmt.Sprintf("member%02d=kept", i)); err != nil {
		return err
	}
	switch i % 3 {
	case 1:
		return errors.Join(tx.Delete([]byte("first")), refusal)
	case 2:
		_ = tx.Delete([]byte("first"))
		panic(i)
	}
	return nil
}

func cancelled(t *testing.T, open opener) {
	db := fresh(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	if err := db.Update(ctx, func(tx kv.Tx) error { ran = true; return put(tx, "a=1") }); !errors.Is(err, context.Canceled) {
		t.Errorf("Update returned %v, want context.Canceled", err)
	}
	if err := db.View(ctx, func(kv.Reader) error { ran = true; return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("View returned %v, want context.Canceled", err)
	}
	if ran {
		t.Error("a function ran although its context had ended")
	}
	holds(t, db)

	// Cancelled while it runs, an Update tells the truth either way.
	ctx, cancel = context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx kv.Tx) error {
		cancel()
		return put(tx, "a=1")
	})
	switch {
	case err == nil:
		holds(t, db, "a=1")
	case errors.Is(err, context.Canceled):
		holds(t, db)
	default:
		t.Errorf("Update returned %v", err)
	}
}

func closed(t *testing.T, open opener) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		db := open(t, dir)
		release := make(chan struct{})
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() {
				update(t, db, func(tx kv.Tx) error {
					<-release
					return put(tx, fmt.Sprintf("%d=under way", i))
				})
			})
		}
		synctest.Wait()
		closing := make(chan error, 1)
		go func() { closing <- db.Close() }()
		synctest.Wait()
		select {
		case err := <-closing:
			t.Errorf("Close returned %v while an Update was under way", err)
		default:
		}
		close(release)
		group.Wait()
		if err := <-closing; err != nil {
			t.Errorf("Close returned %v", err)
		}
		for what, err := range map[string]error{
			"View":   db.View(t.Context(), func(kv.Reader) error { return nil }),
			"Update": db.Update(t.Context(), func(kv.Tx) error { return nil }),
			"Close":  db.Close(),
		} {
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("%s of a closed DB returned %v, want kv.ErrClosed", what, err)
			}
		}
		db = open(t, dir)
		holds(t, db, "0=under way", "1=under way", "2=under way")
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}

// ReadOnly tests what db does once its commits fail; breakCommits sees to it
// that the next one does.
func ReadOnly(t *testing.T, db kv.DB, breakCommits func()) {
	update(t, db, func(tx kv.Tx) error { return put(tx, "a=1") })
	breakCommits()
	if err := db.Update(t.Context(), func(tx kv.Tx) error { return put(tx, "b=2") }); !errors.Is(err, kv.ErrReadOnly) {
		t.Errorf("the Update whose commit failed returned %v, want kv.ErrReadOnly", err)
	}
	ran := false
	if err := db.Update(t.Context(), func(kv.Tx) error { ran = true; return nil }); !errors.Is(err, kv.ErrReadOnly) {
		t.Errorf("an Update after it returned %v, want kv.ErrReadOnly", err)
	}
	if ran {
		t.Error("a function ran on a read-only DB")
	}
	err := db.View(t.Context(), func(r kv.Reader) error {
		if v, err := r.Get([]byte("a")); err != nil || string(v) != "1" {
			return fmt.Errorf("a = %q, %v", v, err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("View of a read-only DB: %v", err)
	}
}
