package message

import (
	"bytes"
	"strconv"
)

// appendString appends s as a quoted string where RFC 9051 section 4.3 allows it, as a
// literal otherwise. NUL octets, which no string may hold, are left out.
func appendString(dst, s []byte) []byte {
	plain := true
	for _, c := range s {
		switch {
		case c == 0:
			return appendString(dst, bytes.ReplaceAll(s, []byte{0}, nil))
		case c >= 0x80 || c == '\r' || c == '\n':
			return appendLiteral(dst, s)
		case c == '"' || c == '\\':
			plain = false
		}
	}
	dst = append(dst, '"')
	if plain {
		return append(append(dst, s...), '"')
	}
	for _, c := range s {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

func appendLiteral(dst, s []byte) []byte {
	s = bytes.ReplaceAll(s, []byte{0}, nil)
	dst = append(dst, '{')
	dst = strconv.AppendInt(dst, int64(len(s)), 10)
	dst = append(dst, "}\r\n"...)
	return append(dst, s...)
}

// appendField appends the unfolded value of a field, or NIL.
func appendField(dst, value []byte) []byte {
	if value == nil {
		return append(dst, "NIL"...)
	}
	return appendString(dst, unfold(value))
}

// appendEnvelope writes ENVELOPE (RFC 9051 section 7.5.2).
func appendEnvelope(dst []byte, e *envelope) []byte {
	left := MaxAddresses
	dst = appendField(append(dst, '('), e.date)
	dst = appendField(append(dst, ' '), e.subject)
	start := len(dst)
	dst = appendAddresses(append(dst, ' '), e.from, &left)
	from := dst[start:len(dst):len(dst)]
	for _, values := range []addressFields{e.sender, e.replyTo} {
		before := len(dst)
		dst = appendAddresses(append(dst, ' '), values, &left)
		if string(dst[before:]) == " NIL" { // absent or empty means as From
			dst = append(dst[:before], from...)
		}
	}
	for _, values := range []addressFields{e.to, e.cc, e.bcc} {
		dst = appendAddresses(append(dst, ' '), values, &left)
	}
	dst = appendField(append(dst, ' '), e.inReplyTo)
	dst = appendField(append(dst, ' '), e.messageID)
	return append(dst, ')')
}

// appendAddresses writes an address list, NIL when it is empty. It takes what it
// writes from left; a group that was begun is ended all the same.
func appendAddresses(dst []byte, values addressFields, left *int) []byte {
	start, inGroup := len(dst), false
	dst = append(dst, '(')
	for _, v := range values {
		for a := range addresses(v) {
			if *left <= 0 && (a.kind != groupEnd || !inGroup) {
				break
			}
			*left--
			dst = appendAddress(dst, &a)
			inGroup = a.kind == groupStart || inGroup && a.kind != groupEnd
		}
		if inGroup {
			dst, inGroup = append(dst, "(NIL NIL NIL NIL)"...), false
		}
	}
	if len(dst) == start+1 {
		return append(dst[:start], "NIL"...)
	}
	return append(dst, ')')
}

// appendAddress writes one address. Its host is never NIL, which would make it a group:
// an address without @ has an empty host.
func appendAddress(dst []byte, a *address) []byte {
	switch a.kind {
	case groupStart:
		dst = appendString(append(dst, "(NIL NIL "...), a.name)
		return append(dst, " NIL)"...)
	case groupEnd:
		return append(dst, "(NIL NIL NIL NIL)"...)
	}
	dst = append(dst, '(')
	for _, optional := range [][]byte{a.name, a.route} {
		if len(optional) == 0 {
			dst = append(dst, "NIL "...)
			continue
		}
		dst = append(appendString(dst, optional), ' ')
	}
	dst = appendString(dst, a.local)
	dst = appendString(append(dst, ' '), a.domain)
	return append(dst, ')')
}
