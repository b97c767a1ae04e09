package report

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
	"time"

	"telesphore/storage"
)

const original = "From: Medecin <medecin@hopital.test>\r\nTo: cardiologue@clinique.test\r\n" +
	"Subject: XDM/1.0/DDM+Lettre PATIENT RUTH 28/03/1979\r\nMessage-ID: <lettre.1@hopital.test>\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
	"Chère consœur, la patiente va mieux.\r\n"

func notice(action storage.Action) *Notice {
	arrived := time.Now().Add(-5 * time.Hour).Truncate(time.Second)
	return &Notice{
		Hostname: "mail.hopital.test", From: "postmaster@hopital.test", To: "medecin@hopital.test",
		EnvelopeID: "2k.m5x", Arrived: arrived, Expires: arrived.Add(5 * 24 * time.Hour),
		Recipients: []Recipient{{
			Address: "cardiologue@clinique.test",
			Result: storage.Result{Action: action, Time: arrived.Add(time.Hour), Status: "5.1.1",
				Diagnostic: "550 5.1.1 no such user", Remote: "mx.clinique.test"},
		}},
		Message: []byte(original), Whole: true,
	}
}

func compose(t *testing.T, n *Notice) []byte {
	t.Helper()
	octets, err := Compose(n)
	if err != nil {
		t.Fatal(err)
	}
	wellFormed(t, octets)
	return octets
}

// wellFormed checks what every message must be: CRLF lines of at most 998 octets, 8-bit octets only
// where they are declared, a header without them.
func wellFormed(t *testing.T, octets []byte) {
	t.Helper()
	rest := bytes.ReplaceAll(octets, []byte("\r\n"), nil)
	if bytes.ContainsAny(rest, "\r\n\x00") {
		t.Error("a bare CR or LF, or NUL")
	}
	for l := range bytes.SplitSeq(octets, []byte("\r\n")) {
		if len(l) > 998 {
			t.Errorf("a line of %d octets", len(l))
		}
	}
	header, _, ok := bytes.Cut(octets, []byte("\r\n\r\n"))
	if !ok {
		t.Fatal("no body")
	}
	if !ascii(octets) && !bytes.Contains(header, []byte("Content-Transfer-Encoding: 8bit")) {
		t.Error("8-bit octets that are not declared")
	}
}

// opened is a notice taken apart by other programs than ours.
type opened struct {
	header mail.Header
	kind   string
	params map[string]string
	types  []string
	bodies []string // decoded from quoted-printable
	raw    string
}

func open(t *testing.T, octets []byte) *opened {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(octets))
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{header: m.Header, raw: string(octets)}
	if o.kind, o.params, err = mime.ParseMediaType(m.Header.Get("Content-Type")); err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(m.Body, o.params["boundary"])
	for {
		p, err := r.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		o.types = append(o.types, p.Header.Get("Content-Type"))
		o.bodies = append(o.bodies, string(b))
	}
	if len(o.types) != 3 {
		t.Fatalf("%d parts: %q", len(o.types), o.types)
	}
	return o
}

func TestANoticeIsReadBack(t *testing.T) {
	for _, c := range []struct {
		action storage.Action
		stage  storage.Stage
	}{
		{storage.Failed, storage.Bounced}, {storage.Delayed, storage.Slow}, {storage.Delivered, storage.InMailbox},
		{storage.Relayed, storage.HandedOver}, {storage.Expanded, storage.HandedOver},
	} {
		n := notice(c.action)
		n.Recipients[0].OriginalType, n.Recipients[0].Original = "rfc822", "cardiologue+avis@clinique.test"
		r, ok := Parse(compose(t, n))
		if !ok || len(r.Recipients) != 1 {
			t.Fatalf("action %d: %v %+v", c.action, ok, r)
		}
		if r.Disposition || r.From != n.From || r.EnvelopeID != n.EnvelopeID || r.MessageID != "<lettre.1@hopital.test>" {
			t.Errorf("action %d: %+v", c.action, r)
		}
		got, want := r.Recipients[0], n.Recipients[0]
		if got.Stage != c.stage || got.Address != want.Address || got.Original != want.Original ||
			got.Status != want.Status || got.Text != want.Diagnostic || !got.Time.Equal(want.Time) {
			t.Errorf("action %d: %+v", c.action, got)
		}
	}
}

func TestShapeOfANotice(t *testing.T) {
	n := notice(storage.Failed)
	o := open(t, compose(t, n))
	if o.kind != "multipart/report" || o.params["report-type"] != "delivery-status" {
		t.Errorf("%s %v", o.kind, o.params)
	}
	for name, want := range map[string]string{
		"From": "Mail Delivery System <postmaster@hopital.test>", "To": "<medecin@hopital.test>", "Auto-Submitted": "auto-replied",
		"Mime-Version": "1.0", "Subject": "Your message was not delivered",
		"In-Reply-To": "<lettre.1@hopital.test>", "References": "<lettre.1@hopital.test>",
	} {
		if got := o.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := o.header.Date(); err != nil {
		t.Error(err)
	}
	if id := o.header.Get("Message-Id"); !strings.HasSuffix(id, "@mail.hopital.test>") || !goodID(id) {
		t.Errorf("Message-ID %q", id)
	}
	want := "Original-Envelope-Id: 2k.m5x\r\nReporting-MTA: dns; mail.hopital.test\r\nArrival-Date: " + n.Arrived.Format(time.RFC1123Z) +
		"\r\n\r\nFinal-Recipient: rfc822; cardiologue@clinique.test\r\nAction: failed\r\nStatus: 5.1.1\r\n" +
		"Remote-MTA: dns; mx.clinique.test\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\nLast-Attempt-Date: " +
		n.Recipients[0].Time.Format(time.RFC1123Z) + "\r\n"
	if o.types[1] != "message/delivery-status" || o.bodies[1] != want {
		t.Errorf("%s\n%s\nwanted\n%s", o.types[1], o.bodies[1], want)
	}
	if o.types[2] != "message/rfc822" || o.bodies[2] != original {
		t.Errorf("%s\n%s", o.types[2], o.bodies[2])
	}
}

func TestOnlyADelayHasAnEnd(t *testing.T) {
	n := notice(storage.Delayed)
	want := "Will-Retry-Until: " + n.Expires.Format(time.RFC1123Z) + "\r\n"
	if o := open(t, compose(t, n)); !strings.HasSuffix(o.bodies[1], want) {
		t.Errorf("%s", o.bodies[1])
	}
	for _, action := range []storage.Action{storage.Failed, storage.Delivered, storage.Relayed, storage.Expanded} {
		if o := open(t, compose(t, notice(action))); strings.Contains(o.bodies[1], "Will-Retry-Until") {
			t.Errorf("action %d: %s", action, o.bodies[1])
		}
	}
}

// Whatever is in the message: people who see a notice in a list of messages, and its text, learn
// nothing of it.
func TestTheTextTellsNothingOfTheMessage(t *testing.T) {
	for _, language := range []string{"", "en", "fr"} {
		for action := range actionNames() {
			n := notice(action)
			n.Language = language
			o := open(t, compose(t, n))
			shown := o.header.Get("Subject") + o.bodies[0]
			for _, secret := range []string{"PATIENT", "RUTH", "1979", "XDM", "patiente"} {
				if strings.Contains(shown, secret) {
					t.Errorf("%s %d: the text has %q", language, action, secret)
				}
			}
			if !strings.Contains(o.bodies[0], "cardiologue@clinique.test") {
				t.Errorf("%s %d: no address in\n%s", language, action, o.bodies[0])
			}
		}
	}
}

func TestTheTextSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		language, status string
		action           storage.Action
		want, not        string
	}{
		{"en", "5.1.1", storage.Failed, "Check how it is written", ""},
		{"fr", "5.1.1", storage.Failed, "Vérifiez comment elle est écrite", ""},
		{"en", "5.2.2", storage.Failed, "mailbox is full", ""},
		{"fr", "5.2.2", storage.Failed, "messagerie est pleine", ""},
		{"en", "4.2.2", storage.Delayed, "There is nothing to do", "Tell the recipient"},
		{"fr", "4.2.2", storage.Delayed, "Vous n'avez rien à faire", "Prévenez"},
		{"en", "5.3.4", storage.Failed, "too large", ""},
		{"en", "5.4.4", storage.Failed, "No server takes mail", ""},
		{"en", "4.4.7", storage.Failed, "tried again and again", "nothing to do"},
		{"fr", "4.4.1", storage.Failed, "essais répétés", "rien à faire"},
		{"en", "5.6.7", storage.Failed, "letters beyond a to z", ""},
		{"en", "5.7.1", storage.Failed, "rules", ""},
		{"en", "5.7.77", storage.Failed, "rules", ""},
		{"en", "5.9.9", storage.Failed, "could not be delivered", ""},
		{"en", "nonsense", storage.Failed, "could not be delivered", ""},
		{"en", "2.1.5", storage.Delivered, "in the mailbox", "could not"},
		{"fr", "2.1.5", storage.Relayed, "transmis", "n'a pas pu"},
	} {
		n := notice(c.action)
		n.Language, n.Recipients[0].Status = c.language, c.status
		text := strings.Join(strings.Fields(open(t, compose(t, n)).bodies[0]), " ")
		if !strings.Contains(text, c.want) {
			t.Errorf("%s %s: no %q in %q", c.language, c.status, c.want, text)
		}
		if c.not != "" && strings.Contains(text, c.not) {
			t.Errorf("%s %s: %q in %q", c.language, c.status, c.not, text)
		}
	}
}

func TestBothLanguagesSayTheSame(t *testing.T) {
	en, fr := english(), french()
	for action := range actionNames() {
		for _, l := range []*language{en, fr} {
			if l.subjects[action] == "" || l.openings[action] == "" || l.closings[action] == "" {
				t.Errorf("%s: nothing for action %d", l.tag, action)
			}
		}
	}
	for key := range en.reasons {
		if fr.reasons[key].fact == "" || fr.reasons[key].advice == "" {
			t.Errorf("fr: nothing for %q", key)
		}
	}
	if len(en.reasons) != len(fr.reasons) {
		t.Errorf("%d reasons in English, %d in French", len(en.reasons), len(fr.reasons))
	}
}

func TestWhatIsReturned(t *testing.T) {
	long := strings.Repeat("x", 999)
	header, _, _ := strings.Cut(original, "\r\n\r\n")
	header += "\r\n"
	for _, c := range []struct {
		what       string
		action     storage.Action
		whole      bool
		utf8       bool
		message    string
		kind, body string
	}{
		{"the whole of a failure", storage.Failed, true, false, original, "message/rfc822", original},
		{"the header where FULL was not asked for", storage.Failed, false, false, original, "text/rfc822-headers", header},
		{"never the whole of a delay", storage.Delayed, true, false, original, "text/rfc822-headers", header},
		{"never the whole of a success", storage.Delivered, true, false, original, "text/rfc822-headers", header},
		{"the beginning of a message", storage.Failed, false, false, original[:len(original)-10], "text/rfc822-headers", header},
		{"a header that was cut", storage.Failed, false, false, "A: b\r\nC: d\r\n e\r\nSubject: Pat", "text/rfc822-headers", "A: b\r\nC: d\r\n e\r\n"},
		{"a text that pretends to be a header", storage.Failed, false, false, "A: b\r\nDear colleague\r\nC: d\r\n\r\n", "text/rfc822-headers", "A: b\r\n"},
		{"nothing", storage.Failed, true, false, "", "message/rfc822", ""},
		{"a body alone", storage.Failed, false, false, "\r\nA: b\r\n", "text/rfc822-headers", ""},
		{"lines too long to be returned", storage.Failed, true, false, "A: b\r\n\r\n" + long + "\r\n", "text/rfc822-headers", "A: b\r\n"},
		{"a header line that is too long", storage.Failed, true, false, "A: " + long + "\r\n\r\nb\r\n", "text/rfc822-headers", "A: " + long + "\r\n"},
		{"an international header", storage.Failed, true, true, "A: é\r\n\r\nb\r\n", "message/global", "A: é\r\n\r\nb\r\n"},
		{"an international header alone", storage.Failed, false, true, "A: é\r\n\r\nb\r\n", "message/global-headers", "A: é\r\n"},
		{"8-bit where it must not be", storage.Failed, false, false, "A: é\r\n\r\nb\r\n", "text/rfc822-headers; charset=utf-8", "A: é\r\n"},
		{"SMTPUTF8 for nothing", storage.Failed, true, true, "A: e\r\n\r\nb\r\n", "message/rfc822", "A: e\r\n\r\nb\r\n"},
		{"line ends of other systems", storage.Failed, true, false, "A: b\n\nc\rd\r\r\n", "message/rfc822", "A: b\r\n\r\nc\r\nd\r\n\r\n"},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := notice(c.action)
			n.Whole, n.UTF8, n.Message = c.whole, c.utf8, []byte(c.message)
			o := open(t, compose(t, n))
			if o.types[2] != c.kind || o.bodies[2] != c.body {
				t.Errorf("%s %q", o.types[2], o.bodies[2])
			}
		})
	}
}

// What others write, or have said, stays where it belongs.
func TestNothingBreaksOut(t *testing.T) {
	evil := []string{
		"x\r\nBcc: evil@ailleurs.test\r\n\r\nhello", "x\n\nFinal-Recipient: rfc822; evil@ailleurs.test\nAction: delivered",
		"x\rAction: delivered", "x\x00y\x7f\x1b[2J", "x\r\n--notice-\r\nContent-Type: text/html\r\n\r\n<b>", "\xff\xfe", "a\u202eb\u2028c\u0085d",
		strings.Repeat("y", 5000), strings.Repeat("z ", 5000), "\\x{0A}Action: delivered", "é\r\nAction: delivered", " ", "\r\n",
	}
	for _, e := range evil {
		for _, wide := range []bool{false, true} {
			n := notice(storage.Failed)
			n.UTF8, n.EnvelopeID, n.Message = wide, e, []byte("Message-ID: "+e+"\r\n\r\n"+e)
			r := &n.Recipients[0]
			r.Address, r.OriginalType, r.Original = e, e, e
			r.Status, r.Diagnostic, r.Remote = e, e, e
			octets := compose(t, n)
			o := open(t, octets)
			if len(o.header) > 12 {
				t.Errorf("%q: %d fields in the header: %v", e, len(o.header), o.header)
			}
			fields := []string{}
			for l := range strings.SplitSeq(strings.TrimSuffix(o.bodies[1], "\r\n"), "\r\n") {
				if l != "" && l[0] != ' ' {
					name, _, _ := strings.Cut(l, ":")
					fields = append(fields, name)
				}
			}
			want := "Original-Envelope-Id Reporting-MTA Arrival-Date Original-Recipient Final-Recipient Action Status Remote-MTA Diagnostic-Code Last-Attempt-Date"
			if got := strings.Join(fields, " "); got != want {
				t.Errorf("%q: %s", e, got)
			}
			if p, ok := Parse(octets); !ok || len(p.Recipients) > 1 || len(p.Recipients) == 1 && p.Recipients[0].Stage != storage.Bounced {
				t.Errorf("%q: read as %v %+v", e, ok, p)
			}
		}
	}
}

func TestInternationalAddresses(t *testing.T) {
	const who = "médecin=gaëlle@hôpital.test"
	for _, c := range []struct {
		utf8             bool
		report, kind     string
		final, to        string
		diagnosticInside string
	}{
		{true, "global-delivery-status", "message/global-delivery-status", "Final-Recipient: utf-8; médecin\\x{3D}gaëlle@hôpital.test\r\n", "<gaëlle@hopital.test>", "refusé"},
		{false, "delivery-status", "message/delivery-status", "Final-Recipient: utf-8; m\\x{E9}decin\\x{3D}ga\\x{EB}lle@h\\x{F4}pital.test\r\n", "undisclosed-recipients:;", `refus\x{E9}`},
	} {
		n := notice(storage.Failed)
		n.UTF8, n.To, n.Message = c.utf8, "gaëlle@hopital.test", []byte("Message-ID: <1@hopital.test>\r\n\r\nx\r\n")
		n.Recipients[0].Address, n.Recipients[0].Diagnostic = who, "550 refusé"
		octets := compose(t, n)
		o := open(t, octets)
		if o.params["report-type"] != c.report || o.types[1] != c.kind || o.header.Get("To") != c.to {
			t.Errorf("%s, %s, To %q", o.params["report-type"], o.types[1], o.header.Get("To"))
		}
		if !strings.Contains(o.bodies[1], c.final) || !strings.Contains(o.bodies[1], c.diagnosticInside) {
			t.Errorf("%s", o.bodies[1])
		}
		if !strings.Contains(o.bodies[0], who) {
			t.Errorf("%s", o.bodies[0])
		}
		r, ok := Parse(octets)
		if !ok || len(r.Recipients) != 1 || r.Recipients[0].Address != who || r.Recipients[0].Text != "550 refusé" {
			t.Errorf("%v %+v", ok, r)
		}
	}
}

func TestNoticesThatCannotBeWritten(t *testing.T) {
	for what, spoil := range map[string]func(*Notice){
		"to nobody":               func(n *Notice) { n.To = "" },
		"to more than an address": func(n *Notice) { n.To = "a@b.test>\r\nBcc: <c@d.test" },
		"to two":                  func(n *Notice) { n.To = "a@b.test,c@d.test" },
		"from nobody":             func(n *Notice) { n.From = "postmaster" },
		"from UTF-8":              func(n *Notice) { n.From = "é@b.test" },
		"from no host":            func(n *Notice) { n.Hostname = "" },
		"from a strange host":     func(n *Notice) { n.Hostname = "a b" },
		"about nobody":            func(n *Notice) { n.Recipients = nil },
		"about no address":        func(n *Notice) { n.Recipients[0].Address = "" },
		"about nothing":           func(n *Notice) { n.Recipients[0].Action = storage.NoAction },
		"about several things": func(n *Notice) {
			n.Recipients = append(n.Recipients, Recipient{Address: "a@b.test", Result: storage.Result{Action: storage.Delivered}})
		},
	} {
		n := notice(storage.Failed)
		spoil(n)
		if b, err := Compose(n); !errors.Is(err, ErrNotice) || b != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestManyRecipients(t *testing.T) {
	n := notice(storage.Failed)
	for len(n.Recipients) < 1000 {
		r := n.Recipients[0]
		r.Address = strings.Repeat("a", len(n.Recipients)%50+1) + "@clinique.test"
		n.Recipients = append(n.Recipients, r)
	}
	r, ok := Parse(compose(t, n))
	if !ok || len(r.Recipients) != 1000 || r.Recipients[999].Address != n.Recipients[999].Address {
		t.Errorf("%v, %d recipients", ok, len(r.Recipients))
	}
}
