package storage

import (
	"net/netip"
	"slices"
	"time"
)

// What the store remembers of networks, per account.
const (
	MaxNetworks = 64
	networkAge  = 90 * 24 * time.Hour // older ones are forgotten at the next write
)

// KnownNetwork is a network that somebody logged in to the account from.
type KnownNetwork struct {
	Net  netip.Prefix
	Last time.Time // in whole seconds; may lag a second
}

// Record of all, sealed: 1, number 16, for each the network and last 64 (Unix seconds).
const networksVersion = 1

func networksRecord(l []KnownNetwork) []byte {
	b := le.AppendUint16([]byte{networksVersion}, uint16(len(l)))
	for _, n := range l {
		b = putTime(putPrefix(b, n.Net), n.Last)
	}
	return b
}

func parseNetworks(v []byte) (l []KnownNetwork, err error) {
	f := openRecord("networks", networksVersion, v)
	for n := f.u16(); n > 0 && f.err == nil; n-- {
		l = append(l, KnownNetwork{f.prefix(), f.time()})
	}
	return l, f.err
}

// KnownNetworks lists where the account was used from, the latest first; at most MaxNetworks.
func (t *Tx) KnownNetworks(a AccountID) (l []KnownNetwork, err error) {
	v, err := t.getSealed(a, keyOne(a, oneNetworks))
	if err == nil && v != nil {
		l, err = parseNetworks(v)
	}
	if err != nil {
		return nil, err
	}
	for u, late := range t.s.lazy.usesOf(a) {
		if !u.network.IsValid() {
			continue
		}
		i := slices.IndexFunc(l, func(n KnownNetwork) bool { return n.Net == u.network })
		if i < 0 {
			l = append(l, KnownNetwork{u.network, late.at})
		} else {
			l[i].Last = latest(l[i].Last, late.at)
		}
	}
	slices.SortStableFunc(l, func(x, y KnownNetwork) int { return y.Last.Compare(x.Last) })
	return l[:min(len(l), MaxNetworks)], nil
}

// putNetworks writes the networks with those that are late.
func (t *Tx) putNetworks(a AccountID) error {
	l, err := t.KnownNetworks(a)
	if err != nil {
		return err
	}
	l = slices.DeleteFunc(l, func(n KnownNetwork) bool { return n.Last.Before(l[0].Last.Add(-networkAge)) })
	return t.putSealed(a, keyOne(a, oneNetworks), networksRecord(l))
}

// SawNetwork notes a log-in from a network. It may reach the disk a second later.
func (s *Store) SawNetwork(a AccountID, n netip.Prefix, at time.Time) {
	if n.IsValid() {
		s.lazy.note(a, use{network: n}, used{at: at})
	}
}
