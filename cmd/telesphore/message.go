package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// messages is what the message commands share.
type messages struct {
	admin
	last int
}

func messageCommand() *cobra.Command {
	m := &messages{}
	return m.group("message", "Follow mail that was sent",
		`Follow mail that an account has sent, recipient by recipient.`,
		m.traceCommand())
}

func (m *messages) traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace ADDRESS [NAME|MESSAGE-ID]",
		Short: "Tell what became of mail that an account has sent",
		Long: `Tell what became of mail that the account of this address has sent: of the last
messages in a table, or of one with every step. A message is named as the server's
reply to its sender and the log name it ("Accepted as NAME"), or by its Message-ID.

Stages: queued, on hold or delayed while it waits here; handed over when the next
server has it; failed or dropped when it will never arrive; delivered; then read,
processed, or refused by the application. The table has the stage of the recipient
that the message came furthest to, and of the one that it came least far to.

Nothing of what is in a message is shown. That you looked is written into the audit trail.`,
		Example: `  telesphore message trace medecin@hopital.example
  telesphore message trace medecin@hopital.example --last 100
  telesphore message trace medecin@hopital.example '<20260302.0815@poste7.hopital.example>'
  telesphore message trace labo@hopital.example NAME --json | jq -r '.recipients[] | select(.stage == "failed").address'`,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &admind.Request{Op: admind.MessageTrace, Address: args[0]}
			if len(args) == 1 {
				if m.last < 1 {
					return &usageError{errors.New("--last is at least 1")}
				}
				req.Message.Last = m.last
				return m.list(cmd, req)
			}
			if req.Message.Name = args[1]; args[1] == "" {
				return &usageError{errors.New("the name of a message is empty")}
			}
			res, err := m.ask(cmd.Context(), req)
			if err != nil {
				return err
			}
			return m.write(cmd, res.Trace, func(w io.Writer) { writeTrace(w, res.Trace) })
		},
	}
	cmd.Flags().IntVar(&m.last, "last", 20, "`number` of messages in the table, at most 500")
	return cmd
}

// list writes the table of the last messages.
func (m *messages) list(cmd *cobra.Command, req *admind.Request) error {
	res, err := m.ask(cmd.Context(), req)
	if err != nil {
		return err
	}
	traces := res.Traces
	if traces == nil {
		traces = []admind.Trace{}
	}
	return m.write(cmd, traces, func(w io.Writer) {
		row(w, "TIME", "NAME", "RECIPIENTS", "FURTHEST", "LEAST")
		for _, tr := range traces {
			to := tr.To
			if tr.Count > 1 {
				to = fmt.Sprintf("%s and %d more", tr.To, tr.Count-1)
			}
			row(w, tr.Sent, tr.Name, to, stageWords(tr.Furthest), stageWords(tr.Least))
		}
	})
}

// writeTrace writes all of one message for people.
func writeTrace(w io.Writer, tr *admind.Trace) {
	row(w, "name", tr.Name)
	if tr.MessageID != "" {
		row(w, "message-id", tr.MessageID)
	}
	if tr.EnvelopeID != "" {
		row(w, "envelope id", tr.EnvelopeID)
	}
	row(w, "sent", tr.Sent)
	row(w, "octets", tr.Octets)
	for _, warning := range tr.Warnings {
		row(w, "warning", warning)
	}
	for _, r := range tr.Recipients {
		row(w, "recipient", fmt.Sprintf("%s: %s", r.Address, stageWords(r.Stage)))
		for _, s := range r.Steps {
			text := stageWords(s.Stage)
			if s.Status != "" {
				text += ", " + s.Status
			}
			if s.Text != "" {
				text += ": " + s.Text
			}
			row(w, "  "+when(s.Time), text)
		}
	}
}

// stageWords are a stage for people.
func stageWords(stage string) string {
	if stage == "refused" {
		return "refused by the application"
	}
	return strings.ReplaceAll(stage, "_", " ")
}
