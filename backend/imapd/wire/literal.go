package wire

import (
	"bufio"
	"bytes"
	"io"
	"math"
)

// AtLiteral says whether a literal is next.
func (d *Decoder) AtLiteral() bool {
	c := d.Peek()
	return c == '{' || c == '~'
}

// maxHeader is how long a literal's header can be: "{18446744073709551615+}".
const maxHeader = 24

// Unasked says whether the octets of the literal that is next follow by
// themselves (LITERAL+), so that there is nobody who waits to be asked for them.
func (d *Decoder) Unasked() bool {
	for n := 1; n <= maxHeader; n++ {
		b, err := d.r.Peek(n)
		if err != nil || b[n-1] == '\n' {
			return false
		}
		if b[n-1] == '}' {
			return n > 1 && b[n-2] == '+'
		}
	}
	return false
}

// Literal reads a literal's header and returns a reader of its octets, which
// must be read to the end before anything else, or given up with Discard.
// binary says that it is a literal8, which may hold NUL. A literal larger than
// max octets is a TooBig error; the client is not asked to send it.
func (d *Decoder) Literal(max int64) (size int64, r io.Reader, binary bool) {
	binary = d.Try('~')
	size = d.literal("message", max)
	return size, (*literalReader)(d), binary
}

// literal reads a literal's header and has the client send the octets.
func (d *Decoder) literal(what string, max int64) int64 {
	d.Special('{')
	n := d.Number64()
	nonSync := d.Try('+')
	d.Special('}')
	d.crlf()
	if d.err != nil {
		return 0
	}
	d.tail = d.tail[:0]
	d.lits++
	switch {
	case d.lits > d.Lim.Literals:
		d.err = &TooBig{What: "literals", Limit: int64(d.Lim.Literals)}
	case n > uint64(max):
		d.err = &TooBig{What: what, Limit: max}
	case !nonSync:
		if err := d.cont(); err != nil {
			d.io, d.err = err, err
		}
	}
	if d.err != nil && !nonSync {
		d.over = true // the client was not asked for the octets: its command ends here
		return 0
	}
	d.rest = int64(n)
	if d.err != nil {
		return 0
	}
	return int64(n)
}

func (d *Decoder) literalString() string {
	n := d.literal("literal", d.Lim.Literal)
	if d.err != nil {
		return ""
	}
	b := make([]byte, n)
	if _, err := io.ReadFull((*literalReader)(d), b); err != nil {
		d.FailErr(err)
		return ""
	}
	if bytes.IndexByte(b, 0) >= 0 {
		d.Fail("NUL in a literal")
		return ""
	}
	return string(b)
}

// literalReader reads the octets of the current literal.
type literalReader Decoder

func (l *literalReader) Read(p []byte) (int, error) {
	if l.rest == 0 {
		return 0, io.EOF
	}
	if l.err != nil {
		return 0, l.err
	}
	if int64(len(p)) > l.rest {
		p = p[:l.rest]
	}
	n, err := l.r.Read(p)
	l.rest -= int64(n)
	if err != nil {
		err = (*Decoder)(l).broken(err)
	}
	return n, err
}

// Discard reads the rest of the command away, with the octets of every literal
// whose header announces that they follow unasked. It returns an error when the
// connection is of no more use. After a command was read to its end it does
// nothing.
func (d *Decoder) Discard() error {
	if d.over {
		d.err = nil
		return nil
	}
	if d.io != nil {
		return d.io
	}
	budget := d.Lim.Discard
	for {
		if budget -= d.rest; budget < 0 {
			return ErrDiscard
		}
		if err := d.skipLiteral(); err != nil {
			return err
		}
		if err := d.skipLine(&budget); err != nil {
			return err
		}
		n, follows := announced(d.tail)
		if !follows {
			d.err, d.over = nil, true
			return nil
		}
		d.rest = n
		d.tail = d.tail[:0]
	}
}

func (d *Decoder) skipLiteral() error {
	for d.rest > 0 {
		n, err := d.r.Discard(int(min(d.rest, 1<<20)))
		d.rest -= int64(n)
		if err != nil {
			return d.broken(err)
		}
	}
	return nil
}

// skipLine reads up to the next CRLF. A bare LF does not end the line: what
// stands behind it was refused as well.
func (d *Decoder) skipLine(budget *int64) error {
	for !bytes.HasSuffix(d.tail, []byte("\r\n")) {
		w, err := d.r.ReadSlice('\n')
		d.keep(w)
		if *budget -= int64(len(w)); *budget < 0 {
			return ErrDiscard
		}
		if err != nil && err != bufio.ErrBufferFull {
			return d.broken(err)
		}
	}
	return nil
}

// announced tells from the end of a line, CRLF included, whether the octets of
// a literal follow unasked, and how many.
func announced(tail []byte) (int64, bool) {
	t, ok := bytes.CutSuffix(tail, []byte("+}\r\n"))
	if !ok {
		return 0, false
	}
	i := len(t)
	for i > 0 && t[i-1] >= '0' && t[i-1] <= '9' {
		i--
	}
	switch {
	case i == len(t):
		return 0, false
	case i == 0:
		return math.MaxInt64, len(tail) == tailSize // cut off: more digits than any size has
	case t[i-1] != '{':
		return 0, false
	}
	n, ok := parse63(t[i:])
	if !ok {
		return math.MaxInt64, true
	}
	return int64(n), true
}
