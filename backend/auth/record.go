package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"telesphore/storage"
)

// admitted writes a log-in down, and tells the owner when it came from where
// nobody has logged in before. The error is a *Refusal: nobody gets in unnoticed.
func (a *Authenticator) admitted(ctx context.Context, p *Principal) error {
	if err := a.Audit.Write(a.eventOf(p, "auth.ok", nil)); err != nil {
		return &Refusal{Code: Unavailable, Cause: err}
	}
	now := time.Now()
	a.Store.LoggedIn(p.Account, now)
	a.Logger.LogAttrs(ctx, slog.LevelInfo, "auth.ok", slog.String("proto", p.Proto), slog.String("mech", p.Mech),
		slog.String("remote", p.caller.Remote.String()), slog.String("conn", p.caller.ConnID),
		slog.String("account", p.Address), slog.Int("level", p.Level))
	if p.caller.Remote.IsValid() {
		// Nobody hides where he came from by hanging up.
		a.arrived(context.WithoutCancel(ctx), p, now)
	}
	return nil
}

// arrived notes where a log-in came from, and tells the owner of a new place.
func (a *Authenticator) arrived(ctx context.Context, p *Principal, now time.Time) {
	fresh, err := a.place(ctx, p, now)
	if err != nil {
		a.Logger.WarnContext(ctx, "auth.networks not read", "account", p.Address, "err", err)
		return
	}
	if fresh {
		a.event(p, "auth.new_network", nil)
		// Its failure is logged, and no reason to refuse anybody.
		_ = a.tell(ctx, &Notice{
			Kind: NewNetwork, Account: p.Account, Address: p.Address, Contact: a.contact(ctx, p.Account),
			Proto: p.Proto, Remote: p.caller.Remote,
		})
	}
}

// place notes where a log-in came from, and says whether that is worth a notice: it is
// not the first place of the account, and of five connections that a program opens from a
// new one only the first is told.
func (a *Authenticator) place(ctx context.Context, p *Principal, now time.Time) (fresh bool, err error) {
	net := networks(p.caller.Remote)[0]
	look := func() (known []storage.KnownNetwork, here bool, err error) {
		err = a.Store.View(ctx, func(tx *storage.Tx) (err error) {
			known, err = tx.KnownNetworks(p.Account)
			return err
		})
		return known, slices.ContainsFunc(known, func(k storage.KnownNetwork) bool { return k.Net == net }), err
	}
	known, here, err := look()
	if err == nil && !here {
		a.placeMu.Lock()
		defer a.placeMu.Unlock()
		known, here, err = look()
	}
	if err != nil {
		return false, err
	}
	a.Store.SawNetwork(p.Account, net, now)
	return len(known) > 0 && !here && !a.limiter.trusts(net), nil
}

// remember tells the throttle that the account is used from the caller's
// network: it forgets at a restart, the store does not.
func (a *Authenticator) remember(ctx context.Context, c *Caller, d *dossier) error {
	if d.account == nil || !c.Remote.IsValid() {
		return nil
	}
	here := place{d.name, networks(c.Remote)[0]}
	if known, _ := a.limiter.known.get(here, time.Now()); known {
		return nil
	}
	return a.Store.View(ctx, func(tx *storage.Tx) error {
		known, err := tx.KnownNetworks(d.account.ID)
		for _, k := range known {
			if k.Net == here.net && time.Since(k.Last) < knownFor {
				a.limiter.known.put(here, true, k.Last.Add(knownFor))
			}
		}
		return err
	})
}

// refused writes a refusal down.
func (a *Authenticator) refused(ctx context.Context, c *Caller, t *Attempt, account *storage.Account, err error) {
	attrs := []slog.Attr{
		slog.String("proto", c.Proto), slog.String("mech", t.Mech),
		slog.String("remote", c.Remote.String()), slog.String("conn", c.ConnID),
	}
	e := a.entry(c, "auth.fail")
	e.Mech, e.Outcome = t.Mech, err.Error()
	showed(e, c)
	switch {
	case account != nil:
		e.Account = account.Addresses[0]
		attrs = append(attrs, slog.String("account", e.Account))
	case t.User != "":
		e.Unknown = a.pseudonym(t.User)
		attrs = append(attrs, slog.String("unknown", e.Unknown))
	}
	attrs = append(attrs, slog.String("outcome", e.Outcome))
	if refusal := new(Refusal); errors.As(err, &refusal) && refusal.Repeated {
		attrs = append(attrs, slog.Bool("repeated", true))
	}
	a.Logger.LogAttrs(ctx, slog.LevelWarn, "auth.fail", attrs...)
	if !a.tedious(c, t, err) {
		a.note(e)
	}
}

// tedious says whether a refusal is like one of less than a minute ago that cost its maker
// nothing: a stranger shall not fill the disk with them.
func (a *Authenticator) tedious(c *Caller, t *Attempt, err error) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) || !refusal.Repeated && refusal.Code != TooManyFailures && refusal.Code != Unavailable {
		return false
	}
	here := place{a.pseudonym(t.User), networks(c.Remote)[0]}
	now := time.Now()
	_, told := a.told.get(here, now)
	if !told {
		a.told.put(here, true, now.Add(time.Minute))
	}
	return told
}

// deny writes down that somebody may not do something.
func (a *Authenticator) deny(ctx context.Context, who *Principal, what Action) {
	a.event(who, "policy.denied", errors.New(what.String()))
	a.Logger.LogAttrs(ctx, slog.LevelInfo, "policy.denied", slog.String("account", who.Address),
		slog.Int("level", who.Level), slog.String("action", what.String()), slog.String("conn", who.caller.ConnID))
}

// entry begins an audit event with what is known of a connection.
func (a *Authenticator) entry(c *Caller, event string) *storage.Event {
	e := &storage.Event{
		Time: time.Now(), Event: event, Proto: c.Proto, Conn: c.ConnID,
		TLS: c.TLS.Version, Cipher: c.TLS.Cipher, Resumed: c.TLS.Resumed,
	}
	if c.Remote.IsValid() {
		e.Remote = c.Remote.String()
	}
	return e
}

// showed adds the certificate that the caller showed. Nothing of it is sure unless
// the event says so: anybody can make one.
func showed(e *storage.Event, c *Caller) {
	if leaf := c.TLS.Peer; leaf != nil {
		e.Serial, e.Issuer = fmt.Sprintf("%x", leaf.SerialNumber), leaf.Issuer.String()
	}
}

// note writes into the audit trail what has happened already, or has been refused: when
// the trail is full that stays so. What must not happen unnoticed is in admitted.
func (a *Authenticator) note(e *storage.Event) { _ = a.Audit.Write(e) }

// event notes what a principal did, or what befell it.
func (a *Authenticator) event(p *Principal, event string, cause error) {
	a.note(a.eventOf(p, event, cause))
}

func (a *Authenticator) eventOf(p *Principal, event string, cause error) *storage.Event {
	e := a.entry(&p.caller, event)
	e.Account, e.Actor, e.Mech, e.Level, e.Via = p.Address, p.actor, p.Mech, p.Level, p.Via
	if p.card != nil {
		e.Identity, e.Serial, e.Issuer = p.card.Identity, p.card.Serial, p.card.Issuer
	}
	if cause != nil {
		e.Outcome = cause.Error()
	}
	return e
}

// cardEvent writes down what was done with a card.
func (a *Authenticator) cardEvent(p *Principal, event string, card *Card, outcome string) {
	e := a.entry(&p.caller, event)
	e.Account, e.Actor, e.Mech, e.Level = p.Address, p.actor, p.Mech, p.Level
	e.Identity, e.Outcome = card.Identity, outcome
	if card.Serial != "" {
		e.Serial, e.Issuer = card.Serial, card.Issuer
	}
	a.note(e)
}
