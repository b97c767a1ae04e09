package xdm

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Names of IHE XDS metadata (ITI TF-3 section 4.2.5).
const (
	typeCode  = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983" // a Classification
	patientID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427" // an ExternalIdentifier
)

// metadata is what the METADATA.XML files of a message say of its documents.
type metadata struct {
	types   []string // typeCode, each once
	numbers []string // INS of patientId and sourcePatientInfo, each once, without key
}

// read reads a METADATA.XML: ebXML, with one ExtrinsicObject for each document.
func (m *metadata) read(r *limited) error {
	w := newWalker(r)
	ended, slot := false, ""
	for {
		e, err := w.next(&ended)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read METADATA.XML: %w", err)
		}
		last := w.path[len(w.path)-1]
		switch {
		case !slices.Contains(w.path, "ExtrinsicObject"):
		case e == nil && last == "Value" && slot == "sourcePatientInfo":
			if identifiers, ok := strings.CutPrefix(strings.TrimSpace(string(w.text)), "PID-3|"); ok {
				m.number(identifiers)
			}
		case e != nil:
			if last == "Slot" {
				slot = attribute(e, "name")
			}
			m.take(e)
		}
	}
}

// take takes what attributes tell.
func (m *metadata) take(e *xml.StartElement) {
	const most = 1000
	switch e.Name.Local {
	case "Classification":
		code := attribute(e, "nodeRepresentation")
		if attribute(e, "classificationScheme") == typeCode && validCode(code) && !slices.Contains(m.types, code) && len(m.types) < most {
			m.types = append(m.types, code)
		}
	case "ExternalIdentifier":
		if attribute(e, "identificationScheme") == patientID {
			m.number(attribute(e, "value"))
		}
	}
}

// number takes the INS among HL7 v2 identifiers: "number^^^&authority&ISO^NH", divided by "~".
func (m *metadata) number(identifiers string) {
	const most = 100
	for cx := range strings.SplitSeq(identifiers, "~") {
		components := strings.Split(cx, "^")
		if len(components) < 4 {
			continue
		}
		authority := strings.Split(components[3], "&")
		if len(authority) < 2 {
			continue
		}
		if n := insNumber(authority[1], components[0]); n != "" && !slices.Contains(m.numbers, n) && len(m.numbers) < most {
			m.numbers = append(m.numbers, n)
		}
	}
}
