package storage

import (
	"context"
	"encoding/binary"
	"math"
)

// Copied tells what COPY and MOVE did: the message From[i] became To[i].
type Copied struct {
	UIDValidity uint32
	From, To    []uint32
}

// copyStep is how many objects a copy counts in one transaction.
const copyStep = 4000

// Copy copies the messages of set to another mailbox of the account, or the
// same one, in one change (RFC 9051 section 6.4.7). Up to 4,000 messages it
// is one transaction. Beyond that the objects are counted first, in steps that
// nobody sees and that a crash undoes; then one transaction shows all copies.
func (s *Store) Copy(ctx context.Context, a AccountID, from MailboxID, set UIDSet, to MailboxID) (*Copied, error) {
	objects, err := s.objectsOf(ctx, a, from, set)
	if err != nil {
		return nil, err
	}
	var counted map[ObjectID]bool
	var job uint64
	if len(objects) > copyStep {
		counted = make(map[ObjectID]bool, len(objects))
		job = s.bodies.Add(1)
		for part := 0; len(objects) > 0; part++ {
			step := objects[:min(copyStep, len(objects))]
			if err := s.Update(ctx, func(t *Tx) error { return t.countCopies(a, job, uint64(part), step) }); err != nil {
				s.undoCopy(a, job)
				return nil, err
			}
			for _, o := range step {
				counted[o] = true
			}
			objects = objects[len(step):]
		}
	}
	var done *Copied
	err = s.Update(ctx, func(t *Tx) (err error) {
		if done, err = t.copy(a, from, set, to, counted); err != nil || job == 0 {
			return err
		}
		return t.copied(a, job, from, done)
	})
	if err != nil && job != 0 {
		s.undoCopy(a, job)
	}
	return done, err
}

func (s *Store) objectsOf(ctx context.Context, a AccountID, m MailboxID, set UIDSet) (objects []ObjectID, err error) {
	err = s.View(ctx, func(t *Tx) error {
		objects = objects[:0]
		return t.Placements(a, m, set, func(p *Placement) bool {
			objects = append(objects, p.Object)
			return true
		})
	})
	return objects, err
}

// countCopies counts one use more of each object and notes it, so that it can be undone.
func (t *Tx) countCopies(a AccountID, job, part uint64, objects []ObjectID) error {
	for _, id := range objects {
		if err := t.useObject(a, id); err != nil {
			return err
		}
	}
	return t.put(keyCopying(a, job, part), encodeObjects(objects))
}

func keyCopying(a AccountID, job, part uint64) []byte {
	return binary.BigEndian.AppendUint64(key64(tabCopying, a, job), part)
}

func (t *Tx) useObject(a AccountID, id ObjectID) error {
	o, err := t.Object(a, id)
	if err != nil {
		return err
	}
	o.refs++
	return t.putObject(a, o)
}

// copy files the placements of set anew. Objects in counted have been counted; the others are now.
func (t *Tx) copy(a AccountID, from MailboxID, set UIDSet, to MailboxID, counted map[ObjectID]bool) (*Copied, error) {
	source, err := t.Mailbox(a, from)
	if err != nil {
		return nil, err
	}
	var moving []Placement
	size := int64(0)
	err = t.Placements(a, from, set, func(p *Placement) bool {
		moving = append(moving, *p)
		size += int64(p.Size)
		return true
	})
	if err != nil {
		return nil, err
	}
	c, err := t.counters(a)
	if err != nil {
		return nil, err
	}
	if err := t.room(a, c, size); err != nil {
		return nil, err
	}
	for _, p := range moving {
		if counted == nil {
			err = t.useObject(a, p.Object)
		} else if !counted[p.Object] {
			err = ErrTooMany // it came between the counting and now
		}
		if err != nil {
			return nil, err
		}
	}
	c.modSeq++
	c.bytes += size
	c.messages += int64(len(moving))
	if err := t.putCounters(a, c); err != nil {
		return nil, err
	}
	return t.refile(source, to, moving, c.modSeq)
}

// refile files placements of source into another mailbox under new UIDs.
func (t *Tx) refile(source *Mailbox, to MailboxID, moving []Placement, at ModSeq) (*Copied, error) {
	box, err := t.load(source.Account, to)
	if err != nil {
		return nil, err
	}
	if uint64(box.UIDNext)+uint64(len(moving)) > math.MaxUint32 {
		return nil, ErrMailboxLimit
	}
	done := &Copied{UIDValidity: box.UIDValidity}
	var used uint64
	for i := range moving {
		used |= moving[i].Keywords
	}
	words, err := t.mapKeywords(source, to, used)
	if err != nil {
		return nil, err
	}
	var p *page
	saved := now()
	for _, m := range moving {
		done.From = append(done.From, m.UID)
		m.UID, m.ModSeq, m.SaveDate = box.UIDNext, at, saved
		m.Keywords = words.translate(m.Keywords)
		done.To = append(done.To, m.UID)
		if p == nil || p.number != m.UID/pageSize {
			if err := t.putPage(box.Account, box.ID, p); err != nil {
				return nil, err
			}
			if p, err = t.page(box.Account, box.ID, m.UID/pageSize); err != nil {
				return nil, err
			}
		}
		p.insert(&m)
		box.added(&m)
	}
	if err := t.putPage(box.Account, box.ID, p); err != nil {
		return nil, err
	}
	return done, t.putMailbox(box)
}

// wordMap translates keyword bits of one mailbox into those of another.
type wordMap [maxKeywords]uint64

func (w *wordMap) translate(bits uint64) (to uint64) {
	for i := 0; bits != 0; i, bits = i+1, bits>>1 {
		if bits&1 != 0 {
			to |= w[i]
		}
	}
	return to
}

// mapKeywords maps by name, giving the target mailbox the keywords it lacks.
func (t *Tx) mapKeywords(source *Mailbox, to MailboxID, used uint64) (*wordMap, error) {
	w := new(wordMap)
	for i, name := range source.Keywords {
		if used&(1<<i) == 0 {
			continue
		}
		bit, err := t.keywordBits(source.Account, to, []string{name}, true)
		if err != nil {
			return nil, err
		}
		w[i] = bit
	}
	return w, nil
}

// copied ends a counted copy: objects that were counted but went before the
// copy was made lose that use again.
func (t *Tx) copied(a AccountID, job uint64, from MailboxID, done *Copied) error {
	made := map[ObjectID]int{}
	set := make(UIDSet, len(done.From))
	for i, uid := range done.From {
		set[i] = UIDRange{uid, uid}
	}
	err := t.Placements(a, from, set, func(p *Placement) bool { made[p.Object]++; return true })
	if err != nil {
		return err
	}
	parts, err := t.copyParts(a, job)
	if err != nil {
		return err
	}
	var unused []ObjectID
	for _, p := range parts {
		for _, id := range p.objects {
			if made[id]--; made[id] < 0 {
				unused = append(unused, id)
			}
		}
		if err := t.delete(p.key); err != nil {
			return err
		}
	}
	if len(unused) == 0 {
		return nil
	}
	c, err := t.counters(a)
	if err != nil {
		return err
	}
	if err := t.reapObjects(a, unused, &c); err != nil {
		return err
	}
	return t.putCounters(a, c)
}

type copyPart struct {
	key     []byte
	objects []ObjectID
}

func (t *Tx) copyParts(a AccountID, job uint64) (parts []copyPart, err error) {
	lo := key64(tabCopying, a, job)
	err = t.Scan(lo, after(lo), func(k, v []byte) bool {
		parts = append(parts, copyPart{append([]byte(nil), k...), decodeObjects(v)})
		return true
	})
	return parts, err
}

// undoCopy leaves the uses a failed copy has counted to the keeper. Open does it too.
func (s *Store) undoCopy(a AccountID, job uint64) {
	err := s.Update(context.Background(), func(t *Tx) error { return t.copied(a, job, 0, &Copied{}) })
	if err != nil {
		s.logger.Error("a failed copy is undone at the next start", "cause", err)
	}
}

// Move moves the messages of set to another mailbox of the account in one
// change (RFC 6851). Moved within one mailbox they get new UIDs.
func (s *Store) Move(ctx context.Context, a AccountID, from MailboxID, set UIDSet, to MailboxID) (done *Copied, err error) {
	err = s.Update(ctx, func(t *Tx) (err error) {
		done, err = t.move(a, from, set, to)
		return err
	})
	return done, err
}

func (t *Tx) move(a AccountID, from MailboxID, set UIDSet, to MailboxID) (*Copied, error) {
	source, err := t.Mailbox(a, from)
	if err != nil {
		return nil, err
	}
	if _, err := t.load(a, to); err != nil {
		return nil, err
	}
	c, err := t.counters(a)
	if err != nil {
		return nil, err
	}
	c.modSeq++
	moving, err := t.removeFrom(source, set, c.modSeq, func(*Placement) bool { return true })
	if err != nil {
		return nil, err
	}
	if len(moving) == 0 {
		return &Copied{}, nil
	}
	if err := t.putCounters(a, c); err != nil {
		return nil, err
	}
	if err := t.putMailbox(source); err != nil {
		return nil, err
	}
	return t.refile(source, to, moving, c.modSeq)
}

// objects lists are 64-bit object IDs one after another.
func encodeObjects(ids []ObjectID) []byte {
	b := make([]byte, 0, 8*len(ids))
	for _, id := range ids {
		b = le.AppendUint64(b, uint64(id))
	}
	return b
}

func decodeObjects(b []byte) (ids []ObjectID) {
	for ; len(b) >= 8; b = b[8:] {
		ids = append(ids, ObjectID(le.Uint64(b)))
	}
	return ids
}
