package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
)

// xaes is XAES-256-GCM (c2sp.org/XAES-256-GCM): AES-256-GCM with nonces of 24
// octets, of which the first half selects a key derived by CMAC (NIST SP
// 800-108r1). Random nonces are then safe for 2^80 values.
type xaes struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

func newXAES(key *Key) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("keyring: setting up a key: %w", err)
	}
	x := &xaes{block: block}
	// The CMAC subkey K1: the encrypted zero block, doubled in GF(2^128).
	block.Encrypt(x.k1[:], x.k1[:])
	carry := byte(0)
	for i := len(x.k1) - 1; i >= 0; i-- {
		b := x.k1[i]
		x.k1[i] = b<<1 | carry
		carry = b >> 7
	}
	x.k1[len(x.k1)-1] ^= carry * 0x87
	return x, nil
}

func (x *xaes) NonceSize() int { return 24 }
func (x *xaes) Overhead() int  { return tagSize }

func (x *xaes) Seal(dst, nonce, plain, ad []byte) []byte {
	return x.derive(nonce).Seal(dst, nonce[nonceSize:], plain, ad)
}

func (x *xaes) Open(dst, nonce, sealed, ad []byte) ([]byte, error) {
	return x.derive(nonce).Open(dst, nonce[nonceSize:], sealed, ad)
}

// derive makes the AEAD for a nonce: two blocks of counter, label "X", and the
// nonce's first half, each one step of CMAC.
func (x *xaes) derive(nonce []byte) cipher.AEAD {
	var key Key
	for i := range 2 {
		half := key[i*aes.BlockSize:][:aes.BlockSize]
		half[1], half[2] = byte(i+1), 'X'
		copy(half[4:], nonce[:nonceSize])
		subtle.XORBytes(half, half, x.k1[:])
		x.block.Encrypt(half, half)
	}
	aead, err := newGCM(&key)
	if err != nil {
		panic(err) // not with a key of 32 octets
	}
	return aead
}
