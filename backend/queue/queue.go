// Package queue carries the messages of the store's queue to where they go.
//
// The store says what is left to do, so a crash loses nothing: see storage.Queued. The
// [Runner] keeps a schedule of it in memory, hands each message to Send for all its recipients at one
// domain, and writes down what became of them before it tries any of them again. Whoever sent it is
// told by a notice (package report), which is a message like others.
//
// A message stands in the schedule once for each domain that it waits for (schedule.go), and once more when
// there is something to be done about the message itself: to warn, to give up, to send notices (care.go).
package queue

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// Limits are how long, how often and how many. A zero field means the default it names.
type Limits struct {
	First      time.Duration // before the second attempt; default 5 minutes
	FirstShort time.Duration // the same for urgent mail: a code is soon over; default 15 seconds
	Longest    time.Duration // between two attempts: each waits twice as long as the one before, give or take a fifth; default 4 hours
	Lifetime   time.Duration // then what is left is given up; default 5 days (RFC 5321 section 4.5.4.1)
	Warn       time.Duration // then the sender is told that it takes long; default 4 hours
	Attempts   int           // at once, to all domains, the last place kept for urgent mail; default 50
	PerDomain  int           // at once, to one domain; urgent mail may have one more; default 4
	Attempt    time.Duration // for one attempt; default 1 hour
	Recipients int           // of one transfer; default 100 (what every server takes: RFC 5321 section 4.5.3.1.8)
	Gather     time.Duration // before a notice, so that what else becomes of the message stands in it too; default 1 second
	Return     int64         // octets of a message that a notice gives back whole; of a longer one it is the header; default 1 MiB
	Grace      time.Duration // for attempts under way when Run is to end; default 5 seconds
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		First: cmp.Or(l.First, 5*time.Minute), FirstShort: cmp.Or(l.FirstShort, 15*time.Second), Longest: cmp.Or(l.Longest, 4*time.Hour),
		Lifetime: cmp.Or(l.Lifetime, 5*24*time.Hour), Warn: cmp.Or(l.Warn, 4*time.Hour),
		Attempts: cmp.Or(l.Attempts, 50), PerDomain: cmp.Or(l.PerDomain, 4), Attempt: cmp.Or(l.Attempt, time.Hour),
		Recipients: cmp.Or(l.Recipients, 100), Gather: cmp.Or(l.Gather, time.Second),
		Return: cmp.Or(l.Return, 1<<20), Grace: cmp.Or(l.Grace, 5*time.Second),
	}
}

// Runner works the queue off. Set the exported fields before Run and leave them alone.
type Runner struct {
	Store    *storage.Store
	Router   *backend.Router                                            // files notices, and what is for accounts of ours
	Send     func(context.Context, *backend.Transfer) []backend.Outcome // one for each recipient, in their order
	Hostname string
	Language string // of notices: "en" (default) or "fr"
	Limits   Limits
	Logger   *slog.Logger // default slog.Default()

	once    sync.Once
	limits  Limits
	logger  *slog.Logger
	changed chan struct{} // the schedule has something new

	mu       sync.Mutex // guards schedule; never held while the store is asked
	schedule schedule
}

func (r *Runner) start() {
	r.once.Do(func() {
		r.limits, r.logger = r.Limits.withDefaults(), cmp.Or(r.Logger, slog.Default())
		r.changed = make(chan struct{}, 1)
		r.schedule = newSchedule(r.limits)
	})
}

const (
	// reconcile is how often all of the store's queue is compared with the schedule.
	reconcile = time.Minute
	// late is how many IDs may have been given out between a message and one that gets
	// into the queue before it: an ID is given before the commit. One that is later
	// still, reconcile finds.
	late = 1024
	// page is how many messages are read from the store at once.
	page = 500
	// trouble is the time until something is tried again of which the store said that it
	// cannot be done now.
	trouble = 10 * time.Second
)

// Run delivers until ctx ends; then attempts under way have Limits.Grace to finish. It is called
// once. The store must stay open until it returns.
func (r *Runner) Run(ctx context.Context) {
	r.start()
	wake, stop := r.Store.Watch(storage.Topic{Mailbox: storage.OfQueue})
	defer stop()
	attempts, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var workers sync.WaitGroup
	var last storage.QueueID // that is known
	look, all := true, time.Time{}
	for ctx.Err() == nil {
		if now := time.Now(); !now.Before(all) {
			last, look, all = 0, true, now.Add(reconcile)
		}
		if look {
			found, err := r.scan(ctx, last)
			if err != nil && ctx.Err() == nil {
				r.logger.ErrorContext(ctx, "queue.unreadable", "err", err)
			}
			last, look = max(last, found), false
		}
		wait := time.Until(all)
		for ctx.Err() == nil {
			e, next := r.take()
			if e == nil {
				wait = min(wait, next)
				break
			}
			workers.Go(func() { r.work(attempts, e) })
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-wake:
			look = true
		case <-r.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	timer := time.AfterFunc(r.limits.Grace, cut)
	defer timer.Stop()
	workers.Wait()
}

// take is the schedule's.
func (r *Runner) take() (*entry, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule.take(time.Now())
}

// scan puts into the schedule what the store has behind an ID and somewhat before
// it, and returns the highest ID. What cannot be read is left out.
func (r *Runner) scan(ctx context.Context, behind storage.QueueID) (storage.QueueID, error) {
	behind = max(behind, late) - late
	for {
		var found []*storage.Queued
		var damage error
		seen, last := 0, behind
		err := r.Store.View(ctx, func(tx *storage.Tx) error {
			return tx.QueueIDs(behind, func(id storage.QueueID) bool {
				seen++
				if last = id; !r.known(id) {
					q, err := tx.Queued(id)
					if err != nil {
						q = &storage.Queued{ID: id} // said once; it stays where it is
					}
					found, damage = append(found, q), errors.Join(damage, err)
				}
				return seen < page
			})
		})
		for _, q := range found {
			r.found(q)
		}
		if damage != nil {
			r.logger.ErrorContext(ctx, "queue.unreadable", "err", damage)
		}
		if behind = last; err != nil || seen < page {
			return behind, err
		}
	}
}

// found puts a message into the schedule, unless somebody who knows it better has done so
// meanwhile.
func (r *Runner) found(q *storage.Queued) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.schedule.messages[q.ID] == nil {
		r.schedule.place(r.message(q.ID), r.needs(q), q.Priority, false)
	}
}

func (r *Runner) known(id storage.QueueID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.schedule.messages[id] != nil
}

// place makes the schedule agree with the store, which says q of a message, nil when
// it is gone. force lets what is due there pass by the back-off of its domain.
func (r *Runner) place(id storage.QueueID, q *storage.Queued, force bool) {
	r.mu.Lock()
	if q == nil {
		r.schedule.forget(id)
	} else {
		r.schedule.place(r.message(id), r.needs(q), q.Priority, force)
	}
	r.mu.Unlock()
	r.wake()
}

// wake has Run look at the schedule.
func (r *Runner) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// message finds what is known of a message. The caller holds mu.
func (r *Runner) message(id storage.QueueID) *message {
	m := r.schedule.messages[id]
	if m == nil {
		m = &message{id: id, entries: map[string]*entry{}}
		r.schedule.messages[id] = m
	}
	return m
}

// needs says when something is to be done for a message, by domain; "" stands for
// care.
func (r *Runner) needs(q *storage.Queued) map[string]time.Time {
	due, now := map[string]time.Time{}, time.Now()
	for i := range q.Deliveries {
		d := &q.Deliveries[i]
		if d.State != storage.Waiting {
			continue
		}
		domain, next := r.domain(d), r.next(q, d, now)
		if at, ok := due[domain]; !ok || next.Before(at) {
			due[domain] = next
		}
	}
	if at, ok := r.careAt(q); ok {
		due[""] = at
	}
	return due
}

// next is when a delivery is due. One that came or was put off when the clock was far ahead is due now; the
// date that a sender has set stays.
func (r *Runner) next(q *storage.Queued, d *storage.Delivery, now time.Time) time.Time {
	longest := 2 * r.limits.Longest
	since, ours := q.Arrived, time.Second // the store keeps whole seconds
	if d.Attempts > 0 {
		since, ours = d.Last.Time, longest
	}
	if d.Next.Sub(since) <= ours && d.Next.Sub(now) > longest {
		return now
	}
	return d.Next
}

// domain is where a delivery goes: never "".
func (r *Runner) domain(d *storage.Delivery) string {
	a, err := backend.ParseAddress(d.Address)
	switch {
	case err != nil:
		return "invalid" // the top-level domain that never is (RFC 6761 section 6.4)
	case a.Domain == "" && len(r.Router.Domains) > 0:
		a.Domain, _ = backend.ParseDomain(r.Router.Domains[0])
	}
	return cmp.Or(a.Domain, "invalid")
}

// lock reserves a message: who holds it is the only one who changes it in the store, or who
// decides from what the store says to begin something.
func (r *Runner) lock(id storage.QueueID) *message {
	r.start()
	r.mu.Lock()
	m := r.message(id)
	r.mu.Unlock()
	m.mu.Lock()
	return m
}

// read returns a message of the queue, nil when it is gone.
func (r *Runner) read(ctx context.Context, id storage.QueueID) (q *storage.Queued, err error) {
	err = r.Store.View(ctx, func(tx *storage.Tx) error {
		q, err = tx.Queued(id)
		return err
	})
	if errors.Is(err, storage.ErrNoQueued) {
		return nil, nil
	}
	return q, err
}

// edit is what is to change of a message: its deliveries, and the steps of its trace by address.
type edit struct {
	changes []storage.DeliveryChange
	steps   map[string]storage.Step
}

// put has a delivery be what d says.
func (e *edit) put(q *storage.Queued, d storage.Delivery) {
	e.changes = append(e.changes, storage.DeliveryChange{Queue: q.ID, Delivery: d})
}

// remove takes a delivery out of the queue.
func (e *edit) remove(q *storage.Queued, d *storage.Delivery) {
	e.changes = append(e.changes, storage.DeliveryChange{Queue: q.ID, Delivery: storage.Delivery{Number: d.Number}, Remove: true})
}

func (e *edit) step(d *storage.Delivery, s storage.Step) {
	if e.steps == nil {
		e.steps = map[string]storage.Step{}
	}
	e.steps[d.Address] = s
}

// change asks f what to change of a message as it is, makes it durable, and returns
// the message as it is then, nil when it is gone. f may be asked more than once. The caller
// has locked the message, and places it afterwards. storage.ErrNoQueued.
func (r *Runner) change(ctx context.Context, id storage.QueueID, f func(*storage.Queued) edit) (after *storage.Queued, err error) {
	err = r.Store.Update(ctx, func(tx *storage.Tx) error {
		after = nil
		q, err := tx.Queued(id)
		if err != nil {
			return err
		}
		e := f(q)
		if len(e.changes) > 0 {
			if err := tx.ChangeDeliveries(e.changes); err != nil {
				return err
			}
		}
		if q.Account != 0 && len(e.steps) > 0 {
			err := tx.AddSteps(q.Account, q.ID, e.steps)
			if err != nil && !untraced(err) {
				return err
			}
		}
		after, err = tx.Queued(id)
		if errors.Is(err, storage.ErrNoQueued) {
			after, err = nil, nil
		}
		return err
	})
	return after, err
}
