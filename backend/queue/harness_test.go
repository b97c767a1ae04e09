package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/backend"
	"telesphore/backend/queue"
	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
)

const (
	medecin = "medecin@hopital.test"
	letter  = "From: medecin@hopital.test\r\nTo: undisclosed-recipients:;\r\nSubject: lettre\r\nMessage-ID: <1@hopital.test>\r\n\r\nLe corps de la lettre.\r\n"
)

// attempt is what a peer saw of a transfer.
type attempt struct {
	at time.Duration // since the beginning of the test
	*backend.Transfer
}

// world is a queue over a real store, with peers that do what the test says. It lives in a bubble: its clock
// stands still while anybody works.
type world struct {
	*testing.T
	dir    string
	store  storage.Limits
	disk   *storagetest.Disk
	router *backend.Router
	runner *queue.Runner
	begin  time.Time
	sender storage.AccountID
	cancel context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex
	peers    map[string]func(context.Context, *backend.Transfer) []backend.Outcome // guarded by mu
	attempts []attempt                                                             // guarded by mu
	log      bytes.Buffer                                                          // guarded by mu
}

// Write adds to the log.
func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// bubble runs a test of a queue that nobody has begun to work off.
func bubble(t *testing.T, limits queue.Limits, test func(*testing.T, *world)) {
	t.Helper()
	compress(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, dir: t.TempDir(), begin: time.Now(), peers: map[string]func(context.Context, *backend.Transfer) []backend.Outcome{}}
		w.open(limits)
		w.sender = storagetest.Account(t, w.disk.Store, "", medecin)
		defer func() { w.stop(); w.disk.Close(t) }()
		test(t, w)
		w.stop()
		if s := w.logged(); strings.Contains(s, "queue.trouble") || strings.Contains(s, "queue.unreadable") {
			t.Errorf("the log has trouble:\n%s", s)
		}
		for _, line := range strings.Split(w.logged(), "\n") {
			if strings.Contains(line, "@") {
				t.Errorf("an address in the log: %s", line)
			}
		}
	})
}

// compress has the compressor make what all stores of a process share: made in a bubble, it
// would be that bubble's alone.
func compress(t *testing.T) {
	t.Helper()
	s := storagetest.New(t)
	id := storagetest.Account(t, s, "", medecin)
	router := &backend.Router{Store: s, Domains: []string{"hopital.test"}}
	e := &backend.Envelope{Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: medecin}}}
	if err := router.Accept(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	storagetest.Inbox(t, s, id)
}

func (w *world) open(limits queue.Limits) {
	w.disk = storagetest.Open(w.T, w.dir, storage.Config{Limits: w.store}, body.Options{}, false)
	w.router = &backend.Router{
		Store: w.disk.Store, Domains: []string{"hopital.test"}, Outside: []string{"clinique.test", "labo.test", "ferme.test"}, Lifetime: limits.Lifetime,
	}
	w.runner = &queue.Runner{
		Store: w.disk.Store, Router: w.router, Hostname: "mail.hopital.test", Limits: limits, Send: w.send,
		Logger: slog.New(slog.NewTextHandler(w, nil)),
	}
}

// reopen closes everything and opens it again, as a restart does.
func (w *world) reopen(limits queue.Limits) {
	w.stop()
	w.disk.Close(w.T)
	w.open(limits)
}

// quota gives each mailbox room for so many octets, from a restart on; 0 for many.
func (w *world) quota(octets int64, limits queue.Limits) {
	w.store.QuotaBytes = octets
	w.reopen(limits)
}

// run works the queue off until stop.
func (w *world) run() {
	ctx, cancel := context.WithCancel(w.T.Context())
	w.cancel, w.ended = cancel, make(chan struct{})
	go func() { defer close(w.ended); w.runner.Run(ctx) }()
}

func (w *world) stop() {
	if w.cancel != nil {
		w.cancel()
		<-w.ended
		w.cancel = nil
	}
}

// wait lets time pass, and everything happen that is due.
func (w *world) wait(d time.Duration) {
	synctest.Wait()
	<-time.After(d)
	synctest.Wait()
}

func (w *world) since() time.Duration { return time.Since(w.begin) }

// send is the Send of the runner.
func (w *world) send(ctx context.Context, t *backend.Transfer) []backend.Outcome {
	w.mu.Lock()
	w.attempts = append(w.attempts, attempt{w.since(), t})
	peer := w.peers[t.Domain]
	w.mu.Unlock()
	if peer == nil {
		return each(t, relayed)
	}
	return peer(ctx, t)
}

// peer sets what becomes of attempts at a domain.
func (w *world) peer(domain string, f func(context.Context, *backend.Transfer) []backend.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peers[domain] = f
}

// always is a peer that does the same for all.
func always(o backend.Outcome) func(context.Context, *backend.Transfer) []backend.Outcome {
	return func(_ context.Context, t *backend.Transfer) []backend.Outcome { return each(t, o) }
}

func each(t *backend.Transfer, o backend.Outcome) []backend.Outcome {
	return slices.Repeat([]backend.Outcome{o}, len(t.Rcpts))
}

var (
	relayed = backend.Outcome{Result: storage.Result{Action: storage.Relayed, Status: "2.0.0", Diagnostic: "250 2.0.0 taken", Remote: "mx.test"}, DSN: true}
	relayNo = backend.Outcome{Result: storage.Result{Action: storage.Relayed, Status: "2.0.0", Diagnostic: "250 taken", Remote: "mx.test"}}
	refused = backend.Outcome{Result: storage.Result{Action: storage.Failed, Status: "5.1.1", Diagnostic: "550 5.1.1 unknown", Remote: "mx.test"}}
	busy    = backend.Outcome{Result: storage.Result{Action: storage.Delayed, Status: "4.2.1", Diagnostic: "450 4.2.1 later", Remote: "mx.test"}}
	dead    = backend.Outcome{Result: storage.Result{Action: storage.Delayed, Status: "4.4.1"}}

	impostor = backend.Outcome{Result: storage.Result{Action: storage.Delayed, Status: "4.7.5"}} // its certificate is another's
)

// tries are the attempts at a domain so far.
func (w *world) tries(domain string) (found []attempt) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.attempts {
		if a.Domain == domain {
			found = append(found, a)
		}
	}
	return found
}

// mail is an Envelope from the sender.
func (w *world) mail(rcpts ...string) *backend.Envelope {
	e := &backend.Envelope{From: medecin, Account: w.sender, Octets: []byte(letter), Origin: "hopital.test"}
	for _, r := range rcpts {
		e.Rcpts = append(e.Rcpts, backend.Rcpt{Address: r})
	}
	return e
}

func (w *world) accept(e *backend.Envelope) {
	w.Helper()
	if err := w.router.Accept(w.T.Context(), e); err != nil {
		w.Fatal(err)
	}
}

// queued are the messages of the store's queue.
func (w *world) queued() (all []*storage.Queued) {
	w.Helper()
	err := w.disk.View(w.T.Context(), func(tx *storage.Tx) error {
		all = nil
		return tx.Queue(0, func(q *storage.Queued) bool { all = append(all, q); return true })
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

// only is the one message of the queue.
func (w *world) only() *storage.Queued {
	w.Helper()
	all := w.queued()
	if len(all) != 1 {
		w.Fatalf("%d messages in the queue, want 1", len(all))
	}
	return all[0]
}

func (w *world) empty() {
	w.Helper()
	if all := w.queued(); len(all) > 0 {
		w.Fatalf("%d messages are left in the queue: %+v", len(all), all[0])
	}
}

// inbox are the notices that the sender has, without encoding.
func (w *world) inbox() (all []string) {
	w.Helper()
	for _, m := range storagetest.Inbox(w.T, w.disk.Store, w.sender) {
		all = append(all, strings.NewReplacer("=\r\n", "", "\r\n", "\n").Replace(m))
	}
	return all
}

// says checks that a notice has texts, and not those behind "!".
func (w *world) says(notice string, texts ...string) {
	w.Helper()
	for _, text := range texts {
		want := true
		if text[0] == '!' {
			want, text = false, text[1:]
		}
		if strings.Contains(notice, text) != want {
			w.Errorf("that the notice says %q is not %t:\n%s", text, want, notice)
		}
	}
}

// one is the only notice in the inbox.
func (w *world) one() string {
	w.Helper()
	all := w.inbox()
	if len(all) != 1 {
		w.Fatalf("%d notices, want 1:\n%s", len(all), strings.Join(all, "\n-----\n"))
	}
	return all[0]
}

// read reads a transfer as its peer does.
func read(t *backend.Transfer) (string, error) {
	r, err := t.Open()
	if err != nil {
		return "", err
	}
	defer r.Close()
	octets, err := io.ReadAll(r)
	return string(octets), err
}

// numbered are addresses at a domain.
func numbered(n int, domain string) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("p%d@%s", i, domain))
	}
	return all
}

// account makes another account of ours.
func (w *world) account(address string) storage.AccountID {
	return storagetest.Account(w.T, w.disk.Store, "", address)
}

// box are the messages in an account's INBOX.
func (w *world) box(id storage.AccountID) []string { return storagetest.Inbox(w.T, w.disk.Store, id) }
