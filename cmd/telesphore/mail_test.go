package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdMaildir is `maildir DIR N`: a maildir of N messages with flags.
func cmdMaildir(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for _, sub := range []string{"cur", "new", "tmp"} {
		ts.Check(os.MkdirAll(filepath.Join(ts.MkAbs(args[0]), sub), 0o700))
	}
	flags := []string{"", "S", "FS", "RS", "DS", "FRS"}
	for i := range n {
		name := fmt.Sprintf("%d.M%dP1.test:2,%s", 1700000000+i, i, flags[i%len(flags)])
		text := fmt.Sprintf("From: sender%d@hopital.test\nTo: secretariat@hopital.test\nSubject: message %d\n"+
			"Message-ID: <%d@test>\nDate: Mon, 2 Nov 2026 10:00:00 +0100\n\n%s\n",
			i%7, i, i, strings.Repeat("Une ligne de texte.\n", i%40))
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(args[0]), "cur", name), []byte(text), 0o600))
	}
}

// cmdSamemail is `samemail DIR DIR`: two maildirs hold the same messages with the
// same flags.
func cmdSamemail(ts *testscript.TestScript, neg bool, args []string) {
	a, b := mail(ts, args[0]), mail(ts, args[1])
	if !slices.Equal(a, b) {
		ts.Fatalf("%d messages in %s, %d in %s, or they differ", len(a), args[0], len(b), args[1])
	}
}

// mail lists a maildir's messages: flags and text, sorted. mbsync adds a line of
// its own to what it copies; it is left out.
func mail(ts *testscript.TestScript, dir string) []string {
	var all []string
	for _, sub := range []string{"cur", "new"} {
		files, err := os.ReadDir(filepath.Join(ts.MkAbs(dir), sub))
		ts.Check(err)
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(ts.MkAbs(dir), sub, f.Name()))
			ts.Check(err)
			_, flags, _ := strings.Cut(f.Name(), ":2,")
			var kept []string
			for line := range strings.Lines(strings.ReplaceAll(string(text), "\r\n", "\n")) {
				if !strings.HasPrefix(line, "X-TUID: ") {
					kept = append(kept, line)
				}
			}
			all = append(all, flags+"\n"+strings.Join(kept, ""))
		}
	}
	slices.Sort(all)
	return all
}
