package smtpd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"telesphore/backend/auth"
	"telesphore/storage"
	ours "telesphore/tls"
)

var (
	here      = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	elsewhere = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
)

// newSystem is a door with rules for the laboratory.
func newSystem(t *testing.T, rules System) *exchangeLab {
	t.Helper()
	l := newExchange(t, Limits{Errors: 100})
	rules.Account = labo
	l.Exchange.Systems = []System{{Account: "nobody@hopital.test"}, rules}
	l.serve()
	return l
}

// A system is known by its certificate alone, and writes like a user, as itself.
func TestSystemByCertificate(t *testing.T) {
	l := newSystem(t, System{})
	card := l.laboratory(ours.Terms{})
	c := l.connect(card)
	c.post("", as(labo), taken) // a receipt
	c.post(labo, as(labo), taken)
	c.post("Resultats@hopital.test", as("Labo <labo@hopital.test>, resultats@hopital.test"), taken)
	for _, from := range []string{alice, "nobody@hopital.test", outside, fromNowhere} {
		c.post(from, as(from), "MAIL 550 5.7.1 Sender address not owned by user")
	}
	c.post(fromLilas, as(fromLilas), "MAIL 550 5.7.1 Sender address not owned by user")
	for _, author := range []string{alice, fromLilas, outside, labo + ", " + alice, labo + "\r\nSender: " + alice, labo + "\r\nResent-From: " + alice} {
		c.post(labo, as(author), "DATA 550 5.7.1 From, Sender and Resent-From must be addresses of the user")
	}
	c.say("MAIL FROM:<"+labo+">", "250 ")
	c.say("RCPT TO:<"+fromLilas+">", "250 ")
	c.say("RCPT TO:<"+outside+">", "250 ")
	c.say("RCPT TO:<"+fromNowhere+">", "550 5.7.1 ferme.test is not in the trust space: write to")
	for range 50 { // it harvests nothing
		c.say("RCPT TO:<nobody@hopital.test>", "550 5.1.1 ")
	}
	c.say("DATA", "354 ")
	c.send("%s.\r\n", as(labo))
	c.want("250 ")
	if q := l.queued(); len(q) != 1 || q[0].Account != l.labo || q[0].From != labo || len(q[0].Deliveries) != 2 {
		t.Errorf("queue: %+v", q)
	}
	got := l.inbox()[0]
	if !strings.Contains(got, "with ESMTPSA id ") || !strings.Contains(got, "(using TLS 1.3 with TLS_") || strings.Contains(got, "Authentication-Results") {
		t.Errorf("received %q", got)
	}
}

// One certificate may be an operator's and a system's: what it is for shows at each MAIL.
func TestOperatorThatIsASystem(t *testing.T) {
	l := newExchange(t, Limits{})
	l.update(func(tx *storage.Tx) error {
		return tx.PutCard(l.labo, &storage.Card{Identity: "essai|1310000001|mail.clinique.test", Organisation: true, By: "operator"})
	})
	l.serve()
	c := l.connect(l.clinique(ours.Terms{}))
	c.post(labo, as(labo), taken)
	c.post(fromLilas, as(fromLilas), taken)
	c.say("MAIL FROM:<"+fromLilas+">", "250 ")
	c.say("RCPT TO:<"+outside+">", "550 5.7.1 This server relays")
	c.say("RSET", "250 ")
	c.post(fromLilas, as(labo), "DATA 550 5.7.1 ")
	c.post(labo, as(fromLilas), "DATA 550 5.7.1 ")
	for i, want := range []string{"with ESMTPSA id ", "with ESMTPS id "} {
		if got := l.inbox(); len(got) != 2 || !strings.Contains(got[i], want) {
			t.Errorf("message %d: %q", i+1, got)
		}
	}
}

// The addresses of the configuration take the place of the account's.
func TestSystemSenders(t *testing.T) {
	l := newSystem(t, System{Senders: []string{"ne-pas-repondre@hopital.test", fromLilas}})
	c := l.connect(l.laboratory(ours.Terms{}))
	c.post("ne-pas-repondre@hopital.test", as("ne-pas-repondre@hopital.test"), taken)
	c.post(labo, as(labo), "MAIL 550 5.7.1 Sender address not owned")
	c.post("ne-pas-repondre@hopital.test", as(labo), "DATA 550 5.7.1 ")
	c.post(fromLilas, as(fromLilas), "MAIL 550 5.7.1 Sender address not owned") // another operator's, whatever the configuration says
}

// Passwords are for the networks of systems.
func TestSystemByPassword(t *testing.T) {
	announced := func(c *client) bool {
		return slices.ContainsFunc(c.say("EHLO x", "250-"), func(s string) bool { return strings.Contains(s, "AUTH ") })
	}
	t.Run("from its network", func(t *testing.T) {
		l := newSystem(t, System{Networks: here})
		c := l.connect(nil)
		if !announced(c) {
			t.Error("AUTH is not announced")
		}
		c.say("AUTH PLAIN "+plain(labo, "wrong"), "535 5.7.8 Authentication credentials invalid")
		c.say("AUTH PLAIN "+plain(alice, password), "535 5.7.8 Authentication credentials invalid") // right, but no system
		c.say("MAIL FROM:<"+alice+">", "550 5.7.1 ")
		c.say("MAIL FROM:<"+labo+">", "550 5.7.1 ")
		c.say("AUTH PLAIN "+plain(labo, password), "235 2.7.0 ")
		c.say("MAIL FROM:<"+labo+">", "250 ")
		c.say("RCPT TO:<"+fromLilas+">", "250 ") // the network is the second factor
	})
	t.Run("from elsewhere", func(t *testing.T) {
		l := newSystem(t, System{Networks: elsewhere})
		c := l.connect(nil)
		if announced(c) {
			t.Error("AUTH is announced")
		}
		c.say("AUTH PLAIN "+plain(labo, password), "503 5.5.1 ")
		c = l.connect(l.laboratory(ours.Terms{}))
		c.say("MAIL FROM:<"+labo+">", "535 5.7.8 ")
		c.post(outside, as(outside), taken) // like anybody
	})
	t.Run("without network", func(t *testing.T) {
		l := newSystem(t, System{})
		if announced(l.connect(l.laboratory(ours.Terms{}))) {
			t.Error("AUTH is announced")
		}
	})
	t.Run("where only cards are good enough", func(t *testing.T) {
		l := newExchange(t, Limits{})
		l.Auth.Policy.Default = auth.Levels{TrustSpace: auth.LevelCard}
		l.Exchange.Systems = []System{{Account: labo, Networks: here}}
		l.serve()
		c := l.connect(nil)
		c.say("AUTH PLAIN "+plain(labo, password), "235 2.7.0 ")
		c.say("MAIL FROM:<"+labo+">", "250 ")
		c.say("RCPT TO:<"+fromLilas+">", "530 5.7.0 ")
		c = l.connect(l.laboratory(ours.Terms{}))
		c.say("MAIL FROM:<"+labo+">", "250 ")
		c.say("RCPT TO:<"+fromLilas+">", "250 ")
	})
}

// Guesses end the connection, those with a right password of no system among them.
func TestSystemGuesses(t *testing.T) {
	l := newExchange(t, Limits{AuthFailures: 3})
	l.Exchange.Systems = []System{{Account: labo, Networks: here}}
	l.serve()
	c := l.connect(nil)
	c.say("AUTH PLAIN "+plain(alice, password), "535 5.7.8 ")
	c.say("AUTH PLAIN "+plain(alice, "wrong"), "535 5.7.8 ")
	c.say("AUTH PLAIN "+plain(alice, password), "421 4.7.0 ")
	c.wantClosed()
}

func TestSystemLimits(t *testing.T) {
	l := newSystem(t, System{PerDay: 1, PerMinute: 6, Message: 1000})
	c := l.connect(l.laboratory(ours.Terms{}))
	c.say("MAIL FROM:<"+labo+"> SIZE=1001", "552 5.3.4 ")
	c.post(labo, as(labo)+strings.Repeat("x", 1000)+"\r\n", "DATA 552 5.3.4 ") // one recipient
	c.say("MAIL FROM:<"+labo+"> SIZE=1000", "250 ")
	c.say("RCPT TO:<"+outside+">", "250 ")
	c.say("RCPT TO:<"+fromLilas+">", "450 4.7.1 1 of 1 messages sent today: more from ")
	c.say("RCPT TO:<"+bob+">", "250 ")
	c.say("RCPT TO:<"+alice+">", "250 ")
	c.say("RCPT TO:<"+labo+">", "250 ")
	c.say("RCPT TO:<"+bob+">", "450 4.7.1 Too many recipients in a minute")
	c.say("DATA", "354 ")
	c.send("%s.\r\n", as(labo))
	c.want("250 ")
	other := l.connect(l.laboratory(ours.Terms{}))
	other.say("MAIL FROM:<"+labo+">", "250 ")
	other.say("RCPT TO:<"+bob+">", "450 4.7.1 Too many recipients in a minute") // of all its connections
	if q := l.queued(); len(q) != 1 || len(q[0].Deliveries) != 1 {
		t.Errorf("queue: %+v", q)
	}
}

// More than every account may send, as long as its own limit lasts.
func TestSystemMaySendMore(t *testing.T) {
	l := newExchange(t, Limits{})
	l.Router.Sending = storage.SendLimits{Messages: 1, First: 1}
	l.Exchange.Systems = []System{{Account: labo, PerDay: 2}}
	l.serve()
	c := l.connect(l.laboratory(ours.Terms{}))
	c.say("MAIL FROM:<"+labo+">", "250 ")
	c.say("RCPT TO:<"+outside+">", "250 ")
	c.say("RCPT TO:<"+fromLilas+">", "250 ")
	c.say("RCPT TO:<"+fromRhone+">", "450 4.7.1 2 of 2 messages sent today")
	c.say("DATA", "354 ")
	c.send("%s.\r\n", as(labo))
	c.want("250 ")
}

// The log-in of a system ends with its certificate, its account, or its being a system.
func TestSystemLogInEnds(t *testing.T) {
	l := newSystem(t, System{})
	c := l.connect(l.laboratory(ours.Terms{}))
	c.post(labo, as(labo), taken)
	l.update(func(tx *storage.Tx) error { return tx.SetState(l.labo, storage.Disabled) })
	c.say("MAIL FROM:<"+labo+">", "421 4.7.0 ")
	c.wantClosed()
	l.connect(l.laboratory(ours.Terms{})).say("MAIL FROM:<"+labo+">", "525 5.7.13 ")
}
