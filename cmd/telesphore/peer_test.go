package main

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/xml"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	ours "telesphore/tls"
)

// This file is what scripts do with mail servers that are not ours.

// cmdOperator is `operator NAME DOMAIN`: the demo's authority of organisations
// certifies another operator, with an RSA key as in the real world. $NAME_cert and
// $NAME_key are its files. The white list, newer now, has it for the domain.
func cmdOperator(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: operator NAME DOMAIN")
	}
	name, card := args[0], ts.Getenv("operator_cert")
	authority, err := demoAuthority(card, "organisations-ca")
	ts.Check(err)
	subject := pkix.Name{Country: []string{"FR"}, Organization: []string{"Operateur " + name}, CommonName: "mail." + name + ".localhost"}
	certPEM, keyPEM, err := authority.OrganisationCertificate(ours.Organisation{Terms: ours.Terms{Edit: func(c *x509.Certificate) {
		c.RawSubject, c.Subject = nil, subject
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		c.DNSNames = []string{subject.CommonName, "localhost"}
	}}})
	ts.Check(err)
	for part, octets := range map[string][]byte{"cert": certPEM, "key": keyPEM} {
		path := filepath.Join(filepath.Dir(card), "operator-"+name+"-"+part+".pem")
		ts.Check(os.WriteFile(path, octets, 0o600))
		ts.Setenv(name+"_"+part, path)
	}
	ts.Check(enlist(ts.Getenv("whitelist"), listEntry{Domain: args[1], Certificate: subject.String()}))
}

// enlist adds a domain to a white list.
func enlist(file string, entry listEntry) error {
	octets, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var list listXML
	if err := xml.Unmarshal(octets, &list); err != nil {
		return err
	}
	generated, err := time.Parse(time.RFC3339, list.Generated)
	if err != nil {
		return err
	}
	list.Generated = generated.Add(time.Second).Format(time.RFC3339)
	list.Entries = append(list.Entries, entry)
	if octets, err = xml.Marshal(list); err != nil {
		return err
	}
	return os.WriteFile(file, octets, 0o600)
}

// cmdPorts is `ports NAME...`: $NAME_port is a port of 127.0.0.1 that nobody listens at,
// and $NAME the address.
func cmdPorts(ts *testscript.TestScript, neg bool, args []string) {
	base, err := freePorts()
	ts.Check(err)
	for n, name := range args {
		port := strconv.Itoa(base + 1 + n)
		ts.Setenv(name+"_port", port)
		ts.Setenv(name, net.JoinHostPort("127.0.0.1", port))
	}
}

// cmdDaemon is `daemon NAME PROGRAM ARG...`: it starts a program in the background, for
// signal, stopped and log.
func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: daemon NAME PROGRAM ARG...")
	}
	program, err := exec.LookPath(args[1])
	ts.Check(err)
	p, err := startCommand(args[0], &exec.Cmd{Path: program, Args: args[1:], Dir: ts.MkAbs("."), Env: scriptEnv(ts)})
	ts.Check(err)
	ts.Value("fleet").(fleet)[args[0]] = p
	ts.Defer(func() {
		select {
		case <-p.done:
		default:
			// Postfix makes its processes a group: none of them outlives a script that fails.
			syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		}
	})
}

// cmdArrives is `arrives MAILDIR PATTERN FILE`: one message of a maildir matches the
// regular expression, or will soon. FILE gets its octets, with CR LF at the ends of lines. With
// "!" and no FILE: no such message is there.
func cmdArrives(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 && !(neg && len(args) == 2) {
		ts.Fatalf("usage: arrives MAILDIR PATTERN FILE, or ! arrives MAILDIR PATTERN")
	}
	re := regexp.MustCompile("(?m)" + args[1])
	look := time.NewTicker(glance)
	defer look.Stop()
	for begin := time.Now(); ; <-look.C {
		found, err := matching(filepath.Join(ts.MkAbs(args[0]), "new"), re)
		ts.Check(err)
		switch {
		case neg && len(found) == 0:
			return
		case neg || len(found) > 1:
			ts.Fatalf("%d messages in %s with %s", len(found), args[0], args[1])
		case len(found) == 1:
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), bytes.ReplaceAll(found[0], []byte("\n"), []byte("\r\n")), 0o600))
			return
		case time.Since(begin) > patience:
			ts.Fatalf("nothing came to %s with %s", args[0], args[1])
		}
	}
}

// matching returns the files of a folder in whose first 16 KiB something matches.
func matching(folder string, re *regexp.Regexp) (found [][]byte, err error) {
	names, err := filepath.Glob(filepath.Join(folder, "*"))
	for _, name := range names {
		octets, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if re.Match(octets[:min(len(octets), 16<<10)]) {
			found = append(found, octets)
		}
	}
	return found, err
}

// condition answers [root] and [user:NAME] in scripts.
func condition(question string) (bool, error) {
	what, name, _ := strings.Cut(question, ":")
	switch what {
	case "root":
		return os.Geteuid() == 0, nil
	case "user":
		_, err := user.Lookup(name)
		return err == nil, nil
	}
	return false, fmt.Errorf("no such condition: %s", question)
}
