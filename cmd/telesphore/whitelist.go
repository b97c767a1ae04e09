package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// whiteList is what the whitelist commands share.
type whiteList struct {
	admin
	accept bool
}

func whiteListCommand() *cobra.Command {
	w := &whiteList{}
	return w.group("whitelist", "Look at the white list of the trust space",
		`Look at the white list: which domains are in the trust space, and by which
certificates their operators are known.`,
		w.showCommand(), w.checkCommand(), w.refreshCommand())
}

func (w *whiteList) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Tell where the list comes from, how old it is and what it has changed",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			res, err := w.ask(cmd.Context(), &admind.Request{Op: admind.WhiteListShow})
			if err != nil {
				return err
			}
			return w.write(cmd, res.WhiteList, func(out io.Writer) { writeWhiteList(out, res.WhiteList) })
		},
	}
}

func writeWhiteList(out io.Writer, p *admind.WhiteList) {
	if p.Source == "" {
		row(out, "source", "none: see trust_space.source in the configuration")
	} else {
		row(out, "source", p.Source)
		row(out, "date", listDate(p))
		row(out, "taken over", p.Taken)
		row(out, "last good look", p.Looked)
		row(out, "domains", p.Domains)
	}
	if p.Ignored > 0 {
		row(out, "entries that cannot be used", p.Ignored)
	}
	if p.Problem != "" {
		row(out, "problem", p.Problem)
	}
	writeChange(out, "changed", p.Last)
	writeChange(out, "waits for refresh --accept", p.Held)
}

func listDate(p *admind.WhiteList) string {
	if p.Generated.IsZero() {
		return "there is no list yet: see the log"
	}
	text := when(p.Generated) + ", " + age(time.Duration(p.Age)*time.Second) + " old"
	if p.Old {
		text += ": too old"
	}
	return text
}

// age is a length of time for people: days, or hours and minutes.
func age(d time.Duration) string {
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return Duration(d.Truncate(time.Minute)).String()
}

func writeChange(out io.Writer, what string, c *admind.WhiteListChange) {
	if c == nil {
		return
	}
	row(out, what, when(c.From)+" -> "+when(c.To))
	for _, kind := range []struct {
		name    string
		domains []string
	}{{"added", c.Added}, {"removed", c.Removed}, {"other certificates", c.Changed}} {
		if len(kind.domains) > 0 {
			row(out, "  "+kind.name, fmt.Sprintf("%d: %s", len(kind.domains), joined(kind.domains, "")))
		}
	}
}

func (w *whiteList) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DOMAIN",
		Short: "Tell whether a domain is in the trust space, and who answers for it",
		Example: `  telesphore whitelist check clinique.example
  telesphore whitelist check clinique.example --json`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.WhiteListCheck}
			req.WhiteList.Domain = args[0]
			res, err := w.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			return w.write(cmd, res.Peer, func(out io.Writer) { writePeer(out, res.Peer) })
		},
	}
}

func writePeer(out io.Writer, p *admind.Peer) {
	row(out, "domain", p.Domain)
	switch {
	case p.Listed:
		row(out, "white list", "listed since "+when(p.Since))
	case !p.Left.IsZero():
		row(out, "white list", "left on "+when(p.Left))
	default:
		row(out, "white list", "not listed")
	}
	mail := "may not go there"
	if p.Trusted {
		mail = "may go there"
	}
	row(out, "mail", mail)
	for _, o := range p.Operators {
		row(out, "certificate", o.Certificate)
		for _, line := range []struct{ name, text string }{
			{"  description", o.Description}, {"  responsible", o.Responsible}, {"  support", o.Support},
		} {
			if line.text != "" {
				row(out, line.name, line.text)
			}
		}
		if !o.Updated.IsZero() {
			row(out, "  updated", o.Updated)
		}
	}
}

func (w *whiteList) refreshCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "refresh",
		Short: "Look at the list now",
		Long: `Look at the list now and take it over when it is newer. A list that lacks many
of the domains of the one before (trust_space.max_loss) waits until it is accepted:
look at telesphore whitelist show first, for mail to those domains is refused then.
What is accepted is what show names as removed; a list that lacks more waits anew.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &admind.Request{Op: admind.WhiteListRefresh}
			req.WhiteList.Accept = w.accept
			res, err := w.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			return w.write(cmd, res.WhiteList, func(out io.Writer) { writeWhiteList(out, res.WhiteList) })
		},
	}
	cmd.Flags().BoolVar(&w.accept, "accept", false, "take over the list that waits")
	return cmd
}
