package imapd

import (
	"context"
	"slices"
	"strings"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// delimiter divides the levels of mailbox names.
const delimiter = '/'

// listRequest is what LIST asks for (RFC 9051 section 6.3.9).
type listRequest struct {
	patterns []string // the reference before each
	root     bool     // the pattern is empty: only the delimiter is asked for
	extended bool     // selection or return options, or several patterns

	subscribed, special, recursive bool // selection options

	wantSubscribed bool
	status         []string // items of RETURN (STATUS (...))
}

// list is LIST with LIST-EXTENDED, LIST-STATUS and SPECIAL-USE.
func (s *session) list(ctx context.Context, tag string) (string, error) {
	r := s.parseList()
	if err := s.dec.End(); err != nil {
		return "", err
	}
	if r.root {
		s.out.Raw("* LIST (\\Noselect) \"/\" \"\"\r\n")
		return "", nil
	}
	if r.status != nil && s.mayRead() != nil {
		r.status = nil // what cannot be told is left out (RFC 5819 section 2)
	}
	var tree *tree
	recent := make(map[storage.MailboxID]uint64)
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) (err error) {
		if tree, err = readTree(tx, s.who.Account); err != nil {
			return err
		}
		for _, f := range tree.folders {
			if f.mb == nil || r.status == nil || !r.matches(f) {
				continue
			}
			if recent[f.mb.ID], err = countRecent(tx, f.mb, r.status); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, f := range tree.folders {
		if !r.matches(f) {
			continue
		}
		s.writeList(r, f)
		if f.mb != nil && r.status != nil {
			s.writeStatus(f.mb, r.status, recent[f.mb.ID])
		}
		if err := s.flushed(); err != nil {
			return "", err
		}
	}
	return "", nil
}

// parseList reads the arguments of LIST.
func (s *session) parseList() *listRequest {
	r := &listRequest{}
	d := s.dec
	d.SP()
	if d.Peek() == '(' {
		r.extended = true
		s.parseSelection(r)
		d.SP()
	}
	reference := d.ListMailbox()
	d.SP()
	var last string
	pattern := func() {
		if len(r.patterns) >= s.srv.Limits.Patterns {
			d.Fail("too many patterns")
		}
		last = d.ListMailbox()
		r.patterns = append(r.patterns, foldInbox(reference+last))
	}
	if d.Peek() == '(' {
		r.extended = true
		d.List(pattern)
	} else {
		pattern()
		r.root = last == "" && !r.extended
	}
	if d.TrySP() {
		r.extended, r.root = true, false
		if d.Keyword() != "RETURN" {
			d.Fail("RETURN expected")
		}
		d.SP()
		d.ListOrEmpty(func() { s.parseReturn(r) })
	}
	return r
}

func (s *session) parseSelection(r *listRequest) {
	s.dec.ListOrEmpty(func() {
		switch s.dec.Keyword() {
		case "SUBSCRIBED":
			r.subscribed, r.wantSubscribed = true, true
		case "SPECIAL-USE":
			r.special = true
		case "RECURSIVEMATCH":
			r.recursive = true
		case "REMOTE": // there are none
		default:
			s.dec.Fail("unknown selection option")
		}
	})
	if r.recursive && !r.subscribed && !r.special {
		s.dec.Fail("RECURSIVEMATCH needs another selection option")
	}
}

// parseReturn reads one return option. CHILDREN and SPECIAL-USE are always
// returned.
func (s *session) parseReturn(r *listRequest) {
	switch s.dec.Keyword() {
	case "SUBSCRIBED":
		r.wantSubscribed = true
	case "CHILDREN", "SPECIAL-USE":
	case "STATUS":
		s.dec.SP()
		r.status = s.statusItems()
	default:
		s.dec.Fail("unknown return option")
	}
}

// foldInbox writes INBOX at the begin of a pattern in capitals.
func foldInbox(pattern string) string {
	const inbox = "INBOX"
	if len(pattern) >= len(inbox) && strings.EqualFold(pattern[:len(inbox)], inbox) {
		if rest := pattern[len(inbox):]; rest == "" || strings.ContainsRune("/*%", rune(rest[0])) {
			return inbox + rest
		}
	}
	return pattern
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		// "inb*" means INBOX as well.
		return wire.MatchList(p, name, delimiter) ||
			name == "INBOX" && wire.MatchList(strings.ToUpper(p), name, delimiter)
	})
}

func (r *listRequest) matches(f *folder) bool {
	switch {
	case !f.exists() && !r.subscribed:
		return false
	case r.subscribed && !f.subscribed && !(r.recursive && f.below.subscribed):
		return false
	case r.special && f.use() == 0 && !(r.recursive && f.below.special):
		return false
	}
	return matchAny(r.patterns, f.name)
}

// writeList writes one LIST answer.
func (s *session) writeList(r *listRequest, f *folder) {
	s.out.Raw("* LIST (")
	if f.below.exists {
		s.out.Raw(`\HasChildren`)
	} else {
		s.out.Raw(`\HasNoChildren`)
	}
	if f.mb == nil {
		// Clients of old know \Noselect only; the new ones infer it.
		if r.extended || s.rev2 {
			s.out.Raw(` \NonExistent`)
		} else {
			s.out.Raw(` \Noselect`)
		}
	}
	if f.subscribed && r.wantSubscribed {
		s.out.Raw(` \Subscribed`)
	}
	for _, sp := range special() {
		if f.use()&sp.use != 0 {
			s.out.SP().Raw(sp.attr)
		}
	}
	s.out.Raw(`) "/" `).Mailbox(f.name)
	if r.recursive {
		s.writeChildInfo(r, f)
	}
	s.out.CRLF()
}

// writeChildInfo says which selection options mailboxes further down satisfy
// (RFC 9051 section 6.3.9.6).
func (s *session) writeChildInfo(r *listRequest, f *folder) {
	var info []string
	if r.subscribed && f.below.subscribed {
		info = append(info, `"SUBSCRIBED"`)
	}
	if r.special && f.below.special {
		info = append(info, `"SPECIAL-USE"`)
	}
	if info != nil {
		s.out.Raw(` ("CHILDINFO" (`).Raw(strings.Join(info, " ")).Raw("))")
	}
}

// lsub is LSUB (RFC 3501 section 6.3.9).
func (s *session) lsub(ctx context.Context, tag string) (string, error) {
	s.dec.SP()
	reference := s.dec.ListMailbox()
	s.dec.SP()
	patterns := []string{foldInbox(reference + s.dec.ListMailbox())}
	if err := s.dec.End(); err != nil {
		return "", err
	}
	var tree *tree
	err := s.srv.Store.View(ctx, func(tx *storage.Tx) (err error) {
		tree, err = readTree(tx, s.who.Account)
		return err
	})
	if err != nil {
		return "", err
	}
	for _, f := range tree.folders {
		if !matchAny(patterns, f.name) {
			continue
		}
		switch {
		case f.subscribed && f.mb != nil:
			s.out.Raw(`* LSUB () "/" `).Mailbox(f.name).CRLF()
		case f.subscribed, f.hides(patterns):
			// A "%" hides subscribed mailboxes further down: the name above
			// them stands for them.
			s.out.Raw(`* LSUB (\Noselect) "/" `).Mailbox(f.name).CRLF()
		}
		if err := s.flushed(); err != nil {
			return "", err
		}
	}
	return "", nil
}
