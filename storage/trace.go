package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Errors of traces, to be tested with errors.Is.
var (
	// ErrNoTrace: no message that was sent has this name, or it was too long ago.
	ErrNoTrace = errors.New("storage: no such message was sent")
	// ErrTraceDamaged: what became of a message cannot be read any more. It is an ErrNoTrace: mail is not
	// kept from going because nobody can follow it.
	ErrTraceDamaged = fmt.Errorf("%w: damaged trace", ErrNoTrace)
)

// unfollowed makes of a record that cannot be read an ErrTraceDamaged.
func unfollowed(err error) error {
	if errors.Is(err, errRecord) {
		return fmt.Errorf("%w: %w", ErrTraceDamaged, err)
	}
	return err
}

// Stage is how far a message has come towards one recipient. Some are further than
// others, whenever they are heard of: waiting (InQueue, OnHold, Slow), then HandedOver,
// then the ends Bounced and Dropped, then InMailbox, then what happened to it
// there (Processed, Read, NotAccepted). Of stages equally far, the last one heard of counts.
type Stage uint8

// The stages.
const (
	InQueue     Stage = iota // waits here
	OnHold                   // a person holds it here, or its sender does (FUTURERELEASE)
	Slow                     // waits here for long
	HandedOver               // the next server has it
	InMailbox                // delivered
	Processed                // an application took it over (CI-SIS)
	Read                     // displayed to somebody
	NotAccepted              // an application refused it (CI-SIS code in Step.Status)
	Bounced                  // not delivered, and never will be
	Dropped                  // taken out of the queue by a person
)

// rank is how far a stage is. A failure that is reported for a message that is in the
// mailbox concerns a copy of it, sent on from there.
func (s Stage) rank() int {
	switch s {
	case HandedOver:
		return 1
	case Bounced, Dropped:
		return 2
	case InMailbox:
		return 3
	case Processed, Read, NotAccepted:
		return 4
	}
	return 0
}

// Trace follows a message that an account has sent, for a year or as configured. It
// tells nothing of what is in the message. The record is sealed with the account's key.
//
// Dates are kept in whole seconds. A text that is too long is cut: see tracerecord.go.
type Trace struct {
	ID         QueueID   // of the message's body
	Account    AccountID // who is told
	Name       string    // of the message in the log and in replies
	MessageID  string    // with angle brackets, "" for none
	EnvelopeID string    // ENVID, decoded
	Sent       time.Time
	Size       int64
	Warnings   []string // about what its documents lack: see backend/xdm; at most 32
	Recipients []Traced
}

// Traced is one recipient of a Trace.
type Traced struct {
	Address string // as it was written
	// Steps are in the order in which they were heard of, at most 20: another one takes the place of
	// the first that Stage does not come from. Their texts have 2,000 octets
	// together; the last ones are kept.
	Steps []Step
}

// Step is something that became of a message.
type Step struct {
	Stage  Stage
	Time   time.Time
	Status string // RFC 3463 status, or CI-SIS code; "" for none; at most 32 octets
	Text   string // for people: what the other server said; "" for nothing
}

// Stage is how far the message has come towards the recipient.
func (r *Traced) Stage() Stage {
	if len(r.Steps) == 0 {
		return InQueue
	}
	return r.Steps[r.furthest()].Stage
}

// furthest is the index of the step that Stage comes from.
func (r *Traced) furthest() (best int) {
	for i := range r.Steps {
		if r.Steps[i].Stage.rank() >= r.Steps[best].Stage.rank() {
			best = i
		}
	}
	return best
}

// Stages are those of the recipient that the message has come least far to, and of the
// one that it has come furthest to. Without recipients both are InQueue.
func (tr *Trace) Stages() (least, furthest Stage) {
	for i := range tr.Recipients {
		s := tr.Recipients[i].Stage()
		if i == 0 || s.rank() < least.rank() {
			least = s
		}
		if i == 0 || s.rank() > furthest.rank() {
			furthest = s
		}
	}
	return least, furthest
}

// add notes a step and tells whether it says anything new. A stage of waiting may
// come again after another one: a message that was released is held anew.
func (r *Traced) add(s Step) bool {
	s = s.bounded()
	known := r.Steps
	if s.Stage.rank() == 0 {
		known = known[max(0, len(known)-1):]
	}
	if slices.ContainsFunc(known, func(o Step) bool { return o.Stage == s.Stage && o.Status == s.Status && o.Text == s.Text }) {
		return false
	}
	r.Steps = append(r.Steps, s)
	r.bound()
	return true
}

// Keys: a trace is found at its place, which counts the IDs downwards, so that the
// newest one comes first.
func tracePlace(id QueueID) uint64 { return ^uint64(id) }

func keyTracePart(a AccountID, id QueueID, part int) []byte {
	return binary.BigEndian.AppendUint16(key64(tabTrace, a, tracePlace(id)), uint16(part))
}

// putTrace stores a trace, in place of one that has its ID. ErrNoAccount.
func (t *Tx) putTrace(tr *Trace) error {
	tr = tr.bounded()
	for part := range tr.parts() {
		if err := t.putTracePart(tr, part); err != nil {
			return err
		}
	}
	k, err := t.keys(tr.Account)
	if err != nil {
		return err
	}
	for _, key := range traceNames(k, tr) {
		if err := t.nameTrace(key, tr.ID); err != nil {
			return err
		}
	}
	t.changed(tr.Account, OfTraces)
	return nil
}

func (t *Tx) putTracePart(tr *Trace, part int) error {
	return t.putSealed(tr.Account, keyTracePart(tr.Account, tr.ID, part), tr.part(part).record())
}

// nextTrace reads the first trace of an account at or behind a place, nil when there is
// none. One that cannot be read has but its ID, beside the error.
func (t *Tx) nextTrace(a AccountID, place uint64) (tr *Trace, err error) {
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	var failed error
	parts := 0
	err = t.Scan(key64(tabTrace, a, place), after(keyAccount(tabTrace, a)), func(key, v []byte) bool {
		id, number := QueueID(^binary.BigEndian.Uint64(key[5:])), binary.BigEndian.Uint16(key[13:])
		if tr != nil && tr.ID != id {
			return false
		}
		if tr == nil {
			tr = &Trace{ID: id, Account: a}
		}
		record, err := unseal(k, key, v)
		if err == nil && int(number) != parts {
			err = errRecord
		}
		var part *Trace
		if err == nil {
			part, err = decodeTrace(record)
		}
		if err != nil {
			tr, failed = &Trace{ID: id, Account: a}, err
			return false
		}
		if parts++; parts == 1 {
			part.ID, part.Account = id, a
			tr = part
		} else {
			tr.Recipients = append(tr.Recipients, part.Recipients...)
		}
		return true
	})
	return tr, errors.Join(err, failed)
}

// Trace returns what became of a message. ErrNoTrace, ErrTraceDamaged.
func (t *Tx) Trace(a AccountID, id QueueID) (*Trace, error) {
	tr, err := t.nextTrace(a, tracePlace(id))
	if tr == nil || tr.ID != id {
		if err == nil || tr != nil { // another one that cannot be read is nobody's matter here
			err = ErrNoTrace
		}
		return nil, err
	}
	if err != nil {
		return nil, unfollowed(err)
	}
	return tr, nil
}

// TraceByMessageID returns what became of the account's message of this Message-ID
// (with angle brackets), the newest when there are several. ErrNoTrace.
func (t *Tx) TraceByMessageID(a AccountID, id string) (*Trace, error) {
	id = cut(id, maxTraceText)
	return t.findTrace(a, labelMessageID, id, func(tr *Trace) bool { return tr.MessageID == id })
}

// TraceByName returns what became of the account's message of this name. ErrNoTrace.
func (t *Tx) TraceByName(a AccountID, name string) (*Trace, error) {
	name = cut(name, maxTraceText)
	return t.findTrace(a, labelName, name, func(tr *Trace) bool { return tr.Name == name })
}

// findTrace returns the newest trace that is under a name and has it.
func (t *Tx) findTrace(a AccountID, label, name string, has func(*Trace) bool) (*Trace, error) {
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	ids, err := t.tracesNamed(keyMAC(tabTraceName, a, k.MAC(label, []byte(name))))
	if err != nil {
		return nil, unfollowed(err)
	}
	missing := ErrNoTrace
	for _, id := range slices.Backward(ids) {
		tr, err := t.Trace(a, id)
		if err == nil && has(tr) {
			return tr, nil
		}
		if err != nil && !errors.Is(err, ErrNoTrace) {
			return nil, err
		}
		if errors.Is(err, ErrTraceDamaged) {
			missing = err
		}
	}
	return nil, missing
}

// Traces calls f for the account's messages before an ID, descending (the newest first), until f
// returns false; 0 stands behind all. f may use the transaction. One that cannot be read does not keep f
// from the others: it is the error in the end, ErrTraceDamaged.
func (t *Tx) Traces(a AccountID, before QueueID, f func(*Trace) bool) error {
	place := uint64(0)
	if before != 0 {
		place = tracePlace(before) + 1
	}
	var damaged error
	for {
		tr, err := t.nextTrace(a, place)
		switch {
		case tr != nil && errors.Is(err, errRecord):
			damaged = unfollowed(err)
		case err != nil || tr == nil:
			return errors.Join(err, damaged)
		case !f(tr):
			return damaged
		}
		place = tracePlace(tr.ID) + 1
	}
}

// AddSteps adds a step for each recipient (normalised address, or as written) that steps names; one
// that says what is known already changes nothing. ErrNoTrace when the message is not followed (any more),
// ErrTraceDamaged.
//
// Addresses are the same when their domains and local parts differ in case alone. When
// two recipients do, a step is for the one whose local part it has exactly.
func (t *Tx) AddSteps(a AccountID, id QueueID, steps map[string]Step) error {
	tr, err := t.Trace(a, id)
	if err != nil {
		return err
	}
	parts := map[int]bool{}
	for _, address := range slices.Sorted(maps.Keys(steps)) {
		for _, i := range tr.named(address) {
			if tr.Recipients[i].add(steps[address]) {
				parts[i/partRecipients] = true
			}
		}
	}
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		if err := t.putTracePart(tr, part); err != nil {
			return err
		}
	}
	if len(parts) > 0 {
		t.changed(a, OfTraces)
	}
	return nil
}

// named are the indexes of the recipients that an address names.
func (tr *Trace) named(address string) (found []int) {
	local, domain := splitAddress(address)
	exact := false
	for i := range tr.Recipients {
		l, d := splitAddress(tr.Recipients[i].Address)
		if !strings.EqualFold(d, domain) || !strings.EqualFold(l, local) {
			continue
		}
		if l == local && !exact {
			exact, found = true, nil
		}
		if l == local || !exact {
			found = append(found, i)
		}
	}
	return found
}

// splitAddress divides an address at its last "@"; without one the domain is "".
func splitAddress(address string) (local, domain string) {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return address[:i], address[i+1:]
	}
	return address, ""
}
