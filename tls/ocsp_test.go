package tls_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

// ocspResponder answers for one issuer.
type ocspResponder struct {
	*httptest.Server
	asked  atomic.Int32
	answer func(serial *big.Int) []byte // what is sent
}

func respond(t *testing.T, i *tlstest.Issuer) *ocspResponder {
	t.Helper()
	r := &ocspResponder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked.Add(1)
		body, _ := io.ReadAll(q.Body)
		question, err := ocsp.ParseRequest(body)
		if err != nil || q.Header.Get("Content-Type") != "application/ocsp-request" {
			http.Error(w, "not a question", http.StatusBadRequest)
			return
		}
		w.Write(r.answer(question.SerialNumber))
	}))
	t.Cleanup(r.Close)
	i.Pinned.OCSP, i.Pinned.Lists = r.URL, nil
	return r
}

// status makes an answer of i, good for an hour, which edit has changed.
func status(t *testing.T, i *tlstest.Issuer, edit func(*ocsp.Response)) func(*big.Int) []byte {
	return func(serial *big.Int) []byte {
		return signed(t, i, i.Certificate, keyOf(t, i.Authority), serial, edit)
	}
}

func signed(t *testing.T, i *tlstest.Issuer, by *x509.Certificate, key any, serial *big.Int, edit func(*ocsp.Response)) []byte {
	now := time.Now()
	answer := ocsp.Response{Status: ocsp.Good, SerialNumber: serial, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	if by != i.Certificate {
		answer.Certificate = by
	}
	if edit != nil {
		edit(&answer)
	}
	octets, err := ocsp.CreateResponse(i.Certificate, by, answer, key.(crypto.Signer))
	if err != nil {
		t.Error(err)
	}
	return octets
}

func TestOCSP(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	r := respond(t, i)
	a := tlstest.Anchors(t, i)
	foreign := i.Foreign(t)
	// delegate signs answers with a certificate of the issuer.
	delegate := func(edit func(*x509.Certificate)) func(*big.Int) []byte {
		c := i.Card(t, medecin(edit))
		return func(serial *big.Int) []byte { return signed(t, i, c.Leaf, c.PrivateKey, serial, nil) }
	}
	signing := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} }
	stranger := foreign.Card(t, medecin(signing))
	for _, c := range []struct {
		name   string
		answer func(*big.Int) []byte
		want   error
	}{
		{"good", status(t, i, nil), nil},
		{"good, signed by a delegate", delegate(signing), nil},
		{"good, no end", status(t, i, func(r *ocsp.Response) { r.NextUpdate = time.Time{} }), nil},
		{"revoked", status(t, i, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now() }), ourtls.ErrRevoked},

		{"unknown", status(t, i, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), ourtls.ErrRevocationUnknown},
		{"stale", status(t, i, func(r *ocsp.Response) { r.NextUpdate = time.Now().Add(-time.Second) }), ourtls.ErrRevocationUnknown},
		{"no end, old", status(t, i, func(r *ocsp.Response) {
			r.ThisUpdate, r.NextUpdate = time.Now().Add(-time.Hour), time.Time{}
		}), ourtls.ErrRevocationUnknown},
		{"from the future", status(t, i, func(r *ocsp.Response) { r.ThisUpdate = time.Now().Add(10 * time.Minute) }), ourtls.ErrRevocationUnknown},
		{"of another certificate", status(t, i, func(r *ocsp.Response) { r.SerialNumber = big.NewInt(1) }), ourtls.ErrRevocationUnknown},
		{"signed by a foreign authority of the same name", status(t, foreign, nil), ourtls.ErrRevocationUnknown},
		{"signed by a foreign delegate", func(serial *big.Int) []byte {
			return signed(t, foreign, stranger.Leaf, stranger.PrivateKey, serial, nil)
		}, ourtls.ErrRevocationUnknown},
		{"signed by any card", delegate(nil), ourtls.ErrRevocationUnknown},
		{"signed by an expired delegate", delegate(func(c *x509.Certificate) {
			signing(c)
			c.NotAfter = time.Now().Add(-time.Minute)
		}), ourtls.ErrRevocationUnknown},
		{"try later", func(*big.Int) []byte { return ocsp.TryLaterErrorResponse }, ourtls.ErrRevocationUnknown},
		{"nonsense", func(*big.Int) []byte { return []byte("good") }, ourtls.ErrRevocationUnknown},
		{"too long", func(*big.Int) []byte { return make([]byte, 1<<20) }, ourtls.ErrRevocationUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.answer = c.answer
			expect(t, a, i.Card(t, medecin(nil)).Leaf, c.want)
		})
	}
	t.Run("a stranger's certificate is not asked about", func(t *testing.T) {
		before := r.asked.Load()
		expect(t, a, foreign.Card(t, medecin(nil)).Leaf, ourtls.ErrUnknownIssuer)
		expired := medecin(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		expect(t, a, i.Card(t, expired).Leaf, ourtls.ErrExpired)
		if r.asked.Load() != before {
			t.Error("the responder was asked")
		}
	})
	t.Run("the caller goes away", func(t *testing.T) {
		gone, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		r.answer = func(serial *big.Int) []byte {
			cancel()
			<-release
			return status(t, i, nil)(serial)
		}
		before, card := r.asked.Load(), i.Card(t, medecin(nil)).Leaf
		if _, err := a.Evaluate(gone, card); !errors.Is(err, ourtls.ErrRevocationUnknown) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(release)
		expect(t, a, card, nil) // the answer to the same question
		if got := r.asked.Load() - before; got != 1 {
			t.Errorf("asked %d times", got)
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		r.Close()
		expect(t, a, i.Card(t, medecin(nil)).Leaf, ourtls.ErrRevocationUnknown)
	})
}

// The address that a certificate names is the word of a stranger.
func TestOnlyThePinnedResponderIsAsked(t *testing.T) {
	i, j := tlstest.NewIssuer(t, "igc"), tlstest.NewIssuer(t, "other")
	pinned, named := respond(t, i), respond(t, j)
	pinned.answer = status(t, i, func(r *ocsp.Response) { r.Status, r.RevokedAt = ocsp.Revoked, time.Now() })
	named.answer = status(t, i, nil)
	card := i.Card(t, medecin(func(c *x509.Certificate) {
		c.OCSPServer, c.CRLDistributionPoints = []string{named.URL}, []string{named.URL}
	}))
	expect(t, tlstest.Anchors(t, i), card.Leaf, ourtls.ErrRevoked)
	if named.asked.Load() != 0 {
		t.Error("the responder of the certificate was asked")
	}
}

func TestBothListAndResponderMustAgree(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	r := respond(t, i)
	i.Pinned.Lists = []string{i.ListFile}
	r.answer = status(t, i, nil)
	a := tlstest.Anchors(t, i)
	card := i.Card(t, medecin(nil))
	expect(t, a, card.Leaf, nil)
	i.Revoke(t, card)
	tlstest.Refresh(t, a)
	expect(t, a, card.Leaf, ourtls.ErrRevoked)
	r.Close()
	expect(t, a, i.Card(t, medecin(nil)).Leaf, ourtls.ErrRevocationUnknown)
}

func TestOCSPAnswersAreRemembered(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	r := respond(t, i)
	r.answer = status(t, i, nil)
	one, two := i.Card(t, medecin(nil)).Leaf, i.Card(t, medecin(nil)).Leaf
	for _, c := range []struct {
		name    string
		options ourtls.AnchorOptions
		asked   int32 // for one, one, two, two, one
	}{
		{"as they come", ourtls.AnchorOptions{}, 2},
		{"one at most", ourtls.AnchorOptions{Answers: 1}, 3},
		{"not at all", ourtls.AnchorOptions{AnswerFor: 1}, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := openFetched(t, i, c.options)
			r.asked.Store(0)
			for _, leaf := range []*x509.Certificate{one, one, two, two, one} {
				expect(t, a, leaf, nil)
			}
			if got := r.asked.Load(); got != c.asked {
				t.Errorf("asked %d times, want %d", got, c.asked)
			}
		})
	}
	t.Run("at once", func(t *testing.T) {
		a := openFetched(t, i, ourtls.AnchorOptions{})
		r.asked.Store(0)
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { expect(t, a, one, nil) })
		}
		all.Wait()
		if got := r.asked.Load(); got != 1 {
			t.Errorf("asked %d times", got)
		}
	})
}
