package smtpd

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
	ours "telesphore/tls"
)

// The code goes behind the password; what made it known once will do again.
func TestCodes(t *testing.T) {
	l := newCardServer(t, Limits{AuthFailures: 4})
	codes := make(chan string, 100)
	l.Auth.Notify = func(_ context.Context, n *auth.Notice) error {
		if n.Kind == auth.LogInCode {
			codes <- n.Code
		}
		return nil
	}
	l.serve()
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		l.update(func(tx *storage.Tx) error {
			if err := tx.PutChallenge(l.alice, &storage.Challenge{Void: true}); err != nil {
				return err
			}
			return tx.PutFactor(l.alice, &storage.Factor{CodesOn: true, Contact: "alice@perso.test", Since: time.Now()})
		})
		c := connect(nil)
		for range l.Limits.AuthFailures + 1 { // a right password is no guess
			c.say("AUTH PLAIN "+plain(alice, password), "535 5.7.8 A code was sent to your contact address: ")
		}
		code := <-codes
		c.say("AUTH PLAIN "+plain(alice, password+"00000000"), "535 5.7.8 Authentication credentials invalid")
		c.say("AUTH PLAIN "+plain(alice, code), "535 5.7.8 Authentication credentials invalid")
		c.say("AUTH LOGIN", "334 ")
		c.say(b64(alice), "334 ")
		c.say(b64(password+code), "235 2.7.0 ")
		c.say(mailAlice, "250 ")
		c.say(toPartner, strong)
		connect(nil).say("AUTH PLAIN "+plain(alice, password+code), "235 2.7.0 ")
	})
}

// Who is known too little to log in at all is told what would do.
func TestTooWeakToLogIn(t *testing.T) {
	for level, want := range map[int]string{
		auth.LevelCode: "534 5.7.9 Strong authentication is required: use your card, or have one-time codes switched on",
		auth.LevelCard: "534 5.7.9 Strong authentication (card) is required",
	} {
		l := newCardServer(t, Limits{})
		l.Auth.Policy.Default = auth.Levels{LogIn: level, Read: level, TrustSpace: level, Credentials: level}
		l.serve()
		l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
			c := connect(nil)
			for range l.Limits.AuthFailures + 1 {
				c.say("AUTH PLAIN "+plain(alice, password), want)
			}
			c.say("AUTH PLAIN "+plain(alice, "wrong"), "535 5.7.8 Authentication credentials invalid")
			c.say(mailAlice, "530 5.7.0 Authentication required")
		})
	}
}

func TestDisabledAccount(t *testing.T) {
	l := newCardLab(t, Limits{})
	l.update(func(tx *storage.Tx) error { return tx.SetState(l.alice, storage.Disabled) })
	l.both(t, func(t *testing.T, connect func(*tls.Certificate) *client) {
		connect(nil).say("AUTH PLAIN "+plain(alice, password), "525 5.7.13 ")
		connect(nil).say("AUTH PLAIN "+plain(alice, "wrong"), "535 5.7.8 ")
		card := l.card(aliceID, ours.Terms{})
		connect(card).say("AUTH EXTERNAL =", "525 5.7.13 ")
		connect(card).say(mailAlice, "525 5.7.13 ")
	})
}
