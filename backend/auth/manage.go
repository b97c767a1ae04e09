package auth

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"telesphore/backend"
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
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		if err := a.putVerifier(tx, account.ID, password); err != nil {
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

// putVerifier stores what SCRAM needs of the account's password.
func (a *Authenticator) putVerifier(tx *storage.Tx, id storage.AccountID, password string) error {
	if a.SCRAM.Off || a.SCRAM.AppPasswordsOnly {
		return tx.PutPasswordVerifier(id, nil)
	}
	v, err := a.makeVerifier(tx, id, password)
	if err != nil {
		return err
	}
	return tx.PutPasswordVerifier(id, &v)
}

// SetPassword replaces the password. All log-ins and grants end.
func (a *Authenticator) SetPassword(ctx context.Context, who *Principal, password string) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	if err := a.CheckPolicy(who.Address, password); err != nil {
		return err
	}
	return a.setPassword(ctx, who, password)
}

func (a *Authenticator) setPassword(ctx context.Context, who *Principal, password string) error {
	phc, err := a.Hash(password)
	if err != nil {
		return err
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.SetPassword(who.Account, phc); err != nil {
			return err
		}
		return a.putVerifier(tx, who.Account, password)
	})
	if err != nil {
		return err
	}
	a.event(who, "password.set", nil)
	a.endOlder(who.Account, who.Epoch)
	return nil
}

// ReadCard says whose certificate leaf is, when all is well with it.
func (a *Authenticator) ReadCard(ctx context.Context, leaf *x509.Certificate) (*Card, error) {
	a.start()
	return a.evaluate(ctx, leaf)
}

// LinkCard links a card to the account. ErrCardLimit; ErrCardElsewhere unless also is set.
func (a *Authenticator) LinkCard(ctx context.Context, who *Principal, card *Card, also bool) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	err := a.Store.Update(ctx, func(tx *storage.Tx) error {
		theirs, err := tx.CardAccounts(card.Identity)
		if err != nil {
			return err
		}
		others := slices.DeleteFunc(theirs, func(id storage.AccountID) bool { return id == who.Account })
		if len(others) > 0 && !also {
			return ErrCardElsewhere
		}
		cards, err := tx.Cards(who.Account)
		if err != nil {
			return err
		}
		known := slices.ContainsFunc(cards, func(k storage.Card) bool { return k.Identity == card.Identity })
		if !known && len(cards) >= a.Cards.PerAccount {
			return ErrCardLimit
		}
		return tx.PutCard(who.Account, link(card, cmp.Or(who.actor, "owner")))
	})
	if err != nil {
		return err
	}
	a.cardEvent(who, "card.link", card, "")
	n := a.notice(CardLinked, who, a.contact(ctx, who.Account))
	n.Card = card.Holder
	_ = a.tell(ctx, n) // its failure is logged
	return nil
}

// UnlinkCard takes a card from the account and closes its window. All log-ins, grants and
// application passwords that rest on it end. storage.ErrNoCard.
func (a *Authenticator) UnlinkCard(ctx context.Context, who *Principal, identity string) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	card, contact, err := a.linked(ctx, who.Account, identity)
	if err != nil {
		return err
	}
	if card == nil {
		return storage.ErrNoCard
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		if err := tx.UnlinkCard(who.Account, identity); err != nil {
			return err
		}
		if err := tx.PutLinkWindow(who.Account, nil); err != nil {
			return err
		}
		apps, err := tx.AppPasswords(who.Account)
		for _, p := range apps {
			if p.Card == identity && err == nil {
				err = tx.DeleteAppPassword(who.Account, p.ID)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	a.cardEvent(who, "card.unlink", &Card{Identity: identity}, "")
	a.endOlder(who.Account, who.Epoch)
	n := a.notice(CardRemoved, who, contact)
	n.Card = card.Holder
	_ = a.tell(ctx, n) // its failure is logged
	return nil
}

// OpenWindow lets a card be linked by its first use with the password: the expected
// one, or any during life (0 for Cards.Window). CloseWindow forbids it.
func (a *Authenticator) OpenWindow(ctx context.Context, who *Principal, expected string, life time.Duration) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	expected, err := a.identity(expected)
	if err != nil {
		return err
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		return tx.PutLinkWindow(who.Account, a.window(expected, life, cmp.Or(who.actor, "owner")))
	})
	if err == nil {
		a.cardEvent(who, "card.window", &Card{Identity: expected}, "open")
	}
	return err
}

// CloseWindow forbids linking by first use.
func (a *Authenticator) CloseWindow(ctx context.Context, who *Principal) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	err := a.Store.Update(ctx, func(tx *storage.Tx) error { return tx.PutLinkWindow(who.Account, nil) })
	if err == nil {
		a.event(who, "card.window", errors.New("closed"))
	}
	return err
}

// ProveContact sends a code to an outside address, so that SwitchCodesOn can be
// called with it. ErrContact, ErrTooSoon, ErrNoCourier.
func (a *Authenticator) ProveContact(ctx context.Context, who *Principal, contact string) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	address, err := backend.ParseAddress(contact)
	if err != nil || address.Domain == "" || a.Ours != nil && a.Ours(address) {
		return ErrContact // a code that lies in the mailbox it opens opens nothing
	}
	n := a.notice(ContactCode, who, address.String())
	if err := a.send(ctx, n); err != nil {
		return err
	}
	a.event(who, "code.sent", errors.New("to prove a contact address"))
	return nil
}

// SwitchCodesOn makes the account ask for a code at log-in, or changes the contact
// address. code is the one that ProveContact sent. ErrWrongCode, ErrNoCode.
func (a *Authenticator) SwitchCodesOn(ctx context.Context, who *Principal, code string) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	var refused error
	var contact string
	err := a.Store.Update(ctx, func(tx *storage.Tx) error {
		now := time.Now()
		refused = nil
		ch, err := tx.Challenge(who.Account)
		if err != nil {
			return err
		}
		if ch == nil || !underWay(ch, ch.Contact, now) {
			refused = ErrNoCode
			return nil
		}
		kind, err := a.spendMailed(tx, who.Account, ch, code)
		if err != nil {
			return err
		}
		if kind == "" {
			refused = ErrWrongCode // the try counts
			return nil
		}
		f, err := tx.Factor(who.Account)
		if err != nil {
			return err
		}
		contact = ch.Contact
		f.Contact, f.CodesOn, f.Since, f.By = ch.Contact, true, now, cmp.Or(who.actor, "owner")
		f.Secret, f.Recovery, f.Wrong = nil, nil, 0 // one or the other
		if err := tx.PutFactor(who.Account, f); err != nil {
			return err
		}
		return anew(tx, who.Account) // log-ins by password alone are over
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		a.event(who, "code.wrong", err)
		return err
	}
	a.event(who, "code.on", nil)
	a.endOlder(who.Account, who.Epoch)
	_ = a.tell(ctx, a.notice(CodesOn, who, contact)) // its failure is logged
	return nil
}

// SwitchCodesOff ends codes and TOTP, and with them the grants.
func (a *Authenticator) SwitchCodesOff(ctx context.Context, who *Principal) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	contact := a.contact(ctx, who.Account)
	err := a.Store.Update(ctx, func(tx *storage.Tx) error {
		f, err := tx.Factor(who.Account)
		if err != nil {
			return err
		}
		f = &storage.Factor{Contact: f.Contact} // notices still go there
		if err := tx.PutFactor(who.Account, f); err != nil {
			return err
		}
		return anew(tx, who.Account)
	})
	if err != nil {
		return err
	}
	a.event(who, "code.off", nil)
	a.endOlder(who.Account, who.Epoch)
	_ = a.tell(ctx, a.notice(CodesOff, who, contact)) // its failure is logged
	return nil
}

// BeginTOTP draws a secret for an authenticator program and returns it as text and
// as an otpauth URI. Nothing changes before ConfirmTOTP.
func (a *Authenticator) BeginTOTP(ctx context.Context, who *Principal) (secret, uri string, err error) {
	if err := a.mayManage(ctx, who); err != nil {
		return "", "", err
	}
	secret = newTOTP()
	return secret, totpURI(who.Address, secret), nil
}

// ConfirmTOTP switches TOTP on with the first code of BeginTOTP's secret, in place of mailed codes, and
// returns recovery codes, each good once, to be shown this once. ErrWrongCode.
func (a *Authenticator) ConfirmTOTP(ctx context.Context, who *Principal, secret, code string) (recovery []string, err error) {
	if err := a.mayManage(ctx, who); err != nil {
		return nil, err
	}
	key, ok := parseTOTPText(secret)
	if !ok {
		return nil, ErrWrongCode
	}
	step, ok := matchTOTP(key, 0, code, time.Now())
	if !ok {
		return nil, ErrWrongCode
	}
	recovery, hashes := newRecovery()
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		f, err := tx.Factor(who.Account)
		if err != nil {
			return err
		}
		f.Secret, f.LastStep, f.Recovery, f.CodesOn, f.Wrong = key, step, hashes, false, 0
		f.Since, f.By = time.Now(), cmp.Or(who.actor, "owner")
		if err := tx.PutFactor(who.Account, f); err != nil {
			return err
		}
		return anew(tx, who.Account)
	})
	if err != nil {
		return nil, err
	}
	a.event(who, "totp.on", nil)
	a.endOlder(who.Account, who.Epoch)
	_ = a.tell(ctx, a.notice(CodesOn, who, a.contact(ctx, who.Account))) // its failure is logged
	return recovery, nil
}

// RevokeGrant ends a grant and the log-ins that rest on it; id 0 means all. storage.ErrNoGrant.
func (a *Authenticator) RevokeGrant(ctx context.Context, who *Principal, id uint32) error {
	// Whoever is in may put others out, so this takes no card.
	a.start()
	err := a.Store.Update(ctx, func(tx *storage.Tx) error {
		grants, err := tx.Grants(who.Account)
		found := id == 0
		for _, g := range grants {
			if err != nil || id != 0 && g.ID != id {
				continue
			}
			// It is kept, over: a program that presents its secret again is told so, and
			// does not seem to guess at codes.
			found, g.Until, g.Asked = true, time.Now(), true
			err = tx.PutGrant(who.Account, &g)
		}
		if err == nil && !found {
			err = storage.ErrNoGrant
		}
		return err
	})
	if err != nil {
		return err
	}
	ended := errors.New("all grants")
	if id != 0 {
		ended = fmt.Errorf("grant %d", id)
	}
	a.event(who, "grant.end", ended)
	a.endWhere(errRevoked, func(p *Principal) bool {
		return p.Account == who.Account && p.grant != 0 && (id == 0 || p.grant == id)
	})
	return nil
}
