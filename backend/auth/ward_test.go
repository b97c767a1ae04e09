package auth

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"telesphore/backend"
	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/storage/storagetest"
	"telesphore/tls"
	"telesphore/tls/tlstest"
)

// A second account, and whom the cards are for.
const (
	colleague      = "cardiologue@hopital.test"
	colleagueRight = "tambour-lisse-olive-58"
	contact        = "moi@dehors.example"
	idMine         = "899700000001"
	idTheirs       = "899700000002"
)

// ward is a lab with a second account, issuers of cards, an audit trail, and what
// owners were told.
type ward struct {
	*lab
	other            storage.AccountID
	persons, offices *tlstest.Issuer
	dir              string // of the store
	trail            string // directory of the audit trail
	disk             *storagetest.Disk
	set              func(*Authenticator) // changes the settings, also after a restart

	mu   sync.Mutex
	told []Notice // guarded by mu
}

func newWard(t testing.TB, set func(*Authenticator)) *ward {
	t.Helper()
	w := &ward{lab: &lab{t: t, log: &bytes.Buffer{}}, dir: t.TempDir(), trail: filepath.Join(t.TempDir(), "audit"), set: set}
	w.persons, w.offices = tlstest.NewIssuer(t, "IGC"), tlstest.NewOrganisations(t, "IGC")
	w.open(t, tlstest.Anchors(t, w.persons, w.offices))
	t.Cleanup(func() {
		if err := w.Audit.Close(); err != nil {
			t.Error(err)
		}
		w.disk.Close(t)
	})
	w.id = w.account(t, right, user, "alias@hopital.test")
	w.other = w.account(t, colleagueRight, colleague)
	return w
}

func (w *ward) open(t testing.TB, anchors *tls.Anchors) {
	t.Helper()
	audit, err := storage.OpenAudit(w.trail, storage.AuditOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.disk = storagetest.Open(t, w.dir, storage.Config{}, body.Options{}, true)
	w.Authenticator = &Authenticator{
		Store: w.disk.Store, Audit: audit, Anchors: anchors, Params: cheap, SCRAM: SCRAMOptions{Off: true},
		Ours:   func(a backend.Address) bool { return a.Domain == "hopital.test" },
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Notify: func(_ context.Context, n *Notice) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told = append(w.told, *n)
			return nil
		},
	}
	if w.set != nil {
		w.set(w.Authenticator)
	}
	w.start()
}

// restart is what a restart of the server does: memory is empty, the disk is not.
func (w *ward) restart(t testing.TB) { w.pause(t, 0) }

// pause stops the server for a while. So long times pass without the store's clocks.
func (w *ward) pause(t testing.TB, d time.Duration) {
	t.Helper()
	if err := w.Audit.Close(); err != nil {
		t.Fatal(err)
	}
	w.disk.Close(t)
	time.Sleep(d)
	w.open(t, w.Anchors)
}

func (w *ward) account(t testing.TB, password string, addresses ...string) storage.AccountID {
	t.Helper()
	phc, err := w.Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	return storagetest.Account(t, w.Store, phc, addresses...)
}

func (w *ward) card(id string, terms tls.Terms) tls.Certificate {
	w.t.Helper()
	terms.Algorithm = tls.ECDSA
	return w.persons.Card(w.t, tls.Person{ID: id, Surname: "EXEMPLE", GivenName: "ROLE", Terms: terms})
}

func (w *ward) office(name string) tls.Certificate {
	w.t.Helper()
	return w.offices.Organisation(w.t, tls.Organisation{
		Unit: "3000000001", Name: name, Org: "HOPITAL", Terms: tls.Terms{Algorithm: tls.ECDSA},
	})
}

// from is a connection to IMAP, with a card or without.
func from(remote string, cards ...tls.Certificate) *Caller {
	c := &Caller{Proto: "imap", Remote: netip.MustParseAddr(remote), ConnID: "c1"}
	c.TLS = tls.Facts{Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256"}
	for _, card := range cards {
		c.TLS.Peer = card.Leaf
	}
	return c
}

const home, abroad = "192.0.2.1", "198.51.100.7"

// acting is an administrator who acts for an account.
func (w *ward) acting(id storage.AccountID) *Principal {
	w.t.Helper()
	var a *storage.Account
	w.view(func(tx *storage.Tx) (err error) {
		a, err = tx.Account(id)
		return err
	})
	return w.Acting(a, "operateur")
}

func (w *ward) view(f func(tx *storage.Tx) error) {
	w.t.Helper()
	if err := w.Store.View(w.t.Context(), f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *ward) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// link links a card to an account, also when it opens another one.
func (w *ward) link(id storage.AccountID, card tls.Certificate) {
	w.t.Helper()
	read, err := w.ReadCard(w.t.Context(), card.Leaf)
	w.must(err)
	w.must(w.LinkCard(w.t.Context(), w.acting(id), read, true))
}

// cards lists what opens the account.
func (w *ward) cards(id storage.AccountID) (cards []storage.Card) {
	w.t.Helper()
	w.view(func(tx *storage.Tx) (err error) {
		cards, err = tx.Cards(id)
		return err
	})
	return cards
}

// notices returns what was told of a kind.
func (w *ward) notices(kind Kind) (list []Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.told {
		if n.Kind == kind {
			list = append(list, n)
		}
	}
	return list
}

// events reads the audit trail.
func (w *ward) events(kind string) (list []storage.Event) {
	w.t.Helper()
	w.must(w.Audit.Sync())
	w.must(storage.ReadAudit(w.trail, func(_ []byte, e *storage.Event) bool {
		if kind == "" || e.Event == kind {
			list = append(list, *e)
		}
		return true
	}))
	return list
}

// outcome is what came of an attempt, in a form that compares.
type outcome struct {
	code  Code // 0 for success
	level int
	who   string
}

func (w *ward) outcome(p *Principal, err error) outcome {
	w.t.Helper()
	if err != nil {
		return outcome{code: codeOf(w.t, err)}
	}
	p.Close()
	return outcome{level: p.Level, who: p.Address}
}

// secret logs in to the first account.
func (w *ward) secret(c *Caller, secret string) outcome {
	w.t.Helper()
	return w.outcome(w.LogIn(w.t.Context(), c, &Attempt{Mech: "PLAIN", User: user, Secret: secret}))
}
