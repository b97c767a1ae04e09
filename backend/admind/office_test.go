package admind_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
)

const (
	medecin = "medecin@hopital.test"
	labo    = "labo@hopital.test"
	outside = "medecin@perso.test"
	phrase  = "dune 59 violon gris"
)

// office is a server with two accounts, and somebody who asks it things.
type office struct {
	*admind.Client
	t      *testing.T
	server *admind.Server

	mu      sync.Mutex // guards what follows
	notices []auth.Notice
	log     bytes.Buffer
}

// open starts a server, which edit has changed.
func open(t *testing.T, edit ...func(*admind.Server)) *office {
	t.Helper()
	o := &office{t: t}
	prepare := func(s *admind.Server) {
		s.Log = slog.New(slog.NewTextHandler(o, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.Auth.Logger = s.Log
		s.Auth.Ours = func(a backend.Address) bool { return s.Router.Local(a) }
		s.Auth.Notify = func(_ context.Context, n *auth.Notice) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.notices = append(o.notices, *n)
			return nil
		}
	}
	server, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits(), append([]func(*admind.Server){prepare}, edit...)...)
	c, err := admind.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	o.Client, o.server = c, server
	o.ask(&admind.Request{Op: admind.AccountAdd, Address: medecin, Password: phrase})
	o.ask(&admind.Request{Op: admind.AccountAdd, Address: labo, Password: phrase})
	return o
}

// Write takes the server's log.
func (o *office) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log.Write(p)
}

// code is the code that was mailed last.
func (o *office) code() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range slices.Backward(o.notices) {
		if n.Code != "" {
			return n.Code
		}
	}
	o.t.Fatal("no code was mailed")
	return ""
}

// told are the kinds of the notices so far.
func (o *office) told() (kinds []auth.Kind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.notices {
		kinds = append(kinds, n.Kind)
	}
	return kinds
}

// quiet makes sure that none of the secrets is in the log.
func (o *office) quiet(secrets ...string) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range secrets {
		if s == "" || strings.Contains(o.log.String(), s) {
			o.t.Errorf("the log tells %q", s)
		}
	}
}

func (o *office) ask(req *admind.Request) *admind.Response {
	o.t.Helper()
	res, err := o.Do(o.t.Context(), req)
	if err != nil {
		o.t.Fatalf("%s: %v", req.Op, err)
	}
	return res
}

// refused expects a code, with a text that says more.
func (o *office) refused(req *admind.Request, code admind.Code) {
	o.t.Helper()
	_, err := o.Do(o.t.Context(), req)
	refusal := new(admind.Error)
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Text == "" {
		o.t.Errorf("%s: got %v, want %s", req.Op, err, code)
	}
}

// logIn logs in by IMAP from one of our networks.
func (o *office) logIn(secret string) (*auth.Principal, error) {
	c := &auth.Caller{Proto: "imap", Remote: netip.MustParseAddr("192.0.2.7"), ConnID: "test"}
	return o.server.Auth.LogIn(o.t.Context(), c, &auth.Attempt{Mech: "PLAIN", User: medecin, Secret: secret})
}

func card(op admind.Op, address string, c admind.CardRequest) *admind.Request {
	return &admind.Request{Op: op, Address: address, Card: c}
}

func code(op admind.Op, c admind.CodeRequest) *admind.Request {
	return &admind.Request{Op: op, Address: medecin, Code: c}
}

// flip returns another code.
func flip(code string) string {
	return string('0'+(code[0]-'0'+1)%10) + code[1:]
}

// totp is what an authenticator program shows now (RFC 6238 section 4, RFC 4226 section 5.3).
func totp(t *testing.T, secret string) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	m := hmac.New(sha1.New, key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix())/30))
	sum := m.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1_000_000)
}
