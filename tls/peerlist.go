package tls

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// listSpace is the namespace of every element of a white list.
const listSpace = "https://listeblanche.mssante.fr/schema"

var errEmpty = errors.New("an empty date")

// maxField bounds the text of one element of a white list, in octets.
const maxField = 4096

// peerList is a white list as it was read. It does not change.
type peerList struct {
	sum       [sha256.Size]byte // of its octets
	generated time.Time
	domains   map[string][]Operator // by the comparison form of the domain
	families  map[string]bool       // the organisational domains of these: mssante.fr of clinique.mssante.fr
	ignored   int                   // entries whose domain or name cannot be used
}

// Operator is one that may carry the mail of a domain.
type Operator struct {
	Name        Name   // of its certificate
	Text        string // the same as the list writes it
	Description string
	Responsible string // whom to ask, free text with a telephone number and an address
	Support     string
	Updated     time.Time // the entry; zero when the list does not say
}

// peerLimits bound what is read into a peerList.
type peerLimits struct {
	entries int
	normal  func(string) (string, error) // comparison form of a domain
}

// parsePeers reads a white list. Its form is strict: whatever is not in the
// schema is an error, for nobody knows what it was meant to say. An entry that
// has the right form and a domain or name that cannot be used is left out alone:
// else one operator's slip would keep all the others' changes away.
func parsePeers(octets []byte, limits peerLimits) (*peerList, error) {
	p := &peerReader{d: xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(octets, []byte("\ufeff")))), limits: limits}
	l := &peerList{sum: sha256.Sum256(octets), domains: make(map[string][]Operator), families: make(map[string]bool)}
	if err := p.document(l); err != nil {
		line, _ := p.d.InputPos()
		return nil, fmt.Errorf("tls: white list, line %d: %w", line, err)
	}
	if len(l.domains) == 0 {
		return nil, errors.New("tls: white list without a domain that can be used")
	}
	return l, nil
}

// peerReader walks through the elements of a white list.
type peerReader struct {
	d       *xml.Decoder
	limits  peerLimits
	entries int
}

// document reads the whole document: one root and nothing behind it.
func (p *peerReader) document(l *peerList) error {
	var seen fields
	err := p.children("", func(name string) error {
		if err := seen.once(name, "ListeBlancheMSSante"); err != nil {
			return err
		}
		return p.root(l)
	})
	return cmp.Or(err, seen.all("ListeBlancheMSSante"))
}

func (p *peerReader) root(l *peerList) error {
	var seen fields
	err := p.children("ListeBlancheMSSante", func(name string) (err error) {
		if err := seen.once(name, "DateDeGeneration", "ListeDomaines"); err != nil {
			return err
		}
		if name == "DateDeGeneration" {
			l.generated, err = p.date(name)
			return err
		}
		return p.children(name, func(name string) error {
			if name != "Domaine" {
				return fmt.Errorf("unknown element %q", name)
			}
			return p.entry(l)
		})
	})
	return cmp.Or(err, seen.all("DateDeGeneration", "ListeDomaines"))
}

// entry reads a Domaine.
func (p *peerReader) entry(l *peerList) error {
	if p.entries++; p.entries > p.limits.entries {
		return fmt.Errorf("more than %d entries", p.limits.entries)
	}
	var seen fields
	var o Operator
	var domain string
	err := p.children("Domaine", func(name string) (err error) {
		texts := map[string]*string{
			"Nom": &domain, "Description": &o.Description, "DNCertificatOperateur": &o.Text,
			"ResponsableContact": &o.Responsible, "SupportContact": &o.Support, "DateMAJ": nil,
		}
		to, known := texts[name]
		if !known {
			return fmt.Errorf("unknown element %q", name)
		}
		if err := seen.once(name, name); err != nil {
			return err
		}
		if to == nil {
			// It only tells people something, so it may be empty.
			if o.Updated, err = p.date(name); errors.Is(err, errEmpty) {
				err = nil
			}
			return err
		}
		*to, err = p.text(name)
		return err
	})
	if err := cmp.Or(err, seen.all("Nom", "DNCertificatOperateur")); err != nil {
		return err
	}
	key, errDomain := p.limits.normal(domain)
	o.Name, err = ParseName(o.Text)
	if err != nil || errDomain != nil {
		l.ignored++
		return nil
	}
	l.add(key, o)
	return nil
}

// add takes an operator in; of two entries with one name the newer one counts.
func (l *peerList) add(domain string, o Operator) {
	operators := l.domains[domain]
	i := slices.IndexFunc(operators, func(known Operator) bool { return known.Name.Equal(o.Name) })
	switch {
	case i < 0:
		l.domains[domain] = append(operators, o)
		l.families[family(domain)] = true
	case o.Updated.After(operators[i].Updated):
		operators[i] = o
	}
}

// fields are the elements that were seen in a place where each stands once.
type fields map[string]bool

func (f *fields) once(name string, allowed ...string) error {
	if !slices.Contains(allowed, name) {
		return fmt.Errorf("unknown element %q", name)
	}
	if (*f)[name] {
		return fmt.Errorf("a second %s", name)
	}
	if *f == nil {
		*f = make(fields)
	}
	(*f)[name] = true
	return nil
}

func (f fields) all(names ...string) error {
	for _, name := range names {
		if !f[name] {
			return fmt.Errorf("%s is missing", name)
		}
	}
	return nil
}

// children calls child behind the start of each element in parent, until parent
// ends; parent is "" for the document itself. child reads to the element's end.
func (p *peerReader) children(parent string, child func(name string) error) error {
	for {
		token, err := p.d.Token()
		if parent == "" && errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if err := checkElement(t); err != nil {
				return err
			}
			if err := child(t.Name.Local); err != nil {
				return err
			}
		case xml.EndElement:
			return nil // the decoder has seen that it is parent's
		case xml.CharData:
			if len(strings.Trim(string(t), " \t\r\n")) > 0 {
				return errors.New("text between the elements")
			}
		case xml.Directive:
			return errors.New("a document type: it could define entities")
		}
	}
}

// checkElement refuses other namespaces, and attributes: the schema has none. A
// hint where the schema stands says nothing.
func checkElement(t xml.StartElement) error {
	if t.Name.Space != listSpace {
		return fmt.Errorf("element %q of another namespace", t.Name.Local)
	}
	for _, a := range t.Attr {
		switch {
		case a.Name.Space == "xmlns", a.Name.Space == "" && a.Name.Local == "xmlns":
		case a.Name.Space == "http://www.w3.org/2001/XMLSchema-instance" && a.Name.Local == "schemaLocation":
		default:
			return fmt.Errorf("unknown attribute %q", a.Name.Local)
		}
	}
	return nil
}

// text reads the text of an element that holds nothing else.
func (p *peerReader) text(name string) (string, error) {
	var b strings.Builder
	for {
		token, err := p.d.Token()
		if err != nil {
			return "", err
		}
		switch t := token.(type) {
		case xml.CharData:
			b.Write(t)
			if b.Len() > maxField {
				return "", fmt.Errorf("%s of more than %d octets", name, maxField)
			}
		case xml.EndElement:
			return spaced(b.String()), nil
		case xml.StartElement, xml.Directive:
			return "", fmt.Errorf("%s holds more than text", name)
		}
	}
}

func (p *peerReader) date(name string) (time.Time, error) {
	text, err := p.text(name)
	if err == nil && text == "" {
		err = errEmpty
	}
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is no date", name)
	}
	return t, nil
}

// family is the organisational domain of a domain: what somebody has registered, as
// the public suffix list tells; the domain itself where it cannot tell.
func family(domain string) string {
	if f, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return f
	}
	return domain
}
