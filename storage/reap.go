package storage

import (
	"context"
	"encoding/binary"
	"errors"
)

// Expunging is lazy: the change that people wait for only takes messages off
// their pages. What they held is noted in a reap entry, in the same change, and
// the keeper removes it later in small transactions.
//
// Entry, its number being the account's: 1, kind 8, then for kind 1 the
// objects that lost one use, 64 each; for kind 2 the deleted mailbox 64.
const (
	reapVersion  = 1
	reapObjects  = 1
	reapMailbox  = 2
	reapStep     = 250  // objects in one transaction of the keeper
	reapPerEntry = 4000 // objects in one entry
)

func (t *Tx) reapObjects(a AccountID, objects []ObjectID, c *counters) error {
	for len(objects) > 0 {
		n := min(len(objects), reapPerEntry)
		if err := t.putReap(a, c, reapObjects, encodeObjects(objects[:n])); err != nil {
			return err
		}
		objects = objects[n:]
	}
	return nil
}

func (t *Tx) reapMailbox(a AccountID, m MailboxID, c *counters) error {
	return t.putReap(a, c, reapMailbox, le.AppendUint64(nil, uint64(m)))
}

func (t *Tx) putReap(a AccountID, c *counters, kind byte, data []byte) error {
	c.reap++
	t.reap = true
	return t.put(key64(tabReap, a, c.reap), append([]byte{reapVersion, kind}, data...))
}

// reapAll works until nothing is left to reap or ctx ends.
func (s *Store) reapAll(ctx context.Context) error {
	for ctx.Err() == nil {
		more := false
		err := s.Update(ctx, func(t *Tx) (err error) {
			more, err = t.reapSome()
			return err
		})
		if err != nil || !more {
			return err
		}
	}
	return ctx.Err()
}

// reapSome does one small step of the first entry and tells whether there may be more.
func (t *Tx) reapSome() (more bool, err error) {
	var key, entry []byte
	lo := []byte{tabReap}
	err = t.Scan(lo, after(lo), func(k, v []byte) bool {
		key, entry = append(key, k...), append(entry, v...)
		return false
	})
	if err != nil {
		return false, err
	}
	if key == nil {
		return t.reapAccounts()
	}
	if len(entry) < 2 || entry[0] != reapVersion {
		return false, errRecord
	}
	a := AccountID(binary.BigEndian.Uint32(key[1:]))
	data := entry[2:]
	switch entry[1] {
	case reapObjects:
		n := min(8*reapStep, len(data))
		for _, id := range decodeObjects(data[:n]) {
			if err := t.dropObject(a, id); err != nil {
				return false, err
			}
		}
		data = data[n:]
	case reapMailbox:
		if data, err = t.reapPage(a, data); err != nil {
			return false, err
		}
	default:
		return false, errRecord
	}
	if len(data) == 0 {
		return true, t.delete(key)
	}
	return true, t.put(key, append(entry[:2:2], data...))
}

// dropObject takes one use from an object and, with the last one, removes it.
func (t *Tx) dropObject(a AccountID, id ObjectID) error {
	o, err := t.Object(a, id)
	if errors.Is(err, ErrNoMessage) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.refs--; o.refs > 0 {
		return t.putObject(a, o)
	}
	if err := t.dropThread(a, o); err != nil {
		return err
	}
	if err := t.dropBody(o.body); err != nil {
		return err
	}
	t.s.cache.drop(a, id)
	return t.delete(key64(tabObject, a, uint64(id)))
}

// reapPage removes one page of a deleted mailbox; with the last one the rest
// of it. What it returns stands in the entry: nothing when the mailbox is gone.
func (t *Tx) reapPage(a AccountID, data []byte) ([]byte, error) {
	if len(data) != 8 {
		return nil, errRecord
	}
	m := MailboxID(le.Uint64(data))
	p, err := t.nextPage(a, m, 0)
	if err != nil {
		return nil, err
	}
	if p == nil {
		if err := t.delete(keyMailbox(tabKeywords, a, m)); err != nil {
			return nil, err
		}
		return nil, t.deleteRange(keyMailbox(tabVanished, a, m))
	}
	for i := range hotCount(p.hot) {
		var pl Placement
		readHot(p.hot, i, &pl)
		if err := t.dropObject(a, pl.Object); err != nil {
			return nil, err
		}
	}
	if err := t.delete(keyPage(tabDates, a, m, p.number)); err != nil {
		return nil, err
	}
	return data, t.delete(keyPage(tabHot, a, m, p.number))
}

// deleteRange deletes the keys that begin with prefix: a bounded number.
func (t *Tx) deleteRange(prefix []byte) error {
	_, err := t.deleteSome(prefix, nil)
	return err
}

// deleteSome deletes up to reapStep*8 keys that begin with prefix, telling each before, and how many they were.
func (t *Tx) deleteSome(prefix []byte, each func(key, value []byte) error) (int, error) {
	var keys, values [][]byte
	err := t.Scan(prefix, after(prefix), func(k, v []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		if each != nil {
			values = append(values, append([]byte(nil), v...))
		}
		return len(keys) < 8*reapStep
	})
	if err != nil {
		return 0, err
	}
	for i, k := range keys {
		if each != nil {
			if err := each(k, values[i]); err != nil {
				return 0, err
			}
		}
		if err := t.delete(k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}

// reapAccounts does one step of removing what an erased account has left.
func (t *Tx) reapAccounts() (more bool, err error) {
	ids, err := t.erasing()
	if err != nil || len(ids) == 0 {
		return false, err
	}
	a := ids[0]
	n, err := t.deleteSome(keyAccount(tabObject, a), func(_, v []byte) error {
		o, err := parseObject(0, v)
		if err != nil {
			return err
		}
		return t.dropBody(o.body)
	})
	if err != nil || n > 0 {
		return true, err
	}
	for _, table := range accountTables {
		if table == tabAccount {
			continue // last: it says that there is work left
		}
		if n, err := t.deleteSome(keyAccount(table, a), nil); err != nil || n > 0 {
			return true, err
		}
	}
	return true, t.delete(keyAccount(tabAccount, a))
}

// resume finishes at start what a crash has interrupted: erasures whose keys are still
// there, copies that had only been counted.
func (s *Store) resume(ctx context.Context) error {
	var erasing []AccountID
	type job struct {
		account AccountID
		id      uint64
	}
	copying := map[job]bool{}
	err := s.View(ctx, func(t *Tx) (err error) {
		if erasing, err = t.erasing(); err != nil {
			return err
		}
		lo := []byte{tabCopying}
		return t.Scan(lo, after(lo), func(k, _ []byte) bool {
			copying[job{AccountID(binary.BigEndian.Uint32(k[1:])), binary.BigEndian.Uint64(k[5:])}] = true
			return true
		})
	})
	if err != nil {
		return err
	}
	for _, a := range erasing {
		if err := s.eraseKeys(a); err != nil && !errors.Is(err, ErrByHand) {
			return err
		}
	}
	for j := range copying {
		s.undoCopy(j.account, j.id)
	}
	s.wakeKeeper()
	return nil
}
