package body

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// smallSegment writes three batches into the first segment of a new log and
// closes it. It returns the segment's octets and the offset of its last mark.
func smallSegment(t testing.TB, dir string) (all []*sample, octets []byte, lastMark uint64) {
	t.Helper()
	l := openLog(t, dir, Options{})
	for i, octets := range []string{"", prose(300), noise(70), prose(200), "x"} {
		s := newSample(ID(i+1), prose(i*11), octets)
		stage(t, l, s)
		all = append(all, s)
		if i != 1 && i != 3 {
			flush(t, l)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	octets, err := os.ReadFile(l.path(1))
	if err != nil {
		t.Fatal(err)
	}
	return all, octets, uint64(len(octets) - headerSize)
}

// survivors replays l and checks that every record is one of all, unchanged, in
// order, and that every octet a body serves is its own. It returns the ids.
func survivors(t *testing.T, l *Log, all []*sample) ([]ID, *DamageError) {
	t.Helper()
	rs, err := replay(l, Pos{})
	var damage *DamageError
	if err != nil && !errors.As(err, &damage) {
		t.Fatal(err)
	}
	var ids []ID
	for _, r := range rs {
		i := slices.IndexFunc(all, func(s *sample) bool { return s.id == r.ID })
		if i < 0 || !all[i].is(r) {
			t.Fatalf("replayed a record that was never written: %+v", r)
		}
		ids = append(ids, r.ID)
	}
	if !slices.IsSorted(ids) {
		t.Fatalf("replayed out of order: %v", ids)
	}
	for _, s := range all {
		r, err := l.Read(s.ref, s.id, &s.key)
		if err == nil {
			var w bytes.Buffer
			if _, err = r.WriteTo(&w); !bytes.HasPrefix(s.octets, w.Bytes()) || err == nil && w.Len() != len(s.octets) {
				t.Fatalf("body %d served wrong octets", s.id)
			}
			meta, merr := r.Meta()
			if merr == nil && !bytes.Equal(meta, s.meta) {
				t.Fatalf("body %d served wrong metadata", s.id)
			}
			err = errors.Join(err, merr)
			r.Close()
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("body %d: %v, want ErrDamaged", s.id, err)
		}
		if err != nil && damage == nil && slices.Contains(ids, s.id) {
			t.Fatalf("body %d does not read (%v) though the replay found no damage", s.id, err)
		}
	}
	return ids, damage
}

// Every bit of a closed segment that another one follows: the damage is found,
// named, and only the record it hits is lost.
func TestEveryOctetFlipped(t *testing.T) {
	dir := t.TempDir()
	all, octets, lastMark := smallSegment(t, dir)
	l := openLog(t, dir, Options{})
	f, err := os.OpenFile(l.path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off := range uint64(len(octets)) {
		f.WriteAt([]byte{octets[off] ^ 1<<(off%8)}, int64(off))
		ids, damage := survivors(t, l, all)
		f.WriteAt(octets[off:off+1], int64(off))

		lost := len(all) - len(ids)
		hit := slices.IndexFunc(all, func(s *sample) bool {
			return s.ref.Offset <= off && off < s.ref.Offset+s.ref.Length
		})
		if hit >= 0 && (lost != 1 || slices.Contains(ids, all[hit].id)) || hit < 0 && lost != 0 {
			t.Fatalf("offset %d: replayed %v", off, ids)
		}
		switch {
		case damage == nil:
			t.Fatalf("offset %d (last mark at %d): no damage found", off, lastMark)
		case len(damage.Damages) != 1:
			t.Fatalf("offset %d: %d damages", off, len(damage.Damages))
		}
		if d := damage.Damages[0]; d.Segment != 1 || off < d.Offset || off >= d.Offset+d.Length || d.Unproven {
			t.Fatalf("offset %d: damage %+v", off, d)
		}
	}
}

// The same in the segment being written, where only the marks tell what counts:
// damage in the last batch is unproven, damage of the last mark itself is a torn
// end.
func TestEveryOctetFlippedBehindNothing(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	a, b := newSample(1, "m", prose(150)), newSample(2, "", noise(50))
	stage(t, l, a)
	flush(t, l)
	stage(t, l, b)
	flush(t, l)
	all := []*sample{a, b}
	octets, err := os.ReadFile(l.path(1))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(l.path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off := range uint64(len(octets)) {
		f.WriteAt([]byte{^octets[off]}, int64(off))
		_, damage := survivors(t, l, all)
		f.WriteAt(octets[off:off+1], int64(off))
		if off >= b.ref.End().Offset {
			if damage != nil {
				t.Fatalf("offset %d: %v", off, damage)
			}
			continue
		}
		if damage == nil || damage.Damages[0].Unproven != (off >= b.ref.Offset) {
			t.Fatalf("offset %d: damage %+v", off, damage)
		}
	}
}

// A segment cut anywhere with nothing behind it is a torn one: what precedes the
// cut is replayed, nothing is called damage.
func TestEveryTruncation(t *testing.T) {
	all, octets, _ := smallSegment(t, t.TempDir())
	dir := t.TempDir()
	for cut := 0; cut <= len(octets); cut += 3 {
		l := logOver(t, dir, octets[:cut])
		ids, damage := survivors(t, l, all)
		if damage != nil {
			t.Fatalf("cut at %d: %v", cut, damage)
		}
		want := 0
		for _, s := range all {
			if s.ref.End().Offset <= uint64(cut) {
				want++
			}
		}
		if len(ids) != want {
			t.Fatalf("cut at %d: replayed %v, want %d records", cut, ids, want)
		}
	}
}

// logOver is a log for reading whose only segment holds octets. Nothing is
// synced, which makes it cheap.
func logOver(t testing.TB, dir string, octets []byte) *Log {
	t.Helper()
	l := openLog(t, t.TempDir(), Options{})
	if err := os.WriteFile(filepath.Join(dir, "segment"), octets, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "segment"))
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active.file.Close()
	l.active.file, l.active.size = f, uint64(len(octets))
	return l
}

// The next segment's header remembers how far the one before was written: a loss
// that leaves no trace in the segment itself is damage all the same.
func TestLossOfWhatWasOnDisk(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string, lastMark uint64){
		"cut": func(t *testing.T, path string, lastMark uint64) {
			if err := os.Truncate(path, int64(lastMark)-100); err != nil {
				t.Fatal(err)
			}
		},
		"emptied": func(t *testing.T, path string, lastMark uint64) {
			if err := os.Truncate(path, 0); err != nil {
				t.Fatal(err)
			}
		},
		"zeroed": func(t *testing.T, path string, lastMark uint64) {
			if err := os.WriteFile(path, make([]byte, lastMark), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		dir := t.TempDir()
		all, _, lastMark := smallSegment(t, dir)
		l := openLog(t, dir, Options{}) // writes the header of segment 2
		s := newSample(9, "", "behind the damage")
		stage(t, l, s)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		harm(t, l.path(1), lastMark)
		l = openLog(t, dir, Options{})
		ids, damage := survivors(t, l, append(all, s))
		if damage == nil || damage.Damages[0].Segment != 1 {
			t.Errorf("%s: damage %v", name, damage)
		}
		if len(ids) == 0 || ids[len(ids)-1] != 9 {
			t.Errorf("%s: the replay did not go on behind the damage: %v", name, ids)
		}
	}
}

// A caller that has seen the log up to somewhere knows that it reached so far.
func TestReplayFromBeyondTheEnd(t *testing.T) {
	dir := t.TempDir()
	all, _, lastMark := smallSegment(t, dir)
	if err := os.Truncate(filepath.Join(dir, "0000000001.seg"), int64(lastMark)-200); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir, Options{})
	if _, err := replay(l, all[len(all)-1].ref.End()); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want ErrDamaged", err)
	}
}

// What a power cut leaves of a batch that was never acknowledged.
func TestTornTail(t *testing.T) {
	all, octets, _ := smallSegment(t, t.TempDir())
	whole := octets[all[0].ref.Offset:all[1].ref.Offset] // a record with its mark, out of place
	for name, tail := range map[string][]byte{
		"zeros":             make([]byte, 5000),
		"noise":             []byte(noise(5000)),
		"stale record":      whole,
		"header cut short":  octets[all[4].ref.Offset:][:headerSize-1],
		"header of nothing": octets[all[4].ref.Offset:][:headerSize],
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "0000000001.seg"), append(bytes.Clone(octets), tail...), 0o600); err != nil {
			t.Fatal(err)
		}
		l := openLog(t, dir, Options{})
		later := newSample(100, "", "written after the restart")
		stage(t, l, later)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		all := append(slices.Clone(all), later)
		l = openLog(t, dir, Options{})
		if ids, damage := survivors(t, l, all); len(ids) != len(all) || damage != nil {
			t.Errorf("%s: replayed %v, %v", name, ids, damage)
		}
	}
}

// A power cut during the sync of a batch may leave its mark and not its records.
// It cannot be told from later damage, so it is reported, as unproven, at every
// restart.
func TestTornBatchUnderAnIntactMark(t *testing.T) {
	dir := t.TempDir()
	all, octets, _ := smallSegment(t, dir)
	torn := all[4].ref
	clear(octets[torn.Offset+headerSize : torn.End().Offset])
	if err := os.WriteFile(filepath.Join(dir, "0000000001.seg"), octets, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l := openLog(t, dir, Options{})
		ids, damage := survivors(t, l, all)
		if len(ids) != 4 || damage == nil || len(damage.Damages) != 1 || !damage.Damages[0].Unproven {
			t.Errorf("replayed %v, %+v", ids, damage)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A damaged record that also lost its length is passed by searching.
func TestSearchBehindALostHeader(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, dir, Options{})
	var all []*sample
	for i := range 6 {
		s := newSample(ID(i+1), "", noise(scanSize/2+i*1000)) // the search crosses windows
		stage(t, l, s)
		all = append(all, s)
	}
	flush(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(l.path(1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt(make([]byte, headerSize), int64(all[1].ref.Offset))
	f.WriteAt(make([]byte, 10), int64(all[4].ref.Offset))
	l = openLog(t, dir, Options{})
	ids, damage := survivors(t, l, all)
	if !slices.Equal(ids, []ID{1, 3, 4, 6}) || damage == nil || len(damage.Damages) != 2 {
		t.Fatalf("replayed %v, %v", ids, damage)
	}
	for i, s := range []*sample{all[1], all[4]} {
		if d := damage.Damages[i]; d.Offset != s.ref.Offset || d.Length != s.ref.Length {
			t.Errorf("damage %+v, want %+v", d, s.ref)
		}
	}
}
