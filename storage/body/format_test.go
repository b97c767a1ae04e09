package body

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The headers, octet by octet as the package comment states them.
func TestHeaderLayout(t *testing.T) {
	h := header{
		kind: kindCopy, codec: codecZstd, id: 0x0807060504030201, date: 0x1817161514131211, epoch: 0x24232221,
		at: Pos{Segment: 0x34333231, Offset: 0x4847464544434241}, payload: 60 << 20, size: 150_000, head: 0x101, meta: 0x202, chunks: 3,
		headCRC: 0x54535251, payloadCRC: 0x64636261,
	}
	b := make([]byte, headerSize)
	h.put(b)
	want := "54524543" + "01" + "02" + "01" + "00" +
		"0102030405060708" + "1112131415161718" + "21222324" + "31323334" + "4142434445464748" +
		"0000c00300000000" + "f049020000000000" + "01010000" + "02020000" + "03000000" + "51525354" + "61626364"
	if got := hex.EncodeToString(b[:76]); got != want {
		t.Errorf("record header\n%s, want\n%s", got, want)
	}
	if back, err := parseHeader(b, h.at); err != nil || back != h {
		t.Errorf("%+v, %v; want %+v", back, err, h)
	}
	s := segmentHeader{shard: 0x0201, number: 0x14131211, created: 0x2827262524232221, before: Pos{Segment: 0x34333231, Offset: 0x4847464544434241}}
	b = s.encode()
	want = "54454c455345474d" + "0100" + "0102" + "11121314" + "2122232425262728" + "31323334" + "00000000" + "4142434445464748" + "00000000"
	if got := hex.EncodeToString(b[:44]); got != want || len(b) != segmentHeaderSize {
		t.Errorf("segment header\n%s, want\n%s", got, want)
	}
	if back, err := parseSegmentHeader(b); err != nil || back != s {
		t.Errorf("%+v, %v; want %+v", back, err, s)
	}
}

// testdata/version1.seg was written by the first version of this package. It
// must be readable for ever.
func TestVersion1(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "version1.seg"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "0000000001.seg"), golden, 0o600); err != nil {
		t.Fatal(err)
	}
	l := openLog(t, dir, Options{Shard: 5})
	rs, err := replay(l, Pos{})
	if err != nil || len(rs) != 3 {
		t.Fatalf("replayed %d records, %v", len(rs), err)
	}
	for i, s := range version1() {
		s.ref = rs[i].Ref
		if !s.is(rs[i]) || rs[i].Copied != (i == 2) {
			t.Errorf("record %d: %+v", i, rs[i])
		}
		s.check(t, l)
	}
}

// version1 is what the golden segment holds: a raw body, one of two zstd chunks,
// and a copy of the first.
func version1() []*sample {
	date := time.Date(2026, 11, 22, 19, 39, 0, 0, time.UTC)
	raw := &sample{id: 1, key: Key{1, 2, 3}, meta: []byte("envelope"), octets: []byte("kurz"), head: []byte("sealed"), date: date, epoch: 7}
	long := &sample{id: 1 << 40, key: Key{4}, octets: bytes.Repeat([]byte(strings.Repeat("Réanimation ", 80)+"\r\n"), 70), date: date, epoch: 8}
	return []*sample{raw, long, raw}
}
