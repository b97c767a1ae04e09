package body

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	segmentMagic      = "TELESEGM"
	recordMagic       = "TREC"
	version           = 1
	segmentHeaderSize = 48
	headerSize        = 80
	chunkSize         = 64 << 10
	tagSize           = 16
	alignment         = 8
	maxPayload        = 1 << 40 // keeps the arithmetic on lengths far from overflow
)

type kind uint8

const (
	kindBody kind = 1
	kindCopy kind = 2
	kindMark kind = 3
)

type codec uint8

const (
	codecRaw  codec = 0
	codecZstd codec = 1
)

type field uint8

const (
	fieldMeta field = 1
	fieldBody field = 2
)

// header is a record header in memory. at is the record's own position.
type header struct {
	kind       kind
	codec      codec
	id         ID // in a batch mark: the offset where the batch begins
	date       int64
	epoch      uint32
	at         Pos
	payload    uint64
	size       uint64 // in a batch mark: the number of records
	head       uint32
	meta       uint32
	chunks     uint32
	headCRC    uint32
	payloadCRC uint32
}

// length is the record's length in the segment, padding included.
func (h *header) length() uint64 {
	return roundUp(headerSize + h.payload + uint64(h.head))
}

func (h *header) ref() Ref {
	return Ref{Segment: h.at.Segment, Offset: h.at.Offset, Length: h.length()}
}

// put encodes h into the first 80 octets of b.
func (h *header) put(b []byte) {
	le := binary.LittleEndian
	copy(b, recordMagic)
	b[4], b[5], b[6], b[7] = version, byte(h.kind), byte(h.codec), 0
	le.PutUint64(b[8:], uint64(h.id))
	le.PutUint64(b[16:], uint64(h.date))
	le.PutUint32(b[24:], h.epoch)
	le.PutUint32(b[28:], h.at.Segment)
	le.PutUint64(b[32:], h.at.Offset)
	le.PutUint64(b[40:], h.payload)
	le.PutUint64(b[48:], h.size)
	le.PutUint32(b[56:], h.head)
	le.PutUint32(b[60:], h.meta)
	le.PutUint32(b[64:], h.chunks)
	le.PutUint32(b[68:], h.headCRC)
	le.PutUint32(b[72:], h.payloadCRC)
	le.PutUint32(b[76:], checksum(b[:76]))
}

// parseHeader decodes the record header that b begins with and that must stand
// at the position at.
func parseHeader(b []byte, at Pos) (header, error) {
	le := binary.LittleEndian
	var h header
	switch {
	case len(b) < headerSize:
		return h, damaged("record header cut short")
	case string(b[:4]) != recordMagic:
		return h, damaged("no record header")
	case le.Uint32(b[76:]) != checksum(b[:76]):
		return h, damaged("record header fails its checksum")
	}
	h = header{
		kind: kind(b[5]), codec: codec(b[6]),
		id:    ID(le.Uint64(b[8:])),
		date:  int64(le.Uint64(b[16:])),
		epoch: le.Uint32(b[24:]),
		at:    Pos{Segment: le.Uint32(b[28:]), Offset: le.Uint64(b[32:])},

		payload:    le.Uint64(b[40:]),
		size:       le.Uint64(b[48:]),
		head:       le.Uint32(b[56:]),
		meta:       le.Uint32(b[60:]),
		chunks:     le.Uint32(b[64:]),
		headCRC:    le.Uint32(b[68:]),
		payloadCRC: le.Uint32(b[72:]),
	}
	if h.at != at {
		return h, damaged("record header belongs elsewhere")
	}
	if b[4] != version || b[7] != 0 {
		return h, fmt.Errorf("%w: record version %d", ErrVersion, b[4])
	}
	return h, h.check()
}

// check holds the lengths of a header against each other.
func (h *header) check() error {
	switch h.kind {
	case kindMark:
		if h.payload != 0 || h.head != 0 || uint64(h.id) > h.at.Offset {
			return damaged("batch mark contradicts itself")
		}
		return nil
	case kindBody, kindCopy:
	default:
		return fmt.Errorf("%w: record type %d", ErrVersion, h.kind)
	}
	if h.codec > codecZstd {
		return fmt.Errorf("%w: codec %d", ErrVersion, h.codec)
	}
	if h.payload > maxPayload || h.size > maxPayload || h.head > MaxHead ||
		h.meta > MaxMeta+tagSize || h.meta > 0 && h.meta < tagSize ||
		uint64(h.chunks) != chunkCount(h.size) ||
		uint64(h.chunks)*(4+tagSize)+uint64(h.meta) > h.payload {
		return damaged("record header contradicts itself")
	}
	return nil
}

// segmentHeader says which segment a file holds, plus how far the one before
// it was known to be on disk.
type segmentHeader struct {
	shard   uint16
	number  uint32
	created int64
	before  Pos
}

func (h *segmentHeader) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, segmentHeaderSize)
	copy(b, segmentMagic)
	le.PutUint16(b[8:], version)
	le.PutUint16(b[10:], h.shard)
	le.PutUint32(b[12:], h.number)
	le.PutUint64(b[16:], uint64(h.created))
	le.PutUint32(b[24:], h.before.Segment)
	le.PutUint64(b[32:], h.before.Offset)
	le.PutUint32(b[44:], checksum(b[:44]))
	return b
}

func parseSegmentHeader(b []byte) (segmentHeader, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < segmentHeaderSize || string(b[:8]) != segmentMagic:
		return segmentHeader{}, damaged("no segment header")
	case le.Uint32(b[44:]) != checksum(b[:44]):
		return segmentHeader{}, damaged("segment header fails its checksum")
	case le.Uint16(b[8:]) != version:
		return segmentHeader{}, fmt.Errorf("%w: segment version %d", ErrVersion, le.Uint16(b[8:]))
	}
	return segmentHeader{
		shard:   le.Uint16(b[10:]),
		number:  le.Uint32(b[12:]),
		created: int64(le.Uint64(b[16:])),
		before:  Pos{Segment: le.Uint32(b[24:]), Offset: le.Uint64(b[32:])},
	}, nil
}

// chunkCount is the number of chunks of a body of size octets.
func chunkCount(size uint64) uint64 { return max(1, (size+chunkSize-1)/chunkSize) }

// chunkLen is the plain length of chunk i of a body of size octets.
func chunkLen(size uint64, i int) int {
	return int(min(chunkSize, size-uint64(i)*chunkSize))
}

func roundUp(n uint64) uint64 { return (n + alignment - 1) &^ (alignment - 1) }

func checksum(b []byte) uint32 { return addChecksum(0, b) }

func addChecksum(sum uint32, b []byte) uint32 {
	// MakeTable returns one shared table for this polynomial.
	return crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), b)
}

// setNonce fills n for one sealed field, as the package comment lays it out.
func setNonce(n *[12]byte, f field, chunk int, last bool) {
	*n = [12]byte{0: byte(f)}
	binary.LittleEndian.PutUint32(n[7:], uint32(chunk))
	if last {
		n[11] = 1
	}
}

// setAD fills the associated data that binds a field to its body.
func setAD(ad *[24]byte, f field, c codec, id ID, size uint64) {
	*ad = [24]byte{0: version, 1: byte(f), 2: byte(c)}
	binary.LittleEndian.PutUint64(ad[8:], uint64(id))
	binary.LittleEndian.PutUint64(ad[16:], size)
}
