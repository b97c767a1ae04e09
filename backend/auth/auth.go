// Package auth answers who is calling, and how well we know.
//
// A door makes a [Caller] of each connection once its handshake is over, offers
// the mechanisms that [Authenticator.Mechanisms] lists and runs the one that was
// chosen as an [Exchange]. [Authenticator.LogIn] and [Authenticator.Certificate] are
// for what is no SASL exchange. The answer is a [Principal], or a [Refusal] whose
// Code the door translates into its own protocol; no protocol text lives here.
// What a principal may do is asked of [Authenticator.Allow].
//
// Whether an account exists must not show: an unknown user costs the same work
// and gets the same answer as a wrong password. Secrets are never logged, nor
// is a name that belongs to no account, since people type passwords there.
//
// One file for each thing that opens an account: password.go, card.go, code.go
// with grant.go, totp.go, apppassword.go, scram.go, token.go. verify.go is the walk
// that joins them, throttle.go the brake.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"telesphore/backend"
	"telesphore/storage"
	"telesphore/tls"
)

// Caller is one connection, as its door knows it.
type Caller struct {
	Proto  string     // "imap", "smtp", ...
	Remote netip.Addr // where it comes from
	ConnID string     // names it in the log
	TLS    tls.Facts
}

// Attempt is what somebody says who wants to log in.
type Attempt struct {
	Mech    string // SASL mechanism or command, for the log
	AuthzID string // whom to act as; "" for User itself
	User    string // as typed
	Secret  string // octets as they came, in whatever character set
}

// Authenticator recognises people. Set the fields before the first call and leave
// them alone; a zero field means the default it names. It is safe for concurrent use.
type Authenticator struct {
	Store    *storage.Store
	Audit    *storage.Audit // nil for none
	Anchors  *tls.Anchors   // who issues cards; nil when nobody does
	Language string         // of what people are told: "en" (default) or "fr"
	Policy   Policy
	Ours     func(backend.Address) bool // whether mail to an address is kept here: no place for codes
	Logger   *slog.Logger               // default slog.Default()

	// Notify takes what owners should know, and codes. It returns soon; the mail
	// may leave later. Nil: nobody is told.
	Notify func(context.Context, *Notice) error

	Params    Params        // of new password hashes; default DefaultParams
	MaxHashes int           // password hashes computed at once; default one per core
	MaxQueue  int           // hashes waiting for their turn, further ones are Unavailable; default 256
	CacheFor  time.Duration // a right password is remembered, in memory only, this long after its last use; default 15 minutes
	CacheSize int           // right passwords remembered at most; default 20,000

	Cards        CardRules
	RecheckCards time.Duration // between two looks at the cards of open log-ins; default 15 minutes
	Codes        CodeLimits
	Grants       GrantLimits
	AppPasswords AppPasswordLimits
	SCRAM        SCRAMOptions
	Tokens       []TokenVerifier     // of XOAUTH2 and OAUTHBEARER, asked in order
	Hidden       map[string][]string // SASL mechanisms that are not offered, by Caller.Proto
	TokenSession time.Duration       // a log-in by token lasts at most; default 4 hours

	Throttle Throttle // limits for guesses

	once    sync.Once
	key     [32]byte // of this process: tags in memory mean nothing outside it
	dummy   string   // what an unknown user's password is compared with
	hashes  *hasher
	cache   *recent[[32]byte, storage.AccountID]
	limiter *limiter
	alerts  *recent[storage.AccountID, bool] // who was shown an alert less than an hour ago

	told *recent[place, bool] // whose idle refusals are in the audit trail less than a minute

	strays *recent[string, bool] // unexpected cards that their owners were told of less than a day ago

	placeMu sync.Mutex // held from the look whether a network is new until it is known
	openMu  sync.Mutex // guards open
	open    map[*Principal]struct{}
}

// start fills in the defaults and what only memory holds.
func (a *Authenticator) start() {
	a.once.Do(func() {
		_, _ = rand.Read(a.key[:]) // never fails
		if a.Params == (Params{}) {
			a.Params = DefaultParams
		}
		if a.CacheFor == 0 {
			a.CacheFor = 15 * time.Minute
		}
		if a.CacheSize == 0 {
			a.CacheSize = 20_000
		}
		if a.RecheckCards == 0 {
			a.RecheckCards = 15 * time.Minute
		}
		if a.TokenSession == 0 {
			a.TokenSession = 4 * time.Hour
		}
		if a.Logger == nil {
			a.Logger = slog.Default()
		}
		a.Cards = a.Cards.withDefaults()
		a.Codes = a.Codes.withDefaults()
		a.Grants = a.Grants.withDefaults()
		a.AppPasswords = a.AppPasswords.withDefaults()
		a.SCRAM = a.SCRAM.withDefaults()
		a.dummy = a.Params.hash(rand.Text())
		a.hashes = newHasher(a.MaxHashes, a.MaxQueue)
		a.cache = newRecent[[32]byte, storage.AccountID](a.CacheSize)
		a.alerts = newRecent[storage.AccountID, bool](a.CacheSize)
		a.strays = newRecent[string, bool](a.CacheSize)
		a.limiter = newLimiter(a.Throttle)
		a.open = make(map[*Principal]struct{})
		a.told = newRecent[place, bool](a.CacheSize)
	})
}

// pseudonym stands in the log for a name that is nobody's: the same name gives the
// same pseudonym until the process ends.
func (a *Authenticator) pseudonym(name string) string {
	m := hmac.New(sha256.New, a.key[:])
	m.Write([]byte("name\x00"))
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil)[:8])
}
