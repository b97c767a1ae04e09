package backend_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"telesphore/backend"
	"telesphore/storage"
)

// dsn is a notice about one recipient that knows an envelope, as anybody can write it.
func dsn(envelopeID, recipient string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: postmaster@perso.test
To: a@hopital.test
Subject: Notice
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Original-Envelope-Id: %s
Reporting-MTA: dns; mail.perso.test

Final-Recipient: rfc822; %s
Action: failed
Status: 5.1.1

--b--
`, envelopeID, recipient), "\n", "\r\n")
}

// mdn is the receipt of a reader for the letter.
func mdn(reader string) string {
	return strings.ReplaceAll(fmt.Sprintf(`From: %[1]s
To: a@hopital.test
Subject: Lu
MIME-Version: 1.0
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: message/disposition-notification

Final-Recipient: rfc822;%[1]s
Original-Message-ID: <1@x>
Disposition: manual-action/MDN-sent-manually; displayed

--b--
`, reader), "\n", "\r\n")
}

// sentByA is a router with a letter of a that is on its way, and what is known of it.
func sentByA(t *testing.T, recipients ...string) (r *backend.Router, a, b storage.AccountID) {
	t.Helper()
	r, a, b = connected(t)
	e := &backend.Envelope{From: "a@hopital.test", Account: a, Origin: "hopital.test", Octets: []byte(letter)}
	for _, to := range recipients {
		e.Rcpts = append(e.Rcpts, backend.Rcpt{Address: to})
	}
	if err := r.Accept(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return r, a, b
}

// The name of a message stands in its Received field, where everybody who has a copy reads it, and
// accounts are numbered: neither is a proof of knowing the envelope.
func TestNoticeThatKnowsTheNameOnly(t *testing.T) {
	r, a, _ := sentByA(t, "x@perso.test", "p@clinique.test")
	name := traceOf(t, r, a).Name
	envelopeID := queued(t, r.Store)[0].EnvelopeID
	for _, id := range []string{
		fmt.Sprintf("%d.%s", a, name), fmt.Sprintf("%d.%s.", a, name), fmt.Sprintf("%d.%s.AAAAAAAAAAAAAAAAAAAAAAAAAA", a, name),
		envelopeID + "A", envelopeID[:len(envelopeID)-1], strings.ToLower(envelopeID),
	} {
		err := r.Accept(t.Context(), &backend.Envelope{Octets: []byte(dsn(id, "x@perso.test")), Rcpts: []backend.Rcpt{{Address: "b@hopital.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := stages(traceOf(t, r, a)); got[0] != storage.InQueue {
			t.Errorf("ENVID %q: %v", id, got)
		}
	}
}

// Every server on the way has seen the ENVID, but speaks for its own side only.
func TestNoticeWithEnvelopeID(t *testing.T) {
	for _, c := range []struct {
		origin, about string
		counts        bool
	}{
		{"", "x@perso.test", true},
		{"", "p@clinique.test", false}, // of the trust space, whose servers prove who they are
		{"", "b@hopital.test", false},
		{"mail.clinique.test", "p@clinique.test", true}, // the host's own name
		{"clinique.test", "b@hopital.test", false},
	} {
		r, a, _ := sentByA(t, "x@perso.test", "p@clinique.test", "b@hopital.test")
		octets := dsn(queued(t, r.Store)[0].EnvelopeID, c.about)
		before := stages(traceOf(t, r, a))
		if err := r.Accept(t.Context(), &backend.Envelope{Origin: c.origin, Peer: c.origin != "", Octets: []byte(octets), Rcpts: []backend.Rcpt{{Address: "a@hopital.test"}}}); err != nil {
			t.Fatal(err)
		}
		tr := traceOf(t, r, a)
		heard := slices.ContainsFunc(tr.Recipients, func(to storage.Traced) bool {
			return slices.ContainsFunc(to.Steps, func(s storage.Step) bool { return s.Stage == storage.Bounced })
		})
		if heard != c.counts {
			t.Errorf("from %q about %s: %v, then %v", c.origin, c.about, before, stages(tr))
		}
	}
}

// One of ours speaks for itself: as the recipient, or as one of those behind it.
func TestReceiptsOfOurs(t *testing.T) {
	r, a, b := connected(t)
	err := r.Store.Update(t.Context(), func(tx *storage.Tx) error {
		return tx.NewAlias(&storage.Alias{Address: "garde@hopital.test", Members: []string{"b@hopital.test"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		who   storage.AccountID
		to    string
		reads string // whom the receipt is about
		want  storage.Stage
	}{
		{b, "b@hopital.test", "b@hopital.test", storage.Read},
		{a, "b@hopital.test", "b@hopital.test", storage.InMailbox},
		{0, "b@hopital.test", "b@hopital.test", storage.InMailbox},
		{b, "garde@hopital.test", "garde@hopital.test", storage.Read},
		{a, "garde@hopital.test", "garde@hopital.test", storage.InMailbox},
		{b, "p@clinique.test", "p@clinique.test", storage.InQueue},
	} {
		e := &backend.Envelope{From: "a@hopital.test", Account: a, Origin: "hopital.test", Octets: []byte(letter), Rcpts: []backend.Rcpt{{Address: c.to}}}
		if err := r.Accept(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		receipt := &backend.Envelope{Account: c.who, Origin: "hopital.test", Octets: []byte(mdn(c.reads)), Rcpts: []backend.Rcpt{{Address: "a@hopital.test"}}}
		if err := r.Accept(t.Context(), receipt); err != nil {
			t.Fatal(err)
		}
		if got := stages(traceOf(t, r, a)); got[0] != c.want {
			t.Errorf("account %d about %s: %v, want %v", c.who, c.reads, got[0], c.want)
		}
	}
}
