package body

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestRecordsNeverSpanSegments(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{SegmentSize: 2000, Shard: 3})
	var all []*sample
	for i, n := range []int{600, 600, 600, 600, 5000, 10, 10, 1500} { // the fifth is larger than a segment
		s := newSample(ID(i+1), "", noise(n))
		stage(t, l, s)
		all = append(all, s)
		if i%2 == 0 {
			flush(t, l) // the others fill a segment and begin the next in one Flush
		}
	}
	flush(t, l)
	if all[4].ref.Offset != segmentHeaderSize || all[5].ref.Segment != all[4].ref.Segment+1 {
		t.Errorf("the large record stands at %+v, the next at %+v", all[4].ref, all[5].ref)
	}
	for range 2 {
		for _, s := range all {
			s.check(t, l)
		}
		rs, err := replay(l, Pos{})
		if err != nil || len(rs) != len(all) {
			t.Fatalf("replayed %d records, %v", len(rs), err)
		}
		for i, info := range l.Segments() {
			file, err := os.Stat(l.path(info.Number))
			if err != nil || file.Size() != info.Size || info.Active != (i == len(l.Segments())-1) {
				t.Errorf("%+v, on disk %v", info, file)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, dir, Options{Shard: 3})
	}
	l.Close()
	l = openLog(t, dir, Options{Shard: 4})
	if _, err := replay(l, Pos{}); !errors.Is(err, ErrVersion) {
		t.Errorf("another shard's segments: %v, want ErrVersion", err)
	}
}

func TestRestartsLeaveNoEmptySegments(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	s := newSample(1, "", "x")
	stage(t, l, s)
	l.Close()
	var last uint32
	for range 5 {
		l = openLog(t, dir, Options{})
		infos := l.Segments()
		if len(infos) != 2 || infos[1].Number <= last {
			t.Fatalf("segments %+v after %d", infos, last)
		}
		last = infos[1].Number // never used again
		l.Close()
	}
	// What the removed ones knew about segment 1 was handed on.
	if err := os.Truncate(l.path(1), 60); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, dir, Options{})
	var damage *DamageError
	if _, err := replay(l, Pos{}); !errors.As(err, &damage) || damage.Damages[0].Segment != 1 {
		t.Errorf("%v, want damage in segment 1", err)
	}
}

func TestCompaction(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{SegmentSize: 8 << 10})
	var all []*sample
	for i := range 20 {
		s := newSample(ID(i+1), prose(i*3), prose(100)+noise(1000))
		stage(t, l, s)
		all = append(all, s)
	}
	flush(t, l)
	held, err := l.Read(all[0].ref, 1, &all[0].key)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	err = l.Scan(1, func(r *Record) error {
		s := all[r.ID-1]
		if r.Copied || !s.is(*r) {
			t.Errorf("scanned %+v", r)
		}
		if r.ID%2 == 0 {
			return nil // dead
		}
		moved++
		s.ref, err = l.Relocate(r.Ref)
		return err
	})
	if err != nil || moved == 0 {
		t.Fatalf("%d records moved, %v", moved, err)
	}
	flush(t, l)
	if err := l.Remove(1); err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if _, err := held.WriteTo(&w); err != nil || !bytes.Equal(w.Bytes(), all[0].octets) {
		t.Errorf("reader that was open: %v", err)
	}
	held.Close()
	for range 2 {
		for _, s := range all {
			if s.ref.Segment != 1 {
				s.check(t, l)
			}
		}
		copied := 0
		rs, err := replay(l, Pos{})
		for _, r := range rs {
			if !all[r.ID-1].is(r) {
				t.Errorf("replayed %+v", r)
			}
			if r.Copied {
				copied++
			}
		}
		if err != nil || copied != moved {
			t.Errorf("%d copies replayed, %v; want %d", copied, err, moved)
		}
		l.Close()
		l = openLog(t, dir, Options{})
	}
}

func TestSegmentsThatCannotGo(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	if err := l.Remove(1); !errors.Is(err, ErrActive) {
		t.Errorf("removing the active segment: %v, want ErrActive", err)
	}
	if err := l.Remove(99); !errors.Is(err, ErrNoSegment) {
		t.Errorf("removing segment 99: %v, want ErrNoSegment", err)
	}
	if err := l.Scan(99, nil); !errors.Is(err, ErrNoSegment) {
		t.Errorf("scanning segment 99: %v, want ErrNoSegment", err)
	}
}

func TestRelocateRefusesDamage(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	s := newSample(1, "", noise(100))
	stage(t, l, s)
	flush(t, l)
	f, err := os.OpenFile(l.path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt([]byte{0, 0, 0, 0}, int64(s.ref.Offset)+headerSize+30)
	if _, err := l.Relocate(s.ref); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
	mark := Ref{Segment: 1, Offset: s.ref.End().Offset, Length: headerSize}
	if _, err := l.Relocate(mark); !errors.Is(err, ErrDamaged) {
		t.Errorf("batch mark: %v, want ErrDamaged", err)
	}
	if infos := l.Segments(); l.Flush() != nil || l.Segments()[0] != infos[0] {
		t.Error("something was staged")
	}
}

func TestRanges(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	for id, octets := range []string{"", "abc", noise(100), prose(chunkSize), noise(3*chunkSize + 17), prose(2*chunkSize) + noise(chunkSize)} {
		s := newSample(ID(id), "m", octets)
		stage(t, l, s)
		flush(t, l)
		r, err := l.Read(s.ref, s.id, &s.key)
		if err != nil {
			t.Fatal(err)
		}
		size := len(octets)
		for _, off := range []int{0, 1, size / 2, chunkSize - 1, chunkSize, chunkSize + 1, size - 1, size, size + 5} {
			for _, n := range []int{0, 1, 10, chunkSize, chunkSize + 1, size, 1 << 30} {
				if off < 0 {
					continue
				}
				want := []byte(octets)[min(off, size):min(off+n, size)]
				var w bytes.Buffer
				if m, err := r.WriteRange(&w, int64(off), int64(n)); err != nil || int(m) != len(want) || !bytes.Equal(w.Bytes(), want) {
					t.Errorf("WriteRange(%d, %d) of %d: %d octets, %v", off, n, size, m, err)
				}
				p := make([]byte, min(n, size+1))
				m, err := r.ReadAt(p, int64(off))
				if full := m == len(p); full != (err == nil) || !full && err != io.EOF || !bytes.Equal(p[:m], want[:min(len(want), len(p))]) {
					t.Errorf("ReadAt(%d, %d) of %d: %d octets, %v", len(p), off, size, m, err)
				}
			}
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
			t.Errorf("ReadAt(-1): %v", err)
		}
		r.Close()
		if _, err := r.ReadAt(make([]byte, 1), 0); size > 0 && !errors.Is(err, ErrClosed) {
			t.Errorf("ReadAt after Close: %v, want ErrClosed", err)
		}
		if err := r.Close(); !errors.Is(err, ErrClosed) {
			t.Errorf("second Close: %v, want ErrClosed", err)
		}
	}
}

func TestFailedWriteIsForEver(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	before := newSample(1, "", "written")
	stage(t, l, before)
	flush(t, l)
	writable := l.active.file
	l.active.file, _ = os.Open(l.path(1)) // a disk that refuses writes
	stage(t, l, newSample(2, "", "lost"))
	if err := l.Flush(); !errors.Is(err, ErrReadOnly) {
		t.Fatalf("%v, want ErrReadOnly", err)
	}
	l.active.file.Close()
	l.active.file = writable // even when it recovers
	sealed, err := Seal(3, &Key{3}, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Stage(sealed, nil, day, 1); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Stage: %v, want ErrReadOnly", err)
	}
	if _, err := l.Relocate(before.ref); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Relocate: %v, want ErrReadOnly", err)
	}
	if err := l.Flush(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Flush: %v, want ErrReadOnly", err)
	}
	before.check(t, l) // reading goes on
	if err := l.Close(); !errors.Is(err, ErrReadOnly) {
		t.Errorf("Close: %v, want ErrReadOnly", err)
	}
	l = openLog(t, dir, Options{})
	stage(t, l, newSample(3, "", "after the restart"))
	flush(t, l)
	if rs, err := replay(l, Pos{}); err != nil || len(rs) != 2 {
		t.Errorf("replayed %d records, %v", len(rs), err)
	}
}

func TestCloseWritesWhatIsStaged(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	s := newSample(1, "", "staged")
	stage(t, l, s)
	r, err := l.Read(s.ref, s.id, &s.key)
	if err == nil {
		t.Error("read before it was written")
		r.Close()
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"Close": l.Close(), "Flush": l.Flush(), "Replay": l.Replay(Pos{}, nil), "Remove": l.Remove(1)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	l = openLog(t, dir, Options{})
	s.check(t, l)
}

func TestLimits(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	s := newSample(1, noise(MaxMeta), "x")
	s.head = []byte(noise(scanSize * 3)) // longer than the window of a replay
	stage(t, l, s)
	flush(t, l)
	s.check(t, l)
	if rs, err := replay(l, Pos{}); err != nil || len(rs) != 1 || !s.is(rs[0]) {
		t.Errorf("replayed %d records, %v", len(rs), err)
	}
	if _, err := Seal(1, &s.key, make([]byte, MaxMeta+1), nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("metadata: %v, want ErrTooLarge", err)
	}
	sealed, err := Seal(1, &s.key, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Stage(sealed, make([]byte, MaxHead+1), day, 1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("head: %v, want ErrTooLarge", err)
	}
}

func TestFewOpenFiles(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{SegmentSize: 1, MaxOpen: 3})
	var all []*sample
	for i := range 20 {
		s := newSample(ID(i), "", prose(100))
		stage(t, l, s)
		all = append(all, s)
	}
	flush(t, l)
	for range 2 {
		for _, s := range all {
			s.check(t, l)
			if l.open > 3 {
				t.Fatalf("%d files open", l.open)
			}
		}
	}
}

// A segment of a newer version is left alone, not taken for damage.
func TestNewerVersion(t *testing.T) {
	dir := t.TempDir()
	h := (&segmentHeader{number: 1}).encode()
	h[8] = version + 1
	sum := checksum(h[:44])
	h[44], h[45], h[46], h[47] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	if err := os.WriteFile(filepath.Join(dir, "0000000001.seg"), h, 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(dir, Options{}); !errors.Is(err, ErrVersion) {
		t.Errorf("%v, want ErrVersion", err)
		l.Close()
	}
}
