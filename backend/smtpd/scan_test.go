package smtpd

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"log/slog"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-milter"

	"telesphore/backend/scan"
	ours "telesphore/tls"
)

// filter is a milter that refuses what says so, and marks the rest.
type filter struct {
	milter.NoOpMilter
	header, body strings.Builder

	mu   *sync.Mutex // guards seen
	seen *[]string   // headers
}

func (f *filter) Headers(h textproto.MIMEHeader, _ *milter.Modifier) (milter.Response, error) {
	for name, values := range h {
		f.header.WriteString(name + ": " + strings.Join(values, ", ") + "\n")
	}
	return milter.RespContinue, nil
}

func (f *filter) BodyChunk(b []byte, _ *milter.Modifier) (milter.Response, error) {
	f.body.Write(b)
	return milter.RespContinue, nil
}

func (f *filter) Body(m *milter.Modifier) (milter.Response, error) {
	f.mu.Lock()
	*f.seen = append(*f.seen, f.header.String())
	f.mu.Unlock()
	switch {
	case strings.Contains(f.body.String(), "EICAR"):
		return milter.NewResponseStr('y', "554 5.7.1 Contains a test virus"), nil
	case strings.Contains(f.body.String(), "GREY"):
		return milter.RespTempFail, nil
	}
	return milter.RespAccept, m.AddHeader("X-Scanned", "clean")
}

// scanner asks a filter on loopback that lives as long as the test.
func scanner(t *testing.T) (s *scan.Scanner, seen func() []string) {
	t.Helper()
	var mu sync.Mutex
	var all []string
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &milter.Server{
		NewMilter: func() milter.Milter { return &filter{mu: &mu, seen: &all} },
		Actions:   milter.OptAddHeader,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(ln) // ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	s = &scan.Scanner{Address: "tcp:" + ln.Addr().String(), Hostname: "mail.hopital.test", Logger: slog.New(slog.DiscardHandler)}
	return s, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestScanner(t *testing.T) {
	s, seen := scanner(t)
	atEveryDoor(t, Limits{}, func(t *testing.T, d *door) {
		before := len(seen())
		c := d.open(t)
		c.post(d.from, d.letter()+"EICAR\r\n", "DATA 550 5.7.1 Contains a test virus")
		c.post(d.from, d.letter()+"GREY\r\n", "DATA 451 4.7.1 ")
		c.post(d.from, d.letter()+"fine\r\n", taken)
		if got := d.inbox(); len(got) != 1 || !strings.Contains(got[0], "\r\nX-Scanned: clean\r\nReceived: from ") {
			t.Errorf("arrived: %q", got)
		}
		if got := seen()[before:]; len(got) != 3 || !strings.Contains(got[2], "Subject: x") {
			t.Errorf("the filter saw %q", got)
		}
	}, func(server *Server) { server.Scanner = s })
}

// Who cannot be asked has not agreed.
func TestScannerThatIsGone(t *testing.T) {
	gone := &scan.Scanner{Address: "unix:" + t.TempDir() + "/none", Logger: slog.New(slog.DiscardHandler)}
	atEveryDoor(t, Limits{}, func(t *testing.T, d *door) {
		d.open(t).post(d.from, d.letter(), "DATA 451 4.7.1 The filter cannot be asked at the moment: try again later")
		d.wantMail()
	}, func(server *Server) { server.Scanner = gone })
}

// document is a message of the laboratory with an archive of one CDA document.
func document(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	e, err := w.Create("IHE_XDM/SUBSET01/DOC0001.XML")
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Write([]byte(`<ClinicalDocument xmlns="urn:hl7-org:v3"><code code="11502-2" codeSystem="2.16.840.1.113883.6.1"/></ClinicalDocument>`))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(as(labo), "\r\n") + "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nBonjour\r\n--b\r\n" +
		"Content-Type: application/zip; name=IHE_XDM.zip\r\nContent-Disposition: attachment; filename=IHE_XDM.zip\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(b.Bytes()) + "\r\n--b--\r\n"
}

// A system that asked for it has the fields filled in; nothing else of the message moves.
func TestFill(t *testing.T) {
	for _, fill := range []bool{false, true} {
		l := newSystem(t, System{Fill: fill})
		l.connect(l.laboratory(ours.Terms{})).post(labo, document(t), taken)
		got := l.inbox()[0]
		if strings.Contains(got, "\r\nX-MSS-CODECDA: 11502-2\r\n") != fill || !strings.HasSuffix(got, document(t)) {
			t.Errorf("fill %v: %q", fill, got)
		}
	}
}
