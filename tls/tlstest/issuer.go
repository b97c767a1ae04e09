package tlstest

import (
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"telesphore/tls"
)

// Issuer is an authority that issues cards or organisation certificates, with
// its certificate and its revocation list in files of the test's directory.
type Issuer struct {
	*tls.Authority
	Pinned   tls.Issuer // the configuration that pins it
	ListFile string     // its revocation list, the only one of Pinned

	number  int64      // of the last list
	revoked []*big.Int // serial numbers
}

// NewIssuer makes an issuer of persons' cards in group. Its list is good for an hour.
func NewIssuer(tb testing.TB, group string) *Issuer {
	tb.Helper()
	return newIssuer(tb, "AC "+group+" PERSONNES", tls.Issuer{Group: group})
}

// NewOrganisations makes an issuer of organisation certificates in group.
func NewOrganisations(tb testing.TB, group string) *Issuer {
	tb.Helper()
	return newIssuer(tb, "AC "+group+" ORGANISATIONS", tls.Issuer{Group: group, Organisation: true})
}

// Foreign makes an issuer of the same subject and group as i with another key:
// one that only calls itself i unless it is pinned too.
func (i *Issuer) Foreign(tb testing.TB) *Issuer {
	tb.Helper()
	return newIssuer(tb, i.Certificate.Subject.CommonName, tls.Issuer{Group: i.Pinned.Group, Organisation: i.Pinned.Organisation})
}

func newIssuer(tb testing.TB, name string, pinned tls.Issuer) *Issuer {
	tb.Helper()
	root, err := tls.NewAuthority("AC RACINE " + pinned.Group)
	if err != nil {
		tb.Fatal(err)
	}
	a, err := root.Issuing(name)
	if err != nil {
		tb.Fatal(err)
	}
	cert, _, err := a.PEM()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	i := &Issuer{Authority: a, Pinned: pinned, ListFile: filepath.Join(dir, "list.crl")}
	i.Pinned.Certificate, i.Pinned.Lists = filepath.Join(dir, "issuer.pem"), []string{i.ListFile}
	write(tb, i.Pinned.Certificate, cert)
	i.WriteList(tb, nil)
	return i
}

// Card makes a card for p.
func (i *Issuer) Card(tb testing.TB, p tls.Person) tls.Certificate {
	tb.Helper()
	return pair(tb)(i.Authority.Card(p))
}

// Organisation makes a certificate for o.
func (i *Issuer) Organisation(tb testing.TB, o tls.Organisation) tls.Certificate {
	tb.Helper()
	return pair(tb)(i.Authority.OrganisationCertificate(o))
}

// Revoke puts cards on the list. [tls.Anchors] notice at their next Refresh.
func (i *Issuer) Revoke(tb testing.TB, cards ...tls.Certificate) {
	tb.Helper()
	for _, card := range cards {
		i.revoked = append(i.revoked, card.Leaf.SerialNumber)
	}
	i.WriteList(tb, nil)
}

// WriteList replaces the list in the file by a newer one of what was revoked,
// which edit has changed; nil changes nothing.
func (i *Issuer) WriteList(tb testing.TB, edit func(*x509.RevocationList)) {
	tb.Helper()
	write(tb, i.ListFile, i.List(tb, edit))
}

// List returns the octets that WriteList writes.
func (i *Issuer) List(tb testing.TB, edit func(*x509.RevocationList)) []byte {
	tb.Helper()
	i.number++
	now := time.Now()
	t := &x509.RevocationList{Number: big.NewInt(i.number), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	for _, serial := range i.revoked {
		t.RevokedCertificateEntries = append(t.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now.Add(-time.Minute)})
	}
	if edit != nil {
		edit(t)
	}
	der, err := i.RevocationList(t)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// Anchors pins issuers, with their files.
func Anchors(tb testing.TB, issuers ...*Issuer) *tls.Anchors {
	tb.Helper()
	pinned := make([]tls.Issuer, len(issuers))
	for n, i := range issuers {
		pinned[n] = i.Pinned
	}
	a, err := tls.OpenAnchors(pinned, tls.AnchorOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// Refresh makes anchors look at every list and expects all of them to be good.
func Refresh(tb testing.TB, a *tls.Anchors) {
	tb.Helper()
	if err := a.Refresh(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// ClientWith is Client with a certificate that is sent to whoever asks for one,
// even when it is of an authority that the server does not name.
func (a *Authority) ClientWith(name string, card tls.Certificate) *tls.Config {
	config := a.Client(name)
	config.GetClientCertificate = func(*tls.CertificateRequest) (*tls.Certificate, error) { return &card, nil }
	return config
}

// pair turns what an authority made into a certificate for a client.
func pair(tb testing.TB) func(certPEM, keyPEM []byte, err error) tls.Certificate {
	return func(certPEM, keyPEM []byte, err error) tls.Certificate {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		cert, _ := pem.Decode(certPEM)
		key, _ := pem.Decode(keyPEM)
		leaf, err := x509.ParseCertificate(cert.Bytes)
		if err != nil {
			tb.Fatal(err)
		}
		private, err := x509.ParsePKCS8PrivateKey(key.Bytes)
		if err != nil {
			tb.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: private, Leaf: leaf}
	}
}

// write replaces a file at once.
func write(tb testing.TB, name string, octets []byte) {
	tb.Helper()
	if err := os.WriteFile(name+".new", octets, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		tb.Fatal(err)
	}
}
