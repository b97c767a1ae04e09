package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// caller is a connection to the IMAP door, without a certificate.
func caller() *Caller {
	return &Caller{Proto: "imap", Remote: netip.MustParseAddr("192.0.2.1"), ConnID: "1"}
}

// talk runs an exchange with the responses that a client sends; "-" stands for no
// response. It returns what the server said last.
func talk(t testing.TB, l *lab, c *Caller, mech string, responses ...string) (challenges []string, p *Principal, err error) {
	t.Helper()
	e := l.Begin(c, mech)
	if e == nil {
		t.Fatalf("%s is not offered", mech)
	}
	for i, r := range responses {
		response := []byte(r)
		if r == "-" {
			response = nil
		}
		challenge, done, err := e.Next(context.Background(), response)
		if err != nil {
			return challenges, nil, err
		}
		if done {
			if i != len(responses)-1 {
				t.Fatalf("%s is done after %d responses", mech, i+1)
			}
			return challenges, e.Principal, nil
		}
		challenges = append(challenges, string(challenge))
	}
	return challenges, nil, nil
}

// codeOf is what a door would tell of an error: 0 for none, -1 for ErrSyntax.
func codeOf(t testing.TB, err error) Code {
	t.Helper()
	var r *Refusal
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrSyntax):
		return -1
	case errors.As(err, &r):
		return r.Code
	}
	t.Fatalf("error %v", err)
	return -2
}

func TestMechanismsOnOffer(t *testing.T) {
	l := newLab(t, right)
	for _, c := range []struct {
		what       string
		peer       bool
		binding    []byte
		tokens     []TokenVerifier
		scram      SCRAMOptions
		noApps     bool
		want, lack string
	}{
		{what: "nothing special", want: "SCRAM-SHA-256 PLAIN LOGIN"},
		{what: "certificate", peer: true, want: "EXTERNAL SCRAM-SHA-256 PLAIN LOGIN"},
		{what: "binding", binding: []byte("b"), want: "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"},
		{what: "SCRAM off", binding: []byte("b"), scram: SCRAMOptions{Off: true}, want: "PLAIN LOGIN"},
		{what: "SCRAM for application passwords only", scram: SCRAMOptions{AppPasswordsOnly: true}, want: "SCRAM-SHA-256 PLAIN LOGIN"},
		{what: "SCRAM for nothing", scram: SCRAMOptions{AppPasswordsOnly: true}, noApps: true, want: "PLAIN LOGIN"},
		{what: "tokens", tokens: []TokenVerifier{issuer{}}, want: "SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN"},
	} {
		l.Tokens, l.SCRAM, l.AppPasswords.Off = c.tokens, c.scram, c.noApps
		from := caller()
		if from.TLS.Binding = c.binding; c.peer {
			from.TLS.Peer = &x509.Certificate{}
		}
		list := l.Mechanisms(from)
		if got := strings.Join(list, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
		for _, mech := range []string{"EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"} {
			if offered := slices.Contains(list, mech); offered != (l.Begin(from, mech) != nil) {
				t.Errorf("%s: %s offered %v, but begun otherwise", c.what, mech, offered)
			}
		}
	}
	for _, mech := range []string{"", "plain", "Plain", "PLAIN ", "CRAM-MD5", "ANONYMOUS", "GSSAPI"} {
		if l.Begin(caller(), mech) != nil {
			t.Errorf("%q was begun", mech)
		}
	}
}

func TestPlain(t *testing.T) {
	l := newLab(t, right)
	for _, c := range []struct {
		response string
		want     Code
	}{
		{"\x00" + user + "\x00" + right, 0},
		{user + "\x00" + user + "\x00" + right, 0},
		{"alias@hopital.test\x00" + user + "\x00" + right, 0},
		{"chirurgien@hopital.test\x00" + user + "\x00" + right, BadCredentials},
		{"\x00" + user + "\x00wrong", BadCredentials},
		{"\x00nobody@hopital.test\x00" + right, BadCredentials},
		{"\x00" + user + "\x00p\xe2te", BadCredentials}, // Latin-1 is no mistake of form
		// RFC 4616 section 2 forbids these.
		{"", -1},
		{"\x00", -1},
		{"\x00\x00", -1},
		{user, -1},
		{user + "\x00" + right, -1},
		{"\x00\x00" + right, -1},
		{"\x00" + user + "\x00", -1},
		{"\x00" + user + "\x00" + right + "\x00", -1},
		{"\x00" + user + "\x00\x00" + right, -1},
	} {
		_, p, err := talk(t, l, caller(), "PLAIN", c.response)
		if got := codeOf(t, err); got != c.want {
			t.Errorf("%q: %v, want %v", c.response, got, c.want)
		}
		if c.want == 0 && (p == nil || p.Address != user || p.Mech != "PLAIN" || p.Proto != "imap") {
			t.Errorf("%q: principal %+v", c.response, p)
		}
	}
	said, p, err := talk(t, l, caller(), "PLAIN", "-", "\x00"+user+"\x00"+right)
	if err != nil || p == nil || len(said) != 1 || said[0] != "" {
		t.Errorf("without initial response: %q, %+v, %v", said, p, err)
	}
}

func TestLogin(t *testing.T) {
	l := newLab(t, right)
	for _, c := range []struct {
		responses []string
		said      string
		want      Code
	}{
		{[]string{"-", user, right}, "Username:|Password:", 0},
		{[]string{user, right}, "Password:", 0},
		{[]string{"-", user, "wrong"}, "Username:|Password:", BadCredentials},
		{[]string{"-", "nobody@hopital.test", right}, "Username:|Password:", BadCredentials},
		{[]string{"-", ""}, "Username:", -1},
		{[]string{""}, "", -1},
		{[]string{"a\x00b"}, "", -1},
		{[]string{user, ""}, "Password:", -1},
		{[]string{user, "a\x00b"}, "Password:", -1},
		{[]string{user, "-"}, "Password:", -1},
	} {
		said, p, err := talk(t, l, caller(), "LOGIN", c.responses...)
		if got := codeOf(t, err); got != c.want || strings.Join(said, "|") != c.said {
			t.Errorf("%q: %q, %v, want %q, %v", c.responses, said, got, c.said, c.want)
		}
		if c.want == 0 && (p == nil || p.Address != user || p.Mech != "LOGIN") {
			t.Errorf("%q: principal %+v", c.responses, p)
		}
	}
}

// A certificate that nobody pinned is refused when EXTERNAL is asked for,
// whatever the response; what is no identity at all is a mistake of form.
func TestExternal(t *testing.T) {
	l := newLab(t, right)
	from := caller()
	from.TLS.Peer = &x509.Certificate{}
	for response, syntax := range map[string]bool{
		"": false, user: false, "other": false, "médecin": false,
		"\x00": true, user + "\x00": true, "m\xe9decin": true,
	} {
		for _, responses := range [][]string{{response}, {"-", response}} {
			said, _, err := talk(t, l, from, "EXTERNAL", responses...)
			if got := codeOf(t, err); syntax != (got == -1) || got == 0 {
				t.Errorf("%q: %v", responses, got)
			}
			if len(said) != len(responses)-1 || len(said) == 1 && said[0] != "" {
				t.Errorf("%q: challenges %q", responses, said)
			}
		}
	}
}

func TestExchangeIsOverOnce(t *testing.T) {
	l := newLab(t, right)
	for _, responses := range [][]string{{"\x00" + user + "\x00" + right}, {"\x00" + user + "\x00wrong"}, {"x"}} {
		e := l.Begin(caller(), "PLAIN")
		_, _, _ = e.Next(t.Context(), []byte(responses[0]))
		if c, done, err := e.Next(t.Context(), []byte("\x00"+user+"\x00"+right)); !errors.Is(err, ErrSyntax) || done || c != nil {
			t.Errorf("after %q: %q, %v, %v", responses, c, done, err)
		}
	}
}

// Whatever a client sends, an exchange ends after a few responses, with a
// principal only for who knows a secret.
func FuzzExchange(f *testing.F) {
	l := newLab(f, right)
	l.Logger = slog.New(slog.DiscardHandler)
	l.SCRAM.Iterations = 4096
	l.limiter = newLimiter(Throttle{PerMinute: 1 << 30, PerDay: 1 << 30, Free: 1 << 30, Strangers: 1 << 30})
	l.Tokens = []TokenVerifier{issuer{}}
	mechs := []string{"EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"}
	for i := range mechs {
		for _, r := range []string{
			"", "-", "\n", "-\n\n", "\x00" + user + "\x00wrong", "-\n" + user + "\nwrong", user,
			"n,,n=" + user + ",r=abc\nc=biws,r=abc,p=AAAA", "y,,n=a,r=b", "p=tls-exporter,,n=a,r=b\nc=,r=,p=", "p=tls-unique,a=x,n==2C,r=b",
			"user=" + user + "\x01auth=Bearer x\x01\x01\n\x01", "n,a=" + user + ",\x01host=h\x01port=1\x01auth=Bearer x\x01\x01\n", "\x01", "n,,\x01\x01\n\x01",
		} {
			f.Add(i, r)
		}
	}
	from := caller()
	from.TLS.Peer, from.TLS.Binding = &x509.Certificate{}, []byte("binding")
	f.Fuzz(func(t *testing.T, mech int, script string) {
		e := l.Begin(from, mechs[uint(mech)%uint(len(mechs))])
		steps := 0
		for r := range strings.SplitSeq(script, "\n") {
			response := []byte(r)
			if r == "-" {
				response = nil
			}
			_, done, err := e.Next(t.Context(), response)
			if done || e.Principal != nil {
				t.Fatalf("%+v logged in", e.Principal)
			}
			if steps++; err == nil && steps > 3 {
				t.Fatalf("%d responses, and no end", steps)
			}
			var refusal *Refusal
			if err != nil && !errors.Is(err, ErrSyntax) && !errors.As(err, &refusal) {
				t.Fatal(err)
			}
			if err != nil {
				break
			}
		}
	})
}
