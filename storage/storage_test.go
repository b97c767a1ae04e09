package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
)

// disk adds what these tests ask of a store.
type disk struct{ *storagetest.Disk }

func open(t testing.TB, dir string, limits storage.Limits) *disk {
	t.Helper()
	return openWith(t, dir, storage.Config{Limits: limits})
}

// openWith opens a store whose segments are small, so that there are several.
func openWith(t testing.TB, dir string, c storage.Config) *disk {
	t.Helper()
	return &disk{storagetest.Open(t, dir, c, body.Options{SegmentSize: 1 << 20}, true)}
}

// newStore gives a store with one account for the length of the test.
func newStore(t testing.TB, limits storage.Limits) (*disk, storage.AccountID) {
	t.Helper()
	d := open(t, t.TempDir(), limits)
	t.Cleanup(func() { d.Close(t) })
	return d, d.newAccount(t, "a@hopital.test")
}

func (d *disk) newAccount(t testing.TB, address string) storage.AccountID {
	t.Helper()
	return storagetest.Account(t, d.Store, "x", address)
}

func (d *disk) accept(t testing.TB, octets string, targets ...storage.Target) []storage.Placed {
	t.Helper()
	c, err := d.Seal([]byte(octets), []byte("meta of "+octets[:min(100, len(octets))]))
	if err != nil {
		t.Fatal(err)
	}
	placed, err := d.Accept(t.Context(), c, &storage.Acceptance{Targets: targets})
	if err != nil {
		t.Fatal(err)
	}
	return placed
}

func (d *disk) mailbox(t testing.TB, a storage.AccountID, name string) (m *storage.Mailbox) {
	t.Helper()
	err := d.View(t.Context(), func(tx *storage.Tx) (err error) { m, err = tx.MailboxByName(a, name); return err })
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

func (d *disk) update(t testing.TB, f func(*storage.Tx) error) {
	t.Helper()
	if err := d.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// list shows a mailbox as "uid flags keywords body" a line each.
func (d *disk) list(t testing.TB, a storage.AccountID, name string) string {
	t.Helper()
	m := d.mailbox(t, a, name)
	var all []storage.Placement
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Placements(a, m.ID, storage.AllUIDs, func(p *storage.Placement) bool { all = append(all, *p); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, p := range all {
		var words []string
		for i, k := range m.Keywords {
			if p.Keywords&(1<<i) != 0 {
				words = append(words, k)
			}
		}
		lines = append(lines, fmt.Sprintf("%d %d %s %s", p.UID, p.Flags, strings.Join(words, ","), d.read(t, a, p.Object)))
	}
	return strings.Join(lines, "\n")
}

func (d *disk) read(t testing.TB, a storage.AccountID, o storage.ObjectID) string {
	t.Helper()
	b, err := d.Open(t.Context(), a, o)
	if err != nil {
		t.Fatalf("object %d: %v", o, err)
	}
	defer b.Close()
	octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(octets)
}

func set(uids ...uint32) (s storage.UIDSet) {
	for _, u := range uids {
		s = append(s, storage.UIDRange{Lo: u, Hi: u})
	}
	return s
}

func TestOneBodyServesAllRecipients(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	placed := d.accept(t, "body",
		storage.Target{Account: a, Prefix: []byte("Delivered-To: a\r\n")},
		storage.Target{Account: b, Prefix: []byte("Delivered-To: b\r\n"), Flags: storage.Seen, Keywords: []string{"$Work"}})
	if got := d.list(t, a, "INBOX"); got != "1 0  Delivered-To: a\r\nbody" {
		t.Errorf("a has %q", got)
	}
	if got := d.list(t, b, "inbox"); got != "1 1 $Work Delivered-To: b\r\nbody" {
		t.Errorf("b has %q", got)
	}
	if x, y := storage.EmailID(a, placed[0].Object), storage.EmailID(b, placed[1].Object); x == y {
		t.Errorf("both recipients have EMAILID %s", x)
	}
	// Erasing one of them leaves the other readable and its address free.
	if err := d.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), a, placed[0].Object); !errors.Is(err, storage.ErrNoAccount) {
		t.Errorf("erased account's message: %v", err)
	}
	if got := d.list(t, b, "INBOX"); got != "1 1 $Work Delivered-To: b\r\nbody" {
		t.Errorf("b has %q", got)
	}
	d.newAccount(t, "a@hopital.test")
}

func TestNothingIsFiledWhenOneTargetRefuses(t *testing.T) {
	d, a := newStore(t, storage.Limits{QuotaBytes: 100})
	b := d.newAccount(t, "b@hopital.test")
	d.accept(t, strings.Repeat("x", 60), storage.Target{Account: b})
	c, err := d.Seal(bytes.Repeat([]byte("y"), 60), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Accept(t.Context(), c, &storage.Acceptance{Targets: []storage.Target{{Account: a}, {Account: b}}})
	if !errors.Is(err, storage.ErrOverQuota) {
		t.Fatalf("over quota: %v", err)
	}
	if m := d.mailbox(t, a, "INBOX"); m.Exists != 0 || m.UIDNext != 1 {
		t.Errorf("a's INBOX has %d messages, UIDNEXT %d", m.Exists, m.UIDNext)
	}
}

func TestExpungeCopyMoveKeepIdentity(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	for i := range 5 {
		d.accept(t, fmt.Sprint("m", i+1), storage.Target{Account: a, Keywords: []string{"$One"}})
	}
	in, archive := d.mailbox(t, a, "INBOX"), d.mailbox(t, a, "Archive")
	d.update(t, func(tx *storage.Tx) error {
		_, err := tx.StoreFlags(a, archive.ID, nil, storage.FlagChange{Op: storage.FlagsAdd, Keywords: []string{"other"}})
		return err
	})
	copied, err := d.Copy(t.Context(), a, in.ID, set(2, 4), archive.ID)
	if err != nil || !slices.Equal(copied.From, []uint32{2, 4}) || !slices.Equal(copied.To, []uint32{1, 2}) {
		t.Fatalf("copy: %+v, %v", copied, err)
	}
	moved, err := d.Move(t.Context(), a, in.ID, set(1), in.ID)
	if err != nil || !slices.Equal(moved.To, []uint32{6}) {
		t.Fatalf("move within: %+v, %v", moved, err)
	}
	d.update(t, func(tx *storage.Tx) error {
		if _, err := tx.StoreFlags(a, in.ID, set(2, 3), storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Deleted}); err != nil {
			return err
		}
		uids, _, err := tx.Expunge(a, in.ID, set(2, 4))
		if !slices.Equal(uids, []uint32{2}) {
			t.Errorf("expunged %v", uids)
		}
		return err
	})
	if got, want := d.list(t, a, "INBOX"), "3 8 $One m3\n4 0 $One m4\n5 0 $One m5\n6 0 $One m1"; got != want {
		t.Errorf("INBOX:\n%s\nwant:\n%s", got, want)
	}
	// Keywords follow by name, the expunged original's copy stays.
	if got, want := d.list(t, a, "Archive"), "1 0 $One m2\n2 0 $One m4"; got != want {
		t.Errorf("Archive:\n%s\nwant:\n%s", got, want)
	}
	err = d.View(t.Context(), func(tx *storage.Tx) error {
		gone, err := tx.Expunged(a, in.ID, []uint32{1, 2, 3, 4, 5}, in.HighestModSeq)
		if !slices.Equal(gone, []uint32{1, 2}) {
			t.Errorf("gone: %v", gone)
		}
		v, complete, err2 := tx.Vanished(a, in.ID, in.HighestModSeq)
		if len(v) != 2 || !complete {
			t.Errorf("vanished %v, complete %v", v, complete)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Error(err)
	}
}

func TestConditionalStore(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	for range 3 {
		d.accept(t, "m", storage.Target{Account: a})
	}
	in := d.mailbox(t, a, "INBOX")
	var modified []uint32
	d.update(t, func(tx *storage.Tx) error {
		_, err := tx.StoreFlags(a, in.ID, set(2), storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Seen})
		return err
	})
	d.update(t, func(tx *storage.Tx) (err error) {
		modified, err = tx.StoreFlags(a, in.ID, set(1, 2, 3), storage.FlagChange{
			Op: storage.FlagsAdd, Flags: storage.Flagged, Conditional: true, UnchangedSince: in.HighestModSeq})
		return err
	})
	if !slices.Equal(modified, []uint32{2}) {
		t.Errorf("modified %v", modified)
	}
	m := d.mailbox(t, a, "INBOX")
	if m.Unseen != 2 || m.HighestModSeq != in.HighestModSeq+2 {
		t.Errorf("unseen %d, highest modseq %d after %d", m.Unseen, m.HighestModSeq, in.HighestModSeq)
	}
	var changed []uint32
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Changes(a, in.ID, in.HighestModSeq+1, func(p *storage.Placement) bool { changed = append(changed, p.UID); return true })
	})
	if err != nil || !slices.Equal(changed, []uint32{1, 3}) {
		t.Errorf("changes %v, %v", changed, err)
	}
	// A STORE that changes nothing moves no ModSeq.
	d.update(t, func(tx *storage.Tx) error {
		_, err := tx.StoreFlags(a, in.ID, set(2), storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Seen})
		return err
	})
	if again := d.mailbox(t, a, "INBOX"); again.HighestModSeq != m.HighestModSeq {
		t.Errorf("highest modseq moved from %d to %d", m.HighestModSeq, again.HighestModSeq)
	}
}

func TestKeywordLimit(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	d.accept(t, "m", storage.Target{Account: a})
	in := d.mailbox(t, a, "INBOX")
	add := func(name string) error {
		return d.Update(t.Context(), func(tx *storage.Tx) error {
			_, err := tx.StoreFlags(a, in.ID, set(1), storage.FlagChange{Op: storage.FlagsAdd, Keywords: []string{name}})
			return err
		})
	}
	for i := range 64 {
		if err := add(fmt.Sprint("k", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := add("one-more"); !errors.Is(err, storage.ErrKeywordLimit) {
		t.Errorf("65th keyword: %v", err)
	}
	if err := add("K63"); err != nil {
		t.Errorf("a known keyword in another case: %v", err)
	}
}

func TestMailboxNames(t *testing.T) {
	d, a := newStore(t, storage.Limits{Mailboxes: 12, NameLength: 40, NameDepth: 3})
	create := func(name string) error {
		return d.Update(t.Context(), func(tx *storage.Tx) error { _, err := tx.CreateMailbox(a, name, 0); return err })
	}
	for name, want := range map[string]error{
		"Projets": nil, "Projets/Été": nil, "inbox/sub": nil, "E\u0301te\u0301": nil,
		"Été": storage.ErrMailboxExists, "INBOX": storage.ErrMailboxExists, "": storage.ErrMailboxName, "/a": storage.ErrMailboxName, "a//b": storage.ErrMailboxName,
		"a/": storage.ErrMailboxName, "a\x00b": storage.ErrMailboxName, "a\nb": storage.ErrMailboxName, "\xff": storage.ErrMailboxName,
		"a/b/c/d": storage.ErrMailboxName, strings.Repeat("x", 41): storage.ErrMailboxName,
	} {
		if name == "Été" {
			continue // after its decomposed twin, below
		}
		if err := create(name); !errors.Is(err, want) {
			t.Errorf("create %q: %v, want %v", name, err, want)
		}
	}
	if err := create("Été"); !errors.Is(err, storage.ErrMailboxExists) {
		t.Errorf("NFC twin: %v", err)
	}
	for i := range 3 {
		err := create(fmt.Sprint("n", i))
		if want := []error{nil, nil, storage.ErrMailboxLimit}[i]; !errors.Is(err, want) {
			t.Errorf("mailbox %d: %v, want %v", i, err, want)
		}
	}
	d.update(t, func(tx *storage.Tx) error { return tx.RenameMailbox(a, "Projets", "P") })
	d.mailbox(t, a, "P/Été")
	err := d.Update(t.Context(), func(tx *storage.Tx) error { return tx.RenameMailbox(a, "P", "P/x") })
	if !errors.Is(err, storage.ErrMailboxName) {
		t.Errorf("rename below itself: %v", err)
	}
	err = d.Update(t.Context(), func(tx *storage.Tx) error { return tx.DeleteMailbox(a, d.inboxOf(tx, a)) })
	if !errors.Is(err, storage.ErrInbox) {
		t.Errorf("delete INBOX: %v", err)
	}
}

func (d *disk) inboxOf(tx *storage.Tx, a storage.AccountID) storage.MailboxID {
	m, err := tx.MailboxByName(a, "INBOX")
	if err != nil {
		return 0
	}
	return m.ID
}

func TestRenameInbox(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	d.accept(t, "old", storage.Target{Account: a})
	before := d.mailbox(t, a, "INBOX")
	d.update(t, func(tx *storage.Tx) error { return tx.RenameMailbox(a, "INBOX", "Ancien") })
	after := d.mailbox(t, a, "INBOX")
	if after.Exists != 0 || after.UIDValidity <= before.UIDValidity || after.ID == before.ID {
		t.Errorf("new INBOX: %+v", after)
	}
	if m := d.mailbox(t, a, "Ancien"); m.ID != before.ID || m.Exists != 1 || m.UIDValidity != before.UIDValidity {
		t.Errorf("renamed: %+v", m)
	}
	d.accept(t, "new", storage.Target{Account: a})
	if got := d.list(t, a, "INBOX"); got != "1 0  new" {
		t.Errorf("INBOX: %q", got)
	}
}

func TestWatch(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	in, archive := d.mailbox(t, a, "INBOX"), d.mailbox(t, a, "Archive")
	wake, stop := d.Watch(storage.Topic{Account: a, Mailbox: in.ID})
	other, stopOther := d.Watch(storage.Topic{Account: a, Mailbox: archive.ID})
	defer stopOther()
	d.accept(t, "one", storage.Target{Account: a})
	d.accept(t, "two", storage.Target{Account: a})
	<-wake
	select {
	case <-wake:
		t.Error("two wakes that nobody read did not merge")
	case <-other:
		t.Error("another mailbox woke")
	default:
	}
	stop()
	d.accept(t, "three", storage.Target{Account: a})
	select {
	case <-wake:
		t.Error("woke after stop")
	default:
	}
}

func TestThreads(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	thread := func(id, subject string, refs ...string) storage.ObjectID {
		placed := d.accept(t, id, storage.Target{Account: a, MessageID: id, References: refs, BaseSubject: subject})
		var o *storage.Object
		err := d.View(t.Context(), func(tx *storage.Tx) (err error) { o, err = tx.Object(a, placed[0].Object); return err })
		if err != nil {
			t.Fatal(err)
		}
		return o.Thread
	}
	first := thread("<1@x>", "rdv")
	if got := thread("<2@x>", "RDV", "<1@x>"); got != first {
		t.Errorf("reply: thread %d, want %d", got, first)
	}
	if got := thread("<3@x>", "rdv", "<2@x>"); got != first {
		t.Errorf("reply to the reply: thread %d, want %d", got, first)
	}
	if got := thread("<4@x>", "autre", "<1@x>"); got == first {
		t.Error("another subject stayed in the thread")
	}
	if got := thread("<5@x>", "rdv"); got == first {
		t.Error("no reference, yet in the thread")
	}
}

func TestMetasComeFromCacheOrLog(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	var ids []storage.ObjectID
	for i := range 10 {
		ids = append(ids, d.accept(t, fmt.Sprint(i), storage.Target{Account: a})[0].Object)
	}
	check := func(d *disk) {
		t.Helper()
		got := make([]string, len(ids)+1)
		err := d.Metas(t.Context(), a, append(slices.Clone(ids), 999), func(i int, meta []byte) error {
			got[i] = string(meta)
			return nil
		})
		for i := range ids {
			if want := fmt.Sprint("meta of ", i); got[i] != want {
				t.Errorf("block %d is %q", i, got[i])
			}
		}
		if err != nil || got[len(ids)] != "" {
			t.Errorf("unknown object: %q, %v", got[len(ids)], err)
		}
	}
	check(d) // waiting in memory
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	check(d) // from the cache's file
	d.Close(t)
	removeFile(t, filepath.Join(dir, "cache.db"))
	d = open(t, dir, storage.Limits{})
	defer d.Close(t)
	check(d) // from the log
}

func TestRecentGoesToOneSession(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a := d.newAccount(t, "a@hopital.test")
	in := d.mailbox(t, a, "INBOX")
	take := func(want uint32) {
		t.Helper()
		if got, err := d.TakeRecent(t.Context(), a, in.ID); err != nil || got != want {
			t.Errorf("first recent %d, %v, want %d", got, err, want)
		}
	}
	d.accept(t, "1", storage.Target{Account: a})
	take(1)
	take(2)
	d.accept(t, "2", storage.Target{Account: a})
	take(2)
	d.LoggedIn(a, time.Unix(1e9, 0))
	d.Close(t)
	d = open(t, dir, storage.Limits{})
	defer d.Close(t)
	take(3)
	err := d.View(t.Context(), func(tx *storage.Tx) error {
		x, err := tx.Account(a)
		if err == nil && !x.LastLogin.Equal(time.Unix(1e9, 0)) {
			t.Errorf("last log-in %v", x.LastLogin)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestVanishedIsBounded(t *testing.T) {
	d, a := newStore(t, storage.Limits{VanishedRanges: 5})
	for range 40 {
		d.accept(t, "m", storage.Target{Account: a})
	}
	in := d.mailbox(t, a, "INBOX")
	expunge := func(uids ...uint32) storage.ModSeq {
		var at storage.ModSeq
		d.update(t, func(tx *storage.Tx) error {
			if _, err := tx.StoreFlags(a, in.ID, set(uids...), storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Deleted}); err != nil {
				return err
			}
			_, m, err := tx.Expunge(a, in.ID, nil)
			at = m
			return err
		})
		return at
	}
	vanished := func(since storage.ModSeq) (string, bool) {
		var v []storage.VanishedRange
		var complete bool
		err := d.View(t.Context(), func(tx *storage.Tx) (err error) {
			v, complete, err = tx.Vanished(a, in.ID, since)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, r := range v {
			s = append(s, fmt.Sprintf("%d:%d", r.Lo, r.Hi))
		}
		return strings.Join(s, ","), complete
	}
	first := expunge(2, 3, 4)
	second := expunge(1, 5, 10) // 1 and 5 join over the gap of 2 to 4
	if got, complete := vanished(in.HighestModSeq); got != "2:4,1:5,10:10" || !complete {
		t.Errorf("vanished %s, complete %v", got, complete)
	}
	expunge(20, 22, 24)
	if got, complete := vanished(first); got != "1:5,10:10,20:20,22:22,24:24" || !complete {
		t.Errorf("vanished %s, complete %v", got, complete)
	}
	if _, complete := vanished(in.HighestModSeq); complete {
		t.Error("the oldest change is forgotten, yet the history says complete")
	}
	expunge(26, 28, 30, 32, 34, 36) // too scattered for the bound
	if got, complete := vanished(second); got != "" || complete {
		t.Errorf("vanished %s, complete %v", got, complete)
	}
}

func TestCopyOfMany(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	in, archive := d.mailbox(t, a, "INBOX"), d.mailbox(t, a, "Archive")
	fill(t, d, a, 10)
	// Doubling INBOX up to 10,240 passes the step of one transaction.
	for range 10 {
		if _, err := d.Copy(t.Context(), a, in.ID, storage.AllUIDs, in.ID); err != nil {
			t.Fatal(err)
		}
	}
	done, err := d.Copy(t.Context(), a, in.ID, storage.AllUIDs, archive.ID)
	if err != nil || len(done.To) != 10240 {
		t.Fatalf("copied %d: %v", len(done.To), err)
	}
	for _, name := range []string{"INBOX", "Archive"} {
		if m := d.mailbox(t, a, name); m.Exists != 10240 {
			t.Errorf("%s has %d", name, m.Exists)
		}
	}
	d.update(t, func(tx *storage.Tx) error {
		if _, err := tx.StoreFlags(a, in.ID, storage.AllUIDs, storage.FlagChange{Op: storage.FlagsSet, Flags: storage.Deleted}); err != nil {
			return err
		}
		_, _, err := tx.Expunge(a, in.ID, nil)
		return err
	})
	d.Reap(t)
	if m := d.mailbox(t, a, "INBOX"); m.Exists != 0 || m.Size != 0 || m.Unseen != 0 || m.Deleted != 0 {
		t.Errorf("INBOX after expunging all: %+v", m)
	}
	if got := d.read(t, a, 1); got != "message 0" {
		t.Errorf("the copies' body is %q", got)
	}
}

// fill files n small messages into INBOX.
func fill(t testing.TB, d *disk, a storage.AccountID, n int) {
	t.Helper()
	for i := range n {
		d.accept(t, fmt.Sprint("message ", i), storage.Target{Account: a, InternalDate: time.Unix(int64(i), 0)})
	}
}

func TestCancelledUpdateChangesNothing(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := d.Update(ctx, func(tx *storage.Tx) error { _, err := tx.CreateMailbox(a, "x", 0); return err })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	err = d.View(t.Context(), func(tx *storage.Tx) error { _, err := tx.MailboxByName(a, "x"); return err })
	if !errors.Is(err, storage.ErrNoMailbox) {
		t.Errorf("mailbox: %v", err)
	}
}
