package keyring

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Errors, to be tested with errors.Is.
var (
	// ErrUnknown: no key was ever made for the account.
	ErrUnknown = errors.New("keyring: unknown account")
	// ErrErased: the account's key was destroyed. Its id is never used again.
	ErrErased = errors.New("keyring: account erased")
	// ErrDamaged: the file, or a sealed value, is not what was written.
	ErrDamaged = errors.New("keyring: damaged")
	// ErrWrongMaster: the master key is not the one that the keyring needs.
	ErrWrongMaster = errors.New("keyring: wrong master key")
	// ErrMode: the master file can be read by others than its owner.
	ErrMode = errors.New("keyring: master key is not private")
	// ErrByHand: the source of the master key must be changed by a person.
	ErrByHand = errors.New("keyring: the master key must be changed by hand")
	// ErrFormat: a text file cannot be read.
	ErrFormat = errors.New("keyring: malformed file")
)

// Ring is an open keyring. All methods are safe for concurrent use. One process
// opens a keyring at a time.
type Ring struct {
	path   string
	source Master

	mu       sync.RWMutex // guards what follows, and the files
	file     *ringFile
	master   cipher.AEAD // of file.epoch
	log      *Account
	accounts map[uint32]*Account // those asked for
	erased   erasures
	stale    bool // the source may still hold epochs before file.epoch
}

// Create makes a keyring with a log key and no accounts, under the newest epoch
// of m. It never replaces one: then the error is fs.ErrExist.
func Create(path string, m Master) error {
	if there, err := exists(path); err != nil || there {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("keyring: creating %s: %w", path, err)
	}
	keys, err := m.Keys()
	if err != nil {
		return err
	}
	newest := keys[len(keys)-1]
	master, err := newGCM(&newest.Key)
	if err != nil {
		return err
	}
	var key Key
	rand.Read(key[:])
	f := &ringFile{epoch: newest.Number, log: wrap(master, &key, forLog, newest.Number, 0)}
	if err := replaceFile(path, f.encode(master)); err != nil {
		return fmt.Errorf("keyring: creating %s: %w", path, err)
	}
	return nil
}

// Open reads the keyring. It finishes erasures that a crash interrupted or that
// the list names and the keyring, restored from an older copy, does
// not; and it has the source destroy epochs that no longer wrap anything. Only
// when the source needs a person for that (ErrByHand) does it go on without: see Stale.
func Open(path string, m Master) (*Ring, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("keyring: opening: %w", err)
	}
	r := &Ring{path: path, source: m, accounts: map[uint32]*Account{}}
	if r.file, err = parseRing(b); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if err := r.unlock(b); err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	if r.erased, err = readErasures(r.erasedPath()); err != nil {
		return nil, err
	}
	if err := r.finish(); err != nil && !errors.Is(err, ErrByHand) {
		return nil, err
	}
	return r, nil
}

// unlock finds the master key of the file's epoch and opens the log key.
func (r *Ring) unlock(b []byte) error {
	keys, err := r.source.Keys()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(keys, func(e Epoch) bool { return e.Number == r.file.epoch })
	if i < 0 {
		return fmt.Errorf("%w: the keyring is of epoch %d, the source holds epoch %d", ErrWrongMaster, r.file.epoch, keys[len(keys)-1].Number)
	}
	if r.master, err = newGCM(&keys[i].Key); err != nil {
		return err
	}
	if err := verify(b, r.master); err != nil {
		return err
	}
	r.stale = i > 0
	key, err := unwrap(r.master, &r.file.log, forLog, r.file.epoch, 0)
	if err != nil {
		return err
	}
	r.log, err = newLog(key)
	return err
}

func (r *Ring) erasedPath() string { return r.path + ".erased" }

// Epoch returns the epoch of the master key that wraps the keys now.
func (r *Ring) Epoch() uint32 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.file.epoch
}

// Stale tells that the source of the master key may still hold an epoch that
// must be destroyed: until then an old copy of the keyring gives erased keys back.
func (r *Ring) Stale() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.stale
}

// Erased lists the erasures, oldest first. After a restore the index may still
// hold such accounts.
func (r *Ring) Erased() []Erasure {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.erased)
}

// Log returns the key that seals accept records and queued deliveries.
func (r *Ring) Log() *Account {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.log
}

// Add makes a key for an account, durable when it returns. An account that has
// one keeps it. The id of an erased account is ErrErased.
func (r *Ring) Add(account uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.erased.has(account) {
		return fmt.Errorf("adding account %d: %w", account, ErrErased)
	}
	if _, ok := r.file.accounts[account]; ok {
		return nil
	}
	var key Key
	rand.Read(key[:])
	r.file.accounts[account] = wrap(r.master, &key, forAccount, r.file.epoch, account)
	if err := replaceFile(r.path, r.file.encode(r.master)); err != nil {
		delete(r.file.accounts, account)
		return fmt.Errorf("keyring: adding account %d: %w", account, err)
	}
	return nil
}

// Account returns an account's key, unwrapped once: ErrUnknown when it was never
// added, ErrErased when it was erased.
func (r *Ring) Account(account uint32) (*Account, error) {
	r.mu.RLock()
	a := r.accounts[account]
	r.mu.RUnlock()
	if a != nil {
		return a, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.accounts[account]; a != nil {
		return a, nil
	}
	if r.erased.has(account) {
		return nil, fmt.Errorf("account %d: %w", account, ErrErased)
	}
	w, ok := r.file.accounts[account]
	if !ok {
		return nil, fmt.Errorf("account %d: %w", account, ErrUnknown)
	}
	key, err := unwrap(r.master, &w, forAccount, r.file.epoch, account)
	if err != nil {
		return nil, fmt.Errorf("account %d: %w", account, err)
	}
	if a, err = newAccount(key); err != nil {
		return nil, err
	}
	r.accounts[account] = a
	return a, nil
}

// Erase destroys an account's key: it notes the erasure, writes the other keys
// under a new master epoch, has the source destroy the old one. Each step is
// durable before the next, and Open finishes what a crash interrupts. From the
// first step on the key serves no more, also to those who hold it. Erasing again
// does what is left to do. An account that was never added is noted too, so that
// a list of erasures can be applied after a restore.
//
// An error that is ErrByHand says what a person must do first, or last.
func (r *Ring) Erase(account uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.erased.has(account) {
		list := append(slices.Clone(r.erased), Erasure{Account: account, Date: time.Now().UTC().Truncate(time.Second)})
		if err := replaceFile(r.erasedPath(), list.encode()); err != nil {
			return fmt.Errorf("keyring: noting the erasure of account %d: %w", account, err)
		}
		r.erased = list
	}
	if a := r.accounts[account]; a != nil {
		a.erased.Store(true)
		delete(r.accounts, account)
	}
	if err := r.finish(); err != nil {
		return fmt.Errorf("erasing account %d: %w", account, err)
	}
	return nil
}

// Rotate wraps all keys under a new master epoch and destroys the old one, as
// a matter of routine or after the master key was seen by others.
func (r *Ring) Rotate() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.rewrap(); err != nil {
		return err
	}
	return r.finish()
}

// finish removes the keys of erased accounts and stale epochs. r.mu is held or
// nobody else knows r.
func (r *Ring) finish() error {
	for _, e := range r.erased {
		if _, ok := r.file.accounts[e.Account]; ok {
			if err := r.rewrap(); err != nil {
				return err
			}
			break // none is left
		}
	}
	if !r.stale {
		return nil
	}
	if err := r.source.Keep(r.file.epoch); err != nil {
		return err
	}
	r.stale = false
	return nil
}

// rewrap writes the keyring under the source's next epoch, without the keys of
// erased accounts. An epoch newer than ours, prepared by hand or by a run that
// was interrupted, wraps nothing yet and is taken. r.mu is held.
func (r *Ring) rewrap() error {
	keys, err := r.source.Keys()
	if err != nil {
		return err
	}
	if keys[len(keys)-1].Number <= r.file.epoch {
		if err := r.source.Rotate(); err != nil {
			return err
		}
		if keys, err = r.source.Keys(); err != nil {
			return err
		}
	}
	next := keys[len(keys)-1]
	if next.Number <= r.file.epoch {
		return fmt.Errorf("%w: no epoch after %d", ErrWrongMaster, r.file.epoch)
	}
	master, err := newGCM(&next.Key)
	if err != nil {
		return err
	}
	f := &ringFile{epoch: next.Number, accounts: make(map[uint32]wrapped, len(r.file.accounts))}
	key, err := unwrap(r.master, &r.file.log, forLog, r.file.epoch, 0)
	if err != nil {
		return err
	}
	f.log = wrap(master, key, forLog, next.Number, 0)
	for account, w := range r.file.accounts {
		if r.erased.has(account) {
			continue
		}
		if key, err = unwrap(r.master, &w, forAccount, r.file.epoch, account); err != nil {
			return fmt.Errorf("account %d: %w", account, err)
		}
		f.accounts[account] = wrap(master, key, forAccount, next.Number, account)
	}
	if err := replaceFile(r.path, f.encode(master)); err != nil {
		return fmt.Errorf("keyring: writing epoch %d: %w", next.Number, err)
	}
	r.file, r.master, r.stale = f, master, true
	return nil
}
