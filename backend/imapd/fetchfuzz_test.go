package imapd

import (
	"errors"
	"io"
	"strings"
	"testing"

	"telesphore/backend/imapd/wire"
)

// FuzzFetchAndSearch runs whatever follows "FETCH" or "SEARCH" on a small
// mailbox: it succeeds, is bad syntax, or meets one of the limits, and leaves
// whole lines.
func FuzzFetchAndSearch(f *testing.F) {
	for _, line := range []string{
		"FETCH 1:* (FLAGS UID MODSEQ EMAILID THREADID SAVEDATE INTERNALDATE RFC822.SIZE) (CHANGEDSINCE 1)",
		"FETCH 5 (BODY.PEEK[2.HEADER.FIELDS (From)]<0.9223372036854775807> BINARY[1]<1.2> BINARY.SIZE[1] RFC822.TEXT)",
		"UID FETCH 1,*:2 FULL", "FETCH 1 BODY[1.MIME]", "FETCH 4 (ENVELOPE BODYSTRUCTURE BODY[HEADER.FIELDS.NOT (\"a\")])",
		"SEARCH RETURN (MIN COUNT) CHARSET UTF-8 OR (FROM anne NOT 1:2) TEXT {3+}\r\ncat",
		"UID SEARCH MODSEQ \"/flags/\\\\Seen\" all 2 SENTON 1-Mar-2024 HEADER x \"\" LARGER 5 KEYWORD a NEW",
	} {
		f.Add(line)
	}
	inbox := searchInbox(f)
	inbox.ReadOnly = true
	f.Fuzz(func(t *testing.T, line string) {
		if command := strings.ToUpper(line[:min(len(line), 4)]); command != "FETC" && command != "SEAR" && command != "UID " {
			return
		}
		inbox.t = t
		got, err := inbox.do(line)
		var syntax *wire.SyntaxError
		var big *wire.TooBig
		switch {
		case err == nil, errors.As(err, &syntax), errors.As(err, &big):
		case errors.Is(err, io.ErrUnexpectedEOF): // a literal longer than line
		case errors.Is(err, errBadCharset), errors.Is(err, errTooCostly), errors.Is(err, errUnknownCTE), errors.Is(err, errLiteralAsked):
		default:
			t.Fatalf("%q: %v", line, err)
		}
		if got != "" && (!strings.HasPrefix(got, "* ") || !strings.HasSuffix(got, "\r\n")) {
			t.Fatalf("%q: %q", line, got)
		}
	})
}
