package kvtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sort"
	"strconv"
	"sync"
	"testing"

	"telesphore/storage/kv"
)

// serial is the key in which every Update of the model counts itself: it
// tells in which order concurrent Updates took effect.
const serial = "serial"

// change is one step of an Update or View and what it saw.
type change struct {
	op     string // "put", "delete", "get", "scan"
	key    string // of a scan: its lower bound
	value  string // put; of a scan: its upper bound
	seen   []string
	absent bool // get
}

// record is one transaction as it took effect.
type record struct {
	serial  int
	view    bool
	changes []change
}

// model lets goroutines read and write a small key space at random, some of
// them failing, and replays what they saw against a sorted map.
func model(t *testing.T, open opener) {
	const workers, rounds = 8, 60
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	db := open(t, dir)
	records := make([][]record, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for range rounds {
				if rec, ok := transact(t, db, rng.Uint64()); ok {
					records[w] = append(records[w], rec)
				}
			}
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	final := replay(t, slices.Concat(records...))
	holds(t, db, final...)
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	db = open(t, dir)
	holds(t, db, final...)
	if err := db.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// transact runs one random transaction; ok tells that it took effect. The
// seed decides everything, so that a second run does the same.
func transact(t *testing.T, db kv.DB, seed uint64) (rec record, ok bool) {
	refusal := errors.New("refusal")
	fate := seed % 8 // 0 fails, 1 panics, 2 and 3 only read
	defer func() {
		if v := recover(); v != nil && v != "fate" {
			panic(v)
		}
	}()
	if fate == 2 || fate == 3 {
		err := db.View(t.Context(), func(r kv.Reader) error {
			rec = record{view: true}
			return rec.play(r, nil, seed)
		})
		if err != nil {
			t.Errorf("view: %v", err)
		}
		return rec, err == nil
	}
	err := db.Update(t.Context(), func(tx kv.Tx) error {
		rec = record{}
		if err := rec.play(tx, tx, seed); err != nil {
			return err
		}
		switch fate {
		case 0:
			return refusal
		case 1:
			panic("fate")
		}
		return nil
	})
	if err != nil && !errors.Is(err, refusal) {
		t.Errorf("update: %v", err)
	}
	return rec, err == nil
}

// play reads the serial number, and moves it when there is a tx, then takes
// random steps.
func (rec *record) play(r kv.Reader, tx kv.Tx, seed uint64) error {
	v, err := r.Get([]byte(serial))
	if err != nil {
		return err
	}
	rec.serial, _ = strconv.Atoi(string(v))
	if tx != nil {
		rec.serial++
		if err := tx.Put([]byte(serial), []byte(strconv.Itoa(rec.serial))); err != nil {
			return err
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	key := func() string { return fmt.Sprintf("k%02d", rng.IntN(60)) }
	for range rng.IntN(12) {
		c := change{op: "get", key: key()}
		switch n := rng.IntN(10); {
		case n < 4 && tx != nil:
			c.op, c.value = "put", strconv.FormatUint(rng.Uint64(), 36)
			err = tx.Put([]byte(c.key), []byte(c.value))
		case n < 6 && tx != nil:
			c.op = "delete"
			err = tx.Delete([]byte(c.key))
		case n < 8:
			c.op, c.value = "scan", key()
			c.seen, err = scan(r, []byte(c.key), []byte(c.value))
		default:
			var v []byte
			v, err = r.Get([]byte(c.key))
			c.value, c.absent = string(v), v == nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.op, err)
		}
		rec.changes = append(rec.changes, c)
	}
	return nil
}

// replay applies the records to a sorted map in the order in which they took
// effect, compares what each saw, and returns what the map holds in the end.
func replay(t *testing.T, records []record) []string {
	t.Helper()
	// A View sees every Update up to its number, that one included.
	sort.SliceStable(records, func(i, j int) bool {
		a, b := records[i], records[j]
		return a.serial < b.serial || a.serial == b.serial && !a.view && b.view
	})
	held, updates := map[string]string{}, 0
	pairs := func(lo, hi string) []string {
		out := []string{}
		for _, k := range slices.Sorted(maps.Keys(held)) {
			if k >= lo && (hi == "" || k < hi) {
				out = append(out, k+"="+held[k])
			}
		}
		return out
	}
	for _, rec := range records {
		if !rec.view {
			updates++
			held[serial] = strconv.Itoa(rec.serial)
		}
		if rec.serial != updates {
			t.Fatalf("transaction %d took effect after %d updates", rec.serial, updates)
		}
		for i, c := range rec.changes {
			switch c.op {
			case "put":
				held[c.key] = c.value
			case "delete":
				delete(held, c.key)
			case "get":
				if v, ok := held[c.key]; v != c.value || ok == c.absent {
					t.Errorf("transaction %d, step %d: get %s = %q, want %q", rec.serial, i, c.key, c.value, v)
				}
			case "scan":
				if want := pairs(c.key, c.value); !slices.Equal(c.seen, want) {
					t.Errorf("transaction %d, step %d: scan [%s, %s) = %q, want %q", rec.serial, i, c.key, c.value, c.seen, want)
				}
			}
		}
	}
	return pairs("", "")
}
