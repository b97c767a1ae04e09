package message

import (
	"bytes"
	"iter"
)

// content is what a part's header says of its body, as written: nil where the
// field is absent. Of fields that stand twice the first counts.
type content struct {
	mediaType, encoding, id, description, md5 []byte
	disposition, language, location           []byte

	parameters []byte // of mediaType, from the first ";" on; defaultText stands for those of the default type
	boundary   []byte
}

// envelope is what the header of a message says for ENVELOPE and for threads.
type envelope struct {
	date, subject, messageID, inReplyTo, references []byte
	from, sender, replyTo, to, cc, bcc              addressFields
}

// addressFields are the values of an address field, which obsolete syntax allows
// to stand more than once (RFC 5322 section 4.5.3).
type addressFields [][]byte

// defaultText are the parameters of RFC 2045 section 5.2's default type.
const defaultText = ";charset=us-ascii"

// set takes a field that describes the body.
func (c *content) set(f field) bool {
	if len(f.name) < len("content-id") || lowerByte(f.name[0]) != 'c' {
		return false
	}
	var buf [32]byte
	switch string(lowered(&buf, f.name)) {
	case "content-type":
		setOnce(&c.mediaType, f.value)
	case "content-transfer-encoding":
		setOnce(&c.encoding, f.value)
	case "content-id":
		setOnce(&c.id, f.value)
	case "content-description":
		setOnce(&c.description, f.value)
	case "content-md5":
		setOnce(&c.md5, f.value)
	case "content-disposition":
		setOnce(&c.disposition, f.value)
	case "content-language":
		setOnce(&c.language, f.value)
	case "content-location":
		setOnce(&c.location, f.value)
	default:
		return false
	}
	return true
}

// set takes a field of a message's header.
func (e *envelope) set(f field) {
	if len(f.name) > len("in-reply-to") {
		return
	}
	var buf [32]byte
	switch string(lowered(&buf, f.name)) {
	case "date":
		setOnce(&e.date, f.value)
	case "subject":
		setOnce(&e.subject, f.value)
	case "message-id":
		setOnce(&e.messageID, f.value)
	case "in-reply-to":
		setOnce(&e.inReplyTo, f.value)
	case "references":
		setOnce(&e.references, f.value)
	case "from":
		e.from = append(e.from, f.value)
	case "sender":
		e.sender = append(e.sender, f.value)
	case "reply-to":
		e.replyTo = append(e.replyTo, f.value)
	case "to":
		e.to = append(e.to, f.value)
	case "cc":
		e.cc = append(e.cc, f.value)
	case "bcc":
		e.bcc = append(e.bcc, f.value)
	}
}

func setOnce(to *[]byte, value []byte) {
	if *to == nil {
		*to = value
	}
}

// describe fills in the part's type from its fields.
func (c *content) describe(part *Part, digest bool) {
	part.Encoding = "7bit"
	if e := token(skipBlanks(c.encoding)); len(e) > 0 {
		part.Encoding = lower(e)
	}
	switch kind, subtype, rest := splitMediaType(c.mediaType); {
	case kind != nil:
		part.Type, part.Subtype, c.parameters = lower(kind), lower(subtype), rest
	case digest && c.mediaType == nil:
		part.Type, part.Subtype = "message", "rfc822"
	default: // RFC 2045 section 5.2, for absent and for malformed fields
		part.Type, part.Subtype, c.parameters = "text", "plain", []byte(defaultText)
	}
	for name, value := range parameters(c.parameters) {
		switch {
		case c.boundary == nil && isWord(name, "boundary"):
			c.boundary = value
		case part.Charset == "" && isWord(name, "charset"):
			part.Charset = intern(value)
		}
	}
	if part.IsMultipart() || isMessageType(part) {
		part.Encoding = compositeEncoding(part.Encoding)
	}
}

// makeLeaf describes a composite part that is not looked into as octets: its true
// type would ask for parts in BODYSTRUCTURE.
func (c *content) makeLeaf(part *Part) {
	if part.IsMultipart() || isMessageType(part) {
		part.Type, part.Subtype, part.Charset, c.parameters = "application", "octet-stream", "", nil
	}
}

// isMessageType tells an embedded message (RFC 2046 section 5.2.1, RFC 6532 section
// 3.7) from the other message types, whose bodies are no messages.
func isMessageType(part *Part) bool {
	return part.Type == "message" && (part.Subtype == "rfc822" || part.Subtype == "global")
}

// compositeEncoding keeps the encodings RFC 2045 section 6.4 allows for multiparts
// and messages; another cannot be true of a part that was read without decoding it.
func compositeEncoding(encoding string) string {
	switch encoding {
	case "8bit", "binary":
		return encoding
	}
	return "7bit"
}

// splitMediaType reads a Content-Type (RFC 2045 section 5.1). rest begins at the first
// parameter. A nil kind: absent or malformed.
func splitMediaType(b []byte) (kind, subtype, rest []byte) {
	b = skipBlanks(b)
	kind = token(b)
	b = skipBlanks(b[len(kind):])
	if len(kind) == 0 || len(b) == 0 || b[0] != '/' {
		return nil, nil, nil
	}
	b = skipBlanks(b[1:])
	subtype = token(b)
	if len(subtype) == 0 {
		return nil, nil, nil
	}
	return kind, subtype, b[len(subtype):]
}

// parameters walks "; name=value" pairs (RFC 2045 section 5.1), values without their
// quotes and folding. Values that lack quotes may hold blanks and specials: they
// reach to the next semicolon or comment.
func parameters(b []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for {
			i := bytes.IndexByte(b, ';')
			if i < 0 {
				return
			}
			b = skipBlanks(b[i+1:])
			name := token(b)
			after := skipBlanks(b[len(name):])
			if len(name) == 0 || len(after) == 0 || after[0] != '=' {
				b = after // never back: an unclosed comment would be read again for each name
				continue
			}
			b = skipBlanks(after[1:])
			var value []byte
			if len(b) > 0 && b[0] == '"' {
				value, b = quoted(b)
			} else {
				value, b = bare(b)
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// bare splits an unquoted parameter value from what follows.
func bare(b []byte) (value, rest []byte) {
	end := bytes.IndexByte(b, ';')
	if end < 0 {
		end = len(b)
	}
	value = b[:end]
	for i := 1; i < len(value); i++ {
		if value[i] == '(' && isSpace(value[i-1]) {
			value = value[:i]
			break
		}
	}
	return unfold(value), b[end:]
}

// quoted splits the content of the quoted string (RFC 5322 section 3.2.4) that b begins
// with from what follows. An unclosed one reaches to the end.
func quoted(b []byte) (content, rest []byte) {
	return delimited(b, '"', '"')
}

// delimited reads text between two octets, the first of which begins b. It takes
// away backslashes and line breaks, and counts nesting where the two differ.
func delimited(b []byte, opening, closing byte) (content, rest []byte) {
	depth, plain := 1, true
	end := 1
	for ; end < len(b); end++ {
		switch c := b[end]; {
		case c == '\\' && end+1 < len(b):
			plain = false
			end++
		case c == closing:
			depth--
		case c == opening:
			depth++
		case c == '\r' || c == '\n':
			plain = false
		}
		if depth == 0 {
			break
		}
	}
	content, rest = b[1:min(end, len(b))], b[min(end+1, len(b)):]
	if plain {
		return content, rest
	}
	clean := make([]byte, 0, len(content))
	for i := 0; i < len(content); i++ {
		switch c := content[i]; {
		case c == '\r' || c == '\n':
		case c == '\\' && i+1 < len(content):
			i++
			clean = append(clean, content[i])
		default:
			clean = append(clean, c)
		}
	}
	return clean, rest
}

// skipBlanks skips blanks, line breaks and comments.
func skipBlanks(b []byte) []byte {
	for len(b) > 0 {
		switch {
		case isSpace(b[0]):
			b = b[1:]
		case b[0] == '(':
			_, b = delimited(b, '(', ')')
		default:
			return b
		}
	}
	return b
}

// token is the longest token (RFC 2045 section 5.1) that b begins with.
func token(b []byte) []byte {
	for i, c := range b {
		if c <= ' ' || c >= 0x7f || bytes.IndexByte([]byte(`()<>@,;:\"/[]?=`), c) >= 0 {
			return b[:i]
		}
	}
	return b
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
