package auth

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// The table of what may be on a connection and how one may log in there.
func TestCardStates(t *testing.T) {
	var (
		bad    = outcome{code: BadCredentials}
		refuse = outcome{code: CardRefused}
		unlink = outcome{code: CardUnlinked}
		later  = outcome{code: Unavailable}
		need   = outcome{code: CodeNeeded}
		weak   = outcome{level: LevelPassword, who: user}
		code   = outcome{level: LevelCode, who: user}
		strong = outcome{level: LevelCard, who: user}
		theirs = outcome{level: LevelCard, who: colleague}
	)
	for _, c := range []struct {
		state string
		card  func(w *ward) []tls.Certificate // sets the state up
		alone outcome                         // EXTERNAL, and no log-in at all
		right outcome                         // the password
		codes outcome                         // the password, while codes are switched on
		app   outcome                         // an application password
		grant outcome
		alert string // what is shown after the password
		text  string // what is shown after the card alone
	}{
		{"no card", func(*ward) []tls.Certificate { return nil }, bad, weak, need, code, code, "", ""},
		{"expired", func(w *ward) []tls.Certificate {
			card := w.card(idMine, tls.Terms{})
			w.link(w.id, card)
			return []tls.Certificate{w.card(idMine, tls.Terms{NotAfter: time.Now().Add(-time.Hour)})}
		}, refuse, weak, need, code, code, english().Expired, english().Expired},
		{"revoked", func(w *ward) []tls.Certificate {
			card := w.card(idMine, tls.Terms{})
			w.link(w.id, card)
			w.persons.Revoke(w.t, card)
			tlstest.Refresh(w.t, w.Anchors)
			return []tls.Certificate{card}
		}, refuse, weak, need, code, code, english().Revoked, english().Revoked},
		{"foreign authority of the same name", func(w *ward) []tls.Certificate {
			w.link(w.id, w.card(idMine, tls.Terms{}))
			w.persons = w.persons.Foreign(w.t)
			return []tls.Certificate{w.card(idMine, tls.Terms{})}
		}, refuse, weak, need, code, code, english().Foreign, english().Foreign},
		{"for signing documents", func(w *ward) []tls.Certificate {
			w.link(w.id, w.card(idMine, tls.Terms{}))
			return []tls.Certificate{w.card(idMine, tls.Terms{Edit: func(c *x509.Certificate) {
				c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageContentCommitment, nil
			}})}
		}, refuse, weak, need, code, code, english().Usage, english().Usage},
		{"stale list", func(w *ward) []tls.Certificate {
			card := w.card(idMine, tls.Terms{})
			w.link(w.id, card)
			time.Sleep(2 * time.Hour)
			return []tls.Certificate{card}
		}, later, weak, need, code, code, english().Unchecked, english().Unchecked},
		{"not linked", func(w *ward) []tls.Certificate {
			return []tls.Certificate{w.card(idMine, tls.Terms{})}
		}, unlink, weak, need, code, code, english().NoWindow, english().Unlinked},
		{"linked", func(w *ward) []tls.Certificate {
			card := w.card(idMine, tls.Terms{})
			w.link(w.id, card)
			return []tls.Certificate{card}
		}, strong, strong, strong, strong, strong, "", ""},
		{"linked to somebody else", func(w *ward) []tls.Certificate {
			card := w.card(idMine, tls.Terms{})
			w.link(w.other, card)
			return []tls.Certificate{card}
		}, theirs, bad, bad, bad, bad, "", ""},
	} {
		t.Run(c.state, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, nil)
				here := from(home, c.card(w)...)
				check := func(what string, got, want outcome) {
					t.Helper()
					if got != want {
						t.Errorf("%s: %+v, want %+v", what, got, want)
					}
				}
				p, err := w.external(t.Context(), here, "")
				check("EXTERNAL", w.outcome(p, err), c.alone)
				if r := new(Refusal); errors.As(err, &r) && r.Text != c.text {
					t.Errorf("EXTERNAL says %q, want %q", r.Text, c.text)
				}
				check("the certificate alone", w.outcome(w.Certificate(t.Context(), here, user)), c.alone)

				_, err = w.LogIn(t.Context(), here, &Attempt{Mech: "PLAIN", User: user, Secret: "faux-mot-de-passe"})
				check("wrong password", w.outcome(nil, err), bad)
				if r := new(Refusal); errors.As(err, &r) && r.Text != "" {
					t.Errorf("a wrong password says %q", r.Text)
				}
				p, err = w.LogIn(t.Context(), here, &Attempt{Mech: "PLAIN", User: user, Secret: right})
				check("right password", w.outcome(p, err), c.right)
				if err == nil && p.Alert() != c.alert {
					t.Errorf("alert after the password, want %q", c.alert)
				}
				app, _, err := w.MakeAppPassword(t.Context(), w.acting(w.id), &NewAppPassword{Name: "telephone"})
				w.must(err)
				check("application password", w.secret(here, app), c.app)

				w.codesOn()
				check("right password with codes on", w.secret(here, right), c.codes)
				whole := w.grant(from(home), right)
				check("grant", w.secret(here, whole), c.grant)
				if listed := slices.Contains(w.Mechanisms(here), "EXTERNAL"); listed != (here.TLS.Peer != nil) {
					t.Errorf("EXTERNAL offered: %v", listed)
				}
			})
		})
	}
}

// window opens the first account's link window.
func (w *ward) window(expected string, life time.Duration) {
	w.t.Helper()
	w.must(w.OpenWindow(w.t.Context(), w.acting(w.id), expected, life))
}

// A good card comes with the password for the first time.
func TestFirstUse(t *testing.T) {
	strong, weak := outcome{level: LevelCard, who: user}, outcome{level: LevelPassword, who: user}
	for _, c := range []struct {
		what     string
		prepare  func(w *ward)
		want     outcome
		linked   bool
		mismatch bool
	}{
		{"no window", func(*ward) {}, weak, false, false},
		{"window", func(w *ward) { w.window("", 0) }, strong, true, false},
		{"window of an hour that is over", func(w *ward) { w.window("", time.Hour-time.Second) }, weak, false, false},
		{"window that was closed", func(w *ward) {
			w.window("", 0)
			w.must(w.CloseWindow(w.t.Context(), w.acting(w.id)))
		}, weak, false, false},
		{"expected by its number", func(w *ward) { w.window(idMine, 0) }, strong, true, false},
		{"expected by its identity", func(w *ward) { w.window("IGC|"+idMine, 0) }, strong, true, false},
		{"another one is expected", func(w *ward) { w.window(idTheirs, 0) }, weak, false, true},
		{"the same number of another group is expected", func(w *ward) { w.window("AUTRE|"+idMine, 0) }, weak, false, true},
		{"expected for an hour that is over", func(w *ward) { w.window(idMine, time.Hour-time.Second) }, weak, false, false},
		{"the account has a card", func(w *ward) {
			w.link(w.id, w.card(idTheirs, tls.Terms{}))
			w.window("", 0)
		}, weak, false, false},
		{"the account has a card and this one is expected", func(w *ward) {
			w.link(w.id, w.card(idTheirs, tls.Terms{}))
			w.window(idMine, 0)
		}, strong, true, false},
		{"the account has as many cards as it may", func(w *ward) {
			w.link(w.id, w.card(idTheirs, tls.Terms{}))
			w.link(w.id, w.card("899700000003", tls.Terms{}))
			w.window(idMine, 0)
		}, weak, false, false},
		{"somebody else has this card", func(w *ward) {
			w.link(w.other, w.card(idMine, tls.Terms{}))
			w.window(idMine, 0)
		}, outcome{code: BadCredentials}, false, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, func(a *Authenticator) { a.Cards.PerAccount = 2 })
				c.prepare(w)
				before, notices := len(w.cards(w.id)), len(w.notices(CardLinked))
				w.persons.WriteList(t, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(24 * time.Hour) })
				tlstest.Refresh(t, w.Anchors)
				time.Sleep(time.Hour)
				here := from(home, w.card(idMine, tls.Terms{}))
				if got := w.secret(here, "faux-mot-de-passe"); got != (outcome{code: BadCredentials}) {
					t.Fatalf("wrong password: %+v", got)
				}
				if len(w.cards(w.id)) != before {
					t.Fatal("a wrong password linked the card")
				}
				for range 3 { // as programs come
					if got := w.secret(here, right); got != c.want {
						t.Errorf("%+v, want %+v", got, c.want)
					}
				}
				if linked := len(w.cards(w.id)) > before; linked != c.linked {
					t.Errorf("linked: %v", linked)
				}
				if told := len(w.notices(CardLinked)) - notices; (told == 1) != c.linked || told > 1 {
					t.Errorf("%d notices of the link", told)
				}
				if told := w.notices(CardMismatch); (len(told) == 1) != c.mismatch || len(told) > 1 {
					t.Errorf("%d notices of the mismatch", len(told))
				}
				if events := w.events("card.mismatch"); (len(events) == 3) != c.mismatch {
					t.Errorf("%d events of the mismatch", len(events))
				}
			})
		})
	}
}

// A window is good once: a second card needs its own.
func TestWindowIsGoodOnce(t *testing.T) {
	w := newWard(t, nil)
	w.window("", 0)
	var all sync.WaitGroup
	for _, id := range []string{idMine, idTheirs} {
		card := w.card(id, tls.Terms{})
		for range 3 {
			all.Go(func() { w.secret(from(home, card), right) })
		}
	}
	all.Wait()
	if cards := w.cards(w.id); len(cards) != 1 || len(w.notices(CardLinked)) != 1 {
		t.Errorf("%d cards were linked with %d notices", len(cards), len(w.notices(CardLinked)))
	}
}

// Only the person's own password links a card.
func TestOtherSecretsLinkNoCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		app, _, err := w.MakeAppPassword(t.Context(), w.acting(w.id), &NewAppPassword{Name: "telephone"})
		w.must(err)
		w.codesOn()
		whole := w.grant(from(home), right)
		w.window(idMine, 0)
		here := from(home, w.card(idMine, tls.Terms{}))
		if got := w.secret(here, app); got.level != LevelCode {
			t.Errorf("application password: %+v", got)
		}
		time.Sleep(13 * time.Hour) // the grant is over
		w.persons.WriteList(t, nil)
		tlstest.Refresh(t, w.Anchors)
		if got := w.secret(here, whole); got.code != CodeNeeded {
			t.Errorf("old password and code: %+v", got)
		}
		office := from(home, w.office("INSI-AUTO"))
		w.offices.WriteList(t, nil)
		tlstest.Refresh(t, w.Anchors)
		if got := w.secret(office, right); got.code != CodeNeeded {
			t.Errorf("organisation's certificate: %+v", got)
		}
		if cards := w.cards(w.id); len(cards) != 0 {
			t.Errorf("linked %+v", cards)
		}
	})
}

// Where codes are on, the password alone links no card either.
func TestFirstUseNeedsTheCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, nil)
		w.codesOn()
		w.window("", 0)
		here := from(home, w.card(idMine, tls.Terms{}))
		if got := w.secret(here, right); got.code != CodeNeeded || len(w.cards(w.id)) != 0 {
			t.Errorf("the password: %+v, %d cards", got, len(w.cards(w.id)))
		}
		if got := w.secret(here, right+w.code()); got.level != LevelCard || len(w.cards(w.id)) != 1 {
			t.Errorf("password and code: %+v, %d cards", got, len(w.cards(w.id)))
		}
		if got := w.secret(here, right); got.level != LevelCard {
			t.Errorf("the linked card with the password: %+v", got)
		}
	})
}

func TestCardAndWhomItActsAs(t *testing.T) {
	w := newWard(t, nil)
	card := w.card(idMine, tls.Terms{})
	w.link(w.id, card)
	here := from(home, card)
	mine, theirs, bad := outcome{level: LevelCard, who: user}, outcome{level: LevelCard, who: colleague}, outcome{code: BadCredentials}
	external := func(authzID string, want outcome) {
		t.Helper()
		if got := w.outcome(w.external(t.Context(), here, authzID)); got != want {
			t.Errorf("EXTERNAL as %q: %+v, want %+v", authzID, got, want)
		}
	}
	certificate := func(sender string, want outcome) {
		t.Helper()
		if got := w.outcome(w.Certificate(t.Context(), here, sender)); got != want {
			t.Errorf("certificate alone, message from %q: %+v, want %+v", sender, got, want)
		}
	}
	external("", mine)
	external("ALIAS@Hopital.test", mine)
	external(colleague, bad)
	external("nobody@hopital.test", bad)
	external("medecin", bad)
	certificate(colleague, mine) // the door refuses the sender
	if _, code := logIn(t, w.lab, here, colleague, colleagueRight); code != BadCredentials {
		t.Errorf("my card with a colleague's password: %v", code)
	}

	w.link(w.other, card) // from now on it opens both
	external("", mine)
	external(colleague, theirs)
	certificate(colleague, theirs)
	certificate("alias@hopital.test", mine)
	certificate("", mine)
	if p, code := logIn(t, w.lab, here, colleague, colleagueRight); code != 0 || p.Level != LevelCard {
		t.Errorf("the second account's password: %v, %+v", code, p)
	}
	w.must(w.Store.Update(t.Context(), func(tx *storage.Tx) error { return tx.SetState(w.id, storage.Disabled) }))
	external(user, outcome{code: Disabled})
	external("", theirs) // the one that is in use is meant
	certificate(user, outcome{code: Disabled})
}

func TestRenewedCardKeepsItsLink(t *testing.T) {
	w := newWard(t, nil)
	old := w.card(idMine, tls.Terms{NotAfter: time.Now().Add(24 * time.Hour)})
	w.link(w.id, old)
	renewed := w.card(idMine, tls.Terms{})
	var all sync.WaitGroup
	for range 5 { // as a program opens them
		all.Go(func() {
			if got := w.outcome(w.external(t.Context(), from(home, renewed), "")); got.level != LevelCard {
				t.Errorf("renewed card: %+v", got)
			}
		})
	}
	all.Wait()
	for _, card := range []tls.Certificate{old, renewed, old} {
		if got := w.outcome(w.external(t.Context(), from(home, card), "")); got.who != user {
			t.Errorf("%+v", got)
		}
	}
	cards := w.cards(w.id)
	if len(cards) != 1 || !cards[0].NotAfter.Equal(renewed.Leaf.NotAfter) || cards[0].Serial != renewed.Leaf.SerialNumber.Text(16) {
		t.Errorf("%+v", cards)
	}
	if n, e := w.notices(CardRenewed), w.events("card.renew"); len(n) != 1 || len(e) != 1 || e[0].Identity != cards[0].Identity {
		t.Errorf("%d notices, events %+v", len(n), e)
	}
}

func TestOrganisationOpensSeveralMailboxes(t *testing.T) {
	w := newWard(t, nil)
	card := w.office("INSI-AUTO")
	w.window("", 0)
	if got := w.secret(from(home, card), right); got.level != LevelPassword || len(w.cards(w.id)) != 0 {
		t.Errorf("an organisation's certificate with a person's password: %+v", got)
	}
	w.link(w.id, card)
	w.link(w.other, card)
	for authzID, who := range map[string]string{"": user, user: user, colleague: colleague} {
		if got := w.outcome(w.external(t.Context(), from(home, card), authzID)); got != (outcome{level: LevelCard, who: who}) {
			t.Errorf("as %q: %+v", authzID, got)
		}
	}
	if got := w.outcome(w.external(t.Context(), from(home, w.office("AUTRE")), "")); got.code != CardUnlinked {
		t.Errorf("another application of the organisation: %+v", got)
	}
	if cards := w.cards(w.id); !cards[0].Organisation || cards[0].Identity != "IGC|3000000001|INSI-AUTO" {
		t.Errorf("%+v", cards)
	}
}

// rename has a certificate say other names: pairs of an attribute of 2.5.4 and a value,
// all in one relative distinguished name.
func rename(t testing.TB, pairs ...any) tls.Terms {
	t.Helper()
	type pair struct {
		Type  asn1.ObjectIdentifier
		Value string `asn1:"utf8"`
	}
	var s []pair
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, pair{asn1.ObjectIdentifier{2, 5, 4, pairs[i].(int)}, pairs[i+1].(string)})
	}
	inner, err := asn1.MarshalWithParams(s, "set")
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal([]asn1.RawValue{{FullBytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return tls.Terms{Edit: func(c *x509.Certificate) { c.RawSubject = der }}
}

func TestIdentityOfAPerson(t *testing.T) {
	const cn, serial, given, surname = 3, 5, 42, 4
	w := newWard(t, func(a *Authenticator) {
		a.Cards.Rules = map[string]CardRule{"RESEAU": {Attribute: "2.5.4.5", Pattern: regexp.MustCompile(`^(?:P[0-9]{4})$`)}}
	})
	network := tlstest.NewIssuer(t, "RESEAU")
	w.Anchors = tlstest.Anchors(t, w.persons, network)
	igc := func(terms tls.Terms) tls.Certificate { return w.card(idMine, terms) }
	reseau := func(terms tls.Terms) tls.Certificate {
		terms.Algorithm = tls.ECDSA
		return network.Card(t, tls.Person{ID: idMine, Terms: terms})
	}
	for _, c := range []struct {
		what     string
		card     tls.Certificate
		identity string // "" for none
		holder   string
	}{
		{"one name of several values", igc(rename(t, cn, idMine, surname, "EXEMPLE", given, "ROLE")), "IGC|" + idMine, "ROLE EXEMPLE"},
		{"as cards are made", igc(tls.Terms{}), "IGC|" + idMine, "ROLE EXEMPLE"},
		{"no other name", igc(rename(t, cn, idMine)), "IGC|" + idMine, idMine},
		{"two common names", igc(rename(t, cn, idMine, cn, idTheirs)), "", ""},
		{"the same common name twice", igc(rename(t, cn, idMine, cn, idMine)), "", ""},
		{"no common name", igc(rename(t, surname, idMine)), "", ""},
		{"somebody's address", igc(rename(t, cn, user)), "", ""},
		{"too long", igc(rename(t, cn, idMine+"0")), "", ""},
		{"too short", igc(rename(t, cn, idMine[1:])), "", ""},
		{"a letter", igc(rename(t, cn, "89970000000x")), "", ""},
		{"an organisation's form", igc(rename(t, cn, "3000000001|I")), "", ""},
		{"another group's rule", reseau(rename(t, serial, "P1234", cn, idMine)), "RESEAU|P1234", idMine},
		{"another group's rule, default attribute", reseau(rename(t, cn, idMine)), "", ""},
		{"more than the pattern", reseau(rename(t, serial, "P12345")), "", ""},
		{"two in the group's attribute", reseau(rename(t, serial, "P1234", serial, "P1235")), "", ""},
	} {
		card, err := w.ReadCard(t.Context(), c.card.Leaf)
		switch {
		case c.identity == "" && !errors.Is(err, tls.ErrUsage):
			t.Errorf("%s: %+v, %v", c.what, card, err)
		case c.identity != "" && (err != nil || card.Identity != c.identity):
			t.Errorf("%s: %+v, %v", c.what, card, err)
		}
		if c.identity != "" && err == nil && c.holder != card.Holder && c.holder != idMine {
			t.Errorf("%s: holder %q, want %q", c.what, card.Holder, c.holder)
		}
	}
}

// The same number from another group is another person.
func TestIdentityHasItsGroup(t *testing.T) {
	w := newWard(t, nil)
	w.link(w.id, w.card(idMine, tls.Terms{}))
	other := tlstest.NewIssuer(t, "AUTRE")
	w.Anchors = tlstest.Anchors(t, w.persons, other)
	card := other.Card(t, tls.Person{ID: idMine, Terms: tls.Terms{Algorithm: tls.ECDSA}})
	if got := w.outcome(w.external(t.Context(), from(home, card), "")); got.code != CardUnlinked {
		t.Errorf("alone: %+v", got)
	}
	if got := w.secret(from(home, card), right); got.level != LevelPassword {
		t.Errorf("with the password: %+v", got)
	}
	// A successor of the issuer in the same group certifies the same people.
	next := tlstest.NewIssuer(t, "IGC")
	w.Anchors = tlstest.Anchors(t, w.persons, next)
	card = next.Card(t, tls.Person{ID: idMine, Terms: tls.Terms{Algorithm: tls.ECDSA}})
	if got := w.outcome(w.external(t.Context(), from(home, card), "")); got.level != LevelCard {
		t.Errorf("the group's next issuer: %+v", got)
	}
}
