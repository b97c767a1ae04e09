package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/storage"
	"telesphore/storage/storagetest"
)

// cheap are parameters that let a test hash often.
var cheap = Params{Memory: 64, Time: 1, Lanes: 1}

const (
	user  = "medecin@hopital.test"
	right = "cheval-agrafe-pile-92"
)

// lab is an authenticator over a store with one account, and what it logs.
type lab struct {
	*Authenticator
	t   testing.TB
	id  storage.AccountID
	log *bytes.Buffer
}

func newLab(t testing.TB, password string) *lab {
	t.Helper()
	l := &lab{t: t, log: &bytes.Buffer{}}
	l.Authenticator = &Authenticator{
		Store: storagetest.New(t), Params: cheap,
		Logger: slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	phc := ""
	if password != "" {
		var err error
		if phc, err = l.Hash(password); err != nil {
			t.Fatal(err)
		}
	}
	l.id = storagetest.Account(t, l.Store, phc, user, "alias@hopital.test")
	return l
}

// try logs in and returns the code, 0 for success.
func (l *lab) try(name, secret string) Code {
	l.t.Helper()
	return l.attempt(&Attempt{User: name, Secret: secret})
}

func (l *lab) attempt(t *Attempt) Code {
	l.t.Helper()
	t.Mech = "PLAIN"
	p, err := l.LogIn(context.Background(), &Caller{Proto: "test", Remote: netip.MustParseAddr("192.0.2.1")}, t)
	var r *Refusal
	switch {
	case err == nil && p.Account == l.id && p.Address == user && p.Level == 1:
		return 0
	case errors.As(err, &r):
		return r.Code
	}
	l.t.Fatalf("principal %+v, error %v", p, err)
	return -1
}

func TestPasswordLogsIn(t *testing.T) {
	l := newLab(t, right)
	for _, c := range []struct {
		name, secret string
		want         Code
	}{
		{user, right, 0},
		{"Medecin@HOPITAL.test", right, 0},
		{"alias@hopital.test", right, 0},
		{user, right + " ", BadCredentials},
		{user, "", BadCredentials},
		{"nobody@hopital.test", right, BadCredentials},
		{"medecin", right, BadCredentials},
		{"", right, BadCredentials},
		{strings.Repeat("x", 100_000), right, BadCredentials},
		{"a@b\x00c", right, BadCredentials},
	} {
		if got := l.try(c.name, c.secret); got != c.want {
			t.Errorf("%.40q with %q: %v, want %v", c.name, c.secret, got, c.want)
		}
	}
}

func TestFormsOfAPassword(t *testing.T) {
	const typed = "pâte-brisée-épaisse"
	l := newLab(t, typed)
	latin1 := strings.NewReplacer("â", "\xe2", "é", "\xe9").Replace(typed)
	nfd := strings.NewReplacer("â", "a\u0302", "é", "e\u0301").Replace(typed)
	for what, secret := range map[string]string{"UTF-8": typed, "Latin-1": latin1, "decomposed": nfd} {
		if got := l.try(user, secret); got != 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
	if got := l.try(user, "pate-brisee-epaisse"); got != BadCredentials {
		t.Errorf("without accents: %v", got)
	}
}

// A hash that was not prepared with PRECIS, as an imported one may be.
func TestRawFormIsSecond(t *testing.T) {
	l := newLab(t, "")
	const raw = "\u00c5ngstr\u00f6m-a\u030a-passwort"
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetPassword(l.id, cheap.hash(raw)) })
	if err != nil {
		t.Fatal(err)
	}
	if got := l.try(user, raw); got != 0 {
		t.Errorf("raw octets: %v", got)
	}
}

func TestAccountWithoutPassword(t *testing.T) {
	l := newLab(t, "")
	for _, secret := range []string{"", "x", l.Generate()} {
		if got := l.try(user, secret); got != BadCredentials {
			t.Errorf("%q: %v", secret, got)
		}
	}
}

func TestDisabledIsToldOnlyToWhoKnowsThePassword(t *testing.T) {
	l := newLab(t, right)
	l.try(user, right)
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetState(l.id, storage.Disabled) })
	if err != nil {
		t.Fatal(err)
	}
	if got := l.try(user, "wrong"); got != BadCredentials {
		t.Errorf("wrong password: %v", got)
	}
	if got := l.try(user, right); got != Disabled {
		t.Errorf("right password: %v", got)
	}
}

func TestAuthorisationIdentity(t *testing.T) {
	l := newLab(t, right)
	for id, want := range map[string]Code{user: 0, "ALIAS@hopital.test": 0, "other@hopital.test": BadCredentials, "medecin": BadCredentials} {
		if got := l.attempt(&Attempt{User: user, Secret: right, AuthzID: id}); got != want {
			t.Errorf("acting as %q: %v, want %v", id, got, want)
		}
	}
}

func TestPasswordChangeEndsTheCache(t *testing.T) {
	l := newLab(t, right)
	l.try(user, right)
	phc, _ := l.Hash("autre-agrafe-pile-93")
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetPassword(l.id, phc) })
	if err != nil {
		t.Fatal(err)
	}
	if got := l.try(user, right); got != BadCredentials {
		t.Errorf("old password: %v", got)
	}
	if got := l.try(user, "autre-agrafe-pile-93"); got != 0 {
		t.Errorf("new password: %v", got)
	}
}

func TestRehashWhenParametersChanged(t *testing.T) {
	l := newLab(t, right)
	before, _ := l.LogIn(t.Context(), &Caller{}, &Attempt{User: user, Secret: right})
	next := &Authenticator{Store: l.Store, Params: Params{Memory: 128, Time: 2, Lanes: 1}, Logger: l.Logger}
	p, err := next.LogIn(t.Context(), &Caller{}, &Attempt{User: user, Secret: right})
	if err != nil || p.Epoch != before.Epoch {
		t.Fatalf("principal %+v, error %v; want epoch %d", p, err, before.Epoch)
	}
	a := account(t, l)
	h, err := parsePHC(a.Password)
	if err != nil || h.Params != next.Params || a.Epoch != before.Epoch {
		t.Errorf("stored %q, epoch %d, %v", a.Password, a.Epoch, err)
	}
	if got := l.try(user, right); got != 0 {
		t.Errorf("after the rehash: %v", got)
	}
}

func account(t testing.TB, l *lab) (a *storage.Account) {
	t.Helper()
	err := l.Store.View(t.Context(), func(tx *storage.Tx) (err error) {
		a, err = tx.Account(l.id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLastLoginIsRecorded(t *testing.T) {
	l := newLab(t, right)
	l.try(user, "wrong")
	if a := account(t, l); !a.LastLogin.IsZero() {
		t.Errorf("last log-in %v after a failure", a.LastLogin)
	}
	begin := time.Now().Add(-time.Second)
	l.try(user, right)
	if a := account(t, l); a.LastLogin.Before(begin) {
		t.Errorf("last log-in %v", a.LastLogin)
	}
}

func TestLogHoldsNoSecret(t *testing.T) {
	l := newLab(t, right)
	const typo = "my-Secret-typed-as-a-name"
	l.try(user, right)
	l.try(user, "wrong-Secret")
	l.try(typo, "x")
	l.try(typo+"@hopital.test", "x")
	text := l.log.String()
	for _, never := range []string{right, "wrong-Secret", typo, strings.ToLower(typo)} {
		if strings.Contains(text, never) {
			t.Errorf("the log holds %q:\n%s", never, text)
		}
	}
	for _, want := range []string{"msg=auth.ok", "account=" + user, "msg=auth.fail", "unknown=", "remote=192.0.2.1", "mech=PLAIN"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

// Five connections that open together cost one hash.
func TestOneHashForTheSameSecret(t *testing.T) {
	l := newLab(t, right)
	l.MaxHashes, l.MaxQueue = 1, 1
	l.once = sync.Once{}
	l.start()
	l.hashes.running <- struct{}{} // the only core is busy
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if got := l.try(user, right); got != 0 {
				t.Errorf("same secret: %v", got)
			}
		})
	}
	waitFor(t, func() bool { return len(l.hashes.waiting) == 1 })
	<-l.hashes.running
	all.Wait()
}

func TestFullQueueIsUnavailable(t *testing.T) {
	l := newLab(t, right)
	l.MaxHashes, l.MaxQueue = 1, 1
	l.once = sync.Once{}
	l.start()
	l.hashes.waiting <- struct{}{}
	l.hashes.waiting <- struct{}{}
	if got := l.try(user, right); got != Unavailable {
		t.Errorf("with a full queue: %v", got)
	}
	<-l.hashes.waiting
	if got := l.try(user, right); got != 0 {
		t.Errorf("with room again: %v", got)
	}
}

func waitFor(t testing.TB, ready func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ready() {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
		tick := time.NewTimer(time.Millisecond)
		<-tick.C
	}
}

// An unknown user must cost what a known one with a wrong password costs.
func TestUnknownUserCostsTheSame(t *testing.T) {
	l := newLab(t, right)
	for _, name := range []string{user, "nobody@hopital.test", "no address"} {
		d, err := l.lookUp(t.Context(), name, "wrong")
		if err != nil {
			t.Fatal(err)
		}
		stored := l.dummy
		if d.account != nil {
			stored = d.account.Password
		}
		h, err := parsePHC(stored)
		if err != nil || h.Params != cheap || len(h.tag) != tagSize || len(h.salt) != saltSize {
			t.Errorf("%q: compared with %q", name, stored)
		}
	}
}

func TestParsePHC(t *testing.T) {
	good := cheap.hash("x")
	if h, err := parsePHC(good); err != nil || !h.matches("x") || h.matches("y") {
		t.Errorf("%q: %v", good, err)
	}
	// Made with the argon2 tool of the reference implementation:
	// echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1 -l 32 -e
	const reference = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if h, err := parsePHC(reference); err != nil || !h.matches("password") {
		t.Errorf("reference hash: %v", err)
	}
	for _, bad := range []string{
		"", "x", "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8",
		strings.Replace(good, "v=19", "v=16", 1), strings.Replace(good, "m=64", "m=99999999", 1),
		strings.Replace(good, "t=1", "t=0", 1), strings.Replace(good, "p=1", "p=0", 1),
		strings.Replace(good, "t=1", "t=x", 1), good + "$", good[:len(good)-3] + "!!!", "$argon2id$v=19$m=64,t=1,p=1$$",
	} {
		if _, err := parsePHC(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add(cheap.hash("x"))
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parsePHC(s)
		if err != nil {
			return
		}
		if h.Memory > maxMemory || h.Time == 0 || h.Time > maxTime || h.Lanes == 0 || len(h.tag) < 16 {
			t.Fatalf("%q gives %+v", s, h)
		}
	})
}

func BenchmarkLogInCached(b *testing.B) {
	l := newLab(b, right)
	l.Logger = slog.New(slog.DiscardHandler)
	l.try(user, right)
	for b.Loop() {
		if l.try(user, right) != 0 {
			b.Fatal("refused")
		}
	}
}

func BenchmarkHash(b *testing.B) {
	for b.Loop() {
		DefaultParams.hash(right)
	}
}
