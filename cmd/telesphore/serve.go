package main

import (
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
				s.logger.Info("ready", "version", version(), "data", c.Data, "admin", s.socketAt)
				return nil
			})
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func configCommand() *cobra.Command {
	var path string
	check := &cobra.Command{
		Use:   "check",
		Short: "Tell every mistake of the configuration, without starting anything",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path)
			if err != nil {
				return err
			}
			if _, err := tls.Open(c.TLS.Certificates); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is right\n", path)
			return nil
		},
	}
	group := group("config", "Check the configuration", check)
	configFlag(group, &path)
	return group
}
