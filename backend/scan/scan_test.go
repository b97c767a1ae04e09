package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-milter"
)

// patience is for what must happen at once.
const patience = 20 * time.Second

// filter is a milter that keeps what it hears. At the step stop it gives answer, or
// no answer at all when that is nil.
type filter struct {
	milter.NoOpMilter
	mu     sync.Mutex
	heard  []string
	macros map[string]string
	body   bytes.Buffer

	stop    string
	answer  milter.Response
	release chan struct{} // ends a stall
	change  func(*milter.Modifier) error
}

func (f *filter) hear(step, text string, m *milter.Modifier) (milter.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, step+" "+text)
	for k, v := range m.Macros {
		if f.macros == nil {
			f.macros = make(map[string]string)
		}
		f.macros[k] = v
	}
	if f.stop != step {
		return milter.RespContinue, nil
	}
	if f.answer == nil {
		<-f.release
		return nil, errors.New("stalled")
	}
	return f.answer, nil
}

func (f *filter) Connect(host, family string, port uint16, addr net.IP, m *milter.Modifier) (milter.Response, error) {
	return f.hear("connect", fmt.Sprint(host, " ", family, " ", port, " ", addr), m)
}
func (f *filter) Helo(name string, m *milter.Modifier) (milter.Response, error) {
	return f.hear("helo", name, m)
}
func (f *filter) MailFrom(from string, m *milter.Modifier) (milter.Response, error) {
	return f.hear("mail", from, m)
}
func (f *filter) RcptTo(to string, m *milter.Modifier) (milter.Response, error) {
	return f.hear("rcpt", to, m)
}
func (f *filter) Header(name, value string, m *milter.Modifier) (milter.Response, error) {
	return f.hear("field", name+"|"+value, m)
}
func (f *filter) Headers(_ textproto.MIMEHeader, m *milter.Modifier) (milter.Response, error) {
	return f.hear("header", "", m)
}
func (f *filter) BodyChunk(chunk []byte, m *milter.Modifier) (milter.Response, error) {
	f.body.Write(chunk)
	return f.hear("chunk", "", m)
}
func (f *filter) Body(m *milter.Modifier) (milter.Response, error) {
	response, err := f.hear("end", "", m)
	if err == nil && f.change != nil {
		err = f.change(m)
	}
	return response, err
}

// start makes the filter listen, and returns who asks it.
func (f *filter) start(t *testing.T, network string) *Scanner {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		at = filepath.Join(t.TempDir(), "filter.sock")
	}
	ln, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	f.release = make(chan struct{})
	server := &milter.Server{
		NewMilter: func() milter.Milter { return f },
		Actions:   milter.OptAddHeader | milter.OptChangeHeader,
	}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(ln) }()
	t.Cleanup(func() {
		close(f.release)
		ln.Close()
		<-served
	})
	return scanner(network + ":" + ln.Addr().String())
}

func scanner(address string) *Scanner {
	return &Scanner{
		Address: address, Hostname: "mail.hopital.test", Timeout: patience, Logger: slog.New(slog.DiscardHandler),
	}
}

func letter(octets string) *Mail {
	return &Mail{
		Name: "m1", Remote: netip.MustParseAddr("192.0.2.7"), Helo: "poste.hopital.test", User: "labo@hopital.test",
		From: "labo@hopital.test", Rcpts: []string{"pharmacie@clinique.test", "medecin@hopital.test"}, Octets: []byte(octets),
	}
}

const simple = "Subject: x\r\n\r\nbody\r\n"

// TestScanTells: the filter hears all about a message, over either kind of socket.
func TestScanTells(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		f := &filter{}
		s := f.start(t, network)
		m := letter("From: labo\r\nSubject:  two\r\n\tlines\r\nX: \xe9\r\nEmpty:\r\n\r\n.body\r\n\r\nmore")
		if v := s.Scan(t.Context(), m); v.Action != Accept || len(v.Fields) > 0 || v.Reply != "" {
			t.Errorf("%s: %+v", network, v)
		}
		want := []string{
			"connect [192.0.2.7] tcp4 0 192.0.2.7", "helo poste.hopital.test", "mail labo@hopital.test",
			"rcpt pharmacie@clinique.test", "rcpt medecin@hopital.test",
			"field From|labo", "field Subject| two\n\tlines", "field X|\xe9", "field Empty|", "header ", "chunk ", "end ",
		}
		if !slices.Equal(f.heard, want) {
			t.Errorf("%s: heard %q, want %q", network, f.heard, want)
		}
		if body := f.body.String(); body != ".body\r\n\r\nmore" {
			t.Errorf("%s: body %q", network, body)
		}
		for macro, want := range map[string]string{
			"i": "m1", "j": "mail.hopital.test", "{auth_authen}": "labo@hopital.test", "{client_addr}": "192.0.2.7",
			"{mail_addr}": "labo@hopital.test", "{rcpt_addr}": "medecin@hopital.test",
		} {
			if f.macros[macro] != want {
				t.Errorf("%s: macro %s is %q, want %q", network, macro, f.macros[macro], want)
			}
		}
	}
}

// TestScanTellsStrangers: no log-in is claimed for a peer, from wherever it calls.
func TestScanTellsStrangers(t *testing.T) {
	for remote, want := range map[netip.Addr]string{
		netip.MustParseAddr("2001:db8::7%eth0"): "connect [2001:db8::7] tcp6 0 2001:db8::7",
		netip.MustParseAddr("::ffff:192.0.2.7"): "connect [192.0.2.7] tcp4 0 192.0.2.7",
		{}:                                      "connect unknown unknown 0 <nil>",
	} {
		f := &filter{}
		s := f.start(t, "unix")
		m := letter(simple)
		m.User, m.From, m.Remote = "", "", remote
		if v := s.Scan(t.Context(), m); v.Action != Accept {
			t.Errorf("%v: %+v", remote, v)
		}
		if f.heard[0] != want || f.heard[2] != "mail " {
			t.Errorf("%v: heard %q, want %q", remote, f.heard, want)
		}
		if _, claimed := f.macros["{auth_authen}"]; claimed {
			t.Errorf("%v: a log-in is claimed", remote)
		}
	}
}

func steps() []string {
	return []string{"connect", "helo", "mail", "rcpt", "field", "header", "chunk", "end"}
}

// TestScanAnswers: every answer counts at every step.
func TestScanAnswers(t *testing.T) {
	reply := func(text string) milter.Response { return milter.NewResponseStr('y', text) }
	for name, c := range map[string]struct {
		answer milter.Response
		want   Verdict
	}{
		"accept":      {milter.RespAccept, Verdict{}},
		"reject":      {milter.RespReject, Verdict{Action: Reject}},
		"discard":     {milter.RespDiscard, Verdict{Action: Reject}},
		"tempfail":    {milter.RespTempFail, Verdict{Action: TempFail}},
		"5yz":         {reply("554 5.7.1 Spam %% message"), Verdict{Reject, nil, "Spam %% message"}},
		"4yz":         {reply("451 4.7.1 Try\r\n451 4.7.1 again \xe9\x01"), Verdict{TempFail, nil, "Try 451 4.7.1 again ??"}},
		"no code":     {reply("550 7.1 times"), Verdict{Reject, nil, "7.1 times"}},
		"long":        {reply("550 " + strings.Repeat("x", 5000)), Verdict{Reject, nil, strings.Repeat("x", maxReply)}},
		"2yz":         {reply("250 2.0.0 fine"), Verdict{Action: TempFail}},
		"no number":   {reply("abc 2.0.0 fine"), Verdict{Action: TempFail}},
		"short":       {reply("55"), Verdict{Action: TempFail}},
		"skip":        {milter.NewResponse('s', nil), Verdict{Action: TempFail}}, // was not offered
		"unknown":     {milter.NewResponse('?', []byte("what")), Verdict{Action: TempFail}},
		"hang up":     {milter.NewResponse('4', nil), Verdict{Action: TempFail}}, // shutdown: 421
		"conn failed": {milter.NewResponse('f', nil), Verdict{Action: TempFail}},
	} {
		for _, step := range steps() {
			f := &filter{stop: step, answer: c.answer}
			s := f.start(t, "unix")
			v := s.Scan(t.Context(), letter(simple))
			if v.Action != c.want.Action || v.Reply != c.want.Reply || len(v.Fields) > 0 {
				t.Errorf("%s at %s: %+v, want %+v", name, step, v, c.want)
			}
			if last := f.heard[len(f.heard)-1]; !strings.HasPrefix(last, step+" ") {
				t.Errorf("%s at %s: went on to %s", name, step, last)
			}
		}
	}
}

// TestScanStalls: a filter that goes silent at any step is cut off.
func TestScanStalls(t *testing.T) {
	for _, open := range []bool{false, true} {
		for _, step := range steps() {
			f := &filter{stop: step}
			s := f.start(t, "unix")
			s.Timeout, s.Open = 50*time.Millisecond, open
			begin := time.Now()
			want := Verdict{Action: TempFail}
			if open {
				want.Action = Accept
			}
			if v := s.Scan(t.Context(), letter(simple)); v.Action != want.Action {
				t.Errorf("silent at %s, open %v: %+v", step, open, v)
			}
			if took := time.Since(begin); took > patience/2 {
				t.Errorf("silent at %s: took %v", step, took)
			}
		}
	}
}

// peer is a filter that speaks as the function does, whatever it hears.
func peer(t *testing.T, speak func(net.Conn)) *Scanner {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		speak(conn)
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return scanner("tcp:" + ln.Addr().String())
}

// packet is one of the protocol's.
func packet(code byte, data string) []byte {
	n := len(data) + 1
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), code}, data...)
}

// agreed is an answer to the first packet: version 6, everything asked for.
var agreed = packet('O', "\x00\x00\x00\x06\x00\x00\x00\x11\x00\x00\x00\x00")

// TestScanGarbage: what is no filter, or a broken one, is no acceptance and costs
// neither memory nor time.
func TestScanGarbage(t *testing.T) {
	for name, speak := range map[string]func(net.Conn){
		"closes":      func(net.Conn) {},
		"SMTP":        func(c net.Conn) { c.Write([]byte("220 mail.test ESMTP\r\n")) },
		"zeros":       func(c net.Conn) { c.Write(make([]byte, 64)) },
		"huge packet": func(c net.Conn) { c.Write([]byte{0xff, 0xff, 0xff, 0xff, 'O'}); io.Copy(io.Discard, c) },
		"short":       func(c net.Conn) { c.Write(packet('O', "\x00\x00\x00\x06")); io.Copy(io.Discard, c) },
		"old version": func(c net.Conn) {
			c.Write(packet('O', "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00"))
			io.Copy(io.Discard, c)
		},
		"half a packet": func(c net.Conn) { c.Write(append(slices.Clone(agreed), 0, 0, 0, 9, 'y')) },
		"progress for ever": func(c net.Conn) {
			for _, err := c.Write(agreed); err == nil; {
				_, err = c.Write(packet('p', ""))
			}
		},
		"fields for ever": func(c net.Conn) {
			_, err := c.Write(slices.Concat(agreed, bytes.Repeat(packet('c', ""), 7)))
			for err == nil {
				_, err = c.Write(packet('h', "X-A\x00"+strings.Repeat("b", 60_000)+"\x00"))
			}
		},
		"field without value": func(c net.Conn) {
			c.Write(slices.Concat(agreed, bytes.Repeat(packet('c', ""), 7), packet('h', "X-A"), packet('a', "")))
			io.Copy(io.Discard, c)
		},
	} {
		s := peer(t, speak)
		if v := s.Scan(t.Context(), letter(simple)); v.Action != TempFail || len(v.Fields) > 0 {
			t.Errorf("%s: %+v, want TempFail", name, v)
		}
	}
}

// TestScanSlow: progress is no reason to wait longer than for the whole.
func TestScanSlow(t *testing.T) {
	s := peer(t, func(c net.Conn) {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for _, err := c.Write(agreed); err == nil; _, err = c.Write(packet('p', "")) {
			<-tick.C
		}
	})
	s.Timeout = 200 * time.Millisecond
	begin := time.Now()
	if v := s.Scan(t.Context(), letter(simple)); v.Action != TempFail || time.Since(begin) > patience/2 {
		t.Errorf("%+v after %v", v, time.Since(begin))
	}
}

// TestScanNobody: there is no filter, or it is not asked any more.
func TestScanNobody(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "tcp:" + ln.Addr().String()
	ln.Close()
	for _, address := range []string{closed, "unix:" + filepath.Join(t.TempDir(), "none"), "127.0.0.1:1", "unix:relative", "tcp:host", ""} {
		for open, want := range map[bool]Action{false: TempFail, true: Accept} {
			s := scanner(address)
			s.Open = open
			if v := s.Scan(t.Context(), letter(simple)); v.Action != want {
				t.Errorf("%q, open %v: %+v", address, open, v)
			}
		}
	}
	f := &filter{stop: "mail"}
	s := f.start(t, "unix")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if v := s.Scan(ctx, letter(simple)); v.Action != TempFail {
		t.Errorf("the caller has gone: %+v", v)
	}
	if v := (*Scanner)(nil).Scan(t.Context(), letter(simple)); v.Action != Accept {
		t.Errorf("without a filter: %+v", v)
	}
}

// TestScanLarge: the largest message arrives whole, in chunks that filters take.
func TestScanLarge(t *testing.T) {
	f := &filter{}
	s := f.start(t, "unix")
	body := bytes.Repeat([]byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"), 36<<20/64)
	m := letter("")
	m.Octets = append([]byte("Subject: x\r\n\r\n"), body...)
	if v := s.Scan(t.Context(), m); v.Action != Accept {
		t.Errorf("%+v", v)
	}
	if !bytes.Equal(f.body.Bytes(), body) {
		t.Errorf("%d octets arrived, want %d", f.body.Len(), len(body))
	}
}

// TestScanUnaskable: what the protocol would cut short is not asked about.
func TestScanUnaskable(t *testing.T) {
	zero := letter(simple)
	zero.Helo = "a\x00b"
	for name, m := range map[string]*Mail{
		"NUL in the header": letter("Subject: a\x00b\r\n\r\n"),
		"long field":        letter("Subject: " + strings.Repeat("x", 1<<16) + "\r\n\r\n"),
		"NUL in a name":     zero,
	} {
		for open, want := range map[bool]Action{false: Reject, true: Accept} {
			f := &filter{}
			s := f.start(t, "unix")
			s.Open = open
			if v := s.Scan(t.Context(), m); v.Action != want || len(f.heard) > 0 {
				t.Errorf("%s, open %v: %+v, heard %q", name, open, v, f.heard)
			}
		}
	}
	s := (&filter{}).start(t, "unix")
	if v := s.Scan(t.Context(), letter("Subject: x\r\n\r\na\x00b")); v.Action != Accept {
		t.Errorf("NUL in the body: %+v", v)
	}
}

// TestScanFields: which fields a filter may put in front of a message.
func TestScanFields(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"X-Spam", "Yes", "X-Spam: Yes\r\n"},
		{"x-spam", " Yes", "x-spam: Yes\r\n"},
		{"X-Empty", "", "X-Empty: \r\n"},
		{"X-Folded", "a\n\tb\n c", "X-Folded: a\r\n\tb\r\n c\r\n"},
		{"X-Folded", "a\r\n\tb", "X-Folded: a\r\n\tb\r\n"},
		{"X-Injected", "a\nFrom: b", ""},
		{"X-Injected", "a\r\n\r\nbody", ""},
		{"X-Injected", "a\n \nb", ""},
		{"X-Injected", "a\rb", ""},
		{"X-Injected", "a\n", ""},
		{"X-Blank", "a\n \t", ""},
		{"X-High", "\xe9", ""},
		{"X-Control", "a\x7f", ""},
		{"X-Long", strings.Repeat("a", maxLine), ""},
		{"X-" + strings.Repeat("a", maxName), "a", ""},
		{"X-Na me", "a", ""},
		{"X-Na:me", "a", ""},
		{"X-Na\nme", "a", ""},
		{"X-\xe9", "a", ""},
		{"X-MSS-TYPE", "a", ""},
		{"", "a", ""},
		{"From", "a@hopital.test", ""},
		{"Received", "a", ""},
		{"Authentication-Results", "mail.hopital.test; spf=pass", ""},
		{"DKIM-Signature", "v=1", ""},
		{"Content-Type", "text/html", ""},
		{"Subject", "***SPAM***", ""},
	} {
		for way, change := range map[string]func(*milter.Modifier) error{
			"add":    func(m *milter.Modifier) error { return m.AddHeader(c.name, c.value) },
			"insert": func(m *milter.Modifier) error { return m.InsertHeader(1, c.name, c.value) },
		} {
			s := (&filter{change: change}).start(t, "unix")
			if v := s.Scan(t.Context(), letter(simple)); v.Action != Accept || string(v.Fields) != c.want {
				t.Errorf("%s %q with %q: %+v, want %q", way, c.name, c.value, v, c.want)
			}
		}
	}
}

// TestScanManyFields: the first ones are kept, in their order.
func TestScanManyFields(t *testing.T) {
	f := &filter{change: func(m *milter.Modifier) error {
		for i := range 10 {
			if err := m.AddHeader("X-N", fmt.Sprint(i)); err != nil {
				return err
			}
		}
		return nil
	}}
	s := f.start(t, "unix")
	s.Fields = 2
	if v := s.Scan(t.Context(), letter(simple)); string(v.Fields) != "X-N: 0\r\nX-N: 1\r\n" {
		t.Errorf("%q", v.Fields)
	}
}

// TestScanChanges: a message that the filter would not have passed as it is does not
// pass; header fields are all that it may wish for in vain.
func TestScanChanges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*milter.Modifier) error
		want   Verdict
	}{
		"change a field":           {func(m *milter.Modifier) error { return m.ChangeHeader(1, "Subject", "y") }, Verdict{Fields: []byte("X-A: b\r\n")}},
		"change what is not there": {func(m *milter.Modifier) error { return m.ChangeHeader(1, "X-Spam", "Yes") }, Verdict{Fields: []byte("X-A: b\r\nX-Spam: Yes\r\n")}},
		"change the other From":    {func(m *milter.Modifier) error { return m.ChangeHeader(1, "From", "a@b.test") }, Verdict{Fields: []byte("X-A: b\r\n")}},
		"change a forged field":    {func(m *milter.Modifier) error { return m.ChangeHeader(1, "X-Forged", "No") }, Verdict{Fields: []byte("X-A: b\r\nX-Forged: No\r\n")}},
		"remove a field":           {func(m *milter.Modifier) error { return m.ChangeHeader(1, "X-A", "") }, Verdict{Fields: []byte("X-A: b\r\n")}},
		"quarantine":               {func(m *milter.Modifier) error { return m.Quarantine("virus") }, Verdict{Action: Reject}},
		"body":                     {func(m *milter.Modifier) error { return m.ReplaceBody([]byte("clean")) }, Verdict{Action: Reject}},
		"sender":                   {func(m *milter.Modifier) error { return m.ChangeFrom("<x@hopital.test>") }, Verdict{Action: Reject}},
		"add recipient":            {func(m *milter.Modifier) error { return m.AddRecipient("x@hopital.test") }, Verdict{Action: Reject}},
		"less recipient":           {func(m *milter.Modifier) error { return m.DeleteRecipient("x@hopital.test") }, Verdict{Action: Reject}},
	} {
		f := &filter{change: func(m *milter.Modifier) error {
			return errors.Join(m.AddHeader("X-A", "b"), c.change(m))
		}}
		s := f.start(t, "unix")
		if v := s.Scan(t.Context(), letter("x-forged : a\r\n"+simple)); v.Action != c.want.Action || string(v.Fields) != string(c.want.Fields) {
			t.Errorf("%s: %+v, want %+v", name, v, c.want)
		}
	}
}

// TestFields: what filters get of odd headers can be put together again.
func TestFields(t *testing.T) {
	for octets, want := range map[string][]string{
		"A: b\r\n\r\n":                        {"A|b"},
		"A:b\r\nC:   d\r\n\r\n":               {"A|b", "C|  d"},
		"A:\tb\r\n c\r\n\td\r\nE: f\r\n\r\nx": {"A|\tb\n c\n\td", "E|f"},
		"A:\r\n b\r\n\r\n":                    {"A|\n b"},
		"A: b\r\n \r\n c\r\nD: e\r\n\r\n":     {"A|b\n \n c", "D|e"}, // the blanks continue A
		"no colon\r\nA: b\r\n\r\n":            {"no colon|", "A|b"},
		"no colon\r\n c: d\r\nA: b\r\n\r\n":   {"no colon c: d|", "A|b"},
		" begins: folded\r\nA: b\r\n\r\n":     {" begins: folded|", "A|b"},
		": no name\r\nA: b\r\n\r\n":           {": no name|", "A|b"},
		"A : b\r\n\r\n":                       {"A |b"},
		"A: b":                                {"A|b"}, // no body, not even its line end
		"A: b\r\n c":                          {"A|b\n c"},
		"A: b\r\n":                            {"A|b"},
		"\r\nA: b\r\n\r\n":                    nil,
		"":                                    nil,
		"A: \xff\xfe\r\n\r\n":                 {"A|\xff\xfe"},
	} {
		var got []string
		header, _ := split([]byte(octets))
		for name, value := range fields(header, false) {
			got = append(got, name+"|"+value)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", octets, got, want)
		}
	}
}

// FuzzFields: with the leading space kept, nothing of a header is lost on the way.
func FuzzFields(f *testing.F) {
	for _, seed := range []string{"A: b\r\n c\r\nD:e\r\n\r\nbody", "x\r\n y: z\r\n\r\n", "\r\n", ":\r\n :", "A:\r\n\r\n\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		header, body := split(octets)
		total := len(header) + len(body)
		if gap := len(octets) - total; gap != 0 && gap != 2 && gap != 4 {
			t.Errorf("%q: %d octets went missing", octets, gap)
		}
		var again strings.Builder
		for name, value := range fields(header, true) {
			again.WriteString(name + value)
		}
		plain := func(s string) string {
			return strings.NewReplacer("\r", "", "\n", "", ":", "").Replace(s)
		}
		if plain(again.String()) != plain(string(header)) {
			t.Errorf("%q became %q", header, again.String())
		}
	})
}

func TestParseAddress(t *testing.T) {
	for address, want := range map[string][2]string{
		"unix:/run/a:b.sock": {"unix", "/run/a:b.sock"}, "tcp:127.0.0.1:11332": {"tcp", "127.0.0.1:11332"},
		"tcp:[::1]:1": {"tcp", "[::1]:1"}, "tcp:filter:milter": {"tcp", "filter:milter"},
	} {
		if network, at, err := ParseAddress(address); network != want[0] || at != want[1] || err != nil {
			t.Errorf("%q: %q, %q, %v", address, network, at, err)
		}
	}
	for _, address := range []string{"", "unix", "unix:", "unix:a", "tcp:", "tcp::1", "tcp:a", "tcp:a:", "inet:a:1", "/run/a", "udp:a:1"} {
		if _, _, err := ParseAddress(address); !errors.Is(err, ErrAddress) {
			t.Errorf("%q: %v", address, err)
		}
	}
}
