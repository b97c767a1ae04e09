package tls

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// copied is a list as it was read, not yet looked into.
type copied struct {
	octets         []byte
	fresh          bool   // fetched just now
	etag, modified string // of a fetched one, "" for none
}

// look reads a list and puts it into use when it is good. What is wrong is
// logged: a bad list may be an attack, and it never replaces a good one.
func (a *Anchors) look(l *list, read func(*list) (*copied, error)) (replaced bool, err error) {
	now := time.Now()
	got, err := read(l)
	if err == nil && got != nil {
		replaced, err = l.accept(got.octets, now)
	}
	logger := a.options.Logger.With("group", l.group, "source", l.source)
	if err == nil && got != nil && l.remote {
		l.etag, l.modified = got.etag, got.modified
		if replaced && got.fresh && l.kept != "" {
			if err := keep(l.kept, got.octets); err != nil {
				logger.Error("tls.list not kept", "err", err)
			}
		}
	}
	l.mu.Lock()
	l.err = err
	c := l.crl
	l.mu.Unlock()
	switch {
	case err != nil:
		logger.Error("tls.list refused", "err", err)
	case c != nil && !c.current(now, a.options.Grace):
		logger.Error("tls.list is out of date", "nextUpdate", c.nextUpdate)
	case replaced:
		logger.Info("tls.list", "entries", len(c.serials), "thisUpdate", c.thisUpdate, "nextUpdate", c.nextUpdate)
	}
	return replaced, err
}

// stored reads a list from its file, or the copy of one that was fetched in a
// former run. There may be no such copy: then there is nothing to read.
func (a *Anchors) stored(l *list) (*copied, error) {
	name := l.source
	if l.remote {
		name = l.kept
	}
	if name == "" {
		return nil, nil
	}
	octets, err := readFile(name, a.options.Size)
	if l.remote && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read revocation list: %w", err)
	}
	return &copied{octets: octets}, nil
}

// fetch gets a list from its URL: nothing when it has not changed.
func (a *Anchors) fetch(ctx context.Context, l *list) (*copied, error) {
	ctx, cancel := context.WithTimeout(ctx, a.options.Timeout)
	defer cancel()
	got, err := get(ctx, a.client, l.source, l.etag, l.modified, a.options.Size)
	if err != nil {
		return nil, fmt.Errorf("fetch revocation list: %w", err)
	}
	return got, nil
}

// get fetches source, of at most size octets: nothing when it has not changed
// since the copy that came with these validators, "" for none.
func get(ctx context.Context, client *http.Client, source, etag, modified string, size int64) (*copied, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, err
	}
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	if modified != "" {
		request.Header.Set("If-Modified-Since", modified)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotModified && etag+modified != "" {
		return nil, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("tls: answered with %s", response.Status)
	}
	octets, err := readAtMost(response.Body, size)
	if err != nil {
		return nil, err
	}
	return &copied{
		octets: octets, fresh: true,
		etag: response.Header.Get("ETag"), modified: response.Header.Get("Last-Modified"),
	}, nil
}

func readFile(name string, size int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, size)
}

func readAtMost(r io.Reader, size int64) ([]byte, error) {
	octets, err := io.ReadAll(io.LimitReader(r, size+1))
	if err == nil && int64(len(octets)) > size {
		err = fmt.Errorf("tls: more than %d octets", size)
	}
	return octets, err
}

// keep replaces the file name at once, so that no half of a list is ever read.
func keep(name string, octets []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".list-*") // mode 0600
	if err != nil {
		return fmt.Errorf("keep a list: %w", err)
	}
	_, err = f.Write(octets)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("keep a list: %w", err)
	}
	return nil
}

// newClient returns the client for lists and OCSP. roots are whom it believes
// about servers with https, nil for whom the system does. It follows no
// redirection away from the pinned host, which could lead to our own network.
func newClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:              http.ProxyFromEnvironment,
			TLSClientConfig:    ClientConfig(roots, ""), // the name is that of the URL
			ForceAttemptHTTP2:  true,
			DisableCompression: true, // the size is bounded as it travels
			MaxConnsPerHost:    8,
			IdleConnTimeout:    time.Minute,
		},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if to, from := request.URL, via[0].URL; to.Scheme != from.Scheme || to.Host != from.Host {
				return errors.New("tls: redirected to another host or scheme")
			}
			if len(via) >= 3 {
				return errors.New("tls: redirected too often")
			}
			return nil
		},
	}
}

// pause waits about as long as interval, or until ctx ends: many servers must
// not ask an authority in the same second.
func pause(ctx context.Context, interval time.Duration) {
	if jitter, err := rand.Int(rand.Reader, big.NewInt(int64(interval/10)+1)); err == nil {
		interval -= time.Duration(jitter.Int64())
	}
	select {
	case <-time.After(interval):
	case <-ctx.Done():
	}
}
