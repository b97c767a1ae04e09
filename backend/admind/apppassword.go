package admind

import (
	"context"
	"fmt"
	"net/netip"

	"telesphore/backend/auth"
	"telesphore/storage"
)

func (s *Server) listAppPasswords(ctx context.Context, c *call) (*Response, error) {
	var all []storage.AppPassword
	err := s.look(ctx, c, func(tx *storage.Tx, a *storage.Account) (err error) {
		all, err = tx.AppPasswords(a.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &Response{}
	for i := range all {
		res.AppPasswords = append(res.AppPasswords, publicAppPassword(&all[i]))
	}
	return res, nil
}

func (s *Server) addAppPassword(ctx context.Context, c *call) (*Response, error) {
	n := &auth.NewAppPassword{Name: c.AppPassword.Name, Protos: c.AppPassword.Doors}
	var err error
	if n.Life, err = length(c.AppPassword.Life); err != nil {
		return nil, err
	}
	if n.Net, err = network(c.AppPassword.Network); err != nil {
		return nil, err
	}
	var made *storage.AppPassword
	var secret string
	res, err := s.act(ctx, c, func(who *auth.Principal) (err error) {
		secret, made, err = s.Auth.MakeAppPassword(ctx, who, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	res.Password, res.AppPasswords = secret, []AppPassword{publicAppPassword(made)}
	return res, nil
}

func (s *Server) removeAppPassword(ctx context.Context, c *call) (*Response, error) {
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.RemoveAppPassword(ctx, who, c.AppPassword.ID)
	})
}

// network reads an address or a prefix; "" is everywhere.
func network(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w: %w", errNetwork, err)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
