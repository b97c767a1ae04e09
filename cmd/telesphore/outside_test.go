package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"telesphore/backend/relay"
)

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
		err := r.Send(t.Context(), "", to, []byte(mail))
		if i < 2 && err != nil || i == 2 && err == nil { // dots beside each other are no address
			t.Errorf("to %s: %v", to, err)
		}
	}
	if err := r.Send(t.Context(), "", "a/*|b@perso.test", []byte(mail)); err != nil {
		t.Error(err)
	}
	if err := r.Send(t.Context(), "", "medecin@ferme.test", []byte(mail)); !errors.Is(err, relay.ErrPermanent) {
		t.Errorf("to another domain: %v, want ErrPermanent", err)
	}
	if err := o.Close(); err != nil {
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
