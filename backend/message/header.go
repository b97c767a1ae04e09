package message

import (
	"bytes"
	"iter"
	"slices"
)

// field is one header field, or a line that is none: those have no name.
type field struct {
	name  []byte // as written, without blanks
	value []byte // what follows the colon, line breaks of folding included
	raw   []byte // all its octets, line ends included
}

// fields walks a header up to its empty line. The raw octets of the fields follow
// each other without gap: lines that are no field (an mbox "From " line, a
// missing colon, a continuation of nothing) come as fields without name.
func fields(header []byte) iter.Seq[field] {
	return func(yield func(field) bool) {
		for pos := 0; pos < len(header); {
			first := lineEnd(header, pos)
			if isEmptyLine(header[pos:first]) {
				return
			}
			end := first
			for end < len(header) && isBlank(header[end]) {
				end = lineEnd(header, end)
			}
			f := field{raw: header[pos:end]}
			if colon := bytes.IndexByte(header[pos:first], ':'); colon > 0 {
				f.name = fieldName(header[pos : pos+colon])
				f.value = trimLineEnd(header[pos+colon+1 : end])
			}
			if !yield(f) {
				return
			}
			pos = end
		}
	}
}

// fieldName drops the blanks that RFC 5322 section 4.5.8 once allowed before the
// colon. It is nil when b is no field name (section 3.6.8).
func fieldName(b []byte) []byte {
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return nil
		}
	}
	return b
}

// FilterHeader is HEADER.FIELDS, or with not HEADER.FIELDS.NOT, of a header (RFC 9051
// section 6.4.5.1): the octets of the fields asked for in their order, then the
// empty line when the header has one. Lines that are no field have none of the
// names.
func FilterHeader(header []byte, names []string, not bool) []byte {
	kept := make([]byte, 0, len(header))
	rest := 0
	for f := range fields(header) {
		if slices.ContainsFunc(names, f.is) != not {
			kept = append(kept, f.raw...)
		}
		rest += len(f.raw)
	}
	return append(kept, header[rest:]...)
}

// HeaderValues are the raw values of the fields called name, unfolded (RFC 5322
// section 2.2.3), in their order.
func HeaderValues(header []byte, name string) []string {
	var values []string
	for f := range fields(header) {
		if f.is(name) {
			values = append(values, string(unfold(f.value)))
		}
	}
	return values
}

// is compares a field's name, case-insensitively in ASCII.
func (f field) is(name string) bool {
	if len(f.name) != len(name) || len(name) == 0 {
		return false
	}
	for i, c := range f.name {
		if lowerByte(c) != lowerByte(name[i]) {
			return false
		}
	}
	return true
}

// unfold takes away the line breaks of folding and the blanks around a value.
// The result aliases b when there was nothing to take from inside.
func unfold(b []byte) []byte {
	b = bytes.Trim(b, " \t\r\n")
	if bytes.IndexByte(b, '\n') < 0 {
		return b
	}
	return appendUnfolded(make([]byte, 0, len(b)), b)
}

// appendUnfolded appends b without the line breaks that a blank follows.
func appendUnfolded(dst, b []byte) []byte {
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\n')
		if i < 0 || i+1 == len(b) {
			break
		}
		line := b[:i+1]
		if isBlank(b[i+1]) {
			line = trimLineEnd(line)
		}
		dst = append(dst, line...)
		b = b[i+1:]
	}
	return append(dst, b...)
}

// lineEnd is the offset after the line that begins at pos.
func lineEnd(b []byte, pos int) int {
	if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(b)
}

// trimLineEnd takes CRLF or LF from the end.
func trimLineEnd(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
		if n > 1 && b[n-2] == '\r' {
			b = b[:n-2]
		}
	}
	return b
}

// isEmptyLine tells the line that ends a header: CRLF, or LF alone.
func isEmptyLine(line []byte) bool {
	return len(line) == 1 && line[0] == '\n' || len(line) == 2 && line[0] == '\r' && line[1] == '\n'
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
