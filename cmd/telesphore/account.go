package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// accounts is what the account commands share: flags, streams, the server.
type accounts struct {
	config        string
	json          bool
	passwordStdin bool
	yes           bool
	name          string
	aliases       []string
	quota         string
}

func accountCommand() *cobra.Command {
	a := &accounts{}
	group := group("account", "Administer the accounts of a running server",
		a.addCommand(), a.listCommand(), a.showCommand(), a.passwordCommand(),
		a.stateCommand("disable", "Refuse log-ins to an account; mail still arrives", admind.AccountDisable),
		a.stateCommand("enable", "Allow log-ins to an account again", admind.AccountEnable),
		a.deleteCommand())
	group.Long = `Administer the accounts of a running server, which is found through its
configuration. Only root and the user whom the server runs as may do so.`
	configFlag(group, &a.config)
	jsonFlag(group, &a.json)
	return group
}

// passwordFlag adds --password-stdin.
func (a *accounts) passwordFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.passwordStdin, "password-stdin", false, "read the password from the first line of standard input; else one is made and printed once")
}

func (a *accounts) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add ADDRESS",
		Short: "Create an account",
		Example: `  telesphore account add medecin@hopital.example --name "Service de cardiologie"
  pass show medecin | telesphore account add medecin@hopital.example --password-stdin`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.AccountAdd, Address: args[0], Name: a.name, Aliases: a.aliases}
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
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the password: %w", err)
		}
		req.Password = strings.TrimRight(line, "\r\n")
		if req.Password == "" {
			return errors.New("standard input has no password on its first line")
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
	return nil
}

func (a *accounts) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := []admind.Account{}
			err := a.call(cmd.Context(), func(c *admind.Client) error {
				req := &admind.Request{Op: admind.AccountList}
				for {
					res, err := c.Do(cmd.Context(), req)
					if err != nil {
						return err
					}
					all = append(all, res.Accounts...)
					if res.Next == 0 {
						return nil
					}
					req.After = res.Next
				}
			})
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd, all)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ADDRESS\tSTATE\tMESSAGES\tSIZE\tLAST LOG-IN\tNAME")
			for i := range all {
				p := &all[i]
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", p.Address, p.State, p.Messages, people(p.Octets), lastLogin(p), p.Name)
			}
			return w.Flush()
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
			if a.json {
				return writeJSON(cmd, res.Account)
			}
			p := res.Account
			quota := "the server's default"
			if p.Quota > 0 {
				quota = people(p.Quota)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "address\t%s\n", p.Address)
			fmt.Fprintf(w, "aliases\t%s\n", strings.Join(p.Aliases, ", "))
			fmt.Fprintf(w, "name\t%s\n", p.Name)
			fmt.Fprintf(w, "state\t%s\n", p.State)
			fmt.Fprintf(w, "messages\t%d in %d mailboxes, %s\n", p.Messages, p.Mailboxes, people(p.Octets))
			fmt.Fprintf(w, "quota\t%s\n", quota)
			fmt.Fprintf(w, "created\t%s\n", p.Created.Local().Format(time.DateTime))
			fmt.Fprintf(w, "last log-in\t%s\n", lastLogin(p))
			return w.Flush()
		},
	}
}

func (a *accounts) stateCommand(use, short string, op admind.Op) *cobra.Command {
	return &cobra.Command{
		Use:   use + " ADDRESS",
		Short: short,
		Args:  usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.ask(cmd.Context(), &admind.Request{Op: op, Address: args[0]})
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd, res.Account)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", res.Account.Address, res.Account.State)
			return nil
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

// ask sends one request to the running server.
func (a *accounts) ask(ctx context.Context, req *admind.Request) (res *admind.Response, err error) {
	err = a.call(ctx, func(c *admind.Client) error {
		res, err = c.Do(ctx, req)
		return err
	})
	return res, err
}

// call reaches the running server of the configuration.
func (a *accounts) call(ctx context.Context, f func(*admind.Client) error) error {
	c, err := loadConfig(a.config)
	if err != nil {
		return err
	}
	client, err := admind.Dial(ctx, c.AdminSocket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no server answers at %s: start it with telesphore serve --config %s", c.AdminSocket, a.config)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s is closed to you: run this command as root or as the user of the server", c.AdminSocket)
	}
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

func writeJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func lastLogin(a *admind.Account) string {
	if a.LastLogin == nil {
		return "never"
	}
	return a.LastLogin.Local().Format(time.DateTime)
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
