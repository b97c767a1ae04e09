// Package smtpd is the door for mail: that of our users, who hand theirs in (RFC 6409), and
// that of other servers (RFC 5321).
//
// github.com/emersion/go-smtp reads the commands and keeps their order, behind a
// guard that checks each line before and each reply after: see type guard. The
// way of a connection is: wireConn (deadlines) - starttls (the little that is
// allowed in clear) - TLS - guard - go-smtp - session. The session does what both
// doors do; a role is what one of them decides, and a party on whose behalf one message
// comes: see role.go. SMTP codes are made in errors.go only.
package smtpd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/scan"
	"telesphore/storage"
	"telesphore/tls"
)

// Server is one door: for our users, or with an Exchange for other servers. Set the
// fields before the first call and leave them alone.
type Server struct {
	Hostname string // how the server calls itself
	Language string // of refusals that people read: "en" (default) or "fr"
	Auth     *auth.Authenticator
	Router   *backend.Router
	Store    *storage.Store
	TLS      *tls.Config
	Limits   Limits
	Logger   *slog.Logger // default slog.Default()

	Scanner  *scan.Scanner            // is asked about each message; nil for none
	Reaches  func(domain string) bool // whether there is a way to a domain that is not ours; nil: always
	Exchange *Exchange                // nil for submission

	once   sync.Once
	role   role
	smtp   *smtp.Server
	ready  *handover // connections for go-smtp
	served chan struct{}
	memory *budget
	open   sync.WaitGroup // connections

	mu        sync.Mutex // guards what follows
	stopping  bool
	listeners map[net.Listener]bool
	conns     map[*wireConn]bool
	networks  map[netip.Prefix]int
	accounts  map[storage.AccountID]int
}

// start makes what all listeners share.
func (s *Server) start() {
	s.once.Do(func() {
		s.Limits = s.Limits.withDefaults()
		if s.Logger == nil {
			s.Logger = slog.Default()
		}
		s.listeners, s.conns = map[net.Listener]bool{}, map[*wireConn]bool{}
		s.networks, s.accounts = map[netip.Prefix]int{}, map[storage.AccountID]int{}
		s.role = submission{s}
		if s.Exchange != nil {
			s.role = &exchange{s: s, Exchange: s.Exchange, pace: map[storage.AccountID]*pace{}}
		}
		s.memory = &budget{left: s.Limits.Memory}
		s.smtp = s.newSMTP()
		s.ready = &handover{conns: make(chan net.Conn), done: make(chan struct{})}
		s.served = make(chan struct{})
		go func() {
			defer close(s.served)
			// Ends with Shutdown, which closes s.ready.
			_ = s.smtp.Serve(s.ready)
		}()
	})
}

func (s *Server) newSMTP() *smtp.Server {
	v := smtp.NewServer(smtp.BackendFunc(s.newSession))
	v.Domain = s.Hostname
	v.ErrorLog = slog.NewLogLogger(s.Logger.Handler(), slog.LevelError)
	v.AllowInsecureAuth = true // the guard lets nobody in without TLS
	v.MaxLineLength = 0        // the guard bounds command lines; messages may have any
	v.MaxMessageBytes = s.Limits.MessageSize
	v.MaxRecipients = s.Limits.Recipients
	v.EnableSMTPUTF8 = true
	v.EnableDSN = true
	v.EnableREQUIRETLS = true // the guard announces it
	return v
}

// Serve accepts connections that begin in clear and change to TLS with STARTTLS
// (ports 587 and 25), until ctx ends, the listener fails, or Shutdown. It closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, false)
}

// ServeTLS accepts connections that begin with TLS (port 465, RFC 8314 section
// 3.3). ln is a plain listener: TLS is put above the deadlines here.
func (s *Server) ServeTLS(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, ln, true)
}

func (s *Server) serve(ctx context.Context, ln net.Listener, implicit bool) error {
	s.start()
	defer ln.Close()
	s.mu.Lock()
	s.listeners[ln] = true
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return nil
	}
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for delay := time.Duration(0); ; {
		conn, err := ln.Accept()
		switch {
		case err == nil:
			delay = 0
			s.admit(ctx, conn, implicit)
			continue
		case ctx.Err() != nil || s.isStopping():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connections: %w", err)
		}
		// Mostly too many open files: wait for some of them to close.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.Logger.WarnContext(ctx, "smtp.accept failed", "err", err, "retry", delay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// admit begins a connection, or turns it away when there are too many.
func (s *Server) admit(ctx context.Context, conn net.Conn, implicit bool) {
	// The connection outlives Serve's ctx: Shutdown ends it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &wireConn{
		Conn: conn, remote: remoteAddr(conn), id: rand.Text()[:10], begun: time.Now(), ctx: ctx, cancel: cancel,
		write: s.Limits.Write,
	}
	w.pace(s.Limits.Login, s.Limits.Login, true)
	if !s.enter(w) {
		s.Logger.WarnContext(ctx, "smtp.conn refused", "remote", w.remote, "conn", w.id)
		if !implicit {
			l := newLines(w)
			l.put(errTooManyConns)
			_ = l.flush() // the answer is a courtesy
		}
		w.Close()
		return
	}
	go func() {
		g, err := s.secure(ctx, w, implicit)
		if err != nil {
			s.Logger.DebugContext(ctx, "smtp.conn ended before TLS", "remote", w.remote, "conn", w.id, "err", err)
			w.Close()
			s.leave(w)
			return
		}
		g.onClose = func() { s.leave(w) }
		if !s.ready.give(g) {
			g.Close()
		}
	}()
}

// secure does what comes before TLS, and the handshake.
func (s *Server) secure(ctx context.Context, w *wireConn, implicit bool) (*guard, error) {
	if !implicit {
		if err := s.starttls(w); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Handshake)
	defer cancel()
	conn := tls.Server(w, s.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		// Nothing in clear may follow: the connection is over.
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	domain := ""
	if len(s.Router.Domains) > 0 {
		domain = s.Router.Domains[0]
	}
	g := newGuard(conn, w, &s.Limits, s.Hostname, domain)
	g.role, g.silent = s.role, !implicit
	return g, nil
}

// enter counts a connection, unless there are too many.
func (s *Server) enter(w *wireConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	net := network(w.remote)
	if s.stopping || s.networks[net] >= s.Limits.ConnectionsPerAddress || len(s.conns) >= s.Limits.Connections && !s.makeRoom() {
		return false
	}
	s.conns[w] = true
	s.networks[net]++
	s.open.Add(1)
	return true
}

// makeRoom closes the oldest connection that can be spared: else strangers who hold all of them, and say
// nothing, would keep everybody else out. The caller holds s.mu.
func (s *Server) makeRoom() bool {
	var oldest *wireConn
	for w := range s.conns {
		if (oldest == nil || w.begun.Before(oldest.begun)) && w.expendable() {
			oldest = w
		}
	}
	if oldest == nil {
		return false
	}
	delete(s.conns, oldest)
	oldest.Close() // what reads from it ends, and leaves
	return true
}

func (s *Server) leave(w *wireConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	net := network(w.remote)
	delete(s.conns, w)
	if s.networks[net]--; s.networks[net] == 0 {
		delete(s.networks, net)
	}
	s.open.Done()
}

// enterAccount counts a log-in, unless the account has too many.
func (s *Server) enterAccount(id storage.AccountID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[id] >= s.Limits.ConnectionsPerAccount {
		return false
	}
	s.accounts[id]++
	return true
}

func (s *Server) leaveAccount(id storage.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[id]--; s.accounts[id] == 0 {
		delete(s.accounts, id)
	}
}

// Shutdown closes the listeners, says 421 to those who are between two commands
// and lets messages that are under way finish. When ctx ends it closes what is
// left, and returns ctx's error. It returns when every connection is closed.
func (s *Server) Shutdown(ctx context.Context) error {
	s.start()
	s.mu.Lock()
	s.stopping = true
	for ln := range s.listeners {
		ln.Close()
	}
	conns := make([]*wireConn, 0, len(s.conns))
	for w := range s.conns {
		conns = append(conns, w)
	}
	s.mu.Unlock()
	for _, w := range conns {
		w.stop(errShutdown)
	}
	closed := make(chan struct{})
	go func() {
		s.open.Wait()
		close(closed)
	}()
	var err error
	select {
	case <-closed:
	case <-ctx.Done():
		err = fmt.Errorf("wait for connections: %w", ctx.Err())
		for _, w := range conns {
			w.Close()
		}
		<-closed
	}
	s.ready.Close()
	<-s.served
	return err
}
