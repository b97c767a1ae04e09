package backend

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"telesphore/backend/report"
	"telesphore/storage"
)

// This file is how notices that come in are linked to the messages that they are about.

// ourEnvelopeID is the ENVID that we give a message which has none: notices bring it
// back. Nobody but the servers on the way has seen it, so it proves
// that a notice knows the message.
func ourEnvelopeID(a storage.AccountID, name string) string {
	return strconv.FormatUint(uint64(a), 36) + "." + name
}

func parseEnvelopeID(id string) (storage.AccountID, string, bool) {
	number, name, ok := strings.Cut(id, ".")
	a, err := strconv.ParseUint(number, 36, 32)
	return storage.AccountID(a), name, ok && err == nil
}

// hear notes what a report says about messages that were sent from here. It is
// done before the report is filed, so that it is done when that is; twice is as good as once.
func (r *Router) hear(ctx context.Context, e *Envelope) error {
	if e.Changes != nil {
		return nil // our own notice: the queue knows
	}
	rep, ok := report.Parse(e.Octets)
	if !ok || len(rep.Recipients) == 0 {
		return nil
	}
	if a, name, ok := parseEnvelopeID(rep.EnvelopeID); ok && !rep.Disposition {
		err := r.note(ctx, rep, a, "", func(tx *storage.Tx) (*storage.Trace, error) { return tx.TraceByName(a, name) })
		if !errors.Is(err, storage.ErrNoTrace) {
			return err
		}
	}
	if e.Origin == "" || rep.MessageID == "" {
		return nil // anybody could have written it
	}
	for _, rcpt := range e.Rcpts {
		ids, err := r.Resolve(ctx, rcpt.Address)
		if err != nil {
			continue // Accept will say
		}
		for _, a := range ids {
			err := r.note(ctx, rep, a, e.Origin, func(tx *storage.Tx) (*storage.Trace, error) { return tx.TraceByMessageID(a, rep.MessageID) })
			if err != nil && !errors.Is(err, storage.ErrNoTrace) {
				return err
			}
		}
	}
	return nil
}

// note adds to a trace what a report says. Whoever comes from one domain speaks for
// recipients there only; "" for who may speak for all.
func (r *Router) note(ctx context.Context, rep *report.Report, a storage.AccountID, origin string, find func(*storage.Tx) (*storage.Trace, error)) error {
	err := r.Store.Update(ctx, func(tx *storage.Tx) error {
		t, err := find(tx)
		if err != nil {
			return err
		}
		steps := map[string]storage.Step{}
		for _, reported := range rep.Recipients {
			for _, address := range []string{reported.Original, reported.Address, rep.From} {
				if to := traced(t, address); to != "" && r.speaksFor(origin, to) {
					steps[to] = reported.Step
					break
				}
			}
		}
		return tx.AddSteps(a, t.ID, steps)
	})
	if err != nil {
		return fmt.Errorf("add to a trace: %w", err)
	}
	return nil
}

// traced finds the recipient of a message that has an address, as it was written there; "" for none.
func traced(t *storage.Trace, address string) string {
	a, err := ParseAddress(address)
	if err != nil {
		return ""
	}
	for _, to := range t.Recipients {
		if b, err := ParseAddress(to.Address); err == nil && a.Normal() == b.Normal() {
			return to.Address
		}
	}
	return ""
}

// speaksFor reports whether a notice from a domain may be about a recipient.
func (r *Router) speaksFor(origin, recipient string) bool {
	to, err := ParseAddress(recipient)
	if err != nil || origin == "" {
		return err == nil
	}
	from, err := ParseDomain(origin)
	return err == nil && (from == to.Domain || r.Zone(from) == Local && r.Local(to))
}
