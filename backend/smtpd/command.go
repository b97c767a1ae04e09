package smtpd

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// command is a command line, taken apart as far as the guard cares.
type command struct {
	verb  string // upper case
	arg   string
	line  string // what go-smtp gets to see
	chunk int64  // octets that follow BDAT
	last  bool   // they are the message's last ones
	hangs bool   // after a refusal nobody knows what follows: close

	until time.Time // of MAIL with FUTURERELEASE; else zero
}

// terms are what a command is checked by.
type terms struct {
	size       int64         // octets of a message at most
	hold       time.Duration // the longest FUTURERELEASE; 0 when it is not offered
	postmaster string        // what postmaster without domain means; "" for nothing
}

// parseCommand checks a line before go-smtp reads it, and refuses what
// go-smtp would take too lightly. The refusal is nil when the line may pass.
func parseCommand(line string, t terms) (c command, refusal *smtp.SMTPError) {
	verb, arg, _ := strings.Cut(line, " ")
	c = command{verb: strings.ToUpper(verb), arg: strings.Trim(arg, " "), line: line}
	if len(line)+2 > maxLine && c.verb != "AUTH" {
		return c, errLineLength
	}
	switch c.verb {
	case "EHLO", "HELO":
		if !hostLike(c.arg) {
			return c, errHelo
		}
	case "MAIL":
		refusal = c.path("FROM:", terms{hold: t.hold})
	case "RCPT":
		refusal = c.path("TO:", terms{postmaster: t.postmaster})
	case "BDAT":
		refusal = c.bdat(t.size)
	case "AUTH":
		refusal = c.auth()
	case "STARTTLS":
		return c, errAlreadyTLS
	case "DATA", "RSET", "QUIT":
		if c.arg != "" {
			return c, errSyntax
		}
	case "NOOP", "VRFY", "HELP", "EXPN":
	default:
		return c, errUnknown
	}
	return c, refusal
}

// hostLike reports whether s can be a host name or an address literal, as far as
// it is safe to repeat it in a header. Clients send all sorts of names.
func hostLike(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-._:[]", c) >= 0) {
			return false
		}
	}
	return true
}

// path checks "FROM:<address> parameters" and writes the line anew: one pair of
// angle brackets, no quotes, each parameter once. An empty domain behind
// postmaster is filled in, which go-smtp refuses (RFC 5321 section 4.5.1).
func (c *command) path(key string, t terms) *smtp.SMTPError {
	if len(c.arg) < len(key) || !strings.EqualFold(c.arg[:len(key)], key) {
		return errPathSyntax
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(c.arg[len(key):], " "), "<")
	if !ok {
		return errPathSyntax
	}
	if strings.ContainsAny(rest, "\"\\") {
		// Quoted, go-smtp would take the quotes away.
		if key == "FROM:" {
			return errSenderForm
		}
		return errRcptForm
	}
	path, params, ok := strings.Cut(rest, ">")
	if !ok || params != "" && params[0] != ' ' {
		return errPathSyntax
	}
	if t.postmaster != "" && strings.EqualFold(path, "postmaster") {
		path = t.postmaster
	}
	if t.hold > 0 {
		var refusal *smtp.SMTPError
		if params, c.until, refusal = takeHold(params, t.hold, time.Now()); refusal != nil {
			return refusal
		}
	}
	params, refusal := checkParameters(params)
	if refusal != nil {
		return refusal
	}
	c.line = c.verb + " " + key + "<" + path + ">" + params
	return nil
}

// checkParameters wants each parameter at most once, and brings SIZE down to
// the 32 bits that go-smtp reads: still larger than any limit.
func checkParameters(params string) (string, *smtp.SMTPError) {
	seen := map[string]bool{}
	var b strings.Builder
	for p := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(p, "=")
		key = strings.ToUpper(key)
		if seen[key] {
			return "", errSyntax
		}
		seen[key] = true
		if key == "REQUIRETLS" && strings.Contains(p, "=") {
			return "", errSyntax
		}
		if key == "SIZE" {
			if strings.Trim(value, "0123456789") != "" || value == "" || len(value) > 20 {
				return "", errSyntax
			}
			if _, err := strconv.ParseUint(value, 10, 32); err != nil {
				p = "SIZE=4294967295"
			}
		}
		b.WriteString(" " + p)
	}
	return b.String(), nil
}

// bdat checks "size [LAST]" (RFC 3030 section 2). Where the size cannot be
// told, or is more than anybody will read away, the octets that follow would
// be taken for commands.
func (c *command) bdat(max int64) *smtp.SMTPError {
	f := strings.Fields(c.arg)
	c.hangs = true
	if len(f) == 0 || len(f) > 2 || len(f) == 2 && !strings.EqualFold(f[1], "LAST") {
		return errSyntax
	}
	if f[0] == "" || strings.Trim(f[0], "0123456789") != "" || len(f[0]) > 20 {
		return errSyntax
	}
	n, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil || n > max {
		return errTooLarge
	}
	c.chunk, c.last, c.hangs = n, len(f) == 2, false
	return nil
}

// auth checks "mechanism [initial response]" (RFC 4954 section 4).
func (c *command) auth() *smtp.SMTPError {
	f := strings.Fields(c.arg)
	if len(f) == 0 || len(f) > 2 {
		return errSyntax
	}
	if len(f) == 2 && !decodes(f[1]) {
		return errBase64
	}
	return nil
}

// decodes reports whether s is a SASL response as go-smtp can decode it.
func decodes(s string) bool {
	if s == "=" {
		return true
	}
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}
