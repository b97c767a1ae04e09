package relay_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/relay"
	"telesphore/tls/tlstest"
)

// zones is a DNS with these zones, by name without the last dot.
func zones(all map[string]mockdns.Zone) *mockdns.Resolver {
	r := &mockdns.Resolver{Zones: map[string]mockdns.Zone{}}
	for name, zone := range all {
		r.Zones[name+"."] = zone
	}
	return r
}

func mx(records ...net.MX) mockdns.Zone   { return mockdns.Zone{MX: records} }
func host(address ...string) mockdns.Zone { return mockdns.Zone{A: address} }

// network leads from addresses of the documentation to peers.
type network struct {
	mu    sync.Mutex
	peers map[string]*peer
	tried []string
}

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	n.mu.Lock()
	n.tried = append(n.tried, address)
	p := n.peers[address]
	n.mu.Unlock()
	if p == nil {
		return nil, errors.New("connection refused")
	}
	return new(net.Dialer).DialContext(ctx, kind, p.addr)
}

func TestServersOfADomain(t *testing.T) {
	timeout := mockdns.Zone{Err: &net.DNSError{Err: "timeout", IsTimeout: true, IsTemporary: true}}
	self := "mail.hopital.test"
	hosts := map[string]mockdns.Zone{
		"a.test": host("192.0.2.1"), "b.test": host("192.0.2.2"), "c.test": host("192.0.2.3", "192.0.2.4"),
		"self.test": host("127.0.0.1", "0.0.0.0", "224.0.0.1"), "slow.test": timeout, "empty.test": {},
	}
	busy := func(step, reply string) *peer { return (&peer{answer: replying(step, reply)}).serve(t) }
	good := (&peer{}).serve(t)
	for _, c := range []struct {
		name  string
		zone  *mockdns.Zone // of perso.test
		peers map[string]*peer
		want  string
		tried string
	}{
		{"one", ptr(mx(net.MX{Host: "a.test.", Pref: 10})), map[string]*peer{"192.0.2.1:25": good}, "relayed", "192.0.2.1:25"},
		{"best first", ptr(mx(net.MX{Host: "b.test.", Pref: 20}, net.MX{Host: "a.test.", Pref: 10})), map[string]*peer{"192.0.2.1:25": good}, "relayed", "192.0.2.1:25"},
		{"all down", ptr(mx(net.MX{Host: "c.test", Pref: 9}, net.MX{Host: "b.test.", Pref: 20}, net.MX{Host: "a.test.", Pref: 10})), nil, "delayed 4.4.1",
			"192.0.2.3:25 192.0.2.4:25 192.0.2.1:25 192.0.2.2:25"},
		{"second address", ptr(mx(net.MX{Host: "c.test."})), map[string]*peer{"192.0.2.4:25": good}, "relayed", "192.0.2.3:25 192.0.2.4:25"},
		{"first greets with 4xx", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("greeting", "421 busy"), "192.0.2.2:25": good}, "relayed", "192.0.2.1:25 192.0.2.2:25"},
		{"first greets with 5xx", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("greeting", "521 no mail"), "192.0.2.2:25": good}, "relayed", "192.0.2.1:25 192.0.2.2:25"},
		{"4xx at EHLO", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("EHLO", "451 busy"), "192.0.2.2:25": good}, "relayed", "192.0.2.1:25 192.0.2.2:25"},
		{"4xx at MAIL", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("MAIL", "451 busy"), "192.0.2.2:25": good}, "relayed", "192.0.2.1:25 192.0.2.2:25"},
		{"drops at RCPT", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("RCPT", drop), "192.0.2.2:25": good}, "relayed", "192.0.2.1:25 192.0.2.2:25"},
		{"5xx at MAIL", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("MAIL", "550 5.7.1 no"), "192.0.2.2:25": good}, "failed 5.7.1", "192.0.2.1:25"},
		{"4xx at RCPT", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy("RCPT", "450 4.2.0 greylisted"), "192.0.2.2:25": good}, "delayed 4.2.0", "192.0.2.1:25"},
		{"drops behind the message", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.1:25": busy(".", drop), "192.0.2.2:25": good}, "delayed 4.4.2", "192.0.2.1:25"},
		{"down and refused for good", ptr(mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test.", Pref: 1})), map[string]*peer{
			"192.0.2.2:25": busy("greeting", "554 no")}, "delayed 4.4.1", "192.0.2.1:25 192.0.2.2:25"},

		{"no MX", ptr(host("192.0.2.9")), map[string]*peer{"192.0.2.9:25": good}, "relayed", "192.0.2.9:25"},
		{"no such domain", nil, nil, "failed 5.1.2", ""},
		{"no MX, no address", &mockdns.Zone{}, nil, "failed 5.1.2", ""},
		{"null MX", ptr(mx(net.MX{Host: "."})), nil, "failed 5.1.10", ""},
		{"DNS times out", &timeout, nil, "delayed 4.4.3", ""},
		{"DNS times out for the address", ptr(mx(net.MX{Host: "slow.test."}, net.MX{Host: "nowhere.test.", Pref: 1})), nil, "delayed 4.4.3", ""},
		{"servers without addresses", ptr(mx(net.MX{Host: "empty.test."}, net.MX{Host: "nowhere.test."})), nil, "failed 5.1.2", ""},
		{"addresses that lead back here", ptr(mx(net.MX{Host: "self.test."})), nil, "failed 5.1.2", ""},
		{"names that are none", ptr(mx(net.MX{Host: "a\r\nb.test."}, net.MX{Host: "a b."}, net.MX{Host: "192.0.2.1."}, net.MX{Host: ""})), nil, "failed 5.1.2", ""},
		{"one name that is none", ptr(mx(net.MX{Host: "a_b.test."}, net.MX{Host: "a.test.", Pref: 3})), map[string]*peer{"192.0.2.1:25": good}, "relayed", "192.0.2.1:25"},

		{"we are the best", ptr(mx(net.MX{Host: self + ".", Pref: 10}, net.MX{Host: "a.test.", Pref: 20})), nil, "failed 5.4.6", ""},
		{"we are as good", ptr(mx(net.MX{Host: "Mail.Hopital.test.", Pref: 10}, net.MX{Host: "a.test.", Pref: 10})), nil, "failed 5.4.6", ""},
		{"we are worse", ptr(mx(net.MX{Host: "a.test.", Pref: 5}, net.MX{Host: self + ".", Pref: 10}, net.MX{Host: "b.test.", Pref: 20})), nil, "delayed 4.4.1", "192.0.2.1:25"},
	} {
		all := map[string]mockdns.Zone{}
		for name, zone := range hosts {
			all[name] = zone
		}
		if c.zone != nil {
			all["perso.test"] = *c.zone
		}
		n := &network{peers: c.peers}
		r := &relay.Relay{
			Hostname: self, Logger: quiet(), Resolver: zones(all), Dial: n.dial,
			Routes: []relay.Route{{Domain: relay.Other, Security: relay.None}},
		}
		o := send(t, r, transfer(mail, to))
		if got := told(o); got != c.want && got != c.want+" 2.6.0" {
			t.Errorf("%s: %s, %v; want %s", c.name, got, o.Cause, c.want)
		}
		if got := strings.Join(n.tried, " "); got != c.tried {
			t.Errorf("%s: tried %q, want %q", c.name, got, c.tried)
		}
		r.Close()
	}
}

func ptr[T any](v T) *T { return &v }

func TestServersAreNotTriedForEver(t *testing.T) {
	var records []net.MX
	all := map[string]mockdns.Zone{}
	for n := range 300 {
		name := "h" + strings.Repeat("x", n%60+1) + ".test"
		records = append(records, net.MX{Host: name + ".", Pref: uint16(n)})
		all[name] = host("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")
	}
	all["perso.test"] = mx(records...)
	for _, c := range []struct{ limits, want relay.Limits }{
		{relay.Limits{}, relay.Limits{Addresses: 20}},
		{relay.Limits{Hosts: 3, Addresses: 1000}, relay.Limits{Addresses: 15}},
		{relay.Limits{Addresses: 2}, relay.Limits{Addresses: 2}},
	} {
		n := &network{}
		r := &relay.Relay{
			Hostname: "mail.hopital.test", Logger: quiet(), Resolver: zones(all), Dial: n.dial, Limits: c.limits,
			Routes: []relay.Route{{Domain: relay.Other, Security: relay.None}},
		}
		expect(t, send(t, r, transfer(mail, to)), "delayed 4.4.1")
		if len(n.tried) != c.want.Addresses {
			t.Errorf("tried %d addresses, want %d", len(n.tried), c.want.Addresses)
		}
	}
}

func TestEqualServersShareTheWork(t *testing.T) {
	n := &network{}
	r := &relay.Relay{
		Hostname: "mail.hopital.test", Logger: quiet(), Dial: n.dial, Limits: relay.Limits{Addresses: 1},
		Routes: []relay.Route{{Domain: relay.Other, Security: relay.None}},
		Resolver: zones(map[string]mockdns.Zone{
			"perso.test": mx(net.MX{Host: "a.test."}, net.MX{Host: "b.test."}), "a.test": host("192.0.2.1"), "b.test": host("192.0.2.2"),
		}),
	}
	for range 100 { // one of them is never first once in 2^99 times
		send(t, r, transfer(mail, to))
	}
	for _, address := range []string{"192.0.2.1:25", "192.0.2.2:25"} {
		if !slices.Contains(n.tried, address) {
			t.Errorf("never first at %s", address)
		}
	}
}

// The name in the certificate is that of the server, as the DNS has it. That is
// enough for ordinary mail and not for what must be under TLS all the way.
func TestServersOfADomainProveTheirNames(t *testing.T) {
	authority := tlstest.New(t)
	config := authority.Identity(t, "mx.perso.test").Server(nil)
	p := (&peer{config: config, offer: []string{"STARTTLS", "REQUIRETLS"}}).serve(t)
	n := &network{peers: map[string]*peer{"192.0.2.1:25": p}}
	r := &relay.Relay{
		Hostname: "mail.hopital.test", Logger: quiet(), Dial: n.dial, Roots: rootsOf(authority),
		Routes: []relay.Route{{Domain: relay.Other, Security: relay.StartTLS}},
		Resolver: zones(map[string]mockdns.Zone{
			"perso.test": mx(net.MX{Host: "mx.perso.test."}), "mx.perso.test": host("192.0.2.1"),
			"other.test": mx(net.MX{Host: "mx.other.test."}), "mx.other.test": host("192.0.2.1"),
		}),
	}
	defer r.Close()
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	expect(t, send(t, r, transfer(mail, "a@other.test")), "delayed 4.7.5")
	m := transfer(mail, to)
	m.RequireTLS = true
	expect(t, send(t, r, m), "failed 5.7.30")
	if len(p.got()) != 1 {
		t.Errorf("the peer got %q", p.got())
	}
	r.Routes[0].Security = relay.TLS // needs a host
	expect(t, send(t, r, transfer(mail, to)), "delayed 4.3.5")
}

// A lie in the DNS leads to a server that cannot prove it is the domain's.
func TestLyingDNSGetsNoMailOfTheTrustSpace(t *testing.T) {
	s := newSpace(t, peerDomain)
	good := (&peer{config: showing(s.issuer.Organisation(t, clinique(nil))), offer: []string{"STARTTLS"}}).serve(t)
	bad := (&peer{config: showing(s.issuer.Organisation(t, operator("mail.lilas.test"))), offer: []string{"STARTTLS"}}).serve(t)
	n := &network{peers: map[string]*peer{"192.0.2.1:25": bad, "192.0.2.2:25": good}}
	r := s.relay()
	r.Dial = n.dial
	r.Resolver = zones(map[string]mockdns.Zone{
		peerDomain: mx(net.MX{Host: "a.test.", Pref: 1}, net.MX{Host: "b.test.", Pref: 2}), "a.test": host("192.0.2.1"), "b.test": host("192.0.2.2"),
	})
	defer r.Close()
	expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), "relayed")
	if len(bad.heard("MAIL")) > 0 || len(good.got()) != 1 {
		t.Errorf("the wrong one heard %q", bad.heard(""))
	}
}
