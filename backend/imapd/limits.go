package imapd

import (
	"net/netip"
	"time"

	"golang.org/x/sync/semaphore"

	"telesphore/backend/imapd/wire"
	"telesphore/storage"
)

// Limits bound what clients may take. All of them must be positive.
type Limits struct {
	Connections int // open at once
	PerAddress  int // of these from one IPv4 address or IPv6 /64
	PerAccount  int // of these logged in to one account

	Failures    int // failed log-ins of one connection; the last one closes it
	BadCommands int // commands in a row that are not understood; the last one closes the connection

	Handshake time.Duration // for a TLS handshake
	LogIn     time.Duration // from the connection's begin to a log-in
	Idle      time.Duration // between commands; RFC 9051 section 5.4 asks for 30 minutes at least
	Stall     time.Duration // without an octet inside a command
	Write     time.Duration // for a client to take 64 KiB of replies

	Message      int64 // octets of one message (APPENDLIMIT, RFC 7889)
	AppendMemory int64 // octets of all messages that are held whole, being received or read; an account gets an eighth
	OutputMemory int64 // octets of all replies that are being gathered

	Patterns int // patterns, and status items, of one LIST
	Keywords int // keywords named by one command
	Keyword  int // octets of one keyword

	Wire   wire.Limits  // of the grammar, once logged in
	Search SearchLimits // of one SEARCH
}

// DefaultLimits returns limits for a server of a few thousand people.
func DefaultLimits() Limits {
	return Limits{
		Connections:  20_000,
		PerAddress:   200,
		PerAccount:   50,
		Failures:     6, // Thunderbird sends one wrong password three times
		BadCommands:  20,
		Handshake:    2 * time.Minute,
		LogIn:        3 * time.Minute, // a handshake with its PIN is in it
		Idle:         30 * time.Minute,
		Stall:        2 * time.Minute,
		Write:        time.Minute,
		Message:      36 << 20,
		AppendMemory: 512 << 20,
		OutputMemory: 256 << 20,
		Patterns:     64,
		Keywords:     64,
		Keyword:      128,
		Wire:         wire.DefaultLimits(),
		Search:       SearchLimits{Keys: 1000, Depth: 32, Messages: 100_000},
	}
}

// strangerLimits are the grammar's limits before log-in. A line may be 12,288
// octets long for the sake of tokens (RFC 4954 section 4), and what is refused
// must be short.
func strangerLimits(l wire.Limits) wire.Limits {
	l.Line = min(l.Line, 12288+1024)
	l.Literal = min(l.Literal, 4096)
	l.Literals = min(l.Literals, 4)
	l.Discard = min(l.Discard, 64<<10)
	return l
}

// enter counts a new connection. It returns what to tell the client when there
// are too many.
func (s *Server) enter(ses *session) (refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch net := network(ses.remote); {
	case s.closing:
		return "Server shutting down"
	case len(s.conns) >= s.Limits.Connections:
		return "Too many connections"
	case s.byAddress[net] >= s.Limits.PerAddress:
		return "Too many connections from your address"
	default:
		s.byAddress[net]++
	}
	s.conns[ses] = struct{}{}
	s.sessions.Add(1)
	return ""
}

func (s *Server) leave(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	net := network(ses.remote)
	if s.byAddress[net]--; s.byAddress[net] == 0 {
		delete(s.byAddress, net)
	}
	delete(s.conns, ses)
	s.sessions.Done()
}

// share is what the sessions of one account have in common.
type share struct {
	sessions int                 // guarded by Server.mu
	memory   *semaphore.Weighted // the account's part of Server.appends
}

// accountMemory is how much of AppendMemory one account may use, so that nobody
// keeps the others from filing messages by never sending the rest of some.
func (l *Limits) accountMemory() int64 { return max(l.Message, l.AppendMemory/8) }

// enterAccount counts a log-in; it returns nil when there are too many.
func (s *Server) enterAccount(a storage.AccountID) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.byAccount[a]
	if sh == nil {
		sh = &share{memory: semaphore.NewWeighted(s.Limits.accountMemory())}
	}
	if sh.sessions >= s.Limits.PerAccount {
		return nil
	}
	sh.sessions++
	s.byAccount[a] = sh
	return sh
}

func (s *Server) leaveAccount(a storage.AccountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sh := s.byAccount[a]; sh.sessions > 1 {
		sh.sessions--
		return
	}
	delete(s.byAccount, a)
}

// network is what connections are counted by: who has one IPv6 address has a
// whole /64 of them.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		p, _ := a.Prefix(64) // never fails for 64 of 128 bits
		return p.Addr()
	}
	return a
}
