// Package report writes and reads the notices about messages: delivery status
// notifications (DSN, RFC 3461 to 3464, RFC 6533) and message disposition notifications
// (MDN, RFC 8098, with the codes of CI-SIS).
//
// It knows formats only: who gets a notice, and what a notice changes, others decide.
package report

import (
	"time"

	"telesphore/storage"
)

// Notice is a delivery status notification to be written.
type Notice struct {
	Language   string // of the part that people read: "en" (default) or "fr"
	Hostname   string // ours: the Reporting-MTA
	From       string // address in the headers: postmaster of ours
	To         string // the sender of the message it is about
	EnvelopeID string // ENVID of the message, decoded; "" for none
	Arrived    time.Time
	Expires    time.Time // until when it is tried, for Delayed
	Recipients []Recipient
	Message    []byte // what it is about: its octets, or the beginning of them
	Whole      bool   // Message is whole, and RET=FULL asks for it; else the header alone is returned
	UTF8       bool   // the message needs SMTPUTF8
}

// Recipient is what a Notice says of one recipient. All of one Notice have one Action.
type Recipient struct {
	Address      string
	OriginalType string // ORCPT, "" when not given
	Original     string
	storage.Result
}

// Report is a notice that came in.
type Report struct {
	Disposition bool   // an MDN; else a DSN
	From        string // address of the From field, normalised domain not implied
	EnvelopeID  string // Original-Envelope-Id, decoded; "" for none
	MessageID   string // of the message it is about, with angle brackets; "" when it does not say
	Recipients  []Reported
}

// Reported is what a Report says of one recipient.
type Reported struct {
	Address  string // Final-Recipient
	Original string // Original-Recipient, "" when not given
	storage.Step
}
