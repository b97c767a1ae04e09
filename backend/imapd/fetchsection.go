package imapd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"telesphore/backend/message"
	"telesphore/storage"
)

// fetchSource is what a message's content is read from. Offsets of its methods
// count from the recipient's own prefix, where the client's message begins.
type fetchSource struct {
	meta  *message.Meta
	root  *message.Part // of meta, once asked for
	body  *storage.Body // nil when meta is enough
	whole []byte        // the message, when it had to be read
}

// needsMessage says whether an item is answered from the message's octets.
func (c *fetchCommand) needsMessage() bool {
	return slices.ContainsFunc(c.items, fetchItem.needsMessage)
}

func (it fetchItem) needsMessage() bool {
	switch it.kind {
	case fetchBinary, fetchBinarySize:
		return true
	case fetchSection:
		// Metadata has the header without the recipient's own fields.
		return it.fields == nil || it.not || len(it.path) > 0 || slices.ContainsFunc(it.fields, ownField)
	}
	return false
}

// ownField says whether name may stand in the prefix that differs for each
// recipient of a message: the fields that backend.Router puts there.
func ownField(name string) bool {
	return strings.EqualFold(name, "Return-Path") || strings.EqualFold(name, "Delivered-To")
}

// needsMeta says whether an item needs to know the message's structure.
func (it fetchItem) needsMeta() bool {
	switch it.kind {
	case fetchEnvelope, fetchBody, fetchBodyStructure:
		return true
	case fetchSection:
		return len(it.path) > 0 || it.spec != message.Whole
	case fetchBinary, fetchBinarySize:
		return len(it.path) > 0
	}
	return false
}

// writeFromMetas answers from metadata alone, and reads the few messages whose
// metadata is too large to keep.
func (r *fetchRun) writeFromMetas() error {
	header := r.has(fetchSection)
	for group := range slices.Chunk(r.rows, fetchGroup) {
		var without []int
		err := r.Store.Metas(r.ctx, r.Account, objects(group), func(i int, block []byte) error {
			meta := readMeta(block)
			if meta == nil || header && meta.Header == nil {
				without = append(without, i)
				return nil
			}
			return r.write(&group[i], &fetchSource{meta: meta})
		})
		if err != nil {
			return err
		}
		for _, i := range without {
			if err := r.writeFromMessage(&group[i], nil); err != nil {
				return err
			}
		}
		if err := r.flushFull(); err != nil {
			return err
		}
	}
	return nil
}

// writeFromMessages answers from the octets of each message.
func (r *fetchRun) writeFromMessages() error {
	blocks := make([][]byte, len(r.rows))
	if slices.ContainsFunc(r.items, fetchItem.needsMeta) {
		err := r.Store.Metas(r.ctx, r.Account, objects(r.rows), func(i int, block []byte) error {
			blocks[i] = bytes.Clone(block)
			return nil
		})
		if err != nil {
			return err
		}
	}
	for i := range r.rows {
		if err := r.writeFromMessage(&r.rows[i], blocks[i]); err != nil {
			return err
		}
	}
	return nil
}

// writeFromMessage answers from the octets of a message. One that cannot be
// read does not keep the others from being answered: its error is for the end.
func (r *fetchRun) writeFromMessage(row *fetchRow, block []byte) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if int64(row.Size) > outputBuffer && r.gathers(block) {
		free, err := r.hold(r.ctx, int64(row.Size))
		if err != nil {
			return err
		}
		defer free()
	}
	err := r.openAndWrite(row, block)
	switch {
	case err == nil:
		return r.flushFull()
	case errors.Is(err, storage.ErrNoMessage):
		r.gone++
	case errors.Is(err, errCutShort), r.ctx.Err() != nil:
		return err
	case r.failed == nil:
		r.failed = fmt.Errorf("fetch object %d: %w", row.Object, err)
	}
	return nil
}

// gathers says whether an item is put together in memory rather than streamed.
func (r *fetchRun) gathers(block []byte) bool {
	return slices.ContainsFunc(r.items, func(it fetchItem) bool {
		return it.kind == fetchBinary || it.kind == fetchBinarySize || it.fields != nil || block == nil && it.needsMeta()
	})
}

func (r *fetchRun) openAndWrite(row *fetchRow, block []byte) error {
	src, err := r.open(row, block)
	if err != nil {
		return err
	}
	defer src.body.Close()
	return r.write(row, src)
}

// open opens a message; when the block does not tell its structure, though an
// item needs it, the structure is read anew.
func (r *fetchRun) open(row *fetchRow, block []byte) (*fetchSource, error) {
	body, err := r.Store.Open(r.ctx, r.Account, row.Object)
	if err != nil {
		return nil, err
	}
	src := &fetchSource{body: body, meta: readMeta(block)}
	if src.meta != nil || !slices.ContainsFunc(r.items, fetchItem.needsMeta) {
		return src, nil
	}
	if src.whole, err = readOctets(body, 0, body.Size()); err != nil {
		body.Close()
		return nil, err
	}
	src.meta = message.Describe(src.whole[body.Prefix():])
	return src, nil
}

func objects(rows []fetchRow) []storage.ObjectID {
	ids := make([]storage.ObjectID, len(rows))
	for i := range rows {
		ids[i] = rows[i].Object
	}
	return ids
}

// readMeta is the metadata in block, nil when there is none that can be read.
func readMeta(block []byte) *message.Meta {
	if block == nil {
		return nil
	}
	meta, err := message.UnmarshalMeta(block)
	if err != nil {
		return nil
	}
	return meta
}

// readOctets reads n octets from offset from.
func readOctets(r io.ReaderAt, from, n int64) ([]byte, error) {
	b := make([]byte, n)
	return b, readFullAt(r, b, from)
}

// readFullAt fills b. An end that comes exactly there is none.
func readFullAt(r io.ReaderAt, b []byte, from int64) error {
	n, err := r.ReadAt(b, from)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// part is the message's top-level part.
func (s *fetchSource) part() *message.Part {
	if s.root == nil {
		s.root = s.meta.Root()
	}
	return s.root
}

// section finds where in the recipient's message a section lies.
func (s *fetchSource) section(path []int, spec message.Specifier) (from, to int64, ok bool) {
	if len(path) == 0 && spec == message.Whole {
		return 0, s.body.Size(), true
	}
	if from, to, ok = s.part().Range(path, spec); !ok {
		return 0, 0, false
	}
	prefix := s.body.Prefix()
	if len(path) > 0 || spec != message.Header {
		from += prefix // the header alone begins with the recipient's own fields
	}
	return from, to + prefix, true
}

// header is the header of the message, or of an embedded one.
func (s *fetchSource) header(path []int) (header []byte, ok bool, err error) {
	if s.body == nil {
		return s.meta.Header, true, nil
	}
	from, to, ok := s.section(path, message.Header)
	if !ok {
		return nil, false, nil
	}
	header, err = readOctets(s.body, from, to-from)
	return header, true, err
}

// decoded is a part without its transfer encoding (RFC 3516 section 4.3).
func (s *fetchSource) decoded(path []int) (data []byte, ok bool, err error) {
	from, to, ok := s.section(path, message.Whole)
	if !ok {
		return nil, false, nil
	}
	raw, err := readOctets(s.body, from, to-from)
	if err != nil || len(path) == 0 {
		return raw, err == nil, err
	}
	data, err = message.Decode(s.part().Find(path).Encoding, raw)
	if errors.Is(err, message.ErrEncoding) {
		err = errUnknownCTE
	}
	return data, err == nil, err
}

// stream sends n octets of body, whose literal's header was written, straight
// into the replies, and flushes them as they fill.
func (r *fetchRun) stream(body io.ReaderAt, from, n int64) error {
	for n > 0 {
		if err := r.flushFull(); err != nil {
			return err
		}
		start := len(r.Out.B)
		k := min(n, int64(flushAt-start))
		r.Out.B = slices.Grow(r.Out.B, int(k))[:start+int(k)]
		if err := readFullAt(body, r.Out.B[start:], from); err != nil {
			return err
		}
		from, n = from+k, n-k
	}
	return nil
}

// writeLarge writes data as a literal, or as a literal8 when it holds NUL.
func (r *fetchRun) writeLarge(data []byte) error {
	if bytes.IndexByte(data, 0) >= 0 {
		r.Out.Literal8Header(int64(len(data)))
	} else {
		r.Out.LiteralHeader(int64(len(data)))
	}
	return r.stream(bytes.NewReader(data), 0, int64(len(data)))
}
