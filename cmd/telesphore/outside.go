package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"golang.org/x/net/netutil"

	"telesphore/backend"
)

// Limits of the outside world, which only this machine can reach.
const (
	outsideConns = 100
	outsideRcpts = 100
	outsideSize  = 64 << 20 // octets of a message
	outsideIdle  = 5 * time.Minute
	outsideStop  = 2 * time.Second // for connections to finish
)

// outside is the demo's outside world: a mail server that takes everything for
// demoInternet and puts it into files, one for each recipient of a message.
type outside struct {
	dir    string
	server *smtp.Server
	ln     net.Listener
	done   chan struct{} // closed when nobody listens any more

	mu   sync.Mutex // guards last
	last time.Time  // of the newest file's name
}

// newOutside starts it at an address, where port 0 lets the system choose; dir is
// made if it is missing.
func newOutside(dir, address string) (*outside, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the outside folder: %w", err)
	}
	unfinished, err := filepath.Glob(filepath.Join(dir, ".*.part")) // of a run that crashed
	if err != nil {
		return nil, fmt.Errorf("look into the outside folder: %w", err)
	}
	for _, name := range unfinished {
		if err := os.Remove(name); err != nil {
			return nil, fmt.Errorf("clear the outside folder: %w", err)
		}
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, explainPort(door{name: "outside", address: address}, err)
	}
	o := &outside{dir: dir, ln: netutil.LimitListener(ln, outsideConns), done: make(chan struct{})}
	o.server = smtp.NewServer(o)
	o.server.Domain = "mail." + demoInternet
	o.server.EnableSMTPUTF8 = true
	o.server.MaxRecipients, o.server.MaxMessageBytes, o.server.MaxLineLength = outsideRcpts, outsideSize, 1<<16
	o.server.ReadTimeout, o.server.WriteTimeout = outsideIdle, outsideIdle
	o.server.ErrorLog = slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn)
	go func() {
		defer close(o.done)
		if err := o.server.Serve(o.ln); err != nil && !errors.Is(err, net.ErrClosed) {
			slog.Warn("outside server stopped", "err", err)
		}
	}()
	return o, nil
}

// Addr is where it listens, in clear.
func (o *outside) Addr() string { return o.ln.Addr().String() }

// Close stops it. Connections may finish for a moment, then they are cut off.
func (o *outside) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), outsideStop)
	defer cancel()
	err := o.server.Shutdown(ctx)
	if err != nil {
		_ = o.server.Close() // says that it is stopping already
	}
	_ = o.ln.Close() // Serve may not have known it yet
	<-o.done
	return err
}

// NewSession makes outside a backend of go-smtp.
func (o *outside) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &outsideSession{outside: o, conn: c}, nil
}

// outsideSession is one connection to the outside server.
type outsideSession struct {
	outside *outside
	conn    *smtp.Conn
	rcpts   []string
}

func (s *outsideSession) Reset()                               { s.rcpts = nil }
func (s *outsideSession) Logout() error                        { return nil }
func (s *outsideSession) Mail(string, *smtp.MailOptions) error { return nil }

func (s *outsideSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	a, err := backend.ParseAddress(to)
	if err != nil || a.Domain != demoInternet {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such mailbox here"}
	}
	s.rcpts = append(s.rcpts, a.String())
	return nil
}

func (s *outsideSession) Data(r io.Reader) error {
	octets, err := io.ReadAll(r) // go-smtp stops it at outsideSize
	if err != nil {
		var refused *smtp.SMTPError
		if !errors.As(err, &refused) {
			// go-smtp would read the rest of the message as commands.
			_ = s.conn.Conn().Close()
		}
		return err
	}
	for _, to := range s.rcpts {
		if err := s.outside.keep(to, octets); err != nil {
			s.outside.server.ErrorLog.Printf("%v", err)
			return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Could not be stored"}
		}
	}
	return nil
}

// keep writes a message to a file that appears when it is complete. Names sort in
// the order of arrival.
func (o *outside) keep(to string, octets []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now().UTC()
	if !now.After(o.last) {
		now = o.last.Add(1) // two names are never the same
	}
	o.last = now
	name := now.Format("20060102T150405.000000000") + "-" + fileName(to) + ".eml"
	part := filepath.Join(o.dir, "."+name+".part")
	if err := os.WriteFile(part, octets, 0o600); err != nil {
		return fmt.Errorf("write a message from outside: %w", err)
	}
	if err := os.Rename(part, filepath.Join(o.dir, name)); err != nil {
		return fmt.Errorf("finish a message from outside: %w", err)
	}
	return nil
}

// fileName makes of an address a name that means nothing to a file system or a shell.
func fileName(address string) string {
	const longest = 100
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("@.+-_", r):
			return r
		}
		return '_'
	}, address[:min(len(address), longest)])
}
