package xdm

import (
	"bytes"
	"mime"
	"strings"

	"telesphore/backend/message"
)

const (
	archiveName = "ihe_xdm.zip"
	maxArchives = 8       // of a message
	maxValue    = 4 << 10 // octets of a Content-Type or Content-Disposition that are read
)

// mayHoldArchive keeps most mail from being taken apart. It tells a message that is a multipart or
// a file, and in which "zip" stands behind what stands before it in a file name or media type.
func mayHoldArchive(octets []byte) bool {
	kind, _ := field(octets, "Content-Type")
	kind = strings.ToLower(kind[:min(len(kind), len("application"))])
	if !strings.HasPrefix(kind, "multipart") && kind != "application" {
		return false
	}
	for _, word := range [][]byte{[]byte("zip"), []byte("ZIP"), []byte("Zip")} {
		for rest := octets; ; {
			i := bytes.Index(rest, word)
			if i < 0 {
				break
			}
			if i > 0 && bytes.IndexByte([]byte("./-Ee"), rest[i-1]) >= 0 { // "%2Ezip" is RFC 2231
				return true
			}
			rest = rest[i+len(word):]
		}
	}
	return false
}

// message looks for archives among the parts of a message. Embedded messages are not looked into:
// their fields are their own.
func (in *inspection) message(octets []byte) {
	archives := 0
	var walk func(p *message.Part)
	walk = func(p *message.Part) {
		if p.IsMultipart() {
			for _, child := range p.Children {
				walk(child)
			}
			return
		}
		named, zipped := attachment(p, octets)
		if !named && !zipped {
			return
		}
		if archives++; archives > maxArchives {
			in.warn(tooManyArchives)
			in.unread = true
			return
		}
		content, err := message.Decode(p.Encoding, octets[p.BodyStart:p.End])
		if err != nil {
			content = nil
		}
		in.zip(content, named)
	}
	walk(message.Describe(octets).Root())
}

// attachment reports whether a part is named IHE_XDM.zip, by Content-Disposition or Content-Type, and
// whether it says to be a zip archive.
func attachment(p *message.Part, octets []byte) (named, zipped bool) {
	if p.Type == "application" {
		switch p.Subtype {
		case "zip", "x-zip", "x-zip-compressed":
			zipped = true
		}
	}
	header := octets[p.HeaderStart:p.BodyStart]
	for _, f := range []struct{ field, parameter string }{{"Content-Disposition", "filename"}, {"Content-Type", "name"}} {
		for _, value := range message.HeaderValues(header, f.field) {
			if strings.EqualFold(parameter(value, f.parameter), archiveName) {
				return true, zipped
			}
		}
	}
	return false, zipped
}

// parameter is a parameter of a field, RFC 2231's continuations and charsets undone, and the encoded
// words that some programs write there. A value that keeps no grammar is searched for the name alone.
func parameter(value, name string) string {
	value = value[:min(len(value), maxValue)]
	_, parameters, err := mime.ParseMediaType(value)
	if err != nil {
		if strings.Contains(strings.ToLower(message.DecodeHeader(value)), archiveName) {
			return archiveName
		}
		return ""
	}
	return strings.TrimSpace(message.DecodeHeader(parameters[name]))
}
