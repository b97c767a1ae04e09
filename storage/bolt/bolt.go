// Package bolt is the storage engine over one bbolt file.
//
// A DB implements kv.DB. An Update that finds nobody committing leads a group:
// it runs its function, then lets those that have arrived meanwhile run theirs, and
// commits for all. Whoever arrives during the commit waits, and the first of
// them leads the next group. So 64 concurrent writers share two fdatasyncs, while
// a lone one waits for nobody and wakes nobody. Every function runs in
// its caller's goroutine. Each writes to an overlay, which joins the bbolt
// transaction when the function returns nil and is dropped otherwise; so it
// sees what succeeded before it, and nothing of what failed.
//
// All keys live in one bbolt bucket. The free list is not written at each
// commit, which makes a commit five times faster and costs a walk over the
// whole file at Open; one sequential read beforehand makes that walk fast.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"time"

	bbolt "go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"telesphore/storage/kv"
)

// ErrLocked: another process, or another DB of this one, has the file open.
var ErrLocked = errors.New("another telesphore uses this directory")

// bucketName is the bbolt bucket that holds every key.
var bucketName = []byte("kv")

// Options tune a DB. The zero value is ready for use.
type Options struct {
	// BeforeCommit is called once per group of Updates, after all their
	// functions have run and before bbolt commits, unless every function has
	// failed. What the new keys point to must be durable when it returns. Its
	// error fails the whole group and makes the DB read-only.
	BeforeCommit func() error

	// MaxGroup is how many Updates share a commit at most; 0 means 256.
	MaxGroup int

	// Lag is how long the writes of a logged Update may wait for their commit
	// when nobody asks for them; 0 means 10 ms.
	Lag time.Duration

	// NoSync leaves out every fdatasync: only for a database that is thrown
	// away after a crash.
	NoSync bool

	// InitialMmapSize is the address space reserved for the file, in octets;
	// 0 means 16 GiB, or 256 MiB where pointers have 32 bits. It takes no
	// memory. A file that outgrows it is mapped anew, which waits for every
	// View to end.
	InitialMmapSize int

	// LockTimeout is how long Open waits for another process to close the
	// file before it fails with ErrLocked; 0 means one second.
	LockTimeout time.Duration
}

// withDefaults fills in what is zero.
func (o Options) withDefaults() Options {
	if o.MaxGroup <= 0 {
		o.MaxGroup = 256
	}
	if o.Lag <= 0 {
		o.Lag = 10 * time.Millisecond
	}
	if o.InitialMmapSize <= 0 {
		o.InitialMmapSize = 256 << 20
		if bits.UintSize == 64 {
			o.InitialMmapSize <<= 6
		}
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = time.Second
	}
	return o
}

// DB is a bbolt file with group commit. It implements kv.DB.
type DB struct {
	bolt    *bbolt.DB
	options Options

	mu     sync.Mutex // guards what follows, down to failed
	queue  []*job     // those from head on wait for their turn
	head   int
	led    bool // somebody leads a group
	behind bool // logged Updates have returned whose writes are not committed
	closed bool
	failed error // wraps kv.ErrReadOnly after a failed commit

	views   sync.WaitGroup // under way
	updates sync.WaitGroup // under way
	played  chan bool      // from the follower whose turn it is: whether to keep its writes

	// Used by the leader, and by the one follower whose turn it is.
	over    overlay
	pending *group // what behind says, with its open transaction
}

var _ kv.LoggedDB = (*DB)(nil)

// Open opens the file at path, or creates it. It
// returns an error that wraps ErrLocked when somebody else has the file open.
func Open(path string, o Options) (*DB, error) {
	o = o.withDefaults()
	fresh, err := prefetch(path)
	if err != nil {
		return nil, fmt.Errorf("bolt: read %s ahead: %w", path, err)
	}
	b, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:         o.LockTimeout,
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: o.InitialMmapSize,
		NoSync:          o.NoSync,
		NoStatistics:    true,
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		err = ErrLocked
	}
	if err != nil {
		return nil, fmt.Errorf("bolt: open %s: %w", path, err)
	}
	if err := prepare(b, path, fresh); err != nil {
		return nil, errors.Join(fmt.Errorf("bolt: prepare %s: %w", path, err), b.Close())
	}
	return &DB{bolt: b, options: o, played: make(chan bool)}, nil
}

// prefetch reads the file once from front to back, so that bbolt's walk over
// its pages finds them in memory instead of faulting them in one by one. It
// tells whether the file is still to be created.
func prefetch(path string) (fresh bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	// Hide the file's own WriterTo: it would not use the large buffer.
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return false, err
}

// prepare makes sure that the bucket exists, and that a new file keeps its
// name after a crash.
func prepare(b *bbolt.DB, path string, fresh bool) error {
	exists := false
	err := b.View(func(tx *bbolt.Tx) error {
		exists = tx.Bucket(bucketName) != nil
		return nil
	})
	if err == nil && !exists {
		err = b.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucketName)
			return err
		})
	}
	if err != nil || !fresh {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// View implements kv.DB. It goes on after the DB has become read-only; if
// the failed commit had reached the file by then, Views may show it although
// its Updates failed: only a restart tells.
func (db *DB) View(ctx context.Context, f func(kv.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return db.view(ctx, func(tx *bbolt.Tx) error {
		r := &reader{cursor: tx.Bucket(bucketName).Cursor()}
		defer func() { r.ended = true }()
		return f(r)
	})
}

// view runs f on a bbolt snapshot, after committing what it has to show.
func (db *DB) view(ctx context.Context, f func(*bbolt.Tx) error) error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return kv.ErrClosed
	}
	db.views.Add(1)
	behind := db.behind
	db.mu.Unlock()
	defer db.views.Done()
	if behind {
		// A failure to is no reason to show nothing: see View.
		if err := db.Update(ctx, func(kv.Tx) error { return nil }); err != nil && !errors.Is(err, kv.ErrReadOnly) {
			return err
		}
	}
	tx, err := db.bolt.Begin(false)
	if err != nil {
		return fmt.Errorf("bolt: begin: %w", err)
	}
	defer tx.Rollback()
	return f(tx)
}

// Update implements kv.DB. While it waits for its turn, the end of ctx makes
// it return ctx.Err() and f does not run; from then on it waits for the
// result. It returns no sooner than its group is committed, even when f
// fails: f may have seen writes of the same group. A panic of f goes up the
// caller's own stack.
func (db *DB) Update(ctx context.Context, f func(kv.Tx) error) error {
	return db.update(ctx, &job{answer: make(chan error, 1)}, f)
}

// UpdateLogged implements kv.LoggedDB: BeforeCommit is what puts the log on
// disk. It returns then when all functions of its group are logged; what the
// others wrote, and a logged one may rest on, would be lost with the index. The
// transaction stays open: later groups go on with it until one has an Update
// that is not logged, a View asks, or the time is up.
func (db *DB) UpdateLogged(ctx context.Context, f func(kv.Tx) error) error {
	return db.update(ctx, &job{answer: make(chan error, 1), logged: db.options.BeforeCommit != nil}, f)
}

func (db *DB) update(ctx context.Context, j *job, f func(kv.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	lead, err := db.enter(j)
	if err != nil {
		return err
	}
	defer db.updates.Done()
	if lead {
		return db.lead(j, f)
	}
	var turn error
	select {
	case turn = <-j.answer:
	case <-ctx.Done():
		if j.taken.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		turn = <-j.answer
	}
	switch turn {
	case nil:
	case errLead:
		return db.lead(j, f)
	default:
		return turn
	}
	own := db.follow(j, f)
	if err := <-j.answer; err != nil {
		return err
	}
	return own
}

// follow runs f and hands the turn back to the leader, also when f panics
// or ends its goroutine.
func (db *DB) follow(j *job, f func(kv.Tx) error) error {
	keep := false
	defer func() { db.played <- keep }()
	err := j.call(f)
	keep = err == nil
	return err
}

// Close implements kv.DB. It also waits for the Views under way. A second
// call returns kv.ErrClosed.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return kv.ErrClosed
	}
	db.closed = true
	db.mu.Unlock()
	db.updates.Wait()
	if g := db.pending; g != nil {
		g.end()
		if g.err != nil {
			return errors.Join(fmt.Errorf("bolt: close: %w", g.err), db.bolt.Close())
		}
	}
	// bbolt waits for its readers too, but holds a lock that would hang a View
	// inside a View.
	db.views.Wait()
	if err := db.bolt.Close(); err != nil {
		return fmt.Errorf("bolt: close: %w", err)
	}
	return nil
}

// WriteTo writes a consistent copy of the file to w while Updates go on, and
// returns its length in octets. The pages that Updates replace meanwhile stay
// in use until it returns, so w should be a local file. It implements
// io.WriterTo.
func (db *DB) WriteTo(w io.Writer) (n int64, err error) {
	err = db.view(context.Background(), func(tx *bbolt.Tx) error {
		n, err = tx.WriteTo(w)
		return err
	})
	return n, err
}

// Check walks every page and returns what is inconsistent, joined, or nil. It
// takes as long as reading the whole file.
func (db *DB) Check() error {
	var found []error
	err := db.view(context.Background(), func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			found = append(found, err)
		}
		return nil
	})
	return errors.Join(append(found, err)...)
}
