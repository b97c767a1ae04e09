package origin

import (
	"context"
	"errors"
	"net"
	"strings"
)

// lookups is a resolver for names that strangers chose, with errors of two kinds
// only: the name does not exist, or try again later.
type lookups struct{ resolver Resolver }

func (l lookups) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := l.resolver.LookupTXT(ctx, rooted(name))
	return texts, trouble(ctx, err)
}

func (l lookups) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	hosts, err := l.resolver.LookupMX(ctx, rooted(name))
	return hosts, trouble(ctx, err)
}

func (l lookups) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addresses, err := l.resolver.LookupIPAddr(ctx, rooted(host))
	return addresses, trouble(ctx, err)
}

func (l lookups) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	names, err := l.resolver.LookupAddr(ctx, addr)
	return names, trouble(ctx, err)
}

// rooted is a name that no search list of this machine is appended to.
func rooted(name string) string { return strings.TrimSuffix(name, ".") + "." }

// trouble makes one of two errors, of the type that the SPF and DKIM packages look
// for. An answer that comes too late is none.
func trouble(ctx context.Context, err error) error {
	if late := ctx.Err(); late != nil {
		return &net.DNSError{Err: "no time left", IsTimeout: true, IsTemporary: true}
	}
	if err == nil {
		return nil
	}
	if isNotFound(err) {
		return &net.DNSError{Err: "no such name", IsNotFound: true}
	}
	return &net.DNSError{Err: "lookup failed", IsTemporary: true}
}

func isNotFound(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}
