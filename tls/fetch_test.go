package tls_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

// publisher serves one list.
type publisher struct {
	*httptest.Server
	handler http.HandlerFunc // replaced between two looks

	mu    sync.Mutex // guards asked
	asked []*http.Request
}

// questions returns what was asked so far.
func (p *publisher) questions() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func publish(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.asked = append(p.asked, r)
		p.mu.Unlock()
		p.handler(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// gives makes the publisher answer with octets, as often as somebody asks.
func (p *publisher) gives(octets []byte) {
	p.handler = func(w http.ResponseWriter, r *http.Request) { w.Write(octets) }
}

func openFetched(t *testing.T, i *tlstest.Issuer, o ourtls.AnchorOptions) *ourtls.Anchors {
	t.Helper()
	o.Logger = discard()
	a, err := ourtls.OpenAnchors([]ourtls.Issuer{i.Pinned}, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFetchedListIsKeptForTheNextStart(t *testing.T) {
	i, p := tlstest.NewIssuer(t, "igc"), publish(t)
	i.Pinned.Lists = []string{p.URL + "/igc.crl"}
	card, lost := i.Card(t, medecin(nil)), i.Card(t, medecin(nil))
	options := ourtls.AnchorOptions{Dir: filepath.Join(t.TempDir(), "lists")}
	a := openFetched(t, i, options)
	expect(t, a, card.Leaf, ourtls.ErrRevocationUnknown)
	if len(p.questions()) != 0 {
		t.Error("fetched before Run")
	}

	before := i.List(t, nil)
	i.Revoke(t, lost)
	p.gives(i.List(t, nil))
	tlstest.Refresh(t, a)
	expect(t, a, card.Leaf, nil)
	expect(t, a, lost.Leaf, ourtls.ErrRevoked)

	files, err := os.ReadDir(options.Dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode() != 0o600 {
		t.Errorf("kept with mode %v, %v", info.Mode(), err)
	}

	// What is refused is not kept; nor does a restart forget which list is newest.
	p.gives(before)
	if err := a.Refresh(t.Context()); err == nil {
		t.Error("an older list was taken")
	}
	again := openFetched(t, i, options)
	expect(t, again, card.Leaf, nil)
	expect(t, again, lost.Leaf, ourtls.ErrRevoked)
	if err := again.Refresh(t.Context()); err == nil {
		t.Error("an older list was taken after a restart")
	}
	p.Close()
	if err := again.Refresh(t.Context()); err == nil {
		t.Error("no error when nobody answers")
	}
	expect(t, again, lost.Leaf, ourtls.ErrRevoked)
	expect(t, again, card.Leaf, nil)
}

func TestListIsNotFetchedTwice(t *testing.T) {
	i, p := tlstest.NewIssuer(t, "igc"), publish(t)
	list := i.List(t, nil)
	i.Pinned.Lists = []string{p.URL}
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == `"1"` && r.Header.Get("If-Modified-Since") == "Thu, 01 Jan 2026 00:00:00 GMT" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
		w.Write(list)
	}
	changes := 0
	a := openFetched(t, i, ourtls.AnchorOptions{OnChange: func() { changes++ }})
	for range 3 {
		tlstest.Refresh(t, a)
	}
	if changes != 1 || len(p.questions()) != 3 || p.questions()[2].Header.Get("If-None-Match") == "" {
		t.Errorf("%d changes, %d questions", changes, len(p.questions()))
	}
	expect(t, a, i.Card(t, medecin(nil)).Leaf, nil)
}

// The validators of a list that was refused must not keep it away for ever.
func TestRefusedListIsFetchedAgain(t *testing.T) {
	i, p := tlstest.NewIssuer(t, "igc"), publish(t)
	good, octets := i.List(t, nil), []byte("bad")
	i.Pinned.Lists = []string{p.URL}
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", `"1"`)
		w.Write(octets)
	}
	a := openFetched(t, i, ourtls.AnchorOptions{})
	if err := a.Refresh(t.Context()); err == nil {
		t.Error("the bad list was taken")
	}
	octets = good
	tlstest.Refresh(t, a)
	expect(t, a, i.Card(t, medecin(nil)).Leaf, nil)
}

func TestListsThatCannotBeFetched(t *testing.T) {
	i := tlstest.NewIssuer(t, "igc")
	list := i.List(t, nil)
	elsewhere := publish(t)
	elsewhere.gives(list)
	file := filepath.Join(t.TempDir(), "list.crl")
	put(t, file, list)
	hang := make(chan struct{})
	defer close(hang)
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		good    bool
	}{
		{"another path of the host", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				w.Write(list)
				return
			}
			http.Redirect(w, r, "/moved", http.StatusFound)
		}, true},
		{"another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		}, false},
		{"another scheme", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+r.Host, http.StatusFound)
		}, false},
		{"a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file://"+file, http.StatusFound)
		}, false},
		{"a circle", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/", http.StatusFound)
		}, false},
		{"not found", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			w.Write(list)
		}, false},
		{"part of it", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			w.Write(list)
		}, false},
		{"not modified, though never read", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotModified)
		}, false},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, false},
		{"silent", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-hang:
			}
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := publish(t)
			p.handler = c.handler
			i.Pinned.Lists = []string{p.URL}
			options := ourtls.AnchorOptions{Dir: t.TempDir(), Size: 64 << 10, Timeout: 10 * time.Second}
			if c.name == "silent" {
				options.Timeout = 20 * time.Millisecond
			}
			a := openFetched(t, i, options)
			if err := a.Refresh(t.Context()); (err == nil) != c.good {
				t.Errorf("got %v", err)
			}
			if len(p.questions()) > 3 {
				t.Errorf("asked %d times", len(p.questions()))
			}
			want := ourtls.ErrRevocationUnknown
			if c.good {
				want = nil
			}
			expect(t, a, i.Card(t, medecin(nil)).Leaf, want)
			if files, err := os.ReadDir(options.Dir); err != nil || (len(files) == 1) != c.good {
				t.Errorf("kept %v, %v", files, err)
			}
		})
	}
	if len(elsewhere.questions()) != 0 {
		t.Error("another host was asked")
	}
}

// Whoever can write to the directory cannot add a list of his own.
func TestKeptListIsVerified(t *testing.T) {
	i, p := tlstest.NewIssuer(t, "igc"), publish(t)
	foreign := i.Foreign(t).List(t, nil)
	good := i.List(t, nil)
	i.Pinned.Lists = []string{p.URL}
	options := ourtls.AnchorOptions{Dir: t.TempDir()}
	p.gives(good)
	tlstest.Refresh(t, openFetched(t, i, options))
	err := filepath.WalkDir(options.Dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			put(t, path, foreign)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	a := openFetched(t, i, options)
	card := i.Card(t, medecin(nil)).Leaf
	expect(t, a, card, ourtls.ErrRevocationUnknown)
	if a.Status()[0].Err == nil {
		t.Error("the list that was replaced is not told")
	}
	tlstest.Refresh(t, a)
	expect(t, a, card, nil)
}
