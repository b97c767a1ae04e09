package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// cards is what the card commands share.
type cards struct {
	admin
	certificate string
	also        bool
	expect      string
	life        string
	close       bool
}

func cardCommand() *cobra.Command {
	c := &cards{}
	return c.group("card", "Administer smart cards and organisation certificates",
		`Administer which smart card, or which organisation's certificate, opens which
account. A card is known by its holder's identity, such as IGC|899700218896 (who
issued it, national number), never by one certificate: a renewed card is the same.`,
		c.listCommand(), c.showCommand(), c.linkCommand(), c.unlinkCommand(), c.windowCommand(), c.listsCommand())
}

func (c *cards) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [ADDRESS]",
		Short: "List the cards of one account or of all",
		Example: `  telesphore card list
  telesphore card list medecin@hopital.example --json`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.CardList}
			if len(args) > 0 {
				req.Address = args[0]
			}
			all := []admind.Card{}
			err := c.pages(cmd.Context(), req, func(res *admind.Response) { all = append(all, res.Cards...) })
			if err != nil {
				return err
			}
			return c.write(cmd, all, func(w io.Writer) {
				row(w, "ADDRESS", "IDENTITY", "HOLDER", "KIND", "LINKED", "BY", "VALID UNTIL", "LAST USED")
				for _, k := range all {
					row(w, k.Address, k.Identity, k.Holder, kind(k.Organisation), k.Linked, k.By, k.NotAfter, k.LastUsed)
				}
			})
		},
	}
}

func (c *cards) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show FILE",
		Short: "Tell what the server thinks of a certificate",
		Long: `Tell whose card a certificate is, whether the server would accept it now, and
which accounts it opens. FILE holds it in PEM or DER; a key in it is not read.`,
		Example: `  telesphore card show card.pem`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.CardShow}
			var err error
			if req.Card.Certificate, err = readCertificate(args[0]); err != nil {
				return err
			}
			res, err := c.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			p := res.Certificate
			verdict := "good"
			if p.Reason != "" {
				verdict = "refused: " + p.Reason
			}
			return c.write(cmd, p, func(w io.Writer) {
				row(w, "verdict", verdict)
				if p.Identity != "" {
					row(w, "identity", p.Identity)
					row(w, "holder", p.Holder)
					row(w, "kind", kind(p.Organisation))
					row(w, "opens", joined(p.Accounts, "no account"))
				}
				row(w, "subject", p.Subject)
				row(w, "issuer", p.Issuer)
				row(w, "serial", p.Serial)
				row(w, "valid", when(p.NotBefore)+" to "+when(p.NotAfter))
			})
		},
	}
}

func (c *cards) linkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "link ADDRESS --certificate FILE",
		Short: "Let a card open an account",
		Long: `Let a card open an account, without its first use by the holder. FILE holds the
card's authentication certificate, or an organisation's, in PEM or DER; a key in
it is not read. The holder is told by mail.`,
		Example: `  telesphore card link medecin@hopital.example --certificate card.pem
  telesphore card link imagerie@hopital.example --certificate organisation.pem --also`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.certificate == "" {
				return &usageError{errors.New("name the file of the certificate with --certificate")}
			}
			req := &admind.Request{Op: admind.CardLink, Address: args[0]}
			req.Card.Also = c.also
			var err error
			if req.Card.Certificate, err = readCertificate(c.certificate); err != nil {
				return err
			}
			return c.change(cmd, req, func(p *admind.Account) string {
				return p.Address + " has " + count(len(p.Cards), "card")
			})
		},
	}
	cmd.Flags().StringVar(&c.certificate, "certificate", "", "`file` of the certificate")
	cmd.Flags().BoolVar(&c.also, "also", false, "link it although it opens another account: an organisation's certificate may open several")
	return cmd
}

func (c *cards) unlinkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unlink ADDRESS [IDENTITY]",
		Short: "Stop a card from opening an account",
		Long: `Stop a card from opening an account. Log-ins, grants and application passwords
that rest on it end at once, and no other card can be linked by its first use
before telesphore card window allows it. IDENTITY is needed when there are several.`,
		Example: `  telesphore card unlink medecin@hopital.example
  telesphore card unlink medecin@hopital.example 899700218896`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.CardUnlink, Address: args[0]}
			if len(args) > 1 {
				req.Card.Identity = args[1]
			}
			return c.change(cmd, req, func(p *admind.Account) string {
				return p.Address + " has " + count(len(p.Cards), "card")
			})
		},
	}
}

func (c *cards) windowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "window ADDRESS",
		Short: "Show, open or close the window for a card's first use",
		Long: `A card is linked to an account when it is first used together with the account's
password, if a window is open. Without a flag, show the window. With --expect,
open it for that card alone; with --for and no --expect, open it for whatever
card comes first. It closes when a card has been linked.`,
		Example: `  telesphore card window medecin@hopital.example --expect 899700218896
  telesphore card window medecin@hopital.example --for 14d
  telesphore card window medecin@hopital.example --close`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.AccountShow, Address: args[0]}
			switch opens := c.expect != "" || c.life != ""; {
			case opens && c.close:
				return &usageError{errors.New("--close goes with no other flag")}
			case c.close:
				req.Op = admind.CardClose
			case opens:
				req.Op, req.Card.Expect = admind.CardWindow, c.expect
				var err error
				if req.Card.Life, err = seconds(c.life); err != nil {
					return err
				}
			}
			res, err := c.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			if c.json {
				return writeJSON(cmd, res.Account.Window)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), windowText(res.Account.Window))
			return err
		},
	}
	cmd.Flags().StringVar(&c.expect, "expect", "", "`identity` of the only card that it is for: whole, or the national number alone")
	cmd.Flags().StringVar(&c.life, "for", "", "`time` that it stays open, like 14d or 12h")
	cmd.Flags().BoolVar(&c.close, "close", false, "close it")
	return cmd
}

func (c *cards) listsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lists",
		Short: "Show the state of the revocation lists",
		Long: `Show the revocation lists that the server has of the issuers of cards. While an
issuer's list does not count, none of its cards opens anything.`,
		Example: `  telesphore card lists`,
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := c.ask(cmd.Context(), &admind.Request{Op: admind.CardLists})
			if err != nil {
				return err
			}
			all := append([]admind.List{}, res.Lists...)
			return c.write(cmd, all, func(w io.Writer) {
				row(w, "GROUP", "LIST", "COUNTS", "REVOKED", "MADE", "NEXT", "PROBLEM")
				for _, l := range all {
					counts := "no"
					if l.Current {
						counts = "yes"
					}
					row(w, l.Group, l.Source, counts, l.Entries, l.ThisUpdate, l.NextUpdate, l.Problem)
				}
			})
		},
	}
}

// readCertificate returns the first certificate of a file, in DER. Nothing else
// of the file leaves this process: there may be a key in it.
func readCertificate(path string) ([]byte, error) {
	octets, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	der := octets
	for rest := octets; bytes.Contains(octets, []byte("-----BEGIN ")); {
		block, after := pem.Decode(rest)
		if block == nil {
			return nil, fmt.Errorf("%s has no certificate: name a file in PEM or DER", path)
		}
		if rest = after; block.Type == "CERTIFICATE" {
			der = block.Bytes
			break
		}
	}
	if _, err := x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("%s has no certificate: name a file in PEM or DER (%w)", path, err)
	}
	return der, nil
}

// windowText says which card is linked at its first use.
func windowText(w *admind.Window) string {
	switch {
	case w == nil:
		return "none is linked at its first use: telesphore card window allows it"
	case w.Expect != "" && w.Until.IsZero():
		return "only " + plain(w.Expect) + " is linked at its first use"
	case w.Expect != "":
		return "only " + plain(w.Expect) + " is linked at its first use, until " + when(w.Until)
	}
	return "any is linked at its first use, until " + when(w.Until)
}

// count is a number of things.
func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func kind(organisation bool) string {
	if organisation {
		return "organisation"
	}
	return "person"
}
