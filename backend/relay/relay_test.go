package relay_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/relay"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// letter is what came through at a peer.
type letter struct{ from, to, octets string }

// peer is a server that keeps what it gets, and refuses what it is told to.
type peer struct {
	got    chan letter
	refuse error // at RCPT
}

func (p *peer) NewSession(*smtp.Conn) (smtp.Session, error) { return &peerSession{peer: p}, nil }

type peerSession struct {
	peer   *peer
	letter letter
}

func (s *peerSession) Reset()        {}
func (s *peerSession) Logout() error { return nil }

func (s *peerSession) Mail(from string, _ *smtp.MailOptions) error {
	s.letter.from = from
	return nil
}

func (s *peerSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.letter.to = to
	return s.peer.refuse
}

func (s *peerSession) Data(r io.Reader) error {
	octets, err := io.ReadAll(r)
	s.letter.octets = string(octets)
	s.peer.got <- s.letter
	return err
}

// listen serves a peer in the manner of security and returns its port.
func listen(t *testing.T, p *peer, authority *tlstest.Authority, security string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	server := smtp.NewServer(p)
	server.Domain, server.ErrorLog = "peer.test", slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	switch security {
	case relay.StartTLS:
		server.TLSConfig = authority.Identity(t).Server(nil)
	case relay.TLS:
		ln = tls.NewListener(ln, authority.Identity(t).Server(nil))
	}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(ln) }()
	t.Cleanup(func() { server.Close(); ln.Close(); <-done })
	return port
}

func newRelay(host, security string, authority *tlstest.Authority) *relay.Relay {
	r := &relay.Relay{
		Hostname: "mail.hopital.test",
		Routes:   []relay.Route{{Domain: "Perso.test", Host: host, Security: security}},
		Logger:   slog.New(slog.DiscardHandler),
	}
	if authority != nil {
		r.Roots = x509.NewCertPool()
		r.Roots.AddCert(authority.Certificate)
	}
	return r
}

const (
	to     = "medecin@perso.test"
	mail   = "Subject: x\r\n\r\n.\r\n..two\r\n.three\r\nfour\r\n.\r\n"
	bytes8 = "Subject: x\r\n\r\n\xe9\xff\r\n"
)

func TestOctetsArriveAsTheyAre(t *testing.T) {
	authority := tlstest.New(t)
	for _, security := range []string{relay.None, relay.StartTLS, relay.TLS} {
		p := &peer{got: make(chan letter, 1)}
		r := newRelay("localhost:"+listen(t, p, authority, security), security, authority)
		for _, c := range []letter{{"", to, mail}, {"cardiologue@hopital.test", to, bytes8}} {
			if err := r.Send(t.Context(), c.from, c.to, []byte(c.octets)); err != nil {
				t.Errorf("%s: %v", security, err)
				continue
			}
			if got := <-p.got; got != c {
				t.Errorf("%s: peer got %q, want %q", security, got, c)
			}
		}
	}
}

func TestPeerThatCannotProveItsName(t *testing.T) {
	authority, other := tlstest.New(t), tlstest.New(t)
	for _, security := range []string{relay.StartTLS, relay.TLS} {
		p := &peer{got: make(chan letter, 1)}
		port := listen(t, p, authority, security)
		for name, r := range map[string]*relay.Relay{
			"other authority": newRelay("localhost:"+port, security, other),
			"other name":      newRelay("127.0.0.2:"+port, security, authority),
		} {
			if err := r.Send(t.Context(), "", to, []byte(mail)); !errors.Is(err, relay.ErrTemporary) {
				t.Errorf("%s, %s: error %v, want ErrTemporary", security, name, err)
			}
		}
		if len(p.got) != 0 {
			t.Errorf("%s: the peer got a message", security)
		}
	}
}

func TestNoMailInClearToAPeerThatShouldEncrypt(t *testing.T) {
	p := &peer{got: make(chan letter, 1)}
	r := newRelay("localhost:"+listen(t, p, nil, relay.None), relay.StartTLS, nil)
	if err := r.Send(t.Context(), "", to, []byte(mail)); !errors.Is(err, relay.ErrTemporary) {
		t.Errorf("error %v, want ErrTemporary", err)
	}
	r = newRelay(r.Routes[0].Host, "", nil)
	if err := r.Send(t.Context(), "", to, []byte(mail)); err == nil {
		t.Error("sent over a route whose security is not stated")
	}
	if len(p.got) != 0 {
		t.Error("the peer got a message")
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		reply smtp.SMTPError
		want  error
		text  string
	}{
		{smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no <" + to + "> here"}, relay.ErrPermanent, "relay: RCPT: answered 550 5.1.1"},
		{smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "greylisted"}, relay.ErrTemporary, "relay: RCPT: answered 451 4.7.1"},
	} {
		r := newRelay("127.0.0.1:"+listen(t, &peer{refuse: &c.reply}, nil, relay.None), relay.None, nil)
		var log bytes.Buffer
		r.Logger = slog.New(slog.NewTextHandler(&log, nil))
		err := r.Send(t.Context(), "", to, []byte(mail))
		if !errors.Is(err, c.want) || err.Error() != c.text {
			t.Errorf("error %q, want %q", err, c.text)
		}
		var e *relay.Error
		if !errors.As(err, &e) || e.Code != c.reply.Code || e.Permanent() != (c.want == relay.ErrPermanent) {
			t.Errorf("error %#v, want code %d", e, c.reply.Code)
		}
		if !strings.Contains(log.String(), "reply=") || strings.Contains(log.String(), to) {
			t.Errorf("log %q: want the reply without the recipient", log.String())
		}
	}
}

func TestRefusedBeforeAnythingIsWritten(t *testing.T) {
	p := &peer{got: make(chan letter, 1)}
	r := newRelay("127.0.0.1:"+listen(t, p, nil, relay.None), relay.None, nil)
	for _, c := range []struct {
		from, to, octets string
		want             error
	}{
		{"", "medecin@clinique.test", mail, relay.ErrNoRoute},
		{"", "medecin@sub.perso.test", mail, relay.ErrNoRoute},
		{"", "", mail, backend.ErrAddress},
		{"", `"a> NOTIFY=NEVER"@perso.test`, mail, backend.ErrAddress},
		{"", "a@perso.test>\r\nRCPT TO:<b@perso.test", mail, backend.ErrAddress},
		{"a> SIZE=1@hopital.test", to, mail, backend.ErrAddress},
		{"", to, "a\n", relay.ErrPermanent},
		{"", to, "\n", relay.ErrPermanent},
		{"", to, "a\r", relay.ErrPermanent},
		{"", to, "a\rb\r\n", relay.ErrPermanent},
		{"", to, "a\r\r\n\n", relay.ErrPermanent},
		{"", to, "a\r\n\n.\r\n", relay.ErrPermanent},
		{"", to, "a\x00\r\n", relay.ErrPermanent},
		{"", "é@perso.test", mail, relay.ErrPermanent}, // the peer has no SMTPUTF8
	} {
		if err := r.Send(t.Context(), c.from, c.to, []byte(c.octets)); !errors.Is(err, c.want) {
			t.Errorf("from %q to %q, %q: error %v, want %v", c.from, c.to, c.octets, err, c.want)
		}
	}
	if len(p.got) != 0 {
		t.Error("the peer got a message")
	}
}

// script is a peer that writes what it is told as soon as somebody connects, and
// reads without another word until the connection ends.
func script(t *testing.T, lines string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, conn)
			io.WriteString(conn, lines)
			t.Cleanup(func() { conn.Close() })
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func TestHostilePeers(t *testing.T) {
	const ready = "220 a\r\n250-a\r\n250 8BITMIME\r\n250 ok\r\n250 ok\r\n"
	for name, lines := range map[string]string{
		"says nothing":             "",
		"stops before EHLO":        "220 a\r\n",
		"stops behind the message": ready + "354 go\r\n",
		"reply without end":        "220 a\r\n" + strings.Repeat("250-a\r\n", 10_000),
		"line without end":         strings.Repeat("2", 1<<20),
		"no SMTP":                  "HTTP/1.1 400 secret words\r\n",
		"success in a wrong place": ready + "250 thanks\r\n",
	} {
		r := newRelay(script(t, lines), relay.None, nil)
		r.Limits = relay.Limits{Command: 100 * time.Millisecond, Data: 100 * time.Millisecond, Replies: 20_000}
		err := r.Send(t.Context(), "", to, []byte(mail))
		if !errors.Is(err, relay.ErrTemporary) {
			t.Errorf("%s: error %v, want ErrTemporary", name, err)
		} else if strings.Contains(err.Error(), "secret words") {
			t.Errorf("%s: error %q has the peer's words", name, err)
		}
	}
}

func TestEndOfContextEndsTheAttempt(t *testing.T) {
	r := newRelay(script(t, "220 a\r\n"), relay.None, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := r.Send(ctx, "", to, []byte(mail))
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, relay.ErrTemporary) {
		t.Errorf("error %v, want ErrTemporary and DeadlineExceeded", err)
	}
}

func TestMessageOf8BitsNeeds8BITMIME(t *testing.T) {
	r := newRelay(script(t, "220 a\r\n250 a\r\n"), relay.None, nil)
	if err := r.Send(t.Context(), "", to, []byte(bytes8)); !errors.Is(err, relay.ErrPermanent) {
		t.Errorf("error %v, want ErrPermanent", err)
	}
}

func TestQuitIsNotWaitedFor(t *testing.T) {
	r := newRelay(script(t, "220 a\r\n250 a\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"), relay.None, nil)
	r.Limits.Quit = time.Millisecond
	if err := r.Send(t.Context(), "", to, []byte(mail)); err != nil {
		t.Errorf("the message was taken, yet: %v", err)
	}
}
