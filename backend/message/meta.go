package message

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrMeta is a marshalled Meta that cannot be read: damaged, or of another version.
// The message can always be described anew.
var ErrMeta = errors.New("unreadable message metadata")

// The kept form of a Meta, little-endian:
//
//	octet  0      version, 1
//	octet  1      flags: 1 Header is kept, 2 Sent is known
//	octets 2-3    number of References
//	octets 4-11   Size
//	octets 12-19  Sent, seconds since 1970
//	octets 20-23  SentZone
//	octets 24-55  eight lengths of four octets: Envelope, Body, BodyStructure, Header,
//	              the tree of parts, MessageID, BaseSubject, Preview
//	then          one length of four octets for each of References
//	then          all of these, in the same order
//
// The tree is its parts, parents before children. A part is, as unsigned varints:
// HeaderStart, the lengths of header and body, Lines, the number of children; then
// Type, Subtype, Charset and Encoding, each a varint length and its octets.
const (
	metaVersion = 1
	metaFixed   = 56

	metaHasHeader = 1
	metaHasSent   = 2
)

// Marshal gives the kept form: without Header when it would be longer than limit
// octets otherwise, nil when it is longer even so.
func (m *Meta) Marshal(limit int) []byte {
	tree := m.tree
	if m.root != nil {
		tree = appendPart(make([]byte, 0, 64), m.root)
	}
	size := metaFixed + len(m.Envelope) + len(m.Body) + len(m.BodyStructure) + len(tree) +
		len(m.MessageID) + len(m.BaseSubject) + len(m.Preview)
	for _, r := range m.References {
		size += 4 + len(r)
	}
	header := m.Header
	if size+len(header) > limit {
		header = nil
	}
	if size > limit {
		return nil
	}
	b := make([]byte, metaFixed, size+len(header))
	b[0] = metaVersion
	if header != nil {
		b[1] |= metaHasHeader
	}
	le := binary.LittleEndian
	le.PutUint16(b[2:], uint16(len(m.References)))
	le.PutUint64(b[4:], uint64(m.Size))
	if !m.Sent.IsZero() {
		b[1] |= metaHasSent
		le.PutUint64(b[12:], uint64(m.Sent.Unix()))
		le.PutUint32(b[20:], uint32(int32(m.SentZone)))
	}
	octets := [][]byte{m.Envelope, m.Body, m.BodyStructure, header, tree}
	texts := []string{m.MessageID, m.BaseSubject, m.Preview}
	for i, o := range octets {
		le.PutUint32(b[24+4*i:], uint32(len(o)))
	}
	for i, t := range texts {
		le.PutUint32(b[44+4*i:], uint32(len(t)))
	}
	for _, r := range m.References {
		b = le.AppendUint32(b, uint32(len(r)))
	}
	for _, o := range octets {
		b = append(b, o...)
	}
	for _, t := range append(texts, m.References...) {
		b = append(b, t...)
	}
	return b
}

// UnmarshalMeta reads what Marshal made. The wire forms and Header alias b; Root is
// decoded when it is asked for. The only error is ErrMeta.
func UnmarshalMeta(b []byte) (*Meta, error) {
	if len(b) < metaFixed || b[0] != metaVersion {
		return nil, ErrMeta
	}
	le := binary.LittleEndian
	count := int(le.Uint16(b[2:]))
	rest := b[metaFixed:]
	if count > MaxReferences || len(rest) < 4*count {
		return nil, ErrMeta
	}
	lengths, rest := rest[:4*count], rest[4*count:]
	m := &Meta{Size: int64(le.Uint64(b[4:]))}
	for i, field := range [...]*[]byte{&m.Envelope, &m.Body, &m.BodyStructure, &m.Header, &m.tree} {
		n := int(le.Uint32(b[24+4*i:]))
		if n > len(rest) {
			return nil, ErrMeta
		}
		*field, rest = rest[:n:n], rest[n:]
	}
	if b[1]&metaHasHeader == 0 {
		m.Header = nil
	}
	if b[1]&metaHasSent != 0 {
		m.Sent = time.Unix(int64(le.Uint64(b[12:])), 0).UTC()
		m.SentZone = int(int32(le.Uint32(b[20:])))
	}
	if !m.unmarshalTexts(string(rest), b[44:metaFixed], lengths) {
		return nil, ErrMeta
	}
	return m, nil
}

// unmarshalTexts cuts the texts out of one string.
func (m *Meta) unmarshalTexts(s string, fixed, references []byte) bool {
	for i, field := range [...]*string{&m.MessageID, &m.BaseSubject, &m.Preview} {
		n := int(binary.LittleEndian.Uint32(fixed[4*i:]))
		if n > len(s) {
			return false
		}
		*field, s = s[:n], s[n:]
	}
	if len(references) > 0 {
		m.References = make([]string, len(references)/4)
	}
	for i := range m.References {
		n := int(binary.LittleEndian.Uint32(references[4*i:]))
		if n > len(s) {
			return false
		}
		m.References[i], s = s[:n], s[n:]
	}
	return s == ""
}

// appendPart appends a part and those below it.
func appendPart(dst []byte, p *Part) []byte {
	for _, n := range [...]int64{p.HeaderStart, p.BodyStart - p.HeaderStart, p.End - p.BodyStart, p.Lines, int64(len(p.Children))} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	for _, s := range [...]string{p.Type, p.Subtype, p.Charset, p.Encoding} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	for _, child := range p.Children {
		dst = appendPart(dst, child)
	}
	return dst
}

// unmarshalPart reads a tree of parts, nil when it is damaged.
func unmarshalPart(b []byte) *Part {
	d := partDecoder{b: b}
	root := d.part(1)
	if d.bad || len(d.b) > 0 {
		return nil
	}
	return root
}

type partDecoder struct {
	b   []byte
	bad bool
}

func (d *partDecoder) number() int64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 || n > 1<<62 {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return int64(n)
}

func (d *partDecoder) text() string {
	n := d.number()
	if n > int64(len(d.b)) {
		d.bad = true
		return ""
	}
	s := intern(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *partDecoder) part(depth int) *Part {
	p := &Part{HeaderStart: d.number()}
	p.BodyStart = p.HeaderStart + d.number()
	p.End = p.BodyStart + d.number()
	p.Lines = d.number()
	children := d.number()
	p.Type, p.Subtype, p.Charset, p.Encoding = d.text(), d.text(), d.text(), d.text()
	if depth > MaxDepth+1 || children > int64(len(d.b)) {
		d.bad = true
	}
	for ; children > 0 && !d.bad; children-- {
		p.Children = append(p.Children, d.part(depth+1))
	}
	return p
}
