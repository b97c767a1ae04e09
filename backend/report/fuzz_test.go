package report

import (
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

// check is what holds of every Report, whoever wrote the message.
func check(t *testing.T, r *Report) {
	t.Helper()
	if len(r.Recipients) > maxRecipients {
		t.Errorf("%d recipients", len(r.Recipients))
	}
	tidy := func(what, s string, longest int) {
		if len(s) > longest || line(s, longest) != s {
			t.Errorf("%s: %q", what, s)
		}
	}
	tidy("From", r.From, longestAddress)
	tidy("EnvelopeID", r.EnvelopeID, 200)
	if r.MessageID != "" && !goodID(r.MessageID) {
		t.Errorf("MessageID %q", r.MessageID)
	}
	for _, rcpt := range r.Recipients {
		tidy("Address", rcpt.Address, longestAddress)
		tidy("Original", rcpt.Original, longestAddress)
		tidy("Text", rcpt.Text, longestText)
		if s := rcpt.Status; s != "" && !validStatus(s) && (len(s) > 10 || strings.Trim(s, "0123456789") != "") {
			t.Errorf("Status %q", s)
		}
		if rcpt.Address == "" || rcpt.Stage == storage.InQueue || rcpt.Time.After(time.Now()) || rcpt.Time.Before(time.Now().AddDate(-1, 0, -1)) {
			t.Errorf("%+v", rcpt)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(mailed("delivery-status", lines("Original-Envelope-Id: 2k.a+2Bb", "Reporting-MTA: dns; mx", "", "Final-Recipient: rfc822; a@x.test",
		"Original-Recipient: utf-8; \\x{E9}@x.test", "Action: failed", "Status: 5.1.1", "Diagnostic-Code: smtp; 550 =?utf-8?q?no?="), returned("message/rfc822"))))
	f.Add([]byte(mailed("disposition-notification", lines("Final-Recipient: rfc822;a@x.test", "Original-Message-ID: <a@b>", "Disposition: a/b; processed/Error: 902^x", "Error: 903^y"), returned("text/rfc822-headers"))))
	f.Add([]byte(lines("Content-Type: multipart/mixed; boundary=o", "", "--o", "Content-Type: multipart/report; boundary=i", "", "--i", "Content-Type: message/delivery-status", "Content-Transfer-Encoding: base64", "", "QQ==")))
	f.Fuzz(func(t *testing.T, octets []byte) {
		if r, ok := Parse(octets); ok {
			check(t, r)
		}
		if r, ok := Parse([]byte(mailed("delivery-status", string(octets), string(octets)))); ok {
			check(t, r)
		}
		if r, ok := Parse([]byte(mailed("disposition-notification", string(octets), string(octets)))); ok {
			check(t, r)
		}
	})
}

// Whatever is in a notice, it is one message of three parts, which tells one recipient one thing.
func FuzzCompose(f *testing.F) {
	f.Add("550 5.1.1 no\r\nAction: delivered", "a@x.test", "2k.a", []byte(original), true, true)
	f.Add("\xff\x00", "é\\x{41}@x.test", "+=\r", []byte("Message-ID: <a@b>\nX: é\r\r\n\n\x00"), false, false)
	f.Fuzz(func(t *testing.T, diagnostic, address, id string, message []byte, whole, utf8 bool) {
		n := notice(storage.Failed)
		n.Whole, n.UTF8, n.Message, n.EnvelopeID = whole, utf8, message, id
		r := &n.Recipients[0]
		r.Address, r.Original, r.OriginalType, r.Diagnostic, r.Remote, r.Status = "a"+address, address, diagnostic, diagnostic, diagnostic, diagnostic
		octets := compose(t, n)
		open(t, octets)
		p, ok := Parse(octets)
		if !ok && len(octets) < longestReport {
			t.Fatal("no report")
		}
		if !ok {
			return
		}
		check(t, p)
		if len(p.Recipients) > 1 || len(p.Recipients) == 1 && p.Recipients[0].Stage != storage.Bounced {
			t.Errorf("%+v", p)
		}
	})
}
