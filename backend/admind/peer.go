package admind

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// errStranger is a caller who is neither the server's user nor root.
var errStranger = errors.New("admind: caller runs as another user")

// allowed asks the kernel who is calling (SO_PEERCRED, unix(7)): the server's
// own user and root are welcome. The file's mode alone would not hold in a
// moment when an administrator widens it by mistake.
// It returns the caller's user ID.
func allowed(conn net.Conn) (uid uint32, err error) {
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("admind: %T is not a Unix socket", conn)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("ask who is calling: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("ask who is calling: %w", err)
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Getuid() {
		return 0, fmt.Errorf("uid %d, process %d: %w", cred.Uid, cred.Pid, errStranger)
	}
	return cred.Uid, nil
}
