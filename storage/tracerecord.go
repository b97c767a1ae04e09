package storage

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"telesphore/storage/keyring"
)

// A trace is stored in parts, so that none is larger than an index value may be,
// however many recipients a message has and whatever is heard of them: 12 recipients
// of at most 3.5 KB each, and in part 0, before them, at most 11 KB on the message.
//
// Record of a part, sealed: 1, octets 64, sent 64 (Unix seconds), name, Message-ID, envelope
// id, number of warnings 16, the warnings, number of recipients 32; of each recipient its
// address, number of steps 8; of each step its stage 8, time 64 (Unix seconds), status, text.
// Parts behind part 0 have zeros and empty strings before their recipients.
//
// The key is the account, the ID's complement 64 (so the newest comes first), the part 16.
const traceVersion = 1

// The bounds of a trace, in octets unless another unit is named. What is longer is cut.
const (
	partRecipients = 12   // recipients of a part
	maxTraceText   = 1000 // of the name, the Message-ID (a header line has 998) and the envelope id
	maxWarnings    = 32   // warnings
	maxWarning     = 250
	maxTraceTo     = 512 // of a recipient's address; RFC 5321 allows 320
	maxSteps       = 20  // steps of a recipient
	maxStatus      = 32
	maxStepText    = 2000 // of all steps of a recipient
)

// cut makes a text UTF-8 and at most n octets long.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "?")
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// bounded returns a copy that keeps within the bounds.
func (tr *Trace) bounded() *Trace {
	b := *tr
	b.Name, b.MessageID, b.EnvelopeID = cut(tr.Name, maxTraceText), cut(tr.MessageID, maxTraceText), cut(tr.EnvelopeID, maxTraceText)
	b.Warnings, b.Recipients = nil, nil
	for _, w := range tr.Warnings[:min(len(tr.Warnings), maxWarnings)] {
		b.Warnings = append(b.Warnings, cut(w, maxWarning))
	}
	for _, r := range tr.Recipients {
		r.Address, r.Steps = cut(r.Address, maxTraceTo), slices.Clone(r.Steps)
		for i := range r.Steps {
			r.Steps[i] = r.Steps[i].bounded()
		}
		r.bound()
		b.Recipients = append(b.Recipients, r)
	}
	return &b
}

func (s Step) bounded() Step {
	s.Status, s.Text = cut(s.Status, maxStatus), cut(s.Text, maxStepText)
	return s
}

// bound makes the steps of a recipient as few, and their texts as short, as they must be.
func (r *Traced) bound() {
	for len(r.Steps) > maxSteps {
		oldest := 0
		if r.furthest() == 0 {
			oldest = 1
		}
		r.Steps = slices.Delete(r.Steps, oldest, oldest+1)
	}
	room := maxStepText
	for i := range slices.Backward(r.Steps) {
		r.Steps[i].Text = cut(r.Steps[i].Text, room)
		room -= len(r.Steps[i].Text)
	}
}

// parts is how many parts a trace has.
func (tr *Trace) parts() int {
	return max(1, (len(tr.Recipients)+partRecipients-1)/partRecipients)
}

// part is what one part of a trace holds.
func (tr *Trace) part(n int) *Trace {
	p := &Trace{}
	if n == 0 {
		*p = *tr
	}
	p.Recipients = tr.Recipients[n*partRecipients : min(len(tr.Recipients), (n+1)*partRecipients)]
	return p
}

// encodeTrace is a whole trace as one record, that of a part with all recipients. ID and
// Account are not in it.
func encodeTrace(tr *Trace) []byte { return tr.bounded().record() }

func (tr *Trace) record() []byte {
	b := le.AppendUint64([]byte{traceVersion}, uint64(tr.Size))
	b = putTime(b, tr.Sent)
	b = putString(b, tr.Name)
	b = putString(b, tr.MessageID)
	b = putString(b, tr.EnvelopeID)
	b = le.AppendUint16(b, uint16(len(tr.Warnings)))
	for _, w := range tr.Warnings {
		b = putString(b, w)
	}
	b = le.AppendUint32(b, uint32(len(tr.Recipients)))
	for _, r := range tr.Recipients {
		b = putString(b, r.Address)
		b = append(b, byte(len(r.Steps)))
		for _, s := range r.Steps {
			b = putTime(append(b, byte(s.Stage)), s.Time)
			b = putString(b, s.Status)
			b = putString(b, s.Text)
		}
	}
	return b
}

// decodeTrace reads what encodeTrace made, all but ID and Account.
func decodeTrace(b []byte) (*Trace, error) {
	f := openRecord("trace", traceVersion, b)
	tr := &Trace{Size: int64(f.u64()), Sent: f.time(), Name: f.string(), MessageID: f.string(), EnvelopeID: f.string()}
	for n := f.u16(); n > 0 && f.err == nil; n-- {
		tr.Warnings = append(tr.Warnings, f.string())
	}
	for n := f.u32(); n > 0 && f.err == nil; n-- {
		r := Traced{Address: f.string()}
		for steps := f.u8(); steps > 0 && f.err == nil; steps-- {
			r.Steps = append(r.Steps, Step{Stage(f.u8()), f.time(), f.string(), f.string()})
		}
		tr.Recipients = append(tr.Recipients, r)
	}
	if f.err == nil && len(f.b) > 0 {
		f.err = errRecord
	}
	return tr, f.err
}

// A trace is found by its name and by its Message-ID.
//
// Entry: 1, number 8, the IDs of the traces that have it, 64 each, the newest last, at most 8.
const (
	traceNameVersion = 1
	maxSameName      = 8

	labelName      = "trace name"
	labelMessageID = "trace message-id"
)

// traceNames are the keys of the entries that lead to a trace.
func traceNames(k *keyring.Account, tr *Trace) (keys [][]byte) {
	if tr.Name != "" {
		keys = append(keys, keyMAC(tabTraceName, tr.Account, k.MAC(labelName, []byte(tr.Name))))
	}
	if tr.MessageID != "" {
		keys = append(keys, keyMAC(tabTraceName, tr.Account, k.MAC(labelMessageID, []byte(tr.MessageID))))
	}
	return keys
}

// tracesNamed reads an entry; there are no IDs when it is not there.
func (t *Tx) tracesNamed(key []byte) (ids []QueueID, err error) {
	v, err := t.Get(key)
	if err != nil || v == nil {
		return nil, err
	}
	return parseTracesNamed(v)
}

func parseTracesNamed(v []byte) (ids []QueueID, err error) {
	f := openRecord("trace name", traceNameVersion, v)
	for n := f.u8(); n > 0 && f.err == nil; n-- {
		ids = append(ids, QueueID(f.u64()))
	}
	return ids, f.err
}

func tracesNamedRecord(ids []QueueID) []byte {
	b := []byte{traceNameVersion, byte(len(ids))}
	for _, id := range ids {
		b = le.AppendUint64(b, uint64(id))
	}
	return b
}

func (t *Tx) putTracesNamed(key []byte, ids []QueueID) error {
	if len(ids) == 0 {
		return t.delete(key)
	}
	return t.put(key, tracesNamedRecord(ids))
}

// nameTrace adds a trace to an entry. One that cannot be read begins anew: mail goes out all the same.
func (t *Tx) nameTrace(key []byte, id QueueID) error {
	ids, err := t.tracesNamed(key)
	if errors.Is(err, errRecord) {
		ids, err = nil, nil
	}
	if err != nil || slices.Contains(ids, id) {
		return err
	}
	ids = append(ids, id)
	slices.Sort(ids)
	return t.putTracesNamed(key, ids[max(0, len(ids)-maxSameName):])
}

// unnameTrace takes a trace from an entry.
func (t *Tx) unnameTrace(key []byte, id QueueID) error {
	ids, err := t.tracesNamed(key)
	i := slices.Index(ids, id)
	if err != nil || i < 0 {
		return err
	}
	return t.putTracesNamed(key, slices.Delete(ids, i, i+1))
}
