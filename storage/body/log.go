package body

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Options of a Log. The zero value serves.
type Options struct {
	// SegmentSize is where a segment ends, in octets; 0 means 256 MiB. A record
	// never spans segments: one that is larger has a segment to itself.
	SegmentSize int64
	// Shard is written into segment headers.
	Shard uint16
	// MaxOpen bounds the files kept open for reading; 0 means 512. Files that
	// readers hold are not counted against it.
	MaxOpen int
	// Skip, for crash tests only, makes Flush lie: when it returns true the
	// fdatasync is left out, as on a disk that ignores flushes.
	Skip func() bool
	// Synced, when not nil, is called by Flush after each fdatasync with the
	// position up to which the segment is on disk.
	Synced func(Pos)
}

// Log is a directory of segments. All methods are safe for concurrent use.
type Log struct {
	dir     string
	o       Options
	unpack  *zstd.Decoder
	buffers sync.Pool // of *buffers

	flushing sync.Mutex // held through a Flush: one writer at a time

	mu       sync.Mutex          // guards what follows
	segments map[uint32]*segment // every segment on disk
	active   *segment            // the one being written
	open     int                 // segments with an open file
	next     Pos                 // where the next record is staged
	batches  []*batch            // staged, in order; at most one per segment
	failed   error               // why the log takes no more writes
	closed   bool
}

// batch is what one Flush writes to one segment.
type batch struct {
	segment uint32
	start   uint64
	records uint64
	pieces  [][]byte
}

// Open opens the log in dir, making the directory when it is missing. It starts
// a fresh segment: what a crash left behind the end of the old one is never
// written over, so it stays there to be looked at.
func Open(dir string, o Options) (*Log, error) {
	if o.SegmentSize <= 0 {
		o.SegmentSize = 256 << 20
	}
	if o.MaxOpen <= 0 {
		o.MaxOpen = 512
	}
	unpack, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0), // one per core
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(2*chunkSize))
	if err != nil {
		return nil, fmt.Errorf("opening body log: %w", err)
	}
	l := &Log{dir: dir, o: o, unpack: unpack, segments: map[uint32]*segment{}}
	l.buffers.New = func() any { return new(buffers) }
	if err := l.start(); err != nil {
		l.closeFiles()
		return nil, fmt.Errorf("opening body log %s: %w", dir, err)
	}
	return l, nil
}

// start lists the segments and creates the next one. The number of the highest
// segment is never used again, which is why an empty one is removed only
// after its successor stands.
func (l *Log) start() error {
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	if err := l.list(); err != nil {
		return err
	}
	var before Pos
	var empty *segment
	if last := l.highest(); last != nil {
		var err error
		if before, err = l.known(last); err != nil {
			return err
		}
		if last.size <= segmentHeaderSize {
			empty = last
		}
		l.next.Segment = last.number
	}
	if err := l.create(l.next.Segment+1, before); err != nil {
		return err
	}
	l.next = Pos{Segment: l.active.number, Offset: segmentHeaderSize}
	if empty != nil {
		return l.Remove(empty.number)
	}
	return nil
}

// Stage gives s a place in the log, in memory only: the next Flush writes it.
// Head is stored as it stands, so the caller has sealed it; date and epoch come
// back in Record. An error means that nothing was staged. s may be staged
// again.
func (l *Log) Stage(s *Sealed, head []byte, date time.Time, epoch uint32) (Ref, error) {
	if len(head) > MaxHead {
		return Ref{}, fmt.Errorf("staging a head of %d octets: %w", len(head), ErrTooLarge)
	}
	return l.stage(header{
		kind: kindBody, codec: s.codec, id: s.ID, date: date.UnixMicro(), epoch: epoch,
		payload: uint64(len(s.payload)), size: s.size,
		head: uint32(len(head)), meta: s.meta, chunks: uint32(chunkCount(s.size)),
		headCRC: checksum(head), payloadCRC: s.crc,
	}, s.payload, head)
}

// Relocate stages a verbatim copy of the record at ref, still sealed under its
// key, for compaction. The copy is marked as one: a replay tells it by
// Record.Copied. The record is checked first; ErrDamaged means that nothing was
// staged.
func (l *Log) Relocate(ref Ref) (Ref, error) {
	h, record, err := l.whole(ref)
	if err != nil {
		return Ref{}, fmt.Errorf("relocating the record in segment %d at %d: %w", ref.Segment, ref.Offset, err)
	}
	h.kind = kindCopy
	payload := record[headerSize:][:h.payload]
	return l.stage(h, payload, record[headerSize+h.payload:][:h.head])
}

// stage assigns a position to a record and queues its octets. The payload is
// kept until the Flush; the head is copied.
func (l *Log) stage(h header, payload, head []byte) (Ref, error) {
	length := h.length()
	edges := make([]byte, length-h.payload) // header, then head with its padding
	copy(edges[headerSize:], head)

	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return Ref{}, err
	}
	if l.next.Offset > segmentHeaderSize && l.next.Offset+length > uint64(l.o.SegmentSize) {
		l.mark()
		l.next = Pos{Segment: l.next.Segment + 1, Offset: segmentHeaderSize}
	}
	h.at = l.next
	h.put(edges)
	b := l.batch()
	b.records++
	b.pieces = append(b.pieces, edges[:headerSize], payload, edges[headerSize:])
	l.next.Offset += length
	return h.ref(), nil
}

// batch returns the batch of the segment that l.next stands in. l.mu is held.
func (l *Log) batch() *batch {
	if n := len(l.batches); n > 0 && l.batches[n-1].segment == l.next.Segment {
		return l.batches[n-1]
	}
	b := &batch{segment: l.next.Segment, start: l.next.Offset}
	l.batches = append(l.batches, b)
	return b
}

// mark closes the last batch, if it is of the segment that l.next stands in.
// l.mu is held.
func (l *Log) mark() {
	n := len(l.batches)
	if n == 0 || l.batches[n-1].segment != l.next.Segment {
		return
	}
	b := l.batches[n-1]
	m := header{kind: kindMark, id: ID(b.start), at: l.next, size: b.records}
	octets := make([]byte, headerSize)
	m.put(octets)
	b.pieces = append(b.pieces, octets)
	l.next.Offset += headerSize
}

// writable tells whether the log still takes writes. l.mu is held.
func (l *Log) writable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// SegmentInfo describes a segment.
type SegmentInfo struct {
	Number uint32
	Size   int64 // octets on disk, headers and marks included
	Active bool  // being written: it can be neither compacted nor removed
}

// Segments lists the segments, oldest first.
func (l *Log) Segments() []SegmentInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	var infos []SegmentInfo
	for _, n := range l.numbers() {
		s := l.segments[n]
		infos = append(infos, SegmentInfo{Number: n, Size: int64(s.size), Active: s == l.active})
	}
	return infos
}

// Remove deletes a segment, durably. The caller has made sure that nothing
// refers to it. Readers that are open on it finish; the active segment is
// refused with ErrActive.
func (l *Log) Remove(number uint32) error {
	l.mu.Lock()
	s := l.segments[number]
	switch {
	case l.closed:
		l.mu.Unlock()
		return ErrClosed
	case s == nil:
		l.mu.Unlock()
		return fmt.Errorf("removing segment %d: %w", number, ErrNoSegment)
	case s == l.active:
		l.mu.Unlock()
		return fmt.Errorf("removing segment %d: %w", number, ErrActive)
	}
	delete(l.segments, number)
	l.closeIdle(s)
	l.mu.Unlock()
	if err := os.Remove(l.path(number)); err != nil {
		return fmt.Errorf("removing segment %d: %w", number, err)
	}
	return syncDir(l.dir)
}

// Close writes what is staged and closes the files. Readers that are open
// finish.
func (l *Log) Close() error {
	err := l.Flush()
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	l.closed = true
	l.active.users--
	l.closeFiles()
	return err
}

// path names the file of a segment.
func (l *Log) path(number uint32) string {
	return filepath.Join(l.dir, fmt.Sprintf("%010d.seg", number))
}

// numbers lists the segments on disk in ascending order. l.mu is held.
func (l *Log) numbers() []uint32 {
	numbers := make([]uint32, 0, len(l.segments))
	for n := range l.segments {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}
