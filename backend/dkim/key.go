package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"telesphore/backend"
)

var (
	// ErrMode is the refusal of a key that others than its owner can read.
	ErrMode = errors.New("the key can be read by others")
	// ErrKey is the refusal of a key that does not do, or is named wrongly.
	ErrKey = errors.New("no usable key")
	// ErrMissing says that no record is published for a key.
	ErrMissing = errors.New("no record is published")
	// ErrDifferent says that what is published is not the record of the key.
	ErrDifferent = errors.New("another record is published")
)

// maxFile bounds what is read of a key file, in octets.
const maxFile = 64 << 10

// minBits is the shortest RSA key that signs (RFC 8301 section 3.2 advises it).
const minBits = 2048

// read reads the file of a key and checks all of it.
func read(k Key) (signingKey, error) {
	key := signingKey{}
	var err error
	if key.domain, err = backend.ParseDomain(k.Domain); err != nil {
		return key, fmt.Errorf("%w: the domain %q is none", ErrKey, k.Domain)
	}
	if key.selector, err = backend.ParseDomain(k.Selector); err != nil {
		return key, fmt.Errorf("%w: the selector %q is none: letters, digits and hyphens make one", ErrKey, k.Selector)
	}
	octets, err := readFile(k.File)
	if err != nil {
		return key, err
	}
	defer clear(octets)
	private, err := parse(octets)
	if err != nil {
		return key, fmt.Errorf("%w: %s: %w", ErrKey, k.File, err)
	}
	switch private := private.(type) {
	case *rsa.PrivateKey:
		if n := private.N.BitLen(); n < minBits {
			return key, fmt.Errorf("%w: %s: %d bits are too few, %d are needed", ErrKey, k.File, n, minBits)
		}
		key.algorithm, key.private = "rsa", private
	case ed25519.PrivateKey:
		key.algorithm, key.private = "ed25519", private
	default:
		return key, fmt.Errorf("%w: %s: neither RSA nor Ed25519", ErrKey, k.File)
	}
	return key, nil
}

// readFile reads a file that only its owner can read.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the DKIM key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the DKIM key: %w", err)
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 || !mode.IsRegular() {
		return nil, fmt.Errorf("%w: %s has mode %v: make it readable by its owner alone with: chmod 600 %s", ErrMode, path, mode, path)
	}
	octets, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("read the DKIM key: %w", err)
	}
	return octets, nil
}

// parse reads the first private key of a PEM file, PKCS #8 or PKCS #1.
func parse(octets []byte) (any, error) {
	for {
		block, rest := pem.Decode(octets)
		if block == nil {
			return nil, errors.New("no private key in PEM form")
		}
		switch block.Type {
		case "PRIVATE KEY":
			return x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		}
		octets = rest
	}
}

// Create makes a key ("rsa" or "ed25519") and writes it to a new file, mode 0600. It
// never replaces one: then the error wraps fs.ErrExist.
func Create(file, algorithm string) error {
	var private crypto.Signer
	var err error
	switch algorithm {
	case "rsa": // longer ones do not fit into what some providers let one publish
		private, err = rsa.GenerateKey(rand.Reader, minBits)
	case "ed25519":
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return fmt.Errorf("%w: %q is neither \"rsa\" nor \"ed25519\"", ErrKey, algorithm)
	}
	if err != nil {
		return fmt.Errorf("make a DKIM key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("make a DKIM key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	defer clear(text)
	clear(der)
	if err := write(file, text); err != nil {
		return fmt.Errorf("write the DKIM key: %w", err)
	}
	return nil
}

// write makes a file that must not exist, and returns once it is durable.
func write(path string, octets []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(octets)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path)
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// Record is the DNS name and TXT value that publish a key (RFC 6376 section 3.6.1,
// RFC 8463 section 4).
func Record(k Key) (name, value string, err error) {
	key, err := read(k)
	if err != nil {
		return "", "", err
	}
	public, ok := key.private.Public().(ed25519.PublicKey) // as it is
	if !ok {
		if public, err = x509.MarshalPKIXPublicKey(key.private.Public()); err != nil {
			return "", "", fmt.Errorf("write the public key of %s: %w", k.File, err)
		}
	}
	name = key.selector + "._domainkey." + key.domain
	return name, "v=DKIM1; k=" + key.algorithm + "; p=" + base64.StdEncoding.EncodeToString(public), nil
}

// ZoneLine is a TXT record as it stands in a zone file. A string of a record has 255
// octets at most; readers join them (RFC 6376 section 3.6.2.2).
func ZoneLine(name, value string) string {
	line := name + ". IN TXT"
	for len(value) > 255 {
		line += ` "` + value[:255] + `"`
		value = value[255:]
	}
	return line + ` "` + value + `"`
}

// Resolver looks TXT records up. *net.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Check asks the DNS whether the record of a key is published. The error is ErrMissing, ErrDifferent, or
// why that cannot be told. Tags that do not change the key may be added.
func Check(ctx context.Context, r Resolver, k Key) error {
	name, value, err := Record(k)
	if err != nil {
		return err
	}
	texts, err := r.LookupTXT(ctx, name+".")
	var unknown *net.DNSError
	if errors.As(err, &unknown) && unknown.IsNotFound || err == nil && len(texts) == 0 {
		return ErrMissing
	} else if err != nil {
		return fmt.Errorf("look the record up: %w", err)
	}
	if len(texts) > 1 {
		return fmt.Errorf("%w: there are %d, receivers take none of them", ErrDifferent, len(texts))
	}
	ours, theirs := tags(value), tags(texts[0])
	if theirs["p"] != ours["p"] || theirs["k"] != ours["k"] || theirs["v"] != ours["v"] {
		return ErrDifferent
	}
	return nil
}

// tags reads a key record, with the defaults of RFC 6376 section 3.6.1.
func tags(record string) map[string]string {
	found := map[string]string{"v": "DKIM1", "k": "rsa"}
	for tag := range strings.SplitSeq(record, ";") {
		name, value, _ := strings.Cut(tag, "=")
		found[strings.TrimSpace(name)] = strings.Join(strings.Fields(value), "")
	}
	return found
}
