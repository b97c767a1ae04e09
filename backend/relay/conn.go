package relay

import (
	"errors"
	"net"
	"time"
)

var errTalkative = errors.New("the peer sends more than replies need")

// limitedConn lies beneath everything else. No read or write waits longer than
// idle, also where go-smtp sets no deadline (it has none while a message is
// sent), and the peer cannot fill our memory with a reply that never ends.
type limitedConn struct {
	net.Conn
	idle  time.Duration
	until time.Time // set from above, zero for none
	left  int64     // octets that the peer may still send
}

func (c *limitedConn) deadline() time.Time {
	t := time.Now().Add(c.idle)
	if !c.until.IsZero() && c.until.Before(t) {
		return c.until
	}
	return t
}

func (c *limitedConn) Read(b []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTalkative
	}
	if err := c.Conn.SetReadDeadline(c.deadline()); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}

func (c *limitedConn) Write(b []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(c.deadline()); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *limitedConn) SetDeadline(t time.Time) error {
	c.until = t
	return nil
}

func (c *limitedConn) SetReadDeadline(t time.Time) error  { return c.SetDeadline(t) }
func (c *limitedConn) SetWriteDeadline(t time.Time) error { return c.SetDeadline(t) }
