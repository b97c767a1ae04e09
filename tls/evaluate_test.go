package tls_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

// medecin is whom most cards here are for.
func medecin(edit func(*x509.Certificate)) ourtls.Person {
	return ourtls.Person{
		ID: "899700000001", Surname: "MEDECIN", GivenName: "Test", Profession: "Médecin",
		Terms: ourtls.Terms{Algorithm: ourtls.ECDSA, Edit: edit},
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// expect evaluates leaf and compares the outcome, nil meaning good.
func expect(t *testing.T, a *ourtls.Anchors, leaf *x509.Certificate, want error) *ourtls.Issuer {
	t.Helper()
	issuer, err := a.Evaluate(t.Context(), leaf)
	if !errors.Is(err, want) || (err == nil) != (issuer != nil) {
		t.Errorf("got %v, %v; want %v", issuer, err, want)
	}
	return issuer
}

func TestEvaluate(t *testing.T) {
	group := tlstest.NewIssuer(t, "igc")
	rekeyed := group.Foreign(t) // same subject, also pinned
	organisations := tlstest.NewOrganisations(t, "igc")
	a := tlstest.Anchors(t, group, rekeyed, organisations)
	other, foreign := tlstest.NewIssuer(t, "other"), group.Foreign(t)
	below, err := group.Issuing("AC below")
	if err != nil {
		t.Fatal(err)
	}
	const day = 24 * time.Hour
	until := func(d time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotAfter = time.Now().Add(d) }
	}
	usage := func(bits x509.KeyUsage, purposes ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.KeyUsage, c.ExtKeyUsage = bits, purposes }
	}
	const signature, document = x509.KeyUsageDigitalSignature, x509.KeyUsageContentCommitment
	for _, c := range []struct {
		name   string
		issuer *tlstest.Issuer
		edit   func(*x509.Certificate)
		want   error
	}{
		{"good", group, nil, nil},
		{"good, another key of the issuer", rekeyed, nil, nil},
		{"good, no purposes at all", group, usage(signature), nil},
		{"good, several purposes", group, usage(signature, x509.ExtKeyUsageEmailProtection, x509.ExtKeyUsageClientAuth), nil},
		{"good, documents too but log-in by name", group, usage(signature|document, x509.ExtKeyUsageClientAuth), nil},

		{"other authority", other, nil, ourtls.ErrUnknownIssuer},
		{"foreign authority of the same name", foreign, nil, ourtls.ErrUnknownIssuer},
		{"foreign and expired", foreign, until(-time.Minute), ourtls.ErrUnknownIssuer},
		{"foreign and not for it", foreign, usage(document), ourtls.ErrUnknownIssuer},
		{"authority below a pinned one", &tlstest.Issuer{Authority: below}, nil, ourtls.ErrUnknownIssuer},

		{"expired", group, until(-time.Minute), ourtls.ErrExpired},
		{"expired and not for it", group, func(c *x509.Certificate) { until(-time.Minute)(c); c.KeyUsage = document }, ourtls.ErrExpired},
		{"not yet valid", group, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(day) }, ourtls.ErrNotYetValid},

		{"an authority's", group, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, ourtls.ErrUsage},
		{"for documents", group, usage(document), ourtls.ErrUsage},
		{"for documents, log-in as a purpose", group, usage(document, x509.ExtKeyUsageClientAuth), ourtls.ErrUsage},
		{"for documents, no purposes", group, usage(signature | document), ourtls.ErrUsage},
		{"no key usage", group, usage(0, x509.ExtKeyUsageClientAuth), ourtls.ErrUsage},
		{"for encryption", group, usage(x509.KeyUsageKeyEncipherment, x509.ExtKeyUsageClientAuth), ourtls.ErrUsage},
		{"for servers", group, usage(signature, x509.ExtKeyUsageServerAuth), ourtls.ErrUsage},
		{"for anything", group, usage(signature, x509.ExtKeyUsageAny), ourtls.ErrUsage},
		{"for a purpose unknown to us", group, func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 311, 20, 2, 2}}
		}, ourtls.ErrUsage},
		{"critical extension unknown to us", group, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, ourtls.ErrUsage},
	} {
		t.Run(c.name, func(t *testing.T) {
			issuer := expect(t, a, c.issuer.Card(t, medecin(c.edit)).Leaf, c.want)
			if c.want == nil && issuer != nil && issuer.Certificate != c.issuer.Pinned.Certificate {
				t.Errorf("issuer %s, want %s", issuer.Certificate, c.issuer.Pinned.Certificate)
			}
		})
	}

	t.Run("organisation", func(t *testing.T) {
		leaf := organisations.Organisation(t, ourtls.Organisation{Unit: "1750000001", Name: "LABO", Org: "HOPITAL"}).Leaf
		if issuer := expect(t, a, leaf, nil); issuer != nil && !issuer.Organisation {
			t.Error("taken for a person's")
		}
	})
	t.Run("nothing pinned", func(t *testing.T) {
		card := group.Card(t, medecin(nil)).Leaf
		expect(t, nil, card, ourtls.ErrUnknownIssuer)
		expect(t, tlstest.Anchors(t), card, ourtls.ErrUnknownIssuer)
		expect(t, a, nil, ourtls.ErrUnknownIssuer)
	})
	t.Run("a server's", func(t *testing.T) {
		expect(t, a, pair(t)(group.Server(ourtls.ECDSA, "mail.hopital.test")).Leaf, ourtls.ErrUsage)
	})
	t.Run("altered", func(t *testing.T) {
		card := group.Card(t, medecin(nil)).Leaf
		der := []byte(strings.Replace(string(card.Raw), "899700000001", "899700000002", 1))
		altered, err := x509.ParseCertificate(der)
		if err != nil || altered.Subject.CommonName != "899700000002" {
			t.Fatal(altered, err)
		}
		expect(t, a, altered, ourtls.ErrUnknownIssuer)
	})
	t.Run("revoked", func(t *testing.T) {
		lost, kept := group.Card(t, medecin(nil)), group.Card(t, medecin(nil))
		expect(t, a, lost.Leaf, nil)
		group.Revoke(t, lost)
		expect(t, a, lost.Leaf, nil) // not read again yet
		tlstest.Refresh(t, a)
		expect(t, a, lost.Leaf, ourtls.ErrRevoked)
		expect(t, a, kept.Leaf, nil)
	})
}

func TestIssuerThatHasExpiredVouchesForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := tlstest.NewIssuer(t, "igc")
		i.Pinned.Lists = nil
		person := medecin(nil)
		person.NotAfter = time.Now().AddDate(30, 0, 0)
		card := i.Card(t, person).Leaf
		a := tlstest.Anchors(t, i)
		expect(t, a, card, ourtls.ErrNotYetValid) // three years before its end
		person.NotBefore = time.Now()
		card = i.Card(t, person).Leaf
		expect(t, a, card, nil)
		time.Sleep(11 * 365 * 24 * time.Hour) // the bubble's clock
		expect(t, a, card, ourtls.ErrExpired)
	})
}

func TestCardHasTheShapeOfIGCSante(t *testing.T) {
	card := tlstest.NewIssuer(t, "igc").Card(t, medecin(nil)).Leaf
	var subject pkix.RDNSequence
	if _, err := asn1.Unmarshal(card.RawSubject, &subject); err != nil {
		t.Fatal(err)
	}
	if last := subject[len(subject)-1]; len(last) != 3 {
		t.Errorf("the last RDN has %d attributes, want CN, SN and GN", len(last))
	}
	got := map[string]any{}
	for _, name := range card.Subject.Names {
		got[name.Type.String()] = name.Value
	}
	for attribute, want := range map[string]string{
		"2.5.4.3": "899700000001", "2.5.4.4": "MEDECIN", "2.5.4.42": "Test", "2.5.4.12": "Médecin", "2.5.4.6": "FR",
	} {
		if got[attribute] != want {
			t.Errorf("%s is %v, want %s", attribute, got[attribute], want)
		}
	}
	if n := len(card.SerialNumber.Bytes()); n != 16 {
		t.Errorf("serial number of %d octets", n)
	}
}

func TestBadIssuersAreNotOpened(t *testing.T) {
	i, trial := tlstest.NewIssuer(t, "igc"), tlstest.NewIssuer(t, "trial")
	trial.Pinned.Test = true
	change := func(edit func(*ourtls.Issuer)) []ourtls.Issuer {
		pinned := i.Pinned
		edit(&pinned)
		return []ourtls.Issuer{pinned}
	}
	leaf := tlstest.New(t).Pair(t, ourtls.ECDSA)
	for _, c := range []struct {
		name    string
		issuers []ourtls.Issuer
		options ourtls.AnchorOptions
		says    string
	}{
		{"missing", change(func(p *ourtls.Issuer) { p.Certificate = "missing.pem" }), ourtls.AnchorOptions{}, "missing.pem"},
		{"not a certificate", change(func(p *ourtls.Issuer) { p.Certificate = p.Lists[0] }), ourtls.AnchorOptions{}, i.Pinned.Lists[0]},
		{"a key", change(func(p *ourtls.Issuer) { p.Certificate = leaf.Key }), ourtls.AnchorOptions{}, leaf.Key},
		{"no authority", change(func(p *ourtls.Issuer) { p.Certificate = leaf.Cert }), ourtls.AnchorOptions{}, leaf.Cert},
		{"no group", change(func(p *ourtls.Issuer) { p.Group = "" }), ourtls.AnchorOptions{}, "group"},
		{"list by LDAP", change(func(p *ourtls.Issuer) { p.Lists = []string{"ldap://x/y"} }), ourtls.AnchorOptions{}, "ldap://x/y"},
		{"OCSP by file", change(func(p *ourtls.Issuer) { p.OCSP = "/run/ocsp" }), ourtls.AnchorOptions{}, "/run/ocsp"},
		{"pinned twice", []ourtls.Issuer{i.Pinned, i.Pinned}, ourtls.AnchorOptions{}, "twice"},
		{"trial beside real", []ourtls.Issuer{i.Pinned, trial.Pinned}, ourtls.AnchorOptions{}, "trials"},
		{"too much grace", []ourtls.Issuer{i.Pinned}, ourtls.AnchorOptions{Grace: 25 * time.Hour}, "24h"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Logger = discard()
			if _, err := ourtls.OpenAnchors(c.issuers, c.options); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to name %s", err, c.says)
			}
		})
	}
	if _, err := ourtls.OpenAnchors([]ourtls.Issuer{trial.Pinned}, ourtls.AnchorOptions{Logger: discard()}); err != nil {
		t.Errorf("trials alone: %v", err)
	}
}
