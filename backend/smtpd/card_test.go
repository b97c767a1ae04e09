package smtpd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
	ours "telesphore/tls"
	"telesphore/tls/tlstest"
)

// Who is who: an identity is the group and the number on the card.
const (
	aliceID  = "899700000017"
	bobID    = "899700000025"
	nobodyID = "899700000033"
	partner  = "someone@clinique.test"
)

// cardLab is a lab that takes cards. clinique.test is in the trust space.
type cardLab struct {
	*lab
	persons, organisations *tlstest.Issuer
}

func newCardLab(t testing.TB, limits Limits) *cardLab {
	t.Helper()
	l := newCardServer(t, limits)
	l.serve()
	return l
}

// newCardServer is newCardLab before it serves.
func newCardServer(t testing.TB, limits Limits) *cardLab {
	t.Helper()
	l := &cardLab{lab: newServer(t, limits)}
	l.persons, l.organisations = tlstest.NewIssuer(t, "essai"), tlstest.NewOrganisations(t, "essai")
	l.Auth.Anchors = tlstest.Anchors(t, l.persons, l.organisations)
	l.TLS = l.authority.Identity(t).Server(l.Auth.Anchors)
	l.Router.WhiteList = whiteList(t, "hopital.test=CN=us", "CLINIQUE.test=CN=them")
	l.Router.Outside = []string{"perso.test"}
	l.link(l.alice, "essai|"+aliceID)
	l.link(l.bob, "essai|"+bobID)
	return l
}

func (l *lab) link(id storage.AccountID, identity string) {
	l.t.Helper()
	l.update(func(tx *storage.Tx) error {
		return tx.PutCard(id, &storage.Card{Identity: identity, By: "operator", Linked: time.Now()})
	})
}

func (l *lab) update(f func(*storage.Tx) error) {
	l.t.Helper()
	if err := l.Store.Update(context.Background(), f); err != nil {
		l.t.Fatal(err)
	}
}

// card makes a card of the pinned issuer.
func (l *cardLab) card(id string, terms ours.Terms) *tls.Certificate {
	l.t.Helper()
	c := l.persons.Card(l.t, ours.Person{ID: id, Surname: "ESSAI", GivenName: "CARTE", Terms: terms})
	return &c
}

func (l *cardLab) with(card *tls.Certificate, version uint16) *tls.Config {
	config := l.authority.Client("")
	if card != nil {
		config = l.authority.ClientWith("", *card)
	}
	config.MinVersion, config.MaxVersion = version, version
	return config
}

// both runs a test at both ports with both versions of TLS. connect opens a connection
// with a certificate, nil for none, and says EHLO.
func (l *cardLab) both(t *testing.T, test func(t *testing.T, connect func(card *tls.Certificate) *client)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run("465 "+tls.VersionName(version), func(t *testing.T) {
			at := &lab{Server: l.Server, t: t, tls: l.tls}
			test(t, func(card *tls.Certificate) *client { return at.dialWith(l.with(card, version)) })
		})
		t.Run("587 "+tls.VersionName(version), func(t *testing.T) {
			at := &lab{Server: l.Server, t: t, clear: l.clear}
			test(t, func(card *tls.Certificate) *client {
				c := at.dialClear()
				c.say("STARTTLS", "220 ")
				c = c.secure(l.with(card, version))
				c.say("EHLO client.test", "250-mail.hopital.test")
				return c
			})
		})
	}
}

const (
	mailAlice = "MAIL FROM:<" + alice + ">"
	toPartner = "RCPT TO:<" + partner + ">"
	strong    = "250 2.1.5 "
	weak      = "530 5.7.0 Strong authentication (card or one-time code) is required to write to clinique.test"
)

// What each kind of card is worth by EXTERNAL, without AUTH, and beside the right password.
func TestCards(t *testing.T) {
	l := newCardLab(t, Limits{ConnectionsPerAddress: 1000})
	revoked := l.card(aliceID, ours.Terms{})
	l.persons.Revoke(t, *revoked)
	tlstest.Refresh(t, l.Auth.Anchors)
	foreign := l.persons.Foreign(t).Card(t, ours.Person{ID: aliceID, Surname: "ESSAI", GivenName: "CARTE"})
	const same = "as by EXTERNAL"
	for name, c := range map[string]struct {
		card                  *tls.Certificate
		external, mail, plain string
		rcpt                  string // after PLAIN
	}{
		"none":    {nil, "535 5.7.8 Authentication credentials invalid", "530 5.7.0 Authentication required", "235 ", weak},
		"revoked": {revoked, "535 5.7.8 The card is refused: its certificate has been revoked", same, "235 ", weak},
		"expired": {l.card(aliceID, ours.Terms{NotAfter: time.Now().Add(-time.Minute)}),
			"535 5.7.8 The card is refused: its certificate has expired", same, "235 ", weak},
		"not valid yet": {l.card(aliceID, ours.Terms{NotBefore: time.Now().Add(time.Hour)}),
			"535 5.7.8 The card is refused: its certificate is not valid yet", same, "235 ", weak},
		"foreign": {&foreign, "535 5.7.8 The card is refused: it was issued by an authority", same, "235 ", weak},
		"for signing": {l.card(aliceID, ours.Terms{Edit: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageContentCommitment }}),
			"535 5.7.8 The card is refused: this certificate is not the one", same, "235 ", weak},
		"unlinked": {l.card(nobodyID, ours.Terms{}), "535 5.7.8 This card is not linked to an account yet", same, "235 ", weak},
		"unlinked, with a linked one's name": {l.card(nobodyID, ours.Terms{Edit: func(c *x509.Certificate) { c.EmailAddresses = []string{alice} }}),
			"535 5.7.8 This card is not linked to an account yet", same, "235 ", weak},
		"linked":     {l.card(aliceID, ours.Terms{}), "235 2.7.0 ", "250 2.1.0 ", "235 2.7.0 ", strong},
		"somebody's": {l.card(bobID, ours.Terms{}), "235 2.7.0 ", "550 5.7.1 Sender address not owned", "535 5.7.8 ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mail == same {
				c.mail = c.external
			}
			l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
				connect(c.card).say("AUTH EXTERNAL =", c.external)
				connect(c.card).say(mailAlice, c.mail)
				conn := connect(c.card)
				conn.say("AUTH PLAIN "+plain(alice, password), c.plain)
				if c.rcpt != "" {
					conn.say(mailAlice, "250 ")
					conn.say(toPartner, c.rcpt)
				}
			})
		})
	}
}

func TestExternal(t *testing.T) {
	l := newCardLab(t, Limits{})
	card := l.card(aliceID, ours.Terms{})
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		for _, script := range [][]string{
			{"AUTH EXTERNAL =", "235 2.7.0 "},
			{"auth external", "334 ", "", "235 2.7.0 "},
			{"AUTH EXTERNAL", "334 ", "=", "235 2.7.0 "},
			{"AUTH EXTERNAL " + b64(alice), "235 2.7.0 "},
			{"AUTH EXTERNAL " + b64("Alias@HOPITAL.test"), "235 2.7.0 "},
			{"AUTH EXTERNAL " + b64(bob), "535 5.7.8 ", "AUTH EXTERNAL =", "235 2.7.0 "},
			{"AUTH EXTERNAL " + b64("nobody@hopital.test"), "535 5.7.8 "},
			{"AUTH EXTERNAL " + b64("a\x00b"), "501 5.5.2 "},
			{"AUTH EXTERNAL", "334 ", "*", "501 ", "AUTH EXTERNAL =", "235 "},
			{"AUTH EXTERNAL =", "235 ", "AUTH EXTERNAL =", "503 5.5.1 "},
			{"AUTH PLAIN " + plain(alice, "wrong"), "535 5.7.8 ", mailAlice, "250 2.1.0 "},
		} {
			c := connect(card)
			for i := 0; i < len(script); i += 2 {
				c.say(script[i], script[i+1])
			}
			c.Close()
		}
	})
}

func TestMechanismsOfferedWithACertificate(t *testing.T) {
	l := newCardLab(t, Limits{})
	for card, want := range map[*tls.Certificate]bool{nil: false, l.card(aliceID, ours.Terms{}): true, l.card(nobodyID, ours.Terms{NotAfter: time.Now().Add(-time.Hour)}): true} {
		c := l.dialWith(l.with(card, tls.VersionTLS13))
		r := c.say("EHLO x", "250-")
		if got := slices.ContainsFunc(r, func(s string) bool { return strings.HasPrefix(s, "250-AUTH ") && strings.Contains(s, " EXTERNAL") }); got != want {
			t.Errorf("EXTERNAL offered: %v, want %v: %q", got, want, r)
		}
	}
}

// Thunderbird sends with a card and no AUTH.
func TestCertificateAlone(t *testing.T) {
	l := newCardLab(t, Limits{})
	card := l.card(aliceID, ours.Terms{})
	sent := 0
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		c := connect(card)
		c.deliver(letter, "250 2.0.0 ")
		sent++
		c.say("AUTH PLAIN "+plain(alice, password), "503 5.5.1 ")
		c.begin()
		c.say("AUTH EXTERNAL =", "503 5.5.1 ")
		c.say(toPartner, strong)
		c.say("RSET", "250 ")
		c.say("MAIL FROM:<>", "250 ")
		c.say("RSET", "250 ")
		c.say("MAIL FROM:<"+bob+">", "550 5.7.1 Sender address not owned by user")

		c = connect(card)
		c.say("MAIL FROM:<not an address>", "50")
		c.say("MAIL FROM:<alias@hopital.test>", "250 ")
	})
	for _, m := range l.inbox() {
		if !strings.Contains(m, "with ESMTPSA id ") {
			t.Errorf("Received is not of an authenticated session: %.300q", m)
		}
	}
	if got := len(l.inbox()); got != sent {
		t.Errorf("%d messages arrived, %d were sent", got, sent)
	}
}

// A card that is refused at MAIL leaves the way of the password open.
func TestRefusedCardThenPassword(t *testing.T) {
	l := newCardLab(t, Limits{})
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		c := connect(l.card(nobodyID, ours.Terms{}))
		c.say(mailAlice, "535 5.7.8 ")
		c.say("AUTH PLAIN "+plain(alice, password), "235 2.7.0 ")
		c.deliver(letter, "250 2.0.0 ")
	})
}

func TestCardTriesAreCounted(t *testing.T) {
	l := newCardLab(t, Limits{AuthFailures: 3})
	c := l.dialWith(l.with(l.card(nobodyID, ours.Terms{}), 0))
	c.say(mailAlice, "535 5.7.8 ")
	c.say("AUTH EXTERNAL =", "535 5.7.8 ")
	c.say(mailAlice, "421 4.7.0 Too many authentication failures")
	c.wantClosed()
}

// A card is linked when it comes with the password, if that is expected.
func TestFirstUse(t *testing.T) {
	l := newCardLab(t, Limits{})
	card := l.card(nobodyID, ours.Terms{})
	l.update(func(tx *storage.Tx) error {
		if err := tx.UnlinkCard(l.alice, "essai|"+aliceID); err != nil {
			return err
		}
		return tx.PutLinkWindow(l.alice, &storage.LinkWindow{Expected: "essai|" + nobodyID})
	})
	c := l.dialWith(l.with(card, 0))
	c.say("AUTH PLAIN "+plain(alice, "wrong"), "535 5.7.8 ")
	c.say("AUTH EXTERNAL =", "535 5.7.8 This card is not linked")
	c.say("AUTH LOGIN", "334 ")
	c.say(b64(alice), "334 ")
	c.say(b64(password), "235 ")
	c.say(mailAlice, "250 ")
	c.say(toPartner, strong)
	l.dialWith(l.with(card, 0)).say(mailAlice, "250 ")
}

func TestOrganisationCertificate(t *testing.T) {
	l := newCardLab(t, Limits{})
	cert := l.organisations.Organisation(t, ours.Organisation{Unit: "1750000001", Name: "LABO", Org: "HOPITAL"})
	l.update(func(tx *storage.Tx) error {
		return tx.PutCard(l.alice, &storage.Card{Identity: "essai|1750000001|LABO", Organisation: true, By: "operator"})
	})
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		connect(&cert).deliver(letter, "250 ")
		connect(&cert).say("MAIL FROM:<"+bob+">", "550 5.7.1 Sender address not owned by user")
		c := connect(&cert)
		c.say("AUTH EXTERNAL "+b64(bob), "535 5.7.8 ")
		c.say("AUTH EXTERNAL "+b64(alice), "235 ")
		c.begin()
		c.say("DATA", "354 ")
		c.send("%s\r\n.\r\n", strings.Replace(letter, "alice@", "bob@", 1))
		c.want("550 5.7.1 ")
	})
}

// A session that is resumed brings the certificate back, not the verdict on it.
func TestResumptionWithARevokedCard(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			l := newCardLab(t, Limits{})
			card := l.card(aliceID, ours.Terms{})
			config := l.with(card, version)
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			resumed := func(want bool) *client {
				c := l.dialWith(config)
				if got := c.Conn.(*tls.Conn).ConnectionState().DidResume; got != want {
					t.Fatalf("resumed: %v, want %v", got, want)
				}
				return c
			}
			resumed(false).say("AUTH EXTERNAL =", "235 ")
			resumed(true).say(mailAlice, "250 ")
			l.persons.Revoke(t, *card)
			tlstest.Refresh(t, l.Auth.Anchors)
			resumed(true).say("AUTH EXTERNAL =", "535 5.7.8 The card is refused: its certificate has been revoked")
			c := resumed(true)
			c.say(mailAlice, "535 5.7.8 The card is refused: its certificate has been revoked")
			c.say("AUTH PLAIN "+plain(alice, password), "235 ")
			c.say(mailAlice, "250 ")
			c.say(toPartner, weak)
		})
	}
}

func TestListOutOfDate(t *testing.T) {
	l := newCardLab(t, Limits{})
	l.persons.WriteList(t, func(r *x509.RevocationList) {
		r.ThisUpdate, r.NextUpdate = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Minute)
	})
	_ = l.Auth.Anchors.Refresh(t.Context()) // that the list is old may be its error
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		card := l.card(aliceID, ours.Terms{})
		connect(card).say("AUTH EXTERNAL =", "454 4.7.0 ")
		c := connect(card)
		for range l.Limits.AuthFailures + 1 { // it is no guess
			c.say(mailAlice, "454 4.7.0 ")
		}
		c.say("AUTH PLAIN "+plain(alice, password), "235 ")
	})
}

// Whose log-in ends is told at once when idle, else at the next command, and in the
// middle of a message at its end.
func TestLogInEnds(t *testing.T) {
	l := newCardLab(t, Limits{})
	card := l.card(aliceID, ours.Terms{})
	idle, busy := l.dialWith(l.with(card, 0)), l.dialWith(l.with(card, 0))
	idle.say("AUTH EXTERNAL =", "235 ")
	busy.begin()
	busy.say("DATA", "354 ")
	busy.send("%s", letter)
	other := l.login()
	l.persons.Revoke(t, *card)
	tlstest.Refresh(t, l.Auth.Anchors)
	l.Auth.Recheck(t.Context())
	idle.want("421 4.7.0 The log-in has ended: log in again")
	idle.wantClosed()
	busy.send(".\r\n")
	busy.want("421 4.7.0 The log-in has ended: log in again")
	busy.wantClosed()
	l.wantMail()
	other.deliver(letter, "250 ")
	l.await(func() bool { return l.accounts[l.alice] == 1 })
	if got := l.Auth.Sessions(l.alice); len(got) != 1 {
		t.Errorf("open log-ins: %+v, want the one by password", got)
	}
}

// What a user may write to, and what else is said.
func TestZones(t *testing.T) {
	for language, texts := range map[string][3]string{
		"": {
			"530 5.7.0 Strong authentication (card or one-time code) is required to write to clinique.test",
			"is not connected yet: this server cannot send mail there for now",
			"is not in the trust space: write to an address at hopital.test or at a domain of the trust space",
		},
		"fr": {
			"530 5.7.0 Une authentification forte (carte ou code a usage unique) est requise pour ecrire a clinique.test",
			"n'est pas encore raccorde : ce serveur ne peut pas y envoyer de courrier pour le moment",
			"ne fait pas partie de l'espace de confiance : ecrivez a une adresse dans hopital.test ou un domaine de l'espace de confiance",
		},
	} {
		l := newCardServer(t, Limits{Errors: 100})
		l.Language, l.Auth.Language = language, language
		l.Router.Outside = append(l.Router.Outside, "loin.test")
		l.Reaches = func(domain string) bool { return domain != "loin.test" }
		l.serve()
		byPassword, byCard := l.login(), l.dialWith(l.with(l.card(aliceID, ours.Terms{}), 0))
		for c, trusted := range map[*client]string{byPassword: texts[0], byCard: strong} {
			c.begin() // our own domain is no trust space, whatever the list says
			c.say(toPartner, trusted)
			c.say("RCPT TO:<Someone@Clinique.TEST>", trusted)
			c.say("RCPT TO:<someone@perso.test>", "250 2.1.5 ")
			c.say("RCPT TO:<someone@loin.test>", "550 5.7.1 loin.test "+texts[1])
			c.say("RCPT TO:<someone@sub.clinique.test>", "550 5.7.1 sub.clinique.test "+texts[2])
			c.say("RCPT TO:<someone@ferme.test>", "550 5.7.1 ferme.test "+texts[2])
			c.say("DATA", "354 ")
			c.send("%s.\r\n", letter)
			c.want("250 ")
		}
		l.wantMail(letter, letter)
	}
}

// A long domain must not make a reply longer than RFC 5321 section 4.5.3.1.5 allows.
func TestRepliesAreShort(t *testing.T) {
	domain := strings.Repeat(strings.Repeat("d", 49)+".", 5) + "xyz"
	for _, language := range []string{"en", "fr"} {
		p := phrases{language}
		for _, r := range []error{
			p.forbidden(&auth.Refusal{Code: auth.TooWeak}, domain), p.notConnected(domain), p.unlisted(domain, []string{strings.Repeat("o", 60)}), p.left(domain, time.Now()),
			p.stranger(domain), p.gone(domain, time.Now()), p.uncertified(domain), p.ours(domain), p.unaligned(), p.sentEnough(1e6, 1e6, time.Now()), p.metEnough(1e6, time.Now()),
		} {
			if n := len(fmt.Sprint(r)) + 2; n > 512 {
				t.Errorf("%d octets: %v", n, r)
			}
		}
	}
}
