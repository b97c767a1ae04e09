package relay

import (
	"slices"
	"sync"
	"time"
)

// pool has the connections that wait for a next message. The zero pool is empty.
type pool struct {
	mu      sync.Mutex // guards what follows
	waiting []*client  // the longest first
	closed  bool
	leaving sync.WaitGroup // those that say goodbye; none is added once closed
}

// take gets a connection to h, the last one used, nil when none waits.
func (p *pool) take(h host) *client {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, c := range slices.Backward(p.waiting) {
		if c.host == h {
			p.waiting = slices.Delete(p.waiting, n, n+1)
			c.timer.Stop()
			return c
		}
	}
	return nil
}

// keep has c wait, or ends it when it has done its work. When too many wait the one
// that waits longest ends.
func (p *pool) keep(c *client, l Limits) {
	if c.uses >= l.Uses || l.Kept < 1 {
		p.leave(c)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) >= l.Kept {
		p.bid(p.waiting[0])
		p.waiting = slices.Delete(p.waiting, 0, 1)
	}
	if p.closed {
		p.bid(c)
		return
	}
	p.waiting = append(p.waiting, c)
	c.timer = time.AfterFunc(l.Idle, func() { p.expire(c) })
}

func (p *pool) expire(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := slices.Index(p.waiting, c); n >= 0 { // else somebody has just taken it
		p.waiting = slices.Delete(p.waiting, n, n+1)
		p.bid(c)
	}
}

// leave ends a connection that does not wait.
func (p *pool) leave(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bid(c)
}

// bid says goodbye without waiting for the answer. p.mu is held.
func (p *pool) bid(c *client) {
	if p.closed {
		c.cut()
		return
	}
	p.leaving.Go(c.quit)
}

// close ends the connections that wait, and waits for those that leave.
func (p *pool) close() {
	p.mu.Lock()
	for _, c := range p.waiting {
		c.timer.Stop()
		p.bid(c)
	}
	p.waiting, p.closed = nil, true
	p.mu.Unlock()
	p.leaving.Wait()
}
