package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"telesphore/storage"
)

// AppPasswordLimits say what application passwords are worth. A zero field means
// the default it names.
type AppPasswordLimits struct {
	Off        bool          // none can be made, none opens anything
	Level      int           // of a log-in with one that was made in a session of that level or better; default LevelCode
	Life       time.Duration // at most, and what one has that names none; default 180 days
	PerAccount int           // default 20
}

// DefaultAppPasswordLimits is what zero means.
func DefaultAppPasswordLimits() AppPasswordLimits { return AppPasswordLimits{}.withDefaults() }

func (l AppPasswordLimits) withDefaults() AppPasswordLimits {
	l.Level = cmp.Or(l.Level, LevelCode)
	l.Life = cmp.Or(l.Life, 180*24*time.Hour)
	l.PerAccount = cmp.Or(l.PerAccount, 20)
	return l
}

// Why an application password is refused, for the log.
var (
	errAppWrong   = errors.New("no such application password")
	errAppOff     = errors.New("application passwords are switched off")
	errAppExpired = errors.New("the application password has expired")
	errAppDoor    = errors.New("the application password is for other doors")
	errAppNetwork = errors.New("the application password is for another network")
)

// The secret of an application password is appPrefix and, in base32 and lower case, its
// ID (4 octets, big-endian), 20 random octets and one octet of a checksum: most
// typing errors are known for what they are, and it is never taken for a
// person's password.
const (
	appPrefix = "tap-"
	appRandom = 20
	appSize   = 4 + appRandom + 1
)

func appEncoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// appChecksum is the last octet of a secret whose other octets are b.
func appChecksum(b []byte) byte {
	sum := sha256.Sum256(b)
	return sum[0]
}

// appSecret writes a secret.
func appSecret(id uint32, random []byte) string {
	b := binary.BigEndian.AppendUint32(nil, id)
	b = append(b, random...)
	return appPrefix + appEncoding().EncodeToString(append(b, appChecksum(b)))
}

// parseAppPassword reads a secret. It may have been typed in capitals, or copied with
// spaces around it.
func parseAppPassword(secret string) (id uint32, random []byte, ok bool) {
	if len(secret) > maxSecret {
		return 0, nil, false
	}
	text, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(secret)), appPrefix)
	if !ok || len(text) != appEncoding().EncodedLen(appSize) {
		return 0, nil, false
	}
	b, err := appEncoding().DecodeString(text)
	if err != nil || len(b) != appSize || b[appSize-1] != appChecksum(b[:appSize-1]) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b), b[4 : 4+appRandom], true
}

// appPassword checks a secret that parseAppPassword has read. Nobody guesses
// 160 bits, so the right one is never throttled. A wrong one has a
// count of its own: an old program keeps nobody from typing his password.
func (a *Authenticator) appPassword(ctx context.Context, c *Caller, d *dossier, secret string) (*claim, error) {
	id, random, _ := parseAppPassword(secret)
	var account storage.AccountID // what is nobody's is looked up all the same
	if d.account != nil {
		account = d.account.ID
	}
	p := &storage.AppPassword{}
	err := a.Store.View(ctx, func(tx *storage.Tx) error {
		found, err := tx.AppPassword(account, id)
		if errors.Is(err, storage.ErrNoAppPassword) || errors.Is(err, storage.ErrNoAccount) {
			return nil
		}
		if err == nil {
			p = found
		}
		return err
	})
	if err != nil {
		return nil, &Refusal{Code: Unavailable, Cause: fmt.Errorf("look up an application password: %w", err)}
	}
	sum := sha256.Sum256(random)
	if subtle.ConstantTimeCompare(sum[:], p.Hash[:]) != 1 {
		ticket, err := a.limiter.begin(ctx, appName(d.name), c.Remote, a.tag(d.typed, d.account, secret))
		if err != nil {
			return nil, err
		}
		ticket.fail()
		return nil, &Refusal{Code: BadCredentials, Cause: errAppWrong, Repeated: ticket.repeated}
	}
	if p.Verifier.Iterations != uint32(a.SCRAM.Iterations) {
		a.renewVerifier(ctx, account, p, secret)
	}
	return a.byAppPassword(c, account, p)
}

// appName is what the throttle counts application passwords under.
func appName(name string) string { return "app\x00" + name }

// renewVerifier makes the verifier of an application password: of a new one, or after
// SCRAM.Iterations was changed or SCRAM switched on. Failing to is no reason to refuse
// anybody, since the next use tries again.
func (a *Authenticator) renewVerifier(ctx context.Context, account storage.AccountID, p *storage.AppPassword, secret string) {
	if a.SCRAM.Off {
		return
	}
	v, err := a.makeVerifier(ctx, account, strings.ToLower(strings.TrimSpace(secret)))
	if err == nil {
		err = a.Store.Update(ctx, func(tx *storage.Tx) error {
			now, err := tx.AppPassword(account, p.ID)
			if err != nil || now.Hash != p.Hash {
				return err
			}
			now.Verifier = *v
			return tx.PutAppPassword(account, now)
		})
	}
	if err != nil {
		a.Logger.WarnContext(ctx, "auth.renew failed", "account", uint32(account), "application_password", p.ID, "err", err)
	}
}

// byAppPassword is what an application password is worth, once its secret was right.
func (a *Authenticator) byAppPassword(c *Caller, account storage.AccountID, p *storage.AppPassword) (*claim, error) {
	now := time.Now()
	if err := a.appFits(p, c, now); err != nil {
		return nil, &Refusal{Code: BadCredentials, Cause: err}
	}
	a.Store.UsedAppPassword(account, p.ID, c.Remote, now)
	return &claim{level: min(p.Level, a.AppPasswords.Level), via: fmt.Sprintf("application password %d", p.ID), app: p.ID, until: p.Expires}, nil
}

// endDescent removes the application passwords that were made with a card which
// is revoked now: whoever has the card may have made them.
func (a *Authenticator) endDescent(ctx context.Context) error {
	if a.Anchors == nil {
		return nil
	}
	revoked := make(map[storage.AccountID][]storage.AppPassword)
	err := a.Store.View(ctx, func(tx *storage.Tx) (err error) {
		return errors.Join(tx.Accounts(func(account *storage.Account) bool {
			var cards []storage.Card
			if cards, err = tx.Cards(account.ID); err != nil || len(cards) == 0 {
				return err == nil
			}
			var apps []storage.AppPassword
			apps, err = tx.AppPasswords(account.ID)
			for _, p := range apps {
				if slices.ContainsFunc(cards, func(k storage.Card) bool { return k.Identity == p.Card && a.Anchors.Revoked(k.Issuer, k.Serial) }) {
					revoked[account.ID] = append(revoked[account.ID], p)
				}
			}
			return err == nil
		}), err)
	})
	if err != nil {
		return err
	}
	for id, apps := range revoked {
		var address string
		err := a.Store.Update(ctx, func(tx *storage.Tx) error {
			account, err := tx.Account(id)
			if err != nil {
				return err
			}
			address = account.Addresses[0]
			for _, p := range apps {
				if err := tx.DeleteAppPassword(id, p.ID); err != nil && !errors.Is(err, storage.ErrNoAppPassword) {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, p := range apps {
			a.note(&storage.Event{
				Event: "app.end", Account: address, Identity: p.Card,
				Via: fmt.Sprintf("application password %d", p.ID), Outcome: "the card that it was made with is revoked",
			})
		}
		a.endWhere(errRevoked, func(p *Principal) bool {
			return p.Account == id && slices.ContainsFunc(apps, func(x storage.AppPassword) bool { return x.ID == p.app })
		})
	}
	return nil
}

// appFits says why an application password opens nothing here and now; nil when it does.
func (a *Authenticator) appFits(p *storage.AppPassword, c *Caller, now time.Time) error {
	switch {
	case a.AppPasswords.Off:
		return errAppOff
	case !p.Expires.IsZero() && !now.Before(p.Expires):
		return errAppExpired
	case len(p.Protos) > 0 && !slices.Contains(p.Protos, c.Proto):
		return errAppDoor
	case p.Net.IsValid() && !p.Net.Contains(c.Remote.Unmap().WithZone("")):
		return errAppNetwork
	}
	return nil
}

// NewAppPassword is what an application password should be.
type NewAppPassword struct {
	Name   string        // for people, 1 to 100 octets
	Protos []string      // doors: "imap", "smtp", "ldap", "dav"; empty for all
	Net    netip.Prefix  // zero for everywhere
	Life   time.Duration // 0 for the longest
}

// plan checks what was asked for, and makes the record of it.
func (n *NewAppPassword) plan(l *AppPasswordLimits, now time.Time) (*storage.AppPassword, error) {
	doors := []string{"imap", "smtp", "ldap", "dav"}
	named := n.Name != "" && len(n.Name) <= 100 && utf8.ValidString(n.Name) && !strings.ContainsFunc(n.Name, unicode.IsControl)
	unknown := slices.ContainsFunc(n.Protos, func(p string) bool { return !slices.Contains(doors, p) })
	if !named || unknown || n.Life < 0 || n.Life > l.Life {
		return nil, ErrAppRequest
	}
	p := &storage.AppPassword{Name: n.Name, Created: now, Expires: now.Add(cmp.Or(n.Life, l.Life))}
	if n.Net.IsValid() {
		p.Net = n.Net.Masked()
	}
	p.Protos = slices.Compact(slices.Sorted(slices.Values(n.Protos)))
	return p, nil
}

// MakeAppPassword makes an application password and returns its secret, which nobody can
// be told again. It is worth no more than the session it is made in, and does not
// outlive that session's card. ErrAppOff, ErrAppRequest, ErrAppLimit, or a *Refusal when
// who may not.
func (a *Authenticator) MakeAppPassword(ctx context.Context, who *Principal, n *NewAppPassword) (secret string, made *storage.AppPassword, err error) {
	if err := a.mayManage(ctx, who); err != nil {
		return "", nil, err
	}
	if who.app != 0 && who.card == nil { // or one that was stolen could renew itself for ever
		return "", nil, &Refusal{Code: TooWeak, Cause: errors.New("logged in with an application password"), Text: a.phrases().NeedCard}
	}
	if a.AppPasswords.Off {
		return "", nil, ErrAppOff
	}
	p, err := n.plan(&a.AppPasswords, time.Now())
	if err != nil {
		return "", nil, err
	}
	p.Level, p.By = min(a.AppPasswords.Level, who.Level), maker(who)
	if who.card != nil {
		p.Card = who.card.Identity
		if end := who.card.NotAfter; !end.IsZero() && end.Before(p.Expires) {
			p.Expires = end
		}
	}
	random := make([]byte, appRandom)
	_, _ = rand.Read(random) // never fails
	p.Hash = sha256.Sum256(random)
	err = a.Store.Update(ctx, func(tx *storage.Tx) (err error) {
		secret, err = a.putAppPassword(tx, who.Account, p, random)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	a.renewVerifier(ctx, who.Account, p, secret)
	a.appEvent(ctx, who, "apppw.made", AppPasswordMade, p)
	return secret, p, nil
}

// maker says in what kind of session an application password is made.
func maker(who *Principal) string {
	switch {
	case who.actor != "":
		return who.actor
	case who.card != nil:
		return "card"
	case who.Level >= LevelCode:
		return "code"
	}
	return "password"
}

// putAppPassword stores an application password when there is room for it. Expired
// ones make room.
func (a *Authenticator) putAppPassword(tx *storage.Tx, id storage.AccountID, p *storage.AppPassword, random []byte) (secret string, err error) {
	all, err := tx.AppPasswords(id)
	if err != nil {
		return "", err
	}
	left := 0
	for _, old := range all {
		if p.Created.Before(old.Expires) || old.Expires.IsZero() {
			left++
		} else if err := tx.DeleteAppPassword(id, old.ID); err != nil {
			return "", err
		}
	}
	if left >= a.AppPasswords.PerAccount {
		return "", ErrAppLimit
	}
	err = tx.PutAppPassword(id, p) // now it has its ID
	return appSecret(p.ID, random), err
}

// RemoveAppPassword removes one, and ends the log-ins that rest on it. storage.ErrNoAppPassword,
// or a *Refusal when who may not.
func (a *Authenticator) RemoveAppPassword(ctx context.Context, who *Principal, id uint32) error {
	if err := a.mayManage(ctx, who); err != nil {
		return err
	}
	var p *storage.AppPassword
	err := a.Store.Update(ctx, func(tx *storage.Tx) (err error) {
		if p, err = tx.AppPassword(who.Account, id); err != nil {
			return err
		}
		return tx.DeleteAppPassword(who.Account, id)
	})
	if err != nil {
		return err
	}
	a.endWhere(errRevoked, func(p *Principal) bool { return p.Account == who.Account && p.app == id })
	a.appEvent(ctx, who, "apppw.removed", AppPasswordRemoved, p)
	return nil
}

// appEvent writes down, and tells the owner, what was done with an application password.
func (a *Authenticator) appEvent(ctx context.Context, who *Principal, event string, kind Kind, p *storage.AppPassword) {
	a.event(who, event, fmt.Errorf("application password %d", p.ID))
	n := a.notice(kind, who, a.contact(ctx, who.Account))
	n.Name = p.Name
	_ = a.tell(ctx, n) // its failure is logged
}
