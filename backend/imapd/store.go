package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"telesphore/storage"
)

// storeRequest is one STORE (RFC 9051 section 6.4.6, RFC 7162 section 3.1.3).
type storeRequest struct {
	uid    bool
	set    storage.UIDSet
	change storage.FlagChange
	silent bool
}

// storeOutcome is what the store says of a STORE.
type storeOutcome struct {
	modified []uint32       // left alone, for the condition did not hold
	at       storage.ModSeq // of the change, if there was one
	missing  bool           // some messages are gone
}

func store(uid bool) func(*session, context.Context, string) (string, error) {
	return func(s *session, ctx context.Context, tag string) (string, error) { return s.storeFlags(ctx, uid) }
}

func (s *session) storeFlags(ctx context.Context, uid bool) (string, error) {
	r, err := s.parseStore(uid)
	if err != nil {
		return "", err
	}
	if s.view.readOnly {
		return "", errReadOnly
	}
	if err := s.beforeMessages(ctx, r.change.Conditional); err != nil {
		return "", err
	}
	var done storeOutcome
	err = s.update(ctx, func(tx *storage.Tx) (err error) {
		done, err = s.changeFlags(tx, r)
		return err
	})
	if errors.Is(err, storage.ErrNoMailbox) {
		err = errMailboxDeleted
	}
	if err != nil {
		return "", err
	}
	if err := s.tellStored(ctx, r, &done); err != nil {
		return "", err
	}
	switch name := commandName("STORE", uid); {
	case len(done.modified) > 0:
		return fmt.Sprintf("[MODIFIED %s] Some messages were changed meanwhile", s.view.numbers(done.modified, uid)), nil
	case done.missing && !uid:
		return "[EXPUNGEISSUED] Some messages are gone", nil
	default:
		return name + " completed", nil
	}
}

func commandName(name string, uid bool) string {
	if uid {
		return "UID " + name
	}
	return name
}

// parseStore reads the arguments of STORE.
func (s *session) parseStore(uid bool) (*storeRequest, error) {
	r := &storeRequest{uid: uid}
	d := s.dec
	d.SP()
	set, saved := d.SetOrSaved()
	d.SP()
	if d.Peek() == '(' {
		d.List(func() {
			if d.Keyword() != "UNCHANGEDSINCE" || r.change.Conditional {
				d.Fail("UNCHANGEDSINCE expected")
			}
			d.SP()
			r.change.Conditional, r.change.UnchangedSince = true, storage.ModSeq(d.ModSeqZero())
		})
		d.SP()
	}
	r.parseItem(d.Keyword(), d.Fail)
	d.SP()
	var flags []string
	if d.Peek() == '(' {
		flags = d.FlagList()
	} else {
		for more := true; more && d.Err() == nil; more = d.TrySP() {
			flags = append(flags, d.Flag())
		}
	}
	r.change.Flags, r.change.Keywords = s.flags(flags)
	if err := d.End(); err != nil {
		return nil, err
	}
	var err error
	r.set, err = s.view.resolve(set, saved, uid)
	return r, err
}

// parseItem understands "+FLAGS.SILENT" and its kin.
func (r *storeRequest) parseItem(item string, fail func(string)) {
	switch {
	case strings.HasPrefix(item, "+"):
		r.change.Op = storage.FlagsAdd
		item = item[1:]
	case strings.HasPrefix(item, "-"):
		r.change.Op = storage.FlagsRemove
		item = item[1:]
	}
	item, r.silent = strings.CutSuffix(item, ".SILENT")
	if item != "FLAGS" {
		fail("FLAGS expected")
	}
}

// changeFlags does the change inside an Update.
func (s *session) changeFlags(tx *storage.Tx, r *storeRequest) (storeOutcome, error) {
	var done storeOutcome
	v := s.view
	before, err := tx.Mailbox(v.Account, v.Mailbox)
	if err != nil {
		return done, err
	}
	was := before.HighestModSeq
	if done.modified, err = tx.StoreFlags(v.Account, v.Mailbox, r.set, r.change); err != nil {
		return done, err
	}
	after, err := tx.Mailbox(v.Account, v.Mailbox)
	if err == nil && after.HighestModSeq > was {
		done.at = after.HighestModSeq
	}
	return done, err
}

// tellStored answers with the flags that the messages now have: all of them,
// for the client asked, also those that had the flags already. With .SILENT it
// is told the ModSeq only, when it knows of them.
func (s *session) tellStored(ctx context.Context, r *storeRequest, done *storeOutcome) error {
	v := s.view
	var news []flagNews
	var keywords []string
	asked := 0
	for _, uids := range r.set {
		asked += int(uids.Hi - uids.Lo + 1)
	}
	found := 0
	var ceiling storage.ModSeq
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) error {
		mb, err := tx.Mailbox(v.Account, v.Mailbox)
		if errors.Is(err, storage.ErrNoMailbox) {
			return errMailboxDeleted
		}
		if err != nil {
			return err
		}
		if ceiling, err = v.ceiling(tx); err != nil {
			return err
		}
		keywords = append(keywords, mb.Keywords...)
		return tx.Placements(v.Account, v.Mailbox, r.set, func(p *storage.Placement) bool {
			found++
			if v.seq(p.UID) == 0 || r.silent && p.ModSeq != done.at {
				return true // the client's own change is all that .SILENT covers
			}
			news = append(news, flagNews{p.UID, p.ModSeq, p.Flags, p.Keywords})
			return true
		})
	})
	if err != nil {
		return err
	}
	done.missing = found < asked
	s.known(keywords)
	for i := range news {
		f := &news[i]
		if f.modseq <= ceiling {
			v.noteTold(f.uid, f.modseq)
		}
		f.modseq = min(f.modseq, ceiling)
		if !r.silent || s.condstore {
			s.writeStored(f, r)
		}
		if err := s.flushed(); err != nil {
			return err
		}
	}
	return nil
}

// writeStored writes the FETCH answer to a STORE.
func (s *session) writeStored(f *flagNews, r *storeRequest) {
	s.out.Raw("* ").Num(uint64(s.view.seq(f.uid))).Raw(" FETCH (")
	space := ""
	if r.uid || s.condstore {
		s.out.Raw("UID ").Num(uint64(f.uid))
		space = " "
	}
	if !r.silent {
		s.out.Raw(space)
		s.writeMessageFlags(f)
		space = " "
	}
	if s.condstore {
		s.out.Raw(space).Raw("MODSEQ (").Num(uint64(f.modseq)).Byte(')')
	}
	s.out.Raw(")\r\n")
}
