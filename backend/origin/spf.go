package origin

import (
	"context"
	"net"
	"strings"

	"blitiri.com.ar/go/spf"

	"telesphore/backend"
)

// spfResult is what SPF says about a domain.
type spfResult struct {
	result   string // "" when not asked
	property string // what the domain was taken from: "smtp.mailfrom" or "smtp.helo"
	domain   string // "" when that is no domain
}

// askSPF asks about the domain of the reverse-path, and about the name in HELO when that
// is empty (RFC 7208 section 2.4). The spf package keeps the limits of section
// 4.6.4 for the number of lookups.
func (c *Checker) askSPF(ctx context.Context, a *Arrival) spfResult {
	r := spfResult{result: none, property: "smtp.mailfrom"}
	helo, _ := backend.ParseDomain(a.Helo) // "" for an address literal
	sender := a.From
	if sender == "" {
		r.property, sender = "smtp.helo", "postmaster@"+helo
	}
	address, err := backend.ParseAddress(sender)
	if err != nil || !strings.Contains(address.Domain, ".") {
		return r // section 4.3
	}
	r.domain = address.Domain
	result, _ := spf.CheckHostWithSender(net.IP(a.Remote.Unmap().AsSlice()), helo, address.String(),
		spf.WithContext(ctx), spf.WithResolver(lookups{c.Resolver}))
	r.result = string(result)
	return r
}
