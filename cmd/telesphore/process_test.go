package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience is how long a test waits for what should come soon.
const patience = 30 * time.Second

// process is a telesphore, or another program, that runs in the background.
type process struct {
	cmd  *exec.Cmd
	name string
	done chan struct{} // closed when it has ended and its output is read
	err  error         // how it ended; read after done

	mu    sync.Mutex    // guards what follows
	lines []string      // standard output and error
	more  chan struct{} // closed at the next line
}

// startProcess runs telesphore with args in dir.
func startProcess(name, dir string, env []string, args ...string) (*process, error) {
	return startProgram(name, dir, env, append([]string{"telesphore"}, args...)...)
}

// startProgram runs one of the programs that this test can be: see TestMain.
func startProgram(name, dir string, env []string, args ...string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startCommand(name, &exec.Cmd{Path: program, Args: args, Dir: dir, Env: env})
}

// startCommand runs any program.
func startCommand(name string, cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, name: name, done: make(chan struct{}), more: make(chan struct{})}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	if err := errors.Join(p.cmd.Start(), in.Close()); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	go func() {
		defer close(p.done)
		defer out.Close()
		s := bufio.NewScanner(out)
		for s.Scan() {
			p.add(s.Text())
		}
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.more)
	p.more = make(chan struct{})
}

// await returns when the process has written a line that matches.
func (p *process) await(pattern string) error {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	timeout := time.After(patience)
	for {
		p.mu.Lock()
		more := p.more
		for _, line := range p.lines {
			if re.MatchString(line) {
				p.mu.Unlock()
				return nil
			}
		}
		p.mu.Unlock()
		select {
		case <-more:
		case <-p.done:
			return fmt.Errorf("%s ended: %v\n%s", p.name, p.err, p.output())
		case <-timeout:
			return fmt.Errorf("%s did not write %s:\n%s", p.name, pattern, p.output())
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// wait returns how the process ended, which it does within limit.
func (p *process) wait(limit time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(limit):
		return fmt.Errorf("%s did not stop within %v", p.name, limit)
	}
}

// kill ends the process at once.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// freePorts finds a base whose next ports nobody listens at, for demos that run
// at the same time. It looks below the range from which Linux takes the ports of
// outgoing connections, so that none of those comes between.
func freePorts() (int, error) {
	const first, last = 10_000, 32_768
	for range 1000 {
		if base := first + (demoLastPort+1)*rand.IntN((last-first)/(demoLastPort+1)); allFree(base) {
			return base, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row", demoLastPort)
}

func allFree(base int) bool {
	for n := 1; n <= demoLastPort; n++ {
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+n))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}

// fleet is the processes of one script, by name.
type fleet map[string]*process

// scriptEnv is what a process of a script finds in its environment.
func scriptEnv(ts *testscript.TestScript) []string {
	env := os.Environ()
	for _, name := range []string{"HOME", "TMPDIR", "LANG", "WORK"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// cmdDemo is `demo DIR [ARG...]`: it starts a demo with a free port base, or
// with $base when the script has set it, and waits until it is ready. It sets
// $base, $ca, $operators_ca, $outside, $whitelist, $config, $socket, the doors' addresses ($imap ...), the files
// by which other operators know it ($operator_cert, $operator_key), the second operator's ($peer_config, $peer_imap ...), and for each account its address ($medecin_address ...), its door ($medecin_imaps), its password ($medecin), a SASL PLAIN response ($medecin_plain), and
// the files of its card ($medecin_cert, $medecin_key; $revoked_cert and so on too).
func cmdDemo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: demo DIR [ARG...]")
	}
	base := ts.Getenv("base")
	if base == "" {
		n, err := freePorts()
		ts.Check(err)
		base = strconv.Itoa(n)
		ts.Setenv("base", base)
	}
	dir := ts.MkAbs(args[0])
	p, err := startProcess(args[0], ts.MkAbs("."), scriptEnv(ts), append([]string{"demo", "--dir", dir, "--port-base", base}, args[1:]...)...)
	ts.Check(err)
	ts.Value("fleet").(fleet)[args[0]] = p
	ts.Check(p.await(`^Ctrl-C`))
	octets, err := os.ReadFile(filepath.Join(dir, demoReady))
	ts.Check(err)
	ts.Check(tell(ts, octets))
}

// tell sets the script's variables from demo.json.
func tell(ts *testscript.TestScript, octets []byte) error {
	var told demoFile
	if err := json.Unmarshal(octets, &told); err != nil {
		return err
	}
	ts.Setenv("ca", told.CA)
	ts.Setenv("operators_ca", told.PeersCA)
	ts.Setenv("outside", told.Outside)
	ts.Setenv("whitelist", told.WhiteList)
	for prefix, o := range map[string]*demoOperator{"": &told.Operator, "peer_": &told.Peer} {
		for name, value := range map[string]string{
			"imap": o.IMAP, "imaps": o.IMAPS, "submission": o.Submission, "submissions": o.Submissions, "smtp": o.SMTP,
			"operator_cert": o.Cert, "operator_key": o.Key, "config": o.Config, "socket": o.AdminSocket,
		} {
			ts.Setenv(prefix+name, value)
			if _, port, err := net.SplitHostPort(value); err == nil {
				ts.Setenv(prefix+name+"_port", port)
			}
		}
	}
	for _, a := range told.Accounts {
		local, domain, _ := strings.Cut(a.Address, "@")
		if domain == demoPeer {
			ts.Setenv(local+"_imaps", told.Peer.IMAPS)
		} else {
			ts.Setenv(local+"_imaps", told.Operator.IMAPS)
		}
		ts.Setenv(local+"_address", a.Address)
		ts.Setenv(local, a.Password)
		ts.Setenv(local+"_plain", base64.StdEncoding.EncodeToString([]byte("\x00"+a.Address+"\x00"+a.Password)))
		ts.Setenv(local+"_cert", a.Cert)
		ts.Setenv(local+"_key", a.Key)
	}
	for name, card := range told.Cards {
		ts.Setenv(name+"_cert", card.Cert)
		ts.Setenv(name+"_key", card.Key)
	}
	return nil
}

// cmdServe is `serve CONFIG`: it starts a server and waits until it is ready.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: serve CONFIG")
	}
	p, err := startProcess(args[0], ts.MkAbs("."), scriptEnv(ts), "serve", "--config", args[0])
	ts.Check(err)
	ts.Value("fleet").(fleet)[args[0]] = p
	ts.Check(p.await(`msg=ready`))
}

// cmdSignal is `signal NAME TERM|INT|HUP|KILL`.
func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signal NAME TERM|INT|HUP|KILL")
	}
	ts.Check(signalTo(ts.Value("fleet").(fleet), args[0], args[1]))
}

func signalTo(all fleet, name, sig string) error {
	p := all[name]
	number, ok := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt, "HUP": syscall.SIGHUP, "KILL": os.Kill}[sig]
	if p == nil || !ok {
		return fmt.Errorf("no process %s or no signal %s", name, sig)
	}
	return p.cmd.Process.Signal(number)
}

// cmdStopped is `stopped NAME`: the process ends by itself within the ten seconds
// that a clean stop may take, with exit status 0; with "!" another way.
func cmdStopped(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("fleet").(fleet)[args[0]]
	err := p.wait(10 * time.Second)
	ts.Logf("[%s]\n%s", p.name, p.output())
	if !neg {
		ts.Check(err)
	} else if err == nil {
		ts.Fatalf("%s ended with exit status 0", p.name)
	}
}

// cmdLog is `log NAME PATTERN`: the process writes such a line, or with "!" it
// has not written one so far.
func cmdLog(ts *testscript.TestScript, neg bool, args []string) {
	p := ts.Value("fleet").(fleet)[args[0]]
	if !neg {
		ts.Check(p.await(args[1]))
	} else if regexp.MustCompile(args[1]).MatchString(p.output()) {
		ts.Fatalf("%s has written %s:\n%s", p.name, args[1], p.output())
	}
}

// cmdStatus is `status N COMMAND...`: the command ends with exit status N. Its
// output can be read with grep from the files out and err.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	program, err := os.Executable()
	ts.Check(err)
	cmd := &exec.Cmd{Path: program, Args: args[1:], Dir: ts.MkAbs("."), Env: scriptEnv(ts)}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), []byte(out.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("err"), []byte(errs.String()), 0o600))
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit status %s, want %s\n%s%s", got, args[0], out.String(), errs.String())
	}
}
