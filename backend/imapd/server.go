// Package imapd is the door that mail programs read mail through: IMAP4rev1
// and IMAP4rev2 (RFC 3501, RFC 9051) with their extensions.
//
// A [Server] gives each connection one goroutine, which waits for an octet and
// holds no buffer meanwhile. When one arrives, a burst begins: a second
// goroutine borrows a gear (input buffer, decoder, encoder), runs commands until
// the input is empty, flushes the replies, gives the gear back and ends. So an
// idle connection keeps no buffer, no deep stack and no snapshot of the store.
//
// What a client has been told about its mailbox is its view (view.go): sequence
// numbers mean positions in it, and only refresh changes it. Nothing is ever
// written to the network from inside a View or Update of the store. Codes and
// texts that clients see in place of errors are made in errors.go alone.
//
// Who a client is, and whether we know it well enough to show what is in
// mailboxes, is package auth's to say. A log-in may end from that side, when a card
// is revoked for instance: the wait for the client is then broken off, and the
// session says BYE.
package imapd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"telesphore/backend/auth"
	"telesphore/storage"
	"telesphore/tls"
)

// Server serves IMAP. Its exported fields are set before the first Serve and
// not changed afterwards.
type Server struct {
	Store *storage.Store
	Auth  *auth.Authenticator

	// TLS is what STARTTLS and ServeTLS use, as tls.Identity.Server makes it.
	// Without it there is no STARTTLS, and nobody can log in on a Serve port
	// unless InsecureAuth is set.
	TLS *tls.Config

	// InsecureAuth allows log-in without TLS.
	InsecureAuth bool

	// Hostname stands in the greeting.
	Hostname string

	// Version is told by ID to clients that are logged in; "" tells none.
	Version string

	// HideCapabilities are names that CAPABILITY leaves out although they work,
	// for clients that stumble over them.
	HideCapabilities []string

	// Limits are DefaultLimits when left zero.
	Limits Limits

	// Logger receives what happens; slog.Default when nil. Neither secrets nor
	// anything of a message is ever logged.
	Logger *slog.Logger

	once    sync.Once // sets up what follows
	gears   sync.Pool // of *gear
	output  *semaphore.Weighted
	appends *semaphore.Weighted
	shared  sharedUIDs

	mu        sync.Mutex // guards what follows
	closing   bool
	listeners map[net.Listener]struct{}
	conns     map[*session]struct{}
	byAddress map[netip.Addr]int
	byAccount map[storage.AccountID]*share
	sessions  sync.WaitGroup // counts conns
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("imapd: server closed")

func (s *Server) setUp() {
	if s.Limits == (Limits{}) {
		s.Limits = DefaultLimits()
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	s.gears.New = func() any { return newGear(s.Limits.Wire) }
	s.output = semaphore.NewWeighted(s.Limits.OutputMemory)
	s.appends = semaphore.NewWeighted(max(s.Limits.AppendMemory, s.Limits.Message))
	s.listeners = make(map[net.Listener]struct{})
	s.conns = make(map[*session]struct{})
	s.byAddress = make(map[netip.Addr]int)
	s.byAccount = make(map[storage.AccountID]*share)
}

// Serve accepts connections that begin in clear and may turn to TLS with
// STARTTLS, until ctx ends or Shutdown is called; then it returns nil or
// ErrServerClosed. The end of ctx breaks the connections off as well.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, false)
}

// ServeTLS is Serve for implicit TLS (RFC 8314 section 3.2). ln is a plain
// listener.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener) error {
	if s.TLS == nil {
		return errors.New("imapd: ServeTLS without a TLS configuration")
	}
	return s.serve(ctx, ln, true)
}

func (s *Server) serve(ctx context.Context, ln net.Listener, implicit bool) error {
	s.once.Do(s.setUp)
	if !s.listen(ln) {
		ln.Close()
		return ErrServerClosed
	}
	defer s.unlisten(ln)
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			s.welcome(ctx, conn, implicit)
		case ctx.Err() != nil:
			return nil
		case s.isClosing():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept IMAP connections: %w", err)
		default:
			// Out of file descriptors, most likely: those that end free some.
			s.Logger.Error("accept IMAP connection", "err", err)
			pause(ctx, 100*time.Millisecond)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// welcome starts the session of a connection, or turns it away.
func (s *Server) welcome(ctx context.Context, raw net.Conn, implicit bool) {
	ses := newSession(ctx, s, raw)
	if why := s.enter(ses); why != "" {
		// The socket's buffer is empty: the write neither blocks nor needs a goroutine.
		// Under implicit TLS there is no way to say it without a handshake.
		if !implicit {
			raw.SetWriteDeadline(time.Now().Add(time.Second))
			raw.Write([]byte("* BYE [UNAVAILABLE] " + why + "\r\n"))
		}
		raw.Close()
		ses.cancel(nil)
		return
	}
	go func() {
		defer s.leave(ses)
		ses.serve(implicit)
	}()
}

// Shutdown closes the listeners, lets each session finish the command it runs,
// says BYE to it, and waits until all have ended. When ctx ends first, what is
// left is broken off and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.once.Do(s.setUp)
	s.mu.Lock()
	s.closing = true
	for ln := range s.listeners {
		ln.Close()
	}
	for ses := range s.conns {
		ses.link.interrupt()
	}
	s.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		s.sessions.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for ses := range s.conns {
		ses.cancel(errShutdown)
		ses.link.Close()
	}
	s.mu.Unlock()
	<-ended
	return ctx.Err()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) listen(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.listeners[ln] = struct{}{}
	}
	return !s.closing
}

func (s *Server) unlisten(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, ln)
	ln.Close()
}
