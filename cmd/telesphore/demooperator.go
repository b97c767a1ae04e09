package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"telesphore/backend/dkim"
	"telesphore/backend/relay"
	"telesphore/backend/smtpd"
	"telesphore/tls"
)

// demoConfig is the configuration file of an operator, written anew at each start.
const demoConfig = "telesphore.toml"

// operator is one of the demo's two servers: what differs between them, and what
// a run makes of it.
type operator struct {
	demo       *demo
	other      *operator
	domain     string
	host       string
	postmaster string // the local part of an account
	name, unit string // O and OU of its certificate
	dir        string // absolute; its store, keys, audit trail and configuration
	after      int    // added to the ports that follow a port base
	beyond     int    // added to the usual ports

	card     *demoCard // what it shows to the other
	lock     *os.File  // on dir; the server's own from open on
	config   *Config
	server   *server
	accounts []demoAccount
}

func (o *operator) file(name string) string { return filepath.Join(o.dir, name) }

// configure writes the configuration and, for a new directory, the master key.
func (o *operator) configure() error {
	c := o.settings()
	if err := createMaster(c.Keys.MasterFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	text := "# Written anew at each start of the demo. To change something, copy this file,\n" +
		"# then: telesphore serve --config COPY\n\n" + encode(c.settings())
	err := writeFile(o.file(demoConfig), []byte(text))
	if err == nil {
		o.config, err = loadConfig(o.file(demoConfig))
	}
	if err == nil {
		o.config.operator = o.domain
	}
	return err
}

// settings is what the demo promises: see its limits in docs/guide/demo.md.
func (o *operator) settings() *Config {
	d, c := o.demo, defaultConfig()
	c.Data = o.dir
	c.Hostname = o.host
	c.Domains = []string{o.domain}
	c.Postmaster = o.postmaster + "@" + o.domain
	c.Listen.IMAP = o.address(1, 1143)
	c.Listen.IMAPS = o.address(2, 1993)
	c.Listen.Submission = o.address(3, 1587)
	c.Listen.Submissions = o.address(4, 1465)
	c.Listen.SMTP = o.smtp()
	c.TLS.Certificates = []tls.Pair{d.pair}
	c.Language = d.lang
	c.Routes = []RouteConfig{
		{Route: relay.Route{Domain: demoInternet, Host: d.outside.Addr(), Security: relay.None}},
		{Route: relay.Route{Domain: o.other.domain, Host: o.other.smtp(), Security: routeTrusted}}, // an MX record names no port
	}
	c.DNS.Servers = []string{d.dns.Addr()}
	c.WhiteList.Source, c.WhiteList.Roots = d.list.URL(), []string{d.file(demoCA)}
	c.WhiteList.Certificates = []tls.Pair{{Cert: o.card.Cert, Key: o.card.Key}}
	c.DKIM = o.keys()
	if o.domain == demoDomain {
		c.Systems = []smtpd.System{{Account: "labo@" + demoDomain, Networks: thisMachine()[:1]}}
	}
	c.Queue.First, c.Queue.FirstShort = time.Second, time.Second
	c.Sending.Messages, c.Sending.First = 500, 500
	d.trust.configure(&c.Cards)
	c.Log.Level = "warn" // the table is what people look for
	c.IMAP.PerAddress, c.IMAP.PerAccount = 200, 50
	c.SMTP.ConnectionsPerAddress, c.SMTP.ConnectionsPerAccount = 200, 50
	t := &c.Auth.Throttle
	t.Trusted = thisMachine()
	t.TrustedPerMinute, t.TrustedPerDay = 1000, 1_000_000
	c.resolve(o.dir)
	return c
}

// thisMachine is where everybody in the demo is.
func thisMachine() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// address is where a door listens: the nth port after the base, or its usual one,
// and as far from there as this operator's are.
func (o *operator) address(nth, usual int) string {
	port := usual + o.beyond
	if o.demo.portBase > 0 {
		port = o.demo.portBase + o.after + nth
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

// smtp is where other servers deliver its mail.
func (o *operator) smtp() string { return o.address(5, 1025) }

// keys are those that sign its mail: RSA for everybody, Ed25519 for who knows it.
func (o *operator) keys() []dkim.Key {
	return []dkim.Key{
		{Domain: o.domain, Selector: "demo-rsa", File: o.file("dkim-rsa.pem")},
		{Domain: o.domain, Selector: "demo-ed25519", File: o.file("dkim-ed25519.pem")},
	}
}

// signingKeys makes those of them that are missing.
func (o *operator) signingKeys() error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	for _, k := range o.keys() {
		_, err := os.Stat(k.File)
		if errors.Is(err, fs.ErrNotExist) {
			err = dkim.Create(k.File, strings.TrimPrefix(k.Selector, "demo-"))
		}
		if err != nil {
			return fmt.Errorf("make a key of the demo: %w", err)
		}
	}
	return nil
}

// open builds the server, which takes its ports, and makes the accounts that are missing.
func (o *operator) open(ctx context.Context) (err error) {
	lock := o.lock
	o.lock = nil
	if o.server, err = build(ctx, o.config, lock); err != nil {
		return err
	}
	if err := o.learnTrust(ctx); err != nil {
		return err
	}
	o.accounts, err = o.people(ctx)
	return err
}

// close undoes what was begun, unless the server has done so itself.
func (o *operator) close() error {
	switch {
	case o.server != nil:
		return o.server.close()
	case o.lock != nil:
		return o.lock.Close()
	}
	return nil
}

// told is what demo.json tells about it.
func (o *operator) told() demoOperator {
	l := &o.config.Listen
	return demoOperator{
		Domain: o.domain,
		IMAP:   l.IMAP, IMAPS: l.IMAPS, Submission: l.Submission, Submissions: l.Submissions,
		SMTP: l.SMTP, Cert: o.card.Cert, Key: o.card.Key,
		AdminSocket: o.server.socketAt, Config: o.config.path,
	}
}
