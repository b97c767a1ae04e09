package queue_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/backend"
	"telesphore/backend/queue"
	"telesphore/storage"
)

// gate is a peer that answers when it is told to.
type gate struct {
	world   *world
	running int // guarded by world.mu
	most    int // guarded by world.mu
	open    chan struct{}
}

func newGate(w *world) *gate { return &gate{world: w, open: make(chan struct{})} }

func (g *gate) send(ctx context.Context, t *backend.Transfer) []backend.Outcome {
	g.add(+1)
	defer g.add(-1)
	select {
	case <-g.open:
		return each(t, relayed)
	case <-ctx.Done():
		return each(t, backend.Outcome{Result: storage.Result{Action: storage.Delayed, Status: "4.4.2"}, Cause: ctx.Err()})
	}
}

func (g *gate) add(n int) {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	g.running += n
	g.most = max(g.most, g.running)
}

func (g *gate) counts() (running, most int) {
	g.world.mu.Lock()
	defer g.world.mu.Unlock()
	return g.running, g.most
}

// However slow a domain is, it takes only its places, and others get theirs.
func TestSlowDomain(t *testing.T) {
	bubble(t, queue.Limits{PerDomain: 3, Attempts: 20}, func(t *testing.T, w *world) {
		slow := newGate(w)
		w.peer("clinique.test", slow.send)
		for range 30 {
			w.accept(w.mail("a@clinique.test"))
		}
		w.run()
		w.wait(time.Second)
		for range 10 {
			w.accept(w.mail("a@labo.test"))
		}
		w.wait(time.Second)
		if n := len(w.tries("labo.test")); n != 10 {
			t.Errorf("%d of 10 messages passed the slow domain", n)
		}
		if running, most := slow.counts(); running != 3 || most != 3 {
			t.Errorf("%d attempts at the slow domain, at most %d", running, most)
		}
		close(slow.open)
		w.wait(time.Second)
		if _, most := slow.counts(); most != 3 {
			t.Errorf("%d attempts at once", most)
		}
		w.empty()
	})
}

// Urgent mail passes by what waits: one of all attempts is kept for it, and one more at its
// domain.
func TestUrgentMailGoesFirst(t *testing.T) {
	bubble(t, queue.Limits{PerDomain: 2, Attempts: 3}, func(t *testing.T, w *world) {
		slow := newGate(w)
		w.peer("clinique.test", slow.send)
		w.peer("labo.test", slow.send)
		for range 5 {
			w.accept(w.mail("a@clinique.test"))
			w.accept(w.mail("a@labo.test"))
		}
		w.run()
		w.wait(time.Second)
		if n := len(w.attempts); n != 2 {
			t.Errorf("%d attempts of normal mail, want 2 of 3", n)
		}
		urgent := w.mail("urgent@clinique.test")
		urgent.Priority = storage.Urgent
		w.accept(urgent)
		w.wait(time.Second)
		if n := len(w.attempts); n != 3 || w.attempts[2].Rcpts[0].Address != "urgent@clinique.test" {
			t.Errorf("%d attempts; urgent mail waits", n)
		}
		close(slow.open)
		w.wait(time.Second)
		w.empty()
	})
}

// What is due together, urgent mail before all, leaves in the order in which it is due.
func TestOrder(t *testing.T) {
	bubble(t, queue.Limits{PerDomain: 1, Attempts: 1}, func(t *testing.T, w *world) {
		for i := range 10 {
			e := w.mail(fmt.Sprintf("n%d@clinique.test", i))
			if i >= 5 {
				e.Priority, e.Rcpts[0].Address = storage.Urgent, fmt.Sprintf("u%d@clinique.test", i)
			}
			w.accept(e)
			w.wait(2 * time.Second)
		}
		w.run()
		w.wait(time.Second)
		var order []string
		for _, a := range w.attempts {
			order = append(order, strings.TrimSuffix(a.Rcpts[0].Address, "@clinique.test"))
		}
		if got := strings.Join(order, " "); got != "u5 u6 u7 u8 u9 n0 n1 n2 n3 n4" {
			t.Errorf("order %s", got)
		}
	})
}

// A transfer has no more recipients than it may have; those left go right behind.
func TestManyRecipients(t *testing.T) {
	bubble(t, queue.Limits{Recipients: 40}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		w.accept(w.mail(numbered(100, "clinique.test")...))
		w.run()
		for round := range 2 {
			w.wait(time.Second)
			var sizes []int
			seen := map[string]bool{}
			for _, a := range w.attempts {
				sizes = append(sizes, len(a.Rcpts))
				for _, r := range a.Rcpts {
					seen[r.Address] = true
				}
			}
			if fmt.Sprint(sizes) != "[40 40 20]" || len(seen) != 100 {
				t.Errorf("transfers of %d recipients, %d in all", sizes, len(seen))
			}
			if round == 0 {
				w.peer("clinique.test", nil)
				w.attempts = nil
				w.count(100)(w.runner.Retry(t.Context(), w.only().ID))
			}
		}
		w.empty()
	})
}

// A restart loses nothing, repeats nothing that was written down, and keeps the times.
func TestRestart(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", byName)
		w.accept(w.mail("good@clinique.test", "late@clinique.test", "bad@clinique.test"))
		w.run()
		w.wait(0) // before the notice
		w.reopen(queue.Limits{})
		w.run()
		w.wait(3 * time.Minute)
		w.says(w.one(), "Action: failed", "bad@clinique.test", "!late@", "!good@")
		if n := len(w.tries("clinique.test")); n != 1 {
			t.Fatalf("%d attempts before the second one is due", n)
		}
		w.peer("clinique.test", nil)
		w.wait(4 * time.Minute)
		tries := w.tries("clinique.test")
		if len(tries) != 2 || len(tries[1].Rcpts) != 1 || tries[1].Rcpts[0].Address != "late@clinique.test" {
			t.Fatalf("attempts %v", tries)
		}
		w.empty()
		w.one()
	})
}

// The end of Run waits for attempts under way, for a while: what came of them is written down. One that
// was cut short does not count.
func TestStop(t *testing.T) {
	bubble(t, queue.Limits{Grace: 5 * time.Second}, func(t *testing.T, w *world) {
		quick, stuck := newGate(w), newGate(w)
		w.peer("labo.test", quick.send)
		w.peer("clinique.test", stuck.send)
		w.accept(w.mail("a@labo.test", "a@clinique.test"))
		w.run()
		w.wait(time.Second)
		w.cancel()
		synctest.Wait()
		w.accept(w.mail("b@labo.test")) // too late for this Run
		close(quick.open)
		before := w.since()
		<-w.ended
		if took := w.since() - before; took != 5*time.Second {
			t.Errorf("the end took %s", took)
		}
		for _, q := range w.queued() {
			if d := q.Deliveries[0]; len(q.Deliveries) != 1 || d.Attempts != 0 || d.Next.After(time.Now()) {
				t.Errorf("left: %+v", q)
			}
		}
		close(stuck.open)
		w.reopen(queue.Limits{})
		w.run()
		w.wait(time.Second)
		w.empty()
		if n, m := len(w.tries("labo.test")), len(w.tries("clinique.test")); n != 2 || m != 2 {
			t.Errorf("attempts %d and %d, want 2 and 2", n, m)
		}
	})
}

// An attempt ends in time, whatever its peer does.
func TestAttemptTakesTooLong(t *testing.T) {
	bubble(t, queue.Limits{Attempt: 10 * time.Minute}, func(t *testing.T, w *world) {
		w.peer("clinique.test", newGate(w).send)
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(11 * time.Minute)
		if q := w.only(); q.Deliveries[0].Attempts != 1 || q.Deliveries[0].Last.Status != "4.4.2" {
			t.Errorf("delivery %+v", q.Deliveries[0])
		}
	})
}

// A message whose time ends during an attempt is not given up before its peer has answered.
func TestExpiresDuringAnAttempt(t *testing.T) {
	bubble(t, queue.Limits{Lifetime: time.Hour, Attempt: 3 * time.Hour}, func(t *testing.T, w *world) {
		slow := newGate(w)
		w.peer("clinique.test", slow.send)
		w.accept(w.mail("a@clinique.test", "b@labo.test"))
		w.peer("labo.test", always(busy))
		w.run()
		w.wait(2 * time.Hour)
		w.says(w.one(), "Action: failed", "b@labo.test", "!clinique")
		close(slow.open)
		w.wait(time.Minute)
		w.empty()
		w.one()
	})
}

// A peer that does not say what became of each recipient has delivered to none of them, as far
// as anybody knows.
func TestOutcomesThatAreMissing(t *testing.T) {
	for _, outcomes := range [][]backend.Outcome{nil, {relayed}, {relayed, {}}} {
		bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
			w.peer("clinique.test", func(context.Context, *backend.Transfer) []backend.Outcome { return outcomes })
			w.accept(w.mail("a@clinique.test", "b@clinique.test"))
			w.run()
			w.wait(time.Minute)
			if q := w.only(); len(q.Deliveries) != 2 || q.Deliveries[0].Last.Action != storage.Delayed || len(w.attempts) != 1 {
				t.Errorf("%d attempts, left: %+v", len(w.attempts), q)
			}
			if s := w.logged(); !strings.Contains(s, "queue.trouble") {
				t.Errorf("log:\n%s", s)
			}
			w.log.Reset()
		})
	}
}

// An ID is given out before the message is on disk, so a lower one may come later.
func TestLowerIDComesLater(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		early, err := w.disk.Seal([]byte(letter), nil)
		if err != nil {
			t.Fatal(err)
		}
		w.run()
		w.accept(w.mail("late@clinique.test"))
		w.wait(time.Second)
		now := time.Now()
		q := &storage.Queued{
			Name: "EARLY", From: medecin, Arrived: now, Expires: now.Add(time.Hour),
			Deliveries: []storage.Delivery{{Address: "early@clinique.test", Next: now}},
		}
		if _, err := w.disk.Accept(t.Context(), early, &storage.Acceptance{Queue: q}); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Second)
		if n := len(w.tries("clinique.test")); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
		w.empty()
	})
}
