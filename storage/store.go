// Package storage is what the server remembers: accounts, mailboxes, messages
// and their changes.
//
// Nouns only: one file each, with their records octet by octet. The verbs live
// in backend. Everything is read in View and changed in Update, on a [Tx]; a
// message enters through Accept. Whoever waits for news asks Watch for a wake,
// which carries no data, and then reads what changed since the ModSeq it knows.
//
// Three places hold it all. The index (a kv.DB, see key.go for its tables)
// holds ids, flags, dates, sizes and counters; what tells of a patient is sealed
// there. The log (package body) holds each message once, with its metadata.
// The cache (a second kv.DB) holds copies of the metadata and may be deleted
// while the server is down.
package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"telesphore/storage/body"
	"telesphore/storage/keyring"
	"telesphore/storage/kv"
)

// Errors of the store, to be tested with errors.Is.
var (
	ErrNoAccount     = errors.New("storage: no such account")
	ErrAccountExists = errors.New("storage: address is taken")
	ErrNoMailbox     = errors.New("storage: no such mailbox")
	ErrMailboxExists = errors.New("storage: mailbox exists")
	ErrMailboxName   = errors.New("storage: mailbox name not allowed")
	ErrMailboxLimit  = errors.New("storage: too many mailboxes")
	ErrSpecialUse    = errors.New("storage: another mailbox has this special use")
	ErrInbox         = errors.New("storage: not allowed on INBOX")
	ErrKeywordLimit  = errors.New("storage: no room for another keyword")
	ErrNoMessage     = errors.New("storage: no such message")
	ErrNoCard        = errors.New("storage: no such card")
	ErrNoGrant       = errors.New("storage: no such grant")
	ErrNoAppPassword = errors.New("storage: no such application password")
	ErrOverQuota     = errors.New("storage: over quota")
	ErrTooMany       = errors.New("storage: too many messages in one change")
	ErrNoSpace       = errors.New("storage: disk space is running out")
	// ErrByHand: the account is erased for this server, but destroying its key
	// takes a step that only a person can do. The log says which.
	ErrByHand = keyring.ErrByHand
	errView   = errors.New("storage: change inside a View")
)

// formatVersion is the index format that this package reads and writes.
const formatVersion = 1

// Limits bound what one account can hold. Zero means the default.
type Limits struct {
	Mailboxes      int   // per account; default 5,000
	NameLength     int   // octets of a mailbox name; default 500
	NameDepth      int   // levels of a mailbox name; default 20
	QuotaBytes     int64 // octets per account that has no quota of its own; default 10 GiB
	VanishedRanges int   // expunged UID ranges remembered per mailbox; default 4,096
	FreeBytes      int64 // octets that stay free on the disk: with less, Accept answers ErrNoSpace; default 256 MiB
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		Mailboxes:      cmp.Or(l.Mailboxes, 5000),
		NameLength:     cmp.Or(l.NameLength, 500),
		NameDepth:      cmp.Or(l.NameDepth, 20),
		QuotaBytes:     cmp.Or(l.QuotaBytes, 10<<30),
		VanishedRanges: cmp.Or(l.VanishedRanges, 4096),
		FreeBytes:      cmp.Or(l.FreeBytes, 256<<20),
	}
}

// Config is what a store is made of. The caller closes the parts after the
// store, the log's Flush being the index's BeforeCommit.
type Config struct {
	DB     kv.DB         // the index
	Cache  kv.DB         // disposable
	Log    *body.Log     // message bodies
	Keys   *keyring.Ring // account keys
	Limits Limits
	Logger *slog.Logger
	// Free tells how many octets are free where the store lies. A log that has
	// met a full disk takes nothing more until restart, so the store stops
	// before. Nil: nobody looks.
	Free func() (int64, error)
}

// Store is the whole memory of one server.
type Store struct {
	db       kv.DB
	log      *body.Log
	keys     *keyring.Ring
	limits   Limits
	logger   *slog.Logger
	cache    *cache
	watchers watchers
	lazy     lazy
	bodies   atomic.Uint64 // last body ID given out
	free     func() (int64, error)
	low      atomic.Bool   // too little disk space is left for mail
	reap     chan struct{} // wakes the keeper: there is something to reap
	tidying  sync.Mutex    // held while reaping and compacting
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// Tx reads one snapshot and, inside Update, changes it.
type Tx struct {
	kv.Reader
	w    kv.Tx // nil in a View
	s    *Store
	wake []Topic
	reap bool // something was left to the keeper
}

// Open opens the store, replays what the log holds beyond the index and starts
// the keeper, which Close stops.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{
		db: c.DB, log: c.Log, keys: c.Keys, limits: c.Limits.withDefaults(), logger: c.Logger, free: c.Free,
		watchers: watchers{topics: map[Topic]map[chan struct{}]bool{}},
		reap:     make(chan struct{}, 1),
	}
	s.lazy.init()
	if err := s.boot(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.replay(ctx); err != nil {
		return nil, fmt.Errorf("replay the log: %w", err)
	}
	if err := s.resume(ctx); err != nil {
		return nil, fmt.Errorf("resume unfinished changes: %w", err)
	}
	s.lookAtSpace()
	var err error
	if s.cache, err = openCache(ctx, c.Cache, s); err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	s.done.Go(func() { s.keep(run) })
	s.done.Go(func() { s.cache.run(run) })
	return s, nil
}

// Close writes what may lag and stops the keeper. The parts of Config are the
// caller's to close.
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	return s.flushLazy(context.Background())
}

// boot checks the format and draws a new boot number: body IDs are made of it,
// so none is given out twice, not even when a crash loses the records.
func (s *Store) boot(ctx context.Context) error {
	return s.db.Update(ctx, func(tx kv.Tx) error {
		v, err := tx.Get(keyStore("format"))
		if err != nil {
			return err
		}
		if v == nil {
			if err := tx.Put(keyStore("format"), []byte{formatVersion}); err != nil {
				return err
			}
		} else if len(v) != 1 || v[0] != formatVersion {
			return fmt.Errorf("the index has format %v, this program reads %d", v, formatVersion)
		}
		n, err := getUint64(tx, keyStore("boot"))
		if err != nil {
			return err
		}
		n++
		s.bodies.Store(n << 40)
		return putUint64(tx, keyStore("boot"), n)
	})
}

// View runs f on a consistent snapshot. Nothing f got from its Tx is used after
// it returns, unless the method says that it copies; f does no I/O of its own.
func (s *Store) View(ctx context.Context, f func(*Tx) error) error {
	return s.db.View(ctx, func(r kv.Reader) error { return f(&Tx{Reader: r, s: s}) })
}

// Update runs f and makes its changes durable, all or none, before it returns
// nil. f may run more than once, so it touches nothing but its Tx and variables
// that it sets anew each time.
func (s *Store) Update(ctx context.Context, f func(*Tx) error) error {
	return s.update(ctx, s.db.Update, f)
}

// updateLogged is Update for a change that the log holds too: it may return
// when the log is on disk, since replay would make the change again.
func (s *Store) updateLogged(ctx context.Context, f func(*Tx) error) error {
	if l, ok := s.db.(kv.LoggedDB); ok {
		return s.update(ctx, l.UpdateLogged, f)
	}
	return s.Update(ctx, f)
}

func (s *Store) update(ctx context.Context, run func(context.Context, func(kv.Tx) error) error, f func(*Tx) error) error {
	var done *Tx
	err := run(ctx, func(tx kv.Tx) error {
		t := &Tx{Reader: tx, w: tx, s: s}
		done = t
		return f(t)
	})
	if errors.Is(err, kv.ErrLimit) {
		return fmt.Errorf("%w: %w", ErrTooMany, err)
	}
	if err != nil {
		return err
	}
	s.watchers.wake(done.wake)
	if done.reap {
		s.wakeKeeper()
	}
	return nil
}

func (s *Store) wakeKeeper() {
	select {
	case s.reap <- struct{}{}:
	default:
	}
}

func (t *Tx) put(key, value []byte) error {
	if t.w == nil {
		return errView
	}
	return t.w.Put(key, value)
}

func (t *Tx) delete(key []byte) error {
	if t.w == nil {
		return errView
	}
	return t.w.Delete(key)
}

// changed notes that watchers of the mailbox and of its account must wake.
func (t *Tx) changed(a AccountID, m MailboxID) {
	t.wake = append(t.wake, Topic{a, m}, Topic{a, 0})
}

// keys returns the account's keys.
func (t *Tx) keys(a AccountID) (*keyring.Account, error) { return t.s.accountKeys(a) }

func (s *Store) accountKeys(a AccountID) (*keyring.Account, error) {
	k, err := s.keys.Account(uint32(a))
	if errors.Is(err, keyring.ErrErased) || errors.Is(err, keyring.ErrUnknown) {
		return nil, ErrNoAccount
	}
	return k, err
}

func getUint64(r kv.Reader, key []byte) (uint64, error) {
	v, err := r.Get(key)
	if err != nil || v == nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, errRecord
	}
	return binary.LittleEndian.Uint64(v), nil
}

func putUint64(tx interface{ Put(key, value []byte) error }, key []byte, n uint64) error {
	return tx.Put(key, binary.LittleEndian.AppendUint64(nil, n))
}

// ad binds a sealed value to what it is and whose: kind, then the numbers that name it.
func ad(kind string, ids ...uint64) []byte {
	b := []byte(kind)
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, id)
	}
	return b
}

// now is the time that records keep, in whole seconds.
func now() time.Time { return time.Now().Truncate(time.Second) }
