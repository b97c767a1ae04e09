package relay_test

import (
	"bytes"
	cryptotls "crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/relay"
	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

const peerDomain = "clinique.test"

// clinique is the operator that newSpace's list has.
func clinique(edit func(*x509.Certificate)) tls.Organisation {
	o := operator("mail.clinique.test")
	o.Edit = edit
	return o
}

func TestPeerOfTheTrustSpace(t *testing.T) {
	s := newSpace(t, peerDomain, "annexe.test")
	persons := tlstest.NewIssuer(t, "igc")
	s.anchors = tlstest.Anchors(t, s.issuer, persons)
	purposes := func(p ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = p }
	}
	for name, c := range map[string]struct {
		card tls.Certificate
		want string
	}{
		"for clients":        {s.issuer.Organisation(t, clinique(nil)), "relayed"},
		"for servers":        {s.issuer.Organisation(t, clinique(purposes(x509.ExtKeyUsageServerAuth))), "relayed"},
		"for no one purpose": {s.issuer.Organisation(t, clinique(purposes())), "relayed"},
		"for e-mail":         {s.issuer.Organisation(t, clinique(purposes(x509.ExtKeyUsageEmailProtection))), "delayed 4.7.5"},
		"no signature": {s.issuer.Organisation(t, clinique(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		})), "delayed 4.7.5"},
		"expired": {s.issuer.Organisation(t, clinique(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})), "delayed 4.7.5"},
		"another operator": {s.issuer.Organisation(t, operator("mail.lilas.test")), "delayed 4.7.5"},
		"only named so":    {s.issuer.Foreign(t).Organisation(t, clinique(nil)), "delayed 4.7.5"},
		"a person":         {persons.Card(t, tls.Person{ID: "899700000001", Surname: "A", GivenName: "B"}), "delayed 4.7.5"},
	} {
		for _, security := range []string{relay.None, relay.StartTLS, relay.TLS} {
			p := &peer{config: showing(c.card), implicit: security == relay.TLS, offer: []string{"PIPELINING", "STARTTLS", "AUTH PLAIN"}}
			p.serve(t)
			// Security in clear is not obeyed, and nobody gets a password.
			r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: security, Username: "user", Password: "secret"})
			var log bytes.Buffer
			r.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o := send(t, r, transfer(mail, "a@"+peerDomain))
			expect(t, o, c.want)
			r.Close()
			bad := c.want != "relayed"
			if len(p.got()) == 1 == bad || len(p.heard("MAIL")) > 0 == bad {
				t.Errorf("%s, %s: the peer got %q", name, security, p.got())
			}
			if lines := strings.Count(log.String(), "relay.distrusted"); (lines == 1) != bad {
				t.Errorf("%s, %s: log %q", name, security, log.String())
			}
			if subject := c.card.Leaf.Subject.String(); bad && !strings.Contains(log.String(), subject) {
				t.Errorf("%s: log %q, want subject %q in it", name, log.String(), subject)
			}
			for _, hello := range p.heard("EHLO") {
				if hello != "EHLO mail.hopital.test" {
					t.Errorf("%s, %s: %q", name, security, hello)
				}
			}
			if len(p.heard("AUTH")) > 0 {
				t.Errorf("%s, %s: the peer heard %q", name, security, p.heard("AUTH"))
			}
			if !bad && (len(p.shown) != 1 || p.shown[0].Subject.CommonName != "mail.hopital.test") {
				t.Errorf("%s, %s: the peer was shown %v", name, security, p.shown)
			}
		}
	}
}

func TestNothingGoesToAPeerOfTheTrustSpaceWithoutTLS(t *testing.T) {
	s := newSpace(t, peerDomain)
	card := s.issuer.Organisation(t, clinique(nil))
	tls12 := showing(card)
	tls12.MaxVersion = cryptotls.VersionTLS12
	old := showing(card)
	old.MinVersion, old.MaxVersion = cryptotls.VersionTLS10, cryptotls.VersionTLS11
	foreign := showing(card)
	foreign.ClientAuth, foreign.ClientCAs = cryptotls.RequireAndVerifyClientCert, rootsOf(tlstest.New(t))
	for name, c := range map[string]struct {
		peer *peer
		want string
	}{
		"TLS 1.2":                    {&peer{config: tls12, offer: []string{"STARTTLS"}}, "relayed"},
		"TLS 1.1":                    {&peer{config: old, offer: []string{"STARTTLS"}}, "delayed 4.7.5"},
		"not offered":                {&peer{}, "delayed 4.7.4"},
		"offered, refused":           {&peer{offer: []string{"STARTTLS"}, answer: replying("STARTTLS", "454 4.7.0 no TLS just now")}, "delayed 4.7.4"},
		"offered, refused for good":  {&peer{offer: []string{"STARTTLS"}, answer: replying("STARTTLS", "554 5.7.0 no TLS")}, "delayed 4.7.4"},
		"offered, words instead":     {&peer{offer: []string{"STARTTLS"}, answer: replying("STARTTLS", "220 go\r\n250 ok")}, "delayed 4.5.0"},
		"refuses everybody":          {&peer{answer: replying("greeting", "554 5.7.1 go away")}, "delayed 4.7.1"}, // anybody may have said that
		"refuses our name":           {&peer{answer: replying("EHLO", "550 go away")}, "delayed 4.0.0"},
		"no HELO":                    {&peer{answer: replying("EHLO", "502 what")}, "delayed 4.7.4"},
		"drops":                      {&peer{offer: []string{"STARTTLS"}, answer: replying("STARTTLS", drop)}, "delayed 4.4.2"},
		"does not like our identity": {&peer{config: foreign, offer: []string{"STARTTLS"}}, "delayed 4.7.5"},
	} {
		c.peer.serve(t)
		r := s.relay(relay.Route{Domain: peerDomain, Host: c.peer.addr, Security: relay.StartTLS})
		o := send(t, r, transfer(mail, "a@"+peerDomain))
		if got := told(o); got != c.want && got != c.want+" 2.6.0" {
			t.Errorf("%s: %s, %v", name, got, o.Cause)
		}
		if good := c.want == "relayed"; len(c.peer.got()) > 0 != good || len(c.peer.heard("MAIL")) > 0 != good {
			t.Errorf("%s: the peer heard %q", name, c.peer.heard(""))
		}
		r.Close()
	}
	// Ours is missing, or nothing says what is good: closed.
	p := (&peer{config: showing(card), offer: []string{"STARTTLS"}}).serve(t)
	for name, forget := range map[string]func(*relay.Relay){
		"identity": func(r *relay.Relay) { r.Identity = nil },
		"anchors":  func(r *relay.Relay) { r.Anchors = nil },
		"covers":   func(r *relay.Relay) { r.Covers = nil },
	} {
		r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: relay.StartTLS})
		forget(r)
		if o := send(t, r, transfer(mail, "a@"+peerDomain)); o.Action != storage.Delayed {
			t.Errorf("without %s: %s", name, told(o))
		}
	}
	if len(p.got()) > 0 {
		t.Errorf("the peer got %q", p.got())
	}
}

func TestRepliesInjectedBehindSTARTTLS(t *testing.T) {
	s := newSpace(t, peerDomain)
	config := showing(s.issuer.Organisation(t, clinique(nil)))
	p := (&peer{config: config, offer: []string{"STARTTLS"}, behind: "\r\n250-peer.test\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken"}).serve(t)
	r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: relay.StartTLS})
	expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), "delayed 4.5.0")
	if len(p.heard("MAIL")) > 0 {
		t.Errorf("the peer heard %q", p.heard(""))
	}
}

func TestWhatWasOfferedInClearCountsForNothing(t *testing.T) {
	s := newSpace(t, peerDomain)
	hellos := 0
	p := &peer{config: showing(s.issuer.Organisation(t, clinique(nil)))}
	p.answer = func(line string) string {
		if !strings.HasPrefix(line, "EHLO") {
			return ""
		}
		if hellos++; hellos == 1 {
			return "250-peer.test\r\n250-STARTTLS\r\n250-REQUIRETLS\r\n250 DSN"
		}
		return "250 peer.test"
	}
	p.serve(t)
	r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: relay.StartTLS})
	defer r.Close()
	m := transfer(mail, "a@"+peerDomain)
	m.EnvelopeID = "x"
	o := send(t, r, m)
	expect(t, o, "relayed")
	if got := p.got(); o.DSN || len(got) != 1 || got[0].from != "<cardiologue@hopital.test>" {
		t.Errorf("DSN %v, the peer got %q", o.DSN, got)
	}
}

// Each connection is looked at, whatever the one before has shown.
func TestPeerThatChangesItsCertificate(t *testing.T) {
	s := newSpace(t, peerDomain)
	good, other := s.issuer.Organisation(t, clinique(nil)), s.issuer.Organisation(t, operator("mail.lilas.test"))
	config := showing(good)
	config.Certificates = nil
	var n atomic.Int32
	config.GetCertificate = func(*cryptotls.ClientHelloInfo) (*cryptotls.Certificate, error) {
		if n.Add(1)%2 == 1 {
			return &good, nil
		}
		return &other, nil
	}
	p := (&peer{config: config, offer: []string{"STARTTLS"}}).serve(t)
	r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: relay.StartTLS})
	r.Limits.Uses = 1
	for _, want := range []string{"relayed", "delayed 4.7.5", "relayed", "delayed 4.7.5"} {
		expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), want)
	}
	if len(p.got()) != 2 {
		t.Errorf("the peer got %q", p.got())
	}
	r.Close()
}

func TestCertificateRevokedWhileAConnectionWaits(t *testing.T) {
	s := newSpace(t, peerDomain)
	card := s.issuer.Organisation(t, clinique(nil))
	p := (&peer{config: showing(card), offer: []string{"STARTTLS"}}).serve(t)
	r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: relay.StartTLS})
	defer r.Close()
	for range 2 {
		expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), "relayed")
	}
	s.issuer.Revoke(t, card)
	tlstest.Refresh(t, s.anchors)
	o := send(t, r, transfer(mail, "a@"+peerDomain))
	expect(t, o, "delayed 4.7.5")
	if !errors.Is(o.Cause, tls.ErrRevoked) {
		t.Errorf("cause %v", o.Cause)
	}
	if len(p.got()) != 2 || p.connections() != 2 {
		t.Errorf("the peer got %q over %d connections", p.got(), p.connections())
	}
}

func TestConnectionServesOnlyDomainsOfItsCertificate(t *testing.T) {
	s := newSpace(t, peerDomain, "annexe.test")
	p := (&peer{config: showing(s.issuer.Organisation(t, clinique(nil))), offer: []string{"STARTTLS"}}).serve(t)
	var routes []relay.Route
	for _, d := range []string{peerDomain, "annexe.test", "perso.test"} {
		routes = append(routes, relay.Route{Domain: d, Host: p.addr, Security: relay.StartTLS})
	}
	r := s.relay(routes...)
	r.Roots = rootsOf(tlstest.New(t))
	defer r.Close()
	expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), "relayed")
	expect(t, send(t, r, transfer(mail, "a@annexe.test")), "relayed")
	if p.connections() != 1 {
		t.Errorf("%d connections for two domains of one certificate", p.connections())
	}
	// A domain that is not of the trust space needs a certificate of another kind.
	expect(t, send(t, r, transfer(mail, "a@perso.test")), "delayed 4.7.5")
	// One whose operator is another one does not get through on the connection that waits.
	trusted := r.Trusted
	r2 := s.relay(routes...)
	r2.Trusted = func(d string) bool { return trusted(d) || d == "perso.test" }
	defer r2.Close()
	expect(t, send(t, r2, transfer(mail, "a@"+peerDomain)), "relayed")
	expect(t, send(t, r2, transfer(mail, "a@perso.test")), "delayed 4.7.5")
}

// What was accepted for the trust space goes no other way, although nobody remembers that the domain was there.
func TestAcceptedForTheTrustSpace(t *testing.T) {
	s := newSpace(t, peerDomain)
	smarthost := (&peer{}).serve(t)
	for _, domain := range []string{relay.Other, "perso.test"} {
		r := s.relay(relay.Route{Domain: domain, Host: smarthost.addr, Security: relay.None})
		r.Resolver = zones(nil)
		defer r.Close()
		m := transfer(mail, "a@perso.test")
		expect(t, send(t, r, m), "relayed") // and the connection waits
		m.Trusted = true
		if got := told(send(t, r, m)); got != "delayed 4.4.4" && got != "delayed 4.7.4" {
			t.Errorf("route for %s: %s", domain, got)
		}
	}
	if n := len(smarthost.got()); n != 2 {
		t.Errorf("the smarthost got %d messages", n)
	}
}

func TestRouteForAllOthersIsNotForTheTrustSpace(t *testing.T) {
	s := newSpace(t, peerDomain)
	smarthost := (&peer{}).serve(t)
	r := s.relay(relay.Route{Domain: relay.Other, Host: smarthost.addr, Security: relay.None})
	r.Resolver = zones(nil)
	defer r.Close()
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	// Its own servers, which the DNS knows none of: the white list knows that it is there.
	expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), "delayed 4.4.4")
	r.Resolver = zones(map[string]mockdns.Zone{peerDomain + ".": {MX: []net.MX{{Host: "."}}}})
	expect(t, send(t, r, transfer(mail, "a@"+peerDomain)), "delayed 4.4.4")
	if len(smarthost.got()) != 1 {
		t.Errorf("the smarthost got %q", smarthost.got())
	}
	if way, ok := r.Route(peerDomain); !ok || way.Host != "" || way.Security != relay.StartTLS || !r.Reaches("x.test") {
		t.Errorf("route %+v, %v", way, ok)
	}
}

func TestPeerThatMustProveItsName(t *testing.T) {
	authority, other := tlstest.New(t), tlstest.New(t)
	for _, security := range []string{relay.StartTLS, relay.TLS} {
		p := (&peer{config: authority.Identity(t, "localhost").Server(nil), implicit: security == relay.TLS, offer: []string{"STARTTLS"}}).serve(t)
		_, port, _ := strings.Cut(p.addr, ":")
		for _, c := range []struct {
			name, host string
			believed   *tlstest.Authority
			want       string
		}{
			{"good", "localhost", authority, "relayed"},
			{"other authority", "localhost", other, "delayed 4.7.5"},
			{"other name", "127.0.0.1", authority, "delayed 4.7.5"},
		} {
			r := &relay.Relay{
				Hostname: "mail.hopital.test", Roots: rootsOf(c.believed), Logger: quiet(),
				Routes: []relay.Route{{Domain: "perso.test", Host: c.host + ":" + port, Security: security}},
			}
			o := send(t, r, transfer(mail, to))
			if got := told(o); got != c.want && got != c.want+" 2.6.0" {
				t.Errorf("%s, %s: %s, %v", security, c.name, got, o.Cause)
			}
			r.Close()
		}
		if len(p.got()) != 1 {
			t.Errorf("%s: the peer got %q", security, p.got())
		}
	}
	p := (&peer{}).serve(t)
	for _, security := range []string{relay.StartTLS, "", "ssl"} {
		r := plain(p.addr)
		r.Routes[0].Security = security
		if o := send(t, r, transfer(mail, to)); o.Action != storage.Delayed {
			t.Errorf("security %q: %s", security, told(o))
		}
	}
	if len(p.got()) != 0 {
		t.Errorf("the peer got %q", p.got())
	}
}

func TestRequireTLS(t *testing.T) {
	authority := tlstest.New(t)
	s := newSpace(t, peerDomain)
	card := s.issuer.Organisation(t, clinique(nil))
	for _, c := range []struct {
		name, domain, security string
		config                 *cryptotls.Config
		offer, want            string
	}{
		{"trusted", peerDomain, relay.StartTLS, showing(card), "REQUIRETLS", "relayed"},
		{"trusted, unknown there", peerDomain, relay.StartTLS, showing(card), "DSN", "failed 5.7.30"},
		{"verified", "perso.test", relay.StartTLS, server(t, authority), "REQUIRETLS", "relayed"},
		{"in clear", "perso.test", relay.None, nil, "REQUIRETLS", "failed 5.7.30"},
		{"not verified", "perso.test", relay.StartTLS, showing(card), "REQUIRETLS", "delayed 4.7.5"},
	} {
		p := (&peer{config: c.config, offer: []string{"STARTTLS", c.offer}}).serve(t)
		_, port, _ := strings.Cut(p.addr, ":")
		r := s.relay(relay.Route{Domain: c.domain, Host: "localhost:" + port, Security: c.security})
		r.Roots = rootsOf(authority)
		m := transfer(mail, "a@"+c.domain)
		m.RequireTLS = true
		o := send(t, r, m)
		if got := told(o); got != c.want && got != c.want+" 2.6.0" {
			t.Errorf("%s: %s, %v", c.name, got, o.Cause)
		}
		if got := p.got(); c.want == "relayed" && (len(got) != 1 || got[0].from != "<cardiologue@hopital.test> REQUIRETLS") {
			t.Errorf("%s: the peer got %q", c.name, got)
		}
		r.Close()
	}
}

func TestSmarthostWithAPassword(t *testing.T) {
	const password = "s3cret words"
	authority := tlstest.New(t)
	for _, c := range []struct {
		name, security, offer string
		answer                func(string) string
		want                  string
		heard                 string
	}{
		{"PLAIN", relay.StartTLS, "AUTH LOGIN PLAIN", nil, "relayed", "AUTH PLAIN AHVzZXIAczNjcmV0IHdvcmRz"},
		{"TLS at once", relay.TLS, "auth plain", nil, "relayed", "AUTH PLAIN AHVzZXIAczNjcmV0IHdvcmRz"},
		{"LOGIN", relay.StartTLS, "AUTH CRAM-MD5 LOGIN", func(line string) string {
			switch line {
			case "AUTH LOGIN":
				return "334 VXNlcm5hbWU6"
			case "dXNlcg==":
				return "334 UGFzc3dvcmQ6"
			case "czNjcmV0IHdvcmRz":
				return "235 ok"
			}
			return ""
		}, "relayed", "AUTH LOGIN"},
		{"refused", relay.StartTLS, "AUTH PLAIN", func(line string) string {
			if rest, ok := strings.CutPrefix(line, "AUTH PLAIN "); ok {
				return "535 5.7.8 no: " + rest + " " + password
			}
			return ""
		}, "delayed 4.7.8", "AUTH PLAIN AHVzZXIAczNjcmV0IHdvcmRz"},
		{"a question instead", relay.StartTLS, "AUTH PLAIN", replying("AUTH", "334 "), "delayed 4.7.8", "AUTH PLAIN AHVzZXIAczNjcmV0IHdvcmRz"},
		{"nothing offered", relay.StartTLS, "DSN", nil, "delayed 4.7.4", ""},
		{"in clear", relay.None, "AUTH PLAIN", nil, "delayed 4.7.4", ""},
	} {
		p := (&peer{config: server(t, authority), implicit: c.security == relay.TLS, offer: []string{"STARTTLS", c.offer}, answer: c.answer}).serve(t)
		_, port, _ := strings.Cut(p.addr, ":")
		r := &relay.Relay{Hostname: "mail.hopital.test", Roots: rootsOf(authority), Logger: quiet(), Routes: []relay.Route{
			{Domain: relay.Other, Host: "localhost:" + port, Security: c.security, Username: "user", Password: password},
		}}
		o := send(t, r, transfer(mail, to))
		if got := told(o); got != c.want && got != c.want+" 2.6.0" {
			t.Errorf("%s: %s, %v", c.name, got, o.Cause)
		}
		if o.Cause != nil && strings.Contains(o.Cause.Error(), password) || strings.Contains(o.Diagnostic, password) || strings.Contains(o.Diagnostic, "AHVz") {
			t.Errorf("%s: %v, %q", c.name, o.Cause, o.Diagnostic)
		}
		if heard := p.heard("AUTH"); strings.Join(heard, "|") != c.heard {
			t.Errorf("%s: the peer heard %q", c.name, heard)
		}
		r.Close()
	}
}
