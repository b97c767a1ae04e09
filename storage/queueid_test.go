package storage_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
)

func TestQueueIDAsText(t *testing.T) {
	for id, want := range map[storage.QueueID]string{1: "1", 36: "10", 1<<40 + 17: "e13wu1ox", math.MaxUint64: "3w5e11264sgsf"} {
		if got := id.String(); got != want {
			t.Errorf("%d is written %q, want %q", uint64(id), got, want)
		}
		if back, err := storage.ParseQueueID(want); err != nil || back != id {
			t.Errorf("%q is read as %d, %v", want, back, err)
		}
	}
	for _, text := range []string{"", "0", "00", "01", "E13WU1OX", "-1", "+1", " 1", "1 ", "1_0", "é", "3w5e11264sgsg", "zzzzzzzzzzzzzzzzz"} {
		if id, err := storage.ParseQueueID(text); !errors.Is(err, storage.ErrQueueID) {
			t.Errorf("%q is read as %d, %v", text, id, err)
		}
	}
}

func TestQueueIDsAscend(t *testing.T) {
	s := storagetest.Open(t, t.TempDir(), storage.Config{}, body.Options{}, false)
	defer s.Close(t)
	now := time.Now()
	const messages = 1500
	for range messages {
		c, err := s.Seal([]byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		q := &storage.Queued{Arrived: now, Expires: now, Deliveries: []storage.Delivery{{Address: "a@clinique.test"}}}
		if _, err := s.Accept(t.Context(), c, &storage.Acceptance{Queue: q}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(behind storage.QueueID, most int) (ids []storage.QueueID) {
		t.Helper()
		err := s.View(t.Context(), func(tx *storage.Tx) error {
			return tx.QueueIDs(behind, func(id storage.QueueID) bool {
				ids = append(ids, id)
				return len(ids) < most
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	all := read(0, messages+1)
	if len(all) != messages {
		t.Fatalf("%d IDs, want %d", len(all), messages)
	}
	for i := 1; i < len(all); i++ {
		if all[i] <= all[i-1] {
			t.Fatalf("ID %d stands behind %d", all[i], all[i-1])
		}
	}
	if got := read(all[9], 3); fmt.Sprint(got) != fmt.Sprint(all[10:13]) {
		t.Errorf("behind the tenth: %v", got)
	}
	if got := read(all[messages-1], 3); len(got) > 0 {
		t.Errorf("behind the last: %v", got)
	}
}

// A message for nobody is damage: it would stay for ever.
func TestMessageWithoutDeliveries(t *testing.T) {
	d, _ := newStore(t, storage.Limits{})
	q := to("x@clinique.test")
	d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
	d.Spoil(t, 'B', func([]byte) []byte { return nil })
	if _, err := d.queued(t, q.ID); !errors.Is(err, storage.ErrQueueDamaged) {
		t.Errorf("read with %v", err)
	}
	err := d.Update(t.Context(), func(tx *storage.Tx) error {
		n, err := tx.DropQueued(q.ID)
		if n != 0 {
			t.Errorf("%d deliveries", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.verify(t)
}

// A person can take out what nobody can read, and only that goes.
func TestDropQueuedReadsNothing(t *testing.T) {
	for _, tables := range []string{"", "A", "B", "AB"} {
		d, _ := newStore(t, storage.Limits{})
		damaged, other := to("x@clinique.test", "y@labo.test"), to("z@clinique.test")
		d.acceptAll(t, "damaged", &storage.Acceptance{Queue: damaged})
		for _, table := range []byte(tables) {
			d.Spoil(t, table, func(v []byte) []byte { return v[:3] })
		}
		d.acceptAll(t, "other", &storage.Acceptance{Queue: other})
		drop := func(id storage.QueueID) (n int, err error) {
			err = d.Update(t.Context(), func(tx *storage.Tx) error { n, err = tx.DropQueued(id); return err })
			return n, err
		}
		if n, err := drop(damaged.ID); n != 2 || err != nil {
			t.Errorf("tables %q: %d deliveries, %v", tables, n, err)
		}
		if n, err := drop(damaged.ID); n != 0 || !errors.Is(err, storage.ErrNoQueued) {
			t.Errorf("tables %q: again %d deliveries, %v", tables, n, err)
		}
		if got := d.showQueue(t); got != "N1: other 0 0 z@clinique.test" {
			t.Errorf("tables %q: left %q", tables, got)
		}
		d.verify(t)
	}
}
