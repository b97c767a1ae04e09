package message

// Specifier says what of a part a FETCH section asks for.
type Specifier uint8

// The section texts of RFC 9051 section 6.4.5.1. HEADER.FIELDS and HEADER.FIELDS.NOT
// are FilterHeader over the Header range.
const (
	Whole  Specifier = iota // BODY[], or BODY[n]: the body of a part
	Header                  // HEADER: of the message, or n.HEADER: of an embedded message
	MIME                    // n.MIME: the part's own header
	Text                    // TEXT: the body of the message, or n.TEXT: of an embedded message
)

// Find is the part numbered path below the message's top-level part p, nil
// when there is none. An empty path is p.
//
// RFC 9051 section 6.4.5.1: a multipart numbers its children from 1; the parts of an
// embedded message are numbered below the part that holds it; a message that is
// no multipart has one part, 1, which is the message's own body.
func (p *Part) Find(path []int) *Part {
	top := true // p stands for a message, no number has named its body yet
	for _, n := range path {
		if !top && p.IsMessage() {
			p, top = p.Children[0], true
		}
		switch {
		case p.IsMultipart():
			if n < 1 || n > len(p.Children) {
				return nil
			}
			p = p.Children[n-1]
		case !top || n != 1:
			return nil
		}
		top = false
	}
	return p
}

// Range is where a section lies in the message whose top-level part is p: the
// octets [from,to). ok is false when the message has no such section, which FETCH
// answers with NIL.
func (p *Part) Range(path []int, s Specifier) (from, to int64, ok bool) {
	part := p.Find(path)
	if part == nil {
		return 0, 0, false
	}
	if len(path) == 0 {
		switch s {
		case Whole:
			return part.HeaderStart, part.End, true
		case Header:
			return part.HeaderStart, part.BodyStart, true
		case Text:
			return part.BodyStart, part.End, true
		}
		return 0, 0, false
	}
	switch {
	case s == Whole:
		return part.BodyStart, part.End, true
	case s == MIME:
		return part.HeaderStart, part.BodyStart, true
	case !part.IsMessage():
		return 0, 0, false
	}
	return part.Children[0].Range(nil, s)
}

// IsMultipart tells whether the part's children are numbered parts.
func (p *Part) IsMultipart() bool { return p.Type == "multipart" }

// IsMessage tells whether the part's one child is an embedded message.
func (p *Part) IsMessage() bool { return p.Type == "message" && len(p.Children) == 1 }
