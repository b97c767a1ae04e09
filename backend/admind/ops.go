package admind

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"telesphore/backend"
	"telesphore/storage"
)

// Op names an operation.
type Op string

// The operations. Each answers with the account as it is afterwards, but
// account.list and account.delete.
const (
	AccountAdd      Op = "account.add"      // address, aliases, name, quota, password
	AccountList     Op = "account.list"     // after
	AccountShow     Op = "account.show"     // address
	AccountPassword Op = "account.password" // address, password
	AccountDisable  Op = "account.disable"  // address
	AccountEnable   Op = "account.enable"   // address
	AccountDelete   Op = "account.delete"   // address; its keys are gone when the answer comes
)

// maxName bounds Request.Name, in octets.
const maxName = 200

// Request is one line of a caller.
type Request struct {
	Op       Op       `json:"op"`
	Address  string   `json:"address,omitempty"`
	Aliases  []string `json:"aliases,omitempty"` // further addresses
	Name     string   `json:"name,omitempty"`
	Quota    int64    `json:"quota,omitempty"`    // octets; 0 for the server's default
	Password string   `json:"password,omitempty"` // made by the server when empty
	After    uint32   `json:"after,omitempty"`    // the ID behind which a list goes on
}

// Response is one line of the server.
type Response struct {
	Account  *Account  `json:"account,omitempty"`
	Accounts []Account `json:"accounts,omitempty"`
	Next     uint32    `json:"next,omitempty"`     // ask again with after = next: the list goes on
	Password string    `json:"password,omitempty"` // what the server made, told this once
	Error    *Error    `json:"error,omitempty"`
}

// Account is what an operator may know of an account.
type Account struct {
	ID        uint32     `json:"id"`
	Address   string     `json:"address"`
	Aliases   []string   `json:"aliases,omitempty"`
	Name      string     `json:"name,omitempty"`
	State     string     `json:"state"` // active, disabled or erasing
	Created   time.Time  `json:"created"`
	LastLogin *time.Time `json:"last_login,omitempty"` // absent before the first one
	Quota     int64      `json:"quota,omitempty"`      // octets; absent for the server's default
	Octets    int64      `json:"octets"`               // of all messages
	Messages  int64      `json:"messages"`
	Mailboxes int64      `json:"mailboxes"`
}

func public(a *storage.Account) *Account {
	p := &Account{
		ID: uint32(a.ID), Name: a.Name, Created: a.Created.UTC(), Quota: a.MaxBytes,
		Octets: a.Usage.Bytes, Messages: a.Usage.Messages, Mailboxes: a.Usage.Mailboxes,
	}
	if len(a.Addresses) > 0 {
		p.Address, p.Aliases = a.Addresses[0], a.Addresses[1:]
	}
	if !a.LastLogin.IsZero() {
		t := a.LastLogin.UTC()
		p.LastLogin = &t
	}
	switch a.State {
	case storage.Active:
		p.State = "active"
	case storage.Disabled:
		p.State = "disabled"
	default:
		p.State = "erasing"
	}
	return p
}

// do carries out a request.
func (s *Server) do(ctx context.Context, req *Request) (*Response, error) {
	if req.Op == AccountList {
		return s.list(ctx, storage.AccountID(req.After))
	}
	if req.Address == "" {
		return nil, errNoAddress
	}
	switch req.Op {
	case AccountAdd:
		return s.addAccount(ctx, req)
	case AccountShow:
		return s.show(ctx, req.Address)
	case AccountPassword:
		return s.setPassword(ctx, req)
	case AccountDisable:
		return s.setState(ctx, req.Address, storage.Disabled)
	case AccountEnable:
		return s.setState(ctx, req.Address, storage.Active)
	case AccountDelete:
		return s.erase(ctx, req.Address)
	}
	return nil, errUnknownOp
}

func (s *Server) list(ctx context.Context, after storage.AccountID) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		*res = Response{Accounts: []Account{}}
		return tx.Accounts(func(a *storage.Account) bool {
			if a.ID <= after {
				return true
			}
			if len(res.Accounts) == s.Limits.Page {
				res.Next = res.Accounts[s.Limits.Page-1].ID
				return false
			}
			res.Accounts = append(res.Accounts, *public(a))
			return true
		})
	})
	return res, err
}

func (s *Server) addAccount(ctx context.Context, req *Request) (*Response, error) {
	if len(req.Name) > maxName || !utf8.ValidString(req.Name) || strings.ContainsFunc(req.Name, unicode.IsControl) {
		return nil, errName
	}
	if req.Quota < 0 {
		return nil, errQuota
	}
	a := &storage.Account{Name: req.Name, MaxBytes: req.Quota, Created: time.Now()}
	for _, text := range append([]string{req.Address}, req.Aliases...) {
		address, err := s.ours(text)
		if err != nil {
			return nil, err
		}
		a.Addresses = append(a.Addresses, address)
	}
	made, err := s.password(a.Addresses[0], req.Password, &a.Password)
	if err != nil {
		return nil, err
	}
	if err := s.Store.NewAccount(ctx, a); err != nil {
		return nil, fmt.Errorf("create the account: %w", err)
	}
	res, err := s.show(ctx, a.Addresses[0])
	if err != nil {
		return nil, err
	}
	res.Password = made
	return res, nil
}

// password checks what was asked for, or makes one and returns it, and writes
// what the store keeps to phc.
func (s *Server) password(address, asked string, phc *string) (made string, err error) {
	if asked == "" {
		made = s.Auth.Generate()
		asked = made
	} else if err := s.Auth.CheckPolicy(address, asked); err != nil {
		return "", err
	}
	*phc, err = s.Auth.Hash(asked)
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return made, nil
}

func (s *Server) show(ctx context.Context, address string) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		a, err := find(tx, address)
		if err != nil {
			return err
		}
		res.Account = public(a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("show the account: %w", err)
	}
	return res, nil
}

func (s *Server) setPassword(ctx context.Context, req *Request) (*Response, error) {
	res, err := s.show(ctx, req.Address) // before the costly hash, and for the policy
	if err != nil {
		return nil, err
	}
	var phc string
	made, err := s.password(res.Account.Address, req.Password, &phc)
	if err != nil {
		return nil, err
	}
	res, err = s.change(ctx, req.Address, func(tx *storage.Tx, id storage.AccountID) error {
		return tx.SetPassword(id, phc)
	})
	if err != nil {
		return nil, fmt.Errorf("set the password: %w", err)
	}
	res.Password = made
	return res, nil
}

func (s *Server) setState(ctx context.Context, address string, state storage.State) (*Response, error) {
	return s.change(ctx, address, func(tx *storage.Tx, id storage.AccountID) error {
		return tx.SetState(id, state)
	})
}

func (s *Server) erase(ctx context.Context, address string) (*Response, error) {
	res, err := s.show(ctx, address)
	if err != nil {
		return nil, err
	}
	if err := s.Store.EraseAccount(ctx, storage.AccountID(res.Account.ID)); err != nil {
		return nil, fmt.Errorf("erase the account: %w", err)
	}
	return &Response{}, nil
}

// change applies f to the account and answers with what it became.
func (s *Server) change(ctx context.Context, address string, f func(*storage.Tx, storage.AccountID) error) (*Response, error) {
	res := &Response{}
	err := s.Store.Update(ctx, func(tx *storage.Tx) error {
		a, err := find(tx, address)
		if err != nil {
			return err
		}
		if err := f(tx, a.ID); err != nil {
			return err
		}
		if a, err = tx.Account(a.ID); err != nil {
			return err
		}
		res.Account = public(a)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("change the account: %w", err)
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

// find reads the account that has the address, as people write it.
func find(tx *storage.Tx, text string) (*storage.Account, error) {
	address, err := backend.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("parse the address: %w", err)
	}
	return tx.AccountByAddress(address.Normal())
}
