package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// library drives a demo with go-imap's and go-smtp's clients.
type library struct {
	*testing.T
	told demoFile
	tls  *tls.Config
}

func startLibrary(t *testing.T) *library {
	t.Helper()
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := startProcess("demo", dir, os.Environ(), "demo", "--dir", dir, "--lang", "en", "--port-base", strconv.Itoa(base))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	if err := p.await("^Ctrl-C"); err != nil {
		t.Fatal(err)
	}
	l := &library{T: t}
	octets, err := os.ReadFile(filepath.Join(dir, demoReady))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(octets, &l.told); err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(l.told.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	l.tls = &tls.Config{RootCAs: roots, ServerName: "localhost"}
	return l
}

func (l *library) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// person returns the account whose local part is name.
func (l *library) person(name string) demoAccount {
	i := slices.IndexFunc(l.told.Accounts, func(a demoAccount) bool { return strings.HasPrefix(a.Address, name+"@") })
	return l.told.Accounts[i]
}

// reader logs name in.
func (l *library) reader(name string, options imapclient.Options) *imapclient.Client {
	l.Helper()
	options.TLSConfig = l.tls
	c, err := imapclient.DialTLS(l.told.Operator.IMAPS, &options)
	l.must(err)
	l.Cleanup(func() { c.Close() })
	a := l.person(name)
	l.must(c.Authenticate(sasl.NewPlainClient("", a.Address, a.Password)))
	return c
}

// send submits a message.
func (l *library) send(from, to, text string) {
	l.Helper()
	c, err := smtp.DialTLS(l.told.Operator.Submissions, l.tls)
	l.must(err)
	defer c.Close()
	a, b := l.person(from), l.person(to)
	l.must(c.Auth(sasl.NewPlainClient("", a.Address, a.Password)))
	l.must(c.SendMail(a.Address, []string{b.Address}, strings.NewReader(text)))
	l.must(c.Quit())
}

// TestLibraries is an afternoon of mail as go-imap's client sees it.
func TestLibraries(t *testing.T) {
	l := startLibrary(t)
	news := make(chan uint32, 16) // how many messages INBOX has
	c := l.reader("labo", imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(data *imapclient.UnilateralDataMailbox) {
			if data.NumMessages != nil {
				news <- *data.NumMessages
			}
		},
	}})
	// The library writes names in UTF-8 wherever IMAP4rev2 is announced, but that
	// takes ENABLE first (RFC 9051 section 6.3.1).
	_, err := c.Enable(imap.CapIMAP4rev2).Wait()
	l.must(err)
	selected, err := c.Select("INBOX", &imap.SelectOptions{CondStore: true}).Wait()
	l.must(err)
	if selected.NumMessages != 0 || selected.HighestModSeq == 0 {
		t.Errorf("a new INBOX: %+v", selected)
	}

	// Mail pushed while the client waits.
	idle, err := c.Idle()
	l.must(err)
	text := "From: medecin@hopital.test\r\nTo: labo@hopital.test\r\nSubject: =?utf-8?q?bonne_nouvelle_=C3=A9t=C3=A9?=\r\n\r\nBonjour.\r\n"
	l.send("medecin", "labo", text)
	for {
		select {
		case n := <-news:
			if n == 1 {
				break
			}
			continue
		case <-time.After(patience):
			t.Fatal("no news of the new message")
		}
		break
	}
	l.must(idle.Close())
	l.must(idle.Wait())

	section := &imap.FetchItemBodySection{Specifier: imap.PartSpecifierText, Peek: true}
	messages, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		Envelope: true, Flags: true, UID: true, ModSeq: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true},
		BodySection: []*imap.FetchItemBodySection{section},
	}).Collect()
	l.must(err)
	m := messages[0]
	if m.Envelope.Subject != "bonne nouvelle été" || m.BodyStructure.MediaType() != "text/plain" || string(m.FindBodySection(section)) != "Bonjour.\r\n" {
		t.Errorf("fetched %+v", m)
	}

	// Filed, flagged, found, moved, thrown away.
	l.must(c.Create("Projets/Été 2026", nil).Wait())
	draft := c.Append("Projets/Été 2026", int64(len(text)), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagDraft, "$Important"}})
	_, err = draft.Write([]byte(text))
	l.must(err)
	l.must(draft.Close())
	appended, err := draft.Wait()
	l.must(err)
	if appended.UID != 1 {
		t.Errorf("appended %+v", appended)
	}
	l.must(c.Store(imap.UIDSetNum(m.UID), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
	found, err := c.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagFlagged}, Text: []string{"Bonjour"}}, nil).Wait()
	l.must(err)
	if uids := found.AllUIDs(); !slices.Equal(uids, []imap.UID{m.UID}) {
		t.Errorf("found %v", uids)
	}
	_, err = c.Move(imap.UIDSetNum(m.UID), "Projets/Été 2026").Wait()
	l.must(err)
	status, err := c.Status("Projets/Été 2026", &imap.StatusOptions{NumMessages: true, NumUnseen: true, Size: true, HighestModSeq: true}).Wait()
	l.must(err)
	if *status.NumMessages != 2 || *status.NumUnseen != 2 || *status.Size <= 2*int64(len(text)) || status.HighestModSeq <= selected.HighestModSeq {
		t.Errorf("status %+v", status)
	}
	l.must(c.Rename("Projets/Été 2026", "Archive/Été", nil).Wait())
	_, err = c.Select("Archive/Été", nil).Wait()
	l.must(err)
	l.must(c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close())
	gone, err := c.UIDExpunge(imap.UIDSetNum(1, 2)).Collect()
	l.must(err)
	if !slices.Equal(gone, []uint32{1}) {
		t.Errorf("expunged %v", gone)
	}
	l.must(c.Logout().Wait())
}
