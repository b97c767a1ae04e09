// Package message reads a mail message octet by octet: its envelope, its body
// structure, the place of each section, its decoded text.
//
// Nothing here changes a message or fails on one: what is malformed is
// described as well as its octets allow. Offsets count octets from the start
// of the message as it was stored, so a section is always a slice of it.
package message

import "time"

// Bounds of what Describe looks at. They keep its work and its result in
// proportion to the message, whoever sent it.
const (
	MaxDepth      = 64     // nested parts; a deeper composite part is described as octets
	MaxParts      = 10_000 // of a message; what follows the last one has no part number
	MaxAddresses  = 10_000 // of one ENVELOPE; the ones after are left out of it
	MaxReferences = 128    // of a message: the oldest one, then the newest ones
)

// MetaLimit is the largest marshalled Meta kept beside a body, in octets.
const MetaLimit = 16 << 10

// Meta is what FETCH and SEARCH ask for most, made once at delivery and kept
// beside the body. The wire forms are ready to be sent: text that is not
// 7-bit or not quotable stands in literals, so they serve every client.
type Meta struct {
	Envelope      []byte    // RFC 9051 section 7.5.2 ENVELOPE, parentheses included
	Body          []byte    // BODY, the form without extension data
	BodyStructure []byte    // BODYSTRUCTURE
	Header        []byte    // top-level header octets, empty line included; nil when too long to keep
	Size          int64     // of the whole message, in octets
	Sent          time.Time // the Date field in UTC; zero when absent or unreadable
	SentZone      int       // the zone Date was written in, seconds east of UTC
	MessageID     string    // with its angle brackets, "" when there is none
	References    []string  // Message-IDs of References and In-Reply-To, oldest first, no doubles
	BaseSubject   string    // RFC 5256 section 2.1, for threads; its case as written
	Preview       string    // RFC 8970: at most 200 characters of text

	root *Part  // made by Describe
	tree []byte // or kept marshalled by UnmarshalMeta
}

// Part is one MIME part. A message/rfc822 part has one child: the embedded
// message's own top-level part, whose Header is inside this part's body.
// A multipart always has children: one text part over its whole body when no
// delimiter was found.
type Part struct {
	HeaderStart, BodyStart, End int64  // header [HeaderStart,BodyStart), body [BodyStart,End)
	Lines                       int64  // of the body
	Type, Subtype               string // lower case
	Charset                     string // as written, "" when absent
	Encoding                    string // lower case, "7bit" when absent; composite parts are never encoded (RFC 2045 section 6.4)
	Children                    []*Part
}
