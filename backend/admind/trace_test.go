package admind_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"telesphore/backend/admind"
	"telesphore/storage"
)

var morning = time.Unix(1_800_000_000, 0).UTC()

// send has an account send a message that is followed.
func (o *office) send(from string, tr storage.Trace) storage.QueueID {
	o.t.Helper()
	err := o.server.Store.View(o.t.Context(), func(tx *storage.Tx) error {
		a, err := tx.AccountByAddress(from)
		if err == nil {
			tr.Account = a.ID
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	c, err := o.server.Store.Seal([]byte("From: x\r\n\r\nBonjour\r\n"), nil)
	if err != nil {
		o.t.Fatal(err)
	}
	if _, err := o.server.Store.Accept(o.t.Context(), c, &storage.Acceptance{Targets: []storage.Target{{Account: tr.Account}}, Trace: &tr}); err != nil {
		o.t.Fatal(err)
	}
	return tr.ID
}

func trace(address string, m admind.MessageRequest) *admind.Request {
	return &admind.Request{Op: admind.MessageTrace, Address: address, Message: m}
}

func TestTraceOfAMessage(t *testing.T) {
	o := open(t)
	stages := []string{"queued", "on_hold", "delayed", "handed_over", "delivered", "processed", "read", "refused", "failed", "dropped"}
	sent := storage.Trace{
		Name: "n1", MessageID: "<m1@hopital.test>", EnvelopeID: "e1", Sent: morning, Size: 4321, Warnings: []string{"no archive"},
		Recipients: []storage.Traced{{Address: "nobody@clinique.test"}, {Address: "all@clinique.test"}},
	}
	want := &admind.Trace{
		Name: "n1", MessageID: "<m1@hopital.test>", EnvelopeID: "e1", Sent: morning, Octets: 4321, To: "nobody@clinique.test", Count: 2,
		Furthest: "refused", Least: "queued", Warnings: []string{"no archive"},
		Recipients: []admind.Traced{{Address: "nobody@clinique.test", Stage: "queued"}, {Address: "all@clinique.test", Stage: "refused"}},
	}
	for i, word := range stages {
		at, status, text := morning.Add(time.Duration(i)*time.Minute), fmt.Sprint("2.0.", i), "text of "+word
		sent.Recipients[1].Steps = append(sent.Recipients[1].Steps, storage.Step{Stage: storage.Stage(i), Time: at, Status: status, Text: text})
		want.Recipients[1].Steps = append(want.Recipients[1].Steps, admind.Step{Stage: word, Time: at, Status: status, Text: text})
	}
	o.send(medecin, sent)
	for _, name := range []string{"n1", "<m1@hopital.test>", "m1@hopital.test"} {
		if got := o.ask(trace("MEDECIN@hopital.test", admind.MessageRequest{Name: name})); !reflect.DeepEqual(got.Trace, want) {
			t.Errorf("%s:\n%+v\nwant:\n%+v", name, got.Trace, want)
		}
	}
	for _, name := range []string{"n2", "<n1>", "m1", "<m2@hopital.test>"} {
		o.refused(trace(medecin, admind.MessageRequest{Name: name}), admind.NoSuchMessage)
	}
	o.refused(trace(labo, admind.MessageRequest{Name: "n1"}), admind.NoSuchMessage) // another account's
	o.refused(trace("nobody@hopital.test", admind.MessageRequest{Name: "n1"}), admind.NoSuchAccount)
	o.refused(trace("", admind.MessageRequest{Name: "n1"}), admind.BadRequest)
	o.refused(trace(medecin, admind.MessageRequest{Last: -1}), admind.BadRequest)
	o.quiet("clinique.test", "m1@")
}

func TestLastMessages(t *testing.T) {
	o := open(t, func(s *admind.Server) { s.Limits.Page = 30 })
	list := func(address string, last int) (names []string) {
		for _, tr := range o.ask(trace(address, admind.MessageRequest{Last: last})).Traces {
			if tr.Recipients != nil || tr.Warnings != nil || tr.Octets != 0 {
				t.Errorf("a list tells %+v", tr)
			}
			names = append(names, fmt.Sprint(tr.Name, " ", tr.Count, tr.To, " ", tr.Furthest, " ", tr.Least))
		}
		return names
	}
	if got := list(medecin, 0); got != nil {
		t.Errorf("before anything was sent: %v", got)
	}
	for i := range 35 {
		o.send(medecin, storage.Trace{Name: fmt.Sprint("n", i), Warnings: []string{"w"}, Recipients: []storage.Traced{
			{Address: "a@clinique.test", Steps: []storage.Step{{Stage: storage.Bounced}}},
			{Address: "b@clinique.test", Steps: []storage.Step{{Stage: storage.InMailbox}}},
		}})
	}
	o.send(labo, storage.Trace{Name: "other"})
	for last, want := range map[int]int{0: 20, 3: 3, 1000: 30} {
		got := list(medecin, last)
		if len(got) != want || got[0] != "n34 2a@clinique.test delivered failed" || !strings.HasPrefix(got[want-1], fmt.Sprint("n", 35-want)) {
			t.Errorf("the last %d: %d, %v", last, len(got), got)
		}
	}
	if got := list(labo, 0); !slices.Equal(got, []string{"other 0 queued queued"}) {
		t.Errorf("the other account: %v", got)
	}
}

// Whoever looks is written down, whether there was anything to see or not.
func TestTracingIsInTheAuditTrail(t *testing.T) {
	dir := t.TempDir()
	trail, err := storage.OpenAudit(dir, storage.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := open(t, func(s *admind.Server) { s.Auth.Audit = trail })
	o.send(medecin, storage.Trace{Name: "n1", Recipients: []storage.Traced{{Address: "a@clinique.test"}}})
	o.ask(trace("Medecin@hopital.test", admind.MessageRequest{Name: "n1"}))
	o.ask(trace(medecin, admind.MessageRequest{}))
	o.refused(trace(labo, admind.MessageRequest{Name: "n1"}), admind.NoSuchMessage)
	o.refused(trace("nobody@hopital.test", admind.MessageRequest{}), admind.NoSuchAccount)
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	err = storage.ReadAudit(dir, func(line []byte, e *storage.Event) bool {
		if e.Event == "message.trace" {
			got = append(got, e.Account)
			if !strings.HasPrefix(e.Actor, "uid ") || strings.Contains(string(line), "n1") || strings.Contains(string(line), "clinique") {
				t.Errorf("the trail has %s", line)
			}
		}
		return true
	})
	if want := []string{medecin, medecin, labo}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the trail has %q, %v; want %q", got, err, want)
	}
	// A trail that takes no more shows nothing to anybody.
	o.refused(trace(medecin, admind.MessageRequest{Name: "n1"}), admind.Internal)
}
