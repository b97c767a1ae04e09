package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// codes is what the code commands share.
type codes struct {
	admin
	contact string
	begin   bool
	confirm bool
}

func codeCommand() *cobra.Command {
	c := &codes{}
	return c.group("code", "Administer one-time codes",
		`Administer the second factor of accounts: a code sent to an address outside this
server, or one that an authenticator program shows, is typed at once behind the
password. Like a card, it makes a log-in strong.`,
		c.statusCommand(), c.onCommand(), c.confirmCommand(), c.offCommand(), c.totpCommand())
}

func (c *codes) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "status ADDRESS",
		Short:   "Show an account's second factor",
		Example: `  telesphore code status medecin@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := c.ask(cmd.Context(), &admind.Request{Op: admind.AccountShow, Address: args[0]})
			if err != nil {
				return err
			}
			p := res.Account.Codes
			return c.write(cmd, p, func(w io.Writer) {
				row(w, "second factor", codesText(p))
				if p.Contact != "" {
					row(w, "contact address", p.Contact)
				}
				if p.Proving != "" {
					row(w, "to be confirmed", p.Proving)
				}
				if p.On || p.TOTP {
					row(w, "since", p.Since)
					row(w, "switched on by", p.By)
				}
				if p.TOTP {
					row(w, "recovery codes left", p.Recovery)
				}
				row(w, "wrong codes today", p.Wrong)
			})
		},
	}
}

func (c *codes) onCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "on ADDRESS --contact OUTSIDE",
		Short: "Begin to switch codes on, or to change the contact address",
		Long: `Send a first code to an address outside this server, which proves that the
account's owner reads mail there. Nothing changes before telesphore code confirm.`,
		Example: `  telesphore code on medecin@hopital.example --contact medecin@perso.example
  telesphore code confirm medecin@hopital.example 12345678`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.contact == "" {
				return &usageError{errors.New("name the address that codes are to be sent to with --contact")}
			}
			req := &admind.Request{Op: admind.CodeOn, Address: args[0]}
			req.Code.Contact = c.contact
			return c.change(cmd, req, func(p *admind.Account) string {
				return fmt.Sprintf("a code was sent to %s: telesphore code confirm %s CODE", plain(c.contact), p.Address)
			})
		},
	}
	cmd.Flags().StringVar(&c.contact, "contact", "", "`address` outside this server that codes are sent to")
	return cmd
}

func (c *codes) confirmCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm ADDRESS CODE",
		Short: "Switch codes on with the first code",
		Long: `Switch codes on with the code that telesphore code on has sent. From then on a
log-in takes a code behind the password, or a card. Log-ins under way end.`,
		Example: `  telesphore code confirm medecin@hopital.example 12345678`,
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.CodeConfirm, Address: args[0]}
			req.Code.Code = args[1]
			return c.change(cmd, req, func(p *admind.Account) string {
				return p.Address + ": " + codesText(p.Codes)
			})
		},
	}
}

func (c *codes) offCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "off ADDRESS",
		Short: "Switch codes off",
		Long: `Switch codes off, those of an authenticator program too. The password alone opens
the account again, as far as the policy for its domain allows. Grants end.`,
		Example: `  telesphore code off medecin@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd, &admind.Request{Op: admind.CodeOff, Address: args[0]}, func(p *admind.Account) string {
				return p.Address + ": " + codesText(p.Codes)
			})
		},
	}
}

func (c *codes) totpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "totp ADDRESS",
		Short: "Take codes from an authenticator program instead of mail",
		Long: `Print a secret for an authenticator program, as text and as an otpauth URI, then
read from standard input the first code that the program shows. Recovery codes
are printed once: each opens the account once when the program is lost.

In scripts, --begin prints the secret and ends; --confirm reads the secret and,
on the next line, the code. Neither stands on the command line, where other
programs could see it.`,
		Example: `  telesphore code totp medecin@hopital.example
  telesphore code totp medecin@hopital.example --begin --json
  printf '%s\n%s\n' "$secret" "$code" | telesphore code totp medecin@hopital.example --confirm`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.begin && c.confirm {
				return &usageError{errors.New("give either --begin or --confirm")}
			}
			return c.totp(cmd, args[0])
		},
	}
	cmd.Flags().BoolVar(&c.begin, "begin", false, "only print a secret: nothing changes")
	cmd.Flags().BoolVar(&c.confirm, "confirm", false, "only confirm: read the secret and a code, one a line")
	return cmd
}

// totp goes through both steps, or one of them.
func (c *codes) totp(cmd *cobra.Command, address string) error {
	in := bufio.NewReader(cmd.InOrStdin())
	var secret string
	if c.confirm {
		var err error
		if secret, err = readLine(in, "secret"); err != nil {
			return err
		}
	} else {
		res, err := c.ask(cmd.Context(), &admind.Request{Op: admind.TOTPBegin, Address: address})
		if err != nil {
			return err
		}
		secret = res.TOTP.Secret
		err = c.write(cmd, res.TOTP, func(w io.Writer) {
			row(w, "secret", res.TOTP.Secret)
			row(w, "URI", res.TOTP.URI)
		})
		if err != nil || c.begin {
			return err
		}
		fmt.Fprint(cmd.ErrOrStderr(), "Code that the program shows: ")
	}
	code, err := readLine(in, "code")
	if err != nil {
		return err
	}
	req := &admind.Request{Op: admind.TOTPConfirm, Address: address}
	req.Code.Secret, req.Code.Code = secret, code
	res, err := c.ask(cmd.Context(), req)
	if err != nil {
		return err
	}
	return c.write(cmd, res.TOTP, func(w io.Writer) {
		row(w, res.Account.Address+": "+codesText(res.Account.Codes))
		row(w, "recovery codes (they are not shown again):")
		for _, code := range res.TOTP.Recovery {
			row(w, "  "+code)
		}
	})
}

// codesText says what the second factor is.
func codesText(p *admind.Codes) string {
	switch {
	case p.TOTP:
		return "codes of an authenticator program"
	case p.On:
		return "codes sent to " + plain(p.Contact)
	}
	return "none"
}
