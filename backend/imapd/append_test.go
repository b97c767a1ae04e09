package imapd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

func TestAppend(t *testing.T) {
	l := newLab(t, nil)
	c := l.open("INBOX")
	c.send("a APPEND INBOX {14}")
	c.want("+ Ready for the literal")
	c.send("Subject: x\r\n\r\n")
	c.want("* 1 EXISTS", "* 1 RECENT", "a OK [APPENDUID … 1] APPEND completed")
	c.exchange("APPEND INBOX (\\Seen $Label1) \" 7-Feb-1994 21:52:25 -0800\" {1+}\r\nx", "OK …", "* 2 EXISTS", "* 2 RECENT",
		"* FLAGS (… $Label1)", "* OK [PERM…")
	c.exchange("FETCH 2 (FLAGS INTERNALDATE)", "OK …", `* 2 FETCH (FLAGS (\Seen \Recent $Label1) INTERNALDATE " 8-Feb-1994 05:52:25 +0000")`)
	c.exchange("APPEND INBOX ~{7+}\r\na:\r\n\r\n\x00", "OK …", "* 3 EXISTS", "* 3 RECENT")
	for _, wrong := range []string{
		"APPEND INBOX {3+}\r\na\x00b", "APPEND INBOX {1+}\r\nx (\\Seen)", "APPEND INBOX \"quoted\"",
		"APPEND INBOX (\\Seen {1+}\r\nx", "APPEND INBOX \"31-Feb-1994 21:52:25 -0800\" {1+}\r\nx",
		"APPEND INBOX UTF8 (~{1+}\r\nx)", // UTF8=ACCEPT is not on
	} {
		c.exchange(wrong, "BAD …")
	}
	c.ok("ENABLE UTF8=ACCEPT")
	c.exchange("APPEND INBOX UTF8 (~{18+}\r\nSubject: \xc3\xa9t\xc3\xa9\r\n\r\n)", "OK …", "* 4 EXISTS", "* 4 RECENT")
	c.exchange("APPEND INBOX {0+}\r\n", "OK …", "* 5 EXISTS", "* 5 RECENT")
	c.exchange("FETCH 5 (RFC822.SIZE BODY[])", "OK …", "* 5 FETCH (RFC822.SIZE 0 BODY[] {0}\r\n…")
}

func TestAppendLimit(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Message, s.Limits.AppendMemory = 100<<10, 150<<10 })
	message := strings.Repeat("x", 100<<10)
	done := make(chan struct{})
	for range 8 { // together they want more memory than there is: they take turns
		c := l.login()
		go func() {
			defer func() { done <- struct{}{} }()
			for range 5 {
				c.append("INBOX", "", message)
			}
		}()
	}
	for range 8 {
		<-done
	}
	c := l.login()
	c.exchange("STATUS INBOX (MESSAGES)", "OK …", "* STATUS INBOX (MESSAGES 40)")
	c.exchange(fmt.Sprintf("APPEND INBOX {%d}", 100<<10+1), "NO [TOOBIG] Message is larger than 102400 octets")
}

// A client that reads nothing is let go.
func TestStuckClientIsLetGo(t *testing.T) {
	l := newLab(t, func(s *Server) { s.Limits.Write = 100 * time.Millisecond })
	c := l.open("INBOX")
	c.conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	c.append("INBOX", "", strings.Repeat("x", 16<<20))
	c.send("a FETCH 1 BODY.PEEK[]")
	other := l.login()
	for start := time.Now(); l.connections() > 1; other.ok("NOOP") {
		if time.Since(start) > 10*time.Second {
			t.Fatal("the stuck client is still there")
		}
	}
}

func (s *Server) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// A panic ends its session, with a word, and nothing else.
func TestPanic(t *testing.T) {
	l := newLab(t, nil)
	mine, theirs := net.Pipe()
	s := newSession(context.Background(), l.Server, theirs)
	go s.inGoroutine(func() { panic("secret") })
	c := newClient(t, mine)
	c.want("* BYE [SERVERBUG] …")
	l.login()
}

// The end of the context breaks sessions off.
func TestContextEnds(t *testing.T) {
	l := newLab(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- l.Serve(ctx, ln) }()
	l.clear = ln.Addr().String()
	c := l.open("INBOX")
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	c.closed("* BYE Server shutting down")
}

// go-imap's client gets along with the server.
func TestImapClient(t *testing.T) {
	l := newLab(t, nil)
	c, err := imapclient.DialTLS(l.secure, &imapclient.Options{TLSConfig: l.trust.Client("")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.Login(user, password).Wait())
	must(c.Create("work", nil).Wait())
	message := []byte("Subject: hello\r\nFrom: a@hopital.test\r\n\r\nbody\r\n")
	for range 3 {
		a := c.Append("work", int64(len(message)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagSeen}})
		_, err := io.Copy(a, bytes.NewReader(message))
		must(err)
		must(a.Close())
		data, err := a.Wait()
		must(err)
		if data.UID == 0 {
			t.Error("no APPENDUID")
		}
	}
	box, err := c.Select("work", &imap.SelectOptions{CondStore: true}).Wait()
	must(err)
	if box.NumMessages != 3 || box.HighestModSeq == 0 {
		t.Errorf("%+v", box)
	}
	fetched, err := c.Fetch(imap.SeqSetNum(1, 2, 3), &imap.FetchOptions{
		Envelope: true, UID: true, Flags: true, ModSeq: true, BodyStructure: &imap.FetchItemBodyStructure{},
		BodySection: []*imap.FetchItemBodySection{{Peek: true}},
	}).Collect()
	must(err)
	if len(fetched) != 3 || fetched[2].Envelope.Subject != "hello" || fetched[2].UID != 3 {
		t.Errorf("%+v", fetched)
	}
	if got := fetched[0].BodySection[0].Bytes; !bytes.Equal(got, message) {
		t.Errorf("body %q", got)
	}
	moved, err := c.Move(imap.UIDSetNum(2), "Archive").Wait()
	must(err)
	if moved.UIDValidity == 0 {
		t.Errorf("%+v", moved)
	}
	found, err := c.UIDSearch(&imap.SearchCriteria{Text: []string{"hello"}}, &imap.SearchOptions{ReturnCount: true}).Wait()
	must(err)
	if found.Count != 2 {
		t.Errorf("found %+v", found)
	}
	list, err := c.List("", "*", &imap.ListOptions{ReturnStatus: &imap.StatusOptions{NumMessages: true, Size: true}}).Collect()
	must(err)
	if len(list) < 7 || list[0].Status == nil {
		t.Errorf("%+v", list)
	}
	idle, err := c.Idle()
	must(err)
	must(idle.Close())
	must(idle.Wait())
	must(c.Logout().Wait())
}
