package storage

import (
	"encoding/binary"
	"slices"
	"time"
)

// Flags are the system flags of a message.
type Flags uint32

// System flags (RFC 9051 section 2.3.2). \Recent is not one: see Mailbox.FirstRecent.
const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

// UIDRange is the UIDs from Lo to Hi, both included.
type UIDRange struct{ Lo, Hi uint32 }

// UIDSet is sorted, without overlaps.
type UIDSet []UIDRange

// AllUIDs is the set of every UID there can be.
var AllUIDs = UIDSet{{1, 1<<32 - 1}}

// Placement is one message in one mailbox.
type Placement struct {
	UID          uint32
	ModSeq       ModSeq
	Flags        Flags
	Keywords     uint64 // bits into Mailbox.Keywords
	Object       ObjectID
	Size         uint32 // octets, RFC822.SIZE
	InternalDate time.Time
	SaveDate     time.Time // RFC 8514
}

// UIDs appends the mailbox's UIDs, ascending, to dst.
func (t *Tx) UIDs(a AccountID, m MailboxID, dst []uint32) ([]uint32, error) {
	lo := keyMailbox(tabHot, a, m)
	ok := true
	err := t.Scan(lo, after(lo), func(k, hot []byte) bool {
		if ok = checkHot(hot); !ok {
			return false
		}
		first := binary.BigEndian.Uint32(k[13:]) * pageSize
		eachSlot(hot, func(slot uint32, _ int) bool {
			dst = append(dst, first+slot)
			return true
		})
		return true
	})
	if err == nil && !ok {
		err = errRecord
	}
	return dst, err
}

// Placements calls f for the messages with UIDs in set, ascending, until f
// returns false. The Placement is reused between calls.
func (t *Tx) Placements(a AccountID, m MailboxID, set UIDSet, f func(*Placement) bool) error {
	return t.eachPage(a, m, set, func(p *page, r UIDRange) bool {
		var pl Placement
		more := true
		eachSlot(p.hot, func(slot uint32, i int) bool {
			if pl.UID = p.number*pageSize + slot; pl.UID < r.Lo {
				return true
			}
			if pl.UID > r.Hi {
				return false
			}
			p.read(i, &pl)
			more = f(&pl)
			return more
		})
		return more
	})
}

// eachPage calls f for every page that set touches, once for each range in it, until
// f returns false. f may change the page, which is the same one for all its
// ranges and is written after the last of them.
func (t *Tx) eachPage(a AccountID, m MailboxID, set UIDSet, f func(*page, UIDRange) bool) error {
	var p *page // the one read last
	for _, r := range set {
		for n := uint64(r.Lo / pageSize); n <= uint64(r.Hi/pageSize); {
			if p == nil || uint64(p.number) < n {
				err := t.putPage(a, m, p)
				if err != nil {
					return err
				}
				if p, err = t.nextPage(a, m, uint32(n)); err != nil || p == nil {
					return err // no page, no more messages
				}
			}
			if p.number > r.Hi/pageSize {
				break
			}
			if !f(p, r) {
				return t.putPage(a, m, p)
			}
			n = uint64(p.number) + 1
		}
	}
	return t.putPage(a, m, p)
}

// Changes calls f for the messages whose ModSeq is above since, by ascending
// UID, until it returns false. The Placement is reused. Pages without changes cost a look at their header.
func (t *Tx) Changes(a AccountID, m MailboxID, since ModSeq, f func(*Placement) bool) error {
	pages, err := t.pagesSince(a, m, offHighest, since)
	if err != nil {
		return err
	}
	var pl Placement
	for _, n := range pages {
		p, err := t.page(a, m, n)
		if err != nil {
			return err
		}
		more := true
		eachSlot(p.hot, func(slot uint32, i int) bool {
			if p.read(i, &pl); pl.ModSeq > since {
				pl.UID = n*pageSize + slot
				more = f(&pl)
			}
			return more
		})
		if !more {
			return nil
		}
	}
	return nil
}

// pagesSince lists the pages whose ModSeq at offset is above since.
func (t *Tx) pagesSince(a AccountID, m MailboxID, offset int, since ModSeq) (pages []uint32, err error) {
	lo := keyMailbox(tabHot, a, m)
	err = t.Scan(lo, after(lo), func(k, hot []byte) bool {
		if len(hot) >= hotHeader && ModSeq(le.Uint64(hot[offset:])) > since {
			pages = append(pages, binary.BigEndian.Uint32(k[13:]))
		}
		return true
	})
	return pages, err
}

// Expunged returns those of uids (ascending) that are no longer in the mailbox,
// all of which were at since.
func (t *Tx) Expunged(a AccountID, m MailboxID, uids []uint32, since ModSeq) (gone []uint32, err error) {
	pages, err := t.pagesSince(a, m, offExpunged, since)
	if err != nil {
		return nil, err
	}
	for _, n := range pages {
		hot, err := t.Get(keyPage(tabHot, a, m, n))
		if err != nil {
			return nil, err
		}
		i, _ := slices.BinarySearch(uids, n*pageSize)
		for ; i < len(uids) && uids[i]/pageSize == n; i++ {
			if !hotHas(hot, uids[i]%pageSize) {
				gone = append(gone, uids[i])
			}
		}
	}
	return gone, nil
}

// FlagOp is how a FlagChange combines with the flags a message has.
type FlagOp uint8

// The operations of STORE (RFC 9051 section 6.4.6).
const (
	FlagsSet FlagOp = iota
	FlagsAdd
	FlagsRemove
)

// FlagChange is what STORE asks for.
type FlagChange struct {
	Op       FlagOp
	Flags    Flags
	Keywords []string
	// Conditional changes only messages whose ModSeq is at most UnchangedSince.
	Conditional    bool
	UnchangedSince ModSeq
}

func (c *FlagChange) apply(p *Placement, words uint64) {
	switch c.Op {
	case FlagsSet:
		p.Flags, p.Keywords = c.Flags, words
	case FlagsAdd:
		p.Flags, p.Keywords = p.Flags|c.Flags, p.Keywords|words
	case FlagsRemove:
		p.Flags, p.Keywords = p.Flags&^c.Flags, p.Keywords&^words
	}
}

// StoreFlags changes flags of the messages in set. All that really changed get
// one new ModSeq. modified are the UIDs that the condition kept unchanged
// (RFC 7162 section 3.1.3). ErrKeywordLimit when a new keyword finds no room.
func (t *Tx) StoreFlags(a AccountID, m MailboxID, set UIDSet, c FlagChange) (modified []uint32, err error) {
	box, err := t.load(a, m)
	if err != nil {
		return nil, err
	}
	words, err := t.keywordBits(a, m, c.Keywords, c.Op != FlagsRemove)
	if err != nil {
		return nil, err
	}
	count, err := t.counters(a)
	if err != nil {
		return nil, err
	}
	count.modSeq++
	changed := false
	err = t.eachPage(a, m, set, func(p *page, r UIDRange) bool {
		eachSlot(p.hot, func(slot uint32, i int) bool {
			uid := p.number*pageSize + slot
			if uid < r.Lo || uid > r.Hi {
				return uid <= r.Hi
			}
			var pl Placement
			readHot(p.hot, i, &pl)
			if c.Conditional && pl.ModSeq > c.UnchangedSince {
				modified = append(modified, uid)
				return true
			}
			was := pl
			if c.apply(&pl, words); pl == was {
				return true
			}
			changed = true
			box.count(was.Flags, -1)
			box.count(pl.Flags, +1)
			pl.ModSeq = count.modSeq
			p.set(i, &pl)
			return true
		})
		return true
	})
	if err != nil || !changed {
		return modified, err
	}
	box.HighestModSeq = count.modSeq
	if err := t.putCounters(a, count); err != nil {
		return nil, err
	}
	return modified, t.putMailbox(box)
}

// count moves the flag counters for n messages with these flags.
func (m *Mailbox) count(f Flags, n int) {
	if f&Seen == 0 {
		m.Unseen += uint32(n)
	}
	if f&Deleted != 0 {
		m.Deleted += uint32(n)
	}
}
