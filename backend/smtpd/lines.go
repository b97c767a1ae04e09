package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-smtp"
)

// Longest lines that are looked at, CRLF included. RFC 5321 section 4.5.3.1.4
// gives a command 512 octets, its extensions add up to less than 2,048; RFC
// 4954 section 4 gives the responses of AUTH 12,288 octets, to which the command
// and the mechanism's name may add.
const (
	maxLine     = 2048
	maxAuthLine = 12288 + 64
	maxSkipped  = 64 << 10 // of a longer line, before the connection closes
)

// lines reads command lines and gathers replies. Replies leave when the client
// is waited for: the answers to pipelined commands travel together (RFC 2920),
// and so do the lines of EHLO's.
type lines struct {
	conn io.ReadWriter
	in   *bufio.Reader // reads through lines.Read
	out  []byte
	bad  int // commands answered with an error of the protocol
}

func newLines(conn io.ReadWriter) *lines {
	l := &lines{conn: conn}
	l.in = bufio.NewReader(flusher{l})
	return l
}

// flusher sends the replies before it waits for more input.
type flusher struct{ l *lines }

func (f flusher) Read(b []byte) (int, error) {
	if err := f.l.flush(); err != nil {
		return 0, err
	}
	return f.l.conn.Read(b)
}

func (l *lines) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.conn.Write(l.out)
	l.out = l.out[:0]
	if cap(l.out) > 4<<10 {
		l.out = nil
	}
	return err
}

// put adds a reply.
func (l *lines) put(r *smtp.SMTPError) {
	e := r.EnhancedCode
	l.out = fmt.Appendf(l.out, "%d %d.%d.%d %s\r\n", r.Code, e[0], e[1], e[2], r.Message)
}

// readLine returns the next line without its CRLF; it is valid until the next
// call. The error is a reply (*smtp.SMTPError) when the line was read but is
// not one, else the connection's.
func (l *lines) readLine() ([]byte, error) {
	line, err := l.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		if line, err = l.readLong(line); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	if len(line) > maxAuthLine {
		return nil, errLineLength
	}
	text, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
		return nil, errLineEnd
	}
	return text, nil
}

// readLong reads on behind the beginning of a line that does not fit the
// buffer. Of a line that is too long in any case it keeps only as much as shows that.
func (l *lines) readLong(begin []byte) ([]byte, error) {
	line := bytes.Clone(begin)
	for skipped := 0; ; {
		more, err := l.in.ReadSlice('\n')
		if len(line) <= maxAuthLine {
			line = append(line, more...)
		} else if skipped += len(more); skipped > maxSkipped {
			return nil, io.ErrShortBuffer
		}
		if err == nil || !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}
