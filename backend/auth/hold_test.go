package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// With codes on, whoever knows the password alone links no card, whatever window is open.
func TestFirstUseComesAfterTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		w.window("", 0)
		here := from(home, w.card(idMine, tls.Terms{}))
		if got := w.secret(here, right); got.code != CodeNeeded {
			t.Fatalf("password and card: %+v", got)
		}
		if len(w.cards(w.id)) != 0 {
			t.Fatal("the card was linked without the code")
		}
		if got := w.secret(here, right+w.code()); got.level != LevelCard || len(w.cards(w.id)) != 1 {
			t.Errorf("password, code and card: %+v, %d cards", got, len(w.cards(w.id)))
		}
	})
}

// A log-in that waited for its turn while the password was changed links nothing.
func TestFirstUseWithAPasswordOfBefore(t *testing.T) {
	w := newWard(t, nil)
	w.window("", 0)
	before := account(t, w.lab)
	w.must(w.SetPassword(t.Context(), w.acting(w.id), "autre-agrafe-pile-93"))
	w.window("", 0)
	here := from(home, w.card(idMine, tls.Terms{}))
	_, err := w.settle(t.Context(), here, &Attempt{Mech: "PLAIN", User: user}, before, &claim{level: LevelPassword, plain: true}, nil)
	if codeOf(t, err) != BadCredentials || len(w.cards(w.id)) != 0 {
		t.Errorf("%v, %d cards", err, len(w.cards(w.id)))
	}
}

// A mail program opens five connections with a new card: all of them are strong, and
// the owner is told once.
func TestFirstUseByFiveConnections(t *testing.T) {
	w := newWard(t, nil)
	w.window("", 0)
	here := from(home, w.card(idMine, tls.Terms{}))
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			p, err := w.LogIn(t.Context(), here, &Attempt{Mech: "PLAIN", User: user, Secret: right})
			if err != nil || p.Level != LevelCard || p.Alert() != "" {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
	all.Wait()
	if told := len(w.notices(CardLinked)); told != 1 {
		t.Errorf("%d notices", told)
	}
}

// What a log-in rests on is looked at once more when the log-in is in view.
func TestTakenBackDuringTheLogIn(t *testing.T) {
	w := newWard(t, nil)
	app, made, err := w.MakeAppPassword(t.Context(), w.acting(w.id), &NewAppPassword{Name: "telephone"})
	w.must(err)
	d, err := w.lookUp(t.Context(), user, app)
	w.must(err)
	cl, err := w.appPassword(t.Context(), from(home), d, app)
	w.must(err)
	w.must(w.RemoveAppPassword(t.Context(), w.acting(w.id), made.ID))
	_, err = w.settle(t.Context(), from(home), &Attempt{Mech: "PLAIN"}, d.account, cl, nil)
	if codeOf(t, err) != BadCredentials || len(w.Sessions(w.id)) != 0 {
		t.Errorf("%v, sessions %+v", err, w.Sessions(w.id))
	}
}

// A change of credentials ends what rests on the old ones, and its maker with it.
func TestChangesEndOlderLogIns(t *testing.T) {
	for name, change := range map[string]func(w *ward, who *Principal) error{
		"password": func(w *ward, who *Principal) error { return w.SetPassword(w.t.Context(), who, "autre-agrafe-pile-93") },
		"unlink":   func(w *ward, who *Principal) error { return w.UnlinkCard(w.t.Context(), who, "IGC|"+idMine) },
		"no codes": func(w *ward, who *Principal) error { return w.SwitchCodesOff(w.t.Context(), who) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWard(t, nil)
			card := w.card(idMine, tls.Terms{})
			w.link(w.id, card)
			who, err := w.external(t.Context(), from(home, card), "")
			w.must(err)
			other, err := w.LogIn(t.Context(), from(abroad), &Attempt{Mech: "PLAIN", User: colleague, Secret: colleagueRight})
			w.must(err)
			ended := false
			who.OnEnd(func() { ended = true })
			w.must(change(w, who))
			if !ended || who.Err() == nil || other.Err() != nil {
				t.Errorf("ended %v (%v), somebody else's %v", ended, who.Err(), other.Err())
			}
			if _, _, err := w.MakeAppPassword(t.Context(), who, &NewAppPassword{Name: "x"}); codeOf(t, err) != TooWeak {
				t.Errorf("and still makes an application password: %v", err)
			}
		})
	}
}

// What was made with a card ends when the card is revoked; a renewed card's stays.
func TestRevokedCardEndsItsAppPasswords(t *testing.T) {
	w := newWard(t, nil)
	old, card := w.card(idMine, tls.Terms{}), w.card(idMine, tls.Terms{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(5, 0, 0)})
	w.link(w.id, old)
	who, err := w.external(t.Context(), from(home, card), "") // renewed
	w.must(err)
	app, _, err := w.MakeAppPassword(t.Context(), who, &NewAppPassword{Name: "telephone"})
	w.must(err)
	in, err := w.LogIn(t.Context(), from(home), &Attempt{Mech: "PLAIN", User: user, Secret: app})
	w.must(err)
	for _, c := range []struct {
		revoked tls.Certificate
		over    bool
	}{{old, false}, {card, true}} {
		w.persons.Revoke(t, c.revoked)
		tlstest.Refresh(t, w.Anchors)
		w.Recheck(t.Context())
		if over := in.Err() != nil; over != c.over {
			t.Errorf("the log-in is over: %v, want %v", over, c.over)
		}
		if got := w.secret(from(home), app); (got.code != 0) != c.over {
			t.Errorf("the application password: %+v", got)
		}
	}
}

// Nobody gets in unnoticed: without room in the audit trail there is no log-in, and
// those who are refused do not hang.
func TestFullAuditTrailLetsNobodyIn(t *testing.T) {
	w := newWard(t, nil)
	w.must(w.Audit.Close())
	audit, err := storage.OpenAudit(w.trail, storage.AuditOptions{FileSize: 1, Queue: 2})
	w.must(err)
	w.Audit = audit
	w.must(os.Rename(w.trail, w.trail+".away"))
	full := func() bool { return errors.Is(audit.Write(&storage.Event{Event: "x"}), storage.ErrAuditFull) }
	for range 3 {
		_ = audit.Sync() // fails, and so the disk is known to refuse
		full()
	}
	if got := w.secret(from(home), right); got.code != Unavailable {
		t.Errorf("without an audit trail: %+v", got)
	}
	if got := w.secret(from(home), "faux"); got.code != BadCredentials {
		t.Errorf("wrong password: %+v", got)
	}
	w.must(os.Rename(w.trail+".away", w.trail))
	w.must(audit.Sync())
	if got := w.secret(from(home), right); got.level != LevelPassword {
		t.Errorf("with the disk back: %+v", got)
	}
}

// Guesses of a stranger that are under way count, also when he does not wait.
func TestManyGuessesAtTheSameMoment(t *testing.T) {
	w := newWard(t, func(a *Authenticator) { a.MaxHashes, a.MaxQueue = 1, 1000 })
	w.hashes.running <- struct{}{} // the only core is busy
	gone, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[Code]int{}
	for n := range 40 {
		all.Go(func() {
			_, err := w.LogIn(gone, from(abroad), &Attempt{Mech: "PLAIN", User: fmt.Sprintf("u%d@hopital.test", n), Secret: "x"})
			var r *Refusal
			if errors.As(err, &r) {
				mu.Lock()
				defer mu.Unlock()
				outcomes[r.Code]++
			}
		})
	}
	waitFor(t, func() bool { mu.Lock(); defer mu.Unlock(); return outcomes[Unavailable] == 30 })
	leave()
	<-w.hashes.running
	all.Wait()
	if got := w.secret(from(abroad), "encore-un"); got.code != TooManyFailures {
		t.Errorf("the next guess after ten that nobody waited for: %+v, before %v", got, outcomes)
	}
}

// A stranger who is refused for nothing fills no disk.
func TestTediousRefusalsAreWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		for range 100 {
			w.secret(from(home), "toujours-le-meme")
		}
		if n := len(w.events("auth.fail")); n != 2 { // the guess, and that it was repeated
			t.Errorf("%d events", n)
		}
	})
}

func TestSecretBeyondTheLongest(t *testing.T) {
	w := newWard(t, nil)
	longest := strings.Repeat("longue phrase ", 80)[:maxSecret-1] + "!"
	w.must(w.SetPassword(t.Context(), w.acting(w.id), longest))
	for secret, want := range map[string]Code{longest: 0, longest + "x": BadCredentials, longest + longest: BadCredentials} {
		if got := w.secret(from(home), secret); got.code != want {
			t.Errorf("%d octets: %+v", len(secret), got)
		}
	}
}

// A bare number is nobody's when several groups of issuers vouch for persons.
func TestExpectedNumberNeedsItsGroup(t *testing.T) {
	w := newWard(t, nil)
	w.Anchors = tlstest.Anchors(t, w.persons, tlstest.NewIssuer(t, "AUTRE"))
	if err := w.OpenWindow(t.Context(), w.acting(w.id), idMine, 0); !errors.Is(err, ErrGroup) {
		t.Errorf("without a group: %v", err)
	}
	w.must(w.OpenWindow(t.Context(), w.acting(w.id), "IGC|"+idMine, 0))
}

// A proof is in the trail even when its maker does not finish.
func TestUnfinishedExchangesLeaveATrace(t *testing.T) {
	w := newWard(t, func(a *Authenticator) { a.SCRAM.Off = false })
	w.must(w.SetPassword(t.Context(), w.acting(w.id), right+"-9"))
	conv := client(t, "SCRAM-SHA-256", user, right+"-9", "", "")
	x := w.Begin(from(home), "SCRAM-SHA-256")
	first, err := conv.Step("")
	w.must(err)
	challenge, _, err := x.Next(t.Context(), []byte(first))
	w.must(err)
	proof, err := conv.Step(string(challenge))
	w.must(err)
	if _, done, err := x.Next(t.Context(), []byte(proof)); done || err != nil {
		t.Fatal(done, err)
	}
	if e := w.events("auth.proof"); len(e) != 1 || e[0].Account != user || e[0].Mech != "SCRAM-SHA-256" {
		t.Errorf("%+v", e)
	}
}

// Hanging up hides nothing from the owner.
func TestNoticeOfOneWhoHasLeft(t *testing.T) {
	w := newWard(t, nil)
	tell := w.Notify
	w.Notify = func(ctx context.Context, n *Notice) error { return errors.Join(ctx.Err(), tell(ctx, n)) }
	p, err := w.LogIn(t.Context(), from(home), &Attempt{Mech: "PLAIN", User: user, Secret: right})
	w.must(err)
	gone, leave := context.WithCancel(t.Context())
	leave()
	p.caller.Remote = from(abroad).Remote
	w.must(w.admitted(gone, p))
	if n := w.notices(NewNetwork); len(n) != 1 || n[0].Remote != p.caller.Remote {
		t.Errorf("notices %+v", n)
	}
}
