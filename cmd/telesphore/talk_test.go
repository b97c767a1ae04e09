package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdTalk is `talk [-card NAME] [-tls VERSION,...] [-from ADDRESS] [-resume] DOOR,... FILE`:
// a conversation with a door of the demo, or the same one with each of several doors
// and with each of several versions of TLS (1.2, 1.3; the newest if none is named).
// DOOR is imap, imaps, submission, submissions or smtp; peer-imap and so on are the second
// operator's. NAME is a role that has a card, or what demo.json calls one of its bad cards;
// ADDRESS is our own, another of the loopback network's.
// With -resume the TLS session is one of an earlier talk with this door, version and
// card. Lines of the file, in which $variables are the script's:
//
//	OPEN         take the greeting, then STARTTLS at a door that begins in clear
//	C: text      send a line
//	C! "text"    send octets, written as in Go, in which \r\n ends a line
//	S: pattern   the next line begins like the regular expression
//	S* pattern   some line to come does
//	TLS          begin TLS, as after STARTTLS
//	SIGNAL n s   send signal s to process n
//	REVOKE role  put the role's card on the revocation list
//	EOF          the server closes the connection
func cmdTalk(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("talk", flag.ContinueOnError)
	card := flags.String("card", "", "")
	versions := flags.String("tls", "1.3", "")
	from := flags.String("from", "127.0.0.1", "")
	resume := flags.Bool("resume", false, "")
	if err := flags.Parse(args); err != nil || neg || flags.NArg() != 2 {
		ts.Fatalf("usage: talk [-card NAME] [-tls VERSION,...] [-from ADDRESS] [-resume] DOOR,... FILE")
	}
	for door := range strings.SplitSeq(flags.Arg(0), ",") {
		for version := range strings.SplitSeq(*versions, ",") {
			c := &conversation{
				door: door, from: *from, all: ts.Value("fleet").(fleet), getenv: ts.Getenv,
				tls: clientTLS(ts, *card, version),
			}
			c.tls.ClientSessionCache = &sessions{
				all: ts.Value("sessions").(map[string]*tls.ClientSessionState), name: door + " " + version + " " + *card, resume: *resume,
			}
			if n, err := c.run(ts.ReadFile(flags.Arg(1))); err != nil {
				ts.Fatalf("%s:%d: %s, TLS %s: %v\n%s", flags.Arg(1), n, door, version, err, c.said.String())
			}
			if c.resumed() != *resume {
				ts.Fatalf("%s, TLS %s: resumed a session: %v", door, version, !*resume)
			}
		}
	}
}

// clientTLS trusts the demo's authorities, and presents a card unless it is "".
func clientTLS(ts *testscript.TestScript, card, version string) *tls.Config {
	roots := x509.NewCertPool()
	for _, name := range []string{"ca", "operators_ca"} {
		ca, err := os.ReadFile(ts.Getenv(name))
		ts.Check(err)
		roots.AppendCertsFromPEM(ca)
	}
	number, ok := map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[version]
	if !ok {
		ts.Fatalf("no TLS %q: 1.2 or 1.3", version)
	}
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: number, MaxVersion: number}
	if card != "" {
		pair, err := tls.LoadX509KeyPair(ts.Getenv(card+"_cert"), ts.Getenv(card+"_key"))
		ts.Check(err)
		// Certificates would be left out when their authority is not in the server's list.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return config
}

// sessions keeps the TLS sessions of a script, by door, version and card.
type sessions struct {
	all    map[string]*tls.ClientSessionState
	name   string
	resume bool
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(string) (*tls.ClientSessionState, bool) {
	session := s.all[s.name]
	return session, s.resume && session != nil
}

// Put implements tls.ClientSessionCache.
func (s *sessions) Put(_ string, session *tls.ClientSessionState) { s.all[s.name] = session }

// conversation is one connection to a door.
type conversation struct {
	door    string // the variable with its address, in which a hyphen stands for an underscore
	from    string // our address
	answers bool   // we are the server: see cmdAnswer
	all     fleet
	getenv  func(string) string
	tls     *tls.Config
	conn    net.Conn
	in      *bufio.Reader
	said    strings.Builder // both sides, for the one who looks for a mistake
}

// run carries out the lines of a file. It returns the number of the one that failed.
func (c *conversation) run(file string) (int, error) {
	if err := c.dial(c.getenv(strings.ReplaceAll(c.door, "-", "_"))); err != nil {
		return 0, err
	}
	defer c.close()
	return c.lines(file)
}

func (c *conversation) lines(file string) (int, error) {
	for n, line := range strings.Split(strings.TrimSpace(file), "\n") {
		if err := c.line(os.Expand(line, c.getenv)); err != nil {
			return n + 1, fmt.Errorf("%s: %w", line, err)
		}
	}
	return 0, nil
}

func (c *conversation) dial(address string) error {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
	conn, err := from.Dial("tcp", address)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	if c.implicit() {
		c.begin()
	}
	return conn.SetDeadline(time.Now().Add(patience))
}

// implicit says whether the door begins with TLS: imaps, submissions.
func (c *conversation) implicit() bool { return strings.HasSuffix(c.door, "s") }

func (c *conversation) begin() {
	if c.answers {
		c.conn = tls.Server(c.conn, c.tls)
	} else {
		c.conn = tls.Client(c.conn, c.tls)
	}
	c.in = bufio.NewReader(c.conn)
}

func (c *conversation) resumed() bool {
	secure, ok := c.conn.(*tls.Conn)
	return ok && secure.ConnectionState().DidResume
}

func (c *conversation) close() { c.conn.Close() }

// open brings a connection of any door to the same point.
func (c *conversation) open() error {
	lines := []string{`S: (\* OK|220) `}
	if !c.implicit() && strings.Contains(c.door, "imap") {
		lines = append(lines, "C: tls STARTTLS", "S: tls OK", "TLS")
	} else if !c.implicit() {
		lines = append(lines, "C: EHLO here", "S* 250 ", "C: STARTTLS", "S: 220", "TLS")
	}
	for _, line := range lines {
		if err := c.line(line); err != nil {
			return err
		}
	}
	return nil
}

// line carries out one line of the file.
func (c *conversation) line(line string) error {
	we, they := "C", "S"
	if c.answers {
		we, they = they, we
	}
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
		return nil
	case "OPEN":
		return c.open()
	case we + ":":
		return c.say(rest + "\r\n")
	case we + "!":
		octets, err := strconv.Unquote(rest)
		return errors.Join(err, c.say(octets))
	case they + ":", they + "*":
		return c.expect(rest, word == they+"*")
	case "TLS":
		c.begin()
		return nil
	case "SIGNAL":
		name, sig, _ := strings.Cut(rest, " ")
		return signalTo(c.all, name, sig)
	case "REVOKE":
		return revoke(c.getenv(rest + "_cert"))
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

func (c *conversation) say(octets string) error {
	fmt.Fprintf(&c.said, "we: %q\n", octets)
	_, err := io.WriteString(c.conn, octets)
	return err
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
		fmt.Fprintf(&c.said, "they: %s\n", line)
		if re.MatchString(line) {
			return nil
		}
		if !later {
			return fmt.Errorf("they said %q", line)
		}
	}
}
