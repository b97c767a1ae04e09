package message

import (
	"bytes"
	"iter"
	"strings"
)

// addressKind tells what an element of an address list is.
type addressKind uint8

const (
	mailbox addressKind = iota
	groupStart
	groupEnd
)

// address is one element of an address list, quoting removed and encoded words left as
// they are. Its slices are valid until the next element.
type address struct {
	kind   addressKind
	name   []byte // display name; of a group, its name
	route  []byte // "@a,@b" of obsolete syntax
	local  []byte
	domain []byte // empty when the address has no @
}

// addressParser reads an address list (RFC 5322 section 3.4, obsolete forms of section
// 4.4 included) and makes what it can of anything else.
type addressParser struct {
	b       []byte
	phrase  []byte // the words so far, a blank between those that had one
	spec    []byte // the last word, with what an "@" or a dot joins to it
	at      int    // of the last "@" in spec, -1
	loose   bool   // a blank stood before the position
	comment []byte
	out     address
}

// addresses walks the elements of an address list. A group always gets its end.
func addresses(b []byte) iter.Seq[address] {
	return func(yield func(address) bool) {
		p := addressParser{b: b, at: -1}
		inGroup := false
		emit := func(kind addressKind) bool {
			p.out.kind = kind
			ok := yield(p.out)
			p.reset()
			return ok
		}
		for {
			separator := p.element()
			switch {
			case separator == ':':
				name := append([]byte(nil), p.phrase...)
				if inGroup && !emit(groupEnd) {
					return
				}
				p.out.name, inGroup = name, true
				if !emit(groupStart) {
					return
				}
				continue
			case p.complete() && !emit(mailbox):
				return
			}
			p.reset()
			if inGroup && (separator == ';' || separator == 0) {
				p.out, inGroup = address{}, false
				if !emit(groupEnd) {
					return
				}
			}
			if separator == 0 {
				return
			}
		}
	}
}

func (p *addressParser) reset() {
	p.phrase, p.spec, p.at, p.loose, p.comment = p.phrase[:0], p.spec[:0], -1, false, nil
	p.out = address{}
}

// element reads up to the separator after an element and returns it: ',', ';' or
// ':', 0 at the end.
func (p *addressParser) element() byte {
	angle := false
	for len(p.b) > 0 {
		switch c := p.b[0]; {
		case c == ',' || c == ';':
			p.b = p.b[1:]
			return c
		case c == ':' && !angle && p.at < 0:
			p.b = p.b[1:]
			return c
		case isSpace(c):
			p.b, p.loose = p.b[1:], true
		case c == '(':
			p.comment, p.b = delimited(p.b, '(', ')')
			p.loose = true
		case c == '<' && angle: // a comma is missing
			return ','
		case c == '<':
			angle = true
			p.b = p.b[1:]
			p.angle()
		case angle: // nothing belongs behind the angle brackets
			p.skipWord()
		default:
			p.word()
		}
	}
	return 0
}

// complete fills in out from what element gathered; false when it was empty.
func (p *addressParser) complete() bool {
	if p.out.local == nil {
		if len(p.phrase) == 0 {
			return false
		}
		if p.at >= 0 {
			p.out.local, p.out.domain = p.spec[:p.at], p.spec[p.at+1:]
		} else {
			p.out.local = p.phrase
		}
	} else {
		p.out.name = p.phrase
	}
	if len(p.out.name) == 0 {
		p.out.name = bytes.Trim(p.comment, " \t")
	}
	return true
}

// angle reads what stands between angle brackets, with the route that obsolete
// syntax allows (RFC 5322 section 4.4).
func (p *addressParser) angle() {
	p.b = skipBlanks(p.b)
	if len(p.b) > 0 && p.b[0] == '@' {
		if end := bytes.IndexAny(p.b, ":><"); end > 0 && p.b[end] == ':' {
			p.out.route = withoutSpace(p.b[:end])
			p.b = p.b[end+1:]
		}
	}
	inner := addressParser{at: -1, b: p.b}
	for len(inner.b) > 0 && bytes.IndexByte([]byte(">,;<"), inner.b[0]) < 0 {
		switch c := inner.b[0]; {
		case isSpace(c):
			inner.b = inner.b[1:]
		case c == '(':
			_, inner.b = delimited(inner.b, '(', ')')
		default:
			inner.word()
		}
	}
	p.b = bytes.TrimPrefix(inner.b, []byte(">"))
	if inner.at < 0 {
		inner.at = len(inner.spec)
		inner.spec = append(inner.spec, '@')
	}
	p.out.local, p.out.domain = inner.spec[:inner.at:inner.at], inner.spec[inner.at+1:]
}

// word reads one word or special into phrase and spec.
func (p *addressParser) word() {
	var w []byte
	special := false
	switch c := p.b[0]; {
	case c == '"':
		w, p.b = quoted(p.b)
	case c == '[':
		w = p.domainLiteral()
	case isAddressSpecial(c):
		w, p.b, special = p.b[:1], p.b[1:], true
	default:
		n := wordLength(p.b)
		w, p.b = p.b[:n], p.b[n:]
	}
	joined := !p.loose || special && w[0] == '@' || len(w) > 0 && w[0] == '.' ||
		len(p.spec) > 0 && (p.spec[len(p.spec)-1] == '.' || p.spec[len(p.spec)-1] == '@')
	if p.loose && len(p.phrase) > 0 {
		p.phrase = append(p.phrase, ' ')
	}
	p.phrase = append(p.phrase, w...)
	p.loose = false
	switch {
	case joined:
	case p.at >= 0: // behind a complete address
		return
	default:
		p.spec = p.spec[:0]
	}
	if special && w[0] == '@' {
		p.at = len(p.spec)
	}
	p.spec = append(p.spec, w...)
}

// skipWord passes over one word or special.
func (p *addressParser) skipWord() {
	switch c := p.b[0]; {
	case c == '"':
		_, p.b = quoted(p.b)
	case isAddressSpecial(c):
		p.b = p.b[1:]
	default:
		p.b = p.b[wordLength(p.b):]
	}
}

// domainLiteral reads "[192.0.2.1]", brackets included.
func (p *addressParser) domainLiteral() []byte {
	end := bytes.IndexAny(p.b[1:], "[],;<>\r\n") + 1
	if end < 1 || p.b[end] != ']' {
		w := p.b[:1]
		p.b = p.b[1:]
		return w
	}
	w := p.b[:end+1]
	p.b = p.b[end+1:]
	return w
}

// wordLength is the length of the atom, dots included, that b begins with, at least 1. An
// encoded word counts as a whole: programs leave commas in it (RFC 2047 section 5 forbids it).
func wordLength(b []byte) int {
	if n := encodedWordLength(b); n > 0 {
		return n
	}
	for i, c := range b {
		if isSpace(c) || isAddressSpecial(c) || c == '"' || c == '(' || c == '[' {
			return max(i, 1)
		}
	}
	return len(b)
}

func isAddressSpecial(c byte) bool {
	return c == '<' || c == '>' || c == '@' || c == ',' || c == ';' || c == ':'
}

func withoutSpace(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range b {
		if !isSpace(c) {
			out = append(out, c)
		}
	}
	return out
}

// Addresses are the addresses of the fields called name, decoded to UTF-8, each as
// "Name <local@domain>", or "local@domain" without a name. A group comes as "name:"
// before its members.
func Addresses(header []byte, name string) []string {
	var list []string
	for f := range fields(header) {
		if !f.is(name) {
			continue
		}
		for a := range addresses(f.value) {
			if a.kind != groupEnd {
				list = append(list, a.text())
			}
		}
	}
	return list
}

// text is the address for people.
func (a *address) text() string {
	name := DecodeHeader(string(a.name))
	if a.kind == groupStart {
		return name + ":"
	}
	var s strings.Builder
	if name != "" {
		s.WriteString(name + " <")
	}
	s.WriteString(DecodeHeader(string(a.local)))
	if len(a.domain) > 0 {
		s.WriteString("@" + DecodeHeader(string(a.domain)))
	}
	if name != "" {
		s.WriteByte('>')
	}
	return s.String()
}
