package admind

import (
	"context"

	"telesphore/backend/auth"
	"telesphore/storage"
)

func (s *Server) listGrants(ctx context.Context, c *call) (*Response, error) {
	var grants []storage.Grant
	err := s.look(ctx, c, func(tx *storage.Tx, a *storage.Account) (err error) {
		grants, err = tx.Grants(a.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	res := &Response{}
	for i := range grants {
		g := &grants[i]
		res.Grants = append(res.Grants, Grant{
			ID: g.ID, Network: g.Net.String(), Door: g.Proto, Mech: g.Mech, Factor: g.Factor,
			Created: utc(g.Created), LastUsed: utc(g.LastUsed), Until: utc(g.Until), Over: s.Auth.GrantOver(g),
		})
	}
	return res, nil
}

// revokeGrant ends one grant, or all when the request says so: an ID that a
// caller forgot must not end them.
func (s *Server) revokeGrant(ctx context.Context, c *call) (*Response, error) {
	if c.Grant.All == (c.Grant.ID != 0) {
		return nil, errWhichGrant
	}
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.RevokeGrant(ctx, who, c.Grant.ID)
	})
}

func (s *Server) listSessions(ctx context.Context, c *call) (*Response, error) {
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	res := &Response{}
	for _, open := range s.Auth.Sessions(a.ID) {
		res.Sessions = append(res.Sessions, publicSession(&open))
	}
	return res, nil
}
