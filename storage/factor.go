package storage

import "time"

// Factor is an account's second factor: where codes are sent, and the secret of
// an authenticator program.
type Factor struct {
	Contact string    // outside address that codes go to, proven; "" for none. Sealed
	CodesOn bool      // logging in takes level 2
	Since   time.Time // of CodesOn
	By      string    // who switched codes on

	Secret   []byte     // of TOTP (RFC 6238), nil for none. Sealed
	LastStep uint64     // the last one accepted: no code is good twice
	Recovery [][32]byte // SHA-256 of the recovery codes that are left

	WrongDay int64 // days since 1970
	Wrong    int   // wrong codes on that day
}

// Record, sealed: 1, codes on 8, since 64 (Unix seconds), last step 64, wrong day
// 64, wrong 32, contact, by, secret, number of recovery codes 16, their sums of 32 octets.
const factorVersion = 1

func (x *Factor) record() []byte {
	b := putFlag([]byte{factorVersion}, x.CodesOn)
	b = putTime(b, x.Since)
	b = le.AppendUint64(b, x.LastStep)
	b = le.AppendUint64(b, uint64(x.WrongDay))
	b = le.AppendUint32(b, uint32(x.Wrong))
	b = putString(b, x.Contact)
	b = putString(b, x.By)
	b = putBytes(b, x.Secret)
	b = le.AppendUint16(b, uint16(len(x.Recovery)))
	for _, sum := range x.Recovery {
		b = append(b, sum[:]...)
	}
	return b
}

func parseFactor(v []byte) (*Factor, error) {
	f := openRecord("second factor", factorVersion, v)
	x := &Factor{CodesOn: f.flag(), Since: f.time(), LastStep: f.u64(), WrongDay: int64(f.u64()), Wrong: int(f.u32())}
	x.Contact, x.By, x.Secret = f.string(), f.string(), f.bytes()
	for n := f.u16(); n > 0 && f.err == nil; n-- {
		x.Recovery = append(x.Recovery, f.sum())
	}
	return x, f.err
}

// Factor returns the account's second factor, an empty one when it has none.
func (t *Tx) Factor(a AccountID) (*Factor, error) {
	v, err := t.getSealed(a, keyOne(a, oneFactor))
	if err != nil {
		return nil, err
	}
	if v == nil {
		return &Factor{}, nil
	}
	return parseFactor(v)
}

// PutFactor replaces the second factor.
func (t *Tx) PutFactor(a AccountID, f *Factor) error {
	t.changed(a, OfRecord)
	return t.putSealed(a, keyOne(a, oneFactor), f.record())
}

// Challenge is a code under way. The code itself is not kept: it is computed
// from ID with the account's key. Dates are kept in whole seconds.
type Challenge struct {
	ID      [16]byte
	Contact string // where it was sent; one that is not the Factor's is being proven. Sealed
	Created time.Time
	Expires time.Time
	Sent    []time.Time // of the last hour, also for challenges before this one
	Wrong   int
	Void    bool // used, or guessed at too often; kept for Sent
}

// Record, sealed: 1, void 8, ID 16 octets, created 64, expires 64 (Unix seconds),
// wrong 32, contact, number of dates 16, the dates 64 each.
const challengeVersion = 1

func (c *Challenge) record() []byte {
	b := putFlag([]byte{challengeVersion}, c.Void)
	b = append(b, c.ID[:]...)
	b = putTime(b, c.Created)
	b = putTime(b, c.Expires)
	b = le.AppendUint32(b, uint32(c.Wrong))
	b = putString(b, c.Contact)
	b = le.AppendUint16(b, uint16(len(c.Sent)))
	for _, at := range c.Sent {
		b = putTime(b, at)
	}
	return b
}

func parseChallenge(v []byte) (*Challenge, error) {
	f := openRecord("challenge", challengeVersion, v)
	c := &Challenge{Void: f.flag()}
	copy(c.ID[:], f.take(len(c.ID)))
	c.Created, c.Expires, c.Wrong, c.Contact = f.time(), f.time(), int(f.u32()), f.string()
	for n := f.u16(); n > 0 && f.err == nil; n-- {
		c.Sent = append(c.Sent, f.time())
	}
	return c, f.err
}

// Challenge returns the code under way, nil when there has been none.
func (t *Tx) Challenge(a AccountID) (*Challenge, error) {
	v, err := t.getSealed(a, keyOne(a, oneChallenge))
	if err != nil || v == nil {
		return nil, err
	}
	return parseChallenge(v)
}

// PutChallenge replaces the code under way.
func (t *Tx) PutChallenge(a AccountID, c *Challenge) error {
	return t.putSealed(a, keyOne(a, oneChallenge), c.record())
}

// MAC is an authenticator that only this server can compute, with the
// account's key: see keyring.Account.MAC. ErrNoAccount. The labels "name",
// "message-id" and "subject" are taken by the index.
func (t *Tx) MAC(a AccountID, label string, data []byte) (mac [16]byte, err error) {
	k, err := t.keys(a)
	if err != nil {
		return mac, err
	}
	return k.MAC(label, data), nil
}

// MoveEpoch ends everything that was founded on the account's credentials as they were.
func (t *Tx) MoveEpoch(a AccountID) error {
	return t.editAccount(a, func(a *Account) { a.Epoch++ })
}
