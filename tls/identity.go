package tls

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Pair names the PEM files of one certificate.
type Pair struct {
	Cert string // the certificate, followed by the intermediate ones
	Key  string // its private key
}

// Identity is our certificates: one, or several side by side (RSA and ECDSA, or
// one for each name). It is safe for concurrent use.
type Identity struct {
	mu    sync.RWMutex       // guards what follows
	pairs []Pair             // the files that certs came from
	certs []*tls.Certificate // ECDSA before RSA: cheaper for us, chosen when the client can
}

// ErrNoCertificate is returned when an identity is asked for without any certificate.
var ErrNoCertificate = errors.New("tls: no certificate")

// Open reads the certificates of pairs. Every pair that is missing, unreadable
// or does not match is part of the error.
func Open(pairs []Pair) (*Identity, error) {
	i := &Identity{}
	if err := i.Reload(pairs); err != nil {
		return nil, err
	}
	return i, nil
}

// Reload reads the certificates of pairs anew, nil standing for the pairs in
// use. Connections that are open stay as they are; handshakes from now on use
// the new ones. When anything is wrong the old certificates stay in use, all of
// them, and the error says what is.
func (i *Identity) Reload(pairs []Pair) error {
	if pairs == nil {
		i.mu.RLock()
		pairs = i.pairs
		i.mu.RUnlock()
	}
	if len(pairs) == 0 {
		return ErrNoCertificate
	}
	var ecdsas, others []*tls.Certificate
	var errs []error
	for _, p := range pairs {
		c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
		if err != nil {
			errs = append(errs, fmt.Errorf("read certificate %s with key %s: %w", p.Cert, p.Key, err))
			continue
		}
		if _, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); ok {
			ecdsas = append(ecdsas, &c)
		} else {
			others = append(others, &c)
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pairs, i.certs = pairs, append(ecdsas, others...)
	return nil
}

// Server returns the configuration of one listener. Call it once for each, so
// that their session tickets differ.
//
// With issuers in a, clients are asked for a certificate of one of them: asked,
// never made to show one, and what they show is only proven to be theirs. A bad
// card is refused afterwards with words, by [Anchors.Evaluate], where the
// handshake has but an alert.
func (i *Identity) Server(a *Anchors) *Config {
	c := serverConfig()
	c.GetCertificate = i.choose
	if pool := a.pool(); pool != nil {
		c.ClientAuth = tls.RequestClientCert
		c.ClientCAs = pool // so that clients prompt nobody who has no card of ours
		askAgain(c)
	}
	return c
}

// askAgain has only those sessions resumed in which a certificate was shown. A
// resumed handshake does not ask for one, so whoever inserts the card after the
// first connection would not be asked until the session is forgotten.
func askAgain(c *Config) {
	shown := []byte("certificate")
	c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		if len(state.PeerCertificates) > 0 {
			session.Extra = append(session.Extra, shown)
		}
		return c.EncryptTicket(state, session)
	}
	c.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := c.DecryptTicket(ticket, state)
		if err != nil || session == nil || len(session.Extra) == 0 {
			return nil, err
		}
		return session, nil
	}
}

// choose picks the first certificate that the client can verify and that has
// the name it asks for, else one that it can verify, else the first: the client
// then says itself what it does not like.
func (i *Identity) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	i.mu.RLock()
	certs := i.certs
	i.mu.RUnlock()
	if len(certs) == 0 {
		return nil, ErrNoCertificate
	}
	for _, c := range certs {
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	nameless := *hello
	nameless.ServerName = ""
	for _, c := range certs {
		if nameless.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return certs[0], nil
}

// Certificates returns the leaf certificates in use.
func (i *Identity) Certificates() []*x509.Certificate {
	i.mu.RLock()
	defer i.mu.RUnlock()
	leaves := make([]*x509.Certificate, len(i.certs))
	for n, c := range i.certs {
		leaves[n] = c.Leaf
	}
	return leaves
}

// Expiring returns the certificates that are no longer good at t.
func (i *Identity) Expiring(t time.Time) []*x509.Certificate {
	var expiring []*x509.Certificate
	for _, c := range i.Certificates() {
		if t.After(c.NotAfter) {
			expiring = append(expiring, c)
		}
	}
	return expiring
}
