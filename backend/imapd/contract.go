package imapd

import (
	"context"
	"errors"
	"log/slog"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// selection is what FETCH and SEARCH see of a session: the mailbox that is
// open, what its client has been told about it, where replies go. The session
// fills one for each command; nothing of it is kept afterwards.
type selection struct {
	Store    *storage.Store
	Account  storage.AccountID
	Mailbox  storage.MailboxID
	ReadOnly bool // EXAMINE: nothing sets \Seen

	// UIDs is the client's view: its message n is UIDs[n-1]. Ascending; holds
	// what was expunged meanwhile until the client has been told so.
	UIDs []uint32

	// Saved is what "$" stands for: UIDs that the last SEARCH with SAVE found,
	// ascending. Save replaces it (RFC 9051 section 6.4.4.1).
	Saved []uint32
	Save  func(uids []uint32)

	// Recent says whether the message has \Recent in this session. Nil when the
	// client speaks IMAP4rev2, which has no such flag.
	Recent func(uid uint32) bool

	// Known is called with the mailbox's keyword names when they are first
	// needed. The session writes FLAGS and PERMANENTFLAGS to Out when some of
	// them are new to the client, so that no keyword is used unannounced.
	Known func(keywords []string)

	// Told is called for each message whose flags this command changed (implicit
	// \Seen) once its FETCH response is in Out, so that the session does not
	// announce the same change again. The Placement is valid during the call.
	Told func(p *storage.Placement)

	// MaxModSeq is the session's cursor: no larger MODSEQ is told, because an
	// expunge the client does not know of may lie behind it. 0 for no bound.
	MaxModSeq storage.ModSeq

	CondStore bool // RFC 7162 enabled: FETCH responses that tell changed flags carry MODSEQ
	Rev2      bool // ENABLE IMAP4rev2: SEARCH is answered with ESEARCH

	// Hold takes from the memory that messages held whole may use together; it
	// waits until there is enough. free gives it back. Nil when nobody counts.
	Hold func(ctx context.Context, octets int64) (free func(), err error)

	Limits *SearchLimits
	Log    *slog.Logger

	// Out gathers the replies; Flush writes it to the client and empties it. It
	// is called when more than 64 KiB wait, never inside a View. What is left
	// in Out at the end is the session's to send, with the tagged line.
	Out   *wire.Encoder
	Flush func() error
}

// hold is Hold for a message of size octets and what is made of it. Small ones
// are not worth counting.
func (s *selection) hold(ctx context.Context, size int64) (free func(), err error) {
	if s.Hold == nil || size <= outputBuffer {
		return func() {}, nil
	}
	return s.Hold(ctx, 2*size)
}

// SearchLimits bound what one SEARCH may cost.
type SearchLimits struct {
	Keys     int // search keys of one command, nested ones included
	Depth    int // nested parentheses, NOT and OR
	Messages int // messages whose body one command may open
}

// How FETCH and SEARCH end other than well or by a syntax error; errors.go makes codes of them.
var (
	errBadCharset    = errors.New("imapd: charset not known")                   // NO [BADCHARSET (UTF-8 US-ASCII)]
	errTooCostly     = errors.New("imapd: search costs too much")               // NO [LIMIT]
	errExpungeIssued = errors.New("imapd: some messages are gone")              // OK [EXPUNGEISSUED]: all that could be answered was
	errUnknownCTE    = errors.New("imapd: content transfer encoding not known") // NO [UNKNOWN-CTE]
	errCutShort      = errors.New("imapd: reply broken off inside a literal")   // nothing can be said any more: close the connection
)
