package origin

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/emersion/go-msgauth/dkim"

	"telesphore/backend"
	"telesphore/backend/message"
)

// Bounds of one signature. The cost of a signature grows with the product of these
// and the size of the header.
const (
	maxSignature = 8 << 10 // octets of its field
	maxSigned    = 256     // names in its h= tag
	maxKeyBits   = 8192    // of an RSA key, as in crypto/tls
	bodyChunk    = 4 << 20 // octets of a body that are canonicalised at once
)

// signature is one DKIM-Signature field and what it came to.
type signature struct {
	field     []byte            // with its line end
	tags      map[string]string // of RFC 6376 section 3.5
	domain    string            // d=, "" when that is none
	selector  string            // s=
	algorithm string            // a=, "" when unknown
	result    string            // RFC 8601 section 2.7.1
	reason    string            // a phrase of ours; "" for none
}

// verify verifies the signatures of a message, those first that may speak for its
// author, up to the limit.
func (c *Checker) verify(ctx context.Context, m *content, limits Limits) []*signature {
	if m.long {
		return []*signature{{result: policy, reason: "header too long"}}
	}
	var found []*signature
	for field := range fields(m.header) {
		name, value, ok := cutField(field)
		if ok && strings.EqualFold(strings.TrimRight(string(name), " \t"), "DKIM-Signature") {
			found = append(found, readSignature(field, value))
		}
	}
	slices.SortStableFunc(found, func(a, b *signature) int { return rank(b, m.author) - rank(a, m.author) })
	found = found[:min(len(found), limits.Signatures)]
	for _, s := range found {
		if s.result == "" {
			c.verifyOne(ctx, s, m, limits.KeyBits)
		}
	}
	return found
}

func rank(s *signature, author string) int {
	if s.result == "" && author != "" && aligned(s.domain, author, false) {
		return 1
	}
	return 0
}

// readSignature reads what we want to know before the signature costs anything. Its
// result is set when that is the end of it.
func readSignature(field, value []byte) *signature {
	s := &signature{field: field, result: permanent}
	var ok bool
	if s.tags, ok = tags(string(value)); !ok || len(field) > maxSignature {
		return s
	}
	domain, err := backend.ParseDomain(withoutSpace(s.tags["d"]))
	selector := withoutSpace(s.tags["s"])
	if err != nil || !isSelector(selector) {
		return s
	}
	s.domain, s.selector, s.result = domain, selector, ""
	if a := withoutSpace(s.tags["a"]); a == "rsa-sha256" || a == "ed25519-sha256" {
		s.algorithm = a
	}
	if _, partial := s.tags["l"]; partial {
		// Whoever has such a message appends to it what he likes (RFC 6376 section 8.2).
		s.result, s.reason = policy, "body length tag"
	}
	if strings.Count(s.tags["h"], ":") >= maxSigned {
		s.result, s.reason = policy, "too many fields"
	}
	return s
}

// verifyOne verifies a signature. Of the header the dkim package gets the signature and the fields
// that it names, as [message] reads them: it takes more for a From field than we do,
// and a signature over another From than the one we show proves nothing.
func (c *Checker) verifyOne(ctx context.Context, s *signature, m *content, keyBits int) {
	var names []string
	for name := range strings.SplitSeq(s.tags["h"], ":") {
		names = append(names, withoutSpace(name))
	}
	header := withLineEnd(slices.Clip(s.field))
	header = withLineEnd(append(header, message.FilterHeader(m.header, names, false)...))
	options := &dkim.VerifyOptions{
		MaxVerifications: 1, // the field in front
		LookupTXT: func(string) ([]string, error) {
			texts, err := lookups{c.Resolver}.LookupTXT(ctx, s.selector+"._domainkey."+s.domain)
			if err == nil && len(texts) == 1 {
				s.reason = s.refuseKey(texts[0], keyBits)
			}
			if s.reason != "" {
				return nil, errors.New(s.reason)
			}
			return texts, err
		},
	}
	whole := io.MultiReader(bytes.NewReader(header), strings.NewReader("\r\n"), &chunks{m.body})
	found, _ := dkim.VerifyWithOptions(whole, options) // the errors of each are in found
	switch {
	case s.reason != "":
		s.result = policy
	case len(found) == 0:
		s.result = permanent
	case found[0].Err == nil:
		s.result = pass
	case dkim.IsTempFail(found[0].Err):
		s.result = temporary
	case dkim.IsPermFail(found[0].Err):
		s.result = permanent
	default:
		s.result = fail
	}
}

// withLineEnd ends the last line of a message that ends in its header.
func withLineEnd(header []byte) []byte {
	if !bytes.HasSuffix(header, []byte("\n")) {
		header = append(header, "\r\n"...)
	}
	return header
}

// refuseKey tells why a key that may be valid does not count. Whether the domain only
// tests (t=y) makes no difference: a signature that fails is like none anyway.
func (s *signature) refuseKey(record string, keyBits int) string {
	key, ok := tags(record)
	if !ok {
		return "" // the dkim package refuses it
	}
	if k := key["k"]; k == "" || k == "rsa" {
		bits := rsaBits(key["p"])
		if bits > 0 && bits < keyBits {
			return "key too short"
		}
		if bits > maxKeyBits {
			return "key too long"
		}
	}
	for flag := range strings.SplitSeq(key["t"], ":") {
		_, identity, given := strings.Cut(s.tags["i"], "@")
		if withoutSpace(flag) == "s" && given && !strings.EqualFold(withoutSpace(identity), withoutSpace(s.tags["d"])) {
			return "identity of another domain" // RFC 6376 section 3.6.1
		}
	}
	return ""
}

// rsaBits is the length of an RSA public key in base64, 0 when it is none.
func rsaBits(p string) int {
	der, err := base64.StdEncoding.DecodeString(withoutSpace(p))
	if err != nil {
		return 0
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		if public, err = x509.ParsePKCS1PublicKey(der); err != nil {
			return 0
		}
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok {
		return 0
	}
	return key.N.BitLen()
}

// tags reads a tag list (RFC 6376 section 3.2). ok is false when one has no value or
// comes twice; the map holds the others then.
func tags(list string) (found map[string]string, ok bool) {
	found, ok = make(map[string]string), true
	for tag := range strings.SplitSeq(list, ";") {
		name, value, is := strings.Cut(tag, "=")
		name = strings.TrimSpace(name)
		if _, twice := found[name]; twice || !is && name != "" {
			ok = false
		} else if is {
			found[name] = strings.TrimSpace(value)
		}
	}
	return found, ok
}

// isSelector reports whether s can be part of a name in the DNS.
func isSelector(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return len(s) <= 128 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// withoutSpace takes folding white space out of a tag's value.
func withoutSpace(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// chunks hands a body out in large pieces. The dkim package copies what it gets, so
// one piece would cost the memory of several messages; and copies runs of empty lines anew with every
// piece, so small ones would cost the square of the time.
type chunks struct{ rest []byte }

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunks) WriteTo(w io.Writer) (written int64, err error) {
	for len(c.rest) > 0 {
		n, err := w.Write(c.rest[:min(len(c.rest), bodyChunk)])
		written += int64(n)
		c.rest = c.rest[n:]
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
