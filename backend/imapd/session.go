package imapd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"telesphore/backend/auth"
)

// session is one connection and what is known of its client. One goroutine at
// a time has it: serve while it waits, the burst that serve waits for, or,
// besides serve's waiting, the goroutine of IDLE.
type session struct {
	conn
	*gear // nil between bursts
	paid  bool

	srv    *Server
	ctx    context.Context // ends when the connection is broken off
	cancel context.CancelCauseFunc
	log    *slog.Logger
	id     string // of the connection, in logs
	remote netip.Addr

	caller   *auth.Caller    // until log-in; the connection as auth sees it
	who      *auth.Principal // nil before log-in
	share    *share          // the account's, once logged in
	wake     <-chan struct{} // receives after changes of the account's record and the selected mailbox
	unwatch  func()
	dirty    bool   // something may have changed since the last refresh
	failures int    // failed log-ins
	alerted  string // the advice that popped up last, of a refused log-in
	bad      int    // commands in a row that were not understood

	condstore bool // RFC 7162 section 3.1
	utf8      bool // RFC 6855
	rev2      bool // IMAP4rev2 enabled

	view *view  // the selected mailbox, nil when there is none
	idle string // tag of the IDLE that goes on
	end  error  // why the session is over
}

func newSession(ctx context.Context, srv *Server, raw net.Conn) *session {
	s := &session{srv: srv, id: connectionID()}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	s.link = &link{Conn: raw, write: srv.Limits.Write}
	s.stream = s.link
	if a, err := netip.ParseAddrPort(raw.RemoteAddr().String()); err == nil {
		s.remote = a.Addr().Unmap()
	}
	s.caller = &auth.Caller{Proto: "imap", Remote: s.remote, ConnID: s.id}
	s.log = srv.Logger.With("conn", s.id, "remote", s.remote)
	return s
}

// serve runs the session to its end.
func (s *session) serve(implicit bool) {
	defer s.close()
	// The end of ctx breaks off whatever waits for the client.
	defer context.AfterFunc(s.ctx, s.link.interrupt)()
	s.link.limit(time.Now().Add(s.srv.Limits.LogIn))
	if s.inGoroutine(func() { s.greet(implicit) }); s.end != nil {
		return
	}
	for s.end == nil {
		stop := s.startIdle()
		err := s.rest()
		stop()
		switch {
		case s.end != nil:
		case err != nil:
			s.end = s.whyStopped(err)
			s.inGoroutine(s.bareBye)
		default:
			s.inGoroutine(s.burst)
		}
	}
}

// rest waits for the client's next octet.
func (s *session) rest() error {
	s.link.wait(s.srv.Limits.Idle)
	err := s.await()
	s.link.wait(s.srv.Limits.Stall)
	return err
}

// inGoroutine runs f to its end elsewhere, so that the stack it needs is not
// kept while the connection is idle.
func (s *session) inGoroutine(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer s.rescue()
		f()
	}()
	<-done
}

// rescue keeps a panic in one session from ending the others.
func (s *session) rescue() {
	p := recover()
	if p == nil {
		return
	}
	s.log.Error("panic in an IMAP session", "type", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	s.end = errPanic
	s.bareBye()
	s.link.interrupt()
}

func (s *session) close() {
	s.view = nil
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.who != nil {
		s.srv.leaveAccount(s.who.Account)
		s.who.Close()
	}
	s.stream.Close()
	s.cancel(nil)
	s.log.Debug("IMAP session ended", "why", s.end)
}

// greet shakes hands on an implicit TLS port and sends the greeting.
func (s *session) greet(implicit bool) {
	if implicit {
		if s.end = s.secure(s.ctx); s.end != nil {
			return
		}
	}
	if s.end = s.borrow(); s.end != nil {
		return
	}
	defer s.giveBack()
	s.out.Raw("* OK [CAPABILITY ")
	s.writeCapabilities()
	s.out.Raw("] ")
	if s.srv.Hostname != "" {
		s.out.Raw(s.srv.Hostname).SP()
	}
	s.out.Raw("Telesphore ready\r\n")
	s.end = s.flush()
}

// burst runs commands until the input is empty, then sends what they answered.
func (s *session) burst() {
	if err := s.borrow(); err != nil {
		s.end = err
		s.bareBye()
		return
	}
	defer s.giveBack()
	for {
		if s.idle != "" {
			s.endIdle()
		} else {
			s.command()
		}
		if s.end == nil && s.srv.isClosing() && s.in.Buffered() == 0 {
			s.end = errShutdown
		}
		if s.end != nil {
			s.bye()
			return
		}
		if s.in.Buffered() == 0 {
			break
		}
		if s.end = s.flushed(); s.end != nil {
			return
		}
	}
	s.end = s.flush()
}

// command reads one command, runs it and answers it.
func (s *session) command() {
	tag, name, err := s.dec.Begin()
	if tag == "" {
		tag = "*"
	}
	unclear := command{holdExpunges: true} // whatever the client meant, it may count messages
	if err != nil {
		s.finish(tag, name, unclear, "", err)
		return
	}
	if name == "UID" {
		s.dec.SP()
		name = "UID " + s.dec.Keyword()
		err = s.dec.Err()
	}
	cmd, known := lookup(name)
	switch {
	case err != nil:
		cmd = unclear
	case !known:
		name, cmd, err = "", unclear, errUnknownCommand // the name may be a password gone astray
	default:
		err = s.allowed(cmd)
	}
	var text string
	if err == nil {
		text, err = cmd.run(s, s.ctx, tag)
	}
	s.finish(tag, name, cmd, text, err)
}

// allowed says whether a command may be given now, and by whom it was.
func (s *session) allowed(c command) error {
	switch {
	case s.isOver():
		return errLogInOver
	case c.when == beforeLogIn && s.who != nil:
		return errNotNow
	case c.when >= loggedIn && s.who == nil:
		return errLogInFirst
	case c.when == selected && s.view == nil:
		return errSelectFirst
	case c.opens:
		return s.mayRead()
	}
	return nil
}

// isOver says whether the log-in has ended from the server's side.
func (s *session) isOver() bool { return s.who != nil && s.who.Err() != nil }

// mayRead says whether we know well enough who it is to show what is in mailboxes.
func (s *session) mayRead() error {
	if err := s.srv.Auth.Allow(s.ctx, s.who, auth.Read); err != nil {
		return fmt.Errorf("%w: %w", errMayNot, err)
	}
	return nil
}

// finish reads away what is left of the command, tells what happened to the
// mailbox, and writes the tagged answer.
func (s *session) finish(tag, name string, cmd command, text string, err error) {
	if over := s.dec.Discard(); over != nil {
		s.end = s.whyStopped(over)
		return
	}
	if s.end != nil {
		return
	}
	if endsSession(err) {
		s.end = err
		return
	}
	if errors.Is(err, errUpgraded) || err == nil && s.idle != "" {
		return // answered already, or when IDLE ends
	}
	if refused := s.refresh(s.ctx, !cmd.holdExpunges); refused != nil {
		if s.end = refused; errors.Is(refused, errGone) {
			return
		}
		if farewell(refused) == "" {
			s.report(name, refused)
			s.end = errBusy
		}
		return
	}
	if s.view != nil {
		s.view.told = nil
	}
	if err == nil {
		s.bad = 0
		if text == "" {
			text = name + " completed"
		}
		s.out.Raw(tag).Raw(" OK ").Raw(text).CRLF()
		return
	}
	s.refuse(tag, name, err)
}

// endsSession says whether an error leaves nothing to go on with.
func endsSession(err error) bool {
	for _, end := range [...]error{errGone, errCutShort, errLogInOver, errAccountChanged, errMailboxDeleted} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

func (s *session) refuse(tag, name string, err error) {
	a := judge(err)
	if a.fault {
		s.report(name, err)
	}
	a.write(&s.out, tag)
	if errors.Is(err, errTooManyLogins) {
		s.end = errTooManyLogins
	}
	if a.status != "BAD" {
		s.bad = 0
		return
	}
	if s.bad++; s.bad >= s.srv.Limits.BadCommands {
		s.end = errTooManyBad
	}
}

// whyStopped tells why the client can no longer be read.
func (s *session) whyStopped(err error) error {
	switch {
	case s.srv.isClosing(), s.ctx.Err() != nil:
		return errShutdown
	case s.isOver():
		return errLogInOver
	case isTimeout(err) && s.who == nil:
		return errLoginTime
	case isTimeout(err):
		return errAutologout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errGone
	case farewell(err) != "":
		return err
	}
	return errors.Join(errGone, err)
}

// bye sends what has gathered, and why the session is over.
func (s *session) bye() {
	if text := farewell(s.end); text != "" {
		s.out.Raw("* BYE ").Raw(text).CRLF()
	}
	if !errors.Is(s.end, errGone) {
		s.flush()
	}
}

// bareBye is bye without a gear.
func (s *session) bareBye() {
	if text := farewell(s.end); text != "" {
		io.WriteString(s.stream, "* BYE "+text+"\r\n")
	}
}
