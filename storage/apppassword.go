package storage

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"
)

// AppPassword is an application password: a random secret that one program uses
// in place of the person's password. Dates are kept in whole seconds.
type AppPassword struct {
	ID       uint32
	Name     string       // given by the person
	Hash     [32]byte     // SHA-256 of the secret
	Verifier Verifier     // for SCRAM
	Protos   []string     // doors that it opens, empty for all
	Net      netip.Prefix // where it counts, zero for everywhere
	Level    int
	Created  time.Time
	By       string    // who made it
	Card     string    // identity of the card that the session rested on in which it was made, "" for none
	Expires  time.Time // zero for never
	LastUsed time.Time // zero before the first use; may lag a second
	LastFrom netip.Addr
}

// Verifier is what SCRAM-SHA-256 needs to check a secret (RFC 5802 section 3);
// the salt is the account's, see package auth.
type Verifier struct {
	StoredKey, ServerKey [32]byte
	Iterations           uint32
}

// Record, sealed; the ID is in the key: 1, level 8, hash 32 octets, stored key
// 32 octets, server key 32 octets, iterations 32, created 64, expires 64, last used 64 (Unix
// seconds, 0 for never), network, last from, name, by, card, number of doors 16, the doors.
const appPasswordVersion = 1

func (p *AppPassword) record() []byte {
	b := []byte{appPasswordVersion, byte(p.Level)}
	b = append(b, p.Hash[:]...)
	b = p.Verifier.put(b)
	b = putTime(b, p.Created)
	b = putTime(b, p.Expires)
	b = putTime(b, p.LastUsed)
	b = putPrefix(b, p.Net)
	b = putAddr(b, p.LastFrom)
	b = putString(b, p.Name)
	b = putString(b, p.By)
	b = putString(b, p.Card)
	b = le.AppendUint16(b, uint16(len(p.Protos)))
	for _, door := range p.Protos {
		b = putString(b, door)
	}
	return b
}

func parseAppPassword(key, v []byte) (*AppPassword, error) {
	f := openRecord("application password", appPasswordVersion, v)
	p := &AppPassword{ID: uint32(binary.BigEndian.Uint64(key[5:])), Level: int(f.u8()), Hash: f.sum()}
	p.Verifier = Verifier{f.sum(), f.sum(), f.u32()}
	p.Created, p.Expires, p.LastUsed, p.Net, p.LastFrom = f.time(), f.time(), f.time(), f.prefix(), f.addr()
	p.Name, p.By, p.Card = f.string(), f.string(), f.string()
	for n := f.u16(); n > 0 && f.err == nil; n-- {
		p.Protos = append(p.Protos, f.string())
	}
	return p, f.err
}

func keyPassword(a AccountID, id uint32) []byte { return key64(tabPassword, a, uint64(id)) }

// late brings in a use that is not on disk yet.
func (p *AppPassword) late(u used) {
	if u.at.After(p.LastUsed) {
		p.LastUsed, p.LastFrom = u.at, u.from
	}
}

// AppPasswords lists the account's application passwords in the order of their IDs.
func (t *Tx) AppPasswords(a AccountID) ([]AppPassword, error) {
	all, err := listSealed(t, a, tabPassword, parseAppPassword)
	late := t.s.lazy.usesOf(a)
	for i := range all {
		all[i].late(late[use{appPassword: all[i].ID}])
	}
	return all, err
}

// AppPassword returns one of them. ErrNoAppPassword.
func (t *Tx) AppPassword(a AccountID, id uint32) (*AppPassword, error) {
	key := keyPassword(a, id)
	v, err := t.getSealed(a, key)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoAppPassword
	}
	p, err := parseAppPassword(key, v)
	if err != nil {
		return nil, err
	}
	p.late(t.s.lazy.usesOf(a)[use{appPassword: id}])
	return p, nil
}

// PutAppPassword stores one. It gets an ID, never used before by the account,
// unless the account has one with its ID and its hash: that one it replaces.
func (t *Tx) PutAppPassword(a AccountID, p *AppPassword) error {
	old, err := t.AppPassword(a, p.ID)
	if err != nil && !errors.Is(err, ErrNoAppPassword) {
		return err
	}
	if old == nil || old.Hash != p.Hash {
		if p.ID, err = t.nextNumber(a, tabPassword); err != nil {
			return err
		}
	}
	return t.putSealed(a, keyPassword(a, p.ID), p.record())
}

// DeleteAppPassword removes one. ErrNoAppPassword.
func (t *Tx) DeleteAppPassword(a AccountID, id uint32) error {
	return t.deleteOne(a, keyPassword(a, id), ErrNoAppPassword)
}

// UsedAppPassword notes a use. It may reach the disk a second later.
func (s *Store) UsedAppPassword(a AccountID, id uint32, from netip.Addr, at time.Time) {
	s.lazy.note(a, use{appPassword: id}, used{at: at, from: from})
}

// put appends what the records have of a verifier.
func (v *Verifier) put(b []byte) []byte {
	b = append(b, v.StoredKey[:]...)
	b = append(b, v.ServerKey[:]...)
	return le.AppendUint32(b, v.Iterations)
}

// Record, sealed: 1, stored key 32 octets, server key 32 octets, iterations 32.
const verifierVersion = 1

func (v *Verifier) record() []byte { return v.put([]byte{verifierVersion}) }

func parseVerifier(v []byte) (*Verifier, error) {
	f := openRecord("password verifier", verifierVersion, v)
	x := &Verifier{f.sum(), f.sum(), f.u32()}
	return x, f.err
}

// PasswordVerifier returns the verifier of the account's own password, nil when
// there is none. It is sealed at rest, since it gives the password away to
// whoever can guess fast.
func (t *Tx) PasswordVerifier(a AccountID) (*Verifier, error) {
	v, err := t.getSealed(a, keyOne(a, oneVerifier))
	if err != nil || v == nil {
		return nil, err
	}
	return parseVerifier(v)
}

// PutPasswordVerifier replaces it; nil removes it.
func (t *Tx) PutPasswordVerifier(a AccountID, v *Verifier) error {
	key := keyOne(a, oneVerifier)
	if v == nil {
		return t.delete(key)
	}
	return t.putSealed(a, key, v.record())
}
