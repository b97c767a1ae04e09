package notify

import (
	"slices"
	"sync"
	"time"

	"telesphore/backend/auth"
)

// job is one mail that waits.
type job struct {
	account string    // whom it is about, for the log
	kind    auth.Kind // for the log
	to      string
	code    bool // it carries a code
	octets  []byte

	due   time.Time // not before
	until time.Time // of no use later; zero for always
	tries int
}

// queue holds the jobs that wait, in memory. Codes go first, then whoever is due
// for longest.
type queue struct {
	mu      sync.Mutex
	jobs    []*job
	changed chan struct{} // closed when a job is put in
	closed  bool
}

func newQueue() *queue { return &queue{changed: make(chan struct{})} }

// put adds a job. No more than limit of its sort, codes or others, wait at once, 0
// for no limit: other mails never keep a code out.
func (q *queue) put(limit int, j *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrStopped
	}
	waiting := 0
	for _, other := range q.jobs {
		if other.code == j.code {
			waiting++
		}
	}
	if limit > 0 && waiting >= limit {
		return ErrFull
	}
	q.jobs = append(q.jobs, j)
	close(q.changed)
	q.changed = make(chan struct{})
	return nil
}

// take removes the job whose turn it is. When there is none it returns what to
// wait for: a change, or until the next job is due, an hour at most.
func (q *queue) take(now time.Time, codes bool) (j *job, changed <-chan struct{}, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	best := -1
	wait = time.Hour
	for i, j := range q.jobs {
		switch {
		case codes && !j.code:
		case j.due.After(now):
			wait = min(wait, j.due.Sub(now))
		case best < 0 || j.before(q.jobs[best]):
			best = i
		}
	}
	if best < 0 {
		return nil, q.changed, wait
	}
	j = q.jobs[best]
	q.jobs = slices.Delete(q.jobs, best, best+1)
	return j, nil, 0
}

func (j *job) before(other *job) bool {
	if j.code != other.code {
		return j.code
	}
	return j.due.Before(other.due)
}

// close ends the queue and returns what still waits.
func (q *queue) close() []*job {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs := q.jobs
	q.jobs, q.closed = nil, true
	return jobs
}
