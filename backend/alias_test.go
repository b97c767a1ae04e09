package backend_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"telesphore/backend"
	"telesphore/storage"
	"telesphore/storage/storagetest"
)

// staff is a router with lists of two accounts: both has a and b, outer has both
// and a.
func staff(t testing.TB) (*backend.Router, storage.AccountID, storage.AccountID) {
	t.Helper()
	r, a, b := newRouter(t)
	r.SubAddress = "+"
	list(t, r, &storage.Alias{Address: "both@hopital.test", Members: []string{"a@hopital.test", "b@hopital.test"}})
	list(t, r, &storage.Alias{Address: "outer@hopital.test", Members: []string{"both@hopital.test", "alias@hopital.test"}})
	return r, a, b
}

func list(t testing.TB, r *backend.Router, a *storage.Alias) {
	t.Helper()
	if err := put(t, r, a); err != nil {
		t.Fatal(err)
	}
}

// put stores an alias if it may be.
func put(t testing.TB, r *backend.Router, a *storage.Alias) error {
	t.Helper()
	return r.Store.Update(t.Context(), func(tx *storage.Tx) error {
		err := tx.PutAlias(a)
		if errors.Is(err, storage.ErrNoAlias) {
			err = tx.NewAlias(a)
		}
		if err != nil {
			return err
		}
		return r.CheckAlias(tx, a)
	})
}

func send(t testing.TB, r *backend.Router, octets string, to ...string) error {
	t.Helper()
	e := &backend.Envelope{From: "a@hopital.test", Origin: "hopital.test", Octets: []byte(octets)}
	for _, x := range to {
		e.Rcpts = append(e.Rcpts, backend.Rcpt{Address: x})
	}
	return r.Accept(t.Context(), e)
}

// lines are the fields in front of the only message of an account's INBOX.
func lines(t testing.TB, r *backend.Router, id storage.AccountID) string {
	t.Helper()
	got := storagetest.Inbox(t, r.Store, id)
	if len(got) != 1 || !strings.HasSuffix(got[0], letter) {
		t.Fatalf("INBOX of %d: %q", id, got)
	}
	return strings.TrimSuffix(got[0], letter)
}

func TestSubAddresses(t *testing.T) {
	r, a, b := staff(t)
	exact := storagetest.Account(t, r.Store, "", "b+labo@hopital.test")
	for _, c := range []struct {
		separator, address string
		want               []storage.AccountID
	}{
		{"+", "a+x@hopital.test", []storage.AccountID{a}},
		{"+", "A+X+y@HOPITAL.test", []storage.AccountID{a}},
		{"+", "alias+@hopital.test", []storage.AccountID{a}},
		{"+", "b+labo@hopital.test", []storage.AccountID{exact}},
		{"+", "b+labo+x@hopital.test", []storage.AccountID{b}},
		{"+", "both+x@hopital.test", []storage.AccountID{a, b}},
		{"+", "+a@hopital.test", nil},
		{"+", "nobody+a@hopital.test", nil},
		{"-", "a-x@hopital.test", []storage.AccountID{a}},
		{"-", "a+x@hopital.test", nil},
		{"", "a+x@hopital.test", nil},
	} {
		r.SubAddress = c.separator
		got, err := r.Resolve(t.Context(), c.address)
		if !slices.Equal(got, c.want) || errors.Is(err, backend.ErrNoSuchUser) != (c.want == nil) {
			t.Errorf("%q, %s: %d, %v; want %d", c.separator, c.address, got, err, c.want)
		}
	}
	r.SubAddress = "+"
	if err := send(t, r, letter, "A+Congrès@hopital.test"); err != nil {
		t.Fatal(err)
	}
	if got, want := lines(t, r, a), "Return-Path: <a@hopital.test>\r\nDelivered-To: A+Congrès@hopital.test\r\n"; got != want {
		t.Errorf("in front: %q, want %q", got, want)
	}
}

func TestAListReachesEachAccountOnce(t *testing.T) {
	r, a, b := staff(t)
	if err := send(t, r, letter, "Outer+x@hopital.test", "b@hopital.test", "both@hopital.test"); err != nil {
		t.Fatal(err)
	}
	for id, who := range map[storage.AccountID]string{a: "a@hopital.test", b: "b@hopital.test"} {
		want := "Return-Path: <a@hopital.test>\r\nDelivered-To: " + who +
			"\r\nDelivered-To: both@hopital.test\r\nDelivered-To: Outer+x@hopital.test\r\n"
		if got := lines(t, r, id); got != want {
			t.Errorf("in front for %s: %q, want %q", who, got, want)
		}
	}
}

func TestMembersThatAreGoneArePassedOver(t *testing.T) {
	r, a, b := staff(t)
	if err := r.Store.EraseAccount(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Resolve(t.Context(), "both@hopital.test"); err != nil || !slices.Equal(got, []storage.AccountID{a}) {
		t.Errorf("without b: %d, %v", got, err)
	}
	// A domain that is ours no more is another server's.
	r.Domains = []string{"autre.test"}
	if got, err := r.Resolve(t.Context(), "both@hopital.test"); !errors.Is(err, backend.ErrRemote) {
		t.Errorf("in a domain that was ours: %d, %v", got, err)
	}
	r.Domains = []string{"hopital.test"}
	list(t, r, &storage.Alias{Address: "both@hopital.test", State: storage.Disabled, Members: []string{"a@hopital.test"}})
	if _, err := r.Resolve(t.Context(), "both@hopital.test"); !errors.Is(err, backend.ErrAliasOff) {
		t.Errorf("switched off: %v", err)
	}
	if got, err := r.Resolve(t.Context(), "outer@hopital.test"); err != nil || !slices.Equal(got, []storage.AccountID{a}) {
		t.Errorf("with a list that is switched off: %d, %v", got, err)
	}
	if err := r.Store.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := send(t, r, letter, "outer@hopital.test"); !errors.Is(err, backend.ErrAliasEmpty) {
		t.Errorf("with nobody left: %v", err)
	}
}

func TestListsLeadNowhereTwice(t *testing.T) {
	r, _, _ := staff(t)
	for _, members := range [][]string{
		{"both@hopital.test"},
		{"outer@hopital.test"},
		{"a@hopital.test", "OUTER+x@hopital.test"},
	} {
		if err := put(t, r, &storage.Alias{Address: "both@hopital.test", Members: members}); !errors.Is(err, backend.ErrAliasLoop) {
			t.Errorf("both made of %q: %v", members, err)
		}
	}
	// One that was stored past the check is found when mail comes.
	err := r.Store.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.PutAlias(&storage.Alias{Address: "both@hopital.test", Members: []string{"a@hopital.test", "outer@hopital.test"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"both@hopital.test", "outer@hopital.test"} {
		if _, err := r.Resolve(t.Context(), to); !errors.Is(err, backend.ErrAliasLoop) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestAliasLimits(t *testing.T) {
	r, _, _ := staff(t)
	r.Aliases = backend.AliasLimits{Members: 3, Depth: 2, Recipients: 3}
	storagetest.Account(t, r.Store, "", "c@hopital.test")
	storagetest.Account(t, r.Store, "", "d@hopital.test")
	for _, c := range []struct {
		address string
		members []string
		want    error
	}{
		{"new@hopital.test", []string{"a@hopital.test", "b@hopital.test", "c@hopital.test", "d@hopital.test"}, backend.ErrMembers},
		{"new@hopital.test", []string{"outer@hopital.test"}, backend.ErrAliasDepth},
		{"new@hopital.test", []string{"both@hopital.test", "c@hopital.test", "d@hopital.test"}, backend.ErrRecipients},
		{"new@hopital.test", []string{"both@hopital.test", "a@hopital.test", "c@hopital.test"}, nil},
		// What a change makes of the lists around counts too: new would be the third.
		{"both@hopital.test", []string{"deep@hopital.test"}, backend.ErrAliasDepth},
		{"both@hopital.test", []string{"a@hopital.test", "b@hopital.test", "d@hopital.test"}, backend.ErrRecipients},
	} {
		list(t, r, &storage.Alias{Address: "deep@hopital.test", Members: []string{"a@hopital.test"}})
		if err := put(t, r, &storage.Alias{Address: c.address, Members: c.members}); !errors.Is(err, c.want) {
			t.Errorf("%s of %q: %v, want %v", c.address, c.members, err, c.want)
		}
	}
	// A limit that was lowered since holds when mail comes.
	r.Aliases.Recipients = 1
	if _, err := r.Resolve(t.Context(), "both@hopital.test"); !errors.Is(err, backend.ErrRecipients) {
		t.Errorf("lowered recipients: %v", err)
	}
	r.Aliases = backend.AliasLimits{Depth: 1}
	if _, err := r.Resolve(t.Context(), "outer@hopital.test"); !errors.Is(err, backend.ErrAliasDepth) {
		t.Errorf("lowered depth: %v", err)
	}
}

func TestRecipientsOfOneMessageAreBounded(t *testing.T) {
	r, _, _ := newRouter(t)
	r.Aliases.Recipients = 2
	var to []string
	for n := range 3 {
		var members []string
		for m := range 2 {
			members = append(members, fmt.Sprintf("x%d%d@hopital.test", n, m))
			storagetest.Account(t, r.Store, "", members[m])
		}
		to = append(to, fmt.Sprintf("list%d@hopital.test", n))
		list(t, r, &storage.Alias{Address: to[n], Members: members})
	}
	if err := send(t, r, letter, to...); !errors.Is(err, backend.ErrRecipients) {
		t.Errorf("three lists: %v", err)
	}
	if err := send(t, r, letter, to[:2]...); err != nil {
		t.Errorf("two lists: %v", err)
	}
}

func TestMailThatComesBackToAListIsRefused(t *testing.T) {
	r, a, _ := staff(t)
	for _, been := range []string{"both@hopital.test", "BOTH+x@Hopital.test", "outer@hopital.test"} {
		octets := "Received: x\r\ndelivered-to:\r\n " + been + "\r\n" + letter
		if err := send(t, r, octets, "outer@hopital.test"); !errors.Is(err, backend.ErrMailLoop) {
			t.Errorf("delivered to %s before: %v", been, err)
		}
	}
	if got := storagetest.Inbox(t, r.Store, a); len(got) > 0 {
		t.Errorf("INBOX: %q", got)
	}
	// What a member forwards elsewhere, or quotes, goes round no circle.
	for _, octets := range []string{
		"Delivered-To: a@hopital.test\r\nDelivered-To: other@clinique.test\r\n" + letter,
		letter + "Delivered-To: both@hopital.test\r\n",
	} {
		if err := send(t, r, octets, "outer@hopital.test"); err != nil {
			t.Errorf("%q: %v", octets, err)
		}
	}
}

func TestWhoMayWriteToAList(t *testing.T) {
	r, _, b := staff(t)
	storagetest.Account(t, r.Store, "", "stranger@hopital.test")
	list(t, r, &storage.Alias{Address: "ours@hopital.test", Writers: storage.OurDomain, Members: []string{"outer@hopital.test"}})
	list(t, r, &storage.Alias{Address: "closed@hopital.test", Writers: storage.Members, Members: []string{"both@hopital.test"}})
	list(t, r, &storage.Alias{Address: "open@hopital.test", Members: []string{"closed@hopital.test"}})
	for _, c := range []struct {
		from, to string
		want     error
	}{
		{"", "both@hopital.test", nil},
		{"x@clinique.test", "both@hopital.test", nil},
		{"stranger@hopital.test", "ours@hopital.test", nil},
		{"nobody@hopital.test", "ours@hopital.test", backend.ErrNotOurs},
		{"both@hopital.test", "ours@hopital.test", backend.ErrNotOurs},
		{"a@clinique.test", "ours@hopital.test", backend.ErrNotOurs},
		{"", "ours@hopital.test", backend.ErrNotOurs},
		{"Alias@hopital.test", "closed@hopital.test", nil},
		{"b@hopital.test", "Closed+x@hopital.test", nil},
		{"stranger@hopital.test", "closed@hopital.test", backend.ErrNotMember},
		{"stranger@hopital.test", "closed+x@hopital.test", backend.ErrNotMember},
		{"", "closed@hopital.test", backend.ErrNotMember},
		{"not an address", "closed@hopital.test", backend.ErrNotMember},
		// The list that was written to decides.
		{"stranger@hopital.test", "open@hopital.test", nil},
		{"stranger@hopital.test", "a@hopital.test", nil},
		{"stranger@hopital.test", "nobody@hopital.test", backend.ErrNoSuchUser},
		{"stranger@hopital.test", "a@clinique.test", backend.ErrRemote},
	} {
		if err := r.MayWrite(t.Context(), c.from, c.to, 0); !errors.Is(err, c.want) {
			t.Errorf("%q to %s: %v, want %v", c.from, c.to, err, c.want)
		}
	}
	if err := r.Store.EraseAccount(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := r.MayWrite(t.Context(), "b@hopital.test", "closed@hopital.test", 0); !errors.Is(err, backend.ErrNotMember) {
		t.Errorf("erased member: %v", err)
	}
}

func TestPostmasterHearsEverybody(t *testing.T) {
	r, a, b := staff(t)
	r.Postmaster = "both@hopital.test"
	want := []storage.AccountID{a, b}
	hears := func(what string) {
		t.Helper()
		for _, to := range []string{"postmaster", "Postmaster@hopital.test"} {
			if got, err := r.Resolve(t.Context(), to); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %s is %d, %v; want %d", what, to, got, err, want)
			}
			if err := r.MayWrite(t.Context(), "", to, 0); err != nil {
				t.Errorf("%s: may not write to %s: %v", what, to, err)
			}
		}
	}
	hears("by the configuration")
	list(t, r, &storage.Alias{Address: "both@hopital.test", Writers: storage.Members, Members: []string{"a@hopital.test", "b@hopital.test"}})
	hears("by a closed list")
	list(t, r, &storage.Alias{Address: "postmaster@hopital.test", State: storage.Disabled, Members: []string{"b@hopital.test"}})
	hears("by an alias that is switched off")
	want = []storage.AccountID{b}
	list(t, r, &storage.Alias{Address: "postmaster@hopital.test", Writers: storage.Members, Members: []string{"b@hopital.test"}})
	hears("by an alias")
}
