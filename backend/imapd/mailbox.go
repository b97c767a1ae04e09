package imapd

import (
	"context"
	"slices"
	"strings"

	"telesphore/storage"
)

// update changes the store while somebody looks whether the client is still
// there.
func (s *session) update(ctx context.Context, f func(*storage.Tx) error) error {
	s.dirty = true
	return s.watched(ctx, func(ctx context.Context) error { return s.srv.Store.Update(ctx, f) })
}

// create is CREATE (RFC 9051 section 6.3.4) with RFC 6154's USE.
func (s *session) create(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	asked := s.dec.Mailbox()
	use, known := storage.SpecialUse(0), true
	if s.dec.TrySP() {
		s.dec.List(func() {
			if s.dec.Keyword() != "USE" {
				s.dec.Fail("unknown parameter")
			}
			s.dec.SP()
			s.dec.ListOrEmpty(func() {
				u, ok := useNamed(s.dec.Attr())
				use, known = use|u, known && ok
			})
		})
	}
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if !known {
		return "", errUseAttr
	}
	// A name that ends in "/" says that more will be created below it.
	name := strings.TrimSuffix(asked, "/")
	var mb *storage.Mailbox
	err := s.update(ctx, func(tx *storage.Tx) (err error) {
		mb, err = tx.CreateMailbox(s.who.Account, name, use)
		return err
	})
	if err != nil {
		return "", err
	}
	if s.rev2 && mb.Name != name {
		s.out.Raw("* LIST () \"/\" ").Mailbox(mb.Name).Raw(` ("OLDNAME" (`).Mailbox(name).Raw("))\r\n")
	}
	return "[MAILBOXID (" + mailboxID(mb.ID) + ")] CREATE completed", nil
}

// special pairs the special uses with their attributes (RFC 6154 section 2).
func special() [7]struct {
	use  storage.SpecialUse
	attr string
} {
	return [...]struct {
		use  storage.SpecialUse
		attr string
	}{
		{storage.UseAll, `\All`},
		{storage.UseArchive, `\Archive`},
		{storage.UseDrafts, `\Drafts`},
		{storage.UseFlagged, `\Flagged`},
		{storage.UseJunk, `\Junk`},
		{storage.UseSent, `\Sent`},
		{storage.UseTrash, `\Trash`},
	}
}

func useNamed(attr string) (storage.SpecialUse, bool) {
	for _, s := range special() {
		if strings.EqualFold(attr, s.attr) {
			return s.use, true
		}
	}
	return 0, false
}

// delete is DELETE (RFC 9051 section 6.3.5).
func (s *session) delete(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	var id storage.MailboxID
	err := s.update(ctx, func(tx *storage.Tx) error {
		mb, err := tx.MailboxByName(s.who.Account, name)
		if err != nil {
			return err
		}
		id = mb.ID
		return tx.DeleteMailbox(s.who.Account, id)
	})
	if err == nil && s.view != nil && s.view.Mailbox == id {
		s.leaveMailbox()
		s.out.Raw("* OK [CLOSED] The selected mailbox was deleted\r\n")
	}
	return "", err
}

// rename is RENAME (RFC 9051 section 6.3.6).
func (s *session) rename(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	from := s.dec.Mailbox()
	s.dec.SP()
	to := s.dec.Mailbox()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	to = strings.TrimSuffix(to, "/")
	err := s.update(ctx, func(tx *storage.Tx) error {
		return tx.RenameMailbox(s.who.Account, from, to)
	})
	if err == nil && from == "INBOX" && s.view != nil && s.view.inbox {
		s.leaveMailbox()
		s.out.Raw("* OK [CLOSED] The selected mailbox is another one now\r\n")
	}
	if err == nil && s.rev2 {
		s.out.Raw("* LIST () \"/\" ").Mailbox(to).Raw(` ("OLDNAME" (`).Mailbox(from).Raw("))\r\n")
	}
	return "", err
}

// subscribe is SUBSCRIBE (RFC 9051 section 6.3.7). The name need not exist.
func (s *session) subscribe(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	return "", s.update(ctx, func(tx *storage.Tx) error { return tx.Subscribe(s.who.Account, name) })
}

// unsubscribe is UNSUBSCRIBE (RFC 9051 section 6.3.8).
func (s *session) unsubscribe(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	name := s.dec.Mailbox()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	return "", s.update(ctx, func(tx *storage.Tx) error { return tx.Unsubscribe(s.who.Account, name) })
}

// status is STATUS (RFC 9051 section 6.3.11).
func (s *session) status(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	name := s.dec.Mailbox()
	s.dec.SP()
	items := s.statusItems()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if slices.Contains(items, "HIGHESTMODSEQ") {
		s.enableCondStore()
	}
	var mb *storage.Mailbox
	var recent uint64
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) (err error) {
		if mb, err = tx.MailboxByName(s.who.Account, name); err != nil {
			return err
		}
		recent, err = countRecent(tx, mb, items)
		return err
	})
	if err != nil {
		return "", err
	}
	s.writeStatus(mb, items, recent)
	return "", nil
}

// statusItems reads what STATUS is asked for.
func (s *session) statusItems() []string {
	var items []string
	s.dec.List(func() {
		item := s.dec.Keyword()
		switch item {
		case "MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "RECENT", "HIGHESTMODSEQ", "MAILBOXID", "APPENDLIMIT":
		default:
			s.dec.Fail("unknown status item")
		}
		if len(items) >= s.srv.Limits.Patterns {
			s.dec.Fail("too many status items")
		}
		items = append(items, item)
	})
	return items
}

// countRecent counts the messages no session has been told of, if it is asked for.
func countRecent(tx *storage.Tx, mb *storage.Mailbox, items []string) (n uint64, err error) {
	if !slices.Contains(items, "RECENT") || mb.FirstRecent >= mb.UIDNext {
		return 0, nil
	}
	set := storage.UIDSet{{Lo: mb.FirstRecent, Hi: mb.UIDNext - 1}}
	err = tx.Placements(mb.Account, mb.ID, set, func(*storage.Placement) bool {
		n++
		return true
	})
	return n, err
}

func (s *session) writeStatus(mb *storage.Mailbox, items []string, recent uint64) {
	s.out.Raw("* STATUS ").Mailbox(mb.Name).Raw(" (")
	for i, item := range items {
		if i > 0 {
			s.out.SP()
		}
		s.out.Raw(item).SP()
		switch item {
		case "MESSAGES":
			s.out.Num(uint64(mb.Exists))
		case "UIDNEXT":
			s.out.Num(uint64(mb.UIDNext))
		case "UIDVALIDITY":
			s.out.Num(uint64(mb.UIDValidity))
		case "UNSEEN":
			s.out.Num(uint64(mb.Unseen))
		case "DELETED":
			s.out.Num(uint64(mb.Deleted))
		case "SIZE":
			s.out.Num(uint64(mb.Size))
		case "RECENT":
			s.out.Num(recent)
		case "HIGHESTMODSEQ":
			s.out.Num(uint64(mb.HighestModSeq))
		case "MAILBOXID":
			s.out.Byte('(').Raw(mailboxID(mb.ID)).Byte(')')
		case "APPENDLIMIT":
			s.out.Num(uint64(s.srv.Limits.Message))
		}
	}
	s.out.Raw(")\r\n")
}
