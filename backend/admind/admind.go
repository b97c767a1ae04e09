// Package admind is the door through which the operator of this machine
// administers accounts and what opens them: passwords, cards, codes.
//
// It listens on a Unix socket that only the server's own user and root may
// use: the file's mode is 0600, and the kernel is asked who is calling.
//
// The protocol is one JSON object on one line for each request, answered by one
// on one line, in order, as often as the caller likes:
//
//	{"op":"account.add","address":"medecin@hopital.test","name":"Dr House"}
//	{"account":{"address":"medecin@hopital.test",...},"password":"..."}
//	{"op":"account.show","address":"nobody@hopital.test"}
//	{"error":{"code":"no_such_account","text":"there is no account with this address"}}
//	{"op":"card.window","address":"medecin@hopital.test","card":{"expect":"IGC|899700218896","life":86400}}
//	{"account":{"address":"medecin@hopital.test","window":{"expect":"IGC|899700218896","until":"2026-03-03T08:00:00Z","by":"uid 0"},...}}
//
// The operations are those of [Op], which says what members of [Request] each
// needs and which of [Response] it answers with; an unknown member is refused.
// Codes are fixed, see [Code]; the text is for people and may change. A line
// holds at most Limits.Line octets. Dates are in UTC (RFC 3339), lengths of time
// in seconds.
//
// What may be done to an account's credentials is decided by package auth, for
// whom a caller of this socket is somebody who acts for the account at the
// highest level; the audit trail names him by his user ID. Secrets and codes are
// in answers when that is all the operation is for, and never in the log.
package admind

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/queue"
	"telesphore/storage"
	"telesphore/tls"
)

// Limits bound what callers may use up.
type Limits struct {
	Connections int           // open at once; one more is answered "busy"
	Line        int64         // octets of one request
	Page        int           // accounts in one answer of account.list
	Idle        time.Duration // without a request before the connection closes
	Operation   time.Duration // one request may take
}

// DefaultLimits are generous for one operator and his scripts.
func DefaultLimits() Limits {
	return Limits{Connections: 16, Line: 64 << 10, Page: 500, Idle: time.Minute, Operation: time.Minute}
}

// Server answers on the administration socket. Every exported field is set
// before Serve.
type Server struct {
	Store   *storage.Store
	Router  *backend.Router // knows our domains: an account's addresses lie in them
	Auth    *auth.Authenticator
	Anchors *tls.Anchors // whose revocation lists are shown; nil for none
	Limits  Limits
	Log     *slog.Logger

	WhiteList *tls.WhiteList // of the trust space; nil for none
	Queue     *queue.Runner  // works the queue off; nil for nobody

	mu      sync.Mutex            // guards what follows
	closing bool                  // Shutdown was called
	conns   map[net.Conn]struct{} // open connections
	ln      net.Listener
	wg      sync.WaitGroup // Serve's connections
}

// Serve answers the connections of ln until ctx ends or Shutdown is called,
// and then returns nil. ln comes from [Listen].
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if !s.start(ln) {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on the administration socket: %w", err)
		}
		uid, err := allowed(conn)
		if err != nil {
			s.Log.Warn("refused a caller of the administration socket", "err", err)
			conn.Close()
			continue
		}
		if err := s.add(conn); err != nil {
			s.reply(conn, &Response{Error: translate(err)})
			conn.Close()
			continue
		}
		s.wg.Go(func() {
			defer s.remove(conn)
			s.serve(ctx, conn, fmt.Sprintf("uid %d", uid))
		})
	}
}

// Shutdown closes the listener and every idle connection, then waits for the
// requests under way until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	if s.ln != nil {
		s.ln.Close()
	}
	for conn := range s.conns {
		conn.SetReadDeadline(time.Now()) // wakes the reader; an answer is still written
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		for conn := range s.conns {
			conn.Close()
		}
		return fmt.Errorf("stop the administration socket: %w", ctx.Err())
	}
}

func (s *Server) start(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		ln.Close()
		return false
	}
	s.ln, s.conns = ln, make(map[net.Conn]struct{})
	return true
}

func (s *Server) add(conn net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || len(s.conns) >= s.Limits.Connections {
		return errBusy
	}
	s.conns[conn] = struct{}{}
	return nil
}

func (s *Server) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	conn.Close()
}

// listen allows the next request its time, unless the server is closing.
func (s *Server) listen(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(s.Limits.Idle))
	return true
}

// serve answers one caller's requests until it hangs up, breaks a limit or the
// server closes. actor names the caller.
func (s *Server) serve(ctx context.Context, conn net.Conn, actor string) {
	lines := bufio.NewReaderSize(conn, int(s.Limits.Line))
	for s.listen(conn) {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			s.reply(conn, &Response{Error: translate(errLineTooLong)})
			return
		}
		if err != nil {
			return
		}
		if !s.reply(conn, s.answer(ctx, actor, line)) {
			return
		}
	}
}

// answer carries out one request.
func (s *Server) answer(ctx context.Context, actor string, line []byte) *Response {
	req := &Request{}
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	err := d.Decode(req)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = errors.New("more than one value on the line")
		}
	}
	if err != nil {
		// The decoder's text can quote the request, and so a password.
		return &Response{Error: translate(errBadRequest)}
	}
	ctx, cancel := context.WithTimeout(ctx, s.Limits.Operation)
	defer cancel()
	res, err := s.do(ctx, &call{req, actor})
	if err != nil {
		e := translate(err)
		s.Log.Info("administration refused", "op", req.Op, "address", req.Address, "actor", actor, "code", e.Code, "err", err)
		return &Response{Error: e}
	}
	if !operations()[req.Op].reads {
		s.Log.Info("administration", "op", req.Op, "address", req.Address, "actor", actor)
	}
	return res
}

// reply writes one line and says whether the caller took it.
func (s *Server) reply(conn net.Conn, res *Response) bool {
	line, err := json.Marshal(res)
	if err != nil {
		s.Log.Error("encode an answer of the administration socket", "err", err)
		return false
	}
	conn.SetWriteDeadline(time.Now().Add(s.Limits.Idle))
	_, err = conn.Write(append(line, '\n'))
	return err == nil
}
