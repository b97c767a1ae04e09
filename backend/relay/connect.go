package relay

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"telesphore/tls"
)

// policy is what a peer has to prove.
type policy uint8

const (
	nothing  policy = iota // by configuration
	verified               // that it has the name of the host
	trusted                // that it is a server of the domain, as the white list has it
)

// host is a server that may take mail. Connections to equal ones are alike.
type host struct {
	name, port string
	policy     policy
	security   string // None, StartTLS or TLS
	fixed      bool   // named by a route, not by the DNS

	username, password string
}

// connect opens a connection to one address of h, for mail to a domain, up to where
// MAIL may follow.
func (r *Relay) connect(ctx context.Context, h host, address, domain string) (*client, *fault) {
	conn, err := r.dial(ctx, address)
	if err != nil {
		return nil, &fault{step: "connect", status: noAnswer, elsewhere: true, cause: err}
	}
	c := newClient(h, conn, r.Limits.withDefaults())
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	if f := r.open(ctx, c, domain); f != nil {
		if f.elsewhere = true; f.usable {
			r.pool.leave(c) // with QUIT (RFC 5321 section 4.1.1.10)
		} else {
			c.cut()
		}
		return nil, f
	}
	return c, nil
}

// open secures the connection and introduces ourselves.
func (r *Relay) open(ctx context.Context, c *client, domain string) *fault {
	if c.host.policy != nothing && c.host.security == None {
		return &fault{step: "TLS", status: noSecurity, cause: errors.New("a route in clear to a peer that has something to prove")}
	}
	if c.host.security == TLS {
		if f := r.secure(ctx, c, domain); f != nil {
			return f
		}
	}
	f := r.greet(c)
	if c.host.security == StartTLS {
		if f == nil {
			f = c.startTLS()
		}
		if f != nil {
			return f.unproven()
		}
		if f := r.secure(ctx, c, domain); f != nil {
			return f
		}
		f = c.hello(r.Hostname) // what was offered before counts for nothing (RFC 3207 section 4.2)
	}
	if f == nil && c.host.username != "" {
		return c.logIn()
	}
	return f
}

func (r *Relay) greet(c *client) *fault {
	greeting, err := c.reply(c.limits.Command)
	if err != nil {
		return broken("greeting", err)
	}
	if greeting.code != 220 {
		return refused("greeting", greeting)
	}
	return c.hello(r.Hostname)
}

// startTLS asks for TLS. The handshake is next.
func (c *client) startTLS() *fault {
	if !c.has("STARTTLS") {
		return &fault{step: "STARTTLS", status: noSecurity, usable: true, cause: errors.New("the peer offers no TLS")}
	}
	r, err := c.command("STARTTLS")
	if err != nil {
		return broken("STARTTLS", err)
	}
	if r.code != 220 {
		f := refused("STARTTLS", r)
		f.status = noSecurity
		return f
	}
	if c.r.Buffered() > 0 {
		// Somebody wrote in clear what was to be taken for a reply under TLS.
		return broken("STARTTLS", errEarly)
	}
	return nil
}

// secure shakes hands and makes the peer prove what it has to.
func (r *Relay) secure(ctx context.Context, c *client, domain string) *fault {
	var shown *x509.Certificate
	config := tls.ClientConfig(r.Roots, c.host.name)
	if c.host.policy == trusted {
		if r.Identity == nil {
			return &fault{step: "TLS", status: noSecurity, cause: tls.ErrNoCertificate}
		}
		config = r.Identity.Client(c.host.name, func(leaf *x509.Certificate) error {
			shown = leaf
			return r.trusts(ctx, domain, leaf)
		})
	}
	secure := tls.Client(c.conn, config)
	limited, cancel := context.WithTimeout(ctx, c.limits.Command)
	defer cancel()
	c.conn.until, _ = limited.Deadline()
	if err := secure.HandshakeContext(limited); err != nil {
		return handshake(err, shown)
	}
	c.leaf = tls.FactsOf(secure).Peer
	c.speak(secure)
	return nil
}

// trusts looks at the certificate of a peer that is to get mail for a domain of the
// trust space.
func (r *Relay) trusts(ctx context.Context, domain string, leaf *x509.Certificate) error {
	if _, err := r.Anchors.EvaluatePeer(ctx, leaf); err != nil {
		return err
	}
	if r.Covers == nil || !r.Covers(domain, leaf) {
		return fmt.Errorf("the trust space has another certificate for %s", domain)
	}
	return nil
}

// logIn proves to a server that relays for us who we are (RFC 4954). What the server
// says is left out: it may repeat what it was sent. That we cannot log in is
// our trouble, never the end of a message.
func (c *client) logIn() *fault {
	if c.host.security == None {
		return &fault{step: "AUTH", status: noSecurity, cause: errors.New("no password goes over a connection in clear")}
	}
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	offered := strings.Fields(strings.ToUpper(c.extensions["AUTH"]))
	var commands []string
	switch {
	case slices.Contains(offered, "PLAIN"):
		commands = []string{"AUTH PLAIN " + encode("\x00"+c.host.username+"\x00"+c.host.password)}
	case slices.Contains(offered, "LOGIN"):
		commands = []string{"AUTH LOGIN", encode(c.host.username), encode(c.host.password)}
	default:
		return &fault{step: "AUTH", status: noSecurity, usable: true, cause: errors.New("the peer offers no way to log in")}
	}
	for n, command := range commands {
		r, err := c.command(command)
		if err != nil {
			return broken("AUTH", err)
		}
		if last := n == len(commands)-1; last && r.code != 235 || !last && r.code != 334 {
			return &fault{step: "AUTH", status: "4.7.8", usable: true, cause: fmt.Errorf("the peer answers %d", r.code)}
		}
	}
	return nil
}
