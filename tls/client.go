package tls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// ClientConfig returns the configuration of our side when we call a server of
// that name. roots are whom we believe about it, nil for whom the system does.
func ClientConfig(roots *x509.CertPool, name string) *Config {
	c := serverConfig() // versions and ciphers are those of our doors
	c.RootCAs, c.ServerName = roots, name
	return c
}

// Client returns the configuration of our side when we call a server that is
// known by its certificate, whatever its name is: name is only what we ask for.
// verify says whether the certificate is good. It must look at all of it, its
// issuer first; what else the server sends is the word of a stranger. Servers that
// ask for a certificate get one of i.
func (i *Identity) Client(name string, verify func(leaf *x509.Certificate) error) *Config {
	c := ClientConfig(nil, name)
	c.GetClientCertificate = i.present
	// The checks of crypto/tls are for names under roots, and there are none here:
	// verify does it alone. VerifyConnection is called at every handshake, also where
	// a session is resumed and VerifyPeerCertificate is not.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("tls: server without a certificate")
		}
		return verify(state.PeerCertificates[0])
	}
	return c
}

// present picks the first certificate that the server says it can verify, else the
// first: what servers say of the issuers they know is often not all of them.
func (i *Identity) present(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	for _, c := range i.certs {
		if request.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	if len(i.certs) == 0 {
		return nil, ErrNoCertificate
	}
	return i.certs[0], nil
}

// Client returns the client side of TLS over conn. The handshake happens at the
// first Read, Write or HandshakeContext.
func Client(conn net.Conn, config *Config) *Conn { return tls.Client(conn, config) }

// RefusedByPeer reports whether err is the other side's alert: it did not like
// something of ours, with TLS 1.3 our certificate too, after the handshake.
func RefusedByPeer(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" // as crypto/tls calls it
}
