package body

import (
	"errors"
	"sync"
	"testing"
)

// Writers that share Flushes, readers, a scrub and a compactor that removes the
// oldest segment again and again.
func TestConcurrentUse(t *testing.T) {
	l := openLog(t, t.TempDir(), Options{SegmentSize: 64 << 10, MaxOpen: 2})
	const writers, each = 4, 60
	var mu sync.RWMutex // guards the refs
	var all, durable []*sample
	done := make(chan struct{})
	repeat := func(f func(i int)) func() {
		return func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
					f(i)
				}
			}
		}
	}
	var writing, others sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				s := newSample(ID(w*each+i), "meta", prose(50)+noise(i*40))
				mu.Lock()
				stage(t, l, s)
				all = append(all, s)
				mu.Unlock()
				flush(t, l)
				mu.Lock()
				durable = append(durable, s)
				mu.Unlock()
			}
		})
	}
	for range 2 {
		others.Go(repeat(func(i int) {
			mu.RLock()
			defer mu.RUnlock()
			if len(durable) > 0 {
				durable[i*7919%len(durable)].check(t, l)
			}
		}))
	}
	others.Go(repeat(func(int) {
		if err := l.Replay(Pos{}, func(*Record) error { return nil }); err != nil {
			t.Error(err)
		}
	}))
	others.Go(repeat(func(int) {
		mu.Lock()
		defer mu.Unlock()
		compactOldest(t, l, all)
	}))
	writing.Wait()
	close(done)
	others.Wait()
	for _, s := range all {
		s.check(t, l)
	}
	if len(all) != writers*each {
		t.Errorf("%d bodies", len(all))
	}
}

// compactOldest moves what is left in the oldest segment and removes it.
func compactOldest(t *testing.T, l *Log, all []*sample) {
	oldest := l.Segments()[0]
	if oldest.Active {
		return
	}
	for _, s := range all {
		if s.ref.Segment == oldest.Number {
			ref, err := l.Relocate(s.ref)
			if err != nil {
				t.Error(err)
			}
			s.ref = ref
		}
	}
	if err := errors.Join(l.Flush(), l.Remove(oldest.Number)); err != nil {
		t.Error(err)
	}
}
