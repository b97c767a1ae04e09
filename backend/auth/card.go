package auth

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"telesphore/storage"
	"telesphore/tls"
)

// Card is who a certificate was given to.
type Card struct {
	Identity     string // issuer group, "|", national id; for an organisation its unit, "|" and its name in place of the id
	Organisation bool
	Holder       string // the name on it
	Serial       string // of the certificate, hexadecimal
	Issuer       string // its issuer's name
	NotAfter     time.Time
}

// CardRule says where in a person's certificate the identity stands.
type CardRule struct {
	Attribute string         // OID of an attribute of the subject; default "2.5.4.3", the common name
	Pattern   *regexp.Regexp // what the value must look like, anchored at both ends; default 12 digits, the type digit and the number
}

// CardRules are about cards. A zero field means the default it names.
type CardRules struct {
	Rules      map[string]CardRule // by issuer group
	PerAccount int                 // cards of one account; default 5
	Window     time.Duration       // how long a window for the first use stays open when nothing else is said; default 14 days
}

func (r CardRules) withDefaults() CardRules {
	r.PerAccount = cmp.Or(r.PerAccount, 5)
	r.Window = cmp.Or(r.Window, 14*24*time.Hour)
	return r
}

// errNoIdentity: the certificate is good, but does not say whose it is.
var errNoIdentity = fmt.Errorf("%w: its subject has no identity, or several", tls.ErrUsage)

// evaluate says whose certificate this is, when all is well with it. The error is
// one of tls's.
func (a *Authenticator) evaluate(ctx context.Context, leaf *x509.Certificate) (*Card, error) {
	if a.Anchors == nil {
		return nil, tls.ErrUnknownIssuer
	}
	issuer, err := a.Anchors.Evaluate(ctx, leaf)
	if err != nil {
		return nil, err
	}
	card := &Card{
		Organisation: issuer.Organisation, Serial: fmt.Sprintf("%x", leaf.SerialNumber),
		Issuer: leaf.Issuer.String(), NotAfter: leaf.NotAfter,
	}
	var id string
	if issuer.Organisation {
		id, card.Holder = organisation(leaf)
	} else {
		id, card.Holder = a.person(leaf, issuer.Group)
	}
	if id == "" {
		return nil, errNoIdentity
	}
	card.Identity = issuer.Group + "|" + id
	return card, nil
}

// person reads a person's identity, and the name to show. Names in a card's
// subject may share one relative distinguished name: Subject.Names has them all.
func (a *Authenticator) person(leaf *x509.Certificate, group string) (id, holder string) {
	rule := a.Cards.Rules[group]
	values := attribute(leaf, cmp.Or(rule.Attribute, "2.5.4.3"))
	if len(values) != 1 || !rule.matches(values[0]) || strings.Contains(values[0], "|") {
		return "", ""
	}
	name := append(attribute(leaf, "2.5.4.42"), attribute(leaf, "2.5.4.4")...)
	return values[0], cmp.Or(strings.Join(name, " "), values[0])
}

func (r *CardRule) matches(value string) bool {
	if r.Pattern == nil {
		return len(value) == 12 && strings.Trim(value, "0123456789") == ""
	}
	return r.Pattern.MatchString(value)
}

// organisation reads the identity of an organisation's certificate: the number in
// its unit tells which organisation, the name which of its applications.
func organisation(leaf *x509.Certificate) (id, holder string) {
	units, names := attribute(leaf, "2.5.4.11"), attribute(leaf, "2.5.4.3")
	if len(units) != 1 || len(names) != 1 || strings.Contains(units[0]+names[0], "|") {
		return "", ""
	}
	return units[0] + "|" + names[0], names[0]
}

// attribute returns the values that an attribute has in a certificate's subject.
func attribute(leaf *x509.Certificate, oid string) (values []string) {
	for _, n := range leaf.Subject.Names {
		if text, ok := n.Value.(string); ok && text != "" && n.Type.String() == oid {
			values = append(values, text)
		}
	}
	return values
}

// external is EXTERNAL (RFC 4422 appendix A): the caller's card alone.
func (a *Authenticator) external(ctx context.Context, c *Caller, authzID string) (*Principal, error) {
	a.start()
	t := &Attempt{Mech: "EXTERNAL", AuthzID: authzID}
	account, cl, err := a.byCard(ctx, c, func(theirs []*storage.Account) *storage.Account {
		if authzID == "" {
			return theirs[0]
		}
		i := slices.IndexFunc(theirs, func(x *storage.Account) bool { return owns(x, authzID) })
		if i < 0 {
			return nil
		}
		return theirs[i]
	})
	return a.settle(ctx, c, t, account, cl, err)
}

// Certificate recognises the owner of the caller's card, with no name and no
// secret. sender is who the message is from: a card that opens several
// accounts means that one's. The error is a *Refusal, except when ctx ended.
func (a *Authenticator) Certificate(ctx context.Context, c *Caller, sender string) (*Principal, error) {
	a.start()
	account, cl, err := a.byCard(ctx, c, func(theirs []*storage.Account) *storage.Account {
		i := slices.IndexFunc(theirs, func(x *storage.Account) bool { return owns(x, sender) })
		return theirs[max(i, 0)]
	})
	return a.settle(ctx, c, &Attempt{Mech: "CERTIFICATE"}, account, cl, err)
}

// byCard finds the account that the caller's card opens. choose picks one of
// several, or none.
func (a *Authenticator) byCard(ctx context.Context, c *Caller, choose func([]*storage.Account) *storage.Account) (*storage.Account, *claim, error) {
	if c.TLS.Peer == nil {
		return nil, nil, &Refusal{Code: BadCredentials, Cause: errors.New("no certificate was presented")}
	}
	card, err := a.evaluate(ctx, c.TLS.Peer)
	if err != nil {
		return nil, nil, a.cardRefusal(ctx, err)
	}
	theirs, err := a.openedBy(ctx, card)
	if err != nil {
		return nil, nil, &Refusal{Code: Unavailable, Cause: err}
	}
	if len(theirs) == 0 {
		return nil, nil, &Refusal{Code: CardUnlinked, Text: a.phrases().Unlinked}
	}
	account := choose(theirs)
	if account == nil {
		return nil, nil, &Refusal{Code: BadCredentials, Cause: errSomeone}
	}
	return account, a.byLink(ctx, c, account, card), nil
}

// cardRefusal says why a card is no good. That its revocation cannot be checked is
// our trouble; the card is refused all the same.
func (a *Authenticator) cardRefusal(ctx context.Context, cause error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	code := CardRefused
	if errors.Is(cause, tls.ErrRevocationUnknown) {
		code = Unavailable
	}
	return &Refusal{Code: code, Cause: cause, Text: a.phrases().card(cause)}
}

// openedBy lists the accounts that a card opens, in the order they were linked; those
// that are switched off come last, since the first one is meant when none is named.
func (a *Authenticator) openedBy(ctx context.Context, card *Card) (theirs []*storage.Account, err error) {
	err = a.Store.View(ctx, func(tx *storage.Tx) error {
		theirs = nil
		ids, err := tx.CardAccounts(card.Identity)
		if err != nil {
			return err
		}
		for _, id := range ids {
			account, err := tx.Account(id)
			if err != nil {
				return err
			}
			if account.State != storage.Erasing && len(account.Addresses) > 0 {
				theirs = append(theirs, account)
			}
		}
		slices.SortStableFunc(theirs, func(x, y *storage.Account) int {
			return cmp.Compare(inUse(y), inUse(x))
		})
		return nil
	})
	return theirs, err
}

// inUse is 1 for an account that can be logged in to.
func inUse(account *storage.Account) int {
	if account.State == storage.Active {
		return 1
	}
	return 0
}

// byLink is what a linked card is worth. It notes the use, and a new certificate.
func (a *Authenticator) byLink(ctx context.Context, c *Caller, account *storage.Account, card *Card) *claim {
	a.Store.UsedCard(account.ID, card.Identity, time.Now())
	if err := a.renew(ctx, c, account, card); err != nil {
		a.Logger.WarnContext(ctx, "auth.card renewal not noted", "account", account.Addresses[0], "err", err)
	}
	return &claim{level: LevelCard, card: card, peer: c.TLS.Peer}
}

// renew notes that a linked card has a newer certificate, and tells the owner.
func (a *Authenticator) renew(ctx context.Context, c *Caller, account *storage.Account, card *Card) error {
	known, contact, err := a.linked(ctx, account.ID, card.Identity)
	if err != nil || known == nil || known.Serial == card.Serial || !card.NotAfter.After(known.NotAfter) {
		return err
	}
	noted := false
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		noted = false
		cards, err := tx.Cards(account.ID)
		for _, k := range cards {
			if err == nil && k.Identity == card.Identity && card.NotAfter.After(k.NotAfter) { // another connection may have been faster
				k.Serial, k.Issuer, k.NotAfter, k.Holder = card.Serial, card.Issuer, card.NotAfter, card.Holder
				noted, err = true, tx.PutCard(account.ID, &k)
			}
		}
		return err
	})
	if err != nil || !noted {
		return err
	}
	e := a.entry(c, "card.renew")
	e.Account, e.Identity, e.Serial, e.Issuer = account.Addresses[0], card.Identity, card.Serial, card.Issuer
	a.note(e)
	_ = a.tell(ctx, &Notice{ // its failure is logged
		Kind: CardRenewed, Account: account.ID, Address: account.Addresses[0], Contact: contact, Card: card.Holder,
	})
	return nil
}

// linked finds a card among the account's, nil for none, and the contact address.
func (a *Authenticator) linked(ctx context.Context, id storage.AccountID, identity string) (card *storage.Card, contact string, err error) {
	err = a.Store.View(ctx, func(tx *storage.Tx) error {
		card = nil
		cards, err := tx.Cards(id)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(cards, func(k storage.Card) bool { return k.Identity == identity }); i >= 0 {
			card = &cards[i]
		}
		f, err := tx.Factor(id)
		if err == nil {
			contact = f.Contact
		}
		return err
	})
	return card, contact, err
}

// besideSecret looks at the card that came together with a right secret. The
// account's own makes the log-in strong, a new one may be linked, a bad one counts
// as none, somebody else's is refused.
func (a *Authenticator) besideSecret(ctx context.Context, c *Caller, account *storage.Account, cl *claim) error {
	card, err := a.evaluate(ctx, c.TLS.Peer)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		cl.alert = a.phrases().card(err)
		e := a.entry(c, "card.refused")
		e.Account, e.Outcome = account.Addresses[0], err.Error()
		showed(e, c)
		a.note(e)
		return nil
	}
	theirs, err := a.openedBy(ctx, card)
	if err != nil {
		return err
	}
	switch {
	case slices.ContainsFunc(theirs, func(x *storage.Account) bool { return x.ID == account.ID }):
	case len(theirs) > 0:
		return &Refusal{Code: BadCredentials, Cause: errNotTheirs}
	case card.Organisation || cl.app != 0 || cl.token || cl.stale != nil:
		// An organisation's certificate is linked by an administrator, and whoever has
		// an application password, a token or an old code has not shown the person's own.
		return nil
	default:
		linked, err := a.firstUse(ctx, c, account, cl, card)
		if err != nil {
			return err
		}
		if !linked {
			cl.alert = a.phrases().NoWindow
			return nil
		}
	}
	by := a.byLink(ctx, c, account, card)
	cl.level, cl.card, cl.peer, cl.until = by.level, by.card, by.peer, time.Time{}
	return nil
}

// firstUse links a card that came with the account's password for the first
// time, when that is allowed.
func (a *Authenticator) firstUse(ctx context.Context, c *Caller, account *storage.Account, cl *claim, card *Card) (linked bool, err error) {
	var mismatch, already bool
	var contact string
	err = a.Store.Update(ctx, func(tx *storage.Tx) error {
		linked, mismatch, already = false, false, false
		now, err := tx.Account(account.ID)
		if err != nil || now.State != storage.Active || now.Epoch != account.Epoch {
			return err // the password is not what it was when it was checked
		}
		f, err := tx.Factor(account.ID)
		if err != nil || on(f) && cl.level < LevelCode {
			return err // the code first
		}
		contact = f.Contact
		others, err := tx.CardAccounts(card.Identity)
		if already = slices.Contains(others, account.ID); err != nil || len(others) > 0 {
			return err // another connection was faster
		}
		w, err := tx.LinkWindow(account.ID)
		if err != nil || w == nil || !w.Until.IsZero() && time.Now().After(w.Until) {
			return err
		}
		if mismatch = w.Expected != "" && w.Expected != card.Identity; mismatch {
			return nil
		}
		cards, err := tx.Cards(account.ID)
		// A second card is linked by its password only when it is the expected one.
		if err != nil || len(cards) >= a.Cards.PerAccount || len(cards) > 0 && w.Expected == "" {
			return err
		}
		linked = true
		if err := tx.PutCard(account.ID, link(card, "first use")); err != nil {
			return err
		}
		return tx.PutLinkWindow(account.ID, nil) // it is good once
	})
	if err != nil || !linked && !mismatch {
		return already, err
	}
	n := &Notice{
		Kind: CardLinked, Account: account.ID, Address: account.Addresses[0], Contact: contact,
		Card: card.Holder, Proto: c.Proto, Remote: c.Remote,
	}
	event := "card.link"
	if mismatch {
		n.Kind, event = CardMismatch, "card.mismatch"
		a.Logger.WarnContext(ctx, "auth.card is not the expected one", "account", n.Address, "remote", c.Remote, "conn", c.ConnID)
	}
	e := a.entry(c, event)
	e.Account, e.Identity = n.Address, card.Identity
	showed(e, c)
	a.note(e)
	stray := fmt.Sprintf("%d|%s", account.ID, card.Identity)
	if _, known := a.strays.get(stray, time.Now()); mismatch && known {
		return false, nil // programs open many connections
	} else if mismatch {
		a.strays.put(stray, true, time.Now().Add(24*time.Hour))
	}
	_ = a.tell(ctx, n) // its failure is logged
	return linked, nil
}

// identity completes an announced number with its issuers' group, as far as
// there is only one that vouches for persons. ErrGroup.
func (a *Authenticator) identity(expected string) (string, error) {
	if expected == "" || strings.Contains(expected, "|") {
		return expected, nil
	}
	groups := a.Anchors.PersonGroups()
	if len(groups) != 1 {
		return "", ErrGroup
	}
	return groups[0] + "|" + expected, nil
}

// link is what the store keeps of a card.
func link(card *Card, by string) *storage.Card {
	return &storage.Card{
		Identity: card.Identity, Organisation: card.Organisation, Holder: card.Holder, By: by, Linked: time.Now(),
		Serial: card.Serial, Issuer: card.Issuer, NotAfter: card.NotAfter,
	}
}
