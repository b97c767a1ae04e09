package message

import (
	"bytes"
	"slices"
)

// Describe reads a message. It never fails: see the package comment. The result
// does not alias octets but for Header.
func Describe(octets []byte) *Meta {
	p := parser{b: octets, boundaries: make([][]byte, 0, 4), contents: make([]content, 0, 4)}
	root := p.parse(true, false, 1)
	e := p.envelopes[0]
	m := &Meta{
		Envelope:      appendEnvelope(make([]byte, 0, 512), e),
		Body:          writeStructure(root, &p, false),
		BodyStructure: writeStructure(root, &p, true),
		Header:        octets[:root.BodyStart:root.BodyStart],
		Size:          int64(len(octets)),
		BaseSubject:   baseSubject(e.subject),
		Preview:       preview(root, octets),
		root:          root,
	}
	m.Sent, m.SentZone = parseDate(e.date)
	if id, _ := messageID(e.messageID); id != nil {
		m.MessageID = string(id)
	}
	m.References = references(e.references, e.inReplyTo)
	return m
}

// Root is the message's top-level part. A Meta that was unmarshalled decodes it at
// each call.
func (m *Meta) Root() *Part {
	if m.root != nil {
		return m.root
	}
	if root := unmarshalPart(m.tree); root != nil {
		return root
	}
	return &Part{End: m.Size, Type: "application", Subtype: "octet-stream", Encoding: "binary"}
}

// messageID is the first Message-ID in b (RFC 5322 section 3.6.4) and what follows it. It
// comes without the quotes and blanks that obsolete syntax allows inside, since
// identifiers compare without them (RFC 5256 section 2).
func messageID(b []byte) (id, rest []byte) {
	for {
		start := bytes.IndexByte(b, '<')
		if start < 0 {
			return nil, nil
		}
		b = b[start:]
		end := bytes.IndexByte(b, '>')
		if end < 0 {
			return nil, nil
		}
		id, rest = b[:end+1], b[end+1:]
		id = id[bytes.LastIndexByte(id, '<'):]
		if bytes.ContainsAny(id, "\" \t\r\n\\") {
			id = slices.DeleteFunc(bytes.Clone(id), func(c byte) bool { return isSpace(c) || c == '"' || c == '\\' })
		}
		if len(id) > len("<>") {
			return id, rest
		}
		b = rest
	}
}

// identifiersRead bounds what is read at the end of a References field, in octets; the
// oldest identifier counts wherever the field was cut.
const identifiersRead = 16 << 10

// references gathers the Message-IDs of fields, each once, the first MaxReferences ones
// and in their place the newest.
func references(values ...[]byte) []string {
	var ids []string
	add := func(id []byte) {
		if slices.Contains(ids, string(id)) {
			return
		}
		if len(ids) == MaxReferences {
			ids = slices.Delete(ids, 1, 2)
		}
		ids = append(ids, string(id))
	}
	for _, v := range values {
		if len(v) > identifiersRead {
			if id, _ := messageID(v[:identifiersRead]); id != nil {
				add(id)
			}
			v = v[len(v)-identifiersRead:]
		}
		for id, rest := messageID(v); id != nil; id, rest = messageID(rest) {
			add(id)
		}
	}
	return ids
}
