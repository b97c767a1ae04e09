package relay

import (
	"net"
	"time"
)

// limitedConn lies beneath everything else. No read or write waits longer than
// idle, nor beyond until, whoever waits: also TLS.
type limitedConn struct {
	net.Conn
	idle  time.Duration
	until time.Time // zero for none
}

func (c *limitedConn) deadline() time.Time {
	t := time.Now().Add(c.idle)
	if !c.until.IsZero() && c.until.Before(t) {
		return c.until
	}
	return t
}

func (c *limitedConn) Read(b []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(c.deadline()); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
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
