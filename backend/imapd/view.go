package imapd

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sort"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// view is the selected mailbox as this client knows it: what each sequence
// number means, and how much of the mailbox's history it has been told.
type view struct {
	storage.Topic
	readOnly bool
	inbox    bool // it was INBOX when it was selected

	snap   *snapshot      // snap.uids[n-1] is message n; shared, so replaced whole
	next   uint32         // UIDs from here on have not been told
	cursor storage.ModSeq // everything up to it has been told, and nothing beyond

	keywords []string           // those announced in FLAGS; keywords[i] is bit i
	recent   []storage.UIDRange // what has \Recent here

	saved []uint32 // what "$" stands for, ascending

	// told are changes that a FETCH response of the running command has told.
	told map[uint32]storage.ModSeq
}

// news is what a client has to be told.
type news struct {
	gone     []uint32
	added    []uint32
	flags    []flagNews // by ModSeq
	keywords []string   // all of the mailbox, when there are more than before
	cursor   storage.ModSeq
	held     bool // expunges are left to be told
}

type flagNews struct {
	uid      uint32
	modseq   storage.ModSeq
	flags    storage.Flags
	keywords uint64
}

// gather compares the view with the mailbox. When the client may not be told
// of expunges, it stops before the first one: a ModSeq beyond would make the
// client believe that it has seen the expunge (RFC 7162 section 3.1.4.2 and 6).
// That new messages exist may always be told, for EXISTS carries no ModSeq.
func (v *view) gather(tx *storage.Tx, mayExpunge bool) (*news, error) {
	mb, err := tx.Mailbox(v.Account, v.Mailbox)
	if errors.Is(err, storage.ErrNoMailbox) {
		return nil, errMailboxDeleted
	}
	if err == nil && v.inbox && mb.Name != "INBOX" {
		// RENAME made a new INBOX: who waits for mail must not wait in the old one.
		return nil, errMailboxDeleted
	}
	if err != nil || mb.HighestModSeq <= v.cursor {
		return nil, err
	}
	n := &news{cursor: mb.HighestModSeq}
	if len(mb.Keywords) > len(v.keywords) {
		n.keywords = slices.Clone(mb.Keywords)
	}
	if n.gone, err = v.expunged(tx); err != nil {
		return nil, err
	}
	if len(n.gone) > 0 && !mayExpunge {
		if n.cursor, err = v.beforeExpunge(tx, n.gone); err != nil {
			return nil, err
		}
		n.gone, n.held = nil, true
	}
	err = tx.Changes(v.Account, v.Mailbox, v.cursor, func(p *storage.Placement) bool {
		switch {
		case p.UID >= v.next:
			n.added = append(n.added, p.UID)
		case p.ModSeq <= n.cursor && v.told[p.UID] != p.ModSeq:
			n.flags = append(n.flags, flagNews{p.UID, p.ModSeq, p.Flags, p.Keywords})
		}
		return true
	})
	slices.SortStableFunc(n.flags, func(a, b flagNews) int { return cmp.Compare(a.modseq, b.modseq) })
	return n, err
}

// expunged returns the UIDs the client takes for present that are not.
func (v *view) expunged(tx *storage.Tx) ([]uint32, error) {
	return tx.Expunged(v.Account, v.Mailbox, v.snap.uids, v.cursor)
}

// ceiling returns the largest ModSeq that may be told while expunges are held
// back.
func (v *view) ceiling(tx *storage.Tx) (storage.ModSeq, error) {
	gone, err := v.expunged(tx)
	if err != nil || len(gone) == 0 {
		return math.MaxUint64, err
	}
	return v.beforeExpunge(tx, gone)
}

// beforeExpunge returns the last moment at which none of gone was expunged.
func (v *view) beforeExpunge(tx *storage.Tx, gone []uint32) (storage.ModSeq, error) {
	ranges, complete, err := tx.Vanished(v.Account, v.Mailbox, v.cursor)
	if err != nil || !complete {
		return v.cursor, err
	}
	first := storage.ModSeq(0)
	for _, r := range ranges {
		i, _ := slices.BinarySearch(gone, r.Lo)
		if i < len(gone) && gone[i] <= r.Hi && (first == 0 || r.ModSeq < first) {
			first = r.ModSeq
		}
	}
	if first == 0 {
		return v.cursor, nil
	}
	return max(v.cursor, first-1), nil
}

// apply makes the view what the client will know once the news is written.
func (v *view) apply(n *news, shared *sharedUIDs) {
	v.cursor, v.told = n.cursor, nil
	if n.keywords != nil {
		v.keywords = n.keywords
	}
	if len(n.added) > 0 {
		v.next = n.added[len(n.added)-1] + 1
	}
	if n.held {
		// Not the state of the mailbox at any moment: nobody else can use it.
		v.snap = &snapshot{uids: slices.Concat(v.snap.uids, n.added)}
		return
	}
	if snap := shared.at(v.Topic, n.cursor); snap != nil {
		v.snap = snap
		return
	}
	uids := v.snap.uids
	if len(n.gone)+len(n.added) > 0 {
		uids = without(uids, n.gone, len(n.added))
		uids = append(uids, n.added...)
	}
	v.snap = shared.share(v.Topic, &snapshot{at: n.cursor, uids: uids})
}

// without copies uids except gone, with room for more. Both are ascending.
func without(uids, gone []uint32, more int) []uint32 {
	left := make([]uint32, 0, len(uids)-len(gone)+more)
	for _, uid := range uids {
		if len(gone) > 0 && gone[0] == uid {
			gone = gone[1:]
			continue
		}
		left = append(left, uid)
	}
	return left
}

// noteTold notes that the running command has told a change of a message.
func (v *view) noteTold(uid uint32, at storage.ModSeq) {
	if v.told == nil {
		v.told = make(map[uint32]storage.ModSeq)
	}
	v.told[uid] = at
}

// seq returns the sequence number of a UID, 0 when the client does not know it.
func (v *view) seq(uid uint32) uint32 {
	i, ok := slices.BinarySearch(v.snap.uids, uid)
	if !ok {
		return 0
	}
	return uint32(i + 1)
}

// addRecent notes that the UIDs from first to last have \Recent.
func (v *view) addRecent(first, last uint32) {
	if first > last {
		return
	}
	if n := len(v.recent); n > 0 && v.recent[n-1].Hi+1 >= first {
		v.recent[n-1].Hi = max(v.recent[n-1].Hi, last)
		return
	}
	v.recent = append(v.recent, storage.UIDRange{Lo: first, Hi: last})
}

func (v *view) isRecent(uid uint32) bool {
	i := sort.Search(len(v.recent), func(i int) bool { return v.recent[i].Hi >= uid })
	return i < len(v.recent) && v.recent[i].Lo <= uid
}

// countRecent counts the messages that have \Recent.
func (v *view) countRecent() int {
	n := 0
	for _, r := range v.recent {
		lo, _ := slices.BinarySearch(v.snap.uids, r.Lo)
		hi, found := slices.BinarySearch(v.snap.uids, r.Hi)
		if n += hi - lo; found {
			n++
		}
	}
	return n
}

// resolve turns what a client sent, sequence numbers, UIDs or "$", into UIDs of
// messages. A sequence number that the client cannot know is a syntax error
// (RFC 9051 section 9, seq-number).
func (v *view) resolve(set wire.Set, saved, uid bool) (storage.UIDSet, error) {
	if saved {
		return appendRuns(nil, v.saved), nil
	}
	uids := v.snap.uids
	if uid {
		last := uint32(0)
		if len(uids) > 0 {
			last = uids[len(uids)-1]
		}
		var out storage.UIDSet
		for _, r := range set.Resolve(last) {
			out = append(out, storage.UIDRange{Lo: r.Lo, Hi: r.Hi})
		}
		return out, nil
	}
	resolved := set.Resolve(uint32(len(uids)))
	if len(uids) == 0 || resolved.Max() > uint32(len(uids)) {
		return nil, &wire.SyntaxError{Text: "no message has that sequence number"}
	}
	var out storage.UIDSet
	for _, r := range resolved {
		out = appendRuns(out, uids[r.Lo-1:r.Hi])
	}
	return out, nil
}

// appendRuns appends ascending UIDs to a set.
func appendRuns(set storage.UIDSet, uids []uint32) storage.UIDSet {
	for _, uid := range uids {
		if n := len(set); n > 0 && set[n-1].Hi+1 == uid {
			set[n-1].Hi = uid
			continue
		}
		set = append(set, storage.UIDRange{Lo: uid, Hi: uid})
	}
	return set
}

// numbers writes UIDs as the client named them: UIDs, or sequence numbers.
func (v *view) numbers(uids []uint32, uid bool) []byte {
	if uid {
		return wire.AppendNumbers(nil, uids)
	}
	seqs := make([]uint32, 0, len(uids))
	for _, u := range uids {
		if n := v.seq(u); n != 0 {
			seqs = append(seqs, n)
		}
	}
	return wire.AppendNumbers(nil, seqs)
}
