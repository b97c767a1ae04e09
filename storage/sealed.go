package storage

import (
	"errors"
	"fmt"

	"telesphore/storage/keyring"
)

// What an account's log-ins are founded on, cards, codes, grants and passwords
// of programs, is sealed as a whole with the account's key and bound to where
// it stands. So nothing of it is readable once the account is erased.

// The kinds of records of which an account has one.
const (
	oneChallenge  = 'c'
	oneFactor     = 'f'
	oneNetworks   = 'n'
	oneLinkWindow = 'w'
	oneVerifier   = 'v'
)

// sealedAD binds a sealed record to its key.
func sealedAD(key []byte) []byte { return append(ad("record"), key...) }

// alive returns ErrNoAccount when the account is gone or going: what comes too
// late for the erasure stays out.
func (t *Tx) alive(a AccountID) error {
	v, err := t.Get(keyAccount(tabAccount, a))
	if err == nil && (len(v) < 2 || State(v[1]) == Erasing) {
		err = ErrNoAccount
	}
	return err
}

// putSealed stores a record of the account. ErrNoAccount when it is gone or going.
func (t *Tx) putSealed(a AccountID, key, record []byte) error {
	if err := t.alive(a); err != nil {
		return err
	}
	k, err := t.keys(a)
	if err != nil {
		return err
	}
	return t.put(key, k.Seal(nil, record, sealedAD(key)))
}

// getSealed returns a record of the account, nil when there is none.
func (t *Tx) getSealed(a AccountID, key []byte) ([]byte, error) {
	v, err := t.Get(key)
	if err != nil || v == nil {
		return nil, err
	}
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	return unseal(k, key, v)
}

func unseal(k *keyring.Account, key, v []byte) ([]byte, error) {
	record, err := k.Open(nil, v, sealedAD(key))
	if errors.Is(err, keyring.ErrErased) {
		return nil, ErrNoAccount
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return record, nil
}

// listSealed reads the account's records of one table in the order of their keys.
func listSealed[T any](t *Tx, a AccountID, table byte, parse func(key, record []byte) (*T, error)) ([]T, error) {
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	var all []T
	var failed error
	lo := keyAccount(table, a)
	err = t.Scan(lo, after(lo), func(key, v []byte) bool {
		record, err := unseal(k, key, v)
		if err != nil {
			failed = err
			return false
		}
		one, err := parse(key, record)
		if err != nil {
			failed = err
			return false
		}
		all = append(all, *one)
		return true
	})
	return all, errors.Join(err, failed)
}

// deleteOne removes one of the records that have a number. It returns missing when it is not there.
func (t *Tx) deleteOne(a AccountID, key []byte, missing error) error {
	v, err := t.Get(key)
	if err != nil {
		return err
	}
	if v == nil {
		return missing
	}
	t.changed(a, OfRecord) // whoever is logged in by it looks again
	return t.delete(key)
}

// nextNumber draws a number that the account has not given out before in a table.
func (t *Tx) nextNumber(a AccountID, table byte) (uint32, error) {
	key := append(keyAccount(tabLast, a), table)
	n, err := getUint64(t, key)
	if err != nil {
		return 0, err
	}
	if n+1 > 1<<32-1 {
		return 0, fmt.Errorf("storage: account %d has no number left in table %c", a, table)
	}
	return uint32(n + 1), t.put(key, le.AppendUint64(nil, n+1))
}
