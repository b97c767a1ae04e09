package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"telesphore/backend"
	"telesphore/backend/report"
	"telesphore/storage"
)

// maxHeader is how much of a message a notice looks at for its header, in octets.
const maxHeader = 64 << 10

// expires is when what is left of a message is given up.
func (r *Runner) expires(q *storage.Queued) time.Time {
	if q.Expires.IsZero() {
		return q.Arrived.Add(r.limits.Lifetime)
	}
	return q.Expires
}

func (r *Runner) over(q *storage.Queued, now time.Time) bool { return !now.Before(r.expires(q)) }

// warnAt is when the sender is told that a message takes long, false for never. A
// message that had to wait for its date (FUTURERELEASE) is late from that date on.
func (r *Runner) warnAt(q *storage.Queued) (at time.Time, ok bool) {
	at = r.begins(q).Add(r.limits.Warn)
	if !at.Before(r.expires(q)) {
		return at, false
	}
	for i := range q.Deliveries {
		d := &q.Deliveries[i]
		if d.Warned {
			return at, false
		}
		ok = ok || r.late(q, d)
	}
	return at, ok
}

// begins is when the life of a message begins: when it came, or its date (FUTURERELEASE).
func (r *Runner) begins(q *storage.Queued) time.Time {
	if start := r.expires(q).Add(-r.limits.Lifetime); start.After(q.Arrived) {
		return start
	}
	return q.Arrived
}

// late says whether the sender is told of a delivery that it takes long.
func (r *Runner) late(q *storage.Queued, d *storage.Delivery) bool {
	return d.State == storage.Waiting && r.wants(q, d, storage.Delayed)
}

// careAt is when there is something to be done for a message itself, false for never.
func (r *Runner) careAt(q *storage.Queued) (at time.Time, ok bool) {
	sooner := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	if t, ok := r.warnAt(q); ok {
		sooner(t)
	}
	for i := range q.Deliveries {
		switch d := &q.Deliveries[i]; d.State {
		case storage.Waiting:
			sooner(r.expires(q))
		case storage.Finished:
			since := d.Last.Time
			if now := time.Now(); since.After(now) {
				since = now // the clock was wrong then, or is now
			}
			sooner(since.Add(r.limits.Gather))
		}
	}
	return at, ok
}

// wants says whether the sender of a message is to be told of an action at one of its recipients
// (RFC 3461 section 4.1). Nobody bounces what has no sender (RFC 5321 section 6.1), and a stranger
// who has not proven his address is told nothing: it may be another's.
func (r *Runner) wants(q *storage.Queued, d *storage.Delivery, a storage.Action) bool {
	from, err := backend.ParseAddress(q.From) // "" is none
	if err != nil || q.Account == 0 && r.Router.Zone(from.Domain) == backend.Unlisted {
		return false
	}
	switch a {
	case storage.Failed:
		return d.Notify == 0 || d.Notify&storage.NotifyFailure != 0
	case storage.Delayed:
		return d.Notify == 0 || d.Notify&storage.NotifyDelay != 0
	case storage.Delivered, storage.Relayed, storage.Expanded:
		return d.Notify&storage.NotifySuccess != 0
	}
	return false
}

// care does what is due for a message itself. The error is trouble of ours.
func (r *Runner) care(ctx context.Context, e *entry) error {
	m := e.message
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := r.read(ctx, m.id)
	if err != nil {
		return err
	}
	if q == nil {
		r.place(m.id, nil, false)
		return nil
	}
	now := time.Now()
	if r.over(q, now) {
		q, err = r.expire(ctx, m, now)
	} else if at, ok := r.warnAt(q); ok && !at.After(now) {
		q, err = r.warn(ctx, m, now)
	}
	if err == nil && q != nil {
		q, err = r.notices(ctx, m, q, now)
	}
	if errors.Is(err, storage.ErrNoQueued) {
		q, err = nil, nil
	}
	if err == nil {
		r.place(m.id, q, false)
	}
	return err
}

// expire gives up what waits of a message, but for what is under way or was asked for.
func (r *Runner) expire(ctx context.Context, m *message, now time.Time) (*storage.Queued, error) {
	busy := map[string]bool{}
	r.mu.Lock()
	for domain, e := range m.entries {
		if domain != "" && (e.busy || e.force) {
			busy[domain] = true
		}
	}
	if len(busy) > 0 {
		m.patient = now.Add(trouble)
	}
	r.mu.Unlock()
	count := 0
	var name string
	q, err := r.change(ctx, m.id, func(q *storage.Queued) edit {
		var e edit
		count, name = 0, q.Name
		for i := range q.Deliveries {
			if d := &q.Deliveries[i]; d.State == storage.Waiting && !busy[r.domain(d)] {
				r.giveUp(&e, q, d, now)
				count++
			}
		}
		return e
	})
	if err == nil && count > 0 {
		r.logger.WarnContext(ctx, "queue.expired", "message", name, "recipients", count)
	}
	return q, err
}

// giveUp makes a delivery a failed one: its time is over. What the last attempt came to says
// more than that (RFC 3463 section 3.5, X.4.7).
func (r *Runner) giveUp(e *edit, q *storage.Queued, d *storage.Delivery, now time.Time) {
	d.Last = r.lately(d, "4.4.7") // with the time of that attempt, if there was one
	d.Last.Action = storage.Failed
	e.step(d, storage.Step{Stage: storage.Bounced, Time: now, Status: d.Last.Status, Text: d.Last.Diagnostic})
	r.finish(e, q, d, true)
}

// lately is what the last attempt at a delivery came to, or at another one at its domain: of that without
// the words, which may name whom it was for, and are not for others to read.
func (r *Runner) lately(d *storage.Delivery, status string) storage.Result {
	if d.Last.Action != storage.NoAction {
		return d.Last
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if to := r.schedule.destinations[r.domain(d)]; to != nil && to.last.Status != "" {
		return storage.Result{Status: to.last.Status, Remote: to.last.Remote}
	}
	return storage.Result{Status: status}
}

// warn tells the sender, once, that a message takes long. It is written down first that it was:
// to be told twice is worse than not to be.
func (r *Runner) warn(ctx context.Context, m *message, now time.Time) (*storage.Queued, error) {
	var late []storage.Delivery
	q, err := r.change(ctx, m.id, func(q *storage.Queued) edit {
		var e edit
		late = late[:0]
		for i := range q.Deliveries {
			d := &q.Deliveries[i]
			if d.State != storage.Waiting {
				continue
			}
			if d.Warned = true; r.late(q, d) {
				told := *d
				told.Last = r.lately(d, "4.4.0")
				told.Last.Action = storage.Delayed
				late = append(late, told)
				e.step(d, storage.Step{Stage: storage.Slow, Time: now, Status: told.Last.Status, Text: told.Last.Diagnostic})
			}
			e.put(q, *d)
		}
		return e
	})
	if err != nil || q == nil || len(late) == 0 {
		return q, err
	}
	if err := r.notice(ctx, q, late, nil); err != nil {
		r.logger.WarnContext(ctx, "queue.notice lost", "message", q.Name, "recipients", len(late), "err", err)
	}
	return q, nil
}

// notices sends the notices that a message still has to send, one for each action, and returns what is left of it. A
// notice and its deliveries leave the queue in one commit.
func (r *Runner) notices(ctx context.Context, m *message, q *storage.Queued, now time.Time) (*storage.Queued, error) {
	told := map[storage.Action][]storage.Delivery{}
	var silent edit
	for _, d := range q.Deliveries {
		if d.State != storage.Finished {
			continue
		}
		if r.wants(q, &d, d.Last.Action) {
			told[d.Last.Action] = append(told[d.Last.Action], d)
		} else {
			silent.remove(q, &d)
		}
	}
	for action := storage.Failed; action <= storage.Expanded; action++ {
		all := told[action]
		if len(all) == 0 {
			continue
		}
		var e edit
		for i := range all {
			e.remove(q, &all[i])
		}
		err := r.notice(ctx, q, all, e.changes)
		switch {
		case err == nil:
			r.logger.InfoContext(ctx, "queue.notice", "message", q.Name, "recipients", len(all))
		case permanent(err), r.stale(q, all, now):
			r.logger.WarnContext(ctx, "queue.notice lost", "message", q.Name, "recipients", len(all), "err", err)
			silent.changes = append(silent.changes, e.changes...)
		default:
			r.logger.WarnContext(ctx, "queue.notice deferred", "message", q.Name, "recipients", len(all), "err", err)
			m.tries++
			r.mu.Lock()
			m.patient = now.Add(r.limits.backoff(storage.Normal, m.tries))
			r.mu.Unlock()
		}
	}
	if len(silent.changes) > 0 {
		return r.change(ctx, m.id, func(*storage.Queued) edit { return silent })
	}
	return r.read(ctx, m.id)
}

// stale reports whether a notice about deliveries could not be sent for as long as a message may take: since
// the last of them ended, or was given up.
func (r *Runner) stale(q *storage.Queued, all []storage.Delivery, now time.Time) bool {
	since := q.Arrived
	if r.over(q, now) {
		since = r.expires(q)
	}
	for i := range all {
		if all[i].Last.Time.After(since) {
			since = all[i].Last.Time
		}
	}
	return now.Sub(since) > r.limits.Lifetime
}

// permanent reports whether a notice that was refused will always be.
func permanent(err error) bool {
	return slices.ContainsFunc([]error{
		backend.ErrNoSuchUser, backend.ErrRemote, backend.ErrAddress, backend.ErrMailLoop, backend.ErrNotMember, backend.ErrNotOurs,
		backend.ErrAliasOff, backend.ErrAliasEmpty, backend.ErrAliasLoop, backend.ErrAliasDepth, backend.ErrRecipients, storage.ErrNoAccount, report.ErrNotice,
	}, func(is error) bool { return errors.Is(err, is) })
}

// notice tells the sender of a message about deliveries that have one action. changes are made
// in the queue together with it.
func (r *Runner) notice(ctx context.Context, q *storage.Queued, all []storage.Delivery, changes []storage.DeliveryChange) error {
	whole := all[0].Last.Action == storage.Failed && q.Return == "FULL" && q.Size-int64(len(q.Prefix)) <= r.limits.Return
	octets, err := r.returned(ctx, q, whole)
	if ctx.Err() != nil {
		return fmt.Errorf("read a message for its notice: %w", err)
	}
	if err != nil { // damaged: then the sender has all the more to be told
		r.logger.ErrorContext(ctx, "queue.unreadable", "message", q.Name, "err", err)
		octets, whole = nil, false
	}
	from := "postmaster@" + r.Hostname
	if len(r.Router.Domains) > 0 {
		from = "postmaster@" + r.Router.Domains[0]
	}
	n := &report.Notice{
		Language: r.Language, Hostname: r.Hostname, From: from, To: q.From, EnvelopeID: q.EnvelopeID,
		Arrived: q.Arrived, Expires: r.expires(q), Message: octets, Whole: whole, UTF8: q.UTF8,
	}
	for i := range all {
		d := &all[i]
		n.Recipients = append(n.Recipients, report.Recipient{
			Address: d.Address, OriginalType: d.OriginalType, Original: d.Original, Result: d.Last,
		})
	}
	text, err := report.Compose(n)
	if err != nil {
		return fmt.Errorf("write a notice: %w", err)
	}
	e := &backend.Envelope{
		// Not urgent: who has mail sent here can have notices sent to a server of his that stalls, and must not
		// take the places of codes.
		Octets: text, UTF8: q.UTF8, Changes: changes,
		RequireTLS: q.RequireTLS, // it has the message's header (RFC 8689 section 5)
		// Nobody is told about what becomes of a notice (RFC 3461 section 5.2).
		Rcpts: []backend.Rcpt{{Address: q.From, Notify: storage.NotifyNever}},
	}
	if len(r.Router.Domains) > 0 {
		e.Origin = r.Router.Domains[0]
	}
	if err := r.Router.Accept(ctx, e); err != nil {
		return fmt.Errorf("file a notice: %w", err)
	}
	return nil
}

// returned is what a notice gives back of a message: all of it, or at least its header.
func (r *Runner) returned(ctx context.Context, q *storage.Queued, whole bool) ([]byte, error) {
	b, err := r.Store.OpenQueued(ctx, q.ID)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	size := b.Size() - b.Prefix()
	if !whole {
		size = min(size, maxHeader)
	}
	octets := make([]byte, size)
	if _, err := b.ReadAt(octets, b.Prefix()); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if end := bytes.Index(octets, []byte("\r\n\r\n")); !whole && end >= 0 {
		octets = octets[:end+2]
	}
	return octets, nil
}
