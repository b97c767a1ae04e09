package report

import (
	"strings"
	"time"
	"unicode/utf8"

	"telesphore/storage"
)

// language is all that is written in one language. {arrived} and the like stand for what a
// notice tells; a reason is found by the subject and detail of a status (RFC 3463).
type language struct {
	tag      string // RFC 5646
	sender   string // display name of From: ASCII atoms
	when     string // layout of a time
	subjects map[storage.Action]string
	openings map[storage.Action]string
	closings map[storage.Action]string
	reasons  map[string]reason // by "subject.detail", else "subject", else ""
	late     string            // closing of Delayed that knows no date
	ended    string            // what was tried until it was given up, status 4.x
	answer   string            // what {server} said
	header   string            // what is attached
	whole    string
	end      string
}

// reason is why, and what the sender can do about it when it has failed.
type reason struct{ fact, advice string }

// because finds the reason of a status.
func (l *language) because(status string) reason {
	_, key, _ := strings.Cut(status, ".")
	if r, ok := l.reasons[key]; ok {
		return r
	}
	subject, _, _ := strings.Cut(key, ".")
	if r, ok := l.reasons[subject]; ok {
		return r
	}
	return l.reasons[""]
}

// text is the first part, for people. It says nothing of the message but its date: a subject
// names patients.
func (l *language) text(n *Notice, whole bool) *part {
	var b strings.Builder
	action := n.Recipients[0].Action
	fill := func(s string, facts ...string) string { return strings.NewReplacer(facts...).Replace(s) }
	paragraph := func(indent, s string) { wrap(&b, indent, s) }
	paragraph("", fill(l.openings[action], "{arrived}", l.date(n.Arrived)))
	for _, r := range n.Recipients {
		b.WriteByte('\n')
		b.WriteString("    " + line(r.Address, longestAddress) + "\n")
		l.why(paragraph, &r)
		if said := line(r.Diagnostic, longestValue); said != "" && r.Remote != "" {
			paragraph("    ", fill(l.answer, "{server}", line(r.Remote, 255))+" "+said)
		} else if said != "" {
			paragraph("    ", said)
		}
	}
	b.WriteByte('\n')
	closing := l.closings[action]
	if action == storage.Delayed && n.Expires.IsZero() {
		closing = l.late
	}
	paragraph("", fill(closing, "{until}", l.date(n.Expires)))
	b.WriteByte('\n')
	attached := l.header
	if whole {
		attached = l.whole
	}
	paragraph("", attached)
	paragraph("", fill(l.end, "{host}", n.Hostname))
	body := strings.ReplaceAll(b.String(), "\n", "\r\n")
	return &part{kind: "text/plain; charset=utf-8", language: l.tag, encoding: "quoted-printable", body: quoted([]byte(body))}
}

// why says what happened to one recipient, where there is more to say than the opening does.
func (l *language) why(paragraph func(indent, s string), r *Recipient) {
	if r.Action != storage.Failed && r.Action != storage.Delayed {
		return
	}
	status := statusOf(r)
	because := l.because(status)
	s := because.fact
	if r.Action == storage.Failed {
		if status[0] == '4' {
			s += " " + l.ended
		} else if because.advice != "" {
			s += " " + because.advice
		}
	}
	paragraph("    ", s)
}

// date writes a time for people, in the zone of the server.
func (l *language) date(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.Local().Format(l.when)
}

// wrap writes a paragraph in lines of 72 characters where it has blanks. A single character begins no
// line: in French a blank stands before a colon.
func wrap(b *strings.Builder, indent, s string) {
	const width = 72
	column := 0
	for _, word := range strings.Fields(s) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case column+1+n > width && n > 1:
			b.WriteString("\n" + indent)
			column = len(indent)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	if column > 0 {
		b.WriteByte('\n')
	}
}
