package report

import (
	"bytes"
	"net/mail"
	"strings"
	"time"

	"telesphore/backend/message"
	"telesphore/storage"
)

// Bounds of what Parse looks at and gives.
const (
	longestReport = 1 << 20 // octets
	maxRecipients = 1000
	maxNesting    = 4   // multiparts around the report
	longestText   = 500 // octets of Step.Text
)

// Parse reads a message as a Report; false when it is none. It looks at no more than
// the first MiB, and never fails on what is malformed: that is left out.
//
// A report is a multipart/report (RFC 6522) with a delivery status (RFC 3464, 6533) or a disposition
// notification (RFC 8098) of its own; one that was forwarded is none. A recipient whose
// action or disposition says nothing is left out. Every text is one line of valid
// UTF-8 without controls, of at most 500 octets; every time is within the last year.
func Parse(octets []byte) (*Report, bool) {
	octets = octets[:min(len(octets), longestReport)]
	if !mayReport(octets) {
		return nil, false
	}
	root := message.Describe(octets).Root()
	parts := reportParts(root, octets, 0)
	if parts == nil {
		return nil, false
	}
	top := octets[:root.BodyStart]
	r := &Report{From: from(top)}
	sent := time.Time{}
	if values := message.HeaderValues(top, "Date"); len(values) > 0 {
		sent = date(values[0])
	}
	for _, p := range parts {
		if !isStatus(p) {
			continue
		}
		if strings.HasSuffix(p.Subtype, "delivery-status") {
			r.deliveries(body(p, octets), sent)
		} else {
			r.disposition(body(p, octets), sent)
		}
		break
	}
	if r.MessageID == "" {
		r.MessageID = aboutMessage(parts, octets, top)
	}
	return r, true
}

// mayReport keeps most mail from being parsed: it tells a multipart, and one that says somewhere
// that a report is in it.
func mayReport(octets []byte) bool {
	kinds := message.HeaderValues(octets, "Content-Type")
	if len(kinds) == 0 {
		return false
	}
	kind := strings.ToLower(cut(kinds[0], 100))
	switch {
	case !strings.HasPrefix(kind, "multipart"):
		return false
	case strings.Contains(kind, "report"):
		return true
	}
	return bytes.Contains(octets, []byte("multipart/report")) // in what a list or a scanner wrapped
}

// reportParts are the parts of the first multipart/report that holds a status of its own. Embedded
// messages are not looked into.
func reportParts(p *message.Part, octets []byte, depth int) []*message.Part {
	if !p.IsMultipart() || depth > maxNesting {
		return nil
	}
	if p.Subtype == "report" {
		for _, child := range p.Children {
			if isStatus(child) {
				return p.Children
			}
		}
	}
	for _, child := range p.Children {
		if found := reportParts(child, octets, depth+1); found != nil {
			return found
		}
	}
	return nil
}

// isStatus tells the part of a report that is for programs.
func isStatus(p *message.Part) bool {
	if p.Type != "message" {
		return false
	}
	switch p.Subtype {
	case "delivery-status", "global-delivery-status", "disposition-notification", "global-disposition-notification":
		return true
	}
	return false
}

// body is a part's body with its transfer encoding undone.
func body(p *message.Part, octets []byte) []byte {
	b := octets[p.BodyStart:p.End]
	encoding := p.Encoding
	if p.IsMessage() { // Describe takes no encoding for these, RFC 6532 section 3.7 allows it
		if values := message.HeaderValues(octets[p.HeaderStart:p.BodyStart], "Content-Transfer-Encoding"); len(values) > 0 {
			encoding = values[0]
		}
	}
	if decoded, err := message.Decode(encoding, b); err == nil {
		return decoded
	}
	return b
}

// aboutMessage finds the Message-ID of the message a report is about: in what it returns, else among
// those that it answers.
func aboutMessage(parts []*message.Part, octets, top []byte) string {
	for _, p := range parts {
		switch p.Type + "/" + p.Subtype {
		case "message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers":
			if id := messageID(body(p, octets)); id != "" {
				return id
			}
		}
	}
	for _, name := range []string{"In-Reply-To", "References"} {
		for _, value := range message.HeaderValues(top, name) {
			ids := strings.Fields(value)
			if len(ids) > 0 && goodID(ids[len(ids)-1]) {
				return ids[len(ids)-1]
			}
		}
	}
	return ""
}

// deliveries reads a delivery status (RFC 3464 section 2.1): groups of fields, those of the message first.
func (r *Report) deliveries(status []byte, sent time.Time) {
	read := 0
	for group := range groups(status) {
		if read++; read > 4*maxRecipients { // some write empty lines where none belong
			return
		}
		if r.EnvelopeID == "" {
			r.EnvelopeID = line(fromXtext(first(group, "Original-Envelope-Id")), 200)
		}
		if len(r.Recipients) == maxRecipients {
			return
		}
		if reported, ok := delivery(group, sent); ok {
			r.Recipients = append(r.Recipients, reported)
		}
	}
}

// delivery reads the fields of one recipient (RFC 3464 section 2.3).
func delivery(group []byte, sent time.Time) (Reported, bool) {
	d := Reported{Address: typed(first(group, "Final-Recipient")), Original: typed(first(group, "Original-Recipient"))}
	if d.Address == "" {
		d.Address = d.Original
	}
	if d.Address == "" {
		return d, false
	}
	d.Status = statusIn(first(group, "Status"))
	ok := false
	if d.Stage, ok = stageOf(first(group, "Action"), d.Status); !ok {
		return d, false
	}
	d.Text = diagnostic(first(group, "Diagnostic-Code"))
	d.Time = believable(date(first(group, "Last-Attempt-Date")), sent)
	return d, true
}

// stageOf is the stage of an action-value (RFC 3464 section 2.3.3), or of what the status says
// where there is none.
func stageOf(action, status string) (storage.Stage, bool) {
	switch strings.ToLower(word(action)) {
	case "failed":
		return storage.Bounced, true
	case "delayed":
		return storage.Slow, true
	case "delivered":
		return storage.InMailbox, true
	case "relayed", "expanded":
		return storage.HandedOver, true
	case "":
		switch cut(status, 1) {
		case "5":
			return storage.Bounced, true
		case "4":
			return storage.Slow, true
		case "2":
			return storage.HandedOver, true
		}
	}
	return 0, false
}

// statusIn is the status-code (RFC 3464 section 2.3.4) that a text begins with, "" when it does not.
func statusIn(s string) string {
	if s = word(s); validStatus(s) {
		return s
	}
	return ""
}

// diagnostic is what a server said: a Diagnostic-Code without its type.
func diagnostic(s string) string {
	if kind, said, ok := strings.Cut(s, ";"); ok && addressType(strings.TrimSpace(kind)) {
		s = said
	}
	return line(unescape(message.DecodeHeader(s)), longestText)
}

// typed is the address of "type; address" (RFC 3464 section 2.3.1). It is "" when there is none, or one
// that is none of ours to remember: too long, with controls.
func typed(s string) string {
	kind, address, ok := strings.Cut(s, ";")
	if !ok {
		kind, address = "rfc822", s
	}
	if address = strings.TrimSpace(address); !strings.HasPrefix(address, `"`) {
		address = word(address)
	}
	if strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		address = unescape(address)
	} else {
		address = fromXtext(address)
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
	if len(address) > longestAddress || line(address, longestAddress) != address {
		return ""
	}
	return address
}

// from is the address of the From field, "" when there is none or several: then nobody speaks.
func from(header []byte) string {
	values := message.HeaderValues(header, "From")
	if len(values) != 1 {
		return ""
	}
	list := message.Addresses(header, "From")
	if len(list) != 1 {
		return ""
	}
	address := list[0]
	if name, ok := strings.CutSuffix(address, ">"); ok { // behind a name
		address = name[strings.LastIndexByte(name, '<')+1:]
	}
	if !plainAddress(address) {
		return ""
	}
	return address
}

// date reads a date-time of RFC 5322; zero when it is none.
func date(s string) time.Time {
	t, err := mail.ParseDate(cut(s, 100))
	if err != nil {
		return time.Time{}
	}
	return t
}

// believable is the first of some times that may be true: others write what they like. Now, when
// none is.
func believable(times ...time.Time) time.Time {
	now := time.Now()
	for _, t := range times {
		if !t.After(now) && t.After(now.AddDate(-1, 0, 0)) {
			return t
		}
	}
	return now
}
