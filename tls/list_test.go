package tls_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"testing/synctest"
	"time"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

var (
	oidDelta  = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidPoint  = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidSender = asn1.ObjectIdentifier{2, 5, 29, 29}
)

const pointURL = "http://crl.test/a.crl"

// fullName is an issuing distribution point that names pointURL.
func fullName() []byte {
	uri := append([]byte{0x86, byte(len(pointURL))}, pointURL...)
	full := append([]byte{0xa0, byte(len(uri))}, uri...)
	name := append([]byte{0xa0, byte(len(full))}, full...)
	return append([]byte{0x30, byte(len(name))}, name...)
}

// with adds a critical extension to a list.
func with(id asn1.ObjectIdentifier, value ...byte) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: id, Critical: true, Value: value})
	}
}

func put(t *testing.T, name string, octets []byte) {
	t.Helper()
	if err := os.WriteFile(name, octets, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBadListNeverReplacesAGoodOne(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	good, lost := i.Card(t, medecin(nil)), i.Card(t, medecin(nil))
	empty := i.List(t, nil)
	i.Revoke(t, lost)
	a := tlstest.Anchors(t, i)
	entries := func(l *x509.RevocationList) { l.RevokedCertificateEntries = nil }
	foreign, other := i.Foreign(t), tlstest.NewIssuer(t, "other")
	number := func(l *x509.RevocationList) { l.Number = big.NewInt(1000) }
	for _, c := range []struct {
		name string
		list func(t *testing.T) []byte
	}{
		{"nothing", func(*testing.T) []byte { return nil }},
		{"no list", func(*testing.T) []byte { return []byte("not a list") }},
		{"a certificate", func(*testing.T) []byte { return good.Leaf.Raw }},
		{"cut", func(*testing.T) []byte { return empty[:len(empty)-1] }},
		{"altered", func(*testing.T) []byte { return append(empty[:len(empty)-1:len(empty)-1], empty[len(empty)-1]^1) }},
		{"of the same name, another key", func(t *testing.T) []byte { return foreign.List(t, number) }},
		{"of another authority", func(t *testing.T) []byte { return other.List(t, number) }},
		{"older number", func(*testing.T) []byte { return empty }},
		{"same number, earlier", func(t *testing.T) []byte {
			return i.List(t, func(l *x509.RevocationList) { l.Number, l.ThisUpdate = big.NewInt(3), time.Now().Add(-time.Hour) })
		}},
		{"from the future", func(t *testing.T) []byte {
			return i.List(t, func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(10 * time.Minute) })
		}},
		{"delta", func(t *testing.T) []byte { return i.List(t, with(oidDelta, 2, 1, 1)) }},
		{"delta that does not insist", func(t *testing.T) []byte {
			return i.List(t, func(l *x509.RevocationList) {
				l.ExtraExtensions = []pkix.Extension{{Id: oidDelta, Value: []byte{2, 1, 1}}}
			})
		}},
		{"of the same key, another name", func(t *testing.T) []byte {
			cert, _, err := other.PEM()
			if err != nil {
				t.Fatal(err)
			}
			_, key, err := i.PEM()
			if err != nil {
				t.Fatal(err)
			}
			renamed, err := ourtls.ParseAuthority(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			return (&tlstest.Issuer{Authority: renamed}).List(t, number)
		}},
		{"authorities only", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 3, 0x82, 1, 0xff)) }},
		{"some reasons", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 4, 0x83, 2, 1, 0x40)) }},
		{"indirect", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 3, 0x84, 1, 0xff)) }},
		{"attribute certificates only", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 3, 0x85, 1, 0xff)) }},
		{"broken point", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 3, 0x84)) }},
		{"point with a field unknown to us", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 3, 0x86, 1, 0xff)) }},
		{"point with more behind it", func(t *testing.T) []byte { return i.List(t, with(oidPoint, 0x30, 0, 5, 0)) }},
		{"unknown critical extension", func(t *testing.T) []byte { return i.List(t, with(asn1.ObjectIdentifier{1, 2, 3}, 5, 0)) }},
		{"entries of other issuers", func(t *testing.T) []byte {
			return i.List(t, func(l *x509.RevocationList) {
				l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: oidSender, Critical: true, Value: []byte{0x30, 0}}}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			put(t, i.Pinned.Lists[0], c.list(t))
			if err := a.Refresh(t.Context()); err == nil {
				t.Error("the list was taken")
			}
			if s := a.Status()[0]; s.Err == nil || s.Entries != 1 || !s.Current {
				t.Errorf("status %+v", s)
			}
			expect(t, a, lost.Leaf, ourtls.ErrRevoked)
			expect(t, a, good.Leaf, nil)
		})
	}
	t.Run("missing", func(t *testing.T) {
		os.Remove(i.Pinned.Lists[0])
		if err := a.Refresh(t.Context()); err == nil {
			t.Error("no error")
		}
		expect(t, a, lost.Leaf, ourtls.ErrRevoked)
	})
	t.Run("newer", func(t *testing.T) {
		i.WriteList(t, func(l *x509.RevocationList) { number(l); entries(l) })
		tlstest.Refresh(t, a)
		if s := a.Status()[0]; s.Err != nil || s.Entries != 0 {
			t.Errorf("status %+v", s)
		}
		expect(t, a, lost.Leaf, nil)
	})
}

func TestWithoutAGoodListAllAreRefused(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	card := i.Card(t, medecin(nil)).Leaf
	put(t, i.Pinned.Lists[0], []byte("not a list"))
	a := tlstest.Anchors(t, i)
	expect(t, a, card, ourtls.ErrRevocationUnknown)
	if s := a.Status()[0]; s.Err == nil || s.Current || !s.ThisUpdate.IsZero() {
		t.Errorf("status %+v", s)
	}
	i.WriteList(t, nil)
	tlstest.Refresh(t, a)
	expect(t, a, card, nil)
}

func TestListIsAtMostSoLong(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	size := int64(len(i.List(t, nil)))
	for _, c := range []struct {
		size int64
		want error
	}{{size + 8, nil}, {size - 8, ourtls.ErrRevocationUnknown}} {
		a, err := ourtls.OpenAnchors([]ourtls.Issuer{i.Pinned}, ourtls.AnchorOptions{Size: c.size, Logger: discard()})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, a, i.Card(t, medecin(nil)).Leaf, c.want)
	}
}

func TestListIsPEMOrDER(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	lost := i.Card(t, medecin(nil))
	i.Revoke(t, lost)
	put(t, i.Pinned.Lists[0], pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: i.List(t, nil)}))
	expect(t, tlstest.Anchors(t, i), lost.Leaf, ourtls.ErrRevoked)
}

// A certificate that was only suspended is in force again (RFC 5280 section 5.3.1).
func TestEntryThatTakesOffTheListDoesNotRevoke(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	back, held := i.Card(t, medecin(nil)), i.Card(t, medecin(nil))
	i.Revoke(t, back, held)
	i.WriteList(t, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ReasonCode = 8
		l.RevokedCertificateEntries[1].ReasonCode = 6 // certificateHold
	})
	a := tlstest.Anchors(t, i)
	expect(t, a, back.Leaf, nil)
	expect(t, a, held.Leaf, ourtls.ErrRevoked)
}

func TestPartialListCoversWhatNamesIt(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	points := func(urls ...string) *x509.Certificate {
		return i.Card(t, medecin(func(c *x509.Certificate) { c.CRLDistributionPoints = urls })).Leaf
	}
	i.WriteList(t, with(oidPoint, fullName()...))
	a := tlstest.Anchors(t, i)
	expect(t, a, points(pointURL), nil)
	expect(t, a, points("http://crl.test/b.crl", pointURL), nil)
	expect(t, a, points("http://crl.test/b.crl"), ourtls.ErrRevocationUnknown)
	expect(t, a, points(), ourtls.ErrRevocationUnknown)

	i.WriteList(t, with(oidPoint, 0x30, 3, 0x81, 1, 0xff)) // all certificates but authorities'
	tlstest.Refresh(t, a)
	expect(t, a, points(), nil)
}

func TestListOutOfDateRefusesAll(t *testing.T) {
	for _, grace := range []time.Duration{0, 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			i := tlstest.NewIssuer(t, "igc") // its lists are good for an hour
			card, lost := i.Card(t, medecin(nil)).Leaf, i.Card(t, medecin(nil))
			i.Revoke(t, lost)
			a, err := ourtls.OpenAnchors([]ourtls.Issuer{i.Pinned}, ourtls.AnchorOptions{Grace: grace, Logger: discard()})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour + grace) // the bubble's clock
			expect(t, a, card, nil)
			time.Sleep(time.Second)
			expect(t, a, card, ourtls.ErrRevocationUnknown)
			expect(t, a, lost.Leaf, ourtls.ErrRevoked)
			if a.Status()[0].Current {
				t.Error("the list is called current")
			}
			tlstest.Refresh(t, a) // the same list: no error, no help
			expect(t, a, card, ourtls.ErrRevocationUnknown)
			i.WriteList(t, nil)
			tlstest.Refresh(t, a)
			expect(t, a, card, nil)
		})
	}
}

func TestOneCurrentListOfSeveralIsEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := tlstest.NewIssuer(t, "igc")
		card, lost := i.Card(t, medecin(nil)), i.Card(t, medecin(nil))
		mirror := i.Pinned.Lists[0] + ".mirror"
		i.Pinned.Lists = append(i.Pinned.Lists, mirror)
		a := tlstest.Anchors(t, i)
		expect(t, a, card.Leaf, nil) // the mirror has nothing
		time.Sleep(2 * time.Hour)    // the bubble's clock
		expect(t, a, card.Leaf, ourtls.ErrRevocationUnknown)
		i.Revoke(t, lost)
		put(t, mirror, i.List(t, nil))
		os.Remove(i.Pinned.Lists[0])
		if err := a.Refresh(t.Context()); err == nil {
			t.Error("the missing list is no error")
		}
		expect(t, a, card.Leaf, nil)
		expect(t, a, lost.Leaf, ourtls.ErrRevoked)
	})
}

func TestRunLooksAgainAndTells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := tlstest.NewIssuer(t, "igc")
		lost := i.Card(t, medecin(nil))
		changes := 0
		a, err := ourtls.OpenAnchors([]ourtls.Issuer{i.Pinned}, ourtls.AnchorOptions{
			Refresh: 10 * time.Minute, OnChange: func() { changes++ }, Logger: discard(),
		})
		if err != nil {
			t.Fatal(err)
		}
		go a.Run(t.Context())
		synctest.Wait()
		if changes != 0 {
			t.Errorf("%d changes, though nothing has changed", changes)
		}
		i.Revoke(t, lost)
		time.Sleep(8 * time.Minute) // the bubble's clock
		expect(t, a, lost.Leaf, nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		expect(t, a, lost.Leaf, ourtls.ErrRevoked)
		if changes != 1 {
			t.Errorf("%d changes, want 1", changes)
		}
	})
}
