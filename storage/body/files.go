package body

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// segment is one file. Its fields belong to Log.mu, but for the number and,
// while the caller counts as a user, the file.
type segment struct {
	number uint32
	size   uint64   // octets written and synced
	file   *os.File // nil while nobody needs it
	users  int      // readers and the writer; the file stays open for them
}

// list reads the directory. Files that are not segments are left alone.
func (l *Log) list() error {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		if !ok || len(name) != 10 {
			continue
		}
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil || n == 0 {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		l.segments[uint32(n)] = &segment{number: uint32(n), size: uint64(info.Size())}
	}
	return nil
}

// highest returns the segment of the highest number, nil when there is none.
func (l *Log) highest() *segment {
	var last *segment
	for _, s := range l.segments {
		if last == nil || s.number > last.number {
			last = s
		}
	}
	return last
}

// known returns up to where last, the newest segment found at Open, is known to
// have been on disk: behind its last batch mark when the batch is intact, else
// where that batch begins. It goes into the header of the next segment, so that
// a later loss is told from a torn write. An empty segment hands on what it
// knows of its predecessor.
func (l *Log) known(last *segment) (Pos, error) {
	s, err := l.acquire(last.number)
	if err != nil {
		return Pos{}, err
	}
	defer l.release(s)
	// A process that was killed leaves octets in the page cache that no sync
	// covered. A replay will hand them out, so they must not vanish afterwards.
	if err := datasync(s.file); err != nil {
		return Pos{}, fmt.Errorf("syncing segment %d: %w", s.number, err)
	}
	sc := l.scanner(s, s.size)
	h, err := sc.segmentHeader()
	if errors.Is(err, ErrVersion) {
		return Pos{}, fmt.Errorf("segment %d: %w", s.number, err)
	}
	if s.size <= segmentHeaderSize && err == nil {
		return h.before, nil
	}
	m, ok := sc.lastMark(segmentHeaderSize)
	if !ok {
		return Pos{Segment: s.number}, nil
	}
	for off := uint64(m.id); off < m.at.Offset; {
		h, err := sc.record(off)
		if err != nil {
			return Pos{Segment: s.number, Offset: uint64(m.id)}, nil
		}
		off += h.length()
	}
	return Pos{Segment: s.number, Offset: m.at.Offset + headerSize}, nil
}

// create makes a segment file and the active segment of it. The file's header
// and name are on disk before it is used.
func (l *Log) create(number uint32, before Pos) error {
	f, err := os.OpenFile(l.path(number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := segmentHeader{shard: l.o.Shard, number: number, created: time.Now().UnixMicro(), before: before}
	_, err = f.Write(h.encode())
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(l.dir)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.active; old != nil {
		old.users--
	}
	l.active = &segment{number: number, size: segmentHeaderSize, file: f, users: 1}
	l.segments[number] = l.active
	l.open++
	l.evict()
	return nil
}

// acquire returns a segment with its file open, until release.
func (l *Log) acquire(number uint32) (*segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.segments[number]
	switch {
	case l.closed:
		return nil, ErrClosed
	case s == nil:
		return nil, fmt.Errorf("segment %d: %w", number, ErrNoSegment)
	}
	if s.file == nil {
		f, err := os.Open(l.path(number))
		if err != nil {
			return nil, fmt.Errorf("segment %d: %w", number, err)
		}
		s.file = f
		l.open++
	}
	s.users++
	l.evict()
	return s, nil
}

// evict closes idle files, any of them, while more are open than may be. l.mu
// is held.
func (l *Log) evict() {
	if l.open <= l.o.MaxOpen {
		return
	}
	for _, s := range l.segments {
		if l.closeIdle(s); l.open <= l.o.MaxOpen {
			return
		}
	}
}

func (l *Log) release(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.users--
	if l.closed || l.segments[s.number] != s { // closed or removed meanwhile
		l.closeIdle(s)
	}
}

// closeIdle closes the file of a segment that has no users. l.mu is held.
func (l *Log) closeIdle(s *segment) {
	if s.users > 0 || s.file == nil {
		return
	}
	s.file.Close() // nothing is written through it any more
	s.file = nil
	l.open--
}

// closeFiles closes every idle file. l.mu is held or nobody else knows l.
func (l *Log) closeFiles() {
	for _, s := range l.segments {
		l.closeIdle(s)
	}
}

// whole reads the record at ref into memory and checks it.
func (l *Log) whole(ref Ref) (header, []byte, error) {
	s, err := l.acquire(ref.Segment)
	if err != nil {
		return header{}, nil, err
	}
	defer l.release(s)
	l.mu.Lock()
	size := s.size
	l.mu.Unlock()
	if ref.Length < headerSize || ref.Offset > size || ref.Length > size-ref.Offset {
		return header{}, nil, damaged("record lies beyond the end of its segment")
	}
	b := make([]byte, ref.Length)
	if _, err := s.file.ReadAt(b, int64(ref.Offset)); err != nil {
		return header{}, nil, readError(err)
	}
	h, err := parseHeader(b, ref.Pos())
	if err != nil {
		return h, nil, err
	}
	if h.kind == kindMark || h.ref() != ref {
		return h, nil, damaged("record is not the one referred to")
	}
	head := b[headerSize+h.payload:]
	if checksum(b[headerSize:][:h.payload]) != h.payloadCRC || checksum(head[:h.head]) != h.headCRC || !zero(head[h.head:]) {
		return h, nil, damaged("record fails its checksum")
	}
	return h, b, nil
}

// readError makes an early end of file an ErrDamaged; other errors of the disk
// stay what they are.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("segment ends early")
	}
	return fmt.Errorf("reading a segment: %w", err)
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
