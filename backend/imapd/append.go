package imapd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"telesphore/backend/message"
	"telesphore/storage"
)

// append is APPEND (RFC 9051 section 6.3.12) with UIDPLUS, literal8 (RFC 3516)
// and UTF8 (RFC 6855 section 4).
func (s *session) append(ctx context.Context, tag string) (string, error) {
	target := storage.Target{Account: s.who.Account, InternalDate: time.Now()}
	s.appendArguments(&target)
	if err := s.dec.Err(); err != nil {
		return "", err
	}
	octets, free, err := s.appendMessage(ctx, target.Name)
	if err != nil {
		return "", err
	}
	defer free()
	var placed []storage.Placed
	err = s.watched(ctx, func(ctx context.Context) (err error) {
		placed, err = s.file(ctx, octets, &target)
		return err
	})
	if errors.Is(err, storage.ErrNoMailbox) {
		return "", fmt.Errorf("%w: %w", errTryCreate, err)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("[APPENDUID %d %d] APPEND completed", placed[0].UIDValidity, placed[0].UID), nil
}

// appendArguments reads what stands before the message.
func (s *session) appendArguments(t *storage.Target) {
	s.dec.SP()
	t.Name = s.dec.Mailbox()
	s.dec.SP()
	if s.dec.Peek() == '(' {
		t.Flags, t.Keywords = s.flags(s.dec.FlagList())
		s.dec.SP()
	}
	if s.dec.Peek() == '"' {
		t.InternalDate = s.dec.DateTime()
		s.dec.SP()
	}
}

// flags divides flags into system flags and keywords.
func (s *session) flags(names []string) (flags storage.Flags, keywords []string) {
	for _, name := range names {
		switch name {
		case `\Seen`:
			flags |= storage.Seen
		case `\Answered`:
			flags |= storage.Answered
		case `\Flagged`:
			flags |= storage.Flagged
		case `\Deleted`:
			flags |= storage.Deleted
		case `\Draft`:
			flags |= storage.Draft
		default:
			if len(name) > s.srv.Limits.Keyword || len(keywords) >= s.srv.Limits.Keywords {
				s.dec.FailErr(errKeyword)
			}
			keywords = append(keywords, name)
		}
	}
	return flags, keywords
}

// destination finds the mailbox that messages shall go to.
func (s *session) destination(ctx context.Context, name string, id *storage.MailboxID) error {
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) error {
		mb, err := tx.MailboxByName(s.who.Account, name)
		if err == nil {
			*id = mb.ID
		}
		return err
	})
	if errors.Is(err, storage.ErrNoMailbox) {
		return fmt.Errorf("%w: %w", errTryCreate, err)
	}
	return err
}

// appendMessage reads the message into memory that the whole server has a
// bounded amount of, and the end of the command. The memory is used until free
// is called. A client that waits to be asked for the message is not asked when
// there is no mailbox of that name.
func (s *session) appendMessage(ctx context.Context, name string) (octets []byte, free func(), err error) {
	wrapped := false
	if c := s.dec.Peek(); c == 'U' || c == 'u' { // UTF8 (~{...})
		if wrapped = true; s.dec.Keyword() != "UTF8" || !s.utf8 {
			s.dec.Fail("literal expected")
		}
		s.dec.SP()
		s.dec.Special('(')
	}
	if !s.dec.Unasked() {
		if err := s.destination(ctx, name, new(storage.MailboxID)); err != nil {
			return nil, nil, err
		}
	}
	size, r, binary := s.dec.Literal(s.srv.Limits.Message)
	if err := s.dec.Err(); err != nil {
		return nil, nil, err
	}
	if free, err = s.reserve(ctx, size); err != nil {
		return nil, nil, err
	}
	octets = make([]byte, size)
	if _, err = io.ReadFull(r, octets); err == nil {
		if wrapped {
			s.dec.Special(')')
		}
		if wrapped && !binary {
			s.dec.Fail("literal8 expected")
		}
		err = s.dec.End()
	}
	switch {
	case err != nil:
	case binary:
		octets, err = textual(octets)
	case bytes.IndexByte(octets, 0) >= 0:
		err = errLiteralNUL
	}
	if err != nil {
		free()
		return nil, nil, err
	}
	return octets, free, nil
}

// reserve takes from the memory that messages held whole may use together, and
// from the account's part of it, until free is called.
func (s *session) reserve(ctx context.Context, size int64) (free func(), err error) {
	soon, cancel := context.WithTimeout(ctx, s.srv.Limits.Stall)
	defer cancel()
	size = min(size, s.srv.Limits.accountMemory()) // there is no more to wait for
	own := s.share.memory
	err = own.Acquire(soon, size)
	if err == nil {
		if err = s.srv.appends.Acquire(soon, size); err != nil {
			own.Release(size)
		}
	}
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, ctx.Err() // the client left
	case err != nil:
		return nil, errBusy
	}
	return func() {
		s.srv.appends.Release(size)
		own.Release(size)
	}, nil
}

// file describes, seals and files a message.
func (s *session) file(ctx context.Context, octets []byte, target *storage.Target) ([]storage.Placed, error) {
	meta := message.Describe(octets)
	target.MessageID = meta.MessageID
	target.References = meta.References
	target.BaseSubject = meta.BaseSubject
	content, err := s.srv.Store.Seal(octets, meta.Marshal(message.MetaLimit))
	if err != nil {
		return nil, fmt.Errorf("seal message: %w", err)
	}
	placed, err := s.srv.Store.Accept(ctx, content, &storage.Acceptance{Targets: []storage.Target{*target}})
	if err != nil {
		return nil, fmt.Errorf("file message: %w", err)
	}
	return placed, nil
}
