package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"telesphore/backend/auth"
	"telesphore/tls"
)

// demoCards is the folder of the demo's cards: for each a certificate, its key and
// both as a file for browsers.
const demoCards = "cards"

// The two groups of identities that the demo's authorities vouch for.
const (
	demoPersons       = "demo-persons"
	demoOrganisations = "demo-organisations"
)

// demoPassword protects the .p12 files, so that programs which insist on a
// password have one. It is no secret: the keys lie beside them.
const demoPassword = "telesphore"

// demoCard is a certificate with its key in files.
type demoCard struct {
	Cert string `json:"cert"`
	Key  string `json:"key"`
	p12  string
	leaf *x509.Certificate
}

// demoIssuer is one of the demo's authorities of cards.
type demoIssuer struct {
	*tls.Authority
	file, list string
}

// demoTrust is the demo's made-up trust material for cards.
type demoTrust struct {
	d             *demo
	persons       *demoIssuer
	organisations *demoIssuer
	foreign       *demoIssuer // calls itself persons, and nobody believes it
	bad           map[string]*demoCard
}

// cards makes the authorities of the cards, or finds them, the cards that are to
// be refused and the revocation lists.
func (d *demo) cards() (t *demoTrust, err error) {
	if err := os.MkdirAll(d.file(demoCards), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the cards: %w", err)
	}
	t = &demoTrust{d: d}
	if t.persons, err = d.issuer("persons-ca", "Telesphore demo cards"); err != nil {
		return nil, err
	}
	if t.organisations, err = d.issuer("organisations-ca", "Telesphore demo organisations"); err != nil {
		return nil, err
	}
	if t.foreign, err = d.issuer("foreign-ca", "Telesphore demo cards"); err != nil {
		return nil, err
	}
	if err := t.makeBad(); err != nil {
		return nil, err
	}
	return t, t.lists(t.bad["revoked"])
}

func (d *demo) issuer(file, name string) (*demoIssuer, error) {
	path := filepath.Join(d.file(demoCards), file)
	a, err := d.authority(path+".pem", path+".key", name)
	return &demoIssuer{a, path + ".pem", path + ".crl"}, err
}

// configure pins the authorities.
func (t *demoTrust) configure(c *CardConfig) {
	for _, i := range []struct {
		issuer      *demoIssuer
		group, kind string
	}{{t.persons, demoPersons, "person"}, {t.organisations, demoOrganisations, "organisation"}} {
		c.Issuers = append(c.Issuers, CardIssuer{Kind: i.kind, Issuer: tls.Issuer{
			Group: i.group, Test: true, Certificate: i.issuer.file, Lists: []string{i.issuer.list},
		}})
	}
}

// person makes a person's card, or finds it.
func (t *demoTrust) person(issuer *demoIssuer, file string, p tls.Person) (*demoCard, error) {
	return t.card(issuer, file, p.NotAfter, func() ([]byte, []byte, error) { return issuer.Card(p) })
}

// card finds a card from an earlier run, unless it is about to expire without
// being meant to, or makes it.
func (t *demoTrust) card(issuer *demoIssuer, file string, notAfter time.Time, create func() (cert, key []byte, err error)) (*demoCard, error) {
	path := filepath.Join(t.d.file(demoCards), file)
	k := &demoCard{Cert: path + ".pem", Key: path + ".key", p12: path + ".p12"}
	cert, err := os.ReadFile(k.Cert)
	if err == nil {
		if k.leaf, err = parseCertificate(cert); err != nil {
			return nil, fmt.Errorf("read the demo's card %s: %w", file, err)
		}
		if k.leaf.CheckSignatureFrom(issuer.Certificate) == nil && (!notAfter.IsZero() || time.Until(k.leaf.NotAfter) > demoCertMargin) {
			return k, nil
		}
	}
	cert, key, err := create()
	if err != nil {
		return nil, err
	}
	if k.leaf, err = parseCertificate(cert); err != nil {
		return nil, fmt.Errorf("read the demo's card %s: %w", file, err)
	}
	block, _ := pem.Decode(key)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read the key of the demo's card %s: %w", file, err)
	}
	octets, err := pkcs12.Modern.Encode(private, k.leaf, []*x509.Certificate{issuer.Certificate}, demoPassword)
	if err != nil {
		return nil, fmt.Errorf("encode the demo's card %s: %w", file, err)
	}
	// The certificate last: while it is missing, the others are made again.
	return k, errors.Join(writeFile(k.p12, octets), writeFile(k.Key, key), writeFile(k.Cert, cert))
}

func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is no PEM file")
	}
	return x509.ParseCertificate(block.Bytes)
}

// makeBad makes the cards that are to be refused. They carry the number of the
// cardiologist with keys of their own.
func (t *demoTrust) makeBad() (err error) {
	t.bad = make(map[string]*demoCard)
	p := demoPerson("cardiologue")
	if t.bad["revoked"], err = t.person(t.persons, "revoked", p); err != nil {
		return err
	}
	if t.bad["foreign_ca"], err = t.person(t.foreign, "foreign", p); err != nil {
		return err
	}
	p.NotAfter = time.Now().Add(-24 * time.Hour)
	t.bad["expired"], err = t.person(t.persons, "expired", p)
	return err
}

// demoTerms make cards with elliptic keys: programs on GnuTLS before 3.8 do not
// show an RSA card to a server of TLS 1.3 that wants PSS signatures, as it must.
func demoTerms() tls.Terms { return tls.Terms{Algorithm: tls.ECDSA} }

// demoPerson is who is named on the card of one of the demo's people.
func demoPerson(role string) tls.Person {
	roles := []string{"medecin", "cardiologue", "infirmier", "pharmacie"}
	return tls.Person{
		ID:      fmt.Sprintf("8997000000%02d", slices.Index(roles, role)+1),
		Surname: strings.ToUpper(role), GivenName: "Demo", Profession: "10",
		Terms: demoTerms(),
	}
}

// give makes the card of an account, or finds it, and says whose it is. Nil for
// an account without one.
func (t *demoTrust) give(p *demoAccount) (*auth.Card, error) {
	var k *demoCard
	var err error
	card := &auth.Card{}
	switch {
	case p.Card == "none":
		return nil, nil
	case p.role == "labo":
		o := tls.Organisation{Unit: "3997000001", Name: "LABO-DEMO", Org: "Hopital de demonstration", Terms: demoTerms()}
		k, err = t.card(t.organisations, p.role, time.Time{}, func() ([]byte, []byte, error) { return t.organisations.OrganisationCertificate(o) })
		card.Organisation, card.Holder = true, o.Name
		card.Identity = demoOrganisations + "|" + o.Unit + "|" + o.Name
	default:
		person := demoPerson(p.role)
		k, err = t.person(t.persons, p.role, person)
		card.Holder = person.GivenName + " " + person.Surname
		card.Identity = demoPersons + "|" + person.ID
	}
	if err != nil {
		return nil, err
	}
	p.P12, p.P12Word, p.Cert, p.Key = k.p12, demoPassword, k.Cert, k.Key
	card.Serial, card.Issuer, card.NotAfter = fmt.Sprintf("%x", k.leaf.SerialNumber), k.leaf.Issuer.String(), k.leaf.NotAfter
	return card, nil
}

// lists writes the revocation lists: good for a year, and made anew at each start.
func (t *demoTrust) lists(revoked ...*demoCard) error {
	now := time.Now()
	list := &x509.RevocationList{Number: big.NewInt(now.UnixNano()), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.AddDate(1, 0, 0)}
	for _, k := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: k.leaf.SerialNumber, RevocationTime: now.Add(-time.Hour)})
	}
	for _, issuer := range []*demoIssuer{t.persons, t.organisations} {
		octets, err := issuer.RevocationList(list)
		if err != nil {
			return err
		}
		if err := writeFile(issuer.list, octets); err != nil {
			return err
		}
		list.RevokedCertificateEntries = nil
	}
	return nil
}
