package message

import (
	"bytes"
	"time"
)

// parseDate reads the value of a Date field (RFC 5322 section 3.3, obsolete years and
// zones of section 4.3 included) into UTC and the zone it was written in, seconds
// east of UTC. The time is zero when the value is no date.
func parseDate(value []byte) (time.Time, int) {
	var words [8][]byte
	n := 0
	for b := skipBlanks(value); len(b) > 0 && n < len(words); b = skipBlanks(b) {
		end := 0
		for end < len(b) && b[end] != ',' && b[end] != '(' && !isSpace(b[end]) {
			end++
		}
		if end > 0 {
			words[n] = b[:end]
			n++
		}
		b = bytes.TrimPrefix(b[end:], []byte(","))
	}
	w := words[:n]
	if len(w) > 0 && number(w[0], 1, 2) < 0 { // the name of the day tells nothing
		w = w[1:]
	}
	if len(w) < 4 {
		return time.Time{}, 0
	}
	day, month, year := number(w[0], 1, 2), monthNumber(w[1]), yearNumber(w[2])
	hour, minute, second, ok := clock(w[3])
	if !ok || day < 1 || day > 31 || month == 0 || year < 0 {
		return time.Time{}, 0
	}
	zone := 0
	if len(w) > 4 {
		zone = zoneOffset(w[4])
	}
	t := time.Date(year, month, day, hour, minute, second-zone, 0, time.UTC)
	return t, zone
}

// number reads between least and most digits; -1 when b is something else.
func number(b []byte, least, most int) int {
	if len(b) < least || len(b) > most {
		return -1
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func monthNumber(b []byte) time.Month {
	if len(b) < 3 {
		return 0
	}
	var buf [32]byte
	i := bytes.Index([]byte("janfebmaraprmayjunjulaugsepoctnovdec"), lowered(&buf, b[:3]))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return time.Month(i/3 + 1)
}

// yearNumber reads a year, of two or three digits too (RFC 5322 section 4.3).
func yearNumber(b []byte) int {
	year := number(b, 2, 4)
	switch {
	case year < 0 || len(b) == 4:
	case len(b) == 2 && year < 50:
		year += 2000
	default:
		year += 1900
	}
	return year
}

// clock reads "hh:mm" or "hh:mm:ss"; a leap second is a second.
func clock(b []byte) (hour, minute, second int, ok bool) {
	h, rest, _ := bytes.Cut(b, []byte(":"))
	m, s, seconds := bytes.Cut(rest, []byte(":"))
	hour, minute = number(h, 1, 2), number(m, 1, 2)
	if seconds {
		second = number(s, 1, 2)
	}
	ok = hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second <= 60
	return hour, minute, second, ok
}

// zoneOffset reads a zone into seconds. A name RFC 5322 section 4.3 does not define
// counts as UTC, as it says.
func zoneOffset(b []byte) int {
	if len(b) == 5 && (b[0] == '+' || b[0] == '-') {
		hours, minutes := number(b[1:3], 2, 2), number(b[3:], 2, 2)
		if hours < 0 || minutes < 0 || minutes > 59 {
			return 0
		}
		if b[0] == '-' {
			hours, minutes = -hours, -minutes
		}
		return hours*3600 + minutes*60
	}
	var buf [32]byte
	hours := 0
	switch string(lowered(&buf, b)) {
	case "edt":
		hours = -4
	case "est", "cdt":
		hours = -5
	case "cst", "mdt":
		hours = -6
	case "mst", "pdt":
		hours = -7
	case "pst":
		hours = -8
	}
	return hours * 3600
}
