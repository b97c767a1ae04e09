package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"telesphore/backend"
)

// smtpPort is where the servers of a domain listen (RFC 5321 section 4.5.4.2).
const smtpPort = "25"

// hosts lists the servers that may take mail for a domain, best first. isTrusted says whether it is one of the trust
// space, for all of an attempt: the list may change meanwhile.
func (r *Relay) hosts(ctx context.Context, domain string, isTrusted bool) ([]host, *fault) {
	route, ok := r.way(domain, isTrusted)
	if !ok {
		return nil, &fault{step: "route", status: "5.4.4", failed: true, cause: ErrNoRoute}
	}
	h := host{security: route.Security, username: route.Username, password: route.Password}
	switch {
	case isTrusted:
		h.policy = trusted
	case route.Security == StartTLS || route.Security == TLS && route.Host != "":
		h.policy = verified
	case route.Security != None:
		return nil, &fault{step: "route", status: "4.3.5", cause: errors.New("its security is unknown")}
	}
	if route.Host != "" {
		var err error
		if h.name, h.port, err = net.SplitHostPort(route.Host); err != nil {
			return nil, &fault{step: "route", status: "4.3.5", cause: err}
		}
		h.fixed = true
		return []host{h}, nil
	}
	names, f := r.exchangers(ctx, domain)
	if f != nil {
		if isTrusted && f.failed {
			// The white list says that it takes mail, and nobody has signed what the DNS says.
			f.failed, f.status = false, "4.4.4"
		}
		return nil, f
	}
	var hosts []host
	for _, name := range names {
		h.name, h.port = name, smtpPort
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// exchangers lists the names of the servers of a domain, as its MX records have them
// (RFC 5321 section 5.1). Without any the domain is its own server.
func (r *Relay) exchangers(ctx context.Context, domain string) ([]string, *fault) {
	limits := r.Limits.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, limits.Resolve)
	defer cancel()
	records, err := r.resolver().LookupMX(ctx, domain+".") // rooted: no search list of the system may apply
	if err != nil && !notFound(err) && len(records) == 0 { // it may leave out some and say so
		return nil, &fault{step: "MX", status: noDirectory, cause: err}
	}
	if len(records) == 0 {
		records = []*net.MX{{Host: domain}}
	} else if len(records) == 1 && (records[0].Host == "." || records[0].Host == "") {
		return nil, &fault{step: "MX", status: "5.1.10", failed: true, cause: errors.New("the domain takes no mail")} // RFC 7505
	}
	records = slices.Clone(records)
	// Servers of one preference share the work; nothing depends on who is first.
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b *net.MX) int { return int(a.Pref) - int(b.Pref) })
	self, _ := backend.ParseDomain(r.Hostname)
	var names []string
	for n, record := range records {
		name, ok := hostName(record.Host)
		if ok && name == self {
			// Those that are worse than we are would give it back to us, and so would
			// those that are as good.
			if names = better(records[:n], record.Pref); len(names) == 0 {
				return nil, &fault{step: "MX", status: "5.4.6", failed: true, cause: errors.New("the server of the domain is this one")}
			}
			break
		}
		if ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, &fault{step: "MX", status: "5.1.2", failed: true, cause: errors.New("the servers of the domain have no names")}
	}
	return names[:min(len(names), limits.Hosts)], nil
}

// better lists the names of records whose preference is better than pref.
func better(records []*net.MX, pref uint16) (names []string) {
	for _, record := range records {
		if name, ok := hostName(record.Host); ok && record.Pref < pref && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// hostName is what the DNS calls a server, false when that is no name: an address, or
// what would do harm where it is written.
func hostName(s string) (string, bool) {
	name, err := backend.ParseDomain(strings.TrimSuffix(s, "."))
	if _, isAddress := netip.ParseAddr(name); err != nil || isAddress == nil {
		return "", false
	}
	return name, true
}

// addresses lists where a host listens: "192.0.2.1:25".
func (r *Relay) addresses(ctx context.Context, h host) ([]string, *fault) {
	if a, err := netip.ParseAddr(h.name); err == nil {
		return []string{net.JoinHostPort(a.String(), h.port)}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.Limits.withDefaults().Resolve)
	defer cancel()
	name := h.name
	if !h.fixed {
		name += "."
	}
	found, err := r.resolver().LookupIPAddr(ctx, name)
	if err != nil && !notFound(err) {
		return nil, &fault{step: "address", status: noDirectory, elsewhere: true, cause: err, remote: h.name}
	}
	var addresses []string
	for _, a := range found {
		// What the DNS of a stranger says must not make us talk to ourselves.
		if ip := a.IP; h.fixed || !ip.IsLoopback() && !ip.IsUnspecified() && !ip.IsMulticast() {
			addresses = append(addresses, net.JoinHostPort(a.String(), h.port))
		}
	}
	if len(addresses) > 0 {
		return addresses, nil
	}
	f := &fault{step: "address", status: "5.1.2", failed: true, elsewhere: true, cause: errors.New("the server has no address"), remote: h.name}
	if h.fixed || h.policy == trusted { // not the recipient's address is wrong
		f.status, f.failed = "4.4.4", false
	}
	return nil, f
}

// notFound reports whether the DNS knows that there is nothing.
func notFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}
