package relay_test

import (
	"strings"
	"testing"

	"telesphore/backend/relay"
	"telesphore/storage"
)

// BenchmarkSend hands 10 KiB to a peer of the trust space over mutual TLS, on loopback: over a
// connection that waits, and over a new one each time. The peer's work is in it.
func BenchmarkSend(b *testing.B) {
	text := mail + strings.Repeat(strings.Repeat("x", 76)+"\r\n", 131)
	for name, kept := range map[string]int{"kept": 50, "new": -1} {
		b.Run(name, func(b *testing.B) {
			s := newSpace(b, peerDomain)
			p := (&peer{config: showing(s.issuer.Organisation(b, clinique(nil))), offer: []string{"PIPELINING", "STARTTLS"}}).serve(b)
			r := s.relay(relay.Route{Domain: peerDomain, Host: p.addr, Security: relay.StartTLS})
			r.Limits.Kept, r.Limits.Uses = kept, 1<<30
			defer r.Close()
			m := transfer(text, "a@"+peerDomain)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if o := r.Send(b.Context(), m)[0]; o.Action != storage.Relayed {
					b.Fatalf("%s: %v", o.Status, o.Cause)
				}
			}
		})
	}
}
