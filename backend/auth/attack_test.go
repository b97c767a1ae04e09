package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/storage/storagetest"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// stranger is one of very many places.
func stranger(n int) string {
	return netip.AddrFrom4([4]byte{byte(20 + n%100), byte(n / 100), byte(n / 25_600), 9}).String()
}

// siege makes wrong guesses at the first account from everywhere until strangers are
// no longer heard.
func (w *ward) siege() {
	w.t.Helper()
	for n := range 200 {
		if got := w.secret(from(stranger(n)), fmt.Sprintf("devine-%d", n)); got.code == TooManyFailures {
			return
		}
	}
	w.t.Fatal("200 wrong guesses were heard")
}

// Whoever guesses at an account from outside does not keep its owner out.
func TestStrangersDoNotLockTheOwnerOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		app, _, err := w.MakeAppPassword(t.Context(), w.acting(w.id), &NewAppPassword{Name: "telephone"})
		w.must(err)
		w.secret(from(home), right)
		time.Sleep(2 * time.Second) // the place is on disk
		for n, again := range []string{"", "after a restart, "} {
			w.siege()
			if got := w.secret(from(stranger(500+n)), right); got.code != TooManyFailures {
				t.Errorf("%sthe password from a new place: %+v", again, got)
			}
			if got := w.secret(from(home), right); got.level != LevelPassword {
				t.Errorf("%sthe password from the usual place: %+v", again, got)
			}
			if got := w.secret(from(abroad), app); got.level != LevelCode {
				t.Errorf("%sapplication password: %+v", again, got)
			}
			if got := w.outcome(w.external(t.Context(), from(stranger(999), card), "")); got.level != LevelCard {
				t.Errorf("%scard: %+v", again, got)
			}
			w.restart(t)
		}
		w.codesOn()
		whole := w.grant(from(home), right)
		w.siege()
		if got := w.secret(from(home), whole); got != byCode {
			t.Errorf("grant: %+v", got)
		}
		if _, code := logIn(t, w.lab, from(abroad), colleague, colleagueRight); code != 0 {
			t.Errorf("a colleague: %v", code)
		}
	})
}

// How many guesses are heard in a day, whatever the attacker has.
func TestGuessesOfADay(t *testing.T) {
	type attempt struct{ remote, name, secret string }
	for _, c := range []struct {
		what string
		most int
		code bool // the attacker knows the password and guesses codes
		next func(n int) attempt
	}{
		{"one account from everywhere", 30, false, func(n int) attempt {
			return attempt{stranger(n), user, fmt.Sprint("devine-", n)}
		}},
		{"nobody's account from everywhere", 30, false, func(n int) attempt {
			return attempt{stranger(n), "personne@hopital.test", fmt.Sprint("devine-", n)}
		}},
		{"one account by all its names", 30, false, func(n int) attempt {
			return attempt{stranger(n), []string{user, "alias@hopital.test", "MEDECIN@Hopital.Test"}[n%3], fmt.Sprint("devine-", n)}
		}},
		{"many accounts from one place", 50, false, func(n int) attempt {
			return attempt{abroad, fmt.Sprintf("nom%d@hopital.test", n), fmt.Sprint("devine-", n)}
		}},
		{"one account from its usual place", 50, false, func(n int) attempt {
			return attempt{home, user, fmt.Sprint("devine-", n)}
		}},
		{"codes from everywhere", 20, true, func(n int) attempt {
			return attempt{stranger(n), user, right}
		}},
		{"codes from the usual place", 20, true, func(n int) attempt {
			return attempt{home, user, right}
		}},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, nil)
				w.secret(from(home), right)
				if c.code {
					w.codesOn()
				}
				for time.Now().Unix()%86400 != 0 {
					time.Sleep(time.Second)
				}
				heard := 0
				try := func(a attempt) {
					_, code := logIn(t, w.lab, from(a.remote), a.name, a.secret)
					switch code {
					case BadCredentials:
						heard++
					case CodeNeeded, TooManyFailures, TooWeak:
					default:
						t.Fatalf("%v", code)
					}
				}
				begin := time.Now()
				for n := 0; time.Since(begin) < 24*time.Hour; n++ {
					a := c.next(n)
					try(a)
					if c.code {
						a.secret += wrongCode(w.code(), n+1)
						try(a)
					}
					time.Sleep(time.Minute)
				}
				if c.code {
					heard = w.factor().Wrong // the others were compared with nothing
				}
				if heard > c.most || heard < 5 {
					t.Errorf("%d guesses were heard, want at most %d", heard, c.most)
				}
			})
		})
	}
}

// A program with an old password costs its owner nothing, not even time.
func TestOldPasswordInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.secret(from(home), right)
		for range 3 * 24 * 6 {
			time.Sleep(10 * time.Minute)
			for range 5 {
				if got := w.secret(from(home), "ancien-mot-de-passe"); got.code != BadCredentials {
					t.Fatalf("%+v", got)
				}
			}
		}
		begin := time.Now()
		if got := w.secret(from(home), right); got.level != LevelPassword || time.Since(begin) > 0 {
			t.Errorf("the right one: %+v after %v", got, time.Since(begin))
		}
	})
}

// counted makes the hasher count its turns until the test ends.
func (w *ward) counted() (turns *int) {
	turns = new(int)
	running := make(chan struct{})
	w.hashes.running = running
	ctx, stop := context.WithCancel(context.Background())
	w.t.Cleanup(stop)
	go func() {
		for {
			select {
			case running <- struct{}{}: // somebody gives his turn back
			case <-running: // somebody takes it
				*turns++
			case <-ctx.Done():
				return
			}
		}
	}()
	return turns
}

// Whether an account exists, or has codes, must cost the same work and give the
// same answer.
func TestUnknownNamesCostTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) {
			a.Throttle = Throttle{PerMinute: 1e6, PerDay: 1e6, Strangers: 1e6, Free: 1e6}
		})
		w.codesOn() // user has mailed codes
		w.secret(from(home), right)
		secret, _, err := w.BeginTOTP(t.Context(), w.acting(w.other))
		w.must(err)
		key, _ := parseTOTPText(secret)
		_, err = w.ConfirmTOTP(t.Context(), w.acting(w.other), secret, totpCode(key, uint64(time.Now().Unix())/totpPeriod))
		w.must(err)
		w.account(t, right, "simple@hopital.test")
		storagetest.Account(t, w.Store, "", "sans@hopital.test")
		off := w.account(t, right, "parti@hopital.test")
		w.must(w.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetState(off, storage.Disabled) }))
		turns := w.counted()
		app := appSecret(1, []byte("twenty random octets"))
		for _, c := range []struct {
			secret string
			turns  int
		}{
			{"devine", 1}, {"devine-123456", 2}, {"devine-12345678", 3}, {"devine-123456789012", 4}, {"12345678", 2},
			{"devin\xe9", 1}, {"123456", 1}, {strings.Repeat("9", 5000), 4}, {app, 0},
		} {
			for _, name := range []string{
				user, "alias@hopital.test", colleague, "simple@hopital.test", "sans@hopital.test", "parti@hopital.test",
				"personne@hopital.test", "personne@ailleurs.test", "personne", "", "\x00", strings.Repeat("x", 5000),
			} {
				before := *turns
				_, err := w.LogIn(t.Context(), from(home), &Attempt{Mech: "PLAIN", User: name, Secret: c.secret})
				synctest.Wait()
				r := new(Refusal)
				if !errors.As(err, &r) || r.Code != BadCredentials || r.Text != "" || r.Repeated {
					t.Errorf("%.30q, %.20q: %v", name, c.secret, err)
				}
				if got := *turns - before; got != c.turns {
					t.Errorf("%.30q, %.20q: %d hashes, want %d", name, c.secret, got, c.turns)
				}
			}
		}
	})
}

// While guesses keep every core busy and the queue full, whoever needs no hash
// comes in.
func TestFullQueueKeepsFewOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) { a.MaxHashes, a.MaxQueue = 1, 1 })
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		app, _, err := w.MakeAppPassword(t.Context(), w.acting(w.id), &NewAppPassword{Name: "telephone"})
		w.must(err)
		logIn(t, w.lab, from(home), colleague, colleagueRight) // is remembered
		w.codesOn()
		whole := w.grant(from(home), right)
		w.hashes.waiting <- struct{}{}
		w.hashes.waiting <- struct{}{}
		if got := w.secret(from(home), "devine"); got.code != Unavailable {
			t.Errorf("a guess: %+v", got)
		}
		if got := w.secret(from(home), whole); got != byCode {
			t.Errorf("grant: %+v", got)
		}
		if got := w.secret(from(home), app); got.level != LevelCode {
			t.Errorf("application password: %+v", got)
		}
		if got := w.outcome(w.external(t.Context(), from(home, card), "")); got.level != LevelCard {
			t.Errorf("card: %+v", got)
		}
		if _, code := logIn(t, w.lab, from(home), colleague, colleagueRight); code != 0 {
			t.Errorf("a password of a moment ago: %v", code)
		}
	})
}

// Every sentence is shown by programs that know ASCII only, in one line.
func TestPhrasesAreASCII(t *testing.T) {
	texts := func(p *phrases) []string {
		return []string{
			p.CodeSent, p.CodeTOTP, p.CodeLater, p.CodeOver, p.CodesOff, p.NoFactor, p.NeedCode, p.NeedCard, p.Unlinked,
			p.NoWindow, p.Expired, p.NotYetValid, p.Revoked, p.Foreign, p.Usage, p.Unchecked, p.Disabled, p.PlainOnly,
		}
	}
	en, fr := texts(english()), texts(french())
	for i, text := range slices.Concat(en, fr) {
		if text == "" || len(text) > 150 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("sentence %d: %q", i, text)
		}
	}
	for i := range en {
		if en[i] == fr[i] {
			t.Errorf("%q is the same in both languages", en[i])
		}
	}
	w := newWard(t, func(a *Authenticator) { a.Language = "fr" })
	card := w.card(idMine, tls.Terms{})
	w.persons.Revoke(t, card)
	tlstest.Refresh(t, w.Anchors)
	_, err := w.external(t.Context(), from(home, card), "")
	if r := new(Refusal); !errors.As(err, &r) || r.Text != french().Revoked || r.Guess() == false {
		t.Errorf("%v", err)
	}
}
