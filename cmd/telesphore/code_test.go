package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/storage/storagetest"
)

// TestAuthenticatorIsSetUpInOneGo answers the question for a code as a person
// does: with what the program shows for the secret that was printed.
func TestAuthenticatorIsSetUpInOneGo(t *testing.T) {
	config := administered(t)
	var out bytes.Buffer
	person := answer(func() string { return shown(t, printed(t, `secret +(\w+)`, out.String())) })
	if err := run(t, &out, person, "code", "totp", "medecin@hopital.test", "--config", config); err != nil {
		t.Fatal(err)
	}
	printed(t, `(codes of an authenticator program)`, out.String())
	if got := len(regexp.MustCompile(`(?m)^  \d{12}$`).FindAllString(out.String(), -1)); got < 5 {
		t.Errorf("%d recovery codes were printed:\n%s", got, out.String())
	}
}

func TestAuthenticatorIsSetUpInTwoSteps(t *testing.T) {
	config := administered(t)
	var out bytes.Buffer
	if err := run(t, &out, nil, "code", "totp", "medecin@hopital.test", "--begin", "--json", "--config", config); err != nil {
		t.Fatal(err)
	}
	secret := printed(t, `"secret": "(\w+)"`, out.String())
	confirm := []string{"code", "totp", "medecin@hopital.test", "--confirm", "--json", "--config", config}
	for name, in := range map[string]string{"nothing": "", "no code": secret + "\n", "wrong code": secret + "\n12345\n", "wrong secret": "x\n" + shown(t, secret) + "\n"} {
		if err := run(t, io.Discard, strings.NewReader(in), confirm...); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if err := run(t, &out, strings.NewReader(secret+"\n"+shown(t, secret)+"\n"), confirm...); err != nil {
		t.Fatal(err)
	}
	printed(t, `"recovery": \[\s+"(\d{12})"`, out.String())
}

// administered starts a server of one account on an administration socket, and
// returns the configuration that leads there.
func administered(t *testing.T) string {
	t.Helper()
	config := configFile(t, "data = \".\"\ndomains = [\"hopital.test\"]\n[tls]\ncertificates = [{ cert = \"c\", key = \"k\" }]\n")
	store := storagetest.New(t)
	s := &admind.Server{
		Store:  store,
		Router: &backend.Router{Store: store, Domains: []string{"hopital.test"}},
		Auth:   &auth.Authenticator{Store: store, Params: auth.Params{Memory: 64, Time: 1, Lanes: 1}, Logger: slog.New(slog.DiscardHandler)},
		Limits: admind.DefaultLimits(),
		Log:    slog.New(slog.DiscardHandler),
	}
	ln, _, err := admind.Listen(filepath.Join(filepath.Dir(config), "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), <-done); err != nil {
			t.Error(err)
		}
	})
	if err := run(t, io.Discard, nil, "account", "add", "medecin@hopital.test", "--config", config); err != nil {
		t.Fatal(err)
	}
	return config
}

// run carries out a command line.
func run(t *testing.T, out io.Writer, in io.Reader, args ...string) error {
	t.Helper()
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(io.Discard)
	return root.ExecuteContext(t.Context())
}

// answer is a person who answers when asked.
type answer func() string

func (a answer) Read(p []byte) (int, error) {
	return copy(p, a()+"\n"), io.EOF
}

// printed finds what stands in a text.
func printed(t *testing.T, pattern, text string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in\n%s", pattern, text)
	}
	return found[1]
}

// shown is what an authenticator program shows now (RFC 6238 section 4, RFC 4226 section 5.3).
func shown(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha1.New, key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())/30))
	sum := m.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}
