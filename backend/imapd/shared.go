package imapd

import (
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"telesphore/storage"
)

// snapshot is the UIDs of a mailbox at one moment of its history. Its UIDs
// are never changed, so sessions share it.
type snapshot struct {
	at   storage.ModSeq
	uids []uint32

	// unseen is 1 + the sequence number of the first message without \Seen (1
	// when there is none), 0 while nobody has looked.
	unseen atomic.Uint64
}

// sharedUIDs knows the newest snapshot of each mailbox that sessions hold, so
// that a thousand of them on one large mailbox cost no more than one.
type sharedUIDs struct {
	mu     sync.Mutex // guards what follows
	newest map[storage.Topic]weak.Pointer[snapshot]
}

// at returns the snapshot at modseq, or nil.
func (u *sharedUIDs) at(mailbox storage.Topic, modseq storage.ModSeq) *snapshot {
	u.mu.Lock()
	defer u.mu.Unlock()
	if snap := u.newest[mailbox].Value(); snap != nil && snap.at == modseq {
		return snap
	}
	return nil
}

// share offers snap to others, and returns what another session has offered
// meanwhile, so that both hold the same.
func (u *sharedUIDs) share(mailbox storage.Topic, snap *snapshot) *snapshot {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old := u.newest[mailbox].Value(); old != nil && old.at >= snap.at {
		if old.at == snap.at {
			return old
		}
		return snap
	}
	if u.newest == nil {
		u.newest = make(map[storage.Topic]weak.Pointer[snapshot])
	}
	u.newest[mailbox] = weak.Make(snap)
	runtime.AddCleanup(snap, u.forget, mailbox)
	return snap
}

// forget removes a mailbox of which nobody holds a snapshot any more.
func (u *sharedUIDs) forget(mailbox storage.Topic) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p, ok := u.newest[mailbox]; ok && p.Value() == nil {
		delete(u.newest, mailbox)
	}
}
