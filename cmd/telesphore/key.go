package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"telesphore/storage/keyring"
)

func keyCommand() *cobra.Command {
	var path string
	create := &cobra.Command{
		Use:   "create",
		Short: "Make the master key",
		Long: `Make the master key, under which the keys of all accounts are kept. Without it no
message can be read: keep a copy away from this machine and from the backups of
the mail.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(path)
			if err != nil {
				return err
			}
			if len(c.Keys.MasterCommand) > 0 {
				return errors.New("the configuration takes the master key from a command (keys.master_command): make it there")
			}
			if err := createMaster(c.Keys.MasterFile); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists already: a new key in its place would make all mail unreadable", c.Keys.MasterFile)
			} else if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is made: keep a copy of it in a safe place\n", c.Keys.MasterFile)
			return nil
		},
	}
	group := group("key", "Make the master key", create)
	configFlag(group, &path)
	return group
}

// createMaster makes the master key's file and its directory; the error wraps
// fs.ErrExist when it is there already.
func createMaster(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("make the master key's directory: %w", err)
	}
	return keyring.CreateMasterFile(path)
}

// master is where the master key comes from.
func (c *Config) master() keyring.Master {
	if len(c.Keys.MasterCommand) > 0 {
		return keyring.MasterCommand{Args: c.Keys.MasterCommand}
	}
	return keyring.MasterFile{Path: c.Keys.MasterFile}
}
