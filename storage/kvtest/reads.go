package kvtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"telesphore/storage/kv"
)

func ownWrites(t *testing.T, open opener) {
	db := fresh(t, open)
	update(t, db, func(tx kv.Tx) error { return put(tx, "a=1", "b=2", "c=3") })
	steps := []struct {
		what string
		do   func(tx kv.Tx) error
		want []string
	}{
		{"insert", func(tx kv.Tx) error { return put(tx, "bb=new", "0=first") },
			[]string{"0=first", "a=1", "b=2", "bb=new", "c=3"}},
		{"overwrite", func(tx kv.Tx) error { return put(tx, "b=two", "bb=newer") },
			[]string{"0=first", "a=1", "b=two", "bb=newer", "c=3"}},
		{"delete", func(tx kv.Tx) error { return errors.Join(tx.Delete([]byte("a")), tx.Delete([]byte("bb"))) },
			[]string{"0=first", "b=two", "c=3"}},
		{"delete again", func(tx kv.Tx) error { return tx.Delete([]byte("a")) },
			[]string{"0=first", "b=two", "c=3"}},
		{"delete what never was", func(tx kv.Tx) error { return tx.Delete([]byte("zz")) },
			[]string{"0=first", "b=two", "c=3"}},
		{"put back", func(tx kv.Tx) error { return put(tx, "a=back") },
			[]string{"0=first", "a=back", "b=two", "c=3"}},
	}
	update(t, db, func(tx kv.Tx) error {
		for _, s := range steps {
			if err := s.do(tx); err != nil {
				return fmt.Errorf("%s: %w", s.what, err)
			}
			if got, err := scan(tx, nil, nil); err != nil || !slices.Equal(got, s.want) {
				return fmt.Errorf("%s: scan gave %q, %v, want %q", s.what, got, err, s.want)
			}
			if err := readsMatch(tx, s.want); err != nil {
				return fmt.Errorf("%s: %w", s.what, err)
			}
		}
		return nil
	})
	holds(t, db, "0=first", "a=back", "b=two", "c=3")
}

// readsMatch compares Get with the pairs that a scan has shown.
func readsMatch(r kv.Reader, pairs []string) error {
	for _, key := range []string{"0", "a", "b", "bb", "c", "zz"} {
		i := slices.IndexFunc(pairs, func(p string) bool { return strings.HasPrefix(p, key+"=") })
		v, err := r.Get([]byte(key))
		if err != nil || (v == nil) != (i < 0) || i >= 0 && pairs[i] != key+"="+string(v) {
			return fmt.Errorf("get %q = %q, %v, but a scan gave %q", key, v, err, pairs)
		}
	}
	return nil
}

// scanBounds scans committed keys, then the same keys as own writes.
func scanBounds(t *testing.T, open opener) {
	keys := []string{"\x00", "a", "a\x00", "aa", "ab", "b", "\xff", "\xff\xff"}
	pairs := make([]string, len(keys))
	for i, k := range keys {
		pairs[i] = k + "=v"
	}
	tests := []struct {
		lo, hi   []byte
		from, to int // the expected part of keys
	}{
		{nil, nil, 0, 8},
		{[]byte{}, nil, 0, 8},
		{[]byte("\x00"), nil, 0, 8},
		{[]byte("a"), nil, 1, 8},
		{[]byte("a"), []byte("b"), 1, 5},
		{[]byte("a"), []byte("a"), 1, 1},
		{[]byte("a"), []byte("a\x00"), 1, 2},
		{[]byte("a0"), []byte("abc"), 3, 5},
		{[]byte("b"), []byte("a"), 0, 0},
		{[]byte("c"), []byte("d"), 0, 0},
		{nil, []byte("a"), 0, 1},
		{nil, []byte{}, 0, 0}, // only nil is the end of the key space
		{[]byte("\xff"), nil, 6, 8},
		{[]byte("\xff"), []byte("\xff\xff"), 6, 7},
		{[]byte("\xff\xff\xff"), nil, 8, 8},
	}
	check := func(r kv.Reader) error {
		for _, test := range tests {
			got, err := scan(r, test.lo, test.hi)
			if want := pairs[test.from:test.to]; err != nil || !slices.Equal(got, want) {
				return fmt.Errorf("scan [%q, %q) gave %q, %v, want %q", test.lo, test.hi, got, err, want)
			}
		}
		first, calls := []byte(nil), 0
		err := r.Scan([]byte("a"), nil, func(key, _ []byte) bool {
			first, calls = bytes.Clone(key), calls+1
			return false
		})
		if err != nil || calls != 1 || string(first) != "a" {
			return fmt.Errorf("a stopped scan gave %q in %d calls, %v", first, calls, err)
		}
		return nil
	}
	db := fresh(t, open)
	update(t, db, func(tx kv.Tx) error {
		if err := put(tx, pairs...); err != nil {
			return err
		}
		return check(tx)
	})
	if err := db.View(t.Context(), check); err != nil {
		t.Error(err)
	}
}

// scanMerges writes among many committed keys, so that a scan crosses pages
// and passes keys deleted, overwritten and inserted everywhere.
func scanMerges(t *testing.T, open opener) {
	const n = 3000
	key := func(i int) []byte { return fmt.Appendf(nil, "k%06d", i) }
	db := fresh(t, open)
	update(t, db, func(tx kv.Tx) error {
		for i := 0; i < n; i += 2 {
			if err := tx.Put(key(i), bytes.Repeat([]byte{'v'}, 50)); err != nil {
				return err
			}
		}
		return nil
	})
	var want []string
	for i := range n {
		switch {
		case i >= 1000 && i < 2000 || i%10 == 0: // deleted below
		case i%5 == 0:
			want = append(want, fmt.Sprintf("%s=own", key(i)))
		case i%2 == 0:
			want = append(want, fmt.Sprintf("%s=%s", key(i), bytes.Repeat([]byte{'v'}, 50)))
		}
	}
	check := func(r kv.Reader) error {
		got, err := scan(r, nil, nil)
		if err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("scan gave %d pairs, %v, want %d", len(got), err, len(want))
		}
		return nil
	}
	update(t, db, func(tx kv.Tx) error {
		for i := n - 1; i >= 0; i-- {
			var err error
			switch {
			case i >= 1000 && i < 2000 || i%10 == 0:
				err = tx.Delete(key(i))
			case i%5 == 0:
				err = tx.Put(key(i), []byte("own"))
			}
			if err != nil {
				return err
			}
		}
		return check(tx)
	})
	if err := db.View(t.Context(), check); err != nil {
		t.Error(err)
	}
}

func limits(t *testing.T, open opener) {
	db := fresh(t, open)
	long, large := bytes.Repeat([]byte("k"), kv.MaxKey), bytes.Repeat([]byte("v"), kv.MaxValue)
	update(t, db, func(tx kv.Tx) error { return tx.Put(long, large) })
	err := db.View(t.Context(), func(r kv.Reader) error {
		if got, err := r.Get(long); err != nil || !bytes.Equal(got, large) {
			return fmt.Errorf("the largest value came back as %d octets, %v", len(got), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	many := func(tx kv.Tx, n int) error {
		for i := range n {
			if err := tx.Put(fmt.Appendf(nil, "n%05d", i*7919%n), nil); err != nil {
				return err
			}
		}
		return nil
	}
	refused := map[string]func(kv.Tx) error{
		"a long key":            func(tx kv.Tx) error { return tx.Put(append([]byte("k"), long...), nil) },
		"an empty key":          func(tx kv.Tx) error { return tx.Put(nil, nil) },
		"a long key deleted":    func(tx kv.Tx) error { return tx.Delete(append([]byte("k"), long...)) },
		"an empty key deleted":  func(tx kv.Tx) error { return tx.Delete([]byte{}) },
		"a large value":         func(tx kv.Tx) error { return tx.Put([]byte("a"), append([]byte("v"), large...)) },
		"too many keys":         func(tx kv.Tx) error { return many(tx, kv.MaxWrites+1) },
		"too many keys ignored": func(tx kv.Tx) error { _ = many(tx, kv.MaxWrites+1); return nil },
	}
	for what, f := range refused {
		err := db.Update(t.Context(), func(tx kv.Tx) error {
			if err := put(tx, "b=dropped"); err != nil {
				return err
			}
			return f(tx)
		})
		if !errors.Is(err, kv.ErrLimit) {
			t.Errorf("%s: Update returned %v, want kv.ErrLimit", what, err)
		}
	}
	holds(t, db, fmt.Sprintf("%s=%s", long, large))

	update(t, db, func(tx kv.Tx) error {
		for range 3 { // counts keys, not calls
			if err := many(tx, kv.MaxWrites-1); err != nil {
				return err
			}
		}
		return tx.Delete(long)
	})
	count := 0
	err = db.View(t.Context(), func(r kv.Reader) error {
		count = 0
		return r.Scan(nil, nil, func(_, _ []byte) bool { count++; return true })
	})
	if err != nil || count != kv.MaxWrites-1 {
		t.Errorf("the largest update left %d keys, %v, want %d", count, err, kv.MaxWrites-1)
	}
}
