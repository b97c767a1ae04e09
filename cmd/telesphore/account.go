package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// accounts is what the account commands share.
type accounts struct {
	admin
	passwordStdin bool
	yes           bool
	name          string
	aliases       []string
	quota         string
	card          string
}

func accountCommand() *cobra.Command {
	a := &accounts{}
	return a.group("account", "Administer the accounts of a running server",
		`Administer accounts: who has a mailbox here, and with which password. See also
telesphore card, code, grant, session and app-password.`,
		a.addCommand(), a.listCommand(), a.showCommand(), a.passwordCommand(),
		a.stateCommand("disable", "Refuse log-ins to an account; mail still arrives", admind.AccountDisable),
		a.stateCommand("enable", "Allow log-ins to an account again", admind.AccountEnable),
		a.deleteCommand())
}

// passwordFlag adds --password-stdin.
func (a *accounts) passwordFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.passwordStdin, "password-stdin", false, "read the password from the first line of standard input; else one is made and printed once")
}

func (a *accounts) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Create an account",
		Long: `Create an account. The first card that is used together with its password is
linked to it: only the one that --card names, or within some days any card. See
telesphore card window.`,
		Example: `  telesphore account add medecin@hopital.example --name "Service de cardiologie"
  telesphore account add medecin@hopital.example --card 899700218896
  pass show medecin | telesphore account add medecin@hopital.example --password-stdin`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.AccountAdd, Address: args[0], Name: a.name, Aliases: a.aliases}
			req.Card.Expect = a.card
			if a.quota != "" {
				var quota Size
				if err := quota.UnmarshalText([]byte(a.quota)); err != nil {
					return &usageError{err}
				}
				req.Quota = int64(quota)
			}
			return a.withPassword(cmd, req, "created")
		},
	}
	cmd.Flags().StringVar(&a.name, "name", "", "the person's `name`, shown to people")
	cmd.Flags().StringSliceVar(&a.aliases, "alias", nil, "a further `address` of the account; may be repeated")
	cmd.Flags().StringVar(&a.quota, "quota", "", "`size` that its messages may have together, like 10GiB; else the server's default")
	cmd.Flags().StringVar(&a.card, "card", "", "`identity` or national number of the card that the person will use; else the first one that comes")
	a.passwordFlag(cmd)
	return cmd
}

func (a *accounts) passwordCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "password ADDRESS",
		Short: "Set a new password",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withPassword(cmd, &admind.Request{Op: admind.AccountPassword, Address: args[0]}, "has a new password")
		},
	}
	a.passwordFlag(cmd)
	return cmd
}

// withPassword sends a request that sets a password and tells the one that was made.
func (a *accounts) withPassword(cmd *cobra.Command, req *admind.Request, done string) error {
	if a.passwordStdin {
		var err error
		if req.Password, err = readLine(bufio.NewReader(cmd.InOrStdin()), "password"); err != nil {
			return err
		}
	}
	res, err := a.ask(cmd.Context(), req)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(cmd, res)
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s %s\n", res.Account.Address, done)
	if res.Password != "" {
		fmt.Fprintf(out, "password: %s\n(it is not shown again)\n", res.Password)
	}
	if req.Op == admind.AccountAdd {
		fmt.Fprintf(out, "card: %s\n", windowText(res.Account.Window))
	}
	return nil
}

func (a *accounts) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := []admind.Account{}
			err := a.pages(cmd.Context(), &admind.Request{Op: admind.AccountList}, func(res *admind.Response) {
				all = append(all, res.Accounts...)
			})
			if err != nil {
				return err
			}
			return a.write(cmd, all, func(w io.Writer) {
				row(w, "ADDRESS", "STATE", "MESSAGES", "SIZE", "LAST LOG-IN", "NAME")
				for _, p := range all {
					row(w, p.Address, p.State, p.Messages, people(p.Octets), p.LastLogin, p.Name)
				}
			})
		},
	}
}

func (a *accounts) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show one account",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.ask(cmd.Context(), &admind.Request{Op: admind.AccountShow, Address: args[0]})
			if err != nil {
				return err
			}
			p := res.Account
			quota := "the server's default"
			if p.Quota > 0 {
				quota = people(p.Quota)
			}
			return a.write(cmd, p, func(w io.Writer) {
				row(w, "address", p.Address)
				row(w, "aliases", strings.Join(p.Aliases, ", "))
				row(w, "name", p.Name)
				row(w, "state", p.State)
				row(w, "messages", fmt.Sprintf("%d in %d mailboxes, %s", p.Messages, p.Mailboxes, people(p.Octets)))
				row(w, "quota", quota)
				row(w, "created", p.Created)
				row(w, "last log-in", p.LastLogin)
				row(w, "second factor", codesText(p.Codes))
				for _, c := range p.Cards {
					row(w, "card", fmt.Sprintf("%s (%s), valid until %s", c.Identity, c.Holder, when(c.NotAfter)))
				}
				row(w, "next card", windowText(p.Window))
			})
		},
	}
}

func (a *accounts) stateCommand(use, short string, op admind.Op) *cobra.Command {
	return &cobra.Command{
		Use:   use + " ADDRESS",
		Short: short,
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.change(cmd, &admind.Request{Op: op, Address: args[0]}, func(p *admind.Account) string {
				return fmt.Sprintf("%s is %s", p.Address, p.State)
			})
		},
	}
}

func (a *accounts) deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete ADDRESS",
		Short: "Delete an account and make its mail unreadable for ever",
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !a.yes {
				fmt.Fprintf(cmd.ErrOrStderr(), "All mail of %s becomes unreadable at once and for ever. Type the address again to go on: ", args[0])
				line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if strings.TrimSpace(line) != args[0] {
					return errors.Join(errors.New("nothing was deleted: type the same address, or give --yes"), ignoreEOF(err))
				}
			}
			if _, err := a.ask(cmd.Context(), &admind.Request{Op: admind.AccountDelete, Address: args[0]}); err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd, struct{}{})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is deleted\n", args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&a.yes, "yes", false, "do not ask for confirmation")
	return cmd
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// people writes a number of octets the way people read it.
func people(octets int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if size := int64(1) << (40 - 10*i); octets >= size {
			return fmt.Sprintf("%.1f %s", float64(octets)/float64(size), unit)
		}
	}
	return fmt.Sprintf("%d B", octets)
}
