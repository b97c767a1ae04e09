package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"telesphore/tls"
	"telesphore/tls/tlstest"
)

const exampleFile = "../../config.example.toml"

func TestExampleHasEveryKeyWithItsDefault(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	// Into an empty configuration, so that a key the example forgets shows.
	got := &Config{}
	for _, m := range decode(string(text), got.settings()) {
		t.Error(m)
	}
	want := defaultConfig()
	at := lines(string(text))
	theirs := want.settings()
	for i, s := range got.settings() {
		if at[s.key] == 0 {
			t.Errorf("%s is not in the example", s.key)
		} else if g, w := write(s.value), write(theirs[i].value); g != w {
			t.Errorf("%s is %s in the example, %s by default", s.key, g, w)
		}
	}
}

func TestExampleExplainsEveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	above := false // whether the line above is a comment, or a key explained by one
	for n, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			above = true
		case strings.Contains(line, " = "):
			if !above && !strings.Contains(line, "# ") {
				t.Errorf("line %d has no comment: %s", n+1, line)
			}
			above = false
		default:
			above = false
		}
	}
}

func TestDefaultsReachEveryLimit(t *testing.T) {
	// A limit that a package gains and the configuration forgets is zero here, or
	// has no key.
	c := defaultConfig()
	keys := make(map[uintptr]bool)
	for _, s := range c.settings() {
		keys[reflect.ValueOf(s.value).Pointer()] = true
	}
	var walk func(name string, v reflect.Value)
	walk = func(name string, v reflect.Value) {
		for i := range v.NumField() {
			f := v.Field(i)
			if f.Kind() == reflect.Struct {
				walk(name+"."+v.Type().Field(i).Name, f)
				continue
			}
			if !keys[f.Addr().Pointer()] {
				t.Errorf("%s.%s has no key", name, v.Type().Field(i).Name)
			}
		}
	}
	for name, limits := range map[string]any{"storage": &c.Storage, "imap": &c.IMAP, "smtp": &c.SMTP, "auth": &c.Auth} {
		walk(name, reflect.ValueOf(limits).Elem())
	}
	for _, m := range decode(encode(c.settings()), c.settings()) {
		t.Errorf("default: %v", m)
	}
}

func TestMistakesAreAllTold(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"syntax", "data = \n", `line 1: `},
		{"unknown key", "domain = [\"a.test\"]\n", "line 1: domain: there is no such key; did you mean domains?"},
		{"unknown key in a section", "[imap]\nconections = 3\n", "line 2: imap.conections: there is no such key; did you mean imap.connections?"},
		{"unknown section", "[pop3]\nport = 110\n", "line 2: pop3.port: there is no such key\n"},
		{"text for a number", "[imap]\n\nfailures = \"6\"\n", "line 3: imap.failures: the value is a whole number"},
		{"number for a text", "data = 3\n", "line 1: data: the value is text"},
		{"number for a time", "[imap]\nidle = 30\n", "line 2: imap.idle: the value is a length of time: write it like"},
		{"bad time", "[imap]\nidle = \"30 minutes\"\n", `line 2: imap.idle: "30 minutes" is no length of time`},
		{"bad size", "[storage]\nquota = \"10GB\"\n", `line 2: storage.quota: "10GB" is no size`},
		{"too large", "[storage]\nquota = \"9999999TiB\"\n", `is no size`},
		{"zero", "[imap]\nconnections = 0\n", "line 2: imap.connections: 0 is out of range"},
		{"zero time", "[imap]\nidle = \"0s\"\n", "line 2: imap.idle: 0 is out of range"},
		{"negative", "[imap]\nconnections = -1\n", "line 2: imap.connections: -1 is out of range"},
		{"text for a list", "domains = \"a.test\"\n", "line 1: domains: the value is a list of texts: write it between [ and ]"},
		{"bad entry", "[auth]\ntrusted = [\"10.0.0.0/8\", \"inside\"]\n", `line 2: auth.trusted: entry 2 of the list is not one of networks`},
		{"half a certificate", "[tls]\ncertificates = [{cert = \"a.pem\"}]\n", "line 2: tls.certificates: entry 1 of the list is not one of certificates"},
		{"no domain", "", "domains: name at least one domain"},
		{"bad domain", "domains = [\"a b\"]\n", `line 1: domains: "a b" is no domain name`},
		{"bad host name", "hostname = \"a_b\"\n", `line 1: hostname: "a_b" is no host name`},
		{"bad postmaster", "postmaster = \"\\\"a b\\\"@x.test\"\n", `line 1: postmaster: `},
		{"long separator", "sub_address = \"+-\"\n", `line 1: sub_address: "+-" is not one character that separates`},
		{"bad separator", "sub_address = \".\"\n", `line 1: sub_address: "." is not one character that separates`},
		{"no depth", "[aliases]\ndepth = 0\n", "line 2: aliases.depth: 0 is out of range"},
		{"bad door", "[listen]\nimap = \"143\"\n", `line 2: listen.imap: "143" is no address to listen on`},
		{"no certificate", "domains = [\"a.test\"]\n", "tls.certificates: every door needs TLS"},
		{"bad level", "[log]\nlevel = \"loud\"\n", `line 2: log.level: "loud" is none of`},
		{"bad format", "[log]\nformat = \"xml\"\n", `line 2: log.format: "xml" is neither`},
		{"bad language", "language = \"de\"\n", `line 1: language: "de" is neither "en" nor "fr"`},
		{"bad level of a policy", "[policy]\nread = 4\n", `policy: read is 4: a level is 1 (password), 2 (code) or 3 (card)`},
		{"policy of a foreign domain", "domains = [\"a.test\"]\n[policy]\ndomains = [{domain = \"b.test\", log_in = 1, read = 1, trust_space = 2, credentials = 3}]\n", `line 3: policy.domains: "b.test" is not among domains`},
		{"text for yes or no", "[app_passwords]\nenabled = \"yes\"\n", "line 2: app_passwords.enabled: the value is true or false"},
		{"half an issuer", "[cards]\nissuers = [{group = \"a\", kind = \"person\"}]\n", "line 2: cards.issuers: entry 1 of the list is not one of issuers like"},
		{"unknown column", "[cards]\nissuers = [{group = \"a\", kind = \"person\", certificate = \"c\", list = \"l\"}]\n", "line 2: cards.issuers: entry 1 of the list is not one of issuers like"},
		{"issuer without revocation", "[cards]\nissuers = [{group = \"a\", kind = \"person\", certificate = \"c\"}]\n", "line 2: cards.issuers: name the revocation lists of c, or its OCSP responder"},
		{"bad kind", "[cards]\nissuers = [{group = \"a\", kind = \"people\", certificate = \"c\", lists = [\"l\"]}]\n", `line 2: cards.issuers: kind "people" is neither`},
		{"bad pattern", "[cards]\nissuers = [{group = \"a\", kind = \"person\", certificate = \"c\", lists = [\"l\"], pattern = \"(\"}]\n", "line 2: cards.issuers: pattern: "},
		{"group with a bar", "[cards]\nissuers = [{group = \"a|b\", kind = \"person\", certificate = \"c\", lists = [\"l\"]}]\n", "line 2: cards.issuers: a group has no | in its name"},
		{"two rules in a group", "[cards]\nissuers = [{group = \"a\", kind = \"person\", certificate = \"c\", lists = [\"l\"]}, {group = \"a\", kind = \"person\", certificate = \"d\", lists = [\"l\"], pattern = \"x\"}]\n", "line 2: cards.issuers: the issuers of group a differ"},
		{"long grace", "[cards]\ngrace = \"25h\"\n", "line 2: cards.grace: a revocation list counts at most 24h"},
		{"short codes", "[codes]\ndigits = 5\n", "line 2: codes.digits: a code has 6 to 8 digits"},
		{"strong application password", "[app_passwords]\nworth = 3\n", "line 2: app_passwords.worth: an application password is worth 1 or 2"},
		{"route in clear", "[relay]\nroutes = [{domain = \"p.test\", host = \"192.0.2.1:25\", security = \"none\"}]\n", `line 2: relay.routes: security "none" is for a host on this machine only`},
		{"route without a port", "[relay]\nroutes = [{domain = \"p.test\", host = \"mail.p.test\", security = \"tls\"}]\n", `line 2: relay.routes: "mail.p.test" is no host with a port`},
		{"bad security", "[relay]\nroutes = [{domain = \"p.test\", host = \"mail.p.test:25\", security = \"ssl\"}]\n", `line 2: relay.routes: security "ssl" is none of`},
		{"trusted route without a host", "[relay]\nroutes = [{domain = \"p.test\", security = \"trusted\"}]\n", `line 2: relay.routes: security "trusted" is for one domain of the trust space`},
		{"trusted route for all", "[relay]\nroutes = [{domain = \"*\", host = \"mail.p.test:25\", security = \"trusted\"}]\n", `line 2: relay.routes: security "trusted" is for one domain of the trust space`},
		{"system everywhere", "domains = [\"a.test\"]\n[systems]\nidentities = [{account = \"labo@a.test\", networks = [\"10.0.0.0/8\", \"0.0.0.0/0\"]}]\n", `line 3: systems.identities: 0.0.0.0/0 is everywhere: to be there proves nothing`},
		{"system twice", "domains = [\"a.test\"]\n[systems]\nidentities = [{account = \"labo@a.test\"}, {account = \"labo@a.test\", networks = [\"10.0.0.0/8\"]}]\n", `line 3: systems.identities: "labo@a.test" has two entries`},
		{"system in a mapped network", "domains = [\"a.test\"]\n[systems]\nidentities = [{account = \"labo@a.test\", networks = [\"::ffff:10.0.0.0/104\"]}]\n", `line 3: systems.identities: write ::ffff:10.0.0.0/104 as an IPv4 network`},
		{"white list in clear", "[trust_space]\nsource = \"http://lilas.test/list.xml\"\nroots = [\"r.pem\"]\n", "line 2: trust_space.source: \"http://lilas.test/list.xml\" is neither a file nor an https URL"},
		{"white list without roots", "[trust_space]\nsource = \"https://lilas.test/list.xml\"\n", "trust_space.roots: name the certificates of the authorities"},
		{"white list that may lose more than all", "[trust_space]\nmax_loss = 101\n", "line 2: trust_space.max_loss: 101 is more than 100 percent"},
		{"two master keys", "[keys]\nmaster_file = \"k\"\nmaster_command = [\"c\"]\n", "line 3: keys.master_command: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := loadConfig(configFile(t, c.text))
			if err == nil || !strings.Contains(err.Error()+"\n", c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	_, err := loadConfig(configFile(t, "data = 1\n[imap]\nidle = 2\nconnections = \"3\"\n[log]\nlevel = \"loud\"\n"))
	if got := strings.Count(err.Error(), "\n"); got != 6 { // four of the file, no domain, no certificate
		t.Errorf("%d mistakes:\n%v", got, err)
	}
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "telesphore.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestValuesAreRead(t *testing.T) {
	path := configFile(t, `
domains = ["hopital.test", "clinique.test"]
data = "data"
[listen]
imap = ""
[tls]
certificates = [{ cert = "a.pem", key = "/k.pem" }, { cert = "b.pem", key = "b.key" }]
[storage]
quota = "1536MiB"
segment_size = 1048576
[imap]
idle = "1h30m"
[auth]
trusted = ["10.1.2.3/8", "192.0.2.1"]
hashes = 0
`)
	c, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for _, v := range []struct{ got, want any }{
		{c.Domains, []string{"hopital.test", "clinique.test"}},
		{c.Data, filepath.Join(dir, "data")},
		{c.AdminSocket, filepath.Join(dir, "data", "admin.sock")},
		{c.Keys.MasterFile, filepath.Join(dir, "data", "master.key")},
		{len(c.doors()), 4},
		{c.TLS.Certificates, []tls.Pair{{Cert: filepath.Join(dir, "a.pem"), Key: "/k.pem"}, {Cert: filepath.Join(dir, "b.pem"), Key: filepath.Join(dir, "b.key")}}},
		{c.Storage.QuotaBytes, int64(1536 << 20)},
		{c.Bodies.SegmentSize, int64(1 << 20)},
		{c.IMAP.Idle, 90 * time.Minute},
		{c.Auth.Throttle.Trusted[0].String(), "10.0.0.0/8"},
		{c.Auth.Throttle.Trusted[1].String(), "192.0.2.1/32"},
		{c.Auth.Hashes, 0},
	} {
		if !reflect.DeepEqual(v.got, v.want) {
			t.Errorf("got %v, want %v", v.got, v.want)
		}
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	c := defaultConfig()
	c.Hostname = "quote \" back \\ line\n"
	c.Domains = []string{"a.test", "b.test"}
	c.TLS.Certificates = []tls.Pair{{Cert: "é.pem", Key: "k"}}
	c.IMAP.Idle = 61 * time.Second
	c.Storage.QuotaBytes = 1000
	again := &Config{}
	if mistakes := decode(encode(c.settings()), again.settings()); len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	if got, want := encode(again.settings()), encode(c.settings()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReloadTellsWhatNeedsARestart(t *testing.T) {
	a, b := defaultConfig(), defaultConfig()
	b.Log.Level = "debug"
	b.TLS.Certificates = []tls.Pair{{Cert: "a", Key: "b"}}
	if keys := a.locked(b); len(keys) != 0 {
		t.Errorf("level and certificates: %v", keys)
	}
	b.IMAP.Idle++
	b.Listen.IMAPS = ""
	if keys := strings.Join(a.locked(b), " "); keys != "listen.imaps imap.idle" {
		t.Errorf("got %s", keys)
	}
}

func TestReload(t *testing.T) {
	ca := tlstest.New(t)
	pair, next := ca.Pair(t, tls.ECDSA), ca.Pair(t, tls.ECDSA)
	file := func(level string, p tls.Pair) string {
		c := defaultConfig()
		c.Domains, c.TLS.Certificates, c.Log.Level = []string{"a.test"}, []tls.Pair{p}, level
		return encode(c.settings())
	}
	path := configFile(t, file("info", pair))
	c, err := loadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := tls.Open(c.TLS.Certificates)
	if err != nil {
		t.Fatal(err)
	}
	peering, err := tls.Open(c.peering())
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := &server{config: c, identity: identity, peering: peering}
	s.logger, s.level = loggerTo(&log, c)
	before := identity.Certificates()[0]

	change := func(text, want string, changed bool) {
		t.Helper()
		log.Reset()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s.reload(t.Context())
		if !strings.Contains(log.String(), want) {
			t.Errorf("log: %s\nwant %s", log.String(), want)
		}
		if got := !identity.Certificates()[0].Equal(before); got != changed {
			t.Errorf("certificate changed: %v, want %v", got, changed)
		}
	}
	change("nonsense", "the configuration was not reread", false)
	change(file("info", tls.Pair{Cert: "missing", Key: "missing"}), "the old ones stay in use", false)
	change(strings.Replace(file("info", pair), "idle = \"30m\"", "idle = \"31m\"", 1), "imap.idle", false)
	change(file("debug", next), "reread", true)
	if s.level.Level().String() != "DEBUG" {
		t.Errorf("level %v", s.level.Level())
	}
	if !peering.Certificates()[0].Equal(identity.Certificates()[0]) {
		t.Error("other operators are shown another certificate than people")
	}
}
