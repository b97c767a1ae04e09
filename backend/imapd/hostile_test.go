package imapd

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// What has NUL in it comes back from BODY[] as text, and as it was from BINARY.
func TestAppendBinary(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	const part = "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
	data := "ab\x00cd\n\rx" + strings.Repeat("\x00", 100)
	file := func(m string) string {
		_, answer := c.run(fmt.Sprintf("APPEND INBOX ~{%d+}\r\n%s", len(m), m))
		return answer
	}
	for _, m := range []string{
		"Subject: x\r\nMIME-Version: 1.0\r\n" + part + data,
		"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part + data + "\r\n--b\r\n\r\nhi\r\n--b--\r\n",
	} {
		if answer := file(m); !strings.HasPrefix(answer, "OK [APPENDUID ") {
			t.Fatal(answer)
		}
		c.exchange("FETCH * BINARY[1]", "OK …", fmt.Sprintf("* … FETCH (BINARY[1] ~{%d}\r\n%s FLAGS (…", len(data), data))
		c.exchange("FETCH * (BINARY.SIZE[1] BODY[1])", "OK …", fmt.Sprintf("* … FETCH (BINARY.SIZE[1] %d BODY[1] {146}\r\nYWIAY2QKDXgAA…)", len(data)))
		whole := c.ok("FETCH * BODY[]")[0]
		if strings.Contains(whole, "\x00") || strings.Contains(whole, "binary") || !strings.Contains(whole, "Content-Transfer-Encoding: base64\r\n") {
			t.Errorf("%q", whole)
		}
	}
	for _, m := range []string{
		"Subject: a\x00b\r\n\r\nbody\r\n",
		"a\x00b\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\npre\x00amble\r\n--b\r\n\r\nhi\r\n--b--\r\n",
		"Content-Transfer-Encoding: base64\r\n\r\nAA\x00AA\r\n",
	} {
		if answer := file(m); !strings.HasPrefix(answer, "NO [UNKNOWN-CTE] ") {
			t.Errorf("%q: %s", m, answer)
		}
	}
	text := "Subject: x\r\nContent-Transfer-Encoding: binary\r\n\r\nno NUL\n"
	file(text)
	c.exchange("FETCH * BODY.PEEK[]", "OK …", fmt.Sprintf("* … FETCH (BODY[] {%d}\r\n%s)", len(text), text))
}

// A client must not take messages for copied that were gone.
func TestCopyOfWhatIsGone(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.open("INBOX"), l.open("INBOX")
	c.fill("INBOX", 3)
	other.ok("NOOP")
	other.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	other.ok("EXPUNGE")
	c.exchange("FETCH 1 FLAGS", "OK [EXPUNGEISSUED] …")
	c.exchange("COPY 1 Trash", "NO [EXPUNGEISSUED] …", "* 1 EXPUNGE")
	c.exchange("COPY 1 Trash", "OK [COPYUID … 2 1] …")
}

// EXAMINE shows \Recent for what comes, and leaves it to the next session.
func TestRecentInExamine(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.login(), l.login()
	c.ok("EXAMINE INBOX")
	other.fill("INBOX", 1)
	c.exchange("NOOP", "OK …", "* 1 EXISTS", "* 1 RECENT")
	c.exchange("SEARCH RECENT", "OK …", "* SEARCH 1")
	other.exchange("STATUS INBOX (RECENT)", "OK …", "* STATUS INBOX (RECENT 1)")
}

// Who waits for mail in INBOX is told when another mailbox is INBOX.
func TestRenameSelectedInbox(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.open("INBOX"), l.open("INBOX")
	other.send("i IDLE")
	other.want("+ idling")
	c.exchange("RENAME INBOX old", "OK …", "* OK [CLOSED] …")
	other.closed("* BYE …")
	c.ok("SELECT INBOX")
	c.ok("SELECT old")
	c.ok("RENAME old older")
	c.ok("NOOP")
}

// One account's half-sent messages do not keep another's from being filed.
func TestHalfSentMessages(t *testing.T) {
	l := newLab(t, func(s *Server) {
		s.Limits.Message, s.Limits.AppendMemory, s.Limits.Stall = 1<<20, 8<<20, 10*time.Second
	})
	l.addAccount("other@hopital.test")
	for range 20 {
		l.login().raw("a APPEND INBOX {1000000+}\r\n")
	}
	start := time.Now()
	c := l.dial()
	c.ok("LOGIN other@hopital.test " + password)
	c.fill("INBOX", 1)
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// Readers of large parts that do not read share a bounded memory: the others of
// the account wait, other accounts do not, and all go on when they leave.
func TestSlowReadersOfBinary(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Message, s.Limits.AppendMemory = 16<<20, 64<<20 })
	c := l.open("INBOX")
	c.append("INBOX", "", "Subject: x\r\n\r\n"+strings.Repeat("x", 8<<20))
	var slow []*client
	for i := range 3 {
		s := l.open("INBOX")
		s.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		s.send("a FETCH 1 BINARY.PEEK[1]")
		slow = append(slow, s)
		if i > 0 {
			continue // they wait for the first one
		}
		if _, err := io.ReadFull(s.r, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	c.ok("FETCH 1 (FLAGS ENVELOPE)")
	for _, s := range slow {
		s.conn.Close()
	}
	c.ok("FETCH 1 BINARY.SIZE[1]")
}

// Many keys look at a message's text once, and a client that leaves ends them.
func TestSearchOfManyKeysIsCheap(t *testing.T) {
	c := newLab(t, nil).open("INBOX")
	c.append("INBOX", "", "Subject: x\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 1<<18))
	start := time.Now()
	c.exchange("SEARCH"+strings.Repeat(" NOT TEXT zz NOT BODY yy", 200), "OK …", "* SEARCH 1")
	c.exchange("SEARCH TEXT SUBJECT", "OK …", "* SEARCH 1")
	c.exchange("SEARCH BODY SUBJECT", "OK …", "* SEARCH")
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}
