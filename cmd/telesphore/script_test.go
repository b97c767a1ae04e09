package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"telesphore": main, "crashserver": crashServer})
}

// TestScripts runs the product's behaviour in protocol words: see the commands
// of this package's tests (cmdDemo and the others) and testdata.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			all := make(fleet)
			env.Values["fleet"] = all
			env.Setenv("LANG", "C")
			env.Defer(func() {
				for _, p := range all {
					p.kill()
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"demo": cmdDemo, "serve": cmdServe, "signal": cmdSignal, "stopped": cmdStopped,
			"log": cmdLog, "status": cmdStatus, "talk": cmdTalk,
			"maildir": cmdMaildir, "samemail": cmdSamemail,
		},
	})
}

// cmdTalk is `talk DOOR FILE`: a conversation with a door of the demo. Lines of
// the file, in which $variables are the script's:
//
//	C: text      send a line
//	S: pattern   the next line begins like the regular expression
//	S* pattern   some line to come does
//	TLS          begin TLS, as after STARTTLS
//	SIGNAL n s   send signal s to process n
//	EOF          the server closes the connection
func cmdTalk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: talk DOOR FILE")
	}
	ca, err := os.ReadFile(ts.Getenv("ca"))
	ts.Check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := &conversation{all: ts.Value("fleet").(fleet), tls: &tls.Config{RootCAs: roots, ServerName: "localhost"}}
	ts.Check(c.dial(ts.Getenv(args[0])))
	defer c.close()
	if strings.HasSuffix(args[0], "s") { // imaps, submissions
		c.begin()
	}
	for n, line := range strings.Split(strings.TrimSpace(ts.ReadFile(args[1])), "\n") {
		if err := c.line(os.Expand(line, ts.Getenv)); err != nil {
			ts.Fatalf("%s:%d: %s: %v\n%s", args[1], n+1, line, err, c.said.String())
		}
	}
}

// conversation is one connection to a door.
type conversation struct {
	all  fleet
	tls  *tls.Config
	conn net.Conn
	in   *bufio.Reader
	said strings.Builder // both sides, for the one who looks for a mistake
}

func (c *conversation) dial(address string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return conn.SetDeadline(time.Now().Add(patience))
}

func (c *conversation) begin() {
	c.conn = tls.Client(c.conn, c.tls)
	c.in = bufio.NewReader(c.conn)
}

func (c *conversation) close() { c.conn.Close() }

// line carries out one line of the file.
func (c *conversation) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
		return nil
	case "C:":
		fmt.Fprintf(&c.said, "C: %s\n", rest)
		_, err := io.WriteString(c.conn, rest+"\r\n")
		return err
	case "S:", "S*":
		return c.expect(rest, word == "S*")
	case "TLS":
		c.begin()
		return nil
	case "SIGNAL":
		name, sig, _ := strings.Cut(rest, " ")
		return signalTo(c.all, name, sig)
	case "EOF":
		text, err := io.ReadAll(c.in)
		if len(text) > 0 {
			return fmt.Errorf("the server went on: %q", text)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		return nil // closed, cleanly or not
	}
	return fmt.Errorf("no such line: %s", word)
}

// expect reads the next line, or lines until one matches.
func (c *conversation) expect(pattern string, later bool) error {
	re, err := regexp.Compile("^(?:" + pattern + ")")
	if err != nil {
		return err
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		fmt.Fprintf(&c.said, "S: %s\n", line)
		if re.MatchString(line) {
			return nil
		}
		if !later {
			return fmt.Errorf("the server said %q", line)
		}
	}
}
