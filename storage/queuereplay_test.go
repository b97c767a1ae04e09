package storage_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/storage"
	"telesphore/storage/storagetest"
)

// noise gives octets that do not compress.
func noise() func(n int) string {
	r := rand.New(rand.NewPCG(1, 1))
	return func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
}

// followed shows what an account knows of what it has sent.
func (d *disk) followed(t *testing.T, a storage.AccountID) (lines string) {
	t.Helper()
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		sent, err := tx.SentDays(a, 9)
		for _, s := range sent {
			lines += fmt.Sprintf("%d to others, %d new\n", s.Messages, s.First)
		}
		return errors.Join(err, tx.Traces(a, 0, func(tr *storage.Trace) bool {
			lines += fmt.Sprintf("%s %s %d\n", tr.Name, tr.Recipients[0].Address, tr.Recipients[0].Stage())
			return true
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestReplayOfTheQueue takes the index back to what it was before messages came
// into the queue and left it.
func TestReplayOfTheQueue(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a, gone := d.newAccount(t, "medecin@hopital.test"), d.newAccount(t, "gone@hopital.test")
	early := to("early@clinique.test", "late@clinique.test")
	early.Name = "N0"
	d.acceptAll(t, "early", &storage.Acceptance{Queue: early})
	d.Close(t)
	index := filepath.Join(dir, "index.db")
	before, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}

	d = open(t, dir, storage.Limits{})
	d.update(t, func(tx *storage.Tx) error { _, err := tx.CreateMailbox(a, "lost", 0); return err })
	accept := func(name string, box string, sender storage.AccountID, changes ...storage.DeliveryChange) *storage.Queued {
		q := to(name+"@clinique.test", "labo@clinique.test")
		q.Name, q.Account, q.Prefix = name, sender, []byte("P: "+name+"\r\n")
		q.Arrived, q.Deliveries[1].State = time.Unix(1_800_000_000, 0), storage.Held
		x := &storage.Acceptance{Queue: q, Changes: changes}
		if box != "" {
			x.Targets = []storage.Target{{Account: a, Name: box}}
		}
		if sender != 0 {
			x.Trace = &storage.Trace{Account: sender, Name: name, Recipients: []storage.Traced{{Address: name + "@clinique.test"}}}
		}
		d.acceptAll(t, name, x)
		return q
	}
	one := accept("one", "INBOX", a)
	two := accept("two", "", a, remove(early.ID, 0), remove(one.ID, 0))
	accept("three", "lost", 0, storage.DeliveryChange{Queue: two.ID, Delivery: storage.Delivery{Number: 1, State: storage.Finished, Address: "z@clinique.test"}})
	accept("four", "", gone)
	d.accept(t, "five", storage.Target{Account: a, Name: "lost"})
	four := d.showQueue(t)
	last := accept("six", "INBOX", a)
	d.acceptAll(t, "notice", &storage.Acceptance{Targets: []storage.Target{{Account: a}}, Changes: []storage.DeliveryChange{remove(last.ID, 0), remove(last.ID, 1)}})
	want := strings.Join([]string{d.showQueue(t), d.list(t, a, "INBOX"), d.followed(t, a)}, "\n")
	if four == "" || !strings.HasPrefix(want, four+"\n1 0") {
		t.Fatalf("before the crash:\n%s", want)
	}
	show := func() string {
		t.Helper()
		// What was for the lost mailbox alone is dead.
		if n := d.CountKeys(t, 'b'); n != 7 {
			t.Errorf("%d bodies are kept", n)
		}
		return strings.Join([]string{d.showQueue(t), d.list(t, a, "INBOX"), d.followed(t, a)}, "\n")
	}
	d.Close(t)
	// The second start has nothing left to replay.
	restore(t, index, before)
	for range 2 {
		d = open(t, dir, storage.Limits{})
		if got := show(); got != want {
			t.Errorf("after replay:\n%s\nwant:\n%s", got, want)
		}
		d.verify(t)
		d.Close(t)
	}

	// What an erased account has sent stays on its way; nothing else of it comes back.
	d = open(t, dir, storage.Limits{})
	if err := d.EraseAccount(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	d.Close(t)
	restore(t, index, before)
	d = open(t, dir, storage.Limits{})
	defer func() { d.Close(t) }()
	if got := show(); got != want {
		t.Errorf("after the erasure:\n%s\nwant:\n%s", got, want)
	}
	err = d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Traces(gone, 0, func(tr *storage.Trace) bool { t.Errorf("a trace came back: %s", tr.Name); return true })
	})
	if !errors.Is(err, storage.ErrNoAccount) {
		t.Errorf("traces of the erased account: %v", err)
	}
}

// restore puts an index back.
func restore(t *testing.T, index string, octets []byte) {
	t.Helper()
	if err := os.WriteFile(index, octets, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is counted of sent mail cannot be read: that keeps no server from starting, and no mail from going.
func TestReplayWithDamagedCounters(t *testing.T) {
	for _, table := range []byte("CD") {
		dir := t.TempDir()
		d := openPlain(t, dir)
		a := d.newAccount(t, "a@hopital.test")
		send := func() {
			q := to("x@clinique.test")
			q.Account = a
			d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
		}
		send()
		d.Close(t)
		before, err := os.ReadFile(filepath.Join(dir, "index.db"))
		if err != nil {
			t.Fatal(err)
		}
		d = openPlain(t, dir)
		send()
		d.Close(t)
		restore(t, filepath.Join(dir, "index.db"), before)
		storagetest.Damage(t, dir, table)
		d = openPlain(t, dir)
		if got := strings.Count(d.showQueue(t), "x@clinique.test"); got != 2 {
			t.Errorf("table %c: %d messages are in the queue", table, got)
		}
		d.Close(t)
	}
}

// A message is in the queue once, whatever number of records the log has of it.
func TestReplayOfARecordThatWasStagedTwice(t *testing.T) {
	dir := t.TempDir()
	d := openPlain(t, dir)
	a := d.newAccount(t, "a@hopital.test")
	d.Close(t)
	before, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	d = open(t, dir, storage.Limits{}) // runs every change twice
	q := to("x@clinique.test")
	q.Account = a
	d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
	d.Close(t)
	restore(t, filepath.Join(dir, "index.db"), before)
	d = openPlain(t, dir)
	defer func() { d.Close(t) }()
	if got := d.showQueue(t); got != "N1: body 0 0 x@clinique.test" {
		t.Errorf("after replay: %q", got)
	}
	if got := d.followed(t, a); got != "1 to others, 1 new\n" {
		t.Errorf("after replay: %q", got)
	}
	d.verify(t)
}

func TestDamagedQueueIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(v []byte) []byte{
		"one bit":  func(v []byte) []byte { v[len(v)/2] ^= 1; return v },
		"cut":      func(v []byte) []byte { return v[:len(v)-1] },
		"short":    func(v []byte) []byte { return v[:3] },
		"empty":    func(v []byte) []byte { return []byte{} },
		"unsealed": func(v []byte) []byte { return []byte{1, 0, 0, 0} },
	} {
		for _, table := range []byte("AB") {
			t.Run(fmt.Sprintf("%s %c", name, table), func(t *testing.T) {
				d, _ := newStore(t, storage.Limits{})
				var ids []storage.QueueID
				for range 3 {
					q := to("x@clinique.test")
					d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
					ids = append(ids, q.ID)
				}
				n := 0
				d.Spoil(t, table, func(v []byte) []byte {
					if n++; n == 2 {
						return spoil(v)
					}
					return v
				})
				if _, err := d.queued(t, ids[1]); !errors.Is(err, storage.ErrQueueDamaged) {
					t.Errorf("read with %v", err)
				}
				// The others are not kept from going.
				var seen []storage.QueueID
				err := d.View(t.Context(), func(tx *storage.Tx) error {
					seen = nil
					return tx.Queue(0, func(q *storage.Queued) bool { seen = append(seen, q.ID); return true })
				})
				if !errors.Is(err, storage.ErrQueueDamaged) || !slices.Equal(seen, []storage.QueueID{ids[0], ids[2]}) {
					t.Errorf("the queue gives %v of %v, %v", seen, ids, err)
				}
				if _, err := d.OpenQueued(t.Context(), ids[1]); errors.Is(err, storage.ErrQueueDamaged) != (table == 'A') {
					t.Errorf("opened with %v", err)
				}
				if got := d.problems(t); len(got) != 1 {
					t.Errorf("Verify reports %q", got)
				}
				// A person can still take it out.
				d.change(t, remove(ids[1], 0))
				d.verify(t)
			})
		}
	}
}

// Who can write to the index, but has no key, moves a record in vain.
func TestMovedQueueIsRefused(t *testing.T) {
	for _, table := range []byte("AB") {
		d, _ := newStore(t, storage.Limits{})
		one, two := to("x@clinique.test"), to("y@clinique.test")
		d.acceptAll(t, "one", &storage.Acceptance{Queue: one})
		d.acceptAll(t, "two", &storage.Acceptance{Queue: two})
		var values [][]byte
		d.Spoil(t, table, func(v []byte) []byte { values = append(values, v); return v })
		d.Spoil(t, table, func([]byte) []byte { values = append(values[1:], values[0]); return values[0] })
		for _, q := range []*storage.Queued{one, two} {
			if _, err := d.queued(t, q.ID); !errors.Is(err, storage.ErrQueueDamaged) {
				t.Errorf("table %c: read with %v", table, err)
			}
		}
	}
}

func TestVerifyFindsHalfOfAMessage(t *testing.T) {
	for table, want := range map[byte][]string{
		'A': {"1 deliveries belong to message %[2]s, which is not in the queue", "body %[1]d counts 1 uses, has 0"},
		'B': {"message %[2]s of the queue has no delivery"},
		'b': {"message %[2]s of the queue: ", "body %[1]d is used but unknown"},
	} {
		d, _ := newStore(t, storage.Limits{})
		q := to("x@clinique.test")
		d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
		d.verify(t)
		d.Spoil(t, table, func([]byte) []byte { return nil })
		got := d.problems(t)
		for i, w := range want {
			if len(got) != len(want) || !strings.HasPrefix(got[i], fmt.Sprintf(w, uint64(q.ID), q.ID)) {
				t.Errorf("without table %c: %q", table, got)
				break
			}
		}
	}
}

func TestCompactionKeepsTheQueue(t *testing.T) {
	d := openPlain(t, t.TempDir())
	defer func() { d.Close(t) }()
	noise := noise()
	want := map[storage.QueueID]string{}
	var gone []storage.DeliveryChange
	for i := range 60 {
		q, octets := to("x@clinique.test"), noise(60_000)
		d.acceptAll(t, octets, &storage.Acceptance{Queue: q})
		if want[q.ID] = octets; i%2 == 1 {
			delete(want, q.ID)
			gone = append(gone, remove(q.ID, 0))
		}
	}
	full := size(t, filepath.Join(d.Dir, "bodies"))
	// A reader that has one open meanwhile goes on.
	var held storage.QueueID
	for held = range want {
		break
	}
	b, err := d.OpenQueued(t.Context(), held)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	d.change(t, gone...)
	// So does one that looks while it is moved.
	var readers sync.WaitGroup
	stop := make(chan struct{})
	readers.Go(func() {
		for {
			for id := range want {
				b, err := d.OpenQueued(t.Context(), id)
				if err != nil {
					t.Errorf("opened on the way: %v", err)
					return
				}
				b.Close()
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	d.Reap(t)
	close(stop)
	readers.Wait()
	if now := size(t, filepath.Join(d.Dir, "bodies")); now > full*7/10 {
		t.Errorf("the log has %d octets after half of %d went", now, full)
	}
	for id, octets := range want {
		if d.readQueued(t, id) != octets {
			t.Errorf("message %d is not what it was", id)
		}
	}
	if octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size())); err != nil || string(octets) != want[held] {
		t.Errorf("the open message: %v", err)
	}
	d.verify(t)
}
