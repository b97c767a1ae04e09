package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	ringMagic   = "TELEKEYS"
	ringVersion = 1
	headSize    = 32
	entrySize   = 64
	nonceSize   = 12
	tagSize     = 16
	trailerSize = nonceSize + tagSize + 4
)

// Key is a master key or an account's.
type Key [32]byte

// wrapped is a nonce with a key sealed under the master key.
type wrapped [entrySize - 4]byte

// ringFile is the keyring file in memory.
type ringFile struct {
	epoch    uint32
	log      wrapped
	accounts map[uint32]wrapped
}

// purpose tells the kinds of keys apart in the associated data.
type purpose uint16

const (
	forLog     purpose = 1
	forAccount purpose = 2
)

func entryAD(p purpose, epoch, account uint32) []byte {
	b := make([]byte, 24)
	copy(b, ringMagic)
	binary.LittleEndian.PutUint16(b[8:], ringVersion)
	binary.LittleEndian.PutUint16(b[10:], uint16(p))
	binary.LittleEndian.PutUint32(b[12:], epoch)
	binary.LittleEndian.PutUint32(b[16:], account)
	return b
}

func wrap(master cipher.AEAD, key *Key, p purpose, epoch, account uint32) (w wrapped) {
	rand.Read(w[:nonceSize]) // never fails
	master.Seal(w[:nonceSize], w[:nonceSize], key[:], entryAD(p, epoch, account))
	return w
}

func unwrap(master cipher.AEAD, w *wrapped, p purpose, epoch, account uint32) (*Key, error) {
	var key Key
	if _, err := master.Open(key[:0], w[:nonceSize], w[nonceSize:], entryAD(p, epoch, account)); err != nil {
		return nil, ErrDamaged
	}
	return &key, nil
}

// encode lays out the file and seals it.
func (f *ringFile) encode(master cipher.AEAD) []byte {
	le := binary.LittleEndian
	b := make([]byte, headSize, headSize+(1+len(f.accounts))*entrySize+trailerSize)
	copy(b, ringMagic)
	le.PutUint16(b[8:], ringVersion)
	le.PutUint32(b[12:], f.epoch)
	le.PutUint32(b[16:], uint32(len(f.accounts)))
	le.PutUint64(b[24:], uint64(time.Now().UnixMicro()))
	b = le.AppendUint32(b, 0)
	b = append(b, f.log[:]...)
	for _, account := range slices.Sorted(maps.Keys(f.accounts)) {
		w := f.accounts[account]
		b = le.AppendUint32(b, account)
		b = append(b, w[:]...)
	}
	var nonce [nonceSize]byte
	rand.Read(nonce[:])
	tag := master.Seal(nil, nonce[:], nil, b)
	b = append(append(b, nonce[:]...), tag...)
	return le.AppendUint32(b, checksum(b))
}

// parseRing checks everything that needs no master key. What the seal covers,
// and the seal, are returned for verify.
func parseRing(b []byte) (*ringFile, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headSize+entrySize+trailerSize || string(b[:8]) != ringMagic:
		return nil, fmt.Errorf("%w: not a keyring", ErrDamaged)
	case le.Uint32(b[len(b)-4:]) != checksum(b[:len(b)-4]):
		return nil, fmt.Errorf("%w: checksum fails", ErrDamaged)
	case le.Uint16(b[8:]) != ringVersion:
		return nil, fmt.Errorf("keyring: version %d is unknown to this program", le.Uint16(b[8:]))
	}
	entries := b[headSize : len(b)-trailerSize]
	n := uint64(le.Uint32(b[16:]))
	if uint64(len(entries)) != (1+n)*entrySize || le.Uint32(entries) != 0 {
		return nil, fmt.Errorf("%w: wrong number of entries", ErrDamaged)
	}
	f := &ringFile{epoch: le.Uint32(b[12:]), log: wrapped(entries[4:entrySize]), accounts: make(map[uint32]wrapped, n)}
	last := int64(-1)
	for e := entries[entrySize:]; len(e) > 0; e = e[entrySize:] {
		account := le.Uint32(e)
		if int64(account) <= last {
			return nil, fmt.Errorf("%w: accounts out of order", ErrDamaged)
		}
		last = int64(account)
		f.accounts[account] = wrapped(e[4:entrySize])
	}
	return f, nil
}

// verify checks the seal over the octets of a file that parseRing accepted.
func verify(b []byte, master cipher.AEAD) error {
	seal := b[len(b)-trailerSize : len(b)-4]
	if _, err := master.Open(nil, seal[:nonceSize], seal[nonceSize:], b[:len(b)-trailerSize]); err != nil {
		return ErrWrongMaster
	}
	return nil
}

func newGCM(key *Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("keyring: setting up a key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("keyring: setting up a key: %w", err)
	}
	return aead, nil
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// replaceFile puts b in the place of the file at path. After a crash the file
// is the old one or the new one, whole.
func replaceFile(path string, b []byte) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err // left by a crash; made anew so that its mode is right
	}
	if err := writeFile(tmp, b); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeFile makes a file that must not exist, readable by its owner alone,
// durable but for its name.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
