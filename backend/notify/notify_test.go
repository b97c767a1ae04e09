package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-smtp"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/notify"
	"telesphore/backend/relay"
	"telesphore/storage/storagetest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRouter(t *testing.T) *backend.Router {
	s := storagetest.New(t)
	storagetest.Account(t, s, "", account)
	return &backend.Router{Store: s, Domains: []string{"hopital.test"}}
}

// sink is a server that hands its mail to a channel.
type sink chan string

func (s sink) NewSession(*smtp.Conn) (smtp.Session, error) { return s, nil }
func (s sink) Reset()                                      {}
func (s sink) Logout() error                               { return nil }
func (s sink) Mail(from string, _ *smtp.MailOptions) error { return nil }
func (s sink) Rcpt(to string, _ *smtp.RcptOptions) error   { return nil }
func (s sink) Data(r io.Reader) error {
	octets, err := io.ReadAll(r)
	s <- string(octets)
	return err
}

func TestNoticeGoesToMailboxAndContact(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(sink, 10)
	server := smtp.NewServer(got)
	go server.Serve(ln)
	t.Cleanup(func() { server.Close(); ln.Close() })
	out := &relay.Relay{
		Hostname: "mail.hopital.test", Logger: quiet(),
		Routes: []relay.Route{{Domain: "perso.test", Host: ln.Addr().String(), Security: relay.None}},
	}
	var log bytes.Buffer
	router := newRouter(t)
	n := &notify.Notifier{
		Router: router, Send: out.Send, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Reach: out.Reaches,
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()

	if err := n.Notice(ctx, newNotice(auth.LogInCode, "en")); err != nil {
		t.Fatal(err)
	}
	if _, body := read(t, <-got); !strings.Contains(body, code) {
		t.Errorf("no code in the mail:\n%s", body)
	}
	if err := n.Notice(ctx, newNotice(auth.CardLinked, "fr")); err != nil {
		t.Fatal(err)
	}
	if header, _ := read(t, <-got); header.Get("To") != contact {
		t.Errorf("To %q, want %q", header.Get("To"), contact)
	}
	elsewhere := newNotice(auth.LogInCode, "en")
	elsewhere.Contact = "medecin@ferme.test"
	if err := n.Notice(ctx, elsewhere); !errors.Is(err, notify.ErrNoRoute) {
		t.Errorf("code to a domain without route: %v, want ErrNoRoute", err)
	}
	cancel()
	<-done
	ids, err := router.Resolve(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	inbox := storagetest.Inbox(t, router.Store, ids[0])
	if len(inbox) != 1 || !strings.HasPrefix(inbox[0], "Return-Path: <>\r\n") {
		t.Fatalf("INBOX has %q, want the notice about the card and no code", inbox)
	}
	if header, body := read(t, inbox[0]); header.Get("To") != account || !strings.Contains(body, "Une carte ouvre désormais") {
		t.Errorf("notice to %q:\n%s", header.Get("To"), body)
	}
	if s := log.String(); strings.Contains(s, code) || strings.Contains(s, "perso") || !strings.Contains(s, account) {
		t.Errorf("log: %s", s)
	}
}

// refusal is an error that says whether to try again.
type refusal bool

func (r refusal) Error() string   { return fmt.Sprintf("refused, permanent: %t", bool(r)) }
func (r refusal) Permanent() bool { return bool(r) }

// attempts runs a notifier in a bubble over what becomes of each attempt at one code
// mail, nil at last, and returns when each was made.
func attempts(t *testing.T, life time.Duration, outcome func(try int) error) (at []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		n := &notify.Notifier{
			From: "postmaster@hopital.test", Logger: quiet(), Retries: 4, Backoff: time.Second,
			Send: func(context.Context, string, string, []byte) error {
				at = append(at, time.Since(begin))
				return outcome(len(at))
			},
		}
		n.Router = &backend.Router{}
		notice := newNotice(auth.LogInCode, "en")
		notice.Life = life
		if err := n.Notice(t.Context(), notice); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		n.Run(ctx)
	})
	return at
}

func TestRetries(t *testing.T) {
	temporary := func(int) error { return fmt.Errorf("send: %w", refusal(false)) }
	for name, c := range map[string]struct {
		life    time.Duration
		outcome func(try int) error
		want    string
	}{
		"sent at once":             {time.Minute, func(int) error { return nil }, "[0s]"},
		"sent at the third":        {time.Minute, func(try int) error { return map[bool]error{true: refusal(false)}[try < 3] }, "[0s 1s 3s]"},
		"never possible":           {time.Minute, temporary, "[0s 1s 3s 7s 15s]"},
		"not beyond the code":      {10 * time.Second, temporary, "[0s 1s 3s 7s]"},
		"not after a hard refusal": {time.Minute, func(int) error { return fmt.Errorf("send: %w", refusal(true)) }, "[0s]"},
	} {
		if got := fmt.Sprint(attempts(t, c.life, c.outcome)); got != c.want {
			t.Errorf("%s: attempts at %s, want %s", name, got, c.want)
		}
	}
}

func TestFullQueue(t *testing.T) {
	n := &notify.Notifier{
		Router: newRouter(t), Queue: 2, Logger: quiet(),
		Send: func(context.Context, string, string, []byte) error { return nil },
	}
	for i, c := range []struct {
		kind auth.Kind
		want error
	}{
		{auth.CardLinked, nil},
		{auth.CardLinked, nil},
		{auth.CardLinked, notify.ErrFull}, // outside; the mailbox has it
		{auth.LogInCode, nil},             // codes are counted apart
		{auth.LogInCode, nil},
		{auth.LogInCode, notify.ErrFull},
	} {
		if err := n.Notice(t.Context(), newNotice(c.kind, "en")); !errors.Is(err, c.want) {
			t.Errorf("notice %d: %v, want %v", i, err, c.want)
		}
	}
}

func TestCodesGoFirst(t *testing.T) {
	router := newRouter(t)
	var mu sync.Mutex
	var order []string
	both, all := make(chan struct{}), make(chan struct{})
	n := &notify.Notifier{
		Router: router, Workers: 2, Logger: quiet(),
		Send: func(_ context.Context, _, _ string, octets []byte) error {
			kind := "notice"
			if bytes.Contains(octets, []byte(code)) {
				kind = "code"
			}
			mu.Lock()
			order = append(order, kind)
			switch len(order) {
			case 2:
				close(both)
			case 22:
				close(all)
			}
			mu.Unlock()
			<-both // nobody goes on before each worker has taken its first mail
			return nil
		},
	}
	for range 20 {
		if err := n.Notice(t.Context(), newNotice(auth.NewNetwork, "en")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := n.Notice(t.Context(), newNotice(auth.LogInCode, "en")); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	<-all
	cancel()
	<-done
	// Both workers take a code before anything else.
	if fmt.Sprint(order[:2]) != "[code code]" {
		t.Errorf("sent in the order %v", order)
	}
}

func TestSlowNoticesLeaveAWorkerForCodes(t *testing.T) {
	n := &notify.Notifier{Router: newRouter(t), Workers: 3, Logger: quiet()}
	stuck, sent := make(chan struct{}, 10), make(chan struct{})
	n.Send = func(ctx context.Context, _, _ string, octets []byte) error {
		if bytes.Contains(octets, []byte(code)) {
			close(sent)
			return nil
		}
		stuck <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	for range 5 {
		if err := n.Notice(ctx, newNotice(auth.NewNetwork, "en")); err != nil {
			t.Fatal(err)
		}
	}
	<-stuck
	<-stuck
	if err := n.Notice(ctx, newNotice(auth.LogInCode, "en")); err != nil {
		t.Fatal(err)
	}
	<-sent
	cancel()
	<-done
}

// The owner hears of it outside when the mailbox takes nothing, and when whoever
// caused the notice has left.
func TestNoticeGoesOutWhateverBecomesOfTheMailbox(t *testing.T) {
	router := newRouter(t)
	sent := make(chan string, 2)
	n := &notify.Notifier{Router: router, Logger: quiet(), Send: func(_ context.Context, _, to string, _ []byte) error {
		sent <- to
		return nil
	}}
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
	ids, err := router.Resolve(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Inbox(t, router.Store, ids[0]); len(got) != 1 {
		t.Errorf("INBOX has %d messages, want 1", len(got))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	for range 2 {
		if to := <-sent; to != notice.Contact {
			t.Errorf("sent to %q", to)
		}
	}
	cancel()
	<-done
}

// A notice is in the mailbox when Notice returns, whether anything is sent or not.
func TestNoticeIsFiledAtOnce(t *testing.T) {
	router := newRouter(t)
	n := &notify.Notifier{Router: router, Logger: quiet()}
	notice := newNotice(auth.NewNetwork, "fr")
	notice.Contact = ""
	if err := n.Notice(t.Context(), notice); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n.Run(ctx)
	if err := n.Notice(t.Context(), notice); err != nil {
		t.Errorf("after the end: %v", err)
	}
	ids, err := router.Resolve(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Inbox(t, router.Store, ids[0]); len(got) != 2 {
		t.Errorf("INBOX has %d messages, want 2", len(got))
	}
	if err := n.Notice(t.Context(), newNotice(auth.LogInCode, "fr")); !errors.Is(err, notify.ErrNoRoute) {
		t.Errorf("a code that nobody can send: %v", err)
	}
	n.Send = func(context.Context, string, string, []byte) error { return nil }
	if err := n.Notice(t.Context(), newNotice(auth.LogInCode, "fr")); !errors.Is(err, notify.ErrStopped) {
		t.Errorf("a code after the end: %v", err)
	}
}

func TestNoticeOfOurMistakes(t *testing.T) {
	for name, change := range map[string]func(*auth.Notice){
		"unknown kind":     func(n *auth.Notice) { n.Kind = 99 },
		"no code":          func(n *auth.Notice) { n.Code = "" },
		"code with a line": func(n *auth.Notice) { n.Code = "123456\r\n" },
	} {
		n := &notify.Notifier{
			Router: &backend.Router{Domains: []string{"hopital.test"}},
			Send:   func(context.Context, string, string, []byte) error { return nil },
		}
		notice := newNotice(auth.LogInCode, "en")
		change(notice)
		if err := n.Notice(t.Context(), notice); !errors.Is(err, notify.ErrNotice) {
			t.Errorf("%s: %v, want ErrNotice", name, err)
		}
	}
}
