package tls

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"
	"golang.org/x/sync/singleflight"
)

// maxAnswer bounds the octets of an OCSP answer. Usual ones have 2 KiB.
const maxAnswer = 64 << 10

// responder is the OCSP responder of one issuer with what it said last.
type responder struct {
	url    string
	flight singleflight.Group // by serial number

	mu      sync.Mutex
	answers map[string]answer // by serial number
}

type answer struct {
	err   error // nil for good, ErrRevoked
	until time.Time
}

// ask tells what the responder of p says about leaf, nil for good.
func (a *Anchors) ask(ctx context.Context, p *pinned, leaf *x509.Certificate) error {
	serial := string(leaf.SerialNumber.Bytes())
	if known, ok := p.ocsp.known(serial, time.Now()); ok {
		return known.err
	}
	asked := p.ocsp.flight.DoChan(serial, func() (any, error) {
		if known, ok := p.ocsp.known(serial, time.Now()); ok { // an answer came in between
			return nil, known.err
		}
		// Others wait for it too, so it does not end with this ctx.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.options.Timeout)
		defer cancel()
		got, err := a.askNow(ctx, p, leaf)
		if err != nil {
			a.options.Logger.ErrorContext(ctx, "tls.ocsp failed", "group", p.issuer.Group, "responder", p.ocsp.url, "err", err)
			return nil, fmt.Errorf("%w: %w", ErrRevocationUnknown, err)
		}
		p.ocsp.remember(serial, got, time.Now(), a.options.Answers)
		return nil, got.err
	})
	select {
	case result := <-asked:
		return result.Err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrRevocationUnknown, ctx.Err())
	}
}

// askNow sends one question (RFC 6960 appendix A.1) and verifies the answer.
func (a *Anchors) askNow(ctx context.Context, p *pinned, leaf *x509.Certificate) (answer, error) {
	question, err := ocsp.CreateRequest(leaf, p.cert, nil)
	if err != nil {
		return answer{}, fmt.Errorf("make OCSP request: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.ocsp.url, bytes.NewReader(question))
	if err != nil {
		return answer{}, fmt.Errorf("make OCSP request: %w", err)
	}
	request.Header.Set("Content-Type", "application/ocsp-request")
	response, err := a.client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("ask OCSP responder: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("tls: OCSP responder answered with %s", response.Status)
	}
	octets, err := readAtMost(response.Body, maxAnswer)
	if err != nil {
		return answer{}, fmt.Errorf("read OCSP answer: %w", err)
	}
	return a.judge(octets, p, leaf, time.Now())
}

// judge verifies an OCSP answer as RFC 6960 section 3.2 demands.
func (a *Anchors) judge(octets []byte, p *pinned, leaf *x509.Certificate, now time.Time) (answer, error) {
	said, err := ocsp.ParseResponseForCert(octets, leaf, p.cert)
	if err != nil {
		return answer{}, fmt.Errorf("verify OCSP answer: %w", err)
	}
	// The package verifies that the issuer signed the responder's certificate,
	// not what for: any card would do.
	if c := said.Certificate; c != nil && !c.Equal(p.cert) {
		if !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
			return answer{}, errors.New("tls: OCSP answer signed by a certificate that is not for it")
		}
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return answer{}, fmt.Errorf("tls: OCSP answer signed by a certificate that ends %v", c.NotAfter)
		}
	}
	until := said.NextUpdate
	if until.IsZero() { // newer answers exist at any time
		until = said.ThisUpdate.Add(a.options.Refresh)
	}
	if said.ThisUpdate.After(now.Add(skew)) || now.After(until) {
		return answer{}, fmt.Errorf("tls: OCSP answer is good from %v until %v only", said.ThisUpdate, until)
	}
	if latest := now.Add(a.options.AnswerFor); until.After(latest) {
		until = latest
	}
	switch said.Status {
	case ocsp.Good:
		return answer{until: until}, nil
	case ocsp.Revoked:
		return answer{err: ErrRevoked, until: until}, nil
	}
	return answer{}, errors.New("tls: OCSP responder does not know the certificate")
}

func (r *responder) known(serial string, now time.Time) (answer, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.answers[serial]
	return known, ok && !now.After(known.until)
}

// remember keeps an answer, at most so many: the dead ones go first, then any.
func (r *responder) remember(serial string, got answer, now time.Time, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) >= most {
		for other, known := range r.answers {
			if now.After(known.until) {
				delete(r.answers, other)
			}
		}
	}
	for other := range r.answers {
		if len(r.answers) < most {
			break
		}
		delete(r.answers, other)
	}
	r.answers[serial] = got
}
