package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// auditTrail makes a closed trail of five events, one an hour.
func auditTrail(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	a, err := storage.OpenAudit(dir, storage.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for i, e := range []storage.Event{
		{Event: "auth.ok", Account: "medecin@hopital.test", Proto: "imap", Level: 3, Remote: "192.0.2.1"},
		{Event: "auth.fail", Account: "labo@hopital.test", Proto: "smtp", Remote: "192.0.2.2"},
		{Event: "card.link", Account: "medecin@hopital.test", Issuer: "=cmd|' /C calc'!A0", Serial: "-1"},
		{Event: "account.password", Account: "labo@hopital.test", Actor: "medecin@hopital.test"},
		{Event: "auth.ok", Account: "labo@hopital.test", Outcome: "a \"quoted\",\ntext"},
	} {
		e.Time = start.Add(time.Duration(i) * time.Hour)
		a.Write(&e)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// command runs a command line and returns what it writes to standard output.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAuditVerifyPrintsHeadThatLaterProvesTheTrail(t *testing.T) {
	dir := auditTrail(t)
	out, err := command(t, "audit", "verify", "--dir", dir)
	if err != nil || !strings.Contains(out, "5 in 1 files") {
		t.Fatalf("%v\n%s", err, out)
	}
	fields := strings.Fields(out)
	head := fields[len(fields)-1]
	if out, err := command(t, "audit", "verify", "--dir", dir, "--head", head); err != nil || !strings.Contains(out, "is event 5") {
		t.Errorf("with its own head: %v\n%s", err, out)
	}
	path := filepath.Join(dir, "00000001.jsonl")
	octets, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	shorter := octets[:bytes.LastIndexByte(octets[:len(octets)-1], '\n')+1]
	if err := os.WriteFile(path, shorter, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "audit", "verify", "--dir", dir); err != nil {
		t.Errorf("without its last line: %v\n%s", err, out)
	}
	if _, err := command(t, "audit", "verify", "--dir", dir, "--head", head); err == nil || !strings.Contains(err.Error(), "not in the audit trail") {
		t.Errorf("without its last line, with the head: %v", err)
	}
	if err := os.WriteFile(path, bytes.Replace(octets, []byte("labo"), []byte("lobo"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err = command(t, "audit", "verify", "--dir", dir)
	if err == nil || !strings.Contains(err.Error(), "00000001.jsonl line 3") || !strings.Contains(out, "NO") {
		t.Errorf("changed: %v\n%s", err, out)
	}
	out, err = command(t, "audit", "verify", "--dir", dir, "--json")
	var report storage.AuditReport
	if json.Unmarshal([]byte(out), &report) != nil || err == nil || report.Break == nil || report.Break.Line != 3 {
		t.Errorf("changed, as JSON: %v\n%s", err, out)
	}
}

func TestAuditExportSelects(t *testing.T) {
	dir := auditTrail(t)
	for args, want := range map[string]string{
		"":                                     "1 2 3 4 5",
		"--account Medecin@hopital.test":       "1 3 4",
		"--account nobody@hopital.test":        "",
		"--event auth.":                        "1 2 5",
		"--event auth.ok --since 2026-03-03":   "",
		"--since 2026-03-02T09:00:00Z":         "2 3 4 5",
		"--until 2026-03-02T10:00:00+01:00":    "1",
		"--since 2020-01-01 --until 0s --json": "",
		"--event auth.ok --until 2027-03-02":   "1 5",
	} {
		out, err := command(t, append([]string{"audit", "export", "--dir", dir}, strings.Fields(args)...)...)
		var usage *usageError
		if strings.Contains(args, "--json") {
			if !errors.As(err, &usage) {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		var numbers []string
		for line := range strings.Lines(out) {
			var e struct{ N json.Number }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("%s: %v: %s", args, err, line)
			}
			numbers = append(numbers, e.N.String())
		}
		if got := strings.Join(numbers, " "); err != nil || got != want {
			t.Errorf("%s: events %q, want %q, %v", args, got, want, err)
		}
	}
	octets, err := os.ReadFile(filepath.Join(dir, "00000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := command(t, "audit", "export", "--dir", dir); err != nil || out != string(octets) {
		t.Errorf("the whole export is not the file: %v\n%s", err, out)
	}
}

func TestAuditExportCSVIsNoFormula(t *testing.T) {
	out, err := command(t, "audit", "export", "--csv", "--dir", auditTrail(t))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(rows) != 6 {
		t.Fatalf("%d rows, %v\n%s", len(rows), err, out)
	}
	cell := func(row int, column string) string {
		for i, name := range rows[0] {
			if name == column {
				return rows[row][i]
			}
		}
		t.Fatalf("no column %s", column)
		return ""
	}
	for _, c := range []struct {
		row          int
		column, want string
	}{
		{1, "n", "1"}, {1, "time", "2026-03-02T08:00:00Z"}, {1, "level", "3"}, {1, "remote", "192.0.2.1"},
		{3, "issuer", "'=cmd|' /C calc'!A0"}, {3, "serial", "'-1"}, {4, "actor", "medecin@hopital.test"},
		{5, "outcome", "a \"quoted\",\ntext"},
	} {
		if got := cell(c.row, c.column); got != c.want {
			t.Errorf("row %d, %s: %q, want %q", c.row, c.column, got, c.want)
		}
	}
}

func TestAuditCSVHasEveryMemberOfAnEvent(t *testing.T) {
	out, err := command(t, "audit", "export", "--csv", "--event", "none", "--dir", auditTrail(t))
	if err != nil {
		t.Fatal(err)
	}
	want := "n"
	for _, field := range reflect.VisibleFields(reflect.TypeFor[storage.Event]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		want += "," + name
	}
	if got := strings.TrimSpace(out); got != want {
		t.Errorf("columns %s\nwant    %s", got, want)
	}
}

func TestAuditExportLeavesOutWhatItCannotRead(t *testing.T) {
	dir := auditTrail(t)
	path := filepath.Join(dir, "00000001.jsonl")
	octets, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, bytes.Replace(octets, []byte(`{"n":2`), []byte(`?"n":2`), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := command(t, "audit", "export", "--dir", dir)
	if strings.Count(out, "\n") != 4 || err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAuditCommandLines(t *testing.T) {
	for _, c := range []struct {
		args  string
		usage bool
		want  string
	}{
		{"audit export --since yesterday", true, "is no time"},
		{"audit export --until -1h", true, "is no time"},
		{"audit verify --head 123", true, "64 hexadecimal digits"},
		{"audit verify --after " + strings.Repeat("g", 64), true, "64 hexadecimal digits"},
		{"audit verify now", true, "now"},
		{"audit verify --dir /nonexistent", false, "there is no audit trail"},
		{"audit export --dir /nonexistent", false, "there is no audit trail"},
		{"audit verify --config /nonexistent", false, "--config"},
	} {
		_, err := command(t, strings.Fields(c.args)...)
		var usage *usageError
		if err == nil || errors.As(err, &usage) != c.usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
}

func TestParseTime(t *testing.T) {
	zone := time.FixedZone("CET", 3600)
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"":                     {},
		"2026-03-01":           time.Date(2026, 3, 1, 0, 0, 0, 0, zone),
		"2026-03-01 08:15":     time.Date(2026, 3, 1, 8, 15, 0, 0, zone),
		"2026-03-01 08:15:30":  time.Date(2026, 3, 1, 8, 15, 30, 0, zone),
		"2026-03-01T08:15:30Z": time.Date(2026, 3, 1, 8, 15, 30, 0, time.UTC),
		"36h":                  time.Date(2026, 3, 1, 0, 0, 0, 0, zone),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}
