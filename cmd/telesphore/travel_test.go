package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-msgauth/dkim"
	"github.com/rogpeppe/go-internal/testscript"

	ours "telesphore/tls"
)

// This file is what scripts do with mail that goes from server to server.

// glance is how often a script looks whether something has happened.
const glance = 50 * time.Millisecond

// cmdAwait is `await PATTERN COMMAND...`: the command is run until its standard output
// matches the regular expression; stdout and set read the last one.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: await PATTERN COMMAND...")
	}
	re := regexp.MustCompile("(?m)" + args[0])
	look := time.NewTicker(2 * glance)
	defer look.Stop()
	for begin := time.Now(); ; <-look.C {
		err := ts.Exec(args[1], args[2:]...)
		if err == nil && re.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Since(begin) > patience {
			ts.Fatalf("%s never said %s: %v\n%s", args[1], args[0], err, ts.ReadFile("stdout"))
		}
	}
}

// cmdArrived is `arrived ROLE PATTERN [FILE]`: INBOX of the role has one message that
// matches the regular expression, or will have it soon. FILE gets its octets; in what
// is matched lines end with LF. "!": no such message is there.
func cmdArrived(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && (neg || len(args) != 3) {
		ts.Fatalf("usage: [!] arrived ROLE PATTERN [FILE]")
	}
	re := regexp.MustCompile("(?m)" + args[1])
	c, err := imapclient.DialTLS(ts.Getenv(args[0]+"_imaps"), &imapclient.Options{TLSConfig: clientTLS(ts, "", "1.3")})
	ts.Check(err)
	defer c.Close()
	ts.Check(c.Login(ts.Getenv(args[0]+"_address"), ts.Getenv(args[0])).Wait())
	look := time.NewTicker(glance)
	defer look.Stop()
	for begin := time.Now(); ; <-look.C {
		all, err := inbox(c)
		ts.Check(err)
		var found [][]byte
		for _, octets := range all {
			if re.Match(bytes.ReplaceAll(octets, []byte("\r\n"), []byte("\n"))) {
				found = append(found, octets)
			}
		}
		switch {
		case neg && len(found) == 0:
			return
		case neg || len(found) > 1:
			ts.Fatalf("%d messages for %s with %s", len(found), args[0], args[1])
		case len(found) == 1 && len(args) == 3:
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), found[0], 0o600))
			return
		case len(found) == 1:
			return
		case time.Since(begin) > patience:
			ts.Fatalf("%s got nothing with %s, but:\n%s", args[0], args[1], bytes.Join(all, []byte("\n====\n")))
		}
	}
}

// inbox returns the messages of INBOX.
func inbox(c *imapclient.Client) (all [][]byte, err error) {
	selected, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil || selected.NumMessages == 0 {
		return nil, err
	}
	section := &imap.FetchItemBodySection{Peek: true}
	messages, err := c.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	for _, m := range messages {
		all = append(all, m.FindBodySection(section))
	}
	return all, err
}

// cmdSamebody is `samebody SENT ARRIVED`: what follows the headers of two messages is
// the same octets; in SENT lines may end with LF.
func cmdSamebody(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] samebody SENT ARRIVED")
	}
	sent := strings.ReplaceAll(strings.ReplaceAll(ts.ReadFile(args[0]), "\r\n", "\n"), "\n", "\r\n")
	_, want, _ := strings.Cut(sent, "\r\n\r\n")
	_, got, ok := strings.Cut(ts.ReadFile(args[1]), "\r\n\r\n")
	if same := ok && got == want; same == neg {
		ts.Fatalf("the bodies of %s (%d octets) and %s (%d octets) are the same: %v", args[0], len(want), args[1], len(got), same)
	}
}

// cmdSigned is `signed FILE CONFIG`: a message carries one good DKIM signature of each
// key of a configuration, and no other.
func cmdSigned(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] signed FILE CONFIG")
	}
	_, keys, err := (&signing{config: ts.MkAbs(args[1])}).records()
	ts.Check(err)
	err = verify(ts.ReadFile(args[0]), keys)
	if !neg {
		ts.Check(err)
	} else if err == nil {
		ts.Fatalf("the signatures are good")
	}
}

// verify checks the signatures of a message.
func verify(octets string, keys []keyRecord) error {
	published := make(map[string]string)
	for _, k := range keys {
		published[strings.TrimSuffix(k.Name, ".")] = k.Value
	}
	found, err := dkim.VerifyWithOptions(strings.NewReader(octets), &dkim.VerifyOptions{
		LookupTXT: func(name string) ([]string, error) {
			value, ok := published[strings.TrimSuffix(name, ".")]
			if !ok {
				return nil, fmt.Errorf("there is no key %s", name)
			}
			return []string{value}, nil
		},
	})
	if err == nil && len(found) != len(keys) {
		err = fmt.Errorf("%d signatures, %d keys", len(found), len(keys))
	}
	for _, v := range found {
		err = errors.Join(err, v.Err)
	}
	return err
}

// cmdPretend is `pretend NAME CARD good|revoked|expired|foreign|other`: $NAME_cert and
// $NAME_key are a new certificate with the name of an organisation's: a good one, one that its list
// revokes, one that is over, one of an authority that nobody knows, or one with another common name.
func cmdPretend(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pretend NAME CARD good|revoked|expired|foreign|other")
	}
	name, card, kind := args[0], ts.Getenv(args[1]+"_cert"), args[2]
	leaf, err := parseCertificate([]byte(ts.ReadFile(card)))
	ts.Check(err)
	issuer := "organisations-ca"
	if kind == "foreign" {
		issuer = "foreign-ca"
	}
	authority, err := demoAuthority(card, issuer)
	ts.Check(err)
	terms := demoTerms()
	if kind == "expired" {
		terms.NotAfter = time.Now().Add(-time.Hour)
	}
	terms.Edit = func(c *x509.Certificate) {
		c.RawSubject, c.ExtKeyUsage, c.DNSNames, c.IPAddresses = leaf.RawSubject, leaf.ExtKeyUsage, leaf.DNSNames, leaf.IPAddresses
		if kind == "other" {
			c.RawSubject, c.Subject = nil, leaf.Subject
			c.Subject.CommonName = "other." + leaf.Subject.CommonName
		}
	}
	certPEM, keyPEM, err := authority.OrganisationCertificate(ours.Organisation{Terms: terms})
	ts.Check(err)
	path := filepath.Join(filepath.Dir(card), "pretended-"+name)
	ts.Check(errors.Join(os.WriteFile(path+".pem", certPEM, 0o600), os.WriteFile(path+".key", keyPEM, 0o600)))
	ts.Setenv(name+"_cert", path+".pem")
	ts.Setenv(name+"_key", path+".key")
	if kind == "revoked" {
		ts.Check(revoke(path + ".pem"))
	}
}

// cmdAnswer is `answer DOOR CARD FILE`: in the place of a server, which is down, the
// script answers the next connection to its door, in the background. The lines of the file are
// those of talk, seen from the other side: "S: text" and "S! octets" are sent, "C: pattern" and "C*
// pattern" awaited; TLS begins with the certificate CARD.
func cmdAnswer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: answer DOOR CARD FILE")
	}
	pair, err := tls.LoadX509KeyPair(ts.Getenv(args[1]+"_cert"), ts.Getenv(args[1]+"_key"))
	ts.Check(err)
	ln, err := net.Listen("tcp", ts.Getenv(strings.ReplaceAll(args[0], "-", "_")))
	ts.Check(err)
	c := &conversation{
		answers: true, all: ts.Value("fleet").(fleet), getenv: ts.Getenv,
		tls: &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert},
	}
	file, done := ts.ReadFile(args[2]), make(chan error, 1)
	ts.Value("answers").(map[string]chan error)[args[0]] = done
	ts.Defer(func() { ln.Close() })
	go func() { done <- c.answer(ln, file) }()
}

// answer has the conversation with whoever comes next.
func (c *conversation) answer(ln net.Listener, file string) (err error) {
	c.conn, err = ln.Accept()
	if err = errors.Join(err, ln.Close()); err != nil {
		return err
	}
	defer c.close()
	c.in = bufio.NewReader(c.conn)
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if n, err := c.lines(file); err != nil {
		return fmt.Errorf("line %d: %w\n%s", n, err, c.said.String())
	}
	return nil
}

// cmdAnswered is `answered DOOR`: the conversation that answer began has gone as it should.
func cmdAnswered(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: answered DOOR")
	}
	select {
	case err := <-ts.Value("answers").(map[string]chan error)[args[0]]:
		ts.Check(err)
	case <-time.After(patience):
		ts.Fatalf("nobody came to %s", args[0])
	}
}
