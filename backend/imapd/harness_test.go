package imapd

import (
	"bufio"
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/storage/storagetest"
	"telesphore/tls/tlstest"
)

const (
	user     = "medecin@hopital.test"
	password = "correct-horse-battery"
)

// lab is a server over a real store, with one account.
type lab struct {
	*Server
	t       testing.TB
	account storage.AccountID
	clear   string // addresses of the doors
	secure  string
	trust   *tlstest.Authority
}

// newLab starts a server; change, which may be nil, adjusts it before.
func newLab(t testing.TB, change func(*Server)) *lab {
	t.Helper()
	trust := tlstest.New(t)
	store := storagetest.New(t)
	l := &lab{t: t, trust: trust, Server: &Server{
		Store: store,
		Auth: &auth.Authenticator{Store: store, Params: auth.Params{Memory: 8, Time: 1, Lanes: 1},
			Logger: slog.New(slog.DiscardHandler)},
		TLS:          trust.Identity(t).Server(nil),
		InsecureAuth: true,
		Hostname:     "mail.hopital.test",
		Version:      "1.0",
		Limits:       DefaultLimits(),
		Logger:       slog.New(slog.DiscardHandler),
	}}
	if change != nil {
		change(l.Server)
	}
	l.account = l.addAccount(user)
	l.clear = l.listen(l.Serve)
	l.secure = l.listen(l.ServeTLS)
	return l
}

func (l *lab) addAccount(address string) storage.AccountID {
	l.t.Helper()
	phc, err := l.Auth.Hash(password)
	if err != nil {
		l.t.Fatal(err)
	}
	a := &storage.Account{Addresses: []string{address}, Password: phc}
	if err := l.Store.NewAccount(context.Background(), a); err != nil {
		l.t.Fatal(err)
	}
	return a.ID
}

// listen serves a loopback port for the length of the test.
func (l *lab) listen(serve func(context.Context, net.Listener) error) string {
	l.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- serve(context.Background(), ln) }()
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := l.Shutdown(ctx); err != nil {
			l.t.Errorf("Shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			l.t.Errorf("Serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// client speaks raw IMAP.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	tags int
}

// dial connects in clear and reads the greeting.
func (l *lab) dial() *client {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.clear)
	if err != nil {
		l.t.Fatal(err)
	}
	c := newClient(l.t, conn)
	c.want("* OK [CAPABILITY …")
	return c
}

// dialTLS connects to the implicit TLS port and reads the greeting.
func (l *lab) dialTLS() *client {
	l.t.Helper()
	conn, err := cryptotls.Dial("tcp", l.secure, l.trust.Client(""))
	if err != nil {
		l.t.Fatal(err)
	}
	c := newClient(l.t, conn)
	c.want("* OK [CAPABILITY …")
	return c
}

// login connects and logs in.
func (l *lab) login() *client {
	l.t.Helper()
	c := l.dial()
	c.ok("LOGIN " + user + " " + password)
	return c
}

// open logs in and selects a mailbox.
func (l *lab) open(mailbox string) *client {
	l.t.Helper()
	c := l.login()
	c.ok("SELECT " + mailbox)
	return c
}

func newClient(t testing.TB, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	return &client{t: t, conn: conn, r: bufio.NewReader(conn)}
}

// send writes lines as they are, each with CRLF.
func (c *client) send(lines ...string) {
	c.t.Helper()
	c.raw(strings.Join(lines, "\r\n") + "\r\n")
}

// raw writes octets.
func (c *client) raw(octets string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, octets); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// line reads one reply with its literals, without the last CRLF.
func (c *client) line() string {
	c.t.Helper()
	var all strings.Builder
	for {
		s, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("read after %q: %v", all.String()+s, err)
		}
		s = strings.TrimSuffix(s, "\r\n")
		all.WriteString(s)
		i := strings.LastIndexByte(s, '{')
		var n int
		if i < 0 || !strings.HasSuffix(s, "}") {
			return all.String()
		}
		if _, err := fmt.Sscanf(s[i:], "{%d}", &n); err != nil {
			return all.String()
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			c.t.Fatalf("read a literal: %v", err)
		}
		all.WriteString("\r\n" + string(b))
	}
}

// want reads one line for each pattern, in which … stands for anything.
func (c *client) want(patterns ...string) {
	c.t.Helper()
	for _, p := range patterns {
		if got := c.line(); !like(p, got) {
			c.t.Fatalf("got  %s\nwant %s", got, p)
		}
	}
}

// like matches a whole string against a pattern with "…".
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "…")
	if len(parts) == 1 {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, parts[0])
	for _, p := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(s, p)
		s, ok = after, ok && found
	}
	return ok && strings.HasSuffix(s, parts[len(parts)-1])
}

// run gives a command and returns the untagged replies and what follows the
// tag. Continuation requests count as replies.
func (c *client) run(command string) (replies []string, answer string) {
	c.t.Helper()
	c.tags++
	tag := fmt.Sprintf("t%d", c.tags)
	c.send(tag + " " + command)
	for {
		l := c.line()
		if after, ok := strings.CutPrefix(l, tag+" "); ok {
			return replies, after
		}
		replies = append(replies, l)
	}
}

// ok gives a command that must succeed.
func (c *client) ok(command string) []string {
	c.t.Helper()
	replies, answer := c.run(command)
	if !strings.HasPrefix(answer, "OK ") {
		c.t.Fatalf("%s: %s", command, answer)
	}
	return replies
}

// exchange gives a command and compares everything that comes back.
func (c *client) exchange(command, answer string, replies ...string) {
	c.t.Helper()
	got, tagged := c.run(command)
	if !like(answer, tagged) {
		c.t.Fatalf("%s\ngot  %s\nwant %s", command, tagged, answer)
	}
	if len(got) != len(replies) {
		c.t.Fatalf("%s\ngot  %q\nwant %q", command, got, replies)
	}
	for i := range replies {
		if !like(replies[i], got[i]) {
			c.t.Fatalf("%s, reply %d\ngot  %s\nwant %s", command, i, got[i], replies[i])
		}
	}
}

// append files a message with flags, which may be "".
func (c *client) append(mailbox, flags, message string) {
	c.t.Helper()
	if flags != "" {
		flags += " "
	}
	c.ok(fmt.Sprintf("APPEND %s %s{%d+}\r\n%s", mailbox, flags, len(message), message))
}

// fill files n small messages.
func (c *client) fill(mailbox string, n int) {
	c.t.Helper()
	for i := range n {
		c.append(mailbox, "", fmt.Sprintf("Subject: message %d\r\n\r\ntext\r\n", i+1))
	}
}

// closed checks that the server closes after the lines wanted.
func (c *client) closed(patterns ...string) {
	c.t.Helper()
	c.want(patterns...)
	if rest, err := io.ReadAll(c.r); len(rest) > 0 || err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		c.t.Fatalf("after the end: %q, %v", rest, err)
	}
}
