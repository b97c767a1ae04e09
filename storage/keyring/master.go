package keyring

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// masterTitle is the first line of a master file, with the version of the format.
const masterTitle = "telesphore-master 1"

// maxMaster bounds what is read from a file or a command, in octets.
const maxMaster = 64 << 10

// Master is where the master key comes from. It holds one epoch, or two while
// the keyring passes from one to the next. [MasterFile] and [MasterCommand] implement it.
type Master interface {
	// Keys returns the epochs there are, in ascending order, at least one.
	Keys() ([]Epoch, error)
	// Rotate adds a random key under the epoch after the highest, and returns
	// once that is durable. A source that cannot do it by itself returns an error that is
	// ErrByHand and says what to do.
	Rotate() error
	// Keep destroys every epoch but the one named, as thoroughly as the
	// source can. It returns ErrByHand like Rotate.
	Keep(epoch uint32) error
}

var (
	_ Master = MasterFile{}
	_ Master = MasterCommand{}
)

// Epoch is a numbered master key.
type Epoch struct {
	Number uint32
	Key    Key
}

// MasterFile is a master key in a file that only its owner can read.
type MasterFile struct {
	Path string
}

// CreateMasterFile makes a master file with a random key under epoch 1. It
// never replaces one: then the error is fs.ErrExist.
func CreateMasterFile(path string) error {
	first := Epoch{Number: 1}
	rand.Read(first.Key[:])
	if err := writeFile(path, formatMaster([]Epoch{first})); err != nil {
		return fmt.Errorf("keyring: creating the master key: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// Keys reads the file. One that others than its owner can read is refused with
// ErrMode, and the error says which command mends it.
func (m MasterFile) Keys() ([]Epoch, error) {
	f, err := os.Open(m.Path)
	if err != nil {
		return nil, fmt.Errorf("keyring: reading the master key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keyring: reading the master key: %w", err)
	}
	if mode := info.Mode(); mode.Perm()&0o077 != 0 || !mode.IsRegular() {
		return nil, fmt.Errorf("%w: %s has mode %v: make it readable by its owner alone with: chmod 600 %s", ErrMode, m.Path, mode, m.Path)
	}
	b := make([]byte, min(info.Size(), maxMaster))
	defer clear(b)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("keyring: reading the master key: %w", err)
	}
	keys, err := parseMaster(b)
	if err != nil {
		return nil, fmt.Errorf("keyring: master file %s: %w", m.Path, err)
	}
	return keys, nil
}

// Rotate adds an epoch to the file.
func (m MasterFile) Rotate() error {
	keys, err := m.Keys()
	if err != nil {
		return err
	}
	next := Epoch{Number: keys[len(keys)-1].Number + 1}
	rand.Read(next.Key[:])
	return m.replace(append(keys, next))
}

// Keep writes the file anew with one epoch and overwrites the old file's octets
// with zeros. A disk that never overwrites in place (flash, snapshots) may keep
// them: there the file belongs on an encrypted volume.
func (m MasterFile) Keep(epoch uint32) error {
	keys, err := m.Keys()
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.Number == epoch {
			return m.replace([]Epoch{k})
		}
	}
	return fmt.Errorf("keyring: master file %s: %w: no epoch %d", m.Path, ErrWrongMaster, epoch)
}

func (m MasterFile) replace(keys []Epoch) error {
	old, err := os.OpenFile(m.Path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("keyring: writing the master key: %w", err)
	}
	defer old.Close()
	if err := replaceFile(m.Path, formatMaster(keys)); err != nil {
		return fmt.Errorf("keyring: writing the master key: %w", err)
	}
	// old is the file that has just lost its name.
	info, err := old.Stat()
	if err == nil {
		_, err = old.WriteAt(make([]byte, info.Size()), 0)
	}
	if err == nil {
		err = old.Sync()
	}
	if err != nil {
		return fmt.Errorf("keyring: overwriting the old master key: %w", err)
	}
	return nil
}

// MasterCommand is a master key that a command prints, in the form of a master
// file: a password manager, a hardware module's tool.
type MasterCommand struct {
	Args    []string      // the command and its arguments; no shell takes part
	Timeout time.Duration // how long it may run; 0 means 30 s
}

// Keys runs the command. Its standard error ends up in the error, its standard
// output never.
func (m MasterCommand) Keys() ([]Epoch, error) {
	if len(m.Args) == 0 {
		return nil, errors.New("keyring: the master key's command is empty")
	}
	timeout := m.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, m.Args[0], m.Args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.WaitDelay = time.Second // for children that keep the pipes
	err := cmd.Run()
	defer func() { clear(out.Bytes()) }()
	if err != nil {
		return nil, fmt.Errorf("keyring: the master key's command %s: %w: %.200q", m.Args[0], err, complaint.Bytes())
	}
	keys, err := parseMaster(out.Bytes())
	if err != nil {
		return nil, fmt.Errorf("keyring: the master key's command %s: %w", m.Args[0], err)
	}
	return keys, nil
}

// Rotate is ErrByHand.
func (m MasterCommand) Rotate() error {
	return fmt.Errorf("%w: add a line with the next epoch and 64 random hexadecimal digits to what %q prints, keep the line before it, then do this again", ErrByHand, m.Args)
}

// Keep is ErrByHand.
func (m MasterCommand) Keep(epoch uint32) error {
	return fmt.Errorf("%w: destroy every line but that of epoch %d in what %q prints", ErrByHand, epoch, m.Args)
}

func formatMaster(keys []Epoch) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, masterTitle)
	for _, k := range keys {
		fmt.Fprintf(&b, "%d %x\n", k.Number, k.Key)
	}
	return b.Bytes()
}

// parseMaster reads a master file. Its errors name lines, never what they hold.
func parseMaster(b []byte) ([]Epoch, error) {
	lines := strings.Split(strings.TrimRight(string(b), "\r\n"), "\n")
	if len(b) > maxMaster || strings.TrimRight(lines[0], "\r") != masterTitle {
		return nil, fmt.Errorf("%w: the first line must be %q", ErrFormat, masterTitle)
	}
	var keys []Epoch
	for i, line := range lines[1:] {
		number, digits, _ := strings.Cut(strings.TrimRight(line, "\r"), " ")
		n, err := strconv.ParseUint(number, 10, 32)
		key, err2 := hex.DecodeString(digits)
		if err != nil || err2 != nil || len(key) != len(Key{}) {
			return nil, fmt.Errorf("%w: line %d must be an epoch, a space, 64 hexadecimal digits", ErrFormat, i+2)
		}
		if len(keys) > 0 && uint32(n) <= keys[len(keys)-1].Number {
			return nil, fmt.Errorf("%w: line %d: epochs must rise", ErrFormat, i+2)
		}
		keys = append(keys, Epoch{Number: uint32(n), Key: Key(key)})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no key", ErrFormat)
	}
	return keys, nil
}

// exists tells whether a file is there.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
