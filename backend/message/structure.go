package message

import "bytes"

// none is the level of no boundary: the message ended.
const none = -1

// parser walks a message once from its first octet to its last, parts and
// delimiters as they come.
type parser struct {
	b          []byte
	pos        int
	boundaries [][]byte // of the multiparts the position is in, outermost first
	parts      int
	lines      lineCounter

	// The delimiter line the last part ended at; valid while stopped.
	stopped bool
	level   int  // index in boundaries, none at the end of the message
	closing bool // "--boundary--"
	end     int  // of the part's octets: before the line break that belongs to the delimiter
	after   int  // the line that follows the delimiter

	contents  []content   // of every part, parents before children
	envelopes []*envelope // of every message, in the order they begin
}

// parse reads the part or message that begins at the position, up to the
// delimiter of a multipart around it. Inside a digest, a part without
// Content-Type is a message (RFC 2046 section 5.1.5).
func (p *parser) parse(message, digest bool, depth int) *Part {
	part := &Part{HeaderStart: int64(p.pos)}
	start := p.pos
	p.skipHeader()
	part.BodyStart = int64(p.pos)
	p.contents = append(p.contents, content{})
	c := &p.contents[len(p.contents)-1] // until the next part
	var env *envelope
	if message {
		env = new(envelope)
		p.envelopes = append(p.envelopes, env)
	}
	for f := range fields(p.b[start:p.pos]) {
		if !c.set(f) && env != nil {
			env.set(f)
		}
	}
	p.parts++
	c.describe(part, digest)
	if depth >= MaxDepth || p.parts >= MaxParts {
		c.makeLeaf(part)
	}
	bodyLines := p.lines.at(p.b, p.pos)
	switch {
	case part.IsMultipart():
		p.parseMultipart(part, c.boundary, depth)
	case isMessageType(part):
		part.Children = []*Part{p.parse(true, false, depth+1)}
	default:
		p.skipBody()
	}
	part.End = int64(p.end)
	part.Lines = p.lines.at(p.b, p.end) - bodyLines
	return part
}

// parseMultipart reads the parts of a multipart from its preamble to its epilogue.
func (p *parser) parseMultipart(part *Part, boundary []byte, depth int) {
	level := len(p.boundaries)
	body := p.pos
	if len(boundary) > 0 {
		p.boundaries = append(p.boundaries, boundary)
	}
	p.skipBody()
	digest := part.Subtype == "digest"
	for p.level == level && !p.closing && p.parts < MaxParts {
		p.next()
		part.Children = append(part.Children, p.parse(false, digest, depth+1))
	}
	if p.level == level && !p.closing { // one part too many: nothing delimits any more
		p.boundaries, p.level = nil, none
		p.end, p.after = len(p.b), len(p.b)
	}
	p.boundaries = p.boundaries[:min(level, len(p.boundaries))]
	if p.level == level { // the epilogue belongs to no part
		p.next()
		p.skipBody()
	}
	if len(part.Children) == 0 {
		p.parts++
		text := &Part{HeaderStart: int64(body), BodyStart: int64(body), End: int64(p.end)}
		p.contents = append(p.contents, content{})
		p.contents[len(p.contents)-1].describe(text, false)
		before := p.lines.at(p.b, body)
		text.Lines = p.lines.at(p.b, p.end) - before
		part.Children = []*Part{text}
	}
}

// next goes on after the delimiter.
func (p *parser) next() {
	p.pos, p.stopped = p.after, false
}

// skipHeader goes to the body: behind the empty line, or to a delimiter
// that comes before one.
func (p *parser) skipHeader() {
	for p.pos < len(p.b) {
		end := lineEnd(p.b, p.pos)
		line := p.b[p.pos:end]
		if p.delimiter(p.pos, p.pos) {
			return
		}
		p.pos = end
		if isEmptyLine(line) {
			return
		}
	}
}

// skipBody goes to the next delimiter, or to the end of the message.
func (p *parser) skipBody() {
	if p.stopped {
		return
	}
	start := p.pos
	if len(p.boundaries) > 0 {
		if p.delimiter(start, start) {
			return
		}
		for at := start; ; {
			i := bytes.Index(p.b[at:], []byte("\n--"))
			if i < 0 {
				break
			}
			at += i + 1
			if p.delimiter(at, start) {
				return
			}
		}
	}
	p.pos, p.end, p.after = len(p.b), len(p.b), len(p.b)
	p.stopped, p.level, p.closing = true, none, false
}

// delimiter stops at the line that begins at pos when it delimits a part whose body
// began at start. The comparison is RFC 2046 section 5.1.1's: the boundary must stand
// at the beginning of the line, what follows does not matter. When several do,
// one being the beginning of another, the longest is meant; of equal ones the
// innermost.
func (p *parser) delimiter(pos, start int) bool {
	if len(p.boundaries) == 0 || !bytes.HasPrefix(p.b[pos:], []byte("--")) {
		return false
	}
	level, length := none, 0
	for i := len(p.boundaries) - 1; i >= 0; i-- {
		if boundary := p.boundaries[i]; len(boundary) > length && bytes.HasPrefix(p.b[pos+2:], boundary) {
			level, length = i, len(boundary)
		}
	}
	if level == none {
		return false
	}
	p.stopped, p.level = true, level
	p.closing = bytes.HasPrefix(p.b[pos+2+length:], []byte("--"))
	p.after = lineEnd(p.b, pos+2+length)
	p.end = max(start, len(trimLineEnd(p.b[:pos])))
	p.pos = pos
	return true
}

// lineCounter counts line ends up to offsets that mostly rise, so that all the
// parts of a message together cost one pass.
type lineCounter struct {
	pos   int
	count int64
}

func (c *lineCounter) at(b []byte, pos int) int64 {
	if pos >= c.pos {
		c.count += int64(bytes.Count(b[c.pos:pos], []byte("\n")))
	} else {
		c.count -= int64(bytes.Count(b[pos:c.pos], []byte("\n")))
	}
	c.pos = pos
	return c.count
}
