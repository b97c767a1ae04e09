package bolt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage/kv"
	"telesphore/storage/kvtest"
)

// The others queue while the first function runs, so that the sizes of the
// groups are certain.
func TestWhoArrivesDuringAGroupSharesACommit(t *testing.T) {
	for _, test := range []struct{ maxGroup, commits int }{{0, 1}, {11, 1}, {4, 3}, {1, 11}} {
		t.Run(fmt.Sprint(test.maxGroup), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				commits := 0
				db := fresh(t, Options{MaxGroup: test.maxGroup, BeforeCommit: func() error { commits++; return nil }})
				release := make(chan struct{})
				var group sync.WaitGroup
				for i := range 11 {
					group.Go(func() {
						err := db.Update(t.Context(), func(tx kv.Tx) error {
							<-release
							return put(fmt.Sprintf("%02d", i))(tx)
						})
						if err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				close(release)
				group.Wait()
				if commits != test.commits {
					t.Errorf("11 Updates took %d commits, want %d", commits, test.commits)
				}
				if got := keys(t, db); got != "00 01 02 03 04 05 06 07 08 09 10" {
					t.Errorf("keys: %s", got)
				}
			})
		})
	}
}

// A group ends when it has written as much as one transaction may.
func TestAGroupIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commits := 0
		db := fresh(t, Options{NoSync: true, BeforeCommit: func() error { commits++; return nil }})
		release := make(chan struct{})
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() {
				err := db.Update(t.Context(), func(tx kv.Tx) error {
					<-release
					for n := range kv.MaxWrites / 2 {
						if err := put(fmt.Sprintf("%d-%d", i, n))(tx); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if commits != 2 {
			t.Errorf("three Updates of half a transaction each took %d commits, want 2", commits)
		}
	})
}

// The clock of a bubble moves only when somebody waits for it.
func TestALoneUpdateWaitsForNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := fresh(t, Options{})
		start := time.Now()
		for i := range 10 {
			if err := db.Update(t.Context(), put(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("ten Updates waited %v for a timer", d)
		}
	})
}

func TestBeforeCommit(t *testing.T) {
	var log []string
	db := fresh(t, Options{BeforeCommit: func() error { log = append(log, "flush"); return nil }})
	ran := func(what string, err error) func(kv.Tx) error {
		return func(tx kv.Tx) error {
			log = append(log, what)
			if what == "read" {
				return err
			}
			return errors.Join(put(what)(tx), err)
		}
	}
	refusal := errors.New("refusal")
	for _, step := range []struct {
		what string
		err  error
		want string
	}{
		{"write", nil, "[write flush]"},
		{"read", nil, "[read flush]"}, // what it was told may rest on it
		{"fail", refusal, "[fail]"},
	} {
		log = nil
		if err := db.Update(t.Context(), ran(step.what, step.err)); !errors.Is(err, step.err) {
			t.Errorf("%s: %v", step.what, err)
		}
		if got := fmt.Sprint(log); got != step.want {
			t.Errorf("%s: %s, want %s", step.what, got, step.want)
		}
	}
}

func TestFailedBeforeCommitMakesReadOnly(t *testing.T) {
	var fault error
	db := fresh(t, Options{BeforeCommit: func() error { return fault }})
	lost := errors.New("fdatasync: input/output error")
	kvtest.ReadOnly(t, db, func() { fault = lost })
	if err := db.Update(t.Context(), put("later")); !errors.Is(err, kv.ErrReadOnly) || !errors.Is(err, lost) {
		t.Errorf("a later Update returned %v, want kv.ErrReadOnly with the first cause", err)
	}
	if got := keys(t, db); got != "a" {
		t.Errorf("keys: %q, want what was committed before", got)
	}
}

// Everyone in the group fails, whatever their functions returned, and so does
// everyone who queued behind it.
func TestFailedCommitFailsTheWholeGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := fresh(t, Options{MaxGroup: 4, BeforeCommit: func() error { return errors.New("disk gone") }})
		release := make(chan struct{})
		var group sync.WaitGroup
		for i := range 9 {
			group.Go(func() {
				err := db.Update(t.Context(), func(tx kv.Tx) error {
					<-release
					if i%2 == 1 {
						return errors.New("refusal")
					}
					return put(fmt.Sprint(i))(tx)
				})
				if !errors.Is(err, kv.ErrReadOnly) {
					t.Errorf("Update %d returned %v, want kv.ErrReadOnly", i, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		group.Wait()
		if got := keys(t, db); got != "" {
			t.Errorf("keys: %q, want none", got)
		}
	})
}

func TestCancelledWhileQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := fresh(t, Options{})
		release := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			err := db.Update(t.Context(), func(tx kv.Tx) error {
				<-release
				return put("first")(tx)
			})
			if err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := db.Update(ctx, put("queued")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the queued Update returned %v, want context.DeadlineExceeded", err)
		}
		close(release)
		group.Wait()
		if err := db.Update(t.Context(), put("third")); err != nil {
			t.Error(err)
		}
		if got := keys(t, db); got != "first third" {
			t.Errorf("keys: %s", got)
		}
	})
}

func TestCancelledWhileRunningIsKept(t *testing.T) {
	db := fresh(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Update(ctx, func(tx kv.Tx) error {
		cancel()
		return put("kept")(tx)
	})
	if err != nil {
		t.Errorf("Update returned %v, want the result", err)
	}
	if got := keys(t, db); got != "kept" {
		t.Errorf("keys: %s", got)
	}
}
