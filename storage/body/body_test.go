package body

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// sample is a body with all that belongs to it.
type sample struct {
	id     ID
	key    Key
	meta   []byte
	octets []byte
	head   []byte
	date   time.Time
	epoch  uint32
	ref    Ref
}

var day = time.Date(2026, 11, 22, 19, 39, 0, 123456000, time.UTC)

func newSample(id ID, meta, octets string) *sample {
	s := &sample{id: id, meta: []byte(meta), octets: []byte(octets), head: []byte(strings.Repeat("h", int(id)*3)), date: day.Add(time.Duration(id) * time.Hour), epoch: uint32(id) + 7}
	rand.Read(s.key[:])
	return s
}

func noise(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return string(b)
}

func prose(n int) string {
	return strings.Repeat("Le patient a bien supporté l'intervention. ", n/43+1)[:n]
}

func openLog(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func stage(t testing.TB, l *Log, s *sample) {
	t.Helper()
	sealed, err := Seal(s.id, &s.key, s.meta, s.octets)
	if err != nil {
		t.Fatal(err)
	}
	if s.ref, err = l.Stage(sealed, s.head, s.date, s.epoch); err != nil {
		t.Fatal(err)
	}
}

func flush(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Flush(); err != nil {
		t.Fatal(err)
	}
}

// check reads s whole in every way there is.
func (s *sample) check(t testing.TB, l *Log) {
	t.Helper()
	r, err := l.Read(s.ref, s.id, &s.key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Size() != int64(len(s.octets)) {
		t.Fatalf("body %d: size %d, want %d", s.id, r.Size(), len(s.octets))
	}
	got, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil || !bytes.Equal(got, s.octets) {
		t.Fatalf("body %d: read %d octets, %v; want %d", s.id, len(got), err, len(s.octets))
	}
	var w bytes.Buffer
	if n, err := r.WriteTo(&w); err != nil || n != r.Size() || !bytes.Equal(w.Bytes(), s.octets) {
		t.Fatalf("body %d: wrote %d octets, %v", s.id, n, err)
	}
	meta, err := r.Meta()
	if err != nil || !bytes.Equal(meta, s.meta) {
		t.Fatalf("body %d: metadata %q, %v; want %q", s.id, meta, err, s.meta)
	}
}

// replay collects what a replay gives, with the heads copied.
func replay(l *Log, from Pos) ([]Record, error) {
	var rs []Record
	err := l.Replay(from, func(r *Record) error {
		c := *r
		c.Head = bytes.Clone(r.Head)
		rs = append(rs, c)
		return nil
	})
	return rs, err
}

func (s *sample) is(r Record) bool {
	return r.ID == s.id && r.Ref == s.ref && r.Date.Equal(s.date) && r.Epoch == s.epoch && r.Size == int64(len(s.octets)) && bytes.Equal(r.Head, s.head)
}

func TestRoundTrip(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	var all []*sample
	for i, octets := range []string{
		"", "x", prose(100), noise(100), prose(4 << 10),
		prose(chunkSize - 1), prose(chunkSize), prose(chunkSize + 1), noise(chunkSize), noise(2*chunkSize + 5),
		prose(chunkSize) + noise(chunkSize) + prose(7), // a raw chunk in a zstd record
		noise(chunkSize) + prose(3*chunkSize),          // given up after the first chunk
	} {
		meta := ""
		if i%2 == 1 {
			meta = noise(i * 100)
		}
		s := newSample(ID(i), meta, octets)
		stage(t, l, s)
		all = append(all, s)
		if i%3 == 0 {
			flush(t, l)
		}
	}
	flush(t, l)
	for _, s := range all {
		s.check(t, l)
	}
	rs, err := replay(l, Pos{})
	if err != nil || len(rs) != len(all) {
		t.Fatalf("replay: %d records, %v", len(rs), err)
	}
	for i, s := range all {
		if !s.is(rs[i]) {
			t.Errorf("replay: record %d is %+v", i, rs[i])
		}
	}
	for i, s := range all {
		rest, err := replay(l, s.ref.End())
		if err != nil || len(rest) != len(all)-i-1 {
			t.Errorf("replay behind record %d: %d records, %v", i, len(rest), err)
		}
	}
}

func TestReadRefusesTheWrongBody(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{})
	a, b := newSample(1, "meta", prose(500)), newSample(2, "", prose(500))
	stage(t, l, a)
	stage(t, l, b)
	flush(t, l)
	var other Key
	for name, try := range map[string]struct {
		ref Ref
		id  ID
		key *Key
	}{
		"wrong id":          {a.ref, 2, &a.key},
		"wrong key":         {a.ref, 1, &b.key},
		"no key":            {a.ref, 1, &other},
		"wrong record":      {b.ref, 1, &a.key},
		"wrong length":      {Ref{a.ref.Segment, a.ref.Offset, a.ref.Length + 8}, 1, &a.key},
		"length zero":       {Ref{a.ref.Segment, a.ref.Offset, 0}, 1, &a.key},
		"inside the record": {Ref{a.ref.Segment, a.ref.Offset + 8, a.ref.Length - 8}, 1, &a.key},
		"batch mark":        {Ref{b.ref.Segment, b.ref.End().Offset, headerSize}, ID(a.ref.Offset), &a.key},
		"beyond the end":    {Ref{a.ref.Segment, 1 << 30, a.ref.Length}, 1, &a.key},
		"far beyond":        {Ref{a.ref.Segment, 1 << 63, a.ref.Length}, 1, &a.key},
	} {
		r, err := l.Read(try.ref, try.id, try.key)
		if err == nil {
			var n int
			n, err = r.ReadAt(make([]byte, 10), 0)
			if n != 0 {
				t.Errorf("%s: served %d octets", name, n)
			}
			r.Close()
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	if _, err := l.Read(Ref{Segment: 99, Offset: segmentHeaderSize, Length: 100}, 1, &a.key); !errors.Is(err, ErrNoSegment) {
		t.Errorf("missing segment: %v, want ErrNoSegment", err)
	}
}
