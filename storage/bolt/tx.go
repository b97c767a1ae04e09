package bolt

import (
	"bytes"
	"errors"

	bbolt "go.etcd.io/bbolt"

	"telesphore/storage/kv"
)

// Mistakes of the caller, refused because they would corrupt a scan or write
// into somebody else's transaction.
var (
	errNested = errors.New("bolt: call on a transaction from inside its own callback")
	errEnded  = errors.New("bolt: call on a transaction that has ended")
)

// reader is a snapshot of bbolt, seen through the writes of a transaction
// when it belongs to one. It implements kv.Reader.
type reader struct {
	cursor *bbolt.Cursor // one for the whole transaction: a new one costs two allocations per Get
	over   *overlay      // nil in a View
	inside bool          // a callback is running; it must not move the cursor
	ended  bool
}

// usable refuses calls that would move the cursor under a running callback or
// that come after the end.
func (r *reader) usable() error {
	switch {
	case r.ended:
		return errEnded
	case r.inside:
		return errNested
	}
	return nil
}

// Get implements kv.Reader.
func (r *reader) Get(key []byte) ([]byte, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	return r.get(key), nil
}

// get returns the value of key as the transaction sees it, nil when absent.
func (r *reader) get(key []byte) []byte {
	if r.over != nil {
		if pos, found := r.over.find(key); found {
			return r.over.at(pos).value
		}
	}
	if k, v := r.cursor.Seek(key); bytes.Equal(k, key) {
		return v
	}
	return nil
}

// MultiGet implements kv.Reader.
func (r *reader) MultiGet(keys [][]byte, f func(i int, value []byte) error) error {
	if err := r.usable(); err != nil {
		return err
	}
	r.inside = true
	defer func() { r.inside = false }()
	for i, key := range keys {
		if err := f(i, r.get(key)); err != nil {
			return err
		}
	}
	return nil
}

// Scan implements kv.Reader.
func (r *reader) Scan(lo, hi []byte, f func(key, value []byte) bool) error {
	if err := r.usable(); err != nil {
		return err
	}
	r.inside = true
	defer func() { r.inside = false }()
	if r.over == nil || len(r.over.order) == 0 {
		for k, v := r.cursor.Seek(lo); k != nil && below(k, hi); k, v = r.cursor.Next() {
			if !f(k, v) {
				break
			}
		}
		return nil
	}
	r.merge(lo, hi, f)
	return nil
}

// merge scans the snapshot and the transaction's own writes side by side.
func (r *reader) merge(lo, hi []byte, f func(key, value []byte) bool) {
	k, v := r.cursor.Seek(lo)
	pos, _ := r.over.find(lo)
	for {
		if k != nil && !below(k, hi) {
			k = nil
		}
		var own *write
		if pos < len(r.over.order) && below(r.over.at(pos).key, hi) {
			own = r.over.at(pos)
		}
		switch {
		case k == nil && own == nil:
			return
		case own == nil || k != nil && bytes.Compare(k, own.key) < 0:
			if !f(k, v) {
				return
			}
			k, v = r.cursor.Next()
		default:
			if bytes.Equal(k, own.key) { // overwritten or deleted by this transaction
				k, v = r.cursor.Next()
			}
			pos++
			if own.value != nil && !f(own.key, own.value) {
				return
			}
		}
	}
}

// below tells whether key lies before the end of a scan; nil is the end of
// the key space.
func below(key, hi []byte) bool { return hi == nil || bytes.Compare(key, hi) < 0 }

// tx is the transaction of one Update. It implements kv.Tx.
type tx struct {
	reader
	err error // the first refused write; it fails the Update whatever the function returns
}

// Put implements kv.Tx. It keeps the value, which the caller leaves untouched
// until the transaction ends, and a copy of the key.
func (t *tx) Put(key, value []byte) error {
	if value == nil {
		value = []byte{} // nil means deleted
	}
	return t.write(key, value)
}

// Delete implements kv.Tx.
func (t *tx) Delete(key []byte) error { return t.write(key, nil) }

func (t *tx) write(key, value []byte) error {
	err := t.usable()
	if err == errEnded {
		return err // err belongs to the committer by now
	}
	if err == nil {
		err = kv.CheckKey(key)
	}
	if err == nil {
		err = kv.CheckValue(value)
	}
	if err == nil {
		err = t.over.set(key, value)
	}
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}
