package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
)

// resolver asks the demo's name server and nobody else.
func resolver(address string) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
}

// TestDemoDNS: what the zones of a domain say, however long, and that there is nothing else.
func TestDemoDNS(t *testing.T) {
	s, err := newDNS("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("0123456789abcdef", 300) // more than a packet
	for _, err := range []error{
		s.zone(demoDomain, "mail.hopital.localhost", nil), s.zone(demoInternet, "mail.perso.test", nil),
		s.add("s._domainkey.%s. TXT %s", demoDomain, quoted(long)),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	s.serve()
	r, ctx := resolver(s.Addr()), t.Context()
	if mx, err := r.LookupMX(ctx, "Hopital.TEST."); err != nil || len(mx) != 1 || mx[0].Host != "mail.hopital.localhost." {
		t.Errorf("MX: %v, %v", mx, err)
	}
	if addrs, err := r.LookupNetIP(ctx, "ip", "mail.hopital.localhost."); err != nil || len(addrs) != 1 || addrs[0].String() != "127.0.0.1" {
		t.Errorf("address: %v, %v", addrs, err)
	}
	for name, want := range map[string]string{
		"hopital.test": "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all", "perso.test": "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all",
		"_dmarc.hopital.test": "v=DMARC1; p=reject", "s._domainkey.hopital.test": long,
	} {
		if texts, err := r.LookupTXT(ctx, name+"."); err != nil || len(texts) != 1 || texts[0] != want {
			t.Errorf("TXT of %s: %q, %v", name, texts, err)
		}
	}
	for _, name := range []string{"ferme.test.", "www.hopital.test.", "test.example.", "_domainkey.hopital.test.", "_dmarc.hopital.test."} {
		addrs, err := r.LookupNetIP(ctx, "ip4", name)
		if unknown, ok := errors.AsType[*net.DNSError](err); !ok || !unknown.IsNotFound {
			t.Errorf("%s: %v, %v", name, addrs, err)
		}
	}
	address := s.Addr()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if err := listenable(network, address); err != nil {
			t.Errorf("after a stop: %v", err)
		}
	}
}

// listenable says whether an address is free.
func listenable(network, address string) error {
	if network == "udp" {
		conn, err := net.ListenPacket(network, address)
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	ln, err := net.Listen(network, address)
	if err == nil {
		err = ln.Close()
	}
	return err
}

// TestDemoDNSTaken: a port is for both, or for neither.
func TestDemoDNSTaken(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		var address string
		if network == "udp" {
			conn, err := net.ListenPacket(network, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			address = conn.LocalAddr().String()
		} else {
			ln, err := net.Listen(network, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			address = ln.Addr().String()
		}
		if _, err := newDNS(address); err == nil || !strings.Contains(err.Error(), "door dns: port") {
			t.Errorf("%s taken: %v", network, err)
		}
	}
}
