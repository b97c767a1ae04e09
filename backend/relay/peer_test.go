package relay_test

import (
	"bufio"
	cryptotls "crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/relay"
	"telesphore/storage"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// letter is a message that came through at a peer.
type letter struct {
	from   string // the MAIL command's argument
	to     []string
	octets string
}

// What a peer can do instead of answering.
const (
	drop  = "drop"  // the connection ends
	stall = "stall" // nothing happens any more
)

// peer is a server that answers as it is told, over a real socket. Set the fields
// before it serves.
type peer struct {
	offer    []string                 // extensions
	answer   func(line string) string // to a command, to "greeting" and to "." behind a message; "" is the usual; one at a time
	config   *cryptotls.Config        // with STARTTLS, or from the first octet
	implicit bool
	behind   string // written together with the answer to STARTTLS

	addr string
	end  chan struct{}
	all  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	conns   []net.Conn
	lines   []string // commands
	letters []letter
	shown   []*x509.Certificate // of clients
}

// serve listens until the test ends and returns p.
func (p *peer) serve(t testing.TB) *peer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr, p.end = ln.Addr().String(), make(chan struct{})
	p.all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, conn)
			p.mu.Unlock()
			p.all.Go(func() { p.talk(conn) })
		}
	})
	t.Cleanup(func() {
		close(p.end)
		ln.Close()
		p.hangUp()
		p.all.Wait()
	})
	return p
}

// hangUp ends all connections.
func (p *peer) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
}

// talk is one connection.
func (p *peer) talk(conn net.Conn) {
	defer func() { conn.Close() }()
	if p.implicit {
		conn = p.secure(conn)
	}
	r := bufio.NewReader(conn)
	var l letter
	line := "greeting"
	for {
		reply := p.usual(line)
		if p.answer != nil {
			p.mu.Lock()
			if other := p.answer(line); other != "" {
				reply = other
			}
			p.mu.Unlock()
		}
		switch reply {
		case drop:
			return
		case stall:
			<-p.end
			return
		}
		verb, argument, _ := strings.Cut(line, ":")
		good := strings.HasPrefix(reply, "2")
		switch {
		case verb == "MAIL FROM":
			l = letter{from: argument}
		case verb == "RCPT TO" && good:
			l.to = append(l.to, argument)
		case verb == "." && good:
			p.mu.Lock()
			p.letters = append(p.letters, l)
			p.mu.Unlock()
		}
		if verb == "STARTTLS" && good {
			reply += p.behind
		}
		if _, err := io.WriteString(conn, reply+"\r\n"); err != nil {
			return
		}
		switch {
		case verb == "STARTTLS" && good:
			conn = p.secure(conn)
			r = bufio.NewReader(conn)
		case strings.HasPrefix(reply, "354"):
			var ok bool
			if l.octets, ok = message(r); !ok {
				return
			}
			line = "."
			continue
		case verb == "QUIT":
			return
		}
		next, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(next, "\r\n")
		p.mu.Lock()
		p.lines = append(p.lines, line)
		p.mu.Unlock()
	}
}

// usual is what a server answers that likes everything.
func (p *peer) usual(line string) string {
	switch verb, _, _ := strings.Cut(line, " "); verb {
	case "greeting":
		return "220 peer.test"
	case "EHLO":
		return "250-" + strings.Join(append([]string{"peer.test"}, p.offer...), "\r\n250-") + "\r\n250 HELP"
	case "STARTTLS":
		return "220 2.0.0 go"
	case "DATA":
		return "354 go"
	case "QUIT":
		return "221 2.0.0 bye"
	case "AUTH":
		return "235 2.7.0 welcome"
	case ".":
		return "250 2.6.0 taken"
	}
	return "250 2.1.0 ok"
}

func (p *peer) secure(conn net.Conn) net.Conn {
	secure := cryptotls.Server(conn, p.config)
	if secure.Handshake() == nil {
		p.mu.Lock()
		p.shown = append(p.shown, secure.ConnectionState().PeerCertificates...)
		p.mu.Unlock()
	}
	return secure
}

// message reads what follows DATA.
func message(r *bufio.Reader) (octets string, ok bool) {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", false
		}
		if line == ".\r\n" {
			return b.String(), true
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

// got lists the messages that came through.
func (p *peer) got() []letter {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.letters)
}

// heard lists the commands that begin with a prefix.
func (p *peer) heard(prefix string) (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.lines {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, line)
		}
	}
	return lines
}

// connections counts those there ever were.
func (p *peer) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// replying answers what begins with a prefix.
func replying(prefix, reply string) func(string) string {
	return func(line string) string {
		if strings.HasPrefix(line, prefix) {
			return reply
		}
		return ""
	}
}

// space is the trust space of a test: our server, and an issuer of its organisations.
type space struct {
	issuer   *tlstest.Issuer
	anchors  *tls.Anchors
	identity *tls.Identity
	list     *tls.WhiteList
}

// operator is an organisation of the space by the name of its server.
func operator(name string) tls.Organisation {
	return tls.Organisation{Unit: "318310021300028", Name: name, Org: "Clinique", Terms: tls.Terms{Algorithm: tls.ECDSA}}
}

// newSpace has a list in which the operator mail.clinique.test carries the domains.
func newSpace(t testing.TB, domains ...string) *space {
	t.Helper()
	s := &space{issuer: tlstest.NewOrganisations(t, "igc")}
	s.anchors = tlstest.Anchors(t, s.issuer)
	s.identity = identity(t, s.issuer, operator("mail.hopital.test"))
	var b strings.Builder
	b.WriteString(`<?xml version="1.0"?><ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema">` +
		`<DateDeGeneration>2025-03-01T00:00:00Z</DateDeGeneration><ListeDomaines>`)
	for _, d := range domains {
		fmt.Fprintf(&b, "<Domaine><Nom>%s</Nom><Description>d</Description><DNCertificatOperateur>"+
			"CN=mail.clinique.test,OU=318310021300028,O=Clinique,C=FR</DNCertificatOperateur><ResponsableContact>r</ResponsableContact>"+
			"<SupportContact>s</SupportContact><DateMAJ>2025-01-22T11:32:50Z</DateMAJ></Domaine>", d)
	}
	b.WriteString("</ListeDomaines></ListeBlancheMSSante>")
	file := filepath.Join(t.TempDir(), "list.xml")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if s.list, err = tls.OpenWhiteList(tls.WhiteListOptions{Source: file, Normal: backend.ParseDomain, Logger: quiet()}); err != nil {
		t.Fatal(err)
	}
	if got := s.list.Status(); got.Domains != len(domains) {
		t.Fatalf("the list is %+v", got)
	}
	return s
}

// identity is what a server shows that has a certificate of an issuer.
func identity(t testing.TB, issuer *tlstest.Issuer, o tls.Organisation) *tls.Identity {
	t.Helper()
	cert, key, err := issuer.OrganisationCertificate(o)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair := tls.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, octets := range map[string][]byte{pair.Cert: cert, pair.Key: key} {
		if err := os.WriteFile(name, octets, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	i, err := tls.Open([]tls.Pair{pair})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// relay is one that knows the space, and a peer for each domain.
func (s *space) relay(routes ...relay.Route) *relay.Relay {
	return &relay.Relay{
		Hostname: "mail.hopital.test", Routes: routes, Logger: quiet(),
		Trusted: s.list.Has, Covers: s.list.Covers, Anchors: s.anchors, Identity: s.identity,
	}
}

// showing is a server's configuration that has one certificate and asks for one.
func showing(card tls.Certificate) *cryptotls.Config {
	return &cryptotls.Config{Certificates: []cryptotls.Certificate{card}, ClientAuth: cryptotls.RequireAnyClientCert}
}

// server is a configuration for localhost that an authority vouches for.
func server(t testing.TB, authority *tlstest.Authority) *cryptotls.Config {
	t.Helper()
	return authority.Identity(t).Server(nil)
}

// rootsOf believes an authority.
func rootsOf(authority *tlstest.Authority) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(authority.Certificate)
	return pool
}

// plain is a relay that reaches perso.test in clear at an address.
func plain(addr string) *relay.Relay {
	return &relay.Relay{
		Hostname: "mail.hopital.test", Logger: quiet(),
		Routes: []relay.Route{{Domain: "Perso.test", Host: addr, Security: relay.None}},
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

const mail = "Subject: x\r\n\r\n.\r\n..two\r\n.three\r\nfour\r\n.\r\n"

// transfer is a message for recipients at one domain.
func transfer(octets string, rcpts ...string) *backend.Transfer {
	t := &backend.Transfer{Name: "m1", From: "cardiologue@hopital.test", Size: int64(len(octets))}
	_, t.Domain, _ = strings.Cut(rcpts[0], "@")
	for _, r := range rcpts {
		t.Rcpts = append(t.Rcpts, backend.Rcpt{Address: r})
	}
	t.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(octets)), nil }
	return t
}

// send makes an attempt for one recipient, and ends the connections.
func send(t testing.TB, r *relay.Relay, m *backend.Transfer) backend.Outcome {
	t.Helper()
	outcomes := r.Send(t.Context(), m)
	if len(outcomes) != len(m.Rcpts) {
		t.Fatalf("%d outcomes for %d recipients", len(outcomes), len(m.Rcpts))
	}
	return outcomes[0]
}

// expect compares an outcome with what people call it: "relayed", "delayed 4.4.1".
func expect(t testing.TB, o backend.Outcome, want string) {
	t.Helper()
	if got := told(o); got != want && got != want+" 2.6.0" {
		t.Errorf("%s (%q, cause %v), want %s", got, o.Diagnostic, o.Cause, want)
	}
	if o.Time.IsZero() || time.Since(o.Time) > time.Minute {
		t.Errorf("time %v", o.Time)
	}
}

func told(o backend.Outcome) string {
	name := map[storage.Action]string{storage.Failed: "failed", storage.Delayed: "delayed", storage.Relayed: "relayed"}[o.Action]
	return name + " " + o.Status
}
