package backend

import (
	"fmt"
	"strings"
)

// ParseMailboxes returns the addresses of an address list as it stands in From,
// Sender or Resent-From: `Name <local@domain>`, `local@domain`, and groups of
// these (RFC 5322 section 3.4, RFC 6854). Folding may still be in it.
//
// It is as strict as ParseAddress about addresses, because who wrote a message
// must have one reading only, and lenient about the names beside them. An address that stands
// in place of a name counts too. Errors wrap ErrAddress.
func ParseMailboxes(value string) ([]Address, error) {
	p := listParser{rest: value}
	for {
		more, err := p.item()
		if err != nil {
			return nil, err
		}
		if !more {
			return p.found, nil
		}
	}
}

// listParser reads one list, item by item. words is what stands before the
// character that decides what it was: a display name, a group's name, an address.
type listParser struct {
	rest   string
	group  bool
	words  []string
	quoted bool // one of words was a quoted string, so they are no addr-spec
	spec   bool // the item already had its <address>
	found  []Address
}

// item reads up to the end of one mailbox, or of a group's beginning or end.
func (p *listParser) item() (more bool, err error) {
	for p.rest != "" {
		c := p.rest[0]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			p.rest = p.rest[1:]
		case c == '(':
			err = p.skipComment()
		case c == '"':
			err = p.quotedString()
		case c == '<':
			err = p.angle()
		case c == ',':
			p.rest = p.rest[1:]
			return true, p.end()
		case c == ':':
			if p.group || p.spec || len(p.words) == 0 {
				return false, fmt.Errorf("%w: group in a wrong place", ErrAddress)
			}
			p.named()
			p.rest = p.rest[1:]
			p.group, p.words, p.quoted = true, nil, false
			return true, nil
		case c == ';':
			if !p.group {
				return false, fmt.Errorf("%w: end of no group", ErrAddress)
			}
			p.rest = p.rest[1:]
			err := p.end()
			p.group = false
			return true, err
		default:
			err = p.word()
		}
		if err != nil {
			return false, err
		}
	}
	if p.group {
		return false, fmt.Errorf("%w: group without end", ErrAddress)
	}
	return false, p.end()
}

// end takes the bare addr-spec, if that is what the words are. Nothing at all
// between commas is allowed (RFC 5322 section 4.4).
func (p *listParser) end() error {
	words, quoted, spec := p.words, p.quoted, p.spec
	p.words, p.quoted, p.spec = nil, false, false
	if spec || len(words) == 0 && !quoted {
		return nil
	}
	if quoted || len(words) != 1 {
		return fmt.Errorf("%w: name without address", ErrAddress)
	}
	return p.add(words[0])
}

func (p *listParser) add(spec string) error {
	a, err := ParseAddress(spec)
	if err != nil {
		return err
	}
	if a.Domain == "" {
		return fmt.Errorf("%w: no domain", ErrAddress)
	}
	p.found = append(p.found, a)
	return nil
}

// angle reads <addr-spec>. White space around the address is allowed, inside it is not.
func (p *listParser) angle() error {
	spec, rest, ok := strings.Cut(p.rest[1:], ">")
	if !ok || p.spec {
		return fmt.Errorf("%w: angle brackets do not match", ErrAddress)
	}
	p.rest, p.spec = rest, true
	p.named()
	return p.add(strings.Trim(spec, " \t\r\n"))
}

// named takes the addresses among the words of a name, where none may stand without
// quotes: there are programs that read the first address they find.
func (p *listParser) named() {
	for _, w := range p.words {
		if a, err := ParseAddress(w); err == nil && a.Domain != "" {
			p.found = append(p.found, a)
		}
	}
}

// word reads what goes on until white space or a character with a meaning.
func (p *listParser) word() error {
	n := strings.IndexAny(p.rest, " \t\r\n(\"<,:;")
	if n < 0 {
		n = len(p.rest)
	}
	w := p.rest[:n]
	if p.spec || strings.ContainsAny(w, ">)\x00") {
		return fmt.Errorf("%w: stray characters in an address list", ErrAddress)
	}
	p.words = append(p.words, w)
	p.rest = p.rest[n:]
	return nil
}

func (p *listParser) quotedString() error {
	for i := 1; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '"':
			if p.spec {
				return fmt.Errorf("%w: name behind an address", ErrAddress)
			}
			p.rest = p.rest[i+1:]
			p.words, p.quoted = append(p.words, ""), true
			return nil
		}
	}
	return fmt.Errorf("%w: quoted string without end", ErrAddress)
}

func (p *listParser) skipComment() error {
	depth := 0
	for i := 0; i < len(p.rest); i++ {
		switch p.rest[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.rest = p.rest[i+1:]
				return nil
			}
		}
	}
	return fmt.Errorf("%w: comment without end", ErrAddress)
}
