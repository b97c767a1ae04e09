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

// header is what the doors want to know of a message's header.
type header struct {
	from, sender []string // values, folded
	resent       []string // of Resent-From and Resent-Sender
	date, id     bool     // present
	hops         int      // Received fields
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
	case "received":
		h.hops++
	case "date":
		h.date = true
	case "message-id":
		h.id = true
	}
	return nil
}

// authors are the addresses in From and Sender, and in the values of further fields. It wants one
// From field with an address, and at most one Sender.
func (h *header) authors(further ...string) ([]backend.Address, error) {
	if len(h.from) != 1 || len(h.sender) > 1 {
		return nil, errFromCount
	}
	var all []backend.Address
	for i, value := range slices.Concat(h.from, h.sender, further) {
		mailboxes, err := backend.ParseMailboxes(value)
		if err != nil {
			return nil, errHeader
		}
		if i == 0 && len(mailboxes) == 0 {
			return nil, errFromCount
		}
		all = append(all, mailboxes...)
	}
	return all, nil
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
	helo    string
	remote  netip.Addr
	host    string
	id      string
	rcpt    string // "" when there are several
	utf8    bool
	auth    bool   // who sent it is logged in
	channel string // for people; "" for nothing
}

// received is the trace field of RFC 5321 section 4.4, folded.
func received(t *trace) string {
	literal := "[" + t.remote.String() + "]"
	if t.remote.Is6() {
		literal = "[IPv6:" + t.remote.String() + "]"
	}
	with := "ESMTPS" // RFC 3848
	if t.utf8 {
		with = "UTF8SMTPS" // RFC 6531 section 4.3
	}
	if t.auth {
		with += "A"
	}
	channel, recipient := "", ""
	if t.channel != "" {
		channel = "\r\n\t(" + comment(t.channel) + ")"
	}
	if t.rcpt != "" {
		recipient = "\r\n\tfor <" + t.rcpt + ">"
	}
	return fmt.Sprintf("Received: from %s (%s)%s\r\n\tby %s with %s id %s%s;\r\n\t%s\r\n",
		t.helo, literal, channel, t.host, with, t.id, recipient, time.Now().Format(time.RFC1123Z))
}

// comment is text as it can stand in a comment (RFC 5322 section 3.2.2): of a
// certificate one may find anything in it.
func comment(text string) string {
	const most = 400 // a line has 998 octets
	var b strings.Builder
	for _, r := range text {
		switch {
		case b.Len() > most:
			return b.String() + "..."
		case r < ' ' || r > '~':
			b.WriteByte('?')
		case strings.ContainsRune(`()\`, r):
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
