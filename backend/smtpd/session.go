package smtpd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/origin"
	"telesphore/backend/scan"
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
	unknown  int // recipients that another server named and nobody has
	messages int

	unlinked bool            // the client's certificate opens no account
	who      *auth.Principal // nil before the log-in
	tx       *transaction    // nil before MAIL
}

var _ smtp.AuthSession = (*session)(nil)

// transaction is one message on its way in.
type transaction struct {
	party    party
	size     int64 // octets that MAIL announced, 0 for none
	envelope backend.Envelope
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
	var sender backend.Address
	if from != "" {
		var err error
		if sender, err = backend.ParseAddress(from); err != nil {
			return errSenderForm
		}
	}
	if !o.UTF8 && !sender.ASCII() {
		return errNeedUTF8
	}
	if err := s.lasting(); err != nil {
		return s.refuse("MAIL", err)
	}
	if s.tx != nil {
		return errNested
	}
	p, err := s.s.role.begin(s, sender)
	if err != nil {
		return s.refuse("MAIL", err)
	}
	s.guard.known = true
	switch {
	case s.messages >= s.s.Limits.Messages:
		s.guard.hangUp()
		return errTooManyMails
	case o.Size > s.limit(p):
		return errTooLarge
	}
	s.tx = &transaction{party: p, size: o.Size, envelope: backend.Envelope{
		From: sender.String(), UTF8: o.UTF8, RequireTLS: o.RequireTLS, HoldUntil: s.guard.until,
		EnvelopeID: o.EnvelopeID, Return: string(o.Return),
	}}
	return nil
}

// limit is how many octets a message of p may have.
func (s *session) limit(p party) int64 {
	if l := p.limit(); l > 0 {
		return min(l, s.s.Limits.MessageSize)
	}
	return s.s.Limits.MessageSize
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
	if err := s.tx.party.rcpt(rcpt); err != nil {
		return s.refuse("RCPT", err)
	}
	named := func(r backend.Rcpt) bool { return r.Address == rcpt.String() }
	if slices.ContainsFunc(s.tx.envelope.Rcpts, named) {
		return nil // named twice: one copy, and the notices that were asked for first
	}
	r := backend.Rcpt{
		Address:      rcpt.String(),
		OriginalType: string(o.OriginalRecipientType), Original: o.OriginalRecipient,
	}
	for _, n := range o.Notify {
		r.Notify |= notify(n)
	}
	s.tx.envelope.Rcpts = append(s.tx.envelope.Rcpts, r)
	return nil
}

// Data implements smtp.Session. The message comes from the guard.
func (s *session) Data(io.Reader) error {
	m, err := s.receive()
	defer m.release()
	if err == nil {
		err = s.lasting()
	}
	if err != nil {
		return s.refuse("DATA", err)
	}
	size := len(m.body())
	s.tx.envelope.Name = backend.NewName()
	if err := s.accept(m); err != nil {
		return s.refuse("DATA", err)
	}
	s.messages++
	s.guard.queued = s.tx.envelope.Name
	s.s.Logger.LogAttrs(s.ctx, slog.LevelInfo, "smtp.accepted", slog.String("id", s.tx.envelope.Name),
		slog.String("account", s.tx.party.String()), slog.Int("size", size),
		slog.Int("recipients", len(s.tx.envelope.Rcpts)), slog.Any("remote", s.guard.wire.remote), slog.String("conn", s.guard.wire.id))
	return nil
}

// accept checks who wrote the message, completes it and hands it over.
func (s *session) accept(m *incoming) error {
	e, p := &s.tx.envelope, s.tx.party
	h, err := readHeader(m.body())
	if err != nil {
		return err
	}
	if h.hops > s.s.Limits.Hops {
		return errHops
	}
	if err := p.author(h); err != nil {
		return err
	}
	// Only we say what we have found out (RFC 8601 section 5).
	m.replace(origin.Strip(m.body(), s.s.Hostname))
	fields, err := p.examine(m, h)
	if err != nil {
		return err
	}
	p.vouch(e)
	verdict, err := s.scan(m)
	if err != nil {
		return err
	}
	// Above our Received field stands only what we, and our filter, say.
	if err := m.prepend(fields + verdict + s.received()); err != nil {
		return err
	}
	e.Octets = m.whole()
	if err := s.s.Router.Accept(s.ctx, e); err != nil {
		return p.explain(err)
	}
	return nil
}

// scan asks the filter about a message, and returns the fields that it wants in front.
func (s *session) scan(m *incoming) (fields string, err error) {
	if s.s.Scanner == nil {
		return "", nil
	}
	e := &s.tx.envelope
	mail := &scan.Mail{Name: e.Name, Remote: s.guard.wire.remote, Helo: s.conn.Hostname(), From: e.From, Octets: m.whole()}
	if e.Account != 0 {
		mail.User = s.who.Address
	}
	for _, r := range e.Rcpts {
		mail.Rcpts = append(mail.Rcpts, r.Address)
	}
	v := s.s.Scanner.Scan(s.ctx, mail)
	switch v.Action {
	case scan.Reject:
		return "", with(errScanned, line(v.Reply))
	case scan.TempFail:
		return "", with(errScanLater, line(v.Reply))
	}
	return string(v.Fields), nil
}

// received is the trace field of this message.
func (s *session) received() string {
	e := &s.tx.envelope
	t := &trace{
		helo: s.conn.Hostname(), remote: s.guard.wire.remote, host: s.s.Hostname, id: e.Name,
		utf8: e.UTF8, auth: e.Account != 0, channel: s.tx.party.channel(),
	}
	if len(e.Rcpts) == 1 {
		// With more of them, it would tell one about another (RFC 5321 section 7.6).
		t.rcpt = e.Rcpts[0].Address
	}
	return received(t)
}

// refuse writes the cause down and makes the reply.
func (s *session) refuse(command string, cause error) error {
	r := translate(cause)
	level := slog.LevelInfo
	if r == errLocal {
		level = slog.LevelError
	}
	s.s.Logger.LogAttrs(context.WithoutCancel(s.ctx), level, "smtp.refused", slog.String("command", command),
		slog.Int("code", r.Code), slog.String("cause", cause.Error()), slog.Any("remote", s.guard.wire.remote), slog.String("conn", s.guard.wire.id))
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

// notify is one value of NOTIFY (RFC 3461 section 4.1), as go-smtp has it.
func notify(n smtp.DSNNotify) storage.Notify {
	switch n {
	case smtp.DSNNotifyNever:
		return storage.NotifyNever
	case smtp.DSNNotifySuccess:
		return storage.NotifySuccess
	case smtp.DSNNotifyFailure:
		return storage.NotifyFailure
	case smtp.DSNNotifyDelayed:
		return storage.NotifyDelay
	}
	return 0
}
