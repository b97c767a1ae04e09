package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

var (
	// errBare is of what others take for more than it is (RFC 5321 section 2.3.8): an
	// end of data for one server is a line for another.
	errBare       = errors.New("a bare CR, a bare LF or a NUL in the message")
	errUnreadable = errors.New("the message cannot be read") // our trouble, not the peer's
)

// content is the octets of a message, and what they ask of a peer.
type content struct {
	open func() (io.ReadCloser, error)
	held []byte // all of them, nil when they are too many to be held
	scan
}

// scan looks at octets that are written to it.
type scan struct {
	size           int64
	eightBit       bool // somewhere
	eightBitHeader bool // in the header of the message

	last    byte
	inLine  int  // octets of the line so far, without its end
	inBody  bool // the empty line behind the header was there
	partial bool // the last line has no end
}

// Write looks at b. Its error is errBare.
func (s *scan) Write(b []byte) (int, error) {
	for _, c := range b {
		if c == 0 || (c == '\n') != (s.last == '\r') {
			return 0, errBare
		}
		switch {
		case c == '\n':
			s.inBody = s.inBody || s.inLine == 0
			s.inLine = 0
		case c != '\r':
			s.inLine++
			if c >= 0x80 {
				s.eightBit = true
				s.eightBitHeader = s.eightBitHeader || !s.inBody
			}
		}
		s.last = c
	}
	s.size += int64(len(b))
	return len(b), nil
}

// end says whether it may end here.
func (s *scan) end() error {
	if s.last == '\r' {
		return errBare
	}
	s.partial = s.size > 0 && s.last != '\n'
	return nil
}

// examine reads a message through. Up to hold octets are kept. Errors: errBare, errUnreadable.
func examine(open func() (io.ReadCloser, error), hold int64) (*content, error) {
	m := &content{open: open}
	var held bytes.Buffer
	err := m.read(func(b []byte) error {
		if m.size+int64(len(b)) <= hold {
			held.Write(b)
		}
		_, err := m.Write(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := m.end(); err != nil {
		return nil, err
	}
	if m.size <= hold {
		m.held = held.Bytes()
	}
	if m.partial {
		m.size += int64(len("\r\n"))
	}
	return m, nil
}

// read gives the octets to f, piece by piece.
func (m *content) read(f func([]byte) error) error {
	r, err := m.open()
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	defer r.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			if err := f(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
	}
}

// send writes the octets as DATA has them (RFC 5321 section 4.5.2), all but the final
// dot. They are looked at once more: what is read a second time may be damaged.
func (m *content) send(w *bufio.Writer) error {
	d := &dotWriter{w: w, lineStart: true}
	if m.held != nil || m.size == 0 {
		return d.end(d.write(m.held))
	}
	var again scan
	err := m.read(func(b []byte) error {
		if _, err := again.Write(b); err != nil {
			return fmt.Errorf("%w: %w", errUnreadable, err)
		}
		return d.write(b)
	})
	if err == nil && (again.end() != nil || again.eightBit != m.eightBit) {
		err = errUnreadable
	}
	return d.end(err)
}

// dotWriter doubles dots at the beginnings of lines, whose ends are CR LF.
type dotWriter struct {
	w         *bufio.Writer
	lineStart bool
}

func (d *dotWriter) write(b []byte) error {
	for len(b) > 0 {
		if d.lineStart && b[0] == '.' {
			d.w.WriteByte('.')
		}
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line = b[:i+1]
		}
		d.lineStart = line[len(line)-1] == '\n'
		if _, err := d.w.Write(line); err != nil {
			return err
		}
		b = b[len(line):]
	}
	return nil
}

// end ends the last line, unless writing has failed.
func (d *dotWriter) end(err error) error {
	if err == nil && !d.lineStart {
		_, err = d.w.WriteString("\r\n")
	}
	return err
}
