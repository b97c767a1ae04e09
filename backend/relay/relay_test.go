package relay_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/relay"
	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

const to = "medecin@perso.test"

// box is a go-smtp server that keeps what it gets.
type box chan string

func (b box) NewSession(*smtp.Conn) (smtp.Session, error) { return b, nil }
func (b box) Reset()                                      {}
func (b box) Logout() error                               { return nil }
func (b box) Mail(string, *smtp.MailOptions) error        { return nil }
func (b box) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (b box) Data(r io.Reader) error {
	octets, err := io.ReadAll(r)
	b <- string(octets)
	return err
}

// listen serves b in the manner of security and returns its address.
func (b box) listen(t *testing.T, authority *tlstest.Authority, security string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	server := smtp.NewServer(b)
	server.Domain, server.ErrorLog = "peer.test", slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.MaxLineLength, server.EnableSMTPUTF8 = 1<<20, true
	switch security {
	case relay.StartTLS:
		server.TLSConfig = authority.Identity(t).Server(nil)
	case relay.TLS:
		ln = tls.NewListener(ln, authority.Identity(t).Server(nil))
	}
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(ln) }()
	t.Cleanup(func() { server.Close(); ln.Close(); <-done })
	return "localhost:" + port
}

func TestOctetsArriveAsTheyAre(t *testing.T) {
	authority := tlstest.New(t)
	messages := []string{
		mail,
		"Subject: x\r\n\r\n\xe9\xff\r\n", // 8 bits
		"Sujet: é\r\n\r\né\r\n",
		strings.Repeat("Subject: x\r\n\r\n"+strings.Repeat("long ", 20_000)+"\r\n.\r\n..\r\n", 20),
		".\r\n",
		"\r\n",
		strings.Repeat(".\r\n", 40_000),
		strings.Repeat("0123456789abcde\r\n", 30_000), // pieces end anywhere in a line end
	}
	for _, security := range []string{relay.None, relay.StartTLS, relay.TLS} {
		for _, hold := range []int64{0, 1} { // held in memory, read twice
			b := make(box, 1)
			r := &relay.Relay{
				Hostname: "mail.hopital.test", Roots: rootsOf(authority), Logger: quiet(), Limits: relay.Limits{Hold: hold},
				Routes: []relay.Route{{Domain: "perso.test", Host: b.listen(t, authority, security), Security: security}},
			}
			for n, m := range messages {
				o := send(t, r, transfer(m, to))
				if o.Action != storage.Relayed {
					t.Fatalf("%s, message %d: %s, %v", security, n, told(o), o.Cause)
				}
				if got := <-b; sha256.Sum256([]byte(got)) != sha256.Sum256([]byte(m)) {
					t.Errorf("%s, message %d: %d octets arrived, not the %d that were sent", security, n, len(got), len(m))
				}
			}
			// A last line without an end gets one, and nothing else.
			expect(t, send(t, r, transfer("Subject: x\r\n\r\n.end", to)), "relayed 2.0.0")
			if got := <-b; got != "Subject: x\r\n\r\n.end\r\n" {
				t.Errorf("%q arrived", got)
			}
			r.Close()
		}
	}
}

func TestRefusedBeforeAnythingIsWritten(t *testing.T) {
	p := (&peer{}).serve(t)
	r := plain(p.addr)
	defer r.Close()
	for _, c := range []struct{ from, to, octets, want string }{
		{"", "medecin@clinique.test", mail, "failed 5.4.4"}, // no route
		{"", "medecin@sub.perso.test", mail, "failed 5.4.4"},
		{"", `"a> NOTIFY=NEVER"@perso.test`, mail, "failed 5.1.3"},
		{"", "a@perso.test>\r\nRCPT TO:<b@perso.test", mail, "failed 5.1.3"},
		{"a> SIZE=1@hopital.test", to, mail, "failed 5.1.7"},
		{"", to, "a\n", "failed 5.6.0"},
		{"", to, "\n", "failed 5.6.0"},
		{"", to, "a\r", "failed 5.6.0"},
		{"", to, "a\rb\r\n", "failed 5.6.0"},
		{"", to, "a\r\r\n\n", "failed 5.6.0"},
		{"", to, "a\r\n\n.\r\n", "failed 5.6.0"},
		{"", to, "a\r\n.\r", "failed 5.6.0"},
		{"", to, "a\x00\r\n", "failed 5.6.0"},
		{"", to, strings.Repeat("a\r\n", 200_000) + "\n", "failed 5.6.0"},
	} {
		m := transfer(c.octets, c.to)
		m.From = c.from
		if _, domain, ok := strings.Cut(c.to, "@"); ok && strings.HasPrefix(domain, "perso.test") {
			m.Domain = "perso.test"
		}
		expect(t, send(t, r, m), c.want)
	}
	mixed := transfer(mail, to, "medecin@clinique.test") // a mistake of ours
	outcomes := r.Send(t.Context(), mixed)
	expect(t, outcomes[0], "relayed")
	expect(t, outcomes[1], "failed 5.3.5")
	if got := p.got(); len(got) != 1 || len(got[0].to) != 1 {
		t.Errorf("the peer got %q", got)
	}
	unreadable := transfer(mail, to)
	unreadable.Open = func() (io.ReadCloser, error) { return nil, errors.New("the disk is gone") }
	expect(t, send(t, r, unreadable), "delayed 4.3.0")
}

func TestMessageThatCannotBeReadToItsEndIsNotTaken(t *testing.T) {
	p := (&peer{}).serve(t)
	r := plain(p.addr)
	r.Limits.Hold = 1
	for name, second := range map[string]io.Reader{
		"error":      io.MultiReader(strings.NewReader("Subject: x\r\n\r\nab"), &failing{}),
		"bare LF":    strings.NewReader("Subject: x\r\n\r\nab\n.\r\n"),
		"CR at last": strings.NewReader("Subject: x\r\n\r\nab\r"),
	} {
		m := transfer("Subject: x\r\n\r\nabcdef\r\n", to)
		first := m.Open
		opened := false
		m.Open = func() (io.ReadCloser, error) {
			if opened {
				return io.NopCloser(second), nil
			}
			opened = true
			return first()
		}
		o := send(t, r, m)
		if o.Action != storage.Delayed || o.Status != "4.3.0" || errors.Is(o.Cause, relay.ErrDoubt) {
			t.Errorf("%s: %s, %v", name, told(o), o.Cause)
		}
	}
	if got := p.got(); len(got) != 0 {
		t.Errorf("the peer took %q", got)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("damaged") }

func TestRepliesMakeOutcomes(t *testing.T) {
	for _, c := range []struct{ prefix, reply, want, diagnostic string }{
		{"greeting", "554 5.3.2 no service", "failed 5.3.2", "554 5.3.2 no service"},
		{"greeting", "421 4.3.2 later", "delayed 4.3.2", "421 4.3.2 later"},
		{"greeting", "250 what", "delayed 4.5.0", "250 what"},
		{"EHLO", "550 5.7.1 not you", "failed 5.7.1", "550 5.7.1 not you"},
		{"EHLO", "250 peer.test\r\n250 and more", "delayed 4.5.0", ""}, // an answer nobody asked for
		{"EHLO", "450 later", "delayed 4.0.0", "450 later"},
		{"MAIL", "450 4.7.1 greylisted", "delayed 4.7.1", "450 4.7.1 greylisted"},
		{"MAIL", "553 5.1.8 no such sender", "failed 5.1.8", "553 5.1.8 no such sender"},
		{"MAIL", "421 closing", "delayed 4.0.0", "421 closing"},
		{"RCPT", "550 5.1.1 <" + to + "> unknown", "failed 5.1.1", "550 5.1.1 <" + to + "> unknown"},
		{"RCPT", "550 unknown", "failed 5.0.0", "550 unknown"}, // 5.1.1 only where the peer says so
		{"RCPT", "450 5.1.1 odd", "delayed 4.0.0", "450 5.1.1 odd"},
		{"RCPT", "452 4.2.2 full", "delayed 4.2.2", "452 4.2.2 full"},
		{"RCPT", "452 too many", "delayed 4.0.0", "452 too many"},
		{"RCPT", "251 5.1.1 forwards", "relayed 2.6.0", "250 2.6.0 taken"},
		{"RCPT", "421 4.3.2 closing", "delayed 4.3.2", "421 4.3.2 closing"},
		{"RCPT", "354 what", "delayed 4.5.0", ""},
		{"DATA", "554 5.5.1 no", "failed 5.5.1", "554 5.5.1 no"},
		{"DATA", "451 no", "delayed 4.0.0", "451 no"},
		{"DATA", "250 what", "delayed 4.5.0", "250 what"},
		{".", "250 queued as 12", "relayed 2.0.0", "250 queued as 12"},
		{".", "251-2.0.0 a\r\n251 2.0.0 b", "relayed 2.0.0", "251 2.0.0 a b"},
		{".", "554 5.6.1 virus", "failed 5.6.1", "554 5.6.1 virus"},
		{".", "451 4.3.0 disk full", "delayed 4.3.0", "451 4.3.0 disk full"},
		{".", "421 4.3.2 closing", "delayed 4.3.2", "421 4.3.2 closing"},
		{".", "550 5.1.1\x1b[2J\a\t\xe9\u202e" + strings.Repeat("x", 1000), "failed 5.0.0", "550 5.1.1?[2J? ??" + strings.Repeat("x", 500-19)},
	} {
		for _, offer := range [][]string{nil, {"PIPELINING"}} {
			p := (&peer{offer: offer, answer: replying(c.prefix, c.reply)}).serve(t)
			r := plain(p.addr)
			o := send(t, r, transfer(mail, to))
			if told(o) != c.want || o.Diagnostic != c.diagnostic {
				t.Errorf("%s %q, offers %v: %s, %q; want %s, %q", c.prefix, c.reply, offer, told(o), o.Diagnostic, c.want, c.diagnostic)
			}
			if o.Remote != "127.0.0.1" {
				t.Errorf("%s %q: remote %q", c.prefix, c.reply, o.Remote)
			}
			if taken := len(p.got()); taken > 0 != (o.Action == storage.Relayed) {
				t.Errorf("%s %q: %s, the peer took %d", c.prefix, c.reply, told(o), taken)
			}
			r.Close()
		}
	}
}

func TestPeersThatMisbehaveAtEveryStep(t *testing.T) {
	for _, step := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		for name, reply := range map[string]string{
			"stalls": stall, "drops": drop, "garbage": "HTTP/1.1 400 secret words",
			"endless line": "250 " + strings.Repeat("secret words", 10_000), "endless reply": strings.Repeat("250-secret words\r\n", 10_000) + "250 x",
			"other codes": "250-a\r\n251 secret words", "nothing": "\r\n", "half a code": "25",
		} {
			t.Run(step+" "+name, func(t *testing.T) {
				t.Parallel()
				p := (&peer{offer: []string{"PIPELINING"}, answer: replying(step, reply)}).serve(t)
				r := plain(p.addr)
				r.Limits = relay.Limits{Command: 100 * time.Millisecond, Data: 100 * time.Millisecond, Quit: time.Millisecond, Reply: 20_000}
				o := send(t, r, transfer(mail, to))
				if o.Action != storage.Delayed || o.Status[0] != '4' || o.Cause == nil {
					t.Errorf("%s, %s: %s, %v", step, name, told(o), o.Cause)
				} else if strings.Contains(o.Cause.Error(), "secret") || strings.Contains(o.Diagnostic, "secret") {
					t.Errorf("%s, %s: the words of nobody knows whom in %v, %q", step, name, o.Cause, o.Diagnostic)
				}
				if doubt := errors.Is(o.Cause, relay.ErrDoubt); doubt != (step == ".") {
					t.Errorf("%s, %s: doubt %v, cause %v", step, name, doubt, o.Cause)
				}
				r.Close()
			})
		}
	}
}

func TestReplyToAMessageThatIsNotThereYet(t *testing.T) {
	p := (&peer{answer: replying("DATA", "354 go\r\n250 2.0.0 thanks")}).serve(t)
	r := plain(p.addr)
	o := send(t, r, transfer(mail, to))
	expect(t, o, "delayed 4.5.0")
	if errors.Is(o.Cause, relay.ErrDoubt) || len(p.got()) > 0 {
		t.Errorf("cause %v, the peer took %q", o.Cause, p.got())
	}
}

func TestPeerThatReadsNoMore(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close() })
		buffer := make([]byte, 1024)
		for _, reply := range []string{"220 a", "250 a", "250 ok", "250 ok", "354 go"} {
			io.WriteString(conn, reply+"\r\n")
			if reply != "354 go" {
				conn.Read(buffer)
			}
		}
	}()
	r := plain(ln.Addr().String())
	r.Limits = relay.Limits{Command: 100 * time.Millisecond}
	o := send(t, r, transfer(strings.Repeat("x\r\n", 4<<20), to))
	if o.Action != storage.Delayed || errors.Is(o.Cause, relay.ErrDoubt) {
		t.Errorf("%s, %v", told(o), o.Cause)
	}
}

func TestEndOfContextEndsTheAttempt(t *testing.T) {
	for _, step := range []string{"greeting", "MAIL", "."} {
		p := (&peer{answer: replying(step, stall)}).serve(t)
		r := plain(p.addr)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		o := r.Send(ctx, transfer(mail, to))[0]
		cancel()
		if o.Action != storage.Delayed || step != "." && !errors.Is(o.Cause, context.DeadlineExceeded) {
			t.Errorf("%s: %s, %v", step, told(o), o.Cause)
		}
		r.Close()
	}
}

func TestSomeRecipientsAreRefused(t *testing.T) {
	p := (&peer{answer: func(line string) string {
		switch {
		case strings.HasPrefix(line, "RCPT TO:<nobody"):
			return "550 5.1.1 unknown"
		case strings.HasPrefix(line, "RCPT TO:<full"):
			return "452 4.2.2 full"
		}
		return ""
	}}).serve(t)
	r := plain(p.addr)
	outcomes := r.Send(t.Context(), transfer(mail, "nobody@perso.test", "a@perso.test", "full@perso.test", "b@perso.test"))
	for n, want := range []string{"failed 5.1.1", "relayed", "delayed 4.2.2", "relayed"} {
		expect(t, outcomes[n], want)
	}
	if got := p.got(); len(got) != 1 || !slices.Equal(got[0].to, []string{"<a@perso.test>", "<b@perso.test>"}) {
		t.Errorf("the peer got %q", got)
	}
	// All of them: no DATA, and the connection is good for the next message.
	for n, o := range r.Send(t.Context(), transfer(mail, "nobody@perso.test", "full@perso.test")) {
		expect(t, o, []string{"failed 5.1.1", "delayed 4.2.2"}[n])
	}
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	if len(p.heard("DATA")) != 2 || len(p.heard("RSET")) != 1 || p.connections() != 1 {
		t.Errorf("the peer heard %q over %d connections", p.heard(""), p.connections())
	}
	r.Close()
}

func TestManyRecipients(t *testing.T) {
	var many []string
	for n := range 250 {
		many = append(many, fmt.Sprintf("r%d@perso.test", n))
	}
	inTransaction := 0
	for name, c := range map[string]struct {
		peer         *peer
		transactions []int
	}{
		"ours":   {&peer{}, []int{100, 100, 50}},
		"theirs": {&peer{offer: []string{"PIPELINING", "LIMITS MAILMAX=9 rcptmax=120"}}, []int{100, 100, 50}},
		"less":   {&peer{offer: []string{"LIMITS RCPTMAX=90"}}, []int{90, 90, 70}},
		"452": {&peer{offer: []string{"PIPELINING"}, answer: func(line string) string {
			switch verb, _, _ := strings.Cut(line, ":"); verb {
			case "MAIL FROM":
				inTransaction = 0
			case "RCPT TO":
				if inTransaction++; inTransaction > 80 {
					return "452 4.5.3 too many"
				}
			}
			return ""
		}}, []int{80, 80, 80, 10}},
	} {
		c.peer.serve(t)
		r := plain(c.peer.addr)
		for _, o := range r.Send(t.Context(), transfer(mail, many...)) {
			expect(t, o, "relayed")
		}
		var sizes []int
		seen := map[string]bool{}
		for _, l := range c.peer.got() {
			sizes = append(sizes, len(l.to))
			for _, rcpt := range l.to {
				seen[rcpt] = true
			}
		}
		if !slices.Equal(sizes, c.transactions) || len(seen) != len(many) || c.peer.connections() != 1 {
			t.Errorf("%s: transactions of %v, %d recipients, %d connections", name, sizes, len(seen), c.peer.connections())
		}
		r.Close()
	}
}

func TestParameters(t *testing.T) {
	dsn := transfer(mail, to, "b@perso.test", "c@perso.test", "d@perso.test")
	dsn.EnvelopeID, dsn.Return = "a+b=c d", "HDRS"
	dsn.Rcpts[0].Notify, dsn.Rcpts[0].OriginalType, dsn.Rcpts[0].Original = storage.NotifySuccess|storage.NotifyDelay, "rfc822", "Med+x@hopital.test"
	dsn.Rcpts[1].Notify, dsn.Rcpts[1].OriginalType, dsn.Rcpts[1].Original = storage.NotifyNever, "utf-8", `é\a+b@hopital.test`
	dsn.Rcpts[2].OriginalType, dsn.Rcpts[2].Original = "rfc822", "é@hopital.test" // cannot be written
	dsn.Rcpts[3].OriginalType, dsn.Rcpts[3].Original = "x y", "a"
	utf8 := transfer("Subject: é\r\n\r\nx\r\n", to)
	utf8.UTF8 = true
	part := transfer("Subject: e\r\n\r\né\r\n", to)
	part.UTF8 = true
	null := transfer(mail, to)
	null.From = ""
	for _, c := range []struct {
		name  string
		m     *backend.Transfer
		offer string // divided by commas
		want  string // the commands, or an outcome
	}{
		{"nothing offered", dsn, "", "<cardiologue@hopital.test>|<" + to + ">|<b@perso.test>|<c@perso.test>|<d@perso.test>"},
		{"DSN", dsn, "DSN", "<cardiologue@hopital.test> RET=HDRS ENVID=a+2Bb+3Dc+20d" +
			"|<" + to + "> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Med+2Bx@hopital.test" +
			`|<b@perso.test> NOTIFY=NEVER ORCPT=utf-8;\x{E9}\x{5C}a\x{2B}b@hopital.test` +
			"|<c@perso.test>|<d@perso.test>"},
		{"null sender", null, "8BITMIME,SIZE", fmt.Sprintf("<> SIZE=%d|<%s>", len(mail), to)},
		{"size with the line end to come", transfer("a", to), "size 100", "<cardiologue@hopital.test> SIZE=3|<" + to + ">"},
		{"too large", transfer("abcdefg\r\n\r\n", to), "SIZE 10", "failed 5.3.4"},
		{"8 bits", transfer("a\r\n\r\né", to), "8BITMIME", "<cardiologue@hopital.test> BODY=8BITMIME|<" + to + ">"},
		{"8 bits, not offered", transfer("a\r\n\r\né", to), "SMTPUTF8", "failed 5.6.3"},
		{"header of 8 bits that came without SMTPUTF8", transfer("a: é\r\n\r\n", to), "8BITMIME", "<cardiologue@hopital.test> BODY=8BITMIME|<" + to + ">"},
		{"header", utf8, "8BITMIME,SMTPUTF8", "<cardiologue@hopital.test> BODY=8BITMIME SMTPUTF8|<" + to + ">"},
		{"header, not offered", utf8, "8BITMIME", "failed 5.6.7"},
		{"only the body", part, "8BITMIME", "<cardiologue@hopital.test> BODY=8BITMIME|<" + to + ">"},
		{"perhaps the header of a part", part, "8BITMIME,SMTPUTF8", "<cardiologue@hopital.test> BODY=8BITMIME SMTPUTF8|<" + to + ">"},
		{"address", transfer(mail, "é@perso.test"), "SMTPUTF8", "<cardiologue@hopital.test> SMTPUTF8|<é@perso.test>"},
		{"address, not offered", transfer(mail, "é@perso.test"), "8BITMIME", "failed 5.6.7"},
	} {
		p := (&peer{offer: strings.Split(c.offer, ",")}).serve(t)
		r := plain(p.addr)
		o := r.Send(t.Context(), c.m)[0]
		var got string
		if letters := p.got(); len(letters) == 1 {
			got = strings.Join(append([]string{letters[0].from}, letters[0].to...), "|")
		} else {
			got = told(o)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if o.DSN != (c.offer == "DSN") {
			t.Errorf("%s: DSN %v", c.name, o.DSN)
		}
		r.Close()
	}
}

func TestOldPeerThatKnowsNoEHLO(t *testing.T) {
	p := (&peer{answer: replying("EHLO", "500 5.5.1 what")}).serve(t)
	r := plain(p.addr)
	defer r.Close()
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	if h := p.heard("HELO"); len(h) != 1 || h[0] != "HELO mail.hopital.test" {
		t.Errorf("HELO %q", h)
	}
}
