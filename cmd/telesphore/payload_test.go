package main

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// This file makes health documents as hospital systems send them, about nobody.

// The document and its description, in which %s is an INS for tests.
const (
	payloadCDA = `<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3"><code code="11502-2" codeSystem="2.16.840.1.113883.6.1"/><title>Compte rendu</title>
<recordTarget><patientRole><id extension="%s" root="1.2.250.1.213.1.4.10"/>
<patient><name><family qualifier="BR">PATIENT</family><given>TEST</given></name>
<administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/><birthTime value="19790328"/></patient></patientRole></recordTarget>
</ClinicalDocument>`
	payloadMetadata = `<?xml version="1.0" encoding="UTF-8"?>
<SubmitObjectsRequest xmlns="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0" xmlns:r="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"><r:RegistryObjectList>
<r:ExtrinsicObject id="d1" mimeType="text/xml">
<r:Classification classificationScheme="urn:uuid:f0306f51-975f-434e-a61c-c59651d33983" nodeRepresentation="11502-2"/>
<r:ExternalIdentifier identificationScheme="urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427" value="%s^^^&amp;1.2.250.1.213.1.4.10&amp;ISO^NH"/>
</r:ExtrinsicObject></r:RegistryObjectList></SubmitObjectsRequest>`
	payloadINS  = "279035121518989"
	payloadSize = 1 << 20 // octets of the picture in it
)

// cmdPayload is `payload FILE ZIP SUBJECT [FIELD...]`: FILE is a message of the laboratory to the
// pharmacy with header fields of its own (\n and \t fold them) and an IHE_XDM.zip of a megabyte, ZIP the archive.
func cmdPayload(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: payload FILE ZIP SUBJECT [FIELD...]")
	}
	archive, err := payloadArchive()
	ts.Check(err)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: labo@hopital.test\r\nTo: pharmacie@clinique.test\r\nSubject: %s\r\n", args[2])
	fmt.Fprintf(&b, "Message-ID: <%s@labo.hopital.test>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0100\r\n", args[2])
	for _, field := range args[3:] {
		b.WriteString(strings.NewReplacer(`\n`, "\r\n", `\t`, "\t").Replace(field) + "\r\n")
	}
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_payload\"\r\n\r\n" +
		"--=_payload\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nCi-joint un résultat.\r\n" +
		"--=_payload\r\nContent-Type: application/zip; name=\"IHE_XDM.zip\"\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename=\"IHE_XDM.zip\"\r\n\r\n")
	text := base64.StdEncoding.EncodeToString(archive)
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	b.WriteString("--=_payload--\r\n")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), archive, 0o600))
}

// payloadArchive packs a document with a picture that nothing can compress.
func payloadArchive() ([]byte, error) {
	picture := make([]byte, payloadSize)
	for i := range picture {
		picture[i] = byte(rand.Uint32())
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range []struct {
		name    string
		content []byte
	}{
		{"INDEX.HTM", []byte("<html/>")},
		{"IHE_XDM/SUBSET01/METADATA.XML", fmt.Appendf(nil, payloadMetadata, payloadINS)},
		{"IHE_XDM/SUBSET01/DOC0001.XML", fmt.Appendf(nil, payloadCDA, payloadINS)},
		{"IHE_XDM/SUBSET01/IMAGE.PNG", picture},
	} {
		e, err := w.Create(f.name)
		if err != nil {
			return nil, err
		}
		if _, err := e.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// cmdDetach is `detach FILE ZIP`: ZIP is the attachment of a message.
func cmdDetach(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: detach FILE ZIP")
	}
	m, err := netmail.ReadMessage(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	ts.Check(err)
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextPart()
		ts.Check(err) // io.EOF: there is no attachment
		if p.FileName() != "IHE_XDM.zip" {
			continue
		}
		octets, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), octets, 0o600))
		return
	}
}
