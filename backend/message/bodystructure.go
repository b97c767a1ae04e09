package message

import (
	"bytes"
	"strconv"
)

// structureWriter writes BODY and BODYSTRUCTURE (RFC 9051 section 7.5.2) from what the
// parser kept of each part.
type structureWriter struct {
	dst       []byte
	contents  []content
	envelopes []*envelope
	extended  bool // BODYSTRUCTURE
}

// writeStructure writes one of the two forms.
func writeStructure(root *Part, p *parser, extended bool) []byte {
	w := structureWriter{
		dst:       make([]byte, 0, 256*len(p.contents)),
		contents:  p.contents,
		envelopes: p.envelopes[1:], // the first one is the message's own
		extended:  extended,
	}
	w.part(root)
	return w.dst
}

// part writes a part, and takes what was kept of it from the front of contents.
func (w *structureWriter) part(part *Part) {
	c := &w.contents[0]
	w.contents = w.contents[1:]
	w.dst = append(w.dst, '(')
	if part.IsMultipart() {
		for _, child := range part.Children {
			w.part(child)
		}
		w.dst = append(w.dst, ' ')
		w.string(part.Subtype)
		if w.extended {
			w.dst = append(w.dst, ' ')
			w.parameters(c.parameters)
			w.extension(c)
		}
	} else {
		w.single(part, c)
	}
	w.dst = append(w.dst, ')')
}

// single writes body-type-1part.
func (w *structureWriter) single(part *Part, c *content) {
	w.string(part.Type)
	w.dst = append(w.dst, ' ')
	w.string(part.Subtype)
	w.dst = append(w.dst, ' ')
	w.parameters(c.parameters)
	w.dst = appendField(append(w.dst, ' '), c.id)
	w.dst = appendField(append(w.dst, ' '), c.description)
	w.dst = append(w.dst, ' ')
	w.string(part.Encoding)
	w.number(part.End - part.BodyStart)
	if part.IsMessage() {
		w.dst = appendEnvelope(append(w.dst, ' '), w.envelopes[0])
		w.envelopes = w.envelopes[1:]
		w.dst = append(w.dst, ' ')
		w.part(part.Children[0])
	}
	if part.IsMessage() || part.Type == "text" {
		w.number(part.Lines)
	}
	if w.extended {
		w.dst = appendField(append(w.dst, ' '), c.md5)
		w.extension(c)
	}
}

// extension writes the disposition, language and location that end both kinds.
func (w *structureWriter) extension(c *content) {
	w.dst = append(w.dst, ' ')
	if kind := token(skipBlanks(c.disposition)); len(kind) > 0 {
		w.dst = appendString(append(w.dst, '('), kind)
		w.dst = append(w.dst, ' ')
		w.parameters(c.disposition)
		w.dst = append(w.dst, ')')
	} else {
		w.dst = append(w.dst, "NIL"...)
	}
	w.language(c.language)
	w.dst = appendField(append(w.dst, ' '), c.location)
}

// language writes the tags of Content-Language (RFC 3282) as a list.
func (w *structureWriter) language(value []byte) {
	w.dst = append(w.dst, ' ')
	start := len(w.dst)
	for len(value) > 0 {
		value = skipBlanks(value)
		tag := token(value)
		if len(tag) > 0 {
			w.dst = appendString(append(w.dst, listSeparator(len(w.dst) == start)), tag)
		}
		if i := bytes.IndexByte(value[len(tag):], ','); i >= 0 {
			value = value[len(tag)+i+1:]
			continue
		}
		break
	}
	if len(w.dst) == start {
		w.dst = append(w.dst, "NIL"...)
		return
	}
	w.dst = append(w.dst, ')')
}

// parameters writes body-fld-param: names and values as written, RFC 2231's
// included, which the client puts together.
func (w *structureWriter) parameters(b []byte) {
	start := len(w.dst)
	for name, value := range parameters(b) {
		w.dst = appendString(append(w.dst, listSeparator(len(w.dst) == start)), name)
		w.dst = appendString(append(w.dst, ' '), value)
	}
	if len(w.dst) == start {
		w.dst = append(w.dst, "NIL"...)
		return
	}
	w.dst = append(w.dst, ')')
}

func (w *structureWriter) string(s string) { w.dst = appendString(w.dst, []byte(s)) }

func (w *structureWriter) number(n int64) {
	w.dst = strconv.AppendInt(append(w.dst, ' '), n, 10)
}

// listSeparator opens a parenthesised list, or goes on with it.
func listSeparator(first bool) byte {
	if first {
		return '('
	}
	return ' '
}
