package imapd

import (
	"strings"
	"testing"
)

func TestFirstSteps(t *testing.T) {
	l := newLab(t, nil)
	c := l.login()
	c.exchange("SELECT INBOX", "OK [READ-WRITE] SELECT completed",
		`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft)`,
		`* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] …`,
		"* 0 EXISTS", "* 0 RECENT",
		"* OK [UIDVALIDITY …", "* OK [UIDNEXT 1] …", "* OK [HIGHESTMODSEQ …", "* OK [MAILBOXID (F…")
	c.exchange("APPEND INBOX (\\Flagged $Work) {22+}\r\nSubject: one\r\n\r\ntext\r\n", "OK [APPENDUID … 1] APPEND completed",
		"* 1 EXISTS", "* 1 RECENT",
		`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Work)`, "* OK [PERMANENTFLAGS …")
	c.exchange("FETCH 1 (FLAGS UID RFC822.SIZE BODY.PEEK[])", "OK …",
		"* 1 FETCH (FLAGS (\\Flagged \\Recent $Work) UID 1 RFC822.SIZE 22 BODY[] {22}\r\nSubject: one\r\n\r\ntext\r\n)")
	c.exchange("STORE 1 +FLAGS (\\Deleted)", "OK …", "* 1 FETCH (FLAGS (…\\Deleted…")
	c.exchange("EXPUNGE", "OK …", "* 1 EXPUNGE")
	c.exchange("LOGOUT", "OK …", "* BYE …")
	c.closed()
}

func TestCapabilities(t *testing.T) {
	l := newLab(t, func(s *Server) { s.InsecureAuth, s.HideCapabilities = false, []string{"ID"} })
	has := func(c *client, want, not string) {
		t.Helper()
		list := " " + strings.TrimPrefix(c.ok("CAPABILITY")[0], "* CAPABILITY ") + " "
		for _, name := range strings.Fields(want) {
			if !strings.Contains(list, " "+name+" ") {
				t.Errorf("%s is missing in %s", name, list)
			}
		}
		for _, name := range strings.Fields(not) {
			if strings.Contains(list, " "+name+" ") {
				t.Errorf("%s should not stand in %s", name, list)
			}
		}
	}
	c := l.dial()
	has(c, "IMAP4rev1 IMAP4rev2 STARTTLS LOGINDISABLED SASL-IR", "AUTH=PLAIN AUTH=LOGIN IDLE ID")
	c.exchange("LOGIN "+user+" "+password, "NO [PRIVACYREQUIRED] …")
	c.exchange("AUTHENTICATE PLAIN", "NO [PRIVACYREQUIRED] …")
	c = l.dialTLS()
	has(c, "AUTH=PLAIN AUTH=LOGIN", "STARTTLS LOGINDISABLED")
	c.ok("LOGIN " + user + " " + password)
	has(c, "IDLE NAMESPACE UIDPLUS MOVE CONDSTORE OBJECTID SAVEDATE APPENDLIMIT=37748736", "STARTTLS AUTH=PLAIN ID")
}

func TestIDAndEnable(t *testing.T) {
	c := newLab(t, nil).dial()
	c.exchange(`ID ("name" "x" "version" NIL)`, "OK …", `* ID ("name" "Telesphore")`)
	c.exchange("ENABLE CONDSTORE", "BAD …")
	c.ok("LOGIN " + user + " " + password)
	c.exchange("ID NIL", "OK …", `* ID ("name" "Telesphore" "version" "1.0")`)
	c.exchange("ENABLE CONDSTORE X-NONE UTF8=ACCEPT", "OK …", "* ENABLED CONDSTORE UTF8=ACCEPT")
	c.exchange("NAMESPACE", "OK …", `* NAMESPACE (("" "/")) NIL NIL`)
}
