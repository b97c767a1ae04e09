package kv

import (
	"errors"
	"fmt"
)

// ErrLimit: a key, a value or the number of writes exceeds what the seam
// allows. The Update that tried fails as a whole, even if its function
// ignores the error.
var ErrLimit = errors.New("kv: limit exceeded")

// CheckKey returns an error that wraps [ErrLimit] unless key holds 1 to
// [MaxKey] octets. Engines call it before they write.
func CheckKey(key []byte) error {
	if len(key) == 0 || len(key) > MaxKey {
		return fmt.Errorf("%w: a key of %d octets, allowed are 1 to %d", ErrLimit, len(key), MaxKey)
	}
	return nil
}

// CheckValue returns an error that wraps [ErrLimit] when value holds more
// than [MaxValue] octets. Engines call it before they write.
func CheckValue(value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: a value of %d octets, allowed are %d", ErrLimit, len(value), MaxValue)
	}
	return nil
}

// CheckWrites returns an error that wraps [ErrLimit] when a transaction has
// written more than [MaxWrites] distinct keys.
func CheckWrites(keys int) error {
	if keys > MaxWrites {
		return fmt.Errorf("%w: one transaction writes more than %d keys", ErrLimit, MaxWrites)
	}
	return nil
}
