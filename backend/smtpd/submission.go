// Package smtpd is the door through which our users send mail (RFC 6409).
//
// github.com/emersion/go-smtp reads the commands and keeps their order, behind a
// guard that checks each line before and each reply after: see type guard. The
// way of a connection is: wireConn (deadlines) - starttls (the little that is
// allowed in clear) - TLS - guard - go-smtp - session. SMTP codes are made in
// errors.go only.
package smtpd

import (
	"cmp"
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
	"telesphore/storage"
	"telesphore/tls"
)

// Limits bound what clients can ask for. A zero field means the default it names.
type Limits struct {
	MessageSize int64 // octets of one message; default 36 MiB, below 4 GiB
	Memory      int64 // octets of all messages being received at once; default 512 MiB
	Recipients  int   // of one message; default 100, the least RFC 5321 section 4.5.3.1.8 allows

	Connections           int // altogether; default 2,000
	ConnectionsPerAddress int // from one IPv4 address or one IPv6 /64; default 50
	ConnectionsPerAccount int // logged in to one account; default 50

	Messages     int // of one connection; default 1,000
	Commands     int // between two messages; default 1,000
	Errors       int // commands that are not understood, before the connection closes; default 10
	AuthFailures int // of one connection, before it closes; default 6, since programs send one wrong password twice
	AuthTries    int // of one connection, however they end; default 30

	Login     time.Duration // from the connection to the log-in; default 3 minutes
	Handshake time.Duration // of TLS; default 2 minutes, in which a card's owner types the PIN
	Idle      time.Duration // between two packets; default 5 minutes (RFC 5321 section 4.5.3.2.7)
	Message   time.Duration // for one message from DATA to its end; default 1 hour
	Write     time.Duration // until the client takes a reply; default 1 minute
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		MessageSize:           cmp.Or(l.MessageSize, 36<<20),
		Memory:                cmp.Or(l.Memory, 512<<20),
		Recipients:            cmp.Or(l.Recipients, 100),
		Connections:           cmp.Or(l.Connections, 2000),
		ConnectionsPerAddress: cmp.Or(l.ConnectionsPerAddress, 50),
		ConnectionsPerAccount: cmp.Or(l.ConnectionsPerAccount, 50),
		Messages:              cmp.Or(l.Messages, 1000),
		Commands:              cmp.Or(l.Commands, 1000),
		Errors:                cmp.Or(l.Errors, 10),
		AuthFailures:          cmp.Or(l.AuthFailures, 6),
		AuthTries:             cmp.Or(l.AuthTries, 30),
		Login:                 cmp.Or(l.Login, 3*time.Minute),
		Handshake:             cmp.Or(l.Handshake, 2*time.Minute),
		Idle:                  cmp.Or(l.Idle, 5*time.Minute),
		Message:               cmp.Or(l.Message, time.Hour),
		Write:                 cmp.Or(l.Write, time.Minute),
	}
}

// Server is the submission door. Set the fields before the first call and leave
// them alone.
type Server struct {
	Hostname string // how the server calls itself
	Language string // of refusals that people read: "en" (default) or "fr"
	Auth     *auth.Authenticator
	Router   *backend.Router
	Store    *storage.Store
	TLS      *tls.Config
	Limits   Limits
	Logger   *slog.Logger // default slog.Default()

	once   sync.Once
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
	// More than the limit, which the session holds: go-smtp refuses a message of
	// exactly this size, and the guard may have added a line end.
	v.MaxMessageBytes = s.Limits.MessageSize + 4
	v.MaxRecipients = s.Limits.Recipients
	v.EnableSMTPUTF8 = true
	v.EnableDSN = true
	return v
}

// Serve accepts connections that begin in clear and change to TLS with STARTTLS
// (port 587), until ctx ends, the listener fails, or Shutdown. It closes ln.
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
		Conn: conn, remote: remoteAddr(conn), id: rand.Text()[:10], ctx: ctx, cancel: cancel,
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
	g.silent = !implicit
	return g, nil
}

// enter counts a connection, unless there are too many.
func (s *Server) enter(w *wireConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	net := network(w.remote)
	if s.stopping || len(s.conns) >= s.Limits.Connections || s.networks[net] >= s.Limits.ConnectionsPerAddress {
		return false
	}
	s.conns[w] = true
	s.networks[net]++
	s.open.Add(1)
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

func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.left {
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
