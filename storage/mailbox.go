package storage

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strconv"
	"time"
)

// MailboxID identifies a mailbox for ever; random, never reused. RFC 8474
// MAILBOXID is its String.
type MailboxID uint64

// String is the MAILBOXID (RFC 8474 section 4).
func (m MailboxID) String() string { return "F" + strconv.FormatUint(uint64(m), 16) }

// ModSeq is the account's change counter (RFC 7162): 63 bits, one counter for
// all its mailboxes, moved by every change.
type ModSeq uint64

// SpecialUse is a set of RFC 6154 attributes.
type SpecialUse uint8

// The special uses a mailbox can have.
const (
	UseAll SpecialUse = 1 << iota
	UseArchive
	UseDrafts
	UseFlagged
	UseJunk
	UseSent
	UseTrash
)

// Mailbox is a folder as one snapshot shows it.
type Mailbox struct {
	ID            MailboxID
	Account       AccountID
	Name          string // UTF-8, NFC, levels divided by "/"; "INBOX" in capitals
	UIDValidity   uint32
	UIDNext       uint32
	Exists        uint32
	Unseen        uint32 // messages without \Seen
	Deleted       uint32 // messages with \Deleted
	Size          int64  // octets of all messages
	HighestModSeq ModSeq
	Use           SpecialUse
	Subscribed    bool
	Keywords      []string // Keywords[i] is bit i of Placement.Keywords; at most 64
	FirstRecent   uint32   // UIDs from here on have been reported to no read-write session
	Created       time.Time

	sealedName     []byte
	vanishedFloor  ModSeq // expunges up to here are forgotten
	vanishedRanges uint32 // ranges remembered
}

// Record: 1, use 8, UIDVALIDITY 32, UIDNEXT 32, exists 32, unseen 32, deleted
// 32, first recent 32, octets 64, highest ModSeq 64, created 64, vanished floor
// 64, vanished ranges 32, the name sealed under the account's key ("name", account, mailbox).
const mailboxVersion = 1

func (t *Tx) putMailbox(m *Mailbox) error {
	le := binary.LittleEndian
	b := make([]byte, 0, 80+len(m.sealedName))
	b = append(b, mailboxVersion, byte(m.Use))
	for _, n := range []uint32{m.UIDValidity, m.UIDNext, m.Exists, m.Unseen, m.Deleted, m.FirstRecent} {
		b = le.AppendUint32(b, n)
	}
	b = le.AppendUint64(b, uint64(m.Size))
	b = le.AppendUint64(b, uint64(m.HighestModSeq))
	b = putTime(b, m.Created)
	b = le.AppendUint64(b, uint64(m.vanishedFloor))
	b = le.AppendUint32(b, m.vanishedRanges)
	b = putBytes(b, m.sealedName)
	t.changed(m.Account, m.ID)
	return t.put(keyMailbox(tabMailbox, m.Account, m.ID), b)
}

// parseMailbox reads all but name, subscription and keywords.
func (s *Store) parseMailbox(a AccountID, id MailboxID, v []byte) (*Mailbox, error) {
	f := openRecord("mailbox", mailboxVersion, v)
	m := &Mailbox{ID: id, Account: a, Use: SpecialUse(f.u8())}
	for _, p := range []*uint32{&m.UIDValidity, &m.UIDNext, &m.Exists, &m.Unseen, &m.Deleted, &m.FirstRecent} {
		*p = f.u32()
	}
	m.Size, m.HighestModSeq, m.Created = int64(f.u64()), ModSeq(f.u64()), f.time()
	m.vanishedFloor, m.vanishedRanges, m.sealedName = ModSeq(f.u64()), f.u32(), f.bytes()
	m.FirstRecent = max(m.FirstRecent, s.lazy.recent(id))
	return m, f.err
}

// load reads a mailbox's record without what is sealed: what every change of a message needs.
func (t *Tx) load(a AccountID, id MailboxID) (*Mailbox, error) {
	v, err := t.Get(keyMailbox(tabMailbox, a, id))
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoMailbox
	}
	return t.s.parseMailbox(a, id, v)
}

func nameAD(m *Mailbox) []byte { return ad("name", uint64(m.Account), uint64(m.ID)) }

// openName fills Name.
func (t *Tx) openName(m *Mailbox) error {
	k, err := t.keys(m.Account)
	if err != nil {
		return err
	}
	name, err := k.Open(nil, m.sealedName, nameAD(m))
	m.Name = string(name)
	return err
}

// setName seals the name and indexes it.
func (t *Tx) setName(m *Mailbox, name string) error {
	k, err := t.keys(m.Account)
	if err != nil {
		return err
	}
	m.Name, m.sealedName = name, k.Seal(nil, []byte(name), nameAD(m))
	id := binary.LittleEndian.AppendUint64(nil, uint64(m.ID))
	return t.put(keyMAC(tabName, m.Account, k.MAC("name", []byte(name))), id)
}

func (t *Tx) dropName(m *Mailbox) error {
	k, err := t.keys(m.Account)
	if err != nil {
		return err
	}
	return t.delete(keyMAC(tabName, m.Account, k.MAC("name", []byte(m.Name))))
}

// Mailboxes returns the account's mailboxes sorted by name. Keywords are not filled.
func (t *Tx) Mailboxes(a AccountID) ([]*Mailbox, error) {
	var all []*Mailbox
	var failed error
	lo := keyAccount(tabMailbox, a)
	err := t.Scan(lo, after(lo), func(k, v []byte) bool {
		var m *Mailbox
		m, failed = t.s.parseMailbox(a, MailboxID(binary.BigEndian.Uint64(k[5:])), v)
		all = append(all, m)
		return failed == nil
	})
	if err := cmp.Or(err, failed); err != nil {
		return nil, err
	}
	subscribed, err := t.Subscriptions(a)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if err := t.openName(m); err != nil {
			return nil, err
		}
		_, m.Subscribed = slices.BinarySearch(subscribed, m.Name)
	}
	slices.SortFunc(all, func(x, y *Mailbox) int { return cmp.Compare(x.Name, y.Name) })
	return all, nil
}

// MailboxByName finds a mailbox. ErrNoMailbox when there is none.
func (t *Tx) MailboxByName(a AccountID, name string) (*Mailbox, error) {
	name, err := t.s.cleanName(name)
	if err != nil {
		return nil, ErrNoMailbox
	}
	id, err := t.mailboxID(a, name)
	if err != nil {
		return nil, err
	}
	return t.Mailbox(a, id)
}

func (t *Tx) mailboxID(a AccountID, name string) (MailboxID, error) {
	k, err := t.keys(a)
	if err != nil {
		return 0, err
	}
	id, err := getUint64(t, keyMAC(tabName, a, k.MAC("name", []byte(name))))
	if err == nil && id == 0 {
		err = ErrNoMailbox
	}
	return MailboxID(id), err
}

// Mailbox finds a mailbox by its ID. ErrNoMailbox when there is none (any more).
func (t *Tx) Mailbox(a AccountID, id MailboxID) (*Mailbox, error) {
	m, err := t.load(a, id)
	if err != nil {
		return nil, err
	}
	if err := t.openName(m); err != nil {
		return nil, err
	}
	if m.Keywords, err = t.keywords(a, id); err != nil {
		return nil, err
	}
	m.Subscribed, err = t.subscribed(a, m.Name)
	return m, err
}

// CreateMailbox creates a mailbox with a UIDVALIDITY of its own. Superior names
// are not created: they are listed as \NonExistent. Errors: ErrMailboxName,
// ErrMailboxExists, ErrMailboxLimit, ErrSpecialUse.
func (t *Tx) CreateMailbox(a AccountID, name string, use SpecialUse) (*Mailbox, error) {
	name, err := t.s.cleanName(name)
	if err != nil {
		return nil, err
	}
	if use != 0 {
		all, err := t.Mailboxes(a)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(m *Mailbox) bool { return m.Use&use != 0 }) {
			return nil, ErrSpecialUse
		}
	}
	return t.createMailbox(a, name, use)
}

func (t *Tx) createMailbox(a AccountID, name string, use SpecialUse) (*Mailbox, error) {
	if _, err := t.mailboxID(a, name); err == nil {
		return nil, ErrMailboxExists
	} else if err != ErrNoMailbox {
		return nil, err
	}
	c, err := t.counters(a)
	if err != nil {
		return nil, err
	}
	if int(c.mailboxes) >= t.s.limits.Mailboxes {
		return nil, ErrMailboxLimit
	}
	c.mailboxes++
	c.uidValidity++
	c.modSeq++
	var id [8]byte
	rand.Read(id[:])
	m := &Mailbox{
		ID: MailboxID(binary.LittleEndian.Uint64(id[:]) | 1<<63), Account: a, Use: use,
		UIDValidity: c.uidValidity, UIDNext: 1, FirstRecent: 1, HighestModSeq: c.modSeq, Created: now(),
		vanishedFloor: c.modSeq,
	}
	if err := t.setName(m, name); err != nil {
		return nil, err
	}
	if m.Subscribed, err = t.subscribed(a, name); err != nil {
		return nil, err
	}
	if err := t.putCounters(a, c); err != nil {
		return nil, err
	}
	return m, t.putMailbox(m)
}

// DeleteMailbox removes a mailbox at once; its messages are reaped later. Its
// subscription stays (RFC 9051 section 6.3.5). ErrInbox, ErrNoMailbox.
func (t *Tx) DeleteMailbox(a AccountID, id MailboxID) error {
	m, err := t.Mailbox(a, id)
	if err != nil {
		return err
	}
	if m.Name == inbox {
		return ErrInbox
	}
	c, err := t.counters(a)
	if err != nil {
		return err
	}
	c.mailboxes--
	c.modSeq++
	c.bytes -= m.Size
	c.messages -= int64(m.Exists)
	if err := t.reapMailbox(a, id, &c); err != nil {
		return err
	}
	if err := t.putCounters(a, c); err != nil {
		return err
	}
	if err := t.dropName(m); err != nil {
		return err
	}
	t.changed(a, id)
	return t.delete(keyMailbox(tabMailbox, a, id))
}

// RenameMailbox renames a mailbox and its inferiors, which keep IDs,
// UIDVALIDITY and messages. Renaming INBOX gives its messages, with the
// mailbox's identity, to the new name and leaves a new, empty INBOX (RFC 9051
// section 6.3.6): whoever has the old one selected notices that its name is no longer INBOX.
func (t *Tx) RenameMailbox(a AccountID, from, to string) error {
	to, err := t.s.cleanName(to)
	if err != nil {
		return err
	}
	m, err := t.MailboxByName(a, from)
	if err != nil {
		return err
	}
	if _, err := t.mailboxID(a, to); err == nil {
		return ErrMailboxExists
	} else if err != ErrNoMailbox {
		return err
	}
	moved := []*Mailbox{m}
	wasInbox := m.Name == inbox
	if !wasInbox {
		if isInferior(to, m.Name) {
			return ErrMailboxName // a mailbox cannot become its own inferior
		}
		inferior, err := t.inferiors(a, m.Name)
		if err != nil {
			return err
		}
		moved = append(moved, inferior...)
	}
	c, err := t.counters(a)
	if err != nil {
		return err
	}
	c.modSeq++
	if err := t.putCounters(a, c); err != nil {
		return err
	}
	old := m.Name
	for _, x := range moved {
		if err := t.dropName(x); err != nil {
			return err
		}
	}
	for _, x := range moved {
		name, err := t.s.cleanName(to + x.Name[len(old):])
		if err != nil {
			return err
		}
		if _, err := t.mailboxID(a, name); err == nil {
			return ErrMailboxExists
		}
		if err := t.setName(x, name); err != nil {
			return err
		}
		x.HighestModSeq = max(x.HighestModSeq, c.modSeq)
		if err := t.putMailbox(x); err != nil {
			return err
		}
	}
	if wasInbox {
		_, err = t.createMailbox(a, inbox, 0)
	}
	return err
}

func (t *Tx) inferiors(a AccountID, name string) ([]*Mailbox, error) {
	all, err := t.Mailboxes(a)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m *Mailbox) bool { return !isInferior(m.Name, name) }), nil
}
