// Package relay hands messages to other servers.
//
// A [Relay] makes one attempt for the recipients of a message at one domain: it
// waits for nothing and remembers nothing but connections that can be used again.
// What became of the attempt is an outcome for each recipient; when to try again
// and whom to tell is for package queue to decide.
//
// A route says how mail for a domain travels, and with it what a server has to
// prove. For a domain of the trust space that is always a certificate which the
// white list has for this very domain; no route and no answer of the DNS, where
// an attacker may sit, can make it less. The SMTP of our side is in client.go: one
// command at a time or several at once (RFC 2920), replies within bounds.
package relay

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"time"

	"telesphore/backend"
	"telesphore/tls"
)

// What protects a connection to a peer.
const (
	None     = "none"     // nothing: for peers on this machine
	StartTLS = "starttls" // STARTTLS or no delivery (RFC 3207)
	TLS      = "tls"      // TLS from the first octet; only where the route names a host
)

// Other is the Domain of the route for every domain that has none of its own.
const Other = "*"

// Route is how mail for a domain travels.
type Route struct {
	Domain   string // of the recipients, or Other
	Host     string // host:port of the only server, whose certificate must have that name; "" for the domain's MX at port 25
	Security string // None, StartTLS or TLS

	// For a server that relays for us only when we log in. Never sent but over TLS.
	Username, Password string
}

// Errors in the Cause of outcomes.
var (
	ErrNoRoute = errors.New("relay: no route to this domain")
	// ErrDoubt is that of a connection which broke when all was sent and the reply
	// was not there: the next attempt may give the peer the message twice.
	ErrDoubt = errors.New("relay: the peer may have taken the message")
)

// Resolver is the part of the DNS that is asked: *net.Resolver has it.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
}

// Limits are what peers may cost us. A zero field means the default it names.
type Limits struct {
	Resolve time.Duration // for one question to the DNS; default 30 s
	Dial    time.Duration // to get a connection to one address; default 30 s
	Command time.Duration // for the reply to one command, for one write and for the handshake; default 5 minutes (RFC 5321 section 4.5.3.2)
	Data    time.Duration // for the reply to a whole message; default 10 minutes
	Quit    time.Duration // for the reply to QUIT, when all is done; default 5 s
	Reply   int           // octets of one reply; default 64 KiB

	Hosts     int   // of one domain that are tried; default 10
	Addresses int   // that are tried in one attempt; default 20
	Rcpts     int   // recipients of one transaction; default 100 (RFC 5321 section 4.5.3.1.8)
	Hold      int64 // octets of a message that is held in memory; larger ones are read twice; default 256 KiB

	Idle time.Duration // how long a connection waits for the next message; default 30 s
	Uses int           // messages over one connection; default 100
	Kept int           // connections that wait, altogether; default 50, negative for none
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		Resolve: cmp.Or(l.Resolve, 30*time.Second), Dial: cmp.Or(l.Dial, 30*time.Second),
		Command: cmp.Or(l.Command, 5*time.Minute), Data: cmp.Or(l.Data, 10*time.Minute), Quit: cmp.Or(l.Quit, 5*time.Second),
		Reply: cmp.Or(l.Reply, 64<<10),
		Hosts: cmp.Or(l.Hosts, 10), Addresses: cmp.Or(l.Addresses, 20), Rcpts: cmp.Or(l.Rcpts, 100),
		Hold: cmp.Or(l.Hold, 256<<10),
		Idle: cmp.Or(l.Idle, 30*time.Second), Uses: cmp.Or(l.Uses, 100), Kept: cmp.Or(l.Kept, 50),
	}
}

// Relay hands messages to other servers. Set the fields before the first call and
// leave them alone. It is safe for concurrent use.
type Relay struct {
	Hostname string // how we present ourselves
	Routes   []Route

	// Trusted says whether a domain is of the trust space, nil for none. One that
	// has left it must still count: what was accepted for it goes nowhere else.
	Trusted func(domain string) bool
	// Covers says whether the trust space has this certificate for a domain, nil
	// for never. That it is genuine is what Anchors say.
	Covers   func(domain string, leaf *x509.Certificate) bool
	Anchors  *tls.Anchors
	Identity *tls.Identity // what we prove to servers of the trust space

	Roots    *x509.CertPool // who vouches for other servers; nil for whom the system believes
	Resolver Resolver       // default net.DefaultResolver
	// Dial connects; default that of a net.Dialer. Limits.Dial is the deadline of ctx.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Limits Limits
	Logger *slog.Logger // default slog.Default()

	pool pool
}

// Route finds the way to a domain, given as [backend.ParseDomain] returns it.
func (r *Relay) Route(domain string) (Route, bool) { return r.way(domain, r.trusted(domain)) }

// way is Route for a domain of which it is known whether it is of the trust space.
func (r *Relay) way(domain string, trusted bool) (Route, bool) {
	route, ok := r.route(domain)
	if trusted {
		// The one for all others leads where nobody has a certificate for this domain.
		if !ok {
			route = Route{Domain: domain}
		}
		if route.Host == "" || route.Security != TLS {
			route.Security = StartTLS
		}
		route.Username, route.Password = "", ""
		return route, true
	}
	if !ok {
		return r.route(Other)
	}
	return route, true
}

func (r *Relay) route(domain string) (Route, bool) {
	for _, route := range r.Routes {
		d, err := backend.ParseDomain(route.Domain)
		if err == nil && d == domain || domain == Other && route.Domain == Other {
			return route, true
		}
	}
	return Route{}, false
}

// Reaches reports whether there is a way to a domain.
func (r *Relay) Reaches(domain string) bool {
	_, ok := r.Route(domain)
	return ok
}

func (r *Relay) trusted(domain string) bool { return r.Trusted != nil && r.Trusted(domain) }

// Close ends the connections that wait for a next message. Later messages get
// connections of their own.
func (r *Relay) Close() error {
	r.pool.close()
	return nil
}

func (r *Relay) logger() *slog.Logger { return cmp.Or(r.Logger, slog.Default()) }

func (r *Relay) resolver() Resolver {
	if r.Resolver == nil {
		return net.DefaultResolver
	}
	return r.Resolver
}

func (r *Relay) dial(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Limits.withDefaults().Dial)
	defer cancel()
	if r.Dial != nil {
		return r.Dial(ctx, "tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}
