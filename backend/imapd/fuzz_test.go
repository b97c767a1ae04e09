package imapd

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzCommands sends whatever there is to a session with a mailbox open: it
// must neither fail on it nor keep the connection when the client has left.
func FuzzCommands(f *testing.F) {
	for _, seed := range []string{
		"a NOOP\r\nb IDLE\r\nDONE\r\n",
		"a APPEND INBOX (\\Seen k) \" 7-Feb-1994 21:52:25 -0800\" {3+}\r\nx\r\n\r\n",
		"a UID STORE 1:* (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Deleted x)\r\nb EXPUNGE\r\n",
		"a LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"%\" INBOX) RETURN (STATUS (MESSAGES SIZE))\r\n",
		"a CREATE x/&AOk-/ (USE (\\All))\r\nb RENAME x y\r\nc DELETE y\r\nd LSUB \"\" %\r\n",
		"a ENABLE IMAP4rev2 CONDSTORE\r\nb SELECT inbox (CONDSTORE)\r\nc MOVE 1,* Trash\r\nd UID COPY $ Trash\r\n",
		"a ID (\"name\" {1+}\r\nx \"version\" NIL)\r\nb STATUS INBOX (RECENT MAILBOXID)\r\nc LOGOUT\r\n",
		"a SEARCH RETURN (SAVE COUNT) OR NOT SEEN (KEYWORD x UID 1:3)\r\nb FETCH 1:* ALL\r\n",
	} {
		f.Add([]byte(seed))
	}
	l := newLab(f, func(s *Server) {
		s.Limits.PerAccount, s.Limits.PerAddress, s.Limits.Message = 1000, 1000, 1000
	})
	f.Fuzz(func(t *testing.T, input []byte) {
		conn, err := net.Dial("tcp", l.clear)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, "l LOGIN "+user+" "+password+"\r\ns SELECT INBOX\r\n")
		conn.Write(input)
		conn.(*net.TCPConn).CloseWrite()
		replies, err := io.ReadAll(conn)
		if e, ok := err.(net.Error); ok && e.Timeout() {
			t.Fatalf("still there: %q", replies)
		}
		if bytes.Contains(replies, []byte("SERVERBUG")) {
			t.Fatalf("%q", replies)
		}
	})
}
