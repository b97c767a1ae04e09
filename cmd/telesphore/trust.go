package main

import (
	"errors"
	"os"
	"slices"
	"time"

	"telesphore/tls"
)

// What the demo trusts: an authority of its own.
const (
	demoCA         = "ca.pem"
	demoCAKey      = "ca.key"
	demoServer     = "server.pem"
	demoServerKey  = "server.key"
	demoCertMargin = 30 * 24 * time.Hour // a certificate that ends sooner is made anew
)

// demoNames are the names of the server certificate, which both operators have.
func demoNames() []string {
	return []string{
		"localhost", "127.0.0.1", "::1",
		"*.hopital.localhost", "*.carte.hopital.localhost",
		"*.clinique.localhost", "*.carte.clinique.localhost",
	}
}

// certificates makes the authority and the server's certificate, or finds them
// from an earlier run.
func (d *demo) certificates() (tls.Pair, error) {
	ca, err := d.authority(d.file(demoCA), d.file(demoCAKey), "Telesphore demo authority")
	if err != nil {
		return tls.Pair{}, err
	}
	pair := tls.Pair{Cert: d.file(demoServer), Key: d.file(demoServerKey)}
	if identity, err := tls.Open([]tls.Pair{pair}); err == nil && len(identity.Expiring(time.Now().Add(demoCertMargin))) == 0 {
		leaf := identity.Certificates()[0]
		missing := slices.ContainsFunc(demoNames(), func(name string) bool {
			return !slices.Contains(leaf.DNSNames, name) && leaf.VerifyHostname(name) != nil
		})
		if leaf.CheckSignatureFrom(ca.Certificate) == nil && !missing {
			return pair, nil
		}
	}
	cert, key, err := ca.Server(tls.RSA, demoNames()...)
	if err != nil {
		return tls.Pair{}, err
	}
	return pair, errors.Join(writeFile(pair.Key, key), writeFile(pair.Cert, cert))
}

// authority makes one of the demo's authorities, or finds it from an earlier run.
func (d *demo) authority(certFile, keyFile, name string) (*tls.Authority, error) {
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	if certErr == nil && keyErr == nil {
		return tls.ParseAuthority(cert, key)
	}
	ca, err := tls.NewAuthority(name)
	if err != nil {
		return nil, err
	}
	if cert, key, err = ca.PEM(); err != nil {
		return nil, err
	}
	return ca, errors.Join(writeFile(keyFile, key), writeFile(certFile, cert))
}
