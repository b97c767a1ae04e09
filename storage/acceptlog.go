package storage

import (
	"context"
	"errors"
	"fmt"

	"telesphore/storage/body"
)

// The log holds each accepted message with a record of all that was made of it, and from
// that a restart makes again what the index has lost.

// accepted is an acceptance as the log keeps it.
//
// Record, sealed under the log's key ("accept", body):
//
//	2
//	number of targets 16, then of each: account 32, mailbox 64, UIDVALIDITY 32, UID 32,
//	flags 32, ModSeq 64, object 64, thread 64, octets 32, INTERNALDATE 64, SAVEDATE 64,
//	MAC of the Message-ID 16 octets, MAC of the base subject 64, number of keywords 16,
//	the keywords, the key and prefix as in the object
//	number of deliveries 16; unless it is 0 the message of the queue as octets, then
//	of each delivery its record as octets: see queue.go. Their numbers ascend from 0
//	account that the trace belongs to 32; unless it is 0 the trace, see trace.go, sealed
//	under the account's key ("accept trace", body)
//	number of changes in the queue 16, then of each: message 64, delivery 16, the record
//	that it becomes as octets: none when it is removed
//
// Version 1 ends with the number of deliveries, which is 0.
type accepted struct {
	filed   []filing
	queue   *Queued
	trace   *Trace // not in the record, but:
	account AccountID
	sealed  []byte
	changes []DeliveryChange
}

const acceptVersion = 2

func (x *accepted) record() []byte {
	b := le.AppendUint16([]byte{acceptVersion}, uint16(len(x.filed)))
	for i := range x.filed {
		b = x.filed[i].append(b)
	}
	if x.queue == nil {
		b = le.AppendUint16(b, 0)
	} else {
		b = le.AppendUint16(b, uint16(len(x.queue.Deliveries)))
		b = putBytes(b, x.queue.record())
		for i := range x.queue.Deliveries {
			b = putBytes(b, x.queue.Deliveries[i].record())
		}
	}
	b = le.AppendUint32(b, uint32(x.account))
	if x.account != 0 {
		b = putBytes(b, x.sealed)
	}
	b = le.AppendUint16(b, uint16(len(x.changes)))
	for i := range x.changes {
		c := &x.changes[i]
		b = le.AppendUint64(b, uint64(c.Queue))
		b = le.AppendUint16(b, c.Delivery.Number)
		if c.Remove {
			b = putBytes(b, nil)
		} else {
			b = putBytes(b, c.Delivery.record())
		}
	}
	return b
}

func (f *filing) append(b []byte) []byte {
	b = le.AppendUint32(b, uint32(f.account))
	b = le.AppendUint64(b, uint64(f.mailbox))
	b = le.AppendUint32(b, f.uidValidity)
	b = le.AppendUint32(b, f.uid)
	b = le.AppendUint32(b, uint32(f.flags))
	b = le.AppendUint64(b, uint64(f.modSeq))
	b = le.AppendUint64(b, uint64(f.object))
	b = le.AppendUint64(b, uint64(f.thread))
	b = le.AppendUint32(b, f.size)
	b = le.AppendUint64(b, uint64(f.date.Unix()))
	b = putTime(b, f.saved)
	b = append(b, f.message[:]...)
	b = le.AppendUint64(b, f.subject)
	b = le.AppendUint16(b, uint16(len(f.keywords)))
	for _, k := range f.keywords {
		b = putString(b, k)
	}
	b = putBytes(b, f.key)
	return putBytes(b, f.prefix)
}

func parseAccepted(id body.ID, b []byte) (*accepted, error) {
	version := byte(acceptVersion)
	if len(b) > 0 && b[0] == 1 {
		version = 1
	}
	r := openRecord("accept", version, b)
	x := new(accepted)
	for n := r.u16(); n > 0 && r.err == nil; n-- {
		x.filed = append(x.filed, readFiling(r))
	}
	deliveries := r.u16()
	if version == 1 {
		if deliveries != 0 {
			return nil, errRecord
		}
		return x, r.err
	}
	if deliveries > 0 {
		x.readQueue(r, QueueID(id), deliveries)
	}
	if x.account = AccountID(r.u32()); x.account != 0 {
		x.sealed = r.bytes()
	}
	for n := r.u16(); n > 0 && r.err == nil; n-- {
		x.readChange(r)
	}
	return x, r.err
}

func readFiling(r *fields) filing {
	f := filing{
		account: AccountID(r.u32()), mailbox: MailboxID(r.u64()), uidValidity: r.u32(), uid: r.u32(),
		flags: Flags(r.u32()), modSeq: ModSeq(r.u64()), object: ObjectID(r.u64()), thread: ObjectID(r.u64()),
		size: r.u32(), date: r.unix(), saved: r.time(),
	}
	copy(f.message[:], r.take(16))
	f.subject = r.u64()
	for k := r.u16(); k > 0 && r.err == nil; k-- {
		f.keywords = append(f.keywords, r.string())
	}
	f.key, f.prefix = r.bytes(), r.bytes()
	return f
}

func (x *accepted) readQueue(r *fields, id QueueID, deliveries uint16) {
	record := r.bytes()
	if r.err != nil {
		return
	}
	if x.queue, r.err = parseQueued(id, record); r.err != nil {
		return
	}
	for i := uint16(0); i < deliveries && r.err == nil; i++ {
		x.queue.Deliveries = append(x.queue.Deliveries, readDelivery(r, i))
	}
}

func readDelivery(r *fields, number uint16) Delivery {
	record := r.bytes()
	if r.err != nil {
		return Delivery{}
	}
	d, err := parseDelivery(number, record)
	r.err = err
	return *d
}

func (x *accepted) readChange(r *fields) {
	c := DeliveryChange{Queue: QueueID(r.u64()), Delivery: Delivery{Number: r.u16()}}
	if c.Remove = len(r.b) >= 4 && le.Uint32(r.b) == 0; c.Remove {
		r.take(4)
	} else {
		c.Delivery = readDelivery(r, c.Delivery.Number)
	}
	x.changes = append(x.changes, c)
}

// sealTrace seals the trace for the record: with the account, it is gone from the log too.
func (x *accepted) sealTrace(s *Store) error {
	k, err := s.accountKeys(x.trace.Account)
	if err != nil {
		return err
	}
	x.account = x.trace.Account
	x.sealed = k.Seal(nil, encodeTrace(x.trace), ad("accept trace", uint64(x.trace.ID)))
	return nil
}

// replay files what the log holds beyond the index: accepted messages whose
// index change did not reach the disk.
func (s *Store) replay(ctx context.Context) error {
	var from body.Pos
	if err := s.View(ctx, func(t *Tx) (err error) { from, err = t.watermark(); return err }); err != nil {
		return err
	}
	n := 0
	var failed error
	err := s.log.Replay(from, func(r *body.Record) error {
		// With an index from a backup the log may hold IDs of this very boot.
		s.bodies.Store(max(s.bodies.Load(), uint64(r.ID)))
		if r.Copied {
			return nil // compaction's: its first record was replayed long ago
		}
		failed = s.replayRecord(ctx, r)
		n++
		return failed
	})
	if n > 0 {
		s.logger.Info("replayed messages from the log", "messages", n)
	}
	var damage *body.DamageError
	if failed == nil && errors.As(err, &damage) {
		s.logger.Error("the log is damaged behind the index: what could be read was filed", "cause", damage)
		return nil
	}
	return err
}

func (s *Store) replayRecord(ctx context.Context, r *body.Record) error {
	plain, err := s.keys.Log().Open(nil, r.Head, ad("accept", uint64(r.ID)))
	if err != nil {
		return fmt.Errorf("open accept record: %w", err)
	}
	x, err := parseAccepted(r.ID, plain)
	if err != nil {
		return err
	}
	return s.Update(ctx, func(t *Tx) error { return t.again(r, x) })
}

// again makes what a record of the log says. Done twice it changes nothing.
func (t *Tx) again(r *body.Record, x *accepted) error {
	if known, err := t.bodyRef(r.ID); err != nil || known.refs > 0 {
		return err
	}
	uses := 0
	for i := range x.filed {
		filed, err := t.fileAgain(r.ID, &x.filed[i])
		if err != nil {
			return err
		}
		if filed {
			uses++
		}
	}
	if err := t.spendAgain(r, x); err != nil {
		return err
	}
	if err := t.traceAgain(r.ID, x); err != nil {
		return err
	}
	n, err := t.settle(x)
	if err != nil {
		return err
	}
	return t.logged(r.ID, r.Ref, uses+n)
}

// fileAgain files a message, unless where it belongs is gone since.
func (t *Tx) fileAgain(id body.ID, f *filing) (bool, error) {
	if _, err := t.keys(f.account); errors.Is(err, ErrNoAccount) {
		return false, nil // erased
	}
	box, err := t.load(f.account, f.mailbox)
	if errors.Is(err, ErrNoMailbox) {
		return false, nil // deleted
	}
	if err != nil {
		return false, err
	}
	c, err := t.counters(f.account)
	if err != nil {
		return false, err
	}
	if f.uid < box.UIDNext || f.object <= c.object {
		// Its place went to a record before it whose change had failed. This
		// one may have been acknowledged: it gets another place.
		if err := t.place(f, box, c); err != nil {
			return false, err
		}
	}
	return true, t.file(id, f)
}

// spendAgain counts what an account has sent. It was within its limits then.
func (t *Tx) spendAgain(r *body.Record, x *accepted) error {
	if x.queue == nil || x.queue.Account == 0 {
		return nil
	}
	err := t.spend(x.queue.Account, r.Date, x.queue.recipients(), SendLimits{})
	if errors.Is(err, ErrNoAccount) {
		return nil // erased since: its mail goes out all the same
	}
	if errors.Is(err, errRecord) {
		t.s.logger.Error("what an account has sent cannot be counted", "account", x.queue.Account, "err", err)
		return nil // see Verify; it was accepted
	}
	return err
}

// traceAgain begins to follow a message, unless the account is erased since.
func (t *Tx) traceAgain(id body.ID, x *accepted) error {
	if x.account == 0 {
		return nil
	}
	k, err := t.keys(x.account)
	if errors.Is(err, ErrNoAccount) {
		return nil
	}
	if err != nil {
		return err
	}
	record, err := k.Open(nil, x.sealed, ad("accept trace", uint64(id)))
	if err != nil {
		return fmt.Errorf("open the trace in an accept record: %w", err)
	}
	tr, err := decodeTrace(record)
	if err != nil {
		return err
	}
	tr.ID, tr.Account = QueueID(id), x.account
	if err := t.putTrace(tr); err != nil && !errors.Is(err, ErrNoAccount) {
		return err
	}
	return nil
}
