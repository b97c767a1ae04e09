package auth

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/tls"
)

// byCard logs in to the first account with its card.
func (w *ward) byCard(card tls.Certificate) *Principal {
	w.t.Helper()
	p, err := w.external(w.t.Context(), from(home, card), "")
	w.must(err)
	return p
}

// Who may change what an account is opened with: only somebody with a card in hand.
func TestWhoMayManage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		password, _ := logIn(t, w.lab, from(home), user, right)
		secret, _, err := w.MakeAppPassword(t.Context(), w.acting(w.id), &NewAppPassword{Name: "telephone"})
		w.must(err)
		app, _ := logIn(t, w.lab, from(home), user, secret)
		w.codesOn()
		whole := w.grant(from(home), right)
		grant, _ := logIn(t, w.lab, from(home), user, whole)
		stale := w.byCard(card)
		time.Sleep(5*time.Minute + time.Second)
		revoked := w.byCard(card)
		revoked.end(errRevoked)

		ctx := t.Context()
		actions := map[string]func(who *Principal) error{
			"SetPassword":    func(who *Principal) error { return w.SetPassword(ctx, who, "lilas-tambour-vague-31") },
			"LinkCard":       func(who *Principal) error { return w.LinkCard(ctx, who, &Card{Identity: "IGC|1"}, false) },
			"UnlinkCard":     func(who *Principal) error { return w.UnlinkCard(ctx, who, "IGC|"+idMine) },
			"OpenWindow":     func(who *Principal) error { return w.OpenWindow(ctx, who, "", 0) },
			"CloseWindow":    func(who *Principal) error { return w.CloseWindow(ctx, who) },
			"ProveContact":   func(who *Principal) error { return w.ProveContact(ctx, who, contact) },
			"SwitchCodesOn":  func(who *Principal) error { return w.SwitchCodesOn(ctx, who, w.code()) },
			"SwitchCodesOff": func(who *Principal) error { return w.SwitchCodesOff(ctx, who) },
			"BeginTOTP":      func(who *Principal) error { _, _, err := w.BeginTOTP(ctx, who); return err },
			"ConfirmTOTP":    func(who *Principal) error { _, err := w.ConfirmTOTP(ctx, who, "", ""); return err },
			"MakeAppPassword": func(who *Principal) error {
				_, _, err := w.MakeAppPassword(ctx, who, &NewAppPassword{Name: "x"})
				return err
			},
		}
		for name, act := range actions {
			for what, who := range map[string]*Principal{
				"password": password, "application password": app, "code": grant, "card, too long ago": stale, "revoked card": revoked,
			} {
				if err := act(who); codeOf(t, err) != TooWeak {
					t.Errorf("%s in a session of %s: %v", name, what, err)
				}
			}
		}
		if denied := w.events("policy.denied"); len(denied) != 3*len(actions) || denied[0].Account != user || denied[0].Outcome != "change credentials" {
			t.Errorf("%d denials: %+v", len(denied), denied)
		}
		w.must(w.OpenWindow(ctx, w.byCard(card), "", 0))
	})
}

func TestContactIsProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		ctx := t.Context()
		for _, address := range []string{user, "autre@HOPITAL.test", "", "personne", "postmaster", "a@[192.0.2.1]", "a b@dehors.example", "a@dehors.example\r\nBcc: b"} {
			if err := w.ProveContact(ctx, w.acting(w.id), address); !errors.Is(err, ErrContact) {
				t.Errorf("%q: %v", address, err)
			}
		}
		if err := w.SwitchCodesOn(ctx, w.acting(w.id), "12345678"); !errors.Is(err, ErrNoCode) {
			t.Errorf("with no code under way: %v", err)
		}
		w.must(w.ProveContact(ctx, w.acting(w.id), contact))
		if n := w.notices(ContactCode); len(n) != 1 || n[0].Contact != contact || len(n[0].Code) != 8 {
			t.Fatalf("%+v", n)
		}
		code := w.code()
		for n := range 5 {
			if err := w.SwitchCodesOn(ctx, w.acting(w.id), wrongCode(code, n+1)); !errors.Is(err, ErrWrongCode) {
				t.Errorf("wrong code: %v", err)
			}
		}
		if err := w.SwitchCodesOn(ctx, w.acting(w.id), code); !errors.Is(err, ErrNoCode) {
			t.Errorf("the right code after five wrong ones: %v", err)
		}
		if f := w.factor(); f.CodesOn || f.Contact != "" {
			t.Fatalf("%+v", f)
		}
		if err := w.ProveContact(ctx, w.acting(w.id), contact); !errors.Is(err, ErrTooSoon) {
			t.Errorf("a second code at once: %v", err)
		}
		time.Sleep(time.Minute)
		w.must(w.ProveContact(ctx, w.acting(w.id), contact))
		time.Sleep(10 * time.Minute)
		if err := w.SwitchCodesOn(ctx, w.acting(w.id), w.code()); !errors.Is(err, ErrNoCode) {
			t.Errorf("a code of ten minutes ago: %v", err)
		}
		w.codesOn()
		if err := w.SwitchCodesOn(ctx, w.acting(w.id), w.code()); !errors.Is(err, ErrNoCode) {
			t.Errorf("the same code again: %v", err)
		}
		if f := w.factor(); !f.CodesOn || f.Contact != contact || f.By != "operateur" {
			t.Errorf("%+v", f)
		}
		if n := w.notices(CodesOn); len(n) != 1 || n[0].Contact != contact {
			t.Errorf("notices %+v", n)
		}
		w.must(w.SwitchCodesOff(ctx, w.acting(w.id)))
		if n := w.notices(CodesOff); len(n) != 1 || n[0].Contact != contact {
			t.Errorf("notices %+v", n)
		}
		if got := w.secret(from(home), right); got.level != LevelPassword {
			t.Errorf("codes off again: %+v", got)
		}
	})
}

func TestCardsAreLinkedAndUnlinked(t *testing.T) {
	w := newWard(t, func(a *Authenticator) { a.Cards.PerAccount = 2 })
	ctx := t.Context()
	mine := w.card(idMine, tls.Terms{})
	w.link(w.id, mine)
	read, err := w.ReadCard(ctx, mine.Leaf)
	w.must(err)
	if err := w.LinkCard(ctx, w.acting(w.other), read, false); !errors.Is(err, ErrCardElsewhere) {
		t.Errorf("somebody's card for another account: %v", err)
	}
	w.must(w.LinkCard(ctx, w.acting(w.other), read, true))
	w.link(w.id, w.card(idTheirs, tls.Terms{}))
	w.link(w.id, mine) // it is known already
	third, err := w.ReadCard(ctx, w.card("899700000003", tls.Terms{}).Leaf)
	w.must(err)
	if err := w.LinkCard(ctx, w.acting(w.id), third, false); !errors.Is(err, ErrCardLimit) {
		t.Errorf("a third card: %v", err)
	}
	if err := w.UnlinkCard(ctx, w.acting(w.id), third.Identity); !errors.Is(err, storage.ErrNoCard) {
		t.Errorf("unlink a card that is not linked: %v", err)
	}

	made := w.byCard(mine)
	secret, _, err := w.MakeAppPassword(ctx, made, &NewAppPassword{Name: "telephone"})
	w.must(err)
	byHand, _, err := w.MakeAppPassword(ctx, w.acting(w.id), &NewAppPassword{Name: "tablette"})
	w.must(err)
	w.window("", 0)
	w.must(w.UnlinkCard(ctx, w.acting(w.id), read.Identity))
	if got := w.secret(from(home), secret); got.code != BadCredentials {
		t.Errorf("an application password that the card had made: %+v", got)
	}
	if got := w.secret(from(home), byHand); got.level != LevelCode {
		t.Errorf("one that it had not: %+v", got)
	}
	if got := w.secret(from(home, mine), right); got.code != BadCredentials || len(w.cards(w.id)) != 1 {
		t.Errorf("the unlinked card, which is a colleague's still: %+v", got)
	}
	w.must(w.UnlinkCard(ctx, w.acting(w.other), read.Identity))
	if got := w.secret(from(home, mine), right); got.level != LevelPassword {
		t.Errorf("the unlinked card with the password: %+v: the window should be closed", got)
	}
	if n := w.notices(CardRemoved); len(n) != 2 || n[0].Card != "ROLE EXEMPLE" {
		t.Errorf("notices %+v", n)
	}
}

func TestLevels(t *testing.T) {
	w := newWard(t, func(a *Authenticator) {
		a.Policy.Domains = map[string]Levels{"hopital.test": {LogIn: LevelCard}, "clinique.test": {Read: LevelCode, Credentials: LevelCode}}
	})
	who := func(domain string, level int) *Principal {
		return &Principal{Address: "medecin@" + domain, Level: level, Since: time.Now()}
	}
	for _, c := range []struct {
		domain string
		action Action
		need   int
	}{
		{"autre.test", Read, LevelPassword},
		{"autre.test", TrustSpace, LevelCode},
		{"autre.test", Credentials, LevelCard},
		{"autre.test", Action(99), LevelCard},
		{"clinique.test", Read, LevelCode},
		{"clinique.test", TrustSpace, LevelCode},
		{"clinique.test", Credentials, LevelCode},
		{"hopital.test", Read, LevelPassword}, // what is not said is as by default
		{"hopital.test", Credentials, LevelCard},
	} {
		for level := LevelPassword; level <= LevelCard; level++ {
			err := w.Allow(t.Context(), who(c.domain, level), c.action)
			if level >= c.need {
				if err != nil {
					t.Errorf("%s, %v at level %d: %v", c.domain, c.action, level, err)
				}
				continue
			}
			text := map[int]string{LevelCode: english().NeedCode, LevelCard: english().NeedCard}[c.need]
			if r := new(Refusal); !errors.As(err, &r) || r.Code != TooWeak || r.Text != text {
				t.Errorf("%s, %v at level %d: %v", c.domain, c.action, level, err)
			}
		}
	}
}

// Which level logging in takes: the domain's, and level 2 once codes are on.
func TestLevelToLogIn(t *testing.T) {
	for _, c := range []struct {
		level, codes          int // of the domain; 1 when codes are on
		password, code2, card outcome
		text                  string
	}{
		{1, 0, outcome{level: 1, who: user}, outcome{}, outcome{level: 3, who: user}, ""},
		{2, 0, refusedAs(TooWeak), outcome{}, outcome{level: 3, who: user}, english().NoFactor},
		{3, 0, refusedAs(TooWeak), outcome{}, outcome{level: 3, who: user}, english().NeedCard},
		{1, 1, refusedAs(CodeNeeded), byCode, outcome{level: 3, who: user}, english().CodeSent},
		{2, 1, refusedAs(CodeNeeded), byCode, outcome{level: 3, who: user}, english().CodeSent},
		{3, 1, refusedAs(TooWeak), refusedAs(BadCredentials), outcome{level: 3, who: user}, english().NeedCard},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWard(t, func(a *Authenticator) { a.Policy.Default.LogIn = c.level })
			card := w.card(idMine, tls.Terms{})
			w.link(w.id, card)
			if c.codes == 1 {
				w.codesOn()
			}
			if got := w.secret(from(home), right); got != c.password {
				t.Errorf("level %d, codes %d, password: %+v", c.level, c.codes, got)
			}
			if c.text != "" && w.says(from(home), right) != c.text {
				t.Errorf("level %d, codes %d: %q", c.level, c.codes, w.says(from(home), right))
			}
			if c.codes == 1 {
				if got := w.secret(from(home), right+w.code()); got != c.code2 {
					t.Errorf("level %d, password and code: %+v", c.level, got)
				}
			}
			if got := w.secret(from(home, card), right); got != c.card {
				t.Errorf("level %d, codes %d, card: %+v", c.level, c.codes, got)
			}
		})
	}
}

// TOTP takes the place of mailed codes, both ways.
func TestTOTPInPlaceOfMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		ctx := t.Context()
		w.codesOn()
		secret, _, err := w.BeginTOTP(ctx, w.acting(w.id))
		w.must(err)
		key, _ := parseTOTPText(secret)
		now := func() string { return totpCode(key, uint64(time.Now().Unix())/totpPeriod) }
		if _, err := w.ConfirmTOTP(ctx, w.acting(w.id), secret, wrongCode(now(), 7)[:6]); !errors.Is(err, ErrWrongCode) {
			t.Errorf("wrong first code: %v", err)
		}
		first := now()
		recovery, err := w.ConfirmTOTP(ctx, w.acting(w.id), secret, first)
		w.must(err)
		if got := w.secret(from(home), right+first); got.code != BadCredentials {
			t.Errorf("the first code again: %+v", got)
		}
		mails := len(w.notices(LogInCode))
		if text := w.says(from(home), right); text != english().CodeTOTP || len(w.notices(LogInCode)) != mails {
			t.Errorf("the password alone: %q", text)
		}
		time.Sleep(time.Minute)
		code := now()
		if got := w.secret(from(home), right+code); got != byCode {
			t.Errorf("password and code: %+v", got)
		}
		if got := w.secret(from(home), right+code); got != byCode {
			t.Errorf("its grant: %+v", got)
		}
		w.must(w.RevokeGrant(ctx, w.acting(w.id), 0))
		if got := w.secret(from(home), right+code); got.code != CodeNeeded {
			t.Errorf("the same code without its grant: %+v", got)
		}
		if got := w.secret(from(abroad), right+recovery[3]); got != byCode {
			t.Errorf("recovery code: %+v", got)
		}
		w.must(w.RevokeGrant(ctx, w.acting(w.id), 0))
		if got := w.secret(from(home), right+recovery[3]); got.code != CodeNeeded {
			t.Errorf("recovery code again: %+v", got)
		}
		if f := w.factor(); len(f.Recovery) != recoveryCodes-1 || f.CodesOn {
			t.Errorf("%d recovery codes left, mailed codes %v", len(f.Recovery), f.CodesOn)
		}
		time.Sleep(time.Hour)
		w.codesOn()
		if got := w.secret(from(home), right+now()); got.code != BadCredentials {
			t.Errorf("TOTP after mailed codes were switched on again: %+v", got)
		}
		w.grant(from(home), right)
	})
}

func TestNewAccountWaitsForItsCard(t *testing.T) {
	w := newWard(t, nil)
	a := &storage.Account{Addresses: []string{"infirmier@hopital.test"}}
	if err := w.NewAccount(t.Context(), a, "court", "", "operateur"); !errors.Is(err, ErrTooShort) {
		t.Errorf("a short password: %v", err)
	}
	w.must(w.NewAccount(t.Context(), a, "lilas-tambour-vague-31", idMine, "operateur"))
	p, code := logIn(t, w.lab, from(home, w.card(idMine, tls.Terms{})), a.Addresses[0], "lilas-tambour-vague-31")
	if code != 0 || p.Level != LevelCard {
		t.Errorf("%v, %+v", code, p)
	}
	if e := w.events("account.add"); len(e) != 1 || e[0].Actor != "operateur" || e[0].Account != a.Addresses[0] {
		t.Errorf("%+v", e)
	}
}

func TestRevokeOneGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		one := w.grant(from(home), right)
		two := w.grant(from(abroad), right)
		p1, _ := logIn(t, w.lab, from(home), user, one)
		p2, _ := logIn(t, w.lab, from(abroad), user, two)
		if err := w.RevokeGrant(t.Context(), w.acting(w.id), 9); !errors.Is(err, storage.ErrNoGrant) {
			t.Errorf("a grant that is not there: %v", err)
		}
		if err := w.RevokeGrant(t.Context(), w.acting(w.other), 1); !errors.Is(err, storage.ErrNoGrant) {
			t.Errorf("somebody else's: %v", err)
		}
		w.must(w.RevokeGrant(t.Context(), p2, 1))
		if p1.Err() == nil || p2.Err() != nil {
			t.Errorf("over: %v and %v", p1.Err(), p2.Err())
		}
		if got := w.secret(from(abroad), two); got != byCode {
			t.Errorf("the other grant: %+v", got)
		}
		if s := w.Sessions(w.id); !slices.ContainsFunc(s, func(s Session) bool { return s.Via == "grant 2" }) {
			t.Errorf("%+v", s)
		}
		if e := w.events("grant.end"); len(e) != 1 || e[0].Outcome != "grant 1" || e[0].Account != user {
			t.Errorf("%+v", e)
		}
	})
}
