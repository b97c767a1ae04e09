package origin_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	signer "github.com/emersion/go-msgauth/dkim"
	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/origin"
)

const (
	hostname = "mx.hopital.test"
	remote   = "192.0.2.1"
	body     = "Bonjour,\r\nles r\u00e9sultats sont joints.\r\n"
	letter   = "From: Labo <labo@clinique.example>\r\nSubject: a\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\n\r\n" + body
)

// zones is a DNS: names with their final dot.
type zones map[string]mockdns.Zone

func txt(texts ...string) mockdns.Zone { return mockdns.Zone{TXT: texts} }

// servfail is a name that the DNS has trouble with.
func servfail() mockdns.Zone {
	return mockdns.Zone{Err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}
}

// checker is a Checker that asks this DNS.
func (z zones) checker() *origin.Checker {
	return &origin.Checker{Hostname: hostname, Resolver: &mockdns.Resolver{Zones: z}}
}

// arrival is a message from the laboratory's usual server.
func arrival(message string) *origin.Arrival {
	return &origin.Arrival{
		Remote: netip.MustParseAddr(remote), Helo: "mx.clinique.example", From: "labo@clinique.example", Octets: []byte(message),
	}
}

// signKey is the key of one signer.
type signKey struct {
	options signer.SignOptions
	record  string
}

func newRSA(t testing.TB, domain, selector string) *signKey {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &signKey{
		signer.SignOptions{Domain: domain, Selector: selector, Signer: private},
		"v=DKIM1; p=" + base64.StdEncoding.EncodeToString(public),
	}
}

func newEd25519(t testing.TB, domain, selector string) *signKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signKey{
		signer.SignOptions{Domain: domain, Selector: selector, Signer: private},
		"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public),
	}
}

func (k *signKey) name() string { return k.options.Selector + "._domainkey." + k.options.Domain + "." }

// sign signs as another server does.
func (k *signKey) sign(t testing.TB, message string) string {
	t.Helper()
	var signed bytes.Buffer
	options := k.options
	if options.HeaderKeys == nil {
		options.HeaderKeys = []string{"From", "Subject", "Date"}
	}
	if err := signer.Sign(&signed, strings.NewReader(message), &options); err != nil {
		t.Fatal(err)
	}
	return signed.String()
}

func TestSPF(t *testing.T) {
	for name, c := range map[string]struct {
		record     string
		from, helo string
		more       zones
		want       string
	}{
		"pass":                     {record: "v=spf1 ip4:192.0.2.0/24 -all", want: "pass"},
		"fail":                     {record: "v=spf1 ip4:192.0.2.2 -all", want: "fail"},
		"softfail":                 {record: "v=spf1 ~all", want: "softfail"},
		"neutral":                  {record: "v=spf1 ?all", want: "neutral"},
		"end of the record":        {record: "v=spf1", want: "neutral"},
		"none":                     {record: "hello", want: "none"},
		"permerror":                {record: "v=spf1 nonsense:a -all", want: "permerror"},
		"by mx":                    {record: "v=spf1 mx -all", want: "pass", more: zones{"mx.clinique.example.": {A: []string{remote}}}},
		"by include":               {record: "v=spf1 include:host.example -all", want: "pass", more: zones{"host.example.": txt("v=spf1 ip4:192.0.2.1 -all")}},
		"include of nothing":       {record: "v=spf1 include:host.example -all", want: "permerror"},
		"by macro":                 {record: "v=spf1 exists:%{ir}.%{l}.%{d} -all", want: "pass", more: zones{"1.2.0.192.labo.clinique.example.": {A: []string{"127.0.0.2"}}}},
		"bad macro":                {record: "v=spf1 exists:%{z} -all", want: "permerror"},
		"endless include":          {record: "v=spf1 include:clinique.example -all", want: "permerror"},
		"trouble in an include":    {record: "v=spf1 include:host.example -all", want: "temperror", more: zones{"host.example.": servfail()}},
		"trouble with an address":  {record: "v=spf1 a:host.example -all", want: "temperror", more: zones{"host.example.": servfail()}},
		"trouble of another kind":  {record: "v=spf1 a:host.example -all", want: "temperror", more: zones{"host.example.": {Err: errors.New("bad answer")}}},
		"bounce":                   {from: "<>", record: "v=spf1 -all", want: "pass", more: zones{"mx.clinique.example.": txt("v=spf1 ip4:192.0.2.1 -all")}},
		"bounce of a literal":      {from: "<>", helo: "[192.0.2.1]", record: "v=spf1 +all", want: "none"},
		"bounce of a single label": {from: "<>", helo: "localhost", record: "v=spf1 +all", want: "none"},
		"path that is none":        {from: "a b@clinique.example", record: "v=spf1 +all", want: "none"},
		"path without domain":      {from: "postmaster", record: "v=spf1 +all", want: "none"},
	} {
		t.Run(name, func(t *testing.T) {
			z := zones{"clinique.example.": {TXT: []string{c.record, "other=1"}, MX: []net.MX{{Host: "mx.clinique.example.", Pref: 1}}}}
			for n, zone := range c.more {
				z[n] = zone
			}
			a := arrival(letter)
			if c.from != "" {
				a.From = strings.Trim(c.from, "<>")
			}
			if c.helo != "" {
				a.Helo = c.helo
			}
			r := z.checker().Check(t.Context(), a)
			if r.SPF != c.want {
				t.Errorf("SPF is %q, want %q", r.SPF, c.want)
			}
			if !strings.Contains(string(r.Field), " spf="+c.want) {
				t.Errorf("the field says: %s", r.Field)
			}
		})
	}
	t.Run("two records", func(t *testing.T) {
		z := zones{"clinique.example.": txt("v=spf1 +all", "v=spf1 -all")}
		if r := z.checker().Check(t.Context(), arrival(letter)); r.SPF != "permerror" {
			t.Errorf("SPF is %q", r.SPF)
		}
	})
	t.Run("IPv4 in IPv6", func(t *testing.T) {
		a := arrival(letter)
		a.Remote = netip.MustParseAddr("::ffff:192.0.2.1")
		z := zones{"clinique.example.": txt("v=spf1 ip4:192.0.2.1 -all")}
		if r := z.checker().Check(t.Context(), a); r.SPF != "pass" {
			t.Errorf("SPF is %q", r.SPF)
		}
	})
}

func TestDKIM(t *testing.T) {
	k := newRSA(t, "clinique.example", "s1")
	signed := k.sign(t, letter)
	swap := func(old, new string) string {
		changed := strings.Replace(signed, old, new, 1)
		if changed == signed {
			t.Fatalf("no %q in the message", old)
		}
		return changed
	}
	relaxed := newRSA(t, "clinique.example", "s1")
	relaxed.options.HeaderCanonicalization, relaxed.options.BodyCanonicalization = "relaxed", "relaxed"
	expired := newRSA(t, "clinique.example", "s1")
	expired.options.Expiration = time.Now().Add(-time.Hour)
	modern := newEd25519(t, "clinique.example", "s1")

	for name, c := range map[string]struct {
		message string
		zone    mockdns.Zone
		want    string
	}{
		"none":                  {letter, txt(), "none"},
		"pass":                  {signed, txt(k.record), "pass"},
		"relaxed":               {relaxed.sign(t, letter), txt(relaxed.record), "pass"},
		"Ed25519":               {modern.sign(t, letter), txt(modern.record), "pass"},
		"no body":               {k.sign(t, "From: labo@clinique.example\r\n\r\n"), txt(k.record), "pass"},
		"no end of header":      {strings.TrimSuffix(k.sign(t, "From: labo@clinique.example\r\n\r\n"), "\r\n"), txt(k.record), "pass"},
		"no line end at all":    {strings.TrimSuffix(relaxed.sign(t, "From: labo@clinique.example\r\n\r\n"), "\r\n\r\n"), txt(relaxed.record), "pass"},
		"8-bit header":          {k.sign(t, "From: M\xe9decin <labo@clinique.example>\r\nSubject: \xff\r\n\r\na"), txt(k.record), "pass"},
		"octet of the body":     {swap("Bonjour", "Bonsoir"), txt(k.record), "fail"},
		"subject":               {swap("Subject: a", "Subject: b"), txt(k.record), "fail"},
		"cut off":               {swap("joints.\r\n", ""), txt(k.record), "fail"},
		"key of another":        {signed, txt(relaxed.record), "fail"},
		"expired":               {expired.sign(t, letter), txt(expired.record), "permerror"},
		"no key":                {signed, txt(), "permerror"},
		"revoked":               {signed, txt("v=DKIM1; p="), "permerror"},
		"two records":           {signed, txt(k.record, k.record), "permerror"},
		"no record":             {signed, txt("hello"), "permerror"},
		"trouble":               {signed, servfail(), "temperror"},
		"trouble of its own":    {signed, mockdns.Zone{Err: errors.New("bad answer")}, "temperror"},
		"for the web":           {signed, txt(k.record + "; s=www"), "permerror"},
		"part of the body":      {swap("DKIM-Signature:", "DKIM-Signature: l=10;"), txt(k.record), "policy"},
		"whole length":          {swap("DKIM-Signature:", "DKIM-Signature: l=9999;"), txt(k.record), "policy"},
		"author unsigned":       {swap("From:Subject", "Subject"), txt(k.record), "permerror"},
		"no selector":           {swap("s=s1", "s="), txt(k.record), "permerror"},
		"selector of another":   {swap("s=s1", "s=s1/x"), txt(k.record), "permerror"},
		"no domain":             {swap("d=clinique.example", "d=[192.0.2.1]"), txt(k.record), "permerror"},
		"tag twice":             {swap("DKIM-Signature:", "DKIM-Signature: d=clinique.example;"), txt(k.record), "permerror"},
		"not a tag list":        {swap("DKIM-Signature:", "DKIM-Signature: hello;"), txt(k.record), "permerror"},
		"version":               {swap("v=1", "v=2"), txt(k.record), "permerror"},
		"SHA-1":                 {swap("rsa-sha256", "rsa-sha1"), txt(k.record), "permerror"},
		"too many fields named": {swap("h=From", "h="+strings.Repeat("a:", 300)+"From"), txt(k.record), "policy"},
		"very long":             {swap("h=From", "h="+strings.Repeat("a", 9000)+":From"), txt(k.record), "permerror"},
		"identity elsewhere":    {swap("DKIM-Signature:", "DKIM-Signature: i=@evil.example;"), txt(k.record), "permerror"},
		"identity below":        {swap("DKIM-Signature:", "DKIM-Signature: i=@a.clinique.example;"), txt(k.record + "; t=y:s"), "policy"},
	} {
		t.Run(name, func(t *testing.T) {
			r := zones{k.name(): c.zone}.checker().Check(t.Context(), arrival(c.message))
			if r.DKIM != c.want {
				t.Errorf("DKIM is %q, want %q: %s", r.DKIM, c.want, r.Field)
			}
		})
	}
	t.Run("short key", func(t *testing.T) {
		checker := zones{k.name(): txt(k.record)}.checker()
		checker.Limits.KeyBits = 2048
		if r := checker.Check(t.Context(), arrival(signed)); r.DKIM != "policy" {
			t.Errorf("DKIM is %q", r.DKIM)
		}
	})
}

// A reader that takes "From" with other blanks for the author would take the
// signed one, we show the other one: that must never pass.
func TestSignedAuthorIsTheOneThatIsShown(t *testing.T) {
	k := newRSA(t, "clinique.example", "s1")
	k.options.HeaderCanonicalization = "relaxed"
	signed := k.sign(t, letter)
	checker := zones{k.name(): txt(k.record), "_dmarc.clinique.example.": txt("v=DMARC1; p=reject")}.checker()
	for _, name := range []string{"From\u00a0", "From\v", "\u00a0From", "From\u2003"} {
		message := strings.Replace(signed, "\r\nFrom:", "\r\n"+name+":", 1)
		message = strings.Replace(message, "DKIM-", "From: directeur@clinique.example\r\nDKIM-", 1)
		r := checker.Check(t.Context(), arrival(message))
		if r.DKIM == "pass" || r.DMARC == "pass" {
			t.Errorf("%q: %s", name, r.Field)
		}
	}
	if r := checker.Check(t.Context(), arrival(signed)); r.DMARC != "pass" {
		t.Errorf("unchanged: %s", r.Field)
	}
}

func TestSignaturesOfTheAuthorComeFirst(t *testing.T) {
	ours, list := newEd25519(t, "clinique.example", "s1"), newEd25519(t, "liste.example", "s1")
	z := zones{ours.name(): txt(ours.record), list.name(): txt(list.record), "_dmarc.clinique.example.": txt("v=DMARC1; p=none")}
	message := ours.sign(t, letter)
	for range 10 {
		message = list.sign(t, message)
	}
	r := z.checker().Check(t.Context(), arrival(message))
	if r.DMARC != "pass" || strings.Count(string(r.Field), "dkim=") != origin.DefaultLimits().Signatures {
		t.Errorf("%s", r.Field)
	}
	// The best of the author's decides, not the best of all.
	broken := list.sign(t, strings.Replace(ours.sign(t, letter), "Bonjour", "Bonsoir", 1))
	if r := z.checker().Check(t.Context(), arrival(broken)); r.DKIM != "fail" || r.DMARC != "fail" {
		t.Errorf("%s", r.Field)
	}
	// A signature over a signature stays good.
	list.options.HeaderKeys = []string{"From", "DKIM-Signature"}
	if r := z.checker().Check(t.Context(), arrival(list.sign(t, ours.sign(t, letter)))); strings.Count(string(r.Field), "dkim=pass") != 2 {
		t.Errorf("%s", r.Field)
	}
}

func TestPeerIsNotAskedForSPF(t *testing.T) {
	a := arrival(letter)
	a.Peer = "mss.operateur.example"
	r := zones{"clinique.example.": txt("v=spf1 -all")}.checker().Check(t.Context(), a)
	if r.SPF != "" || r.DKIM != "none" || r.DMARC != "" {
		t.Errorf("%+v", r)
	}
	want := "Authentication-Results: mx.hopital.test;\r\n x-tls-client=pass policy.name=mss.operateur.example;\r\n dkim=none\r\n"
	if string(r.Field) != want {
		t.Errorf("got %s", r.Field)
	}
	// What it signs is looked at all the same.
	k := newEd25519(t, "clinique.example", "s1")
	a.Octets = []byte(k.sign(t, letter))
	z := zones{k.name(): txt(k.record), "_dmarc.clinique.example.": txt("v=DMARC1; p=reject")}
	if r := z.checker().Check(t.Context(), a); r.SPF != "" || r.DKIM != "pass" || r.DMARC != "pass" || r.Policy != "reject" {
		t.Errorf("signed: %s", r.Field)
	}
}

// late is a resolver that answers when it is too late.
type late struct{ mockdns.Resolver }

func (*late) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return []string{"v=spf1 +all", "v=DMARC1; p=none"}, nil
}

func TestNoTime(t *testing.T) {
	k := newEd25519(t, "clinique.example", "s1")
	checker := &origin.Checker{Hostname: hostname, Resolver: &late{}, Limits: origin.Limits{Time: time.Millisecond}}
	r := checker.Check(t.Context(), arrival(k.sign(t, letter)))
	if r.SPF != "temperror" || r.DKIM != "temperror" || r.DMARC != "temperror" || r.Policy != "" {
		t.Errorf("%+v", r)
	}
}
