package storage_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"telesphore/storage"
)

// followed is a trace that has something of everything.
func followed(a storage.AccountID) storage.Trace {
	return storage.Trace{
		Account: a, Name: "name-of-letter", MessageID: "<letter-1@hopital.test>", EnvelopeID: "envelope of letter", Sent: noon, Size: 1234,
		Warnings: []string{"no archive in it"},
		Recipients: []storage.Traced{
			{Address: "Cardiologue@Clinique.test"},
			{Address: "labo@hopital.test", Steps: []storage.Step{{Stage: storage.InMailbox, Time: noon, Status: "2.0.0", Text: "filed here"}}},
		},
	}
}

// send accepts a message that is followed, and returns its ID.
func (d *disk) send(t testing.TB, tr storage.Trace) storage.QueueID {
	t.Helper()
	c, err := d.Seal([]byte("From: x\r\n\r\nsecret of the patient\r\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Accept(t.Context(), c, &storage.Acceptance{Targets: []storage.Target{{Account: tr.Account}}, Trace: &tr}); err != nil {
		t.Fatal(err)
	}
	return tr.ID
}

// put stores traces of which only the named members matter.
func (d *disk) put(t testing.TB, traces ...storage.Trace) {
	t.Helper()
	d.update(t, func(tx *storage.Tx) error {
		for i := range traces {
			if err := tx.PutTrace(&traces[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *disk) trace(t testing.TB, a storage.AccountID, id storage.QueueID) (tr *storage.Trace) {
	t.Helper()
	if err := d.View(t.Context(), func(tx *storage.Tx) (err error) { tr, err = tx.Trace(a, id); return err }); err != nil {
		t.Fatalf("trace %d: %v", id, err)
	}
	return tr
}

// steps adds steps, all of which the same message has.
func (d *disk) steps(t testing.TB, a storage.AccountID, id storage.QueueID, steps map[string]storage.Step) {
	t.Helper()
	d.update(t, func(tx *storage.Tx) error { return tx.AddSteps(a, id, steps) })
}

// traces lists the IDs of an account's traces.
func (d *disk) traces(t testing.TB, a storage.AccountID, before storage.QueueID) (ids []storage.QueueID) {
	t.Helper()
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Traces(a, before, func(tr *storage.Trace) bool { ids = append(ids, tr.ID); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// findTrace looks a trace up in each way there is.
func (d *disk) findTrace(t testing.TB, a storage.AccountID, id storage.QueueID, name, messageID string) (found [3]*storage.Trace, failed [3]error) {
	t.Helper()
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		found[0], failed[0] = tx.Trace(a, id)
		found[1], failed[1] = tx.TraceByName(a, name)
		found[2], failed[2] = tx.TraceByMessageID(a, messageID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, failed
}

func TestTraceComesWithItsMessageAndComesBack(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	b := d.newAccount(t, "b@hopital.test")
	want := followed(a)
	want.ID = d.send(t, followed(a))
	if want.ID == 0 {
		t.Fatal("the trace has no ID")
	}
	check := func(when string) {
		t.Helper()
		found, failed := d.findTrace(t, a, want.ID, want.Name, want.MessageID)
		for i, tr := range found {
			if failed[i] != nil || !reflect.DeepEqual(*tr, want) {
				t.Errorf("%s, way %d: %+v, %v; want %+v", when, i, tr, failed[i], want)
			}
		}
		for what, other := range map[string]struct {
			account         storage.AccountID
			id              storage.QueueID
			name, messageID string
		}{
			"another account":   {b, want.ID, want.Name, want.MessageID},
			"another message":   {a, want.ID + 1, "other", "<other@hopital.test>"},
			"one before it":     {a, want.ID - 1, "", ""},
			"the names swapped": {a, 0, want.MessageID, want.Name},
		} {
			_, failed := d.findTrace(t, other.account, other.id, other.name, other.messageID)
			for i, err := range failed {
				if !errors.Is(err, storage.ErrNoTrace) {
					t.Errorf("%s, %s, way %d: %v", when, what, i, err)
				}
			}
		}
	}
	check("at once")
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	defer func() { d.Close(t) }()
	check("reopened")

	wake, stop := d.Watch(storage.Topic{Account: a, Mailbox: storage.OfTraces})
	defer stop()
	step := storage.Step{Stage: storage.HandedOver, Time: noon.Add(time.Minute), Status: "2.0.0", Text: "250 2.0.0 Accepted"}
	d.steps(t, a, want.ID, map[string]storage.Step{"cardiologue@clinique.test": step})
	<-wake
	want.Recipients[0].Steps = []storage.Step{step}
	check("after a step")
	d.verify(t)

	err := d.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.AddSteps(b, want.ID, map[string]storage.Step{"labo@hopital.test": step})
	})
	if !errors.Is(err, storage.ErrNoTrace) {
		t.Errorf("a step in another's trace: %v", err)
	}
}

func TestTracesAreListedNewestFirst(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	var ids []storage.QueueID
	for i := range 5 {
		tr := followed(a)
		tr.Recipients = slices.Repeat(tr.Recipients, 1+20*i) // some have several records
		ids = append(ids, d.send(t, tr))
		d.send(t, followed(b))
	}
	slices.Reverse(ids)
	if got := d.traces(t, a, 0); !slices.Equal(got, ids) {
		t.Errorf("all: %v, want %v", got, ids)
	}
	if got := d.traces(t, a, ids[1]); !slices.Equal(got, ids[2:]) {
		t.Errorf("before %d: %v, want %v", ids[1], got, ids[2:])
	}
	if got := d.traces(t, a, ids[4]); got != nil {
		t.Errorf("before the oldest: %v", got)
	}
	if got := d.traces(t, b, 0); len(got) != 5 || slices.Contains(got, ids[0]) {
		t.Errorf("the other account's: %v", got)
	}
	// Whoever stops gets no more, and may ask for something else meanwhile.
	var got []int
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Traces(a, 0, func(tr *storage.Trace) bool {
			same, err := tx.Trace(a, tr.ID)
			if err != nil || !reflect.DeepEqual(same, tr) {
				t.Errorf("alone: %+v, %v", same, err)
			}
			got = append(got, len(tr.Recipients))
			return len(got) < 3
		})
	})
	if want := []int{2 * 81, 2 * 61, 2 * 41}; err != nil || !slices.Equal(got, want) {
		t.Errorf("recipients %v, %v; want %v", got, err, want)
	}
	// Of messages with the same Message-ID it is the newest that is found.
	found, failed := d.findTrace(t, a, ids[0], "name-of-letter", "<letter-1@hopital.test>")
	for i, tr := range found {
		if failed[i] != nil || tr.ID != ids[0] {
			t.Errorf("way %d: %+v, %v", i, tr, failed[i])
		}
	}
}

func TestStageIsTheFurthest(t *testing.T) {
	const (
		queue, hold, slow, handed, mailbox  = storage.InQueue, storage.OnHold, storage.Slow, storage.HandedOver, storage.InMailbox
		processed, read, refused, back, out = storage.Processed, storage.Read, storage.NotAccepted, storage.Bounced, storage.Dropped
	)
	for _, test := range []struct {
		heard []storage.Stage
		want  storage.Stage
		steps int
	}{
		{nil, queue, 0},
		{[]storage.Stage{queue}, queue, 1},
		{[]storage.Stage{queue, hold, queue, slow}, slow, 4},
		{[]storage.Stage{hold, queue}, queue, 2},
		{[]storage.Stage{hold, hold}, hold, 1},
		{[]storage.Stage{slow, handed, slow}, handed, 3},
		{[]storage.Stage{slow, handed, slow, slow, handed}, handed, 3},
		{[]storage.Stage{handed, back}, back, 2},
		{[]storage.Stage{back, handed}, back, 2},
		{[]storage.Stage{queue, out, slow}, out, 3},
		{[]storage.Stage{mailbox, back}, mailbox, 2},
		{[]storage.Stage{back, mailbox}, mailbox, 2},
		{[]storage.Stage{read, mailbox, handed}, read, 3},
		{[]storage.Stage{mailbox, processed, refused}, refused, 3},
		{[]storage.Stage{refused, out, back}, refused, 3},
		{[]storage.Stage{read, processed, read}, processed, 2},
	} {
		t.Run(fmt.Sprint(test.heard), func(t *testing.T) {
			d, a := newStore(t, storage.Limits{})
			id := d.send(t, followed(a))
			for i, s := range test.heard {
				d.steps(t, a, id, map[string]storage.Step{"cardiologue@clinique.test": {Stage: s, Time: noon.Add(time.Duration(i) * time.Minute)}})
			}
			tr := d.trace(t, a, id)
			if r := &tr.Recipients[0]; r.Stage() != test.want || len(r.Steps) != test.steps {
				t.Errorf("stage %d with %d steps, want %d with %d", r.Stage(), len(r.Steps), test.want, test.steps)
			}
			if got := len(tr.Recipients[1].Steps); got != 1 {
				t.Errorf("the other recipient has %d steps", got)
			}
		})
	}
}

func TestLeastAndFurthestRecipient(t *testing.T) {
	recipient := func(s storage.Stage) storage.Traced { return storage.Traced{Steps: []storage.Step{{Stage: s}}} }
	for _, test := range []struct {
		stages          []storage.Stage
		least, furthest storage.Stage
	}{
		{nil, storage.InQueue, storage.InQueue},
		{[]storage.Stage{storage.Read}, storage.Read, storage.Read},
		{[]storage.Stage{storage.Bounced, storage.InMailbox, storage.Slow, storage.HandedOver}, storage.Slow, storage.InMailbox},
		{[]storage.Stage{storage.Bounced, storage.HandedOver}, storage.HandedOver, storage.Bounced},
	} {
		tr := storage.Trace{}
		for _, s := range test.stages {
			tr.Recipients = append(tr.Recipients, recipient(s))
		}
		if least, furthest := tr.Stages(); least != test.least || furthest != test.furthest {
			t.Errorf("%v: %d and %d, want %d and %d", test.stages, least, furthest, test.least, test.furthest)
		}
	}
}

func TestStepsFindTheirRecipients(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	tr := followed(a)
	tr.Recipients = nil
	for _, address := range []string{"Cardio@Clinique.TEST", "cardio@clinique.test", "Hélène@Réseau.test", `"a@b"@clinique.test`, "cardio@hopital.test", "postmaster", "twice@x.test", "twice@x.test"} {
		tr.Recipients = append(tr.Recipients, storage.Traced{Address: address})
	}
	id := d.send(t, tr)
	for address, want := range map[string][]int{
		"cardio@CLINIQUE.test":   {1},    // exactly that one
		"Cardio@clinique.test":   {0},    // and that one
		"CARDIO@clinique.test":   {0, 1}, // nobody knows which
		"hélène@RÉSEAU.test":     {2},
		`"A@b"@clinique.test`:    {3},
		"cardio@hopital.test":    {4},
		"Postmaster":             {5},
		"Twice@x.test":           {6, 7},
		"cardio@clinique.test.":  nil,
		"cardio":                 nil,
		"autre@clinique.test":    nil,
		"cardio@x@clinique.test": nil,
		"":                       nil,
	} {
		before := d.trace(t, a, id)
		d.steps(t, a, id, map[string]storage.Step{address: {Stage: storage.Slow, Text: "to " + address}})
		var got []int
		for i, r := range d.trace(t, a, id).Recipients {
			if len(r.Steps) != len(before.Recipients[i].Steps) {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("a step for %q went to %v, want %v", address, got, want)
		}
	}
}

// A step that says nothing new wakes nobody.
func TestWhatIsKnownChangesNothing(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	id := d.send(t, followed(a))
	step := storage.Step{Stage: storage.Read, Time: noon, Text: strings.Repeat("é", 1500)} // longer than is kept
	one := map[string]storage.Step{"labo@hopital.test": step}
	d.steps(t, a, id, one)
	before := d.trace(t, a, id)
	wake, stop := d.Watch(storage.Topic{Account: a})
	defer stop()
	step.Time = noon.Add(time.Hour)
	one["labo@hopital.test"], one["stranger@ailleurs.test"] = step, step
	d.steps(t, a, id, one)
	d.steps(t, a, id, nil)
	select {
	case <-wake:
		t.Error("somebody was woken")
	default:
	}
	if got := d.trace(t, a, id); !reflect.DeepEqual(got, before) {
		t.Errorf("changed to %+v", got)
	}
}

func TestWhatIsNewIsAdded(t *testing.T) {
	known := storage.Step{Stage: storage.Bounced, Time: noon, Status: "5.1.1", Text: "unknown"}
	for what, change := range map[string]func(*storage.Step){
		"stage":  func(s *storage.Step) { s.Stage = storage.Dropped },
		"status": func(s *storage.Step) { s.Status = "5.2.1" },
		"text":   func(s *storage.Step) { s.Text = "unknown here" },
	} {
		d, a := newStore(t, storage.Limits{})
		id := d.send(t, followed(a))
		step := known
		change(&step)
		for _, s := range []storage.Step{known, step, known, step} {
			d.steps(t, a, id, map[string]storage.Step{"cardiologue@clinique.test": s})
		}
		if got := d.trace(t, a, id).Recipients[0].Steps; !slices.Equal(got, []storage.Step{known, step}) {
			t.Errorf("another %s: %+v", what, got)
		}
	}
}

func TestBoundsOfATrace(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	long := strings.Repeat("é", 5000)
	tr := storage.Trace{Account: a, Name: long, MessageID: "<" + long, EnvelopeID: long, Sent: noon, Warnings: slices.Repeat([]string{long}, 100)}
	for i := range 200 {
		tr.Recipients = append(tr.Recipients, storage.Traced{Address: fmt.Sprintf("%03d%s@ailleurs.test", i, long)})
	}
	for i := range 25 { // what a message begins with is bounded, too
		tr.Recipients[7].Steps = append(tr.Recipients[7].Steps, storage.Step{Stage: storage.Slow, Status: long, Text: fmt.Sprint(i, long)})
	}
	tr.ID = d.send(t, tr)
	if _, failed := d.findTrace(t, a, tr.ID, tr.Name, tr.MessageID); failed != [3]error{} {
		t.Errorf("it is not found: %v", failed)
	}
	for i := range 30 {
		steps := map[string]storage.Step{}
		for _, r := range d.trace(t, a, tr.ID).Recipients {
			stage := storage.Slow
			if i == 3 {
				stage = storage.HandedOver
			}
			steps[r.Address] = storage.Step{Stage: stage, Status: fmt.Sprint(i, long), Text: fmt.Sprintf("step %d \xff%s", i, strings.Repeat("é", 100))}
		}
		d.steps(t, a, tr.ID, steps)
	}
	got := d.trace(t, a, tr.ID)
	if len(got.Recipients) != 200 || len(got.Warnings) != 32 {
		t.Fatalf("%d recipients, %d warnings", len(got.Recipients), len(got.Warnings))
	}
	for i, r := range got.Recipients {
		if !strings.HasPrefix(r.Address, fmt.Sprintf("%03dé", i)) || len(r.Address) > 512 {
			t.Fatalf("recipient %d is %q", i, r.Address)
		}
		if len(r.Steps) != 20 || r.Stage() != storage.HandedOver {
			t.Fatalf("recipient %d has %d steps, stage %d", i, len(r.Steps), r.Stage())
		}
		if first, last := r.Steps[0].Status, r.Steps[19].Text; !strings.HasPrefix(first, "3é") || !strings.HasPrefix(last, "step 29 ?é") {
			t.Fatalf("recipient %d: first step %q, last step %q", i, first, last)
		}
		texts := 0
		for _, s := range r.Steps {
			texts += len(s.Text)
			if len(s.Status) > 32 || !utf8.ValidString(s.Status+s.Text) {
				t.Fatalf("recipient %d: %+v", i, s)
			}
		}
		if texts > 2000 || texts < 1900 {
			t.Fatalf("recipient %d has %d octets of text", i, texts)
		}
	}
	d.verify(t)
}

func TestTracesAreSealedOnDisk(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	id := d.send(t, followed(a))
	d.steps(t, a, id, map[string]storage.Step{"cardiologue@clinique.test": {Stage: storage.Bounced, Status: "5.1.1", Text: "550 5.1.1 unknown"}})
	d.Close(t)
	octets, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(octets, []byte("a@hopital.test")) {
		t.Fatal("not even the account's address is found: the test looks in the wrong place")
	}
	lower := bytes.ToLower(octets)
	for _, secret := range []string{"cardiologue", "clinique.test", "labo@", "name-of-letter", "letter-1@", "envelope of", "no archive", "filed here", "5.1.1", "unknown"} {
		if bytes.Contains(lower, []byte(secret)) {
			t.Errorf("the index tells %q", secret)
		}
	}
}

func TestErasedAccountKeepsNoTraces(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	id := d.send(t, followed(a))
	kept := followed(b)
	kept.ID = d.send(t, followed(b))
	spend := func(a storage.AccountID) error {
		return d.Update(t.Context(), func(tx *storage.Tx) error {
			return tx.Spend(a, noon, []string{"x@ailleurs.test"}, storage.SendLimits{})
		})
	}
	if err := errors.Join(spend(a), spend(b)); err != nil {
		t.Fatal(err)
	}
	if err := d.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"reading": d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.Trace(a, id); return err }),
		"listing": d.View(t.Context(), func(tx *storage.Tx) error {
			return tx.Traces(a, 0, func(*storage.Trace) bool { t.Error("one is listed"); return true })
		}),
		"finding":  d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.TraceByName(a, kept.Name); return err }),
		"a step":   d.Update(t.Context(), func(tx *storage.Tx) error { return tx.AddSteps(a, id, nil) }),
		"another":  d.Update(t.Context(), func(tx *storage.Tx) error { tr := followed(a); return tx.PutTrace(&tr) }),
		"sending":  spend(a),
		"known to": d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.WroteTo(a, "x@ailleurs.test"); return err }),
		"may send": d.View(t.Context(), func(tx *storage.Tx) error {
			return tx.MaySend(a, noon, []string{"x@ailleurs.test"}, storage.SendLimits{})
		}),
	} {
		if !errors.Is(err, storage.ErrNoAccount) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The retention meets what the keeper has not removed yet, or has.
	for range 2 {
		if n, err := d.DropTraces(t.Context(), noon); n != 0 || err != nil {
			t.Errorf("dropped %d, %v", n, err)
		}
		d.Reap(t)
	}
	for table, want := range map[byte]int{'y': 1, 'z': 2, 'C': 1, 'D': 1} { // those of the other account
		if n := d.CountKeys(t, table); n != want {
			t.Errorf("table %c has %d keys, want %d", table, n, want)
		}
	}
	if got := d.trace(t, b, kept.ID); !reflect.DeepEqual(*got, kept) {
		t.Errorf("the other account has %+v", got)
	}
	d.verify(t)
}

func TestDamagedTracesAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(v []byte) []byte{
		"one bit":  func(v []byte) []byte { v[len(v)/2] ^= 1; return v },
		"cut":      func(v []byte) []byte { return v[:len(v)-1] },
		"empty":    func(v []byte) []byte { return []byte{} },
		"unsealed": func(v []byte) []byte { return []byte{1, 0, 0, 0} },
	} {
		t.Run(name, func(t *testing.T) {
			d, a := newStore(t, storage.Limits{})
			id := d.send(t, followed(a))
			d.Spoil(t, 'y', spoil)
			_, failed := d.findTrace(t, a, id, "name-of-letter", "<letter-1@hopital.test>")
			for i, err := range failed {
				if !errors.Is(err, storage.ErrRecord) {
					t.Errorf("way %d: %v", i, err)
				}
			}
			err := d.Update(t.Context(), func(tx *storage.Tx) error { return tx.AddSteps(a, id, nil) })
			if !errors.Is(err, storage.ErrRecord) {
				t.Errorf("a step: %v", err)
			}
			if got := d.problems(t); len(got) != 1 || !strings.HasPrefix(got[0], "traces of account 1: ") {
				t.Errorf("Verify reports %q", got)
			}
		})
	}
	t.Run("the others can be read, and another one be sent", func(t *testing.T) {
		d, a := newStore(t, storage.Limits{})
		var ids []storage.QueueID
		for range 3 {
			ids = append(ids, d.send(t, followed(a)))
		}
		n := 0
		d.Spoil(t, 'y', func(v []byte) []byte {
			if n++; n == 2 {
				return v[:len(v)/2]
			}
			return v
		})
		d.Spoil(t, 'z', func(v []byte) []byte { return v[:5] })
		ids = append(ids, d.send(t, followed(a)))
		var seen []storage.QueueID
		err := d.View(t.Context(), func(tx *storage.Tx) error {
			seen = nil
			return tx.Traces(a, 0, func(tr *storage.Trace) bool { seen = append(seen, tr.ID); return true })
		})
		if want := []storage.QueueID{ids[3], ids[2], ids[0]}; !errors.Is(err, storage.ErrTraceDamaged) || !slices.Equal(seen, want) {
			t.Errorf("traces %v of %v, %v", seen, ids, err)
		}
		// Whoever follows mail goes on without it.
		err = d.Update(t.Context(), func(tx *storage.Tx) error { return tx.AddSteps(a, ids[1], nil) })
		if !errors.Is(err, storage.ErrTraceDamaged) || !errors.Is(err, storage.ErrNoTrace) {
			t.Errorf("a step: %v", err)
		}
	})
	t.Run("entries of names", func(t *testing.T) {
		d, a := newStore(t, storage.Limits{})
		id := d.send(t, followed(a))
		d.Spoil(t, 'z', func(v []byte) []byte { return v[:5] })
		_, failed := d.findTrace(t, a, id, "name-of-letter", "<letter-1@hopital.test>")
		if failed[0] != nil || !errors.Is(failed[1], storage.ErrRecord) || !errors.Is(failed[2], storage.ErrRecord) {
			t.Errorf("found: %v", failed)
		}
		if got := d.problems(t); len(got) != 1 || !strings.HasPrefix(got[0], "names of mail of account 1: ") {
			t.Errorf("Verify reports %q", got)
		}
	})
	t.Run("a part is gone", func(t *testing.T) {
		d, a := newStore(t, storage.Limits{})
		tr := followed(a)
		tr.Recipients = slices.Repeat(tr.Recipients, 20)
		id := d.send(t, tr)
		n := 0
		d.Spoil(t, 'y', func(v []byte) []byte {
			if n++; n == 2 {
				return nil
			}
			return v
		})
		if _, failed := d.findTrace(t, a, id, "", ""); n != 4 || !errors.Is(failed[0], storage.ErrRecord) {
			t.Errorf("one of %d parts is gone: %v", n, failed[0])
		}
	})
}

// Who can write to the index, but has no key, moves a trace in vain.
func TestMovedTracesAreRefused(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	first, second := followed(a), followed(a)
	second.Name, second.MessageID = "second", "<second@hopital.test>"
	ids := []storage.QueueID{d.send(t, first), d.send(t, second)}
	var values [][]byte
	d.Spoil(t, 'y', func(v []byte) []byte { values = append(values, v); return v })
	d.Spoil(t, 'y', func([]byte) []byte {
		v := values[len(values)-1]
		values = values[:len(values)-1]
		return v
	})
	for _, id := range ids {
		if _, failed := d.findTrace(t, a, id, "", ""); !errors.Is(failed[0], storage.ErrRecord) {
			t.Errorf("trace %d: %v", id, failed[0])
		}
	}
}

// The entries of names are not sealed: what they lead to is looked at.
func TestNamesThatLeadElsewhere(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	first, second := followed(a), followed(a)
	second.Name, second.MessageID = "second", "<second@hopital.test>"
	entry := binary.LittleEndian.AppendUint64([]byte{1, 1}, uint64(d.send(t, first)))
	d.send(t, second)
	d.Spoil(t, 'z', func([]byte) []byte { return entry })
	found, failed := d.findTrace(t, a, 0, first.Name, first.MessageID)
	if failed[1] != nil || failed[2] != nil || found[1].Name != first.Name {
		t.Errorf("the first is found by %v", failed)
	}
	if _, failed := d.findTrace(t, a, 0, second.Name, second.MessageID); !errors.Is(failed[1], storage.ErrNoTrace) || !errors.Is(failed[2], storage.ErrNoTrace) {
		t.Errorf("the second leads to the first: %v", failed)
	}
}
