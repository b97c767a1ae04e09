package queue

import (
	"context"
	"errors"
	"io"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// This file is for mail that waits for accounts of ours: their mailboxes had no room.

// file files a message for accounts of ours.
func (r *Runner) file(ctx context.Context, p *parcel) {
	octets, err := r.octets(ctx, p.ID)
	if p.all(storage.Delayed, "4.3.0", err); err != nil {
		return
	}
	for i := range p.batch {
		err := r.Router.File(ctx, p.Queued, &p.batch[i], octets)
		if err == nil {
			r.arrived(ctx, p.Queued, &p.batch[i])
		}
		o := &p.outcomes[i]
		o.Action, o.Status = filed(err)
		o.Cause = err
	}
}

// filed is what an error of filing means for the sender.
func filed(err error) (storage.Action, string) {
	if err == nil {
		return storage.Delivered, "2.1.5"
	}
	if failed := backend.Failure(err, time.Now()); failed != nil {
		return failed.Action, failed.Status
	}
	if errors.Is(err, storage.ErrNoSpace) {
		return storage.Delayed, "4.3.1"
	}
	return storage.Delayed, "4.3.0"
}

// arrived notes in the trace of a message that a recipient of ours has it.
func (r *Runner) arrived(ctx context.Context, q *storage.Queued, d *storage.Delivery) {
	if q.Account == 0 {
		return
	}
	err := r.Store.Update(ctx, func(tx *storage.Tx) error {
		step := storage.Step{Stage: storage.InMailbox, Time: time.Now(), Status: "2.1.5"}
		return tx.AddSteps(q.Account, q.ID, map[string]storage.Step{d.Address: step})
	})
	if err != nil && !untraced(err) {
		r.logger.WarnContext(ctx, "queue.trouble", "message", q.Name, "err", err)
	}
}

// untraced reports whether err says no more than that nobody follows a message.
func untraced(err error) bool {
	return errors.Is(err, storage.ErrNoTrace) || errors.Is(err, storage.ErrNoAccount)
}

// octets reads a whole message, without what only other servers get.
func (r *Runner) octets(ctx context.Context, id storage.QueueID) ([]byte, error) {
	b, err := r.Store.OpenQueued(ctx, id)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	octets := make([]byte, b.Size()-b.Prefix())
	if _, err := b.ReadAt(octets, b.Prefix()); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return octets, nil
}
