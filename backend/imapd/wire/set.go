package wire

import (
	"slices"
	"sort"
	"strconv"
)

// Range is the numbers from Lo to Hi, both included; 0 stands for "*".
type Range struct{ Lo, Hi uint32 }

// Set is a sequence-set (RFC 9051 section 9) in the order it was sent.
type Set []Range

// Set reads a sequence-set.
func (d *Decoder) Set() Set {
	var s Set
	for {
		r := Range{Lo: d.seqNumber()}
		r.Hi = r.Lo
		if d.Try(':') {
			r.Hi = d.seqNumber()
		}
		if len(s) >= d.Lim.SetRanges {
			d.Fail("too many ranges in a set")
		}
		if d.err != nil {
			return nil
		}
		s = append(s, r)
		if !d.Try(',') {
			return s
		}
	}
}

// SetOrSaved reads a sequence-set, or "$" with saved true: what the last SEARCH
// with the result option SAVE found (RFC 9051 section 6.4.4.1).
func (d *Decoder) SetOrSaved() (s Set, saved bool) {
	if d.Try('$') {
		return nil, true
	}
	return d.Set(), false
}

func (d *Decoder) seqNumber() uint32 {
	if d.Try('*') {
		return 0
	}
	return d.NzNumber()
}

// Resolve gives "*" the value max and returns the set sorted, without overlaps
// or neighbours, each Lo <= Hi. When max is 0, because there is no message, "*"
// stands for nothing, and a range that holds it vanishes.
func (s Set) Resolve(max uint32) Set {
	out := make(Set, 0, len(s))
	for _, r := range s {
		if r.Lo == 0 {
			r.Lo = max
		}
		if r.Hi == 0 {
			r.Hi = max
		}
		if r.Lo > r.Hi {
			r.Lo, r.Hi = r.Hi, r.Lo
		}
		if r.Lo != 0 {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Range) int {
		if a.Lo < b.Lo {
			return -1
		}
		return 1
	})
	return merge(out)
}

// merge joins ranges that overlap or touch. s is sorted.
func merge(s Set) Set {
	n := 0
	for _, r := range s {
		if n > 0 && uint64(r.Lo) <= uint64(s[n-1].Hi)+1 {
			s[n-1].Hi = max(s[n-1].Hi, r.Hi)
			continue
		}
		s[n] = r
		n++
	}
	return s[:n]
}

// Contains says whether the resolved set s holds n.
func (s Set) Contains(n uint32) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].Hi >= n })
	return i < len(s) && s[i].Lo <= n
}

// Max returns the largest number of the resolved set s, 0 when it is empty.
func (s Set) Max() uint32 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].Hi
}

// AppendSet appends s as it is written on the wire.
func AppendSet(dst []byte, s Set) []byte {
	for i, r := range s {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSeq(dst, r.Lo)
		if r.Hi != r.Lo {
			dst = append(dst, ':')
			dst = appendSeq(dst, r.Hi)
		}
	}
	return dst
}

func appendSeq(dst []byte, n uint32) []byte {
	if n == 0 {
		return append(dst, '*')
	}
	return strconv.AppendUint(dst, uint64(n), 10)
}

// AppendNumbers appends ascending numbers as a set, runs as ranges.
func AppendNumbers(dst []byte, n []uint32) []byte {
	for i := 0; i < len(n); {
		j := i + 1
		for j < len(n) && n[j] == n[j-1]+1 {
			j++
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, uint64(n[i]), 10)
		if j > i+1 {
			dst = append(dst, ':')
			dst = strconv.AppendUint(dst, uint64(n[j-1]), 10)
		}
		i = j
	}
	return dst
}
