package admind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"telesphore/backend"
	"telesphore/storage"
)

func (s *Server) addAlias(ctx context.Context, c *call) (*Response, error) {
	address, err := s.ours(c.Address)
	if err != nil {
		return nil, err
	}
	return s.editAlias(ctx, c, "create the alias", func(tx *storage.Tx) (*storage.Alias, error) {
		a := &storage.Alias{Address: address}
		if err := s.apply(tx, a, c); err != nil {
			return nil, err
		}
		return a, tx.NewAlias(a)
	})
}

func (s *Server) changeAlias(ctx context.Context, c *call) (*Response, error) {
	r := &c.Alias
	if c.Name == "" && r.From == "" && r.State == "" && len(r.Add)+len(r.Remove) == 0 {
		return nil, errNoChange
	}
	return s.editAlias(ctx, c, "change the alias", func(tx *storage.Tx) (*storage.Alias, error) {
		a, err := findAlias(tx, c.Address)
		if err != nil {
			return nil, err
		}
		if err := s.apply(tx, a, c); err != nil {
			return nil, err
		}
		return a, tx.PutAlias(a)
	})
}

// editAlias stores what edit makes, if that leads to no more than it may, and
// answers with it.
func (s *Server) editAlias(ctx context.Context, c *call, doing string, edit func(*storage.Tx) (*storage.Alias, error)) (*Response, error) {
	res := &Response{}
	err := s.Store.Update(ctx, func(tx *storage.Tx) error {
		a, err := edit(tx)
		if err != nil {
			return err
		}
		if err := s.Router.CheckAlias(tx, a); err != nil {
			return err
		}
		res.Alias, err = s.publicAlias(tx, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	s.aliasEvent(c, res.Alias.Address)
	return res, nil
}

// apply makes of an alias what a request asks for.
func (s *Server) apply(tx *storage.Tx, a *storage.Alias, c *call) error {
	if c.Name != "" {
		if len(c.Name) > maxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl) {
			return errName
		}
		a.Name = c.Name
	}
	if c.Alias.From != "" {
		w, ok := writers()[c.Alias.From]
		if !ok {
			return errWriters
		}
		a.Writers = w
	}
	switch c.Alias.State {
	case "":
	case "active":
		a.State = storage.Active
	case "disabled":
		a.State = storage.Disabled
	default:
		return errAliasState
	}
	if strings.HasPrefix(a.Address, "postmaster@") && (a.Writers != storage.Everyone || a.State != storage.Active) {
		return errPostmaster
	}
	return s.applyMembers(tx, a, c)
}

// applyMembers adds and removes members. Adding one that is there changes nothing.
func (s *Server) applyMembers(tx *storage.Tx, a *storage.Alias, c *call) error {
	for _, text := range c.Alias.Remove {
		address, err := backend.ParseAddress(text)
		if err != nil {
			return fmt.Errorf("parse the address: %w", err)
		}
		i := slices.Index(a.Members, address.Normal())
		if i < 0 {
			return errNotMember
		}
		a.Members = slices.Delete(a.Members, i, i+1)
	}
	for _, text := range c.Alias.Add {
		address, err := backend.ParseAddress(text)
		if err != nil {
			return fmt.Errorf("parse the address: %w", err)
		}
		// An alias as its own member is no stranger: that it is a loop shows later.
		_, err = s.Router.Place(tx, address)
		switch self := address.Normal() == a.Address; {
		case address.Domain == "", errors.Is(err, backend.ErrRemote):
			return errMemberAway
		case errors.Is(err, backend.ErrNoSuchUser) && !self:
			return errMember
		case err != nil && !self:
			return err
		}
		if !slices.Contains(a.Members, address.Normal()) {
			a.Members = append(a.Members, address.Normal())
		}
	}
	if len(a.Members) == 0 {
		return errNoMembers
	}
	return nil
}

func (s *Server) listAliases(ctx context.Context, c *call) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		all, err := tx.Aliases(c.Address, s.Limits.Page+1)
		if err != nil {
			return err
		}
		*res = Response{Aliases: []Alias{}, More: len(all) > s.Limits.Page}
		for i := range all[:min(len(all), s.Limits.Page)] {
			res.Aliases = append(res.Aliases, *describeAlias(&all[i]))
		}
		return nil
	})
	return res, err
}

func (s *Server) showAlias(ctx context.Context, c *call) (*Response, error) {
	res := &Response{}
	err := s.Store.View(ctx, func(tx *storage.Tx) error {
		a, err := findAlias(tx, c.Address)
		if err != nil {
			return err
		}
		res.Alias, err = s.publicAlias(tx, a)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("show the alias: %w", err)
	}
	return res, nil
}

func (s *Server) deleteAlias(ctx context.Context, c *call) (*Response, error) {
	var address string
	err := s.Store.Update(ctx, func(tx *storage.Tx) error {
		a, err := findAlias(tx, c.Address)
		if err != nil {
			return err
		}
		address = a.Address
		return tx.DeleteAlias(address)
	})
	if err != nil {
		return nil, fmt.Errorf("delete the alias: %w", err)
	}
	s.aliasEvent(c, address)
	return &Response{}, nil
}

// aliasEvent writes down who changed an alias.
func (s *Server) aliasEvent(c *call, address string) {
	_ = s.Auth.Audit.Write(&storage.Event{Event: string(c.Op), Account: address, Actor: c.actor})
}

// findAlias reads the alias that has the address, as people write it.
func findAlias(tx *storage.Tx, text string) (*storage.Alias, error) {
	address, err := backend.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("parse the address: %w", err)
	}
	return tx.Alias(address.Normal())
}

// writers are the words for who may write to an alias.
func writers() map[string]storage.Writers {
	return map[string]storage.Writers{
		"everyone": storage.Everyone, "domain": storage.OurDomain, "members": storage.Members,
	}
}

// describeAlias tells all of an alias but its members.
func describeAlias(a *storage.Alias) *Alias {
	p := &Alias{
		Address: a.Address, Name: a.Name, State: "active", Count: len(a.Members),
		Created: utc(a.Created), Changed: utc(a.Changed),
	}
	if a.State != storage.Active {
		p.State = "disabled"
	}
	for word, w := range writers() {
		if w == a.Writers {
			p.From = word
		}
	}
	return p
}

// publicAlias tells what each of the members is, too.
func (s *Server) publicAlias(tx *storage.Tx, a *storage.Alias) (*Alias, error) {
	p := describeAlias(a)
	for _, m := range a.Members {
		address, err := backend.ParseAddress(m)
		if err != nil {
			return nil, fmt.Errorf("member of an alias: %w", err)
		}
		place, err := s.Router.Place(tx, address)
		is := "account"
		switch {
		case errors.Is(err, backend.ErrNoSuchUser), errors.Is(err, backend.ErrRemote):
			is = "missing"
		case err != nil:
			return nil, err
		case place.Alias != nil:
			is = "alias"
		}
		p.Members = append(p.Members, Member{Address: m, Is: is})
	}
	return p, nil
}
