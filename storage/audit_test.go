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
func TestAuditShowsTampering(t *testing.T) {
	edit := func(n int, f func([]string) []string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { change(t, filepath.Join(dir, fmt.Sprintf("%08d.jsonl", n)), f) }
	}
	remove := func(n int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, fmt.Sprintf("%08d.jsonl", n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		do     func(t *testing.T, dir string)
		want   string // the first break; "" where only a noted head shows it
		breaks int
	}{
		{"one octet", edit(1, func(l []string) []string {
			l[1] = strings.Replace(l[1], "medecin", "medicin", 1)
			return l
		}), "00000001.jsonl line 3: it does not fit the line before: one of the two was changed", 1},
		{"one octet of the last line of a file", edit(1, func(l []string) []string {
			l[3] = strings.Replace(l[3], "medecin", "medicin", 1)
			return l
		}), "00000002.jsonl line 1: it does not fit the line before: one of the two was changed", 1},
		{"one octet of the hash", edit(2, func(l []string) []string {
			l[0] = strings.Replace(l[0], `"prev":"`, `"prev":"z`, 1)
			return l
		}), "00000002.jsonl line 1: the line is not an event of an audit trail", 2},
		{"a space", edit(1, func(l []string) []string { l[0] = " " + l[0]; return l }), "00000001.jsonl line 2: it does not fit the line before: one of the two was changed", 1},
		{"no JSON", edit(1, func(l []string) []string { l[1] = "#" + l[1]; return l }), "00000001.jsonl line 2: the line is not an event of an audit trail", 2},
		{"a line too long", edit(1, func(l []string) []string { l[1] = strings.Repeat(" ", 1<<17) + l[1]; return l }), "00000001.jsonl line 2: the line is not an event of an audit trail", 1},
		{"a line removed", edit(1, func(l []string) []string { return slices.Delete(l, 1, 2) }), "00000001.jsonl line 2: it is event 3 where 2 should be: lines are missing or swapped", 1},
		{"the first line removed", edit(1, func(l []string) []string { return l[1:] }), "00000001.jsonl line 1: it is event 2 where 1 should be: lines are missing or swapped", 1},
		{"a line twice", edit(1, func(l []string) []string { return slices.Insert(l, 1, l[0]) }), "00000001.jsonl line 2: it is event 1 where 2 should be: lines were added or swapped", 1},
		{"two lines swapped", edit(2, func(l []string) []string { l[1], l[2] = l[2], l[1]; return l }), "00000002.jsonl line 2: it is event 7 where 6 should be: lines are missing or swapped", 3},
		{"a line emptied", edit(2, func(l []string) []string { l[1] = "\n"; return l }), "00000002.jsonl line 2: the line is not an event of an audit trail", 2},
		{"the first file removed", remove(1), "00000001.jsonl: the file is missing", 1},
		{"a file removed", remove(2), "00000002.jsonl: the file is missing", 1},
		{"the end of a file cut", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "00000001.jsonl"), 500); err != nil {
				t.Fatal(err)
			}
		}, "00000001.jsonl line 4: the line is not finished although another file follows", 2},
		{"the last line removed", edit(3, func(l []string) []string { return []string{strings.TrimSuffix(l[0], "\n")} }), "", 0},
		{"the last file removed", remove(3), "", 0},
		{"the last line changed", edit(3, func(l []string) []string {
			l[1] = strings.Replace(l[1], "medecin", "medicin", 1)
			return l
		}), "", 0},
		{"another trail", func(t *testing.T, dir string) {
			for n := range 3 {
				remove(n+1)(t, dir)
			}
			writeTrail(t, dir, 3, storage.AuditOptions{})
			writeTrail(t, dir, 7, storage.AuditOptions{})
		}, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeTrail(t, dir, 10, storage.AuditOptions{FileSize: 600})
			before := verifyTrail(t, dir, storage.AuditCheck{})
			if again := verifyTrail(t, dir, storage.AuditCheck{Head: strings.ToUpper(before.Head)}); before.Break != nil || before.Files != 3 || again.HeadAt != 10 {
				t.Fatalf("the trail is not what this test needs: %+v, %+v", before, again)
			}
			c.do(t, dir)
			r := verifyTrail(t, dir, storage.AuditCheck{Head: before.Head})
			got := ""
			if r.Break != nil {
				got = r.Break.Error()
			}
			if got != c.want || r.Breaks != c.breaks {
				t.Errorf("%d breaks, the first: %q\nwant %d: %q", r.Breaks, got, c.breaks, c.want)
			}
			if c.want == "" && r.HeadAt != 0 {
				t.Errorf("the head noted before is still event %d", r.HeadAt)
			}
		})
	}
}

func TestAuditVerifiesBehindFilesMovedElsewhere(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	writeTrail(t, dir, 10, storage.AuditOptions{FileSize: 600})
	if err := os.Rename(filepath.Join(dir, "00000001.jsonl"), filepath.Join(elsewhere, "00000001.jsonl")); err != nil {
		t.Fatal(err)
	}
	moved := verifyTrail(t, elsewhere, storage.AuditCheck{})
	if r := verifyTrail(t, dir, storage.AuditCheck{After: moved.Head}); moved.Break != nil || r.Break != nil || r.Events+moved.Events != 10 || r.Number != 10 {
		t.Errorf("%+v, %+v", moved, r)
	}
	if r := verifyTrail(t, dir, storage.AuditCheck{After: strings.Repeat("1", 64)}); r.Break == nil || r.Break.Line != 1 {
		t.Errorf("another head does not matter: %+v", r)
	}
	writeTrail(t, dir, 1, storage.AuditOptions{})
	if r := verifyTrail(t, dir, storage.AuditCheck{After: moved.Head}); r.Break != nil || r.Number != 11 {
		t.Errorf("after going on: %+v", r)
	}
}

func TestAuditSetsTornEndAside(t *testing.T) {
	line := `{"n":3,"prev":"` + strings.Repeat("a", 64) + `","time":"2026-03-02T08:15:00Z","event":"x"}`
	for name, end := range map[string]string{
		"half a line":           line[:50],
		"a line without its LF": line,
		"no JSON":               "\x00\x00\x00\n",
		"several":               "\x00\x00\n{}\n[]\n" + strings.Repeat("x", 1<<17),
		"not even that":         "\n",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "00000001.jsonl")
			writeTrail(t, dir, 2, storage.AuditOptions{})
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for round := range 2 { // a second crash in the same file loses nothing of the first
				octets, err := os.ReadFile(path)
				if err == nil {
					err = os.WriteFile(path, append(octets, end...), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
				if r := verifyTrail(t, dir, storage.AuditCheck{}); (r.Break == nil) != (strings.Count(end, "\n") == 0) || r.Unfinished != !strings.HasSuffix(end, "\n") {
					t.Errorf("before opening: %+v", r)
				}
				writeTrail(t, dir, 1, storage.AuditOptions{})
				r := verifyTrail(t, dir, storage.AuditCheck{})
				if r.Break != nil || r.Unfinished || r.Events != 2+2*(round+1) || !slices.Equal(r.Torn, []string{"00000001.jsonl.torn"}) {
					t.Errorf("after opening: %+v", r)
				}
				if torn, err := os.ReadFile(path + ".torn"); err != nil || string(torn) != strings.Repeat(end, round+1) {
					t.Errorf("set aside: %.100q, %v", torn, err)
				}
			}
			if now, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(now, whole) {
				t.Errorf("the lines before changed: %q, %v", now, err)
			}
			if got := trailEvents(t, dir); !slices.Equal(got, []string{"test.1", "test.2", "audit.torn", "test.1", "audit.torn", "test.1"}) {
				t.Errorf("read %q", got)
			}
			stranger(t, dir)
		})
	}
}

func TestAuditGoesOnFromFileBeforeTornOne(t *testing.T) {
	dir := t.TempDir()
	writeTrail(t, dir, 2, storage.AuditOptions{})
	if err := os.WriteFile(filepath.Join(dir, "00000002.jsonl"), []byte(`{"n":3,`), 0o600); err != nil {
		t.Fatal(err)
	}
	writeTrail(t, dir, 1, storage.AuditOptions{})
	if r := verifyTrail(t, dir, storage.AuditCheck{}); r.Break != nil || r.Events != 4 || r.Files != 2 {
		t.Errorf("%+v", r)
	}
}

func TestAuditTellsOnceOfBreakFoundAtOpen(t *testing.T) {
	dir := t.TempDir()
	writeTrail(t, dir, 4, storage.AuditOptions{})
	change(t, filepath.Join(dir, "00000001.jsonl"), func(l []string) []string { return slices.Delete(l, 1, 2) })
	var log bytes.Buffer
	writeTrail(t, dir, 1, storage.AuditOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "00000001.jsonl line 2") {
		t.Errorf("the log says %s", &log)
	}
	writeTrail(t, dir, 1, storage.AuditOptions{})
	if got := trailEvents(t, dir); !slices.Equal(got, []string{"test.1", "test.3", "test.4", "audit.broken", "test.1", "test.1"}) {
		t.Errorf("read %q", got)
	}
	if r := verifyTrail(t, dir, storage.AuditCheck{}); r.Breaks != 1 || r.Break.Line != 2 {
		t.Errorf("%+v", r)
	}
}

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
		written := make(chan struct{})
		go func() {
			a.Write(&storage.Event{Event: "6"})
			close(written)
		}()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		select {
		case <-written:
			t.Error("Write did not wait although memory is full")
		default:
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		<-written
		if err := a.Close(); err != nil {
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
func FuzzReadAudit(f *testing.F) {
	dir := f.TempDir()
	writeTrail(f, dir, 3, storage.AuditOptions{})
	octets, err := os.ReadFile(filepath.Join(dir, "00000001.jsonl"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(octets)
	f.Add(octets[:len(octets)-1])
	f.Add(append(bytes.Clone(octets), "\x00\x00\n"...))
	f.Add(bytes.Replace(octets, []byte("\n"), []byte("\n\n"), 1))
	f.Add(bytes.Replace(octets, []byte(`"n":2`), []byte(`"n":18446744073709551615`), 1))
	f.Add([]byte(`{"n":9007199254740992,"prev":"` + strings.Repeat("0", 64) + `","event":"x"}` + "\n"))
	f.Fuzz(func(t *testing.T, octets []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "00000001.jsonl")
		if err := os.WriteFile(path, octets, 0o600); err != nil {
			t.Fatal(err)
		}
		before := verifyTrail(t, dir, storage.AuditCheck{})
		read := 0
		var broken *storage.AuditBreak
		if err := storage.ReadAudit(dir, func([]byte, *storage.Event) bool { read++; return true }); err != nil && !errors.As(err, &broken) {
			t.Fatal(err)
		}
		if read != before.Events || broken != nil && before.Break == nil {
			t.Errorf("read %d events, %v; verified %+v", read, broken, before)
		}
		writeTrail(t, dir, 1, storage.AuditOptions{})
		after := verifyTrail(t, dir, storage.AuditCheck{})
		if before.Break == nil && after.Break != nil || after.Unfinished || after.Events <= before.Events {
			t.Errorf("before %+v, after %+v", before, after)
		}
		now, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		torn, err := os.ReadFile(path + ".torn")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if kept := len(octets) - len(torn); kept < 0 || !bytes.HasPrefix(now, octets[:kept]) || !bytes.Equal(torn, octets[kept:]) {
			t.Errorf("octets are lost:\n%q\n%q\n%q", octets, now, torn)
		}
	})
}
