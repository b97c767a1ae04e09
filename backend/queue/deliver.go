package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// work does what an entry is due for.
func (r *Runner) work(ctx context.Context, e *entry) {
	defer func() {
		r.mu.Lock()
		r.schedule.done(e)
		r.mu.Unlock()
		r.wake()
	}()
	wait := trouble
	err := r.safely(func() error {
		if e.to.domain == "" {
			return r.care(ctx, e)
		}
		return r.deliver(ctx, e)
	})
	if err == nil {
		return
	}
	if errors.Is(err, errPanic) {
		wait = r.limits.Longest // it will come again, and others have work to do
	}
	if ctx.Err() == nil {
		r.logger.ErrorContext(ctx, "queue.trouble", "id", e.message.id.String(), "err", err)
	}
	r.mu.Lock()
	r.schedule.postpone(e, time.Now().Add(wait))
	r.mu.Unlock()
}

// errPanic is that of work that ended in a panic.
var errPanic = errors.New("panic in the queue")

// safely keeps a panic at one message from ending the server, which would meet it again after each
// start. What was said in the panic may be of the message, and stays out of the log.
func (r *Runner) safely(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.logger.Error("panic in the queue", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return f()
}

// parcel is what of a message travels together: its recipients at one domain that are due.
type parcel struct {
	*storage.Queued
	domain   string
	batch    []storage.Delivery
	outcomes []backend.Outcome // of the attempt, one for each of batch
}

// deliver makes one attempt at the recipients of a message at one domain. The error is trouble
// of ours.
func (r *Runner) deliver(ctx context.Context, e *entry) error {
	p, err := r.due(ctx, e)
	if err != nil || p == nil {
		return err
	}
	if err := r.safely(func() error { r.attempt(ctx, p); return nil }); err != nil {
		p.all(storage.Delayed, "4.3.0", err)
	}
	if ctx.Err() != nil {
		p.forget() // cut short by the end of Run: that says nothing about the peer
	} else {
		r.reachable(e, p)
	}
	return r.record(ctx, e, p)
}

// due reads what of an entry is to be tried now, nil for nothing.
func (r *Runner) due(ctx context.Context, e *entry) (*parcel, error) {
	m := e.message
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := r.read(ctx, m.id)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if q != nil && r.over(q, now) && !e.forced {
		r.mu.Lock()
		defer r.mu.Unlock()
		at := now.Add(trouble) // care gives it up
		if m.patient.After(at) {
			at = m.patient
		}
		r.schedule.postpone(e, at)
		return nil, nil
	}
	p := &parcel{Queued: q, domain: e.to.domain}
	for i := 0; q != nil && i < len(q.Deliveries) && len(p.batch) < r.limits.Recipients; i++ {
		d := &q.Deliveries[i]
		if d.State == storage.Waiting && !r.next(q, d, now).After(now) && r.domain(d) == p.domain {
			p.batch = append(p.batch, *d)
		}
	}
	if len(p.batch) == 0 {
		r.place(m.id, q, false)
		return nil, nil
	}
	return p, nil
}

// attempt hands a parcel over, and sets what became of each of its recipients.
func (r *Runner) attempt(ctx context.Context, p *parcel) {
	ctx, cancel := context.WithTimeout(ctx, r.limits.Attempt)
	defer cancel()
	switch r.Router.Zone(p.domain) {
	case backend.Local:
		r.file(ctx, p)
		return
	case backend.Unlisted:
		r.refuse(p)
		return
	}
	t := &backend.Transfer{
		Name: p.Name, Domain: p.domain, From: p.From, EnvelopeID: p.EnvelopeID, Return: p.Return,
		UTF8: p.UTF8, RequireTLS: p.RequireTLS, Size: p.Size,
		Open: func() (io.ReadCloser, error) { return r.open(ctx, p.ID) },
	}
	for i := range p.batch {
		d := &p.batch[i]
		t.Trusted = t.Trusted || d.Trusted
		t.Rcpts = append(t.Rcpts, backend.Rcpt{Address: d.Address, Notify: d.Notify, OriginalType: d.OriginalType, Original: d.Original})
	}
	p.outcomes = r.Send(ctx, t)
	unknown := func(o backend.Outcome) bool { return o.Action == storage.NoAction }
	if len(p.outcomes) != len(p.batch) || slices.ContainsFunc(p.outcomes, unknown) {
		r.logger.ErrorContext(ctx, "queue.trouble", "message", p.Name, "err", "an attempt does not say what became of each recipient")
		p.all(storage.Delayed, "4.3.0", nil)
	}
}

// all sets one outcome for all.
func (p *parcel) all(action storage.Action, status string, cause error) {
	p.outcomes = make([]backend.Outcome, len(p.batch))
	for i := range p.outcomes {
		p.outcomes[i] = backend.Outcome{Result: storage.Result{Action: action, Status: status}, Cause: cause}
	}
}

// forget leaves of the outcomes what is final.
func (p *parcel) forget() {
	for i := range p.outcomes {
		if p.outcomes[i].Action == storage.Delayed {
			p.outcomes[i] = backend.Outcome{}
		}
	}
}

// reader is a message of the queue, read from its beginning to its end.
type reader struct {
	*io.SectionReader
	body *storage.Body
}

// Close implements io.Closer.
func (r *reader) Close() error { return r.body.Close() }

func (r *Runner) open(ctx context.Context, id storage.QueueID) (io.ReadCloser, error) {
	b, err := r.Store.OpenQueued(ctx, id)
	if err != nil {
		return nil, err
	}
	return &reader{io.NewSectionReader(b, 0, b.Size()), b}, nil
}

// refuse is for a domain to which no mail goes any more. One that has left the trust space is told at
// once; any other may be missing from a list by mistake.
func (r *Runner) refuse(p *parcel) {
	if _, left := r.Router.Left(p.domain); left {
		p.all(storage.Failed, "5.7.1", backend.ErrRemote)
	} else {
		p.all(storage.Delayed, "4.7.1", backend.ErrRemote)
	}
}

// reachable notes whether the servers of a domain could be reached.
func (r *Runner) reachable(e *entry, p *parcel) {
	away := true
	for i := range p.outcomes {
		away = away && notReached(&p.outcomes[i])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if away {
		r.schedule.unreachable(e, p.outcomes[0].Result, time.Now())
	} else {
		r.schedule.reached(e)
	}
}

// record writes down what became of an attempt. As long as the store cannot, no other is made.
func (r *Runner) record(ctx context.Context, e *entry, p *parcel) error {
	m := e.message
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	attempts := uint32(0)
	for i := range p.batch {
		attempts = max(attempts, p.batch[i].Attempts)
	}
	// One time for all, so that they travel together again.
	next := now.Add(r.limits.backoff(e.priority, int(attempts)+1))
	for {
		events := make([]event, len(p.batch))
		after, err := r.change(context.WithoutCancel(ctx), m.id, func(q *storage.Queued) edit {
			var e edit
			for i := range p.batch {
				if p.outcomes[i].Action != storage.NoAction {
					events[i] = r.apply(&e, q, p.batch[i].Number, &p.outcomes[i], now, next)
				}
			}
			return e
		})
		if err == nil || errors.Is(err, storage.ErrNoQueued) {
			r.place(m.id, after, false)
			r.tell(ctx, p, events)
			return nil
		}
		r.logger.ErrorContext(ctx, "queue.trouble", "message", p.Name, "err", err)
		timer := time.NewTimer(trouble)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// event is what the log says of a delivery; "" for nothing.
type event string

const (
	delivered event = "queue.delivered"
	deferred  event = "queue.deferred"
	failed    event = "queue.failed"
)

// apply makes of a delivery what an attempt came to.
func (r *Runner) apply(e *edit, q *storage.Queued, number uint16, o *backend.Outcome, now, next time.Time) event {
	d := delivery(q, number)
	if d == nil {
		return "" // taken out, as it was filed or by a person
	}
	result := o.Result
	if result.Time.IsZero() {
		result.Time = now
	}
	switch o.Action {
	case storage.Relayed, storage.Delivered, storage.Expanded:
		d.Attempts++
		d.Last = result
		stage := storage.HandedOver
		if o.Action == storage.Delivered {
			stage = storage.InMailbox
		}
		e.step(d, storage.Step{Stage: stage, Time: now, Status: result.Status, Text: result.Diagnostic})
		r.finish(e, q, d, !o.DSN)
		return delivered
	case storage.Failed:
		d.Attempts++
		d.Last = result
		e.step(d, storage.Step{Stage: storage.Bounced, Time: now, Status: result.Status, Text: result.Diagnostic})
		r.finish(e, q, d, true)
		return failed
	}
	if d.State == storage.Finished {
		return "" // somebody gave it up meanwhile
	}
	d.Attempts++
	d.Last, d.Next = result, next // care looks whether its time is over
	e.put(q, *d)
	return deferred
}

// delivery finds a delivery of a message, nil when it is gone.
func delivery(q *storage.Queued, number uint16) *storage.Delivery {
	for i := range q.Deliveries {
		if q.Deliveries[i].Number == number {
			return &q.Deliveries[i]
		}
	}
	return nil
}

// finish leaves of a delivery the notice that is still to be sent, or nothing.
func (r *Runner) finish(e *edit, q *storage.Queued, d *storage.Delivery, ours bool) {
	if !ours || !r.wants(q, d, d.Last.Action) {
		e.remove(q, d)
		return
	}
	d.State = storage.Finished
	e.put(q, *d)
}

// tell writes to the log what an attempt came to: addresses stay out of it.
func (r *Runner) tell(ctx context.Context, p *parcel, events []event) {
	type line struct {
		event
		status string
	}
	counts := map[line]int{}
	for i := range p.batch {
		if took := p.outcomes[i].Action; events[i] == "" && (took == storage.Relayed || took == storage.Delivered) {
			events[i] = delivered
		}
		counts[line{events[i], p.outcomes[i].Status}]++
	}
	for i := range p.batch {
		key := line{events[i], p.outcomes[i].Status}
		n := counts[key]
		if delete(counts, key); n == 0 || key.event == "" {
			continue
		}
		level := slog.LevelInfo
		if key.event == failed {
			level = slog.LevelWarn
		}
		args := []any{
			"message", p.Name, "domain", p.domain, "recipients", n, "attempts", p.batch[i].Attempts + 1,
			"status", key.status, "wait", time.Since(p.Arrived).Round(time.Millisecond),
		}
		if cause := p.outcomes[i].Cause; cause != nil {
			args = append(args, "err", cause)
		}
		r.logger.Log(ctx, level, string(key.event), args...)
	}
}

// notReached reports whether an attempt did not get to a server that takes mail for the destination:
// none answers (X.4.Z is about the network and the way, RFC 3463 section 3.5), or none proves what it must. That
// concerns all mail for it alike.
func notReached(o *backend.Outcome) bool {
	if o.Action != storage.Delayed {
		return false
	}
	return strings.HasPrefix(o.Status, "4.4.") || o.Diagnostic == "" && (o.Status == "4.7.4" || o.Status == "4.7.5")
}
