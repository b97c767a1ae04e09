package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// newDemo is a demo of this process, in a directory of its own.
func newDemo(t *testing.T) *demo {
	t.Helper()
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	return &demo{dir: t.TempDir(), portBase: base, lang: "en", text: english()}
}

// lastly stops it, after which nobody answers and both directories are free.
func (d *demo) lastly(t *testing.T) {
	t.Helper()
	if err := d.close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for n := 1; n <= demoLastPort; n++ {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(d.portBase+n)); err == nil {
			conn.Close()
			t.Errorf("somebody answers at N+%d after a stop", n)
		}
	}
	for _, dir := range []string{d.dir, d.file(demoPeerDir)} {
		lock, err := lockDirectory(dir)
		if err != nil {
			t.Errorf("after a stop: %v", err)
			continue
		}
		lock.Close()
	}
}

// TestDemoStopsTogether: what goes wrong with one operator stops the other, and is
// told with the name of the one.
func TestDemoStopsTogether(t *testing.T) {
	unready := errors.New("not ready")
	for name, c := range map[string]struct {
		ready func(d *demo, stop func()) error
		want  string // "" for a clean stop
	}{
		"asked":         {func(_ *demo, stop func()) error { stop(); return nil }, ""},
		"door of one":   {func(d *demo, _ func()) error { return d.first.server.listeners["imap"].Close() }, "hopital.test: door imap: "},
		"door of other": {func(d *demo, _ func()) error { return d.peer.server.listeners["submissions"].Close() }, "clinique.test: door submissions: "},
		"not ready":     {func(*demo, func()) error { return unready }, "not ready"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			d := newDemo(t)
			if err := d.start(ctx); err != nil {
				t.Fatal(errors.Join(err, d.close()))
			}
			begin := time.Now()
			err := d.serve(ctx, func() error {
				for _, o := range d.operators() {
					for door, ln := range o.server.listeners {
						if conn, err := net.Dial("tcp", ln.Addr().String()); err != nil {
							t.Errorf("ready, but %s of %s does not answer: %v", door, o.domain, err)
						} else {
							conn.Close()
						}
					}
				}
				return c.ready(d, cancel)
			})
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %v to stop", took)
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("ended with %v, want %q", err, c.want)
			}
			d.lastly(t)
		})
	}
}

// TestDemoIsInTheWay: what the second operator needs is taken, and the first gives
// everything back.
func TestDemoIsInTheWay(t *testing.T) {
	for name, c := range map[string]struct {
		take func(d *demo) (io.Closer, error)
		want string // in which PORT is replaced
	}{
		"door": {func(d *demo) (io.Closer, error) {
			return net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(d.portBase+12))
		}, "clinique.test: door imaps: port PORT is taken by another program"},
		"directory": {func(d *demo) (io.Closer, error) {
			return lockDirectory(filepath.Join(d.dir, demoPeerDir))
		}, "peer is in use by another telesphore (process " + strconv.Itoa(os.Getpid()) + ")"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDemo(t)
			taken, err := c.take(d)
			if err != nil {
				t.Fatal(err)
			}
			err = d.start(t.Context())
			want := strings.ReplaceAll(c.want, "PORT", strconv.Itoa(d.portBase+12))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("started with %v, want %q", err, want)
			}
			if err := taken.Close(); err != nil {
				t.Fatal(err)
			}
			d.lastly(t)
		})
	}
}

// TestDemoTable: the doors of both operators and who lives where, in both languages.
func TestDemoTable(t *testing.T) {
	d := newDemo(t)
	defer d.lastly(t)
	if err := d.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, text := range []*demoText{english(), french()} {
		var out bytes.Buffer
		if err := text.table(&out, d); err != nil {
			t.Fatal(err)
		}
		words := strings.Join(strings.Fields(out.String()), " ")
		at := func(n int) string { return strconv.Itoa(d.portBase + n) }
		for _, want := range []string{
			text.Door + " hopital.test clinique.test " + text.Security,
			"imap 127.0.0.1:" + at(1) + " 127.0.0.1:" + at(11) + " STARTTLS",
			"imaps 127.0.0.1:" + at(2) + " 127.0.0.1:" + at(12) + " SSL/TLS",
			"submissions 127.0.0.1:" + at(4) + " 127.0.0.1:" + at(14) + " SSL/TLS",
			"smtp 127.0.0.1:" + at(5) + " 127.0.0.1:" + at(15) + " STARTTLS",
			text.WhiteList + " https://127.0.0.1:" + at(22) + "/whitelist.xml",
			text.DNS + " 127.0.0.1:" + at(23),
			"medecin@hopital.test " + d.accounts()[0].Password + " " + text.Cards["unlinked"],
			"pharmacie@clinique.test " + d.accounts()[5].Password + " " + text.Cards["linked"] + " " + text.Codes[false],
			at(2) + " (" + at(12),
		} {
			if !strings.Contains(words, want) {
				t.Errorf("the table lacks %q:\n%s", want, out.String())
			}
		}
	}
}

// TestDemoUsualPorts: the second operator's doors are 10,000 further than the first's.
func TestDemoUsualPorts(t *testing.T) {
	d := &demo{dir: t.TempDir()}
	if err := d.directory(); err != nil {
		t.Fatal(err)
	}
	if a, b := d.first.address(2, 1993), d.peer.address(2, 1993); a != "127.0.0.1:1993" || b != "127.0.0.1:11993" {
		t.Errorf("imaps at %s and %s", a, b)
	}
}
