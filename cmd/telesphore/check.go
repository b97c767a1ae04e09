package main

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/backend/auth"
	"telesphore/backend/relay"
	"telesphore/backend/scan"
	"telesphore/backend/smtpd"
)

// This file finds what is wrong with a configuration whose values have the right type.

// check finds what is wrong with values that have the right type.
func (c *Config) check() []*Mistake {
	var mistakes []*Mistake
	wrong := func(key, format string, args ...any) {
		mistakes = append(mistakes, &Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if c.Data == "" {
		wrong("data", "name the directory where everything is kept")
	}
	if _, err := backend.ParseDomain(c.Hostname); err != nil && c.Hostname != "" {
		wrong("hostname", "%q is no host name", c.Hostname)
	}
	if len(c.Domains) == 0 {
		wrong("domains", `name at least one domain whose mail is kept here, like ["hopital.example"]`)
	}
	for _, d := range c.Domains {
		if _, err := backend.ParseDomain(d); err != nil {
			wrong("domains", "%q is no domain name", d)
		}
	}
	if _, err := backend.ParseAddress(c.Postmaster); err != nil && c.Postmaster != "" {
		wrong("postmaster", "%q is no address", c.Postmaster)
	}
	if len(c.SubAddress) > 1 || !strings.Contains("!#$%&'*+-/=?^_`{|}~", c.SubAddress) {
		wrong("sub_address", `%q is not one character that separates, like "+" or "-"`, c.SubAddress)
	}
	for _, d := range c.doors() {
		if _, err := net.ResolveTCPAddr("tcp", d.address); err != nil {
			wrong("listen."+d.name, "%q is no address to listen on: write it like \":993\" or \"192.0.2.1:993\"", d.address)
		}
	}
	if len(c.doors()) == 0 {
		wrong("listen", "every door is closed: give at least one of them an address")
	}
	if len(c.TLS.Certificates) == 0 {
		wrong("tls.certificates", "every door needs TLS: name the files of a certificate and of its key")
	}
	if c.Keys.MasterFile != "" && len(c.Keys.MasterCommand) > 0 {
		wrong("keys.master_command", "the master key comes from a file or from a command: name one of them")
	}
	if _, err := c.level(); err != nil {
		wrong("log.level", `%q is none of "debug", "info", "warn" and "error"`, c.Log.Level)
	}
	c.checkTrust(wrong)
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		wrong("log.format", `%q is neither "text" nor "json"`, c.Log.Format)
	}
	return mistakes
}

// checkTrust finds what is wrong with cards, policy and other operators.
func (c *Config) checkTrust(wrong func(key, format string, args ...any)) {
	if c.Language != "en" && c.Language != "fr" {
		wrong("language", `%q is neither "en" nor "fr"`, c.Language)
	}
	level := func(key string, l *auth.Levels) {
		for _, s := range levelColumns("", l) {
			if n := *s.value.(*int); n < auth.LevelPassword || n > auth.LevelCard {
				wrong(key, "%s is %d: a level is 1 (password), 2 (code) or 3 (card)", s.key, n)
			}
		}
	}
	level("policy", &c.Policy.Levels)
	for i := range c.Policy.Domains {
		p := &c.Policy.Domains[i]
		same := func(d string) bool { return strings.EqualFold(d, p.Domain) }
		if !slices.ContainsFunc(c.Domains, same) {
			wrong("policy.domains", "%q is not among domains", p.Domain)
		}
		if slices.ContainsFunc(c.Policy.Domains[:i], func(o DomainPolicy) bool { return same(o.Domain) }) {
			wrong("policy.domains", "%q has two policies", p.Domain)
		}
		level("policy.domains", &p.Levels)
		if _, err := backend.ParseDomain(p.Domain); err != nil {
			wrong("policy.domains", "%q is no domain name", p.Domain)
		}
	}
	scheme, _, remote := strings.Cut(c.WhiteList.Source, "://")
	if remote && scheme != "https" {
		wrong("trust_space.source", "%q is neither a file nor an https URL", c.WhiteList.Source)
	}
	if remote && len(c.WhiteList.Roots) == 0 {
		wrong("trust_space.roots", "name the certificates of the authorities that vouch for the server of the white list: the system's are not believed about it")
	}
	if c.WhiteList.MaxLoss > 100 {
		wrong("trust_space.max_loss", "%d is more than 100 percent", c.WhiteList.MaxLoss)
	}
	c.checkRelay(wrong)
	c.checkCards(wrong)
	if c.Auth.Codes.Digits < 6 || c.Auth.Codes.Digits > 8 {
		wrong("codes.digits", "a code has 6 to 8 digits")
	}
	if c.Auth.AppPasswords.Level > auth.LevelCode {
		wrong("app_passwords.worth", "an application password is worth 1 or 2")
	}
}

// checkRelay finds what is wrong with how mail leaves and comes in.
func (c *Config) checkRelay(wrong func(key, format string, args ...any)) {
	for i := range c.Routes {
		c.checkRoute(&c.Routes[i], wrong)
	}
	c.checkSystems(wrong)
	for _, k := range c.DKIM {
		if !c.keeps(k.Domain) {
			wrong("dkim.keys", "%q is not among domains", k.Domain)
		}
	}
	for _, server := range c.DNS.Servers {
		if _, err := netip.ParseAddrPort(server); err != nil {
			wrong("dns.servers", "%q is no address with a port, like 127.0.0.1:53", server)
		}
	}
	if _, _, err := scan.ParseAddress(c.Scan.Milter); err != nil && c.Scan.Milter != "" {
		wrong("scan.milter", `%q is neither "unix:/PATH" nor "tcp:HOST:PORT"`, c.Scan.Milter)
	}
	if c.Scan.OnFailure != "refuse" && c.Scan.OnFailure != "accept" {
		wrong("scan.on_failure", `%q is neither "refuse" nor "accept"`, c.Scan.OnFailure)
	}
	if c.Origin.OnFailure != "reject" && c.Origin.OnFailure != "mark" {
		wrong("origin.on_failure", `%q is neither "reject" nor "mark"`, c.Origin.OnFailure)
	}
}

// keeps reports whether a domain, as people write it, is one of those whose mail is kept here.
func (c *Config) keeps(domain string) bool {
	name, err := backend.ParseDomain(domain)
	return err == nil && slices.ContainsFunc(c.Domains, func(d string) bool {
		one, err := backend.ParseDomain(d)
		return err == nil && one == name
	})
}

// checkSystems finds what is wrong with the systems that send through the door for other servers.
func (c *Config) checkSystems(wrong func(key, format string, args ...any)) {
	const key = "systems.identities"
	for i, y := range c.Systems {
		for _, address := range append([]string{y.Account}, y.Senders...) {
			if a, err := backend.ParseAddress(address); err != nil || !c.keeps(a.Domain) {
				wrong(key, "%q is no address at one of the domains that are kept here", address)
			} else if address != a.Normal() {
				wrong(key, "write %q as %q", address, a.Normal())
			}
		}
		if slices.ContainsFunc(c.Systems[:i], func(o smtpd.System) bool { return o.Account == y.Account }) {
			wrong(key, "%q has two entries", y.Account)
		}
		for _, n := range y.Networks {
			if n.Bits() == 0 {
				wrong(key, "%v is everywhere: to be there proves nothing", n)
			} else if n.Addr().Is4In6() {
				wrong(key, "write %v as an IPv4 network", n)
			}
		}
	}
}

// checkRoute finds what is wrong with a way to other servers.
func (c *Config) checkRoute(r *RouteConfig, wrong func(key, format string, args ...any)) {
	if _, err := backend.ParseDomain(r.Domain); err != nil && r.Domain != relay.Other {
		wrong("relay.routes", `%q is neither a domain name nor "*"`, r.Domain)
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil && r.Host != "" {
		wrong("relay.routes", "%q is no host with a port, like mail.example:25", r.Host)
	}
	switch r.Security {
	case relay.StartTLS:
	case routeTrusted:
		if r.Host == "" || r.Username != "" || r.Domain == relay.Other {
			wrong("relay.routes", `security "trusted" is for one domain of the trust space, and needs a host and no log-in`)
		}
	case relay.TLS:
		if r.Host == "" {
			wrong("relay.routes", `security "tls" needs a host: MX records lead to port 25, where TLS begins by STARTTLS`)
		}
	case relay.None:
		if !loopback(host) {
			wrong("relay.routes", `security "none" is for a host on this machine only: codes would travel in clear to %q`, host)
		}
	default:
		wrong("relay.routes", `security %q is none of "none", "starttls", "tls" and "trusted"`, r.Security)
	}
	if (r.Username == "") != (r.PasswordFile == "") || r.Username != "" && (r.Host == "" || r.Security == relay.None) {
		wrong("relay.routes", "username and password_file go together, with a host and TLS")
	}
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// checkCards finds what is wrong with the authorities of cards.
func (c *Config) checkCards(wrong func(key, format string, args ...any)) {
	for n, i := range c.Cards.Issuers {
		if strings.Contains(i.Group, "|") {
			wrong("cards.issuers", "a group has no | in its name: %q", i.Group)
		}
		if len(i.Lists) == 0 && i.OCSP == "" {
			wrong("cards.issuers", "name the revocation lists of %s, or its OCSP responder: a stolen card must be refused", i.Certificate)
		}
		if slices.ContainsFunc(c.Cards.Issuers[:n], func(o CardIssuer) bool {
			return i.Kind == "person" && o.Kind == i.Kind && o.Group == i.Group && (o.Attribute != i.Attribute || o.Pattern != i.Pattern)
		}) {
			wrong("cards.issuers", "the issuers of group %s differ in attribute or pattern", i.Group)
		}
		if i.Kind != "person" && i.Kind != "organisation" {
			wrong("cards.issuers", `kind %q is neither "person" nor "organisation"`, i.Kind)
		}
		if _, err := regexp.Compile(i.Pattern); err != nil {
			wrong("cards.issuers", "pattern: %v", err)
		}
	}
	if c.Cards.Grace > 24*time.Hour {
		wrong("cards.grace", "a revocation list counts at most 24h beyond its end")
	}
}
