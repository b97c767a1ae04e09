package imapd

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// number reads the n-th number behind word in s.
func number(t *testing.T, s, word string) uint64 {
	t.Helper()
	_, after, found := strings.Cut(s, word)
	digits := strings.FieldsFunc(after, func(r rune) bool { return r < '0' || r > '9' })
	if !found || len(digits) == 0 {
		t.Fatalf("no %s in %q", word, s)
	}
	n, err := strconv.ParseUint(digits[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// modseq asks for the HIGHESTMODSEQ of INBOX.
func (c *client) modseq(t *testing.T) uint64 {
	t.Helper()
	return number(t, c.ok("STATUS INBOX (HIGHESTMODSEQ)")[0], "HIGHESTMODSEQ")
}

func TestChangesOfOthers(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 4)
	c, other := l.open("INBOX"), l.open("INBOX")
	other.ok(`STORE 2 +FLAGS (\Deleted \Flagged)`)
	other.ok("STORE 4 +FLAGS ($Neu)")
	other.ok("EXPUNGE")
	other.fill("INBOX", 2)
	// What is gone comes first, then what is new, then what changed.
	c.exchange("NOOP", "OK …", "* 2 EXPUNGE", "* 5 EXISTS", "* 3 RECENT",
		`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Neu)`, "* OK [PERMANENTFLAGS …",
		"* 3 FETCH (FLAGS (… $Neu))")
	c.exchange("NOOP", "OK …")
	c.exchange("FETCH 1:* UID", "OK …", "* 1 FETCH (UID 1)", "* 2 FETCH (UID 3)", "* 3 FETCH (UID 4)",
		"* 4 FETCH (UID 5)", "* 5 FETCH (UID 6)")
}

// While expunges may not be told, nothing beyond the first one is, or a client
// that keeps the largest MODSEQ it saw would never learn of the expunge.
func TestHeldExpunge(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 4)
	c, other := l.open("INBOX"), l.open("INBOX")
	c.ok("ENABLE CONDSTORE")
	other.ok(`STORE 2 +FLAGS (\Deleted)`)
	before := other.modseq(t)
	other.ok("EXPUNGE")
	other.ok(`STORE 3 +FLAGS (\Answered)`) // UID 4
	other.fill("INBOX", 1)
	replies := c.ok("FETCH 1 UID")
	limit := uint64(0)
	for _, r := range replies {
		if strings.Contains(r, "EXPUNGE") {
			t.Errorf("EXPUNGE inside FETCH: %s", r)
		}
		if strings.Contains(r, "MODSEQ") {
			limit = max(limit, number(t, r, "MODSEQ"))
		}
	}
	if limit > before {
		t.Errorf("told MODSEQ %d, the expunge came after %d: %q", limit, before, replies)
	}
	for _, command := range []string{"FETCH 4 (FLAGS MODSEQ)", "STORE 4 +FLAGS (\\Flagged)", "SEARCH MODSEQ 1"} {
		for _, r := range c.ok(command) {
			if strings.Contains(r, "MODSEQ") && number(t, r, "MODSEQ") > before {
				t.Errorf("%s told a MODSEQ beyond %d: %s", command, before, r)
			}
		}
	}
	replies = c.ok("NOOP")
	if replies[0] != "* 2 EXPUNGE" {
		t.Errorf("NOOP: %q", replies)
	}
	if last := replies[len(replies)-1]; !like(`* 3 FETCH (UID 4 FLAGS (\Answered \Flagged \Recent) MODSEQ (…))`, last) {
		t.Errorf("NOOP: %q", replies)
	}
}

func TestStore(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 3)
	c := l.open("INBOX")
	c.exchange(`STORE 1:2 FLAGS (\Seen)`, "OK STORE completed",
		`* 1 FETCH (FLAGS (\Seen \Recent))`, `* 2 FETCH (FLAGS (\Seen \Recent))`)
	c.exchange(`STORE 1 +FLAGS \Seen \Draft`, "OK …", `* 1 FETCH (FLAGS (\Seen \Draft \Recent))`)
	c.exchange(`STORE 1 +FLAGS (\Seen)`, "OK …", `* 1 FETCH (FLAGS (\Seen \Draft \Recent))`)
	c.exchange(`UID STORE 1 -FLAGS (\Seen \Draft)`, "OK UID STORE completed", `* 1 FETCH (UID 1 FLAGS (\Recent))`)
	c.exchange(`STORE 1 FLAGS.SILENT (\Answered)`, "OK …")
	c.exchange("UID STORE 99 FLAGS ()", "OK …")
	c.exchange("STORE 1 FLAGS ()", "OK …", `* 1 FETCH (FLAGS (\Recent))`)
	for _, wrong := range []string{`STORE 1 FLAGS (\Recent)`, `STORE 1 FLAGS (\Nonsense)`, "STORE 9 FLAGS ()", "STORE 1 FLAGS", "STORE 1 (X 1) FLAGS ()"} {
		c.exchange(wrong, "BAD …")
	}
	c.exchange("STORE 1 FLAGS ("+strings.Repeat("k", 200)+")", "NO [LIMIT] …")
}

func TestKeywordsRunOut(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 1)
	c := l.open("INBOX")
	for i := range 64 {
		c.ok(fmt.Sprintf("STORE 1 +FLAGS.SILENT (k%d)", i))
	}
	c.exchange("STORE 1 +FLAGS (more)", "NO [LIMIT] …")
	for _, r := range c.ok("SELECT INBOX") {
		if strings.Contains(r, "PERMANENTFLAGS") && strings.Contains(r, `\*`) {
			t.Errorf("no room for keywords, but %s", r)
		}
	}
}

func TestConditionalStore(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 3)
	c, other := l.open("INBOX"), l.open("INBOX")
	seen := c.modseq(t)
	other.ok("STORE 2 +FLAGS (\\Flagged)")
	replies, answer := c.run(fmt.Sprintf("STORE 1:3 (UNCHANGEDSINCE %d) +FLAGS.SILENT (\\Seen)", seen))
	if !like("OK [MODIFIED 2] …", answer) {
		t.Fatal(answer)
	}
	// The other's change, the MODSEQs alone of what changed here, and news of nothing else.
	patterns := []string{`* 2 FETCH (UID 2 FLAGS (\Flagged \Recent) MODSEQ (…))`, "* 1 FETCH (UID 1 MODSEQ (…))", "* 3 FETCH (UID 3 MODSEQ (…))"}
	for i, p := range patterns {
		if len(replies) != len(patterns) || !like(p, replies[i]) {
			t.Fatalf("got  %q\nwant %q", replies, patterns)
		}
	}
	c.exchange("UID STORE 1 (UNCHANGEDSINCE 0) +FLAGS (\\Draft)", "OK [MODIFIED 1] …", "* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent) MODSEQ (…))")
	c.exchange("NOOP", "OK …")
}

func TestCopyAndMove(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 4)
	c := l.open("INBOX")
	c.exchange("COPY 1:2 Archive", "OK [COPYUID … 1:2 1:2] COPY completed")
	c.exchange("UID COPY 4 nowhere", "NO [TRYCREATE] …")
	c.exchange("UID MOVE 2:3 Archive", "OK UID MOVE completed",
		"* OK [COPYUID … 2:3 3:4] Moved", "* 2 EXPUNGE", "* 2 EXPUNGE")
	c.exchange("MOVE 1 INBOX", "OK MOVE completed", "* OK [COPYUID … 1 5] Moved", "* 1 EXPUNGE", "* 2 EXISTS", "* … RECENT")
	c.exchange("FETCH 1:* UID", "OK …", "* 1 FETCH (UID 4)", "* 2 FETCH (UID 5)")
	c.exchange("COPY 1 INBOX", "OK [COPYUID …", "* 3 EXISTS", "* … RECENT")
	c.exchange("MOVE 7 Archive", "BAD …")
}

func TestExpunge(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 6)
	c := l.open("INBOX")
	c.ok(`STORE 1,3:4,6 +FLAGS.SILENT (\Deleted)`)
	c.exchange("UID EXPUNGE 3:5", "OK …", "* 3 EXPUNGE", "* 3 EXPUNGE")
	c.exchange("UID EXPUNGE 100", "OK …")
	c.exchange("EXPUNGE", "OK …", "* 1 EXPUNGE", "* 3 EXPUNGE")
	c.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	c.exchange("CLOSE", "OK CLOSE completed")
	c.exchange("EXPUNGE", "BAD …")
	c.ok("SELECT INBOX")
	c.exchange("FETCH 1:* UID", "OK …", "* 1 FETCH (UID 5)")
	c.ok(`STORE 1 +FLAGS.SILENT (\Deleted)`)
	c.ok("UNSELECT")
	c.exchange("STATUS INBOX (MESSAGES DELETED)", "OK …", "* STATUS INBOX (MESSAGES 1 DELETED 1)")
}

// \Recent belongs to the first session that is told of a message.
func TestRecent(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 2)
	looker := l.login()
	replies := looker.ok("EXAMINE INBOX")
	if replies[3] != "* 2 RECENT" {
		t.Errorf("EXAMINE: %q", replies)
	}
	first, second := l.open("INBOX"), l.open("INBOX")
	first.exchange("FETCH 1:* FLAGS", "OK …", `* 1 FETCH (FLAGS (\Recent))`, `* 2 FETCH (FLAGS (\Recent))`)
	second.exchange("FETCH 1:* FLAGS", "OK …", `* 1 FETCH (FLAGS ())`, `* 2 FETCH (FLAGS ())`)
	l.login().fill("INBOX", 1)
	second.exchange("NOOP", "OK …", "* 3 EXISTS", "* 1 RECENT")
	first.exchange("NOOP", "OK …", "* 3 EXISTS", "* 2 RECENT")
}

func TestIdle(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.open("INBOX"), l.open("INBOX")
	c.send("i IDLE")
	c.want("+ idling")
	for i := range 20 {
		other.fill("INBOX", 1)
		c.want(fmt.Sprintf("* %d EXISTS", i+1), "* … RECENT")
	}
	other.ok("STORE 1 +FLAGS (\\Seen)")
	c.want(`* 1 FETCH (FLAGS (…))`)
	other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	c.want(`* 1 FETCH (FLAGS (…))`)
	other.ok("EXPUNGE")
	c.want("* 1 EXPUNGE")
	c.raw("DoNe\r\nn NOOP\r\n")
	c.want("i OK IDLE terminated", "n OK …")
	c.raw("i IDLE\r\nDONE\r\nn NOOP\r\n")
	c.want("+ idling", "i OK IDLE terminated", "n OK …")
	c.raw("i IDLE\r\nn NOOP\r\no NOOP\r\n")
	c.want("+ idling", "i BAD DONE expected", "o OK …")
	c.ok("UNSELECT")
	c.send("i IDLE")
	c.want("+ idling")
	other.fill("INBOX", 1)
	c.send("DONE")
	c.want("i OK …")
}

// SEARCH RETURN (SAVE) keeps what it finds for "$" (RFC 9051 section 6.4.4.1).
func TestSavedSearch(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 6)
	c := l.open("INBOX")
	c.exchange("SEARCH RETURN (SAVE) 2:4", "OK …")
	c.exchange("FETCH $ UID", "OK …", "* 2 FETCH (UID 2)", "* 3 FETCH (UID 3)", "* 4 FETCH (UID 4)")
	c.exchange("UID SEARCH RETURN (COUNT) UID $ NOT 3", "OK …", "* ESEARCH (TAG …) UID COUNT 2")
	c.exchange("STORE $ +FLAGS.SILENT (\\Flagged)", "OK …")
	c.exchange("MOVE $ Archive", "OK …", "* OK [COPYUID … 2:4 1:3] Moved", "* 2 EXPUNGE", "* 2 EXPUNGE", "* 2 EXPUNGE")
	c.exchange("FETCH $ UID", "OK …")
	c.exchange("SEARCH RETURN (SAVE MIN MAX) ALL", "OK …", "* ESEARCH (TAG …) MIN 1 MAX 3")
	c.exchange("COPY $ Archive", "OK [COPYUID … 1,6 4:5] …")
	c.exchange("SEARCH NOSUCHKEY", "BAD …")
	c.exchange("UID FETCH $ UID", "OK …", "* 1 FETCH (UID 1)", "* 3 FETCH (UID 6)")
	c.ok("SELECT INBOX")
	c.exchange("FETCH $ UID", "OK …")
}
