package admind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// The operations on the queue. They tell addresses, and nothing of what is in a message.
const (
	QueueList    Op = "queue.list"    // [queue.domain .sender .state .after]; answers queue, without deliveries
	QueueShow    Op = "queue.show"    // queue.id; answers queue with one message and its deliveries
	QueueRetry   Op = "queue.retry"   // queue.id, or queue.domain: tries what waits now; answers count, like the next three
	QueueHold    Op = "queue.hold"    // queue.id: keeps what waits until it is released
	QueueRelease Op = "queue.release" // queue.id
	QueueDrop    Op = "queue.drop"    // queue.id [queue.tell]: takes it out for good
)

// QueueRequest is what an operation on the queue needs.
type QueueRequest struct {
	ID     string `json:"id,omitempty"`
	After  string `json:"after,omitempty"`  // the ID behind which the list goes on
	Domain string `json:"domain,omitempty"` // of a recipient
	Sender string `json:"sender,omitempty"` // address or domain; "<>" for none
	State  string `json:"state,omitempty"`  // of a delivery: "waiting", "held" or "notice"
	Tell   bool   `json:"tell,omitempty"`   // the sender gets a notice of failure
}

// Queued is a message that is on its way.
type Queued struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`             // in the log and in replies
	Sender     string     `json:"sender,omitempty"` // absent for codes and notices
	Urgent     bool       `json:"urgent,omitempty"`
	Size       int64      `json:"size"` // octets
	Arrived    time.Time  `json:"arrived"`
	Expires    time.Time  `json:"expires"`              // then what is left of it is given up
	Domains    []string   `json:"domains"`              // where it still has to go; at most 20
	Recipients int        `json:"recipients"`           // that are left
	State      string     `json:"state"`                // of the delivery that comes next: waiting, held or notice; or damaged: then it has but an ID
	Next       time.Time  `json:"next,omitzero"`        // its next attempt; absent when there is none
	Attempts   uint32     `json:"attempts"`             // so far, at most
	Reason     string     `json:"reason,omitempty"`     // why it is still here, in words
	Deliveries []Delivery `json:"deliveries,omitempty"` // at most as many as a page has
}

// Delivery is one recipient of a message that is on its way.
type Delivery struct {
	Address  string    `json:"address"`
	State    string    `json:"state"` // waiting, held, or notice: only its notice has still to be sent
	Next     time.Time `json:"next,omitzero"`
	Attempts uint32    `json:"attempts"`
	Warned   bool      `json:"warned,omitempty"` // the sender knows that it takes long
	Last     time.Time `json:"last,omitzero"`    // attempt
	Status   string    `json:"status,omitempty"` // of the last attempt (RFC 3463)
	Remote   string    `json:"remote,omitempty"` // server that was asked
	Reply    string    `json:"reply,omitempty"`  // what it said
	Reason   string    `json:"reason,omitempty"` // all that in words
}

// What this door says of the queue.
var (
	errNoQueue    = errors.New("admind: no queue")
	errQueueState = errors.New("admind: unknown state of a delivery")
	errWhichQueue = errors.New("admind: neither one message nor a domain")
)

func queuePhrases() []phrase {
	return []phrase{
		{errNoQueue, Error{Off, "this server works no queue off"}},
		{storage.ErrNoQueued, Error{NotQueued, "there is no such message in the queue, or not any more: see telesphore queue list"}},
		{storage.ErrQueueDamaged, Error{Damaged, "this message of the queue is damaged and cannot be read: it can only be dropped"}},
		{storage.ErrQueueID, Error{BadRequest, "this is no ID of a message in the queue: telesphore queue list shows them"}},
		{errQueueState, Error{BadRequest, "a state is one of waiting, held and notice"}},
		{errWhichQueue, Error{BadRequest, "name one message, or a domain"}},
	}
}

// listQueue answers with the messages that match. Filters look at each delivery by itself. One that cannot be read
// is listed where nothing is filtered, so that somebody can take it out.
func (s *Server) listQueue(ctx context.Context, c *call) (*Response, error) {
	want, err := queueFilter(&c.Queue)
	if err != nil {
		return nil, err
	}
	var behind storage.QueueID
	if c.Queue.After != "" {
		if behind, err = storage.ParseQueueID(c.Queue.After); err != nil {
			return nil, err
		}
	}
	everything := c.Queue.Domain == "" && c.Queue.Sender == "" && c.Queue.State == ""
	res := &Response{}
	err = s.Store.View(ctx, func(tx *storage.Tx) error {
		*res = Response{}
		var failed error
		err := tx.QueueIDs(behind, func(id storage.QueueID) bool {
			q, err := tx.Queued(id)
			p := &Queued{ID: id.String(), Domains: []string{}, State: "damaged", Reason: "it cannot be read"}
			matches := everything
			if failed = err; errors.Is(err, storage.ErrQueueDamaged) {
				failed = nil
			} else if err == nil {
				p = s.publicQueued(q)
				matches = slices.ContainsFunc(q.Deliveries, func(d storage.Delivery) bool { return want(q, &d) })
			}
			if failed == nil && matches {
				if res.More = len(res.Queue) == s.Limits.Page; !res.More {
					res.Queue = append(res.Queue, *p)
				}
			}
			return failed == nil && !res.More && ctx.Err() == nil
		})
		return errors.Join(err, failed)
	})
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, fmt.Errorf("list the queue: %w", err)
	}
	return res, nil
}

// queueFilter is what a list is to have.
func queueFilter(r *QueueRequest) (func(*storage.Queued, *storage.Delivery) bool, error) {
	if _, ok := queueStates()[r.State]; r.State != "" && !ok {
		return nil, errQueueState
	}
	domain, sender := "", strings.TrimPrefix(r.Sender, "@")
	var err error
	if r.Domain != "" {
		if domain, err = backend.ParseDomain(r.Domain); err != nil {
			return nil, errDomain
		}
	}
	if a, err := backend.ParseAddress(sender); err == nil {
		sender = a.Normal()
	} else if d, err := backend.ParseDomain(sender); err == nil {
		sender = d
	} else if sender != "" && sender != "<>" {
		return nil, fmt.Errorf("parse the sender: %w", backend.ErrAddress)
	}
	return func(q *storage.Queued, d *storage.Delivery) bool {
		from, _ := backend.ParseAddress(q.From)
		return (r.State == "" || queueStates()[r.State] == d.State) && (domain == "" || domain == domainOf(d)) &&
			(sender == "" || sender == from.Normal() || sender == from.Domain || sender == "<>" && q.From == "")
	}, nil
}

func queueStates() map[string]storage.DeliveryState {
	return map[string]storage.DeliveryState{"waiting": storage.Waiting, "held": storage.Held, "notice": storage.Finished}
}

func domainOf(d *storage.Delivery) string {
	a, _ := backend.ParseAddress(d.Address)
	return a.Domain
}

func (s *Server) showQueued(ctx context.Context, c *call) (*Response, error) {
	id, err := storage.ParseQueueID(c.Queue.ID)
	if err != nil {
		return nil, err
	}
	res := &Response{}
	err = s.Store.View(ctx, func(tx *storage.Tx) error {
		q, err := tx.Queued(id)
		if err != nil {
			return err
		}
		p := s.publicQueued(q)
		for i := range q.Deliveries[:min(len(q.Deliveries), s.Limits.Page)] {
			p.Deliveries = append(p.Deliveries, s.publicDelivery(&q.Deliveries[i]))
		}
		*res = Response{Queue: []Queued{*p}}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("show a message of the queue: %w", err)
	}
	return res, nil
}

func (s *Server) retryQueued(ctx context.Context, c *call) (*Response, error) {
	if (c.Queue.ID == "") == (c.Queue.Domain == "") {
		return nil, errWhichQueue
	}
	if c.Queue.ID != "" {
		return s.operate(ctx, c, func(id storage.QueueID) (int, error) { return s.Queue.Retry(ctx, id) })
	}
	domain, err := backend.ParseDomain(c.Queue.Domain)
	if err != nil {
		return nil, errDomain
	}
	if s.Queue == nil {
		return nil, errNoQueue
	}
	n, err := s.Queue.RetryDomain(ctx, domain)
	if err != nil {
		return nil, err
	}
	_ = s.Auth.Audit.Write(&storage.Event{Event: string(c.Op), Actor: c.actor, Via: "domain " + domain})
	return &Response{Count: n}, nil
}

func (s *Server) holdQueued(ctx context.Context, c *call) (*Response, error) {
	return s.operate(ctx, c, func(id storage.QueueID) (int, error) { return s.Queue.Hold(ctx, id) })
}

func (s *Server) releaseQueued(ctx context.Context, c *call) (*Response, error) {
	return s.operate(ctx, c, func(id storage.QueueID) (int, error) { return s.Queue.Release(ctx, id) })
}

func (s *Server) dropQueued(ctx context.Context, c *call) (*Response, error) {
	return s.operate(ctx, c, func(id storage.QueueID) (int, error) { return s.Queue.Drop(ctx, id, c.Queue.Tell) })
}

// operate does something to a message, and writes down who did, and whose it is.
func (s *Server) operate(ctx context.Context, c *call, f func(storage.QueueID) (int, error)) (*Response, error) {
	if s.Queue == nil {
		return nil, errNoQueue
	}
	id, err := storage.ParseQueueID(c.Queue.ID)
	if err != nil {
		return nil, err
	}
	e := &storage.Event{Event: string(c.Op), Actor: c.actor}
	err = s.Store.View(ctx, func(tx *storage.Tx) error {
		q, err := tx.Queued(id)
		if errors.Is(err, storage.ErrQueueDamaged) && c.Op == QueueDrop {
			e.Via = "damaged message " + id.String()
			return nil
		}
		if err != nil {
			return err
		}
		e.Via, e.Account = "message "+q.Name, ""
		if a, err := tx.Account(q.Account); err == nil && len(a.Addresses) > 0 {
			e.Account = a.Addresses[0]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	n, err := f(id)
	if err != nil {
		return nil, err
	}
	if n > 0 || c.Op == QueueDrop { // a damaged one may have no recipient that can be counted
		_ = s.Auth.Audit.Write(e)
	}
	return &Response{Count: n}, nil
}

// publicQueued tells all of a message but its deliveries.
func (s *Server) publicQueued(q *storage.Queued) *Queued {
	const domains = 20
	p := &Queued{
		ID: q.ID.String(), Name: q.Name, Sender: q.From, Urgent: q.Priority == storage.Urgent, Size: q.Size,
		Arrived: utc(q.Arrived), Expires: utc(q.Expires), Domains: []string{}, Recipients: len(q.Deliveries),
	}
	var next *storage.Delivery
	for i := range q.Deliveries {
		d := &q.Deliveries[i]
		if domain := domainOf(d); len(p.Domains) < domains && !slices.Contains(p.Domains, domain) {
			p.Domains = append(p.Domains, domain)
		}
		p.Attempts = max(p.Attempts, d.Attempts)
		// Of what waits the first in time; else what is held; else what is but a notice.
		if next == nil || d.State < next.State || d.State == next.State && d.Next.Before(next.Next) {
			next = d
		}
	}
	if next != nil {
		d := s.publicDelivery(next)
		p.State, p.Next, p.Reason = d.State, d.Next, d.Reason
	}
	return p
}

func (s *Server) publicDelivery(d *storage.Delivery) Delivery {
	p := Delivery{
		Address: d.Address, Attempts: d.Attempts, Warned: d.Warned,
		Last: utc(d.Last.Time), Status: d.Last.Status, Remote: d.Last.Remote, Reply: d.Last.Diagnostic,
	}
	for word, state := range queueStates() {
		if state == d.State {
			p.State = word
		}
	}
	if d.State != storage.Finished {
		p.Reason = reason(&d.Last)
	}
	if d.State != storage.Waiting {
		return p
	}
	p.Next = utc(d.Next)
	if s.Queue != nil {
		// Others could not be delivered there either, so this one is not tried before.
		if last, until := s.Queue.Away(domainOf(d)); until.After(d.Next) {
			if p.Next = utc(until); p.Reason == "" {
				p.Reason = reason(&last)
			}
		}
	}
	if p.Reason == "" && time.Until(d.Next) > 0 {
		p.Reason = "not to be sent before"
	}
	return p
}

// reason is what a result says, in words; "" for none.
func reason(r *storage.Result) string {
	if r.Diagnostic != "" {
		return strings.TrimPrefix(r.Remote+" said: "+r.Diagnostic, " said: ")
	}
	_, detail, _ := strings.Cut(r.Status, ".")
	subject, _, _ := strings.Cut(detail, ".")
	words := map[string]string{
		"2": "the mailbox takes no mail", "2.2": "the mailbox is full", "3": "a server has a fault", "3.1": "the disk is full",
		"4": "the network has a fault", "4.1": "no server of the domain answers", "4.2": "the connection broke",
		"4.3": "the DNS does not answer", "4.4": "no way to the domain is known", "4.6": "the message goes round in circles",
		"7": "the security that is asked for cannot be had", "7.1": "no mail may go to this domain now",
	}
	text := words[detail]
	if text == "" {
		text = words[subject]
	}
	if text == "" {
		return r.Status
	}
	return text + " (" + r.Status + ")"
}
