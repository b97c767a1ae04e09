package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/bolt"
	"telesphore/storage/keyring"
)

// What stands in the data directory.
const (
	lockFile     = "lock"
	manifestFile = "manifest.json"
	indexFile    = "index.db" // everything but bodies
	cacheFile    = "cache.db" // may be deleted while the server is down
	bodiesDir    = "bodies"
	keyringFile  = "keyring"
	auditDir     = "audit"       // the audit trail
	listsDir     = "revocations" // revocation lists that were fetched

	whiteListFile = "whitelist.json" // the white list in use, and what is remembered beside it
)

// openStore opens the parts of the store and the store itself.
func (s *server) openStore(ctx context.Context) error {
	c := s.config
	if err := checkManifest(c); err != nil {
		return err
	}
	keys, err := openKeyring(c)
	if err != nil {
		return err
	}
	if keys.Stale() {
		s.logger.Warn("an old master key is still there, and with it a copy of the keyring gives the keys of erased accounts back: destroy it by hand")
	}
	log, err := body.Open(c.file(bodiesDir), c.Bodies)
	if err != nil {
		return fmt.Errorf("open the message bodies: %w", err)
	}
	s.onClose(log.Close)
	// What the index points to is on disk before the index says so.
	index, err := bolt.Open(c.file(indexFile), bolt.Options{BeforeCommit: log.Flush})
	if err != nil {
		return fmt.Errorf("open the index: %w", err)
	}
	s.onClose(index.Close)
	cache, err := s.openCache()
	if err != nil {
		return fmt.Errorf("open the cache: %w", err)
	}
	s.store, err = storage.Open(ctx, storage.Config{
		DB: index, Cache: cache, Log: log, Keys: keys, Limits: c.Storage, Logger: s.logger,
		Free: func() (int64, error) { return freeSpace(c.Data) },
	})
	if err != nil {
		return err
	}
	s.onClose(s.store.Close)
	return nil
}

// manifest says what a data directory is, so that a program of another age does
// not take it for something else.
type manifest struct {
	Format int `json:"format"` // of the directory as a whole: which files it has
	Shards int `json:"shards"` // stores side by side; every account is in shard 0 while there is one
}

// checkManifest refuses a directory that this program does not understand, and
// signs a new one.
func checkManifest(c *Config) error {
	ours := manifest{Format: 1, Shards: 1}
	path := c.file(manifestFile)
	octets, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.file(indexFile)); err == nil {
			return fmt.Errorf("%s is missing although there is mail: restore it from the backup", path)
		}
		if octets, err = json.Marshal(ours); err != nil {
			return fmt.Errorf("encode the manifest: %w", err)
		}
		return writeFile(path, append(octets, '\n'))
	}
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	var found manifest
	if err := json.Unmarshal(octets, &found); err != nil {
		return fmt.Errorf("read the manifest %s: %w", path, err)
	}
	if found != ours {
		return fmt.Errorf("%s says format %d with %d shards, this program knows format %d with %d: use the version of telesphore that wrote it",
			path, found.Format, found.Shards, ours.Format, ours.Shards)
	}
	return nil
}

// openCache opens the cache. It is written without syncs, so unless a mark says
// that it was closed cleanly, nobody knows what a power cut has left of it, and
// it is begun anew.
func (s *server) openCache() (*bolt.DB, error) {
	path := s.config.file(cacheFile)
	mark := path + ".clean"
	if err := os.Remove(mark); err != nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	cache, err := bolt.Open(path, bolt.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	s.onClose(func() error {
		if err := errors.Join(cache.Close(), syncFile(path)); err != nil {
			return err
		}
		return os.WriteFile(mark, nil, 0o600)
	})
	return cache, nil
}

// freeSpace is how many octets this user may still write where dir lies.
func freeSpace(dir string) (int64, error) {
	var s syscall.Statfs_t
	err := syscall.Statfs(dir, &s)
	return int64(s.Bavail) * int64(s.Bsize), err
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openKeyring opens the account keys, and makes a ring for a directory that has
// no mail yet.
func openKeyring(c *Config) (*keyring.Ring, error) {
	master := c.master()
	path := c.file(keyringFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.file(indexFile)); err == nil {
			return nil, fmt.Errorf("%s is missing: without it no message can be read; restore it from its own backup", path)
		}
		if err := keyring.Create(path, master); err != nil {
			return nil, explainKey(c, err)
		}
	}
	keys, err := keyring.Open(path, master)
	if err != nil {
		return nil, explainKey(c, err)
	}
	return keys, nil
}

// explainKey adds what to do when there is no master key yet.
func explainKey(c *Config, err error) error {
	if errors.Is(err, fs.ErrNotExist) && c.Keys.MasterFile != "" {
		return fmt.Errorf("there is no master key: make one with telesphore key create --config %s (%w)", c.path, err)
	}
	return fmt.Errorf("open the account keys: %w", err)
}

// lockDirectory keeps other servers off a data directory, which it makes if need
// be. Closing the file gives the directory free.
func lockDirectory(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner := make([]byte, 20)
		n, _ := f.Read(owner)
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another telesphore (process %s): stop that one first", dir, owner[:n])
		}
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	// The number is only for people to read; the lock is what counts.
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("sign the data directory's lock: %w", err)
	}
	return f, nil
}

// writeFile replaces a file at once: whoever looks sees the old octets or the
// new ones. Only we may read it.
func writeFile(path string, octets []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(octets)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
