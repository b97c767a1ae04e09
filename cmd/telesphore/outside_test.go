package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"telesphore/backend"
	"telesphore/backend/relay"
	"telesphore/storage"
)

// handOver makes an attempt for one recipient and returns what became of it.
func handOver(t *testing.T, r *relay.Relay, to, octets string) backend.Outcome {
	t.Helper()
	_, domain, _ := strings.Cut(to, "@")
	return r.Send(t.Context(), &backend.Transfer{
		Domain: domain, Rcpts: []backend.Rcpt{{Address: to}}, Size: int64(len(octets)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(octets)), nil },
	})[0]
}

func TestOutside(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".x.eml.part"), nil, 0o600); err != nil { // left by a crash
		t.Fatal(err)
	}
	o, err := newOutside(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay.Relay{Hostname: "localhost", Logger: slog.New(slog.DiscardHandler), Routes: []relay.Route{
		{Domain: demoInternet, Host: o.Addr(), Security: relay.None},
		{Domain: "ferme.test", Host: o.Addr(), Security: relay.None},
	}}
	const mail = "Subject: x\r\n\r\n.\r\n.é\r\n"
	recipients := []string{"medecin@perso.test", "medecin@perso.test", "../a/*|b@perso.test"}
	for i, to := range recipients {
		got := handOver(t, r, to, mail)
		if (got.Action == storage.Relayed) != (i < 2) { // dots beside each other are no address
			t.Errorf("to %s: %+v", to, got)
		}
	}
	if got := handOver(t, r, "a/*|b@perso.test", mail); got.Action != storage.Relayed {
		t.Errorf("%+v", got)
	}
	if got := handOver(t, r, "medecin@ferme.test", mail); got.Action != storage.Failed {
		t.Errorf("to another domain: %+v, want it to fail", got)
	}
	if err := errors.Join(r.Close(), o.Close()); err != nil {
		t.Error(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("outside has %v, %v; want 3 files", files, err)
	}
	for i, want := range []string{"medecin@perso.test", "medecin@perso.test", "a___b@perso.test"} {
		name := files[i].Name()
		if !regexp.MustCompile(`^\d{8}T\d{6}\.\d{9}-` + regexp.QuoteMeta(want) + `\.eml$`).MatchString(name) {
			t.Errorf("file %s, want TIME-%s.eml", name, want)
		}
		if octets, err := os.ReadFile(filepath.Join(dir, name)); string(octets) != mail {
			t.Errorf("%s has %q, %v; want %q", name, octets, err, mail)
		}
	}
}
