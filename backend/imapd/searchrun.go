package imapd

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"telesphore/backend/imapd/wire"
	"telesphore/backend/message"
	"telesphore/storage"
)

// searchRun is a searchCommand at work.
type searchRun struct {
	*searchCommand
	*selection
	ctx     context.Context
	found   []searchHit     // by index
	pending []searchMessage // of one chunk: those that their placements do not decide
	opened  int             // messages read
	folded  []byte          // reused
	octets  []byte          // reused
	texts   [2][]byte       // reused
}

// searchGroup is how many messages are judged by their metadata at a time.
const searchGroup = 500

// searchHit is a message that was found.
type searchHit struct {
	index  int // in the view
	modSeq storage.ModSeq
}

// run answers the command: everything but the tagged line.
func (c *searchCommand) run(ctx context.Context, s *selection, tag string) error {
	r := &searchRun{searchCommand: c, selection: s, ctx: ctx}
	if err := c.key.place(s); err != nil {
		return err
	}
	if c.options&searchSave != 0 {
		s.Save(nil) // what stays when the search fails
	}
	for chunk := range batches(c.key.narrow([]viewRange{{0, len(s.UIDs)}}), fetchChunk) {
		if err := r.chunk(chunk); err != nil {
			return err
		}
	}
	if c.options&searchSave != 0 {
		s.Save(r.toSave())
	}
	if c.options == searchSave {
		return nil // nothing else was asked for
	}
	return r.answer(tag)
}

// toSave is what SAVE keeps: what the answer tells, or all that was found (RFC
// 9051 section 6.4.4.4, table 1).
func (r *searchRun) toSave() []uint32 {
	hits := r.found
	if n := len(hits); n > 0 && r.options&(searchAll|searchCount) == 0 {
		switch r.options & (searchMin | searchMax) {
		case searchMin:
			hits = hits[:1]
		case searchMax:
			hits = hits[n-1:]
		case searchMin | searchMax:
			hits = []searchHit{hits[0], hits[n-1]}
		}
	}
	uids := make([]uint32, len(hits))
	for i, h := range hits {
		uids[i] = r.UIDs[h.index]
	}
	return slices.Compact(uids)
}

// chunk decides the messages of ranges.
func (r *searchRun) chunk(ranges []viewRange) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	first := len(r.found)
	r.pending = r.pending[:0]
	if err := r.Store.View(r.ctx, func(t *storage.Tx) error { return r.judgePlacements(t, ranges) }); err != nil {
		return err
	}
	for group := range slices.Chunk(r.pending, searchGroup) {
		if err := r.judgeGroup(group); err != nil {
			return err
		}
	}
	slices.SortFunc(r.found[first:], func(a, b searchHit) int { return a.index - b.index })
	return nil
}

// judgePlacements decides what the placements of ranges alone decide.
func (r *searchRun) judgePlacements(t *storage.Tx, ranges []viewRange) error {
	if r.has(searchWord) {
		box, err := t.Mailbox(r.Account, r.Mailbox)
		if err != nil {
			return err
		}
		r.key.bind(box.Keywords)
	}
	threads := r.has(searchThreadID)
	var m searchMessage
	_, err := r.placements(t, ranges, func(index int, p *storage.Placement) {
		m.Placement, m.index, m.recent = *p, index, r.Recent != nil && r.Recent(p.UID)
		if threads {
			r.pending = append(r.pending, m)
		} else {
			r.take(&m)
		}
	})
	if err != nil || !threads {
		return err
	}
	all := r.pending
	r.pending = nil
	for i := range all {
		o, err := t.Object(r.Account, all[i].Object)
		if errors.Is(err, storage.ErrNoMessage) {
			continue
		}
		if err != nil {
			return err
		}
		all[i].thread = o.Thread
		r.take(&all[i])
	}
	return nil
}

// take files a message under what is known of it now.
func (r *searchRun) take(m *searchMessage) {
	switch r.key.judge(r, m) {
	case searchYes:
		r.found = append(r.found, searchHit{m.index, m.ModSeq})
	case searchUnknown:
		r.pending = append(r.pending, *m)
	}
}

// judgeGroup decides messages by their metadata, and reads those that it does
// not decide.
func (r *searchRun) judgeGroup(group []searchMessage) error {
	ids := make([]storage.ObjectID, len(group))
	for i := range group {
		ids[i] = group[i].Object
	}
	open := make([]bool, len(group)) // still undecided
	blocks := make([][]byte, len(group))
	err := r.Store.Metas(r.ctx, r.Account, ids, func(i int, block []byte) error {
		m := &group[i]
		if m.meta = readMeta(block); m.meta != nil {
			m.header = m.meta.Header
		}
		switch r.key.judge(r, m) {
		case searchYes:
			r.found = append(r.found, searchHit{m.index, m.ModSeq})
		case searchUnknown:
			open[i], blocks[i] = true, bytes.Clone(block)
		}
		m.meta, m.header = nil, nil // they lie in block
		return nil
	})
	if err != nil {
		return err
	}
	for i := range group {
		if !open[i] {
			continue
		}
		err := r.judgeOctets(&group[i], blocks[i])
		switch {
		case err == nil, errors.Is(err, storage.ErrNoMessage):
		case errors.Is(err, errTooCostly), errors.Is(err, errBusy), r.ctx.Err() != nil:
			return err
		default: // a damaged message must not make the others unfindable
			r.Log.Error("SEARCH passes over a message", "object", group[i].Object, "err", err)
		}
	}
	return nil
}

// judgeOctets reads a message and decides it.
func (r *searchRun) judgeOctets(m *searchMessage, block []byte) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.opened++; r.opened > r.Limits.Messages {
		return errTooCostly
	}
	body, err := r.Store.Open(r.ctx, r.Account, m.Object)
	if err != nil {
		return err
	}
	defer body.Close()
	free, err := r.hold(r.ctx, body.Size())
	if err != nil {
		return err
	}
	defer free()
	defer r.shrink()
	r.octets = slices.Grow(r.octets[:0], int(body.Size()))[:body.Size()]
	if err := readFullAt(body, r.octets, 0); err != nil {
		return err
	}
	m.whole, m.prefix, m.octets = true, r.octets[:body.Prefix()], r.octets[body.Prefix():]
	if m.meta = readMeta(block); m.meta == nil {
		m.meta = message.Describe(m.octets)
	}
	m.root = m.meta.Root()
	m.header = m.octets[m.root.HeaderStart:m.root.BodyStart]
	if r.key.judge(r, m) == searchYes {
		r.found = append(r.found, searchHit{m.index, m.ModSeq})
	}
	m.octets, m.texts = nil, [2][]byte{}
	return r.ctx.Err() // with it, keys no longer look
}

// shrink gives up the buffers that a large message has left.
func (r *searchRun) shrink() {
	if cap(r.octets) > outputBuffer {
		r.octets, r.folded, r.texts = nil, nil, [2][]byte{}
	}
}

// answer writes SEARCH, or ESEARCH when the client asked for it or speaks IMAP4rev2.
func (r *searchRun) answer(tag string) error {
	e := r.Out
	if !r.extended && !r.Rev2 {
		e.Raw("* SEARCH")
		for _, h := range r.found {
			e.SP().Num(uint64(r.number(h)))
			if err := r.flushFull(); err != nil {
				return err
			}
		}
		r.answerModSeq(" (MODSEQ ", ")")
		e.CRLF()
		return nil
	}
	e.Raw("* ESEARCH (TAG ").Quoted(tag).Byte(')')
	if r.uid {
		e.Raw(" UID")
	}
	if n := len(r.found); n > 0 {
		if r.options&searchMin != 0 {
			e.Raw(" MIN ").Num(uint64(r.number(r.found[0])))
		}
		if r.options&searchMax != 0 {
			e.Raw(" MAX ").Num(uint64(r.number(r.found[n-1])))
		}
	}
	if r.options&searchCount != 0 {
		e.Raw(" COUNT ").Num(uint64(len(r.found)))
	}
	if r.options&searchAll != 0 && len(r.found) > 0 {
		if err := r.answerAll(); err != nil {
			return err
		}
	}
	r.answerModSeq(" MODSEQ ", "")
	e.CRLF()
	return nil
}

// number is what the client calls a message.
func (r *searchRun) number(h searchHit) uint32 {
	if r.uid {
		return r.UIDs[h.index]
	}
	return uint32(h.index) + 1
}

// answerAll writes all that was found as a set, in portions that end where a
// range does.
func (r *searchRun) answerAll() error {
	const portion = 4096
	r.Out.Raw(" ALL ")
	numbers := make([]uint32, 0, min(portion, len(r.found)))
	for i, h := range r.found {
		n := r.number(h)
		if len(numbers) >= portion && n != numbers[len(numbers)-1]+1 {
			r.Out.B = append(wire.AppendNumbers(r.Out.B, numbers), ',')
			numbers = numbers[:0]
			if err := r.flushFull(); err != nil {
				return err
			}
		}
		numbers = append(numbers, n)
		if i == len(r.found)-1 {
			r.Out.B = wire.AppendNumbers(r.Out.B, numbers)
		}
	}
	return nil
}

// answerModSeq writes the highest mod-sequence of what the answer names (RFC
// 7162 sections 3.1.5 and 3.1.10), when the criteria had one.
func (r *searchRun) answerModSeq(before, after string) {
	if !r.has(searchModSeq) || len(r.found) == 0 {
		return
	}
	var highest storage.ModSeq
	if r.options&(searchAll|searchCount) == 0 {
		if r.options&searchMin != 0 {
			highest = r.found[0].modSeq
		}
		if r.options&searchMax != 0 {
			highest = max(highest, r.found[len(r.found)-1].modSeq)
		}
	} else {
		for _, h := range r.found {
			highest = max(highest, h.modSeq)
		}
	}
	r.Out.Raw(before).Num(uint64(r.boundModSeq(highest))).Raw(after)
}
