package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// Limits bound what one command may hold. Every limit is the largest value
// that is still accepted; none of them may be zero.
type Limits struct {
	Line      int64 // octets of a command without its literals, line ends included
	Literal   int64 // octets of a literal that is read as a string
	Literals  int   // literals of a command, streamed ones included
	Depth     int   // nested parentheses
	SetRanges int   // ranges of one sequence set
	Discard   int64 // octets of a refused command that are read away before the connection is given up
}

// DefaultLimits returns limits that no known mail program reaches.
func DefaultLimits() Limits {
	return Limits{
		Line:      64 << 10,
		Literal:   64 << 10,
		Literals:  64,
		Depth:     32,
		SetRanges: 16 << 10,
		Discard:   64 << 20,
	}
}

// SyntaxError is a departure from the grammar, answered with BAD. Its text is
// fixed here or by the caller of Fail; it never holds the client's octets.
type SyntaxError struct{ Text string }

func (e *SyntaxError) Error() string { return e.Text }

// TooBig is a limit that was passed.
type TooBig struct {
	What  string // "line", "literal", "literals" or "message"
	Limit int64  // the limit, in octets; for "literals" their number
}

func (e *TooBig) Error() string { return fmt.Sprintf("%s larger than %d", e.What, e.Limit) }

// Message says whether it was a streamed literal: NO [TOOBIG] rather than BAD.
func (e *TooBig) Message() bool { return e.What == "message" }

// ErrDiscard says that the rest of a refused command is larger than
// Limits.Discard: the connection must close.
var ErrDiscard = errors.New("wire: rest of a refused command is too large")

// errUnread is a mistake of the caller: a streamed literal was not read to its end.
var errUnread = errors.New("wire: literal was not read to its end")

// Decoder reads commands. It is not safe for concurrent use.
type Decoder struct {
	// UTF8 says that mailbox names are UTF-8 rather than modified UTF-7: the
	// client enabled UTF8=ACCEPT or IMAP4rev2.
	UTF8 bool
	Lim  Limits

	r     *bufio.Reader
	cont  func() error
	io    error  // what broke the connection
	err   error  // the first error of this command
	over  bool   // the last line of the command has been read
	used  int64  // octets of the command's lines read so far
	lits  int    // literals of the command read so far
	depth int    // parentheses open
	rest  int64  // octets of the current literal still to be read
	tail  []byte // end of what was read of the current line: shows a literal's header to Discard
}

// tailSize holds "~{9223372036854775807+}" and its line end.
const tailSize = 32

// NewDecoder reads from r. continuation tells the client to send the literal
// it has announced, and flushes; it is not called for refused literals.
func NewDecoder(r *bufio.Reader, lim Limits, continuation func() error) *Decoder {
	return &Decoder{Lim: lim, r: r, cont: continuation, over: true, tail: make([]byte, 0, tailSize)}
}

// Reset goes on with another reader, as after STARTTLS, and forgets the rest of
// the command and of the former reader.
func (d *Decoder) Reset(r *bufio.Reader) {
	d.r, d.io = r, nil
	d.restart()
	d.over = true
}

func (d *Decoder) restart() {
	d.err, d.over = nil, false
	d.used, d.lits, d.depth, d.rest = 0, 0, 0, 0
	d.tail = d.tail[:0]
}

// Begin reads a tag and a command's name, in upper case. When the tag was read
// well it is returned with the error too. io.EOF is returned when the client left
// between two commands. What is left of the command before is discarded first.
func (d *Decoder) Begin() (tag, command string, err error) {
	if err := d.Discard(); err != nil {
		return "", "", err
	}
	d.restart()
	if _, err := d.r.Peek(1); err != nil {
		d.io, d.err = err, err
		return "", "", err
	}
	t := d.span(isTagChar)
	if t == "" {
		d.Fail("tag expected")
	}
	if d.SP(); d.err != nil {
		return "", "", d.err
	}
	command = d.Keyword()
	return t, command, d.err
}

// Line reads one line outside of any command, without its line end: an answer
// in AUTHENTICATE, or DONE.
func (d *Decoder) Line() ([]byte, error) {
	d.restart()
	line := d.bytes(func(c byte) bool { return c != '\r' && c != '\n' })
	if err := d.End(); err != nil {
		return nil, err
	}
	return line, nil
}

// Err returns the first error of the command.
func (d *Decoder) Err() error { return d.err }

// Fail records a SyntaxError unless there is an error already. text is
// printable ASCII without any of the client's octets.
func (d *Decoder) Fail(text string) { d.FailErr(&SyntaxError{Text: text}) }

// FailErr records err unless there is an error already.
func (d *Decoder) FailErr(err error) {
	if d.err == nil {
		d.err = err
	}
}

// End reads the end of the command. A bare LF is taken for a line end here,
// where nothing else may stand, and nowhere else.
func (d *Decoder) End() error {
	if d.Try('\n') {
		d.over = true
		return d.err
	}
	if d.crlf(); d.err == nil {
		d.over = true
	}
	return d.err
}

func (d *Decoder) crlf() {
	d.Special('\r')
	d.Special('\n')
}

// window returns the octets that wait in the buffer, one at least, or nil after
// an error.
func (d *Decoder) window() []byte {
	if d.err != nil {
		return nil
	}
	if d.rest > 0 {
		d.err = errUnread
		return nil
	}
	if d.over {
		d.Fail("unexpected end of command")
		return nil
	}
	if d.r.Buffered() == 0 {
		if _, err := d.r.Peek(1); err != nil {
			d.broken(err)
			return nil
		}
	}
	w, _ := d.r.Peek(d.r.Buffered())
	return w
}

// skip consumes the first n octets of w, which window returned.
func (d *Decoder) skip(w []byte, n int) {
	d.keep(w[:n])
	d.r.Discard(n)
	if d.used += int64(n); d.used > d.Lim.Line {
		d.FailErr(&TooBig{What: "line", Limit: d.Lim.Line})
	}
}

// keep remembers the end of the line.
func (d *Decoder) keep(b []byte) {
	if len(b) >= tailSize {
		d.tail = append(d.tail[:0], b[len(b)-tailSize:]...)
		return
	}
	if over := len(d.tail) + len(b) - tailSize; over > 0 {
		d.tail = d.tail[:copy(d.tail, d.tail[over:])]
	}
	d.tail = append(d.tail, b...)
}

// broken records that the connection failed inside a command.
func (d *Decoder) broken(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	d.io, d.err = err, err
	return err
}

// bytes reads octets while ok says so.
func (d *Decoder) bytes(ok func(byte) bool) []byte {
	var b []byte
	for {
		w := d.window()
		n := 0
		for n < len(w) && ok(w[n]) {
			n++
		}
		b = append(b, w[:n]...)
		if w != nil {
			d.skip(w, n)
		}
		if d.err != nil {
			return nil
		}
		if n < len(w) {
			return b
		}
	}
}

// span is bytes as a string, copied once when it lies in the buffer.
func (d *Decoder) span(ok func(byte) bool) string {
	w := d.window()
	for n, c := range w {
		if !ok(c) {
			s := string(w[:n])
			if d.skip(w, n); d.err != nil {
				return "" // the line is too long
			}
			return s
		}
	}
	return string(d.bytes(ok))
}

// Peek returns the next octet without reading it, 0 after an error.
func (d *Decoder) Peek() byte {
	if w := d.window(); len(w) > 0 {
		return w[0]
	}
	return 0
}

// Try reads c if it is next.
func (d *Decoder) Try(c byte) bool {
	w := d.window()
	if len(w) == 0 || w[0] != c {
		return false
	}
	d.skip(w, 1)
	return d.err == nil
}

// Special reads c, which must be next.
func (d *Decoder) Special(c byte) {
	if !d.Try(c) {
		d.Fail(expected(c))
	}
}

func expected(c byte) string {
	switch c {
	case ' ':
		return "space expected"
	case '\r', '\n':
		return "end of line expected"
	}
	return "'" + string(rune(c)) + "' expected"
}

// SP reads one space.
func (d *Decoder) SP() { d.Special(' ') }

// TrySP reads a space if it is next.
func (d *Decoder) TrySP() bool { return d.Try(' ') }

// List reads "(" f *(SP f) ")".
func (d *Decoder) List(f func()) { d.list(f, false) }

// ListOrEmpty is List, or "()".
func (d *Decoder) ListOrEmpty(f func()) { d.list(f, true) }

func (d *Decoder) list(f func(), empty bool) {
	d.Special('(')
	if d.depth++; d.depth > d.Lim.Depth {
		d.Fail("too deeply nested")
	}
	if !empty || !d.Try(')') {
		for d.err == nil {
			f()
			if d.Try(')') {
				break
			}
			d.SP()
		}
	}
	d.depth--
}
