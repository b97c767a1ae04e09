package admind_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

const (
	medecin = "medecin@hopital.test"
	labo    = "labo@hopital.test"
	outside = "medecin@perso.test"
	phrase  = "dune 59 violon gris"
)

// office is a server with two accounts, and somebody who asks it things.
type office struct {
	*admind.Client
	t      *testing.T
	server *admind.Server

	mu      sync.Mutex // guards what follows
	notices []auth.Notice
	log     bytes.Buffer
}

// open starts a server, which edit has changed.
func open(t *testing.T, edit ...func(*admind.Server)) *office {
	t.Helper()
	o := &office{t: t}
	prepare := func(s *admind.Server) {
		s.Log = slog.New(slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Auth.Logger = s.Log
		s.Auth.Ours = func(a backend.Address) bool { return s.Router.Local(a) }
		s.Auth.Notify = func(_ context.Context, n *auth.Notice) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.notices = append(o.notices, *n)
			return nil
		}
	}
	server, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits(), append([]func(*admind.Server){prepare}, edit...)...)
	c, err := admind.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	o.Client, o.server = c, server
	o.ask(&admind.Request{Op: admind.AccountAdd, Address: medecin, Password: phrase})
	o.ask(&admind.Request{Op: admind.AccountAdd, Address: labo, Password: phrase})
	return o
}

// Write takes the server's log.
func (o *office) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.Write(p)
}

// code is the code that was mailed last.
func (o *office) code() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range slices.Backward(o.notices) {
		if n.Code != "" {
			return n.Code
		}
	}
	o.t.Fatal("no code was mailed")
	return ""
}

// told are the kinds of the notices so far.
func (o *office) told() (kinds []auth.Kind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.notices {
		kinds = append(kinds, n.Kind)
	}
	return kinds
}

// quiet makes sure that none of the secrets is in the log.
func (o *office) quiet(secrets ...string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range secrets {
		if s == "" || strings.Contains(o.log.String(), s) {
			o.t.Errorf("the log tells %q", s)
		}
	}
}

func (o *office) ask(req *admind.Request) *admind.Response {
	o.t.Helper()
	res, err := o.Do(o.t.Context(), req)
	if err != nil {
		o.t.Fatalf("%s: %v", req.Op, err)
	}
	return res
}

// refused expects a code, with a text that says more.
func (o *office) refused(req *admind.Request, code admind.Code) {
	o.t.Helper()
	_, err := o.Do(o.t.Context(), req)
	refusal := new(admind.Error)
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Text == "" {
		o.t.Errorf("%s: got %v, want %s", req.Op, err, code)
	}
}

// logIn logs in by IMAP from one of our networks.
func (o *office) logIn(secret string) (*auth.Principal, error) {
	c := &auth.Caller{Proto: "imap", Remote: netip.MustParseAddr("192.0.2.7"), ConnID: "test"}
	return o.server.Auth.LogIn(o.t.Context(), c, &auth.Attempt{Mech: "PLAIN", User: medecin, Secret: secret})
}

func card(op admind.Op, address string, c admind.CardRequest) *admind.Request {
	return &admind.Request{Op: op, Address: address, Card: c}
}

func code(op admind.Op, c admind.CodeRequest) *admind.Request {
	return &admind.Request{Op: op, Address: medecin, Code: c}
}

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
	o := open(t)
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
	if w := window(o.ask(card(admind.CardWindow, medecin, admind.CardRequest{Expect: "899700218896"}))); w == nil || w.Expect != "899700218896" || !w.Until.IsZero() {
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

func TestCodes(t *testing.T) {
	o := open(t, func(s *admind.Server) { s.Auth.Codes.PerHour = 1 })
	o.refused(code(admind.CodeConfirm, admind.CodeRequest{Code: "12345678"}), admind.NoCode)
	for _, contact := range []string{"", "nobody", labo, "Medecin@HOPITAL.test"} {
		o.refused(code(admind.CodeOn, admind.CodeRequest{Contact: contact}), admind.BadContact)
	}
	if c := o.ask(code(admind.CodeOn, admind.CodeRequest{Contact: outside})).Account.Codes; c.On || c.Contact != "" || c.Proving != outside {
		t.Errorf("begun: %+v", c)
	}
	o.refused(code(admind.CodeOn, admind.CodeRequest{Contact: "other@perso.test"}), admind.TooSoon)
	sent := o.code()
	o.refused(code(admind.CodeConfirm, admind.CodeRequest{Code: flip(sent)}), admind.WrongCode)
	if c := o.ask(&admind.Request{Op: admind.AccountShow, Address: medecin}).Account.Codes; c.On {
		t.Error("a wrong code switched codes on")
	}
	if c := o.ask(code(admind.CodeConfirm, admind.CodeRequest{Code: sent})).Account.Codes; !c.On || c.Contact != outside || c.Proving != "" ||
		!strings.HasPrefix(c.By, "uid ") || time.Since(c.Since) > time.Hour {
		t.Errorf("on: %+v", c)
	}
	o.refused(code(admind.CodeConfirm, admind.CodeRequest{Code: sent}), admind.NoCode)
	if c := o.ask(code(admind.CodeOff, admind.CodeRequest{})).Account.Codes; c.On || c.TOTP {
		t.Errorf("off: %+v", c)
	}
	o.quiet(sent, phrase)
}

func TestCodesThatCannotBeSent(t *testing.T) {
	o := open(t, func(s *admind.Server) {
		s.Auth.Notify = func(context.Context, *auth.Notice) error { return errors.New("no way there") }
	})
	o.refused(code(admind.CodeOn, admind.CodeRequest{Contact: outside}), admind.NoCourier)
}

func TestAuthenticator(t *testing.T) {
	o := open(t)
	begun := o.ask(code(admind.TOTPBegin, admind.CodeRequest{})).TOTP
	if !strings.HasPrefix(begun.URI, "otpauth://totp/") || !strings.Contains(begun.URI, begun.Secret) {
		t.Errorf("URI %s", begun.URI)
	}
	shown := totp(t, begun.Secret)
	o.refused(code(admind.TOTPConfirm, admind.CodeRequest{Secret: begun.Secret, Code: flip(shown)}), admind.WrongCode)
	o.refused(code(admind.TOTPConfirm, admind.CodeRequest{Secret: "x", Code: shown}), admind.WrongCode)
	o.refused(code(admind.TOTPConfirm, admind.CodeRequest{}), admind.WrongCode)
	if c := o.ask(&admind.Request{Op: admind.AccountShow, Address: medecin}).Account.Codes; c.TOTP {
		t.Error("switched on without a code")
	}
	res := o.ask(code(admind.TOTPConfirm, admind.CodeRequest{Secret: begun.Secret, Code: shown}))
	c := res.Account.Codes
	if !c.TOTP || c.Recovery == 0 || len(res.TOTP.Recovery) != c.Recovery {
		t.Fatalf("on: %+v, %d recovery codes", c, len(res.TOTP.Recovery))
	}
	// A recovery code opens the account once.
	p, err := o.logIn(phrase + res.TOTP.Recovery[0])
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if left := o.ask(&admind.Request{Op: admind.AccountShow, Address: medecin}).Account.Codes.Recovery; left != c.Recovery-1 {
		t.Errorf("%d recovery codes are left of %d", left, c.Recovery)
	}
	o.quiet(begun.Secret, shown, res.TOTP.Recovery[0], phrase)
}

func TestGrantsAndSessions(t *testing.T) {
	// The log-in asks for another code at once.
	o := open(t, func(s *admind.Server) { s.Auth.Codes.Resend = time.Nanosecond })
	grants := &admind.Request{Op: admind.GrantList, Address: medecin}
	sessions := &admind.Request{Op: admind.SessionList, Address: medecin}
	revoke := func(g admind.GrantRequest) *admind.Request {
		return &admind.Request{Op: admind.GrantRevoke, Address: medecin, Grant: g}
	}
	o.ask(code(admind.CodeOn, admind.CodeRequest{Contact: outside}))
	o.ask(code(admind.CodeConfirm, admind.CodeRequest{Code: o.code()}))
	if _, err := o.logIn(phrase); err == nil {
		t.Fatal("a log-in without a code")
	}
	p, err := o.logIn(phrase + o.code())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()

	g := o.ask(grants).Grants
	if len(g) != 1 || g[0].ID == 0 || g[0].Network != "192.0.2.7/32" || g[0].Door != "imap" || g[0].Mech != "PLAIN" || g[0].Factor != "code" || g[0].Over {
		t.Fatalf("grants: %+v", g)
	}
	if l := o.ask(sessions).Sessions; len(l) != 1 || l[0].Door != "imap" || l[0].Remote != "192.0.2.7" || l[0].Level != auth.LevelCode || l[0].Via != fmt.Sprintf("grant %d", g[0].ID) {
		t.Errorf("sessions: %+v", l)
	}
	o.refused(revoke(admind.GrantRequest{}), admind.BadRequest)
	o.refused(revoke(admind.GrantRequest{ID: 1, All: true}), admind.BadRequest)
	o.refused(revoke(admind.GrantRequest{ID: g[0].ID + 1}), admind.NoSuchGrant)
	if p.Err() != nil {
		t.Fatal("a refused request ended the log-in")
	}
	o.ask(revoke(admind.GrantRequest{ID: g[0].ID}))
	if p.Err() == nil {
		t.Error("the log-in goes on without its grant")
	}
	if g := o.ask(grants).Grants; len(g) != 0 {
		t.Errorf("grants: %+v", g)
	}
	o.ask(revoke(admind.GrantRequest{All: true})) // none is left to end
	o.refused(&admind.Request{Op: admind.SessionList, Address: "nobody@hopital.test"}, admind.NoSuchAccount)
	o.refused(&admind.Request{Op: admind.GrantList, Address: "nobody@hopital.test"}, admind.NoSuchAccount)
	o.quiet(phrase, o.code())
}

func TestAppPasswords(t *testing.T) {
	o := open(t, func(s *admind.Server) { s.Auth.AppPasswords.PerAccount = 2 })
	add := func(a admind.AppPasswordRequest) *admind.Request {
		return &admind.Request{Op: admind.AppPasswordAdd, Address: medecin, AppPassword: a}
	}
	remove := func(id uint32) *admind.Request {
		return &admind.Request{Op: admind.AppPasswordRemove, Address: medecin, AppPassword: admind.AppPasswordRequest{ID: id}}
	}
	list := &admind.Request{Op: admind.AppPasswordList, Address: medecin}
	for name, a := range map[string]admind.AppPasswordRequest{
		"no name":    {},
		"bad name":   {Name: "a\x1b"},
		"no door":    {Name: "a", Doors: []string{"window"}},
		"long life":  {Name: "a", Life: 9 * 365 * 24 * 3600},
		"other case": {Name: "a", Doors: []string{"IMAP"}},
	} {
		t.Run(name, func(t *testing.T) { o.refused(add(a), admind.BadAppPassword) })
	}
	o.refused(add(admind.AppPasswordRequest{Name: "a", Network: "here"}), admind.BadRequest)
	o.refused(add(admind.AppPasswordRequest{Name: "a", Life: -1}), admind.BadRequest)

	res := o.ask(add(admind.AppPasswordRequest{Name: "Téléphone", Doors: []string{"imap"}, Network: "192.0.2.9/24", Life: 3600}))
	made := res.AppPasswords[0]
	if made.ID == 0 || made.Name != "Téléphone" || !slices.Equal(made.Doors, []string{"imap"}) || made.Network != "192.0.2.0/24" ||
		time.Until(made.Expires) > time.Hour || !strings.HasPrefix(made.By, "uid ") || res.Account.Address != medecin {
		t.Errorf("made: %+v", made)
	}
	p, err := o.logIn(res.Password)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if l := o.ask(list).AppPasswords; len(l) != 1 || l[0].LastFrom != "192.0.2.7" || l[0].LastUsed.IsZero() {
		t.Errorf("used: %+v", l)
	}
	o.ask(add(admind.AppPasswordRequest{Name: "Tablette"}))
	o.refused(add(admind.AppPasswordRequest{Name: "Montre"}), admind.Limit)
	o.refused(remove(99), admind.NoSuchAppPassword)
	o.ask(remove(made.ID))
	if p.Err() == nil {
		t.Error("the log-in goes on without its application password")
	}
	if l := o.ask(list).AppPasswords; len(l) != 1 || l[0].Name != "Tablette" {
		t.Errorf("left: %+v", l)
	}
	o.quiet(res.Password)
}

func TestAppPasswordsSwitchedOff(t *testing.T) {
	o := open(t, func(s *admind.Server) { s.Auth.AppPasswords.Off = true })
	o.refused(&admind.Request{Op: admind.AppPasswordAdd, Address: medecin, AppPassword: admind.AppPasswordRequest{Name: "a"}}, admind.Off)
}

func TestEveryChangeIsInTheAuditTrail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	trail, err := storage.OpenAudit(dir, storage.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := open(t, func(s *admind.Server) { s.Auth.Audit = trail })
	for _, req := range []*admind.Request{
		{Op: admind.AccountShow, Address: medecin},
		{Op: admind.AccountDisable, Address: medecin},
		{Op: admind.AccountEnable, Address: medecin},
		{Op: admind.AccountPassword, Address: medecin},
		{Op: admind.CardClose, Address: medecin},
		{Op: admind.CodeOff, Address: medecin},
		{Op: admind.AccountDelete, Address: medecin},
	} {
		o.ask(req)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = storage.ReadAudit(dir, func(_ []byte, e *storage.Event) bool {
		if e.Actor != fmt.Sprintf("uid %d", os.Getuid()) {
			t.Errorf("%s: by %q", e.Event, e.Actor)
		}
		if e.Account == medecin {
			got = append(got, e.Event)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"account.add", "account.disable", "account.enable", "password.set", "card.window", "code.off", "account.delete"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// flip returns another code.
func flip(code string) string {
	return string('0'+(code[0]-'0'+1)%10) + code[1:]
}

// totp is what an authenticator program shows now (RFC 6238 section 4, RFC 4226 section 5.3).
func totp(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha1.New, key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())/30))
	sum := m.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}
