package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"telesphore/backend/auth"
	"telesphore/backend/relay"
	"telesphore/storage"
	"telesphore/tls"
)

// The demo's operator, another one of its trust space, and the ordinary Internet.
const (
	demoDomain   = "hopital.test"
	demoPeer     = "clinique.test"
	demoInternet = "perso.test"
)

// What stands in a demo's directory besides the server's own files.
const (
	demoReady     = "demo.json"       // what other programs read; there while the demo is ready
	demoConfig    = "telesphore.toml" // written anew at each start
	demoPasswords = "passwords.json"
	demoOutside   = "outside" // the mail that left for the ordinary Internet
)

// demo is one run of `telesphore demo`.
type demo struct {
	dir      string // absolute
	portBase int
	lang     string
	text     *messages
	trust    *demoTrust
	outside  *outside
}

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try everything on this machine, without any set-up",
		Long: `Start a server on this machine's loopback addresses with made-up accounts and
certificates, and print how to reach it. DIR/demo.json appears when everything
answers; other programs read addresses and passwords there. SIGINT (Ctrl-C) or
SIGTERM stop it.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if d.text, err = language(d.lang); err != nil {
				return &usageError{err}
			}
			if d.portBase < 0 || d.portBase > 65535-29 {
				return &usageError{fmt.Errorf("port base %d is out of range: 0 to %d", d.portBase, 65535-29)}
			}
			return d.run(cmd)
		},
	}
	cmd.Flags().StringVar(&d.dir, "dir", "", "`directory` where everything is kept, found again at the next start; else a new one is made")
	cmd.Flags().IntVar(&d.portBase, "port-base", 0, "`N`: imap, imaps, submission, submissions take the ports N+1 to N+4 in place of 1143, 1993, 1587, 1465")
	cmd.Flags().StringVar(&d.lang, "lang", "en", "`language` of what is printed: fr or en")
	return cmd
}

// run prepares the directory, then serves like any server.
func (d *demo) run(cmd *cobra.Command) error {
	if err := d.directory(); err != nil {
		return err
	}
	lock, err := lockDirectory(d.dir)
	if err != nil {
		return err
	}
	if d.outside, err = newOutside(d.file(demoOutside), d.spare(1)); err != nil {
		return errors.Join(err, lock.Close())
	}
	defer d.outside.Close()
	c, err := d.prepare()
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	s, err := build(cmd.Context(), c, lock)
	if err != nil {
		return err
	}
	accounts, err := d.accounts(cmd.Context(), s)
	if err != nil {
		return errors.Join(err, s.close())
	}
	err = s.serve(cmd.Context(), func() error {
		if err := d.announce(c, s.socketAt, accounts); err != nil {
			return err
		}
		return d.text.table(cmd.OutOrStdout(), c, d.dir, d.file(demoCA), accounts)
	})
	return errors.Join(err, d.retract())
}

// directory finds or makes the demo's directory.
func (d *demo) directory() (err error) {
	if d.dir == "" {
		d.dir, err = os.MkdirTemp("", "telesphore-demo-")
	} else if d.dir, err = filepath.Abs(d.dir); err == nil {
		err = os.MkdirAll(d.dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	return nil
}

func (d *demo) file(name string) string { return filepath.Join(d.dir, name) }

// prepare makes what is missing in the directory, and the configuration.
func (d *demo) prepare() (*Config, error) {
	if err := d.retract(); err != nil { // a run that crashed left it
		return nil, err
	}
	pair, err := d.certificates()
	if err != nil {
		return nil, err
	}
	if d.trust, err = d.cards(); err != nil {
		return nil, err
	}
	c := d.config(pair)
	if err := createMaster(c.Keys.MasterFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	text := "# Written anew at each start of the demo. To change something, copy this file,\n" +
		"# then: telesphore serve --config COPY\n\n" + encode(c.settings())
	if err := writeFile(d.file(demoConfig), []byte(text)); err != nil {
		return nil, err
	}
	return loadConfig(d.file(demoConfig))
}

// config is what the demo promises: see its limits in docs/guide/demo.md.
func (d *demo) config(pair tls.Pair) *Config {
	c := defaultConfig()
	c.Data = d.dir
	c.Hostname = "mail.hopital.localhost"
	c.Domains = []string{demoDomain}
	c.Postmaster = "secretariat@" + demoDomain
	c.Listen.IMAP = d.address(1, 1143)
	c.Listen.IMAPS = d.address(2, 1993)
	c.Listen.Submission = d.address(3, 1587)
	c.Listen.Submissions = d.address(4, 1465)
	c.TLS.Certificates = []tls.Pair{pair}
	c.Language = d.lang
	c.TrustSpace = []string{demoPeer}
	c.Routes = []relay.Route{{Domain: demoInternet, Host: d.outside.Addr(), Security: relay.None}}
	d.trust.configure(&c.Cards)
	c.Log.Level = "warn" // the table is what people look for
	c.IMAP.PerAddress, c.IMAP.PerAccount = 200, 50
	c.SMTP.ConnectionsPerAddress, c.SMTP.ConnectionsPerAccount = 200, 50
	t := &c.Auth.Throttle
	t.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	t.TrustedPerMinute, t.TrustedPerDay = 1000, 1_000_000
	c.resolve(d.dir)
	return c
}

// spare is where the nth thing that is no door listens: wherever there is room,
// unless the ports are given.
func (d *demo) spare(nth int) string {
	port := 0
	if d.portBase > 0 {
		port = d.portBase + 20 + nth
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

// address is where a door listens: the nth port after the base, or its usual one.
func (d *demo) address(nth, usual int) string {
	port := usual
	if d.portBase > 0 {
		port = d.portBase + nth
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

// demoAccount is an account as demo.json tells it.
type demoAccount struct {
	Address  string `json:"address"`
	Password string `json:"password"`
	Card     string `json:"card"` // "linked", "unlinked" or "none"
	OTP      bool   `json:"otp"`
	Contact  string `json:"contact,omitempty"`
	P12      string `json:"p12,omitempty"`
	P12Word  string `json:"p12_password,omitempty"`
	Cert     string `json:"cert,omitempty"`
	Key      string `json:"key,omitempty"`
	role     string
	name     string
}

func demoAccounts() []demoAccount {
	people := []demoAccount{
		{role: "medecin", name: "Médecin généraliste", Card: "unlinked"},
		{role: "cardiologue", name: "Cardiologue", Card: "linked"},
		{role: "infirmier", name: "Infirmier libéral", Card: "linked", OTP: true},
		{role: "secretariat", name: "Secrétariat de cardiologie", Card: "none"},
		{role: "labo", name: "Laboratoire d'analyses", Card: "linked"},
	}
	for i := range people {
		p := &people[i]
		p.Address = p.role + "@" + demoDomain
		if p.Card != "none" && p.role != "labo" {
			p.Contact = p.role + "@" + demoInternet
		}
	}
	return people
}

// secret is what the directory remembers about an account's password. Epoch is
// the account's when the password was set: when it has moved, somebody changed
// the password, and the one that demo.json promises is set again.
type secret struct {
	Password string `json:"password"`
	Epoch    uint32 `json:"epoch"`
}

// accounts makes the accounts that are missing and returns all with their passwords.
func (d *demo) accounts(ctx context.Context, s *server) ([]demoAccount, error) {
	secrets := make(map[string]secret)
	octets, err := os.ReadFile(d.file(demoPasswords))
	if err == nil {
		err = json.Unmarshal(octets, &secrets)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the demo's passwords: %w", err)
	}
	people := demoAccounts()
	for i := range people {
		p := &people[i]
		card, err := d.trust.give(p)
		if err != nil {
			return nil, err
		}
		known, ok := secrets[p.Address]
		if !ok {
			known.Password = s.auth.Generate()
		}
		p.Password = known.Password
		if known.Epoch, err = s.ensureAccount(ctx, p, card, known.Epoch); err != nil {
			return nil, fmt.Errorf("make the account %s: %w", p.Address, err)
		}
		secrets[p.Address] = known
	}
	if octets, err = json.MarshalIndent(secrets, "", "  "); err != nil {
		return nil, fmt.Errorf("encode the demo's passwords: %w", err)
	}
	return people, writeFile(d.file(demoPasswords), octets)
}

// ensureAccount makes the account if need be, gives it the password that it
// should have unless its epoch tells that it has, and returns its epoch.
func (s *server) ensureAccount(ctx context.Context, p *demoAccount, card *auth.Card, epoch uint32) (uint32, error) {
	find := func(tx *storage.Tx) (a *storage.Account, err error) { return tx.AccountByAddress(p.Address) }
	var a *storage.Account
	err := s.store.View(ctx, func(tx *storage.Tx) (err error) { a, err = find(tx); return err })
	if err == nil && a.Epoch == epoch {
		return epoch, nil
	}
	if errors.Is(err, storage.ErrNoAccount) {
		a = &storage.Account{Addresses: []string{p.Address}, Name: p.name, Created: time.Now()}
		if err = s.auth.NewAccount(ctx, a, p.Password, "", demoActor); err == nil {
			err = s.store.Update(ctx, func(tx *storage.Tx) error { return p.strengthen(tx, a.ID, card) })
		}
	} else if err == nil {
		err = s.auth.SetPassword(ctx, s.auth.Acting(a, demoActor), p.Password)
	}
	if err != nil {
		return 0, err
	}
	err = s.store.View(ctx, func(tx *storage.Tx) (err error) { a, err = find(tx); return err })
	if err != nil {
		return 0, err
	}
	return a.Epoch, nil
}

// demoActor is who makes the accounts, in the audit trail.
const demoActor = "demo"

// strengthen gives a new account what it has beside a password. A card that is
// not linked yet is the only one that its first use may link.
func (p *demoAccount) strengthen(tx *storage.Tx, id storage.AccountID, card *auth.Card) error {
	if p.Contact != "" {
		f := &storage.Factor{Contact: p.Contact, CodesOn: p.OTP, Since: time.Now(), By: demoActor}
		if err := tx.PutFactor(id, f); err != nil {
			return err
		}
	}
	switch p.Card {
	case "linked":
		err := tx.PutCard(id, &storage.Card{
			Identity: card.Identity, Organisation: card.Organisation, Holder: card.Holder, By: demoActor,
			Linked: time.Now(), Serial: card.Serial, Issuer: card.Issuer, NotAfter: card.NotAfter,
		})
		return errors.Join(err, tx.PutLinkWindow(id, nil))
	case "unlinked":
		return tx.PutLinkWindow(id, &storage.LinkWindow{Expected: card.Identity, By: demoActor})
	}
	return tx.PutLinkWindow(id, nil)
}

// demoFile is demo.json.
type demoFile struct {
	Operator demoOperator         `json:"operator"`
	CA       string               `json:"ca"`
	Outside  string               `json:"outside"`
	Accounts []demoAccount        `json:"accounts"`
	Cards    map[string]*demoCard `json:"cards"`
}

// demoOperator is how to reach one server.
type demoOperator struct {
	Domain      string `json:"domain"`
	IMAP        string `json:"imap"`
	IMAPS       string `json:"imaps"`
	Submission  string `json:"submission"`
	Submissions string `json:"submissions"`
	AdminSocket string `json:"admin_socket"`
	Config      string `json:"config"`
}

// announce writes demo.json: everything answers.
func (d *demo) announce(c *Config, socket string, accounts []demoAccount) error {
	octets, err := json.MarshalIndent(demoFile{
		Operator: demoOperator{
			Domain: demoDomain,
			IMAP:   c.Listen.IMAP, IMAPS: c.Listen.IMAPS,
			Submission: c.Listen.Submission, Submissions: c.Listen.Submissions,
			AdminSocket: socket, Config: c.path,
		},
		CA:       d.file(demoCA),
		Outside:  d.file(demoOutside),
		Accounts: accounts,
		Cards:    d.trust.bad,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", demoReady, err)
	}
	return writeFile(d.file(demoReady), append(octets, '\n'))
}

// retract removes demo.json: nothing answers any more.
func (d *demo) retract() error {
	if err := os.Remove(d.file(demoReady)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", demoReady, err)
	}
	return nil
}
