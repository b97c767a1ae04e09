package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"telesphore/tls"
)

// The demo's two operators, each in the other's trust space, and the ordinary Internet.
const (
	demoDomain   = "hopital.test"
	demoPeer     = "clinique.test"
	demoInternet = "perso.test"
)

// What stands in a demo's directory besides the first server's own files.
const (
	demoReady   = "demo.json" // what other programs read; there while the demo is ready
	demoPeerDir = "peer"      // the second server's own files
	demoOutside = "outside"   // the mail that left for the ordinary Internet
)

// demoLastPort is how far from the port base the last port may lie that a demo uses.
const demoLastPort = 29

// demo is one run of `telesphore demo`: two servers, and what they share.
type demo struct {
	dir      string // absolute
	portBase int
	lang     string
	text     *demoText
	first    *operator
	peer     *operator
	pair     tls.Pair // the certificate of both, for clients
	trust    *demoTrust
	outside  *outside
	list     *listServer
	dns      *demoDNS
}

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Try everything on this machine, without any set-up",
		Long: `Start the servers of two operators, hopital.test and clinique.test, on this
machine's loopback addresses with made-up accounts and certificates, and print how
to reach them. DIR/demo.json appears when everything answers; other programs read
addresses and passwords there. SIGINT (Ctrl-C) or SIGTERM stop both.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if d.text, err = language(d.lang); err != nil {
				return &usageError{err}
			}
			if d.portBase < 0 || d.portBase > 65535-demoLastPort {
				return &usageError{fmt.Errorf("port base %d is out of range: 0 to %d", d.portBase, 65535-demoLastPort)}
			}
			return d.run(cmd)
		},
	}
	cmd.Flags().StringVar(&d.dir, "dir", "", "`directory` where everything is kept, found again at the next start; else a new one is made")
	cmd.Flags().IntVar(&d.portBase, "port-base", 0, "`N`: imap, imaps, submission, submissions, smtp take the ports N+1 to N+5 in place of 1143, 1993, 1587, 1465, 1025; those of clinique.test N+11 to N+15 in place of 11143, 11993, 11587, 11465, 11025")
	cmd.Flags().StringVar(&d.lang, "lang", "en", "`language` of what is printed: fr or en")
	return cmd
}

// run prepares the directory, then serves like any server, twice.
func (d *demo) run(cmd *cobra.Command) error {
	if err := d.start(cmd.Context()); err != nil {
		return errors.Join(err, d.close())
	}
	err := d.serve(cmd.Context(), func() error {
		if err := d.announce(); err != nil {
			return err
		}
		return d.text.table(cmd.OutOrStdout(), d)
	})
	return errors.Join(err, d.retract(), d.close())
}

// start makes everything up to the point where serve can answer. What it did
// before an error is close's to undo.
func (d *demo) start(ctx context.Context) (err error) {
	if err := d.directory(); err != nil {
		return err
	}
	for _, o := range d.operators() {
		if o.lock, err = lockDirectory(o.dir); err != nil {
			return err
		}
	}
	if err := d.world(); err != nil {
		return err
	}
	for _, o := range d.operators() {
		if err := o.configure(); err != nil {
			return err
		}
		if err := o.open(ctx); err != nil {
			return fmt.Errorf("%s: %w", o.domain, err)
		}
	}
	return nil
}

// world makes or finds what operators need of the world around them, and has it answer.
func (d *demo) world() (err error) {
	if d.outside, err = newOutside(d.file(demoOutside), d.spare(1)); err != nil {
		return err
	}
	if err := d.prepare(); err != nil {
		return err
	}
	if d.list, err = newListServer(d.file(demoWhiteList), d.spare(2), d.pair); err != nil {
		return err
	}
	d.dns, err = d.zones(d.spare(3))
	return err
}

// serve answers at the doors of both until ctx ends or one of them fails, which
// stops the other. ready is called when every door of both answers.
func (d *demo) serve(ctx context.Context, ready func() error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	operators := d.operators()
	var waiting atomic.Int32
	waiting.Store(int32(len(operators)))
	errs := make([]error, len(operators))
	var servers sync.WaitGroup
	for i, o := range operators {
		servers.Go(func() {
			defer stop()
			err := o.server.serve(ctx, func() error {
				if waiting.Add(-1) > 0 {
					return nil
				}
				return ready()
			})
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", o.domain, err)
			}
		})
	}
	servers.Wait()
	return errors.Join(errs...)
}

// close gives back what start took.
func (d *demo) close() error {
	var errs []error
	for _, o := range d.operators() {
		errs = append(errs, o.close())
	}
	if d.outside != nil {
		_ = d.outside.Close() // connections that were cut off are nobody's loss
	}
	if d.list != nil {
		errs = append(errs, d.list.Close())
	}
	if d.dns != nil {
		errs = append(errs, d.dns.Close())
	}
	return errors.Join(errs...)
}

// operators are those that directory has placed.
func (d *demo) operators() []*operator {
	if d.first == nil {
		return nil
	}
	return []*operator{d.first, d.peer}
}

// directory finds or makes the demo's directory, and says where each operator is at home.
func (d *demo) directory() (err error) {
	if d.dir == "" {
		d.dir, err = os.MkdirTemp("", "telesphore-demo-")
	} else if d.dir, err = filepath.Abs(d.dir); err == nil {
		err = os.MkdirAll(d.dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make the demo's directory: %w", err)
	}
	d.first = &operator{
		demo: d, domain: demoDomain, host: "mail.hopital.localhost", postmaster: "secretariat",
		name: "Hôpital de démonstration", unit: "1990000001", dir: d.dir,
	}
	d.peer = &operator{
		demo: d, domain: demoPeer, host: "mail.clinique.localhost", postmaster: "pharmacie",
		name: "Clinique de démonstration", unit: "1990000002", dir: d.file(demoPeerDir), after: 10, beyond: 10_000,
	}
	d.first.other, d.peer.other = d.peer, d.first
	return nil
}

func (d *demo) file(name string) string { return filepath.Join(d.dir, name) }

// prepare makes what is missing of the things that the operators share.
func (d *demo) prepare() (err error) {
	if err := d.retract(); err != nil { // a run that crashed left it
		return err
	}
	if d.pair, err = d.certificates(); err != nil {
		return err
	}
	if d.trust, err = d.cards(); err != nil {
		return err
	}
	for _, o := range d.operators() {
		if o.card, err = d.trust.operatorCard(o); err != nil {
			return err
		}
		if err := o.signingKeys(); err != nil {
			return err
		}
	}
	return d.listTrust()
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

// demoFile is demo.json.
type demoFile struct {
	Operator  demoOperator         `json:"operator"`
	Peer      demoOperator         `json:"peer"`
	CA        string               `json:"ca"`
	PeersCA   string               `json:"operators_ca"` // signed what the smtp doors show
	Outside   string               `json:"outside"`
	DNS       string               `json:"dns"`
	WhiteList string               `json:"whitelist"` // the file; operators fetch it from whitelist_url
	ListURL   string               `json:"whitelist_url"`
	Accounts  []demoAccount        `json:"accounts"`
	Cards     map[string]*demoCard `json:"cards"`
}

// demoOperator is how to reach one server.
type demoOperator struct {
	Domain      string `json:"domain"`
	IMAP        string `json:"imap"`
	IMAPS       string `json:"imaps"`
	Submission  string `json:"submission"`
	Submissions string `json:"submissions"`
	SMTP        string `json:"smtp"`
	Cert        string `json:"cert"` // what it shows to the other operator, and its key
	Key         string `json:"key"`
	AdminSocket string `json:"admin_socket"`
	Config      string `json:"config"`
}

// announce writes demo.json: everything answers.
func (d *demo) announce() error {
	octets, err := json.MarshalIndent(demoFile{
		Operator:  d.first.told(),
		Peer:      d.peer.told(),
		CA:        d.file(demoCA),
		PeersCA:   d.trust.organisations.file,
		Outside:   d.file(demoOutside),
		DNS:       d.dns.Addr(),
		WhiteList: d.file(demoWhiteList),
		ListURL:   d.list.URL(),
		Accounts:  d.accounts(),
		Cards:     d.trust.bad,
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", demoReady, err)
	}
	return writeFile(d.file(demoReady), append(octets, '\n'))
}

// accounts are those of both operators.
func (d *demo) accounts() []demoAccount { return slices.Concat(d.first.accounts, d.peer.accounts) }

// retract removes demo.json: nothing answers any more.
func (d *demo) retract() error {
	if err := os.Remove(d.file(demoReady)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", demoReady, err)
	}
	return nil
}
