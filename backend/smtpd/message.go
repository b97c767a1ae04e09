package smtpd

import (
	"bufio"
	"errors"
	"io"
	"os"
	"time"

	"github.com/emersion/go-smtp"
)

// This file is the guard's work while a message is read. The session gets the octets
// from here, at once as they are; go-smtp, which would look at each of them, is told of a
// message behind DATA that has none. That serves BDAT too: go-smtp's own reads a message in a
// second goroutine, whose end can be taken for the end of the next message.

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

// readMessage gives the session the octets of a message, io.EOF behind the last one.
// Any other error ends the message, and what follows is no part of it.
func (g *guard) readMessage(p []byte) (int, error) {
	for len(g.line) == 0 {
		var more bool
		err := g.err
		switch {
		case err == io.EOF, err == nil && g.aborted:
			err = errCut // half a message must not look whole
		case err == nil && g.state == inData:
			more, err = g.readPiece()
		case err == nil && g.state == inChunk:
			more, err = g.readChunk()
		}
		if err != nil {
			return 0, err
		}
		if !more {
			g.state, g.line = inCommands, []byte(".\r\n") // for go-smtp
			return 0, io.EOF
		}
	}
	n := copy(p, g.line)
	g.line = g.line[n:]
	return n, nil
}

// readPiece gets what is next behind DATA to where readMessage finds it, without the dot that
// the client put before another one (RFC 5321 section 4.5.2); false at the line with the single dot.
func (g *guard) readPiece() (bool, error) {
	// A line of any length arrives in pieces; only a short one can be the last.
	piece, err := g.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return false, g.broken(err)
	}
	begins := g.atLine
	g.size += int64(len(piece))
	if !g.data.clean(piece) {
		g.skipMessage(begins, piece)
		return false, g.forbidden()
	}
	if g.size > 2*g.limits.MessageSize+maxLine {
		g.hangUp()
		g.err = errTooLarge
		return false, g.err
	}
	g.atLine = piece[len(piece)-1] == '\n'
	if begins && piece[0] == '.' {
		if string(piece) == ".\r\n" {
			return false, nil
		}
		piece = piece[1:]
	}
	g.line = piece
	return true, nil
}

// readChunk gets the next octets of a chunk to where readMessage finds them; false behind the last.
func (g *guard) readChunk() (bool, error) {
	if g.chunk.left == 0 && g.chunk.last {
		if g.data.cr {
			return false, g.forbidden()
		}
		return false, nil
	}
	if g.chunk.left == 0 {
		g.put(okChunk)
		return true, g.nextChunk()
	}
	if _, err := g.in.Peek(1); err != nil {
		return false, g.broken(err)
	}
	b, err := g.in.Peek(int(min(g.chunk.left, int64(g.in.Buffered()))))
	if err != nil {
		return false, g.broken(err)
	}
	// The octets stay where they are until the next read.
	if _, err := g.in.Discard(len(b)); err != nil {
		return false, g.broken(err)
	}
	g.chunk.left -= int64(len(b))
	g.size += int64(len(b))
	if !g.data.clean(b) {
		g.wire.pace(lingerTime, g.limits.Message, false)
		g.skipChunk()
		return false, g.forbidden()
	}
	g.line = b
	return true, nil
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
