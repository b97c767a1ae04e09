package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// ErrMisuse: a caller broke a rule of the package comment. Only a [Checked]
// DB returns it.
var ErrMisuse = errors.New("kv: rule broken")

// poison fills slices that have died. Not zero: a forgotten zero looks valid.
const poison = 0xDB

// Checked returns a DB that behaves like db and enforces the rules of the
// package comment. A call that breaks one returns an error that wraps
// [ErrMisuse], or [ErrLimit]. When it is a call on a transaction, the whole
// View or Update returns that error, whatever its function does, and an Update
// then writes nothing.
//
//   - Slices handed out are copies, spoilt at the next call on the
//     transaction: whoever keeps one reads 0xDB.
//   - A slice that is modified, or handed to Put and changed before the end,
//     is found by comparison.
//   - Every function given to Update runs twice, the first time without
//     effect: one that touches more than its Tx shows in the results.
//   - What lasts across a write to the network cannot be seen from here: the
//     connection of a test asks [InTransaction].
//
// It is slow; it is meant for tests.
func Checked(db DB) DB { return &checkedDB{db: db} }

// errRehearsed ends the first run of an Update.
var errRehearsed = errors.New("kv: rehearsal, writes dropped")

type checkedDB struct {
	db DB

	mu      sync.Mutex // guards closing
	closing bool
	updates sync.WaitGroup // under way: both their runs belong to one Update
}

// View implements DB.
func (c *checkedDB) View(ctx context.Context, f func(Reader) error) error {
	if insideUpdate() {
		return misuse("View called from inside an Update")
	}
	return c.db.View(ctx, func(r Reader) error {
		t := &checkedTx{r: r}
		return t.runView(f)
	})
}

// Update implements DB.
func (c *checkedDB) Update(ctx context.Context, f func(Tx) error) error {
	if InTransaction() {
		return misuse("Update called from inside a View or an Update")
	}
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return ErrClosed
	}
	c.updates.Add(1)
	c.mu.Unlock()
	defer c.updates.Done()
	err := c.db.Update(ctx, func(tx Tx) error {
		t := &checkedTx{r: tx, w: tx}
		if err := t.runUpdate(f); err != nil {
			return err
		}
		return errRehearsed
	})
	if !errors.Is(err, errRehearsed) {
		return err
	}
	return c.db.Update(ctx, func(tx Tx) error {
		t := &checkedTx{r: tx, w: tx}
		return t.runUpdate(f)
	})
}

// Close implements DB.
func (c *checkedDB) Close() error {
	if InTransaction() {
		return misuse("Close called from inside a View or an Update")
	}
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	c.updates.Wait()
	return c.db.Close()
}

// InTransaction tells whether the calling goroutine is inside a function
// given to View or Update of a Checked DB. A test's network connection calls
// it in Write to hold the rule that no View lasts across one.
func InTransaction() bool { return onStack("runView") || insideUpdate() }

func insideUpdate() bool { return onStack("runUpdate") }

// onStack tells whether a method of checkedTx is on the stack of the calling
// goroutine. Engines call functions back on one goroutine, so that a nested
// call has the outer one among its callers.
func onStack(method string) bool {
	var pcs [256]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".(*checkedTx)."+method) {
			return true
		}
		if !more {
			return false
		}
	}
}

func misuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMisuse, fmt.Sprintf(format, args...))
}

// lent is a slice that belongs to somebody else, and what it held when it was lent.
type lent struct{ slice, held []byte }

// checkedTx is one run of a function given to View or Update.
type checkedTx struct {
	r Reader
	w Tx // nil in a View

	inside string          // "Scan" or "MultiGet" while its callback runs
	ended  bool            // the function has returned
	out    []lent          // handed out since the last call
	in     []lent          // handed to Put
	keys   map[string]bool // written
	err    error           // the first broken rule
}

// runView runs f. InTransaction looks for it by name.
func (t *checkedTx) runView(f func(Reader) error) error {
	defer t.end()
	return t.verdict(f(t))
}

// runUpdate runs f. InTransaction looks for it by name.
func (t *checkedTx) runUpdate(f func(Tx) error) error {
	defer t.end()
	return t.verdict(f(t))
}

// verdict returns the first broken rule, else what the function returned.
func (t *checkedTx) verdict(err error) error {
	t.retire()
	for _, l := range t.in {
		if !bytes.Equal(l.slice, l.held) {
			t.fail("a slice handed to Put changed before the transaction ended")
		}
	}
	if t.err != nil {
		return t.err
	}
	return err
}

// end spoils what is still handed out, also after a panic.
func (t *checkedTx) end() {
	t.retire()
	t.ended = true
}

// fail records the first broken rule and returns an error for this one.
func (t *checkedTx) fail(format string, args ...any) error {
	err := misuse(format, args...)
	if t.err == nil {
		t.err = err
	}
	return err
}

// enter begins a call: the slices handed out so far die.
func (t *checkedTx) enter(call string) error {
	switch {
	case t.ended:
		return misuse("%s on a transaction that has ended", call)
	case t.inside != "":
		return t.fail("%s called from inside a %s callback", call, t.inside)
	}
	t.retire()
	return nil
}

// retire checks that nobody has written to the slices handed out, and spoils
// them.
func (t *checkedTx) retire() {
	for _, l := range t.out {
		if !bytes.Equal(l.slice, l.held) {
			t.fail("a slice handed out by the transaction was modified")
		}
		for i := range l.slice {
			l.slice[i] = poison
		}
	}
	t.out = t.out[:0]
}

// lend returns a copy of b that dies at the next call.
func (t *checkedTx) lend(b []byte) []byte {
	if b == nil {
		return nil
	}
	l := lent{slice: append([]byte{}, b...), held: append([]byte{}, b...)}
	t.out = append(t.out, l)
	return l.slice
}

// key checks the length of a key.
func (t *checkedTx) key(key []byte) error {
	err := CheckKey(key)
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}

// Get implements Reader.
func (t *checkedTx) Get(key []byte) ([]byte, error) {
	key = bytes.Clone(key) // it may be a slice that dies now
	if err := t.enter("Get"); err != nil {
		return nil, err
	}
	if err := t.key(key); err != nil {
		return nil, err
	}
	v, err := t.r.Get(key)
	return t.lend(v), err
}

// MultiGet implements Reader.
func (t *checkedTx) MultiGet(keys [][]byte, f func(i int, value []byte) error) error {
	copies := make([][]byte, len(keys))
	for i, key := range keys {
		copies[i] = bytes.Clone(key)
	}
	if err := t.enter("MultiGet"); err != nil {
		return err
	}
	for _, key := range copies {
		if err := t.key(key); err != nil {
			return err
		}
	}
	t.inside = "MultiGet"
	defer func() { t.inside = "" }()
	return t.r.MultiGet(copies, func(i int, value []byte) error { return f(i, t.lend(value)) })
}

// Scan implements Reader.
func (t *checkedTx) Scan(lo, hi []byte, f func(key, value []byte) bool) error {
	lo, hi = bytes.Clone(lo), bytes.Clone(hi)
	if err := t.enter("Scan"); err != nil {
		return err
	}
	t.inside = "Scan"
	defer func() { t.inside = "" }()
	return t.r.Scan(lo, hi, func(key, value []byte) bool { return f(t.lend(key), t.lend(value)) })
}

// Put implements Tx.
func (t *checkedTx) Put(key, value []byte) error {
	k, v := lent{key, bytes.Clone(key)}, lent{value, bytes.Clone(value)}
	if err := t.enter("Put"); err != nil {
		return err
	}
	if !bytes.Equal(k.slice, k.held) || !bytes.Equal(v.slice, v.held) {
		return t.fail("a slice handed out by the transaction was handed to Put, which outlives it")
	}
	if err := CheckValue(value); err != nil {
		t.err = errors.Join(t.err, err)
		return err
	}
	if err := t.written(key); err != nil {
		return err
	}
	t.in = append(t.in, k, v)
	return t.w.Put(key, value)
}

// Delete implements Tx.
func (t *checkedTx) Delete(key []byte) error {
	key = bytes.Clone(key)
	if err := t.enter("Delete"); err != nil {
		return err
	}
	if err := t.written(key); err != nil {
		return err
	}
	return t.w.Delete(key)
}

// written counts the keys written.
func (t *checkedTx) written(key []byte) error {
	if err := t.key(key); err != nil {
		return err
	}
	if t.keys == nil {
		t.keys = map[string]bool{}
	}
	t.keys[string(key)] = true
	err := CheckWrites(len(t.keys))
	if err != nil && t.err == nil {
		t.err = err
	}
	return err
}
