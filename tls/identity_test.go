package tls_test

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

// serve answers each connection with what it reads, until the test ends.
func serve(t *testing.T, config *ourtls.Config) string {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := ourtls.NewListener(inner, config)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// echo proves that conn carries octets both ways.
func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := io.WriteString(conn, "ping"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ping" {
		t.Fatalf("echo: %q, %v", got, err)
	}
}

func open(t *testing.T, pairs ...ourtls.Pair) *ourtls.Identity {
	t.Helper()
	i, err := ourtls.Open(pairs)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestClientGetsTheCertificateItCanVerify(t *testing.T) {
	ca := tlstest.New(t)
	addr := serve(t, open(t, ca.Pair(t, ourtls.RSA), ca.Pair(t, ourtls.ECDSA)).Server(nil))
	for _, c := range []struct {
		name    string
		version uint16
		suites  []uint16
		ecdsa   bool
	}{
		{"TLS 1.3", tls.VersionTLS13, nil, true},
		{"TLS 1.2, both", tls.VersionTLS12, nil, true},
		{"TLS 1.2, RSA only", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, false},
		{"TLS 1.2, ECDSA only", tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := ca.Client("")
			config.MaxVersion, config.CipherSuites = c.version, c.suites
			conn, err := tls.Dial("tcp", addr, config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			echo(t, conn)
			switch key := conn.ConnectionState().PeerCertificates[0].PublicKey.(type) {
			case *ecdsa.PublicKey:
				if !c.ecdsa {
					t.Error("got the ECDSA certificate")
				}
			case *rsa.PublicKey:
				if c.ecdsa {
					t.Error("got the RSA certificate")
				}
			default:
				t.Errorf("got a %T", key)
			}
		})
	}
}

func TestOldProtocolsAreRefused(t *testing.T) {
	ca := tlstest.New(t)
	addr := serve(t, open(t, ca.Pair(t, ourtls.RSA)).Server(nil))
	for _, c := range []struct {
		name     string
		min, max uint16
		suites   []uint16
	}{
		{"TLS 1.0", tls.VersionTLS10, tls.VersionTLS10, nil},
		{"TLS 1.1", tls.VersionTLS10, tls.VersionTLS11, nil},
		{"without forward secrecy", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}},
		{"CBC", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA}},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := ca.Client("")
			config.MinVersion, config.MaxVersion, config.CipherSuites = c.min, c.max, c.suites
			if conn, err := tls.Dial("tcp", addr, config); err == nil {
				conn.Close()
				t.Fatal("the handshake succeeded")
			}
		})
	}
}

func TestCertificateFollowsTheName(t *testing.T) {
	ca := tlstest.New(t)
	addr := serve(t, open(t, ca.Pair(t, ourtls.ECDSA, "mail.hopital.test"), ca.Pair(t, ourtls.ECDSA, "*.clinique.test", "clinique.test")).Server(nil))
	for _, name := range []string{"mail.hopital.test", "clinique.test", "imap.clinique.test"} {
		conn, err := tls.Dial("tcp", addr, ca.Client(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn.Close()
	}
	if conn, err := tls.Dial("tcp", addr, ca.Client("ferme.test")); err == nil {
		conn.Close()
		t.Fatal("a name that is not ours was vouched for")
	}
}

func TestReloadWhileConnectionsAreOpen(t *testing.T) {
	old, renewed := tlstest.New(t), tlstest.New(t)
	pair := old.Pair(t, ourtls.ECDSA)
	identity := open(t, pair)
	addr := serve(t, identity.Server(nil))
	before, err := tls.Dial("tcp", addr, old.Client(""))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()

	// The key has not arrived yet: the old certificate stays in use.
	next := renewed.Pair(t, ourtls.ECDSA)
	copyFile(t, next.Cert, pair.Cert)
	if err := identity.Reload(nil); err == nil || !strings.Contains(err.Error(), pair.Cert) {
		t.Fatalf("reload of a half-written pair: %v", err)
	}
	conn, err := tls.Dial("tcp", addr, old.Client(""))
	if err != nil {
		t.Fatalf("after the failed reload: %v", err)
	}
	conn.Close()

	copyFile(t, next.Key, pair.Key)
	if err := identity.Reload(nil); err != nil {
		t.Fatal(err)
	}
	conn, err = tls.Dial("tcp", addr, renewed.Client(""))
	if err != nil {
		t.Fatalf("after the reload: %v", err)
	}
	conn.Close()
	echo(t, before)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	octets, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, octets, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTicketsOfOneListenerOpenNoOther(t *testing.T) {
	ca := tlstest.New(t)
	identity := open(t, ca.Pair(t, ourtls.ECDSA))
	imaps, submissions := serve(t, identity.Server(nil)), serve(t, identity.Server(nil))
	config := ca.Client("")
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := func(addr string) bool {
		conn, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		echo(t, conn) // the ticket comes with the first octets
		return conn.ConnectionState().DidResume
	}
	if resumed(imaps) {
		t.Error("the first connection was resumed")
	}
	if !resumed(imaps) {
		t.Error("the second connection was not resumed")
	}
	if resumed(submissions) {
		t.Error("a ticket of imaps was good for submissions")
	}
}

func TestBadPairsAreAllNamed(t *testing.T) {
	ca := tlstest.New(t)
	a, b := ca.Pair(t, ourtls.ECDSA), ca.Pair(t, ourtls.ECDSA)
	swapped := ourtls.Pair{Cert: a.Cert, Key: b.Key}
	missing := ourtls.Pair{Cert: a.Cert + ".missing", Key: a.Key}
	_, err := ourtls.Open([]ourtls.Pair{swapped, a, missing})
	if err == nil || !strings.Contains(err.Error(), b.Key) || !strings.Contains(err.Error(), missing.Cert) {
		t.Errorf("got %v", err)
	}
	if _, err := ourtls.Open(nil); !errors.Is(err, ourtls.ErrNoCertificate) {
		t.Errorf("without pairs: %v", err)
	}
}

func TestExpiring(t *testing.T) {
	identity := tlstest.New(t).Identity(t)
	if got := identity.Expiring(time.Now().Add(30 * 24 * time.Hour)); len(got) != 0 {
		t.Errorf("in a month: %v", got)
	}
	if got := identity.Expiring(time.Now().Add(398 * 24 * time.Hour)); len(got) != 1 {
		t.Errorf("in 398 days: %v", got)
	}
}

func TestAuthorityIsKeptAsPEM(t *testing.T) {
	ca := tlstest.New(t)
	cert, key, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ourtls.ParseAuthority(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	server := (&tlstest.Authority{Authority: again}).Identity(t, "localhost", "::1", "*.hopital.localhost")
	roots := x509.NewCertPool()
	roots.AddCert(ca.Certificate)
	for _, name := range []string{"localhost", "::1", "mail.hopital.localhost"} {
		if _, err := server.Certificates()[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range [][2][]byte{{nil, key}, {cert, nil}, {cert, cert}, {key, key}} {
		if _, err := ourtls.ParseAuthority(bad[0], bad[1]); err == nil {
			t.Error("a broken authority was read")
		}
	}
}
