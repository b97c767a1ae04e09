package smtpd

import (
	"bytes"
	"crypto/tls"
	"io"
	"slices"
	"testing"
)

func TestBeforeTLS(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.dialClear()
	r := c.say("EHLO x", "250-mail.hopital.test")
	if want := []string{"250-mail.hopital.test", "250-PIPELINING", "250-8BITMIME", "250-ENHANCEDSTATUSCODES", "250-SMTPUTF8", "250-SIZE 37748736", "250 STARTTLS"}; !slices.Equal(r, want) {
		t.Errorf("EHLO: %q, want %q", r, want)
	}
	for command, want := range map[string]string{
		"AUTH PLAIN " + plain(alice, password): "538 5.7.11 ", "MAIL FROM:<" + alice + ">": "530 5.7.0 ",
		"RCPT TO:<" + bob + ">": "530 5.7.0 ", "DATA": "530 5.7.0 ", "VRFY x": "530 5.7.0 ", "NOOP": "250 ", "RSET": "250 ",
		"STARTTLSFOO": "500 5.5.2 ", "STARTTLS now": "501 5.5.4 ", "GET / HTTP/1.1": "500 5.5.2 ", "": "500 5.5.2 ", "EHLO": "501 ",
	} {
		c.say(command, want)
	}
	c.say("QUIT", "221 ")
	c.wantClosed()
}

func TestManyCommandsBeforeTLS(t *testing.T) {
	c := newLab(t, Limits{}).dialClear()
	for range maxClear {
		c.say("NOOP", "250 ")
	}
	c.want("421 4.7.0 ")
	c.wantClosed()
}

// secure does STARTTLS on a client that has sent it and read the answer.
func (c *client) secure(config *tls.Config) *client {
	c.t.Helper()
	conn := tls.Client(c.Conn, config)
	if err := conn.Handshake(); err != nil {
		c.t.Fatal(err)
	}
	return (&lab{t: c.t}).wrap(conn)
}

func TestSTARTTLS(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.dialClear()
	c.say("EHLO before.test", "250-")
	c.say("STARTTLS", "220 ")
	c = c.secure(l.client)
	c.say("MAIL FROM:<"+alice+">", "503 5.5.1 ") // the EHLO in clear is forgotten
	c.say("EHLO after.test", "250-mail.hopital.test")
	c.say("STARTTLS", "503 5.5.1 ")
	c.say("MAIL FROM:<"+alice+">", "530 5.7.0 ")
	c.say("AUTH PLAIN "+plain(alice, password), "235 2.7.0 ")
	c.deliver(letter, "250 2.0.0 ")
	l.wantMail(letter)
}

func TestSTARTTLSInjection(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.dialClear()
	c.send("STARTTLS\r\nEHLO x\r\nAUTH PLAIN %s\r\nMAIL FROM:<%s>\r\n", plain(alice, password), alice)
	c.want("220 ")
	c = c.secure(l.client)
	c.say("RCPT TO:<"+bob+">", "503 5.5.1 ")
	c.say("EHLO x", "250-")
	c.say("MAIL FROM:<"+alice+">", "530 5.7.0 ")
}

func TestFailedHandshakeCloses(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.dialClear()
	c.say("STARTTLS", "220 ")
	c.send("NOOP\r\nMAIL FROM:<%s>\r\n", alice)
	rest, _ := io.ReadAll(c.in)
	if bytes.ContainsAny(rest, "\r\n ") || len(rest) > 7 { // a TLS alert is 7 octets
		t.Errorf("after a failed handshake: %q", rest)
	}
}
