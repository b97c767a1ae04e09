package imapd

import (
	"context"
	cryptotls "crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/tls"
)

const loggedInLine = "OK [CAPABILITY … Logged in"

// linkedCard is a card that opens the lab's account.
func (l *cardLab) linkedCard() tls.Certificate {
	l.t.Helper()
	card := l.issuer.Card(l.t, l.person())
	l.link(l.account, card)
	return card
}

// The ways to say EXTERNAL, and whom it may name (RFC 4422 appendix A).
func TestExternalResponses(t *testing.T) {
	l := newCardLab(t, nil)
	l.addAccount("autre@hopital.test")
	card := l.linkedCard()
	for name, dialogue := range map[string][]string{
		"initial":            {"a AUTHENTICATE EXTERNAL " + b64(user), "a " + loggedInLine},
		"initial, lower":     {"a authenticate external " + b64(user), "a " + loggedInLine},
		"other case":         {"a AUTHENTICATE EXTERNAL " + b64("Medecin@HOPITAL.test"), "a " + loggedInLine},
		"initial, empty":     {"a AUTHENTICATE EXTERNAL =", "a " + loggedInLine},
		"asked for":          {"a AUTHENTICATE EXTERNAL", "+ ", b64(user), "a " + loggedInLine},
		"asked for, empty":   {"a AUTHENTICATE EXTERNAL", "+ ", "", "a " + loggedInLine},
		"cancelled":          {"a AUTHENTICATE EXTERNAL", "+ ", "*", "a BAD Authentication cancelled"},
		"not base64":         {"a AUTHENTICATE EXTERNAL", "+ ", "!!", "a BAD Invalid base64"},
		"initial, wrong":     {"a AUTHENTICATE EXTERNAL !!", "a BAD Invalid base64"},
		"NUL":                {"a AUTHENTICATE EXTERNAL " + b64(user+"\x00"), "a BAD Malformed credentials"},
		"not UTF-8":          {"a AUTHENTICATE EXTERNAL " + b64("\xe9"), "a BAD Malformed credentials"},
		"somebody else":      {"a AUTHENTICATE EXTERNAL " + b64("autre@hopital.test"), "a NO [AUTHENTICATIONFAILED] " + wrong},
		"nobody":             {"a AUTHENTICATE EXTERNAL " + b64("nobody@hopital.test"), "a NO [AUTHENTICATIONFAILED] " + wrong},
		"no address":         {"a AUTHENTICATE EXTERNAL " + b64("medecin"), "a NO [AUTHENTICATIONFAILED] " + wrong},
		"PLAIN for another":  {"a AUTHENTICATE PLAIN " + b64("autre@hopital.test\x00"+user+"\x00"+password), "a NO [AUTHENTICATIONFAILED] " + wrong},
		"PLAIN for oneself":  {"a AUTHENTICATE PLAIN " + b64(user+"\x00"+user+"\x00"+password), "a " + loggedInLine},
		"another's password": {"a LOGIN autre@hopital.test " + password, "a NO [AUTHENTICATIONFAILED] " + wrong},
	} {
		t.Run(name, func(t *testing.T) {
			c := l.in(t).connect(way{version: cryptotls.VersionTLS13}, &card)
			for i, line := range dialogue {
				if i%2 == 0 {
					c.send(line)
				} else {
					c.want(line)
				}
			}
			c.send("b NOOP")
			c.want("b OK NOOP completed")
		})
	}
}

// One card may open several mailboxes: the client names which.
func TestCardOfTwoAccounts(t *testing.T) {
	l := newCardLab(t, nil)
	second := l.addAccount("secretariat@hopital.test")
	card := l.linkedCard()
	l.link(second, card)
	for response, id := range map[string]storage.AccountID{
		"=": l.account, b64(user): l.account, b64("secretariat@hopital.test"): second,
	} {
		c := l.connect(way{version: cryptotls.VersionTLS13}, &card)
		c.exchange("AUTHENTICATE EXTERNAL "+response, loggedInLine)
		if got := l.level(id); got != auth.LevelCard {
			t.Errorf("%q: level %d", response, got)
		}
		c.exchange("LOGOUT", "OK …", "* BYE …")
		c.closed()
	}
}

// A connection that resumes an older one brings its certificate along unseen. It is
// evaluated all the same.
func TestResumedCard(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			l := newCardLab(t, nil)
			card := l.linkedCard()
			config := l.trust.ClientWith("", card)
			config.MinVersion, config.MaxVersion = w.version, w.version
			config.ClientSessionCache = cryptotls.NewLRUClientSessionCache(8)
			again := func(resumed bool, answer string, replies ...string) {
				t.Helper()
				c := l.connectWith(w, config)
				if got := c.conn.(*cryptotls.Conn).ConnectionState().DidResume; got != resumed {
					t.Fatalf("resumed: %v, want %v", got, resumed)
				}
				c.exchange("AUTHENTICATE EXTERNAL =", answer, replies...)
				c.exchange("LOGOUT", "OK …", "* BYE …")
				c.closed()
			}
			again(false, loggedInLine)
			again(true, loggedInLine)
			l.revoke(card)
			again(true, "NO [AUTHENTICATIONFAILED] "+revoked, "* NO [ALERT] "+revoked)
		})
	}
}

// A session ends when its card is revoked, whatever it is doing. One of the same
// account that does not rest on the card goes on.
func TestRevokedCardEndsSessions(t *testing.T) {
	const bye = "* BYE [ALERT] Your log-in has ended: log in again"
	for _, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			l := newCardLab(t, nil)
			card := l.linkedCard()
			open := func() *client {
				c := l.connect(w, &card)
				c.ok("AUTHENTICATE EXTERNAL =")
				c.ok("SELECT INBOX")
				return c
			}
			idle, between, filing := open(), open(), open()
			idle.send("i IDLE")
			idle.want("+ idling")
			filing.raw("a APPEND INBOX {100}\r\n")
			filing.want("+ …")
			other := l.connect(w, nil)
			other.ok("LOGIN " + user + " " + password)
			other.ok("SELECT INBOX")

			l.revoke(card)
			l.Auth.Recheck(context.Background())
			idle.closed(bye)
			between.closed(bye)
			filing.closed(bye)
			other.exchange("NOOP", "OK …")
			if got := l.level(l.account); got != auth.LevelPassword {
				t.Errorf("what goes on has level %d", got)
			}
		})
	}
}

// Lists that are too old are the server's trouble: cards are refused for the
// moment, passwords are not.
func TestStaleList(t *testing.T) {
	const unchecked = "Cards cannot be checked at the moment: use your password, or try again later"
	l := newCardLab(t, nil)
	card := l.linkedCard()
	l.issuer.WriteList(t, func(list *x509.RevocationList) {
		list.ThisUpdate, list.NextUpdate = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	_ = l.anchors.Refresh(context.Background()) // says that the list is stale
	for i, w := range ways() {
		c := l.connect(w, &card)
		c.exchange("AUTHENTICATE EXTERNAL =", "NO [UNAVAILABLE] "+unchecked)
		var alert []string
		if i == 0 { // once an hour
			alert = []string{"* OK [ALERT] " + unchecked}
		}
		c.exchange("AUTHENTICATE PLAIN "+b64("\x00"+user+"\x00"+password), loggedInLine, alert...)
		if got := l.level(l.account); got != auth.LevelPassword {
			t.Errorf("level %d", got)
		}
		c.exchange("LOGOUT", "OK …", "* BYE …")
		c.closed()
	}
}

// Where reading takes more than a password, whoever has only that can log in and
// see the names of mailboxes, and nothing else.
func TestLevelToRead(t *testing.T) {
	l := newCardLab(t, func(s *Server) {
		s.Auth.Policy.Default = auth.Levels{LogIn: 1, Read: 3, TrustSpace: 3, Credentials: 3}
	})
	card := l.linkedCard()
	strong := l.connect(way{version: cryptotls.VersionTLS13}, &card)
	strong.ok("AUTHENTICATE EXTERNAL =")
	strong.fill("INBOX", 1)

	for _, w := range ways() {
		weak := l.connect(w, nil)
		weak.ok("LOGIN " + user + " " + password)
		for _, command := range []string{
			"SELECT INBOX", "EXAMINE INBOX", "STATUS INBOX (MESSAGES)", "DELETE Sent", "RENAME Sent Other", "CREATE Other",
			"APPEND INBOX {8+}\r\nA: b\r\n\r\n",
		} {
			weak.exchange(command, "NO [NOPERM] Strong authentication (card) is required")
		}
		for _, line := range weak.ok(`LIST "" "*" RETURN (STATUS (MESSAGES))`) {
			if !strings.HasPrefix(line, "* LIST") {
				t.Errorf("told: %s", line)
			}
		}
	}
	strong.exchange("STATUS INBOX (MESSAGES)", "OK …", "* STATUS INBOX (MESSAGES 1)")
	strong.exchange("SELECT Sent", "OK …", "…", "…", "…", "…", "…", "…", "…", "…")
}

// What is refused after the right password tells what to do, and pops up once.
func TestAdvice(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Server)
		prepare func(l *cardLab)
		first   string
		second  string
	}{
		"too weak": {
			change: func(s *Server) { s.Auth.Policy.Default = auth.Levels{LogIn: 2, Read: 2, TrustSpace: 2, Credentials: 3} },
			first:  "NO [ALERT] Strong authentication is required: use your card, …",
			second: "NO [AUTHENTICATIONFAILED] Strong authentication is required: use your card, …",
		},
		"card only": {
			change: func(s *Server) { s.Auth.Policy.Default = auth.Levels{LogIn: 3, Read: 3, TrustSpace: 3, Credentials: 3} },
			first:  "NO [ALERT] Strong authentication (card) is required",
			second: "NO [AUTHENTICATIONFAILED] Strong authentication (card) is required",
		},
		"French": {
			change: func(s *Server) {
				s.Auth.Language = "fr"
				s.Auth.Policy.Default = auth.Levels{LogIn: 3, Read: 3, TrustSpace: 3, Credentials: 3}
			},
			first:  "NO [ALERT] Une authentification forte (carte) est requise",
			second: "NO [AUTHENTICATIONFAILED] Une authentification forte (carte) est requise",
		},
		"disabled": {
			prepare: func(l *cardLab) {
				err := l.Store.Update(context.Background(), func(tx *storage.Tx) error {
					return tx.SetState(l.account, storage.Disabled)
				})
				if err != nil {
					l.t.Fatal(err)
				}
			},
			first:  "NO [CONTACTADMIN] The account is disabled: ask your administrator",
			second: "NO [CONTACTADMIN] The account is disabled: ask your administrator",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newCardLab(t, c.change)
			if c.prepare != nil {
				c.prepare(l)
			}
			for _, w := range ways() { // on each connection it pops up anew
				conn := l.connect(w, nil)
				plain := "AUTHENTICATE PLAIN " + b64("\x00"+user+"\x00"+password)
				conn.exchange(plain, c.first)
				conn.exchange("LOGIN "+user+" "+password, c.second)
				conn.exchange("LOGIN "+user+" not-"+password, "NO [AUTHENTICATIONFAILED] "+wrong)
				conn.exchange(plain, c.second)
			}
		})
	}
}

// Whoever is shut out after too many guesses is told so, also with the right
// password. A card is no guess.
func TestThrottled(t *testing.T) {
	l := newCardLab(t, func(s *Server) { s.Auth.Throttle.PerMinute = 3 })
	card := l.linkedCard()
	guessing := l.connect(ways()[0], nil)
	for _, guess := range []string{"one", "two", "three"} {
		guessing.exchange("LOGIN "+user+" "+guess, "NO [AUTHENTICATIONFAILED] "+wrong)
	}
	for _, w := range ways() {
		c := l.connect(w, &card)
		c.exchange("LOGIN "+user+" "+password, "NO [UNAVAILABLE] Too many failed log-ins, try again later")
		c.exchange("AUTHENTICATE EXTERNAL =", loggedInLine)
	}
}

// An application password opens the account with SCRAM, which ends with a
// challenge that the client has to answer with nothing.
func TestScram(t *testing.T) {
	l := newCardLab(t, nil)
	secret, _, err := l.Auth.MakeAppPassword(context.Background(), l.owner(l.account), &auth.NewAppPassword{Name: "tablet"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, secret string }{{"right", secret}, {"wrong", secret + "x"}} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			program, err := scram.SHA256.NewClient(user, c.secret, "")
			if err != nil {
				t.Fatal(err)
			}
			talk := program.NewConversation()
			say := func(challenge string) string {
				t.Helper()
				answer, err := talk.Step(challenge)
				if err != nil {
					t.Fatal(err)
				}
				return b64(answer)
			}
			conn := l.connect(way{version: cryptotls.VersionTLS13}, nil)
			conn.send("a AUTHENTICATE SCRAM-SHA-256 " + say(""))
			conn.send(say(conn.asked()))
			if c.name == "wrong" {
				conn.want("a NO [AUTHENTICATIONFAILED] " + wrong)
				return
			}
			conn.send(say(conn.asked()))
			conn.want("a " + loggedInLine)
			if !talk.Valid() {
				t.Error("the server has not proven that it knows the password")
			}
		})
	}
}

// asked reads a challenge.
func (c *client) asked() string {
	c.t.Helper()
	line := c.line()
	text, ok := strings.CutPrefix(line, "+ ")
	challenge, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		c.t.Fatalf("no challenge: %s", line)
	}
	return string(challenge)
}

// issuer knows one token.
type issuer struct{}

func (issuer) Verify(_ context.Context, token string) (*auth.Token, error) {
	if token != "good" {
		return nil, auth.ErrToken
	}
	return &auth.Token{Issuer: "test", Address: user, Level: auth.LevelCard}, nil
}

// Tokens: Thunderbird sends XOAUTH2 with an initial response. What is refused
// comes as a challenge first (RFC 7628 section 3.2.3).
func TestTokens(t *testing.T) {
	l := newCardLab(t, func(s *Server) { s.Auth.Tokens = []auth.TokenVerifier{issuer{}} })
	xoauth := func(token string) string {
		return "a AUTHENTICATE XOAUTH2 " + b64("user="+user+"\x01auth=Bearer "+token+"\x01\x01")
	}
	bearer := func(token string) string {
		return "a AUTHENTICATE OAUTHBEARER " + b64("n,a="+user+",\x01auth=Bearer "+token+"\x01\x01")
	}
	for name, dialogue := range map[string][]string{
		"XOAUTH2":              {xoauth("good"), "a " + loggedInLine},
		"XOAUTH2, bad":         {xoauth("bad"), "+ …", "", "a NO [AUTHENTICATIONFAILED] " + wrong},
		"XOAUTH2, cancelled":   {xoauth("bad"), "+ …", "*", "a BAD Authentication cancelled"},
		"OAUTHBEARER":          {bearer("good"), "a " + loggedInLine},
		"OAUTHBEARER, bad":     {bearer("bad"), "+ …", b64("\x01"), "a NO [AUTHENTICATIONFAILED] " + wrong},
		"OAUTHBEARER, garbage": {"a AUTHENTICATE OAUTHBEARER " + b64("garbage"), "a BAD Malformed credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			c := l.in(t).connect(way{version: cryptotls.VersionTLS13}, nil)
			for i, line := range dialogue {
				if i%2 == 0 {
					c.send(line)
				} else {
					c.want(line)
				}
			}
		})
	}
}
