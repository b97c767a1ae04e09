package storage

import (
	"encoding/binary"
	"math/bits"
	"time"
)

// pageSize is how many UIDs share a page.
const pageSize = 128

// A hot page keeps what changes of the messages with UIDs n*128 to n*128+127.
//
//	octet 0      version 1
//	octet 1      length of a cell, 28
//	octets 2-7   zero
//	octets 8-15  highest ModSeq of a cell
//	octets 16-23 ModSeq of the latest expunge
//	octets 24-39 presence bitmap: bit UID%128, two little-endian 64-bit words
//	then a cell for each bit that is set, in order:
//	  ModSeq 64, flags 32, keyword bits 64, object 64
//
// A date page has a cell for each cell of its hot page, in the same order:
//
//	octet 0      version 1
//	octet 1      length of a cell, 16
//	then cells:  octets 32, SAVEDATE 32 (Unix seconds, unsigned), INTERNALDATE 64 (Unix seconds)
const (
	pageVersion   = 1
	hotHeader     = 40
	hotCell       = 28
	datesHeader   = 2
	datesCell     = 16
	offHighest    = 8
	offExpunged   = 16
	offPresent    = 24
	offCellFlags  = 8
	offCellWords  = 12
	offCellObject = 20
)

// page is a hot page and its date page, copied out of a transaction.
type page struct {
	number  uint32
	hot     []byte
	dates   []byte
	touched bool // cells changed
	moved   bool // cells came or went
}

var le = binary.LittleEndian

func newPage(number uint32) *page {
	p := &page{number: number, hot: make([]byte, hotHeader, hotHeader+hotCell), dates: make([]byte, datesHeader, datesHeader+datesCell)}
	p.hot[0], p.hot[1] = pageVersion, hotCell
	p.dates[0], p.dates[1] = pageVersion, datesCell
	return p
}

// checkHot tells whether a hot page is whole.
func checkHot(hot []byte) bool {
	return len(hot) >= hotHeader && hot[0] == pageVersion && hot[1] == hotCell && len(hot) == hotHeader+hotCell*hotCount(hot)
}

func hotCount(hot []byte) int {
	return bits.OnesCount64(le.Uint64(hot[offPresent:])) + bits.OnesCount64(le.Uint64(hot[offPresent+8:]))
}

func (p *page) check() error {
	if !checkHot(p.hot) || len(p.dates) != datesHeader+datesCell*hotCount(p.hot) || p.dates[0] != pageVersion || p.dates[1] != datesCell {
		return errRecord
	}
	return nil
}

func (p *page) highest() ModSeq { return ModSeq(le.Uint64(p.hot[offHighest:])) }

func hotHas(hot []byte, slot uint32) bool {
	return le.Uint64(hot[offPresent+8*(slot/64):])&(1<<(slot%64)) != 0
}

// index is the number of cells before slot.
func (p *page) index(slot uint32) int {
	lo, hi := le.Uint64(p.hot[offPresent:]), le.Uint64(p.hot[offPresent+8:])
	if slot < 64 {
		return bits.OnesCount64(lo & (1<<slot - 1))
	}
	return bits.OnesCount64(lo) + bits.OnesCount64(hi&(1<<(slot-64)-1))
}

func (p *page) flip(slot uint32) {
	w := p.hot[offPresent+8*(slot/64):]
	le.PutUint64(w, le.Uint64(w)^1<<(slot%64))
}

// insert adds a message, whose slot is free.
func (p *page) insert(m *Placement) {
	p.moved = true
	slot := m.UID % pageSize
	i := p.index(slot)
	p.hot = widen(p.hot, hotHeader+i*hotCell, hotCell)
	p.dates = widen(p.dates, datesHeader+i*datesCell, datesCell)
	p.flip(slot)
	p.set(i, m)
	d := p.dates[datesHeader+i*datesCell:]
	le.PutUint32(d, m.Size)
	le.PutUint32(d[4:], uint32(m.SaveDate.Unix()))
	le.PutUint64(d[8:], uint64(m.InternalDate.Unix()))
}

// set writes the i-th hot cell.
func (p *page) set(i int, m *Placement) {
	p.touched = true
	c := p.hot[hotHeader+i*hotCell:]
	le.PutUint64(c, uint64(m.ModSeq))
	le.PutUint32(c[offCellFlags:], uint32(m.Flags))
	le.PutUint64(c[offCellWords:], m.Keywords)
	le.PutUint64(c[offCellObject:], uint64(m.Object))
	if m.ModSeq > p.highest() {
		le.PutUint64(p.hot[offHighest:], uint64(m.ModSeq))
	}
}

// remove takes the message at slot out.
func (p *page) remove(slot uint32, at ModSeq) {
	p.touched, p.moved = true, true
	i := p.index(slot)
	p.flip(slot)
	p.hot = narrow(p.hot, hotHeader+i*hotCell, hotCell)
	p.dates = narrow(p.dates, datesHeader+i*datesCell, datesCell)
	le.PutUint64(p.hot[offExpunged:], uint64(at))
}

func widen(b []byte, at, n int) []byte {
	b = append(b, make([]byte, n)...)
	copy(b[at+n:], b[at:])
	return b
}

func narrow(b []byte, at, n int) []byte { return append(b[:at], b[at+n:]...) }

// readHot fills what the i-th hot cell says.
func readHot(hot []byte, i int, m *Placement) {
	c := hot[hotHeader+i*hotCell : hotHeader+(i+1)*hotCell]
	m.ModSeq = ModSeq(le.Uint64(c))
	m.Flags = Flags(le.Uint32(c[offCellFlags:]))
	m.Keywords = le.Uint64(c[offCellWords:])
	m.Object = ObjectID(le.Uint64(c[offCellObject:]))
}

// read fills m from the i-th cells.
func (p *page) read(i int, m *Placement) {
	readHot(p.hot, i, m)
	d := p.dates[datesHeader+i*datesCell : datesHeader+(i+1)*datesCell]
	m.Size = le.Uint32(d)
	m.SaveDate = time.Unix(int64(le.Uint32(d[4:])), 0)
	m.InternalDate = time.Unix(int64(le.Uint64(d[8:])), 0)
}

// eachSlot calls f with the slots that are present, ascending, and their cell numbers.
func eachSlot(hot []byte, f func(slot uint32, i int) bool) {
	i := 0
	for w := range uint32(2) {
		for word := le.Uint64(hot[offPresent+8*w:]); word != 0; word &= word - 1 {
			if !f(w*64+uint32(bits.TrailingZeros64(word)), i) {
				return
			}
			i++
		}
	}
}

// page reads one page, a new one when there is none.
func (t *Tx) page(a AccountID, m MailboxID, number uint32) (*page, error) {
	v, err := t.Get(keyPage(tabHot, a, m, number))
	if err != nil {
		return nil, err
	}
	if v == nil {
		return newPage(number), nil
	}
	p := &page{number: number, hot: append(make([]byte, 0, len(v)+hotCell), v...)}
	if v, err = t.Get(keyPage(tabDates, a, m, number)); err != nil {
		return nil, err
	}
	p.dates = append(make([]byte, 0, len(v)+datesCell), v...)
	return p, p.check()
}

// putPage writes what has changed of a page; p is not used afterwards. A page
// whose messages are all gone stays, with the ModSeq of its last expunge, while
// clients may still ask about it: 40 octets for 128 messages.
func (t *Tx) putPage(a AccountID, m MailboxID, p *page) error {
	if p == nil || !p.touched {
		return nil
	}
	if p.moved {
		if err := t.put(keyPage(tabDates, a, m, p.number), p.dates); err != nil {
			return err
		}
	}
	return t.put(keyPage(tabHot, a, m, p.number), p.hot)
}

// nextPage reads the first page from number on; nil when there is none.
func (t *Tx) nextPage(a AccountID, m MailboxID, number uint32) (p *page, err error) {
	end := after(keyMailbox(tabHot, a, m))
	err = t.Scan(keyPage(tabHot, a, m, number), end, func(k, v []byte) bool {
		p = &page{number: binary.BigEndian.Uint32(k[13:]), hot: append(make([]byte, 0, len(v)+hotCell), v...)}
		return false
	})
	if err != nil || p == nil {
		return nil, err
	}
	v, err := t.Get(keyPage(tabDates, a, m, p.number))
	if err != nil {
		return nil, err
	}
	p.dates = append(make([]byte, 0, len(v)+datesCell), v...)
	return p, p.check()
}
