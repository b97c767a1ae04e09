package tls_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telesphore/backend"
	ourtls "telesphore/tls"
	"telesphore/tls/tlstest"
)

const (
	listHead = `<?xml version="1.0" encoding="UTF-8"?><ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema">`
	listTail = `</ListeDomaines></ListeBlancheMSSante>`
	lilas    = "CN=mail.lilas.test,OU=318310021300028,O=GIP Les Lilas,ST=Haute-Garonne (31),C=FR"
	rhone    = "CN=mss.rhone.test,OU=344368557300034,O=Rhône Santé,ST=Bouches-du-Rhône (13),C=FR"
)

// generated is the date of the lists of this file, plus some hours.
func generated(hours int) string {
	return time.Date(2025, 3, 1, hours, 0, 0, 0, time.UTC).Format(time.RFC3339)
}

// whiteList is a list with an entry for each "domain=name".
func whiteList(date string, entries ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n<DateDeGeneration>%s</DateDeGeneration><ListeDomaines>\n", listHead, date)
	for _, e := range entries {
		domain, name, _ := strings.Cut(e, "=")
		b.WriteString(listEntry(domain, name))
	}
	return b.String() + listTail
}

func listEntry(domain, name string) string {
	return "<Domaine><Nom>" + domain + "</Nom><Description>Clinique</Description><DNCertificatOperateur>" + name +
		"</DNCertificatOperateur><ResponsableContact>05 00 00 00 00,\n responsable@lilas.test</ResponsableContact>" +
		"<SupportContact>support@lilas.test</SupportContact><DateMAJ>2025-01-22T11:32:50Z</DateMAJ></Domaine>\n"
}

// readList is a WhiteList that reads text from a file.
func readList(t testing.TB, text string, o ourtls.WhiteListOptions) *ourtls.WhiteList {
	t.Helper()
	if o.Source == "" {
		o.Source = filepath.Join(t.TempDir(), "list.xml")
	}
	if err := os.WriteFile(o.Source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return openList(t, o)
}

func openList(t testing.TB, o ourtls.WhiteListOptions) *ourtls.WhiteList {
	t.Helper()
	o.Normal = backend.ParseDomain
	if o.Logger == nil {
		o.Logger = discard()
	}
	w, err := ourtls.OpenWhiteList(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// refresh replaces the file of a list and looks at it.
func refreshTo(t *testing.T, w *ourtls.WhiteList, text string, accept bool) error {
	t.Helper()
	put(t, w.Status().Source, []byte(text))
	return w.Refresh(t.Context(), accept)
}

func TestWhiteListIsRead(t *testing.T) {
	w := readList(t, whiteList(generated(0),
		"Lilas.test="+lilas, "lilas.TEST="+rhone, "lilas.test="+lilas, "santé.test="+rhone, "broken domain="+lilas, "rhone.test=not a name",
	), ourtls.WhiteListOptions{})
	s := w.Status()
	if s.Err != nil || s.Domains != 2 || s.Ignored != 2 || s.Last != nil || s.Generated.Format(time.RFC3339) != generated(0) || !s.Old {
		t.Errorf("status %+v", s)
	}
	for domain, names := range map[string]int{
		"lilas.test": 2, "LILAS.test": 2, "santé.test": 1, "xn--sant-epa.test": 1,
		"rhone.test": 0, "sub.lilas.test": 0, "test": 0, "lilas.test.": 0, "": 0, "a b": 0,
	} {
		if got := w.Names(domain); len(got) != names || w.Has(domain) != (names > 0) {
			t.Errorf("%q: %v, %v", domain, got, w.Has(domain))
		}
	}
	for domain, akin := range map[string]bool{
		"lilas.test": true, "SUB.lilas.test": true, "a.b.xn--sant-epa.test": true, "lilas.example": false, "xlilas.test": false, "test": false, "a b": false,
	} {
		if w.Akin(domain) != akin {
			t.Errorf("%q akin to the list: %v", domain, !akin)
		}
	}
	peer, ok := w.Lookup("Lilas.test")
	if !ok || peer.Domain != "lilas.test" || peer.Since != s.Generated || peer.Operators[0].Text != lilas ||
		peer.Operators[0].Responsible != "05 00 00 00 00, responsable@lilas.test" || peer.Operators[1].Support != "support@lilas.test" {
		t.Errorf("peer %+v", peer)
	}
	if _, ok := w.Lookup("rhone.test"); ok {
		t.Error("an entry without a name was taken")
	}
}

func TestWithoutAWhiteListNobodyIsInIt(t *testing.T) {
	var none *ourtls.WhiteList
	missing := openList(t, ourtls.WhiteListOptions{Source: filepath.Join(t.TempDir(), "missing.xml")})
	for _, w := range []*ourtls.WhiteList{none, missing} {
		_, listed := w.Lookup("lilas.test")
		_, left := w.Left("lilas.test")
		if w.Known() || w.Has("lilas.test") || w.Akin("lilas.test") || w.Names("lilas.test") != nil || listed || left || w.Status().Domains != 0 {
			t.Error("somebody is in no list")
		}
	}
	if missing.Status().Err == nil || missing.Refresh(t.Context(), true) == nil {
		t.Error("the missing file is no error")
	}
	if none.Refresh(t.Context(), false) != nil {
		t.Error("no list is an error")
	}
}

// organisation makes a real certificate with a subject.
func organisation(t *testing.T, subject ...pkix.RelativeDistinguishedNameSET) *x509.Certificate {
	t.Helper()
	raw, err := asn1.Marshal(pkix.RDNSequence(subject))
	if err != nil {
		t.Fatal(err)
	}
	i := tlstest.NewOrganisations(t, "essai")
	return i.Organisation(t, ourtls.Organisation{Unit: "1", Name: "x", Org: "x", Terms: ourtls.Terms{
		Algorithm: ourtls.ECDSA, Edit: func(c *x509.Certificate) { c.RawSubject = raw },
	}}).Leaf
}

func TestCoversComparesTheWholeSubject(t *testing.T) {
	at := func(last int, value any) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, last}, Value: value}
	}
	one := func(last int, value any) pkix.RelativeDistinguishedNameSET {
		return pkix.RelativeDistinguishedNameSET{at(last, value)}
	}
	c, st, o, ou, cn := one(6, "FR"), one(8, "Bouches-du-Rhône (13)"), one(10, "Rhône Santé"), one(11, "344368557300034"), one(3, "mss.rhone.test")
	latin1 := asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("Bouches-du-Rh\xf4ne (13)")}
	w := readList(t, whiteList(generated(0), "rhone.test="+lilas, "rhone.test="+rhone, "lilas.test="+lilas), ourtls.WhiteListOptions{})
	for _, k := range []struct {
		name    string
		subject []pkix.RelativeDistinguishedNameSET
		covers  bool
	}{
		{"as listed", []pkix.RelativeDistinguishedNameSET{c, st, o, ou, cn}, true},
		{"another order", []pkix.RelativeDistinguishedNameSET{cn, ou, o, st, c}, true},
		{"multi-valued", []pkix.RelativeDistinguishedNameSET{c, st, o, {at(3, "mss.rhone.test"), at(11, "344368557300034")}}, true},
		{"another encoding", []pkix.RelativeDistinguishedNameSET{c, one(8, latin1), o, ou, cn}, true},
		{"one less", []pkix.RelativeDistinguishedNameSET{c, st, o, cn}, false},
		{"one more", []pkix.RelativeDistinguishedNameSET{c, st, o, ou, one(11, "1"), cn}, false},
		{"another host", []pkix.RelativeDistinguishedNameSET{c, st, o, ou, one(3, "mss.rhone.test.ailleurs.test")}, false},
		{"another structure", []pkix.RelativeDistinguishedNameSET{c, st, o, one(11, "344368557300035"), cn}, false},
		{"the text as one value", []pkix.RelativeDistinguishedNameSET{one(3, rhone[3:])}, false},
		{"empty", nil, false},
	} {
		leaf := organisation(t, k.subject...)
		if got := w.Covers("Rhone.test", leaf); got != k.covers {
			t.Errorf("%s: covers is %v", k.name, got)
		}
		if w.Covers("lilas.test", leaf) || w.Covers("ailleurs.test", leaf) {
			t.Errorf("%s covers another's domain", k.name)
		}
	}
}

func TestWhiteListsThatAreRefused(t *testing.T) {
	good := whiteList(generated(5), "lilas.test="+lilas, "rhone.test="+rhone)
	entry := listEntry("lilas.test", lilas)
	date := "<DateDeGeneration>" + generated(5) + "</DateDeGeneration>"
	swap := func(from, to string) string { return strings.Replace(good, from, to, 1) }
	for name, text := range map[string]string{
		"empty":                     "",
		"not XML":                   "clinique.test;CN=a",
		"truncated in an element":   good[:len(good)/2],
		"truncated behind an entry": good[:strings.Index(good, "</Domaine>")+len("</Domaine>")],
		"truncated in the last tag": good[:len(good)-1],
		"two roots":                 good + good[strings.Index(good, "<Liste"):],
		"text behind the root":      good + "x",
		"text in front":             "x" + good,
		"no namespace":              strings.Replace(good, ` xmlns="https://listeblanche.mssante.fr/schema"`, "", 1),
		"another namespace":         strings.Replace(good, "listeblanche.mssante.fr", "listeblanche.test", 1),
		"an element of another one": swap("<Description>", `<Description xmlns="x">`),
		"another root":              strings.ReplaceAll(good, "ListeBlancheMSSante", "ListeNoire"),
		"a document type":           swap("?>", `?><!DOCTYPE x [<!ENTITY e "lilas.test">]>`),
		"an entity":                 swap("<Nom>", "<Nom>&e;"),
		"an attribute":              swap("<Domaine>", `<Domaine suspendu="oui">`),
		"an unknown element":        swap("<Description>", "<Suspendu>oui</Suspendu><Description>"),
		"an element in a text":      swap("<Nom>", "<Nom><b>x</b>"),
		"text between elements":     swap("<Domaine>", "x<Domaine>"),
		"no date":                   strings.Replace(good, date, "", 1),
		"two dates":                 swap(date, date+date),
		"an empty date":             swap(generated(5), ""),
		"a date of another form":    swap(generated(5), "2025-03-01"),
		"from the future":           whiteList(time.Now().Add(time.Hour).Format(time.RFC3339), "lilas.test="+lilas),
		"a date of an entry":        swap("2025-01-22T11:32:50Z", "hier"),
		"no list":                   listHead + date + "</ListeBlancheMSSante>",
		"two lists":                 swap("</ListeDomaines>", "</ListeDomaines><ListeDomaines></ListeDomaines>"),
		"no entry":                  whiteList(generated(5)),
		"no entry that can be used": whiteList(generated(5), "a b="+lilas),
		"entry without a domain":    swap("<Nom>lilas.test</Nom>", ""),
		"entry with two domains":    swap("<Nom>lilas.test</Nom>", "<Nom>lilas.test</Nom><Nom>x.test</Nom>"),
		"entry without a name":      strings.Replace(good, "<DNCertificatOperateur>"+lilas+"</DNCertificatOperateur>", "", 1),
		"entry in an entry":         swap("<Nom>", entry+"<Nom>"),
		"a long text":               swap("<Description>", "<Description>"+strings.Repeat("x", 5000)),
		"wrong nesting":             swap("</Nom>", "</Nam>"),
		"octets that are not UTF-8": swap("<Description>", "<Description>\xff"),
		"another encoding":          strings.Replace(good, "UTF-8", "ISO-8859-1", 1),
		"many entries":              whiteList(generated(5), slices.Repeat([]string{"lilas.test=" + lilas}, 51)...),
		"large":                     swap("?>", "?><!--"+strings.Repeat(" ", 64<<10)+"-->"),
		"older":                     whiteList(generated(3), "lilas.test="+lilas, "rhone.test="+rhone),
	} {
		t.Run(name, func(t *testing.T) {
			w := readList(t, whiteList(generated(4), "lilas.test="+lilas, "rhone.test="+rhone), ourtls.WhiteListOptions{Size: 64 << 10, Entries: 50})
			if err := refreshTo(t, w, text, true); err == nil || w.Status().Err == nil {
				t.Error("the list was taken")
			}
			if s := w.Status(); s.Generated.Format(time.RFC3339) != generated(4) || !w.Has("lilas.test") {
				t.Errorf("the good list is not in use any more: %+v", s)
			}
			if err := refreshTo(t, w, good, false); err != nil || w.Status().Err != nil {
				t.Errorf("a good list behind the bad one: %v", err)
			}
		})
	}
}

func TestWhiteListsThatAreOdd(t *testing.T) {
	good := whiteList(generated(0), "lilas.test="+lilas)
	prefixed := strings.NewReplacer("</", "</m:", "<D", "<m:D", "<L", "<m:L", "<N", "<m:N", "<R", "<m:R", "<S", "<m:S", "xmlns=", "xmlns:m=").Replace(good)
	for name, text := range map[string]string{
		"prefixes":        prefixed,
		"a schema's hint": strings.Replace(good, " xmlns=", ` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="a b" xmlns=`, 1),
		"comments":        strings.Replace(good, "<Nom>", "<!-- a --><Nom><!-- b -->", 1),
		"CDATA":           strings.Replace(good, "<Nom>lilas.test", "<Nom> <![CDATA[lilas.test]]>\n", 1),
		"references":      strings.Replace(good, "Clinique", "A &amp; B &#233;", 1),
		"date of a zone":  strings.Replace(good, generated(0), "2025-03-01T01:00:00.5+01:00", 1),
		"no contacts":     listHead + "<ListeDomaines><Domaine><DNCertificatOperateur>" + lilas + "</DNCertificatOperateur><Nom>lilas.test</Nom></Domaine></ListeDomaines><DateDeGeneration>" + generated(0) + "</DateDeGeneration></ListeBlancheMSSante>",
		"empty elements":  strings.NewReplacer("<Description>Clinique</Description>", "<Description/>", "2025-01-22T11:32:50Z", "").Replace(good),
		"byte order mark": "\ufeff" + good,
	} {
		w := readList(t, text, ourtls.WhiteListOptions{})
		if s := w.Status(); s.Err != nil || !w.Has("lilas.test") {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestDeparturesAreRemembered(t *testing.T) {
	all := []string{"a.test=" + lilas, "b.test=" + lilas, "c.test=" + lilas, "d.test=" + lilas, "e.test=" + lilas}
	o := ourtls.WhiteListOptions{File: filepath.Join(t.TempDir(), "kept.json"), MaxLoss: 20}
	w := readList(t, whiteList(generated(0), all...), o)
	step := func(hours int, entries ...string) {
		t.Helper()
		if err := refreshTo(t, w, whiteList(generated(hours), entries...), false); err != nil {
			t.Fatal(err)
		}
	}
	left := func(domain, want string) {
		t.Helper()
		when, ok := w.Left(domain)
		if ok != (want != "") || ok && when.Format(time.RFC3339) != want {
			t.Errorf("%s left: %v, %v; want %s", domain, when, ok, want)
		}
	}
	step(1, append(all[:4:4], "f.test="+rhone)...)
	c := w.Status().Last
	if !slices.Equal(c.Added, []string{"f.test"}) || !slices.Equal(c.Removed, []string{"e.test"}) || c.Changed != nil {
		t.Errorf("change %+v", c)
	}
	left("E.test", generated(1))
	left("f.test", "")
	left("never.test", "")
	step(2, append([]string{"a.test=" + rhone, "b.test=" + rhone, "b.test=" + lilas}, append(all[2:4:4], "f.test="+rhone)...)...)
	if c := w.Status().Last; !slices.Equal(c.Changed, []string{"a.test", "b.test"}) || c.Added != nil || c.Removed != nil {
		t.Errorf("change %+v", c)
	}
	left("e.test", generated(1))

	// A restart forgets nothing: not who left, not since when the others are there.
	o.Source = w.Status().Source
	put(t, o.Source, []byte("broken"))
	w = openList(t, o)
	left("e.test", generated(1))
	if p, _ := w.Lookup("a.test"); p.Since.Format(time.RFC3339) != generated(0) {
		t.Errorf("a.test is there since %v", p.Since)
	}
	if s := w.Status(); s.Err == nil || s.Domains != 5 || s.Last == nil || len(s.Last.Changed) != 2 {
		t.Errorf("status %+v", s)
	}
	if err := refreshTo(t, w, whiteList(generated(1), all...), false); err == nil {
		t.Error("an older list was taken after a restart")
	}
	step(4, append(all, "f.test="+rhone)...)
	left("e.test", "")
	if p, _ := w.Lookup("e.test"); p.Since.Format(time.RFC3339) != generated(4) {
		t.Errorf("e.test is there since %v", p.Since)
	}
	if info, err := os.Stat(o.File); err != nil || info.Mode() != 0o600 {
		t.Errorf("kept with %v, %v", info, err)
	}

	// What one source said is not another one's.
	put(t, o.Source+".other", []byte(whiteList(generated(0), "z.test="+lilas)))
	o.Source += ".other"
	w = openList(t, o)
	if s := w.Status(); s.Domains != 1 || s.Last != nil || s.Err != nil {
		t.Errorf("status %+v", s)
	}
}

func TestListThatLosesManyWaitsForAPerson(t *testing.T) {
	var log bytes.Buffer
	all := []string{"a.test=" + lilas, "b.test=" + lilas, "c.test=" + lilas, "d.test=" + lilas, "e.test=" + lilas}
	w := readList(t, whiteList(generated(0), all...), ourtls.WhiteListOptions{MaxLoss: 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err := refreshTo(t, w, whiteList(generated(1), all[:3]...), false); !errors.Is(err, ourtls.ErrLoss) {
		t.Fatal(err)
	}
	s := w.Status()
	if s.Domains != 5 || s.Held == nil || !slices.Equal(s.Held.Removed, []string{"d.test", "e.test"}) || !errors.Is(s.Err, ourtls.ErrLoss) || !w.Has("d.test") {
		t.Errorf("status %+v", s)
	}
	if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "d.test e.test") {
		t.Errorf("log: %s", log.String())
	}
	// Only what waits is accepted: not what goes at the same moment.
	if err := refreshTo(t, w, whiteList(generated(1), all[1:3]...), true); !errors.Is(err, ourtls.ErrLoss) {
		t.Fatal(err)
	}
	if err := refreshTo(t, w, whiteList(generated(1), all[:3]...), true); err != nil {
		t.Fatal(err)
	}
	if s := w.Status(); s.Domains != 3 || s.Held != nil || s.Err != nil || w.Has("d.test") {
		t.Errorf("status %+v", s)
	}
	if _, left := w.Left("d.test"); !left {
		t.Error("d.test has not left")
	}
	// What waits is forgotten when the source gives a whole list again.
	if err := refreshTo(t, w, whiteList(generated(2), all[:1]...), false); !errors.Is(err, ourtls.ErrLoss) {
		t.Fatal(err)
	}
	if err := refreshTo(t, w, whiteList(generated(3), all...), false); err != nil || w.Status().Held != nil {
		t.Errorf("%v, %+v", err, w.Status().Held)
	}
	if !strings.Contains(log.String(), `which_added="d.test e.test"`) {
		t.Errorf("log: %s", log.String())
	}
}

// site serves a white list with a certificate of root.
func site(t *testing.T, root *ourtls.Authority, handler http.HandlerFunc) (url string) {
	t.Helper()
	cert, key, err := root.Server(ourtls.ECDSA, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair := ourtls.Pair{Cert: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "c.key")}
	put(t, pair.Cert, cert)
	put(t, pair.Key, key)
	identity, err := ourtls.Open([]ourtls.Pair{pair})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Listener = ourtls.NewListener(s.Listener, identity.Server(nil))
	s.Start()
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "http:", "https:", 1) + "/list.xml"
}

func newRoot(t *testing.T) (root *ourtls.Authority, file string) {
	t.Helper()
	root, err := ourtls.NewAuthority("AC RACINE essai")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "root.pem")
	put(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate.Raw}))
	return root, file
}

func TestWhiteListIsFetchedUnderPinnedRoots(t *testing.T) {
	root, file := newRoot(t)
	_, other := newRoot(t)
	asked, whole, current := 0, 0, whiteList(generated(0), "a.test="+lilas, "b.test="+lilas)
	url := site(t, root, func(w http.ResponseWriter, r *http.Request) {
		asked++
		tag := fmt.Sprintf("%q", fmt.Sprint(len(current)))
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		whole++
		w.Header().Set("ETag", tag)
		w.Write([]byte(current))
	})
	o := ourtls.WhiteListOptions{Source: url, Roots: []string{other}, File: filepath.Join(t.TempDir(), "kept.json"), Timeout: 10 * time.Second, Size: 1 << 20}
	if err := openList(t, o).Refresh(t.Context(), false); err == nil || asked != 0 {
		t.Errorf("another root: %v, %d questions", err, asked)
	}
	o.Roots = append(o.Roots, file)
	w := openList(t, o)
	if asked != 0 || w.Has("a.test") {
		t.Error("fetched before Run")
	}
	for range 3 {
		if err := w.Refresh(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 3 || whole != 1 || !w.Has("a.test") {
		t.Errorf("%d questions, %d answers", asked, whole)
	}
	// A list that waits is fetched whole until it is accepted or replaced.
	current = whiteList(generated(1), "a.test="+lilas)
	for range 2 {
		if err := w.Refresh(t.Context(), false); !errors.Is(err, ourtls.ErrLoss) {
			t.Error(err)
		}
	}
	current = whiteList(generated(0), "a.test="+lilas, "b.test="+lilas)
	if err := w.Refresh(t.Context(), false); err != nil || w.Status().Held != nil {
		t.Errorf("%v, %+v", err, w.Status())
	}
	// Nor does one that is refused keep the next good one away.
	current = "broken"
	if err := w.Refresh(t.Context(), true); err == nil {
		t.Error("the broken list was taken")
	}
	current = strings.Repeat(" ", 1<<20) + whiteList(generated(2), "a.test="+lilas, "b.test="+lilas)
	if err := w.Refresh(t.Context(), true); err == nil {
		t.Error("the large list was taken")
	}

	again := openList(t, o)
	if !again.Has("b.test") || again.Status().Generated.Format(time.RFC3339) != generated(0) {
		t.Errorf("after a restart: %+v", again.Status())
	}
}

func TestSourcesThatAreRefused(t *testing.T) {
	_, root := newRoot(t)
	leaf := filepath.Join(t.TempDir(), "leaf.pem")
	i := tlstest.NewIssuer(t, "igc")
	put(t, leaf, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Card(t, medecin(nil)).Leaf.Raw}))
	for _, o := range []ourtls.WhiteListOptions{
		{Source: "http://lilas.test/list.xml", Roots: []string{root}},
		{Source: "ftp://lilas.test/list.xml", Roots: []string{root}},
		{Source: "https:///list.xml", Roots: []string{root}},
		{Source: "https://lilas.test/list.xml"},
		{Source: "https://lilas.test/list.xml", Roots: []string{root, root + ".missing"}},
		{Source: "https://lilas.test/list.xml", Roots: []string{leaf}},
	} {
		if _, err := ourtls.OpenWhiteList(o); err == nil {
			t.Errorf("%s with %v was opened", o.Source, o.Roots)
		}
	}
}

func TestRunRereadsAndComplainsOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		stamp := func() string { return time.Now().Format(time.RFC3339) }
		w := readList(t, whiteList(stamp(), "a.test="+lilas), ourtls.WhiteListOptions{
			MaxAge: 48 * time.Hour, Refresh: time.Hour, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		go w.Run(t.Context())
		complaints := func() int { synctest.Wait(); return strings.Count(log.String(), "tls.whitelist is old") }
		time.Sleep(48 * time.Hour) // the bubble's clock
		if n := complaints(); n != 0 || w.Status().Old {
			t.Errorf("%d complaints after two days: %s", n, log.String())
		}
		time.Sleep(48 * time.Hour)
		if n := complaints(); n != 2 || !w.Status().Old || !w.Has("a.test") {
			t.Errorf("%d complaints after four days", n)
		}
		put(t, w.Status().Source, []byte(whiteList(stamp(), "a.test="+lilas, "b.test="+lilas)))
		time.Sleep(time.Hour)
		if n := complaints(); n != 2 || !w.Has("b.test") || w.Status().Old {
			t.Errorf("%d complaints about a new list", n)
		}
	})
}

// The end of Run says nothing of the list.
func TestRunEndsQuietly(t *testing.T) {
	root, file := newRoot(t)
	var log bytes.Buffer
	asked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	w := openList(t, ourtls.WhiteListOptions{
		Source: site(t, root, func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() }),
		Roots:  []string{file}, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	ended := make(chan struct{})
	go func() { defer close(ended); w.Run(ctx) }()
	<-asked
	cancel()
	<-ended
	if log.Len() > 0 || w.Status().Err != nil {
		t.Errorf("status %v, log: %s", w.Status().Err, log.String())
	}
}

// Whatever a list says, it is read or refused as a whole, within its limits.
func FuzzWhiteList(f *testing.F) {
	good := whiteList(generated(0), "lilas.test="+lilas, "santé.test="+rhone)
	f.Add([]byte(good))
	f.Add([]byte(good[:len(good)/2]))
	f.Add([]byte(strings.Replace(good, "?>", `?><!DOCTYPE x [<!ENTITY e "a">]>`, 1)))
	f.Add([]byte(strings.Replace(good, "<Nom>", "<Nom><![CDATA[ ]]>", 1)))
	source := filepath.Join(f.TempDir(), "list.xml")
	f.Fuzz(func(t *testing.T, octets []byte) {
		w := readList(t, string(octets), ourtls.WhiteListOptions{Source: source, Size: 64 << 10, Entries: 100})
		s := w.Status()
		if (s.Err == nil) != (s.Domains > 0) || s.Err == nil && s.Ignored+s.Domains > 100 {
			t.Errorf("status %+v", s)
		}
		peer, listed := w.Lookup("lilas.test")
		if listed != w.Has("lilas.test") || len(peer.Operators) != len(w.Names("lilas.test")) {
			t.Errorf("peer %+v", peer)
		}
		for _, name := range w.Names("lilas.test") {
			if !name.Equal(name) {
				t.Errorf("name %v", name)
			}
		}
	})
}

func FuzzName(f *testing.F) {
	for _, text := range []string{lilas, rhone, `CN=a\,b+OU=\C3\B4`, "2.5.4.97=#0c024652", `CN=a\`, "CN=#"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		name, err := ourtls.ParseName(text)
		if (err == nil) != (len(name) > 0) {
			t.Fatalf("%v, %v", name, err)
		}
		for _, a := range name {
			if a.Value != strings.Join(strings.Fields(a.Value), " ") || a.Value == "" || a.Type == "" {
				t.Errorf("attribute %+v", a)
			}
		}
	})
}
