package imapd

import (
	"context"
	"errors"
	"strings"

	"telesphore/backend/imapd/wire"
)

// idleCommand is IDLE (RFC 9051 section 6.3.13). It only notes the tag: the
// session is then waiting as between commands, with a goroutine beside that
// tells the news.
func (s *session) idleCommand(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	s.idle = tag
	s.out.Raw("+ idling\r\n")
	// What happened since the last answer has been waiting for this command.
	return "", s.refresh(ctx, true)
}

// startIdle tells news until stop is called, which waits for it to end.
func (s *session) startIdle() (stop func()) {
	if s.idle == "" {
		return func() {}
	}
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s.announce(stopped)
	}()
	return func() {
		close(stopped)
		<-ended
	}
}

// announce waits for changes and tells them. When the session cannot go on it
// says so and makes the wait for the client end.
func (s *session) announce(stopped <-chan struct{}) {
	for s.end == nil {
		select {
		case <-stopped:
			return
		case <-s.wake:
			s.dirty = true
		}
		s.inGoroutine(s.announceOnce)
	}
	s.link.interrupt()
}

func (s *session) announceOnce() {
	if s.end = s.borrow(); s.end != nil {
		return
	}
	defer s.giveBack()
	if s.end = s.refresh(s.ctx, true); s.end != nil {
		if farewell(s.end) == "" && !errors.Is(s.end, errGone) {
			s.report("IDLE", s.end)
			s.end = errBusy
		}
		s.bye()
		return
	}
	s.end = s.flush()
}

// endIdle reads the line that ends IDLE. Anything but DONE is a client out of
// step: its line is refused, and IDLE is over as well.
func (s *session) endIdle() {
	tag := s.idle
	s.idle = ""
	line, err := s.dec.Line()
	if err == nil && !strings.EqualFold(string(line), "DONE") {
		err = &wire.SyntaxError{Text: "DONE expected"}
	}
	s.finish(tag, "IDLE", command{}, "IDLE terminated", err)
}
