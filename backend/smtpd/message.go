package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"github.com/emersion/go-smtp"
)

// This file is the guard's work while a message is read. go-smtp sees every
// message as one behind DATA: its own BDAT reads a message in a second
// goroutine, whose end can be taken for the end of the next message.

// chunk is a BDAT chunk being read (RFC 3030 section 2).
type chunk struct {
	left int64 // octets
	last bool
}

// How long, and for how many octets, a client that was refused is listened to.
const (
	lingerTime = 2 * time.Second
	lingerSize = 4 << 20
)

// readData gives go-smtp the message behind DATA, dots and all, and stops behind
// the line with the single dot.
func (g *guard) readData(p []byte) (int, error) {
	// A line of any length arrives in pieces; only a short one can be the last.
	piece, err := g.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return 0, g.broken(err)
	}
	begins := g.atLine
	g.size += int64(len(piece))
	if !g.data.clean(piece) {
		g.skipMessage(begins, piece)
		return 0, g.forbidden()
	}
	if g.size > 2*g.limits.MessageSize+maxLine {
		g.hangUp()
		g.err = errTooLarge
		return 0, g.err
	}
	g.atLine = piece[len(piece)-1] == '\n'
	if begins && string(piece) == ".\r\n" {
		g.state = inCommands
	}
	n := copy(p, piece)
	g.line = piece[n:]
	return n, nil
}

// readChunk gets the next octets of a chunk to where Read finds them, with the
// dots that DATA wants, or what comes behind the chunk.
func (g *guard) readChunk() error {
	if g.chunk.left == 0 && g.chunk.last {
		return g.endChunks()
	}
	if g.chunk.left == 0 {
		g.put(okChunk)
		return g.nextChunk()
	}
	if _, err := g.in.Peek(1); err != nil {
		return g.broken(err)
	}
	b, err := g.in.Peek(int(min(g.chunk.left, int64(g.in.Buffered()))))
	if err != nil {
		return g.broken(err)
	}
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i+1]
	}
	// The octets stay where they are until the next read.
	if _, err := g.in.Discard(len(b)); err != nil {
		return g.broken(err)
	}
	g.chunk.left -= int64(len(b))
	g.size += int64(len(b))
	if !g.data.clean(b) {
		g.wire.pace(lingerTime, g.limits.Message, false)
		g.skipChunk()
		return g.forbidden()
	}
	g.line = b
	if g.atLine && b[0] == '.' {
		g.line = append([]byte{'.'}, b...)
	}
	g.atLine = b[len(b)-1] == '\n'
	return nil
}

// endChunks ends the message as DATA does. A line end that the message lacks is
// noted, so that the session can take it off again.
func (g *guard) endChunks() error {
	if g.data.cr {
		return g.forbidden()
	}
	g.state, g.line = inCommands, []byte(".\r\n")
	if !g.atLine {
		g.added, g.line = true, []byte("\r\n.\r\n")
	}
	return nil
}

// nextChunk reads the command behind a chunk that was not the last. go-smtp is
// in the middle of a message then: all but another chunk is answered here.
func (g *guard) nextChunk() error {
	for {
		text, err := g.readLine()
		var refusal *smtp.SMTPError
		if err != nil && !errors.As(err, &refusal) {
			return g.broken(err)
		}
		var c command
		if refusal == nil {
			c, refusal = parseCommand(string(text), terms{size: g.limits.MessageSize})
		}
		if c.chunk == 0 {
			g.idle++
		}
		if g.idle > g.limits.Commands {
			refusal, c.hangs = errTooManyIdle, true
		}
		switch {
		case refusal != nil:
			g.refuse(refusal, c.hangs || refusal == errLineEnd)
		case c.verb == "BDAT":
			g.chunk = chunk{left: c.chunk, last: c.last}
			if g.size+c.chunk > g.limits.MessageSize {
				return g.abort(errTooLarge)
			}
			return nil
		case c.verb == "RSET":
			return g.abort(okDone)
		case c.verb == "NOOP":
			g.put(okDone)
		case c.verb == "QUIT":
			g.put(okBye)
			g.closing = true
		default:
			g.refuse(errSequence, false)
		}
		if g.closing {
			g.over = true
			g.end(io.EOF)
			return errCut
		}
	}
}

// abort makes go-smtp give the message up, with another answer than its own.
func (g *guard) abort(r *smtp.SMTPError) error {
	g.aborted, g.override, g.state = true, r, inCommands
	return errCut
}

// skipChunk reads the rest of a chunk away.
func (g *guard) skipChunk() {
	left := g.chunk.left
	g.chunk.left = 0
	if _, err := io.CopyN(io.Discard, g.in, left); err != nil {
		g.over, g.err = true, io.EOF
	}
}

// skipMessage reads away the rest of a message with a bare CR, a bare LF or a NUL,
// from piece on. The client may have another idea than we of where it ends, so
// every line with a single dot will do, whatever ends it: nothing that
// follows is looked at any more.
func (g *guard) skipMessage(begins bool, piece []byte) {
	g.wire.pace(lingerTime, g.limits.Message, false)
	const start, dot, other = 0, 1, 2
	at := other
	if begins {
		at = start
	}
	for {
		for _, c := range piece {
			switch {
			case c == '\r' || c == '\n' || c == 0:
				if at == dot {
					return
				}
				at = start
			case c == '.' && at == start:
				at = dot
			default:
				at = other
			}
		}
		var err error
		g.size += int64(len(piece))
		if piece, err = g.in.ReadSlice('\n'); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if g.size > 2*g.limits.MessageSize {
			return
		}
	}
}

// forbidden is how a message with a bare CR, a bare LF or a NUL ends, and its connection.
func (g *guard) forbidden() error {
	g.hangUp()
	g.err = errOctets
	return g.err
}

// broken ends the connection inside a message: never the io.EOF that would make
// half a message look whole. go-smtp passes the reply on.
func (g *guard) broken(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		g.over, g.err = true, io.EOF
		return errCut
	}
	g.hangUp()
	g.err = errIdle
	return errIdle
}

// octets watches a message for what SMTP forbids (RFC 5321 section 2.3.8): CR
// or LF alone, NUL. Programs differ in what they take for the end of a line, so
// such octets can hide a second message in a first one.
type octets struct{ cr bool }

// clean looks at the next octets.
func (o *octets) clean(b []byte) bool {
	for _, c := range b {
		if o.cr != (c == '\n') || c == 0 {
			return false
		}
		o.cr = c == '\r'
	}
	return true
}
