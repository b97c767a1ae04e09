package admind

import (
	"context"
	"fmt"
	"time"

	"telesphore/backend/auth"
	"telesphore/storage"
)

// codesOf tells about an account's second factor.
func codesOf(tx *storage.Tx, a *storage.Account) (*Codes, error) {
	f, err := tx.Factor(a.ID)
	if err != nil {
		return nil, fmt.Errorf("read the account's second factor: %w", err)
	}
	p := &Codes{
		On: f.CodesOn, Contact: f.Contact, Since: utc(f.Since), By: f.By,
		TOTP: f.Secret != nil, Recovery: len(f.Recovery),
	}
	now := time.Now()
	if f.WrongDay == now.Unix()/(24*60*60) {
		p.Wrong = f.Wrong
	}
	c, err := tx.Challenge(a.ID)
	if err != nil {
		return nil, fmt.Errorf("read the account's code: %w", err)
	}
	if c != nil && !c.Void && now.Before(c.Expires) && (!f.CodesOn || c.Contact != f.Contact) {
		p.Proving = c.Contact
	}
	return p, nil
}

func (s *Server) proveContact(ctx context.Context, c *call) (*Response, error) {
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.ProveContact(ctx, who, c.Code.Contact)
	})
}

func (s *Server) codesOn(ctx context.Context, c *call) (*Response, error) {
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.SwitchCodesOn(ctx, who, c.Code.Code)
	})
}

func (s *Server) codesOff(ctx context.Context, c *call) (*Response, error) {
	return s.act(ctx, c, func(who *auth.Principal) error {
		return s.Auth.SwitchCodesOff(ctx, who)
	})
}

func (s *Server) beginTOTP(ctx context.Context, c *call) (*Response, error) {
	a, err := s.account(ctx, c)
	if err != nil {
		return nil, err
	}
	secret, uri, err := s.Auth.BeginTOTP(ctx, s.Auth.Acting(a, c.actor))
	if err != nil {
		return nil, err
	}
	return &Response{TOTP: &TOTP{Secret: secret, URI: uri}}, nil
}

func (s *Server) confirmTOTP(ctx context.Context, c *call) (*Response, error) {
	var recovery []string
	res, err := s.act(ctx, c, func(who *auth.Principal) (err error) {
		recovery, err = s.Auth.ConfirmTOTP(ctx, who, c.Code.Secret, c.Code.Code)
		return err
	})
	if err == nil {
		res.TOTP = &TOTP{Recovery: recovery}
	}
	return res, err
}
