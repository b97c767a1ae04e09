package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"telesphore/backend"
	"telesphore/storage"
)

// What the log says of refusals.
var (
	errTimeOver  = errors.New("its time is over")
	errSomeone   = errors.New("asked to act as somebody else")
	errNotTheirs = errors.New("the card is somebody else's")
	errChanged   = errors.New("the account's credentials have changed")
)

// claim is what somebody has proven. The account it belongs to goes beside it.
type claim struct {
	level int
	via   string            // what was used beside the account's own password; may be ""
	plain bool              // a code could have stood behind the secret
	stale *dossier          // its grant is over, so that only a card or a new code helps; nil otherwise
	card  *Card             // the card that counted, nil for none
	peer  *x509.Certificate // of card
	grant uint32            // the grant that counted, 0 for none
	app   uint32            // the application password that was used, 0 for none
	token bool              // that a token was used
	until time.Time         // when a log-in by it ends, zero for never
	alert string            // what the person should be shown
}

// LogIn checks a name with a secret: a password, a password with a code behind
// it, or an application password. The error is a *Refusal, except when ctx ended.
func (a *Authenticator) LogIn(ctx context.Context, c *Caller, t *Attempt) (*Principal, error) {
	a.start()
	d, err := a.lookUp(ctx, t.User, t.Secret)
	if err != nil {
		return a.settle(ctx, c, t, nil, nil, &Refusal{Code: Unavailable, Cause: err})
	}
	cl, err := a.secret(ctx, c, t, d)
	return a.settle(ctx, c, t, d.account, cl, err)
}

// secret finds out what kind of secret it is. Application passwords and grants
// come before the throttle, which holds for guesses: nobody guesses those.
func (a *Authenticator) secret(ctx context.Context, c *Caller, t *Attempt, d *dossier) (*claim, error) {
	if _, _, ok := parseAppPassword(t.Secret); ok {
		return a.appPassword(ctx, c, d, t.Secret)
	}
	if cl := a.granted(c, d); cl != nil {
		return cl, nil
	}
	return a.password(ctx, c, d, t.Mech)
}

// dossier is what the store has about the one who was named, read in one View.
type dossier struct {
	account *storage.Account // nil when the name is nobody's
	name    string           // identifies the account in maps, or what was typed for none
	typed   string           // the name as it was typed, normalised
	secret  string
	factor  *storage.Factor
	grants  []storage.Grant // with the tag of secret
}

// maxName is how many octets of a name are looked at.
const maxName = 256

// lookUp finds the account that user names. The look-up is done whatever the
// name looks like, so that it takes its time.
func (a *Authenticator) lookUp(ctx context.Context, user, secret string) (*dossier, error) {
	d := &dossier{secret: secret, factor: &storage.Factor{}}
	address, err := backend.ParseAddress(user)
	if err == nil {
		d.name = address.Normal()
	} else {
		d.name = "\x00" + user[:min(len(user), maxName)]
	}
	d.typed = d.name
	err = a.Store.View(ctx, func(tx *storage.Tx) error {
		account, err := tx.AccountByAddress(d.typed)
		if errors.Is(err, storage.ErrNoAccount) {
			return nil
		}
		if err != nil {
			return err
		}
		if account.State == storage.Erasing || len(account.Addresses) == 0 {
			return nil
		}
		if d.factor, err = tx.Factor(account.ID); err != nil {
			return err
		}
		if d.grants, err = a.presented(tx, account, secret); err != nil {
			return err
		}
		d.account, d.name = account, account.Addresses[0]
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up an account: %w", err)
	}
	return d, nil
}

// password checks a password, with or without a code behind it.
func (a *Authenticator) password(ctx context.Context, c *Caller, d *dossier, mech string) (*claim, error) {
	if err := a.remember(ctx, c, d); err != nil {
		return nil, &Refusal{Code: Unavailable, Cause: err}
	}
	// The throttle comes first: a cache that answered those who are shut out
	// would tell them when a guess is right.
	// Nor shall the answer to one name tell that another one is the same account's.
	ticket, err := a.limiter.begin(ctx, d.name, c.Remote, a.tag(d.typed, d.account, d.secret))
	if err != nil {
		return nil, err
	}
	if ticket.repeated {
		ticket.fail()
		return nil, &Refusal{Code: BadCredentials, Repeated: true}
	}
	// A guess counts, and takes its connection, also when its maker does not wait
	// for the answer: the hash is computed all the same.
	stay := context.WithoutCancel(ctx)
	ok, err := a.check(stay, d.name, d.account, d.secret)
	cl := &claim{level: LevelPassword, plain: true}
	if err == nil && !ok {
		cl, err = a.withCode(stay, c, d, mech)
	}
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal) && !refusal.Guess():
		ticket.succeed() // the password was right
	case errors.As(err, &refusal):
		ticket.fail()
	case err != nil:
		ticket.drop()
		return nil, &Refusal{Code: Unavailable, Cause: err}
	default:
		ticket.succeed()
	}
	return cl, err
}

// check compares a secret with the account's password: from the cache, or by
// hashing. An account that is nobody's takes the same time.
func (a *Authenticator) check(ctx context.Context, name string, account *storage.Account, secret string) (bool, error) {
	tag := a.tag(name, account, secret)
	if account != nil {
		if id, ok := a.cache.get(tag, time.Now()); ok && id == account.ID {
			a.cache.put(tag, id, time.Now().Add(a.CacheFor)) // sliding
			return true, nil
		}
	}
	stored := a.dummy
	if account != nil && account.Password != "" {
		stored = account.Password
	}
	matched, err := a.hashes.match(ctx, tag, stored, forms(secret))
	if err != nil {
		return false, err
	}
	if matched == nil || account == nil || account.Password == "" || len(secret) > maxSecret {
		return false, nil
	}
	a.cache.put(tag, account.ID, time.Now().Add(a.CacheFor))
	a.rehash(ctx, account, *matched)
	a.renewOwn(ctx, account, *matched)
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

// settle makes a principal of a claim, if it is worth a log-in, and writes down
// what happened. account is the one that was named or found, nil for none.
func (a *Authenticator) settle(ctx context.Context, c *Caller, t *Attempt, account *storage.Account, cl *claim, err error) (*Principal, error) {
	if err == nil {
		err = a.welcome(ctx, c, t, account, cl)
	}
	var refusal *Refusal
	if err != nil && !errors.As(err, &refusal) && ctx.Err() == nil {
		err = &Refusal{Code: Unavailable, Cause: err}
	}
	if ctx.Err() != nil && err != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		a.refused(ctx, c, t, account, err)
		return nil, err
	}
	p := &Principal{
		Account: account.ID, Address: account.Addresses[0], Level: cl.level, Epoch: account.Epoch,
		Mech: t.Mech, Proto: c.Proto, Since: time.Now(), Via: cl.via,
		caller: *c, card: cl.card, peer: cl.peer, grant: cl.grant, app: cl.app, until: cl.until, alert: cl.alert,
	}
	a.register(p)
	// What was taken back before the principal was in view is found here.
	err = a.holds(ctx, p)
	if err == nil {
		err = a.admitted(ctx, p)
	}
	if err != nil {
		p.Close()
		a.refused(ctx, c, t, account, err)
		return nil, err
	}
	return p, nil
}

// holds says whether everything that a log-in rests on is still there. The error
// is a *Refusal.
func (a *Authenticator) holds(ctx context.Context, p *Principal) error {
	err := a.Store.View(ctx, func(tx *storage.Tx) error {
		account, err := tx.Account(p.Account)
		if err != nil {
			return err
		}
		if account.State != storage.Active || account.Epoch != p.Epoch {
			return errChanged
		}
		if p.app != 0 {
			_, err = tx.AppPassword(p.Account, p.app)
		}
		if p.grant != 0 && err == nil {
			var grants []storage.Grant
			grants, err = tx.Grants(p.Account)
			if !slices.ContainsFunc(grants, func(g storage.Grant) bool { return g.ID == p.grant && p.Since.Before(g.Until) }) {
				err = errors.Join(err, errRevoked)
			}
		}
		return err
	})
	for _, gone := range []error{errChanged, errRevoked, storage.ErrNoAccount, storage.ErrNoAppPassword} {
		if errors.Is(err, gone) {
			return &Refusal{Code: BadCredentials, Cause: err}
		}
	}
	if err != nil {
		return &Refusal{Code: Unavailable, Cause: err}
	}
	return nil
}

// welcome decides whether a claim is enough. From here on the caller knows the
// secret or holds the card, and may learn more.
func (a *Authenticator) welcome(ctx context.Context, c *Caller, t *Attempt, account *storage.Account, cl *claim) error {
	if account.State != storage.Active {
		return &Refusal{Code: Disabled, Text: a.phrases().Disabled}
	}
	if t.AuthzID != "" && !owns(account, t.AuthzID) {
		return &Refusal{Code: BadCredentials, Cause: errSomeone}
	}
	if cl.card == nil && c.TLS.Peer != nil {
		if err := a.besideSecret(ctx, c, account, cl); err != nil {
			return err
		}
	}
	if cl.level == LevelCard {
		return a.forgive(ctx, account)
	}
	return a.enough(ctx, c, account, cl)
}

// enough compares a claim with the level that a log-in takes.
func (a *Authenticator) enough(ctx context.Context, c *Caller, account *storage.Account, cl *claim) error {
	var factor *storage.Factor
	err := a.Store.View(ctx, func(tx *storage.Tx) (err error) {
		factor, err = tx.Factor(account.ID)
		return err
	})
	if err != nil {
		return err
	}
	need := a.Policy.of(account.Addresses[0]).LogIn
	if on(factor) || cl.stale != nil {
		need = max(need, LevelCode)
	}
	switch {
	case cl.level >= need:
		return nil
	case need > LevelCode:
		return &Refusal{Code: TooWeak, Text: a.phrases().NeedCard}
	case !on(factor):
		return &Refusal{Code: TooWeak, Text: a.phrases().NoFactor}
	case !cl.plain:
		return &Refusal{Code: CodeNeeded, Text: a.phrases().PlainOnly}
	case cl.stale != nil:
		return a.again(ctx, c, cl.stale)
	}
	return a.demand(ctx, c, account, factor)
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
		if own == a.Normal() {
			return true
		}
	}
	return false
}
