package imapd

import (
	"time"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// searchKind is how a search key decides (RFC 9051 section 6.4.4).
type searchKind uint8

const (
	searchAnd searchKind = iota // of kids; ALL is the one without kids
	searchOr
	searchNot

	searchSet   // view indexes in ranges
	searchFlag  // one of flags is set
	searchWord  // keyword text
	searchFresh // \Recent
	searchLarger
	searchSmaller
	searchArrived // INTERNALDATE
	searchSaved   // SAVEDATE
	searchModSeq
	searchEmailID
	searchThreadID

	searchSent    // Date field
	searchAddress // field called name holds an address with text
	searchField   // field called name holds text

	searchBody
	searchText
)

// searchWhen is how a date compares.
type searchWhen uint8

const (
	searchBefore searchWhen = iota
	searchOn
	searchSince
)

// searchKey is a node of the criteria.
type searchKey struct {
	kind   searchKind
	kids   []*searchKey
	set    wire.Set
	uid    bool        // set holds UIDs
	saved  bool        // "$" instead of set
	ranges []viewRange // set in the view
	flags  storage.Flags
	mask   uint64 // bit of keyword text
	when   searchWhen
	day    int64  // days since 1 January 1970
	number uint64 // size or mod-sequence
	name   string
	text   string // folded, except for keywords and ids
}

// searchReturn is a set of result options (RFC 9051 section 6.4.4).
type searchReturn uint8

const (
	searchMin searchReturn = 1 << iota
	searchMax
	searchAll
	searchCount
	searchSave
)

// searchCommand is a SEARCH or UID SEARCH.
type searchCommand struct {
	uid      bool
	extended bool // RETURN was given
	options  searchReturn
	key      *searchKey // what all of the keys say

	kinds  uint32 // those that occur
	limits *SearchLimits
	keys   int // read so far
	depth  int
}

func (c *searchCommand) has(k searchKind) bool { return c.kinds&(1<<k) != 0 }

// condStore says whether the command turns CONDSTORE on (RFC 7162 section 3.1).
func (c *searchCommand) condStore() bool { return c.has(searchModSeq) }

// searchParse reads the arguments of SEARCH or UID SEARCH, and the line's end.
func searchParse(d *wire.Decoder, uid bool, l *SearchLimits) (*searchCommand, error) {
	c := &searchCommand{uid: uid, limits: l, key: &searchKey{}}
	d.SP()
	word := c.firstWord(d)
	if word == "RETURN" {
		d.SP()
		c.parseReturn(d)
		d.SP()
		word = c.firstWord(d)
	}
	if word == "CHARSET" {
		d.SP()
		c.parseCharset(d)
		d.SP()
		word = ""
	}
	c.key.kids = append(c.key.kids, c.parseKey(d, word))
	for d.TrySP() {
		c.key.kids = append(c.key.kids, c.parseKey(d, ""))
	}
	if c.options == 0 {
		c.options = searchAll
	}
	return c, d.End()
}

// firstWord reads the word that is next, "" when it is a list or a set.
func (c *searchCommand) firstWord(d *wire.Decoder) string {
	if p := d.Peek(); p|0x20 >= 'a' && p|0x20 <= 'z' {
		return d.Word()
	}
	return ""
}

func (c *searchCommand) parseReturn(d *wire.Decoder) {
	c.extended = true
	d.ListOrEmpty(func() {
		switch d.Word() {
		case "MIN":
			c.options |= searchMin
		case "MAX":
			c.options |= searchMax
		case "ALL":
			c.options |= searchAll
		case "COUNT":
			c.options |= searchCount
		case "SAVE":
			c.options |= searchSave
		default:
			d.Fail("unknown result option")
		}
	})
}

// parseCharset reads a charset. What it is called changes nothing: text is
// UTF-8, of which US-ASCII is a part.
func (c *searchCommand) parseCharset(d *wire.Decoder) {
	switch name := asciiUpper(d.AString()); {
	case d.Err() != nil:
	case name != "UTF-8" && name != "US-ASCII":
		d.FailErr(errBadCharset)
	}
}

// asciiUpper is strings.ToUpper of ASCII alone: no other letter becomes one of a name.
func asciiUpper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 0x20
		}
	}
	return string(b)
}

// count counts a key against the limits.
func (c *searchCommand) count(d *wire.Decoder) {
	if c.keys++; c.keys > c.limits.Keys || c.depth > c.limits.Depth {
		d.FailErr(errTooCostly)
	}
}

// parseKey reads a key, whose word was read already when it is not "".
func (c *searchCommand) parseKey(d *wire.Decoder, word string) *searchKey {
	c.depth++
	defer func() { c.depth-- }()
	c.count(d)
	k := &searchKey{}
	switch p := d.Peek(); {
	case d.Err() != nil:
		return k
	case word == "" && p == '(':
		d.List(func() { k.kids = append(k.kids, c.parseKey(d, "")) })
	case word == "" && (p == '$' || p == '*' || p >= '0' && p <= '9'):
		k.kind = searchSet
		k.set, k.saved = d.SetOrSaved()
	default:
		if word == "" {
			word = d.Word()
		}
		c.parseNamed(d, k, word)
	}
	c.kinds |= 1 << k.kind
	return k
}

// parseNamed reads the rest of a key that begins with a word.
func (c *searchCommand) parseNamed(d *wire.Decoder, k *searchKey, word string) {
	switch word {
	case "ALL":
	case "NOT":
		d.SP()
		k.kind, k.kids = searchNot, []*searchKey{c.parseKey(d, "")}
	case "OR":
		d.SP()
		a := c.parseKey(d, "")
		d.SP()
		k.kind, k.kids = searchOr, []*searchKey{a, c.parseKey(d, "")}
	case "UID":
		d.SP()
		k.kind, k.uid = searchSet, true
		k.set, k.saved = d.SetOrSaved()
	case "LARGER", "SMALLER":
		d.SP()
		k.kind, k.number = searchLarger, d.Number64()
		if word == "SMALLER" {
			k.kind = searchSmaller
		}
	case "MODSEQ":
		d.SP()
		k.kind, k.number = searchModSeq, parseSearchModSeq(d)
	case "EMAILID", "THREADID":
		d.SP()
		k.kind, k.text = searchEmailID, d.AString()
		if word == "THREADID" {
			k.kind = searchThreadID
		}
	default:
		if !c.parseFlag(d, k, word) && !parseSearchDate(d, k, word) && !parseSearchText(d, k, word) {
			d.Fail("unknown search key")
		}
	}
}

// parseFlag reads keys about flags. The negative ones become NOT.
func (c *searchCommand) parseFlag(d *wire.Decoder, k *searchKey, word string) bool {
	switch word {
	case "ANSWERED":
		k.kind, k.flags = searchFlag, storage.Answered
	case "DELETED":
		k.kind, k.flags = searchFlag, storage.Deleted
	case "DRAFT":
		k.kind, k.flags = searchFlag, storage.Draft
	case "FLAGGED":
		k.kind, k.flags = searchFlag, storage.Flagged
	case "SEEN":
		k.kind, k.flags = searchFlag, storage.Seen
	case "RECENT":
		k.kind = searchFresh
	case "KEYWORD":
		d.SP()
		k.kind, k.text = searchWord, d.Atom()
	case "OLD":
		k.kind, k.kids = searchNot, []*searchKey{{kind: searchFresh}}
	case "NEW": // RECENT UNSEEN
		unseen := &searchKey{kind: searchNot, kids: []*searchKey{{kind: searchFlag, flags: storage.Seen}}}
		k.kids = []*searchKey{{kind: searchFresh}, unseen}
	case "UNANSWERED", "UNDELETED", "UNDRAFT", "UNFLAGGED", "UNSEEN", "UNKEYWORD":
		positive := &searchKey{}
		c.parseFlag(d, positive, word[len("UN"):])
		k.kind, k.kids = searchNot, []*searchKey{positive}
	default:
		return false
	}
	c.kinds |= 1 << k.kind
	return true
}

// parseSearchDate reads BEFORE, ON and SINCE with their SENT and SAVED forms.
func parseSearchDate(d *wire.Decoder, k *searchKey, word string) bool {
	switch word {
	case "BEFORE", "ON", "SINCE":
		k.kind = searchArrived
	case "SENTBEFORE", "SENTON", "SENTSINCE":
		k.kind, word = searchSent, word[len("SENT"):]
	case "SAVEDBEFORE", "SAVEDON", "SAVEDSINCE":
		k.kind, word = searchSaved, word[len("SAVED"):]
	case "SAVEDATESUPPORTED": // RFC 8514 section 4.3: of every message here
		return true
	default:
		return false
	}
	switch word {
	case "ON":
		k.when = searchOn
	case "SINCE":
		k.when = searchSince
	}
	d.SP()
	k.day = dayOf(d.Date())
	return true
}

// dayOf counts the days from 1 January 1970 to the day of t, in t's own zone.
func dayOf(t time.Time) int64 {
	_, zone := t.Zone()
	return floorDay(t.Unix() + int64(zone))
}

func floorDay(seconds int64) int64 {
	const day = 24 * 60 * 60
	if seconds < 0 {
		return -((-seconds + day - 1) / day)
	}
	return seconds / day
}

// parseSearchText reads keys that look for text.
func parseSearchText(d *wire.Decoder, k *searchKey, word string) bool {
	switch word {
	case "BODY":
		k.kind = searchBody
	case "TEXT":
		k.kind = searchText
	case "BCC", "CC", "FROM", "TO":
		k.kind, k.name = searchAddress, word
	case "SUBJECT":
		k.kind, k.name = searchField, word
	case "HEADER":
		d.SP()
		k.kind, k.name = searchField, d.AString()
	default:
		return false
	}
	d.SP()
	k.text = parseSearched(d)
	return true
}

// parseSearched reads a text to look for, and folds it.
func parseSearched(d *wire.Decoder) string {
	folded, ok := searchFold(nil, d.AString())
	if !ok {
		d.Fail("search text is not UTF-8")
	}
	return string(folded)
}

// parseSearchModSeq reads the rest of MODSEQ (RFC 7162 section 3.1.5). The
// metadata item named before the value is of no consequence here: all of a
// message's flags share one mod-sequence.
func parseSearchModSeq(d *wire.Decoder) uint64 {
	if d.Peek() == '"' {
		const flags = `/flags/`
		if name := d.String(); d.Err() == nil && (len(name) <= len(flags) || name[:len(flags)] != flags) {
			d.Fail("unknown metadata item")
		}
		d.SP()
		if t := d.Word(); t != "PRIV" && t != "SHARED" && t != "ALL" {
			d.Fail("unknown type of metadata item")
		}
		d.SP()
	}
	return d.ModSeqZero()
}
