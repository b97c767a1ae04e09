package queue

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"

	"telesphore/storage"
)

// schedule says what is to be done when. It knows times only; what is to be done then,
// the store says.
type schedule struct {
	limits       Limits
	messages     map[storage.QueueID]*message
	destinations map[string]*destination // by domain; "" is care
	running      int                     // attempts
	probing      int                     // those of them at destinations that could not be reached
}

// message is a message of the queue.
type message struct {
	mu      sync.Mutex // see Runner.lock
	id      storage.QueueID
	entries map[string]*entry // by domain; "" is care

	// Of care alone.
	tries   int       // to file a notice, in vain
	patient time.Time // no care before; zero for at once
}

// entry is a message on its way to one domain. It is in the heap of its destination, busy, or over.
type entry struct {
	message  *message
	to       *destination
	priority storage.Priority
	due      time.Time
	at       int       // in the heap; -1 when it is not there
	busy     bool      // somebody is at it
	probe    bool      // its destination could not be reached when it was taken
	over     bool      // nothing is left to do
	force    bool      // somebody asked for it: no back-off counts
	forced   bool      // somebody had, when it was taken
	began    time.Time // when it was taken
}

// destination is a domain that messages go to.
type destination struct {
	domain  string
	queues  [2]entries // by priority
	running int
	away    [2]backoff // by priority: codes try more often, and do not make others wait longer
	last    storage.Result
}

// backoff is for a destination that could not be reached.
type backoff struct {
	failures int
	since    time.Time // when the last of them was known
	until    time.Time
}

func newSchedule(l Limits) schedule {
	return schedule{limits: l, messages: map[storage.QueueID]*message{}, destinations: map[string]*destination{}}
}

func (s *schedule) destination(domain string) *destination {
	d := s.destinations[domain]
	if d == nil {
		d = &destination{domain: domain}
		s.destinations[domain] = d
	}
	return d
}

// place sets when a message is due, by domain, and forgets the domains that it is not for any more.
func (s *schedule) place(m *message, due map[string]time.Time, p storage.Priority, force bool) {
	for domain, e := range m.entries {
		if _, ok := due[domain]; !ok {
			s.drop(e)
		}
	}
	for domain, at := range due {
		e := m.entries[domain]
		if e == nil {
			e = &entry{message: m, to: s.destination(domain), priority: min(p, storage.Urgent), at: -1}
			m.entries[domain] = e
		}
		if domain == "" && at.Before(m.patient) {
			at = m.patient
		}
		e.due, e.over = at, false
		// Who was asked for stands before all others of its domain, so it must be due.
		e.force = (e.force || force) && !at.After(time.Now())
		s.settle(e)
	}
}

// settle gives an entry its place in the heap.
func (s *schedule) settle(e *entry) {
	h := &e.to.queues[e.priority]
	switch {
	case e.busy:
	case e.at >= 0:
		heap.Fix(h, e.at)
	default:
		heap.Push(h, e)
	}
}

// drop ends an entry; one that is busy when it comes back.
func (s *schedule) drop(e *entry) {
	e.over = true
	if e.busy {
		return
	}
	if e.at >= 0 {
		heap.Remove(&e.to.queues[e.priority], e.at)
	}
	delete(e.message.entries, e.to.domain)
	s.prune(e.to, time.Now())
}

// forget ends all entries of a message.
func (s *schedule) forget(id storage.QueueID) {
	m := s.messages[id]
	if m == nil {
		return
	}
	for _, e := range m.entries {
		s.drop(e)
	}
	delete(s.messages, id)
}

// prune forgets a destination that nothing goes to, unless there is something to remember of it.
func (s *schedule) prune(d *destination, now time.Time) {
	if d.running+len(d.queues[0])+len(d.queues[1]) == 0 && now.After(d.away[0].until) && now.After(d.away[1].until) {
		delete(s.destinations, d.domain)
	}
}

// postpone has an entry wait although the store says that it is due: the store had trouble.
func (s *schedule) postpone(e *entry, until time.Time) {
	if e.due.Before(until) {
		e.due, e.force = until, false
		s.settle(e)
	}
}

// take returns what is to be done now, urgent mail first, then what is due for longest, and marks it busy. When there is
// nothing it returns how long to wait, at most.
func (s *schedule) take(now time.Time) (best *entry, wait time.Duration) {
	wait = reconcile
	for _, d := range s.destinations {
		s.prune(d, now)
		for p := range d.queues {
			if len(d.queues[p]) == 0 || !s.room(d, storage.Priority(p)) {
				continue // somebody ends and looks again
			}
			e := d.queues[p][0]
			at := e.due
			if !e.force && d.away[p].until.After(at) {
				at = d.away[p].until
			}
			switch {
			case at.After(now):
				wait = min(wait, at.Sub(now))
			case best == nil, e.priority > best.priority, e.priority == best.priority && e.due.Before(best.due):
				best = e
			}
		}
	}
	if best == nil {
		return nil, wait
	}
	heap.Remove(&best.to.queues[best.priority], best.at)
	best.busy, best.began, best.forced, best.force = true, now, best.force, false
	best.to.running++
	if best.to.domain != "" {
		s.running++
		if best.probe = best.to.failing(); best.probe {
			s.probing++
		}
	}
	return best, 0
}

// room says whether one more attempt may be made to a destination.
func (s *schedule) room(d *destination, p storage.Priority) bool {
	all, here := s.limits.Attempts, s.limits.PerDomain
	if d.domain == "" {
		return d.running < here // care asks no other server
	}
	if d.failing() {
		here = 1 // one looks whether the destination is back
		if s.probing >= max(1, all/2) {
			return false // however many are away: the others get their places
		}
	}
	if p == storage.Urgent {
		return s.running < all && d.running < here+1
	}
	return s.running < max(1, all-1) && d.running < here
}

// done takes an entry back.
func (s *schedule) done(e *entry) {
	e.busy = false
	e.to.running--
	if e.to.domain != "" {
		s.running--
	}
	if e.probe {
		e.probe = false
		s.probing--
	}
	if e.over || s.messages[e.message.id] != e.message {
		s.drop(e)
		return
	}
	s.settle(e)
}

// failing reports whether the destination could not be reached the last time.
func (d *destination) failing() bool {
	return d.away[storage.Normal].failures+d.away[storage.Urgent].failures > 0
}

// unreachable notes that an attempt did not get to its destination: others wait too.
func (s *schedule) unreachable(e *entry, result storage.Result, now time.Time) {
	e.to.last = result
	b := &e.to.away[e.priority]
	if b.failures > 0 && !e.began.After(b.since) {
		return // it began before the last one was known: it says nothing new
	}
	b.failures++
	b.since, b.until = now, now.Add(s.limits.backoff(e.priority, b.failures))
}

// reached notes that a destination has answered.
func (s *schedule) reached(e *entry) { e.to.away, e.to.last = [2]backoff{}, storage.Result{} }

// backoff is the time until the next attempt, after so many.
func (l *Limits) backoff(p storage.Priority, attempts int) time.Duration {
	wait := l.First
	if p == storage.Urgent {
		wait = l.FirstShort
	}
	for range attempts - 1 {
		if wait *= 2; wait >= l.Longest {
			break
		}
	}
	// A fifth more or less: what failed together does not come back together.
	return time.Duration(float64(min(wait, l.Longest)) * (0.8 + 0.4*rand.Float64()))
}

// entries is a heap: what is due first, or was asked for, is on top.
type entries []*entry

func (h entries) Len() int { return len(h) }
func (h entries) Less(i, j int) bool {
	if h[i].force != h[j].force {
		return h[i].force
	}
	return h[i].due.Before(h[j].due)
}
func (h entries) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push adds an *entry.
func (h *entries) Push(x any) {
	e := x.(*entry)
	e.at = len(*h)
	*h = append(*h, e)
}

// Pop removes the last one.
func (h *entries) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.at = -1
	return e
}
