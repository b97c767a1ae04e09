package imapd

import (
	"errors"

	"telesphore/backend/imapd/wire"
	"telesphore/backend/message"
	"telesphore/storage"
)

// write puts the FETCH response of one message into Out. src may be nil when no
// item needs it. What an error leaves of the line is taken back, or, when part of it
// was sent, the error is errCutShort.
func (r *fetchRun) write(row *fetchRow, src *fetchSource) error {
	start, flushes := len(r.Out.B), r.flushes
	err := r.writeLine(row, src)
	switch {
	case err == nil:
		if row.marked && r.Told != nil {
			r.Told(&row.Placement)
		}
		return nil
	case flushes != r.flushes:
		return errors.Join(errCutShort, err)
	}
	r.Out.B = r.Out.B[:start]
	return err
}

func (r *fetchRun) writeLine(row *fetchRow, src *fetchSource) error {
	e := r.Out
	e.Raw("* ").Num(uint64(row.index) + 1).Raw(" FETCH (")
	for i := range r.items {
		if i > 0 {
			e.SP()
		}
		it := &r.items[i]
		if it.kind >= fetchEnvelope {
			if err := r.writeContent(it, src); err != nil {
				return err
			}
			continue
		}
		r.writePlacement(it.kind, row)
	}
	if row.marked {
		if !r.has(fetchFlags) {
			e.SP()
			r.writePlacement(fetchFlags, row)
		}
		if r.CondStore && !r.has(fetchModSeq) {
			e.SP()
			r.writePlacement(fetchModSeq, row)
		}
	}
	e.Raw(")\r\n")
	return nil
}

// writePlacement writes an item that a placement answers.
func (r *fetchRun) writePlacement(kind fetchKind, row *fetchRow) {
	e := r.Out
	switch kind {
	case fetchFlags:
		e.Raw("FLAGS ")
		fetchAppendFlags(e, row.Flags, row.Keywords, r.keywords, r.Recent != nil && r.Recent(row.UID))
	case fetchUID:
		e.Raw("UID ").Num(uint64(row.UID))
	case fetchModSeq:
		e.Raw("MODSEQ (").Num(uint64(r.boundModSeq(row.ModSeq))).Byte(')')
	case fetchInternalDate:
		e.Raw("INTERNALDATE ").DateTime(row.InternalDate)
	case fetchSize:
		e.Raw("RFC822.SIZE ").Num(uint64(row.Size))
	case fetchSaveDate:
		e.Raw("SAVEDATE ")
		if row.SaveDate.IsZero() {
			e.Raw("NIL")
		} else {
			e.DateTime(row.SaveDate)
		}
	case fetchEmailID:
		e.Raw("EMAILID (").Raw(storage.EmailID(r.Account, row.Object)).Byte(')')
	case fetchThreadID:
		e.Raw("THREADID ")
		if row.thread == 0 {
			e.Raw("NIL")
		} else {
			e.Byte('(').Raw(storage.ThreadID(r.Account, row.thread)).Byte(')')
		}
	}
}

// boundModSeq is what the client may be told of m.
func (s *selection) boundModSeq(m storage.ModSeq) storage.ModSeq {
	if s.MaxModSeq != 0 {
		return min(m, s.MaxModSeq)
	}
	return m
}

// fetchAppendFlags writes a message's flags in parentheses; names are the
// mailbox's keywords.
func fetchAppendFlags(e *wire.Encoder, f storage.Flags, keywords uint64, names []string, recent bool) {
	e.Byte('(')
	start := len(e.B)
	if f&storage.Seen != 0 {
		e.Raw(`\Seen `)
	}
	if f&storage.Answered != 0 {
		e.Raw(`\Answered `)
	}
	if f&storage.Flagged != 0 {
		e.Raw(`\Flagged `)
	}
	if f&storage.Deleted != 0 {
		e.Raw(`\Deleted `)
	}
	if f&storage.Draft != 0 {
		e.Raw(`\Draft `)
	}
	if recent {
		e.Raw(`\Recent `)
	}
	for i := 0; keywords != 0 && i < len(names); i, keywords = i+1, keywords>>1 {
		if keywords&1 != 0 {
			e.Raw(names[i]).SP()
		}
	}
	if len(e.B) > start {
		e.B = e.B[:len(e.B)-1]
	}
	e.Byte(')')
}

// writeContent writes an item that the message's metadata or octets answer.
func (r *fetchRun) writeContent(it *fetchItem, src *fetchSource) error {
	switch it.kind {
	case fetchEnvelope:
		r.Out.Raw("ENVELOPE ")
		r.Out.B = append(r.Out.B, src.meta.Envelope...)
	case fetchBody:
		r.Out.Raw("BODY ")
		r.Out.B = append(r.Out.B, src.meta.Body...)
	case fetchBodyStructure:
		r.Out.Raw("BODYSTRUCTURE ")
		r.Out.B = append(r.Out.B, src.meta.BodyStructure...)
	case fetchSection:
		return r.writeSection(it, src)
	case fetchBinary, fetchBinarySize:
		return r.writeBinary(it, src)
	}
	return nil
}

// writeName writes the name of a section's response.
func (r *fetchRun) writeName(it *fetchItem) {
	r.Out.Raw(it.name)
	if it.partial {
		r.Out.Byte('<').Num(it.offset).Byte('>')
	}
	r.Out.SP()
}

// cut is the part of size octets that a partial asks for. It adds nothing to
// what the client sent, so that nothing overflows.
func (it *fetchItem) cut(size int64) (from, n int64) {
	if !it.partial {
		return 0, size
	}
	if it.offset >= uint64(size) {
		return 0, 0
	}
	from = int64(it.offset)
	return from, int64(min(it.length, uint64(size-from)))
}

// writeSection answers BODY[...].
func (r *fetchRun) writeSection(it *fetchItem, src *fetchSource) error {
	r.writeName(it)
	if it.fields != nil {
		header, ok, err := src.header(it.path)
		if err != nil {
			return err
		}
		if !ok {
			r.Out.Raw("NIL")
			return nil
		}
		chosen := message.FilterHeader(header, it.fields, it.not)
		from, n := it.cut(int64(len(chosen)))
		r.Out.Literal(chosen[from : from+n])
		return nil
	}
	from, to, ok := src.section(it.path, it.spec)
	if !ok {
		r.Out.Raw("NIL")
		return nil
	}
	skip, n := it.cut(to - from)
	r.Out.LiteralHeader(n)
	return r.stream(src.body, from+skip, n)
}

// writeBinary answers BINARY[...] and BINARY.SIZE[...].
func (r *fetchRun) writeBinary(it *fetchItem, src *fetchSource) error {
	data, ok, err := src.decoded(it.path)
	if err != nil {
		return err
	}
	r.writeName(it)
	switch {
	case it.kind == fetchBinarySize:
		r.Out.Num(uint64(len(data)))
		return nil
	case !ok:
		r.Out.Raw("NIL")
		return nil
	}
	from, n := it.cut(int64(len(data)))
	return r.writeLarge(data[from : from+n])
}
