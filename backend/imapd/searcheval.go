package imapd

import (
	"bytes"
	"slices"
	"sort"
	"strings"

	"telesphore/backend/imapd/wire"
	"telesphore/backend/message"
	"telesphore/storage"
)

// searchVerdict is what a key says of a message as far as the message is known.
type searchVerdict uint8

const (
	searchNo searchVerdict = iota
	searchUnknown
	searchYes
)

func searchDecided(b bool) searchVerdict {
	if b {
		return searchYes
	}
	return searchNo
}

// searchMessage is a message as far as it is known. Its placement always is;
// then comes the metadata, with the header unless that was too long to keep;
// then the octets. Each step is taken only for the messages that the steps before left undecided.
type searchMessage struct {
	storage.Placement
	index  int // in the view
	recent bool
	thread storage.ObjectID // 0 when it was not asked for

	meta   *message.Meta
	prefix []byte    // the recipient's own fields, known with the octets
	header []byte    // without prefix
	whole  bool      // the octets are known
	octets []byte    // without prefix
	texts  [2][]byte // what BODY looks at, and TEXT; folded once for all keys, nil before
	root   *message.Part
}

// judge says whether m is what the key looks for.
func (k *searchKey) judge(r *searchRun, m *searchMessage) searchVerdict {
	switch k.kind {
	case searchAnd:
		v := searchYes
		for _, kid := range k.kids {
			if v = min(v, kid.judge(r, m)); v == searchNo {
				break
			}
		}
		return v
	case searchOr:
		v := searchNo
		for _, kid := range k.kids {
			if v = max(v, kid.judge(r, m)); v == searchYes {
				break
			}
		}
		return v
	case searchNot:
		return searchYes - k.kids[0].judge(r, m)
	case searchSent, searchAddress, searchField, searchBody, searchText:
		return k.judgeContent(r, m)
	}
	return searchDecided(k.judgePlacement(r, m))
}

// judgePlacement decides keys that need no more than the placement.
func (k *searchKey) judgePlacement(r *searchRun, m *searchMessage) bool {
	switch k.kind {
	case searchSet:
		i := sort.Search(len(k.ranges), func(i int) bool { return k.ranges[i].to > m.index })
		return i < len(k.ranges) && k.ranges[i].from <= m.index
	case searchFlag:
		return m.Flags&k.flags != 0
	case searchWord:
		return m.Keywords&k.mask != 0
	case searchFresh:
		return m.recent
	case searchLarger:
		return uint64(m.Size) > k.number
	case searchSmaller:
		return uint64(m.Size) < k.number
	case searchArrived:
		return k.compareDay(dayOf(m.InternalDate))
	case searchSaved:
		return k.compareDay(dayOf(m.SaveDate))
	case searchModSeq:
		return uint64(m.ModSeq) >= k.number
	case searchEmailID:
		return storage.EmailID(r.Account, m.Object) == k.text
	case searchThreadID:
		return m.thread != 0 && storage.ThreadID(r.Account, m.thread) == k.text
	}
	return false
}

func (k *searchKey) compareDay(day int64) bool {
	switch k.when {
	case searchBefore:
		return day < k.day
	case searchOn:
		return day == k.day
	}
	return day >= k.day
}

// judgeContent decides keys that need the metadata or the octets.
func (k *searchKey) judgeContent(r *searchRun, m *searchMessage) searchVerdict {
	if m.meta == nil {
		return searchUnknown
	}
	switch k.kind {
	case searchSent:
		sent := floorDay(m.meta.Sent.Unix() + int64(m.meta.SentZone))
		return searchDecided(!m.meta.Sent.IsZero() && k.compareDay(sent))
	case searchAddress:
		if m.header == nil {
			return searchUnknown
		}
		return searchDecided(r.anyContains(message.Addresses(m.header, k.name), k.text))
	case searchField:
		return k.judgeField(r, m)
	}
	if k.text == "" {
		return searchYes
	}
	if !m.whole {
		return searchUnknown
	}
	return searchDecided(k.judgeOctets(r, m))
}

// judgeField decides HEADER and SUBJECT on decoded fields. An empty text asks
// whether there is such a field.
func (k *searchKey) judgeField(r *searchRun, m *searchMessage) searchVerdict {
	own := ownField(k.name)
	if m.header == nil || own && !m.whole {
		return searchUnknown
	}
	values := message.HeaderValues(m.header, k.name)
	if own {
		values = append(values, message.HeaderValues(m.prefix, k.name)...)
	}
	for i, v := range values {
		values[i] = message.DecodeHeader(v)
	}
	return searchDecided(r.anyContains(values, k.text))
}

func (k *searchKey) judgeOctets(r *searchRun, m *searchMessage) bool {
	if r.ctx.Err() != nil {
		return false
	}
	return bytes.Contains(r.foldedText(m, k.kind == searchText), []byte(k.text))
}

// foldedText is what SEARCH looks at, with NUL, which no key holds, between its
// pieces.
func (r *searchRun) foldedText(m *searchMessage, header bool) []byte {
	i := 0
	if header {
		i = 1
	}
	if m.texts[i] != nil {
		return m.texts[i]
	}
	text := append(r.texts[i][:0], 0)
	for piece := range m.root.Texts(m.octets, header) {
		text, _ = searchFold(text, piece)
		text = append(text, 0)
	}
	if header {
		text, _ = searchFold(text, m.prefix)
	}
	r.texts[i], m.texts[i] = text, text
	return text
}

// anyContains says whether one of values contains the folded text.
func (r *searchRun) anyContains(values []string, folded string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return r.contains([]byte(v), folded) })
}

// contains says whether text, once folded, contains folded.
func (r *searchRun) contains(text []byte, folded string) bool {
	if folded == "" {
		return true
	}
	r.folded, _ = searchFold(r.folded[:0], text)
	return bytes.Contains(r.folded, []byte(folded))
}

// bind gives keys what they need of the mailbox: which bits their keywords are
// now, and which messages their sets name.
func (k *searchKey) bind(keywords []string) {
	if k.kind == searchWord {
		k.mask = 0
		for i, name := range keywords {
			if strings.EqualFold(name, k.text) {
				k.mask |= 1 << i
			}
		}
	}
	for _, kid := range k.kids {
		kid.bind(keywords)
	}
}

// place finds the messages that the sets of keys name. Numbers that the view
// does not hold name none.
func (k *searchKey) place(s *selection) error {
	if k.kind == searchSet {
		set := k.set
		if !k.uid && !k.saved {
			set = clip(set.Resolve(uint32(len(s.UIDs))), uint32(len(s.UIDs)))
		}
		var err error
		if k.ranges, err = s.resolveOrSaved(set, k.saved, k.uid); err != nil {
			return err
		}
	}
	for _, kid := range k.kids {
		if err := kid.place(s); err != nil {
			return err
		}
	}
	return nil
}

// clip leaves of a resolved set what is at most n.
func clip(set wire.Set, n uint32) wire.Set {
	for i, r := range set {
		if r.Lo > n {
			return set[:i]
		}
		set[i].Hi = min(r.Hi, n)
	}
	return set
}

// narrow is the part of the view that can match: what the sets among the keys
// that must all hold leave of it.
func (k *searchKey) narrow(v []viewRange) []viewRange {
	switch k.kind {
	case searchSet:
		return intersect(v, k.ranges)
	case searchAnd:
		for _, kid := range k.kids {
			v = kid.narrow(v)
		}
	}
	return v
}

// intersect is what two sorted lists have in common.
func intersect(a, b []viewRange) []viewRange {
	var out []viewRange
	for len(a) > 0 && len(b) > 0 {
		if from, to := max(a[0].from, b[0].from), min(a[0].to, b[0].to); from < to {
			out = append(out, viewRange{from, to})
		}
		if a[0].to < b[0].to {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}
