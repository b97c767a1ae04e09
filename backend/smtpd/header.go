package smtpd

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
)

// header is what submission wants to know of a message's header.
type header struct {
	from, sender []string // values, folded
	resent       []string // of Resent-From and Resent-Sender
	date, id     bool     // present
}

// maxField is how many octets of a field with addresses are read.
const maxField = 16 << 10

// readHeader reads the header section of a message (RFC 5322 section 2.2).
// Programs differ in what they make of a malformed one, so that the author we
// check and the author they show would be two: it is refused.
func readHeader(message []byte) (*header, error) {
	h := &header{}
	rest := message
	for len(rest) > 0 && !bytes.HasPrefix(rest, []byte("\r\n")) {
		field, behind := cutField(rest)
		rest = behind
		name, value, ok := bytes.Cut(field, []byte(":"))
		if !ok || !fieldName(name) {
			return nil, errHeader
		}
		if err := h.add(strings.ToLower(string(name)), value); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// cutField cuts a field with its folded lines off the beginning of b.
func cutField(b []byte) (field, rest []byte) {
	for at := 0; ; {
		i := bytes.Index(b[at:], []byte("\r\n"))
		if i < 0 {
			return b, nil
		}
		at += i + 2
		if at == len(b) || b[at] != ' ' && b[at] != '\t' {
			return b[:at], b[at:]
		}
	}
}

// fieldName reports whether b is printable ASCII without colon (RFC 5322 section 3.6.8).
func fieldName(b []byte) bool {
	for _, c := range b {
		if c < '!' || c > '~' {
			return false
		}
	}
	return len(b) > 0
}

func (h *header) add(name string, value []byte) error {
	switch name {
	case "from", "sender", "resent-from", "resent-sender":
		if len(value) > maxField {
			return errHeader
		}
	}
	switch name {
	case "from":
		h.from = append(h.from, string(value))
	case "sender":
		h.sender = append(h.sender, string(value))
	case "resent-from", "resent-sender":
		h.resent = append(h.resent, string(value))
	case "date":
		h.date = true
	case "message-id":
		h.id = true
	}
	return nil
}

// checkAuthor wants one From field and at most one Sender, and every address in
// them, and in those of resending, to be one of owned (RFC 6409 section 8.1 calls
// it enforcing; ours is the only notion of who wrote a message that readers have).
func (h *header) checkAuthor(owned []string) error {
	if len(h.from) != 1 || len(h.sender) > 1 {
		return errFromCount
	}
	authors := 0
	for i, value := range slices.Concat(h.from, h.sender, h.resent) {
		mailboxes, err := backend.ParseMailboxes(value)
		if err != nil {
			return errHeader
		}
		for _, m := range mailboxes {
			if !slices.Contains(owned, m.Normal()) {
				return errFromOwned
			}
		}
		if i == 0 {
			authors = len(mailboxes)
		}
	}
	if authors == 0 {
		return errFromCount
	}
	return nil
}

// completion is what a submitted message lacks and every message must or should
// have: Date and Message-ID (RFC 6409 section 8.2 and 8.3).
func (h *header) completion(host string) string {
	var b strings.Builder
	if !h.date {
		fmt.Fprintf(&b, "Date: %s\r\n", time.Now().Format(time.RFC1123Z))
	}
	if !h.id {
		fmt.Fprintf(&b, "Message-ID: <%s@%s>\r\n", strings.ToLower(rand.Text()), host)
	}
	return b.String()
}

// trace is what a Received field tells.
type trace struct {
	helo   string
	remote netip.Addr
	host   string
	id     string
	rcpt   string // "" when there are several
	utf8   bool
}

// received is the trace field of RFC 5321 section 4.4, folded.
func received(t *trace) string {
	literal := "[" + t.remote.String() + "]"
	if t.remote.Is6() {
		literal = "[IPv6:" + t.remote.String() + "]"
	}
	with := "ESMTPSA" // RFC 3848
	if t.utf8 {
		with = "UTF8SMTPSA" // RFC 6531 section 4.3
	}
	recipient := ""
	if t.rcpt != "" {
		recipient = "\r\n\tfor <" + t.rcpt + ">"
	}
	return fmt.Sprintf("Received: from %s (%s)\r\n\tby %s with %s id %s%s;\r\n\t%s\r\n",
		t.helo, literal, t.host, with, t.id, recipient, time.Now().Format(time.RFC1123Z))
}
