package smtpd

import (
	"regexp"
	"strings"
	"testing"

	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/origin"
	ours "telesphore/tls"
)

// newOrigin is a door that looks into a DNS of its own.
func newOrigin(t *testing.T) *exchangeLab {
	t.Helper()
	l := newExchange(t, Limits{})
	l.Router.Outside = []string{"*"}
	zones := map[string]mockdns.Zone{
		"perso.test.":         {TXT: []string{"v=spf1 ip4:127.0.0.1 -all"}},
		"_dmarc.perso.test.":  {TXT: []string{"v=DMARC1; p=reject"}},
		"strict.test.":        {TXT: []string{"v=spf1 -all"}},
		"_dmarc.strict.test.": {TXT: []string{"v=DMARC1; p=reject"}},
		"wary.test.":          {TXT: []string{"v=spf1 -all"}},
		"_dmarc.wary.test.":   {TXT: []string{"v=DMARC1; p=quarantine"}},
		"loose.test.":         {TXT: []string{"v=spf1 -all"}},
		"_dmarc.loose.test.":  {TXT: []string{"v=DMARC1; p=none"}},
		"down.test.":          {Err: &dnsError{}},
		"_dmarc.down.test.":   {TXT: []string{"v=DMARC1; p=reject"}},
		// The trust space asks for the same; its certificates say more.
		"clinique.test.":        {TXT: []string{"v=spf1 -all"}},
		"_dmarc.clinique.test.": {TXT: []string{"v=DMARC1; p=reject"}},
	}
	l.Exchange.Origin = &origin.Checker{Hostname: "mail.hopital.test", Resolver: &mockdns.Resolver{Zones: zones}}
	return l
}

// dnsError is a server that fails.
type dnsError struct{}

func (*dnsError) Error() string   { return "server failure" }
func (*dnsError) Temporary() bool { return true }

// The domain of the author says what becomes of mail that does not come from there.
func TestPolicyOfTheAuthor(t *testing.T) {
	l := newOrigin(t)
	l.serve()
	c := l.connect(nil)
	for from, want := range map[string]string{
		outside:         taken,
		"x@strict.test": "DATA 550 5.7.1 The domain in From asks to refuse mail that does not prove to be from there (DMARC)",
		"x@wary.test":   "DATA 550 5.7.1 ",
		"x@loose.test":  taken,
		"x@silent.test": taken,
	} {
		c.post(from, as(from), want)
	}
	c.post(outside, as("x@strict.test"), "DATA 550 5.7.1 ") // SPF passes for another domain
	c.post("", as("x@strict.test"), "DATA 550 5.7.1 ")
	for _, m := range l.inbox() {
		if !regexp.MustCompile(`^Return-Path: .*\r\nDelivered-To: .*\r\nAuthentication-Results: mail\.hopital\.test;(?s:.*?)\r\nReceived: from client\.test \(\[127\.0\.0\.1\]\)\r\n` +
			`\t\(using TLS 1\.3 with TLS_\w+, no verified certificate\)\r\n\tby mail\.hopital\.test with ESMTPS id \S+\r\n\tfor <bob@hopital\.test>;\r\n\t.*\r\nFrom: `).MatchString(m) {
			t.Errorf("arrived as %q", m)
		}
	}
}

// What nobody can tell now is told later.
func TestPolicyUnknown(t *testing.T) {
	l := newOrigin(t)
	l.serve()
	l.connect(nil).post("x@down.test", as("x@down.test"), "DATA 451 4.7.1 ")
}

func TestPolicyIsMarked(t *testing.T) {
	l := newOrigin(t)
	l.Exchange.Mark = true
	l.serve()
	l.connect(nil).post("x@strict.test", as("x@strict.test"), taken)
	if m := l.inbox()[0]; !strings.Contains(m, "dmarc=fail") || !strings.Contains(m, "spf=fail") {
		t.Errorf("arrived as %q", m)
	}
}

// The certificate of an operator decides, and is written down.
func TestOperatorIsRecorded(t *testing.T) {
	l := newOrigin(t)
	l.serve()
	l.connect(l.clinique(ours.Terms{})).post(fromLilas, as(fromLilas), taken)
	m := l.inbox()[0]
	for _, want := range []string{
		"x-tls-client=pass", "verified certificate of CN=mail.clinique.test,OU=1310000001,O=CLINIQUE,C=FR)", "with ESMTPS id ",
	} {
		if !strings.Contains(strings.ReplaceAll(m, "\r\n\t", " "), want) {
			t.Errorf("no %q in %q", want, m)
		}
	}
	if strings.Contains(m, "spf=") {
		t.Errorf("SPF was asked: %q", m)
	}
}
