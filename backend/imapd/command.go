package imapd

import (
	"context"
	"crypto/rand"
)

// when says in which states a command may be given (RFC 9051 section 3).
type when uint8

const (
	always when = iota
	beforeLogIn
	loggedIn
	selected
)

// command is one IMAP command. run reads its arguments, End included, does its
// work and returns what follows "OK"; "" for the usual text.
type command struct {
	run  func(s *session, ctx context.Context, tag string) (text string, err error)
	when when

	// holdExpunges: no EXPUNGE may be sent while it runs, for its arguments or
	// those of commands behind it count messages (RFC 9051 section 7.5.1).
	holdExpunges bool

	// opens: it shows or changes what is in a mailbox, without SELECT before it.
	// That takes the level that the account's domain asks for to read.
	opens bool
}

// lookup finds a command by its name in capitals.
func lookup(name string) (command, bool) {
	if c, ok := lookupMessage(name); ok {
		return c, true
	}
	if c, ok := lookupMailbox(name); ok {
		return c, true
	}
	switch name {
	case "CAPABILITY":
		return command{run: (*session).capability, when: always}, true
	case "NOOP", "CHECK":
		return command{run: (*session).noop, when: noopWhen(name)}, true
	case "LOGOUT":
		return command{run: (*session).logout, when: always}, true
	case "ID":
		return command{run: (*session).identify, when: always}, true
	case "STARTTLS":
		return command{run: (*session).upgrade, when: beforeLogIn}, true
	case "LOGIN":
		return command{run: (*session).login, when: beforeLogIn}, true
	case "AUTHENTICATE":
		return command{run: (*session).authenticate, when: beforeLogIn}, true
	case "ENABLE":
		return command{run: (*session).enable, when: loggedIn}, true
	case "NAMESPACE":
		return command{run: (*session).namespace, when: loggedIn}, true
	case "IDLE":
		return command{run: (*session).idleCommand, when: loggedIn}, true
	}
	return command{}, false
}

func noopWhen(name string) when {
	if name == "CHECK" {
		return selected
	}
	return always
}

// lookupMailbox finds the commands about mailboxes.
func lookupMailbox(name string) (command, bool) {
	switch name {
	case "SELECT":
		return command{run: (*session).selectCommand, when: loggedIn, opens: true}, true
	case "EXAMINE":
		return command{run: (*session).examine, when: loggedIn, opens: true}, true
	case "CREATE":
		return command{run: (*session).create, when: loggedIn, opens: true}, true
	case "DELETE":
		return command{run: (*session).delete, when: loggedIn, opens: true}, true
	case "RENAME":
		return command{run: (*session).rename, when: loggedIn, opens: true}, true
	case "SUBSCRIBE":
		return command{run: (*session).subscribe, when: loggedIn}, true
	case "UNSUBSCRIBE":
		return command{run: (*session).unsubscribe, when: loggedIn}, true
	case "LIST":
		return command{run: (*session).list, when: loggedIn}, true
	case "LSUB":
		return command{run: (*session).lsub, when: loggedIn}, true
	case "STATUS":
		return command{run: (*session).status, when: loggedIn, opens: true}, true
	case "APPEND":
		return command{run: (*session).append, when: loggedIn, opens: true}, true
	case "CLOSE":
		return command{run: (*session).closeMailbox, when: selected}, true
	case "UNSELECT":
		return command{run: (*session).unselect, when: selected}, true
	}
	return command{}, false
}

// lookupMessage finds the commands about messages of the selected mailbox.
func lookupMessage(name string) (command, bool) {
	switch name {
	case "FETCH":
		return command{run: fetch(false), when: selected, holdExpunges: true}, true
	case "UID FETCH":
		return command{run: fetch(true), when: selected}, true
	case "SEARCH":
		return command{run: search(false), when: selected, holdExpunges: true}, true
	case "UID SEARCH":
		return command{run: search(true), when: selected}, true
	case "STORE":
		return command{run: store(false), when: selected, holdExpunges: true}, true
	case "UID STORE":
		return command{run: store(true), when: selected}, true
	case "COPY":
		return command{run: copyMessages(false), when: selected}, true
	case "UID COPY":
		return command{run: copyMessages(true), when: selected}, true
	case "MOVE":
		return command{run: moveMessages(false), when: selected}, true
	case "UID MOVE":
		return command{run: moveMessages(true), when: selected}, true
	case "EXPUNGE":
		return command{run: (*session).expunge, when: selected}, true
	case "UID EXPUNGE":
		return command{run: (*session).uidExpunge, when: selected}, true
	}
	return command{}, false
}

// connectionID names a connection in logs.
func connectionID() string { return rand.Text()[:10] }
