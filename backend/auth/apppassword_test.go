package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// session is somebody who has just logged in to the lab's account.
func session(l *lab, level int) *Principal {
	return &Principal{Account: l.id, Address: user, Level: level, Since: time.Now(), Proto: "web", Mech: "TEST", caller: *caller()}
}

// makeApp makes an application password in a session with a card.
func makeApp(t testing.TB, l *lab, n NewAppPassword) (string, *storage.AppPassword) {
	t.Helper()
	if n.Name == "" {
		n.Name = "telephone"
	}
	secret, made, err := l.MakeAppPassword(t.Context(), session(l, LevelCard), &n)
	if err != nil {
		t.Fatal(err)
	}
	return secret, made
}

// apps reads the account's application passwords.
func apps(t testing.TB, l *lab) (all []storage.AppPassword) {
	t.Helper()
	err := l.Store.View(t.Context(), func(tx *storage.Tx) (err error) {
		all, err = tx.AppPasswords(l.id)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// expire moves the end of an application password into the past.
func expire(t testing.TB, l *lab, id uint32) {
	t.Helper()
	err := l.Store.Update(t.Context(), func(tx *storage.Tx) error {
		p, err := tx.AppPassword(l.id, id)
		if err != nil {
			return err
		}
		p.Expires = time.Now().Add(-time.Second)
		return tx.PutAppPassword(l.id, p)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func logIn(t testing.TB, l *lab, c *Caller, name, secret string) (*Principal, Code) {
	t.Helper()
	p, err := l.LogIn(t.Context(), c, &Attempt{Mech: "PLAIN", User: name, Secret: secret})
	return p, codeOf(t, err)
}

func TestFormOfAppPassword(t *testing.T) {
	random := []byte("twenty random octets")
	secret := appSecret(7, random)
	if !strings.HasPrefix(secret, "tap-") || len(secret) != 44 {
		t.Fatalf("%q", secret)
	}
	for _, typed := range []string{secret, strings.ToUpper(secret), " " + secret + "\r\n"} {
		if id, got, ok := parseAppPassword(typed); !ok || id != 7 || string(got) != string(random) {
			t.Errorf("%q: %d, %q, %v", typed, id, got, ok)
		}
	}
	bad := []string{
		"", "tap-", secret[4:], secret[:43], secret + "a", "tap_" + secret[4:], secret[:20] + " " + secret[20:],
		secret[:43] + "1", strings.Repeat(" ", maxSecret) + secret,
	}
	for _, typed := range bad {
		if _, _, ok := parseAppPassword(typed); ok {
			t.Errorf("%q was read", typed)
		}
	}
	// A checksum of 8 bits lets about one error in 256 through.
	known := 0
	for i := 4; i < len(secret); i++ {
		for _, c := range "abcdefghijklmnopqrstuvwxyz234567" {
			if _, _, ok := parseAppPassword(secret[:i] + string(c) + secret[i+1:]); !ok {
				known++
			}
		}
	}
	if all := 40 * 31; known < all*97/100 {
		t.Errorf("%d of %d typing errors are known", known, all)
	}
}

func FuzzParseAppPassword(f *testing.F) {
	f.Add(appSecret(1, make([]byte, appRandom)))
	f.Add("tap-aaaa")
	f.Fuzz(func(t *testing.T, s string) {
		id, random, ok := parseAppPassword(s)
		if ok && appSecret(id, random) != strings.ToLower(strings.TrimSpace(s)) {
			t.Fatalf("%q is read as %d, %x", s, id, random)
		}
	})
}

func TestAppPasswordLogsIn(t *testing.T) {
	l := newLab(t, right)
	secret, made := makeApp(t, l, NewAppPassword{})
	if again, _ := makeApp(t, l, NewAppPassword{}); again == secret {
		t.Fatal("the same secret twice")
	}
	for _, name := range []string{user, "alias@hopital.test"} {
		p, code := logIn(t, l, caller(), name, strings.ToUpper(secret)+" ")
		if code != 0 || p.Account != l.id || p.Level != LevelCode || p.Via != "application password 1" || p.app != made.ID {
			t.Errorf("%s: %v, %+v", name, code, p)
		}
	}
	p := apps(t, l)[0]
	if p.LastFrom != caller().Remote || time.Since(p.LastUsed) > time.Minute {
		t.Errorf("last used %v from %v", p.LastUsed, p.LastFrom)
	}
	for _, name := range []string{"nobody@hopital.test", "medecin", ""} {
		if _, code := logIn(t, l, caller(), name, secret); code != BadCredentials {
			t.Errorf("%q: %v", name, code)
		}
	}
	if strings.Contains(strings.ToLower(l.log.String()), secret[4:]) {
		t.Error("the log holds the secret")
	}
}

func TestAppPasswordIsRefused(t *testing.T) {
	l := newLab(t, right)
	ward := netip.MustParsePrefix("192.0.2.128/25")
	good, _ := makeApp(t, l, NewAppPassword{})
	door, _ := makeApp(t, l, NewAppPassword{Protos: []string{"smtp", "dav", "smtp"}})
	network, _ := makeApp(t, l, NewAppPassword{Net: ward})
	over, made := makeApp(t, l, NewAppPassword{Life: time.Hour})
	expire(t, l, made.ID)
	id, random, _ := parseAppPassword(good)
	inside, elsewhere := caller(), caller()
	inside.Remote, elsewhere.Proto = netip.MustParseAddr("::ffff:192.0.2.200"), "dav"
	for _, c := range []struct {
		what, secret string
		from         *Caller
		cause        error
	}{
		{"good one", good, caller(), nil},
		{"wrong door", door, caller(), errAppDoor},
		{"its door", door, elsewhere, nil},
		{"wrong network", network, caller(), errAppNetwork},
		{"its network", network, inside, nil},
		{"expired", over, caller(), errAppExpired},
		{"other number", appSecret(id+1, random), caller(), errAppWrong},
		{"number of none", appSecret(99, random), caller(), errAppWrong},
		{"other secret", appSecret(id, make([]byte, 20)), caller(), errAppWrong},
	} {
		_, err := l.LogIn(t.Context(), c.from, &Attempt{Mech: "PLAIN", User: user, Secret: c.secret})
		if !errors.Is(err, c.cause) || c.cause != nil && codeOf(t, err) != BadCredentials {
			t.Errorf("%s: %v, want %v", c.what, err, c.cause)
		}
	}
	l.AppPasswords.Off = true
	_, err := l.LogIn(t.Context(), caller(), &Attempt{Mech: "PLAIN", User: user, Secret: good})
	if !errors.Is(err, errAppOff) {
		t.Errorf("switched off: %v", err)
	}
	if _, _, err := l.MakeAppPassword(t.Context(), session(l, LevelCard), &NewAppPassword{Name: "x"}); !errors.Is(err, ErrAppOff) {
		t.Errorf("made while switched off: %v", err)
	}
}

// Old programs with a removed application password lock nobody out, and who
// guesses at the password locks no program out.
func TestAppPasswordsCountApart(t *testing.T) {
	l := newLab(t, right)
	l.limiter = newLimiter(Throttle{Free: 3, PerMinute: 20, Strangers: 1000})
	secret, _ := makeApp(t, l, NewAppPassword{})
	begin := time.Now()
	for i := range 3 {
		wrong := appSecret(50+uint32(i), make([]byte, 20))
		for range 5 { // the same again is no further guess
			if _, code := logIn(t, l, caller(), user, wrong); code != BadCredentials {
				t.Fatalf("wrong application password: %v", code)
			}
		}
	}
	for i := range 3 { // the third one would wait, did they count together
		if got := l.try(user, "wrong"+strings.Repeat("x", i)); got != BadCredentials {
			t.Fatalf("wrong password: %v", got)
		}
	}
	if waited := time.Since(begin); waited > 2*time.Second {
		t.Errorf("answers took %v", waited)
	}
	l.limiter.PerMinute = 1 // the network has had its wrong secrets
	if got := l.try(user, right); got != TooManyFailures {
		t.Errorf("password: %v", got)
	}
	if _, code := logIn(t, l, caller(), user, secret); code != 0 {
		t.Errorf("application password: %v", code)
	}
	if _, code := logIn(t, l, caller(), user, appSecret(99, make([]byte, 20))); code != TooManyFailures {
		t.Errorf("wrong application password: %v", code)
	}
}

func TestWhatAppPasswordIsWorth(t *testing.T) {
	l := newLab(t, right)
	l.Policy.Default = Levels{LogIn: 1, Read: 1, TrustSpace: 2, Credentials: 1}
	card := &Card{Identity: card, NotAfter: time.Now().Add(48 * time.Hour)}
	actor := session(l, LevelCard)
	actor.actor = "operator"
	withCard := session(l, LevelCard)
	withCard.card = card
	day := time.Now().Add(180 * 24 * time.Hour)
	for _, c := range []struct {
		who     *Principal
		level   int
		by      string
		card    string
		expires time.Time
	}{
		{withCard, LevelCode, "card", card.Identity, card.NotAfter},
		{session(l, LevelCode), LevelCode, "code", "", day},
		{session(l, LevelPassword), LevelPassword, "password", "", day},
		{actor, LevelCode, "operator", "", day},
	} {
		secret, p, err := l.MakeAppPassword(t.Context(), c.who, &NewAppPassword{Name: c.by})
		if err != nil {
			t.Fatal(err)
		}
		if p.Level != c.level || p.By != c.by || p.Card != c.card || p.Expires.Sub(c.expires).Abs() > time.Minute {
			t.Errorf("%s: %+v", c.by, p)
		}
		if in, code := logIn(t, l, caller(), user, secret); code != 0 || in.Level != c.level {
			t.Errorf("%s: %v, %+v", c.by, code, in)
		}
	}
	if all := apps(t, l); len(all) != 4 || all[0].Card != card.Identity || all[0].Hash == [32]byte{} || all[0].Verifier.Iterations != 10_000 {
		t.Errorf("stored %+v", all)
	}
}

func TestWhoMakesAppPasswords(t *testing.T) {
	l := newLab(t, right)
	stale := session(l, LevelCard)
	stale.Since = time.Now().Add(-6 * time.Minute)
	over := session(l, LevelCard)
	over.end(errRevoked)
	_, theirs := makeApp(t, l, NewAppPassword{})
	app := session(l, LevelCard)
	app.app = theirs.ID
	for what, who := range map[string]*Principal{
		"password": session(l, LevelPassword), "code": session(l, LevelCode), "long ago": stale, "over": over, "application password": app,
	} {
		if _, _, err := l.MakeAppPassword(t.Context(), who, &NewAppPassword{Name: "x"}); codeOf(t, err) != TooWeak {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, made := makeApp(t, l, NewAppPassword{})
	if err := l.RemoveAppPassword(t.Context(), session(l, LevelCode), made.ID); codeOf(t, err) != TooWeak {
		t.Errorf("removed: %v", err)
	}
	if len(apps(t, l)) != 2 {
		t.Error("something was made or removed")
	}
}

func TestWhatAppPasswordsAreAskedFor(t *testing.T) {
	l := newLab(t, right)
	for _, c := range []struct {
		n    NewAppPassword
		want error
	}{
		{NewAppPassword{Name: strings.Repeat("é", 50), Protos: []string{"imap", "smtp", "ldap", "dav"}, Life: 180 * 24 * time.Hour}, nil},
		{NewAppPassword{Name: "x", Net: netip.MustParsePrefix("192.0.2.77/24")}, nil},
		{NewAppPassword{}, ErrAppRequest},
		{NewAppPassword{Name: strings.Repeat("é", 51)}, ErrAppRequest},
		{NewAppPassword{Name: "a\nb"}, ErrAppRequest},
		{NewAppPassword{Name: "a\xff"}, ErrAppRequest},
		{NewAppPassword{Name: "x", Protos: []string{"imap", "http"}}, ErrAppRequest},
		{NewAppPassword{Name: "x", Protos: []string{""}}, ErrAppRequest},
		{NewAppPassword{Name: "x", Life: -1}, ErrAppRequest},
		{NewAppPassword{Name: "x", Life: 181 * 24 * time.Hour}, ErrAppRequest},
	} {
		_, p, err := l.MakeAppPassword(t.Context(), session(l, LevelCard), &c.n)
		if !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.n, err)
		}
		if err == nil && c.n.Net.IsValid() && p.Net != c.n.Net.Masked() {
			t.Errorf("network %v", p.Net)
		}
	}
}

func TestAppPasswordsAreNumbered(t *testing.T) {
	l := newLab(t, right)
	l.AppPasswords.PerAccount = 3
	for range 3 {
		makeApp(t, l, NewAppPassword{})
	}
	who := session(l, LevelCard)
	if _, _, err := l.MakeAppPassword(t.Context(), who, &NewAppPassword{Name: "x"}); !errors.Is(err, ErrAppLimit) {
		t.Errorf("a fourth one: %v", err)
	}
	expire(t, l, 2) // and makes room
	if _, p := makeApp(t, l, NewAppPassword{}); p.ID != 4 {
		t.Errorf("number %d", p.ID)
	}
	var ids []uint32
	for _, p := range apps(t, l) {
		ids = append(ids, p.ID)
	}
	if !slices.Equal(ids, []uint32{1, 3, 4}) {
		t.Errorf("left %v", ids)
	}
}

func TestRemovedAppPasswordEndsItsLogIns(t *testing.T) {
	l := newLab(t, right)
	var told []*Notice
	l.Notify = noted(&told)
	first, made := makeApp(t, l, NewAppPassword{Name: "tablette"})
	second, _ := makeApp(t, l, NewAppPassword{})
	open, _ := logIn(t, l, caller(), user, first)
	stays, _ := logIn(t, l, caller(), user, second)
	ended := false
	open.OnEnd(func() { ended = true })
	if err := l.RemoveAppPassword(t.Context(), session(l, LevelCard), made.ID); err != nil {
		t.Fatal(err)
	}
	if !ended || open.Err() == nil || stays.Err() != nil {
		t.Errorf("its log-in: %v; the other: %v", open.Err(), stays.Err())
	}
	if _, code := logIn(t, l, caller(), user, first); code != BadCredentials {
		t.Errorf("afterwards: %v", code)
	}
	if err := l.RemoveAppPassword(t.Context(), session(l, LevelCard), made.ID); !errors.Is(err, storage.ErrNoAppPassword) {
		t.Errorf("removed again: %v", err)
	}
	kinds := map[Kind]string{}
	for _, n := range told {
		kinds[n.Kind] = n.Name
	}
	if kinds[AppPasswordMade] == "" || kinds[AppPasswordRemoved] != "tablette" {
		t.Errorf("the owner was told %v", kinds)
	}
}

// A certificate beside an application password changes nothing unless it is good.
func TestAppPasswordBesideBadCertificate(t *testing.T) {
	l := newLab(t, right)
	secret, _ := makeApp(t, l, NewAppPassword{})
	from := caller()
	from.TLS.Peer = &x509.Certificate{}
	if p, code := logIn(t, l, from, user, secret); code != 0 || p.Level != LevelCode {
		t.Errorf("%v, %+v", code, p)
	}
}

// noted keeps what owners are told.
func noted(told *[]*Notice) func(context.Context, *Notice) error {
	return func(_ context.Context, n *Notice) error {
		*told = append(*told, n)
		return nil
	}
}
