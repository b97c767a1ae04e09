package storage_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"telesphore/storage"
)

func removeFile(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// model is what the store must look like: mailboxes by name, messages in order of
// UID, the queue in order of ID.
type model struct {
	boxes map[string]*modelBox
	queue []modelQueued
	next  int // names bodies
}

type modelQueued struct {
	id     storage.QueueID
	body   string
	states []int // of the deliveries, -1 for one that is gone
}

type modelBox struct {
	uidNext  uint32
	messages []modelMessage
}

type modelMessage struct {
	uid   uint32
	flags storage.Flags
	words []string
	body  string
}

func newModel() *model {
	m := &model{boxes: map[string]*modelBox{}}
	for _, name := range []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"} {
		m.boxes[name] = &modelBox{uidNext: 1}
	}
	return m
}

func (b *modelBox) add(m modelMessage) {
	m.uid = b.uidNext
	b.uidNext++
	b.messages = append(b.messages, m)
}

func (b *modelBox) String() string {
	var lines []string
	for _, m := range b.messages {
		lines = append(lines, fmt.Sprintf("%d %d %s %s", m.uid, m.flags, strings.Join(m.words, ","), m.body))
	}
	return strings.Join(lines, "\n")
}

// script is a source of small numbers that decide what happens next.
type script struct{ octets []byte }

func (s *script) n(below int) int {
	if len(s.octets) == 0 {
		return 0
	}
	v := int(s.octets[0])
	s.octets = s.octets[1:]
	return v % below
}

func (s *script) set(b *modelBox) (uids storage.UIDSet) {
	lo := uint32(1 + s.n(int(b.uidNext)))
	hi := lo + uint32(s.n(8))
	return storage.UIDSet{{Lo: lo, Hi: hi}}
}

// play runs the script against store and model alike and compares both along the way.
func play(t *testing.T, octets []byte) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{VanishedRanges: 7})
	defer func() { d.Close(t) }()
	a := d.newAccount(t, "a@hopital.test")
	m := newModel()
	s := &script{octets}
	for len(s.octets) > 0 {
		names := make([]string, 0, len(m.boxes))
		for name := range m.boxes {
			names = append(names, name)
		}
		slices.Sort(names)
		name, other := names[s.n(len(names))], names[s.n(len(names))]
		switch s.n(14) {
		case 0, 1, 2:
			m.accept(t, d, a, s, name)
		case 3, 4:
			m.store(t, d, a, s, name)
		case 5, 6:
			m.expunge(t, d, a, s, name)
		case 7:
			m.copy(t, d, a, s, name, other)
		case 8:
			m.move(t, d, a, s, name, other)
		case 9:
			m.rename(t, d, a, name, fmt.Sprint("r", s.n(5)))
		case 10:
			m.createOrDelete(t, d, a, name, fmt.Sprint("r", s.n(5)))
		case 11:
			if s.n(4) == 0 {
				d.Reap(t)
				d.Close(t)
				d = open(t, dir, storage.Limits{VanishedRanges: 7})
			}
		case 12:
			m.send(t, d, a, s, name)
		case 13:
			m.deliver(t, d, s)
		}
		m.compare(t, d, a, name)
		m.compareQueue(t, d)
	}
	d.Reap(t)
	for name := range m.boxes {
		m.compare(t, d, a, name)
	}
	d.checkWhole(t, a, m)
}

func (m *model) accept(t *testing.T, d *disk, a storage.AccountID, s *script, name string) {
	m.next++
	octets := fmt.Sprintf("body %d %s", m.next, strings.Repeat("x", s.n(200)))
	x := modelMessage{flags: storage.Flags(s.n(32)), words: words(s.n(4)), body: octets}
	box := d.mailbox(t, a, name)
	placed := d.accept(t, octets, storage.Target{Account: a, Mailbox: box.ID, Flags: x.flags, Keywords: x.words})
	if placed[0].UID != m.boxes[name].uidNext {
		t.Fatalf("%s: UID %d, want %d", name, placed[0].UID, m.boxes[name].uidNext)
	}
	m.boxes[name].add(x)
}

// send puts a message into the queue, and now and then a copy into a mailbox.
func (m *model) send(t *testing.T, d *disk, a storage.AccountID, s *script, name string) {
	m.next++
	q := modelQueued{body: fmt.Sprintf("body %d %s", m.next, strings.Repeat("y", s.n(200)))}
	queued := to("x@clinique.test", "y@clinique.test", "z@clinique.test")
	queued.Deliveries = queued.Deliveries[:1+s.n(3)]
	x := &storage.Acceptance{Queue: queued, Changes: m.changes(s)}
	if s.n(2) == 0 {
		x.Targets = []storage.Target{{Account: a, Mailbox: d.mailbox(t, a, name).ID}}
		m.boxes[name].add(modelMessage{body: q.body})
	}
	d.acceptAll(t, q.body, x)
	q.id, q.states = queued.ID, make([]int, len(queued.Deliveries))
	m.queue = append(m.queue, q)
}

func (m *model) deliver(t *testing.T, d *disk, s *script) { d.change(t, m.changes(s)...) }

// changes makes some in the model of the queue and returns them.
func (m *model) changes(s *script) (changes []storage.DeliveryChange) {
	for range s.n(4) {
		if len(m.queue) == 0 {
			break
		}
		q := &m.queue[s.n(len(m.queue))]
		i, state := s.n(3), s.n(5)-2 // half of them go
		c := storage.DeliveryChange{Queue: q.id, Delivery: storage.Delivery{Number: uint16(i), State: storage.DeliveryState(max(0, state))}, Remove: state < 0}
		changes = append(changes, c)
		if i < len(q.states) && q.states[i] >= 0 {
			q.states[i] = max(-1, state)
		}
		m.queue = slices.DeleteFunc(m.queue, func(q modelQueued) bool { return slices.Max(q.states) < 0 })
	}
	return changes
}

// compareQueue compares all of the queue.
func (m *model) compareQueue(t *testing.T, d *disk) {
	t.Helper()
	i := 0
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		i = 0
		return tx.Queue(0, func(q *storage.Queued) bool {
			states := []int{-1, -1, -1}
			for _, x := range q.Deliveries {
				states[x.Number] = int(x.State)
			}
			if i == len(m.queue) || q.ID != m.queue[i].id || !slices.Equal(states[:len(m.queue[i].states)], m.queue[i].states) {
				t.Fatalf("message %d of the queue is %v, want %v", i, q, m.queue)
			}
			i++
			return true
		})
	})
	if err != nil || i != len(m.queue) {
		t.Fatalf("the queue has %d messages, want %d: %v", i, len(m.queue), err)
	}
}

// words keeps one order, in which every mailbox learns them too: it is asked for all of them first.
func words(n int) []string { return []string{"$A", "$B"}[:n/2] }

func (m *model) store(t *testing.T, d *disk, a storage.AccountID, s *script, name string) {
	set := s.set(m.boxes[name])
	c := storage.FlagChange{Op: storage.FlagOp(s.n(3)), Flags: storage.Flags(s.n(32)), Keywords: words(s.n(4))}
	box := d.mailbox(t, a, name)
	d.update(t, func(tx *storage.Tx) error { _, err := tx.StoreFlags(a, box.ID, set, c); return err })
	for i := range m.boxes[name].messages {
		x := &m.boxes[name].messages[i]
		if x.uid < set[0].Lo || x.uid > set[0].Hi {
			continue
		}
		switch c.Op {
		case storage.FlagsSet:
			x.flags, x.words = c.Flags, c.Keywords
		case storage.FlagsAdd:
			x.flags |= c.Flags
			if len(c.Keywords) > len(x.words) {
				x.words = c.Keywords
			}
		case storage.FlagsRemove:
			x.flags &^= c.Flags
			x.words = x.words[min(len(c.Keywords), len(x.words)):]
		}
	}
}

func (m *model) expunge(t *testing.T, d *disk, a storage.AccountID, s *script, name string) {
	set := s.set(m.boxes[name])
	box := d.mailbox(t, a, name)
	d.update(t, func(tx *storage.Tx) error { _, _, err := tx.Expunge(a, box.ID, set); return err })
	b := m.boxes[name]
	b.messages = slices.DeleteFunc(b.messages, func(x modelMessage) bool {
		return x.flags&storage.Deleted != 0 && x.uid >= set[0].Lo && x.uid <= set[0].Hi
	})
}

func (m *model) chosen(name string, set storage.UIDSet) (l []modelMessage) {
	for _, x := range m.boxes[name].messages {
		if x.uid >= set[0].Lo && x.uid <= set[0].Hi {
			l = append(l, x)
		}
	}
	return l
}

func (m *model) copy(t *testing.T, d *disk, a storage.AccountID, s *script, name, to string) {
	set := s.set(m.boxes[name])
	if _, err := d.Copy(t.Context(), a, d.mailbox(t, a, name).ID, set, d.mailbox(t, a, to).ID); err != nil {
		t.Fatal(err)
	}
	for _, x := range m.chosen(name, set) {
		m.boxes[to].add(x)
	}
}

func (m *model) move(t *testing.T, d *disk, a storage.AccountID, s *script, name, to string) {
	set := s.set(m.boxes[name])
	if _, err := d.Move(t.Context(), a, d.mailbox(t, a, name).ID, set, d.mailbox(t, a, to).ID); err != nil {
		t.Fatal(err)
	}
	moving := m.chosen(name, set)
	b := m.boxes[name]
	b.messages = slices.DeleteFunc(b.messages, func(x modelMessage) bool { return x.uid >= set[0].Lo && x.uid <= set[0].Hi })
	for _, x := range moving {
		m.boxes[to].add(x)
	}
}

func (m *model) rename(t *testing.T, d *disk, a storage.AccountID, name, to string) {
	err := d.Update(t.Context(), func(tx *storage.Tx) error { return tx.RenameMailbox(a, name, to) })
	if m.boxes[to] != nil {
		if !errors.Is(err, storage.ErrMailboxExists) {
			t.Fatalf("rename %s to %s: %v", name, to, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("rename %s to %s: %v", name, to, err)
	}
	m.boxes[to] = m.boxes[name]
	delete(m.boxes, name)
	if name == "INBOX" {
		m.boxes["INBOX"] = &modelBox{uidNext: 1}
	}
}

func (m *model) createOrDelete(t *testing.T, d *disk, a storage.AccountID, name, fresh string) {
	if m.boxes[fresh] == nil {
		d.update(t, func(tx *storage.Tx) error { _, err := tx.CreateMailbox(a, fresh, 0); return err })
		m.boxes[fresh] = &modelBox{uidNext: 1}
		return
	}
	id := d.mailbox(t, a, fresh).ID
	d.update(t, func(tx *storage.Tx) error { return tx.DeleteMailbox(a, id) })
	delete(m.boxes, fresh)
}

func (m *model) compare(t *testing.T, d *disk, a storage.AccountID, name string) {
	t.Helper()
	b := m.boxes[name]
	if b == nil {
		return // renamed
	}
	if got, want := d.list(t, a, name), b.String(); got != want {
		t.Fatalf("%s is\n%s\nwant\n%s", name, got, want)
	}
	box := d.mailbox(t, a, name)
	want := storage.Mailbox{UIDNext: b.uidNext, Exists: uint32(len(b.messages))}
	for _, x := range b.messages {
		want.Size += int64(len(x.body))
		if x.flags&storage.Seen == 0 {
			want.Unseen++
		}
		if x.flags&storage.Deleted != 0 {
			want.Deleted++
		}
	}
	got := storage.Mailbox{UIDNext: box.UIDNext, Exists: box.Exists, Size: box.Size, Unseen: box.Unseen, Deleted: box.Deleted}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s counts %+v, want %+v", name, got, want)
	}
}

// checkWhole compares what spans mailboxes, and that nothing is left of what went.
func (d *disk) checkWhole(t *testing.T, a storage.AccountID, m *model) {
	t.Helper()
	var usage storage.Usage
	bodies := map[string]bool{}
	for _, b := range m.boxes {
		usage.Mailboxes++
		for _, x := range b.messages {
			usage.Messages++
			usage.Bytes += int64(len(x.body))
			bodies[x.body] = true
		}
	}
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		x, err := tx.Account(a)
		if err == nil && x.Usage != usage {
			t.Errorf("usage %+v, want %+v", x.Usage, usage)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if objects := d.CountKeys(t, 'o'); objects != len(bodies) {
		t.Errorf("%d objects are kept for %d messages", objects, len(bodies))
	}
	for _, q := range m.queue {
		bodies[q.body] = true
		if got := d.readQueued(t, q.id); got != q.body {
			t.Errorf("message %d of the queue is %q, want %q", q.id, got, q.body)
		}
	}
	if stored := d.CountKeys(t, 'b'); stored != len(bodies) {
		t.Errorf("%d bodies are kept for %d", stored, len(bodies))
	}
	if err := d.Verify(t.Context(), func(problem string) { t.Error(problem) }); err != nil {
		t.Error(err)
	}
	if n := d.CountKeys(t, 'r') + d.CountKeys(t, 'q'); n != 0 {
		t.Errorf("%d entries wait for the keeper", n)
	}
}

func TestStoreAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, cmp.Or(seed, 7)))
		octets := make([]byte, 1500)
		for i := range octets {
			octets[i] = byte(r.Uint32())
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) { play(t, octets) })
	}
}

func FuzzStoreAgainstModel(f *testing.F) {
	f.Add([]byte("accept, store, expunge, copy, move, rename, create, delete, reopen, send, deliver"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		play(t, octets[:min(len(octets), 400)]) // longer ones only repeat themselves
	})
}
