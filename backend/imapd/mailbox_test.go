package imapd

import "testing"

func TestMailboxes(t *testing.T) {
	c := newLab(t, nil).login()
	c.exchange("CREATE a/b/", "OK [MAILBOXID (F…)] CREATE completed")
	c.exchange("CREATE a/b", "NO [ALREADYEXISTS] …")
	c.exchange("CREATE inbox", "NO [ALREADYEXISTS] …")
	c.exchange("CREATE x (USE (\\All))", "OK …")
	c.exchange("CREATE y (USE (\\Junk))", "NO [USEATTR] …")
	c.exchange("CREATE y (USE (\\Memos))", "NO [USEATTR] …")
	c.exchange("CREATE y (SIZE 3)", "BAD …")
	c.exchange("DELETE nowhere", "NO [NONEXISTENT] …")
	c.exchange("DELETE INBOX", "NO [CANNOT] …")
	c.exchange("RENAME a/b a/c", "OK RENAME completed")
	c.exchange("RENAME nowhere a/c", "NO [NONEXISTENT] …")
	c.exchange("RENAME x a/c", "NO [ALREADYEXISTS] …")
	c.append("a/c", "(\\Seen)", "Subject: x\r\n\r\n")
	c.exchange("STATUS a/c (MESSAGES UIDNEXT UNSEEN DELETED SIZE RECENT)", "OK …",
		"* STATUS a/c (MESSAGES 1 UIDNEXT 2 UNSEEN 0 DELETED 0 SIZE 14 RECENT 1)")
	c.exchange("STATUS a/c (UIDVALIDITY HIGHESTMODSEQ MAILBOXID)", "OK …",
		"* STATUS a/c (UIDVALIDITY … HIGHESTMODSEQ … MAILBOXID (F…))")
	c.exchange("STATUS a (MESSAGES)", "NO [NONEXISTENT] …")
	c.exchange("STATUS a/c (FLAGS)", "BAD …")
	c.exchange("STATUS a/c ()", "BAD …")
	c.exchange("APPEND nowhere {1}", "NO [TRYCREATE] …")
	c.exchange("SELECT a", "NO [NONEXISTENT] …")
}

func TestDeleteSelected(t *testing.T) {
	l := newLab(t, nil)
	c, other := l.login(), l.login()
	c.ok("CREATE work")
	c.ok("SELECT work")
	other.ok("SELECT work")
	idle, fetching, starting := l.open("work"), l.open("work"), l.open("work")
	idle.send("i IDLE")
	idle.want("+ idling")
	c.exchange("DELETE work", "OK …", "* OK [CLOSED] …")
	c.exchange("FETCH 1 UID", "BAD No mailbox is selected")
	fetching.send("a FETCH 1 UID")
	fetching.closed("* BYE Selected mailbox was deleted")
	starting.send("a IDLE")
	starting.closed("+ idling", "* BYE Selected mailbox was deleted")
	other.send("a NOOP")
	other.closed("* BYE Selected mailbox was deleted")
	idle.closed("* BYE Selected mailbox was deleted")
}

// A session keeps its mailbox when it is renamed.
func TestRenameSelected(t *testing.T) {
	l := newLab(t, nil)
	c := l.login()
	c.ok("CREATE work")
	c.fill("work", 1)
	c.ok("SELECT work")
	c.ok("RENAME work Trash/work")
	c.exchange("FETCH 1 UID", "OK …", "* 1 FETCH (UID 1)")
	c.exchange("SELECT INBOX", "OK …", "* OK [CLOSED] …", "* FLAGS …", "* OK [PERM…", "* 0 EXISTS", "* 0 RECENT",
		"* OK [UIDV…", "* OK [UIDN…", "* OK [HIGH…", "* OK [MAILB…")
}

func TestNames(t *testing.T) {
	l := newLab(t, nil)
	c := l.login()
	c.ok(`CREATE "R&AOk-sultats"`)
	c.exchange(`CREATE "R&sultats"`, "BAD …")
	c.exchange(`LIST "" "R*"`, "OK …", `* LIST (\HasNoChildren) "/" R&AOk-sultats`)
	c.exchange(`LIST "" "&x"`, "OK …")
	c.ok("ENABLE UTF8=ACCEPT")
	c.exchange(`LIST "" "R*"`, "OK …", `* LIST (\HasNoChildren) "/" "Résultats"`)
	c.exchange(`STATUS "Résultats" (MESSAGES)`, "OK …", `* STATUS "Résultats" (MESSAGES 0)`)
	c.ok(`CREATE "AT&T"`)
	c.exchange(`LIST "" "AT*"`, "OK …", `* LIST (\HasNoChildren) "/" AT&T`)
}

func TestList(t *testing.T) {
	c := newLab(t, nil).login()
	for _, name := range []string{"a/b/c", "a/b2", "b", "b/c"} {
		c.ok("CREATE " + name)
	}
	for _, name := range []string{"INBOX", "Drafts", "Sent", "Junk", "Trash", "Archive"} {
		c.ok("UNSUBSCRIBE " + name)
	}
	for _, name := range []string{"a/b/c", "b", "gone/away"} {
		c.ok("SUBSCRIBE " + name)
	}
	for _, x := range []struct {
		command string
		replies []string
	}{
		{`LIST "" ""`, []string{`* LIST (\Noselect) "/" ""`}},
		{`LIST "" inbox`, []string{`* LIST (\HasNoChildren) "/" INBOX`}},
		{`LIST "" "inb%"`, []string{`* LIST (\HasNoChildren) "/" INBOX`}},
		{`LIST "" Sent`, []string{`* LIST (\HasNoChildren \Sent) "/" Sent`}},
		{`LIST "" "a%"`, []string{`* LIST (\HasChildren \Noselect) "/" a`}},
		{`LIST a/ "%"`, []string{`* LIST (\HasChildren \Noselect) "/" a/b`, `* LIST (\HasNoChildren) "/" a/b2`}},
		{`LIST "" "b*"`, []string{`* LIST (\HasChildren) "/" b`, `* LIST (\HasNoChildren) "/" b/c`}},
		{`LIST "" ("a" "b/%") RETURN (CHILDREN)`, []string{`* LIST (\HasChildren \NonExistent) "/" a`, `* LIST (\HasNoChildren) "/" b/c`}},
		{`LIST "" "b*" RETURN (SUBSCRIBED)`, []string{`* LIST (\HasChildren \Subscribed) "/" b`, `* LIST (\HasNoChildren) "/" b/c`}},
		{`LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)`, []string{
			`* LIST (\HasNoChildren \Subscribed) "/" a/b/c`, `* LIST (\HasChildren \Subscribed) "/" b`,
			`* LIST (\HasNoChildren \NonExistent \Subscribed) "/" gone/away`}},
		{`LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"`, []string{
			`* LIST (\HasChildren \NonExistent) "/" a ("CHILDINFO" ("SUBSCRIBED"))`, `* LIST (\HasChildren \Subscribed) "/" b`,
			`* LIST (\HasNoChildren \NonExistent) "/" gone ("CHILDINFO" ("SUBSCRIBED"))`}},
		{`LIST (SPECIAL-USE) "" "S*"`, []string{`* LIST (\HasNoChildren \Sent) "/" Sent`}},
		{`LIST () "" b RETURN ()`, []string{`* LIST (\HasChildren) "/" b`}},
		{`LIST "" b RETURN (STATUS (MESSAGES SIZE))`, []string{`* LIST (\HasChildren) "/" b`, "* STATUS b (MESSAGES 0 SIZE 0)"}},
		{`LSUB "" "*"`, []string{`* LSUB () "/" a/b/c`, `* LSUB () "/" b`, `* LSUB (\Noselect) "/" gone/away`}},
		{`LSUB "" "%"`, []string{`* LSUB (\Noselect) "/" a`, `* LSUB () "/" b`, `* LSUB (\Noselect) "/" gone`}},
	} {
		c.exchange(x.command, "OK …", x.replies...)
	}
	for _, wrong := range []string{
		`LIST (RECURSIVEMATCH) "" "*"`, `LIST (X) "" "*"`, `LIST "" "*" RETURN (X)`, `LIST "" "*" SUBSCRIBED`, `LIST "" ()`, `LIST ""`,
	} {
		c.exchange(wrong, "BAD …")
	}
	c.ok("UNSUBSCRIBE b")
	c.exchange(`LSUB "" b`, "OK …")
}

// IMAP4rev2 has other untagged answers than IMAP4rev1.
func TestRev2(t *testing.T) {
	c := newLab(t, nil).login()
	c.exchange("ENABLE IMAP4rev2", "OK …", "* ENABLED IMAP4rev2")
	c.append("INBOX", "", "Subject: x\r\n\r\n")
	c.exchange("SELECT inbox", "OK [READ-WRITE] …", "* FLAGS …", "* OK [PERM…", "* 1 EXISTS",
		"* OK [UIDV…", "* OK [UIDN…", "* OK [HIGH…", "* OK [MAILB…", `* LIST () "/" INBOX`)
	c.append("INBOX", "", "Subject: x\r\n\r\n")
	c.exchange("FETCH 2 FLAGS", "OK …", "* 2 FETCH (FLAGS ())")
	c.ok("CREATE a")
	c.exchange("RENAME a b", "OK …", `* LIST () "/" b ("OLDNAME" (a))`)
}
