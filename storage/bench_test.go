package storage_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telesphore/storage"
)

// letter is a message of about 4 KiB that compresses as text does.
func letter(r *rand.Rand) []byte {
	var b strings.Builder
	b.WriteString("From: a@hopital.test\r\nTo: b@hopital.test\r\nSubject: rendez-vous\r\n\r\n")
	for b.Len() < 4096 {
		fmt.Fprintf(&b, "%x ", r.Uint32()>>(r.Uint32()%24))
	}
	return []byte(b.String())
}

// together runs f n times from so many goroutines.
func together(writers, n int, f func(writer int) error) error {
	var left atomic.Int64
	left.Store(int64(n))
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(w); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// BenchmarkAccept files 4 KiB messages, each writer into an account of its own,
// and reports the ratio to what as many bare writes with an fdatasync each reach in the same run:
// above 1 the store is faster.
func BenchmarkAccept(b *testing.B) {
	benchmarkAccept(b, func(a storage.AccountID) *storage.Acceptance {
		return &storage.Acceptance{Targets: []storage.Target{{Account: a, InternalDate: time.Unix(1e9, 0)}}}
	})
}

// BenchmarkAcceptQueued is BenchmarkAccept for a message to one recipient elsewhere, with what a
// submission has besides: a limit of the account and a trace.
func BenchmarkAcceptQueued(b *testing.B) {
	benchmarkAccept(b, func(a storage.AccountID) *storage.Acceptance {
		q := to("cardiologue@clinique.test")
		q.Account = a
		sent := storage.Traced{Address: "cardiologue@clinique.test", Steps: []storage.Step{{Time: time.Unix(1e9, 0)}}}
		return &storage.Acceptance{
			Queue: q, Limits: storage.SendLimits{Messages: 1 << 30},
			Trace: &storage.Trace{Account: a, Name: "N1", MessageID: "<1@hopital.test>", Recipients: []storage.Traced{sent}},
		}
	})
}

func benchmarkAccept(b *testing.B, acceptance func(storage.AccountID) *storage.Acceptance) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			d := openPlain(b, b.TempDir())
			defer d.Close(b)
			accounts := make([]storage.AccountID, writers)
			messages := make([][]byte, writers)
			for i := range accounts {
				accounts[i] = d.newAccount(b, fmt.Sprintf("a%d@hopital.test", i))
				messages[i] = letter(rand.New(rand.NewPCG(1, uint64(i))))
			}
			meta := make([]byte, 1500)
			raw, err := os.Create(filepath.Join(d.Dir, "raw"))
			if err != nil {
				b.Fatal(err)
			}
			defer raw.Close()
			var mu sync.Mutex
			bare := func(w int) error {
				mu.Lock()
				defer mu.Unlock()
				if _, err := raw.Write(messages[w]); err != nil {
					return err
				}
				return unix.Fdatasync(int(raw.Fd()))
			}
			accept := func(w int) error {
				c, err := d.Seal(messages[w], meta)
				if err != nil {
					return err
				}
				_, err = d.Accept(b.Context(), c, acceptance(accounts[w]))
				return err
			}
			var took [2]time.Duration
			// Turn by turn, since the rate of the disk drifts.
			const turns = 8
			for b.Loop() {
				for range turns {
					for i, f := range []func(int) error{bare, accept} {
						start := time.Now()
						if err := together(writers, 50+10*writers, f); err != nil {
							b.Fatal(err)
						}
						took[i] += time.Since(start)
					}
				}
			}
			n := float64(b.N * turns * (50 + 10*writers))
			b.ReportMetric(n/took[1].Seconds(), "msg/s")
			b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "x-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// big fills a mailbox of n messages and returns its account.
func big(b *testing.B, n int) (*disk, storage.AccountID) {
	d := openPlain(b, b.TempDir())
	b.Cleanup(func() { d.Close(b) })
	a := d.newAccount(b, "a@hopital.test")
	in := d.mailbox(b, a, "INBOX")
	fill(b, d, a, 100)
	for have := 100; have < n; {
		set := storage.UIDSet{{Lo: 1, Hi: uint32(min(have, n-have))}}
		if _, err := d.Copy(b.Context(), a, in.ID, set, in.ID); err != nil {
			b.Fatal(err)
		}
		have += int(set[0].Hi)
	}
	return d, a
}

func BenchmarkPlacements100k(b *testing.B) {
	d, a := big(b, 100_000)
	in := d.mailbox(b, a, "INBOX")
	for b.Loop() {
		n := 0
		err := d.View(b.Context(), func(t *storage.Tx) error {
			return t.Placements(a, in.ID, storage.AllUIDs, func(p *storage.Placement) bool { n++; return true })
		})
		if err != nil || n != 100_000 {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkUIDs100k(b *testing.B) {
	d, a := big(b, 100_000)
	in := d.mailbox(b, a, "INBOX")
	var uids []uint32
	for b.Loop() {
		err := d.View(b.Context(), func(t *storage.Tx) (err error) { uids, err = t.UIDs(a, in.ID, uids[:0]); return err })
		if err != nil || len(uids) != 100_000 {
			b.Fatal(len(uids), err)
		}
	}
}

func BenchmarkStore10k(b *testing.B) {
	d, a := big(b, 10_000)
	in := d.mailbox(b, a, "INBOX")
	op := storage.FlagsAdd
	for b.Loop() {
		err := d.Update(b.Context(), func(t *storage.Tx) error {
			_, err := t.StoreFlags(a, in.ID, storage.AllUIDs, storage.FlagChange{Op: op, Flags: storage.Flagged})
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
		op = storage.FlagsAdd + storage.FlagsRemove - op
	}
}

func BenchmarkMetas1k(b *testing.B) {
	d := openPlain(b, b.TempDir())
	defer func() { d.Close(b) }()
	a := d.newAccount(b, "a@hopital.test")
	meta := make([]byte, 1500)
	var ids []storage.ObjectID
	for range 1000 {
		c, err := d.Seal([]byte("octets"), meta)
		if err != nil {
			b.Fatal(err)
		}
		placed, err := d.Accept(b.Context(), c, &storage.Acceptance{Targets: []storage.Target{{Account: a}}})
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, placed[0].Object)
	}
	d.Close(b)
	d = openPlain(b, d.Dir) // nothing waits in memory
	for b.Loop() {
		n := 0
		err := d.Metas(b.Context(), a, ids, func(_ int, meta []byte) error { n += len(meta); return nil })
		if err != nil || n != 1500*len(ids) {
			b.Fatal(n, err)
		}
	}
}
