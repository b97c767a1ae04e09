package smtpd

import (
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
)

// role is what a door is for. It decides what is announced, who may log in, and on whose
// behalf a message comes.
type role interface {
	// extensions are what EHLO announces beside what every door does.
	extensions() []string
	// hold is the longest FUTURERELEASE, 0 when it is not offered.
	hold() time.Duration
	// mechanisms are those that this client may log in with.
	mechanisms(s *session) []string
	// admit says whether somebody who was recognised may use this door.
	admit(s *session, p *auth.Principal) error
	// begin says who sends a message, at MAIL. sender is zero for the null reverse-path.
	begin(s *session, sender backend.Address) (party, error)
}

// party is who sends one message: an account of ours, an operator of the trust space,
// or a server of the ordinary Internet. It decides what this one may do.
type party interface {
	// limit is how many octets the message may have; 0 for the server's limit.
	limit() int64
	// reserve is how many octets of the memory for messages are kept for others.
	reserve() int64
	// rcpt says whether the message may go to a recipient.
	rcpt(to backend.Address) error
	// author says whether the header names only authors that the party may speak for.
	author(h *header) error
	// examine does with a whole message what comes before it is scanned, and returns the
	// fields that belong above all others.
	examine(m *incoming, h *header) (fields string, err error)
	// vouch writes into the envelope who answers for the message, once it was examined.
	vouch(e *backend.Envelope)
	// channel tells in the Received field how the message came; "" for nothing.
	channel() string
	// explain makes the refusal of a message that could not be taken over.
	explain(err error) error
	// String names the party in the log.
	String() string
}
