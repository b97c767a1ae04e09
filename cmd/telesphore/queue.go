package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// mailQueue is what the queue commands share.
type mailQueue struct {
	admin
	filter admind.QueueRequest
	silent bool
	yes    bool
}

func queueCommand() *cobra.Command {
	q := &mailQueue{}
	return q.group("queue", "Look at mail on its way to other servers, and move it",
		`Look at mail on its way to other servers, and move it. A message is named by the ID
that the list shows. Addresses are shown, and nothing of what is in a message.`,
		q.listCommand(), q.showCommand(), q.retryCommand(),
		q.changeCommand("hold", "Keep messages here until they are released", admind.QueueHold, "held"),
		q.changeCommand("release", "Send messages that are held", admind.QueueRelease, "released"),
		q.dropCommand())
}

func (q *mailQueue) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the messages of the queue",
		Long: `List the messages of the queue, the oldest first. Of a message with several recipients
the table has the one that is tried next. A message whose state is notice has
arrived or failed: its sender has still to be told. One that is damaged cannot be read, only dropped.`,
		Example: `  telesphore queue list
  telesphore queue list --domain clinique.example --state held
  telesphore queue list --sender medecin@hopital.example --json | jq -r '.[].id'`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := q.read(cmd)
			if err != nil {
				return err
			}
			now := time.Now()
			return q.write(cmd, all, func(w io.Writer) {
				row(w, "ID", "SENDER", "TO", "STATE", "ARRIVED", "TRIED", "NEXT", "REASON")
				for i := range all {
					m := &all[i]
					row(w, m.ID, sender(m), towards(m), m.State, relative(m.Arrived, now), m.Attempts, relative(m.Next, now), m.Reason)
				}
			})
		},
	}
	cmd.Flags().StringVar(&q.filter.Domain, "domain", "", "only mail to this `domain`")
	cmd.Flags().StringVar(&q.filter.Sender, "sender", "", "only mail from this `address` or domain; <> for codes and notices")
	cmd.Flags().StringVar(&q.filter.State, "state", "", "only mail that is waiting, held or notice (`state`)")
	return cmd
}

// read asks for all messages that the filter lets through.
func (q *mailQueue) read(cmd *cobra.Command) ([]admind.Queued, error) {
	all := []admind.Queued{}
	err := q.call(cmd.Context(), func(c *admind.Client) error {
		for req := (&admind.Request{Op: admind.QueueList, Queue: q.filter}); ; {
			res, err := c.Do(cmd.Context(), req)
			if err != nil {
				return err
			}
			all = append(all, res.Queue...)
			if !res.More || len(res.Queue) == 0 {
				return nil
			}
			req.Queue.After = all[len(all)-1].ID
		}
	})
	return all, err
}

// sender is who sent a message, for people.
func sender(m *admind.Queued) string {
	switch {
	case m.Name == "": // it cannot be read
		return "?"
	case m.Sender == "":
		return "<>"
	}
	return m.Sender
}

// towards is where a message goes, for people.
func towards(m *admind.Queued) string {
	if len(m.Domains) == 0 {
		return "?"
	}
	text := m.Domains[0]
	if n := len(m.Domains) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	if m.Recipients > 1 {
		text += fmt.Sprintf(" (%d recipients)", m.Recipients)
	}
	return text
}

// relative is a moment for people as seen from now: "5m ago", "in 2h".
func relative(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d := t.Sub(now).Round(time.Second)
	switch {
	case d > 0:
		return "in " + rough(d)
	case d < 0:
		return rough(-d) + " ago"
	}
	return "now"
}

// rough is a length of time for people, in its largest unit or the two largest.
func rough(d time.Duration) string {
	switch {
	case d >= 2*day:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// moment is a moment for people, absolute and relative.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return when(t) + " (" + relative(t, now) + ")"
}

func (q *mailQueue) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one message and each of its recipients",
		Example: `  telesphore queue show e13wu1px`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := q.message(cmd, args[0])
			if err != nil {
				return err
			}
			return q.write(cmd, m, func(w io.Writer) { writeQueued(w, m, time.Now()) })
		},
	}
}

// message asks for one message.
func (q *mailQueue) message(cmd *cobra.Command, id string) (*admind.Queued, error) {
	req := &admind.Request{Op: admind.QueueShow}
	req.Queue.ID = queueID(id)
	res, err := q.ask(cmd.Context(), req)
	if err != nil {
		return nil, err
	}
	if len(res.Queue) != 1 {
		return nil, errors.New("the server's answer has no message")
	}
	return &res.Queue[0], nil
}

// queueID is an ID as it is told on the telephone.
func queueID(text string) string { return strings.ToLower(strings.TrimSpace(text)) }

func writeQueued(w io.Writer, m *admind.Queued, now time.Time) {
	row(w, "id", m.ID)
	row(w, "name in the log", m.Name)
	row(w, "sender", sender(m))
	if m.Urgent {
		row(w, "priority", "urgent")
	}
	row(w, "size", fmt.Sprintf("%d octets", m.Size))
	row(w, "arrived", moment(m.Arrived, now))
	row(w, "given up", moment(m.Expires, now))
	row(w, "recipients left", m.Recipients)
	for _, d := range m.Deliveries {
		row(w, "to", d.Address)
		row(w, "  state", d.State)
		if !d.Next.IsZero() {
			row(w, "  next attempt", moment(d.Next, now))
		}
		row(w, "  attempts", d.Attempts)
		if !d.Last.IsZero() {
			row(w, "  last attempt", moment(d.Last, now))
		}
		if d.Reason != "" {
			row(w, "  reason", d.Reason)
		}
		if d.Warned {
			row(w, "  sender", "was told that it takes long")
		}
	}
	if more := m.Recipients - len(m.Deliveries); more > 0 {
		row(w, "to", fmt.Sprintf("%d more", more))
	}
}

func (q *mailQueue) retryCommand() *cobra.Command {
	var domain string
	cmd := &cobra.Command{
		Use:   "retry ID... | --domain DOMAIN",
		Short: "Try messages now",
		Long: `Try messages now, whatever is known of the servers they go to. A message that is named is
tried even when its sender wanted it to leave later; with --domain such messages keep
their date. Messages that are held stay: release them.`,
		Example: `  telesphore queue retry e13wu1px
  telesphore queue retry --domain clinique.example`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (domain == "") == (len(args) == 0) {
				return &usageError{errors.New("name messages, or a domain with --domain")}
			}
			if domain == "" {
				return q.each(cmd, args, admind.Request{Op: admind.QueueRetry}, "is tried now")
			}
			req := &admind.Request{Op: admind.QueueRetry}
			req.Queue.Domain = domain
			res, err := q.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			if q.json {
				return writeJSON(cmd, []changed{{Domain: domain, Count: res.Count}})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is tried now: %s\n", domain, recipients(res.Count))
			return err
		},
	}
	cmd.Flags().StringVar(&domain, "domain", "", "all that waits for this `domain`")
	return cmd
}

// changed is what a command did, for programs.
type changed struct {
	ID     string `json:"id,omitempty"`
	Domain string `json:"domain,omitempty"`
	Count  int    `json:"count"` // of recipients
}

func recipients(n int) string {
	if n == 1 {
		return "1 recipient"
	}
	return fmt.Sprintf("%d recipients", n)
}

// each sends a request for each message, and says what was done. It ends at the first
// that is refused.
func (q *mailQueue) each(cmd *cobra.Command, ids []string, req admind.Request, done string) error {
	all := []changed{}
	err := q.call(cmd.Context(), func(c *admind.Client) error {
		for _, id := range ids {
			req.Queue.ID = queueID(id)
			res, err := c.Do(cmd.Context(), &req)
			if err != nil {
				return fmt.Errorf("%s: %w", plain(id), err)
			}
			all = append(all, changed{ID: req.Queue.ID, Count: res.Count})
			if q.json {
				continue
			}
			if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s\n", req.Queue.ID, done, recipients(res.Count)); err != nil {
				return err
			}
		}
		return nil
	})
	if q.json && len(all) > 0 {
		err = errors.Join(err, writeJSON(cmd, all))
	}
	return err
}

func (q *mailQueue) changeCommand(use, short string, op admind.Op, done string) *cobra.Command {
	return &cobra.Command{
		Use:     use + " ID...",
		Short:   short,
		Example: `  telesphore queue ` + use + ` e13wu1px`,
		Args:    usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return q.each(cmd, args, admind.Request{Op: op}, "is "+done)
		},
	}
}

func (q *mailQueue) dropCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drop ID...",
		Short: "Take messages out of the queue for good",
		Long: `Take messages out of the queue for good. Their senders get a notice that they were not
delivered, unless --silent says otherwise. Without --yes nothing is dropped: the
messages are shown.`,
		Example: `  telesphore queue drop e13wu1px
  telesphore queue drop e13wu1px --yes`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !q.yes {
				return q.ponder(cmd, args)
			}
			req := admind.Request{Op: admind.QueueDrop}
			req.Queue.Tell = !q.silent
			return q.each(cmd, args, req, "is dropped")
		},
	}
	cmd.Flags().BoolVar(&q.silent, "silent", false, "do not tell the senders")
	cmd.Flags().BoolVar(&q.yes, "yes", false, "drop them")
	return cmd
}

// ponder shows what would be dropped.
func (q *mailQueue) ponder(cmd *cobra.Command, ids []string) error {
	for _, id := range ids {
		m, err := q.message(cmd, id)
		if err != nil {
			return fmt.Errorf("%s: %w", plain(id), err)
		}
		text := fmt.Sprintf("%s from %s to %s, %s", m.ID, sender(m), towards(m), moment(m.Arrived, time.Now()))
		if _, err := fmt.Fprintln(cmd.ErrOrStderr(), plain(text)); err != nil {
			return err
		}
	}
	return errors.New("nothing was dropped: add --yes to drop this for good")
}
