package imapd

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"telesphore/storage"
)

// selectCommand is SELECT (RFC 9051 section 6.3.2).
func (s *session) selectCommand(ctx context.Context, tag string) (string, error) {
	return s.open(ctx, false)
}

// examine is EXAMINE (RFC 9051 section 6.3.3).
func (s *session) examine(ctx context.Context, tag string) (string, error) {
	return s.open(ctx, true)
}

func (s *session) open(ctx context.Context, readOnly bool) (string, error) {
	s.dec.SP()
	name := s.dec.Mailbox()
	condstore := false
	if s.dec.TrySP() {
		s.dec.List(func() {
			if s.dec.Keyword() != "CONDSTORE" {
				s.dec.Fail("unknown parameter")
			}
			condstore = true
		})
	}
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if s.view != nil {
		// RFC 9051 section 7.1: what follows is about the other mailbox. The
		// former one is closed also when the new one cannot be opened.
		s.leaveMailbox()
		s.out.Raw("* OK [CLOSED] Previous mailbox closed\r\n")
	}
	if condstore {
		s.enableCondStore()
	}
	v, mb, err := s.look(ctx, name, readOnly)
	if err != nil {
		return "", err
	}
	s.view = v
	s.watch()
	if err := s.firstRecent(ctx, mb); err != nil {
		s.leaveMailbox()
		return "", err
	}
	s.describe(mb)
	if readOnly {
		return "[READ-ONLY] EXAMINE completed", nil
	}
	return "[READ-WRITE] SELECT completed", nil
}

// look makes a view of a mailbox as it is now.
func (s *session) look(ctx context.Context, name string, readOnly bool) (*view, *storage.Mailbox, error) {
	v := &view{readOnly: readOnly, inbox: name == "INBOX"}
	var mb *storage.Mailbox
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) (err error) {
		if mb, err = tx.MailboxByName(s.who.Account, name); err != nil {
			return err
		}
		v.Topic = storage.Topic{Account: s.who.Account, Mailbox: mb.ID}
		if v.snap = s.srv.shared.at(v.Topic, mb.HighestModSeq); v.snap == nil {
			v.snap = &snapshot{at: mb.HighestModSeq}
			uids := make([]uint32, 0, mb.Exists)
			if v.snap.uids, err = tx.UIDs(s.who.Account, mb.ID, uids); err != nil {
				return err
			}
		}
		if s.rev2 || v.snap.unseen.Load() != 0 {
			return nil
		}
		return findUnseen(tx, v, mb)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open mailbox: %w", err)
	}
	v.snap = s.srv.shared.share(v.Topic, v.snap)
	v.next, v.cursor, v.keywords = mb.UIDNext, mb.HighestModSeq, slices.Clone(mb.Keywords)
	return v, mb, nil
}

// findUnseen looks for the first message without \Seen, once for each state of
// a mailbox.
func findUnseen(tx *storage.Tx, v *view, mb *storage.Mailbox) error {
	seq := uint64(0)
	if mb.Unseen > 0 {
		n := uint64(0)
		err := tx.Placements(v.Account, v.Mailbox, storage.AllUIDs, func(p *storage.Placement) bool {
			if n++; p.Flags&storage.Seen == 0 {
				seq = n
			}
			return seq == 0
		})
		if err != nil {
			return err
		}
	}
	v.snap.unseen.Store(seq + 1)
	return nil
}

// firstRecent finds out what has \Recent in this session.
func (s *session) firstRecent(ctx context.Context, mb *storage.Mailbox) error {
	if s.rev2 {
		return nil
	}
	first := mb.FirstRecent
	if !s.view.readOnly {
		var err error
		if first, err = s.srv.Store.TakeRecent(ctx, s.who.Account, mb.ID); err != nil {
			return fmt.Errorf("take \\Recent: %w", err)
		}
	}
	s.view.addRecent(first, mb.UIDNext-1)
	return nil
}

// describe writes the untagged answers of SELECT.
func (s *session) describe(mb *storage.Mailbox) {
	s.writeFlags()
	s.writeExists()
	if unseen := s.view.snap.unseen.Load(); unseen > 1 && !s.rev2 {
		s.out.Raw("* OK [UNSEEN ").Num(unseen - 1).Raw("] First message not seen\r\n")
	}
	s.out.Raw("* OK [UIDVALIDITY ").Num(uint64(mb.UIDValidity)).Raw("] UIDs are good as long as this stays\r\n")
	s.out.Raw("* OK [UIDNEXT ").Num(uint64(mb.UIDNext)).Raw("] Next UID\r\n")
	s.out.Raw("* OK [HIGHESTMODSEQ ").Num(uint64(mb.HighestModSeq)).Raw("] Latest change\r\n")
	s.out.Raw("* OK [MAILBOXID (").Raw(mailboxID(mb.ID)).Raw(")] Name for ever\r\n")
	if s.rev2 {
		// RFC 9051 section 6.3.2: the name as the server spells it.
		s.out.Raw("* LIST () \"/\" ").Mailbox(mb.Name).CRLF()
	}
}

// mailboxID is a MAILBOXID (RFC 8474 section 4).
func mailboxID(id storage.MailboxID) string { return id.String() }

// leaveMailbox forgets the selected mailbox.
func (s *session) leaveMailbox() {
	s.view = nil
	s.watch()
}

// closeMailbox is CLOSE (RFC 9051 section 6.4.1): it expunges without a word.
func (s *session) closeMailbox(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	v := s.view
	s.leaveMailbox()
	if v.readOnly {
		return "", nil
	}
	err := s.watched(ctx, func(ctx context.Context) error { return s.expungeFrom(ctx, v, nil) })
	if errors.Is(err, storage.ErrNoMailbox) {
		return "", nil // deleted meanwhile: as closed as can be
	}
	return "", err
}

// unselect is UNSELECT (RFC 9051 section 6.4.2).
func (s *session) unselect(ctx context.Context, tag string) (string, error) {
	if err := s.dec.End(); err != nil {
		return "", err
	}
	s.leaveMailbox()
	return "", nil
}
