// Package dkim signs what leaves the server (RFC 6376, RFC 8463).
//
// A signature says that the domain of the author has let the message out as it
// is. The receivers compare it with the key that the domain publishes in the DNS:
// [Record] tells what to publish, [Check] whether it is.
package dkim

import (
	"cmp"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/backend/message"
)

// Key is a signing key: that of a domain under a selector.
type Key struct {
	Domain   string
	Selector string
	File     string // PEM, PKCS #8: RSA of 2048 bits at least, or Ed25519
}

// Signer signs messages with the keys of their authors' domains. It is safe for
// concurrent use; nil signs nothing.
type Signer struct {
	logger *slog.Logger
	keys   map[string][]signingKey // by domain, as backend.ParseDomain returns it
}

type signingKey struct {
	domain, selector string
	algorithm        string // "rsa" or "ed25519"
	private          crypto.Signer
}

// Open reads the keys. Several of one domain sign side by side (RSA for everybody,
// Ed25519 for who knows it). Errors wrap ErrKey, ErrMode or those of reading a file. A nil logger is
// slog.Default().
func Open(keys []Key, logger *slog.Logger) (*Signer, error) {
	s := &Signer{logger: cmp.Or(logger, slog.Default()), keys: make(map[string][]signingKey)}
	for _, k := range keys {
		key, err := read(k)
		if err != nil {
			return nil, err
		}
		same := func(o signingKey) bool { return o.selector == key.selector }
		if slices.ContainsFunc(s.keys[key.domain], same) {
			return nil, fmt.Errorf("%w: %s has two keys with the selector %s", ErrKey, key.domain, key.selector)
		}
		s.keys[key.domain] = append(s.keys[key.domain], key)
	}
	return s, nil
}

// maxSigned bounds the fields that a signature covers. Who sends more of them is
// sent on unsigned: the signature would be longer than receivers read.
const maxSigned = 200

// Sign returns the DKIM-Signature fields to be put in front of a message, CRLF each: one for each key of the
// domain of its From field; none when there is no key for it, or not one author.
//
// Canonicalisation is relaxed for both halves: servers on the way fold header
// fields anew and drop white space at the end of lines, and neither changes what is read. There is no
// expiry (x=), as a delivery may wait for days in queues that are not ours, and
// no length (l=), because whoever has such a message may append to it what he likes.
func (s *Signer) Sign(octets []byte) ([]byte, error) {
	if s == nil || len(s.keys) == 0 {
		return nil, nil
	}
	domain, ok := author(octets)
	if !ok || len(s.keys[domain]) == 0 {
		return nil, nil
	}
	names, header := canonicalHeader(octets)
	if len(names) > maxSigned {
		s.logger.Warn("message goes unsigned: too many header fields", "domain", domain, "fields", len(names))
		return nil, nil
	}
	body := sha256.New()
	hashBody(body, bodyOf(octets))
	bodyHash := base64.StdEncoding.EncodeToString(body.Sum(nil))

	var signatures []byte
	now := time.Now()
	for _, key := range s.keys[domain] {
		field, err := key.sign(header, names, bodyHash, now)
		if err != nil {
			return nil, fmt.Errorf("sign for %s with the selector %s: %w", domain, key.selector, err)
		}
		signatures = append(signatures, field...)
	}
	return signatures, nil
}

// author is the domain of the one address in the one From field.
func author(octets []byte) (domain string, ok bool) {
	values := message.HeaderValues(octets, "From")
	if len(values) != 1 {
		return "", false
	}
	authors, err := backend.ParseMailboxes(values[0])
	if err != nil || len(authors) != 1 {
		return "", false
	}
	return authors[0].Domain, true
}

// sign makes one field. header is canonical (RFC 6376 section 3.7).
func (k signingKey) sign(header []byte, names []string, bodyHash string, now time.Time) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=%s-sha256; c=relaxed/relaxed;\r\n d=%s; s=%s;\r\n", k.algorithm, k.domain, k.selector)
	b.WriteString(" t=" + strconv.FormatInt(now.Unix(), 10) + ";\r\n h=")
	column := len(" h=")
	for i, name := range names {
		if i > 0 {
			b.WriteByte(':')
			column++
		}
		if column+len(name) > lineLength {
			b.WriteString("\r\n  ")
			column = 2
		}
		b.WriteString(name)
		column += len(name)
	}
	b.WriteString(";\r\n bh=" + bodyHash + ";\r\n b=")

	digest := sha256.New()
	digest.Write(header)
	name, value, _ := strings.Cut(b.String(), ":")
	digest.Write([]byte(strings.ToLower(name) + ":"))
	digest.Write(relaxed(value))
	signed, err := k.private.Sign(rand.Reader, digest.Sum(nil), k.hash())
	if err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(signed)
	for len(text) > lineLength {
		b.WriteString(text[:lineLength] + "\r\n ")
		text = text[lineLength:]
	}
	b.WriteString(text + "\r\n")
	return b.String(), nil
}

// hash is what the private key is told about its input: Ed25519 signs the digest
// like any text (RFC 8463 section 3).
func (k signingKey) hash() crypto.Hash {
	if k.algorithm == "ed25519" {
		return crypto.Hash(0)
	}
	return crypto.SHA256
}
