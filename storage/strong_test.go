package storage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

var (
	noon = time.Unix(1_800_000_000, 0)
	ward = netip.MustParsePrefix("192.0.2.0/24")
)

// credentials is all that an account's log-ins are founded on.
type credentials struct {
	Cards     []storage.Card
	Window    *storage.LinkWindow
	Factor    *storage.Factor
	Challenge *storage.Challenge
	Grants    []storage.Grant
	Apps      []storage.AppPassword
	Verifier  *storage.Verifier
	Networks  []storage.KnownNetwork
}

func (d *disk) credentials(t testing.TB, a storage.AccountID) (c credentials) {
	t.Helper()
	err := d.View(t.Context(), func(tx *storage.Tx) (err error) {
		keep := func(e error) { err = errors.Join(err, e) }
		var e error
		c.Cards, e = tx.Cards(a)
		keep(e)
		c.Window, e = tx.LinkWindow(a)
		keep(e)
		c.Factor, e = tx.Factor(a)
		keep(e)
		c.Challenge, e = tx.Challenge(a)
		keep(e)
		c.Grants, e = tx.Grants(a)
		keep(e)
		c.Apps, e = tx.AppPasswords(a)
		keep(e)
		c.Verifier, e = tx.PasswordVerifier(a)
		keep(e)
		c.Networks, e = tx.KnownNetworks(a)
		keep(e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sample is what store puts, one of each, in an account that has nothing yet.
func sample() credentials {
	return credentials{
		Cards: []storage.Card{{Identity: "igc|899700000001", Holder: "holder-on-card", By: "first use", Linked: noon, Serial: "0af1",
			Issuer: "CN=issuer-of-card", NotAfter: noon.AddDate(3, 0, 0), LastUsed: noon}},
		Window: &storage.LinkWindow{Expected: "igc|899700000002", By: "operator", Until: noon},
		Factor: &storage.Factor{Contact: "contact@ailleurs.test", CodesOn: true, Since: noon, By: "medecin", Secret: []byte("totp-secret-20-octets"),
			LastStep: 60_000_000, Recovery: [][32]byte{{1}, {2}}, WrongDay: 20_833, Wrong: 2},
		Challenge: &storage.Challenge{ID: [16]byte{9}, Contact: "challenged@ailleurs.test", Created: noon, Expires: noon.Add(10 * time.Minute),
			Sent: []time.Time{noon, noon.Add(time.Minute)}, Wrong: 1, Void: true},
		Grants: []storage.Grant{{ID: 1, Tag: [16]byte([]byte("tag-of-the-grant")), Net: ward, Proto: "imap", Mech: "PLAIN", Factor: "code", Created: noon,
			LastUsed: noon, Until: noon.Add(24 * time.Hour), Asked: true}},
		Apps: []storage.AppPassword{{ID: 1, Name: "name-of-program", Hash: [32]byte([]byte("hash-of-the-application-password")),
			Verifier: storage.Verifier{StoredKey: [32]byte{3}, ServerKey: [32]byte{4}}, Protos: []string{"imap", "smtp"}, Net: ward, Level: 2,
			Created: noon, By: "medecin", Expires: noon.AddDate(0, 6, 0), LastUsed: noon, LastFrom: netip.MustParseAddr("192.0.2.7")}},
		Verifier: &storage.Verifier{StoredKey: [32]byte([]byte("stored-key-of-the-user-password.")), ServerKey: [32]byte{5}},
		Networks: []storage.KnownNetwork{{Net: ward, Last: noon}},
	}
}

func (d *disk) store(t testing.TB, a storage.AccountID, c credentials) {
	t.Helper()
	d.update(t, func(tx *storage.Tx) error {
		err := errors.Join(tx.PutLinkWindow(a, c.Window), tx.PutFactor(a, c.Factor), tx.PutChallenge(a, c.Challenge), tx.PutPasswordVerifier(a, c.Verifier))
		for i := range c.Cards {
			err = errors.Join(err, tx.PutCard(a, &c.Cards[i]))
		}
		for i := range c.Grants {
			err = errors.Join(err, tx.PutGrant(a, &c.Grants[i]))
		}
		for i := range c.Apps {
			err = errors.Join(err, tx.PutAppPassword(a, &c.Apps[i]))
		}
		return err
	})
	for _, n := range c.Networks {
		d.SawNetwork(a, n.Net, n.Last)
	}
}

func (d *disk) account(t testing.TB, a storage.AccountID) (x *storage.Account) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *storage.Tx) (err error) { x, err = tx.Account(a); return err }); err != nil {
		t.Fatal(err)
	}
	return x
}

func (d *disk) opens(t testing.TB, identity string) (ids []storage.AccountID) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *storage.Tx) (err error) { ids, err = tx.CardAccounts(identity); return err }); err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestCredentialsComeBack(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	if got := d.credentials(t, a); !reflect.DeepEqual(got, credentials{Factor: &storage.Factor{}}) {
		t.Errorf("a new account has %+v", got)
	}
	d.store(t, a, sample())
	if got := d.credentials(t, a); !reflect.DeepEqual(got, sample()) {
		t.Errorf("before the store is closed:\n%+v\nwant:\n%+v", got, sample())
	}
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	defer d.Close(t)
	if got := d.credentials(t, a); !reflect.DeepEqual(got, sample()) {
		t.Errorf("after:\n%+v\nwant:\n%+v", got, sample())
	}
	d.verify(t)
	d.update(t, func(tx *storage.Tx) error {
		return errors.Join(tx.PutLinkWindow(a, nil), tx.PutPasswordVerifier(a, nil), tx.DeleteGrant(a, 1), tx.DeleteAppPassword(a, 1))
	})
	if got := d.credentials(t, a); got.Window != nil || got.Verifier != nil || got.Grants != nil || got.Apps != nil {
		t.Errorf("after all was removed: %+v", got)
	}
}

func TestOneCardOpensAccountsInOrderOfLinking(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	link := func(to storage.AccountID, identity, serial string) {
		t.Helper()
		d.update(t, func(tx *storage.Tx) error { return tx.PutCard(to, &storage.Card{Identity: identity, Serial: serial}) })
	}
	cards := func() string {
		var names []string
		for _, c := range d.credentials(t, b).Cards {
			names = append(names, c.Identity+" "+c.Serial)
		}
		return strings.Join(names, ", ")
	}
	link(b, "igc|2", "first")
	link(b, "igc|1", "first")
	link(a, "igc|2", "first")
	link(b, "igc|2", "renewed") // is no new link
	if got := d.opens(t, "igc|2"); !slices.Equal(got, []storage.AccountID{b, a}) {
		t.Errorf("the card opens %v, want %d then %d", got, b, a)
	}
	if got := cards(); got != "igc|2 renewed, igc|1 first" {
		t.Errorf("b has %s", got)
	}
	if got := d.opens(t, "igc|"); got != nil {
		t.Errorf("the beginning of an identity opens %v", got)
	}

	wake, stop := d.Watch(storage.Topic{Account: b, Mailbox: storage.OfRecord})
	defer stop()
	epoch, other := d.account(t, b).Epoch, d.account(t, a).Epoch
	d.update(t, func(tx *storage.Tx) error { return tx.UnlinkCard(b, "igc|2") })
	if got := d.account(t, b).Epoch; got != epoch+1 {
		t.Errorf("epoch %d after unlinking, was %d", got, epoch)
	}
	if got := d.account(t, a).Epoch; got != other {
		t.Errorf("the other account's epoch moved from %d to %d", other, got)
	}
	<-wake
	err := d.Update(t.Context(), func(tx *storage.Tx) error { return tx.UnlinkCard(b, "igc|2") })
	if !errors.Is(err, storage.ErrNoCard) {
		t.Errorf("unlinked twice: %v", err)
	}
	link(b, "igc|2", "again")
	if got := d.opens(t, "igc|2"); !slices.Equal(got, []storage.AccountID{a, b}) {
		t.Errorf("linked again, the card opens %v, want %d then %d", got, a, b)
	}
	if got := cards(); got != "igc|1 first, igc|2 again" {
		t.Errorf("b has %s", got)
	}
	d.verify(t)
}

func TestErasedAccountKeepsNoCredentials(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	c := sample()
	d.store(t, a, c)
	d.store(t, b, sample())
	d.Flush(t)
	if n := len(d.keysOf(t, a)); n < 10 {
		t.Fatalf("the account has only %d keys to erase", n)
	}
	d.UsedGrant(a, 1, noon.Add(time.Hour))
	d.UsedCard(a, c.Cards[0].Identity, noon.Add(time.Hour))
	d.SawNetwork(a, netip.MustParsePrefix("198.51.100.0/24"), noon)
	if err := d.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := d.opens(t, c.Cards[0].Identity); !slices.Equal(got, []storage.AccountID{b}) {
		t.Errorf("the card opens %v", got)
	}
	for what, err := range map[string]error{
		"MAC":  d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.MAC(a, "code", nil); return err }),
		"link": d.Update(t.Context(), func(tx *storage.Tx) error { return tx.PutCard(a, &c.Cards[0]) }),
	} {
		if !errors.Is(err, storage.ErrNoAccount) {
			t.Errorf("%s of an erased account: %v", what, err)
		}
	}
	d.Flush(t)
	d.Reap(t)
	if left := d.keysOf(t, a); len(left) > 0 {
		t.Errorf("left of the account: %q", left)
	}
	if got := d.credentials(t, b); !reflect.DeepEqual(got, sample()) {
		t.Errorf("the other account has %+v", got)
	}
	d.verify(t)
}

// keysOf lists the keys that begin with an account, and the entries of cards that hold it.
func (d *disk) keysOf(t testing.TB, a storage.AccountID) (keys [][]byte) {
	t.Helper()
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Scan([]byte{'c'}, []byte{'x'}, func(k, v []byte) bool {
			mine := k[0] != 's' && binary.BigEndian.Uint32(k[1:]) == uint32(a)
			if k[0] == 'e' {
				mine = binary.LittleEndian.Uint32(v) == uint32(a)
			}
			if mine {
				keys = append(keys, bytes.Clone(k))
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestNumbersAreNeverGivenTwice(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	grant := func(to storage.AccountID) (id uint32) {
		g := storage.Grant{Tag: [16]byte{byte(to)}} // outside the change, which runs twice here
		d.update(t, func(tx *storage.Tx) error { return tx.PutGrant(to, &g) })
		return g.ID
	}
	app := func(to storage.AccountID) (id uint32) {
		p := storage.AppPassword{Hash: [32]byte{byte(to)}}
		d.update(t, func(tx *storage.Tx) error { return tx.PutAppPassword(to, &p) })
		return p.ID
	}
	for want := uint32(1); want <= 3; want++ {
		if got := grant(a); got != want {
			t.Errorf("grant %d, want %d", got, want)
		}
		if got := app(a); got != want {
			t.Errorf("application password %d, want %d", got, want)
		}
		if want == 2 {
			continue // stays
		}
		d.update(t, func(tx *storage.Tx) error { return errors.Join(tx.DeleteGrant(a, want), tx.DeleteAppPassword(a, want)) })
	}
	if grant(b) != 1 || app(b) != 1 {
		t.Error("another account does not count for itself")
	}
	got := d.credentials(t, a)
	if len(got.Grants) != 1 || got.Grants[0].ID != 2 || len(got.Apps) != 1 || got.Apps[0].ID != 2 {
		t.Errorf("left are %+v", got)
	}
	// What has an ID is replaced.
	got.Grants[0].Asked, got.Apps[0].Name = true, "renamed"
	d.update(t, func(tx *storage.Tx) error {
		return errors.Join(tx.PutGrant(a, &got.Grants[0]), tx.PutAppPassword(a, &got.Apps[0]))
	})
	if after := d.credentials(t, a); !reflect.DeepEqual(after, got) {
		t.Errorf("replaced: %+v, want %+v", after, got)
	}
	for what, err := range map[string][2]error{
		"grant": {storage.ErrNoGrant, d.Update(t.Context(), func(tx *storage.Tx) error { return tx.DeleteGrant(a, 1) })},
		"application password": {storage.ErrNoAppPassword,
			d.Update(t.Context(), func(tx *storage.Tx) error { return tx.DeleteAppPassword(a, 1) })},
		"reading": {storage.ErrNoAppPassword, d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.AppPassword(a, 1); return err })},
	} {
		if !errors.Is(err[1], err[0]) {
			t.Errorf("%s that is gone: %v", what, err[1])
		}
	}
}

func TestCredentialsAreSealedOnDisk(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	c := sample()
	d.store(t, a, c)
	d.Close(t)
	octets, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(octets, []byte("a@hopital.test")) {
		t.Fatal("not even the address is found: the test looks in the wrong place")
	}
	for what, secret := range map[string][]byte{
		"identity": []byte(c.Cards[0].Identity), "national id": []byte("899700000001"), "holder": []byte(c.Cards[0].Holder),
		"issuer": []byte(c.Cards[0].Issuer), "expected card": []byte("899700000002"), "contact": []byte(c.Factor.Contact), "TOTP secret": c.Factor.Secret,
		"challenged contact": []byte(c.Challenge.Contact), "grant's tag": c.Grants[0].Tag[:],
		"name of a program": []byte(c.Apps[0].Name), "hash": c.Apps[0].Hash[:], "verifier": c.Verifier.StoredKey[:],
	} {
		if bytes.Contains(octets, secret) {
			t.Errorf("the index tells the %s", what)
		}
	}
}

func TestNewCredentialsEndGrants(t *testing.T) {
	for what, change := range map[string]func(*storage.Tx, storage.AccountID) error{
		"password": func(tx *storage.Tx, a storage.AccountID) error { return tx.SetPassword(a, "$new") },
		"disabled": func(tx *storage.Tx, a storage.AccountID) error { return tx.SetState(a, storage.Disabled) },
		"unlinked": func(tx *storage.Tx, a storage.AccountID) error { return tx.UnlinkCard(a, sample().Cards[0].Identity) },
		"epoch":    func(tx *storage.Tx, a storage.AccountID) error { return tx.MoveEpoch(a) },
		"rehash":   func(tx *storage.Tx, a storage.AccountID) error { return tx.Rehash(a, "$same") },
	} {
		d, a := newStore(t, storage.Limits{})
		d.store(t, a, sample())
		before := d.account(t, a).Epoch
		d.update(t, func(tx *storage.Tx) error { return change(tx, a) })
		got := d.credentials(t, a)
		if ended := got.Grants == nil; ended != (what != "epoch" && what != "rehash") {
			t.Errorf("%s: grants are %v", what, got.Grants)
		}
		if gone := got.Verifier == nil; gone != (what == "password") {
			t.Errorf("%s: the password's verifier is %v", what, got.Verifier)
		}
		if len(got.Apps) != 1 {
			t.Errorf("%s: application passwords are %v", what, got.Apps)
		}
		if moved := d.account(t, a).Epoch == before+1; moved != (what != "rehash") {
			t.Errorf("%s: epoch %d, was %d", what, d.account(t, a).Epoch, before)
		}
	}
}

// A verifier that comes in the same change as its password is kept.
func TestPasswordWithItsVerifier(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	d.store(t, a, sample())
	v := storage.Verifier{StoredKey: [32]byte{77}}
	d.update(t, func(tx *storage.Tx) error {
		return errors.Join(tx.SetPassword(a, "$new"), tx.PutPasswordVerifier(a, &v))
	})
	if got := d.credentials(t, a).Verifier; got == nil || *got != v {
		t.Errorf("verifier %v", got)
	}
}

func TestMACIsTheAccounts(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	mac := func(a storage.AccountID, label, data string) (m [16]byte) {
		t.Helper()
		err := d.View(t.Context(), func(tx *storage.Tx) (err error) { m, err = tx.MAC(a, label, []byte(data)); return err })
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := mac(a, "code", "1")
	if again := mac(a, "code", "1"); again != first {
		t.Error("not the same twice")
	}
	for what, other := range map[string][16]byte{"account": mac(b, "code", "1"), "label": mac(a, "grant", "1"), "data": mac(a, "code", "2")} {
		if other == first {
			t.Errorf("the same for another %s", what)
		}
	}
	err := d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.MAC(999, "code", nil); return err })
	if !errors.Is(err, storage.ErrNoAccount) {
		t.Errorf("of no account: %v", err)
	}
}
