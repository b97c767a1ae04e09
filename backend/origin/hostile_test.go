package origin_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/authres"
	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/origin"
)

// checkField finds in a field what must not be there: it has to be one field, of printable
// ASCII, folded, of our name, with results that there are.
func checkField(t *testing.T, field []byte) {
	t.Helper()
	text, ok := strings.CutPrefix(string(field), "Authentication-Results: "+hostname+";\r\n")
	if !ok || !strings.HasSuffix(text, "\r\n") {
		t.Fatalf("the field is %q", field)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if len(line) > 998 || !strings.HasPrefix(line, " ") || strings.TrimSpace(line) == "" {
			t.Errorf("line %q", line)
		}
		if strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) >= 0 {
			t.Errorf("characters of line %q", line)
		}
	}
	_, results, err := authres.Parse(strings.TrimPrefix(string(field), "Authentication-Results: "))
	if err != nil || len(results) == 0 {
		t.Fatalf("%d results in %s: %v", len(results), field, err)
	}
	known := []string{"pass", "fail", "softfail", "neutral", "none", "policy", "temperror", "permerror"}
	for _, r := range results {
		var value authres.ResultValue
		switch r := r.(type) {
		case *authres.SPFResult:
			value = r.Value
		case *authres.DKIMResult:
			value = r.Value
		case *authres.DMARCResult:
			value = r.Value
		case *authres.GenericResult:
			value = r.Value
			if r.Method != "x-tls-client" {
				t.Errorf("method %s in %s", r.Method, field)
			}
		default:
			t.Errorf("a %T in %s", r, field)
		}
		if !slices.Contains(known, string(value)) {
			t.Errorf("result %q in %s", value, field)
		}
	}
}

// FuzzCheck lets a stranger choose everything: nothing of it gets into the field but
// names of domains and selectors.
func FuzzCheck(f *testing.F) {
	const inject = "a.example; dmarc=pass (x) \"y\\\r\nX: z"
	f.Add("clinique.example", "labo@clinique.example", "mss.example", letter, "v=spf1 ip4:192.0.2.1 -all", "v=DMARC1; p=none", "v=DKIM1; p=")
	f.Add(inject, "b@"+inject, inject, "From: a@"+inject+"\r\nDKIM-Signature: v=1; a="+inject+"; d=a\"b; s=(c); h=from; bh=; b=\r\n\r\n",
		"v=spf1 exists:%{s}%{l}%{h}%{i}", "v=DMARC1; p="+inject, "k="+inject)
	f.Add("", "", "", "From: a@clinique.example\nDKIM-Signature: v=1;a=rsa-sha256;d=clinique.example;s=s1;h=From;bh=;b=\n",
		"v=spf1 a:%{%%{ redirect=%{h}", "v=DMARC1;=;p", "p=%%;t=s")
	f.Fuzz(func(t *testing.T, helo, from, peer, message, spf, dmarc, key string) {
		z := zones{
			"clinique.example.": {TXT: []string{spf}, A: []string{"192.0.2.3"}}, "_dmarc.clinique.example.": txt(dmarc),
			"s1._domainkey.clinique.example.": txt(key),
		}
		a := &origin.Arrival{Remote: netip.MustParseAddr(remote), Helo: helo, From: from, Peer: peer, Octets: []byte(message)}
		r := z.checker().Check(t.Context(), a)
		checkField(t, r.Field)
		if r.DKIM == "pass" {
			t.Errorf("a signature without key: %s", r.Field)
		}
		if got := origin.Strip(append(r.Field, message...), hostname); bytes.Contains(got, r.Field) && !strings.Contains(message, string(r.Field)) {
			t.Errorf("Strip does not know our own field: %s", r.Field)
		}
	})
}

func TestFieldOfAResult(t *testing.T) {
	k := newEd25519(t, "clinique.example", "s1")
	z := zones{
		"clinique.example.": txt("v=spf1 ip4:192.0.2.1 -all"), "_dmarc.clinique.example.": txt("v=DMARC1; p=reject"), k.name(): txt(k.record),
	}
	message := k.sign(t, letter)
	partial := strings.Replace(message, "DKIM-Signature:", "DKIM-Signature: l=1;", 1)
	r := z.checker().Check(t.Context(), arrival(partial[:strings.Index(partial, "\r\nFrom:")+2]+message))
	want := "Authentication-Results: mx.hopital.test;\r\n" +
		" spf=pass smtp.mailfrom=clinique.example;\r\n" +
		" dkim=pass header.d=clinique.example header.s=s1 header.a=ed25519-sha256;\r\n" +
		" dkim=policy reason=\"body length tag\" header.d=clinique.example header.s=s1\r\n header.a=ed25519-sha256;\r\n" +
		" dmarc=pass polrec.p=reject header.from=clinique.example\r\n"
	if string(r.Field) != want {
		t.Errorf("got %s\nwant %s", r.Field, want)
	}
	checkField(t, r.Field)
	for line := range strings.SplitSeq(string(r.Field), "\r\n") {
		if len(line) > 78 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	long := strings.Repeat(strings.Repeat("a", 60)+".", 4) + "example"
	r = zones{}.checker().Check(t.Context(), arrival("From: a@"+long+"\r\n\r\n"))
	checkField(t, r.Field)
	if !strings.Contains(string(r.Field), "header.from="+long) {
		t.Errorf("a long name is not there: %s", r.Field)
	}
}

// What it costs must not grow faster than the message, whoever wrote it.
func TestHostileMessagesAreCheap(t *testing.T) {
	k := newRSA(t, "clinique.example", "s1")
	z := zones{k.name(): txt(k.record), "clinique.example.": {TXT: []string{"v=spf1 " + strings.Repeat("a ", 20_000)}}}
	relaxed := *k
	relaxed.options.HeaderCanonicalization, relaxed.options.BodyCanonicalization = "relaxed", "relaxed"
	from := "From: labo@clinique.example\r\n"
	blank := k.sign(t, from+"\r\na")
	lines := strings.Repeat("\r\n", 2<<20)
	named := *k
	named.options.HeaderKeys = strings.Split("From"+strings.Repeat(":X", 250), ":")
	for name, message := range map[string]string{
		"empty lines":           strings.TrimSuffix(blank, "a") + lines + "a",
		"empty lines, relaxed":  strings.TrimSuffix(relaxed.sign(t, from+"\r\na"), "a") + lines + "a",
		"signatures":            strings.Repeat("DKIM-Signature: v=1\r\n", 20_000) + from + "\r\n",
		"good signatures":       strings.Repeat(blank[:strings.Index(blank, "\r\nFrom:")+2], 10) + from + "\r\n",
		"lines of a field":      k.sign(t, from+"Subject:"+strings.Repeat(" a\r\n", 3900)+"\r\n"),
		"more lines of a field": from + "X:" + strings.Repeat(" a\r\n", 256<<10) + "\r\n",
		"fields named often":    named.sign(t, from+strings.Repeat("X: a\r\n", 3900)+"\r\n"),
		"authors":               "From: " + strings.Repeat("a@b.example,\r\n ", 64<<10) + "c@d.example\r\n\r\n",
		"no line end":           strings.Repeat("a", 8<<20),
		"colons":                strings.Repeat(":\r\n", 256<<10),
		"our fields":            strings.Repeat("Authentication-Results: a\r\n", 50_000),
	} {
		begin := time.Now()
		r := z.checker().Check(t.Context(), arrival(message))
		checkField(t, r.Field)
		origin.Strip([]byte(message), hostname)
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("%s: %v", name, took)
		} else {
			t.Logf("%s: %v, DKIM %s", name, took, r.DKIM)
		}
	}
}

func TestHostileRecords(t *testing.T) {
	k := newEd25519(t, "clinique.example", "s1")
	signed := k.sign(t, letter)
	for name, text := range map[string]string{
		"empty":              "",
		"control characters": "\x00\r\n; dmarc=pass",
		"not UTF-8":          "v=spf1 include:\xff\xfe -all",
		"8 bits":             "v=DMARC1; p=r\u00e9ject",
		"huge":               strings.Repeat("v=DKIM1; ", 7000),
		"huge macro":         "v=spf1 exists:" + strings.Repeat("%{s}", 15_000) + " -all",
		"macro in macro":     "v=spf1 exists:%{%{s}} include:%{l}.%{o}.%{h} -all",
		"path":               "v=spf1 include:../../etc/passwd a:[::1] -all",
		"base64":             "v=DKIM1; k=ed25519; p=" + strings.Repeat("A", 60_000),
		"RSA of zeros":       "v=DKIM1; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA" + strings.Repeat("A", 300),
	} {
		for _, zone := range []mockdns.Zone{txt(text), txt(slices.Repeat([]string{text}, 100)...)} {
			z := zones{"clinique.example.": zone, "_dmarc.clinique.example.": zone, k.name(): zone}
			r := z.checker().Check(t.Context(), arrival(signed))
			checkField(t, r.Field)
			if r.SPF == "pass" || r.DKIM == "pass" || r.DMARC == "pass" {
				t.Errorf("%s: %s", name, r.Field)
			}
		}
	}
	long := txt("v=DKIM1; p=" + bigKey())
	r := zones{k.name(): long}.checker().Check(t.Context(), arrival(strings.Replace(signed, "ed25519-", "rsa-", 1)))
	if r.DKIM != "policy" || !strings.Contains(string(r.Field), "key too long") {
		t.Errorf("an RSA key of 60,000 bits: %s", r.Field)
	}
}

// bigKey is an RSA key whose use would cost seconds.
func bigKey() string {
	n := new(big.Int).Lsh(big.NewInt(1), 60_000)
	public := &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}
	return base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(public))
}
