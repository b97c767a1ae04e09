package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend/auth"
	"telesphore/storage"
)

func TestConnectionsPerAddress(t *testing.T) {
	l := newLab(t, Limits{ConnectionsPerAddress: 2})
	first := l.dial()
	l.dialClear()
	conn, err := net.Dial("tcp", l.clear)
	if err != nil {
		t.Fatal(err)
	}
	c := l.wrap(conn)
	c.want("421 4.7.0 Too many connections")
	c.wantClosed()
	if conn, err := tls.Dial("tcp", l.tls, l.client); err == nil {
		conn.Close()
		t.Error("a third connection was let in")
	}
	first.say("QUIT", "221 ")
	first.wantClosed()
	l.await(func() bool { return len(l.conns) < 2 })
	l.dial()
}

// await waits until the server's state, under its mutex, is as ready wants it.
func (l *lab) await(ready func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		l.mu.Lock()
		ok := ready()
		l.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatal("waited too long")
		}
		<-time.NewTimer(time.Millisecond).C
	}
}

func TestConnectionsPerAccount(t *testing.T) {
	l := newLab(t, Limits{ConnectionsPerAccount: 1})
	first := l.login()
	c := l.dial()
	c.say("AUTH PLAIN "+plain(alice, password), "421 4.7.0 ")
	c.wantClosed()
	l.dial().say("AUTH PLAIN "+plain(bob, password), "235 ")
	first.say("QUIT", "221 ")
	first.wantClosed()
	l.await(func() bool { return l.accounts[l.alice] == 0 })
	l.login()
}

// Whatever becomes of them: those who cancel cannot begin for ever.
func TestTriesPerConnection(t *testing.T) {
	l := newLab(t, Limits{AuthTries: 3})
	c := l.dial()
	for range 3 {
		c.say("AUTH PLAIN", "334 ")
		c.say("*", "501 5.0.0 ")
	}
	c.say("AUTH PLAIN", "421 4.7.0 Too many authentication failures")
	c.wantClosed()
}

func TestMessagesPerConnection(t *testing.T) {
	l := newLab(t, Limits{Messages: 2})
	c := l.login()
	c.deliver(letter, "250 ")
	c.deliver(letter, "250 ")
	c.say("MAIL FROM:<"+alice+">", "421 4.7.0 ")
	c.wantClosed()
	l.wantMail(letter, letter)
}

func TestCommandsBetweenMessages(t *testing.T) {
	l := newLab(t, Limits{Commands: 10})
	c := l.login()
	for range 3 {
		c.say("NOOP", "250 ")
		c.deliver(letter, "250 ")
	}
	for range 10 {
		c.say("NOOP", "250 ")
	}
	c.say("NOOP", "421 4.7.0 ")
	c.wantClosed()
}

func TestErrorsPerConnection(t *testing.T) {
	l := newLab(t, Limits{Errors: 3})
	for _, command := range []string{"GET / HTTP/1.1", "DATA", "MAIL FROM:x"} {
		c := l.dial()
		for range 3 {
			c.say(command, "50")
		}
		c.say(command, "50")
		c.want("421 4.7.0 ")
		c.wantClosed()
	}
}

// Refused recipients are no errors of the protocol.
func TestManyUnknownRecipients(t *testing.T) {
	l := newLab(t, Limits{Errors: 3})
	c := l.login()
	c.say("MAIL FROM:<"+alice+">", "250 ")
	for range 50 {
		c.say("RCPT TO:<nobody@hopital.test>", "550 5.1.1 ")
	}
	c.say("RCPT TO:<"+bob+">", "250 ")
}

// pipeListener hands over in-memory connections, whose deadlines follow the
// clock of a synctest bubble.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// inBubble runs a test whose clock is not the world's, with an open connection
// to a server that prepare has changed before.
func inBubble(t *testing.T, limits Limits, test func(t *testing.T, l *lab, c *client), prepare ...func(*lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := newServer(t, limits)
		for _, p := range prepare {
			p(l)
		}
		p := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- l.ServeTLS(ctx, p) }()
		ours, theirs := net.Pipe()
		p.conns <- theirs
		// The certificate is of the world's time, the bubble is in the year 2000.
		conn := tls.Client(ours, &tls.Config{InsecureSkipVerify: true})
		c := &client{Conn: conn, t: t, in: bufio.NewReader(conn)}
		test(t, l, c)
		ours.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := l.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func (c *client) open() {
	c.t.Helper()
	c.want("220 ")
	c.say("EHLO client.test", "250-")
	c.say("AUTH PLAIN "+plain(alice, password), "235 ")
	c.begin()
}

// A message that takes longer than the idle limit arrives if it keeps moving.
func TestSlowButSteadyData(t *testing.T) {
	inBubble(t, Limits{Idle: time.Minute}, func(t *testing.T, l *lab, c *client) {
		c.open()
		c.say("DATA", "354 ")
		c.send("%s", letter)
		for range 30 {
			time.Sleep(50 * time.Second) // the bubble's clock
			c.send("x\r\n")
		}
		c.send(".\r\n")
		c.want("250 2.0.0 ")
		l.wantMail(letter + strings.Repeat("x\r\n", 30))
	})
}

func TestMessageHasAnEnd(t *testing.T) {
	inBubble(t, Limits{Idle: time.Minute, Message: 10 * time.Minute}, func(t *testing.T, l *lab, c *client) {
		c.open()
		c.say("DATA", "354 ")
		var trickle sync.WaitGroup
		trickle.Go(func() {
			for {
				time.Sleep(50 * time.Second) // the bubble's clock
				if _, err := io.WriteString(c, "x\r\n"); err != nil {
					return
				}
			}
		})
		begin := time.Now()
		c.want("421 4.4.2 ")
		if d := time.Since(begin); d != 10*time.Minute {
			t.Errorf("closed after %v", d)
		}
		c.Close()
		trickle.Wait()
		l.wantMail()
	})
}

func TestIdleClient(t *testing.T) {
	inBubble(t, Limits{Idle: 5 * time.Minute}, func(t *testing.T, l *lab, c *client) {
		c.open()
		time.Sleep(4 * time.Minute) // the bubble's clock
		c.say("NOOP", "250 ")
		begin := time.Now()
		c.want("421 4.4.2 ")
		if d := time.Since(begin); d != 5*time.Minute {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestLoginTakesTooLong(t *testing.T) {
	inBubble(t, Limits{Login: 3 * time.Minute}, func(t *testing.T, l *lab, c *client) {
		begin := time.Now()
		c.want("220 ")
		for range 5 {
			time.Sleep(30 * time.Second) // the bubble's clock
			c.say("NOOP", "250 ")
		}
		c.want("421 4.4.2 ")
		if d := time.Since(begin); d != 3*time.Minute {
			t.Errorf("closed after %v", d)
		}
	})
}

// What MAIL and RCPT say about delivery notices is kept (RFC 3461).
func TestNoticesAreKept(t *testing.T) {
	l := newLab(t, Limits{})
	l.start()
	s := &session{s: l.Server, ctx: t.Context(), who: &auth.Principal{Account: l.alice, Address: alice}, guard: &guard{}}
	if err := s.Mail("Alice@hopital.test", &smtp.MailOptions{Return: smtp.DSNReturnHeaders, EnvelopeID: "id 1", UTF8: true}); err != nil {
		t.Fatal(err)
	}
	err := s.Rcpt(bob, &smtp.RcptOptions{
		Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyDelayed},
		OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "bob@elsewhere.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	e := s.tx.envelope
	if e.From != "Alice@hopital.test" || e.Return != "HDRS" || e.EnvelopeID != "id 1" || !e.UTF8 || len(e.Rcpts) != 1 {
		t.Fatalf("envelope %+v", e)
	}
	if r := e.Rcpts[0]; r.Address != bob || r.Notify != storage.NotifySuccess|storage.NotifyDelay ||
		r.OriginalType != "RFC822" || r.Original != "bob@elsewhere.test" {
		t.Errorf("recipient %+v", r)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, s := range []string{
		"MAIL FROM:<a@b.test> SIZE=1 BODY=8BITMIME", "RCPT TO:<postmaster>", "BDAT 10 LAST", "AUTH PLAIN AGEAYg==", "EHLO [127.0.0.1]",
		`RCPT TO:<"victim@evil.test> NOTIFY=NEVER ORCPT=rfc822;x"@lab.test>`, "STARTTLSFOO", "MAIL FROM:<> SIZE=99999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsAny(s, "\r\n\x00") {
			return
		}
		c, refusal := parseCommand(s, terms{size: 1000, hold: time.Hour, postmaster: "postmaster@b.test"})
		if refusal != nil {
			return
		}
		if strings.ContainsAny(c.line, "\r\n\x00") || c.chunk < 0 || c.chunk > 1000 || (c.chunk > 0) != (c.verb == "BDAT" && c.chunk > 0) {
			t.Fatalf("%q gives %+v", s, c)
		}
		if (c.verb == "MAIL" || c.verb == "RCPT") && (strings.Count(c.line, "<") < 1 || strings.ContainsAny(c.line, "\"\\")) {
			t.Fatalf("%q gives %q", s, c.line)
		}
	})
}

func FuzzReadHeader(f *testing.F) {
	for _, s := range []string{letter, "From: a@b\r\n c\r\n\r\nbody", "X:\r\n\r\n", "\r\n", "From:x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := readHeader(b)
		if err != nil {
			return
		}
		_ = (&user{owned: []string{alice}}).author(h)
	})
}

func BenchmarkAccept(b *testing.B) {
	message := letter + strings.Repeat(strings.Repeat("x", 76)+"\r\n", (4096-len(letter))/78)
	for _, sessions := range []int{1, 20} {
		b.Run(map[int]string{1: "sessions=1", 20: "sessions=20"}[sessions], func(b *testing.B) {
			l := newLab(b, Limits{Messages: 1 << 30})
			work := make(chan struct{})
			var all sync.WaitGroup
			for range sessions {
				c := l.login()
				if err := c.SetDeadline(time.Time{}); err != nil {
					b.Fatal(err)
				}
				all.Go(func() {
					for range work {
						c.deliver(message, "250 ")
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}
