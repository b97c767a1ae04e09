package smtpd

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/storage"
	"telesphore/storage/storagetest"
	ours "telesphore/tls"
	"telesphore/tls/tlstest"
)

// whiteList is a list in a file, with an entry for each "domain=name of a certificate".
func whiteList(t testing.TB, entries ...string) *ours.WhiteList {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.xml")
	writeWhiteList(t, file, time.Now().Add(-time.Hour), entries...)
	w, err := ours.OpenWhiteList(ours.WhiteListOptions{
		Source: file, Normal: backend.ParseDomain, MaxLoss: 100, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func writeWhiteList(t testing.TB, file string, generated time.Time, entries ...string) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, `<ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema"><DateDeGeneration>%s</DateDeGeneration><ListeDomaines>`,
		generated.UTC().Format(time.RFC3339))
	for _, e := range entries {
		domain, name, _ := strings.Cut(e, "=")
		fmt.Fprintf(&b, "<Domaine><Nom>%s</Nom><DNCertificatOperateur>%s</DNCertificatOperateur></Domaine>", domain, name)
	}
	b.WriteString("</ListeDomaines></ListeBlancheMSSante>")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

const (
	labo    = "labo@hopital.test"
	lilas   = "CN=mail.clinique.test,OU=1310000001,O=CLINIQUE,C=FR" // operator of clinique.test and maternite.test
	rhone   = "CN=mail.cabinet.test,OU=1690000001,O=CABINET,C=FR"   // operator of cabinet.test
	outside = "someone@perso.test"
)

// exchangeLab is a door for other servers: two operators, a laboratory's system, an ordinary
// domain. STARTTLS at l.clear, TLS at once at l.tls.
type exchangeLab struct {
	*cardLab
	labo storage.AccountID
}

// newExchange is newExchangeLab before it serves.
func newExchange(t testing.TB, limits Limits) *exchangeLab {
	t.Helper()
	l := &exchangeLab{cardLab: newCardServer(t, limits)}
	phc, err := l.Auth.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	l.labo = storagetest.Account(t, l.Store, phc, labo, "resultats@hopital.test")
	l.update(func(tx *storage.Tx) error {
		return tx.PutCard(l.labo, &storage.Card{Identity: "essai|1750000001|LABO", Organisation: true, By: "operator", Linked: time.Now()})
	})
	list := whiteList(t, "clinique.test="+lilas, "maternite.test="+lilas, "cabinet.test="+rhone)
	l.Router.WhiteList = list
	l.Exchange = &Exchange{Anchors: l.Auth.Anchors, Peers: list, Systems: []System{{Account: labo}}}
	return l
}

func newExchangeLab(t testing.TB, limits Limits) *exchangeLab {
	t.Helper()
	l := newExchange(t, limits)
	l.serve()
	return l
}

// clinique is the certificate of the operator of clinique.test.
func (l *exchangeLab) clinique(terms ours.Terms) *tls.Certificate {
	return l.certify(l.organisations, "1310000001", "mail.clinique.test", "CLINIQUE", terms)
}

// laboratory is the certificate of our system.
func (l *exchangeLab) laboratory(terms ours.Terms) *tls.Certificate {
	return l.certify(l.organisations, "1750000001", "LABO", "HOPITAL", terms)
}

func (l *exchangeLab) certify(issuer *tlstest.Issuer, unit, name, org string, terms ours.Terms) *tls.Certificate {
	l.t.Helper()
	c := issuer.Organisation(l.t, ours.Organisation{Unit: unit, Name: name, Org: org, Terms: terms})
	return &c
}

// connect opens a connection by STARTTLS with a certificate, nil for none, and says EHLO.
func (l *exchangeLab) connect(card *tls.Certificate) *client {
	l.t.Helper()
	c := l.dialClear()
	c.say("STARTTLS", "220 ")
	c = c.secure(l.with(card, 0))
	c.say("EHLO client.test", "250-mail.hopital.test")
	return c
}

// as is a letter whose From field has a value.
func as(author string) string { return strings.Replace(letter, "Alice <"+alice+">", author, 1) }

// post sends a message to bob, and expects a refusal, or its acceptance, at some point
// of the transaction: want begins with a command.
func (c *client) post(from, message, want string) {
	c.t.Helper()
	command, reply, _ := strings.Cut(want, " ")
	for _, step := range [][2]string{{"MAIL", "MAIL FROM:<" + from + ">"}, {"RCPT", "RCPT TO:<" + bob + ">"}, {"DATA", "DATA"}} {
		expected := "2"
		switch {
		case step[0] == "DATA":
			expected = "354 "
		case step[0] == command:
			expected = reply
		}
		c.say(step[1], expected)
		if step[0] == command && command != "DATA" {
			c.say("RSET", "250 ")
			return
		}
	}
	c.send("%s.\r\n", message)
	c.want(reply)
}
