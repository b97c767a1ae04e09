// Package relay hands messages to other servers.
//
// A [Relay] makes one attempt at one peer: it decides nothing, waits for nothing
// and remembers nothing. What became of the attempt is its error: nil, then the
// peer has taken the message over; ErrPermanent or ErrTemporary otherwise.
package relay

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/tls"
)

// What protects a connection to a peer.
const (
	None     = "none"     // nothing: for peers on this machine
	StartTLS = "starttls" // STARTTLS or no delivery (RFC 3207)
	TLS      = "tls"      // TLS from the first octet
)

// Route is how mail for a domain travels.
type Route struct {
	Domain   string // of the recipients
	Host     string // host:port of the peer; the host is also the name that its certificate must have
	Security string // None, StartTLS or TLS
}

// Limits are what a peer may cost us. A zero field means the default it names.
type Limits struct {
	Dial    time.Duration // to get a connection; default 30 s
	Command time.Duration // for the reply to one command, and for one write; default 5 minutes (RFC 5321 section 4.5.3.2)
	Data    time.Duration // for the reply to a whole message; default 10 minutes
	Quit    time.Duration // for the reply to QUIT, when all is done; default 5 s
	Replies int64         // octets that a peer may send in all; default 1 MiB
}

func (l Limits) withDefaults() Limits {
	l.Dial = cmp.Or(l.Dial, 30*time.Second)
	l.Command = cmp.Or(l.Command, 5*time.Minute)
	l.Data = cmp.Or(l.Data, 10*time.Minute)
	l.Quit = cmp.Or(l.Quit, 5*time.Second)
	l.Replies = cmp.Or(l.Replies, 1<<20)
	return l
}

// Relay hands messages to the peers it knows. Set the fields before the first
// call and leave them alone. It is safe for concurrent use.
type Relay struct {
	Hostname string // how we present ourselves
	Routes   []Route
	Roots    *x509.CertPool // who vouches for peers; nil for whom the system believes
	Limits   Limits
	Logger   *slog.Logger // default slog.Default()
}

// Route finds the way to a domain, given as [backend.ParseDomain] returns it.
func (r *Relay) Route(domain string) (Route, bool) {
	for _, route := range r.Routes {
		if d, err := backend.ParseDomain(route.Domain); err == nil && d == domain {
			return route, true
		}
	}
	return Route{}, false
}

// Reaches reports whether there is a way to a domain.
func (r *Relay) Reaches(domain string) bool {
	_, ok := r.Route(domain)
	return ok
}

// Send hands a message to the peer of the recipient's domain. from may be "",
// the null reverse-path. The octets arrive as they are; DATA only adds a line end
// behind a last line that has none (RFC 5321 section 4.1.1.4). Errors:
// backend.ErrAddress, ErrNoRoute, or an *Error, which is an ErrPermanent or an
// ErrTemporary. When ctx ends first the peer may have taken the message or not.
func (r *Relay) Send(ctx context.Context, from, to string, octets []byte) error {
	m := &message{octets: octets}
	var err error
	// Once more, just before they are written: an address that passes has one
	// reading only, and nothing in it ends a command.
	if from != "" {
		if m.from, err = backend.ParseAddress(from); err != nil {
			return fmt.Errorf("relay: sender: %w", err)
		}
	}
	if m.to, err = backend.ParseAddress(to); err != nil {
		return fmt.Errorf("relay: recipient: %w", err)
	}
	if err := m.check(); err != nil {
		return err
	}
	route, ok := r.Route(m.to.Domain)
	if !ok {
		return ErrNoRoute
	}
	err = r.attempt(ctx, route, m)
	if err != nil && ctx.Err() != nil {
		return &Error{Step: "send", Cause: context.Cause(ctx)}
	}
	return err
}

// attempt is one connection with one transaction.
func (r *Relay) attempt(ctx context.Context, route Route, m *message) error {
	limits := r.Limits.withDefaults()
	dialer := net.Dialer{Timeout: limits.Dial}
	raw, err := dialer.DialContext(ctx, "tcp", route.Host)
	if err != nil {
		return &Error{Step: "connect", Cause: err}
	}
	defer raw.Close()
	// Nothing that waits on the connection outlives ctx.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn := &limitedConn{Conn: raw, idle: limits.Command, left: limits.Replies}
	client, step, err := r.greet(ctx, route, conn, limits)
	if err == nil {
		if err = m.travels(client); err != nil {
			return err
		}
		step, err = m.transact(client)
	}
	if err != nil {
		return r.explain(ctx, route, m, step, err)
	}
	// The peer has the message: what becomes of the connection changes nothing.
	client.CommandTimeout = limits.Quit
	_ = client.Quit()
	return nil
}

// greet secures the connection and says EHLO. step names where it failed.
func (r *Relay) greet(ctx context.Context, route Route, conn net.Conn, limits Limits) (c *smtp.Client, step string, err error) {
	host, _, err := net.SplitHostPort(route.Host)
	if err != nil {
		return nil, "route", err
	}
	switch route.Security {
	case None:
		c = smtp.NewClient(conn)
	case StartTLS:
		// Its first EHLO says "localhost"; the one that counts comes after the handshake.
		if c, err = smtp.NewClientStartTLS(conn, tls.ClientConfig(r.Roots, host)); err != nil {
			return nil, "STARTTLS", err
		}
	case TLS:
		secure := tls.Client(conn, r.Roots, host)
		limited, cancel := context.WithTimeout(ctx, limits.Command)
		defer cancel()
		if err := secure.HandshakeContext(limited); err != nil {
			return nil, "handshake", err
		}
		c = smtp.NewClient(secure)
	default:
		return nil, "route", errors.New("its security is unknown")
	}
	c.CommandTimeout, c.SubmissionTimeout = limits.Command, limits.Data
	return c, "EHLO", c.Hello(r.Hostname)
}

// explain makes an *Error of what go-smtp says. The reply's text goes to the log
// and no further; it may name the recipient, the log does not.
func (r *Relay) explain(ctx context.Context, route Route, m *message, step string, err error) error {
	var reply *smtp.SMTPError
	if !errors.As(err, &reply) {
		if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
			err = errors.New("the peer does not speak SMTP") // the text would be the peer's
		}
		return &Error{Step: step, Cause: err}
	}
	e := &Error{Step: step, Code: reply.Code, permanent: reply.Code/100 == 5}
	if reply.EnhancedCode != (smtp.EnhancedCode{}) {
		e.Enhanced = fmt.Sprintf("%d.%d.%d", reply.EnhancedCode[0], reply.EnhancedCode[1], reply.EnhancedCode[2])
	}
	logger := cmp.Or(r.Logger, slog.Default())
	logger.InfoContext(ctx, "relay.refused", "domain", route.Domain, "step", step, "code", e.Code,
		"enhanced", e.Enhanced, "reply", m.without(reply.Message))
	return e
}

// message is what one transaction carries.
type message struct {
	from, to backend.Address
	octets   []byte
}

// check refuses what DATA would alter: go-smtp makes CR LF of a bare LF, and others
// take a bare CR or a NUL for more than it is (RFC 5321 section 2.3.8).
func (m *message) check() error {
	for i, c := range m.octets {
		if c == 0 || c == '\n' && (i == 0 || m.octets[i-1] != '\r') ||
			c == '\r' && (i+1 == len(m.octets) || m.octets[i+1] != '\n') {
			return &Error{Step: "check", permanent: true, Cause: errors.New("a bare CR, a bare LF or a NUL in the message")}
		}
	}
	return nil
}

// travels says whether the peer can take the message as it is.
func (m *message) travels(c *smtp.Client) error {
	has := func(extension string) bool { ok, _ := c.Extension(extension); return ok }
	if !(m.from.ASCII() && m.to.ASCII()) && !has("SMTPUTF8") {
		return &Error{Step: "EHLO", permanent: true, Cause: errors.New("an address needs SMTPUTF8")}
	}
	if bytes.ContainsFunc(m.octets, func(c rune) bool { return c >= 0x80 }) && !has("8BITMIME") {
		return &Error{Step: "EHLO", permanent: true, Cause: errors.New("the message needs 8BITMIME")}
	}
	return nil
}

// transact is MAIL, RCPT and DATA. step names the one that failed.
func (m *message) transact(c *smtp.Client) (step string, err error) {
	utf8 := !m.from.ASCII() || !m.to.ASCII()
	if err := c.Mail(m.from.String(), &smtp.MailOptions{Size: int64(len(m.octets)), UTF8: utf8}); err != nil {
		return "MAIL", err
	}
	if err := c.Rcpt(m.to.String(), nil); err != nil {
		return "RCPT", err
	}
	w, err := c.Data()
	if err != nil {
		return "DATA", err
	}
	if _, err := w.Write(m.octets); err != nil {
		return "message", err
	}
	return "message", w.Close()
}

// without takes the recipient out of a reply.
func (m *message) without(reply string) string {
	const longest = 500
	reply = strings.ReplaceAll(reply[:min(len(reply), longest)], m.to.String(), "(recipient)")
	return strings.ToValidUTF8(strings.ReplaceAll(reply, m.to.Local, "(recipient)"), "?")
}
