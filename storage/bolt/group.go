package bolt

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	bbolt "go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"telesphore/storage/kv"
)

// job is one Update on its way through a group.
type job struct {
	tx    tx
	taken atomic.Bool // by the committer, or by a caller who gave up; whoever sets it decides
	// answer carries two messages: first the turn (nil: run your function now;
	// an error: refused), then the outcome of the shared commit. It holds one,
	// so the committer never waits for a caller who has panicked.
	answer chan error
}

// enqueue appends j to the queue and wakes the committer.
func (db *DB) enqueue(j *job) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return kv.ErrClosed
	}
	db.queue = append(db.queue, j)
	select {
	case db.wake <- struct{}{}:
	default: // a wake is pending already
	}
	return nil
}

// next takes the oldest job whose caller still waits. Without one it returns
// nil, and last tells that none will come.
func (db *DB) next() (j *job, last bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for db.head < len(db.queue) {
		j, db.queue[db.head] = db.queue[db.head], nil
		db.head++
		if j.taken.CompareAndSwap(false, true) {
			return j, false
		}
	}
	db.queue, db.head = db.queue[:0], 0
	return nil, db.closed
}

// run is the committer: while it commits one group, later Updates queue and
// form the next one. There is no timer, so a lone Update never waits for
// company.
func (db *DB) run() {
	defer close(db.stopped)
	for {
		j, last := db.next()
		switch {
		case j != nil:
			db.serve(j)
		case last:
			return
		default:
			<-db.wake
		}
	}
}

// serve runs the functions of one group, commits what they wrote and answers
// their callers.
func (db *DB) serve(first *job) {
	g := group{db: db, jobs: db.jobs[:0], err: db.failure()}
	if g.err == nil {
		g.protect("begin", g.begin)
	}
	yielded := false
	for j := first; ; {
		g.play(j)
		if len(g.jobs) >= db.options.MaxGroup || g.writes >= kv.MaxWrites {
			break // nobody waits for an endless commit
		}
		if j, _ = db.next(); j == nil && !yielded {
			// Callers whom the last commit has just answered are about to
			// come back: let them, they share this commit then. Costs a lone
			// caller nothing.
			yielded = true
			runtime.Gosched()
			j, _ = db.next()
		}
		if j == nil {
			break
		}
	}
	if g.err == nil {
		g.protect("commit", g.commit)
	}
	g.protect("roll back", g.rollback)
	for i, j := range g.jobs {
		j.answer <- g.err
		g.jobs[i] = nil
	}
	db.jobs = g.jobs[:0]
}

// group is a set of Updates that share one bbolt transaction.
type group struct {
	db     *DB
	jobs   []*job // those whose functions ran
	tx     *bbolt.Tx
	bucket *bbolt.Bucket
	cursor *bbolt.Cursor
	kept   int   // functions that returned nil
	writes int   // keys they wrote
	err    error // fails the whole group
}

func (g *group) begin() (err error) {
	if g.tx, err = g.db.bolt.Begin(true); err != nil {
		return err
	}
	g.bucket = g.tx.Bucket(bucketName)
	g.cursor = g.bucket.Cursor()
	return nil
}

// play gives j its turn: the function runs in its caller's goroutine, so that
// a panic unwinds the caller's stack and spares the committer. Its writes are
// merged when it returns nil, else dropped.
func (g *group) play(j *job) {
	if g.err != nil {
		j.answer <- g.err
		return
	}
	over := &g.db.over
	j.tx.reader = reader{cursor: g.cursor, over: over}
	g.jobs = append(g.jobs, j)
	j.answer <- nil
	if keep := <-g.db.played; keep {
		g.kept++
		g.protect("merge", g.merge)
	}
	over.reset()
}

// merge moves the overlay into the bbolt transaction, where the next
// functions of the group see it.
func (g *group) merge() error {
	over := &g.db.over
	for pos := range over.order {
		w := over.at(pos)
		var err error
		if w.value == nil {
			err = g.bucket.Delete(w.key)
		} else {
			err = g.bucket.Put(w.key, w.value)
		}
		if err != nil {
			return err
		}
	}
	g.writes += len(over.order)
	return nil
}

// commit makes the group durable. Functions that only read need no commit,
// but what they were told may rest on what BeforeCommit has to flush.
func (g *group) commit() error {
	if g.kept == 0 {
		return nil
	}
	if before := g.db.options.BeforeCommit; before != nil {
		if err := before(); err != nil {
			return fmt.Errorf("before commit: %w", err)
		}
	}
	if g.writes == 0 {
		return nil
	}
	return g.tx.Commit()
}

// rollback ends the transaction unless a commit has ended it.
func (g *group) rollback() error {
	if g.tx == nil {
		return nil
	}
	if err := g.tx.Rollback(); !errors.Is(err, bbolterrors.ErrTxClosed) {
		return err
	}
	return nil
}

// protect runs one step of the group. Its error, or a panic with which bbolt
// reports a damaged page, fails the group and makes the DB read-only.
func (g *group) protect(step string, f func() error) {
	defer func() {
		if v := recover(); v != nil {
			g.err = g.db.fail(fmt.Errorf("%s panicked: %v\n%s", step, v, debug.Stack()))
		}
	}()
	if err := f(); err != nil {
		g.err = g.db.fail(fmt.Errorf("%s: %w", step, err))
	}
}

// fail makes the DB read-only because of cause and returns the error that
// everyone gets from now on.
func (db *DB) fail(cause error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.failed == nil {
		db.failed = fmt.Errorf("%w: %w", kv.ErrReadOnly, cause)
	}
	return db.failed
}

// failure returns why the DB is read-only, or nil.
func (db *DB) failure() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.failed
}
