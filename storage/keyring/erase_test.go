package keyring

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var errCut = errors.New("the power went out")

// interrupted is a master file whose machine loses power at the chosen moment.
type interrupted struct {
	MasterFile
	at string
}

func (m interrupted) Rotate() error {
	if m.at == "before rotate" {
		return errCut
	}
	if err := m.MasterFile.Rotate(); err != nil || m.at == "after rotate" {
		return errors.Join(err, errCut)
	}
	return nil
}

func (m interrupted) Keep(epoch uint32) error {
	if m.at == "before keep" {
		return errCut
	}
	if err := m.MasterFile.Keep(epoch); err != nil || m.at == "after keep" {
		return errors.Join(err, errCut)
	}
	return nil
}

// Wherever an erasure is interrupted, the next start finishes it: the erased
// account is gone for ever, the others open.
func TestEraseInterrupted(t *testing.T) {
	for _, at := range []string{"never", "before rotate", "after rotate", "before keep", "after keep"} {
		dir := t.TempDir()
		r, m := newRing(t, dir)
		kept := add(t, r, 1).Seal(nil, []byte("kept"), nil)
		held := add(t, r, 2)
		gone := held.Seal(nil, []byte("gone"), nil)
		log := r.Log().Seal(nil, []byte("log"), nil)
		oldRing, err := os.ReadFile(r.path)
		if err != nil {
			t.Fatal(err)
		}

		r = open(t, dir, interrupted{m, at})
		if held, err = r.Account(2); err != nil {
			t.Fatal(err)
		}
		if err := r.Erase(2); (err == nil) != (at == "never") || err != nil && !errors.Is(err, errCut) {
			t.Fatalf("%s: %v", at, err)
		}
		if _, err := held.Open(nil, gone, nil); !errors.Is(err, ErrErased) {
			t.Errorf("%s: held key: %v, want ErrErased", at, err)
		}
		if _, err := r.Account(2); !errors.Is(err, ErrErased) {
			t.Errorf("%s: same process: %v, want ErrErased", at, err)
		}

		for range 2 {
			r = open(t, dir, m)
			checkErased(t, at, r, m, kept, log)
		}
		// The copy of the keyring from before is worthless now.
		if err := os.WriteFile(r.path, oldRing, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.path, m); !errors.Is(err, ErrWrongMaster) {
			t.Errorf("%s: old copy of the keyring: %v, want ErrWrongMaster", at, err)
		}
	}
}

func checkErased(t *testing.T, at string, r *Ring, m MasterFile, kept, log []byte) {
	t.Helper()
	if _, err := r.Account(2); !errors.Is(err, ErrErased) {
		t.Errorf("%s: %v, want ErrErased", at, err)
	}
	if _, ok := r.file.accounts[2]; ok {
		t.Errorf("%s: the keyring still holds the erased key", at)
	}
	if err := r.Add(2); !errors.Is(err, ErrErased) {
		t.Errorf("%s: adding again: %v, want ErrErased", at, err)
	}
	if list := r.Erased(); len(list) != 1 || list[0].Account != 2 {
		t.Errorf("%s: erasures %v", at, list)
	}
	a, err := r.Account(1)
	if err != nil {
		t.Fatalf("%s: %v", at, err)
	}
	if plain, err := a.Open(nil, kept, nil); err != nil || string(plain) != "kept" {
		t.Errorf("%s: survivor: %q, %v", at, plain, err)
	}
	if plain, err := r.Log().Open(nil, log, nil); err != nil || string(plain) != "log" {
		t.Errorf("%s: log key: %q, %v", at, plain, err)
	}
	keys, err := m.Keys()
	if err != nil || len(keys) != 1 || keys[0].Number != r.Epoch() || r.Epoch() < 2 || r.Stale() {
		t.Errorf("%s: %d master keys, epoch %d, %v", at, len(keys), r.Epoch(), err)
	}
}

// A restore brings back a keyring with its master key, but never an older list.
func TestRestoreAppliesTheErasureList(t *testing.T) {
	dir := t.TempDir()
	r, m := newRing(t, dir)
	add(t, r, 1)
	add(t, r, 2)
	backup := map[string][]byte{}
	for _, path := range []string{r.path, m.Path} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		backup[path] = b
	}
	if err := errors.Join(r.Erase(2), r.Erase(77)); err != nil {
		t.Fatal(err)
	}
	for path, b := range backup {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, dir, m)
	if _, err := r.Account(2); !errors.Is(err, ErrErased) {
		t.Errorf("%v, want ErrErased", err)
	}
	if _, ok := r.file.accounts[2]; ok || r.Epoch() != 2 {
		t.Errorf("the restored key is still there, epoch %d", r.Epoch())
	}
	if _, err := r.Account(1); err != nil {
		t.Error(err)
	}
}

func TestRotate(t *testing.T) {
	dir := t.TempDir()
	r, m := newRing(t, dir)
	sealed := add(t, r, 5).Seal(nil, []byte("value"), nil)
	old, err := os.Open(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	for want := uint32(2); want < 5; want++ {
		if err := r.Rotate(); err != nil || r.Epoch() != want {
			t.Fatalf("epoch %d, %v; want %d", r.Epoch(), err, want)
		}
	}
	a, err := open(t, dir, m).Account(5)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := a.Open(nil, sealed, nil); err != nil || string(plain) != "value" {
		t.Errorf("%q, %v", plain, err)
	}
	b := make([]byte, 200)
	if n, _ := old.ReadAt(b, 0); n == 0 || len(bytes.Trim(b[:n], "\x00")) > 0 {
		t.Error("the old master file was not overwritten")
	}
}

// A command's key is rotated by hand: the errors say how, and what was asked is
// finished afterwards.
func TestEraseWithACommand(t *testing.T) {
	dir := t.TempDir()
	_, m := newRing(t, dir)
	command := MasterCommand{Args: []string{"cat", m.Path}}
	r := open(t, dir, command)
	kept := add(t, r, 1).Seal(nil, []byte("kept"), nil)
	log := r.Log().Seal(nil, []byte("log"), nil)
	add(t, r, 2)
	if err := r.Erase(2); !errors.Is(err, ErrByHand) || !strings.Contains(err.Error(), "next epoch") {
		t.Errorf("without a new epoch: %v, want ErrByHand", err)
	}
	if _, err := r.Account(2); !errors.Is(err, ErrErased) {
		t.Errorf("%v, want ErrErased", err)
	}
	if _, err := open(t, dir, command).Account(2); !errors.Is(err, ErrErased) {
		t.Errorf("after a restart: %v, want ErrErased", err)
	}
	if err := m.Rotate(); err != nil { // what a person does
		t.Fatal(err)
	}
	if err := r.Erase(2); !errors.Is(err, ErrByHand) || !strings.Contains(err.Error(), "destroy") {
		t.Errorf("with a new epoch: %v, want ErrByHand", err)
	}
	if r.Epoch() != 2 || !r.Stale() || !open(t, dir, command).Stale() {
		t.Errorf("epoch %d, stale %v", r.Epoch(), r.Stale())
	}
	if err := m.Keep(2); err != nil { // and then
		t.Fatal(err)
	}
	checkErased(t, "by hand", open(t, dir, command), m, kept, log)
}

func TestMasterFileMustBePrivate(t *testing.T) {
	dir := t.TempDir()
	r, m := newRing(t, dir)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o620, 0o777} {
		if err := os.Chmod(m.Path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(r.path, m); !errors.Is(err, ErrMode) || !strings.Contains(err.Error(), "chmod 600 "+m.Path) {
			t.Errorf("mode %v: %v, want ErrMode with the command", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		if err := os.Chmod(m.Path, mode); err != nil {
			t.Fatal(err)
		}
		open(t, dir, m)
	}
	if _, err := Open(r.path, MasterFile{Path: dir}); !errors.Is(err, ErrMode) {
		t.Errorf("a directory: %v, want ErrMode", err)
	}
}

func TestMasterCommandFails(t *testing.T) {
	_, m := newRing(t, t.TempDir())
	for name, args := range map[string][]string{
		"empty": nil, "missing": {filepath.Join(t.TempDir(), "no such command")}, "fails": {"false"}, "says nothing": {"true"},
		"says something else": {"echo", "telesphore-master 2"},
	} {
		if keys, err := (MasterCommand{Args: args}).Keys(); err == nil {
			t.Errorf("%s: %d keys", name, len(keys))
		}
	}
	ours, err := m.Keys()
	theirs, err2 := MasterCommand{Args: []string{"cat", m.Path}}.Keys()
	if err != nil || err2 != nil || !slices.Equal(ours, theirs) {
		t.Errorf("a command that prints the file: %v, %v", err, err2)
	}
}

// A crash while a file is replaced leaves a part of the new one beside it.
func TestLeftOverFiles(t *testing.T) {
	dir := t.TempDir()
	r, m := newRing(t, dir)
	for _, path := range []string{r.path, m.Path, r.erasedPath()} {
		if err := os.WriteFile(path+".new", []byte("half"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	add(t, r, 1)
	if err := r.Erase(2); err != nil {
		t.Fatal(err)
	}
	add(t, r, 3)
	if err := r.Erase(3); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir, m).Account(1); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}
