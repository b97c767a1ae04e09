package smtpd

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/storage"
)

// session is what go-smtp asks about one connection, always in the goroutine of
// the connection.
type session struct {
	s     *Server
	conn  *smtp.Conn
	guard *guard
	ctx   context.Context // ends with the connection

	tries    int // to log in
	failures int // of them, guesses only
	messages int

	who *auth.Principal // nil before the log-in
	tx  *transaction    // nil before MAIL
}

var _ smtp.AuthSession = (*session)(nil)

// transaction is one message on its way in.
type transaction struct {
	envelope backend.Envelope
	owned    []string // the sender's addresses, normalised
}

// newSession is called at the first EHLO of a connection.
func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	g, ok := c.Conn().(*guard)
	if !ok {
		return nil, errLocal
	}
	return &session{s: s, conn: c, guard: g, ctx: g.wire.ctx}, nil
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, o *smtp.MailOptions) error {
	if s.who == nil && s.guard.caller.TLS.Peer == nil {
		return errNeedAuth
	}
	var sender backend.Address
	if from != "" {
		var err error
		if sender, err = backend.ParseAddress(from); err != nil {
			return errSenderForm
		}
	}
	if s.who == nil {
		if err := s.present(sender); err != nil {
			return err
		}
	}
	if err := s.lasting(); err != nil {
		return s.refuse("MAIL", err)
	}
	switch {
	case s.tx != nil:
		return errNested
	case s.messages >= s.s.Limits.Messages:
		s.guard.hangUp()
		return errTooManyMails
	case o.Size > s.s.Limits.MessageSize:
		return errTooLarge
	case !o.UTF8 && !sender.ASCII():
		return errNeedUTF8
	}
	owned, err := s.addresses()
	if err != nil {
		return s.refuse("MAIL", err)
	}
	// The null reverse-path is nobody's: receipts (RFC 8098 section 3) have it.
	if !sender.IsZero() && !slices.Contains(owned, sender.Normal()) {
		return s.refuse("MAIL", errNotOwned)
	}
	s.tx = &transaction{owned: owned, envelope: backend.Envelope{
		From: sender.String(), UTF8: o.UTF8,
		EnvelopeID: o.EnvelopeID, Return: string(o.Return),
	}}
	return nil
}

// addresses are what the user may write as now. A user whose credentials have
// changed since the log-in is not heard any more.
func (s *session) addresses() (owned []string, err error) {
	err = s.s.Store.View(s.ctx, func(tx *storage.Tx) error {
		account, err := tx.Account(s.who.Account)
		if err == nil && (account.State != storage.Active || account.Epoch != s.who.Epoch) {
			err = storage.ErrNoAccount
		}
		if err != nil {
			return err
		}
		owned = slices.Clone(account.Addresses)
		return nil
	})
	if errors.Is(err, storage.ErrNoAccount) {
		s.guard.hangUp()
		return nil, errEnded
	}
	return owned, err
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, o *smtp.RcptOptions) error {
	if s.tx == nil {
		return errSequence
	}
	if err := s.lasting(); err != nil {
		return s.refuse("RCPT", err)
	}
	rcpt, err := backend.ParseAddress(to)
	if err != nil {
		return errRcptForm
	}
	if !s.tx.envelope.UTF8 && !rcpt.ASCII() {
		return errNeedUTF8
	}
	if err := s.mayWrite(rcpt); err != nil {
		return s.refuse("RCPT", err)
	}
	r := backend.Rcpt{
		Address:      rcpt.String(),
		OriginalType: string(o.OriginalRecipientType), Original: o.OriginalRecipient,
	}
	for _, n := range o.Notify {
		r.Notify = append(r.Notify, string(n))
	}
	s.tx.envelope.Rcpts = append(s.tx.envelope.Rcpts, r)
	return nil
}

// mayWrite says whether there is a way to a recipient, for this user.
func (s *session) mayWrite(rcpt backend.Address) error {
	say := phrases{s.s.Language}
	switch s.s.Router.Zone(rcpt.Domain) {
	case backend.Local:
		return say.list(s.s.Router.MayWrite(s.ctx, s.tx.envelope.From, rcpt.String()))
	case backend.Trusted:
		if err := s.s.Auth.Allow(s.ctx, s.who, auth.TrustSpace); err != nil {
			return say.forbidden(err, rcpt.Domain)
		}
		return say.notConnected(rcpt.Domain)
	case backend.Outside:
		return say.notConnected(rcpt.Domain)
	}
	if when, left := s.s.Router.Left(rcpt.Domain); left {
		return say.left(rcpt.Domain, when)
	}
	return say.unlisted(rcpt.Domain, s.s.Router.Domains)
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	m, err := s.receive(r)
	defer m.release()
	if err == nil {
		err = s.lasting()
	}
	if err != nil {
		return s.refuse("DATA", err)
	}
	id := rand.Text()[:16]
	if err := s.accept(m, id); err != nil {
		return s.refuse("DATA", err)
	}
	s.messages++
	s.guard.queued = id
	s.s.Logger.LogAttrs(s.ctx, slog.LevelInfo, "smtp.accepted", slog.String("id", id),
		slog.String("account", s.who.Address), slog.Int("size", len(m.body())),
		slog.Int("recipients", len(s.tx.envelope.Rcpts)), slog.String("conn", s.guard.wire.id))
	return nil
}

// accept checks who wrote the message, completes it and hands it over.
func (s *session) accept(m *incoming, id string) error {
	h, err := readHeader(m.body())
	if err != nil {
		return err
	}
	if err := h.checkAuthor(s.tx.owned); err != nil {
		return err
	}
	rcpt := ""
	if len(s.tx.envelope.Rcpts) == 1 {
		// With more of them, it would tell one about another (RFC 5321 section 7.6).
		rcpt = s.tx.envelope.Rcpts[0].Address
	}
	m.prepend(h.completion(s.s.Hostname))
	m.prepend(received(&trace{
		helo: s.conn.Hostname(), remote: s.guard.wire.remote, host: s.s.Hostname,
		id: id, rcpt: rcpt, utf8: s.tx.envelope.UTF8,
	}))
	s.tx.envelope.Octets = m.whole()
	return s.s.Router.Accept(s.ctx, &s.tx.envelope)
}

// refuse writes the cause down and makes the reply.
func (s *session) refuse(command string, cause error) error {
	r := translate(cause)
	level := slog.LevelInfo
	if r == errLocal {
		level = slog.LevelError
	}
	s.s.Logger.LogAttrs(context.WithoutCancel(s.ctx), level, "smtp.refused", slog.String("command", command),
		slog.Int("code", r.Code), slog.String("cause", cause.Error()), slog.String("conn", s.guard.wire.id))
	return r
}

// Reset implements smtp.Session.
func (s *session) Reset() {
	s.tx = nil
}

// Logout implements smtp.Session: the connection is closing.
func (s *session) Logout() error {
	if s.who != nil {
		s.s.leaveAccount(s.who.Account)
		s.who.Close()
		s.who = nil
	}
	return nil
}

// incoming is a message being received: room for what goes in front, then its octets.
type incoming struct {
	budget *budget
	taken  int64
	buf    []byte
	start  int // where the message begins, what was prepended included
}

// headroom is for Received, Date and Message-ID, whose parts are bounded: helo
// and host by 255 octets each, address by 254.
const headroom = 4 << 10

// receive reads a message within the limits.
func (s *session) receive(r io.Reader) (*incoming, error) {
	m := &incoming{budget: s.s.memory, start: headroom}
	limit := s.s.Limits.MessageSize // the guard may have added a line end
	if !m.grow(headroom + 28<<10) {
		return m, errMemory
	}
	m.buf = m.buf[:headroom]
	for {
		n, err := r.Read(m.buf[len(m.buf):cap(m.buf)])
		m.buf = m.buf[:len(m.buf)+n]
		switch size := int64(len(m.body())); {
		case err == io.EOF && s.guard.added:
			m.buf = m.buf[:len(m.buf)-len("\r\n")]
			return m, nil
		case err == io.EOF && size <= limit:
			return m, nil
		case err == io.EOF, err == nil && size > limit+2:
			return m, errTooLarge
		case err != nil:
			return m, broken(err)
		}
		if len(m.buf) == cap(m.buf) && !m.grow(2*int64(cap(m.buf))) {
			return m, errMemory
		}
	}
}

// broken keeps the reply in an error of the guard; the rest are go-smtp's own
// (the client left, or gave the message up).
func broken(err error) error {
	var r *smtp.SMTPError
	if errors.As(err, &r) {
		return r
	}
	return errCut
}

// grow makes room for n octets in all.
func (m *incoming) grow(n int64) bool {
	if !m.budget.take(n - m.taken) {
		return false
	}
	m.taken = n
	m.buf = append(make([]byte, 0, n), m.buf...)
	return true
}

// body is the message as it came, whole with what was prepended.
func (m *incoming) body() []byte  { return m.buf[headroom:] }
func (m *incoming) whole() []byte { return m.buf[m.start:] }

// prepend puts header lines in front. Nothing else of a message is ever changed:
// signatures cover it. That includes Bcc, which is the client's to leave out
// (RFC 5322 section 3.6.3).
func (m *incoming) prepend(lines string) {
	if len(lines) > m.start {
		return
	}
	m.start -= len(lines)
	copy(m.buf[m.start:], lines)
}

// release gives the memory back.
func (m *incoming) release() {
	m.budget.give(m.taken)
	m.taken = 0
}
