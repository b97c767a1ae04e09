package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/backend/imapd"
	"telesphore/backend/relay"
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
	SubAddress  string
	Language    string
	AdminSocket string

	Listen struct{ IMAP, IMAPS, Submission, Submissions string } // a door is closed when its address is empty
	TLS    struct{ Certificates []tls.Pair }
	Keys   struct {
		MasterFile    string
		MasterCommand []string
	}
	Log        struct{ Level, Format string }
	Aliases    backend.AliasLimits
	Policy     PolicyConfig
	TrustSpace []string // domains of other operators
	WhiteList  WhiteListConfig
	Routes     []relay.Route
	Cards      CardConfig
	Audit      storage.AuditOptions

	Storage storage.Limits
	Bodies  body.Options
	IMAP    imapd.Limits
	SMTP    smtpd.Limits
	Auth    AuthConfig
	Admin   admind.Limits
}

// PolicyConfig is the section [policy].
type PolicyConfig struct {
	auth.Levels
	Domains []DomainPolicy
}

// DomainPolicy is the policy of one domain.
type DomainPolicy struct {
	Domain string
	auth.Levels
}

// WhiteListConfig is what the section [trust_space] says beside its domains.
type WhiteListConfig struct {
	Source  string
	Roots   []string
	Refresh time.Duration
	MaxAge  time.Duration
	Timeout time.Duration
	Size    int64
	Entries int
	MaxLoss int // percent
}

// CardConfig is the section [cards].
type CardConfig struct {
	Issuers    []CardIssuer
	Refresh    time.Duration
	Grace      time.Duration
	ListSize   int64
	Timeout    time.Duration
	Answers    int
	AnswerFor  time.Duration
	PerAccount int
	Window     time.Duration
	Recheck    time.Duration
}

// CardIssuer is an authority whose certificates log people in.
type CardIssuer struct {
	tls.Issuer
	Kind      string // "person" or "organisation"
	Attribute string // OID
	Pattern   string
}

// AuthConfig is what the sections [auth], [codes], [grants] and [app_passwords] say.
type AuthConfig struct {
	Memory    int64 // octets of one password hash
	Passes    int
	Hashes    int
	Queue     int
	CacheFor  time.Duration
	CacheSize int
	Throttle  auth.Throttle

	HideIMAP        []string
	HideSMTP        []string
	TokenSession    time.Duration
	SCRAM           bool
	SCRAMPasswords  bool
	SCRAMIterations int

	Codes        auth.CodeLimits
	Grants       auth.GrantLimits
	AppPasswords struct {
		Enabled    bool
		Level      int
		Life       time.Duration
		PerAccount int
	}
}

// params are the cost of a password hash.
func (a *AuthConfig) params() auth.Params {
	return auth.Params{Memory: uint32(a.Memory >> 10), Time: uint32(a.Passes), Lanes: 1}
}

// settings binds every key to its place, in the order of config.example.toml.
func (c *Config) settings() []setting {
	return slices.Concat(c.generalSettings(), c.storeSettings(), c.doorSettings(), c.authSettings(), c.trustSettings())
}

// generalSettings are about the server as a whole.
func (c *Config) generalSettings() []setting {
	return []setting{
		{key: "data", value: &c.Data},
		{key: "hostname", value: &c.Hostname},
		{key: "domains", value: &c.Domains},
		{key: "postmaster", value: &c.Postmaster},
		{key: "sub_address", value: &c.SubAddress},
		{key: "language", value: &c.Language},
		{key: "admin_socket", value: &c.AdminSocket},

		{key: "listen.imap", value: &c.Listen.IMAP},
		{key: "listen.imaps", value: &c.Listen.IMAPS},
		{key: "listen.submission", value: &c.Listen.Submission},
		{key: "listen.submissions", value: &c.Listen.Submissions},

		{key: "tls.certificates", value: &tables[tls.Pair]{&c.TLS.Certificates, pairColumns, `certificates like { cert = "FILE", key = "FILE" }`}},

		{key: "keys.master_file", value: &c.Keys.MasterFile},
		{key: "keys.master_command", value: &c.Keys.MasterCommand},

		{key: "log.level", value: &c.Log.Level},
		{key: "log.format", value: &c.Log.Format},
	}
}

// storeSettings are about what is kept.
func (c *Config) storeSettings() []setting {
	s := &c.Storage
	return []setting{
		{key: "storage.quota", value: (*Size)(&s.QuotaBytes)},
		{key: "storage.mailboxes", value: &s.Mailboxes},
		{key: "storage.name_length", value: &s.NameLength},
		{key: "storage.name_depth", value: &s.NameDepth},
		{key: "storage.vanished_ranges", value: &s.VanishedRanges},
		{key: "storage.free_space", value: (*Size)(&s.FreeBytes)},
		{key: "storage.segment_size", value: (*Size)(&c.Bodies.SegmentSize)},

		{key: "aliases.members", value: &c.Aliases.Members},
		{key: "aliases.depth", value: &c.Aliases.Depth},
		{key: "aliases.recipients", value: &c.Aliases.Recipients},

		{key: "audit.file_size", value: (*Size)(&c.Audit.FileSize)},
		{key: "audit.queue", value: &c.Audit.Queue},
		{key: "audit.sync", value: (*Duration)(&c.Audit.Every)},
	}
}

// doorSettings are about what clients may take.
func (c *Config) doorSettings() []setting {
	i, w, m := &c.IMAP, &c.IMAP.Wire, &c.SMTP
	return []setting{
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
		{key: "smtp.tries", value: &m.AuthTries},
		{key: "smtp.log_in", value: (*Duration)(&m.Login)},
		{key: "smtp.handshake", value: (*Duration)(&m.Handshake)},
		{key: "smtp.idle", value: (*Duration)(&m.Idle)},
		{key: "smtp.receive", value: (*Duration)(&m.Message)},
		{key: "smtp.write", value: (*Duration)(&m.Write)},

		{key: "admin.connections", value: &c.Admin.Connections},
		{key: "admin.line", value: (*Size)(&c.Admin.Line)},
		{key: "admin.page", value: &c.Admin.Page},
		{key: "admin.idle", value: (*Duration)(&c.Admin.Idle)},
		{key: "admin.operation", value: (*Duration)(&c.Admin.Operation)},
	}
}

// authSettings are about who is calling.
func (c *Config) authSettings() []setting {
	a, t, o, g, p := &c.Auth, &c.Auth.Throttle, &c.Auth.Codes, &c.Auth.Grants, &c.Auth.AppPasswords
	return []setting{
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
		{key: "auth.scram", value: &a.SCRAM},
		{key: "auth.scram_passwords", value: &a.SCRAMPasswords},
		{key: "auth.scram_iterations", value: &a.SCRAMIterations},
		{key: "auth.hide_imap", value: &a.HideIMAP},
		{key: "auth.hide_smtp", value: &a.HideSMTP},
		{key: "auth.token_session", value: (*Duration)(&a.TokenSession)},

		{key: "codes.digits", value: &o.Digits},
		{key: "codes.life", value: (*Duration)(&o.Life)},
		{key: "codes.resend", value: (*Duration)(&o.Resend)},
		{key: "codes.per_hour", value: &o.PerHour},
		{key: "codes.tries", value: &o.Tries},
		{key: "codes.wrong_per_day", value: &o.WrongDay},

		{key: "grants.idle", value: (*Duration)(&g.Idle)},
		{key: "grants.life", value: (*Duration)(&g.Life)},
		{key: "grants.ipv4", value: &g.IPv4},
		{key: "grants.ipv6", value: &g.IPv6},
		{key: "grants.per_account", value: &g.PerAccount},
		{key: "grants.extra", value: (*Duration)(&g.Extra)},

		{key: "app_passwords.enabled", value: &p.Enabled},
		{key: "app_passwords.worth", value: &p.Level},
		{key: "app_passwords.life", value: (*Duration)(&p.Life)},
		{key: "app_passwords.per_account", value: &p.PerAccount},
	}
}

// trustSettings are about cards and other operators, and what they are needed for.
func (c *Config) trustSettings() []setting {
	k, w := &c.Cards, &c.WhiteList
	return append(append([]setting{}, levelColumns("policy.", &c.Policy.Levels)...), []setting{
		{key: "policy.domains", value: &tables[DomainPolicy]{&c.Policy.Domains, policyColumns, `policies like { domain = "clinique.example", log_in = 2, read = 2, trust_space = 2, credentials = 3 }`}},

		{key: "trust_space.domains", value: &c.TrustSpace},
		{key: "trust_space.source", value: &w.Source},
		{key: "trust_space.roots", value: &w.Roots},
		{key: "trust_space.refresh", value: (*Duration)(&w.Refresh)},
		{key: "trust_space.max_age", value: (*Duration)(&w.MaxAge)},
		{key: "trust_space.timeout", value: (*Duration)(&w.Timeout)},
		{key: "trust_space.size", value: (*Size)(&w.Size)},
		{key: "trust_space.entries", value: &w.Entries},
		{key: "trust_space.max_loss", value: &w.MaxLoss, zero: true},

		{key: "relay.routes", value: &tables[relay.Route]{&c.Routes, routeColumns, `routes like { domain = "perso.example", host = "mail.perso.example:25", security = "starttls" }`}},

		{key: "cards.issuers", value: &tables[CardIssuer]{&k.Issuers, issuerColumns, `issuers like { group = "igc-sante", kind = "person", certificate = "FILE", lists = ["FILE or URL"] }`}},
		{key: "cards.refresh", value: (*Duration)(&k.Refresh)},
		{key: "cards.grace", value: (*Duration)(&k.Grace), zero: true},
		{key: "cards.list_size", value: (*Size)(&k.ListSize)},
		{key: "cards.timeout", value: (*Duration)(&k.Timeout)},
		{key: "cards.answers", value: &k.Answers},
		{key: "cards.answer_for", value: (*Duration)(&k.AnswerFor)},
		{key: "cards.per_account", value: &k.PerAccount},
		{key: "cards.window", value: (*Duration)(&k.Window)},
		{key: "cards.recheck", value: (*Duration)(&k.Recheck)},
	}...)
}

func pairColumns(p *tls.Pair) []setting {
	return []setting{{key: "cert", value: &p.Cert}, {key: "key", value: &p.Key}}
}

func levelColumns(prefix string, l *auth.Levels) []setting {
	return []setting{
		{key: prefix + "log_in", value: &l.LogIn},
		{key: prefix + "read", value: &l.Read},
		{key: prefix + "trust_space", value: &l.TrustSpace},
		{key: prefix + "credentials", value: &l.Credentials},
	}
}

func policyColumns(p *DomainPolicy) []setting {
	return append([]setting{{key: "domain", value: &p.Domain}}, levelColumns("", &p.Levels)...)
}

func routeColumns(r *relay.Route) []setting {
	return []setting{{key: "domain", value: &r.Domain}, {key: "host", value: &r.Host}, {key: "security", value: &r.Security}}
}

func issuerColumns(i *CardIssuer) []setting {
	return []setting{
		{key: "group", value: &i.Group},
		{key: "kind", value: &i.Kind},
		{key: "certificate", value: &i.Certificate},
		{key: "lists", value: &i.Lists, zero: true},
		{key: "ocsp", value: &i.OCSP, zero: true},
		{key: "test", value: &i.Test, zero: true},
		{key: "attribute", value: &i.Attribute, zero: true},
		{key: "pattern", value: &i.Pattern, zero: true},
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
		Aliases: backend.DefaultAliasLimits(),
		Auth: AuthConfig{
			Memory: int64(auth.DefaultParams.Memory) << 10, Passes: int(auth.DefaultParams.Time),
			Queue: 256, CacheFor: 15 * time.Minute, CacheSize: 20_000,
			Throttle: auth.DefaultThrottle(),
			HideSMTP: []string{"SCRAM-SHA-256-PLUS"},
			SCRAM:    true, SCRAMPasswords: true, SCRAMIterations: 10_000, TokenSession: 4 * time.Hour,
			Codes: auth.DefaultCodeLimits(), Grants: auth.DefaultGrantLimits(),
		},
		Policy: PolicyConfig{Levels: auth.DefaultLevels()},
		WhiteList: WhiteListConfig{
			Refresh: time.Hour, MaxAge: 7 * day, Timeout: 30 * time.Second, Size: 32 << 20, Entries: 100_000, MaxLoss: 20,
		},
		Cards: CardConfig{
			Refresh: 15 * time.Minute, ListSize: 64 << 20, Timeout: 30 * time.Second, Answers: 10_000,
			AnswerFor: time.Hour, PerAccount: 5, Window: 14 * 24 * time.Hour, Recheck: 15 * time.Minute,
		},
		Audit: storage.AuditOptions{FileSize: 64 << 20, Every: time.Second, Queue: 10_000},
	}
	apps := auth.DefaultAppPasswordLimits()
	p := &c.Auth.AppPasswords
	p.Enabled, p.Level, p.Life, p.PerAccount = true, apps.Level, apps.Life, apps.PerAccount
	c.Language, c.SubAddress = "en", "+"
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
	for i := range c.Cards.Issuers {
		issuer := &c.Cards.Issuers[i]
		issuer.Organisation = issuer.Kind == "organisation"
		absolute(&issuer.Certificate)
		for n, list := range issuer.Lists {
			if !strings.Contains(list, "://") {
				absolute(&issuer.Lists[n])
			}
		}
	}
	if !strings.Contains(c.WhiteList.Source, "://") {
		absolute(&c.WhiteList.Source)
	}
	for i := range c.WhiteList.Roots {
		absolute(&c.WhiteList.Roots[i])
	}
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
	if len(c.SubAddress) > 1 || !strings.Contains("!#$%&'*+-/=?^_`{|}~", c.SubAddress) {
		wrong("sub_address", `%q is not one character that separates, like "+" or "-"`, c.SubAddress)
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
	c.checkTrust(wrong)
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		wrong("log.format", `%q is neither "text" nor "json"`, c.Log.Format)
	}
	return mistakes
}

// checkTrust finds what is wrong with cards, policy and other operators.
func (c *Config) checkTrust(wrong func(key, format string, args ...any)) {
	if c.Language != "en" && c.Language != "fr" {
		wrong("language", `%q is neither "en" nor "fr"`, c.Language)
	}
	level := func(key string, l *auth.Levels) {
		for _, s := range levelColumns("", l) {
			if n := *s.value.(*int); n < auth.LevelPassword || n > auth.LevelCard {
				wrong(key, "%s is %d: a level is 1 (password), 2 (code) or 3 (card)", s.key, n)
			}
		}
	}
	level("policy", &c.Policy.Levels)
	for i := range c.Policy.Domains {
		p := &c.Policy.Domains[i]
		same := func(d string) bool { return strings.EqualFold(d, p.Domain) }
		if !slices.ContainsFunc(c.Domains, same) {
			wrong("policy.domains", "%q is not among domains", p.Domain)
		}
		if slices.ContainsFunc(c.Policy.Domains[:i], func(o DomainPolicy) bool { return same(o.Domain) }) {
			wrong("policy.domains", "%q has two policies", p.Domain)
		}
		level("policy.domains", &p.Levels)
		if _, err := backend.ParseDomain(p.Domain); err != nil {
			wrong("policy.domains", "%q is no domain name", p.Domain)
		}
	}
	for _, d := range c.TrustSpace {
		if _, err := backend.ParseDomain(d); err != nil {
			wrong("trust_space.domains", "%q is no domain name", d)
		}
	}
	scheme, _, remote := strings.Cut(c.WhiteList.Source, "://")
	if remote && scheme != "https" {
		wrong("trust_space.source", "%q is neither a file nor an https URL", c.WhiteList.Source)
	}
	if remote && len(c.WhiteList.Roots) == 0 {
		wrong("trust_space.roots", "name the certificates of the authorities that vouch for the server of the white list: the system's are not believed about it")
	}
	if c.WhiteList.MaxLoss > 100 {
		wrong("trust_space.max_loss", "%d is more than 100 percent", c.WhiteList.MaxLoss)
	}
	for _, r := range c.Routes {
		if _, _, err := net.SplitHostPort(r.Host); err != nil {
			wrong("relay.routes", "%q is no host with a port, like mail.example:25", r.Host)
		}
		if host, _, _ := net.SplitHostPort(r.Host); r.Security == relay.None && !loopback(host) {
			wrong("relay.routes", `security "none" is for this machine only: codes would travel in clear to %s`, host)
		}
		if !slices.Contains([]string{"none", "starttls", "tls"}, r.Security) {
			wrong("relay.routes", `security %q is none of "none", "starttls" and "tls"`, r.Security)
		}
	}
	for n, i := range c.Cards.Issuers {
		if strings.Contains(i.Group, "|") {
			wrong("cards.issuers", "a group has no | in its name: %q", i.Group)
		}
		if len(i.Lists) == 0 && i.OCSP == "" {
			wrong("cards.issuers", "name the revocation lists of %s, or its OCSP responder: a stolen card must be refused", i.Certificate)
		}
		if slices.ContainsFunc(c.Cards.Issuers[:n], func(o CardIssuer) bool {
			return i.Kind == "person" && o.Kind == i.Kind && o.Group == i.Group && (o.Attribute != i.Attribute || o.Pattern != i.Pattern)
		}) {
			wrong("cards.issuers", "the issuers of group %s differ in attribute or pattern", i.Group)
		}
		if i.Kind != "person" && i.Kind != "organisation" {
			wrong("cards.issuers", `kind %q is neither "person" nor "organisation"`, i.Kind)
		}
		if _, err := regexp.Compile(i.Pattern); err != nil {
			wrong("cards.issuers", "pattern: %v", err)
		}
	}
	if c.Cards.Grace > 24*time.Hour {
		wrong("cards.grace", "a revocation list counts at most 24h beyond its end")
	}
	if c.Auth.Codes.Digits < 6 || c.Auth.Codes.Digits > 8 {
		wrong("codes.digits", "a code has 6 to 8 digits")
	}
	if c.Auth.AppPasswords.Level > auth.LevelCode {
		wrong("app_passwords.worth", "an application password is worth 1 or 2")
	}
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// outside lists the ordinary domains that mail may go to: those with a route.
func (c *Config) outside() (domains []string) {
	for _, r := range c.Routes {
		domains = append(domains, r.Domain)
	}
	return domains
}

// policy is what each domain asks for.
func (c *Config) policy() auth.Policy {
	p := auth.Policy{Default: c.Policy.Levels, Domains: make(map[string]auth.Levels)}
	for _, d := range c.Policy.Domains {
		name, _ := backend.ParseDomain(d.Domain) // checked
		p.Domains[name] = d.Levels
	}
	return p
}

// cardRules say where identities stand in certificates.
func (c *Config) cardRules() auth.CardRules {
	r := auth.CardRules{
		Rules: make(map[string]auth.CardRule), PerAccount: c.Cards.PerAccount, Window: c.Cards.Window,
	}
	for _, i := range c.Cards.Issuers {
		rule := auth.CardRule{Attribute: i.Attribute}
		if i.Pattern != "" {
			rule.Pattern = regexp.MustCompile("^(?:" + i.Pattern + ")$") // checked
		}
		r.Rules[i.Group] = rule
	}
	return r
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
