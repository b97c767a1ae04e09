package dkim

import (
	"bytes"
	"io"
	"strings"

	"telesphore/backend/message"
)

// lineLength is where the lines of a signature are folded, in octets, with some room.
const lineLength = 72

// single are the fields that stand once in a message (RFC 5322 section 3.6), as far as
// readers see or programs read them. Those that are there are named once more than they are there,
// so that nobody can add another one (RFC 6376 section 8.15).
func single() []string {
	return []string{
		"From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "In-Reply-To", "References",
		"MIME-Version", "Content-Type", "Content-Transfer-Encoding",
	}
}

// others are signed as often as they are there.
func others() []string {
	return []string{
		"X-MSS-CODECDA", "X-MSS-INS", "X-MSS-NIL", "X-MSS-MES", "Disposition-Notification-To",
		"List-Id", "List-Help", "List-Unsubscribe", "List-Unsubscribe-Post", "List-Subscribe", "List-Post", "List-Owner", "List-Archive",
	}
}

// canonicalHeader returns the names that go into h=, and what they stand for in the
// relaxed form (RFC 6376 section 3.4.2). Of several fields of a name the last one comes
// first (section 5.4.2).
func canonicalHeader(octets []byte) (names []string, header []byte) {
	add := func(name string) (n int) {
		values := message.HeaderValues(octets, name)
		for i := range values {
			names = append(names, name)
			header = append(header, strings.ToLower(name)...)
			header = append(header, ':')
			header = append(header, relaxed(values[len(values)-1-i])...)
			header = append(header, "\r\n"...)
		}
		return len(values)
	}
	for _, name := range single() {
		if add(name) > 0 {
			names = append(names, name)
		}
	}
	for _, name := range others() {
		add(name)
	}
	return names, header
}

// relaxed is the relaxed form of a field's value: unfolded, runs of white space made
// one space, none at the ends.
func relaxed(value string) []byte {
	out := make([]byte, 0, len(value))
	for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }) {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = append(out, word...)
	}
	return out
}

// bodyOf is what follows the empty line of a message.
func bodyOf(octets []byte) []byte {
	for pos := 0; pos < len(octets); {
		end := lineEnd(octets, pos)
		if line := string(octets[pos:min(end, pos+2)]); line == "\r\n" || line == "\n" {
			return octets[end:]
		}
		pos = end
	}
	return nil
}

// lineEnd is the offset after the line that begins at pos.
func lineEnd(b []byte, pos int) int {
	if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(b)
}

// hashBody writes the relaxed form of a body (RFC 6376 section 3.4.4): no empty lines at
// its end, no white space at the ends of lines, runs of it made one space. What is in that form
// already, nearly all of most messages, is written as it stands.
func hashBody(w io.Writer, body []byte) {
	body = bytes.TrimRight(body, " \t\r\n")
	start := 0 // of what is canonical and not written yet
	for pos := 0; pos < len(body); {
		end := lineEnd(body, pos)
		if !isRelaxed(body[pos:end]) {
			w.Write(body[start:pos])
			writeRelaxed(w, body[pos:end])
			start = end
		}
		pos = end
	}
	w.Write(body[start:])
}

// isRelaxed reports whether a line needs no change.
func isRelaxed(line []byte) bool {
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	return ok && !bytes.HasSuffix(text, []byte(" ")) && bytes.IndexByte(text, '\t') < 0 && !bytes.Contains(text, []byte("  "))
}

// writeRelaxed writes a line that needs one.
func writeRelaxed(w io.Writer, line []byte) {
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	line = bytes.TrimRight(line, " \t")
	out := make([]byte, 0, len(line)+2)
	for i, c := range line {
		blank := c == ' ' || c == '\t'
		if blank && i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			continue
		}
		if blank {
			c = ' '
		}
		out = append(out, c)
	}
	w.Write(append(out, "\r\n"...))
}
