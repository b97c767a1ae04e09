package imapd

import (
	"context"
	"fmt"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

func copyMessages(uid bool) func(*session, context.Context, string) (string, error) {
	return func(s *session, ctx context.Context, tag string) (string, error) { return s.copy(ctx, uid, false) }
}

func moveMessages(uid bool) func(*session, context.Context, string) (string, error) {
	return func(s *session, ctx context.Context, tag string) (string, error) { return s.copy(ctx, uid, true) }
}

// copy is COPY and MOVE (RFC 9051 sections 6.4.7 and 6.4.8).
func (s *session) copy(ctx context.Context, uid, move bool) (string, error) {
	s.dec.SP()
	set, saved := s.dec.SetOrSaved()
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if move && s.view.readOnly {
		return "", errReadOnly
	}
	uids, err := s.view.resolve(set, saved, uid)
	if err != nil {
		return "", err
	}
	var to storage.MailboxID
	if err := s.destination(ctx, name, &to); err != nil {
		return "", err
	}
	var done *storage.Copied
	s.dirty = true
	err = s.watched(ctx, func(ctx context.Context) (err error) {
		done, err = s.copyTo(ctx, uids, to, move)
		return err
	})
	if err != nil {
		return "", err
	}
	verb := "COPY"
	if move {
		verb = "MOVE"
	}
	verb = commandName(verb, uid) + " completed"
	if len(done.From) == 0 && !uid {
		// The client must not take them for copied (RFC 9051 section 7.1).
		return "", storage.ErrNoMessage
	}
	if len(done.From) == 0 {
		return verb, nil // UIDs of no message are no error (RFC 9051 section 6.4.9)
	}
	code := fmt.Sprintf("[COPYUID %d %s %s]", done.UIDValidity,
		wire.AppendNumbers(nil, done.From), wire.AppendNumbers(nil, done.To))
	if move {
		// Before the expunges, so that the client knows where they went.
		s.out.Raw("* OK ").Raw(code).Raw(" Moved\r\n")
		return verb, nil
	}
	return code + " " + verb, nil
}

func (s *session) copyTo(ctx context.Context, uids storage.UIDSet, to storage.MailboxID, move bool) (*storage.Copied, error) {
	if move {
		return s.srv.Store.Move(ctx, s.who.Account, s.view.Mailbox, uids, to)
	}
	return s.srv.Store.Copy(ctx, s.who.Account, s.view.Mailbox, uids, to)
}

// expunge is EXPUNGE (RFC 9051 section 6.4.3). The client is told with the
// answer, as of all that happens to the mailbox.
func (s *session) expunge(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if s.view.readOnly {
		return "", errReadOnly
	}
	return "", s.watched(ctx, func(ctx context.Context) error { return s.expungeFrom(ctx, s.view, nil) })
}

// expungeFrom removes the messages with \Deleted, all or those of a set.
func (s *session) expungeFrom(ctx context.Context, v *view, set storage.UIDSet) error {
	s.dirty = true
	for {
		n := 0
		err := s.srv.Store.Update(ctx, func(tx *storage.Tx) error {
			uids, _, err := tx.Expunge(v.Account, v.Mailbox, set)
			n = len(uids)
			return err
		})
		if err != nil || n < storage.MaxExpunge {
			return err
		}
	}
}

// uidExpunge is UID EXPUNGE (RFC 9051 section 6.4.9).
func (s *session) uidExpunge(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	set, saved := s.dec.SetOrSaved()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if s.view.readOnly {
		return "", errReadOnly
	}
	uids, err := s.view.resolve(set, saved, true)
	if err != nil || len(uids) == 0 {
		return "", err // without this, no UIDs would mean all
	}
	return "", s.watched(ctx, func(ctx context.Context) error { return s.expungeFrom(ctx, s.view, uids) })
}
