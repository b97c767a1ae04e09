package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/queue"
	"telesphore/storage"
)

// What is put in while Run runs, and what was there before, leaves at once, in one transfer for each
// domain.
func TestLeavesAtOnce(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", func(_ context.Context, x *backend.Transfer) []backend.Outcome {
			if octets, err := read(x); err != nil || octets != letter || x.Size != int64(len(letter)) {
				w.Errorf("the peer reads %q, %v; %d octets were told", octets, err, x.Size)
			}
			return each(x, relayed)
		})
		before := w.mail("a@clinique.test", "b@labo.test", "c@clinique.test")
		before.EnvelopeID, before.Return, before.RequireTLS, before.UTF8 = "env 1", "HDRS", true, true
		before.Rcpts[2].Notify, before.Rcpts[2].OriginalType, before.Rcpts[2].Original = storage.NotifyNever, "rfc822", "d@x.test"
		w.accept(before)
		w.run()
		w.wait(0)
		w.accept(w.mail("e@clinique.test"))
		w.wait(0)
		clinique := w.tries("clinique.test")
		if len(clinique) != 2 || len(clinique[0].Rcpts) != 2 || len(clinique[1].Rcpts) != 1 || len(w.tries("labo.test")) != 1 {
			t.Fatalf("attempts %v", w.attempts)
		}
		x := clinique[0]
		if x.at != 0 || x.From != medecin || x.EnvelopeID != "env 1" || x.Return != "HDRS" || !x.RequireTLS || !x.UTF8 || x.Name != before.Name ||
			x.Rcpts[0].Address != "a@clinique.test" || x.Rcpts[1] != before.Rcpts[2] {
			t.Errorf("transfer %+v", x.Transfer)
		}
		w.empty()
		if got := w.inbox(); len(got) > 0 {
			t.Errorf("notices: %s", got)
		}
	})
}

// The time between two attempts doubles, give or take a fifth; the sender is warned once; at the end
// the message is given up.
func TestRetriesUntilItExpires(t *testing.T) {
	limits := queue.Limits{First: 5 * time.Minute, Longest: time.Hour, Lifetime: 12 * time.Hour, Warn: 4 * time.Hour}
	bubble(t, limits, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(4*time.Hour - time.Minute)
		if got := w.inbox(); len(got) > 0 {
			t.Fatalf("too soon: %s", got)
		}
		w.wait(2 * time.Minute)
		w.says(w.one(), "Subject: Your message is not delivered yet", "Action: delayed", "Status: 4.2.1", "450 4.2.1 later", "!Le corps")
		w.wait(8*time.Hour - 2*time.Minute)
		if len(w.inbox()) != 1 {
			t.Fatalf("%d notices before the end", len(w.inbox()))
		}
		w.wait(2 * time.Minute)
		notices := w.inbox()
		if len(notices) != 2 {
			t.Fatalf("%d notices at the end", len(notices))
		}
		w.says(notices[1], "Action: failed", "Status: 4.2.1", "a@clinique.test")
		w.empty()

		tries := w.tries("clinique.test")
		want := 5 * time.Minute
		for i := 1; i < len(tries); i++ {
			// The store keeps whole seconds.
			if gap := tries[i].at - tries[i-1].at; gap < want*8/10-time.Second || gap > want*12/10 {
				t.Errorf("%s before attempt %d, want %s", gap, i+1, want)
			}
			want = min(2*want, time.Hour)
		}
		if n := len(tries); n < 12 || n > 18 {
			t.Errorf("%d attempts in 12 hours", n)
		}
		if s := w.logged(); strings.Count(s, "msg=queue.deferred") != len(tries) || strings.Count(s, "msg=queue.expired") != 1 {
			t.Errorf("log:\n%s", s)
		}
	})
}

// A code is of no use when it is over: it goes nowhere then, and nobody is told.
func TestCodesExpireSilently(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("ferme.test", always(busy))
		w.accept(&backend.Envelope{
			Octets: []byte(letter), Priority: storage.Urgent, Lifetime: 10 * time.Minute, Rcpts: []backend.Rcpt{{Address: "medecin@ferme.test"}},
		})
		w.run()
		w.wait(time.Minute)
		if n := len(w.tries("ferme.test")); n < 3 {
			t.Errorf("%d attempts in the first minute", n)
		}
		w.wait(10 * time.Minute)
		n := len(w.tries("ferme.test"))
		w.empty()
		w.wait(time.Hour)
		if again := len(w.tries("ferme.test")); again != n || len(w.inbox()) > 0 {
			t.Errorf("%d attempts after the end, %d notices", again-n, len(w.inbox()))
		}
	})
}

// A message waits for its date, and is late from that date on only.
func TestFutureRelease(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		e := w.mail("a@clinique.test")
		e.HoldUntil = time.Now().Add(7 * time.Hour)
		w.accept(e)
		w.peer("clinique.test", always(busy))
		w.run()
		w.wait(7*time.Hour - time.Minute)
		if n := len(w.tries("clinique.test")); n > 0 {
			t.Fatalf("%d attempts before its date", n)
		}
		w.wait(2 * time.Minute)
		if n := len(w.tries("clinique.test")); n != 1 {
			t.Fatalf("%d attempts at its date, want 1", n)
		}
		w.wait(3 * time.Hour)
		if n := len(w.inbox()); n > 0 {
			t.Fatalf("%d warnings, want none yet", n)
		}
		w.wait(time.Hour)
		w.says(w.one(), "Action: delayed")
	})
}

// Whom NOTIFY excludes is not in the warning.
func TestWarningNamesWhoAskedForIt(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		e := w.mail("default@clinique.test", "delay@clinique.test", "failure@clinique.test", "never@clinique.test")
		e.Rcpts[1].Notify, e.Rcpts[2].Notify, e.Rcpts[3].Notify = storage.NotifyDelay, storage.NotifyFailure, storage.NotifyNever
		w.accept(e)
		quiet := w.mail("other@clinique.test")
		quiet.Rcpts[0].Notify = storage.NotifyFailure
		w.accept(quiet)
		w.run()
		w.wait(5 * time.Hour)
		w.says(w.one(), "default@clinique.test", "delay@clinique.test", "!failure@", "!never@", "!other@")
		w.wait(5 * time.Hour)
		w.one()
	})
}

// A destination that cannot be reached is asked now and then, whatever number of messages wait
// for it; the others do not notice.
func TestDeadDomainDoesNotHoldOthersUp(t *testing.T) {
	t.Run("no server", func(t *testing.T) { testDeadDomain(t, dead) })
	t.Run("another certificate", func(t *testing.T) { testDeadDomain(t, impostor) })
}

func testDeadDomain(t *testing.T, dead backend.Outcome) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("labo.test", always(dead))
		const each = 500
		for range each {
			w.accept(w.mail("a@labo.test"))
			w.accept(w.mail("a@clinique.test"))
		}
		w.run()
		w.wait(time.Minute)
		if n := len(w.tries("clinique.test")); n != each {
			t.Errorf("%d of %d messages reached the living domain", n, each)
		}
		if n := len(w.tries("labo.test")); n < 1 || n > 4 {
			t.Errorf("%d attempts at the dead domain at once", n)
		}
		if _, until := w.runner.Away("labo.test"); until.Sub(w.begin) > 6*time.Minute {
			t.Errorf("attempts that failed together make the others wait for %s", until.Sub(w.begin))
		}
		w.wait(59 * time.Minute)
		if n := len(w.tries("labo.test")); n < 3 || n > 9 {
			t.Errorf("%d attempts at the dead domain within an hour", n)
		}
		if last, until := w.runner.Away("labo.test"); last.Status != dead.Status || !until.After(time.Now()) {
			t.Errorf("away: %+v until %s", last, until)
		}
		w.peer("labo.test", nil)
		w.wait(2 * time.Hour)
		w.empty()
		if last, until := w.runner.Away("labo.test"); last.Status != "" || !until.IsZero() {
			t.Errorf("still away: %+v until %s", last, until)
		}
	})
}

// A message is told late, and given up, with the reason that the destination has, also when others were tried in its
// place.
func TestNeverTriedItself(t *testing.T) {
	limits := queue.Limits{Lifetime: 6 * time.Hour}
	bubble(t, limits, func(t *testing.T, w *world) {
		w.peer("labo.test", always(dead))
		for range 20 {
			w.accept(w.mail("a@labo.test"))
		}
		w.run()
		w.wait(5 * time.Hour)
		if n := len(w.inbox()); n != 20 {
			t.Errorf("%d warnings, want 20", n)
		}
		w.wait(time.Hour + time.Minute)
		notices := w.inbox()
		if len(notices) != 40 {
			t.Fatalf("%d notices, want 40", len(notices))
		}
		for _, n := range notices {
			w.says(n, "Status: 4.4.1")
		}
		w.empty()
	})
}
