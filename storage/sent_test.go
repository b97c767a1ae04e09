package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"telesphore/storage"
)

// spend sends to recipients without limits.
func (d *disk) spend(t testing.TB, a storage.AccountID, at time.Time, to ...string) {
	t.Helper()
	d.spendWithin(t, a, at, storage.SendLimits{}, nil, to...)
}

// spendWithin sends within limits, after asking whether that may be.
func (d *disk) spendWithin(t testing.TB, a storage.AccountID, at time.Time, l storage.SendLimits, want error, to ...string) {
	t.Helper()
	may := d.View(t.Context(), func(tx *storage.Tx) error { return tx.MaySend(a, at, to, l) })
	err := d.Update(t.Context(), func(tx *storage.Tx) error { return tx.Spend(a, at, to, l) })
	if !errors.Is(may, want) || !errors.Is(err, want) {
		t.Errorf("to %v: may send: %v, sent: %v; want %v", to, may, err, want)
	}
}

func (d *disk) sentOn(t testing.TB, a storage.AccountID, at time.Time) (s storage.Sent) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *storage.Tx) (err error) { s, err = tx.SentOn(a, at); return err }); err != nil {
		t.Fatal(err)
	}
	return s
}

func (d *disk) sentDays(t testing.TB, a storage.AccountID, days int) (all []storage.Sent) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *storage.Tx) (err error) { all, err = tx.SentDays(a, days); return err }); err != nil {
		t.Fatal(err)
	}
	return all
}

func (d *disk) wroteTo(t testing.TB, a storage.AccountID, address string) (known bool) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *storage.Tx) (err error) { known, err = tx.WroteTo(a, address); return err }); err != nil {
		t.Fatal(err)
	}
	return known
}

func TestSendQuotaOverMidnight(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	l := storage.SendLimits{Messages: 5, First: 2}
	// The day is that of UTC, wherever the server stands.
	paris := time.FixedZone("UTC+2", 2*60*60)
	evening := time.Date(2027, 3, 2, 23, 59, 59, 0, time.UTC)
	midnight := time.Date(2027, 3, 3, 2, 0, 0, 0, paris)

	d.spendWithin(t, a, evening, l, nil, "x@ailleurs.test", "y@ailleurs.test")
	d.spendWithin(t, a, evening, l, storage.ErrSendQuota, "z@ailleurs.test")                    // a third new one
	d.spendWithin(t, a, evening, l, storage.ErrSendQuota, "x@ailleurs.test", "z@ailleurs.test") // all or nothing
	d.spendWithin(t, a, evening, l, nil, "x@ailleurs.test", "y@ailleurs.test")
	d.spendWithin(t, a, evening.Add(-24*time.Hour), l, nil, "x@ailleurs.test") // a clock that went back
	d.spendWithin(t, a, evening, l, nil, "x@ailleurs.test")
	d.spendWithin(t, a, evening, l, storage.ErrSendQuota, "x@ailleurs.test")
	d.spendWithin(t, a, evening, l, nil) // nobody
	d.spendWithin(t, b, evening, l, nil, "z@ailleurs.test")
	d.spendWithin(t, a, midnight, l, nil, "z@ailleurs.test", "x@ailleurs.test", "y@ailleurs.test")

	day := func(day, messages, first int) storage.Sent {
		return storage.Sent{Day: time.Date(2027, 3, day, 0, 0, 0, 0, time.UTC), Messages: messages, First: first}
	}
	if got, want := d.sentDays(t, a, 9), []storage.Sent{day(3, 3, 1), day(2, 5, 2), day(1, 1, 0)}; !reflect.DeepEqual(got, want) {
		t.Errorf("sent %+v, want %+v", got, want)
	}
	if got, want := d.sentDays(t, a, 2), []storage.Sent{day(3, 3, 1), day(2, 5, 2)}; !reflect.DeepEqual(got, want) {
		t.Errorf("of two days %+v, want %+v", got, want)
	}
	if got := d.sentDays(t, a, 0); got != nil {
		t.Errorf("of no days %+v", got)
	}
	for at, want := range map[time.Time]storage.Sent{evening: day(2, 5, 2), midnight: day(3, 3, 1), midnight.AddDate(0, 0, 1): day(4, 0, 0)} {
		if got := d.sentOn(t, a, at); got != want {
			t.Errorf("at %v %+v, want %+v", at, got, want)
		}
	}
	if got, want := d.sentOn(t, b, evening), day(2, 1, 1); got != want {
		t.Errorf("the other account %+v, want %+v", got, want)
	}
	d.verify(t)
}

func TestSendLimits(t *testing.T) {
	known, first, second := "known@ailleurs.test", "new1@ailleurs.test", "new2@ailleurs.test"
	for _, test := range []struct {
		name   string
		limits storage.SendLimits
		to     []string
		want   error
	}{
		{"none", storage.SendLimits{}, []string{known, first, second}, nil},
		{"just as many", storage.SendLimits{Messages: 5, First: 4}, []string{known, first, second}, nil},
		{"one too many", storage.SendLimits{Messages: 4}, []string{known, first, second}, storage.ErrSendQuota},
		{"one too new", storage.SendLimits{First: 3}, []string{first, second}, storage.ErrSendQuota},
		{"none is new", storage.SendLimits{First: 1}, []string{known}, nil},
		{"twice the same is new once", storage.SendLimits{First: 3, Messages: 4}, []string{first, first}, nil},
		{"twice the same counts twice", storage.SendLimits{Messages: 3}, []string{first, first}, storage.ErrSendQuota},
		{"a limit that was lowered", storage.SendLimits{Messages: 1}, []string{known}, storage.ErrSendQuota},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, a := newStore(t, storage.Limits{})
			d.spend(t, a, noon, known, "another@ailleurs.test")
			d.spendWithin(t, a, noon, test.limits, test.want, test.to...)
			sent := test.want == nil
			if got := d.wroteTo(t, a, test.to[0]); got != (sent || test.to[0] == known) {
				t.Errorf("known afterwards: %v", got)
			}
			if got := d.sentOn(t, a, noon).Messages; sent && got != 2+len(test.to) || !sent && got != 2 {
				t.Errorf("%d messages are counted", got)
			}
		})
	}
}

// What nobody of ours sends is nobody's to count.
func TestMailOfNobodyIsNotCounted(t *testing.T) {
	d, _ := newStore(t, storage.Limits{})
	err := d.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.Spend(0, noon, []string{"x@ailleurs.test"}, storage.SendLimits{Messages: 1})
	})
	if n := d.CountKeys(t, 'C') + d.CountKeys(t, 'D'); n != 0 || err != nil {
		t.Errorf("%d entries, %v", n, err)
	}
}

// Whoever sends on many connections at once gets no more through than on one.
func TestSendQuotaAtOnce(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	l := storage.SendLimits{Messages: 20, First: 7}
	var sent [2]atomic.Int32
	var all sync.WaitGroup
	for i := range 40 {
		for j, account := range []storage.AccountID{a, b} {
			all.Go(func() {
				err := d.Update(t.Context(), func(tx *storage.Tx) error {
					return tx.Spend(account, noon, []string{fmt.Sprintf("%d@ailleurs.test", i)}, l)
				})
				if err == nil {
					sent[j].Add(1)
				} else if !errors.Is(err, storage.ErrSendQuota) {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	for j, account := range []storage.AccountID{a, b} {
		if got := d.sentOn(t, account, noon); sent[j].Load() != 7 || got.Messages != 7 || got.First != 7 {
			t.Errorf("account %d: %d went through, counted %+v", account, sent[j].Load(), got)
		}
	}
}

func TestRecipientsAreCountedForGoodAndNotTold(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	b := d.newAccount(t, "b@hopital.test")
	d.spend(t, a, noon, "known@ailleurs.test")
	d.spend(t, b, noon, "known@ailleurs.test")
	var names [][]byte
	d.Spoil(t, 'D', func(v []byte) []byte { names = append(names, v); return v })
	d.Close(t)
	octets, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(octets, []byte("a@hopital.test")) || bytes.Contains(octets, []byte("ailleurs")) {
		t.Error("the index tells a recipient, or the test looks in the wrong place")
	}
	d = open(t, dir, storage.Limits{})
	defer func() { d.Close(t) }()
	if !d.wroteTo(t, a, "known@ailleurs.test") || d.wroteTo(t, a, "other@ailleurs.test") || len(names) != 2 {
		t.Error("the recipient is not known after a restart, or another one is")
	}
	if got := d.sentOn(t, a, noon); got.Messages != 1 || got.First != 1 {
		t.Errorf("after a restart %+v is counted", got)
	}
}

func TestDamagedCountersAreRefused(t *testing.T) {
	for table, problem := range map[byte]string{'C': "days of mail of account 1", 'D': "recipients of account 1"} {
		d, a := newStore(t, storage.Limits{})
		d.spend(t, a, noon, "x@ailleurs.test")
		d.Spoil(t, table, func(v []byte) []byte { return v[:len(v)-1] })
		err := d.Update(t.Context(), func(tx *storage.Tx) error {
			return tx.Spend(a, noon, []string{"x@ailleurs.test"}, storage.SendLimits{})
		})
		if !errors.Is(err, storage.ErrRecord) {
			t.Errorf("table %c: %v", table, err)
		}
		if got := d.problems(t); len(got) != 1 || got[0][:len(problem)] != problem {
			t.Errorf("table %c: Verify reports %q", table, got)
		}
	}
}
