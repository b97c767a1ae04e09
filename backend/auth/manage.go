package auth

import (
	"cmp"
	"context"
	"errors"
	"time"

	"telesphore/storage"
)

// Errors of those who change what an account is opened with, to be tested with errors.Is.
var (
	ErrContact       = errors.New("the contact address must be an address outside this server")
	ErrWrongCode     = errors.New("the code is wrong or over")
	ErrNoCode        = errors.New("no code is under way for this: begin again")
	ErrTooSoon       = errors.New("too many codes were sent: wait before asking for another one")
	ErrNoCourier     = errors.New("mail to this contact address cannot be sent")
	ErrCardElsewhere = errors.New("the card is linked to another account")
	ErrGroup         = errors.New("the number needs its group before it, like GROUP|NUMBER: several authorities vouch for persons, or none")
	ErrCardLimit     = errors.New("the account has as many cards as it may have")
	ErrAppLimit      = errors.New("the account has as many application passwords as it may have")
	ErrAppOff        = errors.New("application passwords are switched off")
	ErrAppRequest    = errors.New("the application password needs a name, known doors and a life within the limit")
)

// endOlder ends the log-ins that rest on an account's credentials as they were
// before a change that has moved the epoch.
func (a *Authenticator) endOlder(id storage.AccountID, epoch uint32) {
	a.endWhere(errChanged, func(p *Principal) bool { return p.Account == id && p.Epoch == epoch })
}

// errRevoked ends log-ins that rest on something that was taken back.
var errRevoked = errors.New("what it rests on was revoked")

// freshness is how old a session may be in which credentials are changed.
const freshness = 5 * time.Minute

// Acting returns the principal of somebody, an administrator, who acts for an
// account at the highest level. actor names him in the audit trail.
func (a *Authenticator) Acting(account *storage.Account, actor string) *Principal {
	return &Principal{
		Account: account.ID, Address: account.Addresses[0], Level: LevelCard, Epoch: account.Epoch,
		Mech: "ADMIN", Proto: "admin", Since: time.Now(), actor: actor, caller: Caller{Proto: "admin"},
	}
}

// mayManage says whether who may change credentials now: well known, and not
// long ago. The error is a *Refusal.
func (a *Authenticator) mayManage(ctx context.Context, who *Principal) error {
	a.start()
	if err := a.Allow(ctx, who, Credentials); err != nil {
		return err
	}
	if err := who.Err(); err != nil {
		return &Refusal{Code: TooWeak, Cause: err, Text: a.phrases().NeedCard}
	}
	if err := a.holds(ctx, who); err != nil {
		return err
	}
	if time.Since(who.Since) > freshness {
		return &Refusal{Code: TooWeak, Cause: errors.New("logged in too long ago"), Text: a.phrases().NeedCard}
	}
	return nil
}

// notice begins what the owner is told of a change.
func (a *Authenticator) notice(kind Kind, who *Principal, contact string) *Notice {
	n := &Notice{Kind: kind, Account: who.Account, Address: who.Address, Contact: contact, Remote: who.caller.Remote}
	if who.actor == "" {
		n.Proto = who.Proto
	}
	return n
}

// contact is where the owner of an account reads mail outside, "" for nowhere.
func (a *Authenticator) contact(ctx context.Context, id storage.AccountID) (contact string) {
	err := a.Store.View(ctx, func(tx *storage.Tx) error {
		f, err := tx.Factor(id)
		if err == nil {
			contact = f.Contact
		}
		return err
	})
	if err != nil {
		a.Logger.WarnContext(ctx, "auth.contact not read", "account", uint32(id), "err", err)
	}
	return contact
}

// NewAccount stores a new account with its password, and lets its owner's card be
// linked at its first use: the one named by expected, or for Cards.Window any
// when expected is empty.
func (a *Authenticator) NewAccount(ctx context.Context, account *storage.Account, password, expected, actor string) error {
	if err := a.CheckPolicy(account.Addresses[0], password); err != nil {
		return err
	}
	expected, err := a.identity(expected)
	if err != nil {
		return err
	}
	if account.Password, err = a.Hash(password); err != nil {
		return err
	}
	if err := a.Store.NewAccount(ctx, account); err != nil {
		return err
	}
	v, err := a.ownVerifier(ctx, account.ID, password)
	if err != nil {
		return err
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.PutPasswordVerifier(account.ID, v); err != nil {
			return err
		}
		return tx.PutLinkWindow(account.ID, a.window(expected, 0, actor))
	})
	if err != nil {
		return err
	}
	a.event(a.Acting(account, actor), "account.add", nil)
	return nil
}

// window lets a card be linked by its first use.
func (a *Authenticator) window(expected string, life time.Duration, by string) *storage.LinkWindow {
	w := &storage.LinkWindow{Expected: expected, By: by}
	if expected == "" || life > 0 {
		w.Until = time.Now().Add(cmp.Or(life, a.Cards.Window))
	}
	return w
}

// SetPassword replaces the password. All log-ins and grants end.
func (a *Authenticator) SetPassword(ctx context.Context, who *Principal, password string) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	if err := a.CheckPolicy(who.Address, password); err != nil {
		return err
	}
	phc, err := a.Hash(password)
	if err != nil {
		return err
	}
	v, err := a.ownVerifier(ctx, who.Account, password)
	if err != nil {
		return err
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.SetPassword(who.Account, phc); err != nil {
			return err
		}
		return tx.PutPasswordVerifier(who.Account, v)
	})
	if err != nil {
		return err
	}
	a.event(who, "password.set", nil)
	a.endOlder(who.Account, who.Epoch)
	return nil
}
