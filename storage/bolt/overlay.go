package bolt

import (
	"bytes"

	"telesphore/storage/kv"
)

// write is one key written by a transaction; a nil value is a deletion.
type write struct {
	key, value []byte
}

// overlay holds the writes of one transaction apart from those of the others
// that share its commit: bbolt has no savepoints.
//
// A transaction writes few keys, mostly in ascending order, so a sorted list
// of small indices beats a map: nothing is allocated per key, a scan merges it
// as it stands, and bbolt receives the keys in order. Ten thousand keys in
// random order, the most a transaction may write, cost a few milliseconds.
type overlay struct {
	writes []write  // in the order in which the keys were first written
	order  []uint16 // indices into writes, ascending by key
	keys   []byte   // where copies of the keys live
}

// An index into writes fits order's type: constant overflow otherwise.
const _ = uint16(kv.MaxWrites)

const (
	keyBlock  = 4 << 10 // octets of keys allocated at once
	keepAlloc = 1 << 10 // writes for which memory is kept between transactions
)

// find returns the position in order of the first key not below key, and
// whether it is key itself.
func (o *overlay) find(key []byte) (int, bool) {
	lo, hi := 0, len(o.order)
	if hi > 0 {
		switch c := bytes.Compare(o.at(hi-1).key, key); { // the common case: ascending keys
		case c < 0:
			return hi, false
		case c == 0:
			return hi - 1, true
		}
	}
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch c := bytes.Compare(o.at(mid).key, key); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// at returns the write at a position of the order.
func (o *overlay) at(pos int) *write { return &o.writes[o.order[pos]] }

// set records value for key, nil for a deletion. It copies the key but not
// the value.
func (o *overlay) set(key, value []byte) error {
	pos, found := o.find(key)
	if found {
		o.at(pos).value = value
		return nil
	}
	if err := kv.CheckWrites(len(o.writes) + 1); err != nil {
		return err
	}
	o.order = append(o.order, 0)
	copy(o.order[pos+1:], o.order[pos:])
	o.order[pos] = uint16(len(o.writes))
	o.writes = append(o.writes, write{o.keep(key), value})
	return nil
}

// keep copies a key into the current block of keys. A full block is left to
// the writes that point into it.
func (o *overlay) keep(key []byte) []byte {
	if cap(o.keys)-len(o.keys) < len(key) {
		o.keys = make([]byte, 0, max(keyBlock, len(key)))
	}
	start := len(o.keys)
	o.keys = append(o.keys, key...)
	return o.keys[start:len(o.keys):len(o.keys)]
}

// reset forgets every write and keeps a moderate amount of memory.
func (o *overlay) reset() {
	if cap(o.writes) > keepAlloc {
		*o = overlay{}
		return
	}
	clear(o.writes) // values belong to callers and may be large
	o.writes, o.order, o.keys = o.writes[:0], o.order[:0], o.keys[:0]
}
