package storage

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// Grant is the right to keep using one secret, a password with a code behind it,
// from one place for some hours. Dates are kept in whole seconds.
type Grant struct {
	ID       uint32
	Tag      [16]byte     // HMAC of the whole secret
	Net      netip.Prefix // where it counts
	Proto    string       // of the log-in that earned it
	Mech     string
	Factor   string // "code", "totp" or "recovery"
	Created  time.Time
	LastUsed time.Time // may lag a second
	Until    time.Time // at most
	Asked    bool      // it is over, and a new code has been sent because it was presented
}

// Record, sealed; the ID is in the key: 1, asked 8, tag 16 octets, created 64,
// last used 64, until 64 (Unix seconds), network, proto, mech, factor.
const grantVersion = 1

func (g *Grant) record() []byte {
	b := putFlag([]byte{grantVersion}, g.Asked)
	b = append(b, g.Tag[:]...)
	b = putTime(b, g.Created)
	b = putTime(b, g.LastUsed)
	b = putTime(b, g.Until)
	b = putPrefix(b, g.Net)
	b = putString(b, g.Proto)
	b = putString(b, g.Mech)
	return putString(b, g.Factor)
}

func parseGrant(key, v []byte) (*Grant, error) {
	f := openRecord("grant", grantVersion, v)
	g := &Grant{ID: uint32(binary.BigEndian.Uint64(key[5:])), Asked: f.flag()}
	copy(g.Tag[:], f.take(len(g.Tag)))
	g.Created, g.LastUsed, g.Until, g.Net = f.time(), f.time(), f.time(), f.prefix()
	g.Proto, g.Mech, g.Factor = f.string(), f.string(), f.string()
	return g, f.err
}

func keyGrant(a AccountID, id uint32) []byte { return key64(tabGrant, a, uint64(id)) }

// Grants lists the account's grants, those that are over included, oldest first.
func (t *Tx) Grants(a AccountID) ([]Grant, error) {
	grants, err := listSealed(t, a, tabGrant, parseGrant)
	late := t.s.lazy.usesOf(a)
	for i := range grants {
		g := &grants[i]
		g.LastUsed = latest(g.LastUsed, late[use{grant: g.ID}].at)
	}
	return grants, err
}

// grant returns one of them. ErrNoGrant.
func (t *Tx) grant(a AccountID, id uint32) (*Grant, error) {
	key := keyGrant(a, id)
	v, err := t.getSealed(a, key)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoGrant
	}
	g, err := parseGrant(key, v)
	if err != nil {
		return nil, err
	}
	g.LastUsed = latest(g.LastUsed, t.s.lazy.usesOf(a)[use{grant: id}].at)
	return g, nil
}

// PutGrant stores a grant. It gets an ID, never used before by the account,
// unless the account has a grant with its ID and its tag: that one it replaces.
// (An ID alone may come from a run of the same change that came to nothing.)
func (t *Tx) PutGrant(a AccountID, g *Grant) error {
	old, err := t.grant(a, g.ID)
	if err != nil && !errors.Is(err, ErrNoGrant) {
		return err
	}
	if old == nil || old.Tag != g.Tag {
		if g.ID, err = t.nextNumber(a, tabGrant); err != nil {
			return err
		}
	}
	return t.putSealed(a, keyGrant(a, g.ID), g.record())
}

// DeleteGrant removes a grant. ErrNoGrant.
func (t *Tx) DeleteGrant(a AccountID, id uint32) error {
	return t.deleteOne(a, keyGrant(a, id), ErrNoGrant)
}

// deleteGrants removes all: their tags are of an epoch that ends.
func (t *Tx) deleteGrants(a AccountID) error { return t.deleteRange(keyAccount(tabGrant, a)) }

// UsedGrant notes that a grant was used. It may reach the disk a second later.
func (s *Store) UsedGrant(a AccountID, id uint32, at time.Time) {
	s.lazy.note(a, use{grant: id}, used{at: at})
}
