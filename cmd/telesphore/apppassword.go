package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// appPasswords is what the app-password commands share.
type appPasswords struct {
	admin
	name    string
	doors   []string
	network string
	life    string
}

func appPasswordCommand() *cobra.Command {
	a := &appPasswords{}
	return a.group("app-password", "Administer application passwords",
		`Administer application passwords: long random ones, each for one program that can
do neither cards nor codes, and each removable by itself.`,
		a.addCommand(), a.listCommand(), a.removeCommand())
}

func (a *appPasswords) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add ADDRESS --name NAME",
		Short: "Make an application password",
		Long: `Make an application password and print it, this once. The account's owner is told
by mail.`,
		Example: `  telesphore app-password add medecin@hopital.example --name "Telephone"
  telesphore app-password add labo@hopital.example --name Analyser --door smtp --network 192.0.2.7 --for 30d`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.name == "" {
				return &usageError{errors.New("say with --name what it is for: it stands in the list")}
			}
			req := &admind.Request{Op: admind.AppPasswordAdd, Address: args[0]}
			p := &req.AppPassword
			p.Name, p.Doors, p.Network = a.name, a.doors, a.network
			var err error
			if p.Life, err = seconds(a.life); err != nil {
				return err
			}
			res, err := a.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd, res)
			}
			made := res.AppPasswords[0]
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "application password %d of %s, until %s: %s\n(it is not shown again)\n",
				made.ID, res.Account.Address, when(made.Expires), res.Password)
			return err
		},
	}
	cmd.Flags().StringVar(&a.name, "name", "", "`name` of the program or device that will use it")
	cmd.Flags().StringSliceVar(&a.doors, "door", nil, "`doors` that it opens, like imap,smtp; else all")
	cmd.Flags().StringVar(&a.network, "network", "", "`network` where it counts, like 192.0.2.0/24; else everywhere")
	cmd.Flags().StringVar(&a.life, "for", "", "`time` that it lives, like 180d; else as long as the server allows")
	return cmd
}

func (a *appPasswords) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list ADDRESS",
		Short:   "List an account's application passwords",
		Example: `  telesphore app-password list medecin@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.ask(cmd.Context(), &admind.Request{Op: admind.AppPasswordList, Address: args[0]})
			if err != nil {
				return err
			}
			all := append([]admind.AppPassword{}, res.AppPasswords...)
			return a.write(cmd, all, func(w io.Writer) {
				row(w, "ID", "NAME", "DOORS", "NETWORK", "LEVEL", "MADE", "UNTIL", "LAST USED", "FROM")
				for _, p := range all {
					network := p.Network
					if network == "" {
						network = "everywhere"
					}
					row(w, p.ID, p.Name, joined(p.Doors, "all"), network, p.Level, p.Created, p.Expires, p.LastUsed, p.LastFrom)
				}
			})
		},
	}
}

func (a *appPasswords) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove ADDRESS ID",
		Short:   "Remove an application password, and end the log-ins that rest on it",
		Example: `  telesphore app-password remove medecin@hopital.example 2`,
		Args:    usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number(args[1])
			if err != nil {
				return err
			}
			req := &admind.Request{Op: admind.AppPasswordRemove, Address: args[0]}
			req.AppPassword.ID = id
			return a.change(cmd, req, func(p *admind.Account) string {
				return fmt.Sprintf("application password %d of %s is removed", id, p.Address)
			})
		},
	}
}
