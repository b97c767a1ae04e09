package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"telesphore/storage"
)

// newScramLab has an account whose password has a verifier.
func newScramLab(t testing.TB) *lab {
	l := newLab(t, right)
	l.SCRAM.Iterations = 4096
	l.start()
	v, err := l.ownVerifier(t.Context(), l.id, right)
	if err == nil {
		err = l.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.PutPasswordVerifier(l.id, v) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// bound is a connection with a channel binding.
func bound(data string) *Caller {
	c := caller()
	c.TLS.Binding = []byte(data)
	return c
}

// client is the client's side of an exchange with mech.
func client(t testing.TB, mech, name, secret, authzID, binding string) *scram.ClientConversation {
	t.Helper()
	c, err := scram.SHA256.NewClientUnprepped(name, secret, authzID)
	if err != nil {
		t.Fatal(err)
	}
	if mech == "SCRAM-SHA-256-PLUS" {
		return c.NewConversationWithChannelBinding(scram.ChannelBinding{Type: scram.ChannelBindingTLSExporter, Data: []byte(binding)})
	}
	return c.NewConversation()
}

// converse runs a whole exchange. It returns how far it came: how many
// challenges the server sent.
func converse(t testing.TB, l *lab, c *Caller, mech string, conv *scram.ClientConversation) (steps int, p *Principal, err error) {
	t.Helper()
	e := l.Begin(c, mech)
	if e == nil {
		t.Fatalf("%s is not offered", mech)
	}
	challenge := ""
	for {
		response := ""
		if !conv.Done() {
			if response, err = conv.Step(challenge); err != nil {
				t.Fatalf("client: %v", err)
			}
		}
		raw, done, err := e.Next(context.Background(), []byte(response))
		if err != nil || done {
			if err == nil && !conv.Valid() {
				t.Fatal("the server has not shown that it knows the secret")
			}
			return steps, e.Principal, err
		}
		steps++
		challenge = string(raw)
	}
}

func TestScramLogsIn(t *testing.T) {
	l := newScramLab(t)
	for _, mech := range []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} {
		for _, c := range []struct {
			name, secret, authzID string
			want                  Code
			steps                 int
		}{
			{user, right, "", 0, 2},
			{"alias@HOPITAL.test", right, "", 0, 2},
			{user, right, "alias@hopital.test", 0, 2},
			{user, right, "chirurgien@hopital.test", BadCredentials, 2},
			{user, "wrong", "", BadCredentials, 1},
			{"nobody@hopital.test", right, "", BadCredentials, 1},
			{"a,b=c", right, "", BadCredentials, 1},
		} {
			steps, p, err := converse(t, l, bound("binding"), mech, client(t, mech, c.name, c.secret, c.authzID, "binding"))
			if got := codeOf(t, err); got != c.want || steps != c.steps {
				t.Errorf("%s, %s as %q: %v after %d challenges, want %v after %d", mech, c.name, c.authzID, got, steps, c.want, c.steps)
			}
			if c.want == 0 && (p == nil || p.Account != l.id || p.Level != LevelPassword || p.Mech != mech || p.Via != "") {
				t.Errorf("%s, %s: %+v", mech, c.name, p)
			}
		}
	}
	if text := l.log.String(); strings.Contains(text, "nobody@") || !strings.Contains(text, "unknown=") {
		t.Errorf("the log:\n%s", text)
	}
}

// RFC 7677 section 3, with its nonces, salt and password.
func TestScramVectors(t *testing.T) {
	l := newScramLab(t)
	const salt = "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81"
	v, err := deriveVerifier("pencil", []byte(salt), 4096)
	if err != nil {
		t.Fatal(err)
	}
	e := l.Begin(caller(), "SCRAM-SHA-256")
	s := &scramRun{Exchange: e, nonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", salt: salt}
	c := s.conversation(v)
	for _, m := range [][2]string{
		{"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
		{"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
	} {
		if got, err := c.Step(m[0]); err != nil || got != m[1] {
			t.Errorf("%q: %q, %v", m[0], got, err)
		}
	}
}

func TestScramBinding(t *testing.T) {
	l := newScramLab(t)
	for _, c := range []struct {
		what, mech, first string
		from              *Caller
		want              error
	}{
		{"no binding to be had", "SCRAM-SHA-256", "y,,n=x,r=y", caller(), nil},
		{"not wanted", "SCRAM-SHA-256", "n,,n=x,r=y", bound("b"), nil},
		{"offer hidden by somebody", "SCRAM-SHA-256", "y,,n=x,r=y", bound("b"), errDowngrade},
		{"offer hidden, chosen all the same", "SCRAM-SHA-256-PLUS", "y,,n=x,r=y", bound("b"), errDowngrade},
		{"binding with the plain mechanism", "SCRAM-SHA-256", "p=tls-exporter,,n=x,r=y", bound("b"), errBinding},
		{"without a binding", "SCRAM-SHA-256-PLUS", "n,,n=x,r=y", bound("b"), errBinding},
		{"another type", "SCRAM-SHA-256-PLUS", "p=tls-unique,,n=x,r=y", bound("b"), errBinding},
		{"a third type", "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=x,r=y", bound("b"), errBinding},
		{"an unknown type", "SCRAM-SHA-256-PLUS", "p=x,,n=x,r=y", bound("b"), errBinding},
		{"right", "SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=x,r=y", bound("b"), nil},
	} {
		_, _, err := talk(t, l, c.from, c.mech, c.first)
		if !errors.Is(err, c.want) || c.want != nil && codeOf(t, err) != BadCredentials {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	// Somebody in between has another connection with each side.
	const mech = "SCRAM-SHA-256-PLUS"
	if _, _, err := converse(t, l, bound("theirs"), mech, client(t, mech, user, right, "", "ours")); codeOf(t, err) != BadCredentials {
		t.Errorf("binding of another connection: %v", err)
	}
}

func TestFormOfScramMessages(t *testing.T) {
	l := newScramLab(t)
	l.limiter = newLimiter(Throttle{PerMinute: 100, Free: 100})
	for _, first := range []string{
		"", "n", "n,,", "n,,n=x", "n,,r=y,n=x", "n,,m=e,n=x,r=y", ",,n=x,r=y", "x,,n=x,r=y", "n,x,n=x,r=y", "n,a==,n=x,r=y",
		"n,,n=,r=y", "n,,n=x=y,r=y", "n,,n=x,r=", "n,,n=x,r=\x01", "n,,n=x,r=é", "n,,n=x\xff,r=y", "n,,n=x,r=" + strings.Repeat("y", maxSCRAM),
	} {
		if said, _, err := talk(t, l, caller(), "SCRAM-SHA-256", first); codeOf(t, err) != -1 {
			t.Errorf("%.40q: %q, %v", first, said, err)
		}
	}
	for final, want := range map[string]Code{
		"":                       -1,
		"c=biws":                 -1,
		"c=biws,r=NONCE":         -1,
		"c=!,r=NONCE,p=AAAA":     -1,
		"c=biws,r=NONCE,p=!":     -1,
		"c=biws,r=NONCE,p=\xff":  -1,
		"r=NONCE,c=biws,p=AAAA":  -1,
		"c=biws,r=NONCE,p=AAAA":  BadCredentials,
		"c=biws,r=NONCE,x=y,p=":  BadCredentials,
		"c=eSws,r=NONCE,p=AAAA":  BadCredentials, // "y,,"
		"c=biws,r=abc,p=AAAA":    BadCredentials,
		"c=biws,r=NONCEx,p=AAAA": BadCredentials,
		"c=biws,r=NONCE,p=" + strings.Repeat("A", 44): BadCredentials,
	} {
		e := l.Begin(caller(), "SCRAM-SHA-256")
		challenge, _, err := e.Next(t.Context(), []byte("n,,n="+user+",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		nonce := strings.TrimPrefix(strings.Split(string(challenge), ",")[0], "r=")
		if _, _, err := e.Next(t.Context(), []byte(strings.Replace(final, "NONCE", nonce, 1))); codeOf(t, err) != want {
			t.Errorf("%q: %v, want %v", final, err, want)
		}
	}
	// Something behind our proof.
	e := l.Begin(caller(), "SCRAM-SHA-256")
	conv, challenge := client(t, "SCRAM-SHA-256", user, right, "", ""), []byte{}
	for range 2 {
		response, _ := conv.Step(string(challenge))
		challenge, _, _ = e.Next(t.Context(), []byte(response))
	}
	if _, done, err := e.Next(t.Context(), []byte("x")); done || codeOf(t, err) != -1 {
		t.Errorf("at the end: %v, %v", done, err)
	}
}

// serverFirst returns salt and iterations that are shown for a name.
func serverFirst(t testing.TB, l *lab, name string) string {
	t.Helper()
	name = strings.NewReplacer("=", "=3D", ",", "=2C").Replace(name)
	said, _, err := talk(t, l, caller(), "SCRAM-SHA-256", "n,,n="+name+",r=abc")
	if err != nil || len(said) != 1 {
		t.Fatalf("%q: %q, %v", name, said, err)
	}
	_, rest, _ := strings.Cut(said[0], ",")
	return rest
}

// A name that is nobody's has a salt that looks like another, now and after a restart.
func TestScramSalts(t *testing.T) {
	l := newScramLab(t)
	names := []string{user, "nobody@hopital.test", "noone@hopital.test", "medecin", "a,b=c"}
	seen := map[string]string{}
	for _, name := range names {
		shown := serverFirst(t, l, name)
		if other := seen[shown]; other != "" {
			t.Errorf("%q and %q have the same salt", name, other)
		}
		seen[shown] = name
		if len(shown) != len("s=AAAAAAAAAAAAAAAAAAAAAA==,i=4096") || !strings.HasSuffix(shown, ",i=4096") {
			t.Errorf("%q: %q", name, shown)
		}
		again := &lab{Authenticator: &Authenticator{Store: l.Store, Params: cheap, Logger: l.Logger, SCRAM: SCRAMOptions{Iterations: 4096}}, id: l.id}
		for _, l := range []*lab{l, again} {
			if got := serverFirst(t, l, name); got != shown {
				t.Errorf("%q: %q, then %q", name, shown, got)
			}
		}
	}
	if serverFirst(t, l, "NOBODY@Hopital.Test") != serverFirst(t, l, "nobody@hopital.test") {
		t.Error("how a name is written shows whether it is somebody's")
	}
}

func TestScramWithAppPassword(t *testing.T) {
	l := newScramLab(t)
	var secrets []string
	for _, n := range []NewAppPassword{{}, {}, {Protos: []string{"smtp"}}} {
		secret, _ := makeApp(t, l, n)
		secrets = append(secrets, secret)
	}
	over, made := makeApp(t, l, NewAppPassword{Life: time.Hour})
	expire(t, l, made.ID)
	const mech = "SCRAM-SHA-256-PLUS"
	for _, c := range []struct {
		secret, via string
		level       int
		cause       error
	}{
		{right, "", LevelPassword, nil},
		{secrets[0], "application password 1", LevelCode, nil},
		{secrets[1], "application password 2", LevelCode, nil},
		{secrets[2], "", 0, errAppDoor},
		{over, "", 0, errAppExpired},
		{"wrong", "", 0, errProof},
	} {
		_, p, err := converse(t, l, bound("b"), mech, client(t, mech, user, c.secret, "", "b"))
		if !errors.Is(err, c.cause) || c.cause != nil && codeOf(t, err) != BadCredentials {
			t.Errorf("%q: %v, want %v", c.secret, err, c.cause)
		}
		if c.cause == nil && (p == nil || p.Via != c.via || p.Level != c.level) {
			t.Errorf("%q: %+v", c.secret, p)
		}
	}
	if all := apps(t, l); all[1].LastUsed.IsZero() || !all[2].LastUsed.IsZero() {
		t.Errorf("last used %v and %v", all[1].LastUsed, all[2].LastUsed)
	}

	l.SCRAM.AppPasswordsOnly = true
	if _, _, err := converse(t, l, bound("b"), mech, client(t, mech, user, right, "", "b")); !errors.Is(err, errProof) {
		t.Errorf("the account's own password: %v", err)
	}
	if _, p, err := converse(t, l, bound("b"), mech, client(t, mech, user, secrets[0], "", "b")); err != nil || p.app != 1 {
		t.Errorf("an application password: %v, %+v", err, p)
	}
}

// SCRAM cannot carry a code: who needs one is told to send a password.
func TestScramCannotCarryCodes(t *testing.T) {
	l := newScramLab(t)
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.PutFactor(l.id, &storage.Factor{Contact: "x@ailleurs.test", CodesOn: true})
	})
	if err != nil {
		t.Fatal(err)
	}
	const mech = "SCRAM-SHA-256"
	_, _, err = converse(t, l, caller(), mech, client(t, mech, user, right, "", ""))
	var r *Refusal
	if !errors.As(err, &r) || r.Guess() || !strings.Contains(r.Text, "PLAIN") {
		t.Errorf("%v, %+v", err, r)
	}
	secret, _ := makeApp(t, l, NewAppPassword{})
	if _, p, err := converse(t, l, caller(), mech, client(t, mech, user, secret, "", "")); err != nil || p.Level != LevelCode {
		t.Errorf("application password: %v, %+v", err, p)
	}
}

// What was sent once opens nothing again.
func TestScramReplay(t *testing.T) {
	l := newScramLab(t)
	conv := client(t, "SCRAM-SHA-256", user, right, "", "")
	var sent []string
	e, challenge := l.Begin(caller(), "SCRAM-SHA-256"), ""
	for range 2 {
		response, err := conv.Step(challenge)
		if err != nil {
			t.Fatal(err)
		}
		raw, _, err := e.Next(t.Context(), []byte(response))
		if err != nil {
			t.Fatal(err)
		}
		sent, challenge = append(sent, response), string(raw)
	}
	if _, _, err := talk(t, l, caller(), "SCRAM-SHA-256", append(sent, "")...); codeOf(t, err) != BadCredentials {
		t.Errorf("sent again: %v", err)
	}
	if _, done, err := e.Next(t.Context(), []byte{}); !done || err != nil {
		t.Errorf("the exchange itself: %v", err)
	}
}

// Between the proof and the end of an exchange the client may wait. What is
// changed meanwhile counts.
func TestScramChangeBeforeTheEnd(t *testing.T) {
	for what, change := range map[string]func(tx *storage.Tx, l *lab) error{
		"password":             func(tx *storage.Tx, l *lab) error { return tx.SetPassword(l.id, cheap.hash("other")) },
		"state":                func(tx *storage.Tx, l *lab) error { return tx.SetState(l.id, storage.Disabled) },
		"application password": func(tx *storage.Tx, l *lab) error { return tx.DeleteAppPassword(l.id, 1) },
	} {
		l := newScramLab(t)
		secret := right
		if what == "application password" {
			secret, _ = makeApp(t, l, NewAppPassword{})
		}
		e, conv, challenge := l.Begin(caller(), "SCRAM-SHA-256"), client(t, "SCRAM-SHA-256", user, secret, "", ""), []byte{}
		for range 2 {
			response, err := conv.Step(string(challenge))
			if err != nil {
				t.Fatal(err)
			}
			if challenge, _, err = e.Next(t.Context(), []byte(response)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Store.Update(t.Context(), func(tx *storage.Tx) error { return change(tx, l) }); err != nil {
			t.Fatal(err)
		}
		if _, done, err := e.Next(t.Context(), []byte{}); done || err == nil {
			t.Errorf("%s changed: logged in, %v", what, err)
		}
	}
}

// Guesses by SCRAM and by PLAIN are guesses of one password.
func TestScramGuessesCount(t *testing.T) {
	l := newScramLab(t)
	l.limiter = newLimiter(Throttle{PerMinute: 6, Free: 100})
	const mech = "SCRAM-SHA-256"
	for i := range 6 {
		if i%2 == 0 {
			if got := l.try(user, strings.Repeat("x", i+1)); got != BadCredentials {
				t.Fatal(got)
			}
		} else if _, _, err := converse(t, l, caller(), mech, client(t, mech, user, "wrong", "", "")); codeOf(t, err) != BadCredentials {
			t.Fatal(err)
		}
	}
	if _, _, err := converse(t, l, caller(), mech, client(t, mech, user, right, "", "")); codeOf(t, err) != TooManyFailures {
		t.Errorf("SCRAM after six wrong ones: %v", err)
	}
	if got := l.try(user, right); got != TooManyFailures {
		t.Errorf("PLAIN after six wrong ones: %v", got)
	}
}

// An expired application password in some old program is not taken for guessing.
func TestScramExpiredAppPasswordIsNoGuess(t *testing.T) {
	l := newScramLab(t)
	l.limiter = newLimiter(Throttle{PerMinute: 3, Free: 1})
	secret, made := makeApp(t, l, NewAppPassword{})
	expire(t, l, made.ID)
	const mech = "SCRAM-SHA-256"
	for range 10 {
		if _, _, err := converse(t, l, caller(), mech, client(t, mech, user, secret, "", "")); !errors.Is(err, errAppExpired) {
			t.Fatal(err)
		}
	}
	if got := l.try(user, right); got != 0 {
		t.Errorf("a password from there: %v", got)
	}
}

// Verifiers are good for one number of iterations. After that was changed,
// a secret gets a new one when it is next sent as a whole. So does a password that
// was set before there was SCRAM.
func TestScramVerifiersAreRenewed(t *testing.T) {
	l := newLab(t, right)
	app, _ := makeApp(t, l, NewAppPassword{})
	const mech = "SCRAM-SHA-256"
	l.SCRAM.Iterations = 5000
	for _, secret := range []string{right, app} {
		if _, _, err := converse(t, l, caller(), mech, client(t, mech, user, secret, "", "")); !errors.Is(err, errProof) {
			t.Errorf("%s, before: %v", secret, err)
		}
	}
	for _, secret := range []string{right, strings.ToUpper(app)} {
		if _, code := logIn(t, l, caller(), user, secret); code != 0 {
			t.Fatal(code)
		}
	}
	for _, secret := range []string{right, app} {
		if _, _, err := converse(t, l, caller(), mech, client(t, mech, user, secret, "", "")); err != nil {
			t.Errorf("%s, afterwards: %v", secret, err)
		}
	}
}
