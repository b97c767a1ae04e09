package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	bbolt "go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"telesphore/storage/kv"
)

// job is one Update on its way through a group.
type job struct {
	tx     tx
	logged bool        // see UpdateLogged
	taken  atomic.Bool // by a leader, or by a caller who gave up; whoever sets it decides
	// answer carries first the turn (nil: run your function now; errLead: lead
	// the next group; else: refused), then to a follower the outcome of the shared commit. It
	// holds one, so the leader never waits for a caller who has panicked.
	answer chan error
}

// errLead tells a waiting caller that the next group is its to lead.
var errLead = errors.New("bolt: lead the next group")

// call runs f on the job's transaction, which ends with it however f does.
func (j *job) call(f func(kv.Tx) error) error {
	defer func() { j.tx.ended = true }()
	if err := f(&j.tx); err != nil {
		return err
	}
	return j.tx.err
}

// enter makes j's caller the leader when there is none, else appends j to the queue.
func (db *DB) enter(j *job) (lead bool, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.closed {
		return false, kv.ErrClosed
	}
	db.updates.Add(1)
	if !db.led {
		db.led = true
		return true, nil
	}
	db.queue = append(db.queue, j)
	return false, nil
}

// next takes the oldest job whose caller still waits, or nil. The leader who
// gives up the lead with it either has a successor or nobody leads.
func (db *DB) next(giveUp bool) *job {
	db.mu.Lock()
	defer db.mu.Unlock()
	for db.head < len(db.queue) {
		j := db.queue[db.head]
		db.queue[db.head] = nil
		db.head++
		if j.taken.CompareAndSwap(false, true) {
			return j
		}
	}
	db.queue, db.head = db.queue[:0], 0
	if giveUp {
		db.led = false
	}
	return nil
}

// lead runs f, then the functions that wait, commits what they wrote, answers
// their callers and passes the lead on. It does all that also when f panics or
// ends its goroutine.
func (db *DB) lead(j *job, f func(kv.Tx) error) (err error) {
	g := db.pending
	if g == nil {
		g = &group{db: db, err: db.failure()}
	}
	defer func() {
		if failed := g.finish(); failed != nil {
			err = failed
		}
	}()
	if g.err == nil && g.tx == nil {
		g.protect("begin", g.begin)
	}
	if g.err != nil {
		return g.err
	}
	keep := false
	defer func() { g.played(j, keep) }()
	j.tx.reader = reader{cursor: g.cursor, over: &db.over}
	err = j.call(f)
	keep = err == nil
	return err
}

// finish is what a leader owes the others. It returns why the group failed.
func (g *group) finish() error {
	g.playAll()
	if before := g.db.options.BeforeCommit; g.err == nil && g.kept > 0 && before != nil {
		g.protect("before commit", before)
	}
	wait := g.err == nil && g.kept > 0 && g.logged == g.kept && !g.full()
	if !wait {
		g.end()
	} else if g.timer == nil {
		g.timer = time.AfterFunc(g.db.options.Lag, g.db.catchUp)
	}
	g.db.setPending(g, wait)
	err := g.err
	for i, j := range g.jobs {
		j.answer <- err
		g.jobs[i] = nil
	}
	g.jobs = g.jobs[:0]
	if j := g.db.next(true); j != nil {
		j.answer <- errLead
	}
	return err
}

// playAll gives those their turn who wait.
func (g *group) playAll() {
	yielded := false
	for !g.full() {
		j := g.db.next(false)
		if j == nil && !yielded {
			// Callers whom the last commit has just answered are about to
			// come back: let them, they share this commit then. Costs a lone
			// caller nothing.
			yielded = true
			runtime.Gosched()
			j = g.db.next(false)
		}
		if j == nil {
			return
		}
		g.play(j)
	}
}

// full says that a group has grown enough: nobody waits for an endless commit.
func (g *group) full() bool {
	return g.kept >= g.db.options.MaxGroup || len(g.jobs)+1 >= g.db.options.MaxGroup || g.writes >= kv.MaxWrites
}

// setPending keeps a group whose Updates return before its commit, or forgets it.
func (db *DB) setPending(g *group, wait bool) {
	if db.pending = g; !wait {
		db.pending = nil
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.behind = wait
}

// catchUp commits what waits, by an Update that is not logged.
func (db *DB) catchUp() {
	// A failure makes the DB read-only, which the next Update tells.
	_ = db.Update(context.Background(), func(kv.Tx) error { return nil })
}

// end commits, or rolls back what failed.
func (g *group) end() {
	if g.timer != nil {
		g.timer.Stop()
	}
	if g.err == nil {
		g.protect("commit", g.commit)
	}
	g.protect("roll back", g.rollback)
}

// group is a set of Updates that share one bbolt transaction.
type group struct {
	db     *DB
	jobs   []*job // the followers whose functions ran
	tx     *bbolt.Tx
	bucket *bbolt.Bucket
	cursor *bbolt.Cursor
	kept   int         // functions that returned nil
	logged int         // of these, those whose writes are in the log too
	writes int         // keys they wrote
	timer  *time.Timer // commits the group when nothing else does
	err    error       // fails the whole group
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
// a panic unwinds the caller's stack and spares the leader.
func (g *group) play(j *job) {
	if g.err != nil {
		j.answer <- g.err
		return
	}
	j.tx.reader = reader{cursor: g.cursor, over: &g.db.over}
	g.jobs = append(g.jobs, j)
	j.answer <- nil
	g.played(j, <-g.db.played)
}

// played merges what a function wrote when it returned nil, else drops it.
func (g *group) played(j *job, keep bool) {
	if keep {
		g.kept++
		if j.logged {
			g.logged++
		}
		g.protect("merge", g.merge)
	}
	g.db.over.reset()
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

// commit makes the group durable. Functions that only read need no commit.
func (g *group) commit() error {
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
