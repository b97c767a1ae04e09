package imapd

import (
	"context"
)

// fetch is FETCH and UID FETCH; the family is in fetch*.go.
func fetch(uid bool) func(*session, context.Context, string) (string, error) {
	return func(s *session, ctx context.Context, tag string) (string, error) {
		c, err := fetchParse(s.dec, uid)
		if err != nil {
			return "", err
		}
		if err := s.beforeMessages(ctx, c.condStore()); err != nil {
			return "", err
		}
		return "", s.watched(ctx, func(ctx context.Context) error { return c.run(ctx, s.selection()) })
	}
}

// search is SEARCH and UID SEARCH; the family is in search*.go.
func search(uid bool) func(*session, context.Context, string) (string, error) {
	return func(s *session, ctx context.Context, tag string) (string, error) {
		c, err := searchParse(s.dec, uid, &s.srv.Limits.Search)
		if err != nil {
			return "", err
		}
		if err := s.beforeMessages(ctx, c.condStore()); err != nil {
			return "", err
		}
		return "", s.watched(ctx, func(ctx context.Context) error { return c.run(ctx, s.selection(), tag) })
	}
}

// beforeMessages brings the view up to date, but for expunges, so that the
// command may tell the ModSeqs it finds.
func (s *session) beforeMessages(ctx context.Context, condstore bool) error {
	if condstore {
		s.enableCondStore()
	}
	return s.refresh(ctx, false)
}
