// Package xdm reads what health documents travel in: IHE_XDM.zip attachments with CDA documents,
// and the X-MSS header fields that MSSanté wants beside them (Référentiel socle 2, ECO.2.4).
//
// Archives come from strangers. They are opened in memory only, within Limits; nothing of them is
// written anywhere, no archive inside is opened, no name in them is used as a path, and what gets out
// is codes of checked form and fixed phrases.
package xdm

import (
	"cmp"
	"slices"
	"strings"

	"telesphore/backend/message"
)

// Limits bound what an archive may cost. A zero field means the default it names.
type Limits struct {
	Archive int64 // octets of an archive, unpacked; default 100 MiB
	File    int64 // octets of one metadata or CDA file that is read; default 16 MiB
	Files   int   // of an archive; default 1,000
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{Archive: cmp.Or(l.Archive, 100<<20), File: cmp.Or(l.File, 16<<20), Files: cmp.Or(l.Files, 1000)}
}

// Finding is what a message holds and lacks.
type Finding struct {
	Archive  bool     // it has an IHE_XDM.zip
	Fields   []byte   // the X-MSS fields that it lacks and the archive gives, CRLF each
	Warnings []string // what is missing or does not fit: fixed phrases in English, nothing of the patient
}

// The fields. X-MSS-NIL names the sending software: nobody else can write it.
const (
	fieldCodes    = "X-MSS-CODECDA" // codes of the CDA documents, divided by commas (ECO.2.4.1)
	fieldINS      = "X-MSS-INS"     // O or N: is the patient's INS qualified (ECO.2.4.2)
	fieldSoftware = "X-MSS-NIL"     // ECO.2.4.3
)

// The warnings.
const (
	noSoftware       = "X-MSS-NIL is missing"
	noCodes          = "X-MSS-CODECDA is missing"
	noINS            = "X-MSS-INS is missing"
	otherCodes       = "X-MSS-CODECDA does not fit the archive"
	otherINS         = "X-MSS-INS does not fit the archive"
	codesOfNothing   = "X-MSS-CODECDA is there, but no CDA document"
	insOfNothing     = "X-MSS-INS is there, but no CDA document"
	unreadable       = "the archive cannot be read"
	tooLarge         = "the archive is too large to be read"
	tooManyFiles     = "the archive has too many files to be read"
	tooManyArchives  = "there are too many archives"
	encrypted        = "the archive holds an encrypted file"
	unsafeName       = "the archive holds a file with an unsafe name"
	sameName         = "the archive holds two files of one name"
	noMetadata       = "the archive has no METADATA.XML"
	badMetadata      = "METADATA.XML cannot be read"
	badDocument      = "an XML document in the archive cannot be read"
	noCode           = "a CDA document has no valid code"
	tooManyCodes     = "there are CDA documents with too many codes"
	noPatient        = "a CDA document names no patient"
	severalPatients  = "the CDA documents are about several patients"
	metadataTypes    = "METADATA.XML does not name the type of each CDA document"
	metadataPatients = "METADATA.XML names another patient than the CDA documents"
)

// Inspect looks at a message. It never fails: what cannot be read is a warning. A message that can
// hold no archive costs one search through its octets, none of its parts is decoded.
//
// Fields holds X-MSS-CODECDA and X-MSS-INS where the message lacks them and all its CDA documents could be
// read. X-MSS-INS says O when each of them, and METADATA.XML where it says anything, is
// about one patient with an INS (number and authority), family name at birth, given name,
// birth date and sex. Whether somebody has verified the identity no archive can say. A field that the message has
// is never in Fields; one that says something else than the archive is a warning. A missing X-MSS-NIL is
// one in messages with an archive.
func Inspect(octets []byte, l Limits) Finding {
	in := inspection{limits: l.withDefaults()}
	if mayHoldArchive(octets) {
		in.message(octets)
	}
	f := Finding{Archive: in.archive}
	codes, hasCodes := field(octets, fieldCodes)
	ins, hasINS := field(octets, fieldINS)
	switch {
	case len(in.documents) > 0 && !in.unread:
		switch value := in.codes(); {
		case value == "": // it has said why
		case !hasCodes:
			in.warn(noCodes)
			f.Fields = append(f.Fields, fieldCodes+": "+value+"\r\n"...)
		case !sameCodes(codes, value):
			in.warn(otherCodes)
		}
		if value := in.ins(); !hasINS {
			in.warn(noINS)
			f.Fields = append(f.Fields, fieldINS+": "+value+"\r\n"...)
		} else if ins != value {
			in.warn(otherINS)
		}
	case !in.unread:
		if hasCodes {
			in.warn(codesOfNothing)
		}
		if hasINS {
			in.warn(insOfNothing)
		}
	}
	if _, has := field(octets, fieldSoftware); in.archive && !has {
		in.warn(noSoftware)
	}
	f.Warnings = in.warnings
	return f
}

// field is the value of the first header field called name.
func field(octets []byte, name string) (value string, has bool) {
	if values := message.HeaderValues(octets, name); len(values) > 0 {
		return strings.TrimSpace(values[0]), true
	}
	return "", false
}

// inspection is what was found so far.
type inspection struct {
	limits    Limits
	warnings  []string // each once
	archive   bool
	unread    bool // something that may be a CDA document: nothing is computed
	documents []document
	metadata  metadata
}

func (in *inspection) warn(phrase string) {
	if !slices.Contains(in.warnings, phrase) {
		in.warnings = append(in.warnings, phrase)
	}
}

// codes are the codes of the documents, each once, in the order of the archive; "" when one has none, or
// there are more than a line holds.
func (in *inspection) codes() string {
	const most = 40 // that stand in one line with room to spare
	var codes []string
	for _, d := range in.documents {
		if !validCode(d.code) {
			in.warn(noCode)
			return ""
		}
		if !slices.Contains(codes, d.code) {
			if len(codes) == most {
				in.warn(tooManyCodes)
				return ""
			}
			codes = append(codes, d.code)
		}
		if len(in.metadata.types) > 0 && !slices.Contains(in.metadata.types, d.code) {
			in.warn(metadataTypes)
		}
	}
	return strings.Join(codes, ",")
}

// validCode tells what may stand in a field: LOINC and French codes are of this form.
func validCode(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '-' && c != '.' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 20
}

// sameCodes compares lists of codes without regard to order and blanks.
func sameCodes(a, b string) bool {
	set := func(s string) []string {
		list := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
		slices.Sort(list)
		return slices.Compact(list)
	}
	return slices.Equal(set(a), set(b))
}

// ins is O when all documents are about one patient with a qualified INS, else N.
func (in *inspection) ins() string {
	number, value := "", "O"
	for _, d := range in.documents {
		if len(d.patients) == 0 {
			in.warn(noPatient)
			value = "N"
		}
		for _, p := range d.patients {
			if !p.qualified() {
				value = "N"
			}
			if number != "" && p.number != "" && p.number != number {
				in.warn(severalPatients)
				value = "N"
			}
			number = cmp.Or(number, p.number)
		}
	}
	for _, other := range in.metadata.numbers {
		if number != "" && other != number {
			in.warn(metadataPatients)
			value = "N"
		}
	}
	return value
}
