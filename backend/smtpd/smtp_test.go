package smtpd

import (
	"context"
	"crypto/tls"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/storage"
)

// recordConn counts the TLS records of application data that arrive.
type recordConn struct {
	net.Conn
	mu    sync.Mutex
	bytes []byte
}

func (c *recordConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, b[:n]...)
	return n, err
}

func (c *recordConn) take() (records int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.bytes) >= 5 {
		records++
		c.bytes = c.bytes[5+int(c.bytes[3])<<8+int(c.bytes[4]):]
	}
	c.bytes = nil
	return records
}

func TestEHLOLeavesAtOnce(t *testing.T) {
	l := newLab(t, Limits{})
	raw, err := net.Dial("tcp", l.tls)
	if err != nil {
		t.Fatal(err)
	}
	counted := &recordConn{Conn: raw}
	c := l.wrap(tls.Client(counted, l.client))
	c.want("220 mail.hopital.test ")
	counted.take()
	r := c.say("EHLO [127.0.0.1]", "250-mail.hopital.test")
	if n := counted.take(); n != 1 {
		t.Errorf("the reply came in %d records", n)
	}
	for _, want := range []string{
		"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING", "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN", "SMTPUTF8", "DSN", "REQUIRETLS", "SIZE 37748736", "LIMITS RCPTMAX=100",
	} {
		if !slices.ContainsFunc(r[1:], func(line string) bool { return line[4:] == want }) {
			t.Errorf("%s is missing in %q", want, r)
		}
	}
	if slices.ContainsFunc(r, func(line string) bool { return strings.Contains(line, "STARTTLS") }) {
		t.Errorf("STARTTLS is offered inside TLS: %q", r)
	}
	c.say("HELO x", "250 mail.hopital.test")
}

func TestAuth(t *testing.T) {
	l := newLab(t, Limits{AuthFailures: 100})
	for _, script := range [][]string{
		{"AUTH PLAIN " + plain(alice, password), "235 2.7.0 "},
		{"auth plain " + plain("ALIAS@Hopital.test", password), "235 2.7.0 "},
		{"AUTH PLAIN", "334 ", plain(alice, password), "235 2.7.0 "},
		{"AUTH LOGIN", "334 VXNlcm5hbWU6", b64(alice), "334 UGFzc3dvcmQ6", b64(password), "235 2.7.0 "},
		{"AUTH LOGIN " + b64(alice), "334 UGFzc3dvcmQ6", b64(password), "235 2.7.0 "},
		{"AUTH PLAIN " + b64(alice+"\x00"+alice+"\x00"+password), "235 2.7.0 "},
		{"AUTH PLAIN " + b64(bob+"\x00"+alice+"\x00"+password), "535 5.7.8 "},
		{"AUTH PLAIN " + plain(alice, "wrong"), "535 5.7.8 ", "AUTH PLAIN " + plain(alice, password), "235 2.7.0 "},
		{"AUTH PLAIN " + plain("nobody@hopital.test", password), "535 5.7.8 "},
		{"AUTH LOGIN", "334 ", "=", "501 5.5.2 "},
		{"AUTH LOGIN", "334 ", b64(alice), "334 ", "", "501 5.5.2 "},
		{"AUTH PLAIN =", "501 5.5.2 "},
		{"AUTH PLAIN " + b64("no separators"), "501 5.5.2 "},
		{"AUTH PLAIN " + b64("\x00a\x00b\x00c"), "501 5.5.2 "},
		{"AUTH PLAIN !!!", "501 5.5.2 ", "AUTH PLAIN " + plain(alice, password), "235 2.7.0 "},
		{"AUTH PLAIN", "334 ", "!!!", "501 5.5.2 ", "AUTH PLAIN " + plain(alice, password), "235 2.7.0 "},
		{"AUTH PLAIN", "334 ", "*", "501 ", "NOOP", "250 "},
		{"AUTH LOGIN", "334 ", b64(alice), "334 ", "*", "501 ", "NOOP", "250 "},
		{"AUTH PLAIN x y", "501 "},
		{"AUTH", "501 "},
		{"AUTH CRAM-MD5", "504 5.5.4 "},
		{"AUTH EXTERNAL =", "535 5.7.8 "},
		{"AUTH PLAIN " + b64(strings.Repeat("x", 3300)), "501 5.5.2 "},
		{"AUTH PLAIN " + plain(alice, strings.Repeat("x", 12_288/4*3-len(alice)-2)), "535 5.7.8 "},
		{"AUTH PLAIN", "334 ", plain(alice, strings.Repeat("x", 12_288/4*3-len(alice)-2)), "535 5.7.8 "},
		{"AUTH PLAIN " + strings.Repeat("x", 13_000), "500 5.5.2 ", "NOOP", "250 "},
		{"AUTH PLAIN", "334 ", strings.Repeat("x", 13_000), "500 5.5.6 ", "NOOP", "250 "},
		{"AUTH PLAIN " + plain(alice, password), "235 ", "AUTH PLAIN " + plain(alice, password), "503 5.5.1 "},
		{"AUTH PLAIN " + plain(alice, password), "235 ", "MAIL FROM:<" + alice + ">", "250 ", "AUTH PLAIN " + plain(bob, password), "503 5.5.1 "},
	} {
		c := l.dial()
		for i := 0; i < len(script); i += 2 {
			c.say(script[i], script[i+1])
		}
		c.Close()
	}
}

func TestAuthTriesAreCounted(t *testing.T) {
	l := newLab(t, Limits{AuthFailures: 3})
	c := l.dial()
	try := "AUTH PLAIN " + plain(alice, "wrong") + "\r\n"
	c.send("%s", strings.Repeat(try, 6)+"AUTH PLAIN "+plain(alice, password)+"\r\n")
	c.want("535 5.7.8 ")
	c.want("535 5.7.8 ")
	c.want("421 4.7.0 Too many authentication failures")
	c.wantClosed()
}

func TestMail(t *testing.T) {
	l := newLab(t, Limits{MessageSize: 1000, Errors: 100})
	c := l.dial()
	c.say("MAIL FROM:<"+alice+">", "530 5.7.0 Authentication required")
	c.say("AUTH PLAIN "+plain(alice, password), "235 ")
	for _, s := range [][2]string{
		{"MAIL FROM:<" + alice + ">", "250 2.1.0 "},
		{"mail from: <Alice@HOPITAL.test> body=8bitmime", "250 2.1.0 "},
		{"MAIL FROM:<alias@hopital.test> SIZE=1000 SMTPUTF8", "250 2.1.0 "},
		{"MAIL FROM:<> RET=HDRS ENVID=x+20y", "250 2.1.0 "},
		{"MAIL FROM:<" + bob + ">", "550 5.7.1 Sender address not owned by user"},
		{"MAIL FROM:<alice@elsewhere.test>", "550 5.7.1 "},
		{"MAIL FROM:<postmaster>", "501 5.5.2 "},
		{`MAIL FROM:<"alice"@hopital.test>`, "553 5.1.7 "},
		{"MAIL FROM:<alice@hopital.test@x>", "553 5.1.7 "},
		{"MAIL FROM:<alice@[127.0.0.1]>", "553 5.1.7 "},
		{"MAIL FROM:<\xff@hopital.test> SMTPUTF8", "553 5.1.7 "},
		{"MAIL FROM:<é@hopital.test>", "553 5.6.7 "},
		{"MAIL FROM:<é@hopital.test> SMTPUTF8", "550 5.7.1 "},
		{"MAIL FROM:" + alice, "501 "},
		{"MAIL FROM:<" + alice, "501 "},
		{"MAIL FROM:<" + alice + ">SIZE=1", "501 "},
		{"MAIL " + alice, "501 "},
		{"MAIL", "501 "},
		{"MAIL TO:<" + alice + ">", "501 "},
		{"MAIL FROM:<" + alice + "> SIZE=1001", "552 5.3.4 "},
		{"MAIL FROM:<" + alice + "> SIZE=4294967296", "552 5.3.4 "},
		{"MAIL FROM:<" + alice + "> SIZE=99999999999999999999", "552 5.3.4 "},
		{"MAIL FROM:<" + alice + "> SIZE=-1", "501 5.5.4 "},
		{"MAIL FROM:<" + alice + "> SIZE=1 SIZE=2", "501 5.5.4 "},
		{"MAIL FROM:<" + alice + "> BODY=7BIT body=8BITMIME", "501 5.5.4 "},
		{"MAIL FROM:<" + alice + "> COLOUR=red", "555 5.5.4 "},
		{"MAIL FROM:<" + alice + "> BODY=BINARYMIME", "504 "},
		{"MAIL FROM:<" + alice + "> REQUIRETLS", "250 2.1.0 "},
		{"MAIL FROM:<" + alice + "> REQUIRETLS=yes", "501 5.5.4 "},
		{"MAIL FROM:<" + alice + "> MT-PRIORITY=3", "555 5.5.4 "},
	} {
		c.say(s[0], s[1])
		c.say("RSET", "250 ")
	}
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("MAIL FROM:<"+alice+">", "503 5.5.1 ")
	c.say("EHLO again.test", "250-")
	c.say("RCPT TO:<"+bob+">", "503 5.5.1 ") // EHLO is a RSET
}

func TestRcpt(t *testing.T) {
	l := newLab(t, Limits{Recipients: 3, Errors: 100})
	c := l.login()
	c.say("RCPT TO:<"+bob+">", "503 5.5.1 ")
	c.say("DATA", "503 5.5.1 ")
	c.say("MAIL FROM:<"+alice+">", "250 ")
	c.say("DATA", "503 5.5.1 ")
	for _, s := range [][2]string{
		{"RCPT TO:<nobody@hopital.test>", "550 5.1.1 "},
		{"RCPT TO:<someone@perso.test>", "550 5.7.1 perso.test is not in the trust space: write to an address at hopital.test or at a domain of the trust space"},
		{`RCPT TO:<"bob"@hopital.test>`, "553 5.1.3 "},
		{`RCPT TO:<"victim@evil.test> NOTIFY=NEVER ORCPT=rfc822;x"@hopital.test>`, "553 5.1.3 "},
		{"RCPT TO:<victim@evil.test> NOTIFY=NEVER@hopital.test>", "501 5.5.4 "},
		{"RCPT TO:<bob@hopital.test@hopital.test>", "553 5.1.3 "},
		{"RCPT TO:<bob..x@hopital.test>", "553 5.1.3 "},
		{"RCPT TO:<é@hopital.test>", "553 5.6.7 "},
		{"RCPT TO:<>", "501 "},
		{"RCPT TO:" + bob, "501 "},
		{"RCPT TO:<" + bob + "> NOTIFY=NEVER,SUCCESS", "501 5.5.4 "},
		{"RCPT TO:<" + bob + "> NOTIFY=NEVER NOTIFY=DELAY", "501 5.5.4 "},
		{"RCPT TO:<" + bob + "> X=y", "555 5.5.4 "},
		{"RCPT TO:<@relay.test:" + bob + "> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40hopital.test", "250 2.1.5 "},
		{"RCPT TO:<Postmaster>", "250 2.1.5 "},
		{"RCPT TO:<postmaster@hopital.test>", "250 2.1.5 "},
		{"RCPT TO:<" + alice + ">", "452 4.5.3 "},
	} {
		c.say(s[0], s[1])
	}
}

func TestCommandsOutOfPlace(t *testing.T) {
	l := newLab(t, Limits{Errors: 100})
	conn, err := tls.Dial("tcp", l.tls, l.client)
	if err != nil {
		t.Fatal(err)
	}
	c := l.wrap(conn)
	c.want("220 ")
	for command, want := range map[string]string{
		"MAIL FROM:<" + alice + ">": "503 ", "AUTH PLAIN " + plain(alice, password): "503 ", "RCPT TO:<" + bob + ">": "503 ",
		"DATA": "503 ", "DATA x": "501 ", "STARTTLSFOO": "500 5.5.2 ", "VRFY bob": "252 ", "EXPN x": "502 ", "HELP": "502 ", "TURN": "500 ",
		"EHLO": "501 ", "EHLO a\tb": "501 ", "EHLO <x>": "501 ", "NOOP x": "250 ", "RSET x": "501 ", "": "500 ", " NOOP": "500 ", "X": "500 ",
		"NOOP " + strings.Repeat("x", 600): "250 ", "NOOP " + strings.Repeat("x", 3000): "500 5.5.2 ", "NOOP " + strings.Repeat("x", 30_000): "500 5.5.2 ",
	} {
		c.say(command, want)
	}
}

// What came before a line that is too long is answered all the same.
func TestLongLineInThePacketOfOthers(t *testing.T) {
	c := newLab(t, Limits{}).dial()
	c.send("NOOP\r\nNOOP\r\n%s\r\nNOOP\r\n", strings.Repeat("x", 9000))
	c.want("250 ")
	c.want("250 ")
	c.want("500 5.5.2 ")
	c.want("250 ")
}

func TestLineEnds(t *testing.T) {
	l := newLab(t, Limits{})
	for _, line := range []string{"NOOP\n", "NOOP\rRSET\r\n", "NO\x00OP\r\n", "NOOP\r\r\n"} {
		c := l.dial()
		c.send("%s", line)
		c.want("500 5.5.2 ")
		c.wantClosed()
	}
}

func TestPipelining(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	c.send("MAIL FROM:<%s>\r\nRCPT TO:<nobody@hopital.test>\r\nRCPT TO:<%s>\r\nDATA\r\n", alice, bob)
	for _, want := range []string{"250 2.1.0 ", "550 5.1.1 ", "250 2.1.5 ", "354 "} {
		c.want(want)
	}
	c.send("%sx\r\n.\r\nMAIL FROM:<%s>\r\nRSET\r\nQUIT\r\n", letter, alice)
	for _, want := range []string{"250 2.0.0 Accepted as ", "250 2.1.0 ", "250 ", "221 "} {
		c.want(want)
	}
	c.wantClosed()
	l.wantMail(letter + "x\r\n")
}

func TestTraceAndCompletion(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	message := "FROM: alice@hopital.test\r\nBcc: hidden@hopital.test\r\n\r\n.\x80\r\n"
	c.deliver(strings.Replace(message, "\r\n.", "\r\n..", 1), "250 2.0.0 ")
	c.deliver(letter, "250 ")
	c.say("MAIL FROM:<> SMTPUTF8", "250 ")
	c.say("RCPT TO:<"+bob+">", "250 ")
	c.say("RCPT TO:<"+alice+">", "250 ")
	c.say("DATA", "354 ")
	c.send("%s.\r\n", letter)
	c.want("250 ")
	for i, pattern := range []string{
		`^Return-Path: <alice@hopital.test>\r\nDelivered-To: bob@hopital.test\r\n` +
			`Received: from client.test \(\[127.0.0.1\]\)\r\n\tby mail.hopital.test with ESMTPSA id [A-Z2-7]{16}\r\n\tfor <bob@hopital.test>;\r\n\t.* [+-]\d{4}\r\n` +
			`Date: .* [+-]\d{4}\r\nMessage-ID: <[a-z2-7]+@mail.hopital.test>\r\n` + regexp.QuoteMeta(message) + `$`,
		`^Return-Path: .*\r\nDelivered-To: .*\r\nReceived: from .*\r\n\tby .*\r\n\tfor .*;\r\n\t.*\r\n` + regexp.QuoteMeta(letter) + `$`,
		`^Return-Path: <>\r\nDelivered-To: .*\r\nReceived: from .*\r\n\tby mail.hopital.test with UTF8SMTPSA id \S+;\r\n\t.*\r\n` + regexp.QuoteMeta(letter) + `$`,
	} {
		got := l.inbox()
		// \x80 is no UTF-8, which regexp reads as U+FFFD in both.
		if i >= len(got) || !regexp.MustCompile(strings.ToValidUTF8(pattern, "\ufffd")).MatchString(strings.ToValidUTF8(got[i], "\ufffd")) {
			t.Errorf("message %d of %q does not match %q", i+1, got, pattern)
		}
	}
}

func TestAuthor(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	accepted := 0
	for header, want := range map[string]string{
		"From: alice@hopital.test\r\n": "250 ",
		"from:Alice\r\n <ALIAS@hopital.test>, alice@hopital.test\r\nSender: alice@hopital.test\r\n": "250 ",
		"From: Us: alice@hopital.test;\r\n":                                                        "250 ",
		"From: \"bob@hopital.test\" <alice@hopital.test>\r\n":                                      "250 ",
		"From: bob@hopital.test\r\n":                                                               "550 5.7.1 ",
		"From: alice@hopital.test, bob@hopital.test\r\n":                                           "550 5.7.1 ",
		"From: Us: alice@hopital.test, bob@hopital.test;\r\n":                                      "550 5.7.1 ",
		"From: alice@hopital.test\r\nFrom: bob@hopital.test\r\n":                                   "550 5.6.0 ",
		"From: alice@hopital.test\r\nfrom: alice@hopital.test\r\n":                                 "550 5.6.0 ",
		"From : bob@hopital.test\r\nFrom: alice@hopital.test\r\n":                                  "550 5.6.0 ",
		"From: alice@hopital.test\r\nSender: bob@hopital.test\r\n":                                 "550 5.7.1 ",
		"From: alice@hopital.test\r\nSender: alice@hopital.test\r\nSender: alice@hopital.test\r\n": "550 5.6.0 ",
		"From: alice@hopital.test\r\nResent-From: bob@hopital.test\r\n":                            "550 5.7.1 ",
		"From: alice@hopital.test\r\nResent-From: alias@hopital.test\r\n":                          "250 ",
		"From: alice@hopital.test\r\nResent-Sender: bob@hopital.test\r\n":                          "550 5.7.1 ",
		"From: <alice@hopital.test> <bob@hopital.test>\r\n":                                        "550 5.6.0 ",
		"From: Alice\r\n":    "550 5.6.0 ",
		"From: Nobody:;\r\n": "550 5.6.0 ",
		"From:\r\n":          "550 5.6.0 ",
		"Subject: x\r\n":     "550 5.6.0 ",
		"":                   "550 5.6.0 ",
		"no field\r\nFrom: alice@hopital.test\r\n":                                        "550 5.6.0 ",
		" folded\r\nFrom: alice@hopital.test\r\n":                                         "550 5.6.0 ",
		"Subject: x\r\n\r\nFrom: alice@hopital.test\r\n":                                  "550 5.6.0 ",
		"From: alice@hopital.test" + strings.Repeat(",alice@hopital.test", 1000) + "\r\n": "550 5.6.0 ",
	} {
		c.begin()
		c.say("DATA", "354 ")
		c.send("%s\r\nbody\r\n.\r\n", header)
		if r := c.reply(); !strings.HasPrefix(r[0], want) {
			t.Errorf("%.200q: %q, want %q", header, r[0], want)
		}
		if want == "250 " {
			accepted++
		}
	}
	if got := len(l.inbox()); got != accepted {
		t.Errorf("%d messages arrived, %d were accepted", got, accepted)
	}
}

// A log-in ends when the account's credentials change, and with its disabling.
func TestCredentialsChangeEndsTheSession(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	c.deliver(letter, "250 ")
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetState(l.alice, storage.Disabled) })
	if err != nil {
		t.Fatal(err)
	}
	c.say("MAIL FROM:<"+alice+">", "421 4.7.0 ")
	c.wantClosed()
	c = l.dial()
	c.say("AUTH PLAIN "+plain(alice, password), "525 5.7.13 ")
}

func TestShutdown(t *testing.T) {
	l := newLab(t, Limits{})
	idle, clear, busy := l.login(), l.dialClear(), l.ready()
	busy.say("DATA", "354 ")
	busy.send("%s", letter)
	done := make(chan error, 1)
	go func() { done <- l.Shutdown(context.Background()) }()
	idle.want("421 4.3.2 ")
	idle.wantClosed()
	clear.want("421 4.3.2 ")
	clear.wantClosed()
	busy.send(".\r\n")
	busy.want("250 2.0.0 ")
	busy.want("421 4.3.2 ")
	busy.wantClosed()
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.wantMail(letter)
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.ready()
	c.say("DATA", "354 ")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Shutdown(ctx); err == nil {
		t.Error("a message that never ends was waited for")
	}
	c.wantClosed()
	l.wantMail()
}
