package tls_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

// clinique is the certificate of another operator.
func clinique(edit func(*x509.Certificate)) ourtls.Organisation {
	return ourtls.Organisation{
		Unit: "318310021300028", Name: "mail.clinique.test", Org: "Clinique",
		Terms: ourtls.Terms{Algorithm: ourtls.ECDSA, Edit: edit},
	}
}

func TestEvaluatePeer(t *testing.T) {
	organisations, persons := tlstest.NewOrganisations(t, "igc"), tlstest.NewIssuer(t, "igc")
	a := tlstest.Anchors(t, persons, organisations)
	usage := func(bits x509.KeyUsage, purposes ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = bits, purposes }
	}
	const signature, document = x509.KeyUsageDigitalSignature, x509.KeyUsageContentCommitment
	revoked := organisations.Organisation(t, clinique(nil))
	organisations.Revoke(t, revoked)
	tlstest.Refresh(t, a)
	for name, c := range map[string]struct {
		card ourtls.Certificate
		want error
	}{
		"for clients":             {organisations.Organisation(t, clinique(nil)), nil},
		"for servers":             {organisations.Organisation(t, clinique(usage(signature, x509.ExtKeyUsageServerAuth))), nil},
		"for both":                {organisations.Organisation(t, clinique(usage(signature, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))), nil},
		"no purposes":             {organisations.Organisation(t, clinique(usage(signature))), nil},
		"for e-mail":              {organisations.Organisation(t, clinique(usage(signature, x509.ExtKeyUsageEmailProtection))), ourtls.ErrUsage},
		"documents":               {organisations.Organisation(t, clinique(usage(document, x509.ExtKeyUsageServerAuth))), ourtls.ErrUsage},
		"an authority's":          {organisations.Organisation(t, clinique(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })), ourtls.ErrUsage},
		"expired":                 {organisations.Organisation(t, clinique(func(c *x509.Certificate) { c.NotAfter = c.NotBefore })), ourtls.ErrExpired},
		"not yet valid":           {organisations.Organisation(t, clinique(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })), ourtls.ErrNotYetValid},
		"revoked":                 {revoked, ourtls.ErrRevoked},
		"only named so":           {organisations.Foreign(t).Organisation(t, clinique(nil)), ourtls.ErrUnknownIssuer},
		"a person":                {persons.Card(t, medecin(nil)), ourtls.ErrUnknownIssuer},
		"an organisation's name":  {persons.Organisation(t, clinique(nil)), ourtls.ErrUnknownIssuer},
		"issuer that nobody pins": {tlstest.NewOrganisations(t, "igc").Organisation(t, clinique(nil)), ourtls.ErrUnknownIssuer},
	} {
		issuer, err := a.EvaluatePeer(t.Context(), c.card.Leaf)
		if !errors.Is(err, c.want) || (err == nil) != (issuer != nil) {
			t.Errorf("%s: %v, %v; want %v", name, issuer, err, c.want)
		}
	}
	// A log-in is another purpose.
	server := organisations.Organisation(t, clinique(usage(signature, x509.ExtKeyUsageServerAuth)))
	if _, err := a.Evaluate(t.Context(), server.Leaf); !errors.Is(err, ourtls.ErrUsage) {
		t.Errorf("a server's certificate logs in: %v", err)
	}
	var none *ourtls.Anchors
	if _, err := none.EvaluatePeer(t.Context(), server.Leaf); !errors.Is(err, ourtls.ErrUnknownIssuer) {
		t.Errorf("without anchors: %v", err)
	}
	if _, err := a.EvaluatePeer(t.Context(), nil); !errors.Is(err, ourtls.ErrUnknownIssuer) {
		t.Errorf("no certificate: %v", err)
	}
}

// What was found good is looked at again for what changes: its dates and its revocation.
func TestEvaluatePeerAgain(t *testing.T) {
	organisations := tlstest.NewOrganisations(t, "igc")
	a := tlstest.Anchors(t, organisations)
	card := organisations.Organisation(t, clinique(nil))
	for range 2 {
		if _, err := a.EvaluatePeer(t.Context(), card.Leaf); err != nil {
			t.Fatal(err)
		}
	}
	server := organisations.Organisation(t, clinique(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }))
	if _, err := a.EvaluatePeer(t.Context(), server.Leaf); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Evaluate(t.Context(), server.Leaf); !errors.Is(err, ourtls.ErrUsage) {
		t.Errorf("good as a server's, it logs in: %v", err)
	}
	organisations.Revoke(t, card)
	tlstest.Refresh(t, a)
	if _, err := a.EvaluatePeer(t.Context(), card.Leaf); !errors.Is(err, ourtls.ErrRevoked) {
		t.Errorf("revoked since: %v", err)
	}
	late := *organisations.Organisation(t, clinique(nil)).Leaf
	if _, err := a.EvaluatePeer(t.Context(), &late); err != nil {
		t.Fatal(err)
	}
	late.NotAfter = time.Now().Add(-time.Second) // as if time had passed
	if _, err := a.EvaluatePeer(t.Context(), &late); !errors.Is(err, ourtls.ErrExpired) {
		t.Errorf("expired since: %v", err)
	}
}

// answering is a server that shakes hands, says a word and tells whose certificates
// it was shown.
func answering(t *testing.T, config *tls.Config) (addr string, shown chan []*x509.Certificate) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	shown = make(chan []*x509.Certificate, 8)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			server := tls.Server(conn, config)
			err = server.Handshake()
			shown <- server.ConnectionState().PeerCertificates
			if err == nil {
				io.WriteString(server, "x")
				io.Copy(io.Discard, server)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String(), shown
}

// call connects and reads the word.
func call(addr string, config *tls.Config) (tls.ConnectionState, error) {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer raw.Close()
	conn := ourtls.Client(raw, config)
	if err := conn.Handshake(); err != nil {
		return conn.ConnectionState(), err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), err
}

func TestClientLooksAtEveryHandshake(t *testing.T) {
	organisations := tlstest.NewOrganisations(t, "igc")
	card := organisations.Organisation(t, clinique(nil))
	ours := tlstest.New(t).Identity(t)
	bad := errors.New("not this one")
	for version, number := range versions() {
		addr, _ := answering(t, &tls.Config{Certificates: []tls.Certificate{card}, MaxVersion: number})
		var looked []*x509.Certificate
		var verdict error
		config := ours.Client("mail.clinique.test", func(leaf *x509.Certificate) error {
			looked = append(looked, leaf)
			return verdict
		})
		config.ClientSessionCache = tls.NewLRUClientSessionCache(8) // which the configuration does not have by itself
		for n := range 2 {
			state, err := call(addr, config)
			if err != nil || state.DidResume != (n == 1) || len(looked) != n+1 || !looked[n].Equal(card.Leaf) {
				t.Errorf("%s, connection %d: %v, resumed %v, looked at %d", version, n, err, state.DidResume, len(looked))
			}
		}
		verdict = bad // as when it was revoked meanwhile
		if state, err := call(addr, config); !errors.Is(err, bad) || state.HandshakeComplete {
			t.Errorf("%s, then it is not good: %v", version, err)
		}
	}
	if config := ours.Client("x", nil); config.ClientSessionCache != nil || config.MinVersion != tls.VersionTLS12 {
		t.Error("sessions are kept, or old versions are good enough")
	}
}

func TestClientShowsWhatTheServerCanVerify(t *testing.T) {
	one, two := tlstest.NewOrganisations(t, "one"), tlstest.NewOrganisations(t, "two")
	ecdsa, rsa := clinique(nil), clinique(nil)
	ecdsa.Name, rsa.Name, rsa.Algorithm = "ECDSA of one", "RSA of two", ourtls.RSA
	var pairs []ourtls.Pair
	for o, issuer := range map[*ourtls.Organisation]*tlstest.Issuer{&ecdsa: one, &rsa: two} {
		cert, key, err := issuer.OrganisationCertificate(*o)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		p := ourtls.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
		if err := errors.Join(os.WriteFile(p.Cert, cert, 0o600), os.WriteFile(p.Key, key, 0o600)); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, p)
	}
	ours, err := ourtls.Open(pairs)
	if err != nil {
		t.Fatal(err)
	}
	server := tlstest.New(t).Identity(t)
	for _, c := range []struct {
		name  string
		knows []*tlstest.Issuer
		want  string
	}{
		{"all", nil, "ECDSA of one"},
		{"one", []*tlstest.Issuer{one}, "ECDSA of one"},
		{"two", []*tlstest.Issuer{two}, "RSA of two"},
		{"neither", []*tlstest.Issuer{tlstest.NewOrganisations(t, "three")}, "ECDSA of one"}, // it may know more than it says
	} {
		config := server.Server(tlstest.Anchors(t, c.knows...))
		config.ClientAuth = tls.RequireAnyClientCert
		addr, shown := answering(t, config)
		if _, err := call(addr, ours.Client("x", func(*x509.Certificate) error { return nil })); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got := <-shown; len(got) != 1 || got[0].Subject.CommonName != c.want {
			t.Errorf("%s: shown %v, want %s", c.name, got, c.want)
		}
	}
}

func TestRefusedByPeer(t *testing.T) {
	for version, number := range versions() {
		config := tlstest.New(t).Identity(t).Server(nil)
		config.ClientAuth, config.MaxVersion = tls.RequireAndVerifyClientCert, number
		config.ClientCAs = x509.NewCertPool()
		addr, _ := answering(t, config)
		ours := tlstest.New(t).Identity(t)
		_, err := call(addr, ours.Client("x", func(*x509.Certificate) error { return nil }))
		if !ourtls.RefusedByPeer(err) {
			t.Errorf("%s: %v is not known for an alert", version, err)
		}
		_, err = call(addr, ours.Client("x", func(*x509.Certificate) error { return errors.New("no") }))
		if ourtls.RefusedByPeer(err) {
			t.Errorf("%s: %v is ours", version, err)
		}
	}
}
