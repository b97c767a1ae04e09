package message

import "iter"

// Text is the UTF-8 text of a text part; of any other part, its octets with the transfer
// encoding undone. octets is the whole message. A part in an encoding nobody
// knows comes as it stands. The result may alias octets.
func (p *Part) Text(octets []byte) []byte {
	body := octets[p.BodyStart:p.End]
	decoded, err := Decode(p.Encoding, body)
	if err != nil {
		decoded = body
	}
	if p.Type != "text" {
		return decoded
	}
	return toUTF8(p.Charset, decoded)
}

// Texts walks what SEARCH BODY looks at: the text of every part, and the decoded headers
// of embedded messages. With header it begins with the message's own header and
// includes those of the parts, as SEARCH TEXT asks (RFC 9051 section 6.4.4).
func (p *Part) Texts(octets []byte, header bool) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		p.walkTexts(octets, header, header, yield)
	}
}

func (p *Part) walkTexts(octets []byte, own, parts bool, yield func([]byte) bool) bool {
	if own && p.BodyStart > p.HeaderStart && !yield(headerText(octets[p.HeaderStart:p.BodyStart])) {
		return false
	}
	if len(p.Children) == 0 {
		return yield(p.Text(octets))
	}
	embedded := p.IsMessage()
	for _, child := range p.Children {
		if !child.walkTexts(octets, parts || embedded, parts, yield) {
			return false
		}
	}
	return true
}

// headerText is a header unfolded and decoded.
func headerText(header []byte) []byte {
	text := appendUnfolded(make([]byte, 0, len(header)), header)
	return []byte(DecodeHeader(string(text)))
}
