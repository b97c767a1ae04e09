package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// What is remembered of sent mail is remembered for a time only. It is removed in
// small transactions, so that nobody waits for it.
const (
	forgetStep = 2_000  // keys that one transaction deletes, and traces that it looks at
	sweepStep  = 20_000 // keys that one transaction looks at
)

// DropTraces removes what became of the messages that were sent before a date, of
// all accounts, and returns how many they were. A trace that cannot be read stays:
// see Verify.
func (s *Store) DropTraces(ctx context.Context, before time.Time) (dropped int, err error) {
	var accounts []AccountID
	err = s.View(ctx, func(t *Tx) (err error) { accounts, err = t.accountsIn(tabTrace); return err })
	for _, a := range accounts {
		if err != nil {
			break
		}
		var n int
		n, err = s.dropTraces(ctx, a, before)
		dropped += n
		if errors.Is(err, ErrNoAccount) {
			err = nil // erased: the keeper removes all that it had
		}
	}
	if err != nil {
		return dropped, fmt.Errorf("drop old traces: %w", err)
	}
	return dropped, nil
}

// accountsIn lists the accounts that have keys in a table, ascending.
func (t *Tx) accountsIn(table byte) (accounts []AccountID, err error) {
	for lo := []byte{table}; lo != nil; {
		var found []byte
		err := t.Scan(lo, after([]byte{table}), func(k, _ []byte) bool { found = append(found, k[:5]...); return false })
		if err != nil || found == nil {
			return accounts, err
		}
		accounts = append(accounts, AccountID(binary.BigEndian.Uint32(found[1:])))
		lo = after(found)
	}
	return accounts, nil
}

func (s *Store) dropTraces(ctx context.Context, a AccountID, before time.Time) (dropped int, err error) {
	var place uint64
	more := false
	err = s.View(ctx, func(t *Tx) (err error) { place, more, err = t.oldTraces(a, before); return err })
	for err == nil && more {
		var n int
		var next uint64
		err = s.Update(ctx, func(t *Tx) (err error) { n, next, err = t.dropSomeTraces(a, place, before); return err })
		if err == nil {
			dropped += n
			place, more = next, next != 0
		}
	}
	return dropped, err
}

// oldTraces finds the place of the newest trace that was sent before a date, false when
// there is none. IDs rise with time, so it needs to look at few.
func (t *Tx) oldTraces(a AccountID, before time.Time) (place uint64, found bool, err error) {
	young, old := uint64(0), uint64(math.MaxUint64) // before young all are young, from old on all are old
	for young < old {
		middle := young + (old-young)/2
		tr, err := t.nextTrace(a, middle)
		switch {
		case err != nil && !errors.Is(err, errRecord):
			return 0, false, err
		case err == nil && tr != nil && !tr.Sent.Before(before):
			young = tracePlace(tr.ID) + 1
		default: // old, or not readable: then the deleting looks closer
			old, found = middle, found || tr != nil
		}
	}
	return old, found, nil
}

// dropSomeTraces removes traces at and behind a place that were sent before a date. It
// returns where to go on, 0 for nowhere.
func (t *Tx) dropSomeTraces(a AccountID, place uint64, before time.Time) (dropped int, next uint64, err error) {
	k, err := t.keys(a)
	if err != nil {
		return 0, 0, err
	}
	for looked, deleted := 0, 0; looked < forgetStep && deleted < forgetStep; looked++ {
		tr, err := t.nextTrace(a, place)
		if tr == nil || err != nil && !errors.Is(err, errRecord) {
			return dropped, 0, err
		}
		place = tracePlace(tr.ID) + 1
		if err != nil || !tr.Sent.Before(before) {
			continue
		}
		for part := range tr.parts() {
			if err := t.delete(keyTracePart(a, tr.ID, part)); err != nil {
				return 0, 0, err
			}
		}
		for _, key := range traceNames(k, tr) {
			if err := t.unnameTrace(key, tr.ID); err != nil && !errors.Is(err, errRecord) {
				return 0, 0, err
			}
		}
		dropped++
		deleted += tr.parts() + 2
		t.changed(a, OfTraces)
	}
	return dropped, place, nil
}

// DropSent forgets how much accounts sent on the days before that of a date, and
// the recipients that they have not written to since. It returns how many entries that were.
func (s *Store) DropSent(ctx context.Context, before time.Time) (dropped int, err error) {
	first := dayOf(before)
	days, err := s.sweep(ctx, tabSent, func(k, _ []byte) bool { return dayOfSent(k) < first })
	if err != nil {
		return days, fmt.Errorf("forget what was sent: %w", err)
	}
	recipients, err := s.sweep(ctx, tabWritten, func(_, v []byte) bool {
		day, err := parseWrote(v)
		return err == nil && day < first
	})
	if err != nil {
		err = fmt.Errorf("forget old recipients: %w", err)
	}
	return days + recipients, err
}

// sweep looks at all keys of a table and deletes the old ones.
func (s *Store) sweep(ctx context.Context, table byte, old func(k, v []byte) bool) (dropped int, err error) {
	for lo := []byte{table}; lo != nil; {
		var next []byte
		var keys [][]byte
		err := s.View(ctx, func(t *Tx) error {
			next, keys = nil, nil
			looked := 0
			return t.Scan(lo, after([]byte{table}), func(k, v []byte) bool {
				if looked++; looked > sweepStep || len(keys) == forgetStep {
					next = bytes.Clone(k)
					return false
				}
				if old(k, v) {
					keys = append(keys, bytes.Clone(k))
				}
				return true
			})
		})
		if err != nil {
			return dropped, err
		}
		n := 0
		if len(keys) > 0 {
			err = s.Update(ctx, func(t *Tx) (err error) { n, err = t.deleteOld(keys, old); return err })
		}
		if err != nil {
			return dropped, err
		}
		dropped += n
		lo = next
	}
	return dropped, nil
}

// deleteOld deletes what is still old.
func (t *Tx) deleteOld(keys [][]byte, old func(k, v []byte) bool) (n int, err error) {
	for _, k := range keys {
		v, err := t.Get(k)
		if err != nil {
			return 0, err
		}
		if v == nil || !old(k, v) {
			continue
		}
		if err := t.delete(k); err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}
