package auth

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/tls"
)

// grants lists the grants of the first account.
func (w *ward) grants() (grants []storage.Grant) {
	w.t.Helper()
	w.view(func(tx *storage.Tx) (err error) {
		grants, err = tx.Grants(w.id)
		return err
	})
	return grants
}

func smtp(c *Caller) *Caller {
	at := *c
	at.Proto = "smtp"
	return &at
}

// One code serves all connections and doors of one place, also after a restart.
func TestGrantServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		whole := w.grant(from(home), right)
		mails := len(w.notices(LogInCode))
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if got := w.secret(from(home), whole); got != byCode {
					t.Errorf("parallel connection: %+v", got)
				}
			})
		}
		all.Wait()
		if got := w.secret(smtp(from(home)), whole); got != byCode {
			t.Errorf("another door: %+v", got)
		}
		p, err := w.LogIn(t.Context(), from(home), &Attempt{Mech: "LOGIN", User: "alias@hopital.test", Secret: whole})
		if err != nil || p.Via != "grant 1" {
			t.Errorf("%+v, %v", p, err)
		}
		if got := w.secret(from(home), right); got.code != CodeNeeded {
			t.Errorf("the password alone, from the same place: %+v", got)
		}
		time.Sleep(2 * time.Second)
		w.restart(t)
		if got := w.secret(from(home), whole); got != byCode {
			t.Errorf("after a restart: %+v", got)
		}
		g := w.grants()
		if len(g) != 1 || g[0].Net != netip.MustParsePrefix(home+"/32") || g[0].Factor != "code" || g[0].Proto != "imap" || g[0].Mech != "PLAIN" {
			t.Errorf("%+v", g)
		}
		if n := len(w.notices(LogInCode)); n != mails {
			t.Errorf("%d code mails, want %d", n, mails)
		}
	})
}

// Five connections that present the code for the first time spend it once.
func TestFirstUseOfACodeInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		w.secret(from(home), right)
		whole := right + w.code()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if got := w.secret(from(home), whole); got != byCode {
					t.Errorf("%+v", got)
				}
			})
		}
		all.Wait()
		if g, e := w.grants(), w.events("grant.new"); len(g) != 1 || len(e) != 1 || e[0].Via != "grant 1" {
			t.Errorf("grants %+v, events %+v", g, e)
		}
	})
}

func TestGrantIsBoundToItsNetwork(t *testing.T) {
	for _, c := range []struct {
		from   string
		limits GrantLimits
		in     []string
		out    []string
	}{
		{"192.0.2.1", GrantLimits{}, []string{"192.0.2.1", "::ffff:192.0.2.1"}, []string{"192.0.2.2", "198.51.100.1", "2001:db8::1"}},
		{"192.0.2.1", GrantLimits{IPv4: 24}, []string{"192.0.2.254"}, []string{"192.0.3.1"}},
		{"2001:db8::1", GrantLimits{}, []string{"2001:db8::ffff:1", "2001:db8::1%eth0"}, []string{"2001:db8:0:1::1", "192.0.2.1"}},
		{"2001:db8::1", GrantLimits{IPv6: 128}, nil, []string{"2001:db8::2"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWard(t, func(a *Authenticator) { a.Grants = c.limits })
			w.codesOn()
			whole := w.grant(from(c.from), right)
			for _, addr := range c.in {
				if got := w.secret(from(addr), whole); got != byCode {
					t.Errorf("grant of %s at %s: %+v", c.from, addr, got)
				}
			}
			for _, addr := range c.out {
				if got := w.secret(from(addr), whole); got.code != CodeNeeded {
					t.Errorf("grant of %s at %s: %+v", c.from, addr, got)
				}
			}
		})
	}
}

func TestGrantEnds(t *testing.T) {
	card := func(w *ward) tls.Certificate { return w.card(idMine, tls.Terms{}) }
	for _, c := range []struct {
		what string
		end  func(w *ward, whole string)
		want Code
		ends bool // for everybody: the log-ins that rest on it end too
	}{
		{"nothing happens", func(*ward, string) {}, 0, false},
		{"12 hours without use", func(*ward, string) { time.Sleep(12 * time.Hour) }, CodeNeeded, false},
		{"24 hours of use", func(w *ward, whole string) {
			for range 24 {
				if got := w.secret(from(home), whole); got != byCode {
					w.t.Errorf("before 24 hours: %+v", got)
				}
				time.Sleep(time.Hour)
			}
		}, CodeNeeded, false},
		{"another password", func(w *ward, _ string) {
			w.must(w.SetPassword(w.t.Context(), w.acting(w.id), "lilas-tambour-vague-31"))
		}, BadCredentials, true},
		{"the same password set again", func(w *ward, _ string) {
			w.must(w.SetPassword(w.t.Context(), w.acting(w.id), right))
		}, BadCredentials, true},
		{"codes off", func(w *ward, _ string) { w.must(w.SwitchCodesOff(w.t.Context(), w.acting(w.id))) }, BadCredentials, true},
		{"codes off and on", func(w *ward, _ string) {
			w.must(w.SwitchCodesOff(w.t.Context(), w.acting(w.id)))
			time.Sleep(time.Minute)
			w.codesOn()
		}, BadCredentials, true},
		{"another contact address", func(w *ward, _ string) {
			time.Sleep(time.Minute)
			w.codesOn()
		}, BadCredentials, true},
		{"the card is unlinked", func(w *ward, _ string) {
			w.must(w.UnlinkCard(w.t.Context(), w.acting(w.id), "IGC|"+idMine))
		}, BadCredentials, true},
		{"revoked", func(w *ward, _ string) { w.must(w.RevokeGrant(w.t.Context(), w.acting(w.id), 1)) }, CodeNeeded, true},
		{"all revoked", func(w *ward, _ string) { w.must(w.RevokeGrant(w.t.Context(), w.acting(w.id), 0)) }, CodeNeeded, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, nil)
				w.link(w.id, card(w))
				w.codesOn()
				whole := w.grant(from(home), right)
				p, _ := logIn(t, w.lab, from(home), user, whole)
				c.end(w, whole)
				var epoch uint32
				w.view(func(tx *storage.Tx) error {
					a, err := tx.Account(w.id)
					epoch = a.Epoch
					return err
				})
				if over := p.Err() != nil || p.Epoch != epoch; over != c.ends {
					t.Errorf("the open log-in is over: %v", over)
				}
				if c.ends && slices.ContainsFunc(w.grants(), func(g storage.Grant) bool { return !w.GrantOver(&g) }) {
					t.Errorf("still good: %+v", w.grants())
				}
				if got := w.secret(from(home), whole); got.code != c.want {
					t.Errorf("%+v, want %v", got, c.want)
				}
				w.restart(t)
				if got := w.secret(from(home), whole); got.code != c.want {
					t.Errorf("after a restart: %+v, want %v", got, c.want)
				}
			})
		})
	}
}

// Mail programs come back every few minutes with what they have stored: one code is
// mailed, and no more until the person types the password.
func TestGrantThatIsOverAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		whole := w.grant(from(home), right)
		before := len(w.notices(LogInCode))
		time.Sleep(13 * time.Hour)
		for minute := range 3 * 24 * 60 / 5 {
			want := english().CodeSent
			if minute*5 >= 10 {
				want = english().CodeOver
			}
			if text := w.says(from(home), whole); text != want {
				t.Fatalf("%d minutes later: %q", minute*5, text)
			}
			time.Sleep(5 * time.Minute)
		}
		if sent := len(w.notices(LogInCode)) - before; sent != 1 {
			t.Errorf("%d codes were mailed", sent)
		}
		if f := w.factor(); f.Wrong != 0 {
			t.Errorf("%d wrong codes", f.Wrong)
		}
		if got := w.secret(from(home), whole); got.code != CodeNeeded {
			t.Errorf("%+v", got)
		}
		w.grant(from(home), right)
		// The spent code itself never opens anything again.
		if got := w.secret(from(home), whole); got.code != CodeNeeded {
			t.Errorf("the first code beside a new grant: %+v", got)
		}
	})
}

// Who has the card needs no new code when an old one is stored in the program.
func TestGrantThatIsOverBesideTheCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		w.codesOn()
		whole := w.grant(from(home), right)
		before := len(w.notices(LogInCode))
		time.Sleep(13 * time.Hour)
		w.persons.WriteList(t, nil)
		w.must(w.Anchors.Refresh(t.Context()))
		if got := w.secret(from(home, card), whole); got != (outcome{level: LevelCard, who: user}) {
			t.Errorf("own card: %+v", got)
		}
		if len(w.notices(LogInCode)) != before {
			t.Error("a code was mailed all the same")
		}
		theirs := w.card(idTheirs, tls.Terms{})
		w.link(w.other, theirs)
		if got := w.secret(from(home, theirs), whole); got.code != BadCredentials {
			t.Errorf("a colleague's card: %+v", got)
		}
	})
}

// A log-in ends a quarter of an hour after its grant, one by card does not.
func TestLogInEndsWithItsGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) { a.RecheckCards = 100 * time.Hour })
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		w.codesOn()
		whole := w.grant(from(home), right)
		p, _ := logIn(t, w.lab, from(home), user, whole)
		strong, _ := logIn(t, w.lab, from(home, card), user, whole)
		var ended atomic.Int32
		p.OnEnd(func() { ended.Add(1) })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			w.Run(ctx)
			close(done)
		}()
		time.Sleep(24*time.Hour + 14*time.Minute)
		synctest.Wait()
		if err := p.Err(); err != nil || ended.Load() != 0 {
			t.Errorf("after 24 h 14: %v, ended %d times", err, ended.Load())
		}
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if err := p.Err(); err == nil || ended.Load() != 1 {
			t.Errorf("after 24 h 16: %v, ended %d times", err, ended.Load())
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if strong.Err() != nil || strong.Level != LevelCard || ended.Load() != 1 {
			t.Errorf("log-in with a card: %v; the other one ended %d times", strong.Err(), ended.Load())
		}
		if e := w.events("auth.end"); len(e) != 1 || e[0].Account != user || e[0].Via != "grant 1" {
			t.Errorf("events %+v", e)
		}
		stop()
		<-done
	})
}

func TestGrantsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) { a.Grants.PerAccount, a.Codes.PerHour = 3, 100 })
		w.codesOn()
		var wholes []string
		for range 4 {
			wholes = append(wholes, w.grant(from(home), right))
		}
		if n := len(w.grants()); n != 3 {
			t.Errorf("%d grants", n)
		}
		for i, whole := range wholes {
			want := byCode
			if i == 0 {
				want = refusedAs(BadCredentials)
			}
			if got := w.secret(from(home), whole); got != want {
				t.Errorf("grant %d: %+v", i+1, got)
			}
		}
	})
}
