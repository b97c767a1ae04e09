package tls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Evaluate says whose certificate leaf is: the issuer that signed it, when
// everything about it is good at this moment. It must not be changed. The error
// is one of ErrUnknownIssuer to ErrRevocationUnknown with the cause for the log.
//
// Only the pinned issuers count: what else the client sends, and what addresses
// its certificate names, is the word of a stranger.
func (a *Anchors) Evaluate(ctx context.Context, leaf *x509.Certificate) (*Issuer, error) {
	return a.evaluate(ctx, leaf, func(*Issuer) bool { return true }, x509.ExtKeyUsageClientAuth)
}

// EvaluatePeer is Evaluate for the server of another operator: its certificate is
// an organisation's. It may be for clients or for servers, as operators prove
// themselves with one certificate in both directions. Whose mail it carries is for
// [WhiteList.Covers] to say.
func (a *Anchors) EvaluatePeer(ctx context.Context, leaf *x509.Certificate) (*Issuer, error) {
	return a.evaluate(ctx, leaf, func(i *Issuer) bool { return i.Organisation },
		x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
}

// evaluate looks at the issuers that count; the certificate must be for one of purposes.
func (a *Anchors) evaluate(ctx context.Context, leaf *x509.Certificate, counts func(*Issuer) bool, purposes ...x509.ExtKeyUsage) (*Issuer, error) {
	if a == nil || leaf == nil {
		return nil, ErrUnknownIssuer
	}
	refused := ErrUnknownIssuer
	for _, p := range a.pinned {
		// Authorities of one name and several keys exist: the signature decides.
		if !counts(&p.issuer) || !bytes.Equal(p.cert.RawSubject, leaf.RawIssuer) {
			continue
		}
		checked := p.checked.has(leaf, purposes)
		if !checked && leaf.CheckSignatureFrom(p.cert) != nil {
			continue
		}
		now := time.Now()
		if err := p.check(leaf, now, purposes, checked); err != nil {
			refused = err // another certificate of the same key may be good
			continue
		}
		if err := a.revocation(ctx, p, leaf, now); err != nil {
			return nil, err
		}
		return &p.issuer, nil
	}
	return nil, refused
}

// checkedCerts remembers certificates whose signature and contents were found good:
// neither can change, so a server that brings a thousand messages pays for it once.
type checkedCerts struct {
	mu   sync.Mutex
	good map[[sha256.Size]byte]bool
}

// maxChecked is how many certificates are remembered; then it begins anew.
const maxChecked = 4096

func checkedKey(leaf *x509.Certificate, purposes []x509.ExtKeyUsage) [sha256.Size]byte {
	return sha256.Sum256(fmt.Append(slices.Clone(leaf.Raw), purposes))
}

func (c *checkedCerts) has(leaf *x509.Certificate, purposes []x509.ExtKeyUsage) bool {
	key := checkedKey(leaf, purposes)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good[key]
}

func (c *checkedCerts) add(leaf *x509.Certificate, purposes []x509.ExtKeyUsage) {
	key := checkedKey(leaf, purposes)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.good == nil || len(c.good) >= maxChecked {
		c.good = make(map[[sha256.Size]byte]bool)
	}
	c.good[key] = true
}

// check tells what is wrong with a certificate that p has signed, but for
// revocation. What does not change with time is skipped for one that was checked.
func (p *pinned) check(leaf *x509.Certificate, now time.Time, purposes []x509.ExtKeyUsage, checked bool) error {
	switch {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("%w on %v", ErrExpired, leaf.NotAfter)
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("%w but from %v", ErrNotYetValid, leaf.NotBefore)
	case now.After(p.cert.NotAfter):
		return fmt.Errorf("%w with its issuer on %v", ErrExpired, p.cert.NotAfter)
	case now.Before(p.cert.NotBefore):
		return fmt.Errorf("%w: its issuer is from %v", ErrNotYetValid, p.cert.NotBefore)
	}
	if checked {
		return nil
	}
	if err := usage(leaf, purposes); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.cert)
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: purposes,
	})
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return fmt.Errorf("%w: %w", ErrUnknownIssuer, err)
	}
	if err != nil { // critical extensions, constraints on names or usage
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	p.checked.add(leaf, purposes)
	return nil
}

// usage refuses what is not for one of purposes. A card holds a second certificate,
// for signing documents: it has contentCommitment and no digitalSignature (RFC
// 5280 section 4.2.1.3), and its PIN must never be asked for a log-in.
func usage(leaf *x509.Certificate, purposes []x509.ExtKeyUsage) error {
	named := slices.ContainsFunc(leaf.ExtKeyUsage, func(u x509.ExtKeyUsage) bool { return slices.Contains(purposes, u) })
	switch {
	case leaf.IsCA:
		return fmt.Errorf("%w: it is an authority's", ErrUsage)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return fmt.Errorf("%w: no digitalSignature", ErrUsage)
	case !named && len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0:
		return fmt.Errorf("%w: its purposes are others", ErrUsage)
	case !named && leaf.KeyUsage&x509.KeyUsageContentCommitment != 0:
		return fmt.Errorf("%w: for signing documents", ErrUsage)
	}
	return nil
}

// revocation asks what p is configured to ask.
func (a *Anchors) revocation(ctx context.Context, p *pinned, leaf *x509.Certificate, now time.Time) error {
	if len(p.lists) > 0 {
		if err := p.listed(leaf, now, a.options.Grace); err != nil {
			return err
		}
	}
	if p.ocsp != nil {
		return a.ask(ctx, p, leaf)
	}
	return nil
}

// listed looks leaf up in every current list that covers it: one of them is
// enough to revoke, none of them is not enough to accept.
func (p *pinned) listed(leaf *x509.Certificate, now time.Time, grace time.Duration) error {
	known, before := false, false
	for _, l := range p.lists {
		c, _ := l.state()
		if c == nil || !c.covers(leaf) {
			continue
		}
		revoked := c.revokes(leaf.SerialNumber)
		if !c.current(now, grace) {
			before = before || revoked
			continue
		}
		if revoked {
			return ErrRevoked
		}
		known = true
	}
	switch {
	case known:
		return nil
	case before: // no reason to blame ourselves
		return ErrRevoked
	}
	return fmt.Errorf("%w: no current list of its issuer covers it", ErrRevocationUnknown)
}
