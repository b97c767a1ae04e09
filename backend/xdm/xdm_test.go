package xdm

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Test identities, of nobody.
const (
	nir   = "279035121518989"
	other = "180035121518989"
	oid   = "1.2.250.1.213.1.4.8"
)

// file is one file of an archive.
type file struct{ name, content string }

// archive packs files.
func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.Create(f.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// cda is a CDA document of a code, about a patient with an identifier and all traits.
func cda(code, root, number string) string {
	return `<?xml version="1.0" encoding="UTF-8"?><?xml-stylesheet type="text/xsl" href="cda.xsl"?>
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<typeId root="2.16.840.1.113883.1.3"/><code code="` + code + `" codeSystem="2.16.840.1.113883.6.1"><translation code="x"/></code>
<title>Lettre</title><recordTarget><patientRole><id extension="1234" root="1.2.3.4"/><id extension="` + number + `" root="` + root + `"/>
<patient><name><family qualifier="BR">PATIENT</family><family qualifier="SP">AUTRE</family><given>RUTH ISABELLE</given></name>
<administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19790328"/></patient></patientRole></recordTarget>
<component><structuredBody><component><section><code code="OTHER"/><text>Chère consœur</text></section></component></structuredBody></component></ClinicalDocument>`
}

// meta is a METADATA.XML with documents of some types, about a patient.
func meta(number string, types ...string) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?><lcm:SubmitObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0" xmlns="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"><RegistryObjectList>`)
	for i, code := range types {
		fmt.Fprintf(&b, `<ExtrinsicObject id="d%d" mimeType="text/xml"><Slot name="sourcePatientInfo"><ValueList>
<Value>PID-3|%[2]s^^^&amp;1.2.250.1.213.1.4.8&amp;ISO^NH~77^^^&amp;1.2.3&amp;ISO^PI</Value><Value>PID-5|PATIENT^RUTH</Value></ValueList></Slot>
<Classification classificationScheme="urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a" nodeRepresentation="07"/>
<Classification classificationScheme="urn:uuid:f0306f51-975f-434e-a61c-c59651d33983" nodeRepresentation="%[3]s"/>
<ExternalIdentifier identificationScheme="urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427" value="%[2]s^^^&amp;1.2.250.1.213.1.4.8&amp;ISO^NH"/></ExtrinsicObject>`, i, number, code)
	}
	b.WriteString(`</RegistryObjectList></lcm:SubmitObjectsRequest>`)
	return b.String()
}

// standard are the files of an archive with one document.
func standard() []file {
	return []file{
		{"INDEX.HTM", "<html/>"}, {"README.TXT", "x"}, {"IHE_XDM/SUBSET01/METADATA.XML", meta(nir, "34112-3")},
		{"IHE_XDM/SUBSET01/DOC0001.XML", cda("34112-3", oid, nir)}, {"IHE_XDM/SUBSET01/cda.xsl", "<broken"},
	}
}

// with is a message with an attachment, described by some header lines, and fields of its own.
func with(content []byte, attachment, fields string) []byte {
	return []byte("From: labo@hopital.test\r\nTo: medecin@clinique.test\r\n" + fields + "MIME-Version: 1.0\r\n" +
		"Content-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nBonjour\r\n--b\r\n" +
		attachment + "Content-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(content) + "\r\n--b--\r\n")
}

const (
	zipped = "Content-Type: application/zip; name=\"IHE_XDM.zip\"\r\nContent-Disposition: attachment; filename=\"IHE_XDM.zip\"\r\n"
	nil0   = "X-MSS-NIL: abc\r\n"
	both   = "X-MSS-CODECDA: 34112-3\r\nX-MSS-INS: O\r\n"
)

// same compares what was found.
func same(t *testing.T, got Finding, archive bool, fields string, warnings ...string) {
	t.Helper()
	if got.Archive != archive || string(got.Fields) != fields || !slices.Equal(got.Warnings, warnings) {
		t.Errorf("found %v, fields %q, warnings %q;\nwanted %v, %q, %q", got.Archive, got.Fields, got.Warnings, archive, fields, warnings)
	}
}

func TestTheFieldsAreComputed(t *testing.T) {
	got := Inspect(with(archive(t, standard()...), zipped, ""), Limits{})
	same(t, got, true, both, noCodes, noINS, noSoftware)
	got = Inspect(with(archive(t, standard()...), zipped, string(got.Fields)+nil0), Limits{})
	same(t, got, true, "")
}

func TestWhereAnArchiveIsFound(t *testing.T) {
	xdm := archive(t, standard()...)
	lower := slices.Clone(standard())
	lower[2].name, lower[3].name = "ihe_xdm/subset01/metadata.xml", "ihe_xdm/subset01/doc0001.xml"
	for what, message := range map[string][]byte{
		"a name in Content-Disposition": with(xdm, "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=ihe_xdm.ZIP\r\n", nil0),
		"a name in Content-Type":        with(xdm, "Content-Type: application/octet-stream; name=\"IHE_XDM.ZIP\"\r\n", nil0),
		"RFC 2231":                      with(xdm, "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*=UTF-8''IHE%5FXDM%2Ezip\r\n", nil0),
		"RFC 2231 in pieces":            with(xdm, "Content-Type: application/octet-stream\r\nContent-Disposition: attachment;\r\n filename*0=IHE_;\r\n filename*1=XDM.zip\r\n", nil0),
		"no grammar":                    with(xdm, "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=IHE_XDM.zip; ;;=\r\n", nil0),
		"another name":                  with(xdm, "Content-Type: application/x-zip-compressed; name=\"archive (1).zip\"\r\n", nil0),
		"no name":                       with(xdm, "Content-Type: application/zip\r\n", nil0),
		"an encoded word":               with(xdm, "Content-Type: application/zip; name=\"=?utf-8?B?SUhFX1hETS56aXA=?=\"\r\n", nil0),
		"small letters inside":          with(archive(t, lower...), zipped, nil0),
		"the message itself":            []byte(nil0 + "Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString(xdm)),
	} {
		t.Run(what, func(t *testing.T) {
			same(t, Inspect(message, Limits{}), true, both, noCodes, noINS)
		})
	}
}

func TestMessagesWithoutArchive(t *testing.T) {
	xdm := archive(t, standard()...)
	for what, c := range map[string]struct {
		message  []byte
		warnings []string
	}{
		"a text":                 {[]byte("From: a\r\n\r\nsee IHE_XDM.zip\r\n"), nil},
		"nothing":                {nil, nil},
		"another archive":        {with(archive(t, file{"scan.dcm", "x"}), "Content-Type: application/zip; name=scans.zip\r\n", ""), nil},
		"what is no archive":     {with([]byte("no"), "Content-Type: application/zip; name=scans.zip\r\n", ""), nil},
		"a forwarded one":        {[]byte("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n" + string(with(xdm, zipped, "")) + "\r\n--o--\r\n"), nil},
		"fields about nothing":   {[]byte(both + "From: a\r\n\r\nx\r\n"), []string{codesOfNothing, insOfNothing}},
		"fields and an archive":  {with(archive(t, file{"a.xml", "<broken"}), "Content-Type: application/zip\r\n", both), []string{codesOfNothing, insOfNothing}},
		"what only looks so":     {with([]byte("no"), "Content-Type: image/png; name=x.zip.png\r\n", ""), nil},
		"a name inside the body": {[]byte("Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n\r\nfilename=IHE_XDM.zip\r\n--o--\r\n"), nil},
	} {
		t.Run(what, func(t *testing.T) {
			same(t, Inspect(c.message, Limits{}), false, "", c.warnings...)
		})
	}
}

func TestFieldsThatAreThere(t *testing.T) {
	two := archive(t, file{"IHE_XDM/A/METADATA.XML", meta(nir, "34112-3", "11502-2")}, file{"IHE_XDM/A/1.xml", cda("34112-3", oid, nir)},
		file{"IHE_XDM/A/2.xml", cda("11502-2", oid, nir)}, file{"IHE_XDM/A/3.xml", cda("34112-3", oid, nir)})
	for fields, c := range map[string]struct {
		computed string
		warnings []string
	}{
		"":                                   {"X-MSS-CODECDA: 34112-3,11502-2\r\nX-MSS-INS: O\r\n", []string{noCodes, noINS}},
		"X-MSS-CODECDA: 34112-3,11502-2\r\n": {"X-MSS-INS: O\r\n", []string{noINS}},
		"x-mss-codecda: 11502-2 ,\r\n 34112-3\r\n": {"X-MSS-INS: O\r\n", []string{noINS}},
		"X-MSS-CODECDA: 34112-3\r\n":               {"X-MSS-INS: O\r\n", []string{otherCodes, noINS}},
		"X-MSS-CODECDA:\r\n":                       {"X-MSS-INS: O\r\n", []string{otherCodes, noINS}},
		"X-MSS-INS: N\r\n":                         {"X-MSS-CODECDA: 34112-3,11502-2\r\n", []string{noCodes, otherINS}},
		"X-MSS-INS: oui\r\n":                       {"X-MSS-CODECDA: 34112-3,11502-2\r\n", []string{noCodes, otherINS}},
		"X-MSS-INS: O\r\n":                         {"X-MSS-CODECDA: 34112-3,11502-2\r\n", []string{noCodes}},
	} {
		t.Run(fields, func(t *testing.T) {
			same(t, Inspect(with(two, zipped, nil0+fields), Limits{}), true, c.computed, c.warnings...)
		})
	}
}

func TestWhenAnINSIsQualified(t *testing.T) {
	good := cda("34112-3", oid, nir)
	without := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for what, c := range map[string]struct {
		metadata string
		document string
		want     string
		warnings []string
	}{
		"all of it":                   {meta(nir, "34112-3"), good, "O", nil},
		"no METADATA number":          {meta("", "34112-3"), good, "O", nil},
		"a NIA":                       {meta("", "34112-3"), cda("34112-3", "1.2.250.1.213.1.4.9", nir), "O", nil},
		"a number for tests":          {meta("", "34112-3"), cda("34112-3", "1.2.250.1.213.1.4.10", nir), "O", nil},
		"another one for tests":       {meta("", "34112-3"), cda("34112-3", "1.2.250.1.213.1.4.11", nir), "O", nil},
		"Corsica":                     {meta("", "34112-3"), cda("34112-3", oid, "279032A21518989"), "O", nil},
		"a number without key":        {meta(nir, "34112-3"), cda("34112-3", oid, nir[:13]), "O", nil},
		"one family name":             {meta(nir, "34112-3"), without(` qualifier="BR"`, ""), "O", nil},
		"an identifier of a hospital": {meta("", "34112-3"), cda("34112-3", "1.2.250.1.213.1.4.2", nir), "N", nil},
		"a short number":              {meta("", "34112-3"), cda("34112-3", oid, "2790351215189"[:12]), "N", nil},
		"letters":                     {meta("", "34112-3"), cda("34112-3", oid, "27903512151898A"), "N", nil},
		"no family name":              {meta(nir, "34112-3"), without(">PATIENT<", "> <"), "N", nil},
		"no family name at birth":     {meta(nir, "34112-3"), without(`qualifier="BR"`, `qualifier="CL"`), "N", nil},
		"no given name":               {meta(nir, "34112-3"), without("<given>RUTH ISABELLE</given>", `<given nullFlavor="UNK"/>`), "N", nil},
		"no sex":                      {meta(nir, "34112-3"), without(`code="F"`, `nullFlavor="UNK"`), "N", nil},
		"no birth date":               {meta(nir, "34112-3"), without("19790328", "1979"), "N", nil},
		"no patient":                  {meta(nir, "34112-3"), without("recordTarget>", "other>"), "N", []string{noPatient}},
		"another patient outside":     {meta(other, "34112-3"), good, "N", []string{metadataPatients}},
		"another type outside":        {meta(nir, "11502-2"), good, "O", []string{metadataTypes}},
		"old octets":                  {meta(nir, "34112-3"), strings.ReplaceAll(without("UTF-8", "ISO-8859-1"), "è", "\xe8"), "O", nil},
	} {
		t.Run(what, func(t *testing.T) {
			document := c.document
			if what == "no patient" {
				document = strings.ReplaceAll(good, "recordTarget>", "other>")
			}
			content := archive(t, file{"IHE_XDM/A/METADATA.XML", c.metadata}, file{"IHE_XDM/A/1.xml", document})
			got := Inspect(with(content, zipped, nil0+"X-MSS-CODECDA: 34112-3\r\n"), Limits{})
			same(t, got, true, "X-MSS-INS: "+c.want+"\r\n", append(c.warnings, noINS)...)
		})
	}
	t.Run("two patients", func(t *testing.T) {
		content := archive(t, file{"METADATA.XML", meta("", "34112-3")}, file{"1.xml", good}, file{"2.xml", cda("34112-3", oid, other)})
		same(t, Inspect(with(content, zipped, nil0+"X-MSS-CODECDA: 34112-3\r\n"), Limits{}), true, "X-MSS-INS: N\r\n", severalPatients, noINS)
	})
}

func TestArchivesWithoutCDA(t *testing.T) {
	content := archive(t, file{"IHE_XDM/A/METADATA.XML", meta(nir, "34112-3")}, file{"IHE_XDM/A/1.pdf", "%PDF"}, file{"IHE_XDM/A/2.xml", "<html/>"})
	same(t, Inspect(with(content, zipped, nil0), Limits{}), true, "")
	same(t, Inspect(with(content, zipped, nil0+both), Limits{}), true, "", codesOfNothing, insOfNothing)
	same(t, Inspect(with(archive(t, file{"IHE_XDM/A/1.pdf", "%PDF"}), zipped, nil0), Limits{}), true, "", noMetadata)
}
