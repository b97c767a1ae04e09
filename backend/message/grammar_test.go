package message

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// The wire forms are read here as a strict client reads them: first into values, then
// against the grammar of RFC 9051 section 9.

// text is a quoted string or a literal; nil, number and list are the other values.
type (
	text    string
	integer int64
	list    []any
)

// reader reads values.
type reader struct{ b, last []byte }

func readWire(b []byte) (v any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v in %q", r, b)
		}
	}()
	r := reader{b: b}
	v = r.value()
	if len(r.b) > 0 {
		return nil, fmt.Errorf("octets left over: %q", r.b)
	}
	return v, nil
}

func (r *reader) next() byte {
	if len(r.b) == 0 {
		panic("unexpected end")
	}
	c := r.b[0]
	r.last, r.b = r.b, r.b[1:]
	return c
}

func (r *reader) value() any {
	switch c := r.next(); {
	case c == '(':
		return r.list()
	case c == '"':
		return r.quoted()
	case c == '{':
		return r.literal()
	case c >= '0' && c <= '9':
		digits := string(c)
		for len(r.b) > 0 && r.b[0] >= '0' && r.b[0] <= '9' {
			digits += string(r.next())
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			panic(err)
		}
		return integer(n)
	case c == 'N' && bytes.HasPrefix(r.b, []byte("IL")):
		r.b = r.b[2:]
		return nil
	default:
		panic(fmt.Sprintf("octet %q", c))
	}
}

// list reads the values of a list. Only between the parts of a multipart, and
// between addresses, does no blank stand.
func (r *reader) list() list {
	l := list{}
	for first := true; ; first = false {
		c := r.next()
		switch {
		case c == ')' && !first:
			return l
		case c == ' ' && !first:
		case c == '(' && !first:
			if _, ok := l[len(l)-1].(list); !ok {
				panic("no blank")
			}
			r.b = r.last
		case first && c != ')':
			r.b = r.last
		default:
			panic(fmt.Sprintf("octet %q in a list", c))
		}
		l = append(l, r.value())
	}
}

func (r *reader) quoted() text {
	var s strings.Builder
	for {
		c := r.next()
		switch {
		case c == '"':
			return text(s.String())
		case c == '\\':
			if c = r.next(); c != '"' && c != '\\' {
				panic("escape")
			}
		case c == 0 || c == '\r' || c == '\n' || c >= 0x80:
			panic(fmt.Sprintf("octet %q in a quoted string", c))
		}
		s.WriteByte(c)
	}
}

func (r *reader) literal() text {
	length, rest, ok := bytes.Cut(r.b, []byte("}\r\n"))
	n, err := strconv.Atoi(string(length))
	if !ok || err != nil || n > len(rest) || bytes.IndexByte(rest[:n], 0) >= 0 {
		panic("literal")
	}
	r.b = rest[n:]
	return text(rest[:n])
}

// checkEnvelope tells what of v is no envelope.
func checkEnvelope(v any) error {
	l, ok := v.(list)
	if !ok || len(l) != 10 {
		return fmt.Errorf("envelope of %d members", len(l))
	}
	for i, member := range l {
		if 2 <= i && i <= 7 {
			if err := checkAddresses(member); err != nil {
				return fmt.Errorf("member %d: %w", i, err)
			}
		} else if !isNString(member) {
			return fmt.Errorf("member %d is %v", i, member)
		}
	}
	return nil
}

func checkAddresses(v any) error {
	if v == nil {
		return nil
	}
	l, ok := v.(list)
	if !ok || len(l) == 0 {
		return fmt.Errorf("address list %v", v)
	}
	inGroup := false
	for _, a := range l {
		a, ok := a.(list)
		if !ok || len(a) != 4 || !isNString(a[0]) || !isNString(a[1]) || !isNString(a[2]) || !isNString(a[3]) {
			return fmt.Errorf("address %v", a)
		}
		switch {
		case a[3] != nil && a[2] == nil:
			return fmt.Errorf("address without a mailbox %v", a)
		case a[3] == nil && inGroup == (a[2] != nil):
			return fmt.Errorf("group out of order %v", l)
		case a[3] == nil:
			inGroup = !inGroup
		}
	}
	if inGroup {
		return fmt.Errorf("group without an end")
	}
	return nil
}

// checkBody tells what of v is no body, extended or not, of the part.
func checkBody(v any, part *Part, extended bool) error {
	l, ok := v.(list)
	if !ok || len(l) < 2 {
		return fmt.Errorf("body %v", v)
	}
	if _, multipart := l[0].(list); multipart != part.IsMultipart() {
		return fmt.Errorf("body %v of a part %s/%s", v, part.Type, part.Subtype)
	}
	if part.IsMultipart() {
		for _, child := range part.Children {
			if err := checkBody(l[0], child, extended); err != nil {
				return err
			}
			l = l[1:]
		}
		if _, ok := l[0].(text); !ok {
			return fmt.Errorf("subtype %v", l[0])
		}
		if !extended {
			return tail(l[1:])
		}
		if !isParameters(l[1]) {
			return fmt.Errorf("parameters %v", l[1])
		}
		return checkExtension(l[2:])
	}
	if len(l) < 7 {
		return fmt.Errorf("body of %d members", len(l))
	}
	_, ok0 := l[0].(text)
	_, ok1 := l[1].(text)
	_, ok5 := l[5].(text)
	octets, ok6 := l[6].(integer)
	if !ok0 || !ok1 || !isParameters(l[2]) || !isNString(l[3]) || !isNString(l[4]) || !ok5 || !ok6 {
		return fmt.Errorf("body %v", l)
	}
	if int64(octets) != part.End-part.BodyStart {
		return fmt.Errorf("%d octets, want %d", octets, part.End-part.BodyStart)
	}
	l = l[7:]
	if part.IsMessage() {
		if err := checkEnvelope(l[0]); err != nil {
			return err
		}
		if err := checkBody(l[1], part.Children[0], extended); err != nil {
			return err
		}
		l = l[2:]
	}
	if part.IsMessage() || part.Type == "text" {
		if lines, ok := l[0].(integer); !ok || int64(lines) != part.Lines {
			return fmt.Errorf("%v lines, want %d", l[0], part.Lines)
		}
		l = l[1:]
	}
	if !extended {
		return tail(l)
	}
	if !isNString(l[0]) {
		return fmt.Errorf("checksum %v", l[0])
	}
	return checkExtension(l[1:])
}

func checkExtension(l list) error {
	if len(l) != 3 || !isNString(l[2]) {
		return fmt.Errorf("extension data %v", l)
	}
	if l[0] != nil {
		d, ok := l[0].(list)
		if !ok || len(d) != 2 || d[0] == nil || !isNString(d[0]) || !isParameters(d[1]) {
			return fmt.Errorf("disposition %v", l[0])
		}
	}
	languages, ok := l[1].(list)
	for _, tag := range languages {
		if _, isText := tag.(text); !isText {
			ok = false
		}
	}
	if l[1] != nil && !ok {
		return fmt.Errorf("language %v", l[1])
	}
	return nil
}

func tail(l list) error {
	if len(l) > 0 {
		return fmt.Errorf("left over: %v", l)
	}
	return nil
}

func isNString(v any) bool {
	_, ok := v.(text)
	return ok || v == nil
}

func isParameters(v any) bool {
	if v == nil {
		return true
	}
	l, ok := v.(list)
	if !ok || len(l) == 0 || len(l)%2 != 0 {
		return false
	}
	for _, s := range l {
		if _, ok := s.(text); !ok {
			return false
		}
	}
	return true
}

// checkPart tells what is wrong with the offsets of a part and those below it: every one
// lies inside its parent's body, behind its elder brother.
func checkPart(p *Part, octets []byte, from, to int64, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("depth %d", depth)
	}
	if p.HeaderStart < from || p.BodyStart < p.HeaderStart || p.End < p.BodyStart || to < p.End {
		return fmt.Errorf("part [%d,%d,%d) not within [%d,%d)", p.HeaderStart, p.BodyStart, p.End, from, to)
	}
	if lines := bytes.Count(octets[p.BodyStart:p.End], []byte("\n")); int64(lines) != p.Lines {
		return fmt.Errorf("part [%d,%d,%d): %d lines, counted %d", p.HeaderStart, p.BodyStart, p.End, p.Lines, lines)
	}
	if p.IsMultipart() != (len(p.Children) > 0) && !p.IsMessage() {
		return fmt.Errorf("%s/%s of %d parts", p.Type, p.Subtype, len(p.Children))
	}
	from = p.BodyStart
	for _, child := range p.Children {
		if err := checkPart(child, octets, from, p.End, depth+1); err != nil {
			return err
		}
		from = child.End
	}
	return nil
}

// checkMeta tells what is wrong with the description of a message.
func checkMeta(m *Meta, octets []byte) error {
	root := m.Root()
	if root.HeaderStart != 0 || root.End != int64(len(octets)) || m.Size != int64(len(octets)) {
		return fmt.Errorf("message [%d,%d) of %d octets", root.HeaderStart, root.End, len(octets))
	}
	if err := checkPart(root, octets, 0, root.End, 1); err != nil {
		return err
	}
	envelope, err := readWire(m.Envelope)
	if err == nil {
		err = checkEnvelope(envelope)
	}
	if err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	for _, form := range []struct {
		wire     []byte
		extended bool
	}{{m.Body, false}, {m.BodyStructure, true}} {
		body, err := readWire(form.wire)
		if err == nil {
			err = checkBody(body, root, form.extended)
		}
		if err != nil {
			return fmt.Errorf("body structure: %w", err)
		}
	}
	return nil
}
