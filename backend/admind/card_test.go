package admind_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

func person(id string) tls.Person {
	return tls.Person{ID: id, Surname: "CARDIOLOGIE", GivenName: "SERVICE"}
}

func identities(cards []admind.Card) (ids []string) {
	for _, c := range cards {
		ids = append(ids, c.Address+" "+c.Identity)
	}
	return ids
}

func TestCards(t *testing.T) {
	persons, units := tlstest.NewIssuer(t, "IGC"), tlstest.NewOrganisations(t, "IGC-ORG")
	anchors := tlstest.Anchors(t, persons, units)
	o := open(t, func(s *admind.Server) {
		s.Anchors, s.Auth.Anchors = anchors, anchors
		s.Auth.Cards.PerAccount = 2
		s.Limits.Page = 1
	})
	first := persons.Card(t, person("899700218896")).Leaf.Raw
	second := persons.Card(t, person("899700218897")).Leaf.Raw
	unit := units.Organisation(t, tls.Organisation{Unit: "10B0000000", Name: "IMAGERIE", Org: "HOPITAL"}).Leaf.Raw
	const one, two, three = "IGC|899700218896", "IGC|899700218897", "IGC-ORG|10B0000000|IMAGERIE"

	res := o.ask(card(admind.CardLink, medecin, admind.CardRequest{Certificate: first}))
	if c := res.Account.Cards; len(c) != 1 || c[0].Identity != one || c[0].Organisation || c[0].Holder != "SERVICE CARDIOLOGIE" ||
		!strings.HasPrefix(c[0].By, "uid ") || c[0].Serial == "" || time.Until(c[0].NotAfter) < 24*time.Hour || !c[0].LastUsed.IsZero() {
		t.Errorf("linked: %+v", c)
	}
	o.refused(card(admind.CardLink, labo, admind.CardRequest{Certificate: first}), admind.CardElsewhere)
	o.ask(card(admind.CardLink, labo, admind.CardRequest{Certificate: first, Also: true}))
	o.ask(card(admind.CardLink, labo, admind.CardRequest{Certificate: unit}))
	o.refused(card(admind.CardLink, labo, admind.CardRequest{Certificate: second}), admind.Limit)
	o.ask(card(admind.CardLink, medecin, admind.CardRequest{Certificate: second}))

	if got, want := identities(o.ask(card(admind.CardList, labo, admind.CardRequest{})).Cards), []string{labo + " " + one, labo + " " + three}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var all []admind.Card
	list := &admind.Request{Op: admind.CardList}
	for res := o.ask(list); ; res = o.ask(list) { // a page ends with an account
		all = append(all, res.Cards...)
		if list.After = res.Next; res.Next == 0 {
			break
		}
	}
	if got, want := identities(all), []string{medecin + " " + one, medecin + " " + two, labo + " " + one, labo + " " + three}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	o.refused(card(admind.CardUnlink, medecin, admind.CardRequest{}), admind.SeveralCards)
	o.refused(card(admind.CardUnlink, medecin, admind.CardRequest{Identity: three}), admind.NoSuchCard)
	if got := identities(o.ask(card(admind.CardUnlink, medecin, admind.CardRequest{Identity: "899700218896"})).Account.Cards); !slices.Equal(got, []string{medecin + " " + two}) {
		t.Errorf("the national number alone took %v", got)
	}
	if got := o.ask(card(admind.CardUnlink, medecin, admind.CardRequest{})).Account; len(got.Cards) != 0 || got.Window != nil {
		t.Errorf("the only card: %+v", got)
	}
	o.refused(card(admind.CardUnlink, medecin, admind.CardRequest{}), admind.NoSuchCard)
	o.refused(card(admind.CardLink, "nobody@hopital.test", admind.CardRequest{Certificate: second}), admind.NoSuchAccount)
	o.refused(card(admind.CardLink, medecin, admind.CardRequest{Certificate: []byte("x")}), admind.BadCertificate)
	o.refused(card(admind.CardLink, medecin, admind.CardRequest{}), admind.BadCertificate)
	want := []auth.Kind{auth.CardLinked, auth.CardLinked, auth.CardLinked, auth.CardLinked, auth.CardRemoved, auth.CardRemoved}
	if got := o.told(); !slices.Equal(got, want) {
		t.Errorf("owners were told %v, want %v", got, want)
	}
}

func TestWhatACertificateIsWorth(t *testing.T) {
	persons := tlstest.NewIssuer(t, "IGC")
	anchors := tlstest.Anchors(t, persons)
	o := open(t, func(s *admind.Server) { s.Anchors, s.Auth.Anchors = anchors, anchors })
	good := persons.Card(t, person("899700218896"))
	linked, revoked, expired := persons.Card(t, person("899700218897")), persons.Card(t, person("899700218898")), person("899700218899")
	expired.NotAfter = time.Now().Add(-time.Hour)
	o.ask(card(admind.CardLink, labo, admind.CardRequest{Certificate: linked.Leaf.Raw}))
	persons.Revoke(t, revoked)
	tlstest.Refresh(t, anchors)

	for _, c := range []struct {
		name     string
		der      []byte
		verdict  string
		reason   string
		identity string
		opens    []string
	}{
		{"linked", linked.Leaf.Raw, "good", "", "IGC|899700218897", []string{labo}},
		{"not linked", good.Leaf.Raw, "good", "", "IGC|899700218896", nil},
		{"revoked", revoked.Leaf.Raw, "bad_card", "revoked", "", nil},
		{"expired", persons.Card(t, expired).Leaf.Raw, "bad_card", "expired", "", nil},
		{"foreign", persons.Foreign(t).Card(t, person("899700218897")).Leaf.Raw, "bad_card", "authority", "", nil},
		{"no identity", persons.Card(t, person("MEDECIN")).Leaf.Raw, "bad_card", "whose it is", "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := o.ask(card(admind.CardShow, "", admind.CardRequest{Certificate: c.der})).Certificate
			if got.Verdict != c.verdict || !strings.Contains(got.Reason, c.reason) || got.Identity != c.identity || !slices.Equal(got.Accounts, c.opens) {
				t.Errorf("got %+v", got)
			}
			if got.Subject == "" || got.Issuer == "" || got.Serial == "" || !got.NotBefore.Before(got.NotAfter) {
				t.Errorf("facts are missing: %+v", got)
			}
			if c.verdict != "good" {
				o.refused(card(admind.CardLink, medecin, admind.CardRequest{Certificate: c.der}), admind.Code(c.verdict))
			}
		})
	}

	lists := o.ask(&admind.Request{Op: admind.CardLists}).Lists
	if len(lists) != 1 || lists[0].Group != "IGC" || !lists[0].Current || lists[0].Entries != 1 || lists[0].Problem != "" || lists[0].NextUpdate.Before(time.Now()) {
		t.Errorf("lists: %+v", lists)
	}
	if err := os.WriteFile(persons.Pinned.Lists[0], []byte("no list"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := anchors.Refresh(t.Context()); err == nil {
		t.Fatal("a broken list was taken")
	}
	if lists = o.ask(&admind.Request{Op: admind.CardLists}).Lists; len(lists) != 1 || lists[0].Problem == "" {
		t.Errorf("a broken list is not told: %+v", lists)
	}
}

func TestWindow(t *testing.T) {
	anchors := tlstest.Anchors(t, tlstest.NewIssuer(t, "IGC"))
	o := open(t, func(s *admind.Server) { s.Anchors, s.Auth.Anchors = anchors, anchors })
	window := func(res *admind.Response) *admind.Window { return res.Account.Window }
	show := &admind.Request{Op: admind.AccountShow, Address: medecin}
	if w := window(o.ask(show)); w == nil || w.Expect != "" || time.Until(w.Until) < 13*24*time.Hour {
		t.Errorf("a new account's window: %+v", w)
	}
	if w := window(o.ask(card(admind.CardClose, medecin, admind.CardRequest{}))); w != nil {
		t.Errorf("closed: %+v", w)
	}
	if w := window(o.ask(card(admind.CardWindow, medecin, admind.CardRequest{Life: 3600}))); w == nil || time.Until(w.Until) > time.Hour || time.Until(w.Until) < 50*time.Minute {
		t.Errorf("an hour: %+v", w)
	}
	if w := window(o.ask(card(admind.CardWindow, medecin, admind.CardRequest{Expect: "899700218896"}))); w == nil || w.Expect != "IGC|899700218896" || !w.Until.IsZero() {
		t.Errorf("for one card: %+v", w)
	}
	for _, life := range []int64{-1, 1 << 40, 1<<63 - 1} {
		o.refused(card(admind.CardWindow, medecin, admind.CardRequest{Life: life}), admind.BadRequest)
	}
	for _, identity := range []string{"a\x1b[2J", strings.Repeat("8", 201)} {
		o.refused(card(admind.CardWindow, medecin, admind.CardRequest{Expect: identity}), admind.BadRequest)
		o.refused(card(admind.AccountAdd, "a@hopital.test", admind.CardRequest{Expect: identity}), admind.BadRequest)
	}
	res := o.ask(card(admind.AccountAdd, "sage-femme@hopital.test", admind.CardRequest{Expect: "IGC|899700218890"}))
	if w := window(res); w == nil || w.Expect != "IGC|899700218890" || !w.Until.IsZero() {
		t.Errorf("an account for one card: %+v", w)
	}
}
