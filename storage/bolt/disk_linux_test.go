package bolt

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"telesphore/storage/kvtest"
)

// fillDisk makes every further write to an open file fail with "no space
// left on device": its descriptors come to point to /dev/full.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	replaced := 0
	for _, e := range entries {
		if target, _ := os.Readlink("/proc/self/fd/" + e.Name()); target != path {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Dup3(int(full.Fd()), fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		replaced++
	}
	if replaced == 0 {
		t.Fatalf("%s is not open", path)
	}
}

func TestFullDiskMakesReadOnly(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	db := open(t, dir, Options{})
	kvtest.ReadOnly(t, db, func() { fillDisk(t, filepath.Join(dir, "index.db")) })
	if err := db.Check(); err != nil {
		t.Error(err)
	}
	if got := keys(t, db); got != "a" {
		t.Errorf("keys: %s", got)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	db = open(t, dir, Options{}) // after a restart with room on the disk
	defer db.Close()
	if err := db.Update(t.Context(), put("b")); err != nil {
		t.Error(err)
	}
	if got := keys(t, db); got != "a b" {
		t.Errorf("keys after a restart: %s", got)
	}
}
