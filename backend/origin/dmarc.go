package origin

import (
	"context"
	"strings"

	"golang.org/x/net/publicsuffix"

	"telesphore/backend"
	"telesphore/backend/message"
)

// dmarcPolicy is what the author's domain publishes, or why that is not known.
type dmarcPolicy struct {
	result                string // "" with a record; "none", "temperror" or "permerror" without
	asks                  string // "none", "quarantine", "reject"; "" without record
	strictSPF, strictDKIM bool
}

// discover looks for the record of the author's domain, then for that of its
// organisational domain, which may ask for something else for its subdomains
// (RFC 7489 section 6.6.3).
func (c *Checker) discover(ctx context.Context, author string) dmarcPolicy {
	if author == "" {
		return dmarcPolicy{result: permanent}
	}
	for _, domain := range []string{author, organisation(author)} {
		texts, err := lookups{c.Resolver}.LookupTXT(ctx, "_dmarc."+domain)
		if err != nil && !isNotFound(err) {
			return dmarcPolicy{result: temporary}
		}
		records := dmarcRecords(texts)
		switch {
		case len(records) > 1: // nobody knows which one is meant
			return dmarcPolicy{result: permanent}
		case len(records) == 1:
			return readPolicy(records[0], domain != author)
		}
	}
	return dmarcPolicy{result: none}
}

// dmarcRecords reads those texts that are DMARC records: the version comes first, and
// is written in capitals (RFC 7489 section 6.3).
func dmarcRecords(texts []string) (records []map[string]string) {
	for _, text := range texts {
		first, _, _ := strings.Cut(text, ";")
		name, version, _ := strings.Cut(first, "=")
		if strings.TrimSpace(name) != "v" || strings.TrimSpace(version) != "DMARC1" {
			continue
		}
		record, _ := tags(text) // whatever else is wrong counts as not written (section 6.3)
		records = append(records, record)
	}
	return records
}

// readPolicy reads p, sp, adkim, aspf and t. A policy that is missing or unknown asks
// for nothing. pct is ignored, as RFC 9989 has abolished it: to fail for one message in four means
// that the reader never knows which one. In its place t=y asks for one step less.
func readPolicy(record map[string]string, subdomain bool) dmarcPolicy {
	asks := record["p"]
	if sp, ok := record["sp"]; ok && subdomain {
		asks = sp
	}
	steps := []string{"none", "quarantine", "reject"}
	step := 0
	for i, name := range steps {
		if strings.EqualFold(asks, name) {
			step = i
		}
	}
	if strings.EqualFold(record["t"], "y") && step > 0 {
		step--
	}
	return dmarcPolicy{
		asks:       steps[step],
		strictSPF:  strings.EqualFold(record["aspf"], "s"),
		strictDKIM: strings.EqualFold(record["adkim"], "s"),
	}
}

// evaluate passes what SPF or a signature proves for the author's domain. When one of
// them may still prove it later, the result is temporary (RFC 7489 section 6.6.2).
func (p dmarcPolicy) evaluate(author string, sender spfResult, signatures []*signature) string {
	if p.result != "" {
		return p.result
	}
	results := []string{}
	if sender.domain != "" && aligned(sender.domain, author, p.strictSPF) {
		results = append(results, sender.result)
	}
	for _, s := range signatures {
		if aligned(s.domain, author, p.strictDKIM) {
			results = append(results, s.result)
		}
	}
	verdict := fail
	for _, r := range results {
		switch r {
		case pass:
			return pass
		case temporary:
			verdict = temporary
		}
	}
	return verdict
}

// aligned compares domains as RFC 7489 section 3.1 does.
func aligned(domain, author string, strict bool) bool {
	return domain == author || !strict && domain != "" && organisation(domain) == organisation(author)
}

// organisation is the organisational domain: the one below the public suffix (RFC 7489
// section 3.2), or the domain itself when it is a suffix. The list of suffixes is
// part of the program. The walk up the tree of RFC 9989 section 4.10 comes to the
// same for who does not run a suffix, and takes up to eight lookups for each name.
func organisation(domain string) string {
	name, err := publicsuffix.EffectiveTLDPlusOne(domain)
	if err != nil {
		return domain
	}
	return name
}

// authorDomain is the domain of the From field: "" when there is not exactly one
// field, when it cannot be read, or when its addresses are of several domains
// (RFC 7489 section 6.6.1).
func authorDomain(header []byte) string {
	values := message.HeaderValues(header, "From")
	if len(values) != 1 {
		return ""
	}
	authors, err := backend.ParseMailboxes(values[0])
	if err != nil || len(authors) == 0 {
		return ""
	}
	for _, a := range authors {
		if a.Domain != authors[0].Domain {
			return ""
		}
	}
	return authors[0].Domain
}
