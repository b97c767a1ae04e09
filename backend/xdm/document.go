package xdm

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// Bounds of what is read as XML. The metadata of a document are some hundred pieces, the header of a CDA
// document too.
const (
	maxElements = 100     // nested
	maxText     = 400     // octets of an element that are kept
	maxPiece    = 1 << 20 // octets of a tag or a text
	maxPieces   = 500_000 // of an archive
)

// document is what is read of a CDA document: its header (HL7 CDA R2, profile of CI-SIS).
type document struct {
	code     string
	patients []patient // recordTarget
}

// patient is who a document is about. Only whether there is a trait is kept of it, but for the number.
type patient struct {
	number                        string // of the INS without its key, "" for none
	family, given, birthDate, sex bool
}

func (p *patient) qualified() bool {
	return p.number != "" && p.family && p.given && p.birthDate && p.sex
}

// insNumber is the INS (without its two digits of key, which some leave out) when authority is one that
// gives them out: NIR, NIA, and those for tests.
func insNumber(authority, number string) string {
	switch authority {
	case "1.2.250.1.213.1.4.8", "1.2.250.1.213.1.4.9", "1.2.250.1.213.1.4.10", "1.2.250.1.213.1.4.11":
	default:
		return ""
	}
	number = strings.TrimSpace(number)
	if len(number) != 13 && len(number) != 15 {
		return ""
	}
	for i := range len(number) {
		corsica := i == 6 && (number[i] == 'A' || number[i] == 'B') && number[5] == '2'
		if (number[i] < '0' || number[i] > '9') && !corsica {
			return ""
		}
	}
	return number[:13]
}

// walker reads an XML file token by token.
type walker struct {
	r    *limited
	d    *xml.Decoder
	path []string // names of the open elements, without namespace
	text []byte   // of the innermost one, so far

	begun bool // there was an element
}

var errXML = errors.New("not an XML file that is read here")

// newWalker reads UTF-8 and what else French programs write. Entities that XML does not have itself are errors.
func newWalker(r *limited) *walker {
	d := xml.NewDecoder(r)
	d.CharsetReader = func(charset string, input io.Reader) (io.Reader, error) {
		switch strings.ToLower(charset) {
		case "us-ascii", "iso-8859-1", "windows-1252":
			return charmap.Windows1252.NewDecoder().Reader(input), nil
		case "iso-8859-15":
			return charmap.ISO8859_15.NewDecoder().Reader(input), nil
		}
		return nil, fmt.Errorf("%w: charset", errXML)
	}
	return &walker{r: r, d: d}
}

// next goes to the next beginning or end of an element: io.EOF at the end of the file. The
// name of an element that ended is still the last of path, until the next call.
func (w *walker) next(ended *bool) (start *xml.StartElement, err error) {
	if *ended {
		w.path = w.path[:len(w.path)-1]
		*ended = false
	}
	for {
		if err := w.r.next(1); err != nil {
			return nil, err
		}
		token, err := w.d.Token()
		if errors.Is(err, io.EOF) && !w.begun {
			return nil, fmt.Errorf("%w: empty", errXML)
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.Directive: // a document type may define entities
			return nil, fmt.Errorf("%w: document type", errXML)
		case xml.CharData:
			if len(w.text) < maxText {
				w.text = append(w.text, t[:min(len(t), maxText)]...)
			}
		case xml.StartElement:
			if w.path = append(w.path, t.Name.Local); len(w.path) > maxElements {
				return nil, fmt.Errorf("%w: too deep", errXML)
			}
			w.text, w.begun = w.text[:0], true
			return &t, w.r.next(len(t.Attr))
		case xml.EndElement:
			*ended = true
			return nil, nil
		}
	}
}

// at reports whether the innermost element is this one.
func (w *walker) at(path ...string) bool { return slices.Equal(w.path, path) }

// attribute is the value of an attribute without namespace.
func attribute(e *xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Space == "" && a.Name.Local == name {
			return strings.TrimSpace(a.Value)
		}
	}
	return ""
}

// readDocument reads the header of a CDA document; nil when the file is another document.
func readDocument(r *limited) (*document, error) {
	w := newWalker(r)
	doc := &document{}
	ended := false
	qualifier := "" // of the family name that is open
	for {
		e, err := w.next(&ended)
		switch {
		case errors.Is(err, io.EOF):
			return doc, nil
		case err != nil:
			return nil, fmt.Errorf("read a CDA document: %w", err)
		case e == nil:
			doc.end(w, qualifier)
			continue
		case len(w.path) == 1 && (e.Name.Local != "ClinicalDocument" || e.Name.Space != "urn:hl7-org:v3"):
			return nil, nil
		case w.at("ClinicalDocument", "component"): // the header is over
			return doc, nil
		}
		if e.Name.Local == "family" {
			qualifier = attribute(e, "qualifier")
		}
		doc.start(w, e)
	}
}

// start takes what attributes tell.
func (doc *document) start(w *walker, e *xml.StartElement) {
	switch {
	case w.at("ClinicalDocument", "code"):
		doc.code = attribute(e, "code")
		return
	case w.at("ClinicalDocument", "recordTarget"):
		doc.patients = append(doc.patients, patient{})
		return
	case len(w.path) < 4 || w.path[1] != "recordTarget" || w.path[2] != "patientRole":
		return
	}
	p := &doc.patients[len(doc.patients)-1]
	switch strings.Join(w.path[3:], "/") {
	case "id":
		if number := insNumber(attribute(e, "root"), attribute(e, "extension")); number != "" {
			p.number = number
		}
	case "patient/administrativeGenderCode":
		code := attribute(e, "code")
		p.sex = code == "M" || code == "F"
	case "patient/birthTime":
		value := attribute(e, "value")
		p.birthDate = len(value) >= 8 && strings.Trim(value[:8], "0123456789") == ""
	}
}

// end takes what the text of an element tells when it ends. The family name at birth is that of qualifier BR, or
// the only one.
func (doc *document) end(w *walker, qualifier string) {
	if len(doc.patients) == 0 || len(strings.TrimSpace(string(w.text))) == 0 {
		return
	}
	p := &doc.patients[len(doc.patients)-1]
	switch {
	case w.at("ClinicalDocument", "recordTarget", "patientRole", "patient", "name", "family"):
		p.family = p.family || qualifier == "" || qualifier == "BR"
	case w.at("ClinicalDocument", "recordTarget", "patientRole", "patient", "name", "given"):
		p.given = true
	}
}
