package admind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/storage"
)

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
	if g := o.ask(grants).Grants; len(g) != 1 || !g[0].Over {
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
