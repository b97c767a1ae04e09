package smtpd

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// wireConn is the connection beneath TLS. It owns the deadlines: each Read
// may take idle, and none lasts past end. go-smtp's own timeout spans a whole
// message and would cut slow but steady ones.
type wireConn struct {
	net.Conn
	remote netip.Addr
	id     string // names the connection in the log
	begun  time.Time
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc

	write time.Duration // for one Write

	mu      sync.Mutex // guards what follows
	idle    time.Duration
	end     time.Time       // zero for never
	resting bool            // waits for a command: may be told to go
	proven  bool            // who calls has said so and proven it
	why     *smtp.SMTPError // what the client is told then; nil while it may stay
}

// Read implements net.Conn.
func (c *wireConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	if c.why != nil && c.resting {
		c.mu.Unlock()
		return 0, os.ErrDeadlineExceeded
	}
	deadline := time.Now().Add(c.idle)
	if !c.end.IsZero() && deadline.After(c.end) {
		deadline = c.end
	}
	err := c.Conn.SetReadDeadline(deadline)
	c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write implements net.Conn.
func (c *wireConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *wireConn) Close() error {
	c.cancel()
	return c.Conn.Close()
}

// pace sets the deadlines from now on. total is 0 for no end. resting is
// whether the client owes us nothing: shutting down then need not wait for it.
func (c *wireConn) pace(idle, total time.Duration, resting bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle, c.end, c.resting = idle, time.Time{}, resting
	if total > 0 {
		c.end = time.Now().Add(total)
	}
}

// stop makes the next wait for a command fail, and the present one. The first
// reason is the one that counts.
func (c *wireConn) stop(why *smtp.SMTPError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = why
	}
	if c.resting {
		// A failure means that the connection is gone already.
		_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// prove notes that it is known who calls.
func (c *wireConn) prove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.proven = true
}

// expendable reports whether the connection may be closed to make room for another: nobody knows
// who calls, and no message is under way.
func (c *wireConn) expendable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resting && !c.proven
}

// silenced is what to tell a client for whom nothing came before the deadline.
func (c *wireConn) silenced() *smtp.SMTPError {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return c.why
	}
	return errIdle
}

// network is what connections are counted by: an IPv6 network of 64 bits is one customer.
func network(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero Prefix for an address that is none
	return p
}

func remoteAddr(c net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
