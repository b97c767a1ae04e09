package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"telesphore/storage"
)

// GrantLimits are about grants. A zero field means the default it names.
type GrantLimits struct {
	Idle       time.Duration // a grant that is not used ends; default 12 hours
	Life       time.Duration // it ends anyhow; default 24 hours, at most 30 days
	IPv4, IPv6 int           // bits of the network that it counts in; default 32 and 64
	PerAccount int           // default 20; another one replaces the oldest
	Extra      time.Duration // open log-ins outlive their grant by this; default 15 minutes
}

// DefaultGrantLimits is what zero means.
func DefaultGrantLimits() GrantLimits { return GrantLimits{}.withDefaults() }

func (l GrantLimits) withDefaults() GrantLimits {
	l.Idle = cmp.Or(l.Idle, 12*time.Hour)
	l.Life = min(cmp.Or(l.Life, 24*time.Hour), 30*24*time.Hour)
	l.IPv4 = min(cmp.Or(l.IPv4, 32), 32)
	l.IPv6 = min(cmp.Or(l.IPv6, 64), 128)
	l.PerAccount = cmp.Or(l.PerAccount, 20)
	l.Extra = cmp.Or(l.Extra, 15*time.Minute)
	return l
}

// net is the network of addr that a grant counts in.
func (l *GrantLimits) net(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := l.IPv4
	if addr.Is6() {
		bits = l.IPv6
	}
	return netip.PrefixFrom(addr, bits).Masked()
}

// grantTag stands for a whole secret, password and code.
func grantTag(tx *storage.Tx, account *storage.Account, secret string) ([16]byte, error) {
	return tx.MAC(account.ID, "grant", append(binary.LittleEndian.AppendUint32(nil, account.Epoch), secret...))
}

// presented returns the account's grants for this very secret.
func (a *Authenticator) presented(tx *storage.Tx, account *storage.Account, secret string) ([]storage.Grant, error) {
	grants, err := tx.Grants(account.ID)
	if err != nil || len(grants) == 0 {
		return nil, err
	}
	tag, err := grantTag(tx, account, secret)
	return slices.DeleteFunc(grants, func(g storage.Grant) bool { return !hmac.Equal(g.Tag[:], tag[:]) }), err
}

// lives says whether a grant counts now and here.
func (l *GrantLimits) lives(g *storage.Grant, from netip.Addr, now time.Time) bool {
	return now.Before(g.Until) && now.Before(g.LastUsed.Add(l.Idle)) && g.Net.Contains(from.Unmap().WithZone(""))
}

// GrantOver says whether a grant counts nowhere any more.
func (a *Authenticator) GrantOver(g *storage.Grant) bool {
	a.start()
	return !a.Grants.lives(g, g.Net.Addr(), time.Now())
}

// granted lets in who presents the secret of a grant. When the grant is over,
// the password is known to be right, and only a card or a new code is wanted. Nil
// means that the secret is of no grant.
func (a *Authenticator) granted(c *Caller, d *dossier) *claim {
	if len(d.grants) == 0 || !on(d.factor) {
		return nil
	}
	now := time.Now()
	for i := range d.grants {
		if g := &d.grants[i]; a.Grants.lives(g, c.Remote, now) {
			a.Store.UsedGrant(d.account.ID, g.ID, now)
			return a.byGrant(g)
		}
	}
	return &claim{level: LevelPassword, plain: true, stale: d}
}

// byGrant is what a living grant is worth.
func (a *Authenticator) byGrant(g *storage.Grant) *claim {
	return &claim{level: LevelCode, grant: g.ID, via: fmt.Sprintf("grant %d", g.ID), until: g.Until.Add(a.Grants.Extra)}
}

// again asks for a new code because a mail program presented the secret of a
// grant that is over. It sends one once for each grant: programs come back every
// few minutes, day and night.
func (a *Authenticator) again(ctx context.Context, c *Caller, d *dossier) error {
	if d.factor.Secret != nil {
		return &Refusal{Code: CodeNeeded, Text: a.phrases().CodeTOTP}
	}
	send := false
	var live *storage.Challenge
	err := a.Store.Update(ctx, func(tx *storage.Tx) (err error) {
		send = false
		if live, err = tx.Challenge(d.account.ID); err != nil {
			return err
		}
		grants, err := a.presented(tx, d.account, d.secret)
		for _, g := range grants {
			if g.Asked || err != nil {
				continue
			}
			send, g.Asked = true, true
			err = tx.PutGrant(d.account.ID, &g)
		}
		return err
	})
	switch {
	case err != nil:
		return &Refusal{Code: Unavailable, Cause: err}
	case send:
		return a.demand(ctx, c, d.account, d.factor)
	case underWay(live, d.factor.Contact, time.Now()):
		return &Refusal{Code: CodeNeeded, Text: a.phrases().CodeSent}
	}
	return &Refusal{Code: CodeNeeded, Text: a.phrases().CodeOver}
}

// grant stores the right to use secret again from where the caller is. Those
// that were over a month ago go, and the oldest when there are too many.
func (a *Authenticator) grant(tx *storage.Tx, c *Caller, account *storage.Account, secret, mech, factor string, now time.Time) (*storage.Grant, error) {
	tag, err := grantTag(tx, account, secret)
	if err != nil {
		return nil, err
	}
	old, err := tx.Grants(account.ID)
	if err != nil {
		return nil, err
	}
	for i := range old {
		if len(old)-i < a.Grants.PerAccount && now.Before(old[i].Until.Add(forgetGrants)) {
			continue
		}
		if err := tx.DeleteGrant(account.ID, old[i].ID); err != nil {
			return nil, err
		}
	}
	g := &storage.Grant{
		Tag: tag, Net: a.Grants.net(c.Remote), Proto: c.Proto, Mech: mech, Factor: factor,
		Created: now, LastUsed: now, Until: now.Add(a.Grants.Life),
	}
	return g, tx.PutGrant(account.ID, g)
}

// forgetGrants is how long a grant that is over is kept, to know its secret again.
const forgetGrants = 30 * 24 * time.Hour

// dropGrants ends all grants of an account.
func dropGrants(tx *storage.Tx, id storage.AccountID) error {
	grants, err := tx.Grants(id)
	for _, g := range grants {
		if err == nil {
			err = tx.DeleteGrant(id, g.ID)
		}
	}
	return err
}

// anew ends what rests on the account's credentials as they were: open log-ins, and
// grants, whose secrets could not be known again.
func anew(tx *storage.Tx, id storage.AccountID) error {
	if err := dropGrants(tx, id); err != nil {
		return err
	}
	return tx.MoveEpoch(id)
}
