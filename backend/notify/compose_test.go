package notify_test

import (
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/notify"
	"telesphore/storage"
)

const (
	account = "medecin@hopital.test"
	contact = "medecin@perso.test"
	code    = "40718265"
)

func isCode(k auth.Kind) bool { return k == auth.LogInCode || k == auth.ContactCode }

func newNotice(kind auth.Kind, lang string) *auth.Notice {
	n := &auth.Notice{
		Kind: kind, Address: account, Contact: contact, Lang: lang,
		When: time.Date(2026, 11, 2, 10, 4, 0, 0, time.FixedZone("", 3600)),
		Card: "MEDECIN Exercice 899700000001", Name: "téléphone", Proto: "imap",
		Remote: netip.MustParseAddr("203.0.113.195"),
	}
	if isCode(kind) {
		n.Code, n.Life = code, 10*time.Minute
	}
	return n
}

// outside returns the mail that a notice makes for the contact address.
func outside(t *testing.T, router *backend.Router, notice *auth.Notice) string {
	t.Helper()
	n := &notify.Notifier{Router: router, Logger: quiet()}
	if err := n.Notice(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
	all := queued(t, router.Store)
	q := all[len(all)-1]
	if q.From != "" || q.Priority != storage.Urgent || len(q.Deliveries) != 1 || q.Deliveries[0].Address != notice.Contact {
		t.Errorf("envelope %+v", q)
	}
	return octets(t, router.Store, q.ID)
}

// read parses a mail and returns its header and its decoded body.
func read(t *testing.T, octets string) (mail.Header, string) {
	t.Helper()
	if bare := strings.ReplaceAll(octets, "\r\n", ""); strings.ContainsAny(bare, "\r\n\x00") {
		t.Errorf("bare CR, LF or NUL in %q", octets)
	}
	for i := range len(octets) {
		if octets[i] >= 0x80 {
			t.Fatalf("not 7 bits: %q", octets)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(octets))
	if err != nil {
		t.Fatal(err)
	}
	body := m.Body
	if m.Header.Get("Content-Transfer-Encoding") == "quoted-printable" {
		body = quotedprintable.NewReader(body)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return m.Header, strings.ReplaceAll(string(text), "\r\n", "\n")
}

func TestEveryKindInEveryLanguage(t *testing.T) {
	router := newRouter(t)
	for kind := auth.LogInCode; kind <= auth.AppPasswordRemoved; kind++ {
		for _, lang := range []string{"fr", "en"} {
			header, body := read(t, outside(t, router, newNotice(kind, lang)))
			for name, want := range map[string]string{
				"From": "postmaster@hopital.test", "To": contact, "Date": "Mon, 02 Nov 2026 10:04:00 +0100",
				"Auto-Submitted": "auto-generated", "Content-Language": lang, "Mime-Version": "1.0",
			} {
				if got := header[name]; len(got) != 1 || got[0] != want {
					t.Errorf("kind %d, %s: %s is %q, want %q", kind, lang, name, got, want)
				}
			}
			if id := header.Get("Message-ID"); !regexp.MustCompile(`^<[A-Z2-7]{26}@hopital\.test>$`).MatchString(id) {
				t.Errorf("kind %d, %s: Message-ID %q", kind, lang, id)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(header.Get("Subject"))
			if err != nil || subject == "" || len(header.Get("Subject")) > 200 {
				t.Errorf("kind %d, %s: subject %q, %v", kind, lang, subject, err)
			}
			for _, want := range facts(kind) {
				if !strings.Contains(body, want) {
					t.Errorf("kind %d, %s: body does not say %q:\n%s", kind, lang, want, body)
				}
			}
			if strings.ContainsAny(body, "{}") {
				t.Errorf("kind %d, %s: something was not filled in:\n%s", kind, lang, body)
			}
		}
	}
}

// facts are what a mail of that kind must say.
func facts(kind auth.Kind) []string {
	facts := []string{account, "IMAP", "203.0.113.195", "2026", "10:04 (UTC+01:00)"}
	switch kind {
	case auth.LogInCode, auth.ContactCode:
		facts = append(facts, "\n\n"+code+"\n\n", " 10 minutes")
	case auth.CardLinked, auth.CardRenewed:
		facts = append(facts, "MEDECIN Exercice 899700000001", "telesphore card unlink "+account+"\n")
	case auth.CardRemoved, auth.CardMismatch:
		facts = append(facts, "MEDECIN Exercice 899700000001")
	case auth.AppPasswordMade, auth.AppPasswordRemoved:
		facts = append(facts, "téléphone")
	}
	return facts
}

func TestOnlyTheCodeLooksLikeACode(t *testing.T) {
	router := newRouter(t)
	for _, kind := range []auth.Kind{auth.LogInCode, auth.ContactCode} {
		for _, lang := range []string{"fr", "en"} {
			for _, c := range []struct{ address, remote, code string }{
				{account, "2001:db8:1234:5678:9012:3456:7890:1234", code},
				{"10003456789@hopital.test", "fe80::1%12345678", code},
				{"a1234567.12345678-123456@x20261102.test", "::ffff:203.0.113.195", code},
				{"a1234567.12345678-123456@x20261102.test", "::ffff:203.0.113.195", "000000"},
				{"é12345678é@hopital.test", "", code},
			} {
				run := regexp.MustCompile(fmt.Sprintf(`[0-9]{%d,}`, len(c.code)))
				notice := newNotice(kind, lang)
				notice.Address, notice.Remote, notice.Code = c.address, netip.Addr{}, c.code
				if c.remote != "" {
					notice.Remote = netip.MustParseAddr(c.remote)
				}
				header, body := read(t, outside(t, router, notice))
				if got := run.FindAllString(body, -1); len(got) != 1 || got[0] != c.code {
					t.Errorf("%s: runs of digits %q in\n%s", c.address, got, body)
				}
				if !strings.Contains(body, "\n\n"+c.code+"\n\n") {
					t.Errorf("the code does not stand alone:\n%s", body)
				}
				if got := header.Get("Content-Transfer-Encoding"); got != "7bit" {
					t.Errorf("encoding %q, want 7bit", got)
				}
				if got := header.Get("Content-Type"); got != "text/plain; charset=us-ascii" {
					t.Errorf("type %q", got)
				}
				for line := range strings.Lines(body) {
					if len(line) > 79 {
						t.Errorf("long line %q", line)
					}
				}
			}
		}
	}
}

func TestNamesMakeNoHeadersAndNoLines(t *testing.T) {
	router := newRouter(t)
	for _, evil := range []string{"x\r\nBcc: y@evil.test\r\n\r\nz", "x\n\nBcc: y", "x\rBcc: y", "x\u2028Bcc: y", "a\x00b\x1b[2Jc\u202ed\xff", "{account}{code}", strings.Repeat("é", 5000)} {
		for _, kind := range []auth.Kind{auth.CardLinked, auth.AppPasswordMade} {
			notice := newNotice(kind, "fr")
			notice.Card, notice.Name, notice.Proto = evil, evil, "imap\r\nBcc: y"
			header, body := read(t, outside(t, router, notice))
			if header.Get("Bcc") != "" || len(header) != 10 {
				t.Errorf("%q: header %v", evil, header)
			}
			if strings.Contains(body, "\nBcc") || strings.ContainsAny(body, "\r\x00\x1b\u202e\u2028") || len(body) > 3000 {
				t.Errorf("%q: body\n%q", evil, body)
			}
			if strings.HasPrefix(evil, "{") && !strings.Contains(body, evil) {
				t.Errorf("a name was taken for a blank to fill in:\n%s", body)
			}
		}
	}
}
