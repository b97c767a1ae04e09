package imapd

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"telesphore/backend/message"
)

// textual gives a message that came as a literal8 a form that BODY[] can be
// answered with: the parts that hold NUL are put into base64, for what is no
// text must not be sent without an encoding (RFC 9051 section 7.5.2). BINARY
// gives them back as they came. All other octets stay as they are; a NUL among
// those is errUnknownCTE (RFC 9051 section 6.3.12).
func textual(octets []byte) ([]byte, error) {
	if bytes.IndexByte(octets, 0) < 0 {
		return octets, nil
	}
	var out []byte
	done := int64(0)
	for _, p := range leaves(message.Describe(octets).Root(), nil) {
		body := octets[p.BodyStart:p.End]
		if !encodable(p) || bytes.IndexByte(body, 0) < 0 {
			continue
		}
		out = append(out, octets[done:p.HeaderStart]...)
		out = append(out, "Content-Transfer-Encoding: base64\r\n"...)
		header := octets[p.HeaderStart:p.BodyStart]
		out = append(out, message.FilterHeader(header, []string{"Content-Transfer-Encoding"}, true)...)
		out = appendBase64(out, body)
		done = p.End
	}
	out = append(out, octets[done:]...)
	if bytes.IndexByte(out, 0) >= 0 {
		return nil, fmt.Errorf("NUL outside of a part's body: %w", errUnknownCTE)
	}
	return out, nil
}

// leaves appends the parts below p that hold no others, in the message's order.
func leaves(p *message.Part, list []*message.Part) []*message.Part {
	if len(p.Children) == 0 {
		return append(list, p)
	}
	for _, child := range p.Children {
		list = leaves(child, list)
	}
	return list
}

// encodable says whether p has a header to name the encoding in, and none yet.
func encodable(p *message.Part) bool {
	switch p.Encoding {
	case "7bit", "8bit", "binary":
		return p.HeaderStart < p.BodyStart
	}
	return false
}

// appendBase64 appends b in lines of 76 characters (RFC 2045 section 6.8), the
// last one without its end.
func appendBase64(dst, b []byte) []byte {
	const line = 57 // octets
	for len(b) > line {
		dst = base64.StdEncoding.AppendEncode(dst, b[:line])
		dst = append(dst, "\r\n"...)
		b = b[line:]
	}
	return base64.StdEncoding.AppendEncode(dst, b)
}
