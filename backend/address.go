package backend

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/unicode/norm"
)

// Longest parts of an address, in octets (RFC 5321 sections 4.5.3.1.1 to
// 4.5.3.1.3: a path of 256 octets has two angle brackets).
const (
	maxLocal   = 64
	maxDomain  = 253
	maxAddress = 254
)

// ErrAddress is what every refusal of an address wraps.
var ErrAddress = errors.New("not an address we accept")

// Address is a mailbox address. The zero Address is the null reverse-path.
type Address struct {
	Local  string // as written, NFC
	Domain string // A-labels in lower case; empty for postmaster alone
}

// ParseAddress reads an addr-spec made of a dot-atom, "@" and a domain name
// (RFC 5322 section 3.2.3, RFC 6531 section 3.3), or "postmaster" without
// domain (RFC 5321 section 4.5.1).
//
// Quoted local parts, address literals, comments and white space are refused:
// software that removes the quotes and forgets to put them back turns one
// address into another one. Errors wrap ErrAddress and do not repeat s.
func ParseAddress(s string) (Address, error) {
	if strings.EqualFold(s, "postmaster") {
		return Address{Local: s}, nil
	}
	if !utf8.ValidString(s) {
		return Address{}, fmt.Errorf("%w: not UTF-8", ErrAddress)
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok {
		return Address{}, fmt.Errorf("%w: no @", ErrAddress)
	}
	local = norm.NFC.String(local)
	if !dotAtom(local) {
		return Address{}, fmt.Errorf("%w: local part is not a dot-atom", ErrAddress)
	}
	if len(local) > maxLocal {
		return Address{}, fmt.Errorf("%w: local part of %d octets", ErrAddress, len(local))
	}
	domain, err := ParseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	if n := len(local) + 1 + len(domain); n > maxAddress {
		return Address{}, fmt.Errorf("%w: %d octets", ErrAddress, n)
	}
	return Address{Local: local, Domain: domain}, nil
}

// ParseDomain returns the comparison form of a domain name: A-labels in lower
// case. Errors wrap ErrAddress.
func ParseDomain(s string) (string, error) {
	if !ldh(s) || hasACE(s) {
		// The checks look at the name as written, so a character that is mapped to
		// another one can get past them: what comes out must pass them too, or
		// others will not read the name as we do.
		a, err := domainProfile().ToASCII(s)
		if again, err2 := domainProfile().ToASCII(a); err != nil || err2 != nil || again != a {
			return "", fmt.Errorf("%w: domain is no internationalised name", ErrAddress)
		}
		s = a
	}
	if !ldh(s) || len(s) > maxDomain {
		return "", fmt.Errorf("%w: domain is no host name", ErrAddress)
	}
	return strings.ToLower(s), nil
}

// domainProfile is the mapping and the checks of UTS 46 for looking up names.
func domainProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true),
		idna.StrictDomainName(true), idna.VerifyDNSLength(true), idna.Transitional(false))
}

// hasACE reports whether one of the labels claims to be an A-label.
func hasACE(s string) bool {
	return strings.Contains(strings.ToLower(s), "xn--")
}

// ldh reports whether s is made of labels of letters, digits and hyphens, none
// empty, longer than 63 octets, or with a hyphen at either end.
func ldh(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !alphanumeric(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

// dotAtom reports whether s is atoms divided by single dots. Beyond ASCII only
// letters, marks and digits count: white space, controls and marks of
// direction look like something else on a screen.
func dotAtom(s string) bool {
	for atom := range strings.SplitSeq(s, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			switch {
			case r < utf8.RuneSelf && (alphanumeric(byte(r)) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(r)) >= 0):
			case r >= utf8.RuneSelf && r != utf8.RuneError && unicode.In(r, unicode.L, unicode.M, unicode.N):
			default:
				return false
			}
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// IsZero reports whether a is the null reverse-path.
func (a Address) IsZero() bool { return a == Address{} }

// String is the address as it goes into a header or on the wire.
func (a Address) String() string {
	if a.Domain == "" {
		return a.Local
	}
	return a.Local + "@" + a.Domain
}

// Normal is the form in which addresses are compared and stored: the local
// part in lower case. RFC 5321 section 2.4 lets the receiving host decide that
// case means nothing, and advises it.
func (a Address) Normal() string {
	a.Local = norm.NFC.String(strings.ToLower(a.Local))
	return a.String()
}

// Detail splits the local part of a sub-address at the first separator (RFC 5233
// section 1). ok is false when there is none, when nobody stands before it, and
// for the separator "".
func (a Address) Detail(separator string) (user, detail string, ok bool) {
	if separator == "" {
		return "", "", false
	}
	user, detail, ok = strings.Cut(a.Local, separator)
	if !ok || user == "" {
		return "", "", false
	}
	return user, detail, true
}

// ASCII reports whether the address can travel without SMTPUTF8 (RFC 6531).
func (a Address) ASCII() bool {
	for i := range len(a.Local) {
		if a.Local[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
