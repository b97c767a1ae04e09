package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"telesphore/backend/admind"
)

// admin is what the commands share that ask a running server: flags and the
// way to it.
type admin struct {
	config string
	json   bool
}

// group is a command that holds commands of a.
func (a *admin) group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	g := group(use, short, commands...)
	g.Long = long + `

The running server is found through its configuration. Only root and the user
whom the server runs as may do this.`
	configFlag(g, &a.config)
	jsonFlag(g, &a.json)
	return g
}

// ask sends one request to the running server.
func (a *admin) ask(ctx context.Context, req *admind.Request) (res *admind.Response, err error) {
	err = a.call(ctx, func(c *admind.Client) error {
		res, err = c.Do(ctx, req)
		return err
	})
	return res, err
}

// pages sends a request whose answer may come in parts, and takes each.
func (a *admin) pages(ctx context.Context, req *admind.Request, take func(*admind.Response)) error {
	return a.call(ctx, func(c *admind.Client) error {
		for {
			res, err := c.Do(ctx, req)
			if err != nil {
				return err
			}
			take(res)
			if res.Next == 0 {
				return nil
			}
			req.After = res.Next
		}
	})
}

// call reaches the running server of the configuration.
func (a *admin) call(ctx context.Context, f func(*admind.Client) error) error {
	c, err := loadConfig(a.config)
	if err != nil {
		return err
	}
	client, err := admind.Dial(ctx, c.AdminSocket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("no server answers at %s: start it with telesphore serve --config %s", c.AdminSocket, a.config)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s is closed to you: run this command as root or as the user of the server", c.AdminSocket)
	}
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// change is a command that changes an account and says so in one line; done
// makes that line.
func (a *admin) change(cmd *cobra.Command, req *admind.Request, done func(*admind.Account) string) error {
	res, err := a.ask(cmd.Context(), req)
	if err != nil {
		return err
	}
	if a.json {
		return writeJSON(cmd, res.Account)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), done(res.Account))
	return err
}

// write prints value as JSON when that was asked for, or else has rows print a
// table.
func (a *admin) write(cmd *cobra.Command, value any, rows func(w io.Writer)) error {
	if a.json {
		return writeJSON(cmd, value)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	rows(w)
	return w.Flush()
}

// row prints one line of a table.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
		if t, ok := c.(time.Time); ok {
			texts[i] = when(t)
		}
		texts[i] = plain(texts[i])
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// when is a moment for people, in the time of this machine.
func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format(time.DateTime)
}

// plain makes a text harmless for a terminal: names on certificates are other
// people's words.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// joined joins words, or says in one what their absence means.
func joined(words []string, none string) string {
	if len(words) == 0 {
		return none
	}
	return strings.Join(words, ", ")
}

func writeJSON(cmd *cobra.Command, v any) error {
	e := json.NewEncoder(cmd.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// readLine reads one line of standard input, without its end. what says what it
// should be.
func readLine(in *bufio.Reader, what string) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", fmt.Errorf("standard input has no %s", what)
	}
	return line, nil
}

// seconds reads a length of time of the command line; "" is 0.
func seconds(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	var d Duration
	if err := d.UnmarshalText([]byte(text)); err != nil {
		return 0, &usageError{err}
	}
	if s := int64(time.Duration(d) / time.Second); s > 0 {
		return s, nil
	}
	return 0, &usageError{fmt.Errorf("%q is less than a second", text)}
}
