package admind

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"telesphore/backend/auth"
	"telesphore/storage"
)

// maxIdentity bounds CardRequest.Expect, in octets.
const maxIdentity = 200

// checkIdentity refuses what can be no card's identity. Which issuers there are
// may change, so an identity is not compared with them.
func checkIdentity(text string) error {
	if len(text) > maxIdentity || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errIdentity
	}
	return nil
}

// cardsOf lists an account's cards.
func cardsOf(tx *storage.Tx, a *storage.Account) ([]Card, error) {
	cards, err := tx.Cards(a.ID)
	if err != nil {
		return nil, fmt.Errorf("read the account's cards: %w", err)
	}
	list := make([]Card, len(cards))
	for i := range cards {
		list[i] = publicCard(a.Addresses[0], &cards[i])
	}
	return list, nil
}

// windowOf returns the account's window, nil when it is closed.
func windowOf(tx *storage.Tx, a *storage.Account) (*Window, error) {
	w, err := tx.LinkWindow(a.ID)
	if err != nil {
		return nil, fmt.Errorf("read the account's window: %w", err)
	}
	if w == nil || !w.Until.IsZero() && !time.Now().Before(w.Until) {
		return nil, nil
	}
	return &Window{Expect: w.Expected, Until: utc(w.Until), By: w.By}, nil
}

func (s *Server) listCards(ctx context.Context, c *call) (*Response, error) {
	if c.Address == "" {
		return s.listAllCards(ctx, c)
	}
	res := &Response{}
	err := s.look(ctx, c, func(tx *storage.Tx, a *storage.Account) (err error) {
		res.Cards, err = cardsOf(tx, a)
		return err
	})
	return res, err
}

// listAllCards lists the cards of one account after the other.
func (s *Server) listAllCards(ctx context.Context, c *call) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		*res = Response{}
		var failed error
		last := c.After
		err := tx.Accounts(func(a *storage.Account) bool {
			if uint32(a.ID) <= c.After {
				return true
			}
			if len(res.Cards) >= s.Limits.Page {
				res.Next = last
				return false
			}
			last = uint32(a.ID)
			cards, err := cardsOf(tx, a)
			if errors.Is(err, storage.ErrNoAccount) { // it is being erased: nothing of it can be read
				return true
			}
			res.Cards, failed = append(res.Cards, cards...), err
			return err == nil
		})
		return errors.Join(err, failed)
	})
	return res, err
}

// parse reads the certificate of a request.
func parse(der []byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCertificate, err)
	}
	return leaf, nil
}

// showCertificate says what would come of a log-in with a certificate.
func (s *Server) showCertificate(ctx context.Context, c *call) (*Response, error) {
	leaf, err := parse(c.Card.Certificate)
	if err != nil {
		return nil, err
	}
	p := &Certificate{
		Verdict: "good", Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		NotBefore: utc(leaf.NotBefore), NotAfter: utc(leaf.NotAfter),
	}
	card, err := s.Auth.ReadCard(ctx, leaf)
	if err != nil {
		e := translate(err)
		if e.Code != BadCard && e.Code != Unchecked {
			return nil, err
		}
		p.Verdict, p.Reason = string(e.Code), e.Text
		return &Response{Certificate: p}, nil
	}
	p.Identity, p.Organisation, p.Holder = card.Identity, card.Organisation, card.Holder
	err = s.Store.View(ctx, func(tx *storage.Tx) error {
		p.Accounts = nil
		ids, err := tx.CardAccounts(card.Identity)
		if err != nil {
			return err
		}
		for _, id := range ids {
			a, err := tx.Account(id)
			if err != nil {
				return err
			}
			p.Accounts = append(p.Accounts, a.Addresses[0])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find the card's accounts: %w", err)
	}
	return &Response{Certificate: p}, nil
}

func (s *Server) showLists(context.Context, *call) (*Response, error) {
	res := &Response{}
	for _, l := range s.Anchors.Status() {
		res.Lists = append(res.Lists, publicList(&l))
	}
	return res, nil
}

func (s *Server) linkCard(ctx context.Context, c *call) (*Response, error) {
	leaf, err := parse(c.Card.Certificate)
	if err != nil {
		return nil, err
	}
	return s.act(ctx, c, func(who *auth.Principal) error {
		card, err := s.Auth.ReadCard(ctx, leaf)
		if err != nil {
			return fmt.Errorf("read the card: %w", err)
		}
		return s.Auth.LinkCard(ctx, who, card, c.Card.Also)
	})
}

// unlinkCard takes a card from an account: the only one, or the one that is named
// by its identity, with its issuer's group or without.
func (s *Server) unlinkCard(ctx context.Context, c *call) (*Response, error) {
	var identity string
	err := s.look(ctx, c, func(tx *storage.Tx, a *storage.Account) error {
		cards, err := tx.Cards(a.ID)
		if err != nil {
			return err
		}
		identity = ""
		for _, card := range cards {
			_, id, _ := strings.Cut(card.Identity, "|")
			if want := c.Card.Identity; want != "" && want != card.Identity && want != id {
				continue
			}
			if identity != "" {
				return errSeveral
			}
			identity = card.Identity
		}
		if identity == "" {
			return storage.ErrNoCard
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("choose the card: %w", err)
	}
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.UnlinkCard(ctx, who, identity)
	})
}

func (s *Server) openWindow(ctx context.Context, c *call) (*Response, error) {
	life, err := length(c.Card.Life)
	if err != nil {
		return nil, err
	}
	if err := checkIdentity(c.Card.Expect); err != nil {
		return nil, err
	}
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.OpenWindow(ctx, who, c.Card.Expect, life)
	})
}

func (s *Server) closeWindow(ctx context.Context, c *call) (*Response, error) {
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.CloseWindow(ctx, who)
	})
}
