package tls_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	ourtls "telesphore/tls"
)

func attribute(kind string, value string) ourtls.Attribute {
	return ourtls.Attribute{Type: kind, Value: value}
}

func TestParseName(t *testing.T) {
	const cn, c, st, o, ou = "2.5.4.3", "2.5.4.6", "2.5.4.8", "2.5.4.10", "2.5.4.11"
	for text, want := range map[string]ourtls.Name{
		"CN=mail.clinique.test,OU=318310021300028,O=GIP,ST=Haute-Garonne (31),C=FR": {
			attribute(o, "GIP"), attribute(ou, "318310021300028"), attribute(cn, "mail.clinique.test"), attribute(c, "FR"), attribute(st, "Haute-Garonne (31)"),
		},
		"ST=Bouches-du-Rhône (13),cn=a":             {attribute(cn, "a"), attribute(st, "Bouches-du-Rhône (13)")},
		`ST=Bouches-du-Rh\C3\B4ne (13)`:             {attribute(st, "Bouches-du-Rhône (13)")},
		`O=Clinique\, Laboratoire \+ Fils`:          {attribute(o, "Clinique, Laboratoire + Fils")},
		`O=\22Les Lilas\22\;\<\>\=\\\#`:             {attribute(o, `"Les Lilas";<>=\#`)},
		`O=\#1`:                                     {attribute(o, "#1")},
		"CN=a=b":                                    {attribute(cn, "a=b")},
		"CN=a+OU=b,O=c":                             {attribute(o, "c"), attribute(ou, "b"), attribute(cn, "a")},
		"CN = a , O =  b   c ":                      {attribute(o, "b c"), attribute(cn, "a")},
		"OU=b,OU=a,OU=a":                            {attribute(ou, "a"), attribute(ou, "a"), attribute(ou, "b")},
		"2.5.4.97=#0c024652":                        {attribute("2.5.4.97", "FR")},
		"2.5.4.3=a":                                 {attribute(cn, "a")},
		"SERIALNUMBER=1,UID=2,DC=test,L=x":          {attribute("0.9.2342.19200300.100.1.1", "2"), attribute("0.9.2342.19200300.100.1.25", "test"), attribute("2.5.4.5", "1"), attribute("2.5.4.7", "x")},
		"STREET=1,POSTALCODE=31000,GIVENNAME=x,T=y": {attribute("2.5.4.12", "y"), attribute("2.5.4.17", "31000"), attribute("2.5.4.42", "x"), attribute("2.5.4.9", "1")},
	} {
		got, err := ourtls.ParseName(text)
		slices.SortFunc(want, func(a, b ourtls.Attribute) int {
			if a.Type != b.Type {
				if a.Type < b.Type {
					return -1
				}
				return 1
			}
			return 0
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestNamesThatAreNone(t *testing.T) {
	for _, text := range []string{
		"", " ", "CN", "=a", "CN=", "CN= ", "CN=a,", "CN=a+", ",CN=a", "CN=a,,O=b", "XX=a", "2=a", "2.5.=a", "2.05.4=a", "2.5.x=a",
		`CN=a\`, `CN=\zz`, `CN=\C`, `CN=\ff`, `CN="a"`, "CN=a;O=b", "CN=<a>", "CN=a\x00", "CN=#", "CN=#0", "CN=#zz", "CN=#0c0246", "CN=#020101", `CN=#0c\31`, "CN=#0c0161ff",
		"CN=" + string(make([]byte, 2000)),
	} {
		if got, err := ourtls.ParseName(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
	long := "CN=a"
	for range 40 {
		long += ",OU=a"
	}
	if _, err := ourtls.ParseName(long); err == nil {
		t.Error("a name of 41 attributes was taken")
	}
}

// A name in the list and the same one in a certificate, however each is written.
func TestNameOfACertificate(t *testing.T) {
	printable := func(oid asn1.ObjectIdentifier, value string) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: oid, Value: value}
	}
	cn, o, st := asn1.ObjectIdentifier{2, 5, 4, 3}, asn1.ObjectIdentifier{2, 5, 4, 10}, asn1.ObjectIdentifier{2, 5, 4, 8}
	leaf := &x509.Certificate{Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{
		printable(st, "Bouches-du-Rhône (13)"), printable(o, "Clinique,  Labo"), printable(cn, "mail.clinique.test"),
	}}}
	got, err := ourtls.SubjectOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	for text, equal := range map[string]bool{
		`CN=mail.clinique.test,O=Clinique\, Labo,ST=Bouches-du-Rh\c3\b4ne (13)`: true,
		`ST=Bouches-du-Rhône (13)+O=Clinique\,  Labo,CN=mail.clinique.test`:     true,
		`CN=mail.clinique.test,O=Clinique\, Labo`:                               false,
		`CN=mail.clinique.test,O=Clinique\, Labo,ST=Bouches-du-Rhône (13),C=FR`: false,
		`CN=MAIL.clinique.test,O=Clinique\, Labo,ST=Bouches-du-Rhône (13)`:      false,
		`CN=Clinique\, Labo,O=mail.clinique.test,ST=Bouches-du-Rhône (13)`:      false,
		`CN=mail.clinique.test\,O\=Clinique\, Labo,ST=Bouches-du-Rhône (13)`:    false,
	} {
		want, err := ourtls.ParseName(text)
		if err != nil {
			t.Fatal(err)
		}
		if got.Equal(want) != equal {
			t.Errorf("%s: equal is %v", text, !equal)
		}
	}
	for name, subject := range map[string][]pkix.AttributeTypeAndValue{
		"empty": nil, "a number": {{Type: cn, Value: 3}},
	} {
		if n, err := ourtls.SubjectOf(&x509.Certificate{Subject: pkix.Name{Names: subject}}); err == nil || n.Equal(n) {
			t.Errorf("%s: %v, %v", name, n, err)
		}
	}
}
