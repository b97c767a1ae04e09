package keyring

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"
)

// Account seals and opens the small values of one account: wrapped body keys,
// folder names, prefixes. It is safe for concurrent use.
type Account struct {
	aead   cipher.AEAD
	mac    [sha256.Size]byte
	erased atomic.Bool
}

func newAccount(key *Key) (*Account, error) {
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return &Account{aead: aead, mac: macKey(key)}, nil
}

// newLog is newAccount for the log key, which seals more values than random
// nonces of 12 octets allow.
func newLog(key *Key) (*Account, error) {
	aead, err := newXAES(key)
	if err != nil {
		return nil, err
	}
	return &Account{aead: aead, mac: macKey(key)}, nil
}

func macKey(key *Key) [sha256.Size]byte {
	h := hmac.New(sha256.New, key[:])
	h.Write([]byte("telesphore mac 1"))
	return [sha256.Size]byte(h.Sum(nil))
}

// Overhead is by how many octets a sealed value is longer than the plain one.
func (a *Account) Overhead() int { return a.aead.NonceSize() + a.aead.Overhead() }

// Seal appends a random nonce and plain, encrypted and bound to ad, to dst. Ad
// names the object and the field, so that no value can stand in for another.
// Plain and dst do not overlap.
func (a *Account) Seal(dst, plain, ad []byte) []byte {
	n := len(dst)
	if room := n + len(plain) + a.Overhead(); cap(dst) < room {
		dst = append(make([]byte, 0, room), dst...)
	}
	dst = dst[:n+a.aead.NonceSize()]
	nonce := dst[n:]
	rand.Read(nonce) // never fails
	return a.aead.Seal(dst, nonce, plain, ad)
}

// Open appends what Seal was given to dst. ErrDamaged when sealed is not a
// value sealed with this key and ad, ErrErased when the account was erased since.
func (a *Account) Open(dst, sealed, ad []byte) ([]byte, error) {
	if a.erased.Load() {
		return nil, ErrErased
	}
	n := a.aead.NonceSize()
	if len(sealed) < n+a.aead.Overhead() {
		return nil, ErrDamaged
	}
	plain, err := a.aead.Open(dst, sealed[:n], sealed[n:], ad)
	if err != nil {
		return nil, ErrDamaged
	}
	return plain, nil
}

// MAC is a name for data that only the key's holder can compute: it finds a
// folder by its name or a message by its Message-ID in an index that holds neither. Equal
// data under different labels have different MACs; a label has at most 65,535
// octets.
func (a *Account) MAC(label string, data []byte) [16]byte {
	h := hmac.New(sha256.New, a.mac[:])
	var length [2]byte
	binary.LittleEndian.PutUint16(length[:], uint16(len(label)))
	h.Write(length[:])
	h.Write([]byte(label))
	h.Write(data)
	var sum [sha256.Size]byte
	return [16]byte(h.Sum(sum[:0]))
}
