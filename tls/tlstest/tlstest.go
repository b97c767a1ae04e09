// Package tlstest is throw-away trust for tests: an authority, servers that it
// vouches for, clients that believe it, and issuers of cards with their lists.
//
// Everything lives in memory and in the test's temporary directory.
package tlstest

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"telesphore/tls"
)

// Authority vouches for the servers of one test.
type Authority struct {
	*tls.Authority
}

// New makes an authority.
func New(tb testing.TB) *Authority {
	tb.Helper()
	a, err := tls.NewAuthority("Telesphore test authority")
	if err != nil {
		tb.Fatal(err)
	}
	return &Authority{a}
}

// Pair writes a certificate for names, or for localhost, 127.0.0.1 and ::1 when
// there are none, and returns the files' names.
func (a *Authority) Pair(tb testing.TB, algorithm tls.Algorithm, names ...string) tls.Pair {
	tb.Helper()
	if len(names) == 0 {
		names = []string{"localhost", "127.0.0.1", "::1"}
	}
	cert, key, err := a.Server(algorithm, names...)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	p := tls.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, octets := range map[string][]byte{p.Cert: cert, p.Key: key} {
		if err := os.WriteFile(name, octets, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return p
}

// Identity returns an ECDSA identity for names, as Pair understands them.
func (a *Authority) Identity(tb testing.TB, names ...string) *tls.Identity {
	tb.Helper()
	i, err := tls.Open([]tls.Pair{a.Pair(tb, tls.ECDSA, names...)})
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

// Client returns the configuration of a client that believes the authority and
// expects to reach name, or localhost when it is empty.
func (a *Authority) Client(name string) *tls.Config {
	if name == "" {
		name = "localhost"
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate)
	return &tls.Config{RootCAs: roots, ServerName: name}
}
