package imapd

import (
	"bufio"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"telesphore/backend/imapd/wire"
	"telesphore/backend/message"
	"telesphore/storage"
	"telesphore/storage/storagetest"
)

// testInbox is an INBOX in a real store, with what a session would know of it.
type testInbox struct {
	selection
	t       testing.TB
	sent    strings.Builder // what was flushed
	flushes int
	limits  wire.Limits
	utf8    bool
}

func newTestInbox(t testing.TB) *testInbox {
	t.Helper()
	store, quiet := storagetest.New(t), slog.New(slog.DiscardHandler)
	a := &storage.Account{Addresses: []string{"a@hopital.test"}, Password: "x"}
	if err := store.NewAccount(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	f := &testInbox{t: t, limits: wire.DefaultLimits()}
	f.selection = selection{
		Store: store, Account: a.ID, Log: quiet, Out: &wire.Encoder{},
		Limits: &SearchLimits{Keys: 100, Depth: 10, Messages: 1000},
	}
	f.Flush = func() error {
		f.flushes++
		f.sent.Write(f.Out.B)
		f.Out.B = f.Out.B[:0]
		return nil
	}
	f.view(func(tx *storage.Tx) error {
		box, err := tx.MailboxByName(a.ID, "INBOX")
		if err == nil {
			f.Mailbox = box.ID
		}
		return err
	})
	return f
}

func (f *testInbox) view(g func(tx *storage.Tx) error) {
	f.t.Helper()
	if err := f.Store.View(f.t.Context(), g); err != nil {
		f.t.Fatal(err)
	}
}

func (f *testInbox) update(g func(tx *storage.Tx) error) {
	f.t.Helper()
	if err := f.Store.Update(f.t.Context(), g); err != nil {
		f.t.Fatal(err)
	}
}

// arrived is the INTERNALDATE of messages that file is not told another of.
func arrived() time.Time { return time.Date(2024, 2, 7, 21, 52, 25, 0, time.UTC) }

// file files a message and brings the view up to date.
func (f *testInbox) file(octets string, change ...func(*storage.Target)) storage.Placed {
	f.t.Helper()
	p := f.fileUnseen(octets, change...)
	f.refresh()
	return p
}

func (f *testInbox) fileUnseen(octets string, change ...func(*storage.Target)) storage.Placed {
	f.t.Helper()
	meta := message.Describe([]byte(octets))
	content, err := f.Store.Seal([]byte(octets), meta.Marshal(message.MetaLimit))
	if err != nil {
		f.t.Fatal(err)
	}
	target := storage.Target{Account: f.Account, InternalDate: arrived()}
	for _, c := range change {
		c(&target)
	}
	placed, err := f.Store.Accept(f.t.Context(), content, &storage.Acceptance{Targets: []storage.Target{target}})
	if err != nil {
		f.t.Fatal(err)
	}
	return placed[0]
}

func (f *testInbox) refresh() {
	f.view(func(tx *storage.Tx) (err error) {
		f.UIDs, err = tx.UIDs(f.Account, f.Mailbox, nil)
		return err
	})
}

// expunge removes a message without telling the client.
func (f *testInbox) expunge(uid uint32) {
	f.update(func(tx *storage.Tx) error {
		set := storage.UIDSet{{Lo: uid, Hi: uid}}
		if _, err := tx.StoreFlags(f.Account, f.Mailbox, set, storage.FlagChange{Op: storage.FlagsAdd, Flags: storage.Deleted}); err != nil {
			return err
		}
		_, _, err := tx.Expunge(f.Account, f.Mailbox, set)
		return err
	})
}

func flagged(flags storage.Flags, keywords ...string) func(*storage.Target) {
	return func(t *storage.Target) { t.Flags, t.Keywords = flags, keywords }
}

// errLiteralAsked: these tests send every literal unasked.
var errLiteralAsked = errors.New("literal asked for")

// do runs one command, without its tag, and returns what was answered.
func (f *testInbox) do(line string) (string, error) {
	f.t.Helper()
	f.sent.Reset()
	f.flushes = 0
	f.Out.B, f.Out.UTF8 = f.Out.B[:0], f.utf8
	d := wire.NewDecoder(bufio.NewReader(strings.NewReader("A1 "+line+"\r\n")), f.limits, func() error { return errLiteralAsked })
	d.UTF8 = f.utf8
	_, command, err := d.Begin()
	uid := command == "UID"
	if uid {
		d.SP()
		command = d.Keyword()
	}
	switch command {
	case "FETCH":
		c, e := fetchParse(d, uid)
		if err = e; err == nil {
			err = c.run(f.t.Context(), &f.selection)
		}
	case "SEARCH":
		c, e := searchParse(d, uid, f.Limits)
		if err = e; err == nil {
			err = c.run(f.t.Context(), &f.selection, "A1")
		}
	}
	return f.sent.String() + string(f.Out.B), err
}

// expect runs a command that must succeed.
func (f *testInbox) expect(line, want string) {
	f.t.Helper()
	got, err := f.do(line)
	if err != nil {
		f.t.Errorf("%s: %v", line, err)
	}
	if got != want {
		f.t.Errorf("%s\n got %q\nwant %q", line, got, want)
	}
}

// refused runs a command that must be BAD.
func (f *testInbox) refused(line string) {
	f.t.Helper()
	got, err := f.do(line)
	var syntax *wire.SyntaxError
	if !errors.As(err, &syntax) || got != "" {
		f.t.Errorf("%s: got %q, %v", line, got, err)
	}
}
