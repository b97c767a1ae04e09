package auth

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"telesphore/storage"
)

// This file is what people and administrators do with cards.

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
