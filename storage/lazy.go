package storage

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// lazy holds what may reach the disk a second late: last log-ins, last uses and
// what has been \Recent. A crash forgets at most that second of it.
type lazy struct {
	mu      sync.Mutex
	logins  map[AccountID]time.Time    // guarded by mu
	recents map[MailboxID]recent       // guarded by mu
	uses    map[AccountID]map[use]used // guarded by mu
}

type recent struct {
	account AccountID
	first   uint32
}

// use says what was used to log in; one field is set.
type use struct {
	grant, appPassword uint32
	card               string // its identity
	network            netip.Prefix
}

// used says when and, for application passwords, from where.
type used struct {
	at   time.Time
	from netip.Addr
}

func (l *lazy) init() {
	l.logins, l.recents, l.uses = map[AccountID]time.Time{}, map[MailboxID]recent{}, map[AccountID]map[use]used{}
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

// usesOf returns the uses that are not on disk yet.
func (l *lazy) usesOf(a AccountID) map[use]used {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.uses[a])
}

// note keeps a use until it is written.
func (l *lazy) note(a AccountID, u use, last used) {
	last.at = last.at.Truncate(time.Second) // as records keep it
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uses[a] == nil {
		l.uses[a] = map[use]used{}
	}
	if last.at.After(l.uses[a][u].at) {
		l.uses[a][u] = last
	}
}

// latest returns the later of two dates.
func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
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

// lazyStep bounds what one change writes of each kind: accounts or mailboxes.
const lazyStep = 1000

// flushLazy writes what has lagged.
func (s *Store) flushLazy(ctx context.Context) error {
	for more := true; more; {
		late := s.lazy.take(lazyStep)
		if late == nil {
			return nil
		}
		if err := s.Update(ctx, late.write); err != nil {
			return err
		}
		more = s.lazy.written(late)
	}
	return nil
}

// take copies up to n values of each kind, so that readers find the late ones
// until they are written. Nil when there are none.
func (l *lazy) take(n int) *lazy {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.logins)+len(l.recents)+len(l.uses) == 0 {
		return nil
	}
	late := &lazy{logins: some(l.logins, n), recents: some(l.recents, n), uses: some(l.uses, n)}
	for a, uses := range late.uses {
		late.uses[a] = maps.Clone(uses)
	}
	return late
}

// some copies up to n entries of m.
func some[K comparable, V any](m map[K]V, n int) map[K]V {
	out := make(map[K]V, min(n, len(m)))
	for k, v := range m {
		if len(out) == n {
			break
		}
		out[k] = v
	}
	return out
}

// written forgets what late held unless there is a newer value, and tells
// whether late did not hold all.
func (l *lazy) written(late *lazy) (more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	more = max(len(late.logins), len(late.recents), len(late.uses)) == lazyStep
	forget(l.logins, late.logins)
	forget(l.recents, late.recents)
	for a, uses := range late.uses {
		if forget(l.uses[a], uses); len(l.uses[a]) == 0 {
			delete(l.uses, a)
		}
	}
	return more
}

// forget deletes from m what is as it was in old.
func forget[K, V comparable](m, old map[K]V) {
	for k, v := range old {
		if m[k] == v {
			delete(m, k)
		}
	}
}

// write brings late values to the index. What they belong to may be gone.
func (l *lazy) write(t *Tx) error {
	for id, at := range l.logins {
		if err := t.putLogin(id, at); err != nil && !gone(err) {
			return err
		}
	}
	for id, r := range l.recents {
		if err := t.putRecent(id, r); err != nil && !gone(err) {
			return err
		}
	}
	for a, uses := range l.uses {
		for u := range uses {
			if err := t.putUse(a, u); err != nil && !gone(err) {
				return err
			}
		}
	}
	t.wake = nil // nothing that a watcher waits for
	return nil
}

// gone tells whether a late value has come too late.
func gone(err error) bool {
	for _, missing := range []error{ErrNoAccount, ErrNoMailbox, ErrNoCard, ErrNoGrant, ErrNoAppPassword} {
		if errors.Is(err, missing) {
			return true
		}
	}
	return false
}

// putUse writes a record with its last use, which reading it brings in.
func (t *Tx) putUse(a AccountID, u use) error {
	switch {
	case u.grant != 0:
		g, err := t.grant(a, u.grant)
		if err != nil {
			return err
		}
		return t.putSealed(a, keyGrant(a, g.ID), g.record())
	case u.appPassword != 0:
		p, err := t.AppPassword(a, u.appPassword)
		if err != nil {
			return err
		}
		return t.putSealed(a, keyPassword(a, p.ID), p.record())
	case u.network.IsValid():
		return t.putNetworks(a)
	}
	cards, err := t.Cards(a)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(cards, func(c Card) bool { return c.Identity == u.card })
	if i < 0 {
		return ErrNoCard
	}
	return t.PutCard(a, &cards[i])
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
