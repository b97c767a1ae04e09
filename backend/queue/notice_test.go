package queue_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/queue"
	"telesphore/storage"
)

// byName is a peer that refuses some and relays others, as their addresses say.
func byName(_ context.Context, t *backend.Transfer) (all []backend.Outcome) {
	for _, r := range t.Rcpts {
		switch {
		case strings.HasPrefix(r.Address, "bad"):
			all = append(all, refused)
		case strings.HasPrefix(r.Address, "late"):
			all = append(all, busy)
		case strings.HasPrefix(r.Address, "blind"):
			all = append(all, relayNo)
		default:
			all = append(all, relayed)
		}
	}
	return all
}

// What became of several recipients stands in one notice for each action, also when they are at
// different domains.
func TestNoticesAreGathered(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", byName)
		w.peer("labo.test", func(ctx context.Context, x *backend.Transfer) []backend.Outcome {
			<-time.After(300 * time.Millisecond)
			return byName(ctx, x)
		})
		e := w.mail("bad1@clinique.test", "good@clinique.test", "blind@clinique.test", "bad2@labo.test", "late@labo.test", "blind2@labo.test", "good2@labo.test")
		e.EnvelopeID = "env+1"
		e.Rcpts[0].OriginalType, e.Rcpts[0].Original = "rfc822", "first@clinique.test"
		for i := range 6 {
			e.Rcpts[i].Notify = storage.NotifySuccess | storage.NotifyFailure
		}
		w.accept(e)
		w.run()
		w.wait(2 * time.Second)
		notices := w.inbox()
		if len(notices) != 2 {
			t.Fatalf("%d notices, want 2:\n%s", len(notices), strings.Join(notices, "\n-----\n"))
		}
		w.says(notices[0], "Return-Path: <>", "Action: failed", "bad1@clinique.test", "bad2@labo.test", "first@clinique.test", "550 5.1.1 unknown",
			"Original-Envelope-Id: env+1", "Message-ID: <1@hopital.test>", "!Le corps", "!blind", "!Final-Recipient: rfc822;good", "!late")
		w.says(notices[1], "Action: relayed", "blind@clinique.test", "blind2@labo.test", "!bad", "!good", "!late")
		if q := w.only(); len(q.Deliveries) != 1 || q.Deliveries[0].Address != "late@labo.test" {
			t.Errorf("left: %+v", q)
		}
	})
}

// Local recipients who asked for it are told about by the queue too.
func TestDeliveredNotice(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		e := w.mail(medecin, "a@clinique.test")
		e.Rcpts[0].Notify = storage.NotifySuccess
		w.accept(e)
		w.run()
		w.wait(2 * time.Second)
		all := w.inbox()
		if len(all) != 2 {
			t.Fatalf("%d messages, want the letter and its notice", len(all))
		}
		w.says(all[1], "Action: delivered", medecin, "!clinique")
		w.empty()
	})
}

// These get no notice, whatever happens.
func TestNobodyIsTold(t *testing.T) {
	for name, change := range map[string]func(*backend.Envelope){
		"never":            func(e *backend.Envelope) { e.Rcpts[0].Notify = storage.NotifyNever },
		"success only":     func(e *backend.Envelope) { e.Rcpts[0].Notify = storage.NotifySuccess },
		"null sender":      func(e *backend.Envelope) { e.From = "" },
		"unproven sender":  func(e *backend.Envelope) { e.From, e.Account, e.Origin = "x@unlisted.test", 0, "" },
		"nobody has asked": func(e *backend.Envelope) { e.Rcpts[0].Address = "blind@clinique.test" },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
				w.peer("clinique.test", byName)
				e := w.mail("bad@clinique.test")
				change(e)
				w.accept(e)
				w.run()
				w.wait(time.Minute)
				w.empty()
				if got := w.inbox(); len(got) > 0 || len(w.attempts) != 1 {
					t.Errorf("%d attempts, notices %s", len(w.attempts), got)
				}
				if s := w.logged(); strings.Contains(s, "queue.notice") {
					t.Errorf("log:\n%s", s)
				}
			})
		})
	}
}

// A notice that cannot be delivered makes no other one.
func TestNoBounceOfABounce(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("labo.test", byName)
		w.peer("clinique.test", always(refused))
		w.accept(&backend.Envelope{
			From: "chef@clinique.test", Origin: "clinique.test", Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: "bad@labo.test"}},
		})
		w.run()
		w.wait(time.Minute)
		w.empty()
		tries := w.tries("clinique.test")
		if len(tries) != 1 || tries[0].From != "" || tries[0].Rcpts[0].Address != "chef@clinique.test" || tries[0].Rcpts[0].Notify != storage.NotifyNever {
			t.Errorf("attempts %v", tries)
		}
		if s := w.logged(); strings.Count(s, "queue.failed") != 2 {
			t.Errorf("log:\n%s", s)
		}
	})
}

// The sender's account may be gone when there is something to tell.
func TestSenderIsGone(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		w.accept(w.mail("a@clinique.test", "b@clinique.test"))
		w.run()
		w.wait(time.Minute)
		if err := w.disk.EraseAccount(t.Context(), w.sender); err != nil {
			t.Fatal(err)
		}
		w.peer("clinique.test", always(refused))
		w.wait(time.Hour)
		w.empty()
		if s := w.logged(); !strings.Contains(s, `msg="queue.notice lost"`) || !strings.Contains(s, "recipients=2") {
			t.Errorf("log:\n%s", s)
		}
	})
}

// A notice waits until the sender has room.
func TestSenderHasNoRoom(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(refused))
		w.quota(1, queue.Limits{})
		w.accept(w.mail("a@clinique.test"))
		w.run()
		w.wait(30 * time.Minute)
		if s := w.logged(); len(w.queued()) != 1 || !strings.Contains(s, `msg="queue.notice deferred"`) {
			t.Fatalf("%d messages wait; log:\n%s", len(w.queued()), s)
		}
		w.quota(0, queue.Limits{})
		w.run()
		w.wait(time.Hour)
		w.says(w.one(), "Action: failed")
		w.empty()
		if n := len(w.tries("clinique.test")); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// RET=FULL gives a message back, unless it is long; else it is the header alone.
func TestReturnedContent(t *testing.T) {
	for name, c := range map[string]struct {
		ret  string
		long bool
		want string
	}{
		"not asked for": {"", false, "!Le corps"},
		"header":        {"HDRS", false, "!Le corps"},
		"full":          {"FULL", false, "Le corps"},
		"too long":      {"FULL", true, "!Le corps"},
	} {
		t.Run(name, func(t *testing.T) {
			limits := queue.Limits{Return: int64(len(letter))}
			if c.long {
				limits.Return--
			}
			bubble(t, limits, func(t *testing.T, w *world) {
				w.peer("clinique.test", always(refused))
				w.router.Sign = func([]byte) ([]byte, error) { return []byte("X-Signed: yes\r\n"), nil }
				e := w.mail("a@clinique.test")
				e.Return = c.ret
				w.accept(e)
				w.run()
				w.wait(time.Minute)
				w.says(w.one(), "Subject: lettre", "!X-Signed", c.want)
			})
		})
	}
}

// The trace follows: what waits long, what was handed on, what failed.
func TestTraceFollows(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", byName)
		e := w.mail("bad@clinique.test", "good@clinique.test", "late@clinique.test")
		w.accept(e)
		w.run()
		w.wait(time.Minute)
		stages := func(want ...storage.Stage) {
			t.Helper()
			err := w.disk.View(t.Context(), func(tx *storage.Tx) error {
				trace, err := tx.TraceByName(w.sender, e.Name)
				if err != nil {
					return err
				}
				for i := range trace.Recipients {
					if got := trace.Recipients[i].Stage(); got != want[i] {
						t.Errorf("%s is at stage %d, want %d", trace.Recipients[i].Address, got, want[i])
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		stages(storage.Bounced, storage.HandedOver, storage.InQueue)
		id := w.only().ID
		w.wait(5 * time.Hour)
		stages(storage.Bounced, storage.HandedOver, storage.Slow)
		if _, err := w.runner.Drop(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
		stages(storage.Bounced, storage.HandedOver, storage.Dropped)
		w.empty()
	})
}

// A mailbox that had no room gets the message when it has.
func TestLocalRecipientsThatHadNoRoom(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		full := w.account("plein@hopital.test")
		w.quota(1, queue.Limits{})
		w.router.Sign = func([]byte) ([]byte, error) { return []byte("X-Signed: yes\r\n"), nil }
		w.account("autre@hopital.test")
		e := w.mail("plein@hopital.test", "a@clinique.test", "autre@hopital.test")
		e.Rcpts[0].Notify = storage.NotifySuccess
		w.accept(e)
		w.run()
		w.wait(time.Hour)
		if q := w.only(); q.Deliveries[0].Last.Status != "4.2.2" || q.Deliveries[0].Attempts < 2 {
			t.Fatalf("delivery %+v", q.Deliveries[0])
		}
		w.quota(0, queue.Limits{})
		w.run()
		w.wait(2 * time.Hour)
		w.empty()
		got := w.box(full)
		if len(got) != 1 || !strings.HasSuffix(got[0], letter) || strings.Contains(got[0], "X-Signed") {
			t.Errorf("mailbox has %q", got)
		}
		w.says(w.one(), "Action: delivered", "plein@hopital.test")
		err := w.disk.View(t.Context(), func(tx *storage.Tx) error {
			trace, err := tx.TraceByName(w.sender, e.Name)
			for _, i := range []int{0, 2} {
				if err == nil && trace.Recipients[i].Stage() != storage.InMailbox {
					t.Errorf("recipient %d is at stage %d", i, trace.Recipients[i].Stage())
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// A domain that has left the trust space gets no mail; its recipients are told at once. One that is
// merely missing may come back.
func TestDomainThatLeft(t *testing.T) {
	bubble(t, queue.Limits{}, func(t *testing.T, w *world) {
		w.peer("clinique.test", always(busy))
		w.accept(w.mail("a@clinique.test"))
		w.accept(w.mail("a@labo.test"))
		w.peer("labo.test", always(busy))
		w.run()
		w.wait(time.Minute)
		w.stop()
		w.reopen(queue.Limits{})
		w.router.Outside, w.router.WhiteList = nil, left("clinique.test")
		w.run()
		w.wait(time.Hour)
		w.says(w.one(), "Action: failed", "Status: 5.7.1", "a@clinique.test")
		if q := w.only(); q.Deliveries[0].Last.Status != "4.7.1" {
			t.Errorf("delivery %+v", q.Deliveries[0])
		}
		if len(w.attempts) != 2 {
			t.Errorf("%d attempts, want those before it left", len(w.attempts))
		}
	})
}

// left is a white list that a domain has left.
type left string

func (left) Akin(string) bool                       { return false }
func (left) Known() bool                            { return true }
func (left) Has(string) bool                        { return false }
func (l left) Left(domain string) (time.Time, bool) { return time.Now(), domain == string(l) }
