package storage

import "testing"

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
