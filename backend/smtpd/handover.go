package smtpd

import (
	"net"
	"sync"
)

// handover is the listener of go-smtp: it accepts connections that are secure already.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// give waits until go-smtp takes the connection; false when it takes no more.
func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }

// budget is the memory that messages being received may take.
type budget struct {
	mu   sync.Mutex // guards left
	left int64      // octets
}

// take takes n octets, unless that leaves less than reserve.
func (b *budget) take(n, reserve int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left-reserve {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
}
