package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// grants is what the grant and session commands share.
type grants struct {
	admin
	all bool
}

func grantCommand() *cobra.Command {
	g := &grants{}
	return g.group("grant", "Administer the grants that codes have earned",
		`A password with a code behind it, once accepted, may be used again from the same
network for some hours: mail programs store it and log in often. That right is a
grant.`,
		g.listCommand(), g.revokeCommand())
}

func (g *grants) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list ADDRESS",
		Short:   "List an account's grants",
		Example: `  telesphore grant list medecin@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := g.ask(cmd.Context(), &admind.Request{Op: admind.GrantList, Address: args[0]})
			if err != nil {
				return err
			}
			all := append([]admind.Grant{}, res.Grants...)
			return g.write(cmd, all, func(w io.Writer) {
				row(w, "ID", "NETWORK", "DOOR", "MECHANISM", "FACTOR", "SINCE", "LAST USED", "UNTIL", "STATE")
				for _, x := range all {
					state := "good"
					if x.Over {
						state = "over"
					}
					row(w, x.ID, x.Network, x.Door, x.Mech, x.Factor, x.Created, x.LastUsed, x.Until, state)
				}
			})
		},
	}
}

func (g *grants) revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ADDRESS ID|--all",
		Short: "End a grant, and the log-ins that rest on it",
		Example: `  telesphore grant revoke medecin@hopital.example 3
  telesphore grant revoke medecin@hopital.example --all`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if g.all == (len(args) > 1) {
				return &usageError{errors.New("name one grant by its ID, or give --all")}
			}
			req := &admind.Request{Op: admind.GrantRevoke, Address: args[0]}
			req.Grant.All = g.all
			done := "all grants are revoked"
			if !g.all {
				var err error
				if req.Grant.ID, err = number(args[1]); err != nil {
					return err
				}
				done = fmt.Sprintf("grant %d is revoked", req.Grant.ID)
			}
			return g.change(cmd, req, func(p *admind.Account) string { return p.Address + ": " + done })
		},
	}
	cmd.Flags().BoolVar(&g.all, "all", false, "end all of them")
	return cmd
}

func sessionCommand() *cobra.Command {
	g := &grants{}
	return g.group("session", "Show open log-ins",
		`Show who is logged in at this moment.`, g.sessionsCommand())
}

func (g *grants) sessionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list ADDRESS",
		Short:   "List an account's open log-ins",
		Example: `  telesphore session list medecin@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := g.ask(cmd.Context(), &admind.Request{Op: admind.SessionList, Address: args[0]})
			if err != nil {
				return err
			}
			all := append([]admind.Session{}, res.Sessions...)
			return g.write(cmd, all, func(w io.Writer) {
				row(w, "DOOR", "MECHANISM", "LEVEL", "FROM", "SINCE", "BY")
				for _, x := range all {
					row(w, x.Door, x.Mech, x.Level, x.Remote, x.Since, x.Via)
				}
			})
		},
	}
}

// number reads an ID of the command line.
func number(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, &usageError{fmt.Errorf("%q is no ID: it is a number in the list", text)}
	}
	return uint32(n), nil
}
