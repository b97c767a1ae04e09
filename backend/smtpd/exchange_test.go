package smtpd

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
	ours "telesphore/tls"
	"telesphore/tls/tlstest"
)

const (
	fromLilas     = "secretariat@clinique.test"
	fromMaternity = "garde@maternite.test"
	fromRhone     = "accueil@cabinet.test"
	fromNowhere   = "x@ferme.test"

	uncertified = "550 5.7.1 Mail of "
	shared      = "550 5.7.1 Mail of hopital.test comes from its own users and systems only"
	taken       = "DATA 250 2.0.0 "
)

// What a certificate is worth: by it, whose mail it may bring (MAIL FROM), and with which author (From).
// Each row says where the transaction ends, and with what.
func TestWhoMaySend(t *testing.T) {
	l := newExchangeLab(t, Limits{ConnectionsPerAddress: 1000, Errors: 1000, Commands: 10_000})
	revoked := l.clinique(ours.Terms{})
	l.organisations.Revoke(t, *revoked)
	tlstest.Refresh(t, l.Auth.Anchors)
	who := map[string]*tls.Certificate{
		"nobody":      nil,
		"good":        l.clinique(ours.Terms{}),
		"for servers": l.clinique(ours.Terms{Edit: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }}),
		"revoked":     revoked,
		"expired":     l.clinique(ours.Terms{NotAfter: time.Now().Add(-time.Minute)}),
		"foreign":     l.certify(l.organisations.Foreign(t), "1310000001", "mail.clinique.test", "CLINIQUE", ours.Terms{}),
		"other":       l.certify(l.organisations, "1690000001", "mail.cabinet.test", "CABINET", ours.Terms{}),
		"not named":   l.certify(l.organisations, "1310000001", "mail.clinique.test", "CLINIQUES", ours.Terms{}),
		"card":        l.card(aliceID, ours.Terms{}),
	}
	bad := []string{"nobody", "revoked", "expired", "foreign", "other", "not named", "card"}
	for _, c := range []struct {
		who          []string
		from, author string
		want         string
	}{
		{[]string{"good", "for servers"}, fromLilas, fromLilas, taken},
		{[]string{"good"}, "Someone@Clinique.TEST", "Someone@Clinique.TEST", taken},
		{[]string{"good"}, fromLilas, fromMaternity, taken},
		{[]string{"good"}, fromMaternity, fromLilas, taken},
		{[]string{"good"}, "", fromLilas, taken},
		{[]string{"good"}, fromRhone, fromRhone, "MAIL " + uncertified + "cabinet.test comes with the certificate"},
		{[]string{"good"}, fromLilas, fromRhone, "DATA " + uncertified + "cabinet.test"},
		{[]string{"good"}, fromLilas, alice, "DATA " + uncertified + "hopital.test"},
		{[]string{"good"}, fromLilas, outside, "DATA " + uncertified + "perso.test"},
		{[]string{"good"}, fromLilas, fromNowhere, "DATA " + uncertified + "ferme.test"},
		{[]string{"good"}, fromLilas, fromLilas + ", " + alice, "DATA " + uncertified + "hopital.test"},
		{[]string{"good"}, fromLilas, fromLilas + "\r\nSender: " + fromRhone, "DATA " + uncertified + "cabinet.test"},
		{[]string{"good"}, fromLilas, fromLilas + "\r\nFrom: " + fromRhone, "DATA 550 5.6.0 "},
		{[]string{"good"}, "", outside, "DATA " + uncertified + "perso.test"},
		{[]string{"good"}, "x@sub.clinique.test", fromLilas, "MAIL 550 5.7.1 sub.clinique.test is not in the trust space"},
		{[]string{"other"}, fromRhone, fromRhone, taken},
		{bad, fromLilas, fromLilas, "MAIL " + uncertified + "clinique.test comes with the certificate that the white list names for it"},
		{bad, "", fromLilas, "DATA 550 5.7.1 "},
		{[]string{"nobody", "card", "foreign", "not named", "good", "other"}, outside, outside, taken},
		{[]string{"nobody", "good"}, outside, fromLilas, "DATA " + uncertified + "clinique.test"},
		{[]string{"nobody", "good"}, outside, alice, "DATA " + shared},
		{[]string{"nobody", "good"}, outside, fromNowhere, "DATA 550 5.7.1 ferme.test is not in the trust space"},
		{[]string{"nobody", "good"}, outside, outside + ", " + alice, "DATA " + shared},
		{[]string{"nobody", "good"}, outside, outside + "\r\nSender: " + fromLilas, "DATA " + uncertified},
		{[]string{"nobody", "card", "foreign", "not named"}, "", outside, taken},
		{[]string{"nobody"}, "", alice, "DATA " + shared},
		{[]string{"nobody", "good", "revoked", "expired", "foreign", "other", "not named", "card"}, alice, alice, "MAIL " + shared},
		{[]string{"nobody", "good", "card"}, fromNowhere, fromNowhere, "MAIL 550 5.7.1 ferme.test is not in the trust space: this server takes no mail from there"},
	} {
		for _, name := range c.who {
			want := c.want
			if c.from == "" && (name == "revoked" || name == "expired") {
				want = "MAIL 550 5.7.1 The certificate of this server is refused"
			}
			t.Run(name+" "+c.from+" "+c.author, func(t *testing.T) {
				at := &exchangeLab{cardLab: &cardLab{lab: &lab{Server: l.Server, t: t, clear: l.clear, authority: l.authority}}}
				before := len(l.inbox())
				at.connect(who[name]).post(c.from, as(c.author), want)
				arrived := 0
				if want == taken {
					arrived = 1
				}
				if got := len(l.inbox()) - before; got != arrived {
					t.Errorf("%d messages arrived, want %d", got, arrived)
				}
			})
		}
	}
}

// What cannot be checked is tried again later; what needs no check is not held up by it.
func TestRevocationUnknown(t *testing.T) {
	l := newExchangeLab(t, Limits{})
	l.organisations.WriteList(t, func(r *x509.RevocationList) {
		r.ThisUpdate, r.NextUpdate = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Minute)
	})
	_ = l.Auth.Anchors.Refresh(t.Context()) // that the list is old may be its error
	const later = "MAIL 451 4.7.1 The certificate cannot be checked at the moment"
	c := l.connect(l.clinique(ours.Terms{}))
	c.post(fromLilas, as(fromLilas), later)
	c.post("", as(fromLilas), later)
	c.post(outside, as(outside), taken)
	l.connect(l.laboratory(ours.Terms{})).post(labo, as(labo), later)
}

// A certificate that is revoked counts no more in the connection that showed it.
func TestRevokedInTheMeantime(t *testing.T) {
	l := newExchangeLab(t, Limits{})
	card := l.clinique(ours.Terms{})
	c := l.connect(card)
	c.post(fromLilas, as(fromLilas), taken)
	l.organisations.Revoke(t, *card)
	tlstest.Refresh(t, l.Auth.Anchors)
	c.post(fromLilas, as(fromLilas), "MAIL "+uncertified)
}

// Who leaves the white list is told so, in the connection that is open too.
func TestDomainLeaves(t *testing.T) {
	for language, want := range map[string]string{
		"":   "MAIL 550 5.7.1 clinique.test has left the trust space on ",
		"fr": "MAIL 550 5.7.1 clinique.test a quitte l'espace de confiance le ",
	} {
		l := newExchange(t, Limits{})
		l.Language = language
		l.serve()
		c := l.connect(l.clinique(ours.Terms{}))
		c.post(fromLilas, as(fromLilas), taken)
		list := l.Router.WhiteList.(*ours.WhiteList)
		writeWhiteList(t, list.Status().Source, time.Now(), "maternite.test="+lilas)
		if err := list.Refresh(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		c.post(fromLilas, as(fromLilas), want)
		c.post(fromMaternity, as(fromMaternity), taken)
	}
}

func TestExchangeGreeting(t *testing.T) {
	l := newExchangeLab(t, Limits{})
	c := l.dialClear()
	r := c.say("EHLO x", "250-mail.hopital.test")
	if want := []string{"250-mail.hopital.test", "250-PIPELINING", "250-8BITMIME", "250-ENHANCEDSTATUSCODES", "250-SMTPUTF8", "250-SIZE 37748736", "250 STARTTLS"}; !slices.Equal(r, want) {
		t.Errorf("in clear: %q, want %q", r, want)
	}
	r = l.connect(nil).say("EHLO x", "250-mail.hopital.test")
	want := []string{
		"REQUIRETLS", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "SMTPUTF8", "DSN", "SIZE 37748736", "LIMITS RCPTMAX=100",
	}
	var got []string
	for _, line := range r[1:] {
		got = append(got, line[4:])
	}
	if !slices.Equal(got, want) {
		t.Errorf("EHLO: %q, want %q", got, want)
	}
}

// Nothing is said in clear.
func TestExchangeNeedsTLS(t *testing.T) {
	l := newExchangeLab(t, Limits{})
	c := l.dialClear()
	for _, command := range []string{"MAIL FROM:<" + outside + ">", "RCPT TO:<" + bob + ">", "DATA", "VRFY bob", "BDAT 1 LAST"} {
		c.say(command, "530 5.7.0 Must issue a STARTTLS command first")
	}
	c.say("AUTH PLAIN "+plain(labo, password), "538 5.7.11 ")
	c.send("STARTTLS\r\nEHLO x\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\n", outside, bob)
	c.want("220 ")
	c = c.secure(l.client)
	c.say("RCPT TO:<"+bob+">", "503 5.5.1 ")
	c.say("MAIL FROM:<"+outside+">", "503 5.5.1 ")
}

func TestExchangeCommands(t *testing.T) {
	l := newExchangeLab(t, Limits{})
	c := l.connect(nil)
	c.say("VRFY bob", "252 ")
	c.say("EXPN list", "502 ")
	c.say("AUTH PLAIN "+plain(labo, password), "503 5.5.1 Authentication is not offered here")
	c.say("MAIL FROM:<"+outside+"> HOLDFOR=60", "555 5.5.4 ")
	c.say("MAIL FROM:<"+outside+"> SIZE=99999999", "552 5.3.4 ")
	c.say(`MAIL FROM:<"a b"@perso.test>`, "553 5.1.7 ")
	c.say("MAIL FROM:<"+outside+"> RET=HDRS ENVID=x REQUIRETLS SIZE=1000", "250 ")
}

// Other servers' mail is for us alone.
func TestExchangeRcpt(t *testing.T) {
	l := newExchangeLab(t, Limits{Unknown: 3})
	c := l.connect(l.clinique(ours.Terms{}))
	for _, from := range []string{fromLilas, outside, ""} {
		c.say("MAIL FROM:<"+from+">", "250 ")
		for to, want := range map[string]string{
			bob: "250 2.1.5 ", "Postmaster": "250 2.1.5 ", "POSTMASTER@hopital.test": "250 2.1.5 ",
			outside: "550 5.7.1 This server relays", fromLilas: "550 5.7.1 ", fromRhone: "550 5.7.1 ", fromNowhere: "550 5.7.1 ",
			"bob%perso.test@hopital.test": "550 5.1.1 ", `"bob@perso.test"@hopital.test`: "553 5.1.3 ",
		} {
			c.say("RCPT TO:<"+to+">", want)
		}
		c.say("RSET", "250 ")
	}
	c.say("MAIL FROM:<"+fromLilas+">", "250 ")
	c.say("RCPT TO:<nobody@hopital.test>", "421 4.7.0 Too many unknown recipients")
	c.wantClosed()
}

// Lists that hear members hear nobody from elsewhere, member or not.
func TestExchangeLists(t *testing.T) {
	l := newExchange(t, Limits{})
	l.update(func(tx *storage.Tx) error {
		for _, a := range []storage.Alias{
			{Address: "open@hopital.test", Members: []string{bob}},
			{Address: "closed@hopital.test", Members: []string{bob}, Writers: storage.Members},
			{Address: "off@hopital.test", Members: []string{bob}, State: storage.Disabled},
		} {
			if err := tx.NewAlias(&a); err != nil {
				return err
			}
		}
		return nil
	})
	l.serve()
	c := l.connect(l.clinique(ours.Terms{}))
	for _, from := range []string{fromLilas, outside, ""} {
		c.say("MAIL FROM:<"+from+">", "250 ")
		c.say("RCPT TO:<open@hopital.test>", "250 ")
		c.say("RCPT TO:<closed@hopital.test>", "550 5.7.1 Only its members may write to this list")
		c.say("RCPT TO:<off@hopital.test>", "550 5.2.1 ")
		c.say("RSET", "250 ")
	}
}

// A message for an account that is full is sent again later.
func TestExchangeFullMailbox(t *testing.T) {
	l := newExchange(t, Limits{})
	small := &storage.Account{Addresses: []string{"small@hopital.test"}, MaxBytes: 2000}
	if err := l.Store.NewAccount(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	l.Router.Postmaster = "small@hopital.test"
	l.serve()
	c := l.connect(nil)
	c.say("MAIL FROM:<"+outside+"> SIZE=3000", "250 ")
	c.say("RCPT TO:<small@hopital.test>", "452 4.2.2 ")
	c.say("RCPT TO:<"+alice+">", "250 ")
	c.say("RCPT TO:<postmaster>", "250 ") // who is small
	c.say("RSET", "250 ")
	c.say("MAIL FROM:<>", "250 ") // nobody to be told, and no word of the size
	c.say("RCPT TO:<small@hopital.test>", "250 ")
	c.say("DATA", "354 ")
	c.send("%s%s.\r\n", as(outside), strings.Repeat("x\r\n", 1000))
	c.want("452 4.2.2 ")
}

// Each Received field is a server on the way.
func TestLoops(t *testing.T) {
	l := newExchangeLab(t, Limits{Hops: 3})
	hop := "received: from a\r\n by b; Mon, 01 Jan 2024 00:00:00 +0000\r\n"
	c := l.connect(nil)
	c.post(outside, strings.Repeat(hop, 3)+as(outside), taken)
	c.post(outside, strings.Repeat(hop, 4)+as(outside), "DATA 554 5.4.6 ")
	l.connect(l.laboratory(ours.Terms{})).post(labo, strings.Repeat(hop, 4)+as(labo), "DATA 554 5.4.6 ")
}

// Another server is not thrown out by the time to log in, once it has begun to send mail.
func TestExchangeIsNoLogIn(t *testing.T) {
	inBubble(t, Limits{Login: 3 * time.Minute, Idle: 5 * time.Minute}, func(t *testing.T, l *lab, c *client) {
		c.want("220 ")
		c.say("EHLO client.test", "250-")
		c.say("MAIL FROM:<"+outside+">", "250 ")
		time.Sleep(4 * time.Minute) // the bubble's clock
		c.say("RSET", "250 ")
		c.post(outside, as(outside), taken)
		begin := time.Now()
		c.want("421 4.4.2 ")
		if d := time.Since(begin); d != 5*time.Minute {
			t.Errorf("closed after %v", d)
		}
	}, func(l *lab) { l.Exchange, l.Router.Outside = &Exchange{}, []string{"*"} })
}

// A server's notices may have its own name in From: many call their author after the host.
func TestNoticesOfTheHost(t *testing.T) {
	l := newExchangeLab(t, Limits{})
	named := func(names ...string) ours.Terms {
		return ours.Terms{Edit: func(c *x509.Certificate) { c.DNSNames = names }}
	}
	const host = "mailer-daemon@mail.clinique.test"
	for _, c := range []struct {
		from, author, want string
		terms              ours.Terms
	}{
		{"", host, taken, named("mail.clinique.test")},
		{"", "garde@maternite.test", taken, named("mail.clinique.test")},
		{"", host, "DATA 550 5.7.1 ", named("mx.clinique.test")},
		{"", host, "DATA 550 5.7.1 ", named()},
		{"", "mailer-daemon@clinique.test.perso.test", "DATA 550 5.7.1 ", named("mail.clinique.test")},
		{fromMaternity, host, "DATA 550 5.7.1 ", named("mail.clinique.test")}, // no notice
		// A name in the certificate says nothing of a domain that the list has, nor of ours.
		{"", "medecin@cabinet.test", "DATA 550 5.7.1 ", named("mail.clinique.test", "cabinet.test")},
		{"", alice, "DATA 550 5.7.1 ", named("mail.clinique.test", "hopital.test")},
	} {
		l.connect(l.clinique(c.terms)).post(c.from, as(c.author), c.want)
	}
}
