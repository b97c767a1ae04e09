// Package tls is whom the server trusts on the wire.
//
// It is the only package that imports crypto/tls outside tests. Elsewhere a
// configuration passes through as a *[Config] that nobody looks into, and a
// certificate travels as an *x509.Certificate. An [Identity] is what we prove
// to others: its certificates can be replaced while connections are open.
//
// Deadlines and limits go on the net.Conn or the net.Listener beneath a *[Conn],
// which itself is not wrapped: whoever has one knows that the connection is
// encrypted. The one exception, smtpd's guard, must read what travels inside.
package tls

import (
	"crypto/tls"
	"net"
)

// Config is the configuration of one listener, made by [Identity.Server].
type Config = tls.Config

// Conn is a connection that speaks TLS. HandshakeContext must be called within
// a deadline before anything else.
type Conn = tls.Conn

// Certificate is a certificate with its private key.
type Certificate = tls.Certificate

// CertificateRequest is what a server tells of the client certificates it wants.
type CertificateRequest = tls.CertificateRequestInfo

// ConnectionState tells what a finished handshake settled on.
type ConnectionState = tls.ConnectionState

// Server returns the server side of TLS over conn. The handshake happens at the
// first Read, Write or HandshakeContext.
func Server(conn net.Conn, config *Config) *Conn { return tls.Server(conn, config) }

// NewListener returns a listener whose connections are *[Conn]. Accept does not
// shake hands, so that a slow peer delays nobody else.
func NewListener(inner net.Listener, config *Config) net.Listener {
	return tls.NewListener(inner, config)
}

// VersionName is how people write the version of TLS in state ("TLS 1.3").
func VersionName(state ConnectionState) string { return tls.VersionName(state.Version) }

// CipherName is the registered name of the cipher suite in state.
func CipherName(state ConnectionState) string { return tls.CipherSuiteName(state.CipherSuite) }

// serverConfig returns a configuration without certificates: TLS 1.2 and 1.3,
// and for 1.2 only what gives forward secrecy with an authenticated cipher
// (RFC 9325 section 4.2). Each one has session ticket keys of its own, made and
// rotated by crypto/tls, so that a ticket of one door opens no other.
func serverConfig() *Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
