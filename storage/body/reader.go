package body

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// frontSize is how much of a record Read fetches at once: all of most messages,
// and of the others the header, the chunk lengths and the metadata.
const frontSize = 16 << 10

// buffers serve one Reader. They are not zeroed between readers: every use
// overwrites what it shows.
type buffers struct {
	front  [frontSize]byte
	sealed [chunkSize + tagSize]byte
	plain  [chunkSize]byte
}

// Reader reads one body. It holds 150 KiB of buffers, so close it before
// waiting for anything slow. It is safe for concurrent use.
type Reader struct {
	log  *Log
	seg  *segment
	h    header
	aead cipher.AEAD

	mu     sync.Mutex // guards what follows: one set of buffers
	buf    *buffers   // nil once closed
	front  []byte     // the first octets of the record, in buf.front
	ends   []uint64   // where each chunk ends, relative to the record
	cached int        // which chunk buf.plain holds, -1 for none
	nonce  [12]byte
	ad     [24]byte
}

// Read opens the body id at ref. It fails with ErrDamaged when another record
// or none stands there, ErrNoSegment when the segment was removed. The octets
// themselves are checked when they are read; a wrong key shows as damage then.
func (l *Log) Read(ref Ref, id ID, key *Key) (*Reader, error) {
	r, err := l.reader(ref, id, key)
	if err != nil {
		return nil, fmt.Errorf("reading body %d in segment %d at %d: %w", id, ref.Segment, ref.Offset, err)
	}
	return r, nil
}

func (l *Log) reader(ref Ref, id ID, key *Key) (*Reader, error) {
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	seg, err := l.acquire(ref.Segment)
	if err != nil {
		return nil, err
	}
	r := &Reader{log: l, seg: seg, aead: aead, buf: l.buffers.Get().(*buffers), cached: -1}
	if err := r.begin(ref, id); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// begin reads the record header and the chunk lengths.
func (r *Reader) begin(ref Ref, id ID) error {
	if ref.Length < headerSize || ref.Offset > maxPayload || ref.Length > 2*maxPayload {
		return damaged("reference to no record")
	}
	r.front = r.buf.front[:min(frontSize, ref.Length)]
	if _, err := r.seg.file.ReadAt(r.front, int64(ref.Offset)); err != nil {
		return readError(err)
	}
	var err error
	if r.h, err = parseHeader(r.front, ref.Pos()); err != nil {
		return err
	}
	if r.h.kind == kindMark || r.h.id != id || r.h.ref() != ref {
		return damaged("record is not the one referred to")
	}
	table := make([]byte, 4*r.h.chunks)
	if err := r.readStored(table, headerSize); err != nil {
		return err
	}
	r.ends = make([]uint64, r.h.chunks)
	end := headerSize + uint64(len(table)) + uint64(r.h.meta)
	for i := range r.ends {
		n := uint64(binary.LittleEndian.Uint32(table[4*i:]))
		plain := uint64(chunkLen(r.h.size, i))
		if n < tagSize || n > plain+tagSize || r.h.codec == codecRaw && n != plain+tagSize {
			return damaged("chunk length out of bounds")
		}
		end += n
		r.ends[i] = end
	}
	if end != headerSize+r.h.payload {
		return damaged("chunk lengths do not add up")
	}
	if r.h.size == 0 {
		return r.open(0, nil) // no read will ever check that it is empty
	}
	return nil
}

// readStored fills p with stored octets, off being relative to the record.
func (r *Reader) readStored(p []byte, off uint64) error {
	if off+uint64(len(p)) <= uint64(len(r.front)) {
		copy(p, r.front[off:])
		return nil
	}
	if _, err := r.seg.file.ReadAt(p, int64(r.h.at.Offset+off)); err != nil {
		return readError(err)
	}
	return nil
}

// Size returns the plain octets of the body.
func (r *Reader) Size() int64 { return int64(r.h.size) }

// Meta returns the metadata block, nil when there is none.
func (r *Reader) Meta() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf == nil {
		return nil, ErrClosed
	}
	if r.h.meta == 0 {
		return nil, nil
	}
	b := make([]byte, r.h.meta)
	if err := r.readStored(b, headerSize+4*uint64(r.h.chunks)); err != nil {
		return nil, err
	}
	setNonce(&r.nonce, fieldMeta, 0, true)
	setAD(&r.ad, fieldMeta, r.h.codec, r.h.id, r.h.size)
	meta, err := r.aead.Open(b[:0], r.nonce[:], b, r.ad[:])
	if err != nil {
		return nil, r.damaged("metadata does not open")
	}
	return meta, nil
}

// ReadAt reads len(p) octets of the body from off on, as io.ReaderAt. It
// decrypts the chunks that it touches, straight into p where it can.
// After an error p holds nothing beyond the count returned that came from a
// damaged chunk.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < 0 {
		return 0, fmt.Errorf("reading a body at the negative offset %d", off)
	}
	n := 0
	for n < len(p) && uint64(off) < r.h.size {
		i, skip := int(off/chunkSize), int(off%chunkSize)
		if length := chunkLen(r.h.size, i); skip == 0 && len(p)-n >= length && r.cached != i {
			if err := r.open(i, p[n:n:n+length]); err != nil {
				return n, err
			}
			n, off = n+length, off+int64(length)
			continue
		}
		plain, err := r.chunk(i)
		if err != nil {
			return n, err
		}
		c := copy(p[n:], plain[skip:])
		n, off = n+c, off+int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteTo writes the whole body to w, as io.WriterTo.
func (r *Reader) WriteTo(w io.Writer) (int64, error) { return r.WriteRange(w, 0, r.Size()) }

// WriteRange writes up to length octets of the body to w from off on, a chunk
// at a time and without copying. w must not keep the slices. Unlike ReadAt it
// is no error to ask for more than there is: that is what partial FETCH does
// (RFC 9051 section 6.4.5).
func (r *Reader) WriteRange(w io.Writer, off, length int64) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if off < 0 || length < 0 {
		return 0, fmt.Errorf("reading a body from %d on for %d octets", off, length)
	}
	if off >= r.Size() {
		return 0, nil
	}
	var done int64
	for end := off + min(length, r.Size()-off); off < end; {
		i := int(off / chunkSize)
		plain, err := r.chunk(i)
		if err != nil {
			return done, err
		}
		begin := int64(i) * chunkSize
		n, err := w.Write(plain[off-begin : min(end-begin, int64(len(plain)))])
		done, off = done+int64(n), off+int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// chunk returns the plain octets of chunk i, valid until the next call. r.mu
// is held.
func (r *Reader) chunk(i int) ([]byte, error) {
	if r.buf == nil {
		return nil, ErrClosed
	}
	n := chunkLen(r.h.size, i)
	if r.cached != i {
		r.cached = -1
		if err := r.open(i, r.buf.plain[:0:n]); err != nil {
			return nil, err
		}
		r.cached = i
	}
	return r.buf.plain[:n], nil
}

// open decrypts chunk i into dst, which is empty with the chunk's length as its
// capacity. r.mu is held.
func (r *Reader) open(i int, dst []byte) error {
	if r.buf == nil {
		return ErrClosed
	}
	begin := headerSize + 4*uint64(r.h.chunks) + uint64(r.h.meta)
	if i > 0 {
		begin = r.ends[i-1]
	}
	var stored []byte
	if r.ends[i] <= uint64(len(r.front)) {
		stored = r.front[begin:r.ends[i]]
	} else {
		stored = r.buf.sealed[:r.ends[i]-begin]
		if err := r.readStored(stored, begin); err != nil {
			return err
		}
	}
	setNonce(&r.nonce, fieldBody, i, i == len(r.ends)-1)
	setAD(&r.ad, fieldBody, r.h.codec, r.h.id, r.h.size)
	if len(stored) == cap(dst)+tagSize {
		if _, err := r.aead.Open(dst, r.nonce[:], stored, r.ad[:]); err != nil {
			return r.damaged("chunk does not open")
		}
		return nil
	}
	packed, err := r.aead.Open(r.buf.sealed[:0], r.nonce[:], stored, r.ad[:])
	if err != nil {
		return r.damaged("chunk does not open")
	}
	plain, err := r.log.unpack.DecodeAll(packed, dst)
	if err != nil || len(plain) != cap(dst) {
		return r.damaged("chunk does not unpack")
	}
	return nil
}

func (r *Reader) damaged(what string) error {
	return fmt.Errorf("body %d in segment %d at %d: %w: %s", r.h.id, r.h.at.Segment, r.h.at.Offset, ErrDamaged, what)
}

// Close gives the buffers back. A second Close is ErrClosed.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.buf == nil {
		return ErrClosed
	}
	r.log.buffers.Put(r.buf)
	r.buf, r.front = nil, nil
	r.log.release(r.seg)
	return nil
}
