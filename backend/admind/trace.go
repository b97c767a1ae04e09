package admind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"telesphore/storage"
)

// MessageRequest says which messages that an account has sent.
type MessageRequest struct {
	Name string `json:"name,omitempty"` // of one, as replies and the log have it, or its Message-ID; absent for the last ones
	Last int    `json:"last,omitempty"` // how many of the last ones; 20 when absent, at most as many as fit an answer
}

// Trace is what became of a message that an account has sent.
type Trace struct {
	Name       string    `json:"name"`
	MessageID  string    `json:"message_id,omitempty"`
	EnvelopeID string    `json:"envelope_id,omitempty"` // ENVID of RFC 3461
	Sent       time.Time `json:"sent"`
	Octets     int64     `json:"octets"`
	To         string    `json:"to,omitempty"`       // the first recipient
	Count      int       `json:"count"`              // of recipients
	Furthest   string    `json:"furthest"`           // stage of the recipient that it has come furthest to
	Least      string    `json:"least"`              // and of the one that it has come least far to
	Warnings   []string  `json:"warnings,omitempty"` // about its documents; this and the next one only when one message was asked for
	Recipients []Traced  `json:"recipients,omitempty"`
}

// Traced is what became of a message for one recipient.
type Traced struct {
	Address string `json:"address"`
	Stage   string `json:"stage"` // the furthest
	Steps   []Step `json:"steps,omitempty"`
}

// Step is something that became of a message.
type Step struct {
	Stage  string    `json:"stage"` // queued, on_hold, delayed, handed_over, delivered, processed, read, refused, failed or dropped
	Time   time.Time `json:"time"`
	Status string    `json:"status,omitempty"` // RFC 3463, or a CI-SIS code
	Text   string    `json:"text,omitempty"`   // other people's words, unchecked
}

// lastTraces is how many messages are listed when no number is given.
const lastTraces = 20

// traceMessage tells what became of one message, or of the last ones. Whom an account
// writes to is the account's own business: so who looks is written down, found or not.
func (s *Server) traceMessage(ctx context.Context, c *call) (*Response, error) {
	if c.Message.Last < 0 {
		return nil, errLast
	}
	account, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	event := &storage.Event{Event: string(c.Op), Account: account.Addresses[0], Actor: c.actor}
	if err := s.Auth.Audit.Write(event); err != nil {
		return nil, fmt.Errorf("write down who looks: %w", err)
	}
	res := &Response{}
	err = s.Store.View(ctx, func(tx *storage.Tx) (err error) {
		if c.Message.Name == "" {
			if res.Traces, err = s.lastTraces(tx, account.ID, c.Message.Last); errors.Is(err, storage.ErrTraceDamaged) {
				s.Log.ErrorContext(ctx, "what became of a message cannot be read", "err", err)
				err = nil // of the others it can
			}
			return err
		}
		tr, err := findTrace(tx, account.ID, c.Message.Name)
		if err == nil {
			res.Trace = wholeTrace(tr)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("trace a message: %w", err)
	}
	return res, nil
}

// findTrace finds a message by its name or by its Message-ID, with or without the
// angle brackets.
func findTrace(tx *storage.Tx, a storage.AccountID, text string) (*storage.Trace, error) {
	tr, err := tx.TraceByName(a, text)
	if !errors.Is(err, storage.ErrNoTrace) {
		return tr, err
	}
	return tx.TraceByMessageID(a, "<"+strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")+">")
}

func (s *Server) lastTraces(tx *storage.Tx, a storage.AccountID, n int) ([]Trace, error) {
	n = min(cmp.Or(n, lastTraces), s.Limits.Page)
	all := []Trace{}
	err := tx.Traces(a, 0, func(tr *storage.Trace) bool {
		if len(all) < n {
			all = append(all, *describeTrace(tr))
		}
		return len(all) < n
	})
	return all, err
}

// describeTrace tells of a message what a list has of it.
func describeTrace(tr *storage.Trace) *Trace {
	least, furthest := tr.Stages()
	p := &Trace{
		Name: tr.Name, MessageID: tr.MessageID, EnvelopeID: tr.EnvelopeID, Sent: utc(tr.Sent), Octets: tr.Size,
		Count: len(tr.Recipients), Furthest: stageName(furthest), Least: stageName(least),
	}
	if len(tr.Recipients) > 0 {
		p.To = tr.Recipients[0].Address
	}
	return p
}

func wholeTrace(tr *storage.Trace) *Trace {
	p := describeTrace(tr)
	p.Warnings = tr.Warnings
	for i := range tr.Recipients {
		r := &tr.Recipients[i]
		one := Traced{Address: r.Address, Stage: stageName(r.Stage())}
		for _, step := range r.Steps {
			one.Steps = append(one.Steps, Step{Stage: stageName(step.Stage), Time: utc(step.Time), Status: step.Status, Text: step.Text})
		}
		p.Recipients = append(p.Recipients, one)
	}
	return p
}

// stageName is the protocol's word for a stage.
func stageName(s storage.Stage) string {
	switch s {
	case storage.InQueue:
		return "queued"
	case storage.OnHold:
		return "on_hold"
	case storage.Slow:
		return "delayed"
	case storage.HandedOver:
		return "handed_over"
	case storage.InMailbox:
		return "delivered"
	case storage.Processed:
		return "processed"
	case storage.Read:
		return "read"
	case storage.NotAccepted:
		return "refused"
	case storage.Bounced:
		return "failed"
	case storage.Dropped:
		return "dropped"
	}
	return fmt.Sprintf("stage_%d", s)
}
