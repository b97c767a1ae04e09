package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"telesphore/backend"
	"telesphore/backend/dkim"
)

// signing is what the dkim commands share.
type signing struct {
	config    string
	selector  string
	algorithm string
	out       string
	json      bool
}

func dkimCommand() *cobra.Command {
	s := &signing{}
	group := group("dkim", "Administer the keys that sign what leaves (DKIM)", s.createCommand(), s.showCommand(), s.checkCommand())
	configFlag(group, &s.config)
	return group
}

func (s *signing) createCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create DOMAIN",
		Short: "Make a key for a domain",
		Long: `Make a key that signs the mail of a domain, and tell what to do for other servers
to know it. Nothing is signed with it before it stands in the configuration.`,
		Example: `  telesphore dkim create hopital.example
  telesphore dkim create hopital.example --algorithm ed25519 --selector ed2026`,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := s.create(args[0])
			if err != nil {
				return err
			}
			record, err := readRecord(k)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `%s is made.

1. Publish this TXT record. As a line of a zone file:

%s

   For those who fill in a form:

%s
%s

2. Add the key to the configuration:

[dkim]
keys = [ { domain = %q, selector = %q, file = %q } ]

3. When "telesphore dkim check" finds the record, restart the server.
`, k.File, record.Zone, record.Name, record.Value, k.Domain, k.Selector, k.File)
			return err
		},
	}
	cmd.Flags().StringVar(&s.selector, "selector", "", "`name` of the key in the domain (default: the algorithm's first letter and the month, like r202601)")
	cmd.Flags().StringVar(&s.algorithm, "algorithm", "rsa", "rsa, which all receivers know, or ed25519")
	cmd.Flags().StringVar(&s.out, "out", "", "new `file` for the key (default: dkim/DOMAIN.SELECTOR.pem in the data directory)")
	return cmd
}

// create makes the key's file and tells where it is.
func (s *signing) create(domain string) (dkim.Key, error) {
	k := dkim.Key{Selector: s.selector, File: s.out}
	if s.algorithm != "rsa" && s.algorithm != "ed25519" {
		return k, &usageError{fmt.Errorf("--algorithm is rsa or ed25519, not %q", s.algorithm)}
	}
	var err error
	if k.Domain, err = backend.ParseDomain(domain); err != nil {
		return k, &usageError{fmt.Errorf("%q is no domain", domain)}
	}
	if k.Selector == "" {
		k.Selector = s.algorithm[:1] + time.Now().Format("200601")
	}
	if _, err := backend.ParseDomain(k.Selector); err != nil {
		return k, &usageError{fmt.Errorf("%q is no selector: letters, digits and hyphens make one", k.Selector)}
	}
	if k.File == "" {
		c, err := loadConfig(s.config)
		if err != nil {
			return k, err
		}
		k.File = filepath.Join(c.file("dkim"), k.Domain+"."+k.Selector+".pem")
		if err := os.MkdirAll(filepath.Dir(k.File), 0o700); err != nil {
			return k, fmt.Errorf("make the directory of the DKIM keys: %w", err)
		}
	}
	if k.File, err = filepath.Abs(k.File); err != nil {
		return k, fmt.Errorf("find the directory of the key: %w", err)
	}
	err = dkim.Create(k.File, s.algorithm)
	if errors.Is(err, fs.ErrExist) {
		return k, fmt.Errorf("%s exists already: a new key needs a new selector, as signatures of the old one are still on their way", k.File)
	}
	return k, err
}

// keyRecord is what the commands tell of a key.
type keyRecord struct {
	Domain   string `json:"domain"`
	Selector string `json:"selector"`
	File     string `json:"file"`
	Name     string `json:"name"`
	Value    string `json:"value"`
	Zone     string `json:"zone"`
	State    string `json:"state,omitempty"` // of check
}

func readRecord(k dkim.Key) (keyRecord, error) {
	name, value, err := dkim.Record(k)
	return keyRecord{
		Domain: k.Domain, Selector: k.Selector, File: k.File, Name: name, Value: value, Zone: dkim.ZoneLine(name, value),
	}, err
}

// records reads all keys of the configuration.
func (s *signing) records() (*Config, []keyRecord, error) {
	c, err := loadConfig(s.config)
	if err != nil {
		return nil, nil, err
	}
	if len(c.DKIM) == 0 {
		return nil, nil, errors.New(`the configuration names no keys (dkim.keys): make one with "telesphore dkim create"`)
	}
	all := make([]keyRecord, 0, len(c.DKIM))
	for _, k := range c.DKIM {
		r, err := readRecord(k)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, r)
	}
	return c, all, nil
}

func (s *signing) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Tell what to publish for the keys of the configuration",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, all, err := s.records()
			if err != nil {
				return err
			}
			if s.json {
				return writeJSON(cmd, all)
			}
			for i, r := range all {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "Zone file: %s\nName:      %s\nType:      TXT\nValue:     %s\n", r.Zone, r.Name, r.Value)
			}
			return err
		},
	}
	jsonFlag(cmd, &s.json)
	return cmd
}

func (s *signing) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Ask the DNS whether the keys of the configuration are published",
		Long: `Ask the DNS whether the keys of the configuration are published: each is ok,
missing or different. The exit code is 1 when one is not ok.`,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, all, err := s.records()
			if err != nil {
				return err
			}
			bad := 0
			for i, k := range c.DKIM {
				err := dkim.Check(cmd.Context(), c.resolver(), k)
				switch {
				case err == nil:
					all[i].State = "ok"
				case errors.Is(err, dkim.ErrMissing):
					all[i].State = "missing"
				case errors.Is(err, dkim.ErrDifferent):
					all[i].State = "different"
				default:
					all[i].State = err.Error()
				}
				if err != nil {
					bad++
				}
				if !s.json {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", all[i].Name, all[i].State)
				}
			}
			if s.json {
				if err := writeJSON(cmd, all); err != nil {
					return err
				}
			}
			if bad > 0 {
				return fmt.Errorf(`%d of %d keys are not published: "telesphore dkim show" tells what to publish`, bad, len(all))
			}
			return nil
		},
	}
	jsonFlag(cmd, &s.json)
	return cmd
}
