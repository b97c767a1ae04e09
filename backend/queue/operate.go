package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"telesphore/storage"
)

// This file is what people do to the queue. What they ask for is written down before it returns.

// Retry makes what waits of a message due now, whatever is known of the domains; also what its
// sender wanted to leave later. It returns how many deliveries. storage.ErrNoQueued.
func (r *Runner) Retry(ctx context.Context, id storage.QueueID) (int, error) {
	n, err := r.release(ctx, id, func(d *storage.Delivery) bool { return d.State == storage.Waiting })
	if err != nil {
		return n, fmt.Errorf("retry a message: %w", err)
	}
	return n, nil
}

// RetryDomain makes what waits for a domain due now, but for what has its date still before it
// (FUTURERELEASE). It returns how many deliveries.
func (r *Runner) RetryDomain(ctx context.Context, domain string) (int, error) {
	wanted := func(d *storage.Delivery) bool {
		return d.State == storage.Waiting && r.domain(d) == domain && (d.Attempts > 0 || !d.Next.After(time.Now()))
	}
	ids, err := r.find(ctx, wanted)
	if err != nil {
		return 0, fmt.Errorf("retry a domain: %w", err)
	}
	n, err := r.releaseAll(ctx, ids, wanted)
	if err != nil {
		return n, fmt.Errorf("retry a domain: %w", err)
	}
	return n, nil
}

// find returns the messages of which a delivery is as it is to be. What cannot be read is left
// out.
func (r *Runner) find(ctx context.Context, which func(*storage.Delivery) bool) (ids []storage.QueueID, err error) {
	var behind storage.QueueID
	for seen := page; seen == page; {
		seen = 0
		err = r.Store.View(ctx, func(tx *storage.Tx) error {
			return tx.QueueIDs(behind, func(id storage.QueueID) bool {
				seen++
				behind = id
				q, err := tx.Queued(id)
				for i := 0; err == nil && i < len(q.Deliveries); i++ {
					if which(&q.Deliveries[i]) {
						ids = append(ids, id)
						break
					}
				}
				return seen < page
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// releaseAll makes deliveries of many messages due now, several at once: the store commits them together.
func (r *Runner) releaseAll(ctx context.Context, ids []storage.QueueID, which func(*storage.Delivery) bool) (int, error) {
	const together = 32
	var workers sync.WaitGroup
	var mu sync.Mutex // guards what follows
	var failed error
	all := 0
	next := func() (id storage.QueueID, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if len(ids) == 0 || failed != nil {
			return 0, false
		}
		id, ids = ids[0], ids[1:]
		return id, true
	}
	for range together {
		workers.Go(func() {
			for id, ok := next(); ok; id, ok = next() {
				n, err := r.release(ctx, id, which)
				mu.Lock()
				all += n
				if err != nil && !errors.Is(err, storage.ErrNoQueued) {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return all, failed
}

// Release makes what is held of a message due now. It returns how many
// deliveries. storage.ErrNoQueued.
func (r *Runner) Release(ctx context.Context, id storage.QueueID) (int, error) {
	n, err := r.release(ctx, id, func(d *storage.Delivery) bool { return d.State == storage.Held })
	if err != nil {
		return n, fmt.Errorf("release a message: %w", err)
	}
	return n, nil
}

// release makes deliveries due now. They are tried once even when their time is over.
func (r *Runner) release(ctx context.Context, id storage.QueueID, which func(*storage.Delivery) bool) (int, error) {
	return r.operate(ctx, id, true, func(e *edit, q *storage.Queued, d *storage.Delivery) bool {
		if !which(d) {
			return false
		}
		if d.State == storage.Held {
			e.step(d, storage.Step{Stage: storage.InQueue, Time: time.Now()})
		}
		d.State, d.Next = storage.Waiting, time.Now()
		e.put(q, *d)
		return true
	})
}

// Hold keeps what waits of a message until Release, however long that is. It returns how many
// deliveries. storage.ErrNoQueued.
func (r *Runner) Hold(ctx context.Context, id storage.QueueID) (int, error) {
	n, err := r.operate(ctx, id, false, func(e *edit, q *storage.Queued, d *storage.Delivery) bool {
		if d.State != storage.Waiting {
			return false
		}
		d.State = storage.Held
		e.step(d, storage.Step{Stage: storage.OnHold, Time: time.Now()})
		e.put(q, *d)
		return true
	})
	if err != nil {
		return n, fmt.Errorf("hold a message: %w", err)
	}
	return n, nil
}

// Drop takes a message out of the queue; with tell its sender gets a notice of
// failure, if he wants to hear of failures. What is under way at this moment may still arrive. One that is
// damaged goes too, and nobody is told. It returns how many deliveries. storage.ErrNoQueued.
func (r *Runner) Drop(ctx context.Context, id storage.QueueID, tell bool) (int, error) {
	n, err := r.operate(ctx, id, false, func(e *edit, q *storage.Queued, d *storage.Delivery) bool {
		if d.State == storage.Finished {
			if !tell {
				e.remove(q, d)
			}
			return !tell
		}
		d.Last = storage.Result{Action: storage.Failed, Time: d.Last.Time, Status: "5.7.1"} // that of the last attempt
		e.step(d, storage.Step{Stage: storage.Dropped, Time: time.Now()})
		r.finish(e, q, d, tell)
		return true
	})
	if errors.Is(err, storage.ErrQueueDamaged) {
		n, err = r.discard(ctx, id)
	}
	if err != nil {
		return n, fmt.Errorf("drop a message: %w", err)
	}
	return n, nil
}

// discard takes out of the queue what cannot be read.
func (r *Runner) discard(ctx context.Context, id storage.QueueID) (n int, err error) {
	m := r.lock(id)
	defer m.mu.Unlock()
	err = r.Store.Update(ctx, func(tx *storage.Tx) error {
		n, err = tx.DropQueued(id)
		return err
	})
	if err == nil || errors.Is(err, storage.ErrNoQueued) {
		r.place(id, nil, false)
	}
	return n, err
}

// operate has f change each delivery of a message, and counts those of which it says
// that it did.
func (r *Runner) operate(ctx context.Context, id storage.QueueID, force bool, f func(*edit, *storage.Queued, *storage.Delivery) bool) (n int, err error) {
	m := r.lock(id)
	defer m.mu.Unlock()
	q, err := r.change(ctx, id, func(q *storage.Queued) edit {
		var e edit
		n = 0
		for i := range q.Deliveries {
			if f(&e, q, &q.Deliveries[i]) {
				n++
			}
		}
		return e
	})
	if err == nil || errors.Is(err, storage.ErrNoQueued) {
		r.place(id, q, force && n > 0)
		return n, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(m.entries) == 0 {
		r.schedule.forget(id) // the next look finds it
	}
	return 0, err
}

// Away says that the servers of a domain could not be reached, what the last attempt came to, and until when they
// are not asked again; the zero time when they can be, or nothing is known.
func (r *Runner) Away(domain string) (storage.Result, time.Time) {
	r.start()
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.schedule.destinations[domain]
	if d == nil {
		return storage.Result{}, time.Time{}
	}
	return d.last, d.away[storage.Normal].until
}
