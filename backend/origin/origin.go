// Package origin finds out where a message comes from: SPF (RFC 7208), DKIM (RFC 6376)
// and DMARC (RFC 7489), written down as Authentication-Results (RFC 8601).
//
// The message, its names and what the DNS says about them are all chosen by
// strangers. So everything is bounded ([Limits]), trouble with the DNS is a
// temporary error and never a pass, and no octet of theirs gets into the field
// but domain names that [backend.ParseDomain] has read.
package origin

import (
	"bytes"
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Results of RFC 8601 section 2.7, all methods together.
const (
	pass      = "pass"
	fail      = "fail"
	none      = "none"
	neutral   = "neutral"
	policy    = "policy"
	temporary = "temperror"
	permanent = "permerror"
)

// Resolver looks names up. *net.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
}

// Limits bound what one message may cost. A zero field means the default it names.
type Limits struct {
	Time       time.Duration // for all of it; default 20 s
	Signatures int           // DKIM signatures looked at; default 5
	KeyBits    int           // the shortest RSA key that counts; default 1024 (RFC 8301 section 3.2)
	Header     int           // octets of a header; of a longer one only SPF is asked; default 256 KiB
	Lines      int           // of a header; of a longer one only SPF is asked; default 4000
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		Time: cmp.Or(l.Time, 20*time.Second), Signatures: cmp.Or(l.Signatures, 5), KeyBits: cmp.Or(l.KeyBits, 1024),
		Header: cmp.Or(l.Header, 256<<10), Lines: cmp.Or(l.Lines, 4000),
	}
}

// Checker checks messages. Set the fields before the first call. It is safe for concurrent use.
type Checker struct {
	Hostname string // ours: the authserv-id
	Resolver Resolver
	Limits   Limits
}

// Arrival is a message and how it came.
type Arrival struct {
	Remote netip.Addr
	Helo   string
	From   string // reverse-path, "" for <>
	Octets []byte

	// Peer is the name of the certificate of an operator of the trust space, for whose domains it vouches; "" for none. When
	// it is a domain name, it is written down.
	// For such mail SPF is not asked, and DMARC only when there is a signature that it could be about: the
	// certificate says more (method "x-tls-client"). Whoever reads the Result lets them decide nothing.
	Peer string
}

// Result is what the checks came to.
type Result struct {
	SPF    string // RFC 8601 section 2.7.2: "pass", "fail", ...; "" when not asked
	DKIM   string // the best of the signatures that match the author's domain, else of all
	DMARC  string // "pass", "fail", "none", "temperror", "permerror"; "" when not asked
	Policy string // what the author's domain asks for on failure: "none", "quarantine", "reject"; "" without record
	Author string // domain of From, which DMARC is about; "" when it cannot be read, when there are several, or in a header beyond the limits
	Field  []byte // Authentication-Results, folded, with CRLF
}

// Check makes all checks.
func (c *Checker) Check(ctx context.Context, a *Arrival) *Result {
	limits := c.Limits.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	m := open(a.Octets, limits)

	// They wait for the DNS most of the time, so they wait together.
	var sender spfResult
	var asked dmarcPolicy
	var wait sync.WaitGroup
	stranger := a.Peer == ""
	if stranger {
		wait.Go(func() { sender = c.askSPF(ctx, a) })
		wait.Go(func() { asked = c.discover(ctx, m.author) })
	}
	signatures := c.verify(ctx, m, limits)
	wait.Wait()
	if !stranger && len(signatures) > 0 {
		asked = c.discover(ctx, m.author)
	}

	r := &Result{SPF: sender.result, DKIM: best(signatures, m.author, asked.strictDKIM), Policy: asked.asks, Author: m.author}
	if stranger || len(signatures) > 0 {
		r.DMARC = asked.evaluate(m.author, sender, signatures)
	}
	r.Field = c.field(a, r, sender, signatures, m.author)
	return r
}

// best is the best result of the signatures of the author's domain, or of all when
// there is none of it.
func best(signatures []*signature, author string, strict bool) string {
	// The order in which a later look may still find something better.
	order := []string{none, permanent, policy, neutral, fail, temporary, pass}
	found, matches := none, false
	for _, s := range signatures {
		match := author != "" && aligned(s.domain, author, strict)
		if match == matches && slices.Index(order, s.result) > slices.Index(order, found) || match && !matches {
			found, matches = s.result, match
		}
	}
	return found
}

// content is a message taken apart as far as the checks need it.
type content struct {
	header []byte // without the empty line
	body   []byte
	long   bool   // the header is beyond the limits, so it is not read
	author string // domain of the one From field; "" when there is none that can be read
}

func open(octets []byte, limits Limits) *content {
	m := &content{}
	m.header, m.body = split(octets)
	m.long = len(m.header) > limits.Header || bytes.Count(m.header, []byte("\n")) > limits.Lines
	if !m.long {
		m.author = authorDomain(m.header)
	}
	return m
}
