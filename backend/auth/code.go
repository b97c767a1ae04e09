package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"telesphore/storage"
)

// CodeLimits are about one-time codes. A zero field means the default it names.
type CodeLimits struct {
	Digits   int           // of a mailed code, 6 to 8; default 8
	Life     time.Duration // of a code; default 10 minutes
	Resend   time.Duration // between two mails with a code; default 60 s
	PerHour  int           // mails with a code; default 5
	Tries    int           // wrong codes that void the one under way; default 5
	WrongDay int           // wrong codes a day before only a card opens the account; default 20
}

// DefaultCodeLimits is what zero means.
func DefaultCodeLimits() CodeLimits { return CodeLimits{}.withDefaults() }

func (l CodeLimits) withDefaults() CodeLimits {
	l.Digits = min(max(cmp.Or(l.Digits, 8), 6), 8)
	l.Life = cmp.Or(l.Life, 10*time.Minute)
	l.Resend = cmp.Or(l.Resend, time.Minute)
	l.PerHour = cmp.Or(l.PerHour, 5)
	l.Tries = cmp.Or(l.Tries, 5)
	l.WrongDay = cmp.Or(l.WrongDay, 20)
	return l
}

// on says whether logging in takes a second factor.
func on(f *storage.Factor) bool { return f.CodesOn || f.Secret != nil }

// underWay says whether a code that was sent to contact is good now.
func underWay(ch *storage.Challenge, contact string, now time.Time) bool {
	return ch != nil && !ch.Void && ch.Contact == contact && now.Before(ch.Expires)
}

// split is a secret read as a password with a code behind it.
type split struct{ password, code string }

// splits lists the ways to read secret so. They depend on nothing but the
// secret, so that the time which they cost tells nothing about an account.
func (a *Authenticator) splits(secret string) []split {
	var list []split
	for _, n := range []int{a.Codes.Digits, totpDigits, recoveryDigits} {
		at := len(secret) - n
		if at <= 0 || strings.Trim(secret[at:], "0123456789") != "" || len(list) > 0 && len(list[0].code) == n {
			continue
		}
		list = append(list, split{secret[:at], secret[at:]})
	}
	return list
}

// withCode checks a secret that is not the password by itself.
func (a *Authenticator) withCode(ctx context.Context, c *Caller, d *dossier, mech string) (*claim, error) {
	var right *split
	for _, s := range a.splits(d.secret) {
		ok, err := a.check(ctx, d.name, d.account, s.password)
		if err != nil {
			return nil, err
		}
		if ok {
			right = &s
		}
	}
	if right == nil || !on(d.factor) {
		return nil, &Refusal{Code: BadCredentials}
	}
	return a.redeem(ctx, c, d, right.code, mech)
}

// What the log says of codes. The stranger learns only that something was wrong.
var (
	errWrongCode = errors.New("right password, wrong code")
	errStopped   = errors.New("right password, but too many codes were wrong")
)

// redeem spends a code and makes a grant of the whole secret, in one change:
// of two who present one code at the same time, the second one finds it spent, or
// finds the grant if he is in the same place with the same secret.
func (a *Authenticator) redeem(ctx context.Context, c *Caller, d *dossier, code, mech string) (cl *claim, err error) {
	var event string
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		now := time.Now()
		cl, event = nil, ""
		account, err := tx.Account(d.account.ID)
		if err != nil {
			return err
		}
		if account.Epoch != d.account.Epoch {
			return nil // the password is another one now
		}
		grants, err := a.presented(tx, account, d.secret)
		if err != nil {
			return err
		}
		for i := range grants {
			if a.Grants.lives(&grants[i], c.Remote, now) {
				cl = a.byGrant(&grants[i])
				return nil
			}
		}
		kind, err := a.spend(tx, account.ID, code, now)
		if err != nil || kind == "" {
			event = "code.wrong"
			return err
		}
		g, err := a.grant(tx, c, account, d.secret, mech, kind, now)
		if err == nil {
			cl, event = a.byGrant(g), "grant.new"
		}
		return err
	})
	if errors.Is(err, errStopped) { // whoever knows the password learns that without a code too
		return nil, &Refusal{Code: TooWeak, Cause: errStopped, Text: a.phrases().CodesOff}
	}
	if err != nil {
		return nil, err
	}
	if event != "" {
		e := a.entry(c, event)
		e.Account, e.Mech = d.account.Addresses[0], mech
		if cl != nil {
			e.Via = cl.via
		}
		a.note(e)
	}
	if cl == nil {
		return nil, &Refusal{Code: BadCredentials, Cause: errWrongCode}
	}
	return cl, nil
}

// spend accepts a code once, and says what kind it was: "code", "totp" or
// "recovery". A wrong one, for which it says "", counts.
func (a *Authenticator) spend(tx *storage.Tx, id storage.AccountID, code string, now time.Time) (kind string, err error) {
	f, err := tx.Factor(id)
	if err != nil {
		return "", err
	}
	if a.stopped(f) {
		return "", errStopped
	}
	ch, err := tx.Challenge(id)
	switch {
	case err != nil:
	case f.Secret != nil:
		kind = spendTOTP(f, code, now)
	case underWay(ch, f.Contact, now):
		kind, err = a.spendMailed(tx, id, ch, code)
	default:
		return "", nil // nothing to guess: a program with an old code must not stop the codes
	}
	if err != nil {
		return "", err
	}
	if today := now.Unix() / 86400; kind == "" && f.WrongDay != today {
		f.WrongDay, f.Wrong = today, 1
	} else if kind == "" {
		f.Wrong++
	}
	return kind, tx.PutFactor(id, f)
}

// stopped says whether so many codes were wrong in a day that none is heard before a
// card has opened the account.
func (a *Authenticator) stopped(f *storage.Factor) bool { return f.Wrong >= a.Codes.WrongDay }

// spendMailed compares a code with the one under way.
func (a *Authenticator) spendMailed(tx *storage.Tx, id storage.AccountID, ch *storage.Challenge, code string) (kind string, err error) {
	want, err := a.mailedCode(tx, id, ch)
	if err != nil {
		return "", err
	}
	if subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
		kind, ch.Void = "code", true
	} else {
		ch.Wrong++
		ch.Void = ch.Wrong >= a.Codes.Tries
	}
	return kind, tx.PutChallenge(id, ch)
}

// spendTOTP compares a code with what the account's authenticator shows, or with
// its recovery codes, and notes in f that it is spent.
func spendTOTP(f *storage.Factor, code string, now time.Time) (kind string) {
	if step, ok := matchTOTP(f.Secret, f.LastStep, code, now); ok {
		f.LastStep = step
		return "totp"
	}
	if rest, ok := matchRecovery(f.Recovery, code); ok {
		f.Recovery = rest
		return "recovery"
	}
	return ""
}

// mailedCode computes the code of a challenge. It is kept nowhere.
func (a *Authenticator) mailedCode(tx *storage.Tx, id storage.AccountID, ch *storage.Challenge) (string, error) {
	mac, err := tx.MAC(id, "one-time code", append(ch.ID[:], ch.Contact...))
	if err != nil {
		return "", err
	}
	most := uint64(1)
	for range a.Codes.Digits {
		most *= 10
	}
	// 64 bits over at most 10^8: no digit is likelier than another by 10^-11.
	return fmt.Sprintf("%0*d", a.Codes.Digits, binary.BigEndian.Uint64(mac[:])%most), nil
}

// demand asks for a code and says so in the refusal that it returns. The same
// code is sent again while it is good, but not at every try.
func (a *Authenticator) demand(ctx context.Context, c *Caller, account *storage.Account, f *storage.Factor) error {
	switch {
	case a.stopped(f):
		return &Refusal{Code: TooWeak, Text: a.phrases().CodesOff}
	case f.Secret != nil:
		return &Refusal{Code: CodeNeeded, Text: a.phrases().CodeTOTP}
	}
	n := &Notice{
		Kind: LogInCode, Account: account.ID, Address: account.Addresses[0], Contact: f.Contact,
		Proto: c.Proto, Remote: c.Remote,
	}
	err := a.send(ctx, n)
	switch {
	case errors.Is(err, ErrTooSoon):
		return &Refusal{Code: CodeNeeded, Text: a.phrases().CodeLater}
	case err != nil:
		return &Refusal{Code: Unavailable, Cause: err}
	}
	if n.Code != "" {
		e := a.entry(c, "code.sent")
		e.Account = account.Addresses[0]
		a.note(e)
	}
	return &Refusal{Code: CodeNeeded, Text: a.phrases().CodeSent}
}

// send mails the code under way for n.Contact, or a new one. When one was sent a
// moment ago and is good still, that is enough. ErrTooSoon when there is none and
// none can be sent now.
func (a *Authenticator) send(ctx context.Context, n *Notice) error {
	var good bool
	err := a.Store.Update(ctx, func(tx *storage.Tx) error {
		now := time.Now()
		n.Code = ""
		old, err := tx.Challenge(n.Account)
		if err != nil {
			return err
		}
		ch := old
		good = underWay(old, n.Contact, now)
		if !good {
			ch = &storage.Challenge{Contact: n.Contact, Created: now, Expires: now.Add(a.Codes.Life)}
			_, _ = rand.Read(ch.ID[:]) // never fails
			if old != nil {
				ch.Sent = old.Sent
			}
		}
		ch.Sent = slices.DeleteFunc(slices.Clone(ch.Sent), func(t time.Time) bool { return now.Sub(t) >= time.Hour })
		sent := len(ch.Sent)
		if sent >= a.Codes.PerHour || sent > 0 && now.Sub(ch.Sent[sent-1]) < a.Codes.Resend {
			if good {
				return nil
			}
			return ErrTooSoon
		}
		ch.Sent = append(ch.Sent, now)
		n.Life = ch.Expires.Sub(now)
		if n.Code, err = a.mailedCode(tx, n.Account, ch); err != nil {
			return err
		}
		return tx.PutChallenge(n.Account, ch)
	})
	if err != nil || n.Code == "" {
		return err
	}
	if a.tell(ctx, n) == nil {
		return nil
	}
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		ch, err := tx.Challenge(n.Account)
		if err != nil || ch == nil || len(ch.Sent) == 0 {
			return err
		}
		ch.Sent = ch.Sent[:len(ch.Sent)-1] // nothing was sent
		ch.Void = ch.Void || !good         // but an earlier mail may have arrived
		return tx.PutChallenge(n.Account, ch)
	})
	return errors.Join(ErrNoCourier, err)
}

// forgive lets codes count again, since a card has opened the account.
func (a *Authenticator) forgive(ctx context.Context, account *storage.Account) error {
	return a.changeFactor(ctx, account.ID, func(f *storage.Factor) bool {
		wrong := f.Wrong > 0
		f.Wrong = 0
		return wrong
	})
}

// changeFactor edits the second factor when edit says that there is a change.
func (a *Authenticator) changeFactor(ctx context.Context, id storage.AccountID, edit func(*storage.Factor) bool) error {
	var f *storage.Factor
	err := a.Store.View(ctx, func(tx *storage.Tx) (err error) {
		f, err = tx.Factor(id)
		return err
	})
	if err != nil || !edit(f) {
		return err
	}
	return a.Store.Update(ctx, func(tx *storage.Tx) error {
		f, err := tx.Factor(id)
		if err != nil || !edit(f) {
			return err
		}
		return tx.PutFactor(id, f)
	})
}
