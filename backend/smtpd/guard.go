package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend/auth"
	"telesphore/tls"
)

// guard is the connection that go-smtp sees: the text above TLS. It gives
// go-smtp one checked command line at a time, the session the octets of a message, exactly
// those that belong to it, and puts right what go-smtp answers. Whatever goes wrong inside
// a message ends the connection, so that no octet of a message is ever read as a
// command.
//
// It does not look like a *tls.Conn on purpose: go-smtp then leaves STARTTLS and
// the question who may use AUTH to us. Read and Write are called by go-smtp's
// goroutine of the connection only.
type guard struct {
	net.Conn // speaks TLS
	*lines
	wire   *wireConn
	limits *Limits
	role   role
	caller *auth.Caller
	host   string
	domain string // completes postmaster

	line     []byte          // what go-smtp has yet to read of a command
	verb     string          // the command that go-smtp is answering
	reply    []byte          // what go-smtp has written of a reply
	override *smtp.SMTPError // instead of go-smtp's next reply
	until    time.Time       // FUTURERELEASE of the last MAIL
	queued   string          // the name of the message that the next reply is about
	state    state           // what the client's next octets are
	chunk    chunk           // of a BDAT message
	data     octets          // watches the octets of a message
	size     int64           // octets of a message so far
	atLine   bool            // in a message: at the beginning of a line
	aborted  bool            // go-smtp is to give the message up
	idle     int             // commands since the last message
	silent   bool            // the next reply of go-smtp is not for the client: it greets twice
	closing  bool            // the next reply is the last one
	over     bool            // the last reply has been given
	linger   bool            // the client may be sending still: let the last reply reach it
	err      error           // the connection is over
	known    bool            // the client has logged in
	closed   sync.Once       // guards onClose
	onClose  func()
}

// state is what the client's next octets are.
type state int

const (
	inCommands state = iota
	inAuth           // a line of a SASL exchange
	inData           // a message up to its final dot
	inChunk          // of a message, counted (RFC 3030)
)

// newGuard stands above a connection whose handshake is over.
func newGuard(conn *tls.Conn, wire *wireConn, limits *Limits, host, domain string) *guard {
	caller := &auth.Caller{Proto: "smtp", Remote: wire.remote, ConnID: wire.id, TLS: tls.FactsOf(conn)}
	return &guard{Conn: conn, lines: newLines(conn), wire: wire, limits: limits, caller: caller, host: host, domain: domain}
}

// Read implements net.Conn for go-smtp.
func (g *guard) Read(p []byte) (int, error) {
	for {
		switch {
		case len(g.line) > 0:
			n := copy(p, g.line)
			g.line = g.line[n:]
			return n, nil
		case g.err != nil:
			return 0, g.err
		case g.aborted:
			return 0, errCut
		case g.closing:
			return 0, g.end(io.EOF)
		case g.state == inData, g.state == inChunk:
			// The session reads messages, and to their end: see readMessage.
			return 0, g.end(io.EOF)
		}
		if err := g.readCommand(); err != nil {
			return 0, g.end(err)
		}
	}
}

// end is what every way out of the connection passes: the replies that wait are sent.
func (g *guard) end(err error) error {
	g.err = err
	// Nothing can be told to a client that is gone.
	_ = g.flush()
	return err
}

// hangUp makes the next reply the last one.
func (g *guard) hangUp() { g.closing, g.linger = true, true }

// readCommand gets the next line to where Read finds it, or answers it.
func (g *guard) readCommand() error {
	exchange := g.state == inAuth
	if !exchange {
		g.state = inCommands
	}
	g.rest()
	text, err := g.readLine()
	if exchange {
		return g.exchange(text, err)
	}
	var refusal *smtp.SMTPError
	if errors.As(err, &refusal) {
		// Half a line end is how a second meaning begins.
		g.refuse(refusal, refusal == errLineEnd)
		return nil
	}
	if err != nil {
		return g.lost(err)
	}
	if g.idle++; g.idle > g.limits.Commands {
		g.refuse(errTooManyIdle, true)
		return nil
	}
	c, refusal := parseCommand(string(text), g.terms())
	if refusal != nil {
		g.refuse(refusal, c.hangs)
		return nil
	}
	g.verb, g.until = c.verb, c.until
	g.line = append([]byte(c.line), '\r', '\n')
	if c.verb == "BDAT" {
		g.line = []byte("DATA\r\n")
		g.chunk = chunk{left: c.chunk, last: c.last}
	}
	return nil
}

func (g *guard) terms() terms {
	t := terms{size: g.limits.MessageSize, hold: g.role.hold()}
	if g.domain != "" {
		t.postmaster = "postmaster@" + g.domain
	}
	return t
}

// rest sets the deadlines for waiting between commands. Before the log-in there
// is one for all of them together, set by the server.
func (g *guard) rest() {
	if g.known {
		g.wire.pace(g.limits.Idle, 0, true)
	}
}

// exchange passes a line of a SASL exchange on. go-smtp would answer a bad one
// with a temporary error; it is told that the client gave up instead.
func (g *guard) exchange(text []byte, err error) error {
	var refusal *smtp.SMTPError
	switch {
	case errors.As(err, &refusal):
		if g.override = refusal; refusal == errLineLength {
			g.override = errAuthLine
		}
	case err != nil:
		return g.lost(err)
	case string(text) != "*" && !decodes(string(text)):
		g.override = errBase64
	}
	if g.override != nil {
		text = []byte("*")
	}
	g.line = append(bytes.Clone(text), '\r', '\n')
	return nil
}

// refuse answers a command that go-smtp does not get to see.
func (g *guard) refuse(r *smtp.SMTPError, last bool) {
	g.put(r)
	if last || r.Code == 421 {
		g.hangUp()
		return
	}
	g.count(r.Code)
}

// count closes the connection on those who do not speak the protocol.
func (g *guard) count(code int) {
	if code < 500 || code > 504 {
		return
	}
	if g.bad++; g.bad > g.limits.Errors {
		g.put(errTooManyBad)
		g.hangUp()
	}
}

// lost tells the client why its silence, our shutting down, or the end of its
// log-in ends the connection, if it is still there.
func (g *guard) lost(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.put(g.wire.silenced())
	}
	return io.EOF
}

// Write implements net.Conn for go-smtp, which writes replies line by line.
func (g *guard) Write(b []byte) (int, error) {
	g.reply = append(g.reply, b...)
	for start := 0; ; {
		i := bytes.IndexByte(g.reply[start:], '\n')
		if i < 0 {
			return len(b), nil
		}
		line := g.reply[start : start+i+1]
		start += i + 1
		if len(line) < 4 || line[3] != '-' {
			g.answer(strings.Split(strings.TrimSuffix(string(g.reply[:start]), "\r\n"), "\r\n"))
			g.reply = append(g.reply[:0], g.reply[start:]...)
			start = 0
		}
	}
}

// answer sends go-smtp's reply, or the one that should stand there.
func (g *guard) answer(reply []string) {
	if g.silent {
		g.silent = false
		return
	}
	if g.over {
		return
	}
	g.aborted = false
	last := reply[len(reply)-1]
	code, _ := strconv.Atoi(last[:min(3, len(last))])
	if g.verb == "BDAT" && code == 354 {
		g.follow(code)
		g.state = inChunk
		return
	}
	enhanced, _, _ := strings.Cut(last[min(4, len(last)):], " ")
	instead := g.override
	g.override = nil
	if instead == nil {
		instead = correct(g.verb, code, enhanced)
	}
	if g.queued != "" {
		instead, g.queued, g.idle = okAccepted(g.queued), "", 0
	}
	if instead != nil {
		code, reply = instead.Code, nil
		g.put(instead)
	}
	if len(reply) > 0 && code == 250 && (g.verb == "EHLO" || g.verb == "HELO") {
		reply = g.greeting(reply)
	}
	for _, r := range reply {
		g.out = append(append(g.out, r...), '\r', '\n')
	}
	g.follow(code)
}

// follow works out from a reply what comes next.
func (g *guard) follow(code int) {
	switch {
	case g.closing, code == 421, code == 221:
		g.closing, g.over, g.err = true, true, io.EOF
		return
	case code == 354:
		g.state, g.data, g.size, g.atLine = inData, octets{}, 0, true
		g.wire.pace(g.limits.Idle, g.limits.Message, false)
	case g.verb == "BDAT" && g.chunk.left > 0:
		g.skipChunk() // the octets follow whatever was answered
	case code == 334:
		g.state = inAuth
	case g.state == inAuth:
		g.state = inCommands
	}
	g.count(code)
}

// greeting corrects the answer to EHLO: it begins with the server's own name
// (RFC 5321 section 4.1.1.1), the limit is the one that holds, and what go-smtp
// does not announce comes second.
func (g *guard) greeting(reply []string) []string {
	reply[0] = reply[0][:4] + g.host
	if len(reply) > 1 {
		more := []string{"250-REQUIRETLS"} // there is TLS, though go-smtp does not see it
		for _, e := range g.role.extensions() {
			more = append(more, "250-"+e)
		}
		reply = slices.Insert(reply, 1, more...)
	}
	for i, r := range reply {
		if strings.HasPrefix(r[4:], "SIZE") {
			reply[i] = r[:4] + "SIZE " + strconv.FormatInt(g.limits.MessageSize, 10)
		}
	}
	return reply
}

// Close implements net.Conn.
func (g *guard) Close() error {
	var err error
	g.closed.Do(func() {
		_ = g.flush() // the client may be gone
		if g.linger {
			g.drain()
		}
		err = g.Conn.Close()
		g.onClose()
	})
	return err
}

// drain waits until the client has read the last reply: closing while its
// octets are unread would make TCP throw the reply away.
func (g *guard) drain() {
	if c, ok := g.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	g.wire.pace(lingerTime, lingerTime, false)
	_, _ = io.CopyN(io.Discard, g.in, lingerSize)
}
