package smtpd

import (
	"net"
	"strings"
	"testing"

	"telesphore/backend"
	"telesphore/storage"
	ours "telesphore/tls"
	"telesphore/tls/tlstest"
)

// Who writes a header that the DMARC check cannot read gets past no policy by that.
func TestPolicyCannotBeDodged(t *testing.T) {
	l := newOrigin(t)
	l.serve()
	c := l.connect(nil)
	const strict = "x@strict.test"
	c.post(outside, as(strict+", "+outside), "DATA 550 5.7.1 ")
	c.post(outside, as(outside+", "+strict), "DATA 550 5.7.1 ")
	c.post(outside, as("Both: "+outside+", "+strict+";"), "DATA 550 5.7.1 ")
	c.post(outside, strings.Repeat("X-Filler: x\r\n", 5000)+as(strict), "DATA 550 5.7.1 ")
	c.post(outside, "X-Filler: "+strings.Repeat(strings.Repeat("x", 900)+"\r\n ", 400)+"x\r\n"+as(strict), "DATA 550 5.7.1 ")
	c.post(outside, as(outside+", y@perso.test"), taken)
	c.post(outside, as("x@loose.test"), taken)
}

// A sender whom nobody has proven gets no notices: they would go to whomever he names.
func TestNoBackscatter(t *testing.T) {
	l := newOrigin(t)
	l.serve()
	for from, notices := range map[string]int{outside: 1, "victim@loose.test": 0, "victim@silent.test": 0} {
		before := len(l.queued())
		c := l.connect(nil)
		c.say("MAIL FROM:<"+from+"> RET=FULL", "250 ")
		c.say("RCPT TO:<"+bob+"> NOTIFY=SUCCESS", "250 ")
		c.say("DATA", "354 ")
		c.send("%s.\r\n", as(from))
		c.want("250 ")
		if got := len(l.queued()) - before; got != notices {
			t.Errorf("from %s: %d notices are due, want %d", from, got, notices)
		}
	}
}

// A system without networks is known by its certificate alone, from the networks of others too.
func TestSystemWithoutNetworksNeedsItsCertificate(t *testing.T) {
	l := newExchange(t, Limits{})
	l.Exchange.Systems = []System{{Account: alice, Networks: here}, {Account: labo}}
	l.serve()
	c := l.connect(nil)
	c.say("AUTH PLAIN "+plain(labo, password), "535 5.7.8 Authentication credentials invalid")
	c.say("MAIL FROM:<"+labo+">", "550 5.7.1 ")
	l.connect(l.laboratory(ours.Terms{})).post(labo, as(labo), taken)
}

// As long as the white list is not known, nobody is turned away for not being on it.
func TestListIsNotKnownYet(t *testing.T) {
	l := newExchange(t, Limits{})
	list, err := ours.OpenWhiteList(ours.WhiteListOptions{Source: t.TempDir() + "/none.xml", Normal: backend.ParseDomain, Logger: l.Logger})
	if err != nil {
		t.Fatal(err)
	}
	l.Router.WhiteList, l.Exchange.Peers, l.Router.Outside = list, list, []string{"perso.test", "*"}
	l.serve()
	const later = "451 4.7.1 The white list is not known at the moment"
	c := l.connect(l.clinique(ours.Terms{}))
	c.post(fromLilas, as(fromLilas), "MAIL "+later)
	c.post(outside, as(fromLilas), "DATA "+later)
	c.post(outside, as(outside), taken)
}

// What strangers hold in memory leaves room for the mail of those who are known.
func TestStrangersLeaveRoom(t *testing.T) {
	const large = 1 << 20
	l := newExchange(t, Limits{Memory: 6 * large, MessageSize: large})
	l.serve()
	fill := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 900)
	var strangers []*client
	for range 8 {
		c := l.connect(nil)
		c.say("MAIL FROM:<"+outside+">", "250 ")
		c.say("RCPT TO:<"+bob+">", "250 ")
		c.send("BDAT %d\r\n%s%s", len(as(outside)+fill), as(outside), fill)
		c.want("250 ")
		strangers = append(strangers, c)
	}
	l.connect(l.clinique(ours.Terms{})).post(fromLilas, as(fromLilas)+fill, taken)
	refused := 0
	for _, c := range strangers {
		c.send("BDAT 0 LAST\r\n")
		if r := c.reply(); strings.HasPrefix(r[0], "452 4.3.1 ") {
			refused++
		}
	}
	if refused == 0 || refused == len(strangers) {
		t.Errorf("%d of %d strangers are refused", refused, len(strangers))
	}
}

// Whom a From field names is found in every place where some program looks for it.
func TestAuthorInEveryPlace(t *testing.T) {
	l := newExchangeLab(t, Limits{Errors: 100})
	c := l.connect(nil)
	for _, author := range []string{
		alice + " <" + outside + ">",
		"Alice " + alice + " <" + outside + ">",
		alice + ": " + outside + ";",
		"x@ｈｏｐｉｔａｌ.test", "x@HOPITAL。test", "x@hopital\xc2\xad.test",
	} {
		c.post(outside, as(author), "DATA 550 5.7.1 Mail of hopital.test comes from its own users")
	}
	for _, author := range []string{
		"x@hopital.test.", "<@perso.test:" + alice + ">", "=?utf-8?q?" + alice + "?=", "alice @ hopital.test", "\"alice\"@hopital.test",
		"alice@[127.0.0.1]", "<" + outside + "> <" + alice + ">", outside + " " + alice, "alice@hopital.test\x01",
	} {
		c.post(outside, as(author), "DATA 550 5.6.0 ")
	}
	for _, header := range []string{
		"From: " + outside + "\r\nFROM: " + alice, "From : " + alice + "\r\nFrom: " + outside, " From: " + alice + "\r\nFrom: " + outside,
		"From: " + outside + "\r\n\tx\r\nno colon", "From\t: " + alice + "\r\nFrom: " + outside, "Sender: x@perso.test\r\nSender: y@perso.test\r\nFrom: " + outside,
	} {
		c.post(outside, strings.Replace(letter, "From: Alice <"+alice+">", header, 1), "DATA 550 5.6.0 ")
	}
	l.wantMail()
}

// A recipient who is named twice gets one copy, later too.
func TestRecipientNamedTwice(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	c.say("MAIL FROM:<"+alice+"> HOLDFOR=60", "250 ")
	for range 3 {
		c.say("RCPT TO:<"+bob+"> NOTIFY=SUCCESS", "250 2.1.5 ")
	}
	c.say("DATA", "354 ")
	c.send("%s.\r\n", letter)
	c.want("250 ")
	if q := l.queued(); len(q) != 1 || len(q[0].Deliveries) != 1 {
		t.Errorf("queue: %+v", q)
	}
}

// What an account sends counts for it, whatever the reverse-path is, and in whatever pieces it comes.
func TestQuotaCannotBeDodged(t *testing.T) {
	l := newCardServer(t, Limits{})
	l.Router.Sending = storage.SendLimits{Messages: 2}
	l.serve()
	c := l.login()
	for _, from := range []string{"", "alias@hopital.test"} {
		c.say("MAIL FROM:<"+from+">", "250 ")
		c.say("RCPT TO:<a@perso.test>", "250 ")
		c.say("DATA", "354 ")
		c.send("%s.\r\n", letter)
		c.want("250 ")
	}
	for _, from := range []string{"", alice} {
		for range 3 {
			c.say("MAIL FROM:<"+from+"> HOLDFOR=60", "250 ")
			c.say("RCPT TO:<a@perso.test>", "450 4.7.1 2 of 2 messages sent today")
			c.say("DATA", "503 ")
			c.say("RSET", "250 ")
		}
	}
}

// Fields of others that look like ours do not arrive, wherever the mail comes from.
func TestNobodySpeaksForUs(t *testing.T) {
	l := newOrigin(t)
	l.Exchange.Systems = []System{{Account: labo}}
	l.serve()
	submission := newLab(t, Limits{})
	var forged strings.Builder
	for _, id := range []string{
		"mail.hopital.test", "MAIL.Hopital.test.", "\"mail.hopital.test\"", "(x (y)) mail.hopital.test 1", "\r\n mail.hopital.test",
		"\r\n\t(\r\n x)\r\n\tmail.hopital.test", "mail.hopital。test", "mail.hopital.test/1", "=?utf-8?q?mail.hopital.test?=", "", "(mail.hopital.test",
		"x mail.hopital.test", "\"mail.\r\n hopital.test\"",
	} {
		forged.WriteString("authentication-RESULTS: " + id + "; dmarc=pass (forged)\r\n")
	}
	forged.WriteString("Authentication-Results: mail.clinique.test; dmarc=pass (theirs)\r\n")
	check := func(l *lab, who string) {
		t.Helper()
		for _, m := range l.inbox() {
			if strings.Contains(m, "(forged)") || !strings.Contains(m, "(theirs)") {
				t.Errorf("from %s: arrived as %q", who, m)
			}
		}
	}
	l.connect(nil).post(outside, forged.String()+as(outside), taken)
	l.connect(l.clinique(ours.Terms{})).post(fromLilas, forged.String()+as(fromLilas), taken)
	l.connect(l.laboratory(ours.Terms{})).post(labo, forged.String()+as(labo), taken)
	check(l.lab, "the door for servers")
	c := submission.ready()
	c.say("DATA", "354 ")
	c.send("%s%s.\r\n", forged.String(), letter)
	c.want("250 ")
	check(submission, "submission")
}

// Whoever holds connections and says nothing keeps nobody out: neither those who come, nor those who are known,
// nor a message that is under way.
func TestSilentConnectionsGiveWay(t *testing.T) {
	l := newExchangeLab(t, Limits{Connections: 4, ConnectionsPerAddress: 100})
	known := l.connect(l.clinique(ours.Terms{}))
	known.post(fromLilas, as(fromLilas), taken)
	system := l.connect(l.laboratory(ours.Terms{}))
	system.post(labo, as(labo), taken)
	sends := l.connect(nil)
	sends.say("MAIL FROM:<"+outside+">", "250 ")
	sends.say("RCPT TO:<"+bob+">", "250 ")
	sends.say("DATA", "354 ")
	silent := l.dialClear()
	for range 5 {
		next := l.dialClear()
		silent.wantClosed()
		silent = next
	}
	l.connect(nil).say("NOOP", "250 ")
	known.post(fromLilas, as(fromLilas), taken)
	system.post(labo, as(labo), taken)
	sends.send("%s.\r\n", as(outside))
	sends.want("250 2.0.0 ")
}

// When all of them are known, one more is told to come back.
func TestTooManyConnectionsOfTheKnown(t *testing.T) {
	l := newExchangeLab(t, Limits{Connections: 1})
	c := l.connect(l.clinique(ours.Terms{}))
	c.say("MAIL FROM:<"+fromLilas+">", "250 ")
	conn, err := net.Dial("tcp", l.clear)
	if err != nil {
		t.Fatal(err)
	}
	other := l.wrap(conn)
	other.want("421 4.7.0 Too many connections")
	other.wantClosed()
	c.say("RCPT TO:<"+bob+">", "250 ")
}

// Nor is a user told that a domain is none of the trust space.
func TestUserWritesBeforeTheListIsKnown(t *testing.T) {
	l := newCardServer(t, Limits{})
	list, err := ours.OpenWhiteList(ours.WhiteListOptions{Source: t.TempDir() + "/none.xml", Normal: backend.ParseDomain, Logger: l.Logger})
	if err != nil {
		t.Fatal(err)
	}
	l.Router.WhiteList, l.Router.Outside = list, []string{"*"}
	l.serve()
	c := l.login()
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("RCPT TO:<"+fromLilas+">", "451 4.7.1 The white list is not known at the moment")
	c.say("RCPT TO:<"+bob+">", "250 ")
}

// A system's certificate is looked at for each message, as an operator's is.
func TestSystemIsRevokedInTheMeantime(t *testing.T) {
	l := newSystem(t, System{})
	card := l.laboratory(ours.Terms{})
	c := l.connect(card)
	c.post(labo, as(labo), taken)
	l.organisations.Revoke(t, *card)
	tlstest.Refresh(t, l.Auth.Anchors)
	c.post(labo, as(labo), "MAIL 550 5.7.1 The certificate of this server is refused")
	c.post("", as(labo), "MAIL 550 5.7.1 ")
}
