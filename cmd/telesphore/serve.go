package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"telesphore/tls"
)

func serveCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server until SIGINT or SIGTERM, which stop it cleanly within 10 seconds.
SIGHUP rereads certificates and configuration, and tells which keys need a restart.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path)
			if err != nil {
				return err
			}
			lock, err := lockDirectory(c.Data)
			if err != nil {
				return err
			}
			s, err := build(cmd.Context(), c, lock)
			if err != nil {
				return err
			}
			return s.serve(cmd.Context(), func() error {
				s.logger.Info("ready", "version", readVersion().Version, "data", c.Data, "admin", s.socketAt)
				return nil
			})
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func configCommand() *cobra.Command {
	var path string
	var asJSON bool
	check := &cobra.Command{
		Use:   "check",
		Short: "Tell every mistake of the configuration, without starting anything",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := checkConfig(path)
			if asJSON {
				return errors.Join(err, writeJSON(cmd, verdict(path, err)))
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is right\n", path)
			return err
		},
	}
	jsonFlag(check, &asJSON)
	group := group("config", "Check the configuration", check)
	configFlag(group, &path)
	return group
}

// checkConfig reads the configuration and what it names.
func checkConfig(path string) error {
	c, err := loadConfig(path)
	if err != nil {
		return err
	}
	_, err = tls.Open(c.TLS.Certificates)
	return err
}

// configVerdict is what `config check --json` writes.
type configVerdict struct {
	Config   string     `json:"config"`
	Mistakes []*Mistake `json:"mistakes"`
}

func verdict(path string, err error) configVerdict {
	v := configVerdict{path, []*Mistake{}}
	var told *configError
	if errors.As(err, &told) {
		v.Mistakes = told.mistakes
	} else if err != nil {
		v.Mistakes = append(v.Mistakes, &Mistake{Text: err.Error()})
	}
	return v
}
