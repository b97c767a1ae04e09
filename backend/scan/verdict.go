package scan

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"

	"github.com/emersion/go-milter"
)

// The form of a field that a filter adds.
const (
	maxName  = 76  // octets
	maxLine  = 998 // octets without the line end (RFC 5322 section 2.1.1)
	maxReply = 200 // octets of a filter's sentence
)

// verdict makes one of what a filter wants.
func (s *Scanner) verdict(a *milter.Action, wishes []milter.ModifyAction, logger *slog.Logger) (Verdict, error) {
	switch a.Code {
	case milter.ActAccept, milter.ActContinue:
		return s.follow(wishes, logger), nil
	case milter.ActReject, milter.ActDiscard:
		return Verdict{Action: Reject}, nil
	case milter.ActTempFail:
		return Verdict{Action: TempFail}, nil
	case milter.ActReplyCode:
		reply := sentence(a.SMTPText)
		switch a.SMTPCode / 100 {
		case 4:
			return Verdict{Action: TempFail, Reply: reply}, nil
		case 5:
			return Verdict{Action: Reject, Reply: reply}, nil
		}
		return Verdict{}, fmt.Errorf("scan: the filter wants the reply %d", a.SMTPCode)
	}
	return Verdict{}, fmt.Errorf("scan: the filter answers with %q", byte(a.Code))
}

// follow does what a filter wants done to a message that passes, as far as [Accept] says.
func (s *Scanner) follow(wishes []milter.ModifyAction, logger *slog.Logger) Verdict {
	most := cmp.Or(s.Fields, 50)
	var added strings.Builder
	count := 0
	for _, w := range wishes {
		field := w.HeaderName[:min(len(w.HeaderName), maxName)]
		switch w.Code {
		case milter.ActAddHeader, milter.ActInsertHeader:
		case milter.ActChangeHeader:
			// Removing is not done. To change what is not there is to add it; rspamd counts on
			// that. What is there may be forged, so that the filter's own goes in front.
			if w.HeaderValue == "" {
				logger.Info("scan.change not made", "field", field)
				continue
			}
		default: // of the body, the recipients or the sender, or quarantine
			logger.Warn("scan.change not made: the message is refused", "change", string(rune(w.Code)))
			return Verdict{Action: Reject}
		}
		line, ok := fieldLine(w.HeaderName, w.HeaderValue)
		if !ok || count == most {
			logger.Info("scan.field not added", "field", field, "too_many", ok)
			continue
		}
		count++
		added.WriteString(line)
	}
	return Verdict{Fields: []byte(added.String())}
}

// fieldLine is a field as it stands in a message. It is not ok when the name is not
// for filters to use, or when name or value would make more of it than one field
// (RFC 5322 section 2.2). A filter knows about mail, not about who may say what:
// fields without an X are others' to write, and X-MSS are documents' own.
func fieldLine(name, value string) (line string, ok bool) {
	lower := strings.ToLower(name)
	if !strings.HasPrefix(lower, "x-") || strings.HasPrefix(lower, "x-mss-") || len(name) > maxName {
		return "", false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || c == ':' {
			return "", false
		}
	}
	value = strings.ReplaceAll(value, "\r\n", "\n")
	if !strings.HasPrefix(value, " ") && !strings.HasPrefix(value, "\t") {
		value = " " + value
	}
	lines := strings.Split(name+":"+value, "\n")
	for i, l := range lines {
		if i > 0 && (strings.Trim(l, " \t") == "" || l[0] != ' ' && l[0] != '\t') || len(l) > maxLine {
			return "", false
		}
		for _, c := range []byte(l) {
			if c < ' ' && c != '\t' || c >= 0x7f {
				return "", false
			}
		}
	}
	return strings.Join(lines, "\r\n") + "\r\n", true
}

// sentence makes one line of ASCII of a reply's text, without the enhanced code in
// front: codes are the door's.
func sentence(text string) string {
	text = strings.Map(func(c rune) rune {
		switch {
		case c == '\r' || c == '\n' || c == '\t':
			return ' '
		case c < ' ' || c >= 0x7f:
			return '?'
		}
		return c
	}, text[:min(len(text), maxReply)])
	words := strings.Fields(text)
	if len(words) > 0 && strings.Count(words[0], ".") == 2 && strings.Trim(words[0], ".0123456789") == "" {
		words = words[1:]
	}
	return strings.Join(words, " ")
}
