package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"telesphore/tls"
)

// BenchmarkLogIn is one log-in by each road, whose secret is known to memory as after a
// program's first connection. hash is the first one, with the parameters of a real
// server: what it costs is meant to be.
func BenchmarkLogIn(b *testing.B) {
	w := newWard(b, func(a *Authenticator) {
		a.SCRAM.Off, a.Logger, a.Codes.Resend = false, slog.New(slog.DiscardHandler), 1
		a.Throttle = Throttle{PerMinute: 1 << 30, PerDay: 1 << 30} // the hash is what is measured
	})
	who := w.acting(w.id)
	if err := w.SetPassword(b.Context(), who, right+"-9"); err != nil {
		b.Fatal(err)
	}
	const password = right + "-9"
	app, _, err := w.MakeAppPassword(b.Context(), w.acting(w.id), &NewAppPassword{Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	mine := w.card(idMine, tls.Terms{})
	w.link(w.other, mine)
	plain := func(secret string) func() (*Principal, error) {
		return func() (*Principal, error) {
			return w.LogIn(b.Context(), from(home), &Attempt{Mech: "PLAIN", User: user, Secret: secret})
		}
	}
	scram := func(mech, binding string) func() (*Principal, error) {
		return func() (*Principal, error) {
			c := from(home)
			if binding != "" {
				c.TLS.Binding = []byte(binding)
			}
			_, p, err := converse(b, w.lab, c, mech, client(b, mech, user, password, "", binding))
			return p, err
		}
	}
	for _, road := range []struct {
		name  string
		logIn func() (*Principal, error)
	}{
		{"password", plain(password)},
		{"application password", plain(app)},
		{"card", func() (*Principal, error) { return w.external(b.Context(), from(home, mine), "") }},
		{"SCRAM", scram("SCRAM-SHA-256", "")},
	} {
		b.Run(road.name, func(b *testing.B) {
			for b.Loop() {
				p, err := road.logIn()
				if err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
	}
	b.Run("grant", func(b *testing.B) {
		w.must(w.ProveContact(b.Context(), w.acting(w.id), contact))
		w.must(w.SwitchCodesOn(b.Context(), w.acting(w.id), w.code()))
		if _, err := plain(password)(); err == nil {
			b.Fatal("no code was asked for")
		}
		secret := password + w.code()
		for b.Loop() {
			p, err := plain(secret)()
			if err != nil {
				b.Fatal(err)
			}
			p.Close()
		}
	})
	b.Run("hash", func(b *testing.B) {
		w.dummy = DefaultParams.hash(right)
		for i := 0; b.Loop(); i++ {
			_, err := w.LogIn(b.Context(), &Caller{Proto: "imap"}, &Attempt{User: fmt.Sprint("nobody", i), Secret: "x"})
			if refusal := new(Refusal); !errors.As(err, &refusal) {
				b.Fatal(err)
			}
		}
	})
}
