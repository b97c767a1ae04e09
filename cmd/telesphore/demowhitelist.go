package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"telesphore/tls"
)

// demoWhiteList is the file of the demo's white list, and its name at the server.
const demoWhiteList = "whitelist.xml"

// listXML is a white list in the schema that operators exchange.
type listXML struct {
	XMLName   xml.Name    `xml:"https://listeblanche.mssante.fr/schema ListeBlancheMSSante"`
	Generated string      `xml:"DateDeGeneration"`
	Entries   []listEntry `xml:"ListeDomaines>Domaine"`
}

// listEntry is one domain of it.
type listEntry struct {
	Domain      string `xml:"Nom"`
	Description string `xml:"Description"`
	Certificate string `xml:"DNCertificatOperateur"`
	Responsible string `xml:"ResponsableContact"`
	Support     string `xml:"SupportContact"`
	Updated     string `xml:"DateMAJ"`
}

// operatorCard makes the certificate by which an operator knows the other, in both
// directions, or finds it.
func (t *demoTrust) operatorCard(o *operator) (*demoCard, error) {
	organisation := tls.Organisation{Terms: tls.Terms{Edit: func(c *x509.Certificate) {
		c.RawSubject = nil
		c.Subject = pkix.Name{
			Country: []string{"FR"}, Province: []string{"Rhône (69)"}, Organization: []string{o.name},
			OrganizationalUnit: []string{o.unit}, CommonName: o.host,
		}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.DNSNames = []string{o.host, "localhost"}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	}}}
	return t.card(t.organisations, "operator-"+o.domain, time.Time{}, func() (cert, key []byte, err error) {
		return t.organisations.OrganisationCertificate(organisation)
	})
}

// listTrust writes the white list of both operators, unless there is one that
// names either of them: that one stays, whatever somebody has changed in it.
func (d *demo) listTrust() error {
	octets, err := os.ReadFile(d.file(demoWhiteList))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the demo's white list: %w", err)
	}
	var known listXML
	_ = xml.Unmarshal(octets, &known) // what cannot be read names nobody
	now := time.Now().UTC().Format(time.RFC3339)
	list := listXML{Generated: now}
	for _, o := range d.operators() {
		subject := o.card.leaf.Subject.String()
		if slices.ContainsFunc(known.Entries, func(e listEntry) bool { return e.Certificate == subject }) {
			return nil
		}
		postmaster := o.postmaster + "@" + o.domain
		list.Entries = append(list.Entries, listEntry{o.domain, o.name, subject, postmaster, postmaster, now})
	}
	if octets, err = xml.MarshalIndent(list, "", "  "); err != nil {
		return fmt.Errorf("encode the demo's white list: %w", err)
	}
	return writeFile(d.file(demoWhiteList), append([]byte(xml.Header), append(octets, '\n')...))
}

// listServer shows a white list to operators over HTTPS.
type listServer struct {
	file   string
	server *http.Server
	ln     net.Listener
	done   chan struct{} // closed when nobody listens any more
}

// newListServer starts it at an address, where port 0 lets the system choose. Its
// certificate is pair.
func newListServer(file, address string, pair tls.Pair) (*listServer, error) {
	identity, err := tls.Open([]tls.Pair{pair})
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, explainPort(door{name: "white list", address: address}, err)
	}
	s := &listServer{file: file, ln: ln, done: make(chan struct{})}
	s.server = &http.Server{
		Handler:     s,
		ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(tls.NewListener(ln, identity.Server(nil))); !errors.Is(err, http.ErrServerClosed) {
			slog.Warn("the demo's white list is not served any more", "err", err)
		}
	}()
	return s, nil
}

// URL is where the list is.
func (s *listServer) URL() string { return "https://" + s.ln.Addr().String() + "/" + demoWhiteList }

// Close stops it.
func (s *listServer) Close() error {
	err := s.server.Close()
	_ = s.ln.Close() // Serve may not have known it yet
	<-s.done
	return err
}

// ServeHTTP answers with the list as it is at this moment, or that it has not
// changed (RFC 9110 section 13).
func (s *listServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/"+demoWhiteList {
		http.NotFound(w, r)
		return
	}
	octets, changed, err := s.read()
	if err != nil {
		slog.Warn("the demo's white list cannot be read", "err", err)
		http.Error(w, "there is no list", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(octets)))
	http.ServeContent(w, r, "", changed, bytes.NewReader(octets))
}

// read returns the list and when it was changed.
func (s *listServer) read() ([]byte, time.Time, error) {
	info, err := os.Stat(s.file)
	if err != nil {
		return nil, time.Time{}, err
	}
	octets, err := os.ReadFile(s.file)
	return octets, info.ModTime(), err
}

// learnTrust has the server fetch the white list, for its first look is to come
// before anybody asks who is trusted.
func (o *operator) learnTrust(ctx context.Context) error {
	err := o.server.whiteList.Refresh(ctx, false)
	if o.server.whiteList.Status().Generated.IsZero() { // else the list of an earlier run is good enough
		return fmt.Errorf("learn the trust space: %w", err)
	}
	return nil
}
