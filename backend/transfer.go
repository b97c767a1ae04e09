package backend

import (
	"io"

	"telesphore/storage"
)

// Transfer is a message on its way to the recipients at one domain.
type Transfer struct {
	Name       string // of the message, for the log
	Domain     string // of all recipients, as [ParseDomain] returns it
	From       string // reverse-path without angle brackets, "" for <>
	Rcpts      []Rcpt
	EnvelopeID string // ENVID, decoded
	Return     string // RET: "FULL", "HDRS" or ""
	UTF8       bool   // SMTPUTF8 was asked for
	RequireTLS bool   // RFC 8689
	Trusted    bool   // it was accepted for a domain of the trust space, and goes no other way whatever the domain is now
	Size       int64  // octets

	// Open reads the octets from their beginning. It may be called again.
	Open func() (io.ReadCloser, error)
}

// Outcome is what became of one recipient of a Transfer.
type Outcome struct {
	storage.Result       // Action: Failed, Delayed (it may be tried again) or Relayed
	DSN            bool  // the next server makes the notices from here on (RFC 3461 section 4.3)
	Cause          error // for the log; nil when there is nothing to say
}
