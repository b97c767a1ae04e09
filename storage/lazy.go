package storage

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"
)

// lazy holds what may reach the disk a second late: last log-ins and what
// has been \Recent. A crash forgets at most that second of it.
type lazy struct {
	mu      sync.Mutex
	logins  map[AccountID]time.Time // guarded by mu
	recents map[MailboxID]recent    // guarded by mu
}

type recent struct {
	account AccountID
	first   uint32
}

func (l *lazy) init() {
	l.logins, l.recents = map[AccountID]time.Time{}, map[MailboxID]recent{}
}

func (l *lazy) login(a AccountID) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.logins[a]
}

func (l *lazy) recent(m MailboxID) uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recents[m].first
}

// LoggedIn records a log-in. It may reach the disk a second later.
func (s *Store) LoggedIn(id AccountID, at time.Time) {
	s.lazy.mu.Lock()
	defer s.lazy.mu.Unlock()
	s.lazy.logins[id] = at
}

// TakeRecent returns the first UID that is \Recent for a session that selects
// the mailbox read-write now, and makes all messages it holds now old for later sessions.
func (s *Store) TakeRecent(ctx context.Context, a AccountID, m MailboxID) (first uint32, err error) {
	err = s.View(ctx, func(t *Tx) error {
		box, err := t.load(a, m)
		if err != nil {
			return err
		}
		l := &s.lazy
		l.mu.Lock()
		defer l.mu.Unlock()
		first = max(box.FirstRecent, l.recents[m].first)
		if first < box.UIDNext {
			l.recents[m] = recent{a, box.UIDNext}
		}
		return nil
	})
	return first, err
}

// flushLazy writes what has lagged.
func (s *Store) flushLazy(ctx context.Context) error {
	l := &s.lazy
	l.mu.Lock()
	logins, recents := l.logins, l.recents
	if len(logins)+len(recents) == 0 {
		l.mu.Unlock()
		return nil
	}
	// Copies, so that readers find the late values until they are written.
	logins, recents = maps.Clone(logins), maps.Clone(recents)
	l.mu.Unlock()
	err := s.Update(ctx, func(t *Tx) error {
		for id, at := range logins {
			if err := t.putLogin(id, at); err != nil && !errors.Is(err, ErrNoAccount) {
				return err
			}
		}
		for id, r := range recents {
			if err := t.putRecent(id, r); err != nil && !errors.Is(err, ErrNoMailbox) {
				return err
			}
		}
		t.wake = nil // nothing that a watcher waits for
		return nil
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, at := range logins {
		if l.logins[id] == at {
			delete(l.logins, id)
		}
	}
	for id, r := range recents {
		if l.recents[id] == r {
			delete(l.recents, id)
		}
	}
	return nil
}

func (t *Tx) putLogin(id AccountID, at time.Time) error {
	return t.editAccount(id, func(a *Account) { a.LastLogin = at })
}

func (t *Tx) putRecent(id MailboxID, r recent) error {
	box, err := t.load(r.account, id)
	if err != nil {
		return err
	}
	box.FirstRecent = max(box.FirstRecent, r.first)
	return t.putMailbox(box)
}

// keep is the keeper: it writes late values every second, reaps when woken and
// gives the room of dead bodies back.
func (s *Store) keep(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.lookAtSpace()
			err = s.flushLazy(ctx)
		case <-s.reap:
			err = s.tidy(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.logger.Error("keeper", "cause", err)
		}
	}
}

// lookAtSpace notes whether the disk has room for more mail.
func (s *Store) lookAtSpace() {
	if s.free == nil {
		return
	}
	free, err := s.free()
	if err != nil {
		s.logger.Error("look at the free disk space", "cause", err)
		return
	}
	low := free < s.limits.FreeBytes
	if s.low.Swap(low) == low {
		return
	}
	if low {
		s.logger.Error("disk space is running out: no more mail is taken", "free", free, "needed", s.limits.FreeBytes)
	} else {
		s.logger.Info("there is disk space again: mail is taken", "free", free)
	}
}

// tidy removes what expunges and deletions have left.
func (s *Store) tidy(ctx context.Context) error {
	s.tidying.Lock()
	defer s.tidying.Unlock()
	if err := s.reapAll(ctx); err != nil {
		return err
	}
	return s.compact(ctx)
}
