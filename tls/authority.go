package tls

import (
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// How long made certificates are good for. Clients refuse server certificates
// of more than 398 days. All begin an hour early, for clocks that are behind.
const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 397 * 24 * time.Hour
	early         = time.Hour
)

// Authority signs certificates for a demonstration or a test. It is no
// certification authority for anything real: its key is in reach of the server.
type Authority struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// NewAuthority makes an authority whose key lives until the end of the process
// or in what PEM returns.
func NewAuthority(name string) (*Authority, error) {
	return newAuthority(name, nil)
}

// Issuing makes an authority that a vouches for: what is pinned of a real
// hierarchy is such a one, not its root.
func (a *Authority) Issuing(name string) (*Authority, error) {
	return newAuthority(name, a)
}

// newAuthority makes an authority that parent has signed, itself when it is nil.
func newAuthority(name string, parent *Authority) (*Authority, error) {
	key, err := newKey(ECDSA)
	if err != nil {
		return nil, fmt.Errorf("make the key of authority %s: %w", name, err)
	}
	t := template(name, authorityLife)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	by := &Authority{Certificate: t, key: key}
	if parent != nil {
		by = parent
	}
	cert, err := sign(t, by.Certificate, key.Public(), by.key)
	if err != nil {
		return nil, fmt.Errorf("make authority %s: %w", name, err)
	}
	return &Authority{Certificate: cert, key: key}, nil
}

// ParseAuthority reads what PEM wrote.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	c, _ := pem.Decode(certPEM)
	k, _ := pem.Decode(keyPEM)
	if c == nil || k == nil {
		return nil, errors.New("tls: authority without PEM certificate or key")
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the authority's certificate: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse the authority's key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("tls: authority's key is a %T, which cannot sign", key)
	}
	return &Authority{Certificate: cert, key: signer}, nil
}

// PEM returns the authority's certificate and its private key.
func (a *Authority) PEM() (certPEM, keyPEM []byte, err error) {
	return encode(a.Certificate, a.key)
}

// Algorithm is the kind of a certificate's key.
type Algorithm int

// RSA is what every client understands; ECDSA is cheaper.
const (
	RSA   Algorithm = iota // 2048 bits
	ECDSA                  // P-256
)

// Server makes a server certificate for names, which are DNS names (wildcards
// too) or IP addresses, and its private key.
func (a *Authority) Server(algorithm Algorithm, names ...string) (certPEM, keyPEM []byte, err error) {
	key, err := newKey(algorithm)
	if err != nil {
		return nil, nil, fmt.Errorf("make a server key: %w", err)
	}
	t := template(names[0], serverLife)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	cert, err := sign(t, a.Certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a server certificate: %w", err)
	}
	return encode(cert, key)
}

// template is what all our certificates share. CreateCertificate draws the serial number.
func template(name string, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-early),
		NotAfter:  now.Add(life),
	}
}

func sign(t, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	// RFC 5280 section 4.2.1.2, method 1: an identifier, not a protection.
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	id := sha1.Sum(spki)
	t.SubjectKeyId = id[:]
	der, err := x509.CreateCertificate(rand.Reader, t, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func encode(cert *x509.Certificate, key crypto.Signer) (certPEM, keyPEM []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a private key: %w", err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
