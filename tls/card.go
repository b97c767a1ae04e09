package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"time"
)

// clientLife is how long cards and organisation certificates are good for.
const clientLife = 3 * 365 * 24 * time.Hour

// Terms are what a client certificate says beyond whom it is for. Zero terms
// give one that is good to log in with.
type Terms struct {
	Algorithm Algorithm               // of its key
	NotBefore time.Time               // default an hour ago, or three years before NotAfter
	NotAfter  time.Time               // default in three years
	Edit      func(*x509.Certificate) // changes it before it is signed; nil changes nothing
}

// Person is whom a card is for.
type Person struct {
	ID         string // national: its type digit, 8 for RPPS, and the number
	Surname    string
	GivenName  string
	Profession string // "" for none
	Terms
}

// Organisation is whom an organisation certificate is for.
type Organisation struct {
	Unit string // OU: the type digit and the number of the structure
	Name string // CN: free text, "INSI-AUTO"
	Org  string // O: the structure's name
	Terms
}

// Card makes the log-in certificate of a person's card and its private key. Its
// subject has the shape of IGC-Santé's: the national identifier and the names
// are one multi-valued RDN.
func (a *Authority) Card(p Person) (certPEM, keyPEM []byte, err error) {
	subject := pkix.RDNSequence{
		rdn(oidCountry, "FR"), rdn(oidOrganisation, a.Certificate.Subject.CommonName), rdn(oidUnit, "PERSONNES"),
	}
	if p.Profession != "" {
		subject = append(subject, rdn(oidTitle, p.Profession))
	}
	subject = append(subject, pkix.RelativeDistinguishedNameSET{
		{Type: oidCommonName, Value: p.ID}, {Type: oidSurname, Value: p.Surname}, {Type: oidGivenName, Value: p.GivenName},
	})
	return a.client(subject, p.Terms)
}

// OrganisationCertificate makes the certificate of an application mailbox and
// its private key.
func (a *Authority) OrganisationCertificate(o Organisation) (certPEM, keyPEM []byte, err error) {
	return a.client(pkix.RDNSequence{
		rdn(oidCountry, "FR"), rdn(oidOrganisation, o.Org), rdn(oidUnit, o.Unit), rdn(oidCommonName, o.Name),
	}, o.Terms)
}

// RevocationList signs a list (DER). The template says at least Number,
// ThisUpdate, NextUpdate and RevokedCertificateEntries.
func (a *Authority) RevocationList(template *x509.RevocationList) ([]byte, error) {
	der, err := x509.CreateRevocationList(rand.Reader, template, a.Certificate, a.key)
	if err != nil {
		return nil, fmt.Errorf("make a revocation list: %w", err)
	}
	return der, nil
}

// The attributes of subjects (RFC 4519 section 2).
var (
	oidCommonName   = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSurname      = asn1.ObjectIdentifier{2, 5, 4, 4}
	oidCountry      = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidOrganisation = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidUnit         = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidTitle        = asn1.ObjectIdentifier{2, 5, 4, 12}
	oidGivenName    = asn1.ObjectIdentifier{2, 5, 4, 42}
)

func rdn(attribute asn1.ObjectIdentifier, value string) pkix.RelativeDistinguishedNameSET {
	return pkix.RelativeDistinguishedNameSET{{Type: attribute, Value: value}}
}

func (a *Authority) client(subject pkix.RDNSequence, terms Terms) (certPEM, keyPEM []byte, err error) {
	key, err := newKey(terms.Algorithm)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client key: %w", err)
	}
	t := template("", clientLife)
	if t.RawSubject, err = asn1.Marshal(subject); err != nil {
		return nil, nil, fmt.Errorf("make a client's name: %w", err)
	}
	serial := make([]byte, 16) // as many as IGC-Santé's have
	rand.Read(serial)          // never fails
	serial[0] = serial[0]&0x7f | 0x40
	t.SerialNumber = new(big.Int).SetBytes(serial)
	if !terms.NotAfter.IsZero() {
		t.NotBefore, t.NotAfter = terms.NotAfter.Add(-clientLife), terms.NotAfter
	}
	if !terms.NotBefore.IsZero() {
		t.NotBefore = terms.NotBefore
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if terms.Edit != nil {
		terms.Edit(t)
	}
	cert, err := sign(t, a.Certificate, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client certificate: %w", err)
	}
	return encode(cert, key)
}

func newKey(algorithm Algorithm) (crypto.Signer, error) {
	if algorithm == ECDSA {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}
