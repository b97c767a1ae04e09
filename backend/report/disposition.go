package report

import (
	"strings"
	"time"

	"telesphore/backend/message"
	"telesphore/storage"
)

// disposition reads a disposition notification (RFC 8098 section 3.1).
func (r *Report) disposition(notification []byte, sent time.Time) {
	r.Disposition = true
	read := 0
	for group := range groups(notification) { // one, but for those who write empty lines
		if read++; read > 100 {
			return
		}
		if id := message.HeaderValues(group, "Original-Message-ID"); r.MessageID == "" && len(id) > 0 {
			if id := strings.TrimSpace(id[0]); goodID(id) {
				r.MessageID = id
			}
		}
		d := Reported{Address: typed(first(group, "Final-Recipient")), Original: typed(first(group, "Original-Recipient"))}
		if d.Address == "" {
			d.Address = d.Original
		}
		if d.Address == "" {
			d.Address = r.From
		}
		ok := false
		if d.Step, ok = disposed(group); !ok || d.Address == "" || len(r.Recipients) > 0 {
			continue
		}
		d.Time = believable(sent)
		r.Recipients = append(r.Recipients, d)
	}
}

// disposed reads what became of a message (RFC 8098 section 3.2.6):
//
//	action-mode/sending-mode; type[/modifier,modifier]
//
// CI-SIS has applications say "processed" for a document they took over, and for one that they refused
// "processed/Error: code^label", or "processed/error" and a field Error of this form.
//
// What a reader's program did without showing it ("deleted", and RFC 2298's "dispatched" and "denied")
// says that the message was in the mailbox.
func disposed(group []byte) (storage.Step, bool) {
	value := message.DecodeHeader(first(group, "Disposition"))
	if _, after, ok := strings.Cut(value, ";"); ok {
		value = after
	}
	kind, modifiers, _ := strings.Cut(value, "/")
	kind = strings.ToLower(word(kind))
	modifiers = strings.TrimSpace(modifiers)
	step := storage.Step{}
	switch kind {
	case "displayed":
		step.Stage = storage.Read
	case "processed":
		step.Stage = storage.Processed
	case "failed": // RFC 2298 section 3.2.6.2
		step.Stage = storage.NotAccepted
	case "deleted", "dispatched", "denied":
		step.Stage, step.Text = storage.InMailbox, kind
	default:
		return step, false
	}
	said, isError := errorModifier(modifiers)
	for _, name := range []string{"Error", "Failure", "Warning"} {
		if said == "" {
			said = message.DecodeHeader(first(group, name))
		}
	}
	if isError && step.Stage == storage.Processed {
		step.Stage = storage.NotAccepted
	}
	if said == "" {
		return step, true
	}
	if step.Stage == storage.NotAccepted {
		step.Status, said = codeAndLabel(said)
	}
	step.Text = line(said, longestText)
	return step, true
}

// errorModifier reports whether there is an error among the modifiers of a disposition ("failure" and
// "warning" have fields too, RFC 8098 section 3.2.7), and what follows the word, as CI-SIS has it.
func errorModifier(modifiers string) (said string, is bool) {
	for rest := modifiers; rest != ""; {
		lower := strings.ToLower(cut(rest, len("failure")))
		for _, name := range []string{"error", "failure"} {
			if after := rest[min(len(name), len(rest)):]; strings.HasPrefix(lower, name) && (after == "" || strings.IndexByte(" \t:,;(", after[0]) >= 0) {
				after = strings.TrimSpace(after)
				if said, ok := strings.CutPrefix(after, ":"); ok {
					return strings.TrimSpace(said), true
				}
				return "", true
			}
		}
		_, rest, _ = strings.Cut(rest, ",")
		rest = strings.TrimSpace(rest)
	}
	return "", false
}

// codeAndLabel divides "902^label"; without such a code all of it is the label.
func codeAndLabel(s string) (code, label string) {
	code, label, ok := strings.Cut(s, "^")
	code = strings.TrimSpace(code)
	if !ok {
		code, label = s, ""
	}
	if code == "" || len(code) > 10 || strings.Trim(code, "0123456789") != "" {
		return "", s
	}
	return code, label
}
