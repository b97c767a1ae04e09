package tls

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrLoss is what a look at the white list wraps when the list lacks so many
// domains that a person has to accept it first.
var ErrLoss = errors.New("tls: white list has lost many domains: a person must accept it")

// WhiteListOptions say where the white list is and what it may be. A zero field
// means the default it names, unless it has none.
type WhiteListOptions struct {
	Source  string        // file, or https URL
	Roots   []string      // certificate files of the only authorities that vouch for the URL's server
	File    string        // what is kept for the next start, "" for nowhere
	Refresh time.Duration // between two looks; default 1 hour
	MaxAge  time.Duration // of the list in use before it is complained about each day; default 7 days
	Timeout time.Duration // to fetch it; default 30 s
	Size    int64         // octets of the list; default 32 MiB
	Entries int           // of the list; default 100,000
	MaxLoss int           // percent of the domains that may go at once without being asked; no default

	Normal func(domain string) (string, error) // comparison form of a domain name; needed
	Logger *slog.Logger                        // default slog.Default()
}

func (o *WhiteListOptions) fill() {
	o.Refresh = cmp.Or(o.Refresh, time.Hour)
	o.MaxAge = cmp.Or(o.MaxAge, 7*24*time.Hour)
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Size = cmp.Or(o.Size, 32<<20)
	o.Entries = cmp.Or(o.Entries, 100_000)
	o.Logger = cmp.Or(o.Logger, slog.Default())
}

// WhiteList says which domains are in the trust space, and which operators'
// certificates carry the mail of each. It takes over a newer list while it is
// used, and keeps the last good one whatever comes. It is safe for concurrent
// use; nil is a WhiteList without domains.
//
// Nothing in a list proves where it comes from: the file is believed, and the
// server of the URL is because a pinned authority vouches for it.
type WhiteList struct {
	options WhiteListOptions
	remote  bool
	client  *http.Client

	refreshing     sync.Mutex // one look at a time; guards what follows
	etag, modified string     // validators of the list in use (RFC 9110 section 8.8)
	alarmed        time.Time  // when its age was last complained about

	mu      sync.RWMutex // guards what follows
	current peerState
	held    *Change   // what taking over the list that waits for a person would do
	looked  time.Time // last look that found nothing wrong
	err     error     // what the last look found wrong
}

// peerState is a list in use with what is remembered of the ones before it. The
// maps do not change.
type peerState struct {
	list  *peerList            // nil until one was good
	taken time.Time            // when it was taken over
	since map[string]time.Time // for the domains of list: date of the first list that had them
	left  map[string]time.Time // for domains that are gone: date of the first list without them
	last  *Change              // that made the list what it is; nil when it is the first
}

// Change is what one list has otherwise than the one before.
type Change struct {
	From    time.Time `json:"from"` // dates of the lists
	To      time.Time `json:"to"`
	Added   []string  `json:"added,omitempty"` // domains, sorted
	Removed []string  `json:"removed,omitempty"`
	Changed []string  `json:"changed,omitempty"` // other certificates than before
}

// OpenWhiteList reads the roots, the list kept from the last run and, when it is
// a file, the list itself; Run fetches. Roots that cannot be used are an error; a
// list that cannot is logged.
func OpenWhiteList(o WhiteListOptions) (*WhiteList, error) {
	o.fill()
	w := &WhiteList{options: o, remote: strings.Contains(o.Source, "://")}
	if w.remote {
		if u, err := url.Parse(o.Source); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, fmt.Errorf("tls: white list %q is neither a file nor an https URL", o.Source)
		}
		if len(o.Roots) == 0 {
			return nil, errors.New("tls: white list to be fetched without roots")
		}
		roots := x509.NewCertPool()
		for _, file := range o.Roots {
			root, err := readIssuer(file)
			if err != nil {
				return nil, fmt.Errorf("read root %s: %w", file, err)
			}
			if !root.IsCA {
				return nil, fmt.Errorf("tls: root %s is not an authority's certificate", file)
			}
			roots.AddCert(root)
		}
		w.client = newClient(roots)
	}
	if err := w.recall(); err != nil {
		o.Logger.Error("tls.whitelist kept from the last run is of no use", "file", o.File, "err", err)
	}
	if !w.remote {
		_ = w.Refresh(context.Background(), false) // logged where it happens
	}
	return w, nil
}

// Run looks at the list, at once and then each Refresh, until ctx ends. What goes
// wrong is logged.
func (w *WhiteList) Run(ctx context.Context) {
	for w != nil && ctx.Err() == nil {
		_ = w.Refresh(ctx, false) // logged where it happens
		pause(ctx, w.options.Refresh)
	}
	<-ctx.Done()
}

// Refresh looks at the list now and takes it over when it is newer. With accept it
// may lack what the list lacks that waits for a person ([WhiteList.Status]). The
// error says what is wrong with it, ErrLoss among that; the one known before then
// stays in use.
func (w *WhiteList) Refresh(ctx context.Context, accept bool) error {
	if w == nil {
		return nil
	}
	w.refreshing.Lock()
	defer w.refreshing.Unlock()
	now := time.Now()
	got, err := w.read(ctx)
	var held *Change
	if err == nil && got != nil {
		if held, err = w.take(got.octets, now, accept); err == nil {
			w.etag, w.modified = got.etag, got.modified
		}
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return err // the server stops: that says nothing of the list
	}
	w.mu.Lock()
	w.err, w.held = err, held
	if err == nil {
		w.looked = now
	}
	w.mu.Unlock()
	if held != nil {
		w.log().Error("tls.whitelist waits for a person: telesphore whitelist refresh --accept takes it over",
			"generated", held.To, "gone", len(held.Removed), "domains", some(held.Removed))
	} else if err != nil {
		w.log().Error("tls.whitelist refused", "err", err)
	}
	w.complain(now)
	return err
}

func (w *WhiteList) log() *slog.Logger { return w.options.Logger.With("source", w.options.Source) }

// read gets the list as it is now: nothing when it has not changed.
func (w *WhiteList) read(ctx context.Context) (*copied, error) {
	if !w.remote {
		octets, err := readFile(w.options.Source, w.options.Size)
		if err != nil {
			return nil, fmt.Errorf("read white list: %w", err)
		}
		return &copied{octets: octets}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.options.Timeout)
	defer cancel()
	got, err := get(ctx, w.client, w.options.Source, w.etag, w.modified, w.options.Size)
	if err != nil {
		return nil, fmt.Errorf("fetch white list: %w", err)
	}
	return got, nil
}

// take makes octets the list in use when it is good. Held is what that would
// change when a person has to be asked first; the error then is ErrLoss.
func (w *WhiteList) take(octets []byte, now time.Time, accept bool) (held *Change, err error) {
	known := w.state()
	if known.list != nil && known.list.sum == sha256.Sum256(octets) {
		return nil, nil
	}
	l, err := w.parse(octets)
	if err != nil {
		return nil, err
	}
	if l.generated.After(now.Add(skew)) {
		return nil, fmt.Errorf("tls: white list is from the future: %v", l.generated)
	}
	if known.list != nil && l.generated.Before(known.list.generated) {
		return nil, fmt.Errorf("tls: white list of %v is older than the known one of %v", l.generated, known.list.generated)
	}
	next := known.next(l, now, w.options.Entries)
	if c := next.last; c != nil && len(c.Removed)*100 > w.options.MaxLoss*len(known.list.domains) && !(accept && w.waits(c)) {
		return c, fmt.Errorf("%w: %d of %d", ErrLoss, len(c.Removed), len(known.list.domains))
	}
	w.mu.Lock()
	w.current = next
	w.mu.Unlock()
	w.tell(&next)
	if err := w.keep(&next, octets); err != nil {
		w.log().Error("tls.whitelist not kept", "err", err)
	}
	return nil, nil
}

// waits reports whether a person could see all that c removes: an acceptance is not
// for what went meanwhile.
func (w *WhiteList) waits(c *Change) bool {
	held := w.Status().Held
	return held != nil && !slices.ContainsFunc(c.Removed, func(d string) bool {
		_, seen := slices.BinarySearch(held.Removed, d)
		return !seen
	})
}

// next is the state when l follows; at most entries departures are remembered.
func (s *peerState) next(l *peerList, now time.Time, entries int) peerState {
	n := peerState{list: l, taken: now, since: make(map[string]time.Time), left: maps.Clone(s.left)}
	if n.left == nil {
		n.left = make(map[string]time.Time)
	}
	for domain := range l.domains {
		since, known := s.since[domain]
		if !known {
			since = l.generated
		}
		n.since[domain] = since
		delete(n.left, domain)
	}
	if s.list == nil {
		return n
	}
	n.last = difference(s.list, l)
	for _, domain := range n.last.Removed {
		n.left[domain] = l.generated
	}
	if more := len(n.left) - entries; more > 0 {
		oldest := slices.SortedFunc(maps.Keys(n.left), func(a, b string) int { return n.left[a].Compare(n.left[b]) })
		for _, domain := range oldest[:more] {
			delete(n.left, domain)
		}
	}
	return n
}

// difference says what became of from in to.
func difference(from, to *peerList) *Change {
	c := &Change{From: from.generated, To: to.generated}
	for domain, operators := range to.domains {
		before, known := from.domains[domain]
		switch {
		case !known:
			c.Added = append(c.Added, domain)
		case len(before) != len(operators) || slices.ContainsFunc(operators, func(o Operator) bool { return !carries(before, o.Name) }):
			c.Changed = append(c.Changed, domain)
		}
	}
	for domain := range from.domains {
		if _, still := to.domains[domain]; !still {
			c.Removed = append(c.Removed, domain)
		}
	}
	for _, domains := range [][]string{c.Added, c.Removed, c.Changed} {
		slices.Sort(domains)
	}
	return c
}

// carries says whether name is that of one of operators.
func carries(operators []Operator, name Name) bool {
	return slices.ContainsFunc(operators, func(o Operator) bool { return o.Name.Equal(name) })
}

// tell logs what a new list has changed.
func (w *WhiteList) tell(s *peerState) {
	attributes := []any{"generated", s.list.generated, "domains", len(s.list.domains)}
	if c := s.last; c != nil {
		attributes = append(attributes, "added", len(c.Added), "removed", len(c.Removed), "changed", len(c.Changed),
			"which_added", some(c.Added), "which_removed", some(c.Removed), "which_changed", some(c.Changed))
	}
	w.log().Info("tls.whitelist", attributes...)
	if s.list.ignored > 0 {
		w.log().Warn("tls.whitelist has entries that cannot be used", "entries", s.list.ignored)
	}
}

// some are as many domains as go into a line of the log.
func some(domains []string) string {
	const most = 100
	if len(domains) > most {
		return strings.Join(domains[:most], " ") + " ..."
	}
	return strings.Join(domains, " ")
}

// complain logs, at most once a day, that the list in use is old.
func (w *WhiteList) complain(now time.Time) {
	l := w.state().list
	if l == nil || now.Sub(l.generated) <= w.options.MaxAge {
		w.alarmed = time.Time{}
		return
	}
	if now.Sub(w.alarmed) < 24*time.Hour {
		return
	}
	w.alarmed = now
	w.log().Error("tls.whitelist is old: who has left the trust space since is not known",
		"generated", l.generated, "age", now.Sub(l.generated).Round(time.Minute))
}

func (w *WhiteList) state() peerState {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.current
}

func (w *WhiteList) parse(octets []byte) (*peerList, error) {
	return parsePeers(octets, peerLimits{entries: w.options.Entries, normal: w.options.Normal})
}
