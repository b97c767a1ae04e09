package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
//
// In the accept record, which is sealed under the log's key ("accept", body):
// 1, number of targets 16, then of each: account 32, mailbox 64, UIDVALIDITY 32, UID 32,
// flags 32, ModSeq 64, object 64, thread 64, octets 32, INTERNALDATE 64,
// SAVEDATE 64, MAC of the Message-ID 16 octets, MAC of the base subject 64, number of keywords
// 16, the keywords, the key and prefix as in the object; then the number of
// deliveries to other servers 16, always 0 in version 1.
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
	acceptVersion = 1
	maxReferences = 50 // Message-IDs of one message that can name its thread
)

// Accept files one message into all its targets, or into none. When it returns
// nil the message is on disk and every later View shows it. Errors:
// ErrOverQuota, ErrNoMailbox, ErrNoAccount, ErrKeywordLimit, ErrNoSpace.
func (s *Store) Accept(ctx context.Context, c *Content, targets []Target) ([]Placed, error) {
	if s.low.Load() {
		return nil, ErrNoSpace
	}
	prepared := make([]filing, len(targets))
	for i := range targets {
		var err error
		if prepared[i], err = s.prepare(c, &targets[i]); err != nil {
			return nil, err
		}
	}
	var filed []filing
	err := s.updateLogged(ctx, func(t *Tx) error {
		filed = append(filed[:0], prepared...)
		for i := range filed {
			if err := t.assign(&filed[i]); err != nil {
				return err
			}
			if err := t.file(c.id, &filed[i]); err != nil {
				return err
			}
		}
		head := s.keys.Log().Seal(nil, encodeAccept(filed), ad("accept", uint64(c.id)))
		// Staging is the last step that can fail. A run of this function that
		// does not count leaves a record that nothing refers to.
		ref, err := s.log.Stage(c.sealed, head, now(), s.keys.Epoch())
		if err != nil {
			return err
		}
		return t.logged(c.id, ref, len(filed))
	})
	if err != nil {
		return nil, err
	}
	placed := make([]Placed, len(filed))
	for i, f := range filed {
		placed[i] = Placed{f.uidValidity, f.uid, f.modSeq, f.object}
		s.cache.put(f.account, f.object, c.meta)
	}
	return placed, nil
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

// logged makes the index refer to a record and moves the watermark behind it.
func (t *Tx) logged(id body.ID, ref body.Ref, objects int) error {
	if err := t.putBody(id, bodyRef{ref, uint32(objects)}); err != nil {
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

func encodeAccept(filed []filing) []byte {
	b := []byte{acceptVersion}
	b = le.AppendUint16(b, uint16(len(filed)))
	for i := range filed {
		f := &filed[i]
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
		b = putBytes(b, f.prefix)
	}
	return le.AppendUint16(b, 0)
}

func decodeAccept(b []byte) (filed []filing, err error) {
	r := openRecord("accept", acceptVersion, b)
	for n := r.u16(); n > 0 && r.err == nil; n-- {
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
		filed = append(filed, f)
	}
	if deliveries := r.u16(); deliveries != 0 {
		r.err = errRecord
	}
	return filed, r.err
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
	filed, err := decodeAccept(plain)
	if err != nil {
		return err
	}
	return s.Update(ctx, func(t *Tx) error { return t.again(r, filed) })
}

// again files a record of the log. Done twice it changes nothing.
func (t *Tx) again(r *body.Record, filed []filing) error {
	if known, err := t.bodyRef(r.ID); err != nil || known.refs > 0 {
		return err
	}
	objects := 0
	for i := range filed {
		f := &filed[i]
		if _, err := t.keys(f.account); errors.Is(err, ErrNoAccount) {
			continue // erased since
		}
		box, err := t.load(f.account, f.mailbox)
		if errors.Is(err, ErrNoMailbox) {
			continue // deleted since
		}
		if err != nil {
			return err
		}
		c, err := t.counters(f.account)
		if err != nil {
			return err
		}
		if f.uid < box.UIDNext || f.object <= c.object {
			// Its place went to a record before it whose change had failed. This
			// one may have been acknowledged: it gets another place.
			if err := t.place(f, box, c); err != nil {
				return err
			}
		}
		if err := t.file(r.ID, f); err != nil {
			return err
		}
		objects++
	}
	return t.logged(r.ID, r.Ref, objects)
}
