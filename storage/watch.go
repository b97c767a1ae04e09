package storage

import "sync"

// Topic names what a watcher waits for: any change of an account (Mailbox 0),
// those of its own record (OfRecord), or those of one mailbox. That of account 0
// is the queue (OfQueue).
type Topic struct {
	Account AccountID
	Mailbox MailboxID
}

// OfRecord stands in a Topic for the account's state and credentials. No mailbox has this ID.
const OfRecord MailboxID = 1

// OfTraces stands in a Topic for what became of the mail that the account has
// sent. No mailbox has this ID.
const OfTraces MailboxID = 3

// watchers holds who waits for what.
type watchers struct {
	mu     sync.Mutex
	topics map[Topic]map[chan struct{}]bool // guarded by mu
}

// Watch returns a channel that receives after each commit that changed one of
// the topics. Wakes merge and carry no data: Watch first, then View. Call stop
// when done.
func (s *Store) Watch(topics ...Topic) (wake <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range topics {
		if w.topics[t] == nil {
			w.topics[t] = map[chan struct{}]bool{}
		}
		w.topics[t][c] = true
	}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, t := range topics {
			if delete(w.topics[t], c); len(w.topics[t]) == 0 {
				delete(w.topics, t)
			}
		}
	}
}

func (w *watchers) wake(topics []Topic) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range topics {
		for c := range w.topics[t] {
			select {
			case c <- struct{}{}:
			default: // one wake is waiting already
			}
		}
	}
}
