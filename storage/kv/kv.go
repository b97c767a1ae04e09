// Package kv is the seam between the mailbox store and the engine beneath it:
// ordered keys and transactions.
//
// The rules every caller keeps, and which [Checked] enforces:
//
//   - no call on a transaction from inside one of its Scan or MultiGet callbacks;
//   - a slice handed out by a transaction dies at the next call on it, and is
//     never modified; a slice handed to Put stays untouched until the
//     transaction ends;
//   - a value holds at most [MaxValue] octets, a key 1 to [MaxKey];
//   - one transaction writes at most [MaxWrites] keys;
//   - the function given to Update touches nothing but its Tx: it may run more
//     than once (serialization conflicts);
//   - no View is held across a write to the network, and no Update is called
//     from inside a View.
package kv

import (
	"context"
	"errors"
)

// Limits of the seam, in octets and keys.
const (
	MaxKey    = 512
	MaxValue  = 64 << 10
	MaxWrites = 10_000
)

// Errors that engines return, to be tested with errors.Is.
var (
	// ErrReadOnly: an earlier commit failed. Nothing more is accepted until restart.
	ErrReadOnly = errors.New("kv: read-only after a failed commit")
	// ErrClosed: the DB is closed.
	ErrClosed = errors.New("kv: closed")
)

// Reader reads one consistent snapshot.
type Reader interface {
	// Get returns the value of key, or nil when it is absent. An empty value
	// is not nil.
	Get(key []byte) ([]byte, error)
	// MultiGet calls f once for each key, in order, with nil for an absent one.
	// It is one round trip on engines that have any. It stops at f's first error and returns it.
	MultiGet(keys [][]byte, f func(i int, value []byte) error) error
	// Scan calls f for the keys in [lo, hi) in ascending order until f returns
	// false. A nil hi means the end of the key space.
	Scan(lo, hi []byte, f func(key, value []byte) bool) error
}

// Tx adds writes; its reads see them.
type Tx interface {
	Reader
	Put(key, value []byte) error
	Delete(key []byte) error // absent keys are not an error
}

// DB is an ordered, transactional engine. kvtest.Run is its contract as a test.
type DB interface {
	// View runs f on a snapshot that holds every Update that returned before.
	View(ctx context.Context, f func(Reader) error) error
	// Update runs f and makes its writes durable, all or none, before it
	// returns nil. An error or a panic of f drops the writes of f alone,
	// whatever other Updates share its commit. A panic reaches the caller.
	Update(ctx context.Context, f func(Tx) error) error
	// Close waits for the Updates under way; later calls return ErrClosed.
	Close() error
}

// LoggedDB is a DB beside which a log is kept. What an Update writes may be
// durable there, in a form from which a restart writes it again, before the
// engine has committed it.
type LoggedDB interface {
	DB
	// UpdateLogged is Update for a function that puts all it writes into the log
	// too. It may return as soon as the log is on disk. A View that begins
	// afterwards shows the writes all the same: it waits for the commit.
	UpdateLogged(ctx context.Context, f func(Tx) error) error
}
