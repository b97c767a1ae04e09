package main

import (
	"bufio"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"telesphore/storage"
)

// audits is what the audit commands share. They read files and ask no server.
type audits struct {
	config string
	dir    string
}

func auditCommand() *cobra.Command {
	a := &audits{}
	group := group("audit", "Verify and read the audit trail", a.verifyCommand(), a.exportCommand())
	group.Long = `Verify and read the audit trail: who logged in, with what, and who changed what.
These commands only read files, of a server that runs or not; they may be a copy.`
	configFlag(group, &a.config)
	group.PersistentFlags().StringVar(&a.dir, "dir", "", "`directory` of the trail, instead of the configured one; no configuration is read then")
	return group
}

// directory is where the trail is.
func (a *audits) directory() (string, error) {
	if a.dir != "" {
		return a.dir, nil
	}
	c, err := loadConfig(a.config)
	if err != nil {
		return "", err
	}
	return c.file(auditDir), nil
}

// explainAudit says what to do when a trail cannot be read.
func explainAudit(dir string, err error) error {
	switch {
	case errors.Is(err, storage.ErrNoAudit):
		return fmt.Errorf("there is no audit trail in %s: name its directory with --dir", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s is closed to you: run this command as root or as the user of the server", dir)
	}
	return err
}

func (a *audits) verifyCommand() *cobra.Command {
	var asJSON bool
	var check storage.AuditCheck
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check that nobody changed the audit trail",
		Long: `Check that nobody changed the audit trail. Every line carries a number and the
SHA-256 of the line before, so a line or a file that was changed, removed, added
or moved is found; the exit code is then 1 and the first place is named.

What the files alone cannot show: lines removed at the end, a change of the last
line, or a trail that somebody rewrote as a whole. So note the head that this
command prints, or take it from the log, and keep it where whoever writes the
trail cannot write. Later --head proves that all up to there is still the same.

Old files may be moved elsewhere, the oldest first. Verify them there; the head
printed is what --after needs to verify the files that stayed.

To verify without this program, in the directory of the trail:

  prev=$(printf %064d 0)
  cat 0*.jsonl | while IFS= read -r line; do
    test "$(printf %s "$line" | jq -r .prev)" = "$prev" || echo "broken: $line"
    prev=$(printf %s "$line" | sha256sum | cut -d ' ' -f 1)
  done`,
		Example: `  telesphore audit verify
  telesphore audit verify --head 4cc3f7e2...
  telesphore audit verify --dir /mnt/backup/audit --json`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for flag, hash := range map[string]string{"head": check.Head, "after": check.After} {
				if octets, err := hex.DecodeString(hash); cmd.Flags().Changed(flag) && (err != nil || len(octets) != 32) {
					return &usageError{fmt.Errorf("--%s: %q is no head: it has 64 hexadecimal digits", flag, hash)}
				}
			}
			return a.verify(cmd, check, asJSON)
		},
	}
	cmd.Flags().StringVar(&check.Head, "head", "", "a `hash` noted earlier, which must still be in the trail")
	cmd.Flags().StringVar(&check.After, "after", "", "the head (a `hash`) of the older files, when they were moved elsewhere")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *audits) verify(cmd *cobra.Command, check storage.AuditCheck, asJSON bool) error {
	dir, err := a.directory()
	if err != nil {
		return err
	}
	r, err := storage.VerifyAudit(dir, check)
	if err != nil {
		return explainAudit(dir, err)
	}
	if asJSON {
		err = writeJSON(cmd, r)
	} else {
		err = writeReport(cmd.OutOrStdout(), r)
	}
	switch {
	case err != nil:
		return err
	case r.Breaks > 1:
		return fmt.Errorf("the audit trail in %s was changed in %d places, the first is %w", dir, r.Breaks, r.Break)
	case r.Break != nil:
		return fmt.Errorf("the audit trail in %s was changed: %w", dir, r.Break)
	case check.Head != "" && r.HeadAt == 0:
		return fmt.Errorf("the head given is not in the audit trail in %s: what was there when it was noted has been removed or rewritten", dir)
	}
	return nil
}

// writeReport writes a report for people.
func writeReport(out io.Writer, r *storage.AuditReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	whole := "yes"
	if r.Break != nil {
		whole = "NO"
	}
	fmt.Fprintf(w, "whole\t%s\n", whole)
	fmt.Fprintf(w, "events\t%d in %d files\n", r.Events, r.Files)
	if r.Events > 0 {
		fmt.Fprintf(w, "first\t%s\n", r.First.Local().Format(time.DateTime))
		fmt.Fprintf(w, "last\t%s\n", r.Last.Local().Format(time.DateTime))
	}
	if r.HeadAt > 0 {
		fmt.Fprintf(w, "head given\tis event %d\n", r.HeadAt)
	}
	if len(r.Torn) > 0 {
		fmt.Fprintf(w, "torn by crashes\t%s\n", strings.Join(r.Torn, ", "))
	}
	if r.Unfinished {
		fmt.Fprintln(w, "last line\tis not finished: it is being written now, or a crash tore it")
	}
	fmt.Fprintf(w, "head\t%s\n", r.Head)
	return w.Flush()
}

// selection is which events export writes.
type selection struct {
	account      string
	event        string // beginning of the name
	since, until time.Time
}

func (s *selection) has(e *storage.Event) bool {
	return (s.account == "" || strings.EqualFold(e.Account, s.account) || strings.EqualFold(e.Actor, s.account)) &&
		strings.HasPrefix(e.Event, s.event) &&
		(s.since.IsZero() || !e.Time.Before(s.since)) &&
		(s.until.IsZero() || e.Time.Before(s.until))
}

func (a *audits) exportCommand() *cobra.Command {
	var s selection
	var since, until string
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write events of the audit trail to standard output",
		Long: `Write events of the audit trail to standard output: JSON lines as they are in the
files, or CSV. A TIME is a day, a day and a time of this machine's zone, a time
with its zone, or a length of time before now.

Export checks no hashes: run telesphore audit verify before.`,
		Example: `  telesphore audit export --account medecin@hopital.example --since 2026-03-01 --until 2026-04-01
  telesphore audit export --since 24h --event auth.fail | jq -r .remote | sort | uniq -c
  telesphore audit export --event card. --csv > cards.csv
  telesphore audit export --since '2026-03-02 08:00:00' --until 2026-03-02T09:00:00Z`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			now := time.Now()
			if s.since, err = parseTime(since, now); err != nil {
				return &usageError{fmt.Errorf("--since: %w", err)}
			}
			if s.until, err = parseTime(until, now); err != nil {
				return &usageError{fmt.Errorf("--until: %w", err)}
			}
			dir, err := a.directory()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			write, finish := writeLines(out)
			if asCSV {
				write, finish = writeCSV(out)
			}
			return explainAudit(dir, export(dir, &s, write, finish))
		},
	}
	cmd.Flags().StringVar(&s.account, "account", "", "only events of this account, or that it brought about; its primary `address`")
	cmd.Flags().StringVar(&s.event, "event", "", "only events whose name begins with `prefix`, like auth.fail or card.")
	cmd.Flags().StringVar(&since, "since", "", "only events from this `time` on")
	cmd.Flags().StringVar(&until, "until", "", "only events before this `time`")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "write CSV with a heading, for a spreadsheet")
	return cmd
}

// writeEvent writes one event, of which it is given the line too.
type writeEvent func(line []byte, e *storage.Event) error

// export writes what a trail has of a selection. A line that cannot be read
// does not keep the others back; the error comes at the end.
func export(dir string, s *selection, write writeEvent, finish func() error) error {
	var failed error
	err := storage.ReadAudit(dir, func(line []byte, e *storage.Event) bool {
		if s.has(e) {
			failed = write(line, e)
		}
		return failed == nil
	})
	if failed == nil {
		failed = finish()
	}
	if failed != nil {
		return fmt.Errorf("write the export: %w", failed)
	}
	var broken *storage.AuditBreak
	if errors.As(err, &broken) {
		return fmt.Errorf("lines that cannot be read were left out, the first is %w; see telesphore audit verify", broken)
	}
	return err
}

// writeLines writes the lines as they are.
func writeLines(out *bufio.Writer) (writeEvent, func() error) {
	return func(line []byte, _ *storage.Event) error {
		_, err := out.Write(append(line[:len(line):len(line)], '\n'))
		return err
	}, out.Flush
}

// writeCSV writes a table. The heading names the members of the JSON lines.
func writeCSV(out *bufio.Writer) (writeEvent, func() error) {
	w := csv.NewWriter(out)
	err := w.Write([]string{
		"n", "time", "event", "account", "unknown", "actor", "proto", "mech", "level", "remote", "tls", "cipher",
		"resumed", "identity", "serial", "issuer", "via", "outcome", "conn",
	})
	write := func(line []byte, e *storage.Event) error {
		var number struct{ N uint64 }
		if err := json.Unmarshal(line, &number); err != nil {
			return err
		}
		row := []string{
			strconv.FormatUint(number.N, 10), e.Time.Format(time.RFC3339Nano), e.Event, e.Account, e.Unknown, e.Actor,
			e.Proto, e.Mech, strconv.Itoa(e.Level), e.Remote, e.TLS, e.Cipher, strconv.FormatBool(e.Resumed), e.Identity,
			e.Serial, e.Issuer, e.Via, e.Outcome, e.Conn,
		}
		for i, cell := range row {
			row[i] = harmless(cell)
		}
		return w.Write(row)
	}
	return write, func() error {
		w.Flush()
		return errors.Join(err, w.Error(), out.Flush())
	}
}

// harmless puts an apostrophe before a cell that a spreadsheet would take for a
// formula: some texts come from strangers, such as the names in a certificate.
func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}

// parseTime reads a time of a command line; "" is the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf(`%q is no time: write it like 2026-03-02, "2026-03-02 08:15:00", 2026-03-02T08:15:00Z or 24h for 24 hours ago`, text)
}
