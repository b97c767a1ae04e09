// Command telesphore is a secure mail server for health care.
//
// `telesphore demo` starts one on this machine without any set-up; `telesphore
// serve` runs one for good. Every command explains itself with --help.
//
// Exit codes: 0 when what was asked for is done; 1 when it failed, with the
// reason and what to do next on standard error; 2 when the command line was not
// understood.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(execute()) }

// execute runs the command line and returns the exit code.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd, err := rootCommand().ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "telesphore:", err)
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(os.Stderr, "Try: %s --help\n", cmd.CommandPath())
		return exitUsage
	}
	return exitFailed
}

// usageError is a command line that was not understood.
type usageError struct{ cause error }

func (e *usageError) Error() string { return e.cause.Error() }
func (e *usageError) Unwrap() error { return e.cause }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "telesphore",
		Short: "A secure mail server for health care",
		Long: `Telesphore is a secure mail server for health care: mailboxes over IMAP, sending
over submission SMTP, for any mail program.

To try it:    telesphore demo
To run it:    telesphore key create --config FILE
              telesphore serve --config FILE
              telesphore account add ADDRESS --config FILE

Exit codes: 0 done; 1 failed; 2 the command line was not understood.`,
		Args:          usage(cobra.NoArgs),
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(demoCommand(), serveCommand(), accountCommand(), aliasCommand(), cardCommand(), codeCommand(), grantCommand(), sessionCommand(),
		appPasswordCommand(), whiteListCommand(), queueCommand(), messageCommand(), keyCommand(), dkimCommand(), auditCommand(), configCommand(), versionCommand())
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	g.AddCommand(commands...)
	return g
}

// usage makes the refusals of check end with exit code 2.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// configFlag adds --config to a command that needs a configuration.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.PersistentFlags().StringVarP(path, "config", "c", "/etc/telesphore/telesphore.toml", "configuration `file`")
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Tell which version this is",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := readVersion()
			if asJSON {
				return writeJSON(cmd, v)
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), v)
			return err
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// jsonFlag adds --json to a command that tells something.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.PersistentFlags().BoolVar(asJSON, "json", false, "write JSON, for programs")
}

// buildVersion is what the Go toolchain recorded when it built the program.
type buildVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

func readVersion() (v buildVersion) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return buildVersion{Version: "(unknown)"}
	}
	v.Version, v.Go = info.Main.Version, info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v buildVersion) String() string {
	text := []string{"telesphore", v.Version}
	if v.Revision != "" {
		text = append(text, v.Revision)
	}
	if v.Modified {
		text = append(text, "(modified)")
	}
	return strings.Join(append(text, v.Go), " ")
}
