package storage_test

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"telesphore/storage"
)

func TestLateUsesAreSeenAtOnceAndAfterwards(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	d.store(t, a, sample())
	identity := sample().Cards[0].Identity
	later, home := noon.Add(time.Hour), netip.MustParseAddr("2001:db8::5")
	want := sample()
	want.Cards[0].LastUsed, want.Grants[0].LastUsed = later, later
	want.Apps[0].LastUsed, want.Apps[0].LastFrom = later, home
	want.Networks = []storage.KnownNetwork{{Net: netip.MustParsePrefix("2001:db8::/64"), Last: later}, {Net: ward, Last: noon}}

	d.UsedCard(a, identity, later)
	d.UsedGrant(a, 1, later.Add(900*time.Millisecond)) // records keep whole seconds
	d.UsedAppPassword(a, 1, home, later)
	d.SawNetwork(a, want.Networks[0].Net, later)
	// Older ones and what never was change nothing.
	d.UsedCard(a, identity, noon)
	d.UsedAppPassword(a, 1, netip.MustParseAddr("192.0.2.9"), noon)
	d.UsedGrant(a, 99, later)
	d.UsedCard(a, "igc|unlinked", later)
	d.UsedAppPassword(999, 1, home, later)
	d.SawNetwork(a, netip.Prefix{}, later)

	check := func(when string) {
		t.Helper()
		if got := d.credentials(t, a); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v\nwant:\n%+v", when, got, want)
		}
		err := d.View(t.Context(), func(tx *storage.Tx) error {
			p, err := tx.AppPassword(a, 1)
			if err == nil && !reflect.DeepEqual(*p, want.Apps[0]) {
				t.Errorf("%s, alone: %+v", when, p)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	check("in memory")
	d.Flush(t)
	check("flushed")
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	defer func() { d.Close(t) }()
	check("reopened")
	// Closing writes what is late, too.
	later = later.Add(time.Hour)
	d.UsedGrant(a, 1, later)
	want.Grants[0].LastUsed = later
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	check("reopened again")
}

func TestLateUseBringsNothingBack(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	d.store(t, a, sample())
	d.UsedGrant(a, 1, noon.Add(time.Hour))
	d.UsedAppPassword(a, 1, netip.Addr{}, noon.Add(time.Hour))
	d.UsedCard(a, sample().Cards[0].Identity, noon.Add(time.Hour))
	d.update(t, func(tx *storage.Tx) error {
		return errors.Join(tx.DeleteGrant(a, 1), tx.DeleteAppPassword(a, 1), tx.UnlinkCard(a, sample().Cards[0].Identity))
	})
	for range 2 {
		if got := d.credentials(t, a); got.Grants != nil || got.Apps != nil || got.Cards != nil {
			t.Errorf("came back: %+v", got)
		}
		d.Flush(t)
	}
	for _, table := range "degw" {
		if n := d.CountKeys(t, byte(table)); n != 0 {
			t.Errorf("table %c has %d keys", table, n)
		}
	}
}

// More accounts than one change may write for are flushed all the same.
func TestManyLateUses(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	for id := range storage.AccountID(12_000) {
		d.LoggedIn(1000+id, noon) // accounts that are gone
		d.SawNetwork(1000+id, ward, noon)
	}
	d.LoggedIn(a, noon)
	d.SawNetwork(a, ward, noon)
	d.Flush(t)
	if n := d.CountKeys(t, 'f'); n != 1 {
		t.Errorf("%d accounts have networks on disk", n)
	}
	if got := d.account(t, a).LastLogin; !got.Equal(noon) {
		t.Errorf("last log-in %v", got)
	}
}

func TestNetworksAreBounded(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	network := func(i int) netip.Prefix { return netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i)) }
	check := func() {
		t.Helper()
		got := d.credentials(t, a).Networks
		if len(got) != storage.MaxNetworks {
			t.Fatalf("%d networks are known", len(got))
		}
		for i, n := range got {
			if want := storage.MaxNetworks + 5 - i; n.Net != network(want) || !n.Last.Equal(noon.Add(time.Duration(want)*time.Minute)) {
				t.Errorf("place %d has %v of %v", i, n.Net, n.Last)
			}
		}
	}
	for i := range storage.MaxNetworks + 6 {
		d.SawNetwork(a, network(i), noon.Add(time.Duration(i)*time.Minute))
		if i%9 == 0 {
			d.Flush(t)
		}
	}
	check()
	d.Flush(t)
	check()
	const day = 24 * time.Hour
	d.SawNetwork(a, ward, noon.Add(90*day)) // the others are of after noon
	d.Flush(t)
	if got := d.credentials(t, a).Networks; len(got) != storage.MaxNetworks || got[0].Net != ward {
		t.Errorf("after 90 days: %d networks, the first is %v", len(got), got[0])
	}
	d.SawNetwork(a, ward, noon.Add(91*day))
	d.Flush(t)
	if got := d.credentials(t, a).Networks; len(got) != 1 || got[0].Net != ward {
		t.Errorf("after 91 days: %+v", got)
	}
}
