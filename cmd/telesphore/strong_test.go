package main

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"telesphore/tls"
)

// This file is what scripts do with cards and codes.

// cmdBase64 is `base64 VAR TEXT`: $VAR is TEXT in base64, in which \0 is a NUL. So
// `base64 x \0ADDRESS\0PASSWORD` makes a response of SASL PLAIN.
func cmdBase64(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: base64 VAR TEXT")
	}
	ts.Setenv(args[0], base64.StdEncoding.EncodeToString([]byte(strings.ReplaceAll(args[1], `\0`, "\x00"))))
}

// cmdSet is `set VAR PATTERN`: $VAR is what the group of the regular expression
// matched in the standard output of the last exec.
func cmdSet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: set VAR PATTERN")
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("no group of %s in the last output", args[1])
	}
	ts.Setenv(args[0], found[1])
}

// cmdCode is `code ROLE VAR`: it waits for the next mail with a code to the role's
// contact address outside, and sets $VAR to the code. "!" and no VAR: none has come
// since the last one.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && !(neg && len(args) == 1) {
		ts.Fatalf("usage: [!] code ROLE [VAR]")
	}
	read := ts.Value("read").(map[string]string)
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	timeout := time.After(patience)
	for {
		name, code, err := nextCode(ts.Getenv("outside"), args[0], read[args[0]])
		ts.Check(err)
		switch {
		case neg && code == "":
			return
		case neg:
			ts.Fatalf("a code was sent: %s", name)
		case code != "":
			read[args[0]] = filepath.Base(name)
			ts.Setenv(args[1], code)
			return
		}
		select {
		case <-look.C:
		case <-timeout:
			ts.Fatalf("no code came for %s", args[0])
		}
	}
}

// nextCode finds the first mail with a code in a folder that came later than the file
// named after: names begin with the time.
func nextCode(folder, role, after string) (name, code string, err error) {
	names, err := filepath.Glob(filepath.Join(folder, "*-"+role+"@"+demoInternet+".eml")) // sorted
	if err != nil {
		return "", "", err
	}
	for _, name := range names {
		if filepath.Base(name) <= after {
			continue
		}
		octets, err := os.ReadFile(name)
		if err != nil {
			return "", "", err
		}
		if found := regexp.MustCompile(`(?m)^(\d{8})\r?$`).FindSubmatch(octets); found != nil {
			return name, string(found[1]), nil
		}
	}
	return "", "", nil
}

// cmdRenew gives a role a new card of a longer life: renew ROLE.
func cmdRenew(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: renew ROLE")
	}
	cert, key := ts.Getenv(args[0]+"_cert"), ts.Getenv(args[0]+"_key")
	authority, err := personsAuthority(cert)
	ts.Check(err)
	p := demoPerson(args[0])
	p.NotBefore, p.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(4, 0, 0)
	certPEM, keyPEM, err := authority.Card(p)
	ts.Check(err)
	ts.Check(errors.Join(os.WriteFile(cert, certPEM, 0o600), os.WriteFile(key, keyPEM, 0o600)))
}

// personsAuthority reads the demo's authority of persons' cards, which lies beside them.
func personsAuthority(card string) (*tls.Authority, error) { return demoAuthority(card, "persons-ca") }

// demoAuthority reads one of the demo's authorities, which lie beside the cards.
func demoAuthority(card, name string) (*tls.Authority, error) {
	cert, err := os.ReadFile(filepath.Join(filepath.Dir(card), name+".pem"))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(filepath.Dir(card), name+".key"))
	if err != nil {
		return nil, err
	}
	return tls.ParseAuthority(cert, key)
}

// revoke signs a newer list than the demo's, with one card more, given by its
// file. A server reads it at SIGHUP.
func revoke(card string) error {
	octets, err := os.ReadFile(card)
	if err != nil {
		return err
	}
	leaf, err := parseCertificate(octets)
	if err != nil {
		return err
	}
	name := "persons-ca"
	authority, err := demoAuthority(card, name)
	if err == nil && leaf.CheckSignatureFrom(authority.Certificate) != nil {
		name = "organisations-ca"
		authority, err = demoAuthority(card, name)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(filepath.Dir(card), name+".crl")
	if octets, err = os.ReadFile(file); err != nil {
		return err
	}
	list, err := x509.ParseRevocationList(octets)
	if err != nil {
		return fmt.Errorf("read the revocation list: %w", err)
	}
	now := time.Now()
	der, err := authority.RevocationList(&x509.RevocationList{
		Number: new(big.Int).Add(list.Number, big.NewInt(1)), ThisUpdate: now, NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: leaf.SerialNumber, RevocationTime: now}),
	})
	if err != nil {
		return err
	}
	return os.WriteFile(file, der, 0o600)
}
