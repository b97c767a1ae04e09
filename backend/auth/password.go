package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/text/secure/precis"
)

// Params are the cost of one argon2id hash (RFC 9106).
type Params struct {
	Memory uint32 // KiB
	Time   uint32 // passes over the memory
	Lanes  uint8  // p, computed side by side
}

// DefaultParams is the least that OWASP's password storage cheat sheet allows
// for argon2id: about 30 ms and 19 MiB a hash. What bounds the damage of a
// stolen file is the password policy, and a server under attack must still
// answer.
var DefaultParams = Params{Memory: 19 << 10, Time: 2, Lanes: 1}

// Sizes of salt and tag, in octets (RFC 9106 section 4 recommends 16 and 32).
const (
	saltSize = 16
	tagSize  = 32
)

// Bounds on what a stored hash may ask for, so that a damaged or imported record
// cannot exhaust the server.
const (
	maxMemory = 1 << 20 // KiB
	maxTime   = 64
	maxLanes  = 64
)

// maxSecret is how many octets of a secret are looked at.
const maxSecret = 1024

var errPHC = errors.New("not an argon2id hash")

// hash returns the PHC string of password with a fresh salt.
func (p Params) hash(password string) string {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	tag := argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Lanes, tagSize)
	enc := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		p.Memory, p.Time, p.Lanes, enc.EncodeToString(salt), enc.EncodeToString(tag))
}

// phc is a parsed PHC string.
type phc struct {
	Params
	salt, tag []byte
}

// parsePHC reads "$argon2id$v=19$m=M,t=T,p=P$salt$tag".
func parsePHC(s string) (*phc, error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errPHC
	}
	var h phc
	if _, err := fmt.Sscanf(f[3], "m=%d,t=%d,p=%d", &h.Memory, &h.Time, &h.Lanes); err != nil {
		return nil, errPHC
	}
	if h.Memory > maxMemory || h.Time < 1 || h.Time > maxTime || h.Lanes < 1 || h.Lanes > maxLanes {
		return nil, errPHC
	}
	var err error
	if h.salt, err = base64.RawStdEncoding.Strict().DecodeString(f[4]); err != nil || len(h.salt) < 8 {
		return nil, errPHC
	}
	if h.tag, err = base64.RawStdEncoding.Strict().DecodeString(f[5]); err != nil || len(h.tag) < 16 || len(h.tag) > 128 {
		return nil, errPHC
	}
	return &h, nil
}

// matches hashes password and compares in constant time.
func (h *phc) matches(password string) bool {
	tag := argon2.IDKey([]byte(password), h.salt, h.Time, h.Memory, h.Lanes, uint32(len(h.tag)))
	return subtle.ConstantTimeCompare(tag, h.tag) == 1
}

// forms are the strings that a secret may stand for, the likeliest first: its
// OpaqueString form (RFC 8265 section 4.2), in which passwords are stored, then
// the octets as they came. Octets that are no UTF-8 are read as Latin-1, which
// Thunderbird sends with LOGIN.
func forms(secret string) []string {
	if len(secret) > maxSecret {
		secret = secret[:maxSecret]
	}
	text := secret
	if !utf8.ValidString(secret) {
		var b strings.Builder
		for i := range len(secret) {
			b.WriteRune(rune(secret[i]))
		}
		text = b.String()
	}
	prepared, err := precis.OpaqueString.String(text)
	if err != nil || prepared == secret {
		return []string{secret}
	}
	return []string{prepared, secret}
}

// hasher bounds how many hashes are computed at once: each takes a core and
// its memory, so more of them would only make all of them late.
type hasher struct {
	running chan struct{} // a token for each hash being computed
	waiting chan struct{} // a token for each hash computed or waiting
	flights singleflight.Group
}

// errBusy is returned when too many hashes are waiting already.
var errBusy = errors.New("too many passwords waiting to be checked")

func newHasher(most, queue int) *hasher {
	if most <= 0 {
		most = runtime.GOMAXPROCS(0)
	}
	if queue <= 0 {
		queue = 256
	}
	return &hasher{running: make(chan struct{}, most), waiting: make(chan struct{}, most+queue)}
}

// match returns the first of forms whose hash is stored, nil when none is. All
// who ask with the same tag at the same time share one answer: a mail program
// that opens five connections costs one hash.
func (h *hasher) match(ctx context.Context, tag [32]byte, stored string, forms []string) (*string, error) {
	answer := h.flights.DoChan(string(tag[:]), func() (any, error) {
		// The work goes on when the first asker leaves: others wait for it.
		return h.compute(stored, forms)
	})
	select {
	case r := <-answer:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*string), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hasher) compute(stored string, forms []string) (matched *string, err error) {
	p, err := parsePHC(stored)
	if err != nil {
		return nil, err
	}
	err = h.turn(func() {
		for _, f := range forms {
			if p.matches(f) {
				matched = &f
				return
			}
		}
	})
	return matched, err
}

// turn runs f when a core is free for it.
func (h *hasher) turn(f func()) error {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		return errBusy
	}
	h.running <- struct{}{}
	defer func() { <-h.running }()
	f()
	return nil
}

// Hash returns what is stored of a password. The error is ErrCharacters.
func (a *Authenticator) Hash(password string) (phc string, err error) {
	a.start()
	prepared, err := prepare(password)
	if err != nil {
		return "", err
	}
	return a.Params.hash(prepared), nil
}

// prepare gives the form of a new password in which it is stored.
func prepare(password string) (string, error) {
	if !utf8.ValidString(password) || len(password) > maxSecret {
		return "", ErrCharacters
	}
	prepared, err := precis.OpaqueString.String(password)
	if err != nil {
		return "", ErrCharacters
	}
	return prepared, nil
}
