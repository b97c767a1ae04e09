package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

const erasedTitle = "telesphore-erased 1"

// Erasure says that an account's key was destroyed.
type Erasure struct {
	Account uint32
	Date    time.Time // when it was asked for, to the second, UTC
}

// erasures is the list, with its order.
type erasures []Erasure

func (e erasures) has(account uint32) bool {
	for _, x := range e {
		if x.Account == account {
			return true
		}
	}
	return false
}

func (e erasures) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, erasedTitle)
	for _, x := range e {
		fmt.Fprintf(&b, "%d %s\n", x.Account, x.Date.UTC().Format(time.RFC3339))
	}
	return b.Bytes()
}

// readErasures reads the list at path; a missing file is an empty list.
func readErasures(path string) (erasures, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keyring: reading the erasure list: %w", err)
	}
	list, err := parseErasures(b)
	if err != nil {
		return nil, fmt.Errorf("keyring: erasure list %s: %w", path, err)
	}
	return list, nil
}

// parseErasures is strict: a list that cannot be read in full might bring an
// erased account back.
func parseErasures(b []byte) (erasures, error) {
	text, ok := strings.CutSuffix(string(b), "\n")
	lines := strings.Split(text, "\n")
	if !ok || lines[0] != erasedTitle {
		return nil, fmt.Errorf("%w: the first line must be %q and the last must end", ErrFormat, erasedTitle)
	}
	var list erasures
	for i, line := range lines[1:] {
		if line == erasedTitle { // lists joined
			continue
		}
		id, date, _ := strings.Cut(line, " ")
		account, err := strconv.ParseUint(id, 10, 32)
		when, err2 := time.Parse(time.RFC3339, date)
		if year := when.UTC().Year(); err != nil || err2 != nil || year < 1970 || year > 9999 {
			return nil, fmt.Errorf("%w: line %d must be an account id, a space, a date", ErrFormat, i+2)
		}
		if !list.has(uint32(account)) {
			list = append(list, Erasure{Account: uint32(account), Date: when.UTC()})
		}
	}
	return list, nil
}
