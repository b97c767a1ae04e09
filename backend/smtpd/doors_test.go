package smtpd

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	ours "telesphore/tls"
)

// door is one of the ways in, with somebody who may send to bob there.
type door struct {
	*lab
	from string
	open func(t *testing.T) *client // ready for MAIL
}

// letter is a message from who may send.
func (d *door) letter() string { return as(d.from) }

func (d *door) ready(t *testing.T) *client {
	t.Helper()
	c := d.open(t)
	c.say("MAIL FROM:<"+d.from+">", "250 2.1.0 ")
	c.say("RCPT TO:<"+bob+">", "250 2.1.5 ")
	return c
}

// atEveryDoor runs a test for port 465, port 587, and port 25 for each kind of other
// server. prepare changes the servers before they serve.
func atEveryDoor(t *testing.T, limits Limits, test func(t *testing.T, d *door), prepare ...func(*Server)) {
	limits.ConnectionsPerAddress = 1000
	serve := func(l *lab) {
		for _, p := range prepare {
			p(l.Server)
		}
		l.serve()
	}
	users := func(t *testing.T) *cardLab {
		l := newCardServer(t, limits)
		serve(l.lab)
		return l
	}
	others := func(t *testing.T) *exchangeLab {
		l := newExchange(t, limits)
		serve(l.lab)
		return l
	}
	for name, make := range map[string]func(t *testing.T) *door{
		"465": func(t *testing.T) *door {
			l := users(t)
			return &door{l.lab, alice, func(t *testing.T) *client {
				c := (&lab{Server: l.Server, t: t, tls: l.tls, client: l.client}).dial()
				c.say("AUTH PLAIN "+plain(alice, password), "235 ")
				return c
			}}
		},
		"587": func(t *testing.T) *door {
			l := users(t)
			card := l.card(aliceID, ours.Terms{})
			return &door{l.lab, alice, func(t *testing.T) *client {
				c := (&lab{Server: l.Server, t: t, clear: l.clear}).dialClear()
				c.say("STARTTLS", "220 ")
				c = c.secure(l.with(card, 0))
				c.say("EHLO x", "250-")
				return c
			}}
		},
		"25 operator": func(t *testing.T) *door {
			l := others(t)
			card := l.clinique(ours.Terms{})
			return &door{l.lab, fromLilas, func(*testing.T) *client { return l.connect(card) }}
		},
		"25 system": func(t *testing.T) *door {
			l := others(t)
			card := l.laboratory(ours.Terms{})
			return &door{l.lab, labo, func(*testing.T) *client { return l.connect(card) }}
		},
		"25 stranger": func(t *testing.T) *door {
			l := others(t)
			return &door{l.lab, outside, func(*testing.T) *client { return l.connect(nil) }}
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, make(t)) })
	}
}

// Each of these is the end of a message to some server, somewhere: what
// follows it in the same stream must never become a second one.
func TestSmuggling(t *testing.T) {
	atEveryDoor(t, Limits{}, func(t *testing.T, d *door) {
		for _, end := range []string{
			"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\r\n.\r\r\n", "\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
			"\r\n.\r\x00\n", "\n\n.\r\n\n", "\r\n\r.\r\n",
		} {
			smuggled := fmt.Sprintf("MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n%ssmuggled\r\n.\r\n", d.from, bob, d.letter())
			c := d.ready(t)
			c.say("DATA", "354 ")
			c.send("%sbody%s%s", d.letter(), end, smuggled)
			if r := c.reply(); !strings.HasPrefix(r[0], "550 5.6.0 ") {
				t.Errorf("%q: %q", end, r[0])
			}
			c.wantClosed()
			c = d.ready(t)
			first := d.letter() + "body" + end
			c.send("BDAT %d LAST\r\n%s%s", len(first), first, smuggled)
			if r := c.reply(); !strings.HasPrefix(r[0], "550 5.6.0 ") {
				t.Errorf("BDAT, %q: %q", end, r[0])
			}
			c.wantClosed()
		}
		d.wantMail()
	})
}

// What stalls inside a message is closed: the rest of the body was read as commands by
// go-smtp alone (its issue 196).
func TestStalledDataIsNotReadAsCommands(t *testing.T) {
	atEveryDoor(t, Limits{Idle: 300 * time.Millisecond}, func(t *testing.T, d *door) {
		for _, begin := range []string{"DATA\r\n", "BDAT 5000 LAST\r\n"} {
			c := d.ready(t)
			c.send("%s", begin)
			if begin == "DATA\r\n" {
				c.want("354 ")
			}
			c.send("%sfirst half\r\n", d.letter())
			c.want("421 4.4.2 ")
			// The server may have closed already.
			_, _ = io.WriteString(c, "RSET\r\nMAIL FROM:<"+d.from+">\r\nRCPT TO:<"+bob+">\r\nDATA\r\n"+d.letter()+"smuggled\r\n.\r\n")
			rest, _ := io.ReadAll(c.in) // a reset is a close too
			if len(rest) > 0 {
				t.Errorf("after the stall: %q", rest)
			}
		}
		d.wantMail()
	})
}

// An address is never two: what another program would read otherwise is refused.
func TestAddressInjection(t *testing.T) {
	atEveryDoor(t, Limits{Errors: 100}, func(t *testing.T, d *door) {
		c := d.open(t)
		for _, from := range []string{
			`"x> SIZE=1"@perso.test`, `"` + d.from + `"`, `a\@perso.test@hopital.test`, d.from + "@perso.test", "a@[127.0.0.1]", "a b@perso.test",
			"a@perso.test@clinique.test",
		} {
			if r := c.say("MAIL FROM:<"+from+">", "5"); !strings.HasPrefix(r[0], "553 5.1.7 ") && !strings.HasPrefix(r[0], "501 5.5.2 ") {
				t.Errorf("%q: %q", from, r[0])
			}
		}
		c.say("MAIL FROM:<"+d.from+">", "250 ")
		for _, to := range []string{
			`"victim@evil.test> NOTIFY=NEVER ORCPT=rfc822;x"@hopital.test`, `"victim@evil.test"@hopital.test`, `victim\@evil.test@hopital.test`,
			"victim@evil.test> NOTIFY=NEVER ORCPT=rfc822;x@hopital.test", // that is victim@evil.test
			"victim@evil.test@hopital.test", "bob @hopital.test", "bob@hopital.test,victim@evil.test",
			"bob@[127.0.0.1]", "bob@hopital.test>\tNOTIFY=NEVER", "bob@hopital..test", "bob@-hopital.test",
		} {
			if r := c.say("RCPT TO:<"+to+">", "5"); !strings.HasPrefix(r[0], "553 5.1.3 ") && !strings.HasPrefix(r[0], "501 5.5.") && !strings.HasPrefix(r[0], "550 5.7.1 ") {
				t.Errorf("%q: %q", to, r[0])
			}
		}
		c.say("DATA", "503 ")
		d.wantMail()
		if q := d.queued(); len(q) > 0 {
			t.Errorf("queue: %+v", q)
		}
	})
}

// Who is kept from STARTTLS sends nothing, and what comes along with it is nothing.
func TestSTARTTLSStrippedOrInjected(t *testing.T) {
	atEveryDoor(t, Limits{}, func(t *testing.T, d *door) {
		inside := d.open(t)
		inside.say("STARTTLS", "503 5.5.1 TLS is already active")
		if d.clear == "" {
			return
		}
		at := &lab{Server: d.Server, t: t, clear: d.clear}
		c := at.dialClear()
		for _, command := range []string{"MAIL FROM:<" + d.from + ">", "RCPT TO:<" + bob + ">", "DATA", "BDAT 10 LAST", "STARTTLSX"} {
			if r := c.say(command, "5"); !strings.HasPrefix(r[0], "530 5.7.0 ") && !strings.HasPrefix(r[0], "500 ") {
				t.Errorf("%q in clear: %q", command, r[0])
			}
		}
		c = at.dialClear()
		c.send("STARTTLS\r\nEHLO x\r\nAUTH PLAIN %s\r\nMAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n%s.\r\n", plain(alice, password), d.from, bob, d.letter())
		c.want("220 ")
		c = c.secure(d.authority.Client(""))
		c.say("RCPT TO:<"+bob+">", "503 5.5.1 ")
		c.say("DATA", "503 5.5.1 ")
		d.wantMail()
	})
}

// Results that we have not found ourselves do not arrive under our name.
func TestForgedResults(t *testing.T) {
	const verdict = " spf=pass smtp.mailfrom=x; dmarc=pass header.from=x\r\n"
	forged := []string{
		"Authentication-Results: mail.hopital.test;" + verdict,
		"authentication-results:mail.hopital.test;" + verdict,
		"AUTHENTICATION-RESULTS: MAIL.Hopital.TEST;" + verdict,
		"Authentication-Results:\r\n mail.hopital.test;\r\n" + verdict,
		"Authentication-Results: (really) mail.hopital.test (yes) 1;" + verdict,
		"Authentication-Results: \"mail.hopital.test\";" + verdict,
		"Authentication-Results: \"mail\\.hopital.test\" 1;" + verdict,
		"Authentication-Results: mail.hopital.test.;" + verdict,
		"Authentication-Results: mail.hopital.test;" + verdict + "Authentication-Results: mail.hopital.test;" + verdict,
	}
	const foreign = "Authentication-Results: mx.perso.test; spf=none\r\n"
	atEveryDoor(t, Limits{}, func(t *testing.T, d *door) {
		c := d.open(t)
		for i, f := range forged {
			c.post(d.from, f+foreign+d.letter()+f, taken)
			got := d.inbox()[i]
			header, body, _ := strings.Cut(got, "\r\n\r\n")
			if header = strings.ToLower(header); strings.Contains(header, "spf=pass") {
				t.Errorf("%q arrived: %q", f, got)
			}
			if !strings.Contains(got, foreign) || body != f {
				t.Errorf("what was no forgery is gone: %q", got)
			}
		}
		// A name with a blank behind it is no header field: readers differ about it.
		c.post(d.from, "Authentication-Results : mail.hopital.test;"+verdict+d.letter(), "DATA 550 5.6.0 ")
	})
}
