package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// attempt is one Send.
type attempt struct {
	relay    *Relay
	transfer *backend.Transfer
	limits   Limits
	from     backend.Address
	to       []backend.Address // of each recipient
	content  *content
	outcomes []backend.Outcome // of each recipient
	pending  []int             // recipients without an outcome yet
	told     bool              // the log has it that a peer is not trusted
}

// Send makes one attempt to hand a message to the servers of its domain. It returns
// an outcome for each recipient, in their order. The octets arrive as they are; DATA
// only adds a line end behind a last line that has none (RFC 5321 section 4.1.1.4).
// When ctx ends first the peer may have taken the message or not.
func (r *Relay) Send(ctx context.Context, t *backend.Transfer) []backend.Outcome {
	a := &attempt{
		relay: r, transfer: t, limits: r.Limits.withDefaults(),
		to: make([]backend.Address, len(t.Rcpts)), outcomes: make([]backend.Outcome, len(t.Rcpts)),
	}
	for i := range t.Rcpts {
		a.pending = append(a.pending, i)
	}
	if f := a.prepare(); f != nil {
		a.settleAll(f)
	}
	if len(a.pending) > 0 {
		a.run(ctx)
	}
	return a.outcomes
}

// prepare looks at addresses and octets once more, just before they are written: an
// address that passes has one reading only, and nothing in it ends a command.
func (a *attempt) prepare() *fault {
	var err error
	if a.transfer.From != "" {
		if a.from, err = backend.ParseAddress(a.transfer.From); err != nil {
			return &fault{step: "sender", status: "5.1.7", failed: true, cause: err}
		}
	}
	for _, i := range slices.Clone(a.pending) {
		f := &fault{step: "recipient", status: "5.1.3", failed: true}
		if a.to[i], f.cause = backend.ParseAddress(a.transfer.Rcpts[i].Address); f.cause == nil {
			if a.to[i].Domain == a.transfer.Domain {
				continue
			}
			// What is trusted for one domain must never get another one's mail.
			f.status, f.cause = "5.3.5", errors.New("the recipient is at another domain")
		}
		a.settle(i, f.outcome())
	}
	if len(a.pending) == 0 {
		return nil
	}
	a.content, err = examine(a.transfer.Open, a.limits.Hold)
	if errors.Is(err, errBare) {
		return &fault{step: "message", status: "5.6.0", failed: true, cause: err}
	}
	if err != nil {
		return &fault{step: "message", status: "4.3.0", cause: err}
	}
	return nil
}

// run tries the hosts of the domain until every recipient has an outcome.
func (a *attempt) run(ctx context.Context) {
	hosts, last := a.relay.hosts(ctx, a.transfer.Domain, a.transfer.Trusted || a.relay.trusted(a.transfer.Domain))
	tries := a.limits.Addresses
	for _, h := range hosts {
		f := a.host(ctx, h, &tries)
		if len(a.pending) == 0 {
			return
		}
		if f == nil { // no address was left to try
			break
		}
		last = f.worse(last)
		if !f.elsewhere || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		last = &fault{step: "send", status: "4.4.2", cause: context.Cause(ctx)}
	}
	a.settleAll(last)
}

// host tries a host: over a connection that waits, then at its addresses. The
// fault is nil when nothing is pending any more, or when tries are spent.
func (a *attempt) host(ctx context.Context, h host, tries *int) *fault {
	if c := a.take(ctx, h); c != nil {
		if f := a.over(ctx, c); f == nil || !f.elsewhere && f.step != "MAIL" {
			return f
		}
		// It may have ended while it waited, or have carried enough, which says nothing of the
		// host nor of the message. A new connection does.
	}
	addresses, last := a.relay.addresses(ctx, h)
	for _, address := range addresses {
		if *tries == 0 || ctx.Err() != nil {
			break
		}
		*tries--
		c, f := a.relay.connect(ctx, h, address, a.transfer.Domain)
		if f == nil {
			f = a.over(ctx, c)
		} else {
			a.tell(ctx, h, f)
		}
		if f == nil || !f.elsewhere {
			return f
		}
		f.remote = h.name
		last = f.worse(last)
	}
	return last
}

// take gets a connection that waits. What its peer has to prove is looked at again:
// the domain may be another one than last time, the certificate revoked since.
func (a *attempt) take(ctx context.Context, h host) *client {
	for {
		c := a.relay.pool.take(h)
		if c == nil || h.policy != trusted || a.relay.trusts(ctx, a.transfer.Domain, c.leaf) == nil {
			return c
		}
		a.relay.pool.leave(c)
	}
}

// over sends what is pending over a connection, which it keeps or closes.
func (a *attempt) over(ctx context.Context, c *client) *fault {
	// Nothing that waits on the connection outlives ctx.
	stop := context.AfterFunc(ctx, c.cut)
	for len(a.pending) > 0 {
		if f := a.transact(c); f != nil {
			stop()
			f.remote = c.host.name
			if f.usable {
				a.relay.pool.leave(c)
			} else {
				c.cut()
			}
			if len(a.pending) == 0 {
				return nil
			}
			return f
		}
	}
	if !stop() {
		c.cut()
		return nil
	}
	a.relay.pool.keep(c, a.limits)
	return nil
}

// tell writes to the log, once, that a peer did not prove who it is.
func (a *attempt) tell(ctx context.Context, h host, f *fault) {
	if a.told || f.status != badCertificate && f.status != noSecurity {
		return
	}
	a.told = true
	subject := ""
	if f.leaf != nil {
		subject = clean(f.leaf.Subject.String(), longest)
	}
	a.relay.logger().WarnContext(ctx, "relay.distrusted", "message", a.transfer.Name, "domain", a.transfer.Domain,
		"host", h.name, "subject", subject, "err", f.cause)
}

// settle gives a recipient its outcome.
func (a *attempt) settle(i int, o backend.Outcome) {
	o.Time = time.Now()
	a.outcomes[i] = o
	a.pending = slices.DeleteFunc(a.pending, func(p int) bool { return p == i })
}

func (a *attempt) settleAll(f *fault) {
	for _, i := range slices.Clone(a.pending) {
		a.settle(i, f.outcome())
	}
}

// transact is one transaction for some of the pending recipients. Those it gives no
// outcome wait for the next one. After a fault the connection is of no use.
func (a *attempt) transact(c *client) *fault {
	mail, f := a.mail(c)
	if f != nil {
		return f
	}
	batch := slices.Clone(a.pending[:min(len(a.pending), c.most(a.limits.Rcpts))])
	commands := []string{mail}
	for _, i := range batch {
		commands = append(commands, a.rcpt(c, i))
	}
	c.uses++
	replies, err := c.several(commands)
	if len(replies) > 0 && replies[len(replies)-1].code == closing {
		return refused("RCPT", replies[len(replies)-1])
	}
	if len(replies) > 0 && !replies[0].good() {
		f := refused("MAIL", replies[0])
		f.elsewhere = !f.failed
		return f
	}
	if err != nil {
		return broken("RCPT", err)
	}
	accepted := a.accepted(c, batch, replies[1:])
	if len(accepted) == 0 { // the transaction is still open
		return c.reset()
	}
	reply, err := c.command("DATA")
	if err != nil {
		return broken("DATA", err)
	}
	if reply.code != 354 {
		f := refused("DATA", reply)
		if !f.usable {
			return f
		}
		a.settleSome(accepted, f, c)
		return c.reset()
	}
	return a.data(c, accepted)
}

// accepted settles the recipients that were refused and returns the others, but for
// those that were too many for this transaction.
func (a *attempt) accepted(c *client, batch []int, replies []reply) (accepted []int) {
	for k, i := range batch {
		switch r := replies[k]; {
		case r.good():
			accepted = append(accepted, i)
		case r.tooMany() && len(accepted) > 0:
		default:
			a.settleSome([]int{i}, refused("RCPT", r), c)
		}
	}
	return accepted
}

// data sends the octets and reads what the peer makes of them.
func (a *attempt) data(c *client, accepted []int) *fault {
	c.conn.until = time.Time{} // as long as it gets on
	if err := a.content.send(c.w); err != nil {
		f := broken("message", err)
		if errors.Is(err, errUnreadable) {
			f.status = "4.3.0"
		}
		a.settleSome(accepted, f, c)
		return f // closed without the final dot: the peer must not take what it has
	}
	if c.r.Buffered() > 0 { // what it says so early cannot be of this message
		f := broken("message", errEarly)
		a.settleSome(accepted, f, c)
		return f
	}
	reply, err := c.end()
	if err != nil {
		f := broken("message", fmt.Errorf("%w: %w", ErrDoubt, err))
		a.settleSome(accepted, f, c)
		return f
	}
	if !reply.good() {
		f := refused("message", reply)
		a.settleSome(accepted, f, c)
		if !f.usable {
			return f
		}
		return nil
	}
	taken := backend.Outcome{DSN: c.has("DSN"), Result: storage.Result{
		Action: storage.Relayed, Status: reply.status(), Diagnostic: reply.diagnostic(), Remote: c.host.name,
	}}
	for _, i := range accepted {
		a.settle(i, taken)
	}
	return nil
}

// settleSome gives recipients the outcome of a fault.
func (a *attempt) settleSome(recipients []int, f *fault, c *client) {
	f.remote = c.host.name
	for _, i := range recipients {
		a.settle(i, f.outcome())
	}
}
