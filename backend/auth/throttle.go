package auth

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Throttle limits guesses. A zero field means the default it names.
//
// What counts is wrong secrets, and each of them once an hour: a mail program
// that keeps sending the password it has stored makes no guesses. Everything is
// kept in memory only.
type Throttle struct {
	PerMinute int // wrong secrets a minute from one network (IPv4 /32, IPv6 /64); default 10
	PerDay    int // the same for a day; default 50. Wider networks (/26, /48) get 3 times, (/21, /32) 9 times both

	Trusted          []netip.Prefix // networks of many people behind one address
	TrustedPerMinute int            // instead of PerMinute; default 100
	TrustedPerDay    int            // instead of PerDay; default 5,000

	Free      int           // wrong secrets for one account from one network before answers get slow; default 5
	MaxDelay  time.Duration // answers wait 2 s, then 4 s, up to this; default 60 s
	MaxParked int           // answers that wait at once, further ones are Unavailable; default 200

	// Strangers is how many wrong secrets a day an account gets from networks
	// that it has not logged in from for 30 days, before only the ones that it has
	// are heard: nobody can lock others out of their own places. Default 30.
	Strangers int

	Entries int // networks, accounts and secrets remembered, of each kind; default 50,000
}

// DefaultThrottle is what zero means.
func DefaultThrottle() Throttle { return Throttle{}.withDefaults() }

func (t Throttle) withDefaults() Throttle {
	return Throttle{
		PerMinute:        cmp.Or(t.PerMinute, 10),
		PerDay:           cmp.Or(t.PerDay, 50),
		Trusted:          t.Trusted,
		TrustedPerMinute: cmp.Or(t.TrustedPerMinute, 100),
		TrustedPerDay:    cmp.Or(t.TrustedPerDay, 5000),
		Free:             cmp.Or(t.Free, 5),
		MaxDelay:         cmp.Or(t.MaxDelay, time.Minute),
		MaxParked:        cmp.Or(t.MaxParked, 200),
		Strangers:        cmp.Or(t.Strangers, 30),
		Entries:          cmp.Or(t.Entries, 50_000),
	}
}

// How long the limiter remembers.
const (
	failureFor = time.Hour           // a wrong secret, and that an account is being guessed at from a network
	knownFor   = 30 * 24 * time.Hour // that an account logged in from a network
)

// place is an account, or what was typed for one, seen from a network.
type place struct {
	name string
	net  netip.Prefix
}

// guess is one secret for one account from one network.
type guess struct {
	tag [32]byte
	net netip.Prefix
}

// count is how often something happened in the current minute and day.
type count struct {
	minute, day       int64
	perMinute, perDay int
}

// at moves the windows to now.
func (c count) at(now time.Time) count {
	if m := now.Unix() / 60; m != c.minute {
		c.minute, c.perMinute = m, 0
	}
	if d := now.Unix() / 86400; d != c.day {
		c.day, c.perDay = d, 0
	}
	return c
}

func (c count) add(n int) count {
	c.perMinute = max(0, c.perMinute+n)
	c.perDay = max(0, c.perDay+n)
	return c
}

// limiter keeps the counts.
type limiter struct {
	Throttle
	parked chan struct{} // a token for each answer that waits

	nets      *recent[netip.Prefix, count]
	places    *recent[place, int] // wrong secrets since the last right one
	strangers *recent[string, count]
	known     *recent[place, bool]
	failed    *recent[guess, bool]

	mu      sync.Mutex // guards what follows, and the counts between a look and a change
	pending map[guess]*ticket
	waiting map[netip.Prefix]int // guesses of strangers under way, by network
}

func newLimiter(t Throttle) *limiter {
	t = t.withDefaults()
	return &limiter{
		Throttle:  t,
		parked:    make(chan struct{}, t.MaxParked),
		nets:      newRecent[netip.Prefix, count](t.Entries),
		places:    newRecent[place, int](t.Entries),
		strangers: newRecent[string, count](t.Entries),
		known:     newRecent[place, bool](t.Entries),
		failed:    newRecent[guess, bool](t.Entries),
		pending:   map[guess]*ticket{},
		waiting:   map[netip.Prefix]int{},
	}
}

// ticket is the permission to check one guess. The guess counts as wrong from
// the beginning, or many of them at the same moment would get past the limits;
// succeed and drop take that back. All who make the same guess at the same time
// hold the same ticket.
type ticket struct {
	l        *limiter
	place    place
	guess    guess
	stranger bool
	repeated bool // this secret was wrong less than an hour ago: it need not be checked
	ready    time.Time
	holders  int
	settled  bool // whether the guess was right is known
}

// begin asks for a ticket, and waits as long as the throttle wants. The error is
// a *Refusal, or ctx's.
func (l *limiter) begin(ctx context.Context, name string, remote netip.Addr, tag [32]byte) (*ticket, error) {
	nets := networks(remote)
	t, err := l.take(name, nets, guess{tag, nets[0]})
	if err != nil {
		return nil, err
	}
	wait := time.Until(t.ready)
	if wait <= 0 {
		return t, nil
	}
	select {
	case l.parked <- struct{}{}:
		defer func() { <-l.parked }()
	default:
		t.drop()
		return nil, &Refusal{Code: Unavailable, Cause: errParked}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t, nil
	case <-ctx.Done():
		t.drop()
		return nil, ctx.Err()
	}
}

func (l *limiter) take(name string, nets []netip.Prefix, g guess) (*ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if !l.heard(nets, now) {
		return nil, &Refusal{Code: TooManyFailures, Cause: errNetwork}
	}
	if t := l.pending[g]; t != nil {
		t.holders++
		return t, nil
	}
	t := &ticket{l: l, place: place{name, nets[0]}, guess: g, holders: 1}
	if _, t.repeated = l.failed.get(g, now); t.repeated {
		// A program that keeps sending what it has stored makes one guess in all.
		l.failed.put(g, true, now.Add(failureFor))
		return t, nil
	}
	if known, _ := l.known.get(t.place, now); !known {
		t.stranger = true
		c, _ := l.strangers.get(name, now)
		if c.at(now).perDay >= l.Strangers {
			return nil, &Refusal{Code: TooManyFailures, Cause: errStrangers}
		}
		// Many at the same moment would all pass before the first one counts.
		if l.waiting[nets[0]] >= l.most(nets[0]) {
			return nil, &Refusal{Code: Unavailable, Cause: errParked}
		}
		l.waiting[nets[0]]++
	}
	wrong, _ := l.places.get(t.place, now)
	if wrong >= l.Free {
		t.ready = now.Add(min(time.Second<<min(wrong-l.Free+1, 30), l.MaxDelay))
	}
	l.reserve(t, now, 1)
	l.pending[g] = t
	return t, nil
}

// heard reports whether fewer wrong secrets than allowed came from each of nets.
func (l *limiter) heard(nets []netip.Prefix, now time.Time) bool {
	minute, day := l.PerMinute, l.PerDay
	if l.trusts(nets[0]) {
		nets, minute, day = nets[:1], l.TrustedPerMinute, l.TrustedPerDay
	}
	for _, n := range nets {
		c, _ := l.nets.get(n, now)
		if c = c.at(now); c.perMinute >= minute || c.perDay >= day {
			return false
		}
		minute, day = 3*minute, 3*day
	}
	return true
}

// most is how many wrong secrets a minute a network has.
func (l *limiter) most(n netip.Prefix) int {
	if l.trusts(n) {
		return l.TrustedPerMinute
	}
	return l.PerMinute
}

func (l *limiter) trusts(n netip.Prefix) bool {
	return slices.ContainsFunc(l.Trusted, func(p netip.Prefix) bool { return p.Contains(n.Addr()) })
}

// reserve counts a guess at its account, or takes it back.
func (l *limiter) reserve(t *ticket, now time.Time, n int) {
	l.places.edit(t.place, now, now.Add(failureFor), func(wrong int) int { return max(0, wrong+n) })
	if t.stranger {
		l.strangers.edit(t.place.name, now, now.Add(24*time.Hour), func(c count) count { return c.at(now).add(n) })
	}
}

// fail settles that the secret was wrong.
func (t *ticket) fail() {
	t.release(func(now time.Time) {
		t.l.failed.put(t.guess, true, now.Add(failureFor))
		for _, n := range networks(t.place.net.Addr()) {
			t.l.nets.edit(n, now, now.Add(24*time.Hour), func(c count) count { return c.at(now).add(1) })
		}
	})
}

// succeed settles that the secret was right.
func (t *ticket) succeed() {
	t.release(func(now time.Time) {
		t.l.reserve(t, now, -1)
		t.l.places.delete(t.place)
		t.l.known.put(t.place, true, now.Add(knownFor))
	})
}

// drop gives the ticket back without having checked the guess.
func (t *ticket) drop() { t.release(nil) }

func (t *ticket) release(settle func(now time.Time)) {
	t.l.mu.Lock()
	defer t.l.mu.Unlock()
	now := time.Now()
	if settle != nil && !t.settled && !t.repeated {
		t.settled = true
		settle(now)
	}
	if t.holders--; t.holders > 0 || t.repeated {
		return
	}
	delete(t.l.pending, t.guess)
	if t.stranger {
		if t.l.waiting[t.place.net]--; t.l.waiting[t.place.net] == 0 {
			delete(t.l.waiting, t.place.net)
		}
	}
	if !t.settled {
		t.l.reserve(t, now, -1)
	}
}

// networks are the networks that addr counts for, the narrowest first.
func networks(addr netip.Addr) []netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := []int{32, 26, 21}
	switch {
	case !addr.IsValid():
		return []netip.Prefix{{}}
	case addr.Is6():
		bits = []int{64, 48, 32}
	}
	nets := make([]netip.Prefix, len(bits))
	for i, b := range bits {
		nets[i] = netip.PrefixFrom(addr, b).Masked()
	}
	return nets
}
