package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"telesphore/storage"
)

// tampering is one thing that somebody may do to a trail of 10 events in files
// of 4, 4 and 2.
type tampering struct {
	name   string
	do     func(t *testing.T, dir string)
	want   string // the first break; "" where only a noted head shows it
	breaks int
}

// allTampering begins with what shows in the files alone.
func allTampering() []tampering {
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
	return []tampering{
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
	}
}

func TestAuditShowsTampering(t *testing.T) {
	for _, c := range allTampering() {
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

func TestAuditOpensLongFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "00000001.jsonl")
	writeTrail(t, dir, 8000, storage.AuditOptions{}) // more than what is looked at
	garbage := strings.Repeat("no event\n", 200_000)
	for _, c := range []struct {
		name string
		do   func()
		want []string // the last events
	}{
		{"whole", func() {}, []string{"test.8000", "test.1"}},
		{"long torn end", func() {
			change(t, path, func(l []string) []string { return append(l, "\n"+strings.TrimSuffix(garbage, "\n")) })
		}, []string{"test.1", "audit.torn", "test.1"}},
		{"a break at the end", func() {
			change(t, path, func(l []string) []string { return slices.Delete(l, 7000, 7001) })
		}, []string{"audit.torn", "test.1", "audit.broken", "test.1"}},
	} {
		c.do()
		writeTrail(t, dir, 1, storage.AuditOptions{})
		got := trailEvents(t, dir)
		if got = got[len(got)-len(c.want):]; !slices.Equal(got, c.want) {
			t.Errorf("%s: the last events are %q", c.name, got)
		}
	}
	if r := verifyTrail(t, dir, storage.AuditCheck{}); r.Breaks != 1 || r.Break.Line != 7001 {
		t.Errorf("%+v", r)
	}
	var last storage.Event
	if err := storage.ReadAudit(dir, func(_ []byte, e *storage.Event) bool {
		if e.Event == "audit.broken" {
			last = *e
		}
		return true
	}); err != nil || !strings.Contains(last.Outcome, "line 7001: it is event 7002") {
		t.Errorf("audit.broken says %q, %v", last.Outcome, err)
	}
}

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
