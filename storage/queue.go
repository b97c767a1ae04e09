package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"telesphore/storage/body"
)

// Errors of the queue, to be tested with errors.Is.
var (
	ErrNoQueued  = errors.New("storage: no such message in the queue")
	ErrSendQuota = errors.New("storage: the account has sent enough for today")
	// ErrQueueDamaged: a message of the queue, or one of its deliveries, cannot be read.
	ErrQueueDamaged = errors.New("storage: damage in the queue")
)

// OfQueue stands in a Topic, with account 0, for the queue: it wakes when
// something was put into it or changed there.
const OfQueue MailboxID = 2

// QueueID names a message in the queue: it is that of its body, never reused.
type QueueID uint64

// Priority orders what is due at the same time.
type Priority uint8

// The priorities.
const (
	Normal Priority = 0
	Urgent Priority = 1 // codes, and what owners are told about their accounts
)

// Notify is NOTIFY of RCPT (RFC 3461 section 4.1); zero when it was not given.
type Notify uint8

// The values of NOTIFY.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Queued is a message on its way to where this server does not keep it (or has no room
// for it yet): its envelope, and a Delivery for each recipient. It leaves the queue
// with its last Delivery.
type Queued struct {
	ID         QueueID   // given by Accept
	Name       string    // of the message in the log and in replies
	Account    AccountID // who sent it; 0 for nobody of ours
	From       string    // reverse-path without angle brackets, "" for <>
	EnvelopeID string    // ENVID, decoded
	Return     string    // RET: "FULL", "HDRS" or ""
	UTF8       bool      // SMTPUTF8 was asked for (RFC 6531)
	RequireTLS bool      // RFC 8689
	Priority   Priority
	Arrived    time.Time
	Expires    time.Time // then what is left of it is given up
	Size       int64     // octets, Prefix included
	Prefix     []byte    // header lines that only other servers get, CRLF each: DKIM-Signature
	Deliveries []Delivery

	key []byte // the body's key, sealed with the log's ("queue key", body)
}

// DeliveryState is how far a Delivery is.
type DeliveryState uint8

// The states of a Delivery.
const (
	Waiting  DeliveryState = 0 // for Next
	Held     DeliveryState = 1 // for a person who releases it
	Finished DeliveryState = 2 // only its notice (RFC 3464) has still to be sent
)

// Delivery is one recipient of a Queued message.
type Delivery struct {
	Number       uint16 // in its message, from 0; given by Accept
	State        DeliveryState
	Here         bool // the recipient is one of this server: nothing is sent
	Trusted      bool // the domain was of the trust space when the message came: no other way leads there
	Address      string
	Notify       Notify
	OriginalType string // ORCPT's address type, "" when not given
	Original     string // ORCPT's address, decoded

	Next     time.Time // not before: the next attempt, or the date of FUTURERELEASE
	Attempts uint32
	Warned   bool // the sender was told that it takes long
	Last     Result
}

// Result is what the last attempt at a Delivery came to. The zero value: there was none.
type Result struct {
	Action     Action
	Time       time.Time
	Status     string // RFC 3463: "4.4.1"
	Diagnostic string // the reply of Remote, "550 5.1.1 ..."; "" when it gave none; 4,096 octets are kept
	Remote     string // name of the server that was asked, "" for none
}

// Action is the action-value of RFC 3464 section 2.3.3.
type Action uint8

// The actions. NoAction is that of a delivery that was not tried.
const (
	NoAction Action = iota
	Failed
	Delayed
	Delivered
	Relayed // handed to a server that makes no notices
	Expanded
)

// DeliveryChange makes a Delivery what it says, or removes it. It names
// one that may be gone: then it changes nothing.
type DeliveryChange struct {
	Queue    QueueID
	Delivery Delivery
	Remove   bool // Delivery has but a Number
}

// A message of the queue is sealed whole with the log's key, and so is each of
// its deliveries, bound to where they stand: when the account that sent it is erased, it
// stays on its way. All dates are in whole seconds.
//
// Message: 1, name, account 32, reverse-path, ENVID, RET, SMTPUTF8 8, REQUIRETLS 8,
// priority 8, arrival 64, expiry 64, octets 64, prefix, key.
//
// Delivery: 1, state 8, address, NOTIFY 8, type and address of ORCPT, next attempt
// 64, attempts 32, warned 8, place 8 (1 here, 2 in the trust space, 0 elsewhere), then of the last result: action 8, time 64, status,
// diagnostic, remote.
const (
	queuedVersion   = 1
	deliveryVersion = 1
	maxDeliveries   = 65_000 // of one message
	maxDiagnostic   = 4096   // octets: what another server says must not make a record too long to write
	queueStep       = 128    // IDs read in one piece
)

func (q *Queued) record() []byte {
	b := putString([]byte{queuedVersion}, q.Name)
	b = le.AppendUint32(b, uint32(q.Account))
	b = putString(b, q.From)
	b = putString(b, q.EnvelopeID)
	b = putString(b, q.Return)
	b = putFlag(b, q.UTF8)
	b = putFlag(b, q.RequireTLS)
	b = append(b, byte(q.Priority))
	b = putTime(b, q.Arrived)
	b = putTime(b, q.Expires)
	b = le.AppendUint64(b, uint64(q.Size))
	b = putBytes(b, q.Prefix)
	return putBytes(b, q.key)
}

func parseQueued(id QueueID, v []byte) (*Queued, error) {
	f := openRecord("message of the queue", queuedVersion, v)
	q := &Queued{ID: id, Name: f.string(), Account: AccountID(f.u32()), From: f.string(), EnvelopeID: f.string(), Return: f.string(),
		UTF8: f.flag(), RequireTLS: f.flag(), Priority: Priority(f.u8()), Arrived: f.time(), Expires: f.time(), Size: int64(f.u64()),
		Prefix: f.bytes(), key: f.bytes()}
	return q, f.err
}

func (d *Delivery) record() []byte {
	b := putString([]byte{deliveryVersion, byte(d.State)}, d.Address)
	b = putString(append(b, byte(d.Notify)), d.OriginalType)
	b = putString(b, d.Original)
	b = putTime(b, d.Next)
	b = le.AppendUint32(b, d.Attempts)
	b = putFlag(b, d.Warned)
	b = append(b, d.place())
	b = putTime(append(b, byte(d.Last.Action)), d.Last.Time)
	b = putString(b, d.Last.Status)
	b = putString(b, d.Last.Diagnostic)
	return putString(b, d.Last.Remote)
}

// Where a delivery goes, as its record has it.
const (
	placeHere    = 1
	placeTrusted = 2
)

func (d *Delivery) place() byte {
	switch {
	case d.Here:
		return placeHere
	case d.Trusted:
		return placeTrusted
	}
	return 0
}

func parseDelivery(number uint16, v []byte) (*Delivery, error) {
	f := openRecord("delivery", deliveryVersion, v)
	d := &Delivery{Number: number, State: DeliveryState(f.u8()), Address: f.string(), Notify: Notify(f.u8()), OriginalType: f.string(),
		Original: f.string(), Next: f.time(), Attempts: f.u32(), Warned: f.flag()}
	place := f.u8()
	if d.Here, d.Trusted = place == placeHere, place == placeTrusted; place > placeTrusted && f.err == nil {
		f.err = errRecord
	}
	d.Last = Result{Action: Action(f.u8()), Time: f.time(), Status: f.string(), Diagnostic: f.string(), Remote: f.string()}
	return d, f.err
}

// Queued returns a message of the queue. ErrNoQueued, ErrQueueDamaged.
func (t *Tx) Queued(id QueueID) (*Queued, error) {
	q, err := t.queued(id)
	if err != nil {
		return nil, err
	}
	lo := keyQueued(tabDelivery, id)
	var failed error
	err = t.Scan(lo, after(lo), func(key, v []byte) bool {
		var d *Delivery
		if d, failed = t.s.openDelivery(key, v); failed == nil {
			q.Deliveries = append(q.Deliveries, *d)
		}
		return failed == nil
	})
	if err == nil && failed == nil && len(q.Deliveries) == 0 {
		failed = fmt.Errorf("%w: message %s has no delivery", ErrQueueDamaged, id)
	}
	return q, errors.Join(err, failed)
}

// queued returns a message of the queue without its deliveries.
func (t *Tx) queued(id QueueID) (*Queued, error) {
	key := keyQueued(tabQueued, id)
	v, err := t.Get(key)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoQueued
	}
	return t.s.openQueued(key, v)
}

func (s *Store) openQueued(key, v []byte) (*Queued, error) {
	id := QueueID(binary.BigEndian.Uint64(key[1:]))
	var q *Queued
	record, err := unseal(s.keys.Log(), key, v)
	if err == nil {
		q, err = parseQueued(id, record)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: message %s: %w", ErrQueueDamaged, id, err)
	}
	return q, nil
}

func (s *Store) openDelivery(key, v []byte) (*Delivery, error) {
	id, number := QueueID(binary.BigEndian.Uint64(key[1:])), binary.BigEndian.Uint16(key[9:])
	var d *Delivery
	record, err := unseal(s.keys.Log(), key, v)
	if err == nil {
		d, err = parseDelivery(number, record)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: delivery %d of message %s: %w", ErrQueueDamaged, number, id, err)
	}
	return d, nil
}

// Queue calls f for the messages behind an ID, ascending, until f returns false; 0 stands before
// all. f may call the Tx. One that cannot be read does not keep f from the others: it is
// the error in the end, ErrQueueDamaged. IDs are given out before messages come in, so one may come in behind
// a greater one: who looks for news looks through all.
func (t *Tx) Queue(behind QueueID, f func(*Queued) bool) error {
	var damaged, failed error
	err := t.QueueIDs(behind, func(id QueueID) bool {
		q, err := t.Queued(id)
		switch {
		case err == nil:
			return f(q)
		case errors.Is(err, ErrQueueDamaged):
			damaged = err
		case !errors.Is(err, ErrNoQueued): // f may have taken it out
			failed = err
			return false
		}
		return true
	})
	return errors.Join(err, failed, damaged)
}

// ChangeDeliveries makes changes in the queue. It wakes OfQueue. A message leaves
// the queue with its last delivery.
func (t *Tx) ChangeDeliveries(changes []DeliveryChange) error {
	shrunk := map[QueueID]bool{}
	for i := range changes {
		c := &changes[i]
		key := keyDelivery(c.Queue, c.Delivery.Number)
		v, err := t.Get(key)
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		if c.Remove {
			shrunk[c.Queue] = true
			err = t.delete(key)
		} else {
			err = t.putDelivery(c.Queue, c.Delivery)
		}
		if err != nil {
			return err
		}
		t.wakeQueue()
	}
	for id := range shrunk {
		if err := t.leaveQueue(id); err != nil {
			return err
		}
	}
	return nil
}

// putQueue seals a record of the queue.
func (t *Tx) putQueue(key, record []byte) error {
	return t.put(key, t.s.keys.Log().Seal(nil, record, sealedAD(key)))
}

func (t *Tx) putDelivery(id QueueID, d Delivery) error {
	if said := d.Last.Diagnostic; len(said) > maxDiagnostic {
		d.Last.Diagnostic = strings.ToValidUTF8(said[:maxDiagnostic], "")
	}
	return t.putQueue(keyDelivery(id, d.Number), d.record())
}

func (t *Tx) wakeQueue() {
	if of := (Topic{0, OfQueue}); len(t.wake) == 0 || t.wake[len(t.wake)-1] != of {
		t.wake = append(t.wake, of)
	}
}

// leaveQueue removes a message that has no delivery any more.
func (t *Tx) leaveQueue(id QueueID) error {
	more := false
	lo := keyQueued(tabDelivery, id)
	err := t.Scan(lo, after(lo), func(_, _ []byte) bool { more = true; return false })
	if err != nil || more {
		return err
	}
	key := keyQueued(tabQueued, id)
	if v, err := t.Get(key); err != nil || v == nil {
		return err
	}
	if err := t.delete(key); err != nil {
		return err
	}
	return t.dropBody(body.ID(id))
}

// enqueue puts a message and its deliveries into the queue.
func (t *Tx) enqueue(q *Queued) error {
	if err := t.putQueue(keyQueued(tabQueued, q.ID), q.record()); err != nil {
		return err
	}
	for i := range q.Deliveries {
		if err := t.putDelivery(q.ID, q.Deliveries[i]); err != nil {
			return err
		}
	}
	t.wakeQueue()
	return nil
}

// recipients are the addresses elsewhere that a message of the queue goes to, normalised as accounts have
// theirs. One that is named twice gets it twice, and stands here twice.
func (q *Queued) recipients() (all []string) {
	for i := range q.Deliveries {
		if d := &q.Deliveries[i]; d.State != Finished && !d.Here {
			all = append(all, norm.NFC.String(strings.ToLower(d.Address)))
		}
	}
	return all
}

// OpenQueued opens a message of the queue for reading, as other servers get it:
// Prefix first. ErrNoQueued when it is gone, ErrQueueDamaged.
func (s *Store) OpenQueued(ctx context.Context, id QueueID) (*Body, error) {
	return s.openBody(ctx, func(t *Tx) (*source, error) {
		q, err := t.queued(id)
		if err != nil {
			return nil, err
		}
		src := &source{id: body.ID(id), prefix: q.Prefix}
		key, err := s.keys.Log().Open(nil, q.key, ad("queue key", uint64(id)))
		if err != nil || len(key) != len(src.key) {
			return nil, fmt.Errorf("%w: key of message %s", ErrQueueDamaged, id)
		}
		copy(src.key[:], key)
		return src, nil
	})
}
