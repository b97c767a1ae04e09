package storage

import "time"

// PutTrace begins to follow a message, as Accept does.
func (t *Tx) PutTrace(tr *Trace) error { return t.putTrace(tr) }

// Spend counts what Accept would count.
func (t *Tx) Spend(a AccountID, at time.Time, recipients []string, l SendLimits) error {
	return t.spend(a, at, recipients, l)
}
