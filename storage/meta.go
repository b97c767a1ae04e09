package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"telesphore/storage/body"
	"telesphore/storage/kv"
)

// cache holds copies of the metadata blocks, sealed under the account's key
// ("meta", account, object), by account and object. New ones wait in memory
// until the writer takes them. It is disposable: nothing here is the only copy.
type cache struct {
	db     kv.DB
	store  *Store
	logger *slog.Logger
	full   chan struct{} // wakes the writer before its time
	arenas sync.Pool     // of *[]byte, what Metas opens blocks into

	mu      sync.Mutex
	waiting map[cacheKey][]byte // guarded by mu; nil is a deletion
	writing map[cacheKey][]byte // guarded by mu; what the writer has taken
	size    int                 // guarded by mu; octets waiting
}

type cacheKey struct {
	account AccountID
	object  ObjectID
}

const (
	cacheVersion = "1"
	cacheFull    = 4 << 20 // octets waiting that wake the writer
	cacheTooFull = 4 * cacheFull
	cacheStep    = 2000 // blocks in one transaction
)

// cacheKeySize is the length of a key: the letter m, account 32, object 64.
const cacheKeySize = 13

func (k cacheKey) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, 'm'), uint32(k.account))
	return binary.BigEndian.AppendUint64(b, uint64(k.object))
}

func (k cacheKey) ad() []byte { return ad("meta", uint64(k.account), uint64(k.object)) }

func openCache(ctx context.Context, db kv.DB, s *Store) (*cache, error) {
	c := &cache{db: db, store: s, logger: s.logger, full: make(chan struct{}, 1), waiting: map[cacheKey][]byte{}}
	c.arenas.New = func() any { return new([]byte) }
	return c, db.Update(ctx, func(tx kv.Tx) error {
		v, err := tx.Get([]byte("version"))
		if err != nil {
			return err
		}
		if v != nil && string(v) != cacheVersion {
			return fmt.Errorf("the cache has another format: delete its file, it is made anew")
		}
		return tx.Put([]byte("version"), []byte(cacheVersion))
	})
}

// put keeps a block; nothing waits for it to be written.
func (c *cache) put(a AccountID, o ObjectID, meta []byte) {
	if meta == nil {
		return
	}
	k, err := c.store.accountKeys(a)
	if err != nil {
		return // erased meanwhile
	}
	key := cacheKey{a, o}
	c.set(key, k.Seal(nil, meta, key.ad()))
}

func (c *cache) drop(a AccountID, o ObjectID) { c.set(cacheKey{a, o}, nil) }

func (c *cache) set(key cacheKey, sealed []byte) {
	c.mu.Lock()
	if c.size < cacheTooFull || sealed == nil {
		c.waiting[key] = sealed
		c.size += len(sealed) + 64
	}
	full := c.size > cacheFull
	c.mu.Unlock()
	if full {
		select {
		case c.full <- struct{}{}:
		default:
		}
	}
}

// run writes what waits, every second or when it is much, until ctx ends.
func (c *cache) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			c.flush()
			return
		case <-tick.C:
		case <-c.full:
		}
		c.flush()
	}
}

func (c *cache) flush() {
	c.mu.Lock()
	c.writing, c.waiting, c.size = c.waiting, map[cacheKey][]byte{}, 0
	all := c.writing
	c.mu.Unlock()
	keys := make([]cacheKey, 0, len(all))
	for k := range all {
		keys = append(keys, k)
	}
	for len(keys) > 0 {
		n := min(cacheStep, len(keys))
		err := c.db.Update(context.Background(), func(tx kv.Tx) error {
			for _, k := range keys[:n] {
				var err error
				if v := all[k]; v == nil {
					err = tx.Delete(k.append(nil))
				} else {
					err = tx.Put(k.append(nil), v)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			c.logger.Error("write the metadata cache", "cause", err)
		}
		keys = keys[n:]
	}
	c.mu.Lock()
	c.writing = nil
	c.mu.Unlock()
}

// lookup appends the blocks that the cache knows to arena and notes where in it they lie.
func (c *cache) lookup(ctx context.Context, a AccountID, ids []ObjectID, arena []byte, at [][2]int) ([]byte, error) {
	k, err := c.store.accountKeys(a)
	if err != nil {
		return arena, err
	}
	open := func(i int, sealed []byte) {
		start := len(arena)
		arena = slices.Grow(arena, len(sealed)) // Open grows by what it needs alone: quadratic
		b, err := k.Open(arena, sealed, cacheKey{a, ids[i]}.ad())
		if err != nil {
			return // as good as absent: it comes from the log
		}
		arena = b
		at[i] = [2]int{start, len(arena)}
	}
	c.mu.Lock()
	for i, id := range ids {
		sealed := c.waiting[cacheKey{a, id}]
		if sealed == nil {
			sealed = c.writing[cacheKey{a, id}]
		}
		if sealed != nil {
			open(i, sealed)
		}
	}
	c.mu.Unlock()
	err = c.db.View(ctx, func(r kv.Reader) error {
		return readSealed(r, a, ids, func(i int, v []byte) {
			if at[i][1] == 0 {
				open(i, v)
			}
		})
	})
	return arena, err
}

// readSealed calls f with what the cache's file has of the blocks. Messages of
// a mailbox mostly lie one behind the other, in the order in which they came:
// then one scan is cheaper than a look-up for each.
func readSealed(r kv.Reader, a AccountID, ids []ObjectID, f func(i int, sealed []byte)) error {
	last := ids[len(ids)-1]
	if slices.IsSorted(ids) && last-ids[0] < ObjectID(4*len(ids)) {
		lo, hi := cacheKey{a, ids[0]}.append(nil), cacheKey{a, last + 1}.append(nil)
		i := 0
		return r.Scan(lo, hi, func(k, v []byte) bool {
			id := ObjectID(binary.BigEndian.Uint64(k[cacheKeySize-8:]))
			for ids[i] < id {
				i++
			}
			for j := i; j < len(ids) && ids[j] == id; j++ { // copies are the same object
				f(j, v)
			}
			return true
		})
	}
	keys := make([][]byte, len(ids))
	all := make([]byte, 0, cacheKeySize*len(ids))
	for i, id := range ids {
		all = cacheKey{a, id}.append(all)
		keys[i] = all[len(all)-cacheKeySize:]
	}
	return r.MultiGet(keys, func(i int, v []byte) error {
		if v != nil {
			f(i, v)
		}
		return nil
	})
}

// metaStep is how many blocks Metas holds at a time.
const metaStep = 500

// Metas calls f with the metadata block of each object (what Seal was given),
// in order; nil for an object that is gone, whose block was too large to keep,
// or is damaged. The block is only valid during the call.
func (s *Store) Metas(ctx context.Context, a AccountID, ids []ObjectID, f func(i int, meta []byte) error) error {
	room := s.cache.arenas.Get().(*[]byte)
	arena := *room
	defer func() { *room = arena; s.cache.arenas.Put(room) }()
	at := make([][2]int, min(metaStep, len(ids)))
	for base := 0; base < len(ids); base += metaStep {
		step := ids[base:min(base+metaStep, len(ids))]
		clear(at)
		var err error
		if arena, err = s.cache.lookup(ctx, a, step, arena[:0], at); err != nil {
			return err
		}
		for i, id := range step {
			meta := arena[at[i][0]:at[i][1]]
			if at[i][1] == 0 {
				if meta, err = s.logged(ctx, a, id); err != nil {
					return err
				}
			}
			if err := f(base+i, meta); err != nil {
				return err
			}
		}
	}
	return nil
}

// logged reads a block from the log, where its truth lies, and caches it.
func (s *Store) logged(ctx context.Context, a AccountID, id ObjectID) ([]byte, error) {
	b, err := s.Open(ctx, a, id)
	if errors.Is(err, ErrNoMessage) || errors.Is(err, body.ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer b.Close()
	meta, err := b.shared.Meta()
	if err != nil || len(meta) == 0 {
		return nil, nil
	}
	s.cache.put(a, id, meta)
	return meta, nil
}
