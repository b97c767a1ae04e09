package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/foxcpp/go-mockdns"

	"telesphore/backend/dkim"
)

// dkimCheck runs "telesphore dkim check" with one key, against a DNS in which its name has
// these texts.
func dkimCheck(t *testing.T, k dkim.Key, texts ...string) (string, error) {
	t.Helper()
	name, _, err := dkim.Record(k)
	if err != nil {
		t.Fatal(err)
	}
	server, err := mockdns.NewServerWithLogger(map[string]mockdns.Zone{name + ".": {TXT: texts}}, log.New(io.Discard, "", 0), false)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	config := filepath.Join(t.TempDir(), "telesphore.toml")
	text := fmt.Sprintf("domains = [%q]\n[tls]\ncertificates = [ { cert = \"a\", key = \"b\" } ]\n[dns]\nservers = [%q]\n[dkim]\nkeys = [ { domain = %q, selector = %q, file = %q } ]\n",
		k.Domain, server.LocalAddr(), k.Domain, k.Selector, k.File)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	root := rootCommand()
	root.SetOut(&out)
	root.SetArgs([]string{"dkim", "check", "--config", config})
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestDKIMCheckAsksTheDNS(t *testing.T) {
	k := dkim.Key{Domain: "hopital.test", Selector: "s2026", File: filepath.Join(t.TempDir(), "key.pem")}
	if err := dkim.Create(k.File, "rsa"); err != nil {
		t.Fatal(err)
	}
	name, value, err := dkim.Record(k)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := dkimCheck(t, k, value); err != nil || out != name+": ok\n" {
		t.Errorf("published: %q, %v", out, err)
	}
	if out, err := dkimCheck(t, k); err == nil || out != name+": missing\n" {
		t.Errorf("not published: %q, %v", out, err)
	}
	out, err := dkimCheck(t, k, value[:len(value)-8])
	if err == nil || out != name+": different\n" || !strings.Contains(err.Error(), "1 of 1 keys") {
		t.Errorf("cut off: %q, %v", out, err)
	}
}
