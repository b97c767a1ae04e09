package storage_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// acceptAll takes a message over and fails the test when that fails.
func (d *disk) acceptAll(t testing.TB, octets string, a *storage.Acceptance) []storage.Placed {
	t.Helper()
	c, err := d.Seal([]byte(octets), nil)
	if err != nil {
		t.Fatal(err)
	}
	placed, err := d.Accept(t.Context(), c, a)
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

// refuse expects that a message is not taken over.
func (d *disk) refuse(t *testing.T, a *storage.Acceptance, want error) {
	t.Helper()
	c, err := d.Seal([]byte("refused"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Accept(t.Context(), c, a); !errors.Is(err, want) {
		t.Errorf("accepted with %v, want %v", err, want)
	}
}

// to makes a message for the queue.
func to(addresses ...string) *storage.Queued {
	q := &storage.Queued{Name: "N1", From: "medecin@hopital.test"}
	for _, a := range addresses {
		q.Deliveries = append(q.Deliveries, storage.Delivery{Address: a})
	}
	return q
}

func (d *disk) queued(t testing.TB, id storage.QueueID) (q *storage.Queued, err error) {
	t.Helper()
	err = d.View(t.Context(), func(tx *storage.Tx) (err error) { q, err = tx.Queued(id); return err })
	return q, err
}

// showQueue shows the queue as "name: octets", then " number state address" of each delivery, a line each.
func (d *disk) showQueue(t testing.TB) string {
	t.Helper()
	var all []*storage.Queued
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Queue(0, func(q *storage.Queued) bool { all = append(all, q); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, q := range all {
		line := fmt.Sprintf("%s: %s", q.Name, d.readQueued(t, q.ID))
		for _, x := range q.Deliveries {
			line += fmt.Sprintf(" %d %d %s", x.Number, x.State, x.Address)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (d *disk) readQueued(t testing.TB, id storage.QueueID) string {
	t.Helper()
	b, err := d.OpenQueued(t.Context(), id)
	if err != nil {
		t.Fatalf("message %d of the queue: %v", id, err)
	}
	defer b.Close()
	octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(octets)
}

func (d *disk) change(t testing.TB, changes ...storage.DeliveryChange) {
	t.Helper()
	d.update(t, func(tx *storage.Tx) error { return tx.ChangeDeliveries(changes) })
}

func remove(id storage.QueueID, number uint16) storage.DeliveryChange {
	return storage.DeliveryChange{Queue: id, Delivery: storage.Delivery{Number: number}, Remove: true}
}

func TestQueueKeepsWhatItIsGiven(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "medecin@hopital.test")
	at := time.Unix(1_800_000_000, 0)
	q := &storage.Queued{
		Name: "N1", Account: a, From: "medecin@hopital.test", EnvelopeID: "QQ\x00é", Return: "HDRS", UTF8: true, RequireTLS: true,
		Priority: storage.Urgent, Arrived: at, Expires: at.Add(time.Hour), Prefix: []byte("DKIM-Signature: v=1\r\n"),
		Deliveries: []storage.Delivery{
			{Address: "cardiologue@clinique.test", Notify: storage.NotifySuccess | storage.NotifyDelay, OriginalType: "rfc822", Original: "c@clinique.test", Next: at},
			{State: storage.Held, Address: "labo@clinique.test", Attempts: 3, Warned: true, Last: storage.Result{
				Action: storage.Delayed, Time: at, Status: "4.4.1", Diagnostic: "451 4.4.1 later", Remote: "mx.clinique.test"}},
			{State: storage.Finished, Address: "x@clinique.test", Trusted: true},
			{Address: "full@hopital.test", Here: true},
		},
	}
	placed := d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
	if len(placed) != 0 {
		t.Errorf("placed %v", placed)
	}
	if q.ID == 0 || q.Size != int64(len(q.Prefix)+4) || q.Deliveries[3].Number != 3 {
		t.Errorf("Accept gave ID %d, size %d, last number %d", q.ID, q.Size, q.Deliveries[3].Number)
	}
	for range 2 {
		got, err := d.queued(t, q.ID)
		if err != nil || !reflect.DeepEqual(got, q) {
			t.Errorf("%+v, %v, want %+v", got, err, q)
		}
		if got := d.readQueued(t, q.ID); got != "DKIM-Signature: v=1\r\nbody" {
			t.Errorf("octets %q", got)
		}
		d.verify(t)
		d.Close(t)
		d = open(t, dir, storage.Limits{})
	}
	d.Close(t)
}

func TestUnknownMessageOfTheQueue(t *testing.T) {
	d, _ := newStore(t, storage.Limits{})
	if _, err := d.queued(t, 7); !errors.Is(err, storage.ErrNoQueued) {
		t.Error(err)
	}
	if _, err := d.OpenQueued(t.Context(), 7); !errors.Is(err, storage.ErrNoQueued) {
		t.Error(err)
	}
	d.change(t, remove(7, 0), storage.DeliveryChange{Queue: 7, Delivery: storage.Delivery{Number: 1, Address: "x@clinique.test"}})
	if n := d.CountKeys(t, 'B'); n != 0 {
		t.Errorf("a change made %d deliveries", n)
	}
}

func TestLastDeliveryTakesTheMessageOut(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	q := to("x@clinique.test", "y@clinique.test")
	d.acceptAll(t, "body", &storage.Acceptance{Targets: []storage.Target{{Account: a, Prefix: []byte("P: a\r\n")}}, Queue: q})
	d.change(t, remove(q.ID, 0))
	d.change(t, remove(q.ID, 0)) // twice is once
	if got := d.showQueue(t); got != "N1: body 1 0 y@clinique.test" {
		t.Errorf("queue: %q", got)
	}
	held := storage.Delivery{Number: 1, State: storage.Held, Address: "y@clinique.test"}
	d.change(t, storage.DeliveryChange{Queue: q.ID, Delivery: held})
	if got := d.showQueue(t); got != "N1: body 1 1 y@clinique.test" {
		t.Errorf("queue: %q", got)
	}
	d.verify(t)
	d.change(t, remove(q.ID, 1))
	if _, err := d.OpenQueued(t.Context(), q.ID); !errors.Is(err, storage.ErrNoQueued) {
		t.Errorf("it is still there: %v", err)
	}
	if got := d.list(t, a, "INBOX"); got != "1 0  P: a\r\nbody" {
		t.Errorf("INBOX: %q", got)
	}
	d.verify(t)

	// The other way round: the queue keeps what is expunged here.
	q = to("x@clinique.test")
	d.acceptAll(t, "second", &storage.Acceptance{Targets: []storage.Target{{Account: a, Flags: storage.Deleted}}, Queue: q})
	in := d.mailbox(t, a, "INBOX").ID
	d.update(t, func(tx *storage.Tx) error { _, _, err := tx.Expunge(a, in, nil); return err })
	d.Reap(t)
	if got := d.readQueued(t, q.ID); got != "second" {
		t.Errorf("after the expunge: %q", got)
	}
	d.verify(t)
	d.change(t, remove(q.ID, 0))
	if n := d.CountKeys(t, 'b') + d.CountKeys(t, 'A') + d.CountKeys(t, 'B'); n != 1 {
		t.Errorf("%d keys are left, want one body", n)
	}
	d.verify(t)
}

func TestQueueWakes(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	wake, stop := d.Watch(storage.Topic{Mailbox: storage.OfQueue})
	defer stop()
	woken := func() bool {
		select {
		case <-wake:
			return true
		default:
			return false
		}
	}
	q := to("x@clinique.test")
	d.accept(t, "local", storage.Target{Account: a})
	if woken() {
		t.Error("a message that is for nobody else wakes")
	}
	d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
	if !woken() {
		t.Error("no wake for a new message")
	}
	d.change(t, remove(q.ID, 9))
	if woken() {
		t.Error("a change of nothing wakes")
	}
	d.acceptAll(t, "notice", &storage.Acceptance{Targets: []storage.Target{{Account: a}}, Changes: []storage.DeliveryChange{remove(q.ID, 0)}})
	if !woken() {
		t.Error("no wake for a change that comes with a message")
	}
	if got := d.showQueue(t); got != "" {
		t.Errorf("queue: %q", got)
	}
}

func TestQueueInOrderAndInPieces(t *testing.T) {
	d, _ := newStore(t, storage.Limits{})
	const n = 150 // more than are read at once
	for i := range n {
		q := to("x@clinique.test", "y@clinique.test")
		q.Name = fmt.Sprint(i)
		d.acceptAll(t, fmt.Sprint("body ", i), &storage.Acceptance{Queue: q})
	}
	var behind storage.QueueID
	next := 0
	for next < n {
		seen := 0
		err := d.View(t.Context(), func(tx *storage.Tx) error {
			seen = 0
			return tx.Queue(behind, func(q *storage.Queued) bool {
				if q.Name != fmt.Sprint(next) || len(q.Deliveries) != 2 || q.ID <= behind {
					t.Fatalf("message %s, ID %d, behind %d, want %d", q.Name, q.ID, behind, next)
				}
				if same, err := tx.Queued(q.ID); err != nil || same.Name != q.Name {
					t.Errorf("look-up on the way: %v", err)
				}
				behind, next, seen = q.ID, next+1, seen+1
				return seen < 70
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Who goes through it may take out as he goes.
	d.update(t, func(tx *storage.Tx) error {
		var failed error
		err := tx.Queue(0, func(q *storage.Queued) bool {
			failed = tx.ChangeDeliveries([]storage.DeliveryChange{remove(q.ID, 0), remove(q.ID, 1)})
			return failed == nil
		})
		return errors.Join(err, failed)
	})
	if n := d.CountKeys(t, 'A') + d.CountKeys(t, 'B') + d.CountKeys(t, 'b'); n != 0 {
		t.Errorf("%d keys are left", n)
	}
	d.verify(t)
}

func TestSendLimitsAreCheckedWithTheMessage(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	limits := storage.SendLimits{Messages: 4}
	accept := func(finished bool, addresses ...string) *storage.Acceptance {
		q := to(addresses...)
		q.Account = a
		if finished {
			q.Deliveries[0].State = storage.Finished
		}
		return &storage.Acceptance{Targets: []storage.Target{{Account: a}}, Queue: q, Limits: limits}
	}
	// Who is named twice gets it twice.
	d.acceptAll(t, "one", accept(false, "x@clinique.test", "X@clinique.test"))
	two := accept(true, "done@clinique.test", "y@clinique.test", "full@hopital.test")
	two.Queue.Deliveries[2].Here = true
	d.acceptAll(t, "two", two)
	d.refuse(t, accept(false, "x@clinique.test", "y@clinique.test"), storage.ErrSendQuota)
	if got := d.mailbox(t, a, "INBOX").Exists; got != 2 {
		t.Errorf("%d copies were filed, want 2", got)
	}
	if n := d.CountKeys(t, 'A'); n != 2 {
		t.Errorf("%d messages are in the queue, want 2", n)
	}
	d.acceptAll(t, "three", accept(false, "x@clinique.test"))
	d.refuse(t, accept(false, "x@clinique.test"), storage.ErrSendQuota)
	d.acceptAll(t, "notice", &storage.Acceptance{Queue: to("x@clinique.test"), Limits: limits}) // of nobody
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		sent, err := tx.SentOn(a, time.Now())
		if sent.Messages != 4 || sent.First != 2 {
			t.Errorf("sent %+v", sent)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	d.verify(t)
}

func TestAcceptRefusals(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	gone := d.newAccount(t, "gone@hopital.test")
	if err := d.EraseAccount(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	d.Reap(t)
	before := d.CountKeys(t, 'b') + d.CountKeys(t, 'A') + d.CountKeys(t, 'y')
	local := []storage.Target{{Account: a}}
	sender := to("x@clinique.test")
	sender.Account = gone
	d.refuse(t, &storage.Acceptance{Targets: local, Queue: sender}, storage.ErrNoAccount)
	d.refuse(t, &storage.Acceptance{Targets: local, Trace: &storage.Trace{Account: gone}}, storage.ErrNoAccount)
	d.refuse(t, &storage.Acceptance{Targets: []storage.Target{{Account: gone}}, Queue: to("x@clinique.test")}, storage.ErrNoAccount)
	d.refuse(t, &storage.Acceptance{Targets: local, Queue: to(make([]string, 65_001)...)}, storage.ErrTooMany)
	d.refuse(t, &storage.Acceptance{Targets: local, Changes: make([]storage.DeliveryChange, 65_001)}, storage.ErrTooMany)
	d.refuse(t, &storage.Acceptance{Targets: local, Queue: to(make([]string, 20_000)...)}, storage.ErrTooMany) // of one change
	if now := d.CountKeys(t, 'b') + d.CountKeys(t, 'A') + d.CountKeys(t, 'y'); now != before || d.mailbox(t, a, "INBOX").Exists != 0 {
		t.Errorf("what was refused left %d keys", now-before)
	}
	for name, x := range map[string]*storage.Acceptance{"nobody": {}, "no delivery": {Queue: to()}} {
		c, err := d.Seal([]byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Accept(t.Context(), c, x); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	d.verify(t)
}

func TestLongReplyIsCut(t *testing.T) {
	d, _ := newStore(t, storage.Limits{})
	q := to("x@clinique.test")
	d.acceptAll(t, "body", &storage.Acceptance{Queue: q})
	long := storage.Delivery{Address: "x@clinique.test", Last: storage.Result{Diagnostic: "5" + strings.Repeat("é", 40_000)}}
	d.change(t, storage.DeliveryChange{Queue: q.ID, Delivery: long})
	got, err := d.queued(t, q.ID)
	if err != nil {
		t.Fatal(err)
	}
	if said := got.Deliveries[0].Last.Diagnostic; said != "5"+strings.Repeat("é", 2047) {
		t.Errorf("%d octets of the reply are kept", len(said))
	}
}

func TestErasedAccountLeavesItsMailOnItsWay(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	q := to("x@clinique.test")
	q.Account = a
	d.acceptAll(t, "body", &storage.Acceptance{
		Targets: []storage.Target{{Account: a}}, Queue: q,
		Trace: &storage.Trace{Account: a, Name: "N1", Recipients: []storage.Traced{{Address: "x@clinique.test"}}},
	})
	if err := d.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	d.Reap(t)
	if got := d.showQueue(t); got != "N1: body 0 0 x@clinique.test" {
		t.Errorf("queue: %q", got)
	}
	for _, table := range "yzCDo" {
		if n := d.CountKeys(t, byte(table)); n != 0 {
			t.Errorf("table %c has %d keys", table, n)
		}
	}
	d.verify(t)
	d.change(t, remove(q.ID, 0))
	if n := d.CountKeys(t, 'b'); n != 0 {
		t.Errorf("%d bodies are left", n)
	}
}
