package imapd

import (
	"context"
	cryptotls "crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// startTLS turns a connection in clear to TLS.
func (l *lab) startTLS(c *client) *client {
	l.t.Helper()
	t := cryptotls.Client(c.conn, l.trust.Client(""))
	if err := t.Handshake(); err != nil {
		l.t.Fatal(err)
	}
	return newClient(l.t, t)
}

func TestAuthenticate(t *testing.T) {
	l := newLab(t, nil)
	plain := b64("\x00" + user + "\x00" + password)
	for name, dialogue := range map[string][]string{
		// What the client sends, then what it must get.
		"plain":           {"a AUTHENTICATE PLAIN", "+ ", plain, "a OK [CAPABILITY … Logged in"},
		"initial":         {"a AUTHENTICATE PLAIN " + plain, "a OK …"},
		"lower case":      {"a authenticate plain " + plain, "a OK …"},
		"login":           {"a AUTHENTICATE LOGIN", "+ VXNlcm5hbWU6", b64(user), "+ UGFzc3dvcmQ6", b64(password), "a OK …"},
		"login, initial":  {"a AUTHENTICATE LOGIN " + b64(user), "+ UGFzc3dvcmQ6", b64(password), "a OK …"},
		"cancelled":       {"a AUTHENTICATE PLAIN", "+ ", "*", "a BAD Authentication cancelled"},
		"not base64":      {"a AUTHENTICATE PLAIN", "+ ", "!!!!", "a BAD Invalid base64"},
		"initial, wrong":  {"a AUTHENTICATE PLAIN !!!!", "a BAD Invalid base64"},
		"empty initial":   {"a AUTHENTICATE PLAIN =", "a BAD Malformed credentials"},
		"malformed":       {"a AUTHENTICATE PLAIN " + b64("nothing"), "a BAD Malformed credentials"},
		"mechanism":       {"a AUTHENTICATE CRAM-MD5", "a NO [CANNOT] …"},
		"long":            {"a AUTHENTICATE PLAIN", "+ ", b64("\x00" + user + "\x00" + strings.Repeat("x", 8000)), "a NO [AUTHENTICATIONFAILED] Authentication failed"},
		"too long":        {"a AUTHENTICATE PLAIN", "+ ", strings.Repeat("A", 20000), "a BAD …"},
		"wrong":           {"a LOGIN " + user + " wrong-password", "a NO [AUTHENTICATIONFAILED] Authentication failed"},
		"unknown":         {"a LOGIN nobody@hopital.test " + password, "a NO [AUTHENTICATIONFAILED] Authentication failed"},
		"latin-1":         {"a LOGIN " + user + " \"caf\xe9\"", "a NO [AUTHENTICATIONFAILED] Authentication failed"},
		"quoted":          {"a LOGIN \"" + user + "\" \"" + password + "\"", "a OK …"},
		"literals":        {"a LOGIN {20}", "+ …", user + " {21+}\r\n" + password, "a OK …"},
		"too few":         {"a LOGIN " + user, "a BAD …"},
		"before log-in":   {"a SELECT INBOX", "a BAD Log in first"},
		"STARTTLS argued": {"a STARTTLS now", "a BAD …"},
	} {
		t.Run(name, func(t *testing.T) {
			c := l.dial()
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

// Passwords may come in Latin-1, as some mail programs send them.
func TestLatin1Password(t *testing.T) {
	l := newLab(t, nil)
	phc, err := l.Auth.Hash("mot-de-passe-\u00e9t\u00e9")
	if err != nil {
		t.Fatal(err)
	}
	err = l.Store.Update(context.Background(), func(tx *storage.Tx) error { return tx.SetPassword(l.account, phc) })
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"mot-de-passe-\xe9t\xe9", "mot-de-passe-\u00e9t\u00e9"} {
		l.dial().exchange("LOGIN "+user+" \""+secret+"\"", "OK …")
	}
}

// What stood in clear behind STARTTLS is not run inside TLS.
func TestStartTLSDropsWhatWasInjected(t *testing.T) {
	l := newLab(t, func(s *Server) { s.InsecureAuth = false })
	c := l.dial()
	c.raw("a STARTTLS\r\nb NOOP\r\nc LOGIN " + user + " " + password + "\r\n")
	c.want("a OK Begin TLS")
	c = l.startTLS(c)
	c.exchange("NOOP", "OK …")
	c.exchange("STARTTLS", "BAD …")
	c.exchange("SELECT INBOX", "BAD Log in first")
	c.ok("LOGIN " + user + " " + password)
	c.exchange("STARTTLS", "BAD …")
	c.exchange("LOGIN x y", "BAD …")
}

func TestTooManyFailures(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Failures = 3 })
	c := l.dial()
	for range 2 {
		c.exchange("LOGIN "+user+" wrong", "NO [AUTHENTICATIONFAILED] …")
	}
	c.send("a LOGIN "+user+" wrong", "b NOOP")
	c.closed("a NO [AUTHENTICATIONFAILED] …", "* BYE Too many failed log-ins")
}

func TestTooManyBadCommands(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.BadCommands = 3 })
	c := l.dial()
	c.send("", "x y", "a NOOP", "x", "GET / HTTP/1.1", "")
	c.want("* BAD …", "x BAD …", "a OK …")
	c.closed("* BAD …", "GET BAD …", "* BAD …", "* BYE Too many bad commands")
}

func TestConnectionLimits(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.PerAddress, s.Limits.PerAccount = 3, 2 })
	first := l.login()
	l.login()
	third := l.dial()
	third.exchange("LOGIN "+user+" "+password, "NO [LIMIT] …")
	if open := l.Auth.Sessions(l.account); len(open) != 2 {
		t.Errorf("open log-ins: %+v", open)
	}
	conn, err := net.Dial("tcp", l.clear)
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, conn).closed("* BYE [UNAVAILABLE] Too many connections from your address")
	first.exchange("LOGOUT", "OK …", "* BYE …")
	first.closed()
	third.eventually("LOGIN "+user+" "+password, "OK …")
}

// eventually repeats a command until it is answered so.
func (c *client) eventually(command, answer string) {
	c.t.Helper()
	for range 1000 {
		if _, got := c.run(command); like(answer, got) {
			return
		}
	}
	c.t.Fatalf("%s: never %s", command, answer)
}

func TestAutologout(t *testing.T) {
	l := newLab(t, func(s *Server) {
		s.Limits.LogIn, s.Limits.Idle = 100*time.Millisecond, 200*time.Millisecond
		s.Limits.Stall = 100 * time.Millisecond
	})
	l.dial().closed("* BYE No log-in for too long")
	slow := l.dial()
	slow.raw("a LOG")
	slow.closed("* BYE No log-in for too long")
	l.login().closed("* BYE Autologout, no command for too long")
	c := l.open("INBOX")
	c.send("i IDLE")
	c.want("+ idling")
	c.closed("* BYE Autologout, no command for too long")
	stalled := l.login()
	stalled.raw("a APPEND INBOX {100+}\r\nx")
	stalled.closed("* BYE Autologout, no command for too long")
}

// A client that does not shake hands is not waited for.
func TestHandshakeLimit(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Handshake = 50 * time.Millisecond })
	silent, err := net.Dial("tcp", l.secure)
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, silent).closed()
	c := l.dial()
	c.ok("STARTTLS")
	c.closed()
}

// A session ends when its account is disabled or its password changed.
func TestAccountChanges(t *testing.T) {
	ctx := context.Background()
	for name, change := range map[string]func(*storage.Tx, storage.AccountID) error{
		"disabled": func(tx *storage.Tx, a storage.AccountID) error { return tx.SetState(a, storage.Disabled) },
		"password": func(tx *storage.Tx, a storage.AccountID) error { return tx.SetPassword(a, "$x") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			l.login().fill("INBOX", 1)
			idle, selected, other := l.open("INBOX"), l.open("INBOX"), l.login()
			fetching, starting := l.open("INBOX"), l.open("INBOX")
			idle.send("i IDLE")
			idle.want("+ idling")
			err := l.Store.Update(ctx, func(tx *storage.Tx) error { return change(tx, l.account) })
			if err != nil {
				t.Fatal(err)
			}
			idle.closed("* BYE [UNAVAILABLE] Account was disabled …")
			selected.send("a NOOP")
			selected.closed("* BYE [UNAVAILABLE] Account was disabled …")
			fetching.send("a FETCH 1 BODY[]")
			fetching.closed("* BYE [UNAVAILABLE] Account was disabled …")
			starting.send("a IDLE")
			starting.closed("+ idling", "* BYE [UNAVAILABLE] Account was disabled …")
			other.send("a LIST \"\" \"\"")
			other.want("* LIST …")
			other.closed("* BYE [UNAVAILABLE] Account was disabled …")
		})
	}
}

func TestShutdown(t *testing.T) {
	l := newLab(t, nil)
	clients := []*client{l.dial(), l.login(), l.open("INBOX"), l.dialTLS()}
	idle := l.open("INBOX")
	idle.send("i IDLE")
	idle.want("+ idling")
	half := l.login()
	half.raw("a APPEND INBOX {1000}\r\n")
	half.want("+ …")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, c := range append(clients, idle, half) {
		c.closed("* BYE Server shutting down")
	}
	if _, err := net.Dial("tcp", l.clear); err == nil {
		t.Error("the listener is still open")
	}
	if err := l.Serve(ctx, nothing{}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

// nothing is a listener that is never asked.
type nothing struct{ net.Listener }

func (nothing) Close() error { return nil }
