package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"telesphore/storage"
)

// Principal is somebody who has been recognised, for as long as the log-in lasts.
// The door that got it calls Close when its connection ends.
type Principal struct {
	Account storage.AccountID
	Address string // the account's primary address
	Level   int    // LevelPassword, LevelCode or LevelCard
	Epoch   uint32 // of the account's credentials; when the account's moves, this log-in is over
	Mech    string
	Proto   string
	Since   time.Time
	Via     string // "grant 3", "application password 7", ...; "" for the account's own credentials

	caller Caller
	actor  string            // who acts for the account, "" for its owner
	card   *Card             // that the log-in rests on, nil for none
	peer   *x509.Certificate // of card
	grant  uint32            // that it rests on, 0 for none
	app    uint32            // application password that it rests on, 0 for none
	until  time.Time         // zero for no end
	alert  string            // what the person should be shown, "" for nothing

	a     *Authenticator
	mu    sync.Mutex // guards what follows
	over  error
	onEnd func()
}

// Alert is something that the person should be shown now, in the server's language
// and in ASCII; mostly "". A door that can show it asks, since an account is told
// at most once an hour: programs open many connections.
func (p *Principal) Alert() string {
	if p.alert == "" || p.a == nil {
		return ""
	}
	if _, shown := p.a.alerts.get(p.Account, time.Now()); shown {
		return ""
	}
	p.a.alerts.put(p.Account, true, time.Now().Add(time.Hour))
	return p.alert
}

// Err says why the log-in is over; nil while it lasts. Doors look at it before
// each command.
func (p *Principal) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// OnEnd has f called when the log-in is over before the door closes it, at once
// when it is over already. f returns soon and takes no lock of the door that is
// held while OnEnd is called.
func (p *Principal) OnEnd(f func()) {
	p.mu.Lock()
	over := p.over
	p.onEnd = f
	p.mu.Unlock()
	if over != nil {
		f()
	}
}

// end finishes the log-in from our side, and says whether it was not over before.
func (p *Principal) end(why error) bool {
	p.mu.Lock()
	if p.over != nil {
		p.mu.Unlock()
		return false
	}
	p.over = why
	f := p.onEnd
	p.mu.Unlock()
	if f != nil {
		f()
	}
	return true
}

// Close tells that the connection has ended. It may be called more than once.
func (p *Principal) Close() {
	if p.a == nil {
		return
	}
	p.a.openMu.Lock()
	defer p.a.openMu.Unlock()
	delete(p.a.open, p)
}

// register keeps a principal in view, for as long as it is open.
func (a *Authenticator) register(p *Principal) {
	a.openMu.Lock()
	defer a.openMu.Unlock()
	p.a = a
	a.open[p] = struct{}{}
}

// endWhere ends the open log-ins that f chooses.
func (a *Authenticator) endWhere(why error, f func(*Principal) bool) {
	var ending []*Principal
	a.openMu.Lock()
	for p := range a.open {
		if f(p) {
			ending = append(ending, p)
		}
	}
	a.openMu.Unlock()
	for _, p := range ending {
		a.finish(p, why)
	}
}

// finish ends an open log-in and writes that down, once.
func (a *Authenticator) finish(p *Principal, why error) {
	if p.end(why) {
		a.event(p, "auth.end", why)
	}
}

// Run looks after open log-ins until ctx ends: those whose time is over end
// within a minute, and every RecheckCards the cards of the others are evaluated anew.
func (a *Authenticator) Run(ctx context.Context) {
	a.start()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	recheck := time.NewTicker(a.RecheckCards)
	defer recheck.Stop()
	var checking atomic.Bool
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-minute.C:
			a.endWhere(errTimeOver, func(p *Principal) bool { return !p.until.IsZero() && now.After(p.until) })
		case <-recheck.C:
			// Beside, since an OCSP responder may keep it waiting.
			if checking.CompareAndSwap(false, true) {
				all.Go(func() {
					defer checking.Store(false)
					a.Recheck(ctx)
				})
			}
		}
	}
}

// Recheck evaluates the cards that open log-ins rest on, and ends those whose
// card is not good any more. What was made with a card that is revoked now ends too.
func (a *Authenticator) Recheck(ctx context.Context) {
	a.start()
	var cards []*Principal
	a.openMu.Lock()
	for p := range a.open {
		if p.peer != nil && p.Err() == nil {
			cards = append(cards, p)
		}
	}
	a.openMu.Unlock()
	outcome := make(map[string]error) // by certificate: programs open many connections
	if err := a.endDescent(ctx); err != nil && ctx.Err() == nil {
		a.Logger.WarnContext(ctx, "auth.revoked cards not looked up", "err", err)
	}
	for _, p := range cards {
		err, known := outcome[string(p.peer.Raw)]
		if !known {
			_, err = a.evaluate(ctx, p.peer)
			outcome[string(p.peer.Raw)] = err
		}
		if err != nil && ctx.Err() == nil {
			a.finish(p, fmt.Errorf("card: %w", err))
		}
	}
}

// Session is an open log-in, for people.
type Session struct {
	Proto, Mech, Via, Remote string
	Level                    int
	Since                    time.Time
}

// Sessions lists the open log-ins of an account, oldest first.
func (a *Authenticator) Sessions(id storage.AccountID) []Session {
	a.start()
	a.openMu.Lock()
	defer a.openMu.Unlock()
	var list []Session
	for p := range a.open {
		if p.Account == id {
			list = append(list, Session{p.Proto, p.Mech, p.Via, p.caller.Remote.String(), p.Level, p.Since})
		}
	}
	slices.SortFunc(list, func(x, y Session) int { return x.Since.Compare(y.Since) })
	return list
}
