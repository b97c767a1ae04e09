package tls

import (
	"crypto/x509"
	"testing"
)

// Whatever an issuing distribution point says, a list never covers more for it.
func FuzzIssuingPoint(f *testing.F) {
	for _, seed := range []string{
		"\x30\x00", "\x30\x03\x81\x01\xff", "\x30\x03\x84\x01\xff", "\x30\x04\x83\x02\x01\x40",
		"\x30\x09\xa0\x07\xa0\x05\x86\x03a:b", "\x30\x04\xa0\x02\xa1\x00", "\x30\x04\xa0\x02\x30\x30", "\x30\x04\xa0\x02\xa0\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		var c crl
		if err := c.issuingPoint(der); err != nil {
			return
		}
		// DER of a distribution point name starts with [0] in the sequence.
		if named := len(der) > 2 && der[1] < 0x80 && der[2] == 0xa0; named && c.covers(&x509.Certificate{}) {
			t.Errorf("%x names a point and covers what names none", der)
		}
		if len(c.points) > 0 && !c.partial {
			t.Errorf("%x is partial", der)
		}
	})
}
