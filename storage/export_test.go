package storage

import (
	"bytes"
	"errors"
	"testing"
)

// Reap does the keeper's work now, so that a test can look at what is left.
func (s *Store) Reap(t testing.TB) {
	t.Helper()
	if err := s.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// CountKeys counts the keys of one table.
func (s *Store) CountKeys(t testing.TB, table byte) (n int) {
	t.Helper()
	err := s.View(t.Context(), func(tx *Tx) error {
		return tx.Scan([]byte{table}, []byte{table + 1}, func(_, _ []byte) bool { n++; return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// LookAtSpace does what the keeper does every second.
func (s *Store) LookAtSpace() { s.lookAtSpace() }

// StageForNothing stages an accept record in a change that then fails.
func (s *Store) StageForNothing(t testing.TB, c *Content, target Target) {
	t.Helper()
	f, err := s.prepare(c, &target)
	if err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed after staging")
	err = s.Update(t.Context(), func(tx *Tx) error {
		if err := tx.assign(&f); err != nil {
			return err
		}
		head := s.keys.Log().Seal(nil, (&accepted{filed: []filing{f}}).record(), ad("accept", uint64(c.id)))
		if _, err := s.log.Stage(c.sealed, head, now(), s.keys.Epoch()); err != nil {
			return err
		}
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
}

// ErrRecord is what a damaged record gives.
var ErrRecord = errRecord

// Flush writes what may lag now.
func (s *Store) Flush(t testing.TB) {
	t.Helper()
	if err := s.flushLazy(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Spoil gives every record of a table to f, in the order of their keys: what
// it returns is put in its place, nil deletes the record.
func (s *Store) Spoil(t testing.TB, table byte, f func(value []byte) []byte) {
	t.Helper()
	var keys, values [][]byte
	err := s.View(t.Context(), func(tx *Tx) error {
		return tx.Scan([]byte{table}, []byte{table + 1}, func(k, v []byte) bool {
			keys, values = append(keys, bytes.Clone(k)), append(values, f(bytes.Clone(v)))
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx *Tx) (err error) {
		for i, k := range keys {
			if values[i] == nil {
				err = errors.Join(err, tx.delete(k))
			} else {
				err = errors.Join(err, tx.put(k, values[i]))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
