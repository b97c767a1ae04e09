package main

import (
	"slices"

	"telesphore/backend/auth"
	"telesphore/backend/dkim"
	"telesphore/backend/smtpd"
	"telesphore/tls"
)

// This file binds the keys of the configuration to their places.

// settings binds every key to its place, in the order of config.example.toml.
func (c *Config) settings() []setting {
	return slices.Concat(c.generalSettings(), c.storeSettings(), c.doorSettings(), c.authSettings(), c.trustSettings(), c.relaySettings())
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
		{key: "listen.smtp", value: &c.Listen.SMTP},

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
		{key: "smtp.hops", value: &m.Hops},
		{key: "smtp.hold", value: (*Duration)(&m.Hold)},
		{key: "smtp.messages", value: &m.Messages},
		{key: "smtp.commands", value: &m.Commands},
		{key: "smtp.errors", value: &m.Errors},
		{key: "smtp.failures", value: &m.AuthFailures},
		{key: "smtp.tries", value: &m.AuthTries},
		{key: "smtp.unknown", value: &m.Unknown},
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

		{key: "trust_space.source", value: &w.Source},
		{key: "trust_space.certificates", value: &tables[tls.Pair]{&w.Certificates, pairColumns, `certificates like { cert = "FILE", key = "FILE" }`}},
		{key: "trust_space.roots", value: &w.Roots},
		{key: "trust_space.refresh", value: (*Duration)(&w.Refresh)},
		{key: "trust_space.max_age", value: (*Duration)(&w.MaxAge)},
		{key: "trust_space.timeout", value: (*Duration)(&w.Timeout)},
		{key: "trust_space.size", value: (*Size)(&w.Size)},
		{key: "trust_space.entries", value: &w.Entries},
		{key: "trust_space.max_loss", value: &w.MaxLoss, zero: true},

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

// relaySettings are about mail that leaves, and mail that comes from elsewhere.
func (c *Config) relaySettings() []setting {
	r, o, q, d := &c.Relay, &c.Origin.Limits, &c.Queue, &c.Documents
	return []setting{
		{key: "relay.routes", value: &tables[RouteConfig]{&c.Routes, routeColumns, `routes like { domain = "perso.example", host = "mail.perso.example:25", security = "starttls" }`}},

		{key: "relay.resolve", value: (*Duration)(&r.Resolve)},
		{key: "relay.dial", value: (*Duration)(&r.Dial)},
		{key: "relay.command", value: (*Duration)(&r.Command)},
		{key: "relay.data", value: (*Duration)(&r.Data)},
		{key: "relay.quit", value: (*Duration)(&r.Quit)},
		{key: "relay.reply", value: &r.Reply},
		{key: "relay.hosts", value: &r.Hosts},
		{key: "relay.addresses", value: &r.Addresses},
		{key: "relay.recipients", value: &r.Rcpts},
		{key: "relay.hold", value: (*Size)(&r.Hold)},
		{key: "relay.idle", value: (*Duration)(&r.Idle)},
		{key: "relay.uses", value: &r.Uses},
		{key: "relay.kept", value: &r.Kept},

		{key: "systems.identities", value: &tables[smtpd.System]{&c.Systems, systemColumns, `identities like { account = "labo@hopital.example", networks = ["10.1.0.0/16"] }`}},

		{key: "origin.on_failure", value: &c.Origin.OnFailure},
		{key: "origin.time", value: (*Duration)(&o.Time)},
		{key: "origin.signatures", value: &o.Signatures},
		{key: "origin.key_bits", value: &o.KeyBits},
		{key: "origin.header", value: &o.Header},
		{key: "origin.lines", value: &o.Lines},

		{key: "queue.first", value: (*Duration)(&q.First)},
		{key: "queue.first_urgent", value: (*Duration)(&q.FirstShort)},
		{key: "queue.longest", value: (*Duration)(&q.Longest)},
		{key: "queue.lifetime", value: (*Duration)(&q.Lifetime)},
		{key: "queue.warn", value: (*Duration)(&q.Warn)},
		{key: "queue.attempts", value: &q.Attempts},
		{key: "queue.per_domain", value: &q.PerDomain},
		{key: "queue.attempt", value: (*Duration)(&q.Attempt)},
		{key: "queue.recipients", value: &q.Recipients},
		{key: "queue.gather", value: (*Duration)(&q.Gather)},
		{key: "queue.give_back", value: (*Size)(&q.Return)},
		{key: "queue.grace", value: (*Duration)(&q.Grace)},

		{key: "dns.servers", value: &c.DNS.Servers},
		{key: "dns.timeout", value: (*Duration)(&c.DNS.Timeout)},

		{key: "sending.per_day", value: &c.Sending.Messages, zero: true},
		{key: "sending.first_per_day", value: &c.Sending.First, zero: true},

		{key: "dkim.keys", value: &tables[dkim.Key]{&c.DKIM, dkimColumns, `keys like { domain = "hopital.example", selector = "s2026", file = "FILE" }`}},

		{key: "scan.milter", value: &c.Scan.Milter},
		{key: "scan.timeout", value: (*Duration)(&c.Scan.Timeout)},
		{key: "scan.on_failure", value: &c.Scan.OnFailure},
		{key: "scan.fields", value: &c.Scan.Fields},
		{key: "scan.replies", value: (*Size)(&c.Scan.Replies)},

		{key: "documents.archive", value: (*Size)(&d.Archive)},
		{key: "documents.file", value: (*Size)(&d.File)},
		{key: "documents.files", value: &d.Files},

		{key: "traces.keep", value: (*Duration)(&c.Traces)},
	}
}

func dkimColumns(k *dkim.Key) []setting {
	return []setting{{key: "domain", value: &k.Domain}, {key: "selector", value: &k.Selector}, {key: "file", value: &k.File}}
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

func routeColumns(r *RouteConfig) []setting {
	return []setting{
		{key: "domain", value: &r.Domain},
		{key: "host", value: &r.Host, zero: true},
		{key: "security", value: &r.Security},
		{key: "username", value: &r.Username, zero: true},
		{key: "password_file", value: &r.PasswordFile, zero: true},
	}
}

func systemColumns(y *smtpd.System) []setting {
	return []setting{
		{key: "account", value: &y.Account},
		{key: "senders", value: &y.Senders, zero: true},
		{key: "networks", value: &y.Networks, zero: true},
		{key: "per_minute", value: &y.PerMinute, zero: true},
		{key: "per_day", value: &y.PerDay, zero: true},
		{key: "message", value: (*Size)(&y.Message), zero: true},
		{key: "fill", value: &y.Fill, zero: true},
	}
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
