package tls

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// Known reports whether there is a list at all: its first fetch may have failed.
func (w *WhiteList) Known() bool { return w != nil && w.state().list != nil }

// Akin reports whether some domain of the list has the same organisational domain:
// whoever lists clinique.mssante.fr has mssante.fr and all below it for its own.
func (w *WhiteList) Akin(domain string) bool {
	if w == nil {
		return false
	}
	key, err := w.options.Normal(domain)
	l := w.state().list
	return err == nil && l != nil && l.families[family(key)]
}

// Has reports whether domain is in the trust space. It may be written as people
// write it, here and in the other methods.
func (w *WhiteList) Has(domain string) bool { return len(w.operators(domain)) > 0 }

// Names lists the certificate names of the operators that carry a domain's mail;
// nil when the domain is not in the list.
func (w *WhiteList) Names(domain string) (names []Name) {
	for _, o := range w.operators(domain) {
		names = append(names, o.Name)
	}
	return names
}

// Covers reports whether leaf is named for domain. That leaf is genuine is for
// the caller to know.
func (w *WhiteList) Covers(domain string, leaf *x509.Certificate) bool {
	name, err := SubjectOf(leaf)
	return err == nil && carries(w.operators(domain), name)
}

// Named reports whether leaf is named for any domain. That leaf is genuine is for
// the caller to know.
func (w *WhiteList) Named(leaf *x509.Certificate) bool {
	if w == nil {
		return false
	}
	name, err := SubjectOf(leaf)
	l := w.state().list
	if err != nil || l == nil {
		return false
	}
	for _, operators := range l.domains {
		if carries(operators, name) {
			return true
		}
	}
	return false
}

// Left says when a domain left the trust space: the date of the first list
// without it. Not so for one that is in the list, or never was.
func (w *WhiteList) Left(domain string) (time.Time, bool) {
	if w == nil {
		return time.Time{}, false
	}
	key, err := w.options.Normal(domain)
	if err != nil {
		return time.Time{}, false
	}
	t, gone := w.state().left[key]
	return t, gone
}

func (w *WhiteList) operators(domain string) []Operator {
	if w == nil {
		return nil
	}
	key, err := w.options.Normal(domain)
	l := w.state().list
	if err != nil || l == nil {
		return nil
	}
	return l.domains[key]
}

// Peer is what the list says of a domain.
type Peer struct {
	Domain    string    // in its comparison form
	Since     time.Time // date of the first list that had it
	Operators []Operator
}

// Lookup returns what the list says of a domain, false when it has nothing.
func (w *WhiteList) Lookup(domain string) (Peer, bool) {
	if w == nil {
		return Peer{}, false
	}
	key, err := w.options.Normal(domain)
	s := w.state()
	if err != nil || s.list == nil || s.list.domains[key] == nil {
		return Peer{}, false
	}
	return Peer{Domain: key, Since: s.since[key], Operators: slices.Clone(s.list.domains[key])}, true
}

// WhiteListStatus tells people how the white list is.
type WhiteListStatus struct {
	Source    string    // file or URL
	Generated time.Time // the list in use; zero while there is none
	Taken     time.Time // when it was taken over
	Looked    time.Time // the last look that found nothing wrong; zero when there was none since the start
	Old       bool      // older than it may be
	Domains   int
	Ignored   int     // entries that cannot be used
	Last      *Change // that made the list what it is; nil when it is the first
	Held      *Change // what the list would change that waits for a person; nil for none
	Err       error   // what the last look found wrong; nil when it was good
}

// Status returns the state of the list.
func (w *WhiteList) Status() WhiteListStatus {
	if w == nil {
		return WhiteListStatus{}
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	s := WhiteListStatus{Source: w.options.Source, Looked: w.looked, Held: w.held, Err: w.err}
	if l := w.current.list; l != nil {
		s.Generated, s.Taken, s.Last = l.generated, w.current.taken, w.current.last
		s.Domains, s.Ignored = len(l.domains), l.ignored
		s.Old = time.Since(l.generated) > w.options.MaxAge
	}
	return s
}

// keptPeers is the file that keeps a list, and what is remembered beside it, for
// the next start. One file, so that they always fit together.
type keptPeers struct {
	Source string               `json:"source"`
	Taken  time.Time            `json:"taken"`
	Since  map[string]time.Time `json:"since"`
	Left   map[string]time.Time `json:"left"`
	Last   *Change              `json:"last,omitempty"`
	List   []byte               `json:"list"` // its octets
}

func (w *WhiteList) keep(s *peerState, octets []byte) error {
	if w.options.File == "" {
		return nil
	}
	file, err := json.Marshal(&keptPeers{
		Source: w.options.Source, Taken: s.taken, Since: s.since, Left: s.left, Last: s.last, List: octets,
	})
	if err != nil {
		return fmt.Errorf("encode white list: %w", err)
	}
	return keep(w.options.File, append(file, '\n'))
}

// recall takes the kept list into use, if there is one of the same source: what
// another one said is not this one's.
func (w *WhiteList) recall() error {
	if w.options.File == "" {
		return nil
	}
	octets, err := os.ReadFile(w.options.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	var k keptPeers
	if err := json.Unmarshal(octets, &k); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	if k.Source != w.options.Source {
		w.log().Warn("tls.whitelist has another source now: what is kept of the former one is forgotten", "former", k.Source)
		return nil
	}
	l, err := w.parse(k.List)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = peerState{list: l, taken: k.Taken, since: k.Since, left: k.Left, last: k.Last}
	return nil
}
