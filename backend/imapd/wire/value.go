package wire

import (
	"math"
	"strings"
	"time"
)

// Number reads an unsigned 32-bit number.
func (d *Decoder) Number() uint32 { return uint32(d.number(math.MaxUint32, false)) }

// NzNumber reads an unsigned 32-bit number that does not begin with 0.
func (d *Decoder) NzNumber() uint32 { return uint32(d.number(math.MaxUint32, true)) }

// Number64 reads an unsigned 63-bit number.
func (d *Decoder) Number64() uint64 { return d.number(math.MaxInt64, false) }

// ModSeq reads a mod-sequence-value: 63 bits, not 0 (RFC 7162 section 7).
func (d *Decoder) ModSeq() uint64 {
	n := d.Number64()
	if n == 0 {
		d.Fail("mod-sequence of 0")
	}
	return n
}

// ModSeqZero reads a mod-sequence-valzer: 63 bits, 0 allowed.
func (d *Decoder) ModSeqZero() uint64 { return d.Number64() }

func (d *Decoder) number(max uint64, nz bool) uint64 {
	b := d.bytes(isDigit)
	if d.err != nil {
		return 0
	}
	if len(b) == 0 || nz && b[0] == '0' {
		d.Fail("number expected")
		return 0
	}
	n, ok := parse63(b)
	if !ok || n > max {
		d.Fail("number too large")
		return 0
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// parse63 reads digits. It reports false beyond 63 bits.
func parse63(digits []byte) (uint64, bool) {
	var n uint64
	for _, c := range digits {
		v := uint64(c - '0')
		if n > (math.MaxInt64-v)/10 {
			return 0, false
		}
		n = n*10 + v
	}
	return n, true
}

// Attr reads "\" and an atom: a mailbox attribute or a flag.
func (d *Decoder) Attr() string {
	d.Special('\\')
	return `\` + d.Atom()
}

// Flag reads a flag that a client may set: a system flag, spelt as RFC 9051
// section 2.3.2 does, or a keyword. \Recent is the server's alone.
func (d *Decoder) Flag() string {
	if d.Peek() != '\\' {
		return d.Atom()
	}
	f := d.Attr()
	for _, known := range [...]string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`} {
		if strings.EqualFold(f, known) {
			return known
		}
	}
	d.Fail("not a flag that can be set")
	return ""
}

// FlagList reads flags in parentheses, or none in "()".
func (d *Decoder) FlagList() []string {
	var flags []string
	d.ListOrEmpty(func() { flags = append(flags, d.Flag()) })
	return flags
}

// Date reads a date, quoted or not, as midnight UTC.
func (d *Decoder) Date() time.Time {
	quoted := d.Try('"')
	day := d.digits(1, 2)
	d.Special('-')
	month := d.month()
	d.Special('-')
	year := d.digits(4, 4)
	if quoted {
		d.Special('"')
	}
	t := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	if d.err == nil && t.Day() != day {
		d.Fail("no such date")
	}
	if d.err != nil {
		return time.Time{}
	}
	return t
}

// digits reads a number of min to max digits.
func (d *Decoder) digits(min, max int) int {
	b := d.bytes(isDigit)
	if d.err != nil {
		return 0
	}
	if len(b) < min || len(b) > max {
		d.Fail("date expected")
		return 0
	}
	n, _ := parse63(b)
	return int(n)
}

func (d *Decoder) month() time.Month {
	name := d.span(func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' })
	for m := time.January; m <= time.December; m++ {
		if strings.EqualFold(name, m.String()[:3]) {
			return m
		}
	}
	d.Fail("month expected")
	return 0
}

// DateTime reads a quoted date-time, such as " 7-Feb-1994 21:52:25 -0800".
func (d *Decoder) DateTime() time.Time {
	const layout = "_2-Jan-2006 15:04:05 -0700"
	d.Special('"')
	s := d.span(isPlainQuoted)
	d.Special('"')
	if d.err != nil {
		return time.Time{}
	}
	t, err := time.Parse(layout, s)
	if err != nil || len(s) != len(layout) {
		d.Fail("date-time expected")
		return time.Time{}
	}
	return t
}
