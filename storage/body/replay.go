package body

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Replay calls f for each intact record at or behind from, oldest first, and
// reads every octet of it. From is the zero Pos or the end of a record.
//
// What a crash tore off behind the last batch mark of a segment ends that
// segment quietly: it was never acknowledged. Whatever is damaged
// before a mark, or was on disk when the next segment was begun, is put on a list,
// and the replay goes on behind it; the list is returned as a *DamageError. An
// error of f ends the replay and is returned as it is, joined to the
// DamageError when there is one. A replay of a live log ends at what was durable
// when it reached the active segment.
func (l *Log) Replay(from Pos, f func(*Record) error) error {
	return l.replay(from, math.MaxUint32, f)
}

// Scan is Replay for one segment alone, from its beginning, for compaction: who
// is to empty a segment must know of damage in it. ErrNoSegment when it does not
// exist.
func (l *Log) Scan(number uint32, f func(*Record) error) error {
	l.mu.Lock()
	s := l.segments[number]
	l.mu.Unlock()
	if s == nil {
		return fmt.Errorf("scanning segment %d: %w", number, ErrNoSegment)
	}
	return l.replay(Pos{Segment: number}, number, f)
}

// replay goes from a position through the segment last.
func (l *Log) replay(from Pos, last uint32, f func(*Record) error) error {
	l.mu.Lock()
	numbers := l.numbers()
	l.mu.Unlock()
	var damages []Damage
	var failed error
	for i, n := range numbers {
		if n < from.Segment || n > last {
			continue
		}
		p := &pass{f: f}
		if i+1 < len(numbers) {
			p.claim = l.claim(n, numbers[i+1])
		}
		if n == from.Segment {
			// The caller has seen everything before from.
			p.from, p.claim = from.Offset, max(p.claim, from.Offset)
		}
		failed = l.replaySegment(n, p)
		damages = append(damages, p.damages...)
		if failed != nil {
			failed = fmt.Errorf("replaying segment %d: %w", n, failed)
			break
		}
	}
	if len(damages) == 0 {
		return failed
	}
	return errors.Join(failed, &DamageError{Damages: damages})
}

// claim returns up to where the header of the segment next says that the one
// before it was on disk.
func (l *Log) claim(number, next uint32) uint64 {
	s, err := l.acquire(next)
	if err != nil {
		return 0
	}
	defer l.release(s)
	h, err := l.scanner(s, segmentHeaderSize).segmentHeader()
	if err != nil || h.before.Segment != number {
		return 0
	}
	return h.before.Offset
}

// pass is the replay of one segment.
type pass struct {
	from    uint64
	claim   uint64 // the segment is known to have been on disk up to here
	f       func(*Record) error
	damages []Damage

	searched bool   // for the last mark, at the first damage; then:
	bound    uint64 // damage before this offset counts
	proof    uint64 // what stands before this offset was on disk once
}

func (l *Log) replaySegment(number uint32, p *pass) error {
	s, err := l.acquire(number)
	if errors.Is(err, ErrNoSegment) {
		return nil // removed since the list was made
	}
	if err != nil {
		return err
	}
	defer l.release(s)
	l.mu.Lock()
	size := s.size
	l.mu.Unlock()

	sc := l.scanner(s, size)
	h, err := sc.segmentHeader()
	switch {
	case errors.Is(err, ErrVersion):
		return err
	case err == nil && (h.number != number || h.shard != l.o.Shard):
		return fmt.Errorf("%w: the file holds segment %d of shard %d", ErrVersion, h.number, h.shard)
	case err != nil && !p.damaged(sc, 0, segmentHeaderSize, err):
		return nil
	}
	return p.run(sc)
}

// run walks the records.
func (p *pass) run(sc *scanner) error {
	off := max(p.from, segmentHeaderSize)
	for off < sc.size {
		h, err := sc.record(off)
		if err == nil && h.kind != kindMark {
			err = p.f(&Record{
				Ref: h.ref(), ID: h.id, Date: time.UnixMicro(h.date).UTC(), Epoch: h.epoch,
				Head: sc.head[:h.head], Size: int64(h.size), Copied: h.kind == kindCopy,
			})
			if err != nil {
				return err
			}
		}
		if errors.Is(err, ErrVersion) {
			return err
		}
		next := off + h.length()
		if err != nil {
			if h.at.Offset != off { // not even the header can be believed
				next = off
			}
			next = sc.next(max(next, off+alignment))
			if !p.damaged(sc, off, next, err) {
				return nil
			}
		}
		off = next
	}
	if sc.size < p.claim {
		p.damaged(sc, sc.size, p.claim, damaged("segment ends early"))
	}
	return nil
}

// damaged notes that nothing good stands between off and next, and returns
// true; or false when what stands there is the torn end of the segment.
func (p *pass) damaged(sc *scanner, off, next uint64, cause error) bool {
	if !p.searched {
		p.searched = true
		p.bound, p.proof = p.claim, p.claim
		if m, ok := sc.lastMark(off); ok {
			p.bound, p.proof = max(p.bound, m.at.Offset), max(p.proof, uint64(m.id))
		}
	}
	if off >= p.bound {
		return false
	}
	d := Damage{Segment: sc.number, Offset: off, Length: next - off, Unproven: off >= p.proof, Cause: cause}
	if n := len(p.damages); n > 0 {
		if before := &p.damages[n-1]; before.Offset+before.Length == off && before.Unproven == d.Unproven {
			before.Length += d.Length
			return true
		}
	}
	p.damages = append(p.damages, d)
	return true
}
