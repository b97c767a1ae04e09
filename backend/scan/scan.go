// Package scan asks a mail filter about messages: rspamd, clamav-milter and whatever else speaks the milter protocol.
//
// A filter is asked once about each message, when all of it is here, over a
// connection of its own. It may refuse a message or have fields put in front of
// it; it never gets a message changed, sent elsewhere or lost without a word.
package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"
)

// ErrAddress is what [ParseAddress] wraps.
var ErrAddress = errors.New(`scan: not the address of a filter: write "unix:/PATH" or "tcp:HOST:PORT"`)

// Scanner asks one filter. Set the fields before the first call and leave them alone. It is safe for concurrent use;
// nil accepts everything.
type Scanner struct {
	Address  string        // as [ParseAddress] reads it: "unix:/run/clamav/milter.sock" or "tcp:127.0.0.1:11332"
	Hostname string        // ours
	Timeout  time.Duration // for one message, from the connection to the answer; default 1 minute
	Open     bool          // fail open: mail passes while the filter cannot be asked; else it waits outside (4xx)
	Fields   int           // most that a filter may put in front of a message; default 50
	Replies  int64         // octets that a filter may send about one message; default 256 KiB
	Logger   *slog.Logger  // default slog.Default()
}

// Mail is what the filter is asked about.
type Mail struct {
	Name   string // for the log, and as the queue name that the filter logs
	Remote netip.Addr
	Helo   string
	User   string // who is logged in, "" for nobody
	From   string // reverse-path
	Rcpts  []string
	Octets []byte
}

// Action is what a filter wants.
type Action int

// The actions. A filter that wants a message dropped in silence or kept in quarantine
// has it refused: whoever sent it must learn that nobody will read it. So has one that
// wants other octets or other recipients: what it would not have passed as it is must
// not pass. Wishes to remove the message's own header fields are not followed, and what one
// is to be changed to goes in front of it.
const (
	Accept   Action = iota
	Reject          // 5xx
	TempFail        // 4xx
)

// Verdict is the answer.
type Verdict struct {
	Action Action
	Fields []byte // header lines to be put in front, CRLF each
	Reply  string // the filter's own sentence, ASCII, one line; "" for none
}

// ParseAddress reads where a filter listens: "unix:" and an absolute path, or "tcp:"
// with host and port. The results are what [net.Dial] takes; the error is ErrAddress.
func ParseAddress(address string) (network, at string, err error) {
	network, at, _ = strings.Cut(address, ":")
	switch network {
	case "unix":
		if strings.HasPrefix(at, "/") {
			return network, at, nil
		}
	case "tcp":
		if host, port, err := net.SplitHostPort(at); err == nil && host != "" && port != "" {
			return network, at, nil
		}
	}
	return "", "", fmt.Errorf("%w: %q", ErrAddress, address)
}

// Scan asks the filter. What goes wrong is logged and becomes TempFail, or Accept when Open.
func (s *Scanner) Scan(ctx context.Context, m *Mail) Verdict {
	if s == nil {
		return Verdict{}
	}
	begin := time.Now()
	logger := cmp.Or(s.Logger, slog.Default()).With("filter", s.Address, "mail", m.Name)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.Timeout, time.Minute))
	defer cancel()
	v, err := s.ask(ctx, m, logger)
	took := time.Since(begin).Round(time.Millisecond)
	switch {
	case err != nil && s.Open:
		logger.ErrorContext(ctx, "scan.failed: the message passes without", "err", explain(ctx, err), "took", took)
		return Verdict{}
	case errors.Is(err, errUnaskable):
		// It would fail the same way each time, so it is not asked for again.
		logger.ErrorContext(ctx, "scan.failed: the message is refused", "err", err)
		return Verdict{Action: Reject, Reply: "The message cannot be scanned"}
	case err != nil:
		logger.ErrorContext(ctx, "scan.failed: the message waits outside", "err", explain(ctx, err), "took", took)
		return Verdict{Action: TempFail}
	case v.Action != Accept:
		logger.InfoContext(ctx, "scan.refused", "final", v.Action == Reject, "took", took)
	}
	return v
}

// explain says what ended ctx when that is why err happened: the connection is
// closed under whoever waits on it.
func explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}
