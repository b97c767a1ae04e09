package main

import (
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"telesphore/tls"
)

// ask fetches the white list of a demo, unless it is still the one that etag names.
func (d *demo) ask(t *testing.T, path, etag string) (status int, tag, body string) {
	t.Helper()
	ca, err := os.ReadFile(d.file(demoCA))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tls.ClientConfig(roots, "")}, Timeout: patience}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.Replace(d.list.URL(), "/"+demoWhiteList, path, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("If-None-Match", etag)
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	octets, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("ETag"), string(octets)
}

// TestDemoTrust: each operator knows the other by its certificate before anybody can
// ask, and the list is what the file says at each moment.
func TestDemoTrust(t *testing.T) {
	d := newDemo(t)
	defer d.lastly(t)
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, o := range d.operators() {
		list := o.server.whiteList
		if !list.Covers(o.domain, o.card.leaf) || !list.Covers(o.other.domain, o.other.card.leaf) ||
			list.Covers(o.domain, o.other.card.leaf) || list.Has(demoInternet) {
			t.Errorf("%s does not know who is who: %+v", o.domain, list.Status())
		}
		for _, name := range []string{o.host, "localhost", "127.0.0.1", "::1"} {
			if err := o.card.leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
	}
	status, tag, body := d.ask(t, "/"+demoWhiteList, "")
	if status != http.StatusOK || !strings.Contains(body, "<Nom>clinique.test</Nom>") {
		t.Errorf("the list: %d %s", status, body)
	}
	if status, _, body := d.ask(t, "/"+demoWhiteList, tag); status != http.StatusNotModified || body != "" {
		t.Errorf("asked again: %d %s", status, body)
	}
	if status, _, _ := d.ask(t, "/telesphore.toml", ""); status != http.StatusNotFound {
		t.Errorf("another file: %d", status)
	}
	changed := strings.Replace(body, "clinique.test", "lilas.test", 1)
	if err := writeFile(d.file(demoWhiteList), []byte(changed)); err != nil {
		t.Fatal(err)
	}
	if status, _, body := d.ask(t, "/"+demoWhiteList, tag); status != http.StatusOK || body != changed {
		t.Errorf("after a change: %d %s", status, body)
	}
	if err := os.Remove(d.file(demoWhiteList)); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := d.ask(t, "/"+demoWhiteList, tag); status != http.StatusNotFound {
		t.Errorf("without a file: %d", status)
	}
}

// TestDemoKeepsTrust: the next run has the same certificates, keys and white list,
// with what somebody has changed in it, unless it names neither operator.
func TestDemoKeepsTrust(t *testing.T) {
	d := newDemo(t)
	run := func() (files map[string]string) {
		t.Helper()
		if err := d.start(t.Context()); err != nil {
			t.Error(err)
		}
		files = make(map[string]string)
		for _, o := range d.operators() {
			for _, file := range []string{o.card.Cert, o.card.Key, o.keys()[0].File, o.keys()[1].File, d.file(demoWhiteList)} {
				octets, err := os.ReadFile(file)
				if err != nil {
					t.Error(err)
				}
				files[file] = string(octets)
			}
		}
		d.lastly(t)
		d = &demo{dir: d.dir, portBase: d.portBase, lang: "en", text: english()}
		return files
	}
	first := run()
	list := d.dir + "/" + demoWhiteList
	edited := strings.Replace(first[list], "clinique.test", "lilas.test", 1)
	for given, want := range map[string]string{edited: edited, "": "", "<x/>": "", first[list][:200]: ""} {
		if err := os.WriteFile(list, []byte(given), 0o600); err != nil {
			t.Fatal(err)
		}
		again := run()
		for file, octets := range first {
			if file != list && again[file] != octets {
				t.Errorf("%s has changed", file)
			}
		}
		if want == "" && !strings.Contains(again[list], "<Nom>clinique.test</Nom>") || want != "" && again[list] != want {
			t.Errorf("the list %q became %q", given, again[list])
		}
	}
	if err := os.Remove(list); err != nil {
		t.Fatal(err)
	}
	if again := run(); !strings.Contains(again[list], "<Nom>clinique.test</Nom>") {
		t.Errorf("without a list: %q", again[list])
	}
}
