package tls_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"slices"
	"testing"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

// pair turns what an authority made into a certificate for a client.
func pair(t *testing.T) func(cert, key []byte, err error) tls.Certificate {
	return func(cert, key []byte, err error) tls.Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		c, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// door is a server that asks for certificates and tells the facts of each connection.
type door struct {
	addr  string
	trust *tlstest.Authority
	facts chan ourtls.Facts
}

func openDoor(t *testing.T, a *ourtls.Anchors) *door {
	t.Helper()
	d := &door{trust: tlstest.New(t), facts: make(chan ourtls.Facts, 8)}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := d.trust.Identity(t).Server(a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			server := ourtls.Server(conn, config)
			if server.HandshakeContext(t.Context()) == nil {
				d.facts <- ourtls.FactsOf(server)
				io.Copy(server, io.LimitReader(server, 4))
			}
			server.Close()
		}
	}()
	t.Cleanup(func() { inner.Close(); <-done })
	d.addr = inner.Addr().String()
	return d
}

// connect shakes hands and returns what the server and the client know.
func (d *door) connect(t *testing.T, config *tls.Config) (ourtls.Facts, tls.ConnectionState) {
	t.Helper()
	conn, err := tls.Dial("tcp", d.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo(t, conn) // the ticket comes with the first octets
	return <-d.facts, conn.ConnectionState()
}

func versions() map[string]uint16 {
	return map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}
}

func TestServerAsksForACertificateAndDemandsNone(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	a := tlstest.Anchors(t, i)
	d := openDoor(t, a)
	rsa := ourtls.Person{ID: "899700000001", Surname: "MEDECIN", GivenName: "Test"}
	expired := medecin(func(c *x509.Certificate) { c.NotAfter = c.NotBefore })
	for version, number := range versions() {
		for _, c := range []struct {
			name string
			card *tls.Certificate
			want error
		}{
			{"no card", nil, ourtls.ErrUnknownIssuer},
			{"RSA card", ptr(i.Card(t, rsa)), nil},
			{"ECDSA card", ptr(i.Card(t, medecin(nil))), nil},
			{"foreign card", ptr(i.Foreign(t).Card(t, medecin(nil))), ourtls.ErrUnknownIssuer},
			{"expired card", ptr(i.Card(t, expired)), ourtls.ErrExpired},
		} {
			t.Run(version+", "+c.name, func(t *testing.T) {
				config := d.trust.Client("")
				if c.card != nil {
					config = d.trust.ClientWith("", *c.card)
				}
				config.MinVersion, config.MaxVersion = number, number
				facts, state := d.connect(t, config)
				if facts.Version != version || facts.Resumed || (facts.Peer != nil) != (c.card != nil) {
					t.Errorf("facts %+v", facts)
				}
				if c.card != nil && !facts.Peer.Equal(c.card.Leaf) {
					t.Error("another certificate arrived")
				}
				expect(t, a, facts.Peer, c.want)
				// RFC 9266 section 2: the context is empty, not absent.
				binding, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
				if err != nil || len(facts.Binding) != 32 || !bytes.Equal(facts.Binding, binding) {
					t.Errorf("binding %x, the client has %x, %v", facts.Binding, binding, err)
				}
			})
		}
	}
}

func ptr(c tls.Certificate) *tls.Certificate { return &c }

func TestServerNamesThePinnedIssuers(t *testing.T) {
	i, organisations := tlstest.NewIssuer(t, "igc"), tlstest.NewOrganisations(t, "igc")
	for version, number := range versions() {
		for name, c := range map[string]struct {
			anchors *ourtls.Anchors
			want    [][]byte
		}{
			"two":         {tlstest.Anchors(t, i, organisations), [][]byte{i.Certificate.RawSubject, organisations.Certificate.RawSubject}},
			"none pinned": {tlstest.Anchors(t), nil},
			"nil":         {nil, nil},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				d := openDoor(t, c.anchors)
				config := d.trust.Client("")
				config.MinVersion, config.MaxVersion = number, number
				var named [][]byte
				asked := false
				config.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
					asked, named = true, r.AcceptableCAs
					return &tls.Certificate{}, nil
				}
				d.connect(t, config)
				if asked != (c.want != nil) || !slices.EqualFunc(named, c.want, bytes.Equal) {
					t.Errorf("asked %v for %q", asked, named)
				}
			})
		}
	}
}

func TestCardRevokedBeforeAResumption(t *testing.T) {
	for version, number := range versions() {
		t.Run(version, func(t *testing.T) {
			i := tlstest.NewIssuer(t, "igc")
			a := tlstest.Anchors(t, i)
			d := openDoor(t, a)
			card := i.Card(t, medecin(nil))
			config := d.trust.ClientWith("", card)
			config.MinVersion, config.MaxVersion = number, number
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)

			facts, _ := d.connect(t, config)
			expect(t, a, facts.Peer, nil)
			for _, want := range []error{nil, ourtls.ErrRevoked} {
				if want != nil {
					i.Revoke(t, card)
					tlstest.Refresh(t, a)
				}
				facts, _ := d.connect(t, config)
				if !facts.Resumed || facts.Peer == nil || !facts.Peer.Equal(card.Leaf) || len(facts.Binding) != 32 {
					t.Errorf("facts %+v", facts)
				}
				expect(t, a, facts.Peer, want)
			}
		})
	}
}

// A resumed handshake asks for nothing: who inserts the card later must be asked.
func TestCardInsertedAfterTheFirstConnection(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	card := i.Card(t, medecin(nil))
	for version, number := range versions() {
		for _, asked := range []bool{true, false} {
			name := map[bool]string{true: "cards", false: "no cards"}[asked]
			t.Run(version+", a server of "+name, func(t *testing.T) {
				var a *ourtls.Anchors
				if asked {
					a = tlstest.Anchors(t, i)
				}
				d := openDoor(t, a)
				config := d.trust.Client("")
				config.MinVersion, config.MaxVersion = number, number
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				d.connect(t, config)
				config.Certificates = []tls.Certificate{card}
				facts, _ := d.connect(t, config)
				if facts.Resumed == asked || (facts.Peer != nil) != asked {
					t.Errorf("facts %+v", facts)
				}
			})
		}
	}
}

// A certificate is public: whoever has not its key cannot show it.
func TestCertificateWithoutItsKeyIsNoCard(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	d := openDoor(t, tlstest.Anchors(t, i))
	stolen := i.Card(t, medecin(nil))
	stolen.PrivateKey = i.Card(t, medecin(nil)).PrivateKey
	for version, number := range versions() {
		config := d.trust.ClientWith("", stolen)
		config.MinVersion, config.MaxVersion = number, number
		conn, err := tls.Dial("tcp", d.addr, config)
		if err == nil { // TLS 1.3 tells at the first read
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil {
			t.Errorf("%s: the handshake succeeded", version)
		}
	}
	select {
	case facts := <-d.facts:
		t.Errorf("facts %+v", facts)
	default:
	}
}

// keyOf returns an authority's private key.
func keyOf(t *testing.T, a *ourtls.Authority) any {
	t.Helper()
	_, octets, err := a.PEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(octets)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
