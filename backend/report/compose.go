package report

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"strings"
	"time"

	"telesphore/backend/message"
	"telesphore/storage"
)

// ErrNotice is a Notice that cannot be written: nobody to write to, nothing to tell. To
// be tested with errors.Is.
var ErrNotice = errors.New("report: not a notice that can be written")

// Compose writes the notice, with From, To, Date, Message-ID and Subject. It says
// Auto-Submitted: auto-replied, so that nobody answers (RFC 3834).
//
// It is a multipart/report (RFC 6522) in CRLF lines of at most 998 octets: a text, the
// delivery status (RFC 3464, or RFC 6533 when it takes UTF-8), and the message or its header. The
// whole message is returned of failures only (RFC 3461 section 4.3), and where its lines
// are short enough. ErrNotice.
func Compose(n *Notice) ([]byte, error) {
	if err := n.check(); err != nil {
		return nil, err
	}
	words := english()
	if n.Language == "fr" {
		words = french()
	}
	original := clean(n.Message)
	header := headerOf(original)
	returned := n.returned(original, header)
	parts := []*part{words.text(n, returned.whole), n.status(), returned}
	var b bytes.Buffer
	b.Grow(4096 + len(parts[0].body) + len(parts[1].body) + len(parts[2].body))
	n.head(&b, words, header)
	// The boundary is made now, of 128 random bits: it stands in nothing that exists.
	boundary := "notice-" + rand.Text()
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=%s;\r\n boundary=\"%s\"\r\n", parts[1].report, boundary)
	fmt.Fprintf(&b, "Content-Transfer-Encoding: %s\r\n", outer(parts))
	for _, p := range parts {
		fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n", boundary, p.kind, p.encoding)
		if p.language != "" {
			fmt.Fprintf(&b, "Content-Language: %s\r\n", p.language)
		}
		b.WriteString("\r\n")
		b.Write(p.body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes(), nil
}

// part is one body part of a notice, its body encoded already.
type part struct {
	kind     string // Content-Type
	report   string // report-type, of the second part
	language string
	whole    bool // it is a whole message
	encoding string
	body     []byte
}

// outer is the encoding of a multipart: that of its widest part (RFC 2045 section 6.4).
func outer(parts []*part) string {
	for _, p := range parts {
		if p.encoding == "8bit" {
			return "8bit"
		}
	}
	return "7bit"
}

// check refuses what would make no notice, or an unsafe one.
func (n *Notice) check() error {
	switch {
	case !plainAddress(n.From) || !ascii(n.From):
		return fmt.Errorf("%w: From is no plain address", ErrNotice)
	case !plainAddress(n.To):
		return fmt.Errorf("%w: To is no plain address", ErrNotice)
	case !hostname(n.Hostname):
		return fmt.Errorf("%w: Hostname is none", ErrNotice)
	case len(n.Recipients) == 0:
		return fmt.Errorf("%w: about nobody", ErrNotice)
	}
	action := n.Recipients[0].Action
	if actionNames()[action] == "" {
		return fmt.Errorf("%w: action %d", ErrNotice, action)
	}
	for _, r := range n.Recipients {
		if r.Action != action {
			return fmt.Errorf("%w: recipients of several actions", ErrNotice)
		}
		if r.Address == "" {
			return fmt.Errorf("%w: a recipient without address", ErrNotice)
		}
	}
	return nil
}

// plainAddress tells an address that may stand between angle brackets as it is: no blanks,
// controls, quotes or other specials.
func plainAddress(s string) bool {
	local, domain, ok := strings.Cut(s, "@")
	return ok && local != "" && domain != "" && len(s) <= longestAddress && line(s, len(s)) == s && !strings.Contains(domain, "@") &&
		!strings.ContainsAny(s, " \"\\<>()[],;:")
}

// actionNames are the action-values of RFC 3464 section 2.3.3.
func actionNames() map[storage.Action]string {
	return map[storage.Action]string{
		storage.Failed: "failed", storage.Delayed: "delayed", storage.Delivered: "delivered",
		storage.Relayed: "relayed", storage.Expanded: "expanded",
	}
}

// head writes the header, without what belongs to MIME parts.
func (n *Notice) head(b *bytes.Buffer, words *language, original []byte) {
	field := func(name, value string) { fmt.Fprintf(b, "%s: %s\r\n", name, value) }
	field("From", words.sender+" <"+n.From+">")
	if ascii(n.To) || n.UTF8 {
		field("To", "<"+n.To+">")
	} else { // it has no place in a message that is ASCII (RFC 6532), and the reader knows it
		field("To", "undisclosed-recipients:;")
	}
	field("Date", time.Now().Format(time.RFC1123Z))
	field("Message-ID", "<"+rand.Text()+"@"+n.Hostname+">")
	if id := messageID(original); id != "" {
		field("In-Reply-To", id)
		field("References", id)
	}
	field("Subject", mime.QEncoding.Encode("utf-8", words.subjects[n.Recipients[0].Action]))
	field("Auto-Submitted", "auto-replied")
	field("MIME-Version", "1.0")
}

// messageID is the Message-ID of a header when it can stand in a field of ours: ASCII without
// blanks; "" otherwise.
func messageID(header []byte) string {
	for _, id := range message.HeaderValues(header, "Message-ID") {
		if goodID(id) {
			return id
		}
	}
	return ""
}

// goodID tells a msg-id of RFC 5322 section 3.6.4, generously: visible ASCII in angle brackets.
func goodID(id string) bool {
	if len(id) < 3 || len(id) > longestID || id[0] != '<' || id[len(id)-1] != '>' {
		return false
	}
	for i := 1; i < len(id)-1; i++ {
		if c := id[i]; c <= ' ' || c >= 0x7f || c == '<' || c == '>' {
			return false
		}
	}
	return true
}

// status is the second part: what happened, for programs.
func (n *Notice) status() *part {
	wide := false // RFC 6533 section 3: UTF-8 as it is, where it may and must
	for _, r := range n.Recipients {
		wide = wide || n.UTF8 && !(ascii(r.Address) && ascii(r.Original) && ascii(r.Diagnostic))
	}
	f := fieldWriter{wide: wide}
	if n.EnvelopeID != "" {
		f.field("Original-Envelope-Id", f.text(n.EnvelopeID))
	}
	f.field("Reporting-MTA", "dns; "+n.Hostname)
	if !n.Arrived.IsZero() {
		f.field("Arrival-Date", n.Arrived.Format(time.RFC1123Z))
	}
	for _, r := range n.Recipients {
		f.recipient(&r, n.Expires)
	}
	p := &part{kind: "message/delivery-status", report: "delivery-status", encoding: "7bit", body: f.b.Bytes()}
	if wide {
		p.kind, p.report, p.encoding = "message/global-delivery-status", "global-delivery-status", "8bit"
	}
	return p
}

// recipient writes the fields of one recipient (RFC 3464 section 2.3), the empty line before them included.
func (f *fieldWriter) recipient(r *Recipient, expires time.Time) {
	f.b.WriteString("\r\n")
	if r.Original != "" {
		f.field("Original-Recipient", f.address(r.OriginalType, r.Original))
	}
	f.field("Final-Recipient", f.address("rfc822", r.Address))
	f.field("Action", actionNames()[r.Action])
	f.field("Status", statusOf(r))
	if r.Remote != "" {
		f.field("Remote-MTA", "dns; "+f.text(r.Remote))
	}
	if r.Diagnostic != "" {
		f.field("Diagnostic-Code", "smtp; "+f.text(r.Diagnostic))
	}
	if !r.Time.IsZero() {
		f.field("Last-Attempt-Date", r.Time.Format(time.RFC1123Z))
	}
	if r.Action == storage.Delayed && !expires.IsZero() {
		f.field("Will-Retry-Until", expires.Format(time.RFC1123Z))
	}
}

// statusOf is the status of a recipient, or the one that says no more than its action.
func statusOf(r *Recipient) string {
	switch {
	case validStatus(r.Status):
		return r.Status
	case r.Action == storage.Failed:
		return "5.0.0"
	case r.Action == storage.Delayed:
		return "4.0.0"
	}
	return "2.0.0"
}

// returned is the third part: the message, or its header.
func (n *Notice) returned(original, header []byte) *part {
	global := n.UTF8 && !ascii(header)
	if n.Whole && n.Recipients[0].Action == storage.Failed && longestLine(original) <= maxLine {
		p := &part{kind: "message/rfc822", whole: true, encoding: "7bit", body: original}
		if global {
			p.kind = "message/global"
		}
		if !ascii(original) {
			p.encoding = "8bit"
		}
		return p
	}
	p := &part{kind: "text/rfc822-headers", encoding: "7bit", body: header}
	long := longestLine(header) > maxLine
	switch {
	case global: // encoding is allowed, but not wanted (RFC 6533 section 5)
		p.kind, p.encoding = "message/global-headers", "8bit"
	case !ascii(header): // 8-bit where it must not be: RFC 6522 section 4 has it encoded
		p.kind, long = "text/rfc822-headers; charset=utf-8", true
	}
	if long {
		p.encoding, p.body = "quoted-printable", quoted(header)
	}
	return p
}

// quoted is text in quoted-printable.
func quoted(text []byte) []byte {
	var b bytes.Buffer
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write(text) // into memory: no error
	_ = w.Close()
	return b.Bytes()
}
