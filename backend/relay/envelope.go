package relay

import (
	"errors"
	"fmt"
	"strings"

	"telesphore/storage"
)

// mail is the MAIL command for a peer. A fault when the peer cannot take the message
// as it is.
func (a *attempt) mail(c *client) (string, *fault) {
	t, m := a.transfer, a.content
	cannot := func(status, why string) (string, *fault) {
		return "", &fault{step: "MAIL", status: status, failed: true, usable: true, cause: errors.New(why)}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "MAIL FROM:<%s>", a.from)
	if c.has("SIZE") {
		if most, ok := c.size(); ok && m.size > most {
			return cannot("5.3.4", "the peer takes no message of this size")
		}
		fmt.Fprintf(&b, " SIZE=%d", m.size)
	}
	if m.eightBit {
		if !c.has("8BITMIME") { // RFC 6152; to convert it would break signatures
			return cannot("5.6.3", "the peer lacks 8BITMIME")
		}
		b.WriteString(" BODY=8BITMIME")
	}
	needed := a.international()
	if needed && !c.has("SMTPUTF8") {
		return cannot("5.6.7", "the peer lacks SMTPUTF8")
	}
	if needed || t.UTF8 && m.eightBit && c.has("SMTPUTF8") { // the header of a part may need it
		b.WriteString(" SMTPUTF8")
	}
	if t.RequireTLS {
		if f := requireTLS(c); f != nil {
			return "", f
		}
		b.WriteString(" REQUIRETLS")
	}
	if c.has("DSN") {
		if t.Return == "FULL" || t.Return == "HDRS" {
			b.WriteString(" RET=" + t.Return)
		}
		if t.EnvelopeID != "" {
			b.WriteString(" ENVID=" + xtext(t.EnvelopeID))
		}
	}
	return b.String(), nil
}

// international reports whether the message needs SMTPUTF8 (RFC 6531 section 3.4):
// an address of the envelope does, or the header of a message that came with it.
func (a *attempt) international() bool {
	if !a.from.ASCII() || a.transfer.UTF8 && a.content.eightBitHeader {
		return true
	}
	for _, i := range a.pending {
		if !a.to[i].ASCII() {
			return true
		}
	}
	return false
}

// requireTLS says whether a message may go to a peer that must be reached under TLS
// all the way (RFC 8689 section 4.2.1): it must have proven its name, which must
// not be what the DNS alone says, and it must know REQUIRETLS.
func requireTLS(c *client) *fault {
	proven := c.host.policy == trusted || c.host.policy == verified && c.host.fixed
	if proven && c.has("REQUIRETLS") {
		return nil
	}
	return &fault{
		step: "MAIL", status: "5.7.30", failed: true, elsewhere: true, usable: true,
		cause: errors.New("the peer lacks REQUIRETLS, or has not proven who it is"),
	}
}

// rcpt is the RCPT command for a recipient.
func (a *attempt) rcpt(c *client, i int) string {
	r := a.transfer.Rcpts[i]
	command := fmt.Sprintf("RCPT TO:<%s>", a.to[i])
	if !c.has("DSN") {
		return command
	}
	if when := notify(r.Notify); when != "" {
		command += " NOTIFY=" + when
	}
	if original, ok := orcpt(r.OriginalType, r.Original); ok {
		command += " ORCPT=" + original
	}
	return command
}

// notify is the value of NOTIFY (RFC 3461 section 4.1), "" when it was not given.
func notify(n storage.Notify) string {
	if n&storage.NotifyNever != 0 {
		return "NEVER"
	}
	var when []string
	if n&storage.NotifySuccess != 0 {
		when = append(when, "SUCCESS")
	}
	if n&storage.NotifyFailure != 0 {
		when = append(when, "FAILURE")
	}
	if n&storage.NotifyDelay != 0 {
		when = append(when, "DELAY")
	}
	return strings.Join(when, ",")
}

// orcpt is the value of ORCPT (RFC 3461 section 4.2), false when there is none that
// can be written.
func orcpt(kind, address string) (string, bool) {
	const maxValue = 500
	value := xtext(address)
	if strings.EqualFold(kind, "utf-8") {
		value = utf8xtext(address)
	} else if strings.ContainsFunc(address, func(r rune) bool { return r > '~' }) {
		return "", false // xtext is for ASCII
	}
	atom := strings.Trim(strings.ToLower(kind), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
	if kind == "" || address == "" || !atom || len(kind)+1+len(value) > maxValue {
		return "", false
	}
	return kind + ";" + value, true
}

// xtext encodes a text as RFC 3461 section 4 has it.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// utf8xtext is utf-8-addr-xtext (RFC 6533 section 3), which every server takes.
func utf8xtext(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c < '!' || c > '~' || c == '+' || c == '=' || c == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, c)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}
