package smtpd

import (
	"cmp"
	"time"
)

// Limits bound what clients can ask for. A zero field means the default it names.
type Limits struct {
	MessageSize int64 // octets of one message; default 36 MiB, below 4 GiB
	Memory      int64 // octets of all messages being received at once, half of them at most from servers that nobody knows; default 512 MiB
	Recipients  int   // of one message; default 100, the least RFC 5321 section 4.5.3.1.8 allows

	Connections           int // altogether: one more takes the place of who has waited longest without saying who it is; default 2,000
	ConnectionsPerAddress int // from one IPv4 address or one IPv6 /64; default 50
	ConnectionsPerAccount int // logged in to one account; default 50

	Hops int           // Received fields of a message: more of them are a loop; default 50
	Hold time.Duration // the longest FUTURERELEASE; default 30 days

	Messages     int // of one connection; default 1,000
	Commands     int // between two messages; default 1,000
	Errors       int // commands that are not understood, before the connection closes; default 10
	AuthFailures int // of one connection, before it closes; default 6, since programs send one wrong password twice
	AuthTries    int // of one connection, however they end; default 30
	Unknown      int // recipients that do not exist, named by other servers in one connection before it closes; default 20

	Login     time.Duration // from the connection to the log-in, or another server's first MAIL; default 3 minutes
	Handshake time.Duration // of TLS; default 2 minutes, in which a card's owner types the PIN
	Idle      time.Duration // between two packets; default 5 minutes (RFC 5321 section 4.5.3.2.7)
	Message   time.Duration // for one message from DATA to its end; default 1 hour
	Write     time.Duration // until the client takes a reply; default 1 minute
}

// DefaultLimits are the limits that zero means.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		MessageSize:           cmp.Or(l.MessageSize, 36<<20),
		Memory:                cmp.Or(l.Memory, 512<<20),
		Recipients:            cmp.Or(l.Recipients, 100),
		Connections:           cmp.Or(l.Connections, 2000),
		ConnectionsPerAddress: cmp.Or(l.ConnectionsPerAddress, 50),
		ConnectionsPerAccount: cmp.Or(l.ConnectionsPerAccount, 50),
		Hops:                  cmp.Or(l.Hops, 50),
		Hold:                  cmp.Or(l.Hold, 30*24*time.Hour),
		Messages:              cmp.Or(l.Messages, 1000),
		Commands:              cmp.Or(l.Commands, 1000),
		Errors:                cmp.Or(l.Errors, 10),
		AuthFailures:          cmp.Or(l.AuthFailures, 6),
		AuthTries:             cmp.Or(l.AuthTries, 30),
		Unknown:               cmp.Or(l.Unknown, 20),
		Login:                 cmp.Or(l.Login, 3*time.Minute),
		Handshake:             cmp.Or(l.Handshake, 2*time.Minute),
		Idle:                  cmp.Or(l.Idle, 5*time.Minute),
		Message:               cmp.Or(l.Message, time.Hour),
		Write:                 cmp.Or(l.Write, time.Minute),
	}
}
