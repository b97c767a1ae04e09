package scan

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"strings"

	"github.com/emersion/go-milter"
)

// errUnaskable is a message that the protocol cannot carry: its strings end at a
// NUL, and a packet has an end.
var errUnaskable = errors.New("scan: a NUL, or a field that is too long, in the message")

// errTalkative is a filter that says too much.
var errTalkative = errors.New("scan: the filter sends more than it may")

// What we tell a filter. It may have fields added, and know that we do not change
// any, for filters that only clear the field they are about to add refuse to work
// without. Protocol options are those of version 2 alone: go-milter cannot talk to
// older filters with more, nor read the answer that a body was seen in part.
const (
	offered  = milter.OptAddHeader | milter.OptChangeHeader | milter.OptQuarantine
	skipping = milter.OptNoConnect | milter.OptNoHelo | milter.OptNoMailFrom | milter.OptNoRcptTo |
		milter.OptNoBody | milter.OptNoHeaders | milter.OptNoEOH
)

// maxPacket is what filters made with libmilter take at once.
const maxPacket = milter.MaxBodyChunk

// ask is one connection with one message. Each has its own: libraries of filters
// differ in what they keep from one message to the next.
func (s *Scanner) ask(ctx context.Context, m *Mail, logger *slog.Logger) (Verdict, error) {
	if err := m.check(); err != nil {
		return Verdict{}, err
	}
	network, at, err := ParseAddress(s.Address)
	if err != nil {
		return Verdict{}, err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, network, at)
	if err != nil {
		return Verdict{}, fmt.Errorf("connect: %w", err)
	}
	defer raw.Close()
	// Nothing that waits on the connection outlives ctx. go-milter's own timeouts
	// begin anew with each packet, so that a slow filter could take for ever.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn := &boundedConn{Conn: raw, left: cmp.Or(s.Replies, 256<<10)}
	client := milter.NewClientWithOptions(network, at, milter.ClientOptions{
		Dialer: dialed{conn}, ActionMask: offered, ProtocolMask: skipping,
	})
	session, err := client.Session()
	if err != nil {
		return Verdict{}, err
	}
	c := &conversation{ClientSession: session, scanner: s, mail: m}
	action, wishes, err := c.run()
	if err != nil {
		return Verdict{}, err
	}
	v, err := s.verdict(action, wishes, logger)
	if err != nil {
		return Verdict{}, err
	}
	_ = session.Close() // says QUIT; the answer is known already
	return v, nil
}

// check refuses what could not be told as it is.
func (m *Mail) check() error {
	header, _ := split(m.Octets)
	if strings.ContainsRune(m.Name+m.Helo+m.User+m.From+strings.Join(m.Rcpts, ""), 0) || bytes.IndexByte(header, 0) >= 0 {
		return errUnaskable
	}
	for name, value := range fields(header, true) {
		if len(name)+len(value)+2 > maxPacket {
			return errUnaskable
		}
	}
	return nil
}

// dialed is a milter.Dialer that has its connection already.
type dialed struct{ net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

// boundedConn is a connection on which a filter can say only so much.
type boundedConn struct {
	net.Conn
	left int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTalkative
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// conversation tells a filter of a message, step by step.
type conversation struct {
	*milter.ClientSession
	scanner *Scanner
	mail    *Mail
}

// run tells everything, or as much as the filter wants to know, and returns what it
// wants.
func (c *conversation) run() (*milter.Action, []milter.ModifyAction, error) {
	for _, step := range []func() (*milter.Action, error){c.connect, c.helo, c.from, c.rcpts, c.header, c.body} {
		action, err := step()
		if err != nil || action.Code != milter.ActContinue {
			return action, nil, err
		}
	}
	if err := c.Macros(milter.CodeEOB, "i", c.mail.Name); err != nil {
		return nil, nil, err
	}
	wishes, action, err := c.End()
	return action, wishes, err
}

// connect says who calls. Macros are named as sendmail names them.
func (c *conversation) connect() (*milter.Action, error) {
	family, host, at := milter.FamilyUnknown, "unknown", ""
	if remote := c.mail.Remote.Unmap(); remote.IsValid() {
		family, at = milter.FamilyInet6, remote.WithZone("").String()
		if remote.Is4() {
			family = milter.FamilyInet
		}
		host = "[" + at + "]" // that a name is not known
	}
	macros := []string{"j", c.scanner.Hostname, "{daemon_name}", "telesphore", "{client_addr}", at, "{client_name}", host}
	if err := c.Macros(milter.CodeConn, macros...); err != nil {
		return nil, err
	}
	return c.Conn(host, family, 0, at)
}

func (c *conversation) helo() (*milter.Action, error) { return c.Helo(c.mail.Helo) }

func (c *conversation) from() (*milter.Action, error) {
	macros := []string{"i", c.mail.Name, "{mail_addr}", c.mail.From}
	if c.mail.User != "" { // filters take the macro alone for a log-in
		macros = append(macros, "{auth_authen}", c.mail.User)
	}
	if err := c.Macros(milter.CodeMail, macros...); err != nil {
		return nil, err
	}
	return c.Mail(c.mail.From, nil)
}

// rcpts names the recipients. All of them share what becomes of one: who they are
// has been accepted, this is about the message.
func (c *conversation) rcpts() (*milter.Action, error) {
	action := &milter.Action{Code: milter.ActContinue}
	for _, to := range c.mail.Rcpts {
		err := c.Macros(milter.CodeRcpt, "{rcpt_addr}", to)
		if err == nil {
			action, err = c.Rcpt(to, nil)
		}
		if err != nil || action.Code != milter.ActContinue {
			return action, err
		}
	}
	return action, nil
}

func (c *conversation) header() (*milter.Action, error) {
	header, _ := split(c.mail.Octets)
	for name, value := range fields(header, c.ProtocolOption(milter.OptHeaderLeadingSpace)) {
		action, err := c.HeaderField(name, value)
		if err != nil || action.Code != milter.ActContinue {
			return action, err
		}
	}
	return c.HeaderEnd()
}

func (c *conversation) body() (*milter.Action, error) {
	action := &milter.Action{Code: milter.ActContinue}
	for _, rest := split(c.mail.Octets); len(rest) > 0; {
		n := min(len(rest), maxPacket)
		var err error
		if action, err = c.BodyChunk(rest[:n]); err != nil || action.Code != milter.ActContinue {
			return action, err
		}
		rest = rest[n:]
	}
	return action, nil
}

// split parts a message at the empty line behind its header, which neither has.
func split(octets []byte) (header, body []byte) {
	const end = "\r\n\r\n"
	if body, ok := bytes.CutPrefix(octets, []byte("\r\n")); ok {
		return nil, body
	}
	if header, body, ok := bytes.Cut(octets, []byte(end)); ok {
		return header, body
	}
	return octets, nil
}

// fields are the fields of a header as filters get them: folded lines end in LF, the
// space behind the colon is left out unless it is asked for. What the filter puts
// together again is then the header that clients will read: they go on behind a
// line that is no field, so such a line is the name of a field without a value.
func fields(header []byte, leading bool) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for len(header) > 0 {
			var field []byte
			field, header = cutField(header)
			first, _, _ := bytes.Cut(field, []byte("\r\n"))
			colon := bytes.IndexByte(first, ':')
			text := strings.ReplaceAll(string(field), "\r\n", "\n")
			name, value := strings.ReplaceAll(text, "\n", ""), ""
			if colon > 0 && text[0] != ' ' && text[0] != '\t' {
				name, value = text[:colon], text[colon+1:]
				if !leading {
					value = strings.TrimPrefix(value, " ")
				}
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

// cutField takes the first field off a header, with the lines that continue it and
// without its last line end.
func cutField(header []byte) (field, rest []byte) {
	for i := 0; ; {
		n := bytes.Index(header[i:], []byte("\r\n"))
		if n < 0 {
			return header, nil
		}
		i += n + 2
		if i == len(header) || header[i] != ' ' && header[i] != '\t' {
			return header[:i-2], header[i:]
		}
	}
}
