package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	netmail "net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"telesphore/backend/report"
	"telesphore/storage"
)

// This file looks what the kill test has left in the stores.

// found is what stands in the mailboxes, each copy by itself.
type found struct {
	messages map[string][]copied // by Message-ID and recipient
	notices  map[string][]copied // of success, by the Message-ID and the recipient that they are about
}

// copied is one copy of a message in a mailbox.
type copied struct {
	id   string    // Message-ID
	name string    // that the server of its sender gave it, "" for a notice: there it is not told
	here string    // that the server of its recipient gave it, "" when it was filed at home
	at   time.Time // when that one took it: in whole seconds, unless its log tells better
	told bool      // its log does; it says so before it replies
}

// aim names a recipient of a message.
func aim(id, recipient string) string { return id + " for " + recipient }

// opened is a victim's store, opened as a restart does.
type opened struct {
	*victim
	*server
}

// problems tells what is not as it must be in the end.
func (k *killing) problems() (all []string) {
	k.t.Helper()
	ctx := k.t.Context()
	problem := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	f := &found{messages: map[string][]copied{}, notices: map[string][]copied{}}
	for _, v := range k.victims {
		o := &opened{v, &server{config: v.config, logger: slog.New(slog.DiscardHandler)}}
		if err := o.openStore(ctx); err != nil {
			problem("open the store of %s: %v", v.domain, err)
			continue
		}
		if err := o.store.Verify(ctx, func(text string) { problem("%s: verify: %s", v.domain, text) }); err != nil {
			problem("%s: verify: %v", v.domain, err)
		}
		trail, err := storage.VerifyAudit(v.file(auditDir), storage.AuditCheck{})
		if err != nil || trail.Break != nil {
			problem("%s: audit trail: %v %+v", v.domain, err, trail)
		}
		if err := o.collect(ctx, f, problem); err != nil {
			problem("%s: read: %v", v.domain, err)
		}
		if err := o.traces(ctx, k.handed, problem); err != nil {
			problem("%s: traces: %v", v.domain, err)
		}
		if err := o.server.close(); err != nil {
			problem("close the store of %s: %v", v.domain, err)
		}
	}
	for _, h := range k.handed {
		if !h.acknowledged {
			// In doubt all have it or nobody has.
			if !slices.ContainsFunc(h.to, func(to string) bool { return len(f.messages[aim(h.id, to)]) > 0 }) {
				continue
			}
			k.doubtful++
		}
		for _, to := range h.to {
			k.arrived(f, h, to, problem)
		}
	}
	k.explain(f, problem)
	slices.Sort(all)
	return all
}

// arrived looks whether a recipient has a message, and its sender as many notices as there
// are copies.
func (k *killing) arrived(f *found, h *handout, to string, problem func(string, ...any)) {
	key := aim(h.id, to)
	copies := len(f.messages[key])
	if copies == 0 {
		problem("lost: %s", key)
	}
	notices := map[string]bool{}
	for _, n := range f.notices[key] {
		notices[n.id] = true
	}
	switch {
	case !h.notice && len(notices) > 0:
		problem("a notice that nobody asked for: %s", key)
	case h.notice && len(notices) != copies:
		problem("%d notices of success instead of %d: %s", len(notices), copies, key)
	}
}

// collect reads all mail.
func (o *opened) collect(ctx context.Context, f *found, problem func(string, ...any)) error {
	type place struct {
		account storage.AccountID
		address string
		object  storage.ObjectID
	}
	var all []place
	err := o.store.View(ctx, func(tx *storage.Tx) error {
		var accounts []*storage.Account
		if err := tx.Accounts(func(a *storage.Account) bool { accounts = append(accounts, a); return true }); err != nil {
			return err
		}
		for _, a := range accounts {
			inbox, err := tx.MailboxByName(a.ID, "INBOX")
			if err == nil {
				err = tx.Placements(a.ID, inbox.ID, storage.AllUIDs, func(p *storage.Placement) bool {
					all = append(all, place{a.ID, a.Addresses[0], p.Object})
					return true
				})
			}
			if err != nil {
				return err
			}
		}
		return tx.QueueIDs(0, func(id storage.QueueID) bool { problem("%s: left in the queue: %s", o.domain, id); return true })
	})
	for _, p := range all {
		octets, read := o.read(ctx, p.account, p.object)
		if read != nil {
			continue // Verify tells
		}
		f.note(p.address, octets, problem)
	}
	return err
}

func (o *opened) read(ctx context.Context, a storage.AccountID, id storage.ObjectID) ([]byte, error) {
	b, err := o.store.Open(ctx, a, id)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
}

// received is the Received field of a server of the demo.
var received = regexp.MustCompile(`(?s) by mail\.\w+\.localhost with \w+ id (\w+).*; (.*)$`)

// note takes a message down that stands in somebody's mailbox.
func (f *found) note(address string, octets []byte, problem func(string, ...any)) {
	m, err := netmail.ReadMessage(strings.NewReader(string(octets)))
	if err != nil {
		problem("a message for %s cannot be parsed: %v", address, err)
		return
	}
	c := copied{id: m.Header.Get("Message-ID")}
	steps := m.Header["Received"] // the last one first
	told, isNotice := report.Parse(octets)
	if hops := len(steps); hops == 2 || isNotice && hops == 1 {
		if at := received.FindStringSubmatch(steps[0]); at != nil {
			c.here = at[1]
			c.at, _ = netmail.ParseDate(strings.TrimSpace(at[2]))
		}
	}
	if !isNotice && len(steps) > 0 {
		if by := received.FindStringSubmatch(steps[len(steps)-1]); by != nil {
			c.name = by[1]
		}
	}
	switch {
	case !isNotice && strings.HasPrefix(c.id, "<kill-"):
		f.messages[aim(c.id, address)] = append(f.messages[aim(c.id, address)], c)
	case isNotice:
		for _, r := range told.Recipients {
			if r.Stage != storage.InMailbox {
				problem("a notice of something else than success: %+v", r)
			}
			key := aim(told.MessageID, r.Address)
			f.notices[key] = append(f.notices[key], c)
		}
	}
}

// traces looks whether what a sender can learn of his messages has come to an end.
func (o *opened) traces(ctx context.Context, all map[string]*handout, problem func(string, ...any)) error {
	return o.store.View(ctx, func(tx *storage.Tx) error {
		a, err := tx.AccountByAddress(o.person())
		if err != nil {
			return err
		}
		for id, h := range all {
			if h.from != o.person() {
				continue
			}
			tr, err := tx.TraceByMessageID(a.ID, id)
			if errors.Is(err, storage.ErrNoTrace) {
				if h.acknowledged {
					problem("no trace of %s", id)
				}
				continue
			}
			if err != nil {
				return err
			}
			for i := range tr.Recipients {
				r := &tr.Recipients[i]
				want := storage.HandedOver // all that is known without a notice
				if h.notice || strings.HasSuffix(r.Address, "@"+o.domain) {
					want = storage.InMailbox
				}
				if r.Stage() != want {
					problem("the trace of %s ends in %d, want %d", aim(id, r.Address), r.Stage(), want)
				}
			}
		}
		return nil
	})
}
