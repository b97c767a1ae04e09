package imapd

import (
	"telesphore/backend/imapd/wire"
	"telesphore/backend/message"
	"telesphore/storage"
)

// fetchParse reads the arguments of FETCH or UID FETCH, and the line's end.
func fetchParse(d *wire.Decoder, uid bool) (*fetchCommand, error) {
	c := &fetchCommand{uid: uid}
	d.SP()
	c.set, c.saved = d.SetOrSaved()
	d.SP()
	if d.Peek() == '(' {
		d.List(func() { c.parseItem(d, d.Word()) })
	} else {
		c.parseMacro(d)
	}
	if d.TrySP() {
		d.List(func() { c.parseModifier(d) })
	}
	if uid {
		c.add(fetchUID)
	}
	if c.changed {
		c.add(fetchModSeq)
	}
	return c, d.End()
}

// parseMacro reads what may stand without parentheses: a macro or one item.
func (c *fetchCommand) parseMacro(d *wire.Decoder) {
	switch name := d.Word(); name {
	case "ALL":
		c.add(fetchFlags, fetchInternalDate, fetchSize, fetchEnvelope)
	case "FAST":
		c.add(fetchFlags, fetchInternalDate, fetchSize)
	case "FULL":
		c.add(fetchFlags, fetchInternalDate, fetchSize, fetchEnvelope, fetchBody)
	default:
		c.parseItem(d, name)
	}
}

// parseModifier reads a modifier (RFC 7162 section 3.1.4).
func (c *fetchCommand) parseModifier(d *wire.Decoder) {
	if d.Word() != "CHANGEDSINCE" || c.changed {
		d.Fail("unknown modifier")
	}
	d.SP()
	c.changed, c.since = true, storage.ModSeq(d.ModSeqZero())
}

func (c *fetchCommand) parseItem(d *wire.Decoder, name string) {
	switch name {
	case "FLAGS":
		c.add(fetchFlags)
	case "UID":
		c.add(fetchUID)
	case "MODSEQ":
		c.add(fetchModSeq)
	case "INTERNALDATE":
		c.add(fetchInternalDate)
	case "RFC822.SIZE":
		c.add(fetchSize)
	case "SAVEDATE":
		c.add(fetchSaveDate)
	case "EMAILID":
		c.add(fetchEmailID)
	case "THREADID":
		c.add(fetchThreadID)
	case "ENVELOPE":
		c.add(fetchEnvelope)
	case "BODYSTRUCTURE":
		c.add(fetchBodyStructure)
	case "RFC822", "RFC822.HEADER", "RFC822.TEXT":
		c.addObsolete(name)
	case "BODY":
		if d.Peek() != '[' {
			c.add(fetchBody)
			return
		}
		c.seen = true
		c.parseSection(d)
	case "BODY.PEEK":
		c.parseSection(d)
	case "BINARY":
		c.seen = true
		c.parseBinary(d, fetchBinary)
	case "BINARY.PEEK":
		c.parseBinary(d, fetchBinary)
	case "BINARY.SIZE":
		c.parseBinary(d, fetchBinarySize)
	default:
		d.Fail("unknown item")
	}
}

// addObsolete adds the items of RFC 3501 that are other names of sections.
func (c *fetchCommand) addObsolete(name string) {
	it := fetchItem{kind: fetchSection, name: name}
	switch name {
	case "RFC822":
		c.seen = true
	case "RFC822.HEADER":
		it.spec = message.Header
	case "RFC822.TEXT":
		it.spec, c.seen = message.Text, true
	}
	c.items = append(c.items, it)
}

// parseSection reads "[...]" and a partial, and writes the name of the response.
func (c *fetchCommand) parseSection(d *wire.Decoder) {
	it := fetchItem{kind: fetchSection}
	name := &wire.Encoder{}
	name.Raw("BODY[")
	d.Special('[')
	more := parsePath(d, &it, name)
	if len(it.path) == 0 && d.Peek() != ']' || more {
		it.parseText(d, name)
	}
	d.Special(']')
	it.name = string(name.Byte(']').B)
	it.parsePartial(d)
	c.items = append(c.items, it)
}

// parsePath reads the part numbers of a section. more says that a dot follows
// the last one.
func parsePath(d *wire.Decoder, it *fetchItem, name *wire.Encoder) (more bool) {
	for c := d.Peek(); c >= '0' && c <= '9'; c = d.Peek() {
		n := d.NzNumber()
		it.path = append(it.path, int(n))
		name.Num(uint64(n))
		if more = d.Try('.'); !more {
			break
		}
		name.Byte('.')
	}
	return more
}

// parseText reads what of a part is meant.
func (it *fetchItem) parseText(d *wire.Decoder, name *wire.Encoder) {
	text := d.Word()
	name.Raw(text)
	switch text {
	case "HEADER":
		it.spec = message.Header
	case "TEXT":
		it.spec = message.Text
	case "MIME":
		it.spec = message.MIME
		if len(it.path) == 0 {
			d.Fail("MIME needs a part number")
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		it.spec, it.not = message.Header, text == "HEADER.FIELDS.NOT"
		d.SP()
		d.List(func() { it.fields = append(it.fields, d.AString()) })
		name.Raw(" (")
		for i, f := range it.fields {
			if i > 0 {
				name.SP()
			}
			appendFieldName(name, f)
		}
		name.Byte(')')
	default:
		d.Fail("unknown section")
	}
}

func appendFieldName(e *wire.Encoder, field string) {
	for i := range len(field) {
		if !wire.IsAtomChar(field[i]) {
			e.String(field)
			return
		}
	}
	if field == "" {
		e.Quoted("")
		return
	}
	e.Atom(field)
}

// parseBinary reads the section of a BINARY item (RFC 3516).
func (c *fetchCommand) parseBinary(d *wire.Decoder, kind fetchKind) {
	it := fetchItem{kind: kind}
	name := &wire.Encoder{}
	name.Raw("BINARY[")
	if kind == fetchBinarySize {
		name.B = append(name.B[:0], "BINARY.SIZE["...)
	}
	d.Special('[')
	if parsePath(d, &it, name) {
		d.Fail("part number expected")
	}
	d.Special(']')
	it.name = string(name.Byte(']').B)
	if kind == fetchBinary {
		it.parsePartial(d)
	}
	c.items = append(c.items, it)
}

func (it *fetchItem) parsePartial(d *wire.Decoder) {
	if !d.Try('<') {
		return
	}
	it.partial = true
	it.offset = d.Number64()
	d.Special('.')
	if it.length = d.Number64(); it.length == 0 {
		d.Fail("partial of no octets")
	}
	d.Special('>')
}
