package tls

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// skew is how far the clocks of authorities may be ahead of ours.
const skew = 5 * time.Minute

// list is one source of revocation lists with the list it gave last.
type list struct {
	issuer *x509.Certificate
	group  string
	source string // file or URL
	remote bool
	kept   string // file of the copy of a remote list, "" for none

	mu  sync.Mutex // guards what follows
	crl *crl       // nil until one was good
	err error      // what the last look found wrong

	etag, modified string // validators of crl (RFC 9110 section 8.8); only Refresh looks
}

func (l *list) state() (*crl, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crl, l.err
}

// crl is what counts of a revocation list. It does not change.
type crl struct {
	sum        [sha256.Size]byte // of its octets
	number     *big.Int          // nil for none
	thisUpdate time.Time
	nextUpdate time.Time
	serials    map[string]struct{} // revoked, big endian
	partial    bool                // only for certificates that name one of points
	points     []string            // URIs
}

// accept makes octets the list of l. Replaced is false too when they are the
// list that is known already.
func (l *list) accept(octets []byte, now time.Time) (replaced bool, err error) {
	known, _ := l.state()
	if known != nil && known.sum == sha256.Sum256(octets) {
		return false, nil
	}
	c, err := parseList(octets, l.issuer)
	if err != nil {
		return false, err
	}
	if c.thisUpdate.After(now.Add(skew)) {
		return false, fmt.Errorf("tls: list is from the future: %v", c.thisUpdate)
	}
	if known != nil && c.older(known) {
		return false, fmt.Errorf("tls: list of %v is older than the known one of %v", c.thisUpdate, known.thisUpdate)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.crl = c
	return true, nil
}

func (c *crl) older(than *crl) bool {
	if c.number != nil && than.number != nil {
		if order := c.number.Cmp(than.number); order != 0 {
			return order < 0
		}
	}
	return c.thisUpdate.Before(than.thisUpdate)
}

func (c *crl) current(now time.Time, grace time.Duration) bool {
	return !now.After(c.nextUpdate.Add(grace))
}

// covers says whether the list speaks of leaf: a list for one distribution
// point speaks of the certificates that name it (RFC 5280 section 6.3.3 b 2).
func (c *crl) covers(leaf *x509.Certificate) bool {
	return !c.partial || slices.ContainsFunc(c.points, func(point string) bool {
		return slices.Contains(leaf.CRLDistributionPoints, point)
	})
}

func (c *crl) revokes(serial *big.Int) bool {
	_, revoked := c.serials[string(serial.Bytes())]
	return revoked
}

// The extensions of lists that mean something to us (RFC 5280 sections 5.2 and 5.3).
var (
	oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidListNumber     = asn1.ObjectIdentifier{2, 5, 29, 20}
	oidDeltaIndicator = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingPoint   = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidReason         = asn1.ObjectIdentifier{2, 5, 29, 21}
)

// removeFromList takes a certificate off the list again (RFC 5280 section 5.3.1).
const removeFromList = 8

// parseList reads a complete list that issuer has signed, PEM or DER.
func parseList(octets []byte, issuer *x509.Certificate) (*crl, error) {
	c := &crl{sum: sha256.Sum256(octets), serials: map[string]struct{}{}}
	if block, _ := pem.Decode(octets); block != nil && block.Type == "X509 CRL" {
		octets = block.Bytes
	}
	parsed, err := x509.ParseRevocationList(octets)
	if err != nil {
		return nil, fmt.Errorf("parse revocation list: %w", err)
	}
	if !bytes.Equal(parsed.RawIssuer, issuer.RawSubject) {
		return nil, errors.New("tls: list of another issuer")
	}
	if err := parsed.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("verify revocation list: %w", err)
	}
	if parsed.NextUpdate.IsZero() {
		return nil, errors.New("tls: list without nextUpdate")
	}
	c.number, c.thisUpdate, c.nextUpdate = parsed.Number, parsed.ThisUpdate, parsed.NextUpdate
	for _, e := range parsed.Extensions {
		if err := c.extension(e); err != nil {
			return nil, err
		}
	}
	for _, entry := range parsed.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			// Certificate issuer, of indirect lists, is one of these.
			if e.Critical && !e.Id.Equal(oidReason) {
				return nil, fmt.Errorf("tls: list with the critical entry extension %v", e.Id)
			}
		}
		if entry.ReasonCode != removeFromList {
			c.serials[string(entry.SerialNumber.Bytes())] = struct{}{}
		}
	}
	return c, nil
}

// extension takes in one extension of a list.
func (c *crl) extension(e pkix.Extension) error {
	switch {
	case e.Id.Equal(oidDeltaIndicator):
		return errors.New("tls: delta list")
	case e.Id.Equal(oidIssuingPoint):
		return c.issuingPoint(e.Value)
	case e.Id.Equal(oidAuthorityKeyID), e.Id.Equal(oidListNumber), !e.Critical:
		return nil
	}
	return fmt.Errorf("tls: list with the critical extension %v", e.Id)
}

// issuingPoint reads what part of an issuer's certificates the list is about
// (RFC 5280 section 5.2.5). It refuses what no complete list has.
func (c *crl) issuingPoint(der []byte) error {
	tag := func(number uint8) casn1.Tag { return casn1.Tag(number).ContextSpecific() }
	input := cryptobyte.String(der)
	var point, name, ignored cryptobyte.String
	var users, authorities, reasons, indirect, attributes bool // no field says that it is false
	if !input.ReadASN1(&point, casn1.SEQUENCE) || !input.Empty() ||
		!point.ReadOptionalASN1(&name, &c.partial, tag(0).Constructed()) ||
		!point.ReadOptionalASN1(&ignored, &users, tag(1)) ||
		!point.ReadOptionalASN1(&ignored, &authorities, tag(2)) ||
		!point.ReadOptionalASN1(&ignored, &reasons, tag(3)) ||
		!point.ReadOptionalASN1(&ignored, &indirect, tag(4)) ||
		!point.ReadOptionalASN1(&ignored, &attributes, tag(5)) || !point.Empty() {
		return errors.New("tls: broken issuing distribution point")
	}
	switch {
	case authorities, attributes:
		return errors.New("tls: list of other certificates than users'")
	case reasons:
		return errors.New("tls: list of some reasons only")
	case indirect:
		return errors.New("tls: indirect list")
	}
	// A name relative to the issuer is one that we find in no certificate.
	var full cryptobyte.String
	if !name.ReadOptionalASN1(&full, nil, tag(0).Constructed()) {
		return errors.New("tls: broken name of a distribution point")
	}
	for !full.Empty() {
		var uri cryptobyte.String
		var kind casn1.Tag
		if !full.ReadAnyASN1(&uri, &kind) {
			return errors.New("tls: broken name of a distribution point")
		}
		if kind == tag(6) {
			c.points = append(c.points, string(uri))
		}
	}
	return nil
}
