package storage

import (
	"context"
	"encoding/binary"
	"io"

	"telesphore/storage/body"
)

// queue reads the messages of the queue and their deliveries and compares them: neither stands
// there without the other.
func (v *verifier) queue(ctx context.Context) error {
	var messages []*Queued
	err := v.s.View(ctx, func(t *Tx) (err error) {
		waiting := map[QueueID]int{}
		if err := v.deliveries(t, waiting); err != nil {
			return err
		}
		messages, err = v.queued(t, waiting)
		return err
	})
	if err != nil {
		return err
	}
	for _, q := range messages {
		v.readQueued(ctx, q)
	}
	return ctx.Err()
}

// deliveries counts those of each message.
func (v *verifier) deliveries(t *Tx, waiting map[QueueID]int) error {
	lo := []byte{tabDelivery}
	return t.Scan(lo, after(lo), func(key, value []byte) bool {
		waiting[QueueID(binary.BigEndian.Uint64(key[1:]))]++
		if _, err := t.s.openDelivery(key, value); err != nil {
			v.problem("%v", err)
		}
		return true
	})
}

// queued returns the messages that can be read, without their deliveries. Each uses its body.
func (v *verifier) queued(t *Tx, waiting map[QueueID]int) (messages []*Queued, err error) {
	lo := []byte{tabQueued}
	err = t.Scan(lo, after(lo), func(key, value []byte) bool {
		id := QueueID(binary.BigEndian.Uint64(key[1:]))
		v.bodies[body.ID(id)]++
		if waiting[id] == 0 {
			v.problem("message %s of the queue has no delivery", id)
		}
		delete(waiting, id)
		q, err := t.s.openQueued(key, value)
		if err != nil {
			v.problem("%v", err)
			return true
		}
		messages = append(messages, q)
		return true
	})
	for id, n := range waiting {
		v.problem("%d deliveries belong to message %s, which is not in the queue", n, id)
	}
	return messages, err
}

func (v *verifier) readQueued(ctx context.Context, q *Queued) {
	b, err := v.s.OpenQueued(ctx, q.ID)
	if err != nil {
		v.problem("message %s of the queue: %v", q.ID, err)
		return
	}
	defer b.Close()
	if n, err := io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size())); err != nil || n != q.Size {
		v.problem("message %s of the queue: %d of %d octets: %v", q.ID, n, q.Size, err)
	}
}
