package tls

import (
	"crypto/tls"
	"crypto/x509"
	"net"
)

// ClientConfig returns the configuration of our side when we call a server of
// that name. roots are whom we believe about it, nil for whom the system does.
func ClientConfig(roots *x509.CertPool, name string) *Config {
	c := serverConfig() // versions and ciphers are those of our doors
	c.RootCAs, c.ServerName = roots, name
	return c
}

// Client returns the client side of TLS over conn, as [ClientConfig] has it. The
// handshake happens at the first Read, Write or HandshakeContext.
func Client(conn net.Conn, roots *x509.CertPool, name string) *Conn {
	return tls.Client(conn, ClientConfig(roots, name))
}
