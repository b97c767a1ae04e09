package keyring

import "testing"

var ad = []byte("object 4711, envelope")

// BenchmarkOpen opens 10,000 values of 400 octets, as a listing of that many
// messages does.
func BenchmarkOpen(b *testing.B) {
	r, _ := newRing(b, b.TempDir())
	for name, a := range map[string]*Account{"account": add(b, r, 1), "log": r.Log()} {
		b.Run(name, func(b *testing.B) {
			sealed := a.Seal(nil, make([]byte, 400), ad)
			plain := make([]byte, 0, 400)
			b.ReportAllocs()
			for b.Loop() {
				for range 10_000 {
					if _, err := a.Open(plain, sealed, ad); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	r, _ := newRing(b, b.TempDir())
	for name, a := range map[string]*Account{"account": add(b, r, 1), "log": r.Log()} {
		b.Run(name, func(b *testing.B) {
			plain := make([]byte, 400)
			b.ReportAllocs()
			for b.Loop() {
				a.Seal(nil, plain, ad)
			}
		})
	}
}

func BenchmarkMAC(b *testing.B) {
	r, _ := newRing(b, b.TempDir())
	a := add(b, r, 1)
	name := []byte("<20261122193900.4711@hopital.test>")
	b.ReportAllocs()
	for b.Loop() {
		a.MAC("message-id", name)
	}
}

// BenchmarkErase is an erasure among 10,000 accounts.
func BenchmarkErase(b *testing.B) {
	r, _ := newRing(b, b.TempDir())
	for account := range uint32(10_000) {
		var key Key
		r.file.accounts[account] = wrap(r.master, &key, forAccount, r.file.epoch, account)
	}
	account := uint32(0)
	for b.Loop() {
		if err := r.Erase(account); err != nil {
			b.Fatal(err)
		}
		account++
	}
}
