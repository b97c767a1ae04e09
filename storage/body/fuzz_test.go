package body

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"
)

// mend makes the checksums of every header in octets fit, so that a fuzzer gets
// past them, and gives records the position at which they stand.
func mend(octets []byte) {
	le := binary.LittleEndian
	if len(octets) >= segmentHeaderSize && string(octets[:8]) == segmentMagic {
		le.PutUint32(octets[44:], checksum(octets[:44]))
	}
	for off := segmentHeaderSize; off+headerSize <= len(octets); off += alignment {
		h := octets[off:]
		if string(h[:4]) != recordMagic {
			continue
		}
		le.PutUint32(h[28:], 1)
		le.PutUint64(h[32:], uint64(off))
		payload, head := le.Uint64(h[40:]), uint64(le.Uint32(h[56:]))
		if end := headerSize + payload + head; payload < 1<<20 && end <= uint64(len(h)) {
			le.PutUint32(h[72:], checksum(h[headerSize:headerSize+payload]))
			le.PutUint32(h[68:], checksum(h[headerSize+payload:end]))
		}
		le.PutUint32(h[76:], checksum(h[:76]))
	}
}

// FuzzReplay reads a segment of any octets: the replay ends, each record it
// gives lies in the file behind the one before and can be read again, and no
// body is served but under its own key.
func FuzzReplay(f *testing.F) {
	_, octets, lastMark := smallSegment(f, f.TempDir())
	f.Add(octets, false)
	f.Add(octets, true)
	f.Add(octets[:lastMark], true)
	f.Add(octets[:segmentHeaderSize+headerSize], true)
	f.Add([]byte{}, false)
	file, err := os.CreateTemp(f.TempDir(), "")
	if err != nil {
		f.Fatal(err)
	}
	l := openLog(f, f.TempDir(), Options{})
	l.active.file.Close()
	l.active.file = file
	f.Fuzz(func(t *testing.T, octets []byte, mended bool) {
		if mended {
			octets = bytes.Clone(octets)
			mend(octets)
		}
		if err := errors.Join(file.Truncate(0), writeAll(file, octets)); err != nil {
			t.Fatal(err)
		}
		l.active.size = uint64(len(octets))
		end := uint64(segmentHeaderSize)
		err := l.Replay(Pos{}, func(r *Record) error {
			if r.Ref.Offset < end || r.Ref.End().Offset > uint64(len(octets)) {
				t.Errorf("record at %+v behind %d in %d octets", r.Ref, end, len(octets))
			}
			end = r.Ref.End().Offset
			if _, _, err := l.whole(r.Ref); err != nil {
				t.Errorf("record at %+v: %v", r.Ref, err)
			}
			body, err := l.Read(r.Ref, r.ID, &Key{})
			if err == nil {
				p := make([]byte, 100)
				if n, err := body.ReadAt(p, 0); n > 0 || !errors.Is(err, ErrDamaged) {
					t.Errorf("record at %+v: served %d octets, %v", r.Ref, n, err)
				}
				body.Close()
			}
			return nil
		})
		var damage *DamageError
		if errors.As(err, &damage) {
			last := uint64(0)
			for _, d := range damage.Damages {
				if d.Offset < last || d.Length == 0 || d.Offset+d.Length > uint64(len(octets)) {
					t.Errorf("damage %+v behind %d", d, last)
				}
				last = d.Offset + d.Length
			}
		} else if err != nil && !errors.Is(err, ErrVersion) {
			t.Errorf("replay: %v", err)
		}
	})
}

func writeAll(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// FuzzRoundTrip seals any octets, stages them with any metadata and head, and
// reads any range of them.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("octets"), []byte("meta"), []byte("head"), 2, 3, uint16(1))
	f.Add([]byte(""), []byte(""), []byte(""), 0, 0, uint16(0))
	f.Add([]byte(prose(500)), []byte("m"), []byte{}, 400, 1000, uint16(300))
	l := openLog(f, f.TempDir(), Options{SegmentSize: 1 << 20})
	id := ID(0)
	f.Fuzz(func(t *testing.T, octets, meta, head []byte, off, n int, repeat uint16) {
		octets = bytes.Repeat(octets, 1+int(repeat)%(1+(3<<16)/(1+len(octets)))) // several chunks
		if len(meta) > MaxMeta || off < 0 || n < 0 {
			return
		}
		id++
		s := newSample(id, string(meta), string(octets))
		s.head = head
		stage(t, l, s)
		flush(t, l)
		s.check(t, l)
		r, err := l.Read(s.ref, s.id, &s.key)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var w bytes.Buffer
		if _, err := r.WriteRange(&w, int64(off), int64(n)); err != nil {
			t.Fatal(err)
		}
		begin := min(off, len(octets))
		if want := octets[begin : begin+min(n, len(octets)-begin)]; !bytes.Equal(w.Bytes(), want) {
			t.Errorf("range %d+%d of %d: %d octets", off, n, len(octets), w.Len())
		}
		if n := len(l.Segments()); n > 3 {
			if err := l.Remove(l.Segments()[0].Number); err != nil {
				t.Fatal(err)
			}
		}
	})
}
