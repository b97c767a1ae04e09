package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// errRecord reports a record that cannot be read: a damaged file or a newer format.
var errRecord = errors.New("storage: damaged or unknown record")

// A record is a version octet, then little-endian fields. Strings and octets
// carry a 32-bit length.

func putString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func putBytes(b, s []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(s))), s...)
}

func putTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.LittleEndian.AppendUint64(b, 0)
	}
	return binary.LittleEndian.AppendUint64(b, uint64(t.Unix()))
}

// putPrefix writes a network as its address and one octet for its bits, all
// after their length; none is one octet.
func putPrefix(b []byte, p netip.Prefix) []byte {
	octets, _ := p.MarshalBinary() // never fails
	return putBytes(b, octets)
}

// putAddr writes an address of 4 or 16 octets, with its zone, after its length; none is no octets.
func putAddr(b []byte, a netip.Addr) []byte {
	octets, _ := a.MarshalBinary() // never fails
	return putBytes(b, octets)
}

// putFlag writes an octet, 1 for true.
func putFlag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

// fields reads a record from its start. After the first field that is not
// there every other one is zero, and err says so.
type fields struct {
	b   []byte
	err error
}

// openRecord checks the version octet.
func openRecord(what string, version byte, b []byte) *fields {
	if len(b) == 0 || b[0] != version {
		return &fields{err: fmt.Errorf("%w: %s", errRecord, what)}
	}
	return &fields{b: b[1:]}
}

func (f *fields) take(n int) []byte {
	if f.err != nil || n < 0 || n > len(f.b) {
		if f.err == nil {
			f.err = errRecord
		}
		return nil
	}
	s := f.b[:n]
	f.b = f.b[n:]
	return s
}

func (f *fields) u8() uint8 {
	if s := f.take(1); s != nil {
		return s[0]
	}
	return 0
}

func (f *fields) u16() uint16 {
	if s := f.take(2); s != nil {
		return binary.LittleEndian.Uint16(s)
	}
	return 0
}

func (f *fields) u32() uint32 {
	if s := f.take(4); s != nil {
		return binary.LittleEndian.Uint32(s)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if s := f.take(8); s != nil {
		return binary.LittleEndian.Uint64(s)
	}
	return 0
}

// unix reads a date that is always there; time one of which 0 says that it is not.
func (f *fields) unix() time.Time { return time.Unix(int64(f.u64()), 0) }

func (f *fields) time() time.Time {
	t := f.unix()
	if t.Unix() == 0 {
		return time.Time{}
	}
	return t
}

// bytes returns a copy, since slices of a transaction die with it.
func (f *fields) bytes() []byte {
	return append([]byte(nil), f.take(int(f.u32()))...)
}

func (f *fields) string() string { return string(f.take(int(f.u32()))) }

func (f *fields) flag() bool { return f.u8() == 1 }

// sum reads 32 octets.
func (f *fields) sum() (s [32]byte) {
	copy(s[:], f.take(len(s)))
	return s
}

func (f *fields) prefix() (p netip.Prefix) {
	b := f.take(int(f.u32()))
	if f.err == nil && (p.UnmarshalBinary(b) != nil || len(b) > 1 && !p.IsValid()) {
		f.err = errRecord
	}
	return p
}

func (f *fields) addr() (a netip.Addr) {
	b := f.take(int(f.u32()))
	if f.err == nil && a.UnmarshalBinary(b) != nil {
		f.err = errRecord
	}
	return a
}
