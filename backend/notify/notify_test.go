package notify_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/notify"
	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRouter(t *testing.T) *backend.Router {
	s := storagetest.New(t)
	storagetest.Account(t, s, "", account)
	return &backend.Router{Store: s, Domains: []string{"hopital.test"}, Outside: []string{"perso.test"}}
}

// queued are the messages of the store's queue.
func queued(t *testing.T, s *storage.Store) (all []*storage.Queued) {
	t.Helper()
	err := s.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Queue(0, func(q *storage.Queued) bool { all = append(all, q); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// octets reads a message of the queue.
func octets(t *testing.T, s *storage.Store, id storage.QueueID) string {
	t.Helper()
	b, err := s.OpenQueued(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	octets := make([]byte, b.Size())
	if _, err := b.ReadAt(octets, 0); err != nil {
		t.Fatal(err)
	}
	return string(octets)
}

// inbox are the messages in the account's mailbox.
func inbox(t *testing.T, r *backend.Router) []string {
	t.Helper()
	ids, err := r.Resolve(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	return storagetest.Inbox(t, r.Store, ids[0])
}

func TestNoticeGoesToMailboxAndContact(t *testing.T) {
	var log bytes.Buffer
	router := newRouter(t)
	n := &notify.Notifier{Router: router, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := n.Notice(t.Context(), newNotice(auth.LogInCode, "en")); err != nil {
		t.Fatal(err)
	}
	if err := n.Notice(t.Context(), newNotice(auth.CardLinked, "fr")); err != nil {
		t.Fatal(err)
	}
	out := queued(t, router.Store)
	if len(out) != 2 {
		t.Fatalf("%d messages in the queue, want the code and the notice", len(out))
	}
	if _, body := read(t, octets(t, router.Store, out[0].ID)); !strings.Contains(body, code) {
		t.Errorf("no code in the mail:\n%s", body)
	}
	if header, _ := read(t, octets(t, router.Store, out[1].ID)); header.Get("To") != contact {
		t.Errorf("To %q, want %q", header.Get("To"), contact)
	}
	in := inbox(t, router)
	if len(in) != 1 || !strings.HasPrefix(in[0], "Return-Path: <>\r\n") {
		t.Fatalf("INBOX has %q, want the notice about the card and no code", in)
	}
	if header, body := read(t, in[0]); header.Get("To") != account || !strings.Contains(body, "Une carte ouvre désormais") {
		t.Errorf("notice to %q:\n%s", header.Get("To"), body)
	}
	if s := log.String(); strings.Contains(s, code) || strings.Contains(s, "perso") || !strings.Contains(s, account) {
		t.Errorf("log: %s", s)
	}
}

// A code waits no longer than it lives, other notices as long as any mail; nobody is told what
// becomes of them.
func TestLifeInTheQueue(t *testing.T) {
	router := newRouter(t)
	n := &notify.Notifier{Router: router, Logger: quiet()}
	for _, kind := range []auth.Kind{auth.LogInCode, auth.ContactCode, auth.NewNetwork} {
		if err := n.Notice(t.Context(), newNotice(kind, "fr")); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []time.Duration{10 * time.Minute, 10 * time.Minute, 5 * 24 * time.Hour} {
		q := queued(t, router.Store)[i]
		if life := q.Expires.Sub(q.Arrived); life != want {
			t.Errorf("mail %d lives %s, want %s", i, life, want)
		}
		if q.Priority != storage.Urgent || q.From != "" || q.Account != 0 || q.Deliveries[0].Notify != storage.NotifyNever {
			t.Errorf("mail %d: %+v", i, q)
		}
	}
}

// Codes lie sealed on the disk.
func TestCodesAreSealed(t *testing.T) {
	dir := t.TempDir()
	d := storagetest.Open(t, dir, storage.Config{}, body.Options{}, false)
	storagetest.Account(t, d.Store, "", account)
	n := &notify.Notifier{
		Router: &backend.Router{Store: d.Store, Domains: []string{"hopital.test"}, Outside: []string{"perso.test"}}, Logger: quiet(),
	}
	if err := n.Notice(t.Context(), newNotice(auth.LogInCode, "en")); err != nil {
		t.Fatal(err)
	}
	d.Close(t)
	seen := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		octets, err := os.ReadFile(path)
		seen += len(octets)
		if bytes.Contains(octets, []byte(code)) || bytes.Contains(octets, []byte("perso.test")) {
			t.Errorf("%s tells the code, or whom it is for", path)
		}
		return err
	})
	if err != nil || seen == 0 {
		t.Fatalf("%d octets, %v", seen, err)
	}
}

// The owner hears of it outside when the mailbox takes nothing, and when whoever
// caused the notice has left.
func TestNoticeGoesOutWhateverBecomesOfTheMailbox(t *testing.T) {
	router := newRouter(t)
	n := &notify.Notifier{Router: router, Logger: quiet()}
	notice := newNotice(auth.CardLinked, "en")
	notice.Address = "nobody@hopital.test"
	if err := n.Notice(t.Context(), notice); !errors.Is(err, backend.ErrNoSuchUser) {
		t.Errorf("without a mailbox: %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := n.Notice(gone, newNotice(auth.CardLinked, "en")); err != nil {
		t.Errorf("whoever caused it has left: %v", err)
	}
	if got := inbox(t, router); len(got) != 1 {
		t.Errorf("INBOX has %d messages, want 1", len(got))
	}
	if out := queued(t, router.Store); len(out) != 2 {
		t.Errorf("%d messages in the queue, want 2", len(out))
	}
}

// Without a way to the contact address the mailbox has the notice all the same, and a code is
// refused.
func TestNoRoute(t *testing.T) {
	router := newRouter(t)
	for name, c := range map[string]struct {
		contact string
		reach   func(string) bool
	}{
		"a domain that mail may not go to": {"medecin@ferme.test", nil},
		"no server":                        {contact, func(string) bool { return false }},
		"not ASCII":                        {"médecin@perso.test", nil},
	} {
		n := &notify.Notifier{Router: router, Reach: c.reach, Logger: quiet()}
		for _, kind := range []auth.Kind{auth.LogInCode, auth.NewNetwork} {
			notice := newNotice(kind, "en")
			notice.Contact = c.contact
			if err := n.Notice(t.Context(), notice); !errors.Is(err, notify.ErrNoRoute) {
				t.Errorf("%s, kind %d: %v", name, kind, err)
			}
		}
	}
	if in, out := inbox(t, router), queued(t, router.Store); len(in) != 3 || len(out) != 0 {
		t.Errorf("INBOX has %d messages, the queue %d; want 3 and 0", len(in), len(out))
	}
}

func TestNoticeOfOurMistakes(t *testing.T) {
	router := newRouter(t)
	for name, change := range map[string]func(*auth.Notice){
		"unknown kind":     func(n *auth.Notice) { n.Kind, n.Contact = 99, "" },
		"no code":          func(n *auth.Notice) { n.Code = "" },
		"code with a line": func(n *auth.Notice) { n.Code = "123456\r\n" },
	} {
		n := &notify.Notifier{Router: router, Logger: quiet()}
		notice := newNotice(auth.LogInCode, "en")
		change(notice)
		if err := n.Notice(t.Context(), notice); !errors.Is(err, notify.ErrNotice) {
			t.Errorf("%s: %v, want ErrNotice", name, err)
		}
	}
}
