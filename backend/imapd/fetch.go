package imapd

import (
	"context"
	"errors"
	"slices"

	"telesphore/backend/imapd/wire"
	"telesphore/backend/message"
	"telesphore/storage"
)

// fetchKind is one data item of FETCH (RFC 9051 section 6.4.5).
type fetchKind uint8

const (
	fetchFlags fetchKind = iota
	fetchUID
	fetchModSeq // RFC 7162
	fetchInternalDate
	fetchSize
	fetchSaveDate // RFC 8514
	fetchEmailID  // RFC 8474
	fetchThreadID
	fetchEnvelope
	fetchBody
	fetchBodyStructure
	fetchSection // BODY[...] and the RFC822 items that are other names of it
	fetchBinary
	fetchBinarySize
)

// fetchItem is one item a client asks for.
type fetchItem struct {
	kind fetchKind
	name string // as the response says it, without the partial's origin

	// Of sections:
	path    []int
	spec    message.Specifier
	fields  []string // HEADER.FIELDS when not nil
	not     bool     // HEADER.FIELDS.NOT
	partial bool
	offset  uint64
	length  uint64 // when partial
}

// fetchCommand is a FETCH or UID FETCH.
type fetchCommand struct {
	set   wire.Set
	saved bool // "$" instead of set
	uid   bool
	items []fetchItem
	seen  bool // an item sets \Seen

	changed bool // CHANGEDSINCE
	since   storage.ModSeq
}

// fetchChunk is how many messages one View reads; fetchGroup how many of those
// are answered from their metadata, or marked \Seen, at a time.
const (
	fetchChunk = 1000
	fetchGroup = 64
	flushAt    = 64 << 10 // octets of replies
)

// has says whether an item of one of the kinds is asked for.
func (c *fetchCommand) has(kinds ...fetchKind) bool {
	return slices.ContainsFunc(c.items, func(it fetchItem) bool { return slices.Contains(kinds, it.kind) })
}

// add appends items that are not there yet.
func (c *fetchCommand) add(kinds ...fetchKind) {
	for _, k := range kinds {
		if !c.has(k) {
			c.items = append(c.items, fetchItem{kind: k})
		}
	}
}

// condStore says whether the command turns CONDSTORE on (RFC 7162 section 3.1).
func (c *fetchCommand) condStore() bool { return c.has(fetchModSeq) }

// fetchRow is one message while it is answered.
type fetchRow struct {
	storage.Placement
	index  int // in the view
	thread storage.ObjectID
	marked bool // this command gave it \Seen
}

// fetchRun is a fetchCommand at work.
type fetchRun struct {
	*fetchCommand
	*selection
	ctx      context.Context
	keywords []string
	rows     []fetchRow
	gone     int   // messages of the view that are there no more
	failed   error // of the first message that could not be read
	flushes  int   // of replies
}

// run answers the command: everything but the tagged line.
func (c *fetchCommand) run(ctx context.Context, s *selection) error {
	ranges, err := s.resolveOrSaved(c.set, c.saved, c.uid)
	if err != nil {
		return err
	}
	size := fetchChunk
	if c.seen && !s.ReadOnly || c.needsMessage() {
		size = fetchGroup
	}
	r := &fetchRun{fetchCommand: c, selection: s, ctx: ctx}
	for chunk := range batches(ranges, size) {
		if err := r.chunk(chunk); err != nil {
			return err
		}
	}
	if r.failed == nil && r.gone > 0 {
		return errExpungeIssued
	}
	return r.failed
}

// chunk answers the messages of ranges.
func (r *fetchRun) chunk(ranges []viewRange) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if err := r.load(ranges); err != nil {
		return err
	}
	if r.seen && !r.ReadOnly {
		if err := r.markSeen(); err != nil {
			return err
		}
	}
	switch {
	case r.needsMessage():
		return r.writeFromMessages()
	case r.has(fetchEnvelope, fetchBody, fetchBodyStructure, fetchSection):
		return r.writeFromMetas()
	}
	for i := range r.rows {
		if err := r.write(&r.rows[i], nil); err != nil {
			return err
		}
	}
	return r.flushFull()
}

// load reads the placements of ranges, those that CHANGEDSINCE leaves.
func (r *fetchRun) load(ranges []viewRange) error {
	return r.Store.View(r.ctx, func(t *storage.Tx) error {
		r.rows = r.rows[:0]
		if err := r.loadKeywords(t); err != nil {
			return err
		}
		gone, err := r.placements(t, ranges, func(index int, p *storage.Placement) {
			if !r.changed || p.ModSeq > r.since {
				r.rows = append(r.rows, fetchRow{Placement: *p, index: index})
			}
		})
		r.gone += gone
		if err == nil && r.has(fetchThreadID) {
			err = r.loadThreads(t)
		}
		return err
	})
}

// loadKeywords learns the keywords' names before one of them is sent.
func (r *fetchRun) loadKeywords(t *storage.Tx) error {
	if !r.has(fetchFlags) && !r.seen {
		return nil
	}
	box, err := t.Mailbox(r.Account, r.Mailbox)
	if err != nil {
		return err
	}
	r.keywords = box.Keywords
	if r.Known != nil {
		r.Known(r.keywords)
	}
	return nil
}

func (r *fetchRun) loadThreads(t *storage.Tx) error {
	for i := range r.rows {
		o, err := t.Object(r.Account, r.rows[i].Object)
		if err != nil && !errors.Is(err, storage.ErrNoMessage) {
			return err
		}
		if err == nil {
			r.rows[i].thread = o.Thread
		}
	}
	return nil
}

// markSeen gives \Seen to the messages that have it not, and reads what they
// are then (RFC 9051 section 6.4.5: the flag changes are told with the response).
func (r *fetchRun) markSeen() error {
	var set storage.UIDSet
	for i := range r.rows {
		if p := &r.rows[i]; p.Flags&storage.Seen == 0 {
			set = append(set, storage.UIDRange{Lo: p.UID, Hi: p.UID})
		}
	}
	if len(set) == 0 {
		return nil
	}
	return r.Store.Update(r.ctx, func(t *storage.Tx) error {
		change := storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Seen}
		if _, err := t.StoreFlags(r.Account, r.Mailbox, set, change); err != nil {
			return err
		}
		i := 0
		return t.Placements(r.Account, r.Mailbox, set, func(p *storage.Placement) bool {
			for r.rows[i].UID != p.UID {
				i++
			}
			r.rows[i].Placement, r.rows[i].marked = *p, true
			return true
		})
	})
}

// flushFull sends the replies when enough of them wait, and counts it.
func (r *fetchRun) flushFull() error {
	if len(r.Out.B) >= flushAt {
		r.flushes++
	}
	return r.selection.flushFull()
}
