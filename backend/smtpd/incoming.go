package smtpd

import (
	"errors"
	"io"

	"github.com/emersion/go-smtp"
)

// incoming is a message being received: room for what goes in front, then its octets.
type incoming struct {
	budget  *budget
	reserve int64 // octets of it that are for others
	taken   int64
	buf     []byte
	head    int // where the message as it came begins
	start   int // where it begins with what was prepended
}

// headroom is for what is mostly prepended: Received, Date, Message-ID, results.
const headroom = 8 << 10

// receive reads a message within the limits. It always reads to the end of the message, or
// of the connection: what is left would be taken for commands.
func (s *session) receive() (*incoming, error) {
	m := &incoming{budget: s.s.memory, reserve: s.tx.party.reserve(), head: headroom, start: headroom}
	if !m.grow(headroom + 28<<10) {
		return m, s.discard(m, errMemory)
	}
	m.buf = m.buf[:headroom]
	limit := s.limit(s.tx.party)
	for {
		n, err := s.guard.readMessage(m.buf[len(m.buf):cap(m.buf)])
		m.buf = m.buf[:len(m.buf)+n]
		switch {
		case err == io.EOF:
			return m, nil
		case err != nil:
			return m, broken(err)
		case int64(len(m.body())) > limit:
			return m, s.discard(m, errTooLarge)
		case len(m.buf) == cap(m.buf) && !m.grow(2*int64(cap(m.buf))):
			return m, s.discard(m, errMemory)
		}
	}
}

// discard reads the rest of a message away that is refused.
func (s *session) discard(m *incoming, why error) error {
	m.release()
	scratch := make([]byte, 4<<10)
	for {
		switch _, err := s.guard.readMessage(scratch); {
		case err == io.EOF:
			return why
		case err != nil:
			return broken(err)
		}
	}
}

// broken keeps the reply in an error of the guard.
func broken(err error) error {
	var r *smtp.SMTPError
	if errors.As(err, &r) {
		return r
	}
	return errCut
}

// grow makes room for n octets in all.
func (m *incoming) grow(n int64) bool {
	if !m.budget.take(n-m.taken, m.reserve) {
		return false
	}
	m.taken = n
	m.buf = append(make([]byte, 0, n), m.buf...)
	return true
}

// body is the message as it came, whole with what was prepended.
func (m *incoming) body() []byte  { return m.buf[m.head:] }
func (m *incoming) whole() []byte { return m.buf[m.start:] }

// replace makes octets, which are no more than the body has, the body.
func (m *incoming) replace(octets []byte) {
	m.buf = m.buf[:m.head+copy(m.buf[m.head:], octets)]
}

// prepend puts header lines in front. Nothing else of a message is ever changed:
// signatures cover it. That includes Bcc, which is the client's to leave out
// (RFC 5322 section 3.6.3).
func (m *incoming) prepend(lines string) error {
	if more := len(lines) - m.start; more > 0 && !m.widen(more+headroom) {
		return errMemory
	}
	m.start -= len(lines)
	copy(m.buf[m.start:], lines)
	return nil
}

// widen makes room for n more octets in front.
func (m *incoming) widen(n int) bool {
	if !m.budget.take(int64(n), m.reserve) {
		return false
	}
	m.taken += int64(n)
	m.buf = append(make([]byte, n, n+len(m.buf)), m.buf...)
	m.head, m.start = m.head+n, m.start+n
	return true
}

// release gives the memory back.
func (m *incoming) release() {
	m.budget.give(m.taken)
	m.taken, m.buf = 0, nil
}
