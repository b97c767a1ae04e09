package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"
)

// Card is a smart card, or an organisation's certificate, that opens an account.
// What identifies it is who it was given to, never one certificate: a renewed
// card is the same card. Dates are kept in whole seconds.
type Card struct {
	Identity     string // issuer group, "|", national id: see package auth
	Organisation bool
	Holder       string // the name on it, for people
	By           string // how it was linked: "first use", "operator"
	Linked       time.Time
	Serial       string // of the certificate last seen, hexadecimal
	Issuer       string // its issuer's name (RFC 4514)
	NotAfter     time.Time
	LastUsed     time.Time // zero before the first use; may lag a second
}

// Record, sealed: 1, organisation 8, linked 64, not after 64, last used 64
// (Unix seconds, 0 for never), identity, holder, by, serial, issuer.
//
// Each link has a number that no other ever had, in its key: keys are in the
// order of linking. The identity's entry under the same number holds the account, 32.
const cardVersion = 1

func (c *Card) record() []byte {
	b := putFlag([]byte{cardVersion}, c.Organisation)
	b = putTime(b, c.Linked)
	b = putTime(b, c.NotAfter)
	b = putTime(b, c.LastUsed)
	for _, s := range []string{c.Identity, c.Holder, c.By, c.Serial, c.Issuer} {
		b = putString(b, s)
	}
	return b
}

func parseCard(_, v []byte) (*Card, error) {
	f := openRecord("card", cardVersion, v)
	c := &Card{Organisation: f.flag(), Linked: f.time(), NotAfter: f.time(), LastUsed: f.time()}
	for _, s := range []*string{&c.Identity, &c.Holder, &c.By, &c.Serial, &c.Issuer} {
		*s = f.string()
	}
	return c, f.err
}

// cardMAC stands for an identity in the index, which thus does not tell it. The
// key is the log's, since one card may open several accounts.
func (s *Store) cardMAC(identity string) [16]byte {
	return s.keys.Log().MAC("card", []byte(identity))
}

// cardLink returns the number of the card's link to the account, 0 when it has none.
func (t *Tx) cardLink(a AccountID, card [16]byte) (link uint64, err error) {
	lo := keyAccount(tabCard, a)
	err = t.Scan(lo, after(lo), func(k, _ []byte) bool {
		if bytes.Equal(k[13:], card[:]) {
			link = binary.BigEndian.Uint64(k[5:])
		}
		return link == 0
	})
	return link, err
}

// Cards lists the cards of an account, in the order they were linked.
func (t *Tx) Cards(a AccountID) ([]Card, error) {
	cards, err := listSealed(t, a, tabCard, parseCard)
	late := t.s.lazy.usesOf(a)
	for i := range cards {
		c := &cards[i]
		c.LastUsed = latest(c.LastUsed, late[use{card: c.Identity}].at)
	}
	return cards, err
}

// CardAccounts lists the accounts that a card opens, in the order they were linked.
func (t *Tx) CardAccounts(identity string) (ids []AccountID, err error) {
	card := t.s.cardMAC(identity)
	lo := append([]byte{tabIdentity}, card[:]...)
	damaged := false
	err = t.Scan(lo, after(lo), func(_, v []byte) bool {
		if damaged = len(v) != 4; !damaged {
			ids = append(ids, AccountID(le.Uint32(v)))
		}
		return !damaged
	})
	if err == nil && damaged {
		err = errRecord
	}
	return ids, err
}

// PutCard links a card to an account, or replaces what is remembered of a linked one.
func (t *Tx) PutCard(a AccountID, c *Card) error {
	card := t.s.cardMAC(c.Identity)
	link, err := t.cardLink(a, card)
	if err != nil {
		return err
	}
	if link != 0 {
		return t.putSealed(a, keyCard(a, link, card), c.record())
	}
	if link, err = getUint64(t, keyStore("link")); err != nil {
		return err
	}
	link++
	if err := t.putSealed(a, keyCard(a, link, card), c.record()); err != nil {
		return err
	}
	if err := t.put(keyStore("link"), le.AppendUint64(nil, link)); err != nil {
		return err
	}
	t.changed(a, OfRecord)
	return t.put(keyIdentity(card, link), le.AppendUint32(nil, uint32(a)))
}

// UnlinkCard takes a card from an account, ends its grants and moves the epoch. ErrNoCard.
func (t *Tx) UnlinkCard(a AccountID, identity string) error {
	card := t.s.cardMAC(identity)
	link, err := t.cardLink(a, card)
	if err != nil {
		return err
	}
	if link == 0 {
		return ErrNoCard
	}
	err = errors.Join(
		t.delete(keyCard(a, link, card)),
		t.delete(keyIdentity(card, link)),
		t.deleteGrants(a))
	if err != nil {
		return err
	}
	return t.MoveEpoch(a)
}

// dropCards removes all cards of an account that is being erased. It needs no key.
func (t *Tx) dropCards(a AccountID) error {
	_, err := t.deleteSome(keyAccount(tabCard, a), func(k, _ []byte) error {
		return t.delete(keyIdentity([16]byte(k[13:]), binary.BigEndian.Uint64(k[5:])))
	})
	return err
}

// UsedCard notes that a card opened the account. It may reach the disk a second later.
func (s *Store) UsedCard(a AccountID, identity string, at time.Time) {
	s.lazy.note(a, use{card: identity}, used{at: at})
}

// LinkWindow allows a card to be linked to an account by its first use.
type LinkWindow struct {
	Expected string    // only this identity's; "" for any
	Until    time.Time // zero: as long as Expected is not linked
	By       string
}

// Record, sealed: 1, until 64 (0 for no end), expected, by.
const linkWindowVersion = 1

func (w *LinkWindow) record() []byte {
	b := putTime([]byte{linkWindowVersion}, w.Until)
	b = putString(b, w.Expected)
	return putString(b, w.By)
}

func parseLinkWindow(v []byte) (*LinkWindow, error) {
	f := openRecord("link window", linkWindowVersion, v)
	w := &LinkWindow{Until: f.time(), Expected: f.string(), By: f.string()}
	return w, f.err
}

// LinkWindow returns the account's window, nil when it has none.
func (t *Tx) LinkWindow(a AccountID) (*LinkWindow, error) {
	v, err := t.getSealed(a, keyOne(a, oneLinkWindow))
	if err != nil || v == nil {
		return nil, err
	}
	return parseLinkWindow(v)
}

// PutLinkWindow replaces the account's window; nil closes it.
func (t *Tx) PutLinkWindow(a AccountID, w *LinkWindow) error {
	key := keyOne(a, oneLinkWindow)
	if w == nil {
		return t.delete(key)
	}
	return t.putSealed(a, key, w.record())
}
