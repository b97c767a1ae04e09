package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/tls"
)

// codesOn switches codes on for the first account, as an administrator does, and
// lets a minute pass so that the next code can be sent.
func (w *ward) codesOn() {
	w.t.Helper()
	ctx := w.t.Context()
	w.must(w.ProveContact(ctx, w.acting(w.id), contact))
	w.must(w.SwitchCodesOn(ctx, w.acting(w.id), w.code()))
	time.Sleep(time.Minute) // the bubble's clock, as everywhere here
}

// code is the last one that was mailed.
func (w *ward) code() string {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.told) - 1; i >= 0; i-- {
		if code := w.told[i].Code; code != "" {
			return code
		}
	}
	w.t.Fatal("no code was mailed")
	return ""
}

// grant logs in with the password and a mailed code, and returns the two together.
func (w *ward) grant(c *Caller, password string) (whole string) {
	w.t.Helper()
	time.Sleep(time.Minute)
	if got := w.secret(c, password); got.code != CodeNeeded {
		w.t.Fatalf("the password alone: %+v", got)
	}
	whole = password + w.code()
	if got := w.secret(c, whole); got != byCode {
		w.t.Fatalf("password and code: %+v", got)
	}
	return whole
}

// What mostly comes of an attempt.
var (
	byCode    = outcome{level: LevelCode, who: user}
	refusedAs = func(code Code) outcome { return outcome{code: code} }
)

// says returns the text of the refusal that a secret meets.
func (w *ward) says(c *Caller, secret string) string {
	w.t.Helper()
	_, err := w.LogIn(w.t.Context(), c, &Attempt{Mech: "PLAIN", User: user, Secret: secret})
	r := new(Refusal)
	if !errors.As(err, &r) {
		w.t.Fatalf("error %v", err)
	}
	return r.Text
}

// factor reads the second factor of the first account.
func (w *ward) factor() (f *storage.Factor) {
	w.t.Helper()
	w.view(func(tx *storage.Tx) (err error) {
		f, err = tx.Factor(w.id)
		return err
	})
	return f
}

// wrongCode is another code than code, for n from 1.
func wrongCode(code string, n int) string {
	return fmt.Sprintf("%0*d", len(code), (atoi(code)+n)%100_000_000)
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n
}

func TestPasswordAndCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		if text := w.says(from(home), right); text != english().CodeSent {
			t.Errorf("the password alone says %q", text)
		}
		n := w.notices(LogInCode)
		if len(n) != 1 || n[0].Contact != contact || n[0].Life != 10*time.Minute || !regexp.MustCompile(`^[0-9]{8}$`).MatchString(n[0].Code) {
			t.Fatalf("notices %+v", n)
		}
		if got := w.secret(from(home), right+w.code()); got != byCode {
			t.Errorf("password and code: %+v", got)
		}
		if got := w.secret(from(home), right); got.code != CodeNeeded {
			t.Errorf("the password alone after that: %+v", got)
		}
	})
}

// The code stands nowhere on the disk, nor does a plain hash of it, nor the address.
func TestStoreTellsNoCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		w.secret(from(home), right)
		code := w.code()
		never := []string{code, contact}
		for _, s := range []string{code, right + code} {
			sum := sha256.Sum256([]byte(s))
			never = append(never, string(sum[:16]))
		}
		look := func(when string) {
			t.Helper()
			seen := 0
			w.must(filepath.WalkDir(w.dir, func(name string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				octets, err := os.ReadFile(name)
				seen += len(octets)
				for _, s := range never {
					if bytes.Contains(octets, []byte(s)) {
						t.Errorf("%s, %s holds %q", when, d.Name(), s)
					}
				}
				return err
			}))
			if seen < 10_000 {
				t.Fatalf("only %d octets in the store", seen)
			}
		}
		look("while it is good")
		w.secret(from(home), right+code)
		time.Sleep(2 * time.Second) // late values are written
		look("once it is spent")
	})
}

func TestCodeIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) { a.Codes.Life = 20 * time.Minute })
		w.codesOn()
		time.Sleep(time.Hour) // the first mail of the hour is forgotten
		count := func() int { return len(w.notices(LogInCode)) }
		w.secret(from(home), right)
		code := w.code()
		time.Sleep(59 * time.Second)
		if w.secret(from(abroad), right); count() != 1 {
			t.Errorf("%d mails within a minute", count())
		}
		for n := 2; n <= 5; n++ {
			time.Sleep(time.Minute)
			if text := w.says(from(home), right); text != english().CodeSent || count() != n || w.code() != code {
				t.Errorf("mail %d: %q, %d mails, same code %v", n, text, count(), w.code() == code)
			}
		}
		last := w.notices(LogInCode)[4]
		if last.Life >= 20*time.Minute-4*time.Minute || last.Life < 15*time.Minute {
			t.Errorf("the last mail says that the code is good for %v", last.Life)
		}
		time.Sleep(time.Minute)
		if text := w.says(from(home), right); text != english().CodeSent || count() != 5 {
			t.Errorf("sixth: %q, %d mails", text, count())
		}
		if got := w.secret(from(home), right+code); got != byCode {
			t.Fatalf("the code: %+v", got)
		}
		if text := w.says(from(abroad), right); text != english().CodeLater {
			t.Errorf("a second code in the hour of five mails: %q", text)
		}
		time.Sleep(time.Hour)
		if w.says(from(abroad), right); w.code() == code || count() != 6 {
			t.Errorf("an hour later: %d mails, same code %v", count(), w.code() == code)
		}
	})
}

func TestCodeExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		w.secret(from(home), right)
		old := w.code()
		time.Sleep(10 * time.Minute)
		if got := w.secret(from(home), right+old); got.code != BadCredentials {
			t.Errorf("after ten minutes: %+v", got)
		}
		w.secret(from(home), right)
		if w.code() == old {
			t.Fatal("the same code was sent again")
		}
		if got := w.secret(from(home), right+w.code()); got != byCode {
			t.Errorf("the new one: %+v", got)
		}
	})
}

func TestFiveWrongTriesVoidACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		w.secret(from(home), right)
		code := w.code()
		for n := range 5 {
			if got := w.secret(from(home), right+wrongCode(code, n+1)); got.code != BadCredentials {
				t.Fatalf("wrong code: %+v", got)
			}
		}
		if got := w.secret(from(home), right+code); got.code != BadCredentials {
			t.Errorf("the right code after five wrong ones: %+v", got)
		}
		if e := w.events("code.wrong"); len(e) < 5 || e[0].Account != user || e[0].Remote != home {
			t.Errorf("events %+v", e)
		}
		time.Sleep(time.Minute)
		w.secret(from(home), right)
		if got := w.secret(from(home), right+w.code()); got != byCode {
			t.Errorf("the next code: %+v", got)
		}
	})
}

// stopCodes makes as many wrong tries as a day has.
func (w *ward) stopCodes() {
	w.t.Helper()
	for n := 0; n < 20; n++ {
		if n%5 == 0 {
			time.Sleep(time.Minute)
			w.secret(from(home), right)
		}
		if got := w.secret(from(home), right+wrongCode(w.code(), n+1)); got.code != BadCredentials {
			w.t.Fatalf("wrong code %d: %+v", n+1, got)
		}
		time.Sleep(time.Minute)
	}
}

func TestTwentyWrongCodesStopCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) { a.Codes.PerHour = 1000 })
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		w.codesOn()
		whole := w.grant(from(home), right)
		time.Sleep(time.Minute)
		w.stopCodes()
		sent := len(w.notices(LogInCode))
		for _, secret := range []string{right, right + w.code(), right + "12345678"} {
			if text := w.says(from(home), secret); text != english().CodesOff {
				t.Errorf("%q says %q", secret, text)
			}
		}
		if got := w.secret(from(home), "faux"+w.code()); got.code != BadCredentials {
			t.Errorf("a wrong password: %+v", got)
		}
		if len(w.notices(LogInCode)) != sent {
			t.Error("a code was sent though none is heard")
		}
		if got := w.secret(from(home), whole); got != byCode {
			t.Errorf("the grant: %+v", got)
		}
		time.Sleep(25 * time.Hour)
		if text := w.says(from(home), right); text != english().CodesOff {
			t.Errorf("the next day: %q", text)
		}
		w.persons.WriteList(t, nil)
		w.must(w.Anchors.Refresh(t.Context()))
		if got := w.outcome(w.external(t.Context(), from(home, card), "")); got.level != LevelCard {
			t.Fatalf("card: %+v", got)
		}
		w.grant(from(home), right)
	})
}

// Wrong codes of two days do not add up.
func TestWrongCodesAreCountedByDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		for range 8 {
			w.secret(from(home), right)
			for n := range 3 {
				w.secret(from(home), right+wrongCode(w.code(), n+1))
			}
			w.pause(t, 24*time.Hour)
		}
		if f := w.factor(); f.Wrong != 3 {
			t.Errorf("%d wrong codes on the last day", f.Wrong)
		}
		w.grant(from(home), right)
	})
}

// A program that keeps an old code guesses at nothing while no code is under way.
func TestOldCodeInALoopStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		whole := w.grant(from(home), right)
		w.must(w.RevokeGrant(t.Context(), w.acting(w.id), 0))
		for range 3 * 24 * 6 {
			time.Sleep(10 * time.Minute)
			if text := w.says(from(home), whole); text != english().CodeOver {
				t.Fatalf("revoked secret: %q", text)
			}
		}
		if f := w.factor(); f.Wrong != 0 {
			t.Errorf("it counted as %d wrong codes", f.Wrong)
		}
		w.grant(from(home), right)
	})
}

// A password may end in digits: they are a code only when one is asked for.
func TestPasswordThatEndsInDigits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		const long = "agrafe-lilas-12345678"
		w.must(w.SetPassword(t.Context(), w.acting(w.id), long))
		if got := w.secret(from(home), long); got.level != LevelPassword {
			t.Errorf("without codes: %+v", got)
		}
		for _, secret := range []string{long + "12345678", strings.TrimSuffix(long, "12345678"), long + "123456"} {
			if got := w.secret(from(home), secret); got.code != BadCredentials {
				t.Errorf("%q: %+v", secret, got)
			}
		}
		w.codesOn()
		w.grant(from(home), long)
		if got := w.secret(from(abroad), long+"12345678"); got.code != BadCredentials {
			t.Errorf("digits with no code under way: %+v", got)
		}
	})
}

// Codes behind the right password open nothing while none was sent, or while codes
// are off, or when it was sent to prove another address.
func TestCodeNeedsItsChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.must(w.ProveContact(t.Context(), w.acting(w.id), contact))
		if got := w.secret(from(home), right+w.code()); got.code != BadCredentials {
			t.Errorf("a contact's code while codes are off: %+v", got)
		}
		w.must(w.SwitchCodesOn(t.Context(), w.acting(w.id), w.code()))
		if got := w.secret(from(home), right+w.code()); got.code != BadCredentials {
			t.Errorf("the contact's code again: %+v", got)
		}
		time.Sleep(time.Minute)
		w.must(w.ProveContact(t.Context(), w.acting(w.id), "ailleurs@dehors.example"))
		if got := w.secret(from(home), right+w.code()); got.code != BadCredentials {
			t.Errorf("the code of an address that is not proven: %+v", got)
		}
	})
}

// Two thieves, or a thief and the owner, who present one code at the same moment
// from two places: one of them is in. Five connections from one place all are.
func TestOneCodeFromTwoPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) {
			a.Codes.PerHour, a.Codes.Resend = 1000, time.Second
			a.Codes.WrongDay, a.Throttle.PerDay, a.Throttle.PerMinute = 1000, 1000, 1000
		})
		w.codesOn()
		for round := range 60 {
			time.Sleep(time.Hour)
			w.secret(from(home), right)
			whole := right + w.code()
			var mu sync.Mutex
			in := map[string]int{}
			var all sync.WaitGroup
			for n := range 10 {
				all.Go(func() {
					place := []string{home, abroad}[n%2]
					p, err := w.LogIn(context.Background(), from(place), &Attempt{User: user, Secret: whole})
					if err == nil {
						mu.Lock()
						in[place]++
						mu.Unlock()
						p.Close()
					}
				})
			}
			all.Wait()
			if len(in) != 1 || in[home]+in[abroad] != 5 {
				t.Fatalf("round %d: in from %v", round, in)
			}
			w.must(w.RevokeGrant(t.Context(), w.acting(w.id), 0))
		}
	})
}

// A courier that fails is told of, and what was not sent is not waited for.
func TestCodeThatCannotBeSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		notify := w.Notify
		w.Notify = func(context.Context, *Notice) error { return errors.New("the post is closed") }
		if got := w.secret(from(home), right); got.code != Unavailable {
			t.Errorf("no courier: %+v", got)
		}
		w.Notify = notify
		if got := w.secret(from(home), right); got.code != CodeNeeded || len(w.notices(LogInCode)) != 1 {
			t.Errorf("the post is open again: %+v, %d mails", got, len(w.notices(LogInCode)))
		}
		w.Notify = func(context.Context, *Notice) error { return errors.New("the post is closed") }
		time.Sleep(time.Minute)
		w.secret(from(home), right)
		if got := w.secret(from(home), right+w.code()); got != byCode {
			t.Errorf("a code that was mailed before the post closed: %+v", got)
		}
	})
}
