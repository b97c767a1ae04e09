package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// mailed is a report as servers and programs send them: a text, the part for programs, what is returned.
func mailed(kind, status, returned string) string {
	return mailedAs("message/"+kind, status, returned)
}

func mailedAs(kind, status, returned string) string {
	return lines("From: Mail Delivery Subsystem <MAILER-DAEMON@clinique.test>", "To: medecin@hopital.test",
		"Subject: about your message", "Date: "+time.Now().Add(-time.Hour).Format(time.RFC1123Z),
		"MIME-Version: 1.0", `Content-Type: multipart/report; report-type="x"; boundary="b/1"`, "",
		"This is for readers without MIME.", "",
		"--b/1", "Content-Type: text/plain; charset=us-ascii", "", "Something became of your message.", "",
		"--b/1", "Content-Type: "+kind, "", strings.TrimSuffix(status, "\r\n"), "",
		"--b/1", returned, "", "--b/1--")
}

func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n" }

func returned(kind string) string {
	return lines("Content-Type: "+kind, "", "Received: from x by y", "From: medecin@hopital.test", "Message-Id: <m.1@hopital.test>", "Subject: x")
}

// The shapes in which servers and programs write, as the grammar of RFC 3464, 6533 and 8098 and their habits
// allow.
func TestReports(t *testing.T) {
	attempt := time.Now().Add(-2 * time.Hour).Truncate(time.Second)
	for _, c := range []struct {
		what    string
		message string
		want    Report // without From
	}{
		{"a failure as Postfix writes it", mailed("delivery-status", lines(
			"Reporting-MTA: dns; mx.clinique.test", "Original-Envelope-Id: 2k.m5x", "X-Postfix-Queue-ID: 4F", "X-Postfix-Sender: rfc822; medecin@hopital.test",
			"Arrival-Date: Mon,  1 Jan 2024 10:00:00 +0100 (CET)", "",
			"Final-Recipient: rfc822; inconnu@clinique.test", "Original-Recipient: rfc822;avis@clinique.test", "Action: failed", "Status: 5.1.1",
			"Remote-MTA: dns; store.clinique.test", "Diagnostic-Code: smtp; 550 5.1.1 <inconnu@clinique.test>: Recipient", "    address rejected: User unknown"),
			returned("message/rfc822")),
			Report{EnvelopeID: "2k.m5x", MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"inconnu@clinique.test", "avis@clinique.test",
				storage.Step{Stage: storage.Bounced, Status: "5.1.1", Text: "550 5.1.1 <inconnu@clinique.test>: Recipient address rejected: User unknown"}}}}},
		{"several recipients, each with its own", mailed("delivery-status", lines("Reporting-MTA: dns;mx.clinique.test", "",
			"Final-Recipient: rfc822;a@clinique.test", "Action: delivered", "Status: 2.0.0", "",
			"Final-Recipient: rfc822;b@clinique.test", "Action: relayed", "Status: 2.1.9", "",
			"Final-Recipient: rfc822;c@clinique.test", "Action: expanded", "Status: 2.1.5", "",
			"Final-Recipient: rfc822;d@clinique.test", "Action: delayed", "Status: 4.4.1 (no answer)", "Last-Attempt-Date: "+attempt.Format(time.RFC1123Z)),
			returned("text/rfc822-headers")),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{
				{"a@clinique.test", "", storage.Step{Stage: storage.InMailbox, Status: "2.0.0"}},
				{"b@clinique.test", "", storage.Step{Stage: storage.HandedOver, Status: "2.1.9"}},
				{"c@clinique.test", "", storage.Step{Stage: storage.HandedOver, Status: "2.1.5"}},
				{"d@clinique.test", "", storage.Step{Stage: storage.Slow, Status: "4.4.1", Time: attempt}},
			}}},
		{"a failure as Exim writes it", mailed("delivery-status", lines("Reporting-MTA: dns; mail.clinique.test", "",
			"Action: failed", "Final-Recipient: rfc822;a@clinique.test", "Status: 5.0.0", "Remote-MTA: dns; mx.clinique.test", "Diagnostic-Code: smtp; 550 no"),
			returned("message/rfc822")),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced, Status: "5.0.0", Text: "550 no"}}}}},
		{"a failure as Exchange writes it", mailed("delivery-status", lines("Reporting-MTA: dns;EX1.clinique.test", "Received-From-MTA: dns;mail.hopital.test", "Arrival-Date: Mon, 1 Jan 2024 09:00:00 +0000", "",
			"Final-Recipient: rfc822;a@clinique.test", "Action: failed", "Status: 5.1.10", "Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", "X-Display-Name: A", ""),
			returned("message/rfc822")),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced, Status: "5.1.10",
				Text: "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"}}}}},
		{"groups that empty lines tear apart", mailed("delivery-status", lines("", "Reporting-MTA: dns; mx.clinique.test", "", "", "Arrival-Date: x", "",
			"Final-Recipient: rfc822; a@clinique.test", "Action: FAILED (for good)", "Status:5.2.2(full)", "", ""), returned("message/rfc822")),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced, Status: "5.2.2"}}}}},
		{"one group for all", mailed("delivery-status", lines("Reporting-MTA: dns; mx.clinique.test", "Final-Recipient: <a@clinique.test>", "Status: 4.2.2"), returned("message/rfc822")),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Slow, Status: "4.2.2"}}}}},
		{"what was encoded for ESMTP", mailed("delivery-status", lines("Original-Envelope-Id: a+2Bb+3Dc", "Reporting-MTA: dns; mx", "",
			"Original-Recipient: rfc822; avis+2Bcoeur@clinique.test", "Final-Recipient: rfc822; avis+AB@clinique.test", "Action: failed", "Status: 5.1.1"), returned("message/rfc822")),
			Report{EnvelopeID: "a+b=c", MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"avis+AB@clinique.test", "avis+coeur@clinique.test", storage.Step{Stage: storage.Bounced, Status: "5.1.1"}}}}},
		{"an international one", mailed("global-delivery-status", lines("Reporting-MTA: dns; mx", "",
			"Final-Recipient: utf-8; médecin@clinique.test", `Original-Recipient: utf-8; m\x{E9}decin\x{2B}a@clinique.test`, "Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 refusé"), returned("message/global-headers")),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"médecin@clinique.test", "médecin+a@clinique.test", storage.Step{Stage: storage.Bounced, Status: "5.1.1", Text: "550 refusé"}}}}},
		{"encoded parts", mailedAs("message/global-delivery-status\r\nContent-Transfer-Encoding: base64", "RmluYWwtUmVjaXBpZW50OiByZmM4MjI7IGFAY2xpbmlxdWUudGVzdA0KQWN0aW9uOiBmYWlsZWQN\r\nCg==",
			"Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nTWVzc2FnZS1JRDogPG0uMUBob3BpdGFsLnRlc3Q+DQoNCng="),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced}}}}},
		{"lines without CR", strings.ReplaceAll(mailed("delivery-status", lines("Reporting-MTA: dns; mx", "", "Final-Recipient: rfc822; a@clinique.test", "Action: failed"), returned("message/rfc822")), "\r", ""),
			Report{MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced}}}}},
		{"recipients and actions that say nothing", mailed("delivery-status", lines("Reporting-MTA: dns; mx", "",
			"Final-Recipient: rfc822; a@clinique.test", "Action: lost", "Status: 5.1.1", "", "Action: failed", "Status: 5.1.1", "",
			"Final-Recipient: rfc822; b@clinique.test", "Status: 9.9", "", "Final-Recipient: rfc822; c\x01d@clinique.test", "Action: failed"), returned("message/rfc822")),
			Report{MessageID: "<m.1@hopital.test>"}},
		{"nothing returned, but an answer", strings.Replace(mailed("delivery-status", lines("Final-Recipient: rfc822; a@clinique.test", "Action: failed"), "Content-Type: text/plain\r\n\r\nMessage-ID: <no@x.test>\r\n"),
			"Subject:", "References: <a@x.test>\r\n <b@x.test>\r\nSubject:", 1),
			Report{MessageID: "<b@x.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced}}}}},

		{"a person has read it (Thunderbird)", mailed("disposition-notification", lines("Reporting-UA: hopital.test; Mail", "Final-Recipient: rfc822;a@clinique.test",
			"Original-Message-ID: <m.2@hopital.test>", "Disposition: manual-action/MDN-sent-manually; displayed", ""), returned("text/rfc822-headers")),
			Report{Disposition: true, MessageID: "<m.2@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Read}}}}},
		{"a person has read it (Outlook)", mailed("disposition-notification", lines("Final-recipient: RFC822; A@clinique.test",
			"Disposition: automatic-action/MDN-sent-automatically; displayed", "X-MSExch-Correlation-Key: abc", "Original-Message-ID: <m.2@hopital.test>", "X-Display-Name: A B"), "Content-Type: text/html\r\n\r\nx"),
			Report{Disposition: true, MessageID: "<m.2@hopital.test>", Recipients: []Reported{{"A@clinique.test", "", storage.Step{Stage: storage.Read}}}}},
		{"a filter of Dovecot", mailed("disposition-notification", lines("Reporting-UA: mail.clinique.test; Dovecot Mail Delivery Agent", "Final-Recipient: rfc822; a@clinique.test",
			"Original-Message-ID: <m.2@hopital.test>", "Disposition: automatic-action/MDN-sent-automatically; deleted"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.2@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.InMailbox, Text: "deleted"}}}}},
		{"an application took it", mailed("disposition-notification", lines("Reporting-UA: logiciel", "Original-Recipient: rfc822; app@clinique.test", "Final-Recipient: rfc822; a@clinique.test",
			"Original-Message-ID: <m.2@hopital.test>", "Disposition: automatic-action/MDN-sent-automatically; processed"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.2@hopital.test>", Recipients: []Reported{{"a@clinique.test", "app@clinique.test", storage.Step{Stage: storage.Processed}}}}},
		{"an application refused it", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test", "Original-Message-ID: <m.2@hopital.test>",
			"Disposition: automatic-action/MDN-sent-automatically; processed/Error: 902^Patient inconnu; voir le dossier"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.2@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.NotAccepted, Status: "902", Text: "Patient inconnu; voir le dossier"}}}}},
		{"an application refused it, by a field", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test",
			"Disposition: automatic-action/MDN-sent-automatically; processed/error", "Error: 904^ =?utf-8?q?INS_diff=C3=A9rent?="), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.NotAccepted, Status: "904", Text: "INS différent"}}}}},
		{"an application refused it, without a code", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test",
			"Disposition: Automatic-Action / MDN-Sent-Automatically ; Processed / Warning, ERROR", "Error: no ^ idea"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.NotAccepted, Text: "no ^ idea"}}}}},
		{"a code alone", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test", "Disposition: automatic-action/MDN-sent-automatically; processed/error: 900"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.NotAccepted, Status: "900"}}}}},
		{"words that only begin like error", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test", "Disposition: automatic-action/MDN-sent-automatically; processed/errorless,x-failures"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Processed}}}}},
		{"it failed", mailed("global-disposition-notification", lines("Final-Recipient: utf-8; é@clinique.test", "Disposition: automatic-action/MDN-sent-automatically; failed", "Failure: 901^No room"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"é@clinique.test", "", storage.Step{Stage: storage.NotAccepted, Status: "901", Text: "No room"}}}}},
		{"nobody is named", mailed("disposition-notification", lines("Disposition: manual-action/MDN-sent-manually; displayed"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>", Recipients: []Reported{{"MAILER-DAEMON@clinique.test", "", storage.Step{Stage: storage.Read}}}}},
		{"a disposition that nobody knows", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test", "Disposition: manual-action/MDN-sent-manually; eaten"), returned("message/rfc822")),
			Report{Disposition: true, MessageID: "<m.1@hopital.test>"}},
		{"a Message-ID that could break out", mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test", "Original-Message-ID: <a b@hopital.test>", "Disposition: x; displayed"), "Content-Type: text/plain\r\n\r\nx"),
			Report{Disposition: true, Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Read}}}}},
		{"a footer around it", lines("From: <MAILER-DAEMON@clinique.test>", "Content-Type: multipart/mixed; boundary=o", "", "--o",
			"Content-Type: multipart/report; boundary=i", "", "--i", "", "x", "--i", "Content-Type: message/delivery-status", "", "Final-Recipient: rfc822; a@clinique.test", "Action: failed", "", "--i--", "--o", "", "footer", "--o--"),
			Report{Recipients: []Reported{{"a@clinique.test", "", storage.Step{Stage: storage.Bounced}}}}},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := time.Now()
			r, ok := Parse([]byte(c.message))
			if !ok {
				t.Fatal("no report")
			}
			if r.From != "MAILER-DAEMON@clinique.test" {
				t.Errorf("From %q", r.From)
			}
			for i, got := range r.Recipients {
				if got.Time.Before(before.AddDate(-1, 0, 0)) || got.Time.After(time.Now()) {
					t.Errorf("time %v", got.Time)
				}
				if i < len(c.want.Recipients) && !c.want.Recipients[i].Time.IsZero() && !got.Time.Equal(c.want.Recipients[i].Time) {
					t.Errorf("time %v", got.Time)
				}
				r.Recipients[i].Time = time.Time{}
			}
			for i := range c.want.Recipients {
				c.want.Recipients[i].Time = time.Time{}
			}
			r.From = ""
			if got, want := fmt.Sprintf("%+v", *r), fmt.Sprintf("%+v", c.want); got != want {
				t.Errorf("got\n%s\nwanted\n%s", got, want)
			}
		})
	}
}

func TestWhatIsNoReport(t *testing.T) {
	status := lines("Final-Recipient: rfc822; a@clinique.test", "Action: failed")
	whole := mailed("delivery-status", status, returned("message/rfc822"))
	for what, message := range map[string]string{
		"nothing":                "",
		"a text":                 lines("From: a@x.test", "Content-Type: text/plain", "", "multipart/report", "Action: failed"),
		"no Content-Type":        lines("From: a@x.test", "", "multipart/report"),
		"a status outside":       strings.Replace(whole, "multipart/report", "multipart/mixed", 1),
		"a report of spam":       strings.Replace(whole, "message/delivery-status", "message/feedback-report", 1),
		"a text about it":        strings.Replace(whole, "message/delivery-status", "text/plain", 1),
		"one that was forwarded": lines("From: a@x.test", "Content-Type: multipart/mixed; boundary=o", "", "--o", "", "see below", "--o", "Content-Type: message/rfc822", "", whole, "--o--"),
		"one inside a report":    lines("From: a@x.test", "Content-Type: multipart/report; boundary=o", "", "--o", "", "see below", "--o", "Content-Type: message/rfc822", "", whole, "--o--"),
		"one that is deep":       strings.Repeat("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n", 10) + whole,
		"behind the first MiB":   strings.Replace(whole, "This is", strings.Repeat("x\r\n", longestReport/3)+"This is", 1),
	} {
		if r, ok := Parse([]byte(message)); ok || r != nil {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// Nobody speaks for another by what From looks like.
func TestFromOfAReport(t *testing.T) {
	whole := mailed("disposition-notification", lines("Final-Recipient: rfc822; a@clinique.test", "Disposition: x; displayed"), returned("message/rfc822"))
	const was = "From: Mail Delivery Subsystem <MAILER-DAEMON@clinique.test>"
	for from, want := range map[string]string{
		"From: a@clinique.test":                                "a@clinique.test",
		"From: \"Dr <b@x.test>\" <a@clinique.test>":            "a@clinique.test",
		"From: =?utf-8?q?Dr_=3Cb=40x.test=3E?= <a@x.test>":     "a@x.test",
		"From: médecin <é@clinique.test>":                      "é@clinique.test",
		"From: (b@x.test) a@clinique.test":                     "a@clinique.test",
		"From: \"x<b@bank.test\"@x.test":                       "",
		"From: \"b@bank.test\"@x.test":                         "",
		"From: a@x.test, b@y.test":                             "",
		"From: a@x.test\r\nFrom: b@y.test":                     "",
		"From: group: a@x.test;":                               "",
		"From:":                                                "",
		"X-From: a@x.test":                                     "",
		"From: MAILER-DAEMON":                                  "",
		"From: " + strings.Repeat("a", 400) + "@clinique.test": "",
	} {
		r, ok := Parse([]byte(strings.Replace(whole, was, from, 1)))
		if !ok || r.From != want {
			t.Errorf("%s: %v %q", from, ok, r.From)
		}
	}
}

func TestTimesThatNobodyBelieves(t *testing.T) {
	now := time.Now()
	for what, c := range map[string]struct {
		attempt string
		sent    time.Time
		want    time.Time // zero for now
	}{
		"the attempt":     {now.Add(-time.Hour).Format(time.RFC1123Z), now.Add(-time.Minute), now.Add(-time.Hour)},
		"the future":      {now.Add(time.Hour).Format(time.RFC1123Z), now.Add(-time.Minute), now.Add(-time.Minute)},
		"long ago":        {now.AddDate(-2, 0, 0).Format(time.RFC1123Z), now.Add(-time.Minute), now.Add(-time.Minute)},
		"nonsense":        {"yesterday", now.Add(-time.Minute), now.Add(-time.Minute)},
		"nothing at all":  {"", now.AddDate(3, 0, 0), time.Time{}},
		"with the zone's": {now.Add(-time.Hour).Format(time.RFC1123Z) + " (CET)", now.Add(-time.Minute), now.Add(-time.Hour)},
	} {
		d, ok := delivery([]byte("Final-Recipient: rfc822; a@x.test\r\nAction: failed\r\nLast-Attempt-Date: "+c.attempt+"\r\n"), c.sent)
		want := c.want
		if want.IsZero() {
			want = time.Now()
		}
		if distance := d.Time.Sub(want).Abs(); !ok || distance > 2*time.Second {
			t.Errorf("%s: %v, wanted %v", what, d.Time, want)
		}
	}
}

func TestReportsAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&b, "Final-Recipient: rfc822; a%d@clinique.test\r\nAction: failed\r\nDiagnostic-Code: smtp; %s\r\n\r\n", i, strings.Repeat("é\x01", 30))
	}
	r, ok := Parse([]byte(mailed("delivery-status", b.String(), returned("message/rfc822"))))
	if !ok || len(r.Recipients) != maxRecipients {
		t.Fatalf("%v, %d recipients", ok, len(r.Recipients))
	}
	r, ok = Parse([]byte(mailed("delivery-status", "Original-Envelope-Id: "+strings.Repeat("x", 10000)+"\r\n\r\nFinal-Recipient: rfc822; a@x.test\r\nAction: failed\r\nDiagnostic-Code: smtp; "+
		strings.Repeat("é \x01\x1b[2J\u202e", 5000), "Content-Type: message/rfc822\r\n\r\nMessage-ID: <"+strings.Repeat("x", 2000)+">")))
	if !ok || len(r.Recipients) != 1 {
		t.Fatalf("%v %+v", ok, r)
	}
	check(t, r)
	if r.MessageID != "" {
		t.Errorf("a Message-ID of %d octets", len(r.MessageID))
	}
}
