package admind

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// maxPath is the longest path of a Unix socket on Linux, in octets: sun_path
// has 108 with its final NUL.
const maxPath = 107

// errNotOurs is a directory that somebody else could have put in our way.
var errNotOurs = errors.New("admind: the directory belongs to someone else or others may use it")

// Listen makes the socket at path, which no other server may be using: a socket
// left behind by a crash is replaced. When path is too long for a socket, the
// socket stands in a 0700 directory under the system's temporary directory
// and path becomes a symbolic link to it. at is where callers find the socket.
// Closing the listener removes it.
func Listen(path string) (ln net.Listener, at string, err error) {
	at = path
	if len(path) > maxPath {
		if at, err = shorten(path); err != nil {
			return nil, "", err
		}
	}
	if err := clear(at, fs.ModeSocket); err != nil {
		return nil, "", err
	}
	ln, err = net.Listen("unix", at)
	if err != nil {
		return nil, "", fmt.Errorf("listen on the administration socket: %w", err)
	}
	if err := os.Chmod(at, 0o600); err != nil {
		ln.Close()
		return nil, "", fmt.Errorf("protect the administration socket: %w", err)
	}
	return ln, at, nil
}

// shorten makes the directory that stands in for path's, and the link to it.
func shorten(path string) (string, error) {
	sum := sha256.Sum256([]byte(path))
	dir := filepath.Join(os.TempDir(), "telesphore-"+hex.EncodeToString(sum[:8]))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("make the administration socket's directory: %w", err)
	}
	if err := owned(dir); err != nil {
		return "", err
	}
	at := filepath.Join(dir, "admin.sock")
	if err := clear(path, fs.ModeSymlink); err != nil {
		return "", err
	}
	if err := os.Symlink(at, path); err != nil {
		return "", fmt.Errorf("link to the administration socket: %w", err)
	}
	return at, nil
}

// follow returns the short path that stands in for path.
func follow(path string) (string, error) {
	if len(path) <= maxPath {
		return path, nil
	}
	at, err := os.Readlink(path)
	if err != nil {
		return "", err
	}
	return at, owned(filepath.Dir(at))
}

// owned makes sure that dir is a directory which only we can change. Anybody
// may make one under the temporary directory.
func owned(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm()&0o077 != 0 || (os.Getuid() != 0 && int(stat.Uid) != os.Getuid()) {
		return fmt.Errorf("%s: %w", dir, errNotOurs)
	}
	return nil
}

// clear removes what an earlier run left at path, but nothing of another type.
func clear(path string, want fs.FileMode) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for an old administration socket: %w", err)
	}
	if info.Mode().Type() != want {
		return fmt.Errorf("the administration socket cannot stand at %s: something else is there", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the old administration socket: %w", err)
	}
	return nil
}
