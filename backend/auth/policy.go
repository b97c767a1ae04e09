package auth

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"telesphore/backend"
)

// Why a new password is refused, for the person who chose it.
var (
	ErrCharacters = errors.New("the password has characters that cannot be typed everywhere, or too many")
	ErrTooShort   = errors.New("the password has fewer than 12 characters")
	ErrTooCommon  = errors.New("the password is among the first that anybody would guess")
	ErrHasName    = errors.New("the password contains the name in the address")
)

// Why an attempt is refused without being checked, for the log.
var (
	errNetwork   = errors.New("wrong secrets from this network")
	errStrangers = errors.New("wrong secrets for this account from networks it does not log in from")
	errParked    = errors.New("too many answers are waiting already")
)

// minLength is how many characters a password has at least. Length is what
// helps; rules about kinds of characters are known to make passwords worse
// (NIST SP 800-63B).
const minLength = 12

// commonWords are what people build passwords of, one a line, lower case.
//
//go:embed common.txt
var commonWords string

// keyboards are the rows of keys, and the alphabet and the digits as they are recited.
const keyboards = "qwertyuiop asdfghjkl zxcvbnm azertyuiop qsdfghjklm wxcvbn qwertzuiop " +
	"1234567890 abcdefghijklmnopqrstuvwxyz 1qaz2wsx3edc4rfv5tgb6yhn7ujm 1aq2zs3ed4rf5tg6yh7uj"

// CheckPolicy says whether password may become the password of the account with
// address. Errors: ErrCharacters, ErrTooShort, ErrHasName, ErrTooCommon.
func (a *Authenticator) CheckPolicy(address, password string) error {
	prepared, err := prepare(password)
	if err != nil {
		return err
	}
	if utf8.RuneCountInString(prepared) < minLength {
		return ErrTooShort
	}
	plain := strings.ToLower(prepared)
	if addr, err := backend.ParseAddress(address); err == nil {
		if local := strings.ToLower(addr.Local); len(local) >= 3 && strings.Contains(plain, local) {
			return ErrHasName
		}
	}
	if common(plain) {
		return ErrTooCommon
	}
	return nil
}

// common reports whether a password in lower case is nothing but words, walks
// over the keyboard, years and repetitions: at least six of its characters must
// be unexplained by these.
func common(plain string) bool {
	if distinct(plain) < 6 {
		return true
	}
	words := strings.Fields(commonWords)
	// Both as written and as those read it who write a for @.
	return residue(plain, words) < 6 || residue(unleet(plain), words) < 6
}

// residue is how many characters are left when as many as possible are covered
// by common words, keyboard walks, runs of digits and repetitions. best[i] is
// that number for the first i octets.
func residue(s string, words []string) int {
	best := make([]int, len(s)+1)
	for i := 1; i <= len(s); i++ {
		best[i] = best[i-1]
		if utf8.RuneStart(s[i-1]) {
			best[i]++
		}
		for _, w := range words {
			if strings.HasSuffix(s[:i], w) {
				best[i] = min(best[i], best[i-len(w)])
			}
		}
		for n := 3; n <= i; n++ {
			if !predictable(s[i-n : i]) {
				break
			}
			best[i] = min(best[i], best[i-n])
		}
		for n := 1; 2*n <= i; n++ { // what stands there says the same again
			if n >= 2 && s[i-n:i] == s[i-2*n:i-n] {
				best[i] = min(best[i], best[i-n])
			}
		}
	}
	return best[len(s)]
}

// predictable reports whether s is a walk along a row of keys in either
// direction, or digits and punctuation only.
func predictable(s string) bool {
	if strings.Contains(keyboards, s) || strings.Contains(keyboards, reverse(s)) {
		return true
	}
	return !strings.ContainsFunc(s, unicode.IsLetter)
}

func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// unleet undoes the usual look-alikes.
func unleet(s string) string {
	return strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i").Replace(s)
}

// generateAlphabet has no two characters that look alike; 32 of them, 5 bits each.
const generateAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"

// Generate returns a password that can be read out and typed: three groups of
// six letters and digits, 90 bits. It satisfies the policy.
func (a *Authenticator) Generate() string {
	for {
		var octets [18]byte
		_, _ = rand.Read(octets[:]) // never fails
		var b strings.Builder
		for i, o := range octets {
			if i > 0 && i%6 == 0 {
				b.WriteByte('-')
			}
			b.WriteByte(generateAlphabet[o%32])
		}
		if a.CheckPolicy("", b.String()) == nil {
			return b.String()
		}
	}
}
