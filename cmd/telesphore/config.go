package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/backend/dkim"
	"telesphore/backend/imapd"
	"telesphore/backend/origin"
	"telesphore/backend/queue"
	"telesphore/backend/relay"
	"telesphore/backend/smtpd"
	"telesphore/backend/xdm"
	"telesphore/storage"
	"telesphore/storage/body"
	"telesphore/tls"
)

// Config is what config.example.toml says: that file tells what each key means,
// and a test proves that its values are the defaults.
type Config struct {
	path     string // the file that it was read from, "" when there is none
	operator string // whose server it is, in each line of the log; "" for no word of it

	Data        string // directory
	Hostname    string
	Domains     []string
	Postmaster  string
	SubAddress  string
	Language    string
	AdminSocket string

	Listen struct{ IMAP, IMAPS, Submission, Submissions, SMTP string } // a door is closed when its address is empty
	TLS    struct{ Certificates []tls.Pair }
	Keys   struct {
		MasterFile    string
		MasterCommand []string
	}
	Log       struct{ Level, Format string }
	Aliases   backend.AliasLimits
	Policy    PolicyConfig
	WhiteList WhiteListConfig
	Cards     CardConfig
	Audit     storage.AuditOptions

	Routes    []RouteConfig
	Relay     relay.Limits
	Systems   []smtpd.System
	Origin    OriginConfig
	DNS       DNSConfig
	Queue     queue.Limits
	Sending   storage.SendLimits
	DKIM      []dkim.Key
	Scan      ScanConfig
	Documents xdm.Limits
	Traces    time.Duration // how long what became of a message is known

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

// WhiteListConfig is the section [trust_space].
type WhiteListConfig struct {
	Certificates []tls.Pair
	Source       string
	Roots        []string
	Refresh      time.Duration
	MaxAge       time.Duration
	Timeout      time.Duration
	Size         int64
	Entries      int
	MaxLoss      int // percent
}

// RouteConfig is a route whose password lies in a file.
type RouteConfig struct {
	relay.Route
	PasswordFile string
}

// OriginConfig is the section [origin].
type OriginConfig struct {
	origin.Limits
	OnFailure string // "reject" or "mark"
}

// DNSConfig is the section [dns].
type DNSConfig struct {
	Servers []string
	Timeout time.Duration
}

// ScanConfig is the section [scan].
type ScanConfig struct {
	Milter    string
	Timeout   time.Duration
	OnFailure string // "refuse" or "accept"
	Fields    int
	Replies   int64
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
		Relay: relay.DefaultLimits(), Origin: OriginConfig{origin.DefaultLimits(), "reject"},
		Queue: queue.DefaultLimits(), DNS: DNSConfig{Timeout: 5 * time.Second}, Scan: ScanConfig{Timeout: time.Minute, OnFailure: "refuse", Fields: 50, Replies: 256 << 10},
		Documents: xdm.DefaultLimits(), Sending: storage.SendLimits{Messages: 500, First: 200}, Traces: 365 * day,
		Audit: storage.AuditOptions{FileSize: 64 << 20, Every: time.Second, Queue: 10_000},
	}
	apps := auth.DefaultAppPasswordLimits()
	p := &c.Auth.AppPasswords
	p.Enabled, p.Level, p.Life, p.PerAccount = true, apps.Level, apps.Life, apps.PerAccount
	c.Language, c.SubAddress = "en", "+"
	c.Listen.IMAP, c.Listen.IMAPS, c.Listen.Submission, c.Listen.Submissions = ":143", ":993", ":587", ":465"
	c.Listen.SMTP = ":25"
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
	for _, pairs := range [][]tls.Pair{c.TLS.Certificates, c.WhiteList.Certificates} {
		for i := range pairs {
			absolute(&pairs[i].Cert)
			absolute(&pairs[i].Key)
		}
	}
	for i := range c.DKIM {
		absolute(&c.DKIM[i].File)
	}
	for i := range c.Routes {
		absolute(&c.Routes[i].PasswordFile)
	}
	if c.Hostname == "" {
		if c.Hostname, _ = os.Hostname(); c.Hostname == "" {
			c.Hostname = "localhost"
		}
	}
}

// routeTrusted is the security of a route to a domain of the trust space. It is no
// permission: when the domain leaves the trust space, no mail goes there any more.
const routeTrusted = "trusted"

// outside lists the ordinary domains that mail may go to: those with a route of theirs.
func (c *Config) outside() (domains []string) {
	for _, r := range c.Routes {
		if r.Security != routeTrusted {
			domains = append(domains, r.Domain)
		}
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
	protocol string // "imap", "submission" or "smtp"
	implicit bool   // TLS from the first octet
}

// doors lists the listeners that are open.
func (c *Config) doors() []door {
	return slices.DeleteFunc([]door{
		{"imap", c.Listen.IMAP, "imap", false},
		{"imaps", c.Listen.IMAPS, "imap", true},
		{"submission", c.Listen.Submission, "submission", false},
		{"submissions", c.Listen.Submissions, "submission", true},
		{"smtp", c.Listen.SMTP, "smtp", false},
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
		if write(s.value) != write(theirs[i].value) && !slices.Contains([]string{"log.level", "tls.certificates", "trust_space.certificates"}, s.key) {
			keys = append(keys, s.key)
		}
	}
	return keys
}
