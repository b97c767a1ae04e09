package imapd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"telesphore/backend/imapd/wire"
	"telesphore/tls"
)

// link is the connection beneath TLS. Every read and write sets its own
// deadline, so that only a peer that makes no progress runs into one.
type link struct {
	net.Conn
	write time.Duration // for one write

	mu       sync.Mutex    // guards what follows, and the setting of read deadlines
	patience time.Duration // for the next read
	until    time.Time     // no read goes on beyond it, unless zero
	stopped  bool          // reads fail at once
	paused   bool          // so do they, for a moment
}

// Read implements net.Conn.
func (l *link) Read(p []byte) (int, error) {
	l.mu.Lock()
	l.arm()
	l.mu.Unlock()
	return l.Conn.Read(p)
}

// arm sets the deadline of the next read; l.mu is held.
func (l *link) arm() {
	deadline := time.Now().Add(l.patience)
	switch {
	case l.stopped || l.paused:
		deadline = time.Unix(1, 0)
	case !l.until.IsZero() && l.until.Before(deadline):
		deadline = l.until
	}
	l.Conn.SetReadDeadline(deadline)
}

// Write implements net.Conn.
func (l *link) Write(p []byte) (int, error) {
	l.SetWriteDeadline(time.Now().Add(l.write))
	return l.Conn.Write(p)
}

// wait says how long later reads may take.
func (l *link) wait(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.patience = d
}

// limit sets the moment that no read outlives; the zero time lifts it.
func (l *link) limit(t time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = t
}

// interrupt makes the read that waits fail, and all later ones.
func (l *link) interrupt() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.arm()
}

// pause makes the read that waits fail, and those that follow until resume.
func (l *link) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
	l.arm()
}

func (l *link) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = false
}

// conn reads and writes a connection, in clear or through TLS.
type conn struct {
	link   *link
	stream net.Conn // link, or the *tls.Conn above it
	tls    bool

	// ahead is an octet that was read to learn whether there is one.
	ahead     [1]byte
	haveAhead bool
}

// Read implements io.Reader. It gives the octet read ahead first.
func (c *conn) Read(p []byte) (int, error) {
	if c.haveAhead && len(p) > 0 {
		p[0] = c.ahead[0]
		c.haveAhead = false
		return 1, nil
	}
	return c.stream.Read(p)
}

// await returns when there is something to read. It needs no buffer.
func (c *conn) await() error {
	if c.haveAhead {
		return nil
	}
	_, err := io.ReadFull(c.stream, c.ahead[:])
	c.haveAhead = err == nil
	return err
}

// startTLS shakes hands within d.
func (c *conn) startTLS(ctx context.Context, config *tls.Config, d time.Duration) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	c.link.wait(d)
	t := tls.Server(c.link, config)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	c.stream, c.tls = t, true
	return t, nil
}

// watched runs f with a context that ends when the client leaves. It looks for
// that only after a while, for most commands are over by then. What the client
// sends meanwhile is kept.
func (c *conn) watched(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	timer := time.AfterFunc(patienceWithSilence, func() {
		defer close(ended)
		if err := c.await(); err != nil && !isTimeout(err) {
			cancel(errGone)
		}
	})
	err := f(ctx)
	if !timer.Stop() {
		c.link.pause()
		<-ended
		c.link.resume()
	}
	return err
}

// patienceWithSilence is how long a command runs before somebody looks whether
// its client is still there.
const patienceWithSilence = 500 * time.Millisecond

func isTimeout(err error) bool {
	var e net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// gear is what a connection borrows while it runs commands.
type gear struct {
	in  *bufio.Reader
	dec *wire.Decoder
	out wire.Encoder
	s   *session // who has it
}

const (
	inputBuffer  = 4 << 10
	outputBuffer = 64 << 10 // replies are flushed when as much waits
	keptOutput   = 96 << 10 // a larger buffer is not kept for others
)

func newGear(l wire.Limits) *gear {
	g := &gear{in: bufio.NewReaderSize(nil, inputBuffer)}
	g.dec = wire.NewDecoder(g.in, l, func() error { return g.s.askForLiteral() })
	return g
}

// borrow gives the session a gear. It fails when too many replies are being
// gathered already.
func (s *session) borrow() error {
	if s.who != nil { // strangers get short replies only
		if err := s.pay(); err != nil {
			return err
		}
	}
	g := s.srv.gears.Get().(*gear)
	g.s = s
	g.in.Reset(&s.conn)
	g.dec.Reset(g.in)
	s.gear = g
	s.tune()
	return nil
}

// pay takes from the memory that all replies may use together.
func (s *session) pay() error {
	if !s.srv.output.TryAcquire(outputBuffer) {
		ctx, cancel := context.WithTimeout(s.ctx, s.srv.Limits.Stall)
		defer cancel()
		if s.srv.output.Acquire(ctx, outputBuffer) != nil {
			return errBusy
		}
	}
	s.paid = true
	return nil
}

// tune makes decoder and encoder fit what is known of the client.
func (s *session) tune() {
	s.dec.Lim = s.srv.Limits.Wire
	if s.who == nil {
		s.dec.Lim = strangerLimits(s.dec.Lim)
	}
	s.dec.UTF8, s.out.UTF8 = s.utf8, s.utf8
}

// giveBack returns the gear. Its input is empty and its output flushed.
func (s *session) giveBack() {
	g := s.gear
	s.gear = nil
	if s.paid {
		s.paid = false
		s.srv.output.Release(outputBuffer)
	}
	g.s = nil
	g.in.Reset(nil)
	g.dec.Reset(g.in)
	g.out.B = g.out.B[:0]
	if cap(g.out.B) > keptOutput {
		g.out.B = nil
	}
	s.srv.gears.Put(g)
}

// flush writes what has gathered.
func (s *session) flush() error {
	for b := s.out.B; len(b) > 0; {
		// Portions, so that the write deadline measures progress.
		n, err := s.stream.Write(b[:min(len(b), outputBuffer)])
		if err != nil {
			s.out.B = s.out.B[:0]
			return errors.Join(errGone, err)
		}
		b = b[n:]
	}
	s.out.B = s.out.B[:0]
	return nil
}

// flushed empties the buffer when enough has gathered.
func (s *session) flushed() error {
	if len(s.out.B) < outputBuffer {
		return nil
	}
	return s.flush()
}

// askForLiteral is the continuation of a synchronising literal.
func (s *session) askForLiteral() error {
	s.out.Raw("+ Ready for the literal\r\n")
	return s.flush()
}
