package bolt

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"telesphore/storage/kv"
)

// BenchmarkUpdate writes six small keys per Update, about what a delivery
// leaves in the index. Disks differ and drift, so the figure that counts is
// the ratio: Updates per second over single appends of 4 KiB with one
// fdatasync each, taken in turns within the same run.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			dir := b.TempDir()
			var commits atomic.Int64
			db, err := Open(filepath.Join(dir, "index.db"), Options{
				BeforeCommit: func() error { commits.Add(1); return nil },
			})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			plain, err := os.Create(filepath.Join(dir, "plain"))
			if err != nil {
				b.Fatal(err)
			}
			defer plain.Close()

			const turns = 16
			var seq atomic.Uint64
			var updating, syncing time.Duration
			syncs := 0
			b.ReportAllocs()
			for b.Loop() { // one iteration: a turn of each
				n := max(turns, 4*writers)
				start := time.Now()
				updates(b, db, writers, n, &seq)
				updating += time.Since(start)
				b.StopTimer()
				start = time.Now()
				for range turns {
					if _, err := plain.Write(make([]byte, 4<<10)); err != nil {
						b.Fatal(err)
					}
					if err := syscall.Fdatasync(int(plain.Fd())); err != nil {
						b.Fatal(err)
					}
				}
				syncing += time.Since(start)
				syncs += turns
				b.StartTimer()
			}
			rate := float64(seq.Load()) / updating.Seconds()
			b.ReportMetric(rate, "updates/s")
			b.ReportMetric(rate/(float64(syncs)/syncing.Seconds()), "ratio")
			b.ReportMetric(float64(seq.Load())/float64(commits.Load()), "updates/commit")
			b.ReportMetric(0, "ns/op") // an iteration is many Updates
		})
	}
}

// updates runs n Updates by so many writers.
func updates(b *testing.B, db *DB, writers, n int, seq *atomic.Uint64) {
	var group sync.WaitGroup
	var started atomic.Int64
	for w := range writers {
		group.Go(func() {
			for started.Add(1) <= int64(n) {
				id := seq.Add(1)
				err := db.Update(context.Background(), func(tx kv.Tx) error { return deliver(tx, w, id) })
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// deliver reads and writes what filing a message does: counters, a hot page,
// an object, a body reference.
func deliver(tx kv.Tx, mailbox int, id uint64) error {
	var keys [96]byte
	for i := range uint64(6) {
		key := keys[i*16 : i*16 : i*16+16]
		key = append(key, "cphobv"[i])
		key = binary.BigEndian.AppendUint64(key, uint64(mailbox))
		if i > 1 {
			key = binary.BigEndian.AppendUint32(key, uint32(id))
		}
		if i < 2 {
			if _, err := tx.Get(key); err != nil {
				return err
			}
		}
		if err := tx.Put(key, make([]byte, 64)); err != nil {
			return err
		}
	}
	return nil
}

// filled opens a DB with n keys "k00000000" and so on, values of 100 octets.
func filled(b *testing.B, n int) *DB {
	b.Helper()
	db, err := Open(filepath.Join(b.TempDir(), "index.db"), Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	for from := 0; from < n; from += kv.MaxWrites {
		err := db.Update(b.Context(), func(tx kv.Tx) error {
			for i := from; i < min(n, from+kv.MaxWrites); i++ {
				if err := tx.Put(fmt.Appendf(nil, "k%08d", i), make([]byte, 100)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return db
}

func BenchmarkView(b *testing.B) {
	db := filled(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		if err := db.View(b.Context(), func(kv.Reader) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	const n = 100_000
	db := filled(b, n)
	err := db.View(b.Context(), func(r kv.Reader) error {
		var key [9]byte
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			i = (i + 7919) % n
			v, err := r.Get(fmt.Appendf(key[:0], "k%08d", i))
			if err != nil || v == nil {
				return fmt.Errorf("key %d: %v", i, err)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkScan reads 10,000 keys per iteration: in a View, and in an Update
// that has written a hundred of them.
func BenchmarkScan(b *testing.B) {
	const n = 10_000
	db := filled(b, n)
	scan := func(b *testing.B, r kv.Reader) error {
		b.ReportAllocs()
		for b.Loop() {
			count := 0
			err := r.Scan(nil, nil, func(_, _ []byte) bool { count++; return true })
			if err != nil || count != n {
				return fmt.Errorf("%d keys, %v", count, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
		return nil
	}
	b.Run("view", func(b *testing.B) {
		if err := db.View(b.Context(), func(r kv.Reader) error { return scan(b, r) }); err != nil {
			b.Fatal(err)
		}
	})
	b.Run("own", func(b *testing.B) {
		err := db.Update(b.Context(), func(tx kv.Tx) error {
			for i := 0; i < n; i += 100 {
				if err := tx.Put(fmt.Appendf(nil, "k%08d", i), nil); err != nil {
					return err
				}
			}
			return scan(b, tx)
		})
		if err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkOverlay fills an overlay with the most keys a transaction may
// write, in the worst order.
func BenchmarkOverlay(b *testing.B) {
	keys := make([][]byte, kv.MaxWrites)
	for i := range keys {
		keys[i] = fmt.Appendf(nil, "k%08d", i*7919%kv.MaxWrites)
	}
	for b.Loop() {
		var o overlay
		for _, key := range keys {
			if err := o.set(key, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/kv.MaxWrites, "ns/key")
}
