package admind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"telesphore/backend"
	"telesphore/tls"
)

// WhiteListRequest is what an operation on the white list needs.
type WhiteListRequest struct {
	Domain string `json:"domain,omitempty"`
	Accept bool   `json:"accept,omitempty"` // take over the list that waits because it has lost many domains
}

// WhiteList is the list of the trust space.
type WhiteList struct {
	Source    string           `json:"source,omitempty"`   // file or URL; absent when the configuration names none
	Generated time.Time        `json:"generated,omitzero"` // date of the list in use; absent while there is none
	Age       int64            `json:"age,omitempty"`      // of the list in use, in seconds
	Old       bool             `json:"old,omitempty"`      // older than the configuration allows
	Taken     time.Time        `json:"taken,omitzero"`     // when it was taken over
	Looked    time.Time        `json:"looked,omitzero"`    // last look that found nothing wrong, since the start
	Domains   int              `json:"domains"`            // in the list
	Ignored   int              `json:"ignored,omitempty"`  // entries that cannot be used
	Last      *WhiteListChange `json:"last,omitempty"`     // what the list in use has otherwise than the one before
	Held      *WhiteListChange `json:"held,omitempty"`     // what the list would change that waits to be accepted
	Problem   string           `json:"problem,omitempty"`  // what the last look found wrong
}

// WhiteListChange is what one list has otherwise than the one before.
type WhiteListChange struct {
	From    time.Time `json:"from"` // dates of the lists
	To      time.Time `json:"to"`
	Added   []string  `json:"added,omitempty"`
	Removed []string  `json:"removed,omitempty"`
	Changed []string  `json:"changed,omitempty"` // other certificates than before
}

// Peer is what is known of another operator's domain.
type Peer struct {
	Domain    string     `json:"domain"`
	Trusted   bool       `json:"trusted"`        // in the trust space
	Listed    bool       `json:"listed"`         // by the white list
	Since     time.Time  `json:"since,omitzero"` // date of the first list that had it
	Left      time.Time  `json:"left,omitzero"`  // date of the first list without it
	Operators []Operator `json:"operators,omitempty"`
}

// Operator is one that may carry the mail of a domain.
type Operator struct {
	Certificate string    `json:"certificate"` // its subject, as the list writes it
	Description string    `json:"description,omitempty"`
	Responsible string    `json:"responsible,omitempty"`
	Support     string    `json:"support,omitempty"`
	Updated     time.Time `json:"updated,omitzero"`
}

// What this door says of the white list.
var (
	errNoWhiteList = errors.New("admind: no white list is configured")
	errDomain      = errors.New("admind: not a domain")
	errRefresh     = errors.New("admind: the white list was not refreshed")
)

func whiteListPhrases() []phrase {
	return []phrase{
		{errNoWhiteList, Error{Off, "the configuration names no white list: see trust_space.source"}},
		{errDomain, Error{BadRequest, "this is no domain name"}},
		{tls.ErrLoss, Error{HeldBack, "the new list has lost many domains and waits: telesphore whitelist show names them, telesphore whitelist refresh --accept takes it over"}},
		{errRefresh, Error{BadWhiteList, "the list cannot be read or is refused, the one before stays in use: telesphore whitelist show says why"}},
	}
}

func (s *Server) showWhiteList(context.Context, *call) (*Response, error) {
	status := s.WhiteList.Status()
	p := &WhiteList{
		Source: status.Source, Generated: utc(status.Generated), Old: status.Old, Taken: utc(status.Taken), Looked: utc(status.Looked),
		Domains: status.Domains, Ignored: status.Ignored, Last: publicChange(status.Last), Held: publicChange(status.Held),
	}
	if !status.Generated.IsZero() {
		p.Age = max(0, int64(time.Since(status.Generated)/time.Second))
	}
	if status.Err != nil {
		p.Problem = status.Err.Error()
	}
	return &Response{WhiteList: p}, nil
}

func publicChange(c *tls.Change) *WhiteListChange {
	if c == nil {
		return nil
	}
	return &WhiteListChange{From: utc(c.From), To: utc(c.To), Added: c.Added, Removed: c.Removed, Changed: c.Changed}
}

func (s *Server) checkDomain(_ context.Context, c *call) (*Response, error) {
	name, err := backend.ParseDomain(c.WhiteList.Domain)
	if err != nil {
		return nil, errDomain
	}
	p := &Peer{Domain: name, Trusted: s.Router.Zone(name) == backend.Trusted}
	if left, gone := s.WhiteList.Left(name); gone {
		p.Left = utc(left)
	}
	peer, listed := s.WhiteList.Lookup(name)
	p.Listed, p.Since = listed, utc(peer.Since)
	for _, o := range peer.Operators {
		p.Operators = append(p.Operators, Operator{
			Certificate: o.Text, Description: o.Description, Responsible: o.Responsible, Support: o.Support, Updated: utc(o.Updated),
		})
	}
	return &Response{Peer: p}, nil
}

func (s *Server) refreshWhiteList(ctx context.Context, c *call) (*Response, error) {
	if s.WhiteList == nil {
		return nil, errNoWhiteList
	}
	if err := s.WhiteList.Refresh(ctx, c.WhiteList.Accept); err != nil {
		return nil, fmt.Errorf("%w: %w", errRefresh, err)
	}
	return s.showWhiteList(ctx, c)
}
