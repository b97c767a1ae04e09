package backend_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/report"
	"telesphore/storage"
	"telesphore/storage/storagetest"
)

// connected is a router that may send to clinique.test, of the trust space, and to perso.test.
func connected(t testing.TB) (*backend.Router, storage.AccountID, storage.AccountID) {
	r, a, b := newRouter(t)
	r.WhiteList = peers{has: []string{"clinique.test"}}
	r.Outside = []string{"perso.test"}
	return r, a, b
}

// queued are the messages of the queue.
func queued(t testing.TB, s *storage.Store) (all []storage.Queued) {
	t.Helper()
	err := s.View(t.Context(), func(tx *storage.Tx) error {
		all = nil
		return tx.Queue(0, func(q *storage.Queued) bool { all = append(all, *q); return true })
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// octetsOf is a message of the queue as other servers get it.
func octetsOf(t testing.TB, s *storage.Store, id storage.QueueID) string {
	t.Helper()
	b, err := s.OpenQueued(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	octets, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return string(octets)
}

func TestAcceptQueuesForOthersAndFilesHere(t *testing.T) {
	r, _, b := connected(t)
	r.Sign = func(octets []byte) ([]byte, error) { return []byte("DKIM-Signature: x\r\n"), nil }
	before := time.Now()
	err := r.Accept(t.Context(), &backend.Envelope{
		Name: "N1", From: "a@hopital.test", EnvelopeID: "e 1", Return: "HDRS", RequireTLS: true, Octets: []byte(letter),
		Rcpts: []backend.Rcpt{
			{Address: "b@hopital.test"},
			{Address: "p@clinique.test", Notify: storage.NotifySuccess, OriginalType: "rfc822", Original: "q@clinique.test"},
			{Address: "x@perso.test"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Inbox(t, r.Store, b); len(got) != 1 || strings.Contains(got[0], "DKIM") {
		t.Errorf("INBOX of b: %q, want the message without what is for other servers", got)
	}
	all := queued(t, r.Store)
	if len(all) != 1 {
		t.Fatalf("%d messages in the queue, want 1", len(all))
	}
	q := all[0]
	if q.Name != "N1" || q.From != "a@hopital.test" || q.EnvelopeID != "e 1" || q.Return != "HDRS" || !q.RequireTLS || len(q.Deliveries) != 2 {
		t.Errorf("queued: %+v", q)
	}
	if life := q.Expires.Sub(before); life < 5*24*time.Hour-time.Minute || life > 5*24*time.Hour+time.Minute {
		t.Errorf("it expires after %v", life)
	}
	if !q.Deliveries[0].Trusted || q.Deliveries[1].Trusted {
		t.Errorf("what is for the trust space: %+v", q.Deliveries)
	}
	d := q.Deliveries[0]
	if d.Address != "p@clinique.test" || d.State != storage.Waiting || d.Notify != storage.NotifySuccess || d.Original != "q@clinique.test" || d.Next.After(time.Now()) {
		t.Errorf("first delivery: %+v", d)
	}
	if got := octetsOf(t, r.Store, q.ID); got != "DKIM-Signature: x\r\n"+letter {
		t.Errorf("other servers get %q", got)
	}
}

func TestAcceptTellsOfWhoCannotHaveIt(t *testing.T) {
	r, a, _ := connected(t)
	full := &storage.Account{Addresses: []string{"full@hopital.test"}, MaxBytes: 1}
	if err := r.Store.NewAccount(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if err := send(t, r, letter, "a@hopital.test", "nobody@hopital.test", "full@hopital.test"); err != nil {
		t.Fatalf("one recipient can have it: %v", err)
	}
	if got := storagetest.Inbox(t, r.Store, a); len(got) != 1 {
		t.Errorf("INBOX of a: %q", got)
	}
	all := queued(t, r.Store)
	if len(all) != 1 || len(all[0].Deliveries) != 2 {
		t.Fatalf("queue: %+v", all)
	}
	if d := all[0].Deliveries[0]; d.Address != "nobody@hopital.test" || d.State != storage.Finished || d.Last.Action != storage.Failed || d.Last.Status != "5.1.1" {
		t.Errorf("nobody: %+v", d)
	}
	if d := all[0].Deliveries[1]; d.Address != "full@hopital.test" || d.State != storage.Waiting || d.Last.Action != storage.Delayed || d.Last.Status != "4.2.2" {
		t.Errorf("full: %+v", d)
	}
	// Alone, the sender hears it at once.
	if err := send(t, r, letter, "full@hopital.test"); !errors.Is(err, storage.ErrOverQuota) {
		t.Errorf("to a full mailbox only: %v", err)
	}
	if err := send(t, r, letter, "nobody@hopital.test", "full@hopital.test"); !errors.Is(err, backend.ErrNoSuchUser) {
		t.Errorf("to nobody who can have it: %v", err)
	}
	if err := send(t, r, letter, "a@hopital.test", "x@ferme.test"); err != nil {
		t.Errorf("to a domain that nobody lists, and another: %v", err)
	}
	stranger := &backend.Envelope{
		From: "victim@perso.test", Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "a@hopital.test"}, {Address: "full@hopital.test"}},
	}
	if err := r.Accept(t.Context(), stranger); !errors.Is(err, storage.ErrOverQuota) {
		t.Errorf("a stranger, who cannot be told later: %v", err)
	}
	if err := send(t, r, letter, "x@ferme.test"); !errors.Is(err, backend.ErrRemote) {
		t.Errorf("to a domain that nobody lists: %v", err)
	}
}

func TestAcceptAnswersSuccessForThoseHere(t *testing.T) {
	r, _, _ := connected(t)
	for from, want := range map[string]int{"a@hopital.test": 1, "": 0, "victim@perso.test": 0} {
		origin := "hopital.test"
		if from == "victim@perso.test" {
			origin = "" // a stranger, and what he writes may be another's address
		}
		err := r.Accept(t.Context(), &backend.Envelope{
			From: from, Origin: origin, Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "b@hopital.test", Notify: storage.NotifySuccess | storage.NotifyFailure}},
		})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, q := range queued(t, r.Store) {
			if q.From == from {
				n++
				if d := q.Deliveries[0]; d.State != storage.Finished || d.Last.Action != storage.Delivered {
					t.Errorf("from %q: %+v", from, d)
				}
			}
		}
		if n != want {
			t.Errorf("from %q: %d notices to be sent, want %d", from, n, want)
		}
	}
}

func TestFutureReleaseHoldsForOthers(t *testing.T) {
	r, a, b := connected(t)
	until := time.Now().Add(3 * time.Hour).Truncate(time.Second).Add(time.Millisecond)
	err := r.Accept(t.Context(), &backend.Envelope{
		From: "a@hopital.test", Account: a, HoldUntil: until, Octets: []byte(letter),
		Rcpts: []backend.Rcpt{{Address: "p@clinique.test"}, {Address: "b@hopital.test"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	q := queued(t, r.Store)[0]
	if d := q.Deliveries[0]; d.Next.Before(until) || d.Next.After(until.Add(time.Second)) || !q.Expires.After(until.Add(4*24*time.Hour)) {
		t.Errorf("next attempt %v, given up %v, held until %v", d.Next, q.Expires, until)
	}
	if got := storagetest.Inbox(t, r.Store, b); len(got) != 0 {
		t.Errorf("the mailbox here has it before: %q", got)
	}
}

func TestFileTakesTheDeliveryOut(t *testing.T) {
	r, _, _ := connected(t)
	if err := send(t, r, letter, "a@hopital.test", "nobody@hopital.test"); err != nil {
		t.Fatal(err)
	}
	q := queued(t, r.Store)[0]
	d := q.Deliveries[0]
	if err := r.File(t.Context(), &q, &d, []byte(letter)); !errors.Is(err, backend.ErrNoSuchUser) {
		t.Errorf("filed for nobody: %v", err)
	}
	b := storagetest.Account(t, r.Store, "", "nobody@hopital.test")
	if err := r.File(t.Context(), &q, &d, []byte(letter)); err != nil {
		t.Fatal(err)
	}
	if got := storagetest.Inbox(t, r.Store, b); len(got) != 1 || !strings.HasPrefix(got[0], "Return-Path: <a@hopital.test>\r\nDelivered-To: nobody@hopital.test\r\n") {
		t.Errorf("INBOX: %q", got)
	}
	if all := queued(t, r.Store); len(all) != 0 {
		t.Errorf("still in the queue: %+v", all)
	}
}

func TestSendQuota(t *testing.T) {
	r, a, _ := connected(t)
	r.Sending = storage.SendLimits{Messages: 2}
	write := func(to ...string) error {
		e := &backend.Envelope{From: "a@hopital.test", Account: a, Octets: []byte(letter)}
		for _, x := range to {
			e.Rcpts = append(e.Rcpts, backend.Rcpt{Address: x})
		}
		return r.Accept(t.Context(), e)
	}
	for range 5 {
		if err := write("b@hopital.test"); err != nil {
			t.Fatalf("mail that stays here: %v", err)
		}
	}
	if err := write("p@clinique.test", "b@hopital.test"); err != nil {
		t.Fatal(err)
	}
	if err := write("x@perso.test"); err != nil {
		t.Fatal(err)
	}
	if err := write("p@clinique.test"); !errors.Is(err, storage.ErrSendQuota) {
		t.Errorf("the third one: %v", err)
	}
	if err := write("b@hopital.test"); err != nil {
		t.Errorf("mail that stays here, behind the limit: %v", err)
	}
}

// traceOf is what is known of the account's newest message.
func traceOf(t testing.TB, r *backend.Router, a storage.AccountID) (newest *storage.Trace) {
	t.Helper()
	err := r.Store.View(t.Context(), func(tx *storage.Tx) error {
		return tx.Traces(a, 0, func(tr *storage.Trace) bool { newest = tr; return false })
	})
	if err != nil {
		t.Fatal(err)
	}
	if newest == nil {
		t.Fatal("nothing is known of a message that was sent")
	}
	return newest
}

func stages(tr *storage.Trace) (all []storage.Stage) {
	for i := range tr.Recipients {
		all = append(all, tr.Recipients[i].Stage())
	}
	return all
}

func TestReportsAreLinkedToWhatWasSent(t *testing.T) {
	r, a, _ := connected(t)
	err := r.Accept(t.Context(), &backend.Envelope{
		From: "a@hopital.test", Account: a, Origin: "hopital.test", Octets: []byte(letter),
		Rcpts: []backend.Rcpt{{Address: "p@clinique.test"}, {Address: "x@perso.test"}, {Address: "b@hopital.test"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr := traceOf(t, r, a)
	if want := []storage.Stage{storage.InQueue, storage.InQueue, storage.InMailbox}; !slices.Equal(stages(tr), want) {
		t.Errorf("at first: %v, want %v", stages(tr), want)
	}
	envelopeID := queued(t, r.Store)[0].EnvelopeID
	dsn := func(id, from, about string) []byte {
		octets, err := report.Compose(&report.Notice{
			Hostname: "mail.clinique.test", From: from, To: "a@hopital.test", EnvelopeID: id, Arrived: time.Now(), Message: []byte(letter),
			Recipients: []report.Recipient{{Address: about, Result: storage.Result{Action: storage.Delivered, Status: "2.1.5", Time: time.Now()}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return octets
	}
	hear := func(origin string, octets []byte) []storage.Stage {
		err := r.Accept(t.Context(), &backend.Envelope{Origin: origin, Peer: origin == "clinique.test", Octets: octets, Rcpts: []backend.Rcpt{{Address: "a@hopital.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		return stages(traceOf(t, r, a))
	}
	// Without our ENVID, a notice counts for recipients of the domain that it comes from.
	for _, origin := range []string{"", "perso.test", "hopital.test"} {
		if got := hear(origin, dsn("", "postmaster@clinique.test", "p@clinique.test")); got[0] != storage.InQueue {
			t.Errorf("a notice from %q: %v", origin, got)
		}
	}
	if got := hear("", dsn("1.guessed", "postmaster@clinique.test", "p@clinique.test")); got[0] != storage.InQueue {
		t.Errorf("a guessed ENVID: %v", got)
	}
	if got := hear("clinique.test", dsn("", "postmaster@clinique.test", "q@clinique.test")); got[0] != storage.InQueue {
		t.Errorf("another recipient: %v", got)
	}
	if got := hear("clinique.test", dsn("", "postmaster@clinique.test", "p@clinique.test")); got[0] != storage.InMailbox {
		t.Errorf("the peer's notice: %v", got)
	}
	// With it, whoever sends it knows the envelope.
	if got := hear("", dsn(envelopeID, "postmaster@perso.test", "x@perso.test")); got[1] != storage.InMailbox {
		t.Errorf("a notice with our ENVID: %v", got)
	}
	mdn := strings.ReplaceAll(`From: p@clinique.test
To: a@hopital.test
Subject: Lu
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Lu
--b
Content-Type: message/disposition-notification

Final-Recipient: rfc822;p@clinique.test
Original-Message-ID: <1@x>
Disposition: manual-action/MDN-sent-manually; displayed

--b--
`, "\n", "\r\n")
	if got := hear("perso.test", []byte(mdn)); got[0] != storage.InMailbox {
		t.Errorf("a receipt from elsewhere: %v", got)
	}
	if got := hear("clinique.test", []byte(mdn)); got[0] != storage.Read {
		t.Errorf("the reader's receipt: %v", got)
	}
}

func TestAcceptMakesChangesWithTheMessage(t *testing.T) {
	r, a, _ := connected(t)
	if err := send(t, r, letter, "p@clinique.test"); err != nil {
		t.Fatal(err)
	}
	q := queued(t, r.Store)[0]
	e := &backend.Envelope{
		Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "nobody@hopital.test"}},
		Changes: []storage.DeliveryChange{{Queue: q.ID, Delivery: q.Deliveries[0], Remove: true}},
	}
	if err := r.Accept(context.WithoutCancel(t.Context()), e); !errors.Is(err, backend.ErrNoSuchUser) || len(queued(t, r.Store)) != 1 {
		t.Errorf("refused with %v, queue %v", err, queued(t, r.Store))
	}
	e.Rcpts[0].Address = "a@hopital.test"
	if err := r.Accept(t.Context(), e); err != nil || len(queued(t, r.Store)) != 0 || len(storagetest.Inbox(t, r.Store, a)) != 1 {
		t.Errorf("accepted with %v, queue %v", err, queued(t, r.Store))
	}
}

// A member of a list who has no room keeps nothing from the others, also when it was held for them all.
func TestFullMemberOfAListWaitsAlone(t *testing.T) {
	for name, hold := range map[string]time.Duration{"at once": 0, "held": time.Hour} {
		t.Run(name, func(t *testing.T) {
			r, a, b := connected(t)
			full := &storage.Account{Addresses: []string{"full@hopital.test"}, MaxBytes: 1}
			if err := r.Store.NewAccount(t.Context(), full); err != nil {
				t.Fatal(err)
			}
			list(t, r, &storage.Alias{Address: "all@hopital.test", Members: []string{"a@hopital.test", "full@hopital.test", "b@hopital.test"}})
			e := &backend.Envelope{
				From: "a@hopital.test", Account: a, Octets: []byte(letter),
				Rcpts: []backend.Rcpt{{Address: "all@hopital.test", Notify: storage.NotifyFailure | storage.NotifySuccess}},
			}
			if hold > 0 {
				e.HoldUntil = time.Now().Add(hold)
			}
			if err := r.Accept(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			if hold > 0 {
				q := queued(t, r.Store)[0]
				if err := r.File(t.Context(), &q, &q.Deliveries[0], []byte(letter)); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range []storage.AccountID{a, b} {
				if got := storagetest.Inbox(t, r.Store, id); len(got) != 1 {
					t.Errorf("account %d has %q", id, got)
				}
			}
			waiting, told := 0, 0
			for _, q := range queued(t, r.Store) {
				for _, d := range q.Deliveries {
					if d.State == storage.Finished {
						told++
						continue
					}
					waiting++
					if !d.Here || d.Address != "full@hopital.test" || d.Notify != storage.NotifyFailure || d.Original != "all@hopital.test" || d.Last.Status != "4.2.2" {
						t.Errorf("delivery %+v", d)
					}
					if err := r.File(t.Context(), &q, &d, []byte(letter)); !errors.Is(err, storage.ErrOverQuota) {
						t.Errorf("filed without room: %v", err)
					}
				}
			}
			if waiting != 1 || told != 1 {
				t.Errorf("%d members wait, %d notices of success for the list", waiting, told)
			}
			for _, id := range []storage.AccountID{a, b} {
				if got := storagetest.Inbox(t, r.Store, id); len(got) != 1 {
					t.Errorf("in the end account %d has %d messages", id, len(got))
				}
			}
		})
	}
}

// A trace does not say that a recipient waits who was refused at once.
func TestTraceOfARecipientThatIsNone(t *testing.T) {
	r, a, _ := connected(t)
	e := &backend.Envelope{
		From: "a@hopital.test", Account: a, Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "b@hopital.test"}, {Address: "nobody@hopital.test"}},
	}
	if err := r.Accept(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	err := r.Store.View(t.Context(), func(tx *storage.Tx) error {
		tr, err := tx.TraceByName(a, e.Name)
		if err != nil {
			return err
		}
		if tr.Recipients[0].Stage() != storage.InMailbox || tr.Recipients[1].Stage() != storage.Bounced || tr.Recipients[1].Steps[0].Status != "5.1.1" {
			t.Errorf("trace %+v", tr.Recipients)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
