package auth

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// mixed does a bit of everything, and returns what must never be written down.
func (w *ward) mixed() (secrets []string) {
	w.t.Helper()
	ctx := w.t.Context()
	card, revoked := w.card(idMine, tls.Terms{}), w.card(idTheirs, tls.Terms{})
	w.persons.Revoke(w.t, revoked)
	tlstest.Refresh(w.t, w.Anchors)
	w.window(idTheirs, 0)
	w.secret(from(home, card), right)    // mismatch
	w.secret(from(home, revoked), right) // refused beside the password
	w.window(idMine, 0)
	w.secret(from(home, card), right) // link
	p := w.byCard(card)
	app, made, err := w.MakeAppPassword(ctx, p, &NewAppPassword{Name: "telephone"})
	w.must(err)
	w.secret(from(abroad), app) // new network
	w.must(w.RemoveAppPassword(ctx, p, made.ID))
	weak, _ := logIn(w.t, w.lab, from(home), user, right)
	if err := w.Allow(ctx, weak, TrustSpace); err == nil {
		w.t.Error("a password opens the trust space")
	}
	w.codesOn()
	first := w.code()
	whole := w.grant(from(home), right)
	w.secret(from(home), right+wrongCode(w.code(), 1))
	secrets = append(secrets, right, whole, app, first, w.code(), wrongCode(w.code(), 1), contact)
	w.must(w.RevokeGrant(ctx, w.acting(w.id), 1))
	for i, name := range []string{"Mot-Tape-Trop-Haut", "Mot-Tape-Trop-Haut@hopital.test", "\x00\xff-binaire"} {
		secret := fmt.Sprint("Secret-Faux-", i)
		logIn(w.t, w.lab, from(home), name, secret)
		secrets = append(secrets, secret)
	}
	_, _ = w.LogIn(ctx, from(home), &Attempt{Mech: "PLAIN", AuthzID: "Autre-Faute", User: user, Secret: right})
	w.outcome(w.external(ctx, from(home, card), "Encore-Une@hopital.test"))
	w.outcome(w.external(ctx, from(home, revoked), ""))
	secret, uri, err := w.BeginTOTP(ctx, w.byCard(card))
	w.must(err)
	key, _ := parseTOTPText(secret)
	code := totpCode(key, uint64(time.Now().Unix())/totpPeriod)
	recovery, err := w.ConfirmTOTP(ctx, w.byCard(card), secret, code)
	w.must(err)
	w.secret(from(home), right+recovery[0])
	w.must(w.SwitchCodesOff(ctx, w.byCard(card)))
	w.must(w.SetPassword(ctx, w.byCard(card), "lilas-tambour-vague-31"))
	end := time.Now().Add(5 * 365 * 24 * time.Hour)
	renewed := w.card(idMine, tls.Terms{NotBefore: time.Now(), NotAfter: end})
	open := w.byCard(renewed)
	w.persons.Revoke(w.t, renewed)
	tlstest.Refresh(w.t, w.Anchors)
	w.Recheck(ctx)
	if open.Err() == nil {
		w.t.Error("the log-in of a revoked card goes on")
	}
	w.must(w.UnlinkCard(ctx, w.acting(w.id), "IGC|"+idMine))
	return append(secrets, secret, uri, code, recovery[0], recovery[1], "lilas-tambour-vague-31",
		"Mot-Tape-Trop-Haut", "mot-tape-trop-haut", "binaire", "Autre-Faute", "Encore-Une")
}

// Nothing secret is written down, nor what somebody typed who is nobody.
func TestTrailAndLogHoldNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		secrets := w.mixed()
		w.must(w.Audit.Sync())
		texts := map[string]string{"the log": w.log.String()}
		w.must(filepath.WalkDir(w.trail, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			octets, err := os.ReadFile(name)
			texts["the audit trail"] += string(octets)
			return err
		}))
		for where, text := range texts {
			if len(text) < 1000 {
				t.Errorf("%s has %d octets", where, len(text))
			}
			for _, secret := range secrets {
				if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
					t.Errorf("%s holds %q", where, secret)
				}
			}
		}
		if _, err := storage.VerifyAudit(w.trail, storage.AuditCheck{}); err != nil {
			t.Error(err)
		}
	})
}

// What the trail says of each kind of event.
func TestEventsSayWhoWhenAndWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		begin := time.Now()
		w.mixed()
		seen := map[string]bool{}
		for _, e := range w.events("") {
			seen[e.Event] = true
			say := func(what string, ok bool) {
				t.Helper()
				if !ok {
					t.Errorf("%s lacks %s: %+v", e.Event, what, e)
				}
			}
			say("when", !e.Time.Before(begin) && !e.Time.After(time.Now()))
			say("the door", e.Proto != "")
			if e.Event == "auth.fail" {
				say("why", strings.HasPrefix(e.Outcome, "refused: "))
				say("who", (e.Account == "") != (e.Unknown == "") || e.Mech == "EXTERNAL")
			} else {
				say("who", e.Account == user)
				say("nobody", e.Unknown == "")
			}
			if e.Actor != "" {
				say("the administration", e.Actor == "operateur" && e.Proto == "admin")
				continue
			}
			say("the address", e.Remote == home || e.Remote == abroad)
			say("the connection", e.Conn == "c1")
			say("TLS", e.TLS == "TLS 1.3" && e.Cipher == "TLS_AES_128_GCM_SHA256")
			switch e.Event {
			case "auth.ok", "auth.end", "auth.new_network", "policy.denied", "apppw.made", "password.set", "totp.on", "code.off":
				say("how", e.Mech != "" && e.Level > 0)
			case "card.link", "card.mismatch", "card.renew":
				say("the identity", strings.HasPrefix(e.Identity, "IGC|8997"))
			}
			if strings.HasPrefix(e.Event, "card.") || e.Mech == "EXTERNAL" {
				say("the certificate", e.Serial != "" && strings.Contains(e.Issuer, "AC IGC PERSONNES"))
			}
			if e.Level == LevelCard {
				say("the card's identity", e.Identity == "IGC|"+idMine)
			}
			if e.Event == "grant.new" {
				say("which grant", strings.HasPrefix(e.Via, "grant "))
			}
		}
		for _, kind := range []string{
			"auth.ok", "auth.fail", "auth.end", "auth.new_network", "card.link", "card.mismatch", "card.refused", "card.renew",
			"card.unlink", "card.window", "code.sent", "code.wrong", "code.on", "code.off", "grant.new", "grant.end",
			"totp.on", "apppw.made", "apppw.removed", "password.set", "policy.denied",
		} {
			if !seen[kind] {
				t.Errorf("no event %s", kind)
			}
		}
	})
}

func TestNewNetworkIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, func(a *Authenticator) {
			a.Throttle.Trusted = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
		})
		told := func(what string, want int) {
			t.Helper()
			n := w.notices(NewNetwork)
			if len(n) != want || len(w.events("auth.new_network")) != want {
				t.Errorf("%s: %d notices, %d events, want %d", what, len(n), len(w.events("auth.new_network")), want)
			}
			if want > 0 && len(n) > 0 && (n[len(n)-1].Account != w.id || n[len(n)-1].Proto != "imap") {
				t.Errorf("%s: %+v", what, n[len(n)-1])
			}
		}
		w.secret(from(abroad), "devine")
		told("a wrong password", 0)
		w.secret(from(home), right)
		told("the first place", 0)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { w.secret(from(abroad), right) })
		}
		all.Wait()
		told("many connections from a second place", 1)
		w.secret(from("203.0.113.9"), right)
		told("a trusted place", 1)
		w.secret(from("2001:db8::1"), right)
		w.secret(from("2001:db8::2"), right)
		told("a third place", 2)
		time.Sleep(2 * time.Second)
		w.restart(t)
		for _, remote := range []string{home, abroad, "2001:db8::3", "203.0.113.9"} {
			w.secret(from(remote), right)
		}
		told("known places after a restart", 2)
		logIn(t, w.lab, from(home), colleague, colleagueRight)
		told("somebody else's first place", 2)
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		w.outcome(w.external(t.Context(), from("192.0.2.200", card), ""))
		told("a card at a fourth place", 3)
		w.pause(t, 91*24*time.Hour)
		w.secret(from(home), right)
		time.Sleep(2 * time.Second)
		w.secret(from(abroad), right)
		told("a place of three months ago", 4)
	})
}

// The connections that a program opens at once from a new place make one notice.
func TestNewNetworkIsToldOnce(t *testing.T) {
	w := newWard(t, nil)
	w.secret(from(home), right)
	for n := range storage.MaxNetworks - 4 {
		begin := make(chan struct{})
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				<-begin
				w.secret(from(stranger(n)), right)
			})
		}
		close(begin)
		all.Wait()
		if told := len(w.notices(NewNetwork)); told != n+1 {
			t.Fatalf("%d notices of %d places", told, n+1)
		}
	}
}

// Open log-ins are looked at again: a revoked card ends its own.
func TestRecheckEndsRevokedCards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		mine, theirs := w.card(idMine, tls.Terms{}), w.card(idTheirs, tls.Terms{})
		w.link(w.id, mine)
		w.link(w.other, theirs)
		password, _ := logIn(t, w.lab, from(home), user, right)
		both, _ := logIn(t, w.lab, from(home, mine), user, right)
		alone := w.byCard(mine)
		other, err := w.external(t.Context(), from(home, theirs), "")
		w.must(err)
		ends := map[*Principal]*atomic.Int32{}
		for _, p := range []*Principal{password, both, alone, other} {
			n := new(atomic.Int32)
			ends[p] = n
			p.OnEnd(func() { n.Add(1) })
		}
		app, _, err := w.MakeAppPassword(t.Context(), alone, &NewAppPassword{Name: "telephone"})
		w.must(err)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			w.Run(ctx)
			close(done)
		}()
		look := func(when string, over bool) {
			t.Helper()
			synctest.Wait()
			for _, p := range []*Principal{both, alone} {
				if (p.Err() != nil) != over || (ends[p].Load() == 1) != over {
					t.Errorf("%s: %v, ended %d times", when, p.Err(), ends[p].Load())
				}
			}
			for _, p := range []*Principal{password, other} {
				if p.Err() != nil || ends[p].Load() != 0 {
					t.Errorf("%s: another log-in ended: %v", when, p.Err())
				}
			}
		}
		time.Sleep(16 * time.Minute)
		look("all is well", false)
		w.persons.Revoke(t, mine)
		tlstest.Refresh(t, w.Anchors)
		look("not looked at yet", false)
		time.Sleep(15 * time.Minute)
		look("looked at", true)
		time.Sleep(20 * time.Minute)
		look("looked at again", true)
		if got := w.secret(from(home), app); got.code != BadCredentials {
			t.Errorf("an application password that the revoked card had made: %+v", got)
		}
		if e := w.events("auth.end"); len(e) != 2 || e[0].Serial != mine.Leaf.SerialNumber.Text(16) || !strings.Contains(e[0].Outcome, "revoked") {
			t.Errorf("events %+v", e)
		}
		late := 0
		alone.OnEnd(func() { late++ })
		if late != 1 {
			t.Errorf("OnEnd after the end was called %d times", late)
		}
		for _, p := range []*Principal{password, both, alone, other} {
			p.Close()
			p.Close()
		}
		if len(w.Authenticator.open) != 0 || len(w.Sessions(w.id)) != 0 {
			t.Errorf("%d log-ins are kept after they were closed", len(w.Authenticator.open))
		}
		stop()
		<-done
	})
}

// A list that nobody can vouch for any more ends log-ins by card too.
func TestRecheckNeedsACurrentList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		card := w.card(idMine, tls.Terms{})
		w.link(w.id, card)
		p := w.byCard(card)
		time.Sleep(59 * time.Minute)
		w.Recheck(t.Context())
		if p.Err() != nil {
			t.Errorf("while the list is current: %v", p.Err())
		}
		time.Sleep(2 * time.Minute)
		w.Recheck(t.Context())
		if p.Err() == nil {
			t.Error("the log-in goes on without a current list")
		}
		p.Close()
	})
}
