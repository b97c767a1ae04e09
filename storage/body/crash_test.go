package body

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// crash is what a power cut makes of a log: of everything behind the last sync
// that really happened, a part arrived, another did not. It returns the
// segments in a new directory.
func crash(t *testing.T, l *Log, synced Pos, tail func(n int) []byte) string {
	t.Helper()
	dir := t.TempDir()
	for _, info := range l.Segments() {
		octets, err := os.ReadFile(l.path(info.Number))
		if err != nil {
			t.Fatal(err)
		}
		if end := int(synced.Offset); info.Number == synced.Segment && end < len(octets) {
			octets = append(octets[:end:end], tail(len(octets)-end)...)
		}
		if info.Number <= synced.Segment {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(l.path(info.Number))), octets, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// Everything for which Flush returned survives a crash; with a disk that lies
// about flushes the same test notices.
func TestCrash(t *testing.T) {
	for round := range 12 {
		if lost, err := crashRound(t, round, 1); lost > 0 || err != nil {
			t.Errorf("round %d: %d acknowledged records lost, %v", round, lost, err)
		}
	}
	total := 0
	for round := range 12 {
		lost, _ := crashRound(t, round, 8)
		total += lost
	}
	if total == 0 {
		t.Error("a disk that lies went unnoticed")
	}
}

// crashRound writes records on a disk that performs each honest-th flush,
// crashes, and counts the acknowledged records that a replay does not find.
func crashRound(t *testing.T, round, honest int) (lost int, err error) {
	t.Helper()
	synced := Pos{Segment: 1, Offset: segmentHeaderSize}
	flushes := 0
	l := openLog(t, t.TempDir(), Options{
		SegmentSize: 20_000,
		Skip:        func() bool { flushes++; return flushes%honest != 0 },
		Synced:      func(p Pos) { synced = p },
	})
	var waiting, acknowledged []*sample
	for i := range 10 + round {
		s := newSample(ID(i), "", noise(300+i*100))
		stage(t, l, s)
		waiting = append(waiting, s)
		if i%3 == 0 {
			flush(t, l)
			acknowledged, waiting = append(acknowledged, waiting...), nil
		}
	}
	dir := crash(t, l, synced, func(n int) []byte {
		return [][]byte{nil, make([]byte, n), []byte(noise(n))}[round%3]
	})
	rs, err := replay(openLog(t, dir, Options{}), Pos{})
	for _, s := range acknowledged {
		if !slices.ContainsFunc(rs, s.is) {
			lost++
		}
	}
	if err != nil && !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	return lost, err
}
