package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Mistake is one thing that is wrong with a configuration, in plain words.
type Mistake struct {
	Line int    `json:"line,omitempty"` // in the file, from 1; 0 when it is not about one line
	Key  string `json:"key,omitempty"`  // "imap.line", or "" for the whole file
	Text string `json:"text"`
}

// Error implements error.
func (m *Mistake) Error() string {
	var b strings.Builder
	if m.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", m.Line)
	}
	if m.Key != "" {
		fmt.Fprintf(&b, "%s: ", m.Key)
	}
	return b.String() + m.Text
}

// setting is one key of the configuration and where its value stands.
type setting struct {
	key   string // "imap.connections"
	value any    // *string, *bool, *int, *Duration, *Size, *[]string, *[]netip.Prefix or *tables
	zero  bool   // whether a number may be 0; in a table, whether the column may be left out
}

// decode gives the settings the values that text has for them and leaves the
// others as they are. The mistakes are all that it found, by line: the toml
// package alone would stop at the first value of the wrong type.
func decode(text string, settings []setting) []*Mistake {
	var tree map[string]any
	if _, err := toml.Decode(text, &tree); err != nil {
		var parse toml.ParseError
		if errors.As(err, &parse) {
			return []*Mistake{{Line: parse.Position.Line, Key: parse.LastKey, Text: parse.Message}}
		}
		return []*Mistake{{Text: err.Error()}}
	}
	at := lines(text)
	var mistakes []*Mistake
	for key, value := range flatten(tree) {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		err := error(errUnknownKey)
		if i >= 0 {
			err = set(settings[i], value)
		}
		if err == nil {
			continue
		}
		m := &Mistake{Line: at[key], Key: key, Text: err.Error()}
		if i < 0 {
			m.Text += suggest(key, settings)
		}
		mistakes = append(mistakes, m)
	}
	slices.SortFunc(mistakes, func(a, b *Mistake) int {
		return cmp.Or(a.Line-b.Line, strings.Compare(a.Key, b.Key))
	})
	return mistakes
}

var errUnknownKey = errors.New("there is no such key")

// flatten names the values of a section with its name before theirs.
func flatten(tree map[string]any) map[string]any {
	flat := make(map[string]any)
	for name, value := range tree {
		section, ok := value.(map[string]any)
		if !ok {
			flat[name] = value
			continue
		}
		for key, value := range flatten(section) {
			flat[name+"."+key] = value
		}
	}
	return flat
}

// set gives a setting the value that the file has for it.
func set(s setting, value any) error {
	switch p := s.value.(type) {
	case *string:
		text, ok := value.(string)
		if !ok {
			return errors.New("the value is text: write it between quotation marks")
		}
		*p = text
		return nil
	case *bool:
		yes, ok := value.(bool)
		if !ok {
			return errors.New("the value is true or false, without quotation marks")
		}
		*p = yes
		return nil
	case *int:
		n, ok := value.(int64)
		if !ok {
			return errors.New("the value is a whole number, without quotation marks")
		}
		if n < 0 || n > math.MaxInt32 || n == 0 && !s.zero {
			return fmt.Errorf("%d is out of range", n)
		}
		*p = int(n)
		return nil
	case *Duration:
		return setText(s, value, `a length of time: write it like "30s", "5m", "1h30m" or "14d"`, p.UnmarshalText, (*int64)(p))
	case *Size:
		if n, ok := value.(int64); ok {
			value = strconv.FormatInt(n, 10)
		}
		return setText(s, value, `a size: write it like "64KiB", "36MiB" or "10GiB"`, p.UnmarshalText, (*int64)(p))
	case *[]string:
		return setList(value, p, "texts", func(item any) (string, bool) { text, ok := item.(string); return text, ok })
	case *[]netip.Prefix:
		return setList(value, p, `networks like "192.0.2.0/24"`, network)
	case rows:
		return p.set(value)
	}
	return fmt.Errorf("this program does not read values into %T", s.value)
}

// setText sets a value that is written as text; n is its number.
func setText(s setting, value any, what string, unmarshal func([]byte) error, n *int64) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("the value is %s", what)
	}
	old := *n
	if err := unmarshal([]byte(text)); err != nil {
		return err
	}
	if *n == 0 && !s.zero {
		*n = old
		return errors.New("0 is out of range")
	}
	return nil
}

// setList replaces a list with the items of value.
func setList[T any](value any, list *[]T, what string, read func(any) (T, bool)) error {
	var items []any
	switch value := value.(type) {
	case []any:
		items = value
	case []map[string]any: // tables
		for _, t := range value {
			items = append(items, t)
		}
	default:
		return fmt.Errorf("the value is a list of %s: write it between [ and ]", what)
	}
	read1 := make([]T, 0, len(items))
	for i, item := range items {
		v, ok := read(item)
		if !ok {
			return fmt.Errorf("entry %d of the list is not one of %s", i+1, what)
		}
		read1 = append(read1, v)
	}
	*list = read1
	return nil
}

func network(item any) (netip.Prefix, bool) {
	text, _ := item.(string)
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// rows is a value that consists of tables.
type rows interface {
	set(value any) error
	String() string
}

// tables is a list of tables, each with the same columns.
type tables[T any] struct {
	list    *[]T
	columns func(*T) []setting
	what    string // for people, with an example
}

func (t *tables[T]) set(value any) error {
	return setList(value, t.list, t.what, func(item any) (row T, ok bool) {
		given, _ := item.(map[string]any)
		columns := t.columns(&row)
		for _, c := range columns {
			v, there := given[c.key]
			if there && set(c, v) != nil || !there && !c.zero {
				return row, false
			}
			if text, isText := v.(string); isText && text == "" && !c.zero {
				return row, false
			}
			delete(given, c.key)
		}
		return row, len(given) == 0
	})
}

// String writes the tables as a configuration file has them.
func (t *tables[T]) String() string {
	return writeList(*t.list, func(row T) string {
		var columns []string
		for _, c := range t.columns(&row) {
			text := write(c.value)
			if c.zero && slices.Contains([]string{`""`, "[]", "false"}, text) {
				continue
			}
			columns = append(columns, c.key+" = "+text)
		}
		return "{ " + strings.Join(columns, ", ") + " }"
	})
}

// encode writes the settings as a configuration file.
func encode(settings []setting) string {
	var b strings.Builder
	section := ""
	for _, s := range settings {
		name := s.key
		if before, after, ok := strings.Cut(s.key, "."); ok {
			if before != section {
				section = before
				fmt.Fprintf(&b, "\n[%s]\n", section)
			}
			name = after
		}
		fmt.Fprintf(&b, "%s = %s\n", name, write(s.value))
	}
	return b.String()
}

func write(value any) string {
	switch p := value.(type) {
	case *string:
		return quote(*p)
	case *bool:
		return strconv.FormatBool(*p)
	case *int:
		return strconv.Itoa(*p)
	case *Duration:
		return quote(p.String())
	case *Size:
		return quote(p.String())
	case *[]string:
		return writeList(*p, quote)
	case *[]netip.Prefix:
		return writeList(*p, func(n netip.Prefix) string { return quote(n.String()) })
	case rows:
		return p.String()
	}
	return fmt.Sprintf("%#v", value)
}

func writeList[T any](list []T, one func(T) string) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = one(item)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// quote writes a basic string of TOML.
func quote(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// suggest finds the key that was probably meant: the one that becomes key by
// the fewest changes, when that is few.
func suggest(key string, settings []setting) string {
	best, least := "", 4
	for _, s := range settings {
		if n := distance(key, s.key); n < least {
			best, least = s.key, n
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// distance counts the letters to insert, remove or replace between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// lines finds where the keys of a file stand: the toml package knows it but
// does not tell. Inside a text of several lines a line may be taken for a key;
// a message then names a wrong line.
func lines(text string) map[string]int {
	at := make(map[string]int)
	section, n := "", 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			name, _, _ = strings.Cut(strings.TrimPrefix(name, "["), "]")
			section = strings.TrimSpace(name) + "."
			at[strings.TrimSuffix(section, ".")] = n
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if ok && !strings.HasPrefix(line, "#") {
			at[section+strings.TrimSpace(name)] = n
		}
	}
	return at
}

// Duration is a time.Duration written like "30s", "5m" or "14d": a day has 24 hours.
type Duration time.Duration

const day = 24 * time.Hour

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	rest, days := string(text), uint64(0)
	if before, after, ok := strings.Cut(rest, "d"); ok { // no other unit has that letter
		n, err := strconv.ParseUint(before, 10, 16)
		if err != nil {
			return errDuration(text)
		}
		if rest, days = after, n; rest == "" {
			rest = "0s"
		}
	}
	t, err := time.ParseDuration(rest)
	if err != nil || t < 0 || t > math.MaxInt64-math.MaxUint16*day {
		return errDuration(text)
	}
	*d = Duration(t + time.Duration(days)*day)
	return nil
}

func errDuration(text []byte) error {
	return fmt.Errorf("%q is no length of time: write it like \"30s\", \"5m\", \"1h30m\" or \"14d\"", text)
}

// String writes the duration without the zeros of time.Duration's String, and
// whole days as such.
func (d Duration) String() string {
	if t := time.Duration(d); t >= 2*day && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Size is a number of octets, written as a number or like "36MiB".
type Size int64

// units are the sizes that have a name.
func units() map[string]Size {
	return map[string]Size{"TiB": 1 << 40, "GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := string(text), Size(1)
	for name, octets := range units() {
		if n, ok := strings.CutSuffix(number, name); ok {
			number, unit = strings.TrimSpace(n), octets
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return fmt.Errorf("%q is no size: write it in octets, or like \"64KiB\", \"36MiB\" or \"10GiB\"", text)
	}
	*s = Size(n) * unit
	return nil
}

// String writes the size in the largest unit that leaves no rest.
func (s Size) String() string {
	best, name := Size(1), ""
	for n, octets := range units() {
		if s != 0 && s%octets == 0 && octets > best {
			best, name = octets, n
		}
	}
	return strconv.FormatInt(int64(s/best), 10) + name
}
