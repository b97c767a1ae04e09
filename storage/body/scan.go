package body

import (
	"os"
)

// scanSize is how much of a segment a scanner holds, in octets.
const scanSize = 256 << 10

// scanner reads a segment through a window. It trusts nothing that it
// reads.
type scanner struct {
	file   *os.File
	number uint32
	size   uint64 // the segment ends here
	window []byte
	base   uint64 // offset of the window
	filled int
	head   []byte // the head of the record last read
}

func (l *Log) scanner(s *segment, size uint64) *scanner {
	return &scanner{file: s.file, number: s.number, size: size, window: make([]byte, min(scanSize, max(size, segmentHeaderSize)))}
}

// at returns up to n octets from off on, at least one; valid until the next
// call.
func (s *scanner) at(off, n uint64) ([]byte, error) {
	if off >= s.size {
		return nil, damaged("segment ends early")
	}
	n = min(n, s.size-off, uint64(len(s.window)))
	if off < s.base || off+n > s.base+uint64(s.filled) {
		s.base = off
		s.filled = int(min(uint64(len(s.window)), s.size-off))
		if _, err := s.file.ReadAt(s.window[:s.filled], int64(off)); err != nil {
			s.filled = 0
			return nil, readError(err)
		}
	}
	return s.window[off-s.base:][:n], nil
}

func (s *scanner) segmentHeader() (segmentHeader, error) {
	b, err := s.at(0, segmentHeaderSize)
	if err != nil {
		return segmentHeader{}, err
	}
	return parseSegmentHeader(b)
}

func (s *scanner) header(off uint64) (header, error) {
	b, err := s.at(off, headerSize)
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b, Pos{Segment: s.number, Offset: off})
	if err == nil && h.length() > s.size-off {
		return header{}, damaged("record is cut short")
	}
	return h, err
}

// record reads and checks the whole record at off and leaves its head in
// s.head. When the returned header has its offset, it can be believed
// even if the record is damaged.
func (s *scanner) record(off uint64) (header, error) {
	h, err := s.header(off)
	if err != nil {
		return header{}, err
	}
	payload, err := s.checksum(off+headerSize, h.payload, nil)
	if err != nil {
		return h, err
	}
	if payload != h.payloadCRC {
		return h, damaged("payload fails its checksum")
	}
	s.head = s.head[:0]
	rest := off + headerSize + h.payload
	head, err := s.checksum(rest, uint64(h.head), &s.head)
	if err != nil {
		return h, err
	}
	if head != h.headCRC {
		return h, damaged("head fails its checksum")
	}
	if end := rest + uint64(h.head); end < off+h.length() {
		pad, err := s.at(end, off+h.length()-end)
		if err != nil {
			return h, err
		}
		if !zero(pad) {
			return h, damaged("padding is not zero")
		}
	}
	return h, nil
}

// checksum sums n octets from off on, and appends them to keep unless it is nil.
func (s *scanner) checksum(off, n uint64, keep *[]byte) (uint32, error) {
	var sum uint32
	for n > 0 {
		b, err := s.at(off, n)
		if err != nil {
			return 0, err
		}
		sum = addChecksum(sum, b)
		if keep != nil {
			*keep = append(*keep, b...)
		}
		off, n = off+uint64(len(b)), n-uint64(len(b))
	}
	return sum, nil
}

// next returns where the first believable record header at or behind off
// stands, the end of the segment when there is none.
func (s *scanner) next(off uint64) uint64 {
	for off = roundUp(off); off+headerSize <= s.size; off += alignment {
		b, err := s.at(off, headerSize)
		if err != nil { // an unreadable stretch: on to the next block
			off = off&^4095 + 4096 - alignment
			continue
		}
		if string(b[:4]) != recordMagic {
			continue
		}
		if _, err := s.header(off); err == nil {
			return off
		}
	}
	return s.size
}

// lastMark finds the last batch mark at or behind off, searching from the end.
func (s *scanner) lastMark(off uint64) (header, bool) {
	const step = scanSize / 2
	off = max(roundUp(off), segmentHeaderSize)
	for end := s.size &^ (alignment - 1); end > off; {
		begin := off
		if end-off > step {
			begin = end - step
		}
		// A header that begins before end may reach behind it.
		b, err := s.at(begin, end-begin+headerSize)
		if err == nil {
			for at := end - alignment; at >= begin; at -= alignment {
				i := at - begin
				if i+headerSize > uint64(len(b)) || string(b[i:i+4]) != recordMagic || kind(b[i+5]) != kindMark {
					continue
				}
				if h, err := parseHeader(b[i:], Pos{Segment: s.number, Offset: at}); err == nil {
					return h, true
				}
			}
		}
		end = begin
	}
	return header{}, false
}
