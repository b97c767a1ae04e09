package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// aliases is what the alias commands share.
type aliases struct {
	admin
	name    string
	from    string
	members []string
}

func aliasCommand() *cobra.Command {
	a := &aliases{}
	return a.group("alias", "Administer aliases and distribution lists",
		`Administer aliases: addresses without a mailbox that stand for others, one or many.
Their members are addresses of accounts, or of other aliases, of this server.
Further addresses of one account are made with telesphore account add --alias.`,
		a.addCommand(), a.listCommand(), a.showCommand(), a.memberCommand(), a.changeCommand(),
		a.stateCommand("disable", "Take no mail for an alias", "disabled"),
		a.stateCommand("enable", "Take mail for an alias again", "active"),
		a.deleteCommand())
}

// describeFlags adds --name and --from.
func (a *aliases) describeFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.name, "name", "", "the `name` of the list, shown to people")
	cmd.Flags().StringVar(&a.from, "from", "", "`who` may write to it: everyone, domain (whoever has an account here) or members")
}

func (a *aliases) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add ADDRESS --member ADDRESS",
		Short: "Create an alias",
		Long: `Create an alias. Everyone may write to it unless --from says otherwise. A message
to it arrives once in each mailbox, whatever number of ways lead there.`,
		Example: `  telesphore alias add cardiologie@hopital.example --member medecin@hopital.example --member infirmier@hopital.example
  telesphore alias add tous@hopital.example --name "All staff" --from domain --member cardiologie@hopital.example,labo@hopital.example`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(a.members) == 0 {
				return &usageError{errors.New("say with --member whom it stands for")}
			}
			req := &admind.Request{Op: admind.AliasAdd, Address: args[0], Name: a.name}
			req.Alias = admind.AliasRequest{Add: a.members, From: a.from}
			return a.edit(cmd, req, "created")
		},
	}
	a.describeFlags(cmd)
	cmd.Flags().StringSliceVar(&a.members, "member", nil, "`address` that it stands for; may be repeated")
	return cmd
}

// edit sends a request that changes an alias and says so in one line.
func (a *aliases) edit(cmd *cobra.Command, req *admind.Request, done string) error {
	res, err := a.ask(cmd.Context(), req)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(cmd, res.Alias)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s, mail from %s\n", res.Alias.Address, done, counted(res.Alias.Count), res.Alias.From)
	return err
}

// counted is a number of members for people.
func counted(members int) string {
	if members == 1 {
		return "1 member"
	}
	return fmt.Sprintf("%d members", members)
}

func (a *aliases) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the aliases",
		Example: `  telesphore alias list --json`,
		Args:    usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all := []admind.Alias{}
			err := a.call(cmd.Context(), func(c *admind.Client) error {
				for req := (&admind.Request{Op: admind.AliasList}); ; {
					res, err := c.Do(cmd.Context(), req)
					if err != nil {
						return err
					}
					all = append(all, res.Aliases...)
					if !res.More {
						return nil
					}
					req.Address = all[len(all)-1].Address
				}
			})
			if err != nil {
				return err
			}
			return a.write(cmd, all, func(w io.Writer) {
				row(w, "ADDRESS", "STATE", "MEMBERS", "FROM", "NAME")
				for _, p := range all {
					row(w, p.Address, p.State, p.Count, p.From, p.Name)
				}
			})
		},
	}
}

func (a *aliases) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ADDRESS",
		Short: "Show one alias and its members",
		Long: `Show one alias and its members. A member that is missing has no account any more:
mail passes it over.`,
		Example: `  telesphore alias show cardiologie@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			res, err := a.ask(cmd.Context(), &admind.Request{Op: admind.AliasShow, Address: args[0]})
			if err != nil {
				return err
			}
			p := res.Alias
			return a.write(cmd, p, func(w io.Writer) {
				row(w, "address", p.Address)
				row(w, "name", p.Name)
				row(w, "state", p.State)
				row(w, "mail from", p.From)
				row(w, "created", p.Created)
				row(w, "changed", p.Changed)
				for _, m := range p.Members {
					row(w, "member", fmt.Sprintf("%s (%s)", m.Address, m.Is))
				}
			})
		},
	}
}

func (a *aliases) memberCommand() *cobra.Command {
	add := &cobra.Command{
		Use:     "add ADDRESS MEMBER...",
		Short:   "Add members to an alias",
		Example: `  telesphore alias member add cardiologie@hopital.example cardiologue@hopital.example`,
		Args:    usage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.AliasChange, Address: args[0]}
			req.Alias.Add = args[1:]
			return a.edit(cmd, req, "changed")
		},
	}
	remove := &cobra.Command{
		Use:     "remove ADDRESS MEMBER...",
		Short:   "Remove members from an alias",
		Example: `  telesphore alias member remove cardiologie@hopital.example medecin@hopital.example`,
		Args:    usage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.AliasChange, Address: args[0]}
			req.Alias.Remove = args[1:]
			return a.edit(cmd, req, "changed")
		},
	}
	return group("member", "Add and remove the members of an alias", add, remove)
}

func (a *aliases) changeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "change ADDRESS",
		Short:   "Change an alias's name, or who may write to it",
		Example: `  telesphore alias change cardiologie@hopital.example --from members`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if a.name == "" && a.from == "" {
				return &usageError{errors.New("say with --name or --from what to change")}
			}
			req := &admind.Request{Op: admind.AliasChange, Address: args[0], Name: a.name}
			req.Alias.From = a.from
			return a.edit(cmd, req, "changed")
		},
	}
	a.describeFlags(cmd)
	return cmd
}

func (a *aliases) stateCommand(use, short, state string) *cobra.Command {
	return &cobra.Command{
		Use:     use + " ADDRESS",
		Short:   short,
		Example: `  telesphore alias ` + use + ` cardiologie@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.AliasChange, Address: args[0]}
			req.Alias.State = state
			return a.edit(cmd, req, "is "+state)
		},
	}
}

func (a *aliases) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "delete ADDRESS",
		Short:   "Delete an alias; its members keep their mailboxes",
		Example: `  telesphore alias delete cardiologie@hopital.example`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.ask(cmd.Context(), &admind.Request{Op: admind.AliasDelete, Address: args[0]}); err != nil {
				return err
			}
			if a.json {
				return writeJSON(cmd, struct{}{})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is deleted\n", args[0])
			return err
		},
	}
}
