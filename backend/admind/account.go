package admind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"telesphore/backend"
	"telesphore/storage"
)

// maxName bounds Request.Name, in octets.
const maxName = 200

func (s *Server) listAccounts(ctx context.Context, c *call) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		*res = Response{Accounts: []Account{}}
		return tx.Accounts(func(a *storage.Account) bool {
			if uint32(a.ID) <= c.After {
				return true
			}
			if len(res.Accounts) == s.Limits.Page {
				res.Next = res.Accounts[s.Limits.Page-1].ID
				return false
			}
			res.Accounts = append(res.Accounts, *publicAccount(a))
			return true
		})
	})
	return res, err
}

func (s *Server) addAccount(ctx context.Context, c *call) (*Response, error) {
	if len(c.Name) > maxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl) {
		return nil, errName
	}
	if c.Quota < 0 {
		return nil, errQuota
	}
	if err := checkIdentity(c.Card.Expect); err != nil {
		return nil, err
	}
	a := &storage.Account{Name: c.Name, MaxBytes: c.Quota, Created: time.Now()}
	for _, text := range append([]string{c.Address}, c.Aliases...) {
		address, err := s.ours(text)
		if err != nil {
			return nil, err
		}
		a.Addresses = append(a.Addresses, address)
	}
	password, made := s.password(c)
	if err := s.Auth.NewAccount(ctx, a, password, c.Card.Expect, c.actor); err != nil {
		return nil, fmt.Errorf("create the account: %w", err)
	}
	return tell(made)(s.describe(ctx, a.ID))
}

func (s *Server) setPassword(ctx context.Context, c *call) (*Response, error) {
	password, made := s.password(c)
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.Auth.SetPassword(ctx, s.Auth.Acting(a, c.actor), password); err != nil {
		return nil, fmt.Errorf("set the password: %w", err)
	}
	return tell(made)(s.describe(ctx, a.ID))
}

// password is the one that was asked for, or a new one: then made is it too.
func (s *Server) password(c *call) (password, made string) {
	if c.Password != "" {
		return c.Password, ""
	}
	made = s.Auth.Generate()
	return made, made
}

// tell adds to an answer the password that was made.
func tell(made string) func(*Response, error) (*Response, error) {
	return func(res *Response, err error) (*Response, error) {
		if err == nil {
			res.Password = made
		}
		return res, err
	}
}

func (s *Server) showAccount(ctx context.Context, c *call) (*Response, error) {
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.describe(ctx, a.ID)
}

func (s *Server) disable(ctx context.Context, c *call) (*Response, error) {
	return s.setState(ctx, c, storage.Disabled)
}

func (s *Server) enable(ctx context.Context, c *call) (*Response, error) {
	return s.setState(ctx, c, storage.Active)
}

func (s *Server) setState(ctx context.Context, c *call, state storage.State) (*Response, error) {
	var a *storage.Account
	err := s.Store.Update(ctx, func(tx *storage.Tx) (err error) {
		if a, err = find(tx, c.Address); err != nil {
			return err
		}
		return tx.SetState(a.ID, state)
	})
	if err != nil {
		return nil, fmt.Errorf("change the account: %w", err)
	}
	s.event(c, a)
	return s.describe(ctx, a.ID)
}

func (s *Server) erase(ctx context.Context, c *call) (*Response, error) {
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	err = s.Store.EraseAccount(ctx, a.ID)
	if err == nil || errors.Is(err, storage.ErrByHand) {
		s.event(c, a)
	}
	if err != nil {
		return nil, fmt.Errorf("erase the account: %w", err)
	}
	return &Response{}, nil
}

// event writes down what package auth does not know of.
func (s *Server) event(c *call, a *storage.Account) {
	_ = s.Auth.Audit.Write(&storage.Event{Event: string(c.Op), Account: a.Addresses[0], Actor: c.actor})
}

// describe tells everything about an account that an operator may know.
func (s *Server) describe(ctx context.Context, id storage.AccountID) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		a, err := tx.Account(id)
		if err != nil {
			return err
		}
		p := publicAccount(a)
		if p.Cards, err = cardsOf(tx, a); err != nil {
			return err
		}
		if p.Window, err = windowOf(tx, a); err != nil {
			return err
		}
		if p.Codes, err = codesOf(tx, a); err != nil {
			return err
		}
		res.Account = p
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("show the account: %w", err)
	}
	return res, nil
}

// ours normalises an address and makes sure that its domain is one of ours.
func (s *Server) ours(text string) (string, error) {
	address, err := backend.ParseAddress(text)
	if err != nil {
		return "", fmt.Errorf("parse the address: %w", err)
	}
	if address.Domain == "" || !s.Router.Local(address) {
		return "", errForeign
	}
	return address.Normal(), nil
}
