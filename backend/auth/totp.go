package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What the authenticator programs of people can do: SHA-1, 30 s and 6 digits
// (RFC 6238 section 4, and nothing else works everywhere).
const (
	totpDigits = 6
	totpPeriod = 30 // s
	totpSize   = 20 // octets of a secret (RFC 4226 section 4)
	totpIssuer = "Telesphore"
)

// Recovery codes are for who has lost the authenticator.
const (
	recoveryCodes  = 10
	recoveryDigits = 12
)

// totpCode is the code of one step, which is 30 s counted from 1970 (RFC 6238
// section 4.2, RFC 4226 section 5.3).
func totpCode(secret []byte, step uint64) string {
	m := hmac.New(sha1.New, secret)
	m.Write(binary.BigEndian.AppendUint64(nil, step))
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 15
	n := binary.BigEndian.Uint32(sum[at:]) &^ (1 << 31)
	return fmt.Sprintf("%0*d", totpDigits, n%1_000_000)
}

// matchTOTP tells which step code is of: the present one, or one of its
// neighbours since clocks differ. A step up to last is not accepted any more.
func matchTOTP(secret []byte, last uint64, code string, now time.Time) (step uint64, ok bool) {
	present := uint64(max(now.Unix(), totpPeriod)) / totpPeriod
	for s := present - 1; s <= present+1; s++ {
		right := subtle.ConstantTimeCompare([]byte(totpCode(secret, s)), []byte(code)) == 1
		if right && s > last && !ok {
			step, ok = s, true
		}
	}
	return step, ok && len(secret) > 0
}

// totpText is how secrets are written for authenticator programs.
func totpText() *base32.Encoding { return base32.StdEncoding.WithPadding(base32.NoPadding) }

// newTOTP draws a secret, as text.
func newTOTP() string {
	secret := make([]byte, totpSize)
	_, _ = rand.Read(secret) // never fails
	return totpText().EncodeToString(secret)
}

// parseTOTPText reads the text of a secret, as people copy it.
func parseTOTPText(text string) (secret []byte, ok bool) {
	text = strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	secret, err := totpText().DecodeString(text)
	return secret, err == nil && len(text) == totpText().EncodedLen(totpSize)
}

// totpURI is the text of a secret in the form that authenticator programs read from
// a picture (otpauth). They show the address and the issuer.
func totpURI(address, secret string) string {
	return "otpauth://totp/" + totpIssuer + ":" + url.PathEscape(address) +
		fmt.Sprintf("?secret=%s&issuer=%s&algorithm=SHA1&digits=%d&period=%d", secret, totpIssuer, totpDigits, totpPeriod)
}

// newRecovery draws recovery codes, with what is stored of them.
func newRecovery() (codes []string, hashes [][32]byte) {
	most := new(big.Int).Exp(big.NewInt(10), big.NewInt(recoveryDigits), nil)
	for range recoveryCodes {
		n, _ := rand.Int(rand.Reader, most) // never fails
		code := fmt.Sprintf("%0*d", recoveryDigits, n)
		codes, hashes = append(codes, code), append(hashes, sha256.Sum256([]byte(code)))
	}
	return codes, hashes
}

// matchRecovery looks for a recovery code, and returns the hashes that are left
// when it has been used.
func matchRecovery(hashes [][32]byte, code string) (rest [][32]byte, ok bool) {
	sum := sha256.Sum256([]byte(code))
	at := -1
	for i := range hashes {
		if subtle.ConstantTimeCompare(hashes[i][:], sum[:]) == 1 {
			at = i
		}
	}
	if at < 0 {
		return hashes, false
	}
	return slices.Delete(slices.Clone(hashes), at, at+1), true
}
