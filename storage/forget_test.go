package storage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"telesphore/storage"
)

// aged is a trace of a message that was sent some days after noon. Its ID rises with the time.
func aged(a storage.AccountID, days int) storage.Trace {
	return storage.Trace{
		ID: storage.QueueID(1<<40 + 10*days), Account: a, Name: fmt.Sprint("n", days), MessageID: fmt.Sprintf("<%d@hopital.test>", days),
		Sent: noon.AddDate(0, 0, days), Recipients: []storage.Traced{{Address: "x@ailleurs.test"}},
	}
}

func TestOldTracesAreDropped(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	young := d.newAccount(t, "c@hopital.test")
	big := aged(a, 3)
	big.Recipients = slices.Repeat(big.Recipients, 100)
	again := aged(a, 5) // has the Message-ID of one that stays
	again.ID, again.Name, again.MessageID = again.ID+1, "again", aged(a, 30).MessageID
	d.put(t, aged(a, 1), big, aged(a, 5), again, aged(a, 20), aged(a, 30), aged(b, 2), aged(b, 40), aged(young, 50))

	drop := func(days, want int) {
		t.Helper()
		if n, err := d.DropTraces(t.Context(), noon.AddDate(0, 0, days)); n != want || err != nil {
			t.Errorf("before day %d %d are dropped, %v; want %d", days, n, err, want)
		}
	}
	drop(0, 0)
	drop(1, 0)
	wake, stop := d.Watch(storage.Topic{Account: a, Mailbox: storage.OfTraces})
	defer stop()
	drop(20, 5)
	<-wake
	drop(20, 0)
	if got, want := d.traces(t, a, 0), []storage.QueueID{aged(a, 30).ID, aged(a, 20).ID}; !slices.Equal(got, want) {
		t.Errorf("left are %v, want %v", got, want)
	}
	if n := d.CountKeys(t, 'y'); n != 4 {
		t.Errorf("%d records are left, want one of each trace", n)
	}
	if n := d.CountKeys(t, 'z'); n != 8 {
		t.Errorf("%d names are left, want two of each trace", n)
	}
	for _, gone := range []storage.Trace{big, again} {
		if _, failed := d.findTrace(t, a, gone.ID, gone.Name, "<5@hopital.test>"); !errors.Is(failed[0], storage.ErrNoTrace) || failed[1] == nil || failed[2] == nil {
			t.Errorf("%s: %v", gone.Name, failed)
		}
	}
	found, failed := d.findTrace(t, a, 0, "n30", again.MessageID)
	if failed[1] != nil || failed[2] != nil || found[2].ID != aged(a, 30).ID {
		t.Errorf("the one that stays is not found: %v", failed)
	}
	d.verify(t)
	drop(1000, 4)
	if n := d.CountKeys(t, 'y') + d.CountKeys(t, 'z'); n != 0 {
		t.Errorf("%d keys are left of nothing", n)
	}
}

// The clock may have been wrong: no young trace is dropped, and what cannot be read stops nothing.
func TestDroppingSurvivesWrongDatesAndDamage(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	wrong := aged(a, 4)
	wrong.Sent = noon.AddDate(50, 0, 0)
	late := aged(a, 30)
	late.Sent = noon.AddDate(-20, 0, 0)
	d.put(t, aged(a, 1), aged(a, 2), wrong, aged(a, 6), aged(a, 20), late, aged(a, 40))
	n := 0
	d.Spoil(t, 'y', func(v []byte) []byte {
		if n++; n == 6 { // the newest comes first: that of day 2
			return v[:20]
		}
		return v
	})
	if n, err := d.DropTraces(t.Context(), noon.AddDate(0, 0, 10)); n < 2 || err != nil {
		t.Errorf("%d are dropped, %v", n, err)
	}
	for _, tr := range []storage.Trace{wrong, aged(a, 20), aged(a, 40)} {
		if _, failed := d.findTrace(t, a, tr.ID, "", ""); failed[0] != nil {
			t.Errorf("that of %v: %v", tr.Sent, failed[0])
		}
	}
	if _, failed := d.findTrace(t, a, aged(a, 2).ID, "", ""); !errors.Is(failed[0], storage.ErrRecord) {
		t.Errorf("the damaged one: %v", failed[0])
	}
	for _, tr := range []storage.Trace{aged(a, 1), aged(a, 6)} {
		if _, failed := d.findTrace(t, a, tr.ID, "", ""); !errors.Is(failed[0], storage.ErrNoTrace) {
			t.Errorf("that of %v: %v", tr.Sent, failed[0])
		}
	}
}

// More than fit one change are dropped in several, and an end of the context leaves the rest.
func TestManyOldTraces(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	const all, old = 2500, 2300
	for first := 0; first < all; first += 500 {
		var some []storage.Trace
		for i := range 500 {
			some = append(some, aged(a, first+i))
		}
		d.put(t, some...)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := d.DropTraces(over, noon.AddDate(0, 0, old)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("after the end %d are dropped, %v", n, err)
	}
	n, err := d.DropTraces(t.Context(), noon.AddDate(0, 0, old))
	if left := len(d.traces(t, a, 0)); n != old || err != nil || left != all-old {
		t.Errorf("%d are dropped, %v; %d are left", n, err, left)
	}
}

func TestOldCountersAreForgotten(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	for _, s := range []struct {
		account storage.AccountID
		days    int
		to      []string
	}{
		{a, 0, []string{"old@ailleurs.test", "both@ailleurs.test"}}, {a, 10, []string{"both@ailleurs.test", "new@ailleurs.test"}},
		{b, 0, []string{"old@ailleurs.test"}},
	} {
		d.spend(t, s.account, noon.AddDate(0, 0, s.days), s.to...)
	}
	forget := func(days, want int) {
		t.Helper()
		if n, err := d.DropSent(t.Context(), noon.AddDate(0, 0, days)); n != want || err != nil {
			t.Errorf("before day %d %d entries are forgotten, %v; want %d", days, n, err, want)
		}
	}
	forget(0, 0) // a day is forgotten as a whole
	forget(1, 4) // two days and old@ twice
	if got := d.sentDays(t, a, 9); len(got) != 1 || !got[0].Day.Equal(noon.AddDate(0, 0, 10).UTC().Truncate(24*time.Hour)) {
		t.Errorf("left are %+v", got)
	}
	for address, want := range map[string]bool{"old@ailleurs.test": false, "both@ailleurs.test": true, "new@ailleurs.test": true} {
		if got := d.wroteTo(t, a, address); got != want {
			t.Errorf("%s is known: %v", address, got)
		}
	}
	forget(11, 3)
	if n := d.CountKeys(t, 'C') + d.CountKeys(t, 'D'); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	// A record that cannot be read is no reason to stop.
	d.spend(t, a, noon, "x@ailleurs.test", "y@ailleurs.test")
	n := 0
	d.Spoil(t, 'D', func(v []byte) []byte { n++; return v[:len(v)-n%2] })
	forget(11, 2)
}

func TestManyOldRecipients(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	for i := range 5 {
		var to []string
		for j := range 1000 {
			to = append(to, fmt.Sprintf("%d@ailleurs.test", 1000*i+j))
		}
		d.spend(t, a, noon.AddDate(0, 0, i), to...)
	}
	if n, err := d.DropSent(t.Context(), noon.AddDate(0, 0, 4)); n != 4004 || err != nil {
		t.Errorf("%d entries are forgotten, %v", n, err)
	}
	if n := d.CountKeys(t, 'D'); n != 1000 {
		t.Errorf("%d recipients are left", n)
	}
}
