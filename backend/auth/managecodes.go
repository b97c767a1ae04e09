package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// This file is what people and administrators do with second factors and grants.

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
