package queue_test

import (
	"errors"
	"testing"
	"time"

	"telesphore/backend/queue"
	"telesphore/storage"
)

// count checks what an operator's change answers.
func (w *world) count(want int) func(int, error) {
	w.Helper()
	return func(n int, err error) {
		w.Helper()
		if err != nil || n != want {
			w.Errorf("%d deliveries, %v; want %d", n, err, want)
		}
	}
}

func TestHoldAndRelease(t *testing.T) {
	limits := queue.Limits{Lifetime: 6 * time.Hour}
	bubble(t, limits, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		w.accept(w.mail("a@clinique.test", "b@clinique.test"))
		w.run()
		w.wait(time.Minute)
		id := w.only().ID
		w.count(2)(w.runner.Hold(t.Context(), id))
		w.count(0)(w.runner.Hold(t.Context(), id))
		w.count(0)(w.runner.Retry(t.Context(), id))
		// It stays beyond its life, and a restart.
		w.wait(5 * time.Hour)
		w.reopen(limits)
		w.run()
		w.wait(5 * time.Hour)
		if n := len(w.tries("clinique.test")); n != 1 || len(w.inbox()) > 0 || w.only().Deliveries[1].State != storage.Held {
			t.Errorf("%d attempts, %d notices", n, len(w.inbox()))
		}
		// It is tried once although its time is over.
		w.count(2)(w.runner.Release(t.Context(), id))
		w.wait(time.Minute)
		if n := len(w.tries("clinique.test")); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
		w.says(w.one(), "Action: failed", "a@clinique.test", "b@clinique.test")
		w.empty()
	})
}

func TestReleaseDelivers(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.accept(w.mail("a@clinique.test"))
		id := w.only().ID
		w.count(1)(w.runner.Hold(t.Context(), id)) // before Run
		w.run()
		w.wait(time.Hour)
		if n := len(w.attempts); n > 0 {
			t.Errorf("%d attempts at what is held", n)
		}
		w.count(1)(w.runner.Release(t.Context(), id))
		w.wait(0)
		w.empty()
		if n := len(w.attempts); n != 1 {
			t.Errorf("%d attempts, want 1", n)
		}
	})
}

// Hold and Drop while an attempt is under way: what the peer says still counts.
func TestChangesDuringAnAttempt(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		slow := newGate(w)
		w.peer("clinique.test", slow.send)
		w.peer("labo.test", slow.send)
		w.accept(w.mail("a@clinique.test"))
		w.accept(w.mail("a@labo.test"))
		w.run()
		w.wait(time.Second)
		all := w.queued()
		w.count(1)(w.runner.Hold(t.Context(), all[0].ID))
		w.count(1)(w.runner.Drop(t.Context(), all[1].ID, false))
		close(slow.open)
		w.wait(time.Minute)
		w.empty()
		if n := len(w.inbox()); n > 0 {
			t.Errorf("%d notices", n)
		}
	})
}

// A message that is held while an attempt fails stays held.
func TestHoldDuringAFailingAttempt(t *testing.T) {
	bubble(t, queue.Limits{Attempt: time.Minute}, func(t *testing.T, w *world) {
		w.peer("clinique.test", newGate(w).send)
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(time.Second)
		w.count(1)(w.runner.Hold(t.Context(), w.only().ID))
		w.wait(time.Hour)
		if d := w.only().Deliveries[0]; d.State != storage.Held || d.Attempts != 1 || len(w.attempts) != 1 {
			t.Errorf("%d attempts, delivery %+v", len(w.attempts), d)
		}
	})
}

// Who was told that a message was dropped is not told that it waits.
func TestDropDuringAFailingAttempt(t *testing.T) {
	bubble(t, queue.Limits{Attempt: time.Minute}, func(t *testing.T, w *world) {
		w.peer("clinique.test", newGate(w).send)
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(time.Minute - 200*time.Millisecond)
		w.count(1)(w.runner.Drop(t.Context(), w.only().ID, true))
		w.wait(time.Minute)
		w.says(w.one(), "Action: failed", "Status: 5.7.1")
		w.empty()
	})
}

func TestRetry(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("labo.test", always(dead))
		w.peer("clinique.test", always(busy))
		for range 3 {
			w.accept(w.mail("a@labo.test"))
			w.accept(w.mail("a@clinique.test"))
		}
		later := w.mail("later@clinique.test")
		later.HoldUntil = time.Now().Add(24 * time.Hour)
		w.accept(later)
		w.run()
		w.wait(time.Second)
		w.peer("clinique.test", nil)
		w.count(3)(w.runner.RetryDomain(t.Context(), "clinique.test"))
		w.wait(0)
		if n := len(w.queued()); n != 4 {
			t.Errorf("%d messages are left, want those for the dead domain and the one with a date", n)
		}
		w.count(0)(w.runner.RetryDomain(t.Context(), "nowhere.test"))
		// One that is asked for by name does not wait for its domain, nor for its date.
		before := len(w.tries("labo.test"))
		w.count(1)(w.runner.Retry(t.Context(), w.queued()[0].ID))
		w.wait(0)
		if n := len(w.tries("labo.test")); n != before+1 {
			t.Errorf("%d attempts, want 1", n-before)
		}
		w.count(1)(w.runner.Retry(t.Context(), w.queued()[3].ID))
		w.wait(0)
		if n := len(w.queued()); n != 3 {
			t.Errorf("%d messages are left, want 3", n)
		}
	})
}

func TestDrop(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		for range 2 {
			e := w.mail("a@clinique.test", "never@clinique.test")
			e.Rcpts[1].Notify = storage.NotifyNever
			w.accept(e)
		}
		w.run()
		w.wait(time.Minute)
		all := w.queued()
		w.count(2)(w.runner.Drop(t.Context(), all[0].ID, false))
		w.count(2)(w.runner.Drop(t.Context(), all[1].ID, true))
		w.wait(2 * time.Second)
		w.empty()
		w.says(w.one(), "Action: failed", "Status: 5.7.1", "a@clinique.test", "!never@")
	})
}

func TestOperatorsAndMessagesThatAreGone(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.run()
		for name, f := range map[string]func() (int, error){
			"retry":   func() (int, error) { return w.runner.Retry(t.Context(), 7) },
			"hold":    func() (int, error) { return w.runner.Hold(t.Context(), 7) },
			"release": func() (int, error) { return w.runner.Release(t.Context(), 7) },
			"drop":    func() (int, error) { return w.runner.Drop(t.Context(), 7, true) },
		} {
			if n, err := f(); n != 0 || !errors.Is(err, storage.ErrNoQueued) {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
	})
}
