package queue_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/queue"
	"telesphore/storage"
	"telesphore/storage/storagetest"
)

// What an operator asks for during an attempt that then fails holds nobody back: it waits like others.
func TestRetryDuringAnAttemptHoldsNobodyBack(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		answer := make(chan struct{})
		w.peer("clinique.test", func(_ context.Context, x *backend.Transfer) []backend.Outcome {
			<-answer
			return each(x, busy)
		})
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(time.Second)
		w.count(1)(w.runner.Retry(t.Context(), w.only().ID))
		close(answer)
		w.wait(time.Second)
		w.peer("clinique.test", nil)
		w.accept(w.mail("b@clinique.test"))
		w.wait(time.Second)
		if q := w.only(); q.Deliveries[0].Address != "a@clinique.test" || len(w.tries("clinique.test")) != 2 {
			t.Errorf("%d attempts, left: %+v", len(w.tries("clinique.test")), q)
		}
		w.wait(10 * time.Minute)
		w.empty()
	})
}

// A message at which something panics is tried again like others, keeps nothing from others and does not
// end the server.
func TestPanicConcernsOneMessage(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", func(context.Context, *backend.Transfer) []backend.Outcome { panic("of medecin@hopital.test") })
		w.accept(w.mail("a@clinique.test"))
		w.accept(w.mail("a@labo.test"))
		w.run()
		w.wait(time.Minute)
		if q := w.only(); len(w.attempts) != 2 || q.Deliveries[0].Attempts != 1 || q.Deliveries[0].Last.Status != "4.3.0" {
			t.Errorf("%d attempts, left: %+v", len(w.attempts), q)
		}
		if s := w.logged(); strings.Count(s, "panic in the queue") != 1+1 { // and as the cause
			t.Errorf("log:\n%s", s)
		}
		w.peer("clinique.test", nil)
		w.wait(10 * time.Minute)
		w.empty()
	})
}

// damageBodies makes what the log holds unreadable.
func (w *world) damageBodies() {
	w.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "bodies", "*.seg"))
	if err != nil || len(files) == 0 {
		w.Fatalf("segments %q, %v", files, err)
	}
	for _, name := range files {
		octets, err := os.ReadFile(name)
		if err != nil {
			w.Fatal(err)
		}
		for i := range octets {
			octets[i] ^= 0xff
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			w.Fatal(err)
		}
		if _, err := f.Write(octets); err != nil {
			w.Fatal(err)
		}
		if err := f.Close(); err != nil {
			w.Fatal(err)
		}
	}
}

// Nobody can read the message any more: its sender hears so.
func TestSenderOfADamagedMessageIsTold(t *testing.T) {
	bubble(t, queue.Limits{Lifetime: time.Hour}, func(t *testing.T, w *world) {
		w.peer("clinique.test", func(_ context.Context, x *backend.Transfer) []backend.Outcome {
			if _, err := read(x); err != nil {
				return each(x, backend.Outcome{Result: storage.Result{Action: storage.Delayed, Status: "4.3.0"}})
			}
			return each(x, relayed)
		})
		e := w.mail("a@clinique.test")
		e.Return = "FULL"
		w.accept(e)
		w.damageBodies()
		w.run()
		w.wait(2 * time.Hour)
		w.says(w.one(), "Action: failed", "a@clinique.test", "Status: 4.3.0")
		w.empty()
		if s := w.logged(); !strings.Contains(s, "queue.unreadable") {
			t.Errorf("log:\n%s", s)
		}
		w.log.Reset() // the trouble in it was meant
	})
}

// A message of the queue that cannot be read hides no other, and can be taken out.
func TestDamagedMessageIsDropped(t *testing.T) {
	for _, table := range []byte("AB") {
		bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
			w.accept(w.mail("a@clinique.test", "b@labo.test"))
			damaged := w.only().ID
			w.stop()
			w.disk.Close(t)
			storagetest.Damage(t, w.dir, table)
			w.open(queue.Limits{})
			w.accept(w.mail("c@clinique.test"))
			w.accept(w.mail("d@clinique.test"))
			held := w.idOf("d@clinique.test")
			w.count(1)(w.runner.Hold(t.Context(), held))
			w.run()
			w.wait(10 * time.Minute)
			if n := len(w.attempts); n != 1 {
				t.Errorf("table %c: %d attempts, want 1", table, n)
			}
			w.peer("clinique.test", always(busy))
			w.count(1)(w.runner.Release(t.Context(), held))
			w.wait(time.Second)
			w.count(1)(w.runner.RetryDomain(t.Context(), "clinique.test"))
			if s := w.logged(); strings.Count(s, "queue.unreadable") != 1 {
				t.Errorf("table %c: it is not said once:\n%s", table, s)
			}
			w.count(2)(w.runner.Drop(t.Context(), damaged, true))
			w.wait(time.Second)
			if q := w.only(); q.ID != held {
				t.Errorf("left: %+v", q)
			}
			w.log.Reset()
		})
	}
}

// What became of a message cannot be written down: it leaves all the same, once.
func TestDamagedTraceStopsNoMail(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.accept(w.mail("bad@clinique.test", "a@clinique.test"))
		w.disk.Close(t)
		storagetest.Damage(t, w.dir, 'y')
		w.open(queue.Limits{})
		w.peer("clinique.test", byName)
		w.run()
		w.wait(time.Minute)
		w.empty()
		if n := len(w.tries("clinique.test")); n != 1 {
			t.Errorf("%d attempts", n)
		}
		w.says(w.one(), "Action: failed", "bad@clinique.test")
	})
}

// idOf is the message for a recipient, whatever else is in the queue.
func (w *world) idOf(address string) (found storage.QueueID) {
	w.Helper()
	_ = w.disk.View(w.T.Context(), func(tx *storage.Tx) error {
		return tx.Queue(0, func(q *storage.Queued) bool {
			for _, d := range q.Deliveries {
				if d.Address == address {
					found = q.ID
				}
			}
			return true
		})
	}) // there may be damage
	if found == 0 {
		w.Fatalf("nothing for %s", address)
	}
	return found
}

// A notice says when a message was tried last, not when it was given up, nor when another one was; and what
// was said of one message is not told to the sender of another.
func TestNoticeOfWhatWasGivenUp(t *testing.T) {
	bubble(t, queue.Limits{Lifetime: 3 * time.Hour, First: 2 * time.Hour, Longest: 2 * time.Hour}, func(t *testing.T, w *world) {
		secret := dead
		secret.Diagnostic = "451 4.4.1 no way to patient@clinique.test"
		w.peer("clinique.test", always(secret))
		first := w.mail("a@clinique.test")
		first.Rcpts[0].Notify = storage.NotifyNever
		w.accept(first)
		w.run()
		w.wait(time.Minute)
		w.peer("clinique.test", newGate(w).send) // from now on nothing is known
		second := w.mail("b@clinique.test")
		second.Lifetime = time.Hour
		w.accept(second)
		w.wait(65 * time.Minute)
		notice := w.one()
		w.says(notice, "Action: failed", "b@clinique.test", "Status: 4.4.1", "!Last-Attempt-Date", "!patient")
		if n := len(w.tries("clinique.test")); n != 1 {
			t.Errorf("%d attempts", n)
		}
		w.peer("labo.test", always(busy))
		third := w.mail("c@labo.test")
		third.Lifetime = time.Hour
		w.accept(third)
		tried := time.Now()
		w.wait(2 * time.Hour)
		w.says(w.inbox()[1], "Action: failed", "Last-Attempt-Date: "+tried.Format(time.RFC1123Z))
	})
}

// The clock was a year ahead, and is right again: nothing waits for a year.
func TestClockThatWentBack(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		ahead := time.Now().Add(365 * 24 * time.Hour)
		put := func(name string, arrived time.Time, d storage.Delivery) {
			c, err := w.disk.Seal([]byte(letter), nil)
			if err != nil {
				t.Fatal(err)
			}
			q := &storage.Queued{
				Name: name, From: medecin, Account: w.sender, Arrived: arrived, Expires: arrived.Add(5 * 24 * time.Hour), Deliveries: []storage.Delivery{d},
			}
			if _, err := w.disk.Accept(t.Context(), c, &storage.Acceptance{Queue: q}); err != nil {
				t.Fatal(err)
			}
		}
		put("ARRIVED", ahead, storage.Delivery{Address: "new@clinique.test", Next: ahead})
		put("TRIED", time.Now(), storage.Delivery{
			Address: "tried@clinique.test", Next: ahead, Attempts: 1, Last: storage.Result{Action: storage.Delayed, Time: ahead.Add(-time.Hour)},
		})
		put("FAILED", ahead, storage.Delivery{
			Address: "bad@clinique.test", State: storage.Finished, Last: storage.Result{Action: storage.Failed, Status: "5.1.1", Time: ahead},
		})
		w.run()
		w.wait(2 * time.Second)
		if n := len(w.tries("clinique.test")); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
		w.says(w.one(), "Action: failed", "bad@clinique.test")
		w.empty()
	})
}

// The date that a sender has set stays, however short the message's life is after it, and although one
// recipient here had no room when it came.
func TestFutureReleaseIsNoWrongClock(t *testing.T) {
	bubble(t, queue.Limits{Lifetime: 10 * 24 * time.Hour}, func(t *testing.T, w *world) {
		w.account("plein@hopital.test")
		w.quota(1, queue.Limits{Lifetime: 10 * 24 * time.Hour})
		e := w.mail("a@clinique.test", "plein@hopital.test")
		e.HoldUntil, e.Lifetime = time.Now().Add(72*time.Hour), time.Hour
		w.accept(e)
		w.run()
		w.wait(71 * time.Hour)
		if q := w.only(); len(w.tries("clinique.test")) > 0 || len(q.Deliveries) != 2 || q.Deliveries[1].Attempts != 1 {
			t.Errorf("%d attempts before the date, left %+v", len(w.tries("clinique.test")), q)
		}
		w.wait(90 * time.Minute)
		if n := len(w.tries("clinique.test")); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// However many domains are away, the others get their places.
func TestDomainsThatAreAwayLeavePlaces(t *testing.T) {
	bubble(t, queue.Limits{Attempts: 10, Attempt: time.Hour}, func(t *testing.T, w *world) {
		var names []string
		stuck := newGate(w)
		for i := range 40 {
			domain := fmt.Sprintf("mort%d.test", i)
			names = append(names, "a@"+domain)
			w.router.Outside = append(w.router.Outside, domain)
			w.peer(domain, always(dead))
		}
		w.accept(w.mail(names...))
		w.run()
		w.wait(time.Minute)
		for i := range 40 {
			w.peer(fmt.Sprintf("mort%d.test", i), stuck.send)
		}
		w.wait(20 * time.Minute) // all are due again, and do not answer
		if running, _ := stuck.counts(); running != 5 {
			t.Errorf("%d attempts at domains that are away, want 5", running)
		}
		w.accept(w.mail("a@labo.test"))
		w.wait(time.Second)
		if n := len(w.tries("labo.test")); n != 1 {
			t.Errorf("%d attempts at the domain that is there", n)
		}
		close(stuck.open)
	})
}

// A notice that cannot be written is not tried for ever.
func TestNoticeThatCannotBeWritten(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.runner.Hostname = "no host name"
		w.peer("clinique.test", always(refused))
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(time.Minute)
		w.empty()
		if s := w.logged(); !strings.Contains(s, `msg="queue.notice lost"`) {
			t.Errorf("log:\n%s", s)
		}
	})
}

// A server without domains, which only passes mail on, tells senders all the same.
func TestNoticeOfAServerWithoutDomains(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.router.Domains = nil
		w.peer("clinique.test", always(refused))
		w.accept(&backend.Envelope{
			From: "chef@labo.test", Origin: "labo.test", Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "a@clinique.test"}},
		})
		var notice string
		w.peer("labo.test", func(_ context.Context, x *backend.Transfer) []backend.Outcome {
			notice, _ = read(x)
			return each(x, relayed)
		})
		w.run()
		w.wait(time.Minute)
		w.says(notice, "<postmaster@mail.hopital.test>", "Action: failed")
		w.empty()
	})
}

// A trace tells that a message which was held goes on.
func TestTraceOfARelease(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		e := w.mail("a@clinique.test")
		w.accept(e)
		id := w.only().ID
		for _, step := range []struct {
			do   func(context.Context, storage.QueueID) (int, error)
			want storage.Stage
		}{{w.runner.Hold, storage.OnHold}, {w.runner.Release, storage.InQueue}, {w.runner.Hold, storage.OnHold}} {
			w.count(1)(step.do(t.Context(), id))
			err := w.disk.View(t.Context(), func(tx *storage.Tx) error {
				trace, err := tx.TraceByName(w.sender, e.Name)
				if err == nil && trace.Recipients[0].Stage() != step.want {
					t.Errorf("stage %d, want %d", trace.Recipients[0].Stage(), step.want)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// member is a white list that has a domain.
type member string

func (member) Akin(string) bool              { return false }
func (member) Known() bool                   { return true }
func (m member) Has(domain string) bool      { return domain == string(m) }
func (member) Left(string) (time.Time, bool) { return time.Time{}, false }

// What was accepted for the trust space stays so, when nobody remembers that the domain was there.
func TestAcceptedForTheTrustSpace(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.router.WhiteList = member("clinique.test")
		w.accept(w.mail("a@clinique.test", "a@labo.test"))
		w.reopen(queue.Limits{})
		w.router.WhiteList, w.router.Outside = member("lilas.test"), []string{"*"}
		w.accept(w.mail("new@clinique.test"))
		w.run()
		w.wait(time.Second)
		for _, a := range w.attempts {
			if old := a.Rcpts[0].Address == "a@clinique.test"; len(w.attempts) != 3 || a.Trusted != old {
				t.Errorf("%s of %d attempts: trusted %t", a.Rcpts[0].Address, len(w.attempts), a.Trusted)
			}
		}
	})
}

// Others have notices sent to servers of theirs that stall: codes still go out.
func TestNoticesLeaveThePlaceOfCodes(t *testing.T) {
	bubble(t, queue.Limits{Attempts: 4, PerDomain: 2}, func(t *testing.T, w *world) {
		stuck := newGate(w)
		for i := range 10 {
			domain := fmt.Sprintf("piege%d.test", i)
			w.router.Outside = append(w.router.Outside, domain)
			w.peer(domain, stuck.send)
			w.accept(&backend.Envelope{
				From: "x@" + domain, Origin: domain, Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: medecin, Notify: storage.NotifySuccess}},
			})
		}
		w.run()
		w.wait(time.Minute)
		if running, _ := stuck.counts(); running != 3 {
			t.Errorf("%d notices are on their way, want 3", running)
		}
		code := &backend.Envelope{Priority: storage.Urgent, Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "a@labo.test"}}}
		w.accept(code)
		w.wait(time.Second)
		if n := len(w.tries("labo.test")); n != 1 {
			t.Errorf("%d attempts for the code", n)
		}
		close(stuck.open)
		w.wait(time.Second)
		w.empty()
	})
}
