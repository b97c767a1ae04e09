package smtpd

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
	ours "telesphore/tls"
)

// queued is what waits for other servers, in the order in which it came.
func (l *lab) queued() (all []storage.Queued) {
	l.t.Helper()
	err := l.Store.View(context.Background(), func(tx *storage.Tx) error {
		all = nil
		return tx.Queue(0, func(q *storage.Queued) bool {
			all = append(all, *q)
			return true
		})
	})
	if err != nil {
		l.t.Fatal(err)
	}
	return all
}

// What a user sends to others waits in the queue, as it was asked for.
func TestMailLeaves(t *testing.T) {
	l := newCardLab(t, Limits{})
	c := l.dialWith(l.with(l.card(aliceID, ours.Terms{}), 0))
	begin := time.Now()
	c.say("MAIL FROM:<"+alice+"> REQUIRETLS RET=HDRS ENVID=a+2Bb SMTPUTF8 holdfor=3600", "250 ")
	c.say("RCPT TO:<"+bob+">", "250 ")
	c.say("RCPT TO:<"+partner+"> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@clinique.test", "250 ")
	c.say("RCPT TO:<"+outside+"> NOTIFY=NEVER", "250 ")
	c.say("DATA", "354 ")
	c.send("%s.\r\n", letter)
	name := strings.Fields(c.want("250 2.0.0 Accepted as ")[0])[4]
	all := l.queued()
	if len(all) != 1 {
		t.Fatalf("queue: %+v", all)
	}
	q := all[0]
	away := slices.DeleteFunc(slices.Clone(q.Deliveries), func(d storage.Delivery) bool { return d.Address == bob })
	if len(away) != 2 {
		t.Fatalf("queue: %+v", all)
	}
	if q.Name != name || q.Account != l.alice || q.From != alice || q.EnvelopeID != "a+b" || q.Return != "HDRS" || !q.UTF8 || !q.RequireTLS {
		t.Errorf("message %+v, reply %q", q, name)
	}
	d := away[0]
	if d.Address != partner || d.Notify != storage.NotifySuccess|storage.NotifyDelay || d.OriginalType != "RFC822" || d.Original != "x@clinique.test" {
		t.Errorf("first delivery %+v", d)
	}
	if wait := d.Next.Sub(begin).Round(time.Minute); wait != time.Hour {
		t.Errorf("it leaves after %v", wait)
	}
	if d := away[1]; d.Address != outside || d.Notify != storage.NotifyNever {
		t.Errorf("second delivery %+v", d)
	}
}

// Grammar of FUTURERELEASE, with a limit of an hour.
func TestHold(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(s string) time.Time {
		t.Helper()
		v, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for params, want := range map[string]time.Time{
		"":                                     {},
		" SIZE=1 BODY=8BITMIME":                {},
		" HOLDFOR=1":                           at("2026-03-01 12:00:01"),
		" SIZE=1 holdfor=3600 BODY=7BIT":       at("2026-03-01 13:00:00"),
		" HOLDUNTIL=2026-03-01T12:30:00Z":      at("2026-03-01 12:30:00"),
		" holduntil=2026-03-01t12:30:00z":      at("2026-03-01 12:30:00"),
		" HOLDUNTIL=2026-03-01T12:30:00.5Z":    at("2026-03-01 12:30:00.5"),
		" HOLDUNTIL=2026-03-01T14:30:00+02:00": at("2026-03-01 12:30:00"),
		" HOLDUNTIL=2026-03-01T13:00:00Z":      at("2026-03-01 13:00:00"),
		" HOLDUNTIL=2026-02-01T12:30:00Z":      {}, // it has come
	} {
		rest, until, refusal := takeHold(params, time.Hour, now)
		if refusal != nil || !until.Equal(want) || strings.Contains(strings.ToUpper(rest), "HOLD") {
			t.Errorf("%q: %q, %v, %v, want %v", params, rest, until, refusal, want)
		}
		if strings.Contains(params, "SIZE=1") != strings.Contains(rest, " SIZE=1") || strings.Contains(params, "BODY") != strings.Contains(rest, " BODY=") {
			t.Errorf("%q leaves %q", params, rest)
		}
	}
	for _, params := range []string{
		" HOLDFOR", " HOLDFOR=", " HOLDFOR=0", " HOLDFOR=01", " HOLDFOR=-1", " HOLDFOR=+1", " HOLDFOR=1.5", " HOLDFOR=1h", " HOLDFOR=3601",
		" HOLDFOR=999999999", " HOLDFOR=1000000000", " HOLDFOR=99999999999999999999",
		" HOLDUNTIL", " HOLDUNTIL=", " HOLDUNTIL=2026-03-01", " HOLDUNTIL=2026-03-01T12:30:00", " HOLDUNTIL=2026-03-01T12:30Z",
		" HOLDUNTIL=2026-03-01T1:30:00Z", " HOLDUNTIL=2026-03-01T12:30:00,5Z", " HOLDUNTIL=2026-13-01T12:30:00Z", " HOLDUNTIL=2026-03-01T24:30:00Z",
		" HOLDUNTIL=2026-03-01T12:30:00+2", " HOLDUNTIL=2026-03-01T13:00:01Z", " HOLDUNTIL=9999-03-01T12:30:00Z", " HOLDUNTIL=1740000000",
		" HOLDFOR=1 HOLDUNTIL=2026-03-01T12:30:00Z", " HOLDFOR=1 HOLDFOR=1", " HOLDUNTIL=2026-02-01T12:30:00Z HOLDFOR=1",
	} {
		if _, until, refusal := takeHold(params, time.Hour, now); refusal != errHold || !until.IsZero() {
			t.Errorf("%q: %v, %v", params, until, refusal)
		}
	}
}

func FuzzTakeHold(f *testing.F) {
	for _, s := range []string{" HOLDFOR=60 SIZE=1", " HOLDUNTIL=2026-03-01T12:30:00+02:00", " holdfor=1 holduntil=x"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, params string) {
		rest, until, refusal := takeHold(params, time.Hour, now)
		if refusal == nil && (until.After(now.Add(time.Hour)) || !until.IsZero() && until.Before(now)) {
			t.Fatalf("%q: %v", params, until)
		}
		for p := range strings.FieldsSeq(rest) {
			if u := strings.ToUpper(p); refusal == nil && (strings.HasPrefix(u, "HOLDFOR=") || strings.HasPrefix(u, "HOLDUNTIL=")) {
				t.Fatalf("%q leaves %q", params, rest)
			}
		}
	})
}

// What is announced holds: the seconds, and the date that they lead to.
func TestHoldIsAnnounced(t *testing.T) {
	l := newLab(t, Limits{Hold: time.Hour})
	c := l.login()
	r := c.say("EHLO x", "250-")
	i := slices.IndexFunc(r, func(s string) bool { return strings.HasPrefix(s, "250-FUTURERELEASE 3600 ") })
	if i < 0 {
		t.Fatalf("not announced: %q", r)
	}
	until, err := time.Parse(time.RFC3339, strings.Fields(r[i])[2])
	if d := time.Until(until); err != nil || d > time.Hour || d < time.Hour-time.Minute {
		t.Errorf("announced until %v, %v", until, err)
	}
	c.say("MAIL FROM:<"+alice+"> HOLDUNTIL="+until.Format(time.RFC3339), "250 ")
	c.say("RSET", "250 ")
	c.say("MAIL FROM:<"+alice+"> HOLDFOR=3601", "501 5.5.4 ")
	c.say("MAIL FROM:<"+alice+"> HOLDFOR=1 HOLDUNTIL="+until.Format(time.RFC3339), "501 5.5.4 ")
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("RCPT TO:<"+bob+"> HOLDFOR=1", "555 5.5.4 ")
	c.say("HELO x", "250 mail.hopital.test")
}

// Whoever has sent enough for a day is told so at the recipient, with the time of the
// next day. Mail to our own domains is no matter of it.
func TestSendQuota(t *testing.T) {
	for language, texts := range map[string][3]string{
		"en": {"2 of 2 messages sent today: more from ", "At most 1 recipients a day that you never wrote to before: more from ", " on"},
		"fr": {"2 messages sur 2 envoyes aujourd'hui : la suite a partir de ", "Au plus 1 destinataires nouveaux par jour : la suite a partir de ", ""},
	} {
		t.Run(language, func(t *testing.T) {
			l := newCardServer(t, Limits{})
			l.Language = language
			l.Router.Sending = storage.SendLimits{Messages: 2}
			l.serve()
			tomorrow := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour).Local().Format("15:04")
			enough := "450 4.7.1 " + texts[0] + tomorrow + texts[2]
			c := l.login()
			c.say("MAIL FROM:<"+alice+">", "250 ")
			for range 3 {
				c.say("RCPT TO:<"+bob+">", "250 ")
			}
			c.say("RCPT TO:<a@perso.test>", "250 ")
			c.say("RCPT TO:<A@perso.test>", "250 ") // the same one
			c.say("RCPT TO:<b@perso.test>", "250 ")
			c.say("RCPT TO:<c@perso.test>", enough)
			c.say("RSET", "250 ") // nothing was sent
			other := l.login()
			for _, c := range []*client{c, other} {
				c.say("MAIL FROM:<"+alice+">", "250 ")
				c.say("RCPT TO:<a@perso.test>", "250 ")
				c.say("RCPT TO:<b@perso.test>", "250 ")
				c.say("DATA", "354 ")
			}
			c.send("%s.\r\n", letter)
			c.want("250 ")
			other.send("%s.\r\n", letter) // the first connection was faster
			other.want(enough)
			c.say("MAIL FROM:<"+alice+">", "250 ")
			c.say("RCPT TO:<a@perso.test>", enough)
			c.say("RCPT TO:<"+bob+">", "250 ")
			c.say("DATA", "354 ")
			c.send("%s.\r\n", letter)
			c.want("250 ")
			if got := l.queued(); len(got) != 1 || len(got[0].Deliveries) != 2 {
				t.Errorf("queue: %+v", got)
			}
		})
		t.Run(language+" new ones", func(t *testing.T) {
			l := newCardServer(t, Limits{})
			l.Language = language
			l.Router.Sending = storage.SendLimits{First: 1}
			l.serve()
			c := l.login()
			for range 2 {
				c.say("MAIL FROM:<"+alice+">", "250 ")
				c.say("RCPT TO:<a@perso.test>", "250 ")
				if r := c.say("RCPT TO:<b@perso.test>", "450 4.7.1 "+texts[1])[0]; !regexp.MustCompile(`\d\d:\d\d( on)?$`).MatchString(r) {
					t.Errorf("reply %q", r)
				}
				c.say("DATA", "354 ")
				c.send("%s.\r\n", letter)
				c.want("250 ")
			}
		})
	}
}

// The next day begins at midnight UTC, whatever the clock of here says.
func TestTomorrow(t *testing.T) {
	for at, want := range map[string]string{
		"2026-03-01T00:00:00Z": "2026-03-02T00:00:00Z", "2026-03-01T23:59:59Z": "2026-03-02T00:00:00Z", "2026-12-31T23:30:00-02:00": "2027-01-02T00:00:00Z",
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		next, err := time.Parse(time.RFC3339, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := tomorrow(now); got != next.Local().Format("15:04") {
			t.Errorf("%s: %s", at, got)
		}
	}
}

// A new header field may be longer than the room that was kept for it.
func TestPrependGrows(t *testing.T) {
	m := &incoming{budget: &budget{left: 1 << 20}, head: headroom, start: headroom, buf: append(make([]byte, headroom), "body"...)}
	want := "body"
	for i := range 20 {
		line := fmt.Sprintf("X-%d: %s\r\n", i, strings.Repeat("x", 900))
		if err := m.prepend(line); err != nil {
			t.Fatal(err)
		}
		want = line + want
	}
	if string(m.whole()) != want || string(m.body()) != "body" {
		t.Errorf("body %q, whole %d octets, want %d", m.body(), len(m.whole()), len(want))
	}
	m.replace([]byte("bod"))
	if got := string(m.whole()); got != strings.TrimSuffix(want, "y") {
		t.Errorf("replaced: ends %q", got[len(got)-10:])
	}
	if err := m.prepend(strings.Repeat("x", 2<<20)); err != errMemory {
		t.Errorf("beyond the budget: %v", err)
	}
	m.release()
	if m.budget.left != 1<<20-headroom-4 && m.budget.left < 1<<20 {
		t.Errorf("budget %d", m.budget.left)
	}
}

func TestComment(t *testing.T) {
	for in, want := range map[string]string{
		"CN=a,O=b": "CN=a,O=b", `a(b)\c`: `a\(b\)\\c`, "a\r\nX: b": "a??X: b", "é\x00": "??",
	} {
		if got := comment(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := comment(strings.Repeat("(", 5000)); len(got) > 500 || strings.Contains(strings.ReplaceAll(got, `\(`, ""), "(") {
		t.Errorf("%d octets: %q", len(got), got)
	}
}
