package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"telesphore/storage/body"
	"telesphore/storage/keyring"
)

// Content is a message's octets with their metadata, compressed and sealed,
// ready for Accept.
type Content struct {
	sealed *body.Sealed
	id     body.ID
	key    body.Key
	meta   []byte
}

// Size is the message's length in octets.
func (c *Content) Size() int64 { return c.sealed.Size() }

// Seal prepares octets for Accept. It does the compressing and sealing in the
// caller's goroutine. meta is opaque to the store and comes back from Metas; it
// may be nil, and is at most 16 KiB.
func (s *Store) Seal(octets, meta []byte) (*Content, error) {
	c := &Content{id: body.ID(s.bodies.Add(1)), meta: meta}
	rand.Read(c.key[:])
	var err error
	if c.sealed, err = body.Seal(c.id, &c.key, meta, octets); err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	return c, nil
}

// Target is one mailbox a message is filed into.
type Target struct {
	Account      AccountID
	Mailbox      MailboxID // 0 for the one named
	Name         string    // of the mailbox, "" for INBOX
	Flags        Flags
	Keywords     []string
	InternalDate time.Time
	Prefix       []byte // this recipient's own header lines (Return-Path, Delivered-To), CRLF each
	MessageID    string // for threads, as message.Meta gives them
	References   []string
	BaseSubject  string
}

// Placed tells where one target's message is.
type Placed struct {
	UIDValidity, UID uint32
	ModSeq           ModSeq
	Object           ObjectID
}

// filing is one target as the log keeps it: with it and the body alone, replay
// files the message again exactly as it was.
type filing struct {
	account     AccountID
	mailbox     MailboxID
	name        string // when the mailbox is not known yet; not in the record
	uidValidity uint32
	uid         uint32
	flags       Flags
	modSeq      ModSeq
	object      ObjectID
	thread      ObjectID
	size        uint32
	date, saved time.Time
	message     [16]byte
	subject     uint64
	keywords    []string
	key, prefix []byte
	references  [][16]byte // only to find the thread; not in the record
}

const (
	maxReferences = 50     // Message-IDs of one message that can name its thread
	maxTargets    = 65_000 // of one message, and changes in the queue with it
)

// Acceptance is what becomes of a message that is taken over: all of it, or none.
type Acceptance struct {
	Targets []Target         // mailboxes that it is filed into
	Queue   *Queued          // nil when nobody waits for it. Accept gives it its ID, Size and the Numbers of its Deliveries
	Trace   *Trace           // nil when nobody follows it. Accept gives it its ID
	Limits  SendLimits       // on what Queue.Account sends: to the Deliveries that are neither Finished nor Here
	Changes []DeliveryChange // made in the queue with it
}

// Accept takes one message over: all that a says is one commit. When it returns
// nil the message is on disk and every later View shows it. It returns where each
// target is. Errors: ErrOverQuota, ErrNoMailbox, ErrNoAccount, ErrKeywordLimit, ErrNoSpace,
// ErrSendQuota, ErrTooMany.
func (s *Store) Accept(ctx context.Context, c *Content, a *Acceptance) ([]Placed, error) {
	if s.low.Load() {
		return nil, ErrNoSpace
	}
	prepared, err := s.prepareAll(c, a)
	if err != nil {
		return nil, err
	}
	var x accepted
	err = s.updateLogged(ctx, func(t *Tx) error {
		x = *prepared
		x.filed = slices.Clone(prepared.filed)
		return t.accept(c, &x, a.Limits)
	})
	if err != nil {
		return nil, err
	}
	placed := make([]Placed, len(x.filed))
	for i, f := range x.filed {
		placed[i] = Placed{f.uidValidity, f.uid, f.modSeq, f.object}
		s.cache.put(f.account, f.object, c.meta)
	}
	return placed, nil
}

// accept makes the changes of an acceptance, and puts them into the log.
func (t *Tx) accept(c *Content, x *accepted, l SendLimits) error {
	at := now()
	for i := range x.filed {
		if err := t.assign(&x.filed[i]); err != nil {
			return err
		}
		if err := t.file(c.id, &x.filed[i]); err != nil {
			return err
		}
	}
	if x.queue != nil && x.queue.Account != 0 {
		if err := t.spend(x.queue.Account, at, x.queue.recipients(), l); err != nil {
			return err
		}
	}
	if x.trace != nil {
		if err := t.putTrace(x.trace); err != nil {
			return err
		}
	}
	uses, err := t.settle(x)
	if err != nil {
		return err
	}
	head := t.s.keys.Log().Seal(nil, x.record(), ad("accept", uint64(c.id)))
	// Staging is the last step that can fail. A run of this function that
	// does not count leaves a record that nothing refers to.
	ref, err := t.s.log.Stage(c.sealed, head, at, t.s.keys.Epoch())
	if err != nil {
		return err
	}
	return t.logged(c.id, ref, len(x.filed)+uses)
}

// settle makes what an acceptance changes in the queue. It returns how often the queue uses the body.
func (t *Tx) settle(x *accepted) (uses int, err error) {
	if x.queue != nil {
		if err := t.enqueue(x.queue); err != nil {
			return 0, err
		}
		uses = 1
	}
	return uses, t.ChangeDeliveries(x.changes)
}

// prepareAll does what needs no transaction, for all of an acceptance.
func (s *Store) prepareAll(c *Content, a *Acceptance) (*accepted, error) {
	x := &accepted{filed: make([]filing, len(a.Targets)), changes: a.Changes}
	if len(a.Targets) > maxTargets || len(a.Changes) > maxTargets {
		return nil, fmt.Errorf("%w: %d targets, %d changes in the queue", ErrTooMany, len(a.Targets), len(a.Changes))
	}
	for i := range a.Targets {
		var err error
		if x.filed[i], err = s.prepare(c, &a.Targets[i]); err != nil {
			return nil, err
		}
	}
	if q := a.Queue; q != nil && len(q.Deliveries) > 0 {
		if len(q.Deliveries) > maxDeliveries {
			return nil, fmt.Errorf("%w: %d deliveries", ErrTooMany, len(q.Deliveries))
		}
		q.ID, q.Size = QueueID(c.id), int64(len(q.Prefix))+c.Size()
		q.key = s.keys.Log().Seal(nil, c.key[:], ad("queue key", uint64(c.id)))
		for i := range q.Deliveries {
			q.Deliveries[i].Number = uint16(i)
		}
		x.queue = q
	}
	if len(x.filed) == 0 && x.queue == nil {
		return nil, errors.New("storage: a message that is for nobody")
	}
	if a.Trace == nil {
		return x, nil
	}
	a.Trace.ID = QueueID(c.id)
	x.trace = a.Trace
	return x, x.sealTrace(s)
}

// prepare does what needs no transaction: sealing and hashing.
func (s *Store) prepare(c *Content, target *Target) (filing, error) {
	k, err := s.accountKeys(target.Account)
	if err != nil {
		return filing{}, err
	}
	a, id := uint64(target.Account), uint64(c.id)
	f := filing{
		account: target.Account, mailbox: target.Mailbox, name: cmp.Or(target.Name, inbox), flags: target.Flags, keywords: target.Keywords,
		size: uint32(int64(len(target.Prefix)) + c.Size()), date: target.InternalDate,
		key:    k.Seal(nil, c.key[:], ad("key", a, id)),
		prefix: k.Seal(nil, target.Prefix, ad("prefix", a, id)),
	}
	subject := k.MAC("subject", []byte(strings.ToLower(target.BaseSubject))) // compared without case (RFC 5256 section 2.1)
	f.subject = binary.LittleEndian.Uint64(subject[:])
	if target.MessageID != "" {
		f.message = k.MAC("message-id", []byte(target.MessageID))
	}
	f.references = macs(k, target.References)
	return f, nil
}

func macs(k *keyring.Account, ids []string) (m [][16]byte) {
	if len(ids) > maxReferences {
		ids = ids[len(ids)-maxReferences:] // the nearest ones
	}
	for _, id := range ids {
		m = append(m, k.MAC("message-id", []byte(id)))
	}
	return m
}

// assign finds the mailbox of a filing and gives it its place there. It refuses what has no room.
func (t *Tx) assign(f *filing) (err error) {
	if f.mailbox == 0 {
		name, err := t.s.cleanName(f.name)
		if err != nil {
			return ErrNoMailbox
		}
		if f.mailbox, err = t.mailboxID(f.account, name); err != nil {
			return err
		}
	}
	box, err := t.load(f.account, f.mailbox)
	if err != nil {
		return err
	}
	c, err := t.counters(f.account)
	if err != nil {
		return err
	}
	if err := t.room(f.account, c, int64(f.size)); err != nil {
		return err
	}
	f.saved = now()
	return t.place(f, box, c)
}

// place gives a filing the next UID, ModSeq and object, and its thread.
func (t *Tx) place(f *filing, box *Mailbox, c counters) error {
	if box.UIDNext == math.MaxUint32 {
		return ErrMailboxLimit
	}
	f.uid, f.uidValidity = box.UIDNext, box.UIDValidity
	f.modSeq, f.object = c.modSeq+1, c.object+1
	return t.thread(f.account, f)
}

// Room says whether the account may hold size more octets. Errors: ErrOverQuota, ErrNoAccount.
func (t *Tx) Room(a AccountID, size int64) error {
	c, err := t.counters(a)
	if err != nil {
		return err
	}
	return t.room(a, c, size)
}

// room tells whether the account may hold size more octets.
func (t *Tx) room(a AccountID, c counters, size int64) error {
	v, err := t.Get(keyAccount(tabAccount, a))
	if err != nil {
		return err
	}
	account, err := parseAccount(a, v)
	if err != nil {
		return err
	}
	quota := account.MaxBytes
	if quota == 0 {
		quota = t.s.limits.QuotaBytes
	}
	if c.bytes+size > quota {
		return ErrOverQuota
	}
	return nil
}

// file writes a filing that has its place into the index.
func (t *Tx) file(id body.ID, f *filing) error {
	box, err := t.load(f.account, f.mailbox)
	if err != nil {
		return err
	}
	c, err := t.counters(f.account)
	if err != nil {
		return err
	}
	words, err := t.keywordBits(f.account, f.mailbox, f.keywords, true)
	if err != nil {
		return err
	}
	c.modSeq, c.object = max(c.modSeq, f.modSeq), max(c.object, f.object)
	c.bytes += int64(f.size)
	c.messages++
	if err := t.putCounters(f.account, c); err != nil {
		return err
	}
	o := &Object{ID: f.object, Thread: f.thread, Size: f.size, Date: f.date, refs: 1, body: id, message: f.message, key: f.key, prefix: f.prefix}
	if err := t.putObject(f.account, o); err != nil {
		return err
	}
	if err := t.putThread(f.account, f); err != nil {
		return err
	}
	return t.add(box, &Placement{
		UID: f.uid, ModSeq: f.modSeq, Flags: f.flags, Keywords: words, Object: f.object,
		Size: f.size, InternalDate: f.date, SaveDate: f.saved,
	})
}

// add files one placement, with the UID it has, and the mailbox's record.
func (t *Tx) add(box *Mailbox, m *Placement) error {
	p, err := t.page(box.Account, box.ID, m.UID/pageSize)
	if err != nil {
		return err
	}
	p.insert(m)
	if err := t.putPage(box.Account, box.ID, p); err != nil {
		return err
	}
	box.added(m)
	return t.putMailbox(box)
}

// added moves the mailbox's counters for a message that came.
func (m *Mailbox) added(p *Placement) {
	m.UIDNext = max(m.UIDNext, p.UID+1)
	m.Exists++
	m.Size += int64(p.Size)
	m.HighestModSeq = max(m.HighestModSeq, p.ModSeq)
	m.count(p.Flags, +1)
}

// logged makes the index refer to a record and moves the watermark behind it. A
// record that nothing uses is dead from the start.
func (t *Tx) logged(id body.ID, ref body.Ref, uses int) error {
	if uses == 0 {
		if err := t.dead(ref); err != nil {
			return err
		}
	} else if err := t.putBody(id, bodyRef{ref, uint32(uses)}); err != nil {
		return err
	}
	end := ref.End()
	v := binary.LittleEndian.AppendUint32(nil, end.Segment)
	return t.put(keyStore("watermark"), binary.LittleEndian.AppendUint64(v, end.Offset))
}

func (t *Tx) watermark() (body.Pos, error) {
	v, err := t.Get(keyStore("watermark"))
	if err != nil || v == nil {
		return body.Pos{}, err
	}
	if len(v) != 12 {
		return body.Pos{}, errRecord
	}
	return body.Pos{Segment: binary.LittleEndian.Uint32(v), Offset: binary.LittleEndian.Uint64(v[4:])}, nil
}
