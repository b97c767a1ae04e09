package storage_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/storage"
)

// openTrail opens a trail that syncs only when asked.
func openTrail(t testing.TB, dir string, o storage.AuditOptions) *storage.Audit {
	t.Helper()
	o.Every = cmp.Or(o.Every, time.Hour)
	a, err := storage.OpenAudit(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// writeTrail makes a closed trail of events "test.1" to "test.<n>".
func writeTrail(t testing.TB, dir string, n int, o storage.AuditOptions) {
	t.Helper()
	a := openTrail(t, dir, o)
	for i := range n { // 162 octets a line
		a.Write(&storage.Event{Time: time.Date(2026, 3, 2, 8, 15, 0, 0, time.UTC), Event: fmt.Sprintf("test.%d", i+1), Account: "medecin@hopital.test"})
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}

func verifyTrail(t testing.TB, dir string, c storage.AuditCheck) *storage.AuditReport {
	t.Helper()
	r, err := storage.VerifyAudit(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// trailEvents lists the names of a trail's events.
func trailEvents(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := storage.ReadAudit(dir, func(_ []byte, e *storage.Event) bool { names = append(names, e.Event); return true })
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// change rewrites a file of a trail line by line.
func change(t testing.TB, path string, f func(lines []string) []string) {
	t.Helper()
	octets, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := f(strings.SplitAfter(strings.TrimSuffix(string(octets), "\n"), "\n"))
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stranger verifies a trail with nothing of ours, only from the description of
// the format, and tells the head.
func stranger(t testing.TB, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "0*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	prev, n := strings.Repeat("0", 64), 0.0
	for _, name := range names {
		octets, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(octets) {
			var members map[string]any
			if err := json.Unmarshal(line, &members); err != nil {
				t.Fatal(err)
			}
			if n++; members["n"] != n || members["prev"] != prev {
				t.Errorf("line %s does not follow %v", line, n-1)
			}
			prev = fmt.Sprintf("%x", sha256.Sum256(bytes.TrimSuffix(line, []byte("\n"))))
		}
	}
	return prev
}

func TestAuditKeepsWhatIsWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	want := storage.Event{
		Time: time.Date(2026, 3, 2, 8, 15, 0, 123, time.UTC), Event: "auth.ok", Account: "medecin@hopital.test", Unknown: "u",
		Actor: "a", Proto: "imap", Mech: "PLAIN", Level: 3, Remote: "192.0.2.1", TLS: "1.3", Cipher: "c", Resumed: true,
		Identity: "i", Serial: "s", Issuer: "CN=<\u00e9tat>\n&\"", Via: "grant 3", Outcome: "o", Conn: "77",
	}
	a := openTrail(t, dir, storage.AuditOptions{})
	sent := want
	a.Write(&sent)
	sent.Event = "changed after Write"
	if err := a.Sync(); err != nil {
		t.Fatal(err)
	}
	a.Write(&storage.Event{Event: "now", Time: time.Date(123456, 1, 1, 0, 0, 0, 0, time.UTC)})
	a.Write(&storage.Event{Event: "long", Issuer: strings.Repeat("é", 100_000), Outcome: strings.Repeat("\x01", 100_000)})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	var got []storage.Event
	if err := storage.ReadAudit(dir, func(_ []byte, e *storage.Event) bool { got = append(got, *e); return true }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0] != want {
		t.Fatalf("read %+v", got)
	}
	if d := time.Since(got[1].Time); d < 0 || d > time.Minute {
		t.Errorf("the time now is %v", got[1].Time)
	}
	if issuer := got[2].Issuer; len(issuer) > 512 || !strings.HasSuffix(issuer, "é…") {
		t.Errorf("the long text became %q", issuer)
	}
	r := verifyTrail(t, dir, storage.AuditCheck{})
	if r.Break != nil || r.Events != 3 || r.Number != 3 || r.Head != stranger(t, dir) || !r.First.Equal(want.Time) || !r.Last.Equal(got[2].Time) {
		t.Errorf("%+v", r)
	}
	for path, mode := range map[string]fs.FileMode{dir: 0o700, filepath.Join(dir, "00000001.jsonl"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestAuditGoesOnAfterReopeningAndInNextFiles(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		writeTrail(t, dir, 7, storage.AuditOptions{FileSize: 600})
	}
	r := verifyTrail(t, dir, storage.AuditCheck{})
	if r.Break != nil || r.Events != 21 || r.Files < 5 || r.Head != stranger(t, dir) {
		t.Errorf("%+v", r)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > 600+300 {
			t.Errorf("%s has %d octets, %v", e.Name(), info.Size(), err)
		}
	}
	if got := trailEvents(t, dir); len(got) != 21 || got[6] != "test.7" || got[7] != "test.1" {
		t.Errorf("read %q", got)
	}
}

// The trail has 10 events in files of 4, 4 and 2.

func TestAuditSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	killed := openTrail(t, dir, storage.AuditOptions{})
	for i := range 5 {
		killed.Write(&storage.Event{Event: fmt.Sprintf("test.%d", i+1)})
	}
	if err := killed.Sync(); err != nil {
		t.Fatal(err)
	}
	writeTrail(t, dir, 1, storage.AuditOptions{}) // never closed, the first one holds nothing back
	if got := trailEvents(t, dir); !slices.Equal(got, []string{"test.1", "test.2", "test.3", "test.4", "test.5", "test.1"}) {
		t.Errorf("read %q", got)
	}
	stranger(t, dir)
}

func TestAuditSyncsOnItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		a := openTrail(t, dir, storage.AuditOptions{Every: time.Second})
		a.Write(&storage.Event{Event: "x"})
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		if got := trailEvents(t, dir); !slices.Equal(got, []string{"x"}) {
			t.Errorf("read %q", got)
		}
		a.Close()
	})
}

func TestAuditTakesConcurrentWriters(t *testing.T) {
	const writers, each = 8, 200
	dir := t.TempDir()
	a := openTrail(t, dir, storage.AuditOptions{FileSize: 10_000, Queue: 64})
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				a.Write(&storage.Event{Event: "test", Level: i, Conn: fmt.Sprint(w)})
				if i%50 == 0 {
					if err := a.Sync(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verifyTrail(t, dir, storage.AuditCheck{}); r.Break != nil || r.Events != writers*each || r.Files < 10 {
		t.Errorf("%+v", r)
	}
	next := make(map[string]int) // of each writer: its events stay in order
	err := storage.ReadAudit(dir, func(_ []byte, e *storage.Event) bool {
		if e.Level != next[e.Conn] {
			t.Errorf("writer %s: event %d where %d should be", e.Conn, e.Level, next[e.Conn])
			return false
		}
		next[e.Conn]++
		return true
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAuditKeepsEventsWhileDiskRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "audit")
		var log bytes.Buffer
		// Every event wants a file of its own, which a directory that is away refuses.
		a := openTrail(t, dir, storage.AuditOptions{FileSize: 1, Every: time.Second, Queue: 4, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		a.Write(&storage.Event{Event: "1"})
		if err := errors.Join(a.Sync(), os.Rename(dir, dir+".away")); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"2", "3", "4", "5"} {
			a.Write(&storage.Event{Event: name})
		}
		if err := a.Sync(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Sync without a disk: %v", err)
		}
		if err := a.Write(&storage.Event{Event: "lost"}); !errors.Is(err, storage.ErrAuditFull) {
			t.Errorf("Write without a disk and without room: %v", err)
		}
		time.Sleep(10 * time.Second)
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(a.Sync(), a.Write(&storage.Event{Event: "6"}), a.Close()); err != nil {
			t.Fatal(err)
		}
		if got := trailEvents(t, dir); !slices.Equal(got, []string{"1", "2", "3", "4", "5", "6"}) {
			t.Errorf("read %q", got)
		}
		if r := verifyTrail(t, dir, storage.AuditCheck{}); r.Break != nil {
			t.Errorf("%+v", r)
		}
		if strings.Count(log.String(), "level=ERROR") != 1 || strings.Count(log.String(), "written again") != 1 {
			t.Errorf("the log does not tell once of the error and once of its end:\n%s", &log)
		}
	})
}

func TestAuditClosedWhileDiskRefusesLosesNoGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "audit")
		a := openTrail(t, dir, storage.AuditOptions{FileSize: 1, Queue: 1})
		a.Write(&storage.Event{Event: "1"})
		if err := errors.Join(a.Sync(), os.RemoveAll(dir)); err != nil {
			t.Fatal(err)
		}
		a.Write(&storage.Event{Event: "2"})
		go a.Write(&storage.Event{Event: "3"})
		synctest.Wait()
		if err := a.Close(); err == nil {
			t.Error("Close says nothing of the events that are lost")
		}
	})
}

func TestAuditAfterCloseAndNil(t *testing.T) {
	dir := t.TempDir()
	closed := openTrail(t, dir, storage.AuditOptions{})
	closed.Write(&storage.Event{Event: "x"})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, a := range []*storage.Audit{nil, closed} {
		a.Write(&storage.Event{Event: "late"})
		if err := errors.Join(a.Sync(), a.Close()); err != nil {
			t.Error(err)
		}
	}
	if got := trailEvents(t, dir); !slices.Equal(got, []string{"x"}) {
		t.Errorf("read %q", got)
	}
}

func TestAuditWithoutTrail(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nothing")} {
		if _, err := storage.VerifyAudit(dir, storage.AuditCheck{}); !errors.Is(err, storage.ErrNoAudit) {
			t.Errorf("verify: %v", err)
		}
		if err := storage.ReadAudit(dir, func([]byte, *storage.Event) bool { return true }); !errors.Is(err, storage.ErrNoAudit) {
			t.Errorf("read: %v", err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := storage.OpenAudit(file, storage.AuditOptions{}); err == nil {
		t.Error("a file was opened as a trail")
	}
}

func TestReadAuditStopsAndNamesUnreadableLine(t *testing.T) {
	dir := t.TempDir()
	writeTrail(t, dir, 10, storage.AuditOptions{FileSize: 600})
	count := 0
	if err := storage.ReadAudit(dir, func([]byte, *storage.Event) bool { count++; return count < 3 }); err != nil || count != 3 {
		t.Errorf("%d events, %v", count, err)
	}
	change(t, filepath.Join(dir, "00000002.jsonl"), func(l []string) []string { l[2] = "?\n"; return l })
	count = 0
	var broken *storage.AuditBreak
	err := storage.ReadAudit(dir, func([]byte, *storage.Event) bool { count++; return true })
	if !errors.As(err, &broken) || broken.File != "00000002.jsonl" || broken.Line != 3 || count != 9 {
		t.Errorf("%d events, %v", count, err)
	}
}

// FuzzReadAudit puts any octets in the place of a trail: nothing of them is lost

// by opening it, and a trail that was whole stays whole.
