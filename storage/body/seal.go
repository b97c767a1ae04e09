package body

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// compressor is made once per process, with an encoder per core: its tables
// cost more than the compression of a short message.
var compressor = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(chunkSize),
		zstd.WithEncoderCRC(false), // the GCM tag is the check
		// Compressing text without repeats (base64) would save a quarter of
		// the disk; such bodies are read several times as fast when raw.
		zstd.WithAllLitEntropyCompression(false))
	if err != nil {
		panic("body: " + err.Error()) // constant options
	}
	return e
})

// Sealed is a compressed and encrypted body with its metadata, ready to be
// staged. It does not change.
type Sealed struct {
	ID      ID
	codec   codec
	size    uint64
	meta    uint32
	payload []byte
	crc     uint32
}

// Size returns the plain octets of the body.
func (s *Sealed) Size() int64 { return int64(s.size) }

// Seal compresses octets, encrypts them and meta under key, bound to id. It
// does all the work that needs no position, without any I/O: call it
// before joining a batch. The key must be random and serve no other call. An
// empty meta is the same as none; one above MaxMeta is ErrTooLarge. Neither
// slice is kept.
func Seal(id ID, key *Key, meta, octets []byte) (*Sealed, error) {
	if len(meta) > MaxMeta {
		return nil, fmt.Errorf("sealing metadata of %d octets: %w", len(meta), ErrTooLarge)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	s := &Sealed{ID: id, size: uint64(len(octets))}
	chunks := int(chunkCount(s.size))
	begin := 4 * chunks
	if len(meta) > 0 {
		s.meta = uint32(len(meta) + tagSize)
		begin += len(meta) + tagSize
	}
	p := make([]byte, begin, begin+len(octets)+chunks*tagSize)

	// Every chunk is compressed to where it will stand and encrypted in place.
	// The first one decides the codec, which the associated data binds.
	first := octets[:chunkLen(s.size, 0)]
	packed := compressor().EncodeAll(first, p)[begin:]
	if worthwhile(len(packed), len(first)) {
		s.codec = codecZstd
	}
	var nonce [12]byte
	var ad [24]byte
	if len(meta) > 0 {
		setNonce(&nonce, fieldMeta, 0, true)
		setAD(&ad, fieldMeta, s.codec, id, s.size)
		aead.Seal(p[:4*chunks], nonce[:], meta, ad[:])
	}
	setAD(&ad, fieldBody, s.codec, id, s.size)
	for i := range chunks {
		plain := octets[i*chunkSize:][:chunkLen(s.size, i)]
		begin = len(p)
		if s.codec == codecZstd {
			if i > 0 {
				packed = compressor().EncodeAll(plain, p)[begin:]
			}
			if len(packed) < len(plain) {
				plain = packed
			}
		}
		setNonce(&nonce, fieldBody, i, i == chunks-1)
		p = aead.Seal(p, nonce[:], plain, ad[:])
		binary.LittleEndian.PutUint32(p[4*i:], uint32(len(p)-begin))
	}
	if cap(p)-len(p) > len(p)/2 {
		p = slices.Clone(p) // it may wait long for its Flush
	}
	s.payload, s.crc = p, checksum(p)
	return s, nil
}

// worthwhile: the first chunk must shrink by 5 %, or the body stays raw, which
// is read three times as fast.
func worthwhile(packed, plain int) bool { return packed*100 <= plain*95 && plain > 0 }

func newAEAD(key *Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("setting up a content key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("setting up a content key: %w", err)
	}
	return aead, nil
}
