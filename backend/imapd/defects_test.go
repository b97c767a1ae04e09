package imapd

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// The defects that were found in another server's engine, each shown not to
// be in this one.

// A refused message is no command, whatever it holds.
func TestRefusedLiteralIsNotRun(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Message = 1000 })
	c := l.login()
	c.ok("CREATE victim")
	smuggled := strings.Repeat("x", 1100) + "\r\nzz DELETE victim\r\n"
	c.exchange(fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(smuggled), smuggled), "NO [TOOBIG] …")
	c.exchange(fmt.Sprintf("APPEND INBOX {%d}", len(smuggled)), "NO [TOOBIG] …")
	c.exchange(fmt.Sprintf("APPEND nowhere {%d+}\r\n%s", len(smuggled), smuggled), "NO [TOOBIG] …")
	c.exchange(fmt.Sprintf("APPEND nowhere {%d+}\r\n%s", 500, smuggled[:500]), "NO [TRYCREATE] …")
	c.exchange(fmt.Sprintf("APPEND INBOX (\\Recent) {%d+}\r\n%s", len(smuggled), smuggled), "BAD …")
	c.exchange(fmt.Sprintf("NONSENSE {%d+}\r\n%s", len(smuggled), smuggled), "BAD …")
	c.ok("STATUS victim (MESSAGES)")
}

// The rest of a line that is too long is no command either.
func TestRestOfLongLineIsNotRun(t *testing.T) {
	l := newLab(t, nil)
	c := l.login()
	c.ok("CREATE victim")
	c.exchange("LIST \"\" \""+strings.Repeat("x", 100<<10)+"\na DELETE victim", "BAD [TOOBIG] …")
	c.ok("STATUS victim (MESSAGES)")
}

// A pattern of many wildcards costs next to nothing.
func TestPatternOfStars(t *testing.T) {
	c := newLab(t, nil).login()
	c.ok("CREATE " + strings.Repeat("a", 60))
	start := time.Now()
	c.exchange(`LIST "" "`+strings.Repeat("a*", 30)+`b"`, "OK …")
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v", d)
	}
}

const emptyMultipart = "Content-Type: multipart/mixed; boundary=b\r\nMIME-Version: 1.0\r\n\r\nno part at all\r\n"

// A multipart without parts can be described.
func TestMultipartWithoutParts(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	c.append("INBOX", "", emptyMultipart)
	c.exchange("FETCH 1 BODYSTRUCTURE", "OK …", "* 1 FETCH (BODYSTRUCTURE (…))")
	c.exchange("FETCH 1 BODY", "OK …", "* 1 FETCH (BODY (…))")
}

// A partial of the largest length is served to the end of the message.
func TestLargestPartial(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	c.append("INBOX", "", "Subject: x\r\n\r\nbody\r\n")
	c.exchange("FETCH 1 BODY.PEEK[]<1.9223372036854775807>", "OK …", "* 1 FETCH (BODY[]<1> {19}\r\nubject: x\r\n\r\nbody\r\n)")
}

// A change between the last answer and IDLE is told when IDLE begins.
func TestIdleTellsWhatCameBefore(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.open("INBOX"), l.login()
	for i := range 5 {
		other.fill("INBOX", 1)
		c.send("i IDLE")
		c.want("+ idling", fmt.Sprintf("* %d EXISTS", i+1), "* … RECENT")
		c.send("DONE")
		c.want("i OK IDLE terminated")
	}
}

// A command about no message at all answers with a whole line.
func TestCopyOfNothing(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	c.exchange("UID COPY 1:100 Trash", "OK UID COPY completed")
	c.exchange("UID MOVE 7 Trash", "OK UID MOVE completed")
	c.exchange("COPY 1 Trash", "BAD …")
	c.ok("NOOP")
}

// Messages come back octet by octet, however malformed.
func TestOctetExact(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	for i, m := range []string{
		"no colon here\r\nSubject: x\r\n\r\nbody\r\n",
		"From someone Mon Jan  1 00:00:00 2024\r\nSubject: x\r\n\r\nbody\r\n",
		" folded first line\r\nSubject: x\r\n\r\nbody\r\n",
		"Subject: header only\r\n",
		"Subject: bare\n\nline feeds\n",
		"\r\nno header\r\n",
		"\x80\xff\r\n\r\n\xfe",
	} {
		c.append("INBOX", "", m)
		c.exchange(fmt.Sprintf("FETCH %d (RFC822.SIZE BODY.PEEK[])", i+1), "OK …",
			fmt.Sprintf("* %d FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%s)", i+1, len(m), len(m), m))
	}
}

// ENVELOPE holds what the header holds.
func TestEnvelopeIsRaw(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	c.append("INBOX", "", "Subject: =?utf-8?q?caf=C3=A9?=\r\nIn-Reply-To: <a@b> (comment)\r\nDate: yesterday\r\n\r\n")
	c.exchange("FETCH 1 ENVELOPE", "OK …",
		`* 1 FETCH (ENVELOPE ("yesterday" "=?utf-8?q?caf=C3=A9?=" …"<a@b> (comment)"…))`)
}

// Sequence numbers mean what the client has been told, also when several
// messages come at once.
func TestSequenceNumbersFollowTheView(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.open("INBOX"), l.open("INBOX")
	other.fill("INBOX", 3)
	other.ok("STORE 3 +FLAGS (\\Seen)")
	c.exchange("FETCH 4 UID", "BAD …", "* 3 EXISTS", "* … RECENT")
	c.exchange("FETCH 3 UID", "OK …", "* 3 FETCH (UID 3)")
	other.exchange("STORE 1 +FLAGS (\\Deleted)", "OK …", "* 1 FETCH …")
	other.exchange("EXPUNGE", "OK …", "* 1 EXPUNGE")
	c.exchange("FETCH 3 UID", "OK …", "* 3 FETCH (UID 3)")
	c.exchange("FETCH 1 UID", "OK [EXPUNGEISSUED] …")
	c.exchange("NOOP", "OK …", "* 1 EXPUNGE")
	c.exchange("FETCH 2 UID", "OK …", "* 2 FETCH (UID 3)")
}

// A message that is too large is refused before it is sent.
func TestTooBigIsAnsweredAtOnce(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Wire.Literal = 100 })
	c := l.login()
	c.exchange("LIST \"\" {101}", "BAD [TOOBIG] …")
	c.exchange("SUBSCRIBE {101+}\r\n"+strings.Repeat("x", 101), "BAD [TOOBIG] …")
	c.ok("NOOP")
}

// What is merely clumsy is understood, what is wrong is BAD, and neither ends
// the connection.
func TestClumsyClients(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	c.send("i IDLE")
	c.want("+ idling")
	c.send("done")
	c.want("i OK …")
	c.send("")
	c.want("* BAD …")
	c.send("(tag NOOP")
	c.want("* BAD …")
	for _, wrong := range []string{
		"FETCH 0 UID", "FETCH 1:x UID", "SEARCH SINCE 31-Feb-2024", "SEARCH NOSUCHKEY", "STORE 1 FLAGZ ()", "NOOP x",
		"SELECT", "APPEND INBOX", "UID", "UID NOOP", "FROB",
	} {
		if _, answer := c.run(wrong); !strings.HasPrefix(answer, "BAD ") {
			t.Errorf("%s: %s", wrong, answer)
		}
	}
	c.ok("NOOP")
}

// A client that vanishes inside IDLE leaves nothing behind.
func TestVanishInsideIdle(t *testing.T) {
	l := newLab(t, nil)
	other := l.login()
	for range 20 {
		c := l.open("INBOX")
		c.send("i IDLE")
		c.want("+ idling")
		go c.conn.Close()
		other.fill("INBOX", 1)
	}
}

// EXAMINE changes nothing.
func TestExamineIsReadOnly(t *testing.T) {
	l := newLab(t, nil)
	l.login().append("INBOX", `(\Deleted)`, "Subject: x\r\n\r\nbody\r\n")
	c := l.login()
	c.exchange("EXAMINE INBOX", "OK [READ-ONLY] …", "* FLAGS …", "* OK [PERMANENTFLAGS ()] …",
		"* 1 EXISTS", "* 1 RECENT", "* OK [UNSEEN 1] …", "* OK [UIDV…", "* OK [UIDN…", "* OK [HIGH…", "* OK [MAILB…")
	for _, change := range []string{"STORE 1 +FLAGS (\\Seen)", "UID STORE 1 FLAGS ()", "EXPUNGE", "UID EXPUNGE 1", "MOVE 1 Trash"} {
		c.exchange(change, "NO [READ-ONLY] …")
	}
	c.ok("FETCH 1 BODY[]")
	c.ok("CLOSE")
	c.exchange("STATUS INBOX (MESSAGES UNSEEN RECENT)", "OK …", "* STATUS INBOX (MESSAGES 1 UNSEEN 1 RECENT 1)")
}

// Deep nesting costs no more than its octets.
func TestDeepNesting(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	start := time.Now()
	c.append("INBOX", "", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 4000))
	c.ok("FETCH 1 (BODYSTRUCTURE BODY[])")
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %v", d)
	}
}

// A client that does not read delays nobody else.
func TestSlowReaderHoldsNothing(t *testing.T) {
	l := newLab(t, nil)
	slow, other := l.open("INBOX"), l.login()
	slow.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	slow.append("INBOX", "", "Subject: x\r\n\r\n"+strings.Repeat("x", 8<<20))
	slow.send("a FETCH 1 BODY.PEEK[]")
	if _, err := io.ReadFull(slow.r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	other.fill("INBOX", 1)
	other.exchange("STATUS INBOX (MESSAGES)", "OK …", "* STATUS INBOX (MESSAGES 2)")
	if d := time.Since(start); d > time.Second {
		t.Errorf("STATUS took %v beside a slow reader", d)
	}
}
