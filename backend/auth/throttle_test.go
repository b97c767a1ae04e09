package auth

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// door is a limiter with the ways in which a test knocks at it.
type door struct {
	*limiter
	t *testing.T
	n uint64
}

func newDoor(t *testing.T, limits Throttle) *door { return &door{limiter: newLimiter(limits), t: t} }

// fresh is a secret that was never tried.
func (d *door) fresh() (tag [32]byte) {
	d.n++
	binary.LittleEndian.PutUint64(tag[:], d.n)
	return tag
}

// wrong presents a new wrong secret and returns how long it waited, or the refusal.
func (d *door) wrong(name, remote string) (time.Duration, Code) {
	return d.knock(name, remote, d.fresh(), (*ticket).fail)
}

func (d *door) right(name, remote string) (time.Duration, Code) {
	return d.knock(name, remote, d.fresh(), (*ticket).succeed)
}

func (d *door) knock(name, remote string, tag [32]byte, settle func(*ticket)) (time.Duration, Code) {
	d.t.Helper()
	begin := time.Now()
	ticket, err := d.begin(context.Background(), name, netip.MustParseAddr(remote), tag)
	var r *Refusal
	if errors.As(err, &r) {
		return 0, r.Code
	}
	if err != nil {
		d.t.Fatal(err)
	}
	settle(ticket)
	return time.Since(begin), 0
}

func TestAnswersGetSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{PerMinute: 1000, PerDay: 1000, Strangers: 1000})
		want := []time.Duration{0, 0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60}
		for i, w := range want {
			if got, code := d.wrong("a", "192.0.2.1"); got != w*time.Second || code != 0 {
				t.Errorf("guess %d waited %v (%v), want %v", i+1, got, code, w*time.Second)
			}
		}
		if got, _ := d.wrong("b", "192.0.2.1"); got != 0 {
			t.Errorf("another account waited %v", got)
		}
		if got, _ := d.wrong("a", "198.51.100.1"); got != 0 {
			t.Errorf("another network waited %v", got)
		}
		if got, _ := d.right("a", "192.0.2.1"); got != time.Minute {
			t.Errorf("the right secret waited %v", got)
		}
		if got, _ := d.wrong("a", "192.0.2.1"); got != 0 {
			t.Errorf("after the right secret: waited %v", got)
		}
	})
}

func TestSlownessIsForgottenAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{})
		for range 6 {
			d.wrong("a", "192.0.2.1")
		}
		time.Sleep(time.Hour) // the bubble's clock
		if got, code := d.wrong("a", "192.0.2.1"); got != 0 || code != 0 {
			t.Errorf("after an hour: waited %v (%v)", got, code)
		}
	})
}

func TestSameSecretCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{})
		stored := d.fresh()
		for i := range 500 {
			if wait, code := d.knock("a", "192.0.2.1", stored, (*ticket).fail); wait != 0 || code != 0 {
				t.Fatalf("try %d of the same secret: waited %v (%v)", i+1, wait, code)
			}
		}
		if c, _ := d.nets.get(netip.MustParsePrefix("192.0.2.1/32"), time.Now()); c.perDay != 1 {
			t.Errorf("it counted %d times", c.perDay)
		}
		time.Sleep(time.Hour)
		d.knock("a", "192.0.2.1", stored, (*ticket).fail)
		if c, _ := d.nets.get(netip.MustParsePrefix("192.0.2.1/32"), time.Now()); c.perDay != 2 {
			t.Errorf("an hour later it counted %d times", c.perDay)
		}
	})
}

func TestNetworkLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{Strangers: 10_000})
		name := func(i int) string { return string(rune('a' + i)) }
		for i := range 10 {
			if _, code := d.wrong(name(i), "192.0.2.1"); code != 0 {
				t.Fatalf("guess %d: %v", i+1, code)
			}
		}
		if _, code := d.right("z", "192.0.2.1"); code != TooManyFailures {
			t.Errorf("11th of the minute: %v", code)
		}
		if _, code := d.right("z", "192.0.2.2"); code != 0 {
			t.Errorf("neighbour: %v", code)
		}
		time.Sleep(time.Minute)
		if _, code := d.right("z", "192.0.2.1"); code != 0 {
			t.Errorf("a minute later: %v", code)
		}
	})
}

func TestWiderNetworksAreCountedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			host func(i int) string
			far  string
		}{
			{func(i int) string { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String() }, "198.51.100.1"},
			{func(i int) string {
				return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 1, 0, byte(i), 15: 1}).String()
			}, "2001:db9::1"},
		} {
			d := newDoor(t, Throttle{Strangers: 10_000})
			for i := range 30 {
				if _, code := d.wrong(c.host(i), c.host(i)); code != 0 {
					t.Fatalf("guess %d: %v", i+1, code)
				}
			}
			if _, code := d.wrong("x", c.host(31)); code != TooManyFailures {
				t.Errorf("fresh address %s of a bad network: %v", c.host(31), code)
			}
			if _, code := d.wrong("x", c.far); code != 0 {
				t.Errorf("far away: %v", code)
			}
		}
	})
}

func TestTrustedNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{
			Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, TrustedPerMinute: 1000, Strangers: 10_000,
		})
		for i := range 1000 {
			if _, code := d.wrong(string(rune(0x4e00+i)), "::ffff:127.0.0.1"); code != 0 {
				t.Fatalf("guess %d: %v", i+1, code)
			}
		}
		if _, code := d.wrong("x", "127.0.0.1"); code != TooManyFailures {
			t.Errorf("beyond the limit: %v", code)
		}
	})
}

func TestStrangersCannotLockOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{})
		d.right("a", "192.0.2.1")
		for i := range 30 {
			if _, code := d.wrong("a", netip.AddrFrom4([4]byte{198, byte(i), 100, 1}).String()); code != 0 {
				t.Fatalf("guess %d: %v", i+1, code)
			}
		}
		if _, code := d.wrong("a", "203.0.113.1"); code != TooManyFailures {
			t.Errorf("31st guess of a stranger: %v", code)
		}
		if _, code := d.right("a", "192.0.2.1"); code != 0 {
			t.Errorf("from home: %v", code)
		}
		if _, code := d.wrong("b", "203.0.113.1"); code != 0 {
			t.Errorf("another account: %v", code)
		}
		time.Sleep(24 * time.Hour)
		if _, code := d.wrong("a", "203.0.113.1"); code != 0 {
			t.Errorf("the day after: %v", code)
		}
	})
}

// Guesses that arrive at the same moment do not slip past the limits together.
func TestGuessesAtTheSameMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{MaxParked: 3})
		begin := time.Now()
		var mu sync.Mutex
		var tickets []*ticket
		free, slow, refused := 0, 0, 0
		var all sync.WaitGroup
		for range 20 {
			tag := d.fresh()
			all.Go(func() {
				ticket, err := d.begin(t.Context(), "a", netip.MustParseAddr("192.0.2.1"), tag)
				mu.Lock()
				defer mu.Unlock()
				var r *Refusal
				switch {
				case errors.As(err, &r) && r.Code == Unavailable:
					refused++
					return
				case err != nil:
					t.Error(err)
					return
				case time.Since(begin) > 0:
					slow++
				default:
					free++
				}
				tickets = append(tickets, ticket)
			})
		}
		all.Wait()
		if free != 5 || slow != 3 || refused != 12 {
			t.Errorf("%d answered at once, %d slowly, %d refused; want 5, 3, 12", free, slow, refused)
		}
		for _, ticket := range tickets {
			ticket.fail()
		}
		if len(d.pending) != 0 {
			t.Errorf("%d tickets left", len(d.pending))
		}
	})
}

func TestParkedAnswersEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, Throttle{})
		for range 6 {
			d.wrong("a", "192.0.2.1")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := d.begin(ctx, "a", netip.MustParseAddr("192.0.2.1"), d.fresh())
		if !errors.Is(err, context.DeadlineExceeded) || len(d.pending) != 0 || len(d.parked) != 0 {
			t.Errorf("error %v, %d pending, %d parked", err, len(d.pending), len(d.parked))
		}
		if wrong, _ := d.places.get(place{"a", netip.MustParsePrefix("192.0.2.1/32")}, time.Now()); wrong != 6 {
			t.Errorf("%d wrong secrets counted, want 6", wrong)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	r := newRecent[int, int](10)
	now := time.Now()
	r.put(-1, 42, now.Add(time.Hour))
	for i := range 1000 {
		r.put(i, i, now.Add(time.Hour))
		if v, ok := r.get(-1, now); !ok || v != 42 {
			t.Fatalf("what is used is forgotten after %d entries", i)
		}
		if n := len(r.young) + len(r.old); n > 20 {
			t.Fatalf("%d entries", n)
		}
	}
	if _, ok := r.get(0, now); ok {
		t.Error("what is not used is remembered")
	}
	if _, ok := r.get(999, now.Add(time.Hour)); ok {
		t.Error("a value outlives its time")
	}
}
