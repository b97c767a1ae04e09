package admind_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/queue"
	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
)

// withQueue gives a server a queue that delivers nothing, and messages in it: two from
// medecin, then a notice. It returns their IDs.
func withQueue(t *testing.T, ids *[]string) func(*admind.Server) {
	return func(s *admind.Server) {
		s.Router.Outside = []string{"clinique.test", "labo.test"}
		s.Queue = &queue.Runner{Store: s.Store, Router: s.Router, Hostname: "mail.hopital.test", Logger: quiet()}
		id := storagetest.Account(t, s.Store, "", "medecin@hopital.test")
		for _, e := range []*backend.Envelope{
			{From: "medecin@hopital.test", Account: id, Rcpts: []backend.Rcpt{{Address: "a@clinique.test"}, {Address: "b@labo.test"}}},
			{From: "medecin@hopital.test", Account: id, Rcpts: []backend.Rcpt{{Address: "c@labo.test"}}, HoldUntil: time.Now().Add(time.Hour)},
			{Rcpts: []backend.Rcpt{{Address: "d@clinique.test"}}, Priority: storage.Urgent},
		} {
			e.Name, e.Octets = fmt.Sprintf("NAME%d", len(*ids)+1), []byte("Subject: secret\r\n\r\nsecret\r\n")
			if err := s.Router.Accept(t.Context(), e); err != nil {
				t.Fatal(err)
			}
			err := s.Store.View(t.Context(), func(tx *storage.Tx) error {
				return tx.Queue(0, func(q *storage.Queued) bool {
					if q.Name == e.Name {
						*ids = append(*ids, q.ID.String())
					}
					return true
				})
			})
			if err != nil && !errors.Is(err, storage.ErrQueueDamaged) {
				t.Fatal(err)
			}
		}
	}
}

func TestQueueIsListed(t *testing.T) {
	limits := admind.DefaultLimits()
	limits.Page = 2
	var ids []string
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), limits, withQueue(t, &ids))
	list := func(filter string) string { return fmt.Sprintf(`{"op":"queue.list","queue":{%s}}`, filter) }
	one := func(i int) string { return fmt.Sprintf(`{"queue":[{"id":%q,…}]}`, ids[i]) }
	dialogue(t, at,
		[2]string{`{"op":"queue.list"}`, fmt.Sprintf(
			`{"more":true,"queue":[{"id":%q,"name":"NAME1","sender":"medecin@hopital.test","size":…,"arrived":"…Z","expires":"…Z","domains":["clinique.test","labo.test"],`+
				`"recipients":2,"state":"waiting","next":"…Z","attempts":0},{"id":%q,…"reason":"not to be sent before"}]}`, ids[0], ids[1])},
		[2]string{list(`"after":"` + ids[1] + `"`), fmt.Sprintf(`{"queue":[{"id":%q,"name":"NAME3","urgent":true,…}]}`, ids[2])},
		[2]string{list(`"domain":"LABO.test","sender":"MEDECIN@hopital.test"`), fmt.Sprintf(`{"queue":[{"id":%q,…},{"id":%q,…}]}`, ids[0], ids[1])},
		[2]string{list(`"sender":"hopital.test","domain":"clinique.test"`), one(0)},
		[2]string{list(`"sender":"<>"`), one(2)},
		[2]string{list(`"sender":"x@hopital.test"`), `{}`},
		[2]string{list(`"state":"held"`), `{}`},
		[2]string{list(`"state":"lost"`), `{"error":{"code":"bad_request","text":"…waiting, held and notice"}}`},
		[2]string{list(`"domain":"not a domain"`), `{"error":{"code":"bad_request",…}}`},
		[2]string{list(`"sender":"not an address"`), `{"error":{"code":"bad_address",…}}`},
		[2]string{list(`"after":"?"`), `{"error":{"code":"bad_request",…}}`},
	)
}

func TestQueueIsMoved(t *testing.T) {
	trail := t.TempDir()
	audit, err := storage.OpenAudit(trail, storage.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	s, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits(), withQueue(t, &ids), func(s *admind.Server) { s.Auth.Audit = audit })
	op := func(name, id, more string) string {
		return fmt.Sprintf(`{"op":"queue.%s","queue":{"id":%q%s}}`, name, id, more)
	}
	state := func(id, state string) [2]string {
		return [2]string{op("show", id, ""), fmt.Sprintf(`{"queue":[{"id":%q,…"state":%q,…"deliveries":[{…}]}]}`, id, state)}
	}
	dialogue(t, at,
		[2]string{op("show", ids[0], ""), `{"queue":[{…"deliveries":[{"address":"a@clinique.test","state":"waiting","next":"…Z","attempts":0},{"address":"b@labo.test",…}]}]}`},
		[2]string{op("hold", ids[0], ""), `{"count":2}`},
		[2]string{op("hold", ids[0], ""), `{}`},
		state(ids[0], "held"),
		[2]string{op("retry", ids[0], ""), `{}`},
		[2]string{op("release", ids[0], ""), `{"count":2}`},
		state(ids[0], "waiting"),
		[2]string{op("retry", ids[1], ""), `{"count":1}`},
		[2]string{`{"op":"queue.retry","queue":{"domain":"Labo.test"}}`, `{"count":2}`},
		[2]string{`{"op":"queue.retry"}`, `{"error":{"code":"bad_request","text":"name one message, or a domain"}}`},
		[2]string{op("retry", ids[0], `,"domain":"labo.test"`), `{"error":{"code":"bad_request",…}}`},
		[2]string{op("drop", ids[0], `,"tell":true`), `{"count":2}`},
		state(ids[0], "notice"),
		[2]string{op("drop", ids[1], ""), `{"count":1}`},
		[2]string{op("drop", ids[1], ""), `{"error":{"code":"not_queued",…}}`},
		[2]string{op("show", ids[1], ""), `{"error":{"code":"not_queued",…}}`},
		[2]string{op("show", strings.ToUpper(ids[0]), ""), `{"error":{"code":"bad_request",…}}`},
		[2]string{op("hold", "", ""), `{"error":{"code":"bad_request",…}}`},
	)
	s.Queue = nil
	dialogue(t, at, [2]string{op("hold", ids[2], ""), `{"error":{"code":"off",…}}`})
	if err := audit.Close(); err != nil {
		t.Fatal(err)
	}
	octets, err := os.ReadFile(filepath.Join(trail, "00000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{
		`"event":"queue.hold","account":"medecin@hopital.test","actor":"uid `: 1, `"event":"queue.release"`: 1, `"event":"queue.retry"`: 2,
		`"event":"queue.drop"`: 2, `"via":"message NAME1"`: 3, `"via":"domain labo.test"`: 1, "clinique": 0, "queue.show": 0,
	} {
		if n := strings.Count(string(octets), what); n != want {
			t.Errorf("the trail has %q %d times, want %d:\n%s", what, n, want, octets)
		}
	}
}

// The administrator sees why a message is still here.
func TestReasonsInWords(t *testing.T) {
	var ids []string
	s, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits(), withQueue(t, &ids))
	s.Queue.Send = func(_ context.Context, x *backend.Transfer) []backend.Outcome {
		o := backend.Outcome{Result: storage.Result{Action: storage.Delayed, Status: "4.4.1"}}
		if x.Domain == "clinique.test" {
			o.Result = storage.Result{Action: storage.Delayed, Status: "4.2.2", Diagnostic: "452 4.2.2 full", Remote: "mx.clinique.test"}
		}
		return []backend.Outcome{o}
	}
	wake, stop := s.Store.Watch(storage.Topic{Mailbox: storage.OfQueue})
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Queue.Run(ctx) }()
	for tried := 0; tried < 3; {
		<-wake
		tried = 0
		err := s.Store.View(t.Context(), func(tx *storage.Tx) error {
			return tx.Queue(0, func(q *storage.Queued) bool {
				for _, d := range q.Deliveries {
					tried += int(d.Attempts)
				}
				return true
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-ended
	dialogue(t, at,
		[2]string{fmt.Sprintf(`{"op":"queue.show","queue":{"id":%q}}`, ids[0]),
			`{"queue":[{…"deliveries":[{"address":"a@clinique.test",…"attempts":1,"last":"…Z","status":"4.2.2","remote":"mx.clinique.test","reply":"452 4.2.2 full",` +
				`"reason":"mx.clinique.test said: 452 4.2.2 full"},{"address":"b@labo.test",…"reason":"no server of the domain answers (4.4.1)"}]}]}`},
		// It was not tried: its domain is away, but its date is later.
		[2]string{fmt.Sprintf(`{"op":"queue.show","queue":{"id":%q}}`, ids[1]), `{"queue":[{…"attempts":0,"reason":"not to be sent before",…}]}`},
	)
}

// What cannot be read is shown, hides nothing, and can be taken out.
func TestDamagedMessageOfTheQueue(t *testing.T) {
	dir := t.TempDir()
	disk := storagetest.Open(t, dir, storage.Config{}, body.Options{}, false)
	damaged := &storage.Queued{Name: "DAMAGED", Deliveries: []storage.Delivery{{Address: "a@clinique.test"}, {Address: "b@labo.test"}}}
	content, err := disk.Seal([]byte("secret"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Accept(t.Context(), content, &storage.Acceptance{Queue: damaged}); err != nil {
		t.Fatal(err)
	}
	disk.Close(t)
	storagetest.Damage(t, dir, 'A')
	disk = storagetest.Open(t, dir, storage.Config{}, body.Options{}, false)
	t.Cleanup(func() { disk.Close(t) })

	var ids []string
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits(), func(s *admind.Server) {
		s.Store, s.Router.Store, s.Auth.Store = disk.Store, disk.Store, disk.Store
		withQueue(t, &ids)(s)
	})
	id := damaged.ID.String()
	op := func(name string) string { return fmt.Sprintf(`{"op":"queue.%s","queue":{"id":%q}}`, name, id) }
	dialogue(t, at,
		[2]string{`{"op":"queue.list"}`, fmt.Sprintf(
			`{"queue":[{"id":%q,"name":"","size":0,…"state":"damaged",…},{"id":%q,…},{"id":%q,…},{"id":%q,…}]}`, id, ids[0], ids[1], ids[2])},
		[2]string{`{"op":"queue.list","queue":{"sender":"<>"}}`, fmt.Sprintf(`{"queue":[{"id":%q,…}]}`, ids[2])},
		[2]string{`{"op":"queue.retry","queue":{"domain":"labo.test"}}`, `{"count":1}`},
		[2]string{op("show"), `{"error":{"code":"damaged",…}}`},
		[2]string{op("hold"), `{"error":{"code":"damaged",…}}`},
		[2]string{op("drop"), `{"count":2}`},
		[2]string{op("drop"), `{"error":{"code":"not_queued",…}}`},
		[2]string{`{"op":"queue.list"}`, fmt.Sprintf(`{"queue":[{"id":%q,…},{"id":%q,…},{"id":%q,…}]}`, ids[0], ids[1], ids[2])},
	)
}
