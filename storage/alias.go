package storage

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors about aliases, to be tested with errors.Is.
var (
	ErrNoAlias     = errors.New("storage: no such alias")
	ErrAliasExists = errors.New("storage: an alias has this address")
)

// Writers says whose mail an alias takes.
type Writers uint8

// Who may write to an alias.
const (
	Everyone  Writers = 0
	OurDomain Writers = 1 // who has an account here
	Members   Writers = 2 // who gets the mail too
)

// Alias is an address that stands for others: a function with several people
// behind it, or a distribution list. It has no mailbox and nobody logs in to it.
// An address is an account's or an alias's, never both.
type Alias struct {
	Address string // normalised
	Name    string // shown to people
	State   State  // Active, or Disabled: it takes no mail
	Writers Writers
	Members []string // normalised addresses, of accounts or of other aliases; one that has gone stays in the list
	Created time.Time
	Changed time.Time
}

// Record; the address is in the key: 1, state 8, writers 8, created 64, changed 64
// (Unix seconds), name, number of members 32, the members.
const aliasVersion = 1

func (a *Alias) record() []byte {
	b := []byte{aliasVersion, byte(a.State), byte(a.Writers)}
	b = putTime(b, a.Created)
	b = putTime(b, a.Changed)
	b = putString(b, a.Name)
	b = le.AppendUint32(b, uint32(len(a.Members)))
	for _, m := range a.Members {
		b = putString(b, m)
	}
	return b
}

func parseAlias(key, v []byte) (*Alias, error) {
	f := openRecord("alias", aliasVersion, v)
	a := &Alias{Address: string(key[1:]), State: State(f.u8()), Writers: Writers(f.u8()), Created: f.time(), Changed: f.time(), Name: f.string()}
	for n := f.u32(); n > 0 && f.err == nil; n-- {
		a.Members = append(a.Members, f.string())
	}
	// Who may write must not turn to everyone because a record is not understood.
	if f.err == nil && (a.State > Disabled || a.Writers > Members || len(f.b) > 0) {
		f.err = fmt.Errorf("%w: alias", errRecord)
	}
	return a, f.err
}

func keyAlias(address string) []byte { return append([]byte{tabAlias}, address...) }

// Alias finds an alias by its normalised address. ErrNoAlias.
func (t *Tx) Alias(address string) (*Alias, error) {
	key := keyAlias(address)
	v, err := t.Get(key)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoAlias
	}
	return parseAlias(key, v)
}

// Aliases lists at most limit aliases, 0 for all, in the order of their addresses,
// from the first one behind an address on; "" stands before all.
func (t *Tx) Aliases(behind string, limit int) (all []Alias, err error) {
	var failed error
	lo := []byte{tabAlias}
	from := lo
	if behind != "" {
		from = append(keyAlias(behind), 0)
	}
	err = t.Scan(from, after(lo), func(k, v []byte) bool {
		var a *Alias
		if a, failed = parseAlias(k, v); failed != nil {
			return false
		}
		all = append(all, *a)
		return limit == 0 || len(all) < limit
	})
	return all, errors.Join(err, failed)
}

// NewAlias stores a new alias. ErrAccountExists or ErrAliasExists when its address is taken.
func (t *Tx) NewAlias(a *Alias) error {
	if err := t.addressesFree([]string{a.Address}); err != nil {
		return err
	}
	a.Created = now()
	return t.putAlias(a)
}

// PutAlias replaces an alias. ErrNoAlias.
func (t *Tx) PutAlias(a *Alias) error {
	old, err := t.Alias(a.Address)
	if err != nil {
		return err
	}
	a.Created = old.Created
	return t.putAlias(a)
}

func (t *Tx) putAlias(a *Alias) error {
	if a.Address == "" || slices.Contains(a.Members, "") {
		return errors.New("storage: an alias without an address")
	}
	a.Changed = now()
	return t.put(keyAlias(a.Address), a.record())
}

// DeleteAlias removes an alias; its address is free. ErrNoAlias.
func (t *Tx) DeleteAlias(address string) error {
	if _, err := t.Alias(address); err != nil {
		return err
	}
	return t.delete(keyAlias(address))
}
