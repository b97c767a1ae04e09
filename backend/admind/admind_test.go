package admind_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/storage/storagetest"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start serves at path until the test ends and returns the server, which edit has
// changed before, and where it listens.
func start(t *testing.T, path string, limits admind.Limits, edit ...func(*admind.Server)) (*admind.Server, string) {
	t.Helper()
	store := storagetest.New(t)
	s := &admind.Server{
		Store:  store,
		Router: &backend.Router{Store: store, Domains: []string{"hopital.test"}},
		Auth:   &auth.Authenticator{Store: store, Params: auth.Params{Memory: 64, Time: 1, Lanes: 1}, Logger: quiet()},
		Limits: limits,
		Log:    quiet(),
	}
	for _, f := range edit {
		f(s)
	}
	ln, at, err := admind.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(context.Background(), ln) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, at
}

// dialogue sends lines and compares what comes back, line by line: "…" in an
// expected line stands for anything.
func dialogue(t *testing.T, at string, lines ...[2]string) {
	t.Helper()
	conn, err := net.Dial("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	r := bufio.NewReader(conn)
	for _, l := range lines {
		if _, err := io.WriteString(conn, l[0]+"\n"); err != nil {
			t.Fatal(err)
		}
		got, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("after %s: %v", l[0], err)
		}
		if !like(strings.TrimSuffix(got, "\n"), l[1]) {
			t.Errorf("%s\n got %s want %s", l[0], got, l[1])
		}
	}
}

func like(got, want string) bool {
	parts := strings.Split(want, "…")
	if !strings.HasPrefix(got, parts[0]) {
		return false
	}
	got = got[len(parts[0]):]
	for i, p := range parts[1:] {
		at := strings.Index(got, p)
		if at < 0 || i == len(parts)-2 && !strings.HasSuffix(got, p) {
			return false
		}
		got = got[at+len(p):]
	}
	return len(parts) > 1 || got == ""
}

func TestLifeOfAnAccount(t *testing.T) {
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits())
	dialogue(t, at,
		[2]string{`{"op":"account.list"}`, `{}`},
		[2]string{`{"op":"account.add","address":"Medecin@Hopital.test","name":"Cardiologie","aliases":["cardio@hopital.test"]}`,
			`{"account":{"id":1,"address":"medecin@hopital.test","aliases":["cardio@hopital.test"],"name":"Cardiologie","state":"active",…"password":"…-…-…"}`},
		[2]string{`{"op":"account.add","address":"labo@hopital.test","password":"noix lune 4821 tram","quota":1048576}`,
			`{"account":{"id":2,"address":"labo@hopital.test","state":"active",…"quota":1048576,…}}`},
		[2]string{`{"op":"account.list"}`, `{"accounts":[{"id":1,…},{"id":2,…}]}`},
		[2]string{`{"op":"account.list","after":1}`, `{"accounts":[{"id":2,…}]}`},
		[2]string{`{"op":"account.show","address":"cardio@hopital.test"}`, `{"account":{"id":1,…"octets":0,"messages":0,"mailboxes":6,"window":{"until":"…","by":"uid …"},"codes":{"on":false}}}`},
		[2]string{`{"op":"account.disable","address":"labo@hopital.test"}`, `{"account":{…"state":"disabled",…}}`},
		[2]string{`{"op":"account.enable","address":"labo@hopital.test"}`, `{"account":{…"state":"active",…}}`},
		[2]string{`{"op":"account.password","address":"labo@hopital.test","password":"dune 59 violon gris"}`, `{"account":{"id":2,…}}`},
		[2]string{`{"op":"account.password","address":"labo@hopital.test"}`, `{"account":{"id":2,…},"password":"…"}`},
		[2]string{`{"op":"account.delete","address":"labo@hopital.test"}`, `{}`},
		[2]string{`{"op":"account.show","address":"labo@hopital.test"}`, `{"error":{"code":"no_such_account",…}}`},
	)
}

func TestRefusals(t *testing.T) {
	limits := admind.DefaultLimits()
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), limits)
	code := func(c admind.Code) string { return fmt.Sprintf(`{"error":{"code":%q,"text":"…"}}`, c) }
	dialogue(t, at,
		[2]string{`{"op":"account.add","address":"medecin@hopital.test"}`, `{"account":…}`},
		[2]string{`{"op":"account.add","address":"MEDECIN@hopital.test"}`, code(admind.AddressTaken)},
		[2]string{`{"op":"account.add","address":"medecin@ferme.test"}`, code(admind.BadAddress)},
		[2]string{`{"op":"account.add","address":"\"a b\"@hopital.test"}`, code(admind.BadAddress)},
		[2]string{`{"op":"account.add","address":"postmaster"}`, code(admind.BadAddress)},
		[2]string{`{"op":"account.add","address":"a@hopital.test","password":"short"}`, code(admind.WeakPassword)},
		[2]string{`{"op":"account.add","address":"a@hopital.test","password":"passwordpassword"}`, code(admind.WeakPassword)},
		[2]string{`{"op":"account.add","address":"a@hopital.test","name":"a\u0000b"}`, code(admind.BadRequest)},
		[2]string{`{"op":"account.add","address":"a@hopital.test","quota":-1}`, code(admind.BadRequest)},
		[2]string{`{"op":"account.show","address":"a@hopital.test"}`, code(admind.NoSuchAccount)},
		[2]string{`{"op":"account.delete","address":"a@hopital.test"}`, code(admind.NoSuchAccount)},
		[2]string{`{"op":"account.password","address":"a@hopital.test"}`, code(admind.NoSuchAccount)},
		[2]string{`{"op":"account.show"}`, code(admind.BadRequest)},
		[2]string{`{"op":"account.burn","address":"a@hopital.test"}`, code(admind.BadRequest)},
		[2]string{`{"op":"account.show","adress":"a@hopital.test"}`, code(admind.BadRequest)},
		[2]string{`{"op":"account.list"}{"op":"account.list"}`, code(admind.BadRequest)},
		[2]string{`not json`, code(admind.BadRequest)},
		[2]string{``, code(admind.BadRequest)},
		[2]string{`{"op":"account.list","name":"` + strings.Repeat("x", int(limits.Line)) + `"}`, code(admind.BadRequest)},
	)
}

func TestListGoesOnPageByPage(t *testing.T) {
	limits := admind.DefaultLimits()
	limits.Page = 2
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), limits)
	for _, name := range []string{"a", "b", "c"} {
		dialogue(t, at, [2]string{`{"op":"account.add","address":"` + name + `@hopital.test"}`, `{"account":…}`})
	}
	dialogue(t, at,
		[2]string{`{"op":"account.list"}`, `{"accounts":[{"id":1,…},{"id":2,…}],"next":2}`},
		[2]string{`{"op":"account.list","after":2}`, `{"accounts":[{"id":3,…}]}`})
}

func TestCallersAreCounted(t *testing.T) {
	limits := admind.DefaultLimits()
	limits.Connections = 1
	_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), limits)
	first, err := admind.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := first.Do(t.Context(), &admind.Request{Op: admind.AccountList}); err != nil {
		t.Fatal(err)
	}
	second, err := admind.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	var refused *admind.Error
	if _, err := second.Do(t.Context(), &admind.Request{Op: admind.AccountList}); err == nil {
		t.Error("a caller too many was served")
	} else if errors.As(err, &refused) && refused.Code != admind.Busy {
		t.Errorf("got %v", refused.Code)
	}
}

func TestShutdownEndsIdleCallers(t *testing.T) {
	s, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits())
	c, err := admind.Dial(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Do(t.Context(), &admind.Request{Op: admind.AccountList}); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), &admind.Request{Op: admind.AccountList}); err == nil {
		t.Error("an answer after Shutdown")
	}
	if _, err := os.Lstat(at); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestStrangerIsRefused calls as another user, which only root can do; the file
// is opened to everybody, so that the kernel's word alone decides.
func TestStrangerIsRefused(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("only root can call as somebody else")
		return
	}
	dir, err := os.MkdirTemp("/tmp", "admind")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	_, at := start(t, filepath.Join(dir, "admin.sock"), admind.DefaultLimits())
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(at, 0o666)); err != nil {
		t.Fatal(err)
	}
	result := make(chan error)
	go func() {
		// The thread becomes somebody else for good: it ends with this goroutine.
		runtime.LockOSThread()
		const keep, nobody = ^uintptr(0), 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, nobody, keep); errno != 0 {
			result <- errno
			return
		}
		c, err := admind.Dial(context.Background(), at)
		if err != nil {
			result <- err
			return
		}
		defer c.Close()
		_, err = c.Do(context.Background(), &admind.Request{Op: admind.AccountList})
		result <- err
	}()
	if err := <-result; !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a stranger got %v", err)
	}
}

func TestSocket(t *testing.T) {
	t.Run("private", func(t *testing.T) {
		_, at := start(t, filepath.Join(t.TempDir(), "admin.sock"), admind.DefaultLimits())
		info, err := os.Lstat(at)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("mode %v", info.Mode())
		}
	})
	t.Run("long path", func(t *testing.T) {
		t.Setenv("TMPDIR", "/tmp")
		dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "admin.sock")
		_, at := start(t, path, admind.DefaultLimits())
		t.Cleanup(func() { os.Remove(filepath.Dir(at)) })
		if len(at) > 107 || at == path {
			t.Errorf("listens at %s", at)
		}
		c, err := admind.Dial(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Do(t.Context(), &admind.Request{Op: admind.AccountList}); err != nil {
			t.Fatal(err)
		}
		// Somebody who may write there could stand between us and the server.
		if err := os.Chmod(filepath.Dir(at), 0o770); err != nil {
			t.Fatal(err)
		}
		if c, err := admind.Dial(t.Context(), path); err == nil {
			c.Close()
			t.Error("a directory open to others was trusted")
		}
	})
	t.Run("left behind", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "admin.sock")
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
		if _, err := admind.Dial(t.Context(), path); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a dead socket: %v", err)
		}
		start(t, path, admind.DefaultLimits())
	})
	t.Run("something else", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "admin.sock")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := admind.Listen(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		for _, path := range []string{filepath.Join(t.TempDir(), "admin.sock"), filepath.Join(t.TempDir(), strings.Repeat("d", 120), "admin.sock")} {
			if _, err := admind.Dial(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}
