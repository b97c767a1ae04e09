package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/backend/imapd"
	"telesphore/backend/smtpd"
	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/tls"
)

// Config is what config.example.toml says: that file tells what each key means,
// and a test proves that its values are the defaults.
type Config struct {
	path string // the file that it was read from, "" when there is none

	Data        string // directory
	Hostname    string
	Domains     []string
	Postmaster  string
	AdminSocket string

	Listen struct{ IMAP, IMAPS, Submission, Submissions string } // a door is closed when its address is empty
	TLS    struct{ Certificates []tls.Pair }
	Keys   struct {
		MasterFile    string
		MasterCommand []string
	}
	Log struct{ Level, Format string }

	Storage storage.Limits
	Bodies  body.Options
	IMAP    imapd.Limits
	SMTP    smtpd.Limits
	Auth    AuthConfig
	Admin   admind.Limits
}

// AuthConfig is the section [auth].
type AuthConfig struct {
	Memory    int64 // octets of one password hash
	Passes    int
	Hashes    int
	Queue     int
	CacheFor  time.Duration
	CacheSize int
	Throttle  auth.Throttle
}

// params are the cost of a password hash.
func (a *AuthConfig) params() auth.Params {
	return auth.Params{Memory: uint32(a.Memory >> 10), Time: uint32(a.Passes), Lanes: 1}
}

// settings binds every key to its place, in the order of config.example.toml.
func (c *Config) settings() []setting {
	s, i, w := &c.Storage, &c.IMAP, &c.IMAP.Wire
	m, a, t := &c.SMTP, &c.Auth, &c.Auth.Throttle
	return []setting{
		{key: "data", value: &c.Data},
		{key: "hostname", value: &c.Hostname},
		{key: "domains", value: &c.Domains},
		{key: "postmaster", value: &c.Postmaster},
		{key: "admin_socket", value: &c.AdminSocket},

		{key: "listen.imap", value: &c.Listen.IMAP},
		{key: "listen.imaps", value: &c.Listen.IMAPS},
		{key: "listen.submission", value: &c.Listen.Submission},
		{key: "listen.submissions", value: &c.Listen.Submissions},

		{key: "tls.certificates", value: &c.TLS.Certificates},

		{key: "keys.master_file", value: &c.Keys.MasterFile},
		{key: "keys.master_command", value: &c.Keys.MasterCommand},

		{key: "log.level", value: &c.Log.Level},
		{key: "log.format", value: &c.Log.Format},

		{key: "storage.quota", value: (*Size)(&s.QuotaBytes)},
		{key: "storage.mailboxes", value: &s.Mailboxes},
		{key: "storage.name_length", value: &s.NameLength},
		{key: "storage.name_depth", value: &s.NameDepth},
		{key: "storage.vanished_ranges", value: &s.VanishedRanges},
		{key: "storage.free_space", value: (*Size)(&s.FreeBytes)},
		{key: "storage.segment_size", value: (*Size)(&c.Bodies.SegmentSize)},

		{key: "imap.connections", value: &i.Connections},
		{key: "imap.connections_per_address", value: &i.PerAddress},
		{key: "imap.connections_per_account", value: &i.PerAccount},
		{key: "imap.failures", value: &i.Failures},
		{key: "imap.bad_commands", value: &i.BadCommands},
		{key: "imap.handshake", value: (*Duration)(&i.Handshake)},
		{key: "imap.log_in", value: (*Duration)(&i.LogIn)},
		{key: "imap.idle", value: (*Duration)(&i.Idle)},
		{key: "imap.stall", value: (*Duration)(&i.Stall)},
		{key: "imap.write", value: (*Duration)(&i.Write)},
		{key: "imap.message", value: (*Size)(&i.Message)},
		{key: "imap.append_memory", value: (*Size)(&i.AppendMemory)},
		{key: "imap.output_memory", value: (*Size)(&i.OutputMemory)},
		{key: "imap.patterns", value: &i.Patterns},
		{key: "imap.keywords", value: &i.Keywords},
		{key: "imap.keyword", value: &i.Keyword},
		{key: "imap.line", value: (*Size)(&w.Line)},
		{key: "imap.literal", value: (*Size)(&w.Literal)},
		{key: "imap.literals", value: &w.Literals},
		{key: "imap.depth", value: &w.Depth},
		{key: "imap.set_ranges", value: &w.SetRanges},
		{key: "imap.discard", value: (*Size)(&w.Discard)},
		{key: "imap.search_keys", value: &i.Search.Keys},
		{key: "imap.search_depth", value: &i.Search.Depth},
		{key: "imap.search_messages", value: &i.Search.Messages},

		{key: "smtp.message", value: (*Size)(&m.MessageSize)},
		{key: "smtp.memory", value: (*Size)(&m.Memory)},
		{key: "smtp.recipients", value: &m.Recipients},
		{key: "smtp.connections", value: &m.Connections},
		{key: "smtp.connections_per_address", value: &m.ConnectionsPerAddress},
		{key: "smtp.connections_per_account", value: &m.ConnectionsPerAccount},
		{key: "smtp.messages", value: &m.Messages},
		{key: "smtp.commands", value: &m.Commands},
		{key: "smtp.errors", value: &m.Errors},
		{key: "smtp.failures", value: &m.AuthFailures},
		{key: "smtp.log_in", value: (*Duration)(&m.Login)},
		{key: "smtp.handshake", value: (*Duration)(&m.Handshake)},
		{key: "smtp.idle", value: (*Duration)(&m.Idle)},
		{key: "smtp.receive", value: (*Duration)(&m.Message)},
		{key: "smtp.write", value: (*Duration)(&m.Write)},

		{key: "auth.memory", value: (*Size)(&a.Memory)},
		{key: "auth.passes", value: &a.Passes},
		{key: "auth.hashes", value: &a.Hashes, zero: true},
		{key: "auth.queue", value: &a.Queue},
		{key: "auth.cache_for", value: (*Duration)(&a.CacheFor)},
		{key: "auth.cache_size", value: &a.CacheSize},
		{key: "auth.per_minute", value: &t.PerMinute},
		{key: "auth.per_day", value: &t.PerDay},
		{key: "auth.trusted", value: &t.Trusted},
		{key: "auth.trusted_per_minute", value: &t.TrustedPerMinute},
		{key: "auth.trusted_per_day", value: &t.TrustedPerDay},
		{key: "auth.free", value: &t.Free},
		{key: "auth.max_delay", value: (*Duration)(&t.MaxDelay)},
		{key: "auth.max_parked", value: &t.MaxParked},
		{key: "auth.strangers", value: &t.Strangers},
		{key: "auth.entries", value: &t.Entries},

		{key: "admin.connections", value: &c.Admin.Connections},
		{key: "admin.line", value: (*Size)(&c.Admin.Line)},
		{key: "admin.page", value: &c.Admin.Page},
		{key: "admin.idle", value: (*Duration)(&c.Admin.Idle)},
		{key: "admin.operation", value: (*Duration)(&c.Admin.Operation)},
	}
}

// defaultConfig is what holds for a key that the file does not name.
func defaultConfig() *Config {
	c := &Config{
		Data:    "/var/lib/telesphore",
		Storage: storage.DefaultLimits(),
		Bodies:  body.Options{SegmentSize: 256 << 20},
		IMAP:    imapd.DefaultLimits(),
		SMTP:    smtpd.DefaultLimits(),
		Admin:   admind.DefaultLimits(),
		Auth: AuthConfig{
			Memory: int64(auth.DefaultParams.Memory) << 10, Passes: int(auth.DefaultParams.Time),
			Queue: 256, CacheFor: 15 * time.Minute, CacheSize: 20_000,
			Throttle: auth.DefaultThrottle(),
		},
	}
	c.Listen.IMAP, c.Listen.IMAPS, c.Listen.Submission, c.Listen.Submissions = ":143", ":993", ":587", ":465"
	c.Log.Level, c.Log.Format = "info", "text"
	return c
}

// configError is a configuration with mistakes.
type configError struct {
	path     string
	mistakes []*Mistake
}

// Error lists the mistakes, one a line.
func (e *configError) Error() string {
	text := "the configuration has mistakes:"
	for _, m := range e.mistakes {
		text += fmt.Sprintf("\n  %s: %v", e.path, m)
	}
	return text
}

// loadConfig reads a configuration file over the defaults. Relative paths in it
// count from its directory. A *configError names every mistake.
func loadConfig(path string) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w; name the file with --config", err)
	}
	c := defaultConfig()
	mistakes := decode(string(text), c.settings())
	at := lines(string(text))
	for _, m := range c.check() {
		if !slices.ContainsFunc(mistakes, func(o *Mistake) bool { return o.Key == m.Key }) {
			m.Line = at[m.Key]
			mistakes = append(mistakes, m)
		}
	}
	slices.SortStableFunc(mistakes, func(a, b *Mistake) int { return a.Line - b.Line })
	if len(mistakes) > 0 {
		return nil, &configError{path, mistakes}
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("find the directory of the configuration: %w", err)
	}
	c.resolve(dir)
	c.path = path
	return c, nil
}

// file names a file of the data directory.
func (c *Config) file(name string) string { return filepath.Join(c.Data, name) }

// resolve fills what depends on other keys, and makes paths absolute.
func (c *Config) resolve(dir string) {
	absolute := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	absolute(&c.Data)
	if c.AdminSocket == "" {
		c.AdminSocket = c.file("admin.sock")
	}
	absolute(&c.AdminSocket)
	if c.Keys.MasterFile == "" && len(c.Keys.MasterCommand) == 0 {
		c.Keys.MasterFile = c.file("master.key")
	}
	absolute(&c.Keys.MasterFile)
	for i := range c.TLS.Certificates {
		absolute(&c.TLS.Certificates[i].Cert)
		absolute(&c.TLS.Certificates[i].Key)
	}
	if c.Hostname == "" {
		if c.Hostname, _ = os.Hostname(); c.Hostname == "" {
			c.Hostname = "localhost"
		}
	}
}

// check finds what is wrong with values that have the right type.
func (c *Config) check() []*Mistake {
	var mistakes []*Mistake
	wrong := func(key, format string, args ...any) {
		mistakes = append(mistakes, &Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	if c.Data == "" {
		wrong("data", "name the directory where everything is kept")
	}
	if _, err := backend.ParseDomain(c.Hostname); err != nil && c.Hostname != "" {
		wrong("hostname", "%q is no host name", c.Hostname)
	}
	if len(c.Domains) == 0 {
		wrong("domains", `name at least one domain whose mail is kept here, like ["hopital.example"]`)
	}
	for _, d := range c.Domains {
		if _, err := backend.ParseDomain(d); err != nil {
			wrong("domains", "%q is no domain name", d)
		}
	}
	if _, err := backend.ParseAddress(c.Postmaster); err != nil && c.Postmaster != "" {
		wrong("postmaster", "%q is no address", c.Postmaster)
	}
	for _, d := range c.doors() {
		if _, err := net.ResolveTCPAddr("tcp", d.address); err != nil {
			wrong("listen."+d.name, "%q is no address to listen on: write it like \":993\" or \"192.0.2.1:993\"", d.address)
		}
	}
	if len(c.doors()) == 0 {
		wrong("listen", "every door is closed: give at least one of them an address")
	}
	if len(c.TLS.Certificates) == 0 {
		wrong("tls.certificates", "every door needs TLS: name the files of a certificate and of its key")
	}
	if c.Keys.MasterFile != "" && len(c.Keys.MasterCommand) > 0 {
		wrong("keys.master_command", "the master key comes from a file or from a command: name one of them")
	}
	if _, err := c.level(); err != nil {
		wrong("log.level", `%q is none of "debug", "info", "warn" and "error"`, c.Log.Level)
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		wrong("log.format", `%q is neither "text" nor "json"`, c.Log.Format)
	}
	return mistakes
}

// door is one listener of the configuration.
type door struct {
	name     string // as in [listen]
	address  string
	implicit bool // TLS from the first octet
	smtp     bool
}

// doors lists the listeners that are open.
func (c *Config) doors() []door {
	return slices.DeleteFunc([]door{
		{"imap", c.Listen.IMAP, false, false},
		{"imaps", c.Listen.IMAPS, true, false},
		{"submission", c.Listen.Submission, false, true},
		{"submissions", c.Listen.Submissions, true, true},
	}, func(d door) bool { return d.address == "" })
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	err := l.UnmarshalText([]byte(c.Log.Level))
	return l, err
}

// locked lists the keys whose values differ and which only a restart changes.
func (c *Config) locked(other *Config) []string {
	var keys []string
	ours, theirs := c.settings(), other.settings()
	for i, s := range ours {
		if write(s.value) != write(theirs[i].value) && !slices.Contains([]string{"log.level", "tls.certificates"}, s.key) {
			keys = append(keys, s.key)
		}
	}
	return keys
}
