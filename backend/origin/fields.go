package origin

import (
	"bytes"
	"iter"
)

// split divides a message at the empty line, which is part of neither half. A
// message without empty line is all header.
func split(octets []byte) (header, body []byte) {
	for pos := 0; pos < len(octets); {
		end := lineEnd(octets, pos)
		if isEmpty(octets[pos:end]) {
			return octets[:pos], octets[end:]
		}
		pos = end
	}
	return octets, nil
}

// fields walks a header without its empty line: the octets of one field after the
// other, without gap.
func fields(header []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for pos := 0; pos < len(header); {
			end := lineEnd(header, pos)
			for end < len(header) && isBlank(header[end]) {
				end = lineEnd(header, end)
			}
			if !yield(header[pos:end]) {
				return
			}
			pos = end
		}
	}
}

// cutField divides a field at its colon; ok is false when it has none in its first line.
func cutField(field []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(field, []byte(":"))
	if !ok || bytes.IndexByte(name, '\n') >= 0 {
		return nil, nil, false
	}
	return name, value, true
}

func lineEnd(b []byte, pos int) int {
	if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
		return pos + i + 1
	}
	return len(b)
}

func isEmpty(line []byte) bool { return string(line) == "\r\n" || string(line) == "\n" }

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
