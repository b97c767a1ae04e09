package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
)

// ErrQueueID: this is no QueueID as people write it.
var ErrQueueID = errors.New("storage: not the ID of a message in the queue")

// String is the ID as people write it: in base 36, lower case.
func (id QueueID) String() string { return strconv.FormatUint(uint64(id), 36) }

// ParseQueueID reads what [QueueID.String] writes, and nothing else. ErrQueueID.
func ParseQueueID(s string) (QueueID, error) {
	n, err := strconv.ParseUint(s, 36, 64)
	if id := QueueID(n); err == nil && n > 0 && id.String() == s {
		return id, nil
	}
	return 0, ErrQueueID
}

// QueueIDs calls f for the IDs of the messages in the queue behind one, ascending, until f
// returns false; 0 stands before all. It reads no message. f may call the Tx. One may
// come in behind a greater one: see Queue.
func (t *Tx) QueueIDs(behind QueueID, f func(QueueID) bool) error {
	for {
		var ids []QueueID
		err := t.Scan(keyQueued(tabQueued, behind+1), []byte{tabQueued + 1}, func(key, _ []byte) bool {
			ids = append(ids, QueueID(binary.BigEndian.Uint64(key[1:])))
			return len(ids) < queueStep
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, behind = range ids {
			if !f(behind) {
				return nil
			}
		}
	}
}

// DropQueued takes a message out of the queue whatever stands there: nothing of it is read, so
// it does that also to one that is damaged. It returns how many deliveries it had. ErrNoQueued.
func (t *Tx) DropQueued(id QueueID) (deliveries int, err error) {
	var keys [][]byte
	lo := keyQueued(tabDelivery, id)
	if err := t.Scan(lo, after(lo), func(key, _ []byte) bool { keys = append(keys, bytes.Clone(key)); return true }); err != nil {
		return 0, err
	}
	v, err := t.Get(keyQueued(tabQueued, id))
	if err != nil {
		return 0, err
	}
	if v == nil && len(keys) == 0 {
		return 0, ErrNoQueued
	}
	for _, key := range keys {
		if err := t.delete(key); err != nil {
			return 0, err
		}
	}
	t.wakeQueue()
	return len(keys), t.leaveQueue(id)
}
