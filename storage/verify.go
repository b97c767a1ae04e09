package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"telesphore/storage/body"
)

// Verify reads everything the store holds and reports what does not fit:
// counters that do not count, placements without an object, objects and bodies with another number
// of uses than they claim, bodies that cannot be read, credentials that cannot,
// cards that open an account whose card they are not, or the reverse, traces and
// counters of sent mail that cannot be read, aliases that cannot be read or have an account's address,
// messages of the queue that cannot be read or lack their deliveries, or the reverse. Nothing may change
// the store meanwhile. The error is that of reading itself.
func (s *Store) Verify(ctx context.Context, report func(problem string)) error {
	v := &verifier{s: s, report: report, bodies: map[body.ID]uint32{}}
	var accounts []*Account
	err := s.View(ctx, func(t *Tx) error {
		return t.Accounts(func(a *Account) bool { accounts = append(accounts, a); return true })
	})
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if a.State == Erasing {
			continue
		}
		if err := v.account(ctx, a); err != nil {
			return fmt.Errorf("verify account %d: %w", a.ID, err)
		}
	}
	if err := s.View(ctx, v.cards); err != nil {
		return err
	}
	if err := s.View(ctx, v.aliases); err != nil {
		return err
	}
	if err := v.queue(ctx); err != nil {
		return fmt.Errorf("verify the queue: %w", err)
	}
	return s.View(ctx, v.bodyRefs)
}

type verifier struct {
	s      *Store
	report func(string)
	bodies map[body.ID]uint32 // uses found
}

func (v *verifier) problem(format string, args ...any) { v.report(fmt.Sprintf(format, args...)) }

func (v *verifier) account(ctx context.Context, a *Account) error {
	var used Usage
	uses := map[ObjectID]uint32{}
	var objects []*Object
	err := v.s.View(ctx, func(t *Tx) error {
		boxes, err := t.Mailboxes(a.ID)
		if err != nil {
			return err
		}
		for _, m := range boxes {
			if err := v.mailbox(t, m, uses); err != nil {
				return err
			}
			used.Mailboxes++
			used.Messages += int64(m.Exists)
			used.Bytes += m.Size
		}
		v.credentials(t, a.ID)
		v.sent(t, a.ID)
		if err := waitingUses(t, a.ID, uses); err != nil {
			return err
		}
		objects, err = v.objects(t, a.ID, uses)
		return err
	})
	if err != nil {
		return err
	}
	if used != a.Usage {
		v.problem("account %d counts %+v, its mailboxes hold %+v", a.ID, a.Usage, used)
	}
	for _, o := range objects {
		v.read(ctx, a.ID, o)
	}
	return nil
}

func (v *verifier) mailbox(t *Tx, m *Mailbox, uses map[ObjectID]uint32) error {
	found := Mailbox{}
	err := t.Placements(m.Account, m.ID, AllUIDs, func(p *Placement) bool {
		found.added(p)
		uses[p.Object]++
		return true
	})
	if err != nil {
		return err
	}
	if found.Exists != m.Exists || found.Unseen != m.Unseen || found.Deleted != m.Deleted || found.Size != m.Size {
		v.problem("mailbox %s counts %d messages, %d unseen, %d deleted, %d octets; it holds %d, %d, %d, %d", m.ID,
			m.Exists, m.Unseen, m.Deleted, m.Size, found.Exists, found.Unseen, found.Deleted, found.Size)
	}
	if found.UIDNext > m.UIDNext || found.HighestModSeq > m.HighestModSeq {
		v.problem("mailbox %s: UIDNEXT %d or HIGHESTMODSEQ %d is behind its messages", m.ID, m.UIDNext, m.HighestModSeq)
	}
	return nil
}

// credentials reads what the account's log-ins are founded on.
func (v *verifier) credentials(t *Tx, a AccountID) {
	for what, read := range map[string]func() error{
		"cards":                 func() error { _, err := t.Cards(a); return err },
		"link window":           func() error { _, err := t.LinkWindow(a); return err },
		"second factor":         func() error { _, err := t.Factor(a); return err },
		"challenge":             func() error { _, err := t.Challenge(a); return err },
		"grants":                func() error { _, err := t.Grants(a); return err },
		"application passwords": func() error { _, err := t.AppPasswords(a); return err },
		"password verifier":     func() error { _, err := t.PasswordVerifier(a); return err },
		"networks":              func() error { _, err := t.KnownNetworks(a); return err },
	} {
		if err := read(); err != nil {
			v.problem("%s of account %d: %v", what, a, err)
		}
	}
}

// sent reads what became of the mail that the account has sent, and how much that was.
func (v *verifier) sent(t *Tx, a AccountID) {
	for what, read := range map[string]func() error{
		"traces": func() error { return t.Traces(a, 0, func(*Trace) bool { return true }) },
		"names of mail": func() error {
			return t.eachOf(a, tabTraceName, func(v []byte) error { _, err := parseTracesNamed(v); return err })
		},
		"days of mail": func() error { _, err := t.SentDays(a, math.MaxInt); return err },
		"recipients": func() error {
			return t.eachOf(a, tabWritten, func(v []byte) error { _, err := parseWrote(v); return err })
		},
	} {
		if err := read(); err != nil {
			v.problem("%s of account %d: %v", what, a, err)
		}
	}
}

// eachOf calls f for the account's records of a table until f fails.
func (t *Tx) eachOf(a AccountID, table byte, f func(v []byte) error) error {
	var failed error
	lo := keyAccount(table, a)
	err := t.Scan(lo, after(lo), func(_, v []byte) bool {
		failed = f(v)
		return failed == nil
	})
	return errors.Join(err, failed)
}

// cards compares the cards of accounts with the accounts of cards.
func (v *verifier) cards(t *Tx) error {
	links := map[string]AccountID{} // by the identity's key
	lo := []byte{tabCard}
	err := t.Scan(lo, after(lo), func(k, _ []byte) bool {
		links[string(keyIdentity([16]byte(k[13:]), binary.BigEndian.Uint64(k[5:])))] = AccountID(binary.BigEndian.Uint32(k[1:]))
		return true
	})
	if err != nil {
		return err
	}
	lo = []byte{tabIdentity}
	err = t.Scan(lo, after(lo), func(k, e []byte) bool {
		if a := links[string(k)]; len(e) != 4 || a == 0 || AccountID(le.Uint32(e)) != a {
			v.problem("link %d opens an account that has no such card", binary.BigEndian.Uint64(k[17:]))
		}
		delete(links, string(k))
		return true
	})
	for _, a := range links {
		v.problem("a card of account %d does not open it", a)
	}
	return err
}

// aliases reads every alias: no account has its address.
func (v *verifier) aliases(t *Tx) error {
	var addresses []string
	lo := []byte{tabAlias}
	err := t.Scan(lo, after(lo), func(k, value []byte) bool {
		if _, err := parseAlias(k, value); err != nil {
			v.problem("alias: %v", err)
		}
		addresses = append(addresses, string(k[1:]))
		return true
	})
	for _, x := range addresses {
		if err != nil {
			break
		}
		var account []byte
		if account, err = t.Get(keyAddress(x)); account != nil {
			v.problem("an alias and an account have the same address")
		}
	}
	return err
}

// waitingUses counts the uses that the keeper has yet to take away.
func waitingUses(t *Tx, a AccountID, uses map[ObjectID]uint32) error {
	var deleted []MailboxID
	lo := keyAccount(tabReap, a)
	err := t.Scan(lo, after(lo), func(_, e []byte) bool {
		switch {
		case len(e) > 2 && e[1] == reapObjects:
			for _, id := range decodeObjects(e[2:]) {
				uses[id]++
			}
		case len(e) == 10 && e[1] == reapMailbox:
			deleted = append(deleted, MailboxID(le.Uint64(e[2:])))
		}
		return true
	})
	for _, m := range deleted {
		if err == nil {
			err = t.Placements(a, m, AllUIDs, func(p *Placement) bool { uses[p.Object]++; return true })
		}
	}
	return err
}

func (v *verifier) objects(t *Tx, a AccountID, uses map[ObjectID]uint32) (objects []*Object, err error) {
	var failed error
	lo := keyAccount(tabObject, a)
	err = t.Scan(lo, after(lo), func(k, value []byte) bool {
		var o *Object
		if o, failed = parseObject(ObjectID(binary.BigEndian.Uint64(k[5:])), value); failed != nil {
			return false
		}
		if o.refs != uses[o.ID] {
			v.problem("object %d of account %d counts %d uses, has %d", o.ID, a, o.refs, uses[o.ID])
		}
		delete(uses, o.ID)
		v.bodies[o.body]++
		objects = append(objects, o)
		return true
	})
	for id := range uses {
		v.problem("object %d of account %d is filed but gone", id, a)
	}
	if err == nil {
		err = failed
	}
	return objects, err
}

func (v *verifier) read(ctx context.Context, a AccountID, o *Object) {
	b, err := v.s.Open(ctx, a, o.ID)
	if err != nil {
		v.problem("object %d of account %d: %v", o.ID, a, err)
		return
	}
	defer b.Close()
	if n, err := io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size())); err != nil || n != int64(o.Size) {
		v.problem("object %d of account %d: %d of %d octets: %v", o.ID, a, n, o.Size, err)
	}
}

func (v *verifier) bodyRefs(t *Tx) error {
	lo := []byte{tabBody}
	err := t.Scan(lo, after(lo), func(k, value []byte) bool {
		id := body.ID(binary.BigEndian.Uint64(k[1:]))
		f := openRecord("body", bodyVersion, value)
		f.take(20)
		if refs := f.u32(); f.err != nil || refs != v.bodies[id] {
			v.problem("body %d counts %d uses, has %d", id, refs, v.bodies[id])
		}
		delete(v.bodies, id)
		return true
	})
	for id := range v.bodies {
		v.problem("body %d is used but unknown", id)
	}
	return err
}
