package backend_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/storage"
	"telesphore/storage/storagetest"
)

const letter = "From: a@hopital.test\r\nSubject: x\r\nMessage-ID: <1@x>\r\n\r\nBonjour\r\n"

func newRouter(t testing.TB) (*backend.Router, storage.AccountID, storage.AccountID) {
	s := storagetest.New(t)
	a := storagetest.Account(t, s, "", "a@hopital.test", "alias@hopital.test")
	b := storagetest.Account(t, s, "", "b@hopital.test")
	return &backend.Router{Store: s, Domains: []string{"hopital.test", "HÔPITAL.test"}}, a, b
}

func TestResolve(t *testing.T) {
	r, a, b := newRouter(t)
	r.Postmaster = "b@hopital.test"
	for _, c := range []struct {
		address string
		want    storage.AccountID
		err     error
	}{
		{"a@hopital.test", a, nil},
		{"A@HOPITAL.TEST", a, nil},
		{"Alias@hopital.test", a, nil},
		{"postmaster", b, nil},
		{"Postmaster@hopital.test", b, nil},
		{"postmaster@hôpital.test", b, nil},
		{"nobody@hopital.test", 0, backend.ErrNoSuchUser},
		{"a@clinique.test", 0, backend.ErrRemote},
		{"a@sub.hopital.test", 0, backend.ErrRemote},
		{"postmaster@clinique.test", 0, backend.ErrRemote},
		{`"a"@hopital.test`, 0, backend.ErrAddress},
	} {
		got, err := r.Resolve(t.Context(), c.address)
		if !errors.Is(err, c.err) || c.want == 0 && len(got) > 0 || c.want != 0 && !slices.Equal(got, []storage.AccountID{c.want}) {
			t.Errorf("%q: %d, %v; want %d, %v", c.address, got, err, c.want, c.err)
		}
	}
}

func TestAcceptFilesOneCopyForEachAccount(t *testing.T) {
	r, a, b := newRouter(t)
	err := r.Accept(t.Context(), &backend.Envelope{
		From:   "a@hopital.test",
		Rcpts:  []backend.Rcpt{{Address: "b@hopital.test"}, {Address: "a@hopital.test"}, {Address: "alias@hopital.test"}},
		Octets: []byte(letter),
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, to := range map[storage.AccountID]string{a: "a@hopital.test", b: "b@hopital.test"} {
		got := storagetest.Inbox(t, r.Store, id)
		want := "Return-Path: <a@hopital.test>\r\nDelivered-To: " + to + "\r\n" + letter
		if len(got) != 1 || got[0] != want {
			t.Errorf("INBOX of %s: %q, want %q", to, got, want)
		}
	}
}

func TestAcceptIsAllOrNothing(t *testing.T) {
	r, a, _ := newRouter(t)
	err := r.Accept(t.Context(), &backend.Envelope{
		Rcpts:  []backend.Rcpt{{Address: "a@hopital.test"}, {Address: "nobody@hopital.test"}},
		Octets: []byte(letter),
	})
	if !errors.Is(err, backend.ErrNoSuchUser) {
		t.Errorf("error %v, want ErrNoSuchUser", err)
	}
	if got := storagetest.Inbox(t, r.Store, a); len(got) != 0 {
		t.Errorf("INBOX has %q after a refusal", got)
	}
}

func TestAcceptRefusesWhatWouldForgeAHeader(t *testing.T) {
	r, a, _ := newRouter(t)
	for _, from := range []string{"a@b\r\nX: y", "a> b@c.test"} {
		err := r.Accept(t.Context(), &backend.Envelope{
			From: from, Rcpts: []backend.Rcpt{{Address: "a@hopital.test"}}, Octets: []byte(letter),
		})
		if !errors.Is(err, backend.ErrAddress) {
			t.Errorf("%q: error %v, want ErrAddress", from, err)
		}
	}
	if got := storagetest.Inbox(t, r.Store, a); len(got) != 0 {
		t.Errorf("INBOX has %q", got)
	}
}

func TestNullReversePath(t *testing.T) {
	r, a, _ := newRouter(t)
	err := r.Accept(t.Context(), &backend.Envelope{Rcpts: []backend.Rcpt{{Address: "a@hopital.test"}}, Octets: []byte(letter)})
	if err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Inbox(t, r.Store, a); len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <>\r\n") {
		t.Errorf("INBOX: %q", got)
	}
}

// peers is a list of the trust space, and who has left it.
type peers struct {
	has, left []string
	unknown   bool
}

func (p peers) Known() bool { return !p.unknown }

func (p peers) Akin(domain string) bool { return strings.HasSuffix(domain, ".clinique.test") }

func (p peers) Has(domain string) bool { return slices.Contains(p.has, domain) }

func (p peers) Left(domain string) (time.Time, bool) {
	return time.Unix(1, 0), slices.Contains(p.left, domain)
}

func TestZone(t *testing.T) {
	r := &backend.Router{
		Domains:   []string{"hopital.test", "HÔPITAL.test"},
		WhiteList: peers{has: []string{"clinique.test", "hopital.test", "xn--sant-epa.test"}, left: []string{"gone.test", "perso.test"}},
		Outside:   []string{"perso.test", "clinique.test", "not a domain"},
	}
	for domain, want := range map[string]backend.Zone{
		"": backend.Local, "hopital.test": backend.Local, "hôpital.test": backend.Local, "xn--hpital-ixa.test": backend.Local,
		"clinique.test": backend.Trusted, "CLINIQUE.TEST": backend.Trusted, "SANTÉ.test": backend.Trusted,
		"perso.test": backend.Outside,
		"ferme.test": backend.Unlisted, "sub.clinique.test": backend.Unlisted, "test": backend.Unlisted, "clinique.test.": backend.Unlisted,
		"not a domain": backend.Unlisted, "[127.0.0.1]": backend.Unlisted,
	} {
		if got := r.Zone(domain); got != want {
			t.Errorf("%q: zone %d, want %d", domain, got, want)
		}
	}
	for domain, want := range map[string]bool{"gone.test": true, "perso.test": false, "ferme.test": false, "clinique.test": false} {
		if _, left := r.Left(domain); left != want {
			t.Errorf("%q has left: %v", domain, left)
		}
	}
	r.Outside = []string{"*"}
	for domain, want := range map[string]backend.Zone{
		"ferme.test": backend.Outside, "hopital.test": backend.Local, "clinique.test": backend.Trusted, "[127.0.0.1]": backend.Unlisted,
		"annexe.clinique.test": backend.Unlisted, // its name claims to be of the trust space
		"gone.test":            backend.Unlisted, // the trust space's mail does not go the ordinary way on the day after
	} {
		if got := r.Zone(domain); got != want {
			t.Errorf("%q with all outside: zone %d, want %d", domain, got, want)
		}
	}
	r.WhiteList = peers{unknown: true}
	if got := r.Zone("clinique.test"); got != backend.Unlisted {
		t.Errorf("zone %d while nobody knows who is in the trust space", got)
	}
	r.WhiteList = nil
	if _, left := r.Left("gone.test"); left {
		t.Error("somebody left no list")
	}
}
