package relay

import (
	"bufio"
	"crypto/x509"
	"net"
	"strconv"
	"strings"
	"time"
)

// client speaks SMTP over one connection.
//
// It is not that of go-smtp, which names itself "localhost" in front of STARTTLS,
// says BODY=8BITMIME of every message, waits for each reply before it sends the next
// command, and lets a peer stall a message for ever.
type client struct {
	host   host
	conn   *limitedConn      // the connection itself
	stream net.Conn          // what is spoken over: conn, or TLS over it
	leaf   *x509.Certificate // of the peer, verified; nil without TLS
	r      *bufio.Reader     // of maxLine octets
	w      *bufio.Writer
	limits Limits

	extensions map[string]string // in upper case, with their parameters
	uses       int               // transactions begun
	timer      *time.Timer       // ends it while it waits in the pool
}

func newClient(h host, conn net.Conn, limits Limits) *client {
	c := &client{host: h, conn: &limitedConn{Conn: conn, idle: limits.Command}, limits: limits}
	c.speak(c.conn)
	return c
}

// speak goes on over stream. Nothing of what came before it is left over.
func (c *client) speak(stream net.Conn) {
	c.stream, c.extensions = stream, nil
	c.r, c.w = bufio.NewReaderSize(stream, maxLine), bufio.NewWriterSize(stream, 32<<10)
}

// reply reads a reply that must come within a time.
func (c *client) reply(within time.Duration) (reply, error) {
	c.conn.until = time.Now().Add(within)
	return readReply(c.r, c.limits.Reply)
}

// command sends a command and reads its reply.
func (c *client) command(line string) (reply, error) {
	return c.commandWithin(line, c.limits.Command)
}

func (c *client) commandWithin(line string, within time.Duration) (reply, error) {
	if err := c.write(within, line); err != nil {
		return reply{}, err
	}
	return c.reply(within)
}

// write sends commands. A peer that has said something by now answers what it has
// not read: its replies would be taken for those of other commands.
func (c *client) write(within time.Duration, lines ...string) error {
	if c.r.Buffered() > 0 {
		return errEarly
	}
	c.conn.until = time.Now().Add(within)
	for _, line := range lines {
		c.w.WriteString(line)
		c.w.WriteString("\r\n") // errors stay until Flush
	}
	return c.w.Flush()
}

// several sends MAIL and what follows it, at once when the peer takes that (RFC 2920).
// It returns the replies up to the one that ends it: an error, a connection that
// closes, or MAIL refused.
func (c *client) several(commands []string) (replies []reply, err error) {
	pipelining := c.has("PIPELINING")
	if pipelining {
		if err := c.write(c.limits.Command, commands...); err != nil {
			return nil, err
		}
	}
	for _, command := range commands {
		var r reply
		if pipelining {
			r, err = c.reply(c.limits.Command)
		} else {
			r, err = c.command(command)
		}
		if err != nil {
			return replies, err
		}
		replies = append(replies, r)
		if r.code/100 == 3 {
			return replies, errGarbage
		}
		if r.code == closing || !pipelining && !replies[0].good() {
			return replies, nil
		}
	}
	return replies, nil
}

// end ends a message and reads what the peer says of it.
func (c *client) end() (reply, error) {
	c.w.WriteString(".\r\n")
	if err := c.w.Flush(); err != nil {
		return reply{}, err
	}
	return c.reply(c.limits.Data)
}

// reset gives up a transaction that no message was sent in.
func (c *client) reset() *fault {
	r, err := c.command("RSET")
	if err != nil {
		return broken("RSET", err)
	}
	if !r.good() {
		return broken("RSET", errGarbage)
	}
	return nil
}

// hello says EHLO and keeps what the peer offers. HELO is for peers that offer
// nothing (RFC 5321 section 3.2).
func (c *client) hello(name string) *fault {
	r, err := c.command("EHLO " + name)
	if err == nil && (r.code == 500 || r.code == 502) {
		r, err = c.command("HELO " + name)
	}
	if err != nil {
		return broken("EHLO", err)
	}
	if r.code != 250 {
		return refused("EHLO", r)
	}
	c.extensions = map[string]string{}
	for _, line := range r.lines[1:] {
		keyword, parameters, _ := strings.Cut(line, " ")
		c.extensions[strings.ToUpper(keyword)] = strings.TrimSpace(parameters)
	}
	return nil
}

func (c *client) has(extension string) bool {
	_, ok := c.extensions[extension]
	return ok
}

// size is the longest message the peer takes, in octets; false when it does not say
// (RFC 1870 section 4).
func (c *client) size() (int64, bool) {
	n, err := strconv.ParseInt(c.extensions["SIZE"], 10, 64)
	return n, err == nil && n > 0
}

// most is how many recipients a transaction may have: ours, or fewer when the peer
// says so (RFC 9422).
func (c *client) most(ours int) int {
	for limit := range strings.FieldsSeq(c.extensions["LIMITS"]) {
		if value, ok := strings.CutPrefix(strings.ToUpper(limit), "RCPTMAX="); ok {
			if n, err := strconv.Atoi(value); err == nil && n > 0 {
				return min(ours, n)
			}
		}
	}
	return ours
}

// quit says goodbye and closes the connection.
func (c *client) quit() {
	_, _ = c.commandWithin("QUIT", c.limits.Quit) // nothing depends on it
	_ = c.stream.Close()
	c.cut()
}

// cut closes the connection without a word. Whoever waits on it gets an error.
func (c *client) cut() { _ = c.conn.Conn.Close() }
