package backend

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"telesphore/backend/message"
	"telesphore/backend/xdm"
	"telesphore/storage"
)

// This file is how a message enters: everything that one message makes, copies in
// mailboxes, deliveries in the queue and the trace of it, is one commit.

// Accept takes a message over. When it returns nil the message is on disk: in the
// mailboxes of those recipients that are here, in the queue for the others. An
// account gets one copy, whatever number of addresses and aliases lead to it.
//
// A recipient that cannot have the message does not keep it from the others: the
// sender is told by a notice. Only when nobody can have it, or nobody could be told, Accept takes
// nothing. Errors: those of Resolve, ErrMailLoop, ErrRemote for a domain that mail may not go to,
// storage.ErrOverQuota, storage.ErrSendQuota, or what the store says.
func (r *Router) Accept(ctx context.Context, e *Envelope) error {
	if len(e.Rcpts) == 0 {
		return errors.New("accept a message: no recipient")
	}
	if e.From != "" {
		// Nothing gets into a header line that was not parsed on the way.
		from, err := ParseAddress(e.From)
		if err != nil {
			return err
		}
		e.From = from.String()
	}
	if err := r.hear(ctx, e); err != nil {
		return fmt.Errorf("note a report: %w", err)
	}
	meta := message.Describe(e.Octets)
	// An account that filled up between the look and the commit waits like the others.
	for tries := 0; ; tries++ {
		p, err := r.plan(ctx, e)
		if err != nil {
			return err
		}
		p.trace(e, meta)
		err = r.commit(ctx, e, meta, p.Acceptance)
		if !errors.Is(err, storage.ErrOverQuota) || tries == 2 {
			return err
		}
	}
}

// commit makes what was planned durable.
func (r *Router) commit(ctx context.Context, e *Envelope, meta *message.Meta, a *storage.Acceptance) error {
	for i := range a.Targets {
		t := &a.Targets[i]
		t.MessageID, t.References, t.BaseSubject = meta.MessageID, meta.References, meta.BaseSubject
	}
	if err := r.sign(e, a.Queue); err != nil {
		return err
	}
	content, err := r.Store.Seal(e.Octets, meta.Marshal(message.MetaLimit))
	if err != nil {
		return fmt.Errorf("seal a message: %w", err)
	}
	if _, err := r.Store.Accept(ctx, content, a); err != nil {
		return fmt.Errorf("file a message: %w", err)
	}
	return nil
}

// sign proves to other servers where a message comes from. Nothing about it changes afterwards.
func (r *Router) sign(e *Envelope, q *storage.Queued) (err error) {
	away := func(d storage.Delivery) bool { return !d.Here && d.State == storage.Waiting }
	if r.Sign == nil || q == nil || !slices.ContainsFunc(q.Deliveries, away) {
		return nil
	}
	if q.Prefix, err = r.Sign(e.Octets); err != nil {
		return fmt.Errorf("sign a message: %w", err)
	}
	return nil
}

// proven reports whether a notice may go to the reverse-path: there is one, and it is known to be
// the sender's. What a stranger writes there may be another's address.
func (e *Envelope) proven() bool { return e.From != "" && (e.Account != 0 || e.Origin != "") }

// plan is what a message will become.
type plan struct {
	*storage.Acceptance
	r     *Router
	now   time.Time
	id    string // ENVID, the sender's or ours
	been  map[string]bool
	known map[storage.AccountID]bool // accounts that get a copy
	limit int                        // copies
	here  map[string]bool            // recipients that have it with this commit
	lost  map[string]string          // recipients that cannot have it: the status (RFC 3463)
}

// plan finds out what becomes of a message for each recipient.
func (r *Router) plan(ctx context.Context, e *Envelope) (*plan, error) {
	now := time.Now()
	start := now
	if e.HoldUntil.After(now) {
		start = e.HoldUntil.Add(time.Second - 1).Truncate(time.Second) // the store cuts off what is no whole second
	}
	e.Name = cmp.Or(e.Name, NewName())
	q := &storage.Queued{
		Name: e.Name, Account: e.Account, From: e.From, EnvelopeID: e.EnvelopeID, Return: e.Return, UTF8: e.UTF8,
		RequireTLS: e.RequireTLS, Priority: e.Priority, Arrived: now,
		Expires: start.Add(cmp.Or(e.Lifetime, r.Lifetime, 5*24*time.Hour)),
	}
	if e.Account != 0 && e.EnvelopeID == "" {
		q.EnvelopeID = ourEnvelopeID(e.Account, e.Name)
	}
	p := &plan{
		Acceptance: &storage.Acceptance{Queue: q, Limits: cmp.Or(e.Sending, r.Sending), Changes: e.Changes}, r: r, now: now, id: q.EnvelopeID,
		been: r.been(e.Octets), known: map[storage.AccountID]bool{}, limit: len(e.Rcpts) + r.Aliases.withDefaults().Recipients,
		here: map[string]bool{}, lost: map[string]string{},
	}
	var refused error
	for _, rcpt := range e.Rcpts {
		d := storage.Delivery{
			Address: rcpt.Address, Notify: rcpt.Notify, OriginalType: rcpt.OriginalType, Original: rcpt.Original, Next: start,
		}
		err := p.recipient(ctx, e, &d)
		if err == nil {
			continue
		}
		failed := Failure(err, now)
		if failed == nil || !e.proven() {
			return nil, err // nobody could be told, or it is trouble of ours
		}
		if refused == nil {
			refused = err
		}
		d.Last = *failed
		if d.State = storage.Finished; failed.Action == storage.Delayed {
			d.State, d.Attempts = storage.Waiting, 1
		} else {
			p.lost[rcpt.Address] = failed.Status
		}
		q.Deliveries = append(q.Deliveries, d)
	}
	if refused != nil && len(p.Targets) == 0 && !slices.ContainsFunc(q.Deliveries, func(d storage.Delivery) bool { return d.Attempts == 0 && d.State == storage.Waiting }) {
		return nil, refused
	}
	if len(q.Deliveries) == 0 {
		p.Queue = nil
	}
	return p, nil
}

// recipient plans one recipient. An error says why it cannot have the message now.
func (p *plan) recipient(ctx context.Context, e *Envelope, d *storage.Delivery) error {
	a, err := ParseAddress(d.Address)
	if err != nil {
		return err
	}
	switch zone := p.r.Zone(a.Domain); zone {
	case Unlisted:
		return ErrRemote
	case Trusted, Outside:
		d.Trusted = zone == Trusted
		p.Queue.Deliveries = append(p.Queue.Deliveries, *d)
		return nil
	}
	d.Here = true
	targets, full, err := p.r.targets(ctx, e, d.Address, p.been, p.known)
	if err == nil && len(p.Targets)+len(targets) > p.limit {
		err = ErrRecipients
	}
	if err != nil {
		return err
	}
	if d.Next.After(p.now) { // held: File will do it
		p.Queue.Deliveries = append(p.Queue.Deliveries, *d)
		return nil
	}
	for _, t := range targets {
		p.known[t.Account] = true
	}
	p.Targets = append(p.Targets, targets...)
	p.here[d.Address] = true
	for _, address := range full {
		if !slices.ContainsFunc(p.Queue.Deliveries, func(o storage.Delivery) bool { return o.Here && o.Address == address }) {
			p.Queue.Deliveries = append(p.Queue.Deliveries, member(d, address, e.proven(), p.now))
		}
	}
	if d.Notify&storage.NotifySuccess != 0 && e.proven() {
		d.State, d.Last = storage.Finished, storage.Result{Action: storage.Delivered, Time: p.now, Status: "2.1.5"}
		p.Queue.Deliveries = append(p.Queue.Deliveries, *d)
	}
	return nil
}

// trace begins to follow a message that somebody of ours sends.
func (p *plan) trace(e *Envelope, meta *message.Meta) {
	if e.Account == 0 || e.From == "" {
		return
	}
	t := &storage.Trace{
		Account: e.Account, Name: e.Name, MessageID: meta.MessageID, EnvelopeID: p.id, Sent: p.now, Size: int64(len(e.Octets)),
		Warnings: xdm.Inspect(e.Octets, p.r.Documents).Warnings,
	}
	for _, rcpt := range e.Rcpts {
		step := storage.Step{Stage: storage.InQueue, Time: p.now}
		switch {
		case p.here[rcpt.Address]:
			step.Stage = storage.InMailbox
		case p.lost[rcpt.Address] != "":
			step.Stage, step.Status = storage.Bounced, p.lost[rcpt.Address]
		case e.HoldUntil.After(p.now):
			step.Stage = storage.OnHold
		}
		t.Recipients = append(t.Recipients, storage.Traced{Address: rcpt.Address, Steps: []storage.Step{step}})
	}
	p.Trace = t
}

// Failure says what an error of a recipient here is to the sender of a message that others get; nil when it is no
// matter of one recipient.
func Failure(err error, now time.Time) *storage.Result {
	for _, f := range []struct {
		is     error
		action storage.Action
		status string // RFC 3463
	}{
		{ErrAddress, storage.Failed, "5.1.3"},
		{ErrNoSuchUser, storage.Failed, "5.1.1"},
		{storage.ErrNoAccount, storage.Failed, "5.1.1"},
		{ErrRemote, storage.Failed, "5.7.1"},
		{ErrAliasOff, storage.Failed, "5.2.1"},
		{ErrAliasEmpty, storage.Failed, "5.2.4"},
		{ErrAliasLoop, storage.Failed, "5.4.6"},
		{ErrAliasDepth, storage.Failed, "5.4.6"},
		{ErrMailLoop, storage.Failed, "5.4.6"},
		{storage.ErrOverQuota, storage.Delayed, "4.2.2"},
	} {
		if errors.Is(err, f.is) {
			return &storage.Result{Action: f.action, Status: f.status, Time: now}
		}
	}
	return nil
}

// targets finds the accounts that get a copy by way of one recipient, but for those known, with the lines that
// stand in front of it there: Delivered-To names the recipient as SMTP had it, above
// it the aliases on the way and the address of the account. full are the members of a list that have no
// room, by their addresses; storage.ErrOverQuota when nobody has.
func (r *Router) targets(ctx context.Context, e *Envelope, rcpt string, been map[string]bool, known map[storage.AccountID]bool) (targets []storage.Target, full []string, err error) {
	now := time.Now()
	err = r.look(ctx, rcpt, func(tx *storage.Tx, a Address) error {
		found, err := r.resolve(tx, a, been)
		targets, full = nil, nil
		for _, f := range found {
			if known[f.account.ID] {
				continue
			}
			prefix := fmt.Appendf(nil, "Return-Path: <%s>\r\n", e.From)
			for _, address := range f.path {
				if !slices.Contains(r.forms(a), address) {
					prefix = fmt.Appendf(prefix, "Delivered-To: %s\r\n", address)
				}
			}
			prefix = fmt.Appendf(prefix, "Delivered-To: %s\r\n", rcpt)
			err := tx.Room(f.account.ID, int64(len(prefix)+len(e.Octets)))
			if errors.Is(err, storage.ErrOverQuota) && len(f.path) > 0 && len(full)+1 < len(found) {
				full = append(full, f.path[0])
				continue
			}
			if err != nil {
				return err
			}
			targets = append(targets, storage.Target{Account: f.account.ID, InternalDate: now, Prefix: prefix})
		}
		return err
	})
	return targets, full, err
}

// member is the delivery to a member of a list who had no room when the others got the message: it waits for
// nobody else. told says whether its sender may be told of it.
func member(list *storage.Delivery, address string, told bool, now time.Time) storage.Delivery {
	d := storage.Delivery{
		Here: true, Address: address, Notify: list.Notify &^ storage.NotifySuccess, OriginalType: list.OriginalType, Original: list.Original,
		Next: now, Attempts: 1, Last: storage.Result{Action: storage.Delayed, Time: now, Status: "4.2.2"},
	}
	if d.Original == "" {
		d.OriginalType, d.Original = "rfc822", list.Address
	}
	if !told || list.Notify != 0 && d.Notify == 0 {
		d.Notify = storage.NotifyNever
	}
	return d
}

// File files a message of the queue for a recipient that is here, and takes the
// delivery out of the queue, or leaves but its notice there. Members of a list who have no room wait as a
// message of their own. Errors: as for Accept.
func (r *Router) File(ctx context.Context, q *storage.Queued, d *storage.Delivery, octets []byte) error {
	e := &Envelope{Name: q.Name, From: q.From, Octets: octets}
	targets, full, err := r.targets(ctx, e, d.Address, r.been(octets), nil)
	if err != nil {
		return err
	}
	now := time.Now()
	change := storage.DeliveryChange{Queue: q.ID, Delivery: *d, Remove: true}
	if d.Notify&storage.NotifySuccess != 0 && q.From != "" {
		change.Remove = false
		change.Delivery.State = storage.Finished
		change.Delivery.Last = storage.Result{Action: storage.Delivered, Time: now, Status: "2.1.5"}
	}
	a := &storage.Acceptance{Targets: targets, Changes: []storage.DeliveryChange{change}}
	if len(full) > 0 {
		rest := *q
		rest.Prefix, rest.Deliveries = nil, nil
		for _, address := range full {
			rest.Deliveries = append(rest.Deliveries, member(d, address, true, now))
		}
		a.Queue = &rest
	}
	return r.commit(ctx, e, message.Describe(octets), a)
}

// NewName is a name for a message in the log and in replies. Nobody can guess it.
func NewName() string { return rand.Text()[:16] }
