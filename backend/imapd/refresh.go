package imapd

import (
	"context"
	"errors"

	"telesphore/storage"
)

// watch waits for news of the account's record and of the selected mailbox. It
// is called when either is another one; what happened before is found by the
// next refresh.
func (s *session) watch() {
	if s.unwatch != nil {
		s.unwatch()
	}
	topics := []storage.Topic{{Account: s.who.Account, Mailbox: storage.OfRecord}}
	if s.view != nil {
		topics = append(topics, s.view.Topic)
	}
	s.wake, s.unwatch = s.srv.Store.Watch(topics...)
	s.dirty = true
}

// refresh tells the client what has happened to its mailbox. It costs nothing
// when nothing has changed there. It fails when the session cannot go
// on: its account or its mailbox is gone, or the client.
func (s *session) refresh(ctx context.Context, mayExpunge bool) error {
	switch {
	case s.who == nil:
		return nil
	case s.isOver():
		return errLogInOver
	}
	select {
	case <-s.wake:
		s.dirty = true
	default:
	}
	if !s.dirty {
		return nil
	}
	s.dirty = false
	var n *news
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) (err error) {
		if err := s.stillWelcome(tx); err != nil {
			return err
		}
		if s.view != nil {
			n, err = s.view.gather(tx, mayExpunge)
		}
		return err
	})
	if err != nil || n == nil {
		return err
	}
	return s.tell(ctx, n)
}

// stillWelcome fails when the account is not what it was at log-in.
func (s *session) stillWelcome(tx *storage.Tx) error {
	a, err := tx.Account(s.who.Account)
	if errors.Is(err, storage.ErrNoAccount) {
		return errAccountChanged
	}
	if err != nil {
		return err
	}
	if a.State != storage.Active || a.Epoch != s.who.Epoch {
		return errAccountChanged
	}
	return nil
}

// tell writes the news and makes the view follow.
func (s *session) tell(ctx context.Context, n *news) error {
	v := s.view
	s.dirty = s.dirty || n.held // there is more to tell when it may be told
	s.writeExpunges(n.gone)
	v.apply(n, &s.srv.shared)
	if len(n.added) > 0 {
		if err := s.takeRecent(ctx, n.added); err != nil {
			return err
		}
		s.writeExists()
	}
	if n.keywords != nil {
		s.writeFlags()
	}
	for _, f := range n.flags {
		s.writeFlagNews(&f)
		if err := s.flushed(); err != nil {
			return err
		}
	}
	return s.flushed()
}

// writeExpunges tells which messages are gone. Each line counts without those
// of the lines before.
func (s *session) writeExpunges(gone []uint32) {
	for i, uid := range gone {
		s.out.Raw("* ").Num(uint64(s.view.seq(uid)) - uint64(i)).Raw(" EXPUNGE\r\n")
	}
}

// takeRecent finds out which of the new messages have \Recent here: a session
// that may change the mailbox takes the flag from the later ones.
func (s *session) takeRecent(ctx context.Context, added []uint32) error {
	if s.rev2 {
		return nil // IMAP4rev2 has no \Recent
	}
	first, err := s.firstOfRecent(ctx)
	if err != nil {
		if errors.Is(err, storage.ErrNoMailbox) {
			return errMailboxDeleted
		}
		return err
	}
	s.view.addRecent(max(first, added[0]), added[len(added)-1])
	return nil
}

// firstOfRecent is the first UID that has \Recent. EXAMINE leaves it to others.
func (s *session) firstOfRecent(ctx context.Context) (first uint32, err error) {
	if !s.view.readOnly {
		return s.srv.Store.TakeRecent(ctx, s.who.Account, s.view.Mailbox)
	}
	err = s.srv.Store.View(ctx, func(tx *storage.Tx) error {
		mb, err := tx.Mailbox(s.who.Account, s.view.Mailbox)
		if err == nil {
			first = mb.FirstRecent
		}
		return err
	})
	return first, err
}

func (s *session) writeExists() {
	s.out.Raw("* ").Num(uint64(len(s.view.snap.uids))).Raw(" EXISTS\r\n")
	if !s.rev2 {
		s.out.Raw("* ").Num(uint64(s.view.countRecent())).Raw(" RECENT\r\n")
	}
}

// writeFlags tells which flags there are and which can be set.
func (s *session) writeFlags() {
	system := []string{`\Answered`, `\Flagged`, `\Deleted`, `\Seen`, `\Draft`}
	all := append(system, s.view.keywords...)
	s.out.Raw("* FLAGS ").Flags(all).CRLF()
	switch {
	case s.view.readOnly:
		all = nil
	case len(s.view.keywords) < maxKeywords:
		all = append(all, `\*`)
	}
	s.out.Raw("* OK [PERMANENTFLAGS ").Flags(all).Raw("] Flags that can be kept\r\n")
}

// maxKeywords is how many a mailbox has room for (bits of Placement.Keywords).
const maxKeywords = 64

// known announces keywords that are new to the client.
func (s *session) known(keywords []string) {
	if len(keywords) > len(s.view.keywords) {
		s.view.keywords = append([]string(nil), keywords...)
		s.writeFlags()
	}
}

// writeFlagNews writes an unsolicited FETCH response. The UID helps clients
// that keep caches, and RFC 9051 section 7.5.2 asks for it.
func (s *session) writeFlagNews(f *flagNews) {
	seq := s.view.seq(f.uid)
	if seq == 0 {
		return
	}
	s.out.Raw("* ").Num(uint64(seq)).Raw(" FETCH (")
	if s.condstore || s.rev2 {
		s.out.Raw("UID ").Num(uint64(f.uid)).SP()
	}
	s.writeMessageFlags(f)
	if s.condstore {
		s.out.Raw(" MODSEQ (").Num(uint64(f.modseq)).Byte(')')
	}
	s.out.Raw(")\r\n")
}

func (s *session) writeMessageFlags(f *flagNews) {
	s.out.Raw("FLAGS ")
	fetchAppendFlags(&s.out, f.flags, f.keywords, s.view.keywords, !s.rev2 && s.view.isRecent(f.uid))
}

// selection is what FETCH and SEARCH get to see of the session.
func (s *session) selection() *selection {
	v := s.view
	sel := &selection{
		Store: s.srv.Store, Account: s.who.Account, Mailbox: v.Mailbox, ReadOnly: v.readOnly,
		UIDs: v.snap.uids, Saved: v.saved, Save: func(uids []uint32) { v.saved = uids }, Known: s.known, Told: s.told, MaxModSeq: v.cursor,
		CondStore: s.condstore, Rev2: s.rev2,
		Hold: s.reserve, Limits: &s.srv.Limits.Search, Log: s.log, Out: &s.out, Flush: s.flush,
	}
	if !s.rev2 {
		sel.Recent = v.isRecent
	}
	return sel
}

// told notes that FETCH has told a change. With CONDSTORE it could not tell
// its ModSeq, which lies behind the cursor: that is left to refresh.
func (s *session) told(p *storage.Placement) {
	s.dirty = true
	if !s.condstore {
		s.view.noteTold(p.UID, p.ModSeq)
	}
}

// enableCondStore notes that the client knows of ModSeqs. When a mailbox is
// selected already it learns from where on (RFC 7162 section 3.1).
func (s *session) enableCondStore() {
	if !s.condstore && s.view != nil {
		s.out.Raw("* OK [HIGHESTMODSEQ ").Num(uint64(s.view.cursor)).Raw("] Latest change told\r\n")
	}
	s.condstore = true
}
