package tls

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Attribute is one statement of a distinguished name.
type Attribute struct {
	Type  string // OID, "2.5.4.3"
	Value string // decoded; white space is single spaces, none at the ends
}

// Name is a distinguished name to be compared: its attributes, sorted. How they
// were ordered, encoded or grouped into RDNs is no difference.
type Name []Attribute

// maxAttributes bounds a name, and maxValue one value in octets.
const (
	maxAttributes = 32
	maxValue      = 1024
)

// attributeTypes are the short names that certificates and lists use (RFC 4514
// section 3, and those that crypto/x509/pkix writes beside them).
func attributeTypes() map[string]string {
	return map[string]string{
		"CN": "2.5.4.3", "SN": "2.5.4.4", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8",
		"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "T": "2.5.4.12", "TITLE": "2.5.4.12",
		"POSTALCODE": "2.5.4.17", "GIVENNAME": "2.5.4.42", "GN": "2.5.4.42",
		"UID": "0.9.2342.19200300.100.1.1", "DC": "0.9.2342.19200300.100.1.25",
	}
}

// SubjectOf returns whom a certificate is for. It fails when the subject is empty
// or has a value that is no text.
func SubjectOf(leaf *x509.Certificate) (Name, error) {
	var name Name
	for _, a := range leaf.Subject.Names {
		value, ok := a.Value.(string)
		if !ok {
			return nil, errors.New("tls: subject with a value that is no text")
		}
		name = append(name, Attribute{a.Type.String(), spaced(value)})
	}
	if len(name) == 0 {
		return nil, errors.New("tls: certificate without a subject")
	}
	return name.sorted(), nil
}

// ParseName reads the text form of a distinguished name (RFC 4514), like
// "CN=mail.clinique.test,O=Clinique,C=FR".
func ParseName(text string) (Name, error) {
	var name Name
	for more := true; more; {
		kind, rest, ok := strings.Cut(text, "=")
		if !ok || len(name) >= maxAttributes {
			return nil, errors.New("tls: not a distinguished name")
		}
		oid, err := attributeType(strings.TrimSpace(kind))
		if err != nil {
			return nil, err
		}
		var value string
		if value, text, more, err = attributeValue(rest); err != nil {
			return nil, err
		}
		name = append(name, Attribute{oid, value})
	}
	return name.sorted(), nil
}

// attributeType returns the OID of a type that is written as such or by its name.
func attributeType(text string) (string, error) {
	if oid := attributeTypes()[strings.ToUpper(text)]; oid != "" {
		return oid, nil
	}
	arcs := 0
	for arc := range strings.SplitSeq(text, ".") {
		arcs++
		if arc == "" || len(arc) > 1 && arc[0] == '0' || strings.Trim(arc, "0123456789") != "" {
			return "", errors.New("tls: distinguished name with an unknown attribute")
		}
	}
	if arcs < 2 {
		return "", errors.New("tls: distinguished name with an unknown attribute")
	}
	return text, nil
}

// attributeValue reads one value up to the comma or plus sign behind it. More
// says whether there was one, rest what follows it.
func attributeValue(text string) (value, rest string, more bool, err error) {
	var octets []byte
	encoded := strings.HasPrefix(strings.TrimLeft(text, " "), "#")
	i := 0
loop:
	for ; i < len(text); i++ {
		switch c := text[i]; c {
		case ',', '+':
			more = true
			break loop
		case '"', ';', '<', '>', 0:
			return "", "", false, fmt.Errorf("tls: distinguished name with an unescaped %q", c)
		case '\\':
			unescaped, length := unescape(text[i+1:])
			if length == 0 || encoded {
				return "", "", false, errors.New("tls: distinguished name with a broken escape")
			}
			octets = append(octets, unescaped)
			i += length
		default:
			octets = append(octets, c)
		}
	}
	if more {
		rest = text[i+1:]
	}
	value = spaced(string(octets))
	if encoded {
		if value, err = encodedValue(value); err != nil {
			return "", "", false, err
		}
	}
	if value == "" || len(value) > maxValue || !utf8.ValidString(value) {
		return "", "", false, errors.New("tls: distinguished name with a value that is empty, too long or not UTF-8")
	}
	return value, rest, more, nil
}

// unescape reads what stands behind a backslash: a special character, or two
// hexadecimal digits. The length is 0 when it is neither.
func unescape(text string) (octet byte, length int) {
	if text == "" {
		return 0, 0
	}
	if strings.IndexByte(`"+,;<>\ #=`, text[0]) >= 0 {
		return text[0], 1
	}
	if len(text) >= 2 {
		if pair, err := hex.DecodeString(text[:2]); err == nil {
			return pair[0], 2
		}
	}
	return 0, 0
}

// encodedValue reads a value that is written as "#" and its DER in hexadecimal
// (RFC 4514 section 2.4).
func encodedValue(text string) (string, error) {
	der, err := hex.DecodeString(text[1:])
	if err != nil {
		return "", errors.New("tls: distinguished name with a broken value in hexadecimal")
	}
	var value any
	rest, err := asn1.Unmarshal(der, &value)
	decoded, ok := value.(string)
	if err != nil || len(rest) > 0 || !ok {
		return "", errors.New("tls: distinguished name with a value that is no text")
	}
	return spaced(decoded), nil
}

// spaced makes white space single spaces, and takes it off the ends.
func spaced(text string) string { return strings.Join(strings.Fields(text), " ") }

func (n Name) sorted() Name {
	slices.SortFunc(n, func(a, b Attribute) int {
		if order := strings.Compare(a.Type, b.Type); order != 0 {
			return order
		}
		return strings.Compare(a.Value, b.Value)
	})
	return n
}

// Equal reports whether both names have the same attributes, each as often.
func (n Name) Equal(other Name) bool { return len(n) > 0 && slices.Equal(n, other) }
