package body

import (
	"errors"
	"fmt"
	"time"
)

// Limits of the format, in octets.
const (
	// MaxMeta bounds the plain metadata block. What does not fit is left out:
	// its reader parses the body instead.
	MaxMeta = 16 << 10
	// MaxHead bounds the caller's sealed head.
	MaxHead = 16 << 20
)

// Errors, to be tested with errors.Is.
var (
	// ErrDamaged: what stands on disk fails its check. Nothing of it is served.
	ErrDamaged = errors.New("body: damaged")
	// ErrReadOnly: an earlier write failed. Nothing more is accepted until restart.
	ErrReadOnly = errors.New("body: read-only after a failed write")
	// ErrVersion: the file was written by a newer version of this program.
	ErrVersion = errors.New("body: unknown format")
	// ErrNoSegment: the segment does not exist.
	ErrNoSegment = errors.New("body: no such segment")
	// ErrActive: the segment is being written and cannot be removed.
	ErrActive = errors.New("body: segment is being written")
	// ErrTooLarge: the metadata or the head is larger than the format allows.
	ErrTooLarge = errors.New("body: too large")
	// ErrClosed: the Log or the Reader is closed.
	ErrClosed = errors.New("body: closed")
)

func damaged(what string) error { return fmt.Errorf("%w: %s", ErrDamaged, what) }

// ID names a body for ever. The caller gives it out and never twice.
type ID uint64

// Key is the content key of one body: random, used for one Seal.
type Key [32]byte

// Ref says where a record stands. Offset and Length are octets; Length counts
// the header and the padding.
type Ref struct {
	Segment uint32
	Offset  uint64
	Length  uint64
}

// Pos returns where the record begins.
func (r Ref) Pos() Pos { return Pos{Segment: r.Segment, Offset: r.Offset} }

// End returns the position right behind the record: where a replay starts that
// has seen it.
func (r Ref) End() Pos { return Pos{Segment: r.Segment, Offset: r.Offset + r.Length} }

// Pos is a position in the log. The zero Pos is its beginning.
type Pos struct {
	Segment uint32
	Offset  uint64
}

// Compare orders positions: -1 when p stands before q, 0 when equal, else 1.
func (p Pos) Compare(q Pos) int {
	switch {
	case p == q:
		return 0
	case p.Segment < q.Segment, p.Segment == q.Segment && p.Offset < q.Offset:
		return -1
	}
	return 1
}

// Record is what a replay tells of a body: everything that is not sealed.
type Record struct {
	Ref    Ref
	ID     ID
	Date   time.Time // as given to Stage, to the microsecond, UTC
	Epoch  uint32    // as given to Stage
	Head   []byte    // as given to Stage; valid until the function it was handed to returns
	Size   int64     // plain octets of the body
	Copied bool      // put there by Relocate: its head was applied long ago
}

// Damage is a stretch of a segment in which no intact record stands.
type Damage struct {
	Segment uint32
	Offset  uint64 // where it begins
	Length  uint64 // octets up to the next intact record or to the end of what is known to have been written
	// Unproven: it lies in the last batch before the process stopped. A
	// power cut during that batch's sync looks the same as later damage, and then
	// nothing of it was ever acknowledged.
	Unproven bool
	Cause    error
}

// DamageError lists the damage a replay met. It is an ErrDamaged.
type DamageError struct {
	Damages []Damage // in order of position; never empty
}

func (e *DamageError) Error() string {
	d := e.Damages[0]
	more := ""
	if n := len(e.Damages) - 1; n > 0 {
		more = fmt.Sprintf(", with %d more further on", n)
	}
	return fmt.Sprintf("body: segment %d is damaged at offset %d for %d octets (%v)%s", d.Segment, d.Offset, d.Length, d.Cause, more)
}

// Unwrap makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Unwrap() error { return ErrDamaged }
