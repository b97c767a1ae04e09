package tls

import "crypto/x509"

// Facts are what a finished handshake tells of a connection.
type Facts struct {
	Version string            // "TLS 1.3"
	Cipher  string            // registered name of the cipher suite
	Resumed bool              // no certificate was sent anew
	Peer    *x509.Certificate // the client's, whose key it has proven to hold; unverified otherwise; nil for none
	Binding []byte            // the channel binding tls-exporter (RFC 9266), nil when the connection has none
}

// FactsOf tells about a connection whose handshake is over.
func FactsOf(c *Conn) Facts {
	state := c.ConnectionState()
	f := Facts{Version: VersionName(state), Cipher: CipherName(state), Resumed: state.DidResume}
	if len(state.PeerCertificates) > 0 {
		f.Peer = state.PeerCertificates[0]
	}
	// The context is empty, not absent: with TLS 1.2 that is a difference. There
	// it fails without extended master secret (RFC 9266 section 4).
	f.Binding, _ = state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	return f
}
