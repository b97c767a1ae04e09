package imapd

import (
	"context"
	cryptotls "crypto/tls"
	"sync"
	"testing"
	"time"

	"telesphore/backend/auth"
)

// courier keeps the codes that would have been mailed.
type courier struct {
	mu    sync.Mutex // guards codes
	codes []string
}

func (c *courier) notify(_ context.Context, n *auth.Notice) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.Code != "" {
		c.codes = append(c.codes, n.Code)
	}
	return nil
}

// sent is the last code, and how many there were.
func (c *courier) sent(t testing.TB) (last string, all int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.codes) == 0 {
		t.Fatal("no code was sent")
	}
	return c.codes[len(c.codes)-1], len(c.codes)
}

// switchCodesOn makes the lab's account ask for codes.
func (l *cardLab) switchCodesOn(mail *courier) {
	l.t.Helper()
	ctx := context.Background()
	if err := l.Auth.ProveContact(ctx, l.owner(l.account), "medecin@perso.test"); err != nil {
		l.t.Fatal(err)
	}
	code, _ := mail.sent(l.t)
	if err := l.Auth.SwitchCodesOn(ctx, l.owner(l.account), code); err != nil {
		l.t.Fatal(err)
	}
}

// A code is asked for once, however many connections there are: password and
// code together open them all.
func TestCodes(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			mail := &courier{}
			l := newCardLab(t, func(s *Server) {
				s.Limits.Failures = 3
				s.Auth.Notify = mail.notify
				s.Auth.Codes.Resend = time.Nanosecond // the contact was proven a moment ago
			})
			l.switchCodesOn(mail)
			_, before := mail.sent(t)

			c := l.connect(w, nil)
			const advice = "A code was sent to your contact address: type your password followed at once by the code"
			c.exchange("AUTHENTICATE PLAIN "+b64("\x00"+user+"\x00"+password), "NO [ALERT] "+advice)
			code, _ := mail.sent(t)
			// Thunderbird's other ways to send it, more than failures are allowed.
			c.run("AUTHENTICATE LOGIN " + b64(user) + "\r\n" + b64(password))
			for range 3 {
				c.exchange("LOGIN "+user+" "+password, "NO [AUTHENTICATIONFAILED] "+advice)
			}
			if again, n := mail.sent(t); again != code || n < before+1 {
				t.Errorf("code %d is another one than the first", n)
			}
			c.exchange("LOGIN "+user+" "+password+"00000000", "NO [AUTHENTICATIONFAILED] "+wrong)
			c.exchange("AUTHENTICATE PLAIN "+b64("\x00"+user+"\x00"+password+code), loggedInLine)
			if got := l.level(l.account); got != auth.LevelCode {
				t.Errorf("level %d", got)
			}

			_, mails := mail.sent(t)
			var five sync.WaitGroup
			for range 5 {
				more := l.connect(w, nil)
				five.Go(func() {
					if _, answer := more.run("LOGIN " + user + " " + password + code); !like(loggedInLine, answer) {
						t.Errorf("another connection: %s", answer)
					}
				})
			}
			five.Wait()
			if _, n := mail.sent(t); n != mails {
				t.Errorf("%d further codes were sent", n-mails)
			}
			// From an account's own password alone the door stays shut.
			l.connect(w, nil).exchange("LOGIN "+user+" "+password, "NO [ALERT] …")
		})
	}
}

// With codes switched on, a card needs none.
func TestCardNeedsNoCode(t *testing.T) {
	mail := &courier{}
	l := newCardLab(t, func(s *Server) { s.Auth.Notify = mail.notify })
	l.switchCodesOn(mail)
	card := l.linkedCard()
	for _, command := range []string{"AUTHENTICATE EXTERNAL =", "LOGIN " + user + " " + password} {
		l.connect(way{version: cryptotls.VersionTLS13}, &card).exchange(command, loggedInLine)
	}
}

// Sessions that rest on a grant end when it is revoked.
func TestRevokedGrantEndsSessions(t *testing.T) {
	mail := &courier{}
	l := newCardLab(t, func(s *Server) {
		s.Auth.Notify, s.Auth.Codes.Resend = mail.notify, time.Nanosecond
	})
	l.switchCodesOn(mail)
	c := l.connect(way{version: cryptotls.VersionTLS13}, nil)
	c.exchange("LOGIN "+user+" "+password, "NO [ALERT] …")
	code, _ := mail.sent(t)
	c.ok("LOGIN " + user + " " + password + code)
	c.send("i IDLE")
	c.want("+ idling")
	if err := l.Auth.RevokeGrant(context.Background(), l.owner(l.account), 0); err != nil {
		t.Fatal(err)
	}
	c.closed("* BYE [ALERT] Your log-in has ended: log in again")
	l.connect(way{version: cryptotls.VersionTLS13}, nil).exchange("LOGIN "+user+" "+password+code, "NO [A…")
}
