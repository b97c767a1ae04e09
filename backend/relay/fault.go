package relay

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"

	"telesphore/backend"
	"telesphore/storage"
	"telesphore/tls"
)

// Status codes (RFC 3463) of faults that come from no reply. Those of TLS are what
// Postfix says in the same places.
const (
	noAnswer       = "4.4.1"
	badConnection  = "4.4.2"
	noDirectory    = "4.4.3" // the DNS
	badProtocol    = "4.5.0"
	noSecurity     = "4.7.4"
	badCertificate = "4.7.5"
)

// fault is why recipients do not get the message, this time or at all.
type fault struct {
	step      string            // what we were doing: "connect", "MAIL", ...
	status    string            // RFC 3463
	failed    bool              // trying again changes nothing
	elsewhere bool              // another host may do better
	usable    bool              // the connection still is
	reply     reply             // the peer's, zero for none
	cause     error             // when it was no reply
	leaf      *x509.Certificate // that the peer has shown and that is not good
	remote    string            // name of the peer, "" for none
}

// broken is the fault of a connection that is of no use any more.
func broken(step string, err error) *fault {
	f := &fault{step: step, status: badConnection, elsewhere: true, cause: err}
	switch {
	case errors.Is(err, errGarbage), errors.Is(err, errTalkative), errors.Is(err, errEarly):
		f.status = badProtocol
	case tls.RefusedByPeer(err): // with TLS 1.3 it comes after the handshake
		f.status = badCertificate
	}
	return f
}

// handshake is the fault of a handshake.
func handshake(err error, leaf *x509.Certificate) *fault {
	f := broken("TLS", err)
	var network net.Error
	if !errors.As(err, &network) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		f.status = badCertificate
	}
	f.leaf = leaf
	return f
}

// refused is the fault that a reply tells of.
func refused(step string, r reply) *fault {
	switch r.code / 100 {
	case 4:
		return &fault{step: step, status: r.status(), elsewhere: r.code == closing, usable: r.code != closing, reply: r}
	case 5:
		return &fault{step: step, status: r.status(), failed: true, usable: true, reply: r}
	}
	f := broken(step, errGarbage)
	f.reply = r
	return f
}

// unproven makes f what counts before a peer has proven who it is: its refusal
// may be anybody's, so it is never the last word.
func (f *fault) unproven() *fault {
	f.failed, f.elsewhere = false, true
	f.status = "4" + f.status[1:]
	return f
}

// worse returns which of two faults counts: trying again makes sense when it does
// for one of the hosts.
func (f *fault) worse(before *fault) *fault {
	if before != nil && f.failed && !before.failed {
		return before
	}
	return f
}

func (f *fault) Error() string {
	if f.cause == nil {
		return fmt.Sprintf("relay: %s: answered %d", f.step, f.reply.code)
	}
	return fmt.Sprintf("relay: %s: %v", f.step, f.cause)
}

func (f *fault) Unwrap() error { return f.cause }

// outcome is what the fault means for a recipient.
func (f *fault) outcome() backend.Outcome {
	o := backend.Outcome{Result: storage.Result{
		Action: storage.Delayed, Status: f.status, Diagnostic: f.reply.diagnostic(), Remote: f.remote,
	}}
	if f.failed {
		o.Action = storage.Failed
	}
	if f.cause != nil { // the reply says it otherwise
		o.Cause = f
	}
	return o
}
