package tls

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Why a client's certificate is not good. Its holder may be told which.
var (
	ErrUnknownIssuer     = errors.New("tls: issued by an authority that is not pinned")
	ErrExpired           = errors.New("tls: certificate has expired")
	ErrNotYetValid       = errors.New("tls: certificate is not valid yet")
	ErrUsage             = errors.New("tls: certificate is not for logging in")
	ErrRevoked           = errors.New("tls: certificate is revoked")
	ErrRevocationUnknown = errors.New("tls: revocation state cannot be known now") // our trouble, not the holder's
)

// Issuer is one pinned authority that issues cards or organisation certificates.
//
// With Lists, at least one list that covers a certificate must be current. With
// OCSP, its responder must say that the certificate is good. With both, both;
// with neither, revocation is not checked.
type Issuer struct {
	Group        string   // identities of one group are one name space; several issuers may share it
	Organisation bool     // it certifies organisations, not persons
	Test         bool     // for trials; never beside one that is not
	Certificate  string   // PEM or DER file of the issuing authority itself
	Lists        []string // revocation lists: files, or URLs with http or https
	OCSP         string   // URL of its responder, "" to ask nobody
}

// AnchorOptions are the limits of Anchors. A zero field means the default it names.
type AnchorOptions struct {
	Dir       string        // where fetched lists are kept for the next start, "" for nowhere
	Refresh   time.Duration // between two looks at the lists; default 15 minutes
	Grace     time.Duration // how long a list counts beyond its nextUpdate; default 0, at most 24 h
	Size      int64         // octets of one list; default 64 MiB
	Timeout   time.Duration // to fetch one list or one OCSP answer; default 30 s
	Answers   int           // OCSP answers remembered for each issuer; default 10,000
	AnswerFor time.Duration // how long an OCSP answer counts at most; default 1 hour
	OnChange  func()        // called after a look that replaced lists; nil for nobody
	Logger    *slog.Logger  // default slog.Default()
}

// The longest Grace: whoever loses a card must not wait longer for the effect.
const maxGrace = 24 * time.Hour

func (o *AnchorOptions) fill() error {
	if o.Grace < 0 || o.Grace > maxGrace {
		return fmt.Errorf("tls: lists cannot count %v beyond their end: at most %v", o.Grace, maxGrace)
	}
	if o.Refresh <= 0 {
		o.Refresh = 15 * time.Minute
	}
	if o.Size <= 0 {
		o.Size = 64 << 20
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Answers <= 0 {
		o.Answers = 10_000
	}
	if o.AnswerFor <= 0 {
		o.AnswerFor = time.Hour
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

// Anchors are the pinned issuers of client certificates with their revocation
// lists. They are safe for concurrent use; nil is an Anchors without issuers.
type Anchors struct {
	options AnchorOptions
	pinned  []*pinned
	client  *http.Client

	refreshing sync.Mutex // one look at a time
}

// pinned is an issuer with what is known of its revocations.
type pinned struct {
	issuer Issuer
	cert   *x509.Certificate
	lists  []*list
	ocsp   *responder // nil when nobody is asked

	checked checkedCerts
}

// OpenAnchors reads the issuers' certificates, their lists in files and the
// fetched lists kept from the last run; Run fetches. A certificate that cannot
// be used is an error; a list that cannot is logged, and the certificates of
// its issuer are refused until there is a good one.
func OpenAnchors(issuers []Issuer, o AnchorOptions) (*Anchors, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	if o.Dir != "" {
		if err := os.MkdirAll(o.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the directory of revocation lists: %w", err)
		}
	}
	a := &Anchors{options: o, client: newClient(nil)}
	for _, issuer := range issuers {
		if issuer.Test != issuers[0].Test {
			return nil, errors.New("tls: issuers for trials beside issuers that are not")
		}
		p, err := pin(issuer, o)
		if err != nil {
			return nil, err
		}
		for _, other := range a.pinned {
			if other.cert.Equal(p.cert) {
				return nil, fmt.Errorf("tls: issuer %s is pinned twice", issuer.Certificate)
			}
		}
		a.pinned = append(a.pinned, p)
		if len(p.lists) == 0 && p.ocsp == nil {
			o.Logger.Warn("tls.issuer without revocation", "group", issuer.Group, "issuer", issuer.Certificate)
		}
		for _, l := range p.lists {
			a.look(l, a.stored)
		}
	}
	return a, nil
}

// pin reads an issuer's certificate and checks what its configuration says.
func pin(issuer Issuer, o AnchorOptions) (*pinned, error) {
	if issuer.Group == "" {
		return nil, fmt.Errorf("tls: issuer %s is in no group", issuer.Certificate)
	}
	cert, err := readIssuer(issuer.Certificate)
	if err != nil {
		return nil, fmt.Errorf("read issuer %s: %w", issuer.Certificate, err)
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, fmt.Errorf("tls: issuer %s is not an authority's certificate", issuer.Certificate)
	}
	p := &pinned{issuer: issuer, cert: cert}
	for _, source := range issuer.Lists {
		l := &list{issuer: cert, group: issuer.Group, source: source, remote: strings.Contains(source, "://")}
		if l.remote && !fetchable(source) {
			return nil, fmt.Errorf("tls: revocation list %q is neither a file nor an http or https URL", source)
		}
		if l.remote && o.Dir != "" {
			// Issuers of one name and one URL must not share a kept list: their keys differ.
			name := sha256.Sum256(append(cert.Raw[:len(cert.Raw):len(cert.Raw)], source...))
			l.kept = filepath.Join(o.Dir, hex.EncodeToString(name[:16])+".crl")
		}
		p.lists = append(p.lists, l)
	}
	if issuer.OCSP != "" {
		if !fetchable(issuer.OCSP) {
			return nil, fmt.Errorf("tls: OCSP responder %q is not an http or https URL", issuer.OCSP)
		}
		p.ocsp = &responder{url: issuer.OCSP, answers: map[string]answer{}}
	}
	return p, nil
}

func readIssuer(file string) (*x509.Certificate, error) {
	octets, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if block, rest := pem.Decode(octets); block != nil {
		if block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
			return nil, errors.New("tls: not exactly one PEM certificate")
		}
		octets = block.Bytes
	}
	return x509.ParseCertificate(octets)
}

func fetchable(source string) bool {
	u, err := url.Parse(source)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

// Refresh looks at every list now: files are read, URLs fetched. The error says
// which lists are bad; good ones known before stay in use.
func (a *Anchors) Refresh(ctx context.Context) error {
	if a == nil {
		return nil
	}
	a.refreshing.Lock()
	defer a.refreshing.Unlock()
	var (
		all     sync.WaitGroup
		mu      sync.Mutex // guards changed and errs
		changed bool
		errs    []error
	)
	for _, p := range a.pinned {
		for _, l := range p.lists {
			all.Go(func() {
				read := a.stored
				if l.remote {
					read = func(l *list) (*copied, error) { return a.fetch(ctx, l) }
				}
				replaced, err := a.look(l, read)
				mu.Lock()
				defer mu.Unlock()
				changed = changed || replaced
				if err != nil {
					errs = append(errs, fmt.Errorf("refresh revocation list %s: %w", l.source, err))
				}
			})
		}
	}
	all.Wait()
	if changed && a.options.OnChange != nil {
		a.options.OnChange()
	}
	return errors.Join(errs...)
}

// Run refreshes the lists, at once and then each Refresh, until ctx ends. What
// goes wrong is logged.
func (a *Anchors) Run(ctx context.Context) {
	for a != nil && ctx.Err() == nil {
		_ = a.Refresh(ctx) // logged where it happens
		pause(ctx, a.options.Refresh)
	}
	<-ctx.Done()
}

// ListStatus tells people how a revocation list is.
type ListStatus struct {
	Group      string    // of the issuer
	Issuer     string    // file of the issuer's certificate
	Source     string    // file or URL
	Entries    int       // revoked certificates; 0 too when no list was read yet
	ThisUpdate time.Time // zero when no list was read yet
	NextUpdate time.Time
	Current    bool  // counts at this moment
	Err        error // what the last look found wrong; nil when it was good
}

// Status returns the state of every list, in the order of the configuration.
func (a *Anchors) Status() []ListStatus {
	if a == nil {
		return nil
	}
	now := time.Now()
	var all []ListStatus
	for _, p := range a.pinned {
		for _, l := range p.lists {
			c, err := l.state()
			s := ListStatus{Group: l.group, Issuer: p.issuer.Certificate, Source: l.source, Err: err}
			if c != nil {
				s.Entries, s.ThisUpdate, s.NextUpdate = len(c.serials), c.thisUpdate, c.nextUpdate
				s.Current = c.current(now, a.options.Grace)
			}
			all = append(all, s)
		}
	}
	return all
}

// pool returns the pinned certificates, nil when there are none.
func (a *Anchors) pool() *x509.CertPool {
	if a == nil || len(a.pinned) == 0 {
		return nil
	}
	pool := x509.NewCertPool()
	for _, p := range a.pinned {
		pool.AddCert(p.cert)
	}
	return pool
}

// PersonGroups lists the groups whose issuers certify persons, each once.
func (a *Anchors) PersonGroups() (groups []string) {
	if a == nil {
		return nil
	}
	for _, p := range a.pinned {
		if !p.issuer.Organisation && !slices.Contains(groups, p.issuer.Group) {
			groups = append(groups, p.issuer.Group)
		}
	}
	return groups
}

// Revoked says whether a list has a certificate that is known by its issuer's name, as
// pkix.Name writes it, and its serial number in hexadecimal only. It knows no
// more than the lists: false is no proof that a certificate is good.
func (a *Anchors) Revoked(issuer, serial string) bool {
	n, ok := new(big.Int).SetString(serial, 16)
	if a == nil || !ok {
		return false
	}
	for _, p := range a.pinned {
		if p.cert.Subject.String() != issuer {
			continue
		}
		for _, l := range p.lists {
			if c, _ := l.state(); c != nil && c.revokes(n) {
				return true
			}
		}
	}
	return false
}
