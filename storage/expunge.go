package storage

import "encoding/binary"

// VanishedRange is one range of expunged UIDs. UIDs in it that never were a
// message's, or went earlier, do no harm (RFC 7162 section 3.2.10).
type VanishedRange struct {
	UIDRange
	ModSeq ModSeq
}

// MaxExpunge is how many messages one Expunge removes, so that its transaction
// stays within the bounds of an engine's.
const MaxExpunge = 200_000

// Expunge removes the messages of set that have \Deleted, all of the mailbox's
// when set is nil, and returns their UIDs, ascending, with the ModSeq of the
// change. When it returns MaxExpunge of them there may be more. What they held is reaped later.
func (t *Tx) Expunge(a AccountID, m MailboxID, set UIDSet) (uids []uint32, at ModSeq, err error) {
	if set == nil {
		set = AllUIDs
	}
	box, err := t.load(a, m)
	if err != nil || box.Deleted == 0 {
		return nil, 0, err
	}
	c, err := t.counters(a)
	if err != nil {
		return nil, 0, err
	}
	c.modSeq++
	left := MaxExpunge
	removed, err := t.removeFrom(box, set, c.modSeq, func(p *Placement) bool {
		if p.Flags&Deleted == 0 || left == 0 {
			return false
		}
		left--
		return true
	})
	if err != nil || len(removed) == 0 {
		return nil, 0, err
	}
	objects := make([]ObjectID, len(removed))
	for i := range removed {
		uids = append(uids, removed[i].UID)
		objects[i] = removed[i].Object
		c.bytes -= int64(removed[i].Size)
		c.messages--
	}
	if err := t.reapObjects(a, objects, &c); err != nil {
		return nil, 0, err
	}
	if err := t.putCounters(a, c); err != nil {
		return nil, 0, err
	}
	return uids, c.modSeq, t.putMailbox(box)
}

// removeFrom takes the messages of set that match out of the mailbox's pages,
// counters and into its vanished ranges. The caller writes the mailbox's record.
func (t *Tx) removeFrom(box *Mailbox, set UIDSet, at ModSeq, match func(*Placement) bool) (removed []Placement, err error) {
	var gone []UIDRange
	var last UIDRange
	joined := false // no message is left between the end of gone and here
	err = t.eachPage(box.Account, box.ID, set, func(p *page, r UIDRange) bool {
		if r != last {
			last, joined = r, false // what lies between two ranges of set was not looked at
		}
		for slot := range uint32(pageSize) {
			uid := p.number*pageSize + slot
			if uid < r.Lo || uid > r.Hi || !hotHas(p.hot, slot) {
				continue
			}
			pl := Placement{UID: uid}
			p.read(p.index(slot), &pl)
			if !match(&pl) {
				joined = false
				continue
			}
			p.remove(slot, at)
			box.Exists--
			box.Size -= int64(pl.Size)
			box.count(pl.Flags, -1)
			removed = append(removed, pl)
			if joined {
				gone[len(gone)-1].Hi = uid
			} else {
				gone = append(gone, UIDRange{uid, uid})
			}
			joined = true
		}
		return true
	})
	if err != nil || len(removed) == 0 {
		return nil, err
	}
	box.HighestModSeq = at
	return removed, t.addVanished(box, at, gone)
}

// addVanished remembers the ranges of one change. Record: 1, then first UID 32 and last UID 32
// of each range, ascending. The oldest changes are forgotten while
// there are too many ranges; the floor says up to where.
func (t *Tx) addVanished(box *Mailbox, at ModSeq, gone []UIDRange) error {
	limit := t.s.limits.VanishedRanges
	a, m := box.Account, box.ID
	if len(gone) > limit {
		box.vanishedFloor, gone = at, nil // too scattered to be remembered
	}
	if n := len(gone); n > 0 {
		b := make([]byte, 1, 1+8*n)
		b[0] = 1
		for _, r := range gone {
			b = le.AppendUint32(le.AppendUint32(b, r.Lo), r.Hi)
		}
		if err := t.put(keyVanished(a, m, at), b); err != nil {
			return err
		}
		box.vanishedRanges += uint32(n)
	}
	if int(box.vanishedRanges) <= limit && box.vanishedFloor < at {
		return nil
	}
	var old []ModSeq
	lo := keyMailbox(tabVanished, a, m)
	err := t.Scan(lo, after(lo), func(k, v []byte) bool {
		seq := ModSeq(binary.BigEndian.Uint64(k[13:]))
		if int(box.vanishedRanges) <= limit && seq > box.vanishedFloor {
			return false
		}
		old = append(old, seq)
		box.vanishedRanges -= uint32(len(v) / 8)
		box.vanishedFloor = max(box.vanishedFloor, seq)
		return true
	})
	if err != nil {
		return err
	}
	for _, seq := range old {
		if err := t.delete(keyVanished(a, m, seq)); err != nil {
			return err
		}
	}
	return nil
}

// Vanished returns the UIDs expunged after since, by ascending ModSeq. complete is
// false when since lies below what is remembered: then every UID that a client knows and
// the mailbox does not hold counts as vanished.
func (t *Tx) Vanished(a AccountID, m MailboxID, since ModSeq) (v []VanishedRange, complete bool, err error) {
	box, err := t.load(a, m)
	if err != nil {
		return nil, false, err
	}
	lo := keyMailbox(tabVanished, a, m)
	err = t.Scan(keyVanished(a, m, since+1), after(lo), func(k, b []byte) bool {
		at := ModSeq(binary.BigEndian.Uint64(k[13:]))
		for b = b[1:]; len(b) >= 8; b = b[8:] {
			v = append(v, VanishedRange{UIDRange{le.Uint32(b), le.Uint32(b[4:])}, at})
		}
		return true
	})
	return v, since >= box.vanishedFloor, err
}
