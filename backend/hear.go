package backend

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"telesphore/backend/report"
	"telesphore/storage"
)

// This file is how notices that come in are linked to the messages that they are about.

// ourEnvelopeID is the ENVID that we give a message which has none: notices bring it
// back. Account and name say where to look. They are no secret, the name stands in the
// Received field; what follows them only the servers on the way have seen, so it
// proves that a notice knows the envelope.
func ourEnvelopeID(a storage.AccountID, name string) string {
	return strconv.FormatUint(uint64(a), 36) + "." + name + "." + rand.Text()
}

func parseEnvelopeID(id string) (a storage.AccountID, name string, ok bool) {
	number, rest, _ := strings.Cut(id, ".")
	name, _, ok = strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 36, 32)
	return storage.AccountID(n), name, ok && err == nil
}

// maxAsked is how many accounts are asked whether a report is about a message of theirs. It goes to
// the one that sent it, and to few others.
const maxAsked = 100

// hearing is a report that comes in, with who brings it.
type hearing struct {
	r     *Router
	e     *Envelope
	rep   *report.Report
	known bool // it knows the envelope of the message
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
	h := &hearing{r: r, e: e, rep: rep}
	if a, name, ok := parseEnvelopeID(rep.EnvelopeID); ok && !rep.Disposition {
		h.known = true
		err := h.note(ctx, a, func(tx *storage.Tx) (*storage.Trace, error) {
			t, err := tx.TraceByName(a, name)
			if err == nil && subtle.ConstantTimeCompare([]byte(t.EnvelopeID), []byte(rep.EnvelopeID)) == 0 {
				err = storage.ErrNoTrace
			}
			return t, err
		})
		if !errors.Is(err, storage.ErrNoTrace) {
			return err
		}
		h.known = false
	}
	if e.Origin == "" || rep.MessageID == "" {
		return nil // anybody could have written it
	}
	asked := 0
	for _, rcpt := range e.Rcpts {
		ids, err := r.Resolve(ctx, rcpt.Address)
		if err != nil {
			continue // Accept will say
		}
		for _, a := range ids {
			if asked++; asked > maxAsked {
				return nil
			}
			err := h.note(ctx, a, func(tx *storage.Tx) (*storage.Trace, error) { return tx.TraceByMessageID(a, rep.MessageID) })
			if err != nil && !errors.Is(err, storage.ErrNoTrace) {
				return err
			}
		}
	}
	return nil
}

// note adds what the report says to the trace of an account that find finds. Nothing is
// written, nor anybody kept from writing, for a report that adds nothing.
func (h *hearing) note(ctx context.Context, a storage.AccountID, find func(*storage.Tx) (*storage.Trace, error)) error {
	var id storage.QueueID
	var steps map[string]storage.Step
	err := h.r.Store.View(ctx, func(tx *storage.Tx) error {
		t, err := find(tx)
		if err != nil {
			return err
		}
		id = t.ID
		steps, err = h.steps(tx, t)
		return err
	})
	if err == nil && len(steps) > 0 {
		err = h.r.Store.Update(ctx, func(tx *storage.Tx) error { return tx.AddSteps(a, id, steps) })
	}
	if err != nil {
		return fmt.Errorf("add to a trace: %w", err)
	}
	return nil
}

// steps are what the report says of those recipients of a message that whoever brings it
// may speak for.
func (h *hearing) steps(tx *storage.Tx, t *storage.Trace) (map[string]storage.Step, error) {
	written := map[string]string{} // by normalised address
	for _, to := range t.Recipients {
		if a, err := ParseAddress(to.Address); err == nil {
			written[a.Normal()] = to.Address
		}
	}
	may := map[string]bool{}
	steps := map[string]storage.Step{}
	for _, reported := range h.rep.Recipients {
		for _, address := range []string{reported.Original, reported.Address, h.rep.From} {
			a, err := ParseAddress(address)
			if err != nil || written[a.Normal()] == "" {
				continue
			}
			to := written[a.Normal()]
			if _, asked := may[to]; !asked {
				if may[to], err = h.speaksFor(tx, a); err != nil {
					return nil, err
				}
			}
			if may[to] {
				steps[to] = reported.Step
				break
			}
		}
	}
	return steps, nil
}

// speaksFor reports whether the report may be about a recipient. Of those who are here only
// they themselves speak, being logged in; what became of their copy we know. Of the trust
// space its operators do, each for the domain that it writes from, and so do other servers. Who knows the envelope
// need not be of that domain: it may be a server on the way.
func (h *hearing) speaksFor(tx *storage.Tx, to Address) (bool, error) {
	switch h.r.Zone(to.Domain) {
	case Local:
		return h.behind(tx, to)
	case Trusted:
		if !h.e.Peer {
			return false, nil
		}
	}
	from, err := ParseDomain(h.e.Origin)
	return h.known || err == nil && from == to.Domain, nil
}

// behind reports whether the account that brings the report gets mail for an address.
func (h *hearing) behind(tx *storage.Tx, to Address) (bool, error) {
	if h.e.Account == 0 {
		return false, nil
	}
	found, err := h.r.resolve(tx, to, nil)
	if Failure(err, time.Time{}) != nil || errors.Is(err, ErrRecipients) {
		return false, nil // it leads nowhere any more
	}
	return slices.ContainsFunc(found, func(f reached) bool { return f.account.ID == h.e.Account }), err
}
