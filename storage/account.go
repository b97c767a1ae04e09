package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// AccountID identifies an account for ever; never reused.
type AccountID uint32

// State says whether an account may be used.
type State uint8

// The states of an account.
const (
	Active   State = 0
	Disabled State = 1 // may not log in; mail still arrives
	Erasing  State = 2 // its keys are gone or going; the keeper removes the rest
)

// Account is a person's or an application's mailbox and its credentials.
type Account struct {
	ID        AccountID
	State     State
	Addresses []string // normalised, the first is the primary one
	Name      string   // shown to people
	Password  string   // PHC string, "" when none is set
	Epoch     uint32   // moved by every change of credentials: caches keyed with it die
	Created   time.Time
	LastLogin time.Time // zero before the first one; may lag a second
	MaxBytes  int64     // quota in octets of message; 0 for the store's default
	Usage     Usage     // filled by the methods that read an account
}

// Usage counts what an account holds.
type Usage struct {
	Bytes     int64 // octets of the messages
	Messages  int64
	Mailboxes int64
}

// Record: 1, state 8, epoch 32, created 64, last log-in 64 (Unix seconds),
// quota 64, name, password, number of addresses 16, the addresses.
const accountVersion = 1

func (a *Account) record() []byte {
	b := []byte{accountVersion, byte(a.State)}
	b = binary.LittleEndian.AppendUint32(b, a.Epoch)
	b = putTime(b, a.Created)
	b = putTime(b, a.LastLogin)
	b = binary.LittleEndian.AppendUint64(b, uint64(a.MaxBytes))
	b = putString(b, a.Name)
	b = putString(b, a.Password)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(a.Addresses)))
	for _, x := range a.Addresses {
		b = putString(b, x)
	}
	return b
}

func parseAccount(id AccountID, v []byte) (*Account, error) {
	f := openRecord("account", accountVersion, v)
	a := &Account{ID: id, State: State(f.u8()), Epoch: f.u32(), Created: f.time(), LastLogin: f.time(), MaxBytes: int64(f.u64())}
	a.Name, a.Password = f.string(), f.string()
	for n := f.u16(); n > 0 && f.err == nil; n-- {
		a.Addresses = append(a.Addresses, f.string())
	}
	return a, f.err
}

// counters are the account's own numbers, moved by nearly every change.
//
// Record: 1, last ModSeq 64, last object 64, last UIDVALIDITY 32, mailboxes 32,
// octets 64, messages 64, last reap entry 64.
type counters struct {
	modSeq      ModSeq
	object      ObjectID
	uidValidity uint32
	mailboxes   uint32
	bytes       int64
	messages    int64
	reap        uint64
}

const countersVersion = 1

func (t *Tx) counters(a AccountID) (counters, error) {
	v, err := t.Get(keyAccount(tabCounters, a))
	if err != nil {
		return counters{}, err
	}
	if v == nil {
		return counters{}, ErrNoAccount
	}
	f := openRecord("counters", countersVersion, v)
	c := counters{ModSeq(f.u64()), ObjectID(f.u64()), f.u32(), f.u32(), int64(f.u64()), int64(f.u64()), f.u64()}
	return c, f.err
}

func (t *Tx) putCounters(a AccountID, c counters) error {
	le := binary.LittleEndian
	b := make([]byte, 0, 56)
	b = append(b, countersVersion)
	b = le.AppendUint64(b, uint64(c.modSeq))
	b = le.AppendUint64(b, uint64(c.object))
	b = le.AppendUint32(b, c.uidValidity)
	b = le.AppendUint32(b, c.mailboxes)
	b = le.AppendUint64(b, uint64(c.bytes))
	b = le.AppendUint64(b, uint64(c.messages))
	b = le.AppendUint64(b, c.reap)
	return t.put(keyAccount(tabCounters, a), b)
}

// specialMailboxes are what a new account starts with, beside INBOX.
var specialMailboxes = []struct {
	name string
	use  SpecialUse
}{
	{"Archive", UseArchive}, {"Drafts", UseDrafts}, {"Junk", UseJunk}, {"Sent", UseSent}, {"Trash", UseTrash},
}

// NewAccount gives a an ID and keys, which are durable first, and stores it with its
// INBOX and the special-use mailboxes. ErrAccountExists or ErrAliasExists when an
// address is taken.
func (s *Store) NewAccount(ctx context.Context, a *Account) error {
	if len(a.Addresses) == 0 {
		return errors.New("storage: an account needs an address")
	}
	// The ID is drawn first and alone, so that keys are never made for an ID
	// that another account gets.
	var id uint64
	err := s.Update(ctx, func(t *Tx) error {
		if err := t.addressesFree(a.Addresses); err != nil {
			return err
		}
		n, err := getUint64(t, keyStore("account"))
		if err != nil {
			return err
		}
		id = n + 1
		return putUint64(t.w, keyStore("account"), id)
	})
	if err != nil {
		return err
	}
	if err := s.keys.Add(uint32(id)); err != nil {
		return fmt.Errorf("make account keys: %w", err)
	}
	a.ID = AccountID(id)
	return s.Update(ctx, func(t *Tx) error { return t.createAccount(a) })
}

func (t *Tx) addressesFree(addresses []string) error {
	for _, x := range addresses {
		if v, err := t.Get(keyAddress(x)); err != nil {
			return err
		} else if v != nil {
			return fmt.Errorf("%w: %s", ErrAccountExists, x)
		}
		if v, err := t.Get(keyAlias(x)); err != nil {
			return err
		} else if v != nil {
			return fmt.Errorf("%w: %s", ErrAliasExists, x)
		}
	}
	return nil
}

func (t *Tx) createAccount(a *Account) error {
	if err := t.addressesFree(a.Addresses); err != nil {
		return err
	}
	a.Created = now()
	for _, x := range a.Addresses {
		if err := t.put(keyAddress(x), binary.LittleEndian.AppendUint32(nil, uint32(a.ID))); err != nil {
			return err
		}
	}
	if err := t.put(keyAccount(tabAccount, a.ID), a.record()); err != nil {
		return err
	}
	// UIDVALIDITY starts at the clock: an address that is deleted and made
	// again must not meet what its old clients have cached.
	if err := t.putCounters(a.ID, counters{modSeq: 1, uidValidity: uint32(a.Created.Unix())}); err != nil {
		return err
	}
	if _, err := t.createMailbox(a.ID, "INBOX", 0); err != nil {
		return err
	}
	for _, m := range specialMailboxes {
		if _, err := t.createMailbox(a.ID, m.name, m.use); err != nil {
			return err
		}
		if err := t.Subscribe(a.ID, m.name); err != nil {
			return err
		}
	}
	return t.Subscribe(a.ID, "INBOX")
}

// Account returns the account. ErrNoAccount when there is none.
func (t *Tx) Account(id AccountID) (*Account, error) {
	v, err := t.Get(keyAccount(tabAccount, id))
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoAccount
	}
	a, err := parseAccount(id, v)
	if err != nil {
		return nil, err
	}
	if at := t.s.lazy.login(id); at.After(a.LastLogin) {
		a.LastLogin = at
	}
	c, err := t.counters(id)
	a.Usage = Usage{c.bytes, c.messages, int64(c.mailboxes)}
	return a, err
}

// AccountByAddress finds an account by one of its normalised addresses.
func (t *Tx) AccountByAddress(address string) (*Account, error) {
	v, err := t.Get(keyAddress(address))
	if err != nil {
		return nil, err
	}
	if len(v) != 4 {
		return nil, ErrNoAccount
	}
	return t.Account(AccountID(binary.LittleEndian.Uint32(v)))
}

// Accounts calls f for each account in the order of their IDs until f returns false.
func (t *Tx) Accounts(f func(*Account) bool) error {
	var ids []AccountID
	lo := []byte{tabAccount}
	err := t.Scan(lo, after(lo), func(k, _ []byte) bool {
		ids = append(ids, AccountID(binary.BigEndian.Uint32(k[1:])))
		return true
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		a, err := t.Account(id)
		if err != nil {
			return err
		}
		if !f(a) {
			return nil
		}
	}
	return nil
}

// editAccount changes the account's record and wakes those who watch the account.
func (t *Tx) editAccount(id AccountID, edit func(*Account)) error {
	a, err := t.Account(id)
	if err != nil {
		return err
	}
	edit(a)
	t.changed(id, OfRecord)
	return t.put(keyAccount(tabAccount, id), a.record())
}

// SetPassword replaces the password, which the grants and the SCRAM verifier
// of the old one do not survive, and moves the epoch.
func (t *Tx) SetPassword(id AccountID, phc string) error {
	if err := errors.Join(t.PutPasswordVerifier(id, nil), t.deleteGrants(id)); err != nil {
		return err
	}
	return t.editAccount(id, func(a *Account) { a.Password, a.Epoch = phc, a.Epoch+1 })
}

// Rehash replaces the stored form of an unchanged password; the epoch stays.
func (t *Tx) Rehash(id AccountID, phc string) error {
	return t.editAccount(id, func(a *Account) { a.Password = phc })
}

// SetState enables or disables an account, ends its grants and moves the epoch.
func (t *Tx) SetState(id AccountID, s State) error {
	if err := t.deleteGrants(id); err != nil {
		return err
	}
	return t.editAccount(id, func(a *Account) {
		if a.State != Erasing {
			a.State, a.Epoch = s, a.Epoch+1
		}
	})
}

// EraseAccount makes everything of the account unreadable before it returns;
// the keeper removes the rest soon after. Its addresses are free and its cards
// open it no more at once. With
// ErrByHand all that is done but for the destruction of the key.
func (s *Store) EraseAccount(ctx context.Context, id AccountID) error {
	err := s.Update(ctx, func(t *Tx) error {
		a, err := t.Account(id)
		if err != nil {
			return err
		}
		for _, x := range a.Addresses {
			if err := t.delete(keyAddress(x)); err != nil {
				return err
			}
		}
		if err := t.dropCards(id); err != nil {
			return err
		}
		return t.editAccount(id, func(a *Account) {
			a.State, a.Epoch, a.Addresses, a.Password = Erasing, a.Epoch+1, nil, ""
		})
	})
	if err != nil {
		return err
	}
	s.wakeKeeper()
	return s.eraseKeys(id)
}

// eraseKeys destroys the keys of an account whose erasure is noted.
func (s *Store) eraseKeys(id AccountID) error {
	err := s.keys.Erase(uint32(id))
	if errors.Is(err, ErrByHand) {
		s.logger.Warn("the key of an erased account must be destroyed by hand", "account", id, "do", err)
	}
	if err != nil {
		return fmt.Errorf("erase account keys: %w", err)
	}
	return nil
}

// erasing lists the accounts whose erasure has begun.
func (t *Tx) erasing() (ids []AccountID, err error) {
	lo := []byte{tabAccount}
	err = t.Scan(lo, after(lo), func(k, v []byte) bool {
		if len(v) > 1 && State(v[1]) == Erasing {
			ids = append(ids, AccountID(binary.BigEndian.Uint32(k[1:])))
		}
		return true
	})
	return slices.Clip(ids), err
}
