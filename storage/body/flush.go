package body

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxPieces is Linux's IOV_MAX, the most pieces one pwritev takes.
const maxPieces = 1024

// Flush makes durable everything that was staged before the call: one vectored
// write, closed by a batch mark, and one fdatasync per segment touched, which is one
// segment but when it is full. With nothing staged it does no I/O, once the Flush
// under way has ended. An error is for ever: the page cache no longer tells what
// reached the disk, so this and every later write returns ErrReadOnly, with the
// cause wrapped, until the log is opened anew.
func (l *Log) Flush() error {
	l.flushing.Lock()
	defer l.flushing.Unlock()

	l.mu.Lock()
	if err := l.writable(); err != nil {
		l.mu.Unlock()
		return err
	}
	l.mark()
	batches := l.batches
	l.batches = nil
	l.mu.Unlock()

	for _, b := range batches {
		if err := l.write(b); err != nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.failed = fmt.Errorf("%w: %w", ErrReadOnly, err)
			l.batches = nil
			return l.failed
		}
	}
	return nil
}

// write makes one batch durable. l.flushing is held, so that l.active stays.
func (l *Log) write(b *batch) error {
	s := l.active
	if b.segment != s.number {
		// All of the segment before is on disk: batches come in order.
		if err := l.create(b.segment, Pos{Segment: s.number, Offset: s.size}); err != nil {
			return fmt.Errorf("creating segment %d: %w", b.segment, err)
		}
		s = l.active
	}
	end, err := writePieces(s.file, b.pieces, b.start)
	if err != nil {
		return fmt.Errorf("writing segment %d: %w", b.segment, err)
	}
	if l.o.Skip == nil || !l.o.Skip() {
		if err := datasync(s.file); err != nil {
			return fmt.Errorf("syncing segment %d: %w", b.segment, err)
		}
		if l.o.Synced != nil {
			l.o.Synced(Pos{Segment: b.segment, Offset: end})
		}
	}
	l.mu.Lock()
	s.size = end
	l.mu.Unlock()
	return nil
}

// writePieces writes the pieces one behind the other from off on and returns
// where they end.
func writePieces(f *os.File, pieces [][]byte, off uint64) (uint64, error) {
	for len(pieces) > 0 {
		n, err := unix.Pwritev(int(f.Fd()), pieces[:min(len(pieces), maxPieces)], int64(off))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return off, err
		}
		off += uint64(n)
		for len(pieces) > 0 && n >= len(pieces[0]) {
			n -= len(pieces[0])
			pieces = pieces[1:]
		}
		if n > 0 {
			pieces[0] = pieces[0][n:]
		}
	}
	return off, nil
}

// datasync is fdatasync: the file's octets and its length, not its times.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
