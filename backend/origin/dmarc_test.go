package origin_test

import (
	"strings"
	"testing"

	"github.com/foxcpp/go-mockdns"
)

func TestDMARCAlignment(t *testing.T) {
	const spfPass = "v=spf1 ip4:192.0.2.1 -all"
	for name, c := range map[string]struct {
		author string // domain of From
		path   string // domain of the reverse-path, which passes SPF
		signer string // domain of a good signature, "" for none
		record string // at _dmarc of the organisational domain clinique.asso.fr
		want   string
		policy string
	}{
		"SPF of the domain":           {"clinique.asso.fr", "clinique.asso.fr", "", "p=reject", "pass", "reject"},
		"SPF of a subdomain":          {"clinique.asso.fr", "mail.clinique.asso.fr", "", "p=reject", "pass", "reject"},
		"SPF of a subdomain, strict":  {"clinique.asso.fr", "mail.clinique.asso.fr", "", "p=reject; aspf=s", "fail", "reject"},
		"SPF of the parent":           {"a.clinique.asso.fr", "clinique.asso.fr", "", "p=reject", "pass", "reject"},
		"SPF of a sister":             {"a.clinique.asso.fr", "b.clinique.asso.fr", "", "p=reject", "pass", "reject"},
		"SPF of a sister, strict":     {"a.clinique.asso.fr", "b.clinique.asso.fr", "", "p=reject; aspf=s", "fail", "reject"},
		"SPF of a neighbour":          {"clinique.asso.fr", "voisin.asso.fr", "", "p=reject", "fail", "reject"},
		"SPF of the suffix":           {"clinique.asso.fr", "asso.fr", "", "p=reject", "fail", "reject"},
		"SPF of a name that ends so":  {"clinique.asso.fr", "maclinique.asso.fr", "", "p=reject", "fail", "reject"},
		"DKIM of the domain":          {"clinique.asso.fr", "voisin.asso.fr", "clinique.asso.fr", "p=reject", "pass", "reject"},
		"DKIM of a subdomain":         {"clinique.asso.fr", "voisin.asso.fr", "m.clinique.asso.fr", "p=reject", "pass", "reject"},
		"DKIM of a subdomain, strict": {"clinique.asso.fr", "voisin.asso.fr", "m.clinique.asso.fr", "p=reject; adkim=s", "fail", "reject"},
		"DKIM of a neighbour":         {"clinique.asso.fr", "voisin.asso.fr", "voisin.asso.fr", "p=quarantine", "fail", "quarantine"},
		"strict DKIM, relaxed SPF":    {"clinique.asso.fr", "m.clinique.asso.fr", "m.clinique.asso.fr", "p=reject; adkim=s", "pass", "reject"},
		"policy of subdomains":        {"a.clinique.asso.fr", "voisin.asso.fr", "", "p=reject; sp=none", "fail", "none"},
		"policy of the domain itself": {"clinique.asso.fr", "voisin.asso.fr", "", "p=reject; sp=none", "fail", "reject"},
		"percentage":                  {"clinique.asso.fr", "voisin.asso.fr", "", "p=reject; pct=0", "fail", "reject"},
		"test of reject":              {"clinique.asso.fr", "voisin.asso.fr", "", "p=reject; t=y", "fail", "quarantine"},
		"test of quarantine":          {"clinique.asso.fr", "voisin.asso.fr", "", "p=quarantine; t=y", "fail", "none"},
		"no test":                     {"clinique.asso.fr", "voisin.asso.fr", "", "p=quarantine; t=n", "fail", "quarantine"},
		"no policy":                   {"clinique.asso.fr", "voisin.asso.fr", "", "rua=mailto:a@clinique.asso.fr", "fail", "none"},
		"unknown policy":              {"clinique.asso.fr", "voisin.asso.fr", "", "p=destroy", "fail", "none"},
		"nonsense between":            {"clinique.asso.fr", "voisin.asso.fr", "", "hello; ri=x; fo=?; p=REJECT", "fail", "reject"},
		"U-labels":                    {"h\u00f4pital.clinique.asso.fr", "xn--hpital-ixa.clinique.asso.fr", "", "p=reject; aspf=s", "pass", "reject"},
	} {
		t.Run(name, func(t *testing.T) {
			z := zones{"_dmarc.clinique.asso.fr.": txt("other", "v=DMARC1; "+c.record), c.path + ".": txt(spfPass)}
			message := "From: Labo <labo@" + c.author + ">\r\nDate: Mon, 2 Nov 2026 10:00:00 +0100\r\n\r\na\r\n"
			if c.signer != "" {
				k := newEd25519(t, c.signer, "s1")
				z[k.name()] = txt(k.record)
				message = k.sign(t, message)
			}
			a := arrival(message)
			a.From = "retour@" + c.path
			r := z.checker().Check(t.Context(), a)
			if r.SPF != "pass" || r.DMARC != c.want || r.Policy != c.policy {
				t.Errorf("SPF %q, DMARC %q, policy %q; want %q, %q: %s", r.SPF, r.DMARC, r.Policy, c.want, c.policy, r.Field)
			}
		})
	}
}

func TestDMARCRecords(t *testing.T) {
	for name, c := range map[string]struct {
		own, parent  mockdns.Zone // at _dmarc of a.clinique.example and of clinique.example
		want, policy string
	}{
		"none":                         {txt(), txt(), "none", ""},
		"other texts":                  {txt("hello", "v=spf1 -all"), txt("v=DKIM1; p=reject"), "none", ""},
		"version not first":            {txt("p=reject; v=DMARC1"), txt(), "none", ""},
		"version in small letters":     {txt("v=dmarc1; p=reject"), txt(), "none", ""},
		"next version":                 {txt("v=DMARC12; p=reject"), txt(), "none", ""},
		"blanks":                       {txt("v = DMARC1 ;p = reject ;"), txt(), "fail", "reject"},
		"own before the parent's":      {txt("v=DMARC1; p=quarantine; sp=none"), txt("v=DMARC1; p=reject"), "fail", "quarantine"},
		"the parent's":                 {txt(), txt("v=DMARC1; p=none; sp=reject"), "fail", "reject"},
		"two":                          {txt("v=DMARC1; p=none", "v=DMARC1; p=reject"), txt(), "permerror", ""},
		"trouble":                      {servfail(), txt("v=DMARC1; p=reject"), "temperror", ""},
		"trouble at the parent":        {txt(), servfail(), "temperror", ""},
		"only the version":             {txt("v=DMARC1"), txt(), "fail", "none"},
		"control characters, 8 bits":   {txt("v=DMARC1; p=reject\r\nX: y; \x00=\xff; p=none"), txt(), "fail", "none"},
		"very long, very many":         {txt("v=DMARC1;" + strings.Repeat("a=b;", 20_000) + "p=reject"), txt(make([]string, 5000)...), "fail", "reject"},
		"alignment in capital":         {txt("v=DMARC1; p=reject; aspf=S"), txt(), "fail", "reject"},
		"first of a tag that is twice": {txt("v=DMARC1; p=reject; p=none"), txt(), "fail", "reject"},
	} {
		t.Run(name, func(t *testing.T) {
			z := zones{"_dmarc.a.clinique.example.": c.own, "_dmarc.clinique.example.": c.parent}
			r := z.checker().Check(t.Context(), arrival("From: labo@a.clinique.example\r\n\r\n"))
			if r.DMARC != c.want || r.Policy != c.policy {
				t.Errorf("DMARC %q, policy %q; want %q, %q", r.DMARC, r.Policy, c.want, c.policy)
			}
		})
	}
}

func TestDMARCNeedsOneAuthor(t *testing.T) {
	z := zones{
		"_dmarc.clinique.example.": txt("v=DMARC1; p=reject"), "clinique.example.": txt("v=spf1 ip4:192.0.2.1 -all"),
	}
	for header, want := range map[string]string{
		"From: labo@clinique.example\r\n":                          "pass",
		"from :\r\n labo@clinique.example\r\n":                     "pass",
		"From: a@clinique.example, b@Clinique.example\r\n":         "pass",
		"From: \"b@evil.example\" <a@clinique.example>\r\n":        "pass",
		"From: a@clinique.example <b@evil.example>\r\n":            "permerror",
		"From: a@clinique.example, b@evil.example\r\n":             "permerror",
		"From: a@clinique.example\r\nFrom: a@clinique.example\r\n": "permerror",
		"From: a@clinique.example\r\nFrom : b@evil.example\r\n":    "permerror",
		"Subject: a\r\n": "permerror",
		"Subject: a\r\n\r\nFrom: labo@clinique.example\r\n": "permerror",
		"From:\r\n":                           "permerror",
		"From: Labo\r\n":                      "permerror",
		"From: <>\r\n":                        "permerror",
		"From: labo@[192.0.2.1]\r\n":          "permerror",
		"From: labo@clinique.example\x00\r\n": "permerror",
		"From: labo@clin\xffique.example\r\n": "permerror",
		"From: labo@clinique.example\r\nX: " + strings.Repeat("a", 300<<10):  "permerror",
		"From: labo@clinique.example\r\n" + strings.Repeat("X: a\r\n", 5000): "permerror",
	} {
		if r := z.checker().Check(t.Context(), arrival(header)); r.DMARC != want {
			t.Errorf("%.80q: %q, want %q", header, r.DMARC, want)
		}
	}
}

// Without a pass, trouble with one of the two means that nobody knows yet.
func TestDMARCWaitsForTheDNS(t *testing.T) {
	k := newEd25519(t, "clinique.example", "s1")
	signed := k.sign(t, letter)
	record := txt("v=DMARC1; p=reject")
	for name, c := range map[string]struct {
		spf, key mockdns.Zone
		want     string
	}{
		"SPF":             {servfail(), txt(), "temperror"},
		"DKIM":            {txt("v=spf1 -all"), servfail(), "temperror"},
		"SPF, good DKIM":  {servfail(), txt(k.record), "pass"},
		"good SPF, DKIM":  {txt("v=spf1 ip4:192.0.2.1"), servfail(), "pass"},
		"neither trouble": {txt("v=spf1 -all"), txt(), "fail"},
	} {
		z := zones{"_dmarc.clinique.example.": record, "clinique.example.": c.spf, k.name(): c.key}
		if r := z.checker().Check(t.Context(), arrival(signed)); r.DMARC != c.want {
			t.Errorf("%s: %s", name, r.Field)
		}
	}
	// Of a neighbour, it does not matter.
	z := zones{"_dmarc.clinique.example.": record, "voisin.example.": servfail()}
	a := arrival(letter)
	a.From = "a@voisin.example"
	if r := z.checker().Check(t.Context(), a); r.SPF != "temperror" || r.DMARC != "fail" {
		t.Errorf("neighbour: %s", r.Field)
	}
}
