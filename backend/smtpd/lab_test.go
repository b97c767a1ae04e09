package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/storage/storagetest"
	"telesphore/tls/tlstest"
)

const (
	alice    = "alice@hopital.test"
	bob      = "bob@hopital.test"
	password = "cheval-agrafe-pile-92"
	letter   = "From: Alice <alice@hopital.test>\r\nTo: bob@hopital.test\r\nSubject: x\r\nDate: Mon, 01 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@hopital.test>\r\n\r\n"
)

// lab is a submission server on loopback with two accounts, one password.
type lab struct {
	*Server
	t          testing.TB
	authority  *tlstest.Authority
	client     *tls.Config
	clear, tls string // addresses
	alice, bob storage.AccountID
}

func newServer(t testing.TB, limits Limits) *lab {
	t.Helper()
	store := storagetest.New(t)
	a := &auth.Authenticator{
		Store: store, Params: auth.Params{Memory: 64, Time: 1, Lanes: 1},
		Logger:   slog.New(slog.DiscardHandler),
		Throttle: auth.Throttle{PerMinute: 1e6, PerDay: 1e6, Free: 1e6, Strangers: 1e6},
	}
	phc, err := a.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	authority := tlstest.New(t)
	l := &lab{t: t, authority: authority, client: authority.Client("")}
	l.alice = storagetest.Account(t, store, phc, alice, "alias@hopital.test")
	l.bob = storagetest.Account(t, store, phc, bob)
	l.Server = &Server{
		Hostname: "mail.hopital.test", Auth: a, Store: store,
		Router: &backend.Router{Store: store, Domains: []string{"hopital.test"}, Postmaster: bob},
		TLS:    authority.Identity(t).Server(nil), Limits: limits, Logger: slog.New(slog.DiscardHandler),
	}
	return l
}

func newLab(t testing.TB, limits Limits) *lab {
	t.Helper()
	l := newServer(t, limits)
	l.serve()
	return l
}

// serve begins to serve on both ports, until the test ends.
func (l *lab) serve() {
	t := l.t
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	listen := func(serve func(context.Context, net.Listener) error) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- serve(ctx, ln) }()
		return ln.Addr().String()
	}
	l.clear, l.tls = listen(l.Serve), listen(l.ServeTLS)
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("serve: %v", err)
			}
		}
		stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := l.Shutdown(stop); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
}

// client speaks line by line.
type client struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func (l *lab) wrap(c net.Conn) *client {
	l.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		l.t.Fatal(err)
	}
	return &client{Conn: c, t: l.t, in: bufio.NewReader(c)}
}

// dialClear connects to the STARTTLS port and reads the greeting.
func (l *lab) dialClear() *client {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.clear)
	if err != nil {
		l.t.Fatal(err)
	}
	c := l.wrap(conn)
	c.want("220 mail.hopital.test ")
	return c
}

// dial connects to the TLS port and says EHLO.
func (l *lab) dial() *client {
	l.t.Helper()
	return l.dialWith(l.client)
}

func (l *lab) dialWith(config *tls.Config) *client {
	l.t.Helper()
	conn, err := tls.Dial("tcp", l.tls, config)
	if err != nil {
		l.t.Fatal(err)
	}
	c := l.wrap(conn)
	c.want("220 mail.hopital.test ")
	c.say("EHLO client.test", "250-mail.hopital.test")
	return c
}

// login is dial and AUTH as alice.
func (l *lab) login() *client {
	l.t.Helper()
	c := l.dial()
	c.say("AUTH PLAIN "+plain(alice, password), "235 2.7.0 ")
	return c
}

// ready is login, MAIL and RCPT.
func (l *lab) ready() *client {
	l.t.Helper()
	c := l.login()
	c.begin()
	return c
}

func (c *client) begin() {
	c.t.Helper()
	c.say("MAIL FROM:<"+alice+">", "250 2.1.0 ")
	c.say("RCPT TO:<"+bob+">", "250 2.1.5 ")
}

func plain(user, secret string) string { return b64("\x00" + user + "\x00" + secret) }

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, format, args...); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// reply reads one reply of any number of lines.
func (c *client) reply() (lines []string) {
	c.t.Helper()
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			c.t.Fatalf("read a reply: %v (so far %q)", err, lines)
		}
		text, ok := strings.CutSuffix(line, "\r\n")
		if !ok || len(text) < 4 {
			c.t.Fatalf("reply line %q", line)
		}
		lines = append(lines, text)
		if text[3] == ' ' {
			return lines
		}
	}
}

// want reads a reply that begins with prefix.
func (c *client) want(prefix string) []string {
	c.t.Helper()
	r := c.reply()
	if !strings.HasPrefix(r[0], prefix) {
		c.t.Errorf("reply %q, want %q", r[0], prefix)
	}
	return r
}

// say sends a command and reads its reply.
func (c *client) say(command, prefix string) []string {
	c.t.Helper()
	c.send("%s\r\n", command)
	r := c.reply()
	if !strings.HasPrefix(r[0], prefix) {
		c.t.Errorf("%.100q: reply %q, want %q", command, r[0], prefix)
	}
	return r
}

// wantClosed expects the server to close the connection without another word.
func (c *client) wantClosed() {
	c.t.Helper()
	rest, err := io.ReadAll(c.in)
	if len(rest) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("not closed: %q, %v", rest, err)
	}
}

// deliver sends a message from MAIL to its end.
func (c *client) deliver(message, prefix string) {
	c.t.Helper()
	c.begin()
	c.say("DATA", "354 ")
	c.send("%s.\r\n", message)
	c.want(prefix)
}

// inbox is what bob has got.
func (l *lab) inbox() []string { return storagetest.Inbox(l.t, l.Store, l.bob) }

// wantMail expects bob to have got messages that end like these.
func (l *lab) wantMail(want ...string) {
	l.t.Helper()
	got := l.inbox()
	if len(got) != len(want) {
		l.t.Errorf("%d messages, want %d: %.500q", len(got), len(want), got)
		return
	}
	for i := range want {
		if !strings.HasSuffix(got[i], want[i]) {
			l.t.Errorf("message %d is %.500q, want the end %.500q", i+1, got[i], want[i])
		}
	}
}
