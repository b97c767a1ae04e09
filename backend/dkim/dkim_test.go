package dkim_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	verifier "github.com/emersion/go-msgauth/dkim"
	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/dkim"
)

const domain = "hopital.example"

// newKey makes a key of the domain.
func newKey(t testing.TB, selector, algorithm string) dkim.Key {
	t.Helper()
	k := dkim.Key{Domain: domain, Selector: selector, File: filepath.Join(t.TempDir(), "key.pem")}
	if err := dkim.Create(k.File, algorithm); err != nil {
		t.Fatal(err)
	}
	return k
}

func open(t testing.TB, keys ...dkim.Key) *dkim.Signer {
	t.Helper()
	s, err := dkim.Open(keys, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sign returns the message as it leaves.
func sign(t testing.TB, s *dkim.Signer, message string) string {
	t.Helper()
	fields, err := s.Sign([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	return string(fields) + message
}

// published is a DNS with the records of keys.
func published(t testing.TB, keys ...dkim.Key) *mockdns.Resolver {
	t.Helper()
	zones := make(map[string]mockdns.Zone)
	for _, k := range keys {
		name, value, err := dkim.Record(k)
		if err != nil {
			t.Fatal(err)
		}
		zones[name+"."] = mockdns.Zone{TXT: []string{value}}
	}
	return &mockdns.Resolver{Zones: zones}
}

// verify tells how many signatures of a message another implementation finds good, of how many.
func verify(t testing.TB, r *mockdns.Resolver, message string) (good, all int) {
	t.Helper()
	found, err := verifier.VerifyWithOptions(strings.NewReader(message), &verifier.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) { return r.LookupTXT(t.Context(), name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		if v.Err == nil {
			good++
		}
	}
	return good, len(found)
}

const letter = "Received: from poste by mx.hopital.example\r\n" +
	"From: Le Medecin <medecin@hopital.example>\r\n" +
	"To: cardiologue@clinique.example,\r\n\tlabo@clinique.example\r\n" +
	"Subject: =?utf-8?q?R=C3=A9sultats?=\r\n" +
	"Date: Mon, 2 Nov 2026 10:00:00 +0100\r\n" +
	"Message-ID: <1@hopital.example>\r\n" +
	"X-MSS-NIL: 123\r\n" +
	"\r\n" +
	"Bonjour,\r\n\r\nles  r\u00e9sultats \tsont joints. \r\n\r\n"

func TestSignedMessagesVerifyElsewhere(t *testing.T) {
	old, young := newKey(t, "s2026", "rsa"), newKey(t, "e2026", "ed25519")
	signer, dns := open(t, old, young), published(t, old, young)
	for name, message := range map[string]string{
		"letter":             letter,
		"no body":            "From: <medecin@hopital.example>\r\n\r\n",
		"no end of header":   "From: <medecin@hopital.example>\r\nSubject: a\r\n",
		"body of blanks":     "From: <medecin@hopital.example>\r\n\r\n \r\n\t\r\n",
		"no last line end":   "From: <medecin@hopital.example>\r\n\r\na\r\n b \tc",
		"blanks everywhere":  "From:\tmedecin@hopital.example \r\n\r\n a  b\t\r\n \r\n\t\tc \t \r\n\r\n\r\n",
		"8-bit header":       "From: M\u00e9decin <medecin@hopital.example>\r\nSubject: \xe9t\xe9\r\n\r\na\r\n",
		"odd field names":    "FROM : medecin@hopital.example\r\nsubject:a\r\n\r\na\r\n",
		"two subjects":       "From: medecin@hopital.example\r\nSubject: a\r\nSubject: b\r\n\r\na\r\n",
		"long header":        "From: medecin@hopital.example\r\nReferences:" + strings.Repeat("\r\n <"+strings.Repeat("r", 60)+"@hopital.example>", 500) + "\r\n\r\na\r\n",
		"long line":          "From: medecin@hopital.example\r\nSubject: " + strings.Repeat("a b  ", 2000) + "\r\n\r\n" + strings.Repeat("a  b", 9000) + "\r\n",
		"header of a list":   "From: medecin@hopital.example\r\nList-Id: <l.hopital.example>\r\nList-Post: NO\r\n\r\na\r\n",
		"line that is none":  "From: medecin@hopital.example\r\nnothing\r\nSubject: a\r\n\r\na\r\n",
		"dots":               "From: medecin@hopital.example\r\n\r\n.\r\n..\r\n",
		"many lines":         "From: medecin@hopital.example\r\n\r\n" + strings.Repeat("\r\n", 100_000) + "a",
		"address as a group": "From: Medecins: medecin@hopital.example;\r\n\r\na\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			signed := sign(t, signer, message)
			if !strings.HasSuffix(signed, "\r\n\r\n") && !strings.Contains(signed, "\r\n\r\n") {
				signed += "\r\n" // the verifier wants an empty line
			}
			if good, all := verify(t, dns, signed); good != 2 || all != 2 {
				t.Errorf("%d of %d signatures are good, want 2 of 2", good, all)
			}
			header, _, _ := strings.Cut(signed, "From")
			for line := range strings.SplitSeq(header, "\r\n") {
				if len(line) > 78 {
					t.Errorf("line of %d octets: %s", len(line), line)
				}
			}
		})
	}
}

func TestChangedMessagesFail(t *testing.T) {
	k := newKey(t, "s2026", "rsa")
	dns := published(t, k)
	signature := strings.TrimSuffix(sign(t, open(t, k), letter), letter)
	for name, change := range map[string][2]string{
		"octet of the body":    {"joints", "jointe"},
		"author":               {"<medecin@", "<directeur@"},
		"second author before": {"From:", "From: directeur@hopital.example\r\nFrom:"},
		"second author behind": {"To:", "From: directeur@hopital.example\r\nTo:"},
		"second subject":       {"Subject:", "Subject: autre\r\nSubject:"},
		"recipient":            {"labo@", "lab@"},
		"patient":              {"X-MSS-NIL: 123", "X-MSS-NIL: 124"},
		"text appended":        {"joints. \r\n", "joints. \r\nP.S.\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(letter, change[0], change[1], 1)
			if changed == letter {
				t.Fatal("nothing to change")
			}
			if good, all := verify(t, dns, signature+changed); good != 0 || all != 1 {
				t.Errorf("%d of %d signatures are good", good, all)
			}
		})
	}
	if good, _ := verify(t, dns, strings.Replace(signature, " t=", " t=1", 1)+letter); good != 0 {
		t.Error("the signature is good with another time")
	}
	for name, change := range map[string][2]string{
		"folding":                  {",\r\n\t", ",\r\n  \t"},
		"white space of a line":    {"joints. \r\n", "joints.\r\n"},
		"empty lines at the end":   {"joints. \r\n\r\n", "joints. \r\n"},
		"trace field of a relay":   {"Received:", "Received: from elsewhere\r\nReceived:"},
		"field that is not signed": {"Received:", "X-Scanned: yes\r\nReceived:"},
		"case of a name":           {"Subject:", "SUBJECT:"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(letter, change[0], change[1], 1)
			if changed == letter {
				t.Fatal("nothing to change")
			}
			if good, _ := verify(t, dns, signature+changed); good != 1 {
				t.Error("the signature does not survive it")
			}
		})
	}
}

func TestOnlyTheAuthorsDomainSigns(t *testing.T) {
	s := open(t, newKey(t, "s2026", "ed25519"))
	for name, header := range map[string]string{
		"other domain":       "From: a@clinique.example\r\n",
		"subdomain":          "From: a@labo.hopital.example\r\n",
		"no author":          "Sender: medecin@hopital.example\r\n",
		"two fields":         "From: medecin@hopital.example\r\nFrom: labo@hopital.example\r\n",
		"two addresses":      "From: medecin@hopital.example, labo@hopital.example\r\n",
		"no address":         "From: Medecin\r\n",
		"author in the body": "Subject: a\r\n\r\nFrom: medecin@hopital.example\r\n",
		"empty":              "",
	} {
		if fields, err := s.Sign([]byte(header + "\r\n")); err != nil || fields != nil {
			t.Errorf("%s: %q, %v", name, fields, err)
		}
	}
	if fields, err := (*dkim.Signer)(nil).Sign([]byte(letter)); err != nil || fields != nil {
		t.Errorf("no signer: %q, %v", fields, err)
	}
	if fields, err := open(t).Sign([]byte(letter)); err != nil || fields != nil {
		t.Errorf("no keys: %q, %v", fields, err)
	}
	for _, from := range []string{"From: medecin@HOPITAL.example\r\n", "FROM: \"medecin, dr\" <medecin@hopital.example>\r\n"} {
		if fields, err := s.Sign([]byte(from + "\r\n")); err != nil || len(fields) == 0 {
			t.Errorf("%s unsigned: %v", from, err)
		}
	}
}

func TestTooManyFieldsGoUnsigned(t *testing.T) {
	s := open(t, newKey(t, "s2026", "ed25519"))
	fields, err := s.Sign([]byte(strings.Repeat("Subject: a\r\n", 1000) + letter))
	if err != nil || fields != nil {
		t.Errorf("%d octets, %v", len(fields), err)
	}
}

func TestFieldOfASignature(t *testing.T) {
	k := newKey(t, "s2026", "ed25519")
	synctest.Test(t, func(t *testing.T) {
		fields, err := open(t, k).Sign([]byte("From: medecin@hopital.example\r\nSubject: a\r\n\r\n"))
		want := "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n" +
			" d=hopital.example; s=s2026;\r\n" +
			fmt.Sprintf(" t=%d;\r\n", time.Now().Unix()) +
			" h=From:From:Subject:Subject;\r\n" +
			" bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n" + // RFC 6376 section 3.4.4
			" b="
		if err != nil || !strings.HasPrefix(string(fields), want) || !bytes.HasSuffix(fields, []byte("\r\n")) {
			t.Errorf("%v\n got %s\nwant %s", err, fields, want)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	good := newKey(t, "s2026", "rsa")
	file := func(mode fs.FileMode, blocks ...*pem.Block) string {
		var text []byte
		for _, b := range blocks {
			text = append(text, pem.EncodeToMemory(b)...)
		}
		name := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(name, text, mode); err != nil {
			t.Fatal(err)
		}
		return name
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveDER, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good.File)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	for name, c := range map[string]struct {
		key  dkim.Key
		want error
	}{
		"readable by others": {dkim.Key{Domain: domain, Selector: "a", File: file(0o640, block)}, dkim.ErrMode},
		"no file":            {dkim.Key{Domain: domain, Selector: "a", File: good.File + "x"}, fs.ErrNotExist},
		"directory":          {dkim.Key{Domain: domain, Selector: "a", File: filepath.Dir(good.File)}, dkim.ErrMode},
		"no PEM":             {dkim.Key{Domain: domain, Selector: "a", File: file(0o600)}, dkim.ErrKey},
		"broken":             {dkim.Key{Domain: domain, Selector: "a", File: file(0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})}, dkim.ErrKey},
		"short RSA":          {dkim.Key{Domain: domain, Selector: "a", File: file(0o600, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(short)})}, dkim.ErrKey},
		"ECDSA":              {dkim.Key{Domain: domain, Selector: "a", File: file(0o600, &pem.Block{Type: "PRIVATE KEY", Bytes: curveDER})}, dkim.ErrKey},
		"no domain":          {dkim.Key{Selector: "a", File: good.File}, dkim.ErrKey},
		"domain with blank":  {dkim.Key{Domain: "hopital example", Selector: "a", File: good.File}, dkim.ErrKey},
		"no selector":        {dkim.Key{Domain: domain, File: good.File}, dkim.ErrKey},
		"selector with more": {dkim.Key{Domain: domain, Selector: "a; d=b", File: good.File}, dkim.ErrKey},
		"same selector":      {good, dkim.ErrKey},
	} {
		if _, err := dkim.Open([]dkim.Key{good, c.key}, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rsaKey, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	old := file(0o600, &pem.Block{Type: "CERTIFICATE"}, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey.(*rsa.PrivateKey))})
	open(t, good, dkim.Key{Domain: domain, Selector: "pkcs1", File: old}) // PKCS #1, behind something else
}

func TestCreateNeverReplaces(t *testing.T) {
	k := newKey(t, "s2026", "ed25519")
	before, err := os.ReadFile(k.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := dkim.Create(k.File, "ed25519"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: %v", err)
	}
	if after, err := os.ReadFile(k.File); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key has changed: %v", err)
	}
	if info, err := os.Stat(k.File); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := dkim.Create(k.File+"2", "dsa"); !errors.Is(err, dkim.ErrKey) {
		t.Errorf("another algorithm: %v", err)
	}
}

func TestZoneLine(t *testing.T) {
	value := strings.Repeat("a", 255) + strings.Repeat("b", 255) + "c"
	want := `n.example. IN TXT "` + value[:255] + `" "` + value[255:510] + `" "c"`
	if got := dkim.ZoneLine("n.example", value); got != want {
		t.Errorf("got %s", got)
	}
	name, value, err := dkim.Record(newKey(t, "s2026", "rsa"))
	if err != nil || name != "s2026._domainkey.hopital.example" || !strings.HasPrefix(value, "v=DKIM1; k=rsa; p=MIIB") {
		t.Errorf("%s %s, %v", name, value, err)
	}
	if n := strings.Count(dkim.ZoneLine(name, value), `" "`); n != 1 {
		t.Errorf("%d borders of strings in a record of %d octets", n, len(value))
	}
}

func TestCheck(t *testing.T) {
	k, other := newKey(t, "s2026", "rsa"), newKey(t, "s2026", "rsa")
	name, value, err := dkim.Record(k)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := dkim.Record(other)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no answer")
	for what, c := range map[string]struct {
		zone mockdns.Zone
		want error
	}{
		"published":     {mockdns.Zone{TXT: []string{value}}, nil},
		"with a flag":   {mockdns.Zone{TXT: []string{strings.Replace(value, "; p=", ";t=s ;p=", 1)}}, nil},
		"defaults":      {mockdns.Zone{TXT: []string{strings.TrimPrefix(value, "v=DKIM1; k=rsa; ")}}, nil},
		"another key":   {mockdns.Zone{TXT: []string{stranger}}, dkim.ErrDifferent},
		"revoked":       {mockdns.Zone{TXT: []string{"v=DKIM1; k=rsa; p="}}, dkim.ErrDifferent},
		"cut off":       {mockdns.Zone{TXT: []string{value[:255]}}, dkim.ErrDifferent},
		"other text":    {mockdns.Zone{TXT: []string{"hello"}}, dkim.ErrDifferent},
		"two records":   {mockdns.Zone{TXT: []string{value, value}}, dkim.ErrDifferent},
		"no text there": {mockdns.Zone{}, dkim.ErrMissing},
		"no answer":     {mockdns.Zone{Err: broken}, broken},
	} {
		r := &mockdns.Resolver{Zones: map[string]mockdns.Zone{name + ".": c.zone}}
		if err := dkim.Check(t.Context(), r, k); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := dkim.Check(t.Context(), &mockdns.Resolver{}, k); !errors.Is(err, dkim.ErrMissing) {
		t.Errorf("no such name: %v", err)
	}
}

// FuzzSign signs what comes: another implementation must agree about its form. A
// carriage return alone never leaves the server.
func FuzzSign(f *testing.F) {
	f.Add("Subject: a\r\n", "a b \r\n\r\n")
	f.Add("To:\r\n a,\r\n\tb\r\nX-MSS-INS:  \r\n", "\t a\r\n  \r\nb")
	f.Add("Subject : a:\r\nDate:\r\n", "\n\nb\n \n")
	k := newKey(f, "e2026", "ed25519")
	s, dns := open(f, k), published(f, k)
	f.Fuzz(func(t *testing.T, header, body string) {
		message := "From: medecin@hopital.example\r\n" + header + "\r\n\r\n" + body
		// No door lets a bare CR or LF in: a verifier may see other lines than there are.
		lines := strings.ReplaceAll(header, "\r\n", "")
		if strings.ContainsAny(lines, "\r\n") || strings.Contains(strings.ReplaceAll(body, "\r\n", ""), "\r") {
			return
		}
		for _, c := range header {
			if c >= 0x80 || c < ' ' && c != '\t' && c != '\r' && c != '\n' {
				return // the verifier reads more names than there are
			}
		}
		signed := sign(t, s, message)
		if signed == message {
			return // several authors
		}
		if good, _ := verify(t, dns, signed); good == 0 {
			t.Errorf("the signature of %q is not good", message)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	for _, algorithm := range []string{"rsa", "ed25519"} {
		for name, size := range map[string]int{"10KiB": 10 << 10, "10MiB": 10 << 20} {
			b.Run(algorithm+"/"+name, func(b *testing.B) {
				s := open(b, newKey(b, "s2026", algorithm))
				line := strings.Repeat("QUJD", 19) + "\r\n"
				message := []byte(letter + strings.Repeat(line, size/len(line)))
				b.SetBytes(int64(len(message)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Sign(message); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
