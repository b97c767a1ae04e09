// Package auth answers who is calling.
//
// A door fills an [Attempt] with what its protocol brought and asks
// [Authenticator.Verify]. The answer is a [Principal], or a [Refusal] whose Code
// the door translates into its own protocol; no protocol text lives here.
//
// Whether an account exists must not show: an unknown user costs the same work
// and gets the same answer as a wrong password. Secrets are never logged, nor
// is a name that belongs to no account, since people type passwords there.
package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// Attempt is what a door has learnt of someone who wants to log in.
type Attempt struct {
	Proto   string     // "imap", "smtp", ...: for the log
	Remote  netip.Addr // where the connection comes from
	Mech    string     // SASL mechanism or command, for the log
	AuthzID string     // whom to act as; "" for User itself
	User    string     // as typed
	Secret  string     // octets as they came, in whatever character set
	ConnID  string     // names the connection in the log
}

// Principal is somebody who has been recognised.
type Principal struct {
	Account storage.AccountID
	Address string // the account's primary address
	Level   int    // how well we know: 1 is a password
	Epoch   uint32 // of the account's credentials; when the account's moves, this log-in is over
}

// Code is why an attempt is refused, as far as a stranger may know.
type Code int

// The codes of a Refusal.
const (
	BadCredentials  Code = iota + 1 // no such user, wrong secret, not allowed to act as AuthzID
	Disabled                        // the secret was right, the account is switched off
	TooManyFailures                 // guesses from there or at that account: come back later
	Unavailable                     // our own trouble: try again
)

func (c Code) String() string {
	switch c {
	case BadCredentials:
		return "bad credentials"
	case Disabled:
		return "account disabled"
	case TooManyFailures:
		return "too many failures"
	case Unavailable:
		return "unavailable"
	}
	return fmt.Sprintf("code %d", int(c))
}

// Refusal is why Verify said no. Its text is for the log, its Code for the stranger.
type Refusal struct {
	Code  Code
	Cause error // may be nil

	// Repeated: the same wrong secret was refused less than an hour ago. It is no
	// new guess; mail programs send a password in two or three ways.
	Repeated bool
}

func (r *Refusal) Error() string {
	if r.Cause == nil {
		return "refused: " + r.Code.String()
	}
	return "refused: " + r.Code.String() + ": " + r.Cause.Error()
}

func (r *Refusal) Unwrap() error { return r.Cause }

// Authenticator recognises people by their password. Set the fields before the
// first call and leave them alone; a zero field means the default it names. It
// is safe for concurrent use.
type Authenticator struct {
	Store *storage.Store

	Params    Params        // of new password hashes; default DefaultParams
	MaxHashes int           // password hashes computed at once; default one per core
	MaxQueue  int           // hashes waiting for their turn, further ones are Unavailable; default 256
	CacheFor  time.Duration // a right password is remembered, in memory only, this long after its last use; default 15 minutes
	CacheSize int           // right passwords remembered at most; default 20,000

	Throttle Throttle     // limits for guesses
	Logger   *slog.Logger // default slog.Default()

	once    sync.Once
	key     [32]byte // of this process: tags in memory mean nothing outside it
	dummy   string   // what an unknown user's password is compared with
	hashes  *hasher
	cache   *recent[[32]byte, storage.AccountID]
	limiter *limiter
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
		if a.Logger == nil {
			a.Logger = slog.Default()
		}
		a.dummy = a.Params.hash(rand.Text())
		a.hashes = newHasher(a.MaxHashes, a.MaxQueue)
		a.cache = newRecent[[32]byte, storage.AccountID](a.CacheSize)
		a.limiter = newLimiter(a.Throttle)
	})
}

// Verify says who is calling. The error is a *Refusal, except when ctx ended.
func (a *Authenticator) Verify(ctx context.Context, t *Attempt) (*Principal, error) {
	a.start()
	p, account, err := a.verify(ctx, t)
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	a.record(ctx, t, p, account, err)
	return p, err
}

// verify does the work. The account it returns is the one that was named, when
// there is such a one, whatever the outcome.
func (a *Authenticator) verify(ctx context.Context, t *Attempt) (*Principal, *storage.Account, error) {
	account, name, err := a.lookUp(ctx, t.User)
	if err != nil {
		return nil, nil, &Refusal{Code: Unavailable, Cause: err}
	}
	tag := a.tag(name, account, t.Secret)

	// The throttle comes first: a cache that answered those who are shut out
	// would tell them when a guess is right.
	ticket, err := a.limiter.begin(ctx, name, t.Remote, tag)
	if err != nil {
		return nil, account, err
	}
	ok, err := a.check(ctx, ticket, account, t.Secret, tag)
	if err != nil {
		ticket.drop()
		return nil, account, &Refusal{Code: Unavailable, Cause: err}
	}
	if !ok {
		ticket.fail()
		return nil, account, &Refusal{Code: BadCredentials, Repeated: ticket.repeated}
	}
	ticket.succeed()
	// From here on the caller knows the password and may learn more.
	if account.State != storage.Active {
		return nil, account, &Refusal{Code: Disabled}
	}
	if t.AuthzID != "" && !owns(account, t.AuthzID) {
		return nil, account, &Refusal{Code: BadCredentials, Cause: errors.New("asked to act as somebody else")}
	}
	return &Principal{
		Account: account.ID,
		Address: account.Addresses[0],
		Level:   1,
		Epoch:   account.Epoch,
	}, account, nil
}

// maxName is how many octets of a name are looked at.
const maxName = 256

// lookUp finds the account that user names. For a name that is nobody's the
// account is nil. name identifies what was typed in maps.
func (a *Authenticator) lookUp(ctx context.Context, user string) (account *storage.Account, name string, err error) {
	address, err := backend.ParseAddress(user)
	if err == nil {
		name = address.Normal()
	} else {
		// The look-up is done all the same, so that it takes its time.
		name = "\x00" + user[:min(len(user), maxName)]
	}
	err = a.Store.View(ctx, func(tx *storage.Tx) error {
		account, err = tx.AccountByAddress(name)
		if errors.Is(err, storage.ErrNoAccount) {
			account, err = nil, nil
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("look up an account: %w", err)
	}
	if account != nil && (account.State == storage.Erasing || len(account.Addresses) == 0) {
		account = nil
	}
	if account != nil {
		name = account.Addresses[0]
	}
	return account, name, nil
}

// check compares the secret with the account's password: from the cache, or
// from a failure not long ago, or by hashing.
func (a *Authenticator) check(ctx context.Context, ticket *ticket, account *storage.Account, secret string, tag [32]byte) (bool, error) {
	if account != nil {
		if id, ok := a.cache.get(tag, time.Now()); ok && id == account.ID {
			a.cache.put(tag, id, time.Now().Add(a.CacheFor)) // sliding
			return true, nil
		}
	}
	if ticket.repeated {
		return false, nil
	}
	stored := a.dummy
	if account != nil && account.Password != "" {
		stored = account.Password
	}
	matched, err := a.hashes.match(ctx, tag, stored, forms(secret))
	if err != nil {
		return false, err
	}
	if matched == nil || account == nil || account.Password == "" {
		return false, nil
	}
	a.cache.put(tag, account.ID, time.Now().Add(a.CacheFor))
	a.rehash(ctx, account, *matched)
	return true, nil
}

// rehash stores a right password anew when its hash was made with other
// parameters. Failing to is no reason to refuse anybody.
func (a *Authenticator) rehash(ctx context.Context, account *storage.Account, password string) {
	if p, err := parsePHC(account.Password); err == nil && p.Params == a.Params {
		return
	}
	var phc string
	err := a.hashes.turn(func() { phc = a.Params.hash(password) })
	if err != nil {
		return // busy: the next log-in will do
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		now, err := tx.Account(account.ID)
		if err != nil || now.Epoch != account.Epoch || now.Password != account.Password {
			return err // the password changed meanwhile: leave it
		}
		return tx.Rehash(account.ID, phc)
	})
	if err != nil {
		a.Logger.WarnContext(ctx, "auth.rehash failed", "account", account.Addresses[0], "err", err)
	}
}

// record writes down what happened: to the log always, to the account when it logged in.
func (a *Authenticator) record(ctx context.Context, t *Attempt, p *Principal, account *storage.Account, err error) {
	attrs := []slog.Attr{
		slog.String("proto", t.Proto), slog.String("mech", t.Mech),
		slog.String("remote", t.Remote.String()), slog.String("conn", t.ConnID),
	}
	if account != nil {
		attrs = append(attrs, slog.String("account", account.Addresses[0]))
	} else {
		attrs = append(attrs, slog.String("unknown", a.pseudonym(t.User)))
	}
	if err == nil {
		a.Store.LoggedIn(p.Account, time.Now())
		attrs = append(attrs, slog.Int("level", p.Level))
		a.Logger.LogAttrs(ctx, slog.LevelInfo, "auth.ok", attrs...)
		return
	}
	attrs = append(attrs, slog.String("outcome", err.Error()))
	if refusal := new(Refusal); errors.As(err, &refusal) && refusal.Repeated {
		attrs = append(attrs, slog.Bool("repeated", true))
	}
	a.Logger.LogAttrs(ctx, slog.LevelWarn, "auth.fail", attrs...)
}

// pseudonym stands in the log for a name that is nobody's: the same name gives the
// same pseudonym until the process ends.
func (a *Authenticator) pseudonym(name string) string {
	m := hmac.New(sha256.New, a.key[:])
	m.Write([]byte("name\x00"))
	m.Write([]byte(name))
	return hex.EncodeToString(m.Sum(nil)[:8])
}

// tag stands for a secret presented for a name. It moves with the account's
// epoch: what is remembered about a secret ends when the credentials change.
func (a *Authenticator) tag(name string, account *storage.Account, secret string) (tag [32]byte) {
	m := hmac.New(sha256.New, a.key[:])
	var epoch [8]byte
	if account != nil {
		binary.LittleEndian.PutUint32(epoch[:], uint32(account.ID))
		binary.LittleEndian.PutUint32(epoch[4:], account.Epoch)
	}
	m.Write([]byte("secret\x00"))
	m.Write(epoch[:])
	m.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(name))))
	m.Write([]byte(name))
	m.Write([]byte(secret))
	m.Sum(tag[:0])
	return tag
}

// owns reports whether address is one of the account's.
func owns(account *storage.Account, address string) bool {
	a, err := backend.ParseAddress(address)
	if err != nil {
		return false
	}
	for _, own := range account.Addresses {
		if strings.EqualFold(own, a.Normal()) {
			return true
		}
	}
	return false
}
