package storage_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
)

func (d *disk) verify(t testing.TB) {
	t.Helper()
	if err := d.Verify(t.Context(), func(problem string) { t.Error(problem) }); err != nil {
		t.Error(err)
	}
}

// TestReplay takes the index back to what it was before some deliveries, as a
// crash does that came between the log's sync and the index's.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, storage.Limits{})
	a, b := d.newAccount(t, "a@hopital.test"), d.newAccount(t, "b@hopital.test")
	d.accept(t, "first", storage.Target{Account: a})
	d.Close(t)
	before, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	d = open(t, dir, storage.Limits{})
	archive := d.mailbox(t, a, "Archive").ID
	d.accept(t, "second", storage.Target{Account: a, Flags: storage.Seen, Keywords: []string{"$New"}, Prefix: []byte("P: a\r\n")},
		storage.Target{Account: b, Prefix: []byte("P: b\r\n")})
	d.accept(t, "third", storage.Target{Account: a, Mailbox: archive})
	want := d.list(t, a, "INBOX") + d.list(t, a, "Archive") + d.list(t, b, "INBOX")
	d.Close(t)

	if err := os.WriteFile(filepath.Join(dir, "index.db"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	// The second start has nothing left to replay.
	for range 2 {
		d = open(t, dir, storage.Limits{})
		if got := d.list(t, a, "INBOX") + d.list(t, a, "Archive") + d.list(t, b, "INBOX"); got != want {
			t.Errorf("after replay:\n%s\nwant:\n%s", got, want)
		}
		d.verify(t)
		d.Close(t)
	}
}

func TestCompactionKeepsWhatLives(t *testing.T) {
	dir := t.TempDir()
	d := openPlain(t, dir)
	a := d.newAccount(t, "a@hopital.test")
	r := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		noise := make([]byte, 60_000)
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		d.accept(t, string(noise), storage.Target{Account: a})
	}
	in := d.mailbox(t, a, "INBOX")
	full := size(t, filepath.Join(dir, "bodies"))
	var odd storage.UIDSet
	for uid := uint32(1); uid < 60; uid += 2 {
		odd = append(odd, storage.UIDRange{Lo: uid, Hi: uid})
	}
	want := d.list(t, a, "INBOX")
	d.update(t, func(tx *storage.Tx) error {
		if _, err := tx.StoreFlags(a, in.ID, odd, storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Deleted}); err != nil {
			return err
		}
		_, _, err := tx.Expunge(a, in.ID, nil)
		return err
	})
	d.Reap(t)
	if now := size(t, filepath.Join(dir, "bodies")); now > full*7/10 {
		t.Errorf("the log has %d octets after half of %d was expunged", now, full)
	}
	d.verify(t)
	for range 2 {
		for _, line := range strings.Split(d.list(t, a, "INBOX"), "\n") {
			if !strings.Contains(want, line) {
				t.Fatal("a message is not what it was")
			}
		}
		d.Close(t)
		d = openPlain(t, dir)
	}
	if m := d.mailbox(t, a, "INBOX"); m.Exists != 30 {
		t.Errorf("%d messages are left", m.Exists)
	}
	d.Close(t)
}

// openPlain opens a store without the checks that cost time and space.
func openPlain(t testing.TB, dir string) *disk {
	t.Helper()
	c := storage.Config{Limits: storage.Limits{QuotaBytes: 1 << 40}}
	return &disk{storagetest.Open(t, dir, c, body.Options{SegmentSize: 1 << 20}, false)}
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size()
	}
	return n
}

func TestDeletedMailboxIsReaped(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	d.update(t, func(tx *storage.Tx) error { _, err := tx.CreateMailbox(a, "x", 0); return err })
	x := d.mailbox(t, a, "x")
	for i := range 300 {
		d.accept(t, fmt.Sprint(i), storage.Target{Account: a, Mailbox: x.ID, Keywords: []string{"k"}})
	}
	if _, err := d.Copy(t.Context(), a, x.ID, set(1, 300), d.mailbox(t, a, "INBOX").ID); err != nil {
		t.Fatal(err)
	}
	d.update(t, func(tx *storage.Tx) error { return tx.DeleteMailbox(a, x.ID) })
	d.Reap(t)
	d.verify(t)
	if got := d.list(t, a, "INBOX"); got != "1 0 k 0\n2 0 k 299" {
		t.Errorf("INBOX: %q", got)
	}
	if n := d.CountKeys(t, 'o'); n != 2 {
		t.Errorf("%d objects are kept", n)
	}
}

func TestErasedAccountLeavesNothing(t *testing.T) {
	d, a := newStore(t, storage.Limits{})
	b := d.newAccount(t, "b@hopital.test")
	d.accept(t, "shared", storage.Target{Account: a, MessageID: "<1@x>"}, storage.Target{Account: b})
	d.accept(t, "own", storage.Target{Account: a})
	if err := d.EraseAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	d.Reap(t)
	d.verify(t)
	for table, want := range map[byte]int{'o': 1, 'b': 1, 'i': 1, 'c': 1, 'm': 6, 't': 0} {
		if n := d.CountKeys(t, table); n != want {
			t.Errorf("table %c has %d keys, want %d", table, n, want)
		}
	}
}

// A record whose change failed stands in the log before one that was
// acknowledged, with the same place in it: replay loses neither.
func TestReplayLosesNothingToAFailedChange(t *testing.T) {
	dir := t.TempDir()
	d := openPlain(t, dir)
	a := d.newAccount(t, "a@hopital.test")
	d.Close(t)
	before, err := os.ReadFile(filepath.Join(dir, "index.db"))
	if err != nil {
		t.Fatal(err)
	}
	d = openPlain(t, dir)
	c, err := d.Seal([]byte("change that failed"), nil)
	if err != nil {
		t.Fatal(err)
	}
	d.StageForNothing(t, c, storage.Target{Account: a})
	d.accept(t, "acknowledged", storage.Target{Account: a, InternalDate: time.Unix(0, 0)})
	d.Close(t)
	if err := os.WriteFile(filepath.Join(dir, "index.db"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	d = openPlain(t, dir)
	defer d.Close(t)
	if got := d.list(t, a, "INBOX"); !strings.HasSuffix(got, " acknowledged") {
		t.Errorf("after replay: %q", got)
	}
	d.verify(t)
}
