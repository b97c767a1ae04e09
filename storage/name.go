package storage

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

const inbox = "INBOX"

// cleanName normalises a mailbox name: NFC, INBOX in capitals as the first
// level. It refuses empty levels, control characters (RFC 5198) and what passes the limits.
func (s *Store) cleanName(name string) (string, error) {
	if !utf8.ValidString(name) || len(name) > s.limits.NameLength {
		return "", fmt.Errorf("%w: too long or not UTF-8", ErrMailboxName)
	}
	name = norm.NFC.String(name)
	levels := strings.Split(name, "/")
	if len(levels) > s.limits.NameDepth {
		return "", fmt.Errorf("%w: too many levels", ErrMailboxName)
	}
	if slices.Contains(levels, "") {
		return "", fmt.Errorf("%w: empty level", ErrMailboxName)
	}
	bad := func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }
	if strings.ContainsFunc(name, bad) {
		return "", fmt.Errorf("%w: control character", ErrMailboxName)
	}
	if strings.EqualFold(levels[0], inbox) {
		name = inbox + name[len(inbox):]
	}
	return name, nil
}

// isInferior tells whether name lies below of.
func isInferior(name, of string) bool { return strings.HasPrefix(name, of+"/") }

func subscribeAD(a AccountID, mac [16]byte) []byte {
	return append(ad("subscribed", uint64(a)), mac[:]...)
}

// Subscribe adds a name, which need not exist as a mailbox, to the account's
// subscribed ones (RFC 9051 section 6.3.7). ErrMailboxName, ErrMailboxLimit.
func (t *Tx) Subscribe(a AccountID, name string) error {
	name, err := t.s.cleanName(name)
	if err != nil {
		return err
	}
	all, err := t.Subscriptions(a)
	if err != nil {
		return err
	}
	// Names of deleted mailboxes stay, so there may be more of them than mailboxes.
	if len(all) >= 2*t.s.limits.Mailboxes {
		return ErrMailboxLimit
	}
	k, err := t.keys(a)
	if err != nil {
		return err
	}
	mac := k.MAC("name", []byte(name))
	t.changed(a, 0)
	return t.put(keyMAC(tabSubscribe, a, mac), k.Seal(nil, []byte(name), subscribeAD(a, mac)))
}

// Unsubscribe removes a name. A name that is not subscribed is not an error.
func (t *Tx) Unsubscribe(a AccountID, name string) error {
	name, err := t.s.cleanName(name)
	if err != nil {
		return nil // cannot be subscribed
	}
	k, err := t.keys(a)
	if err != nil {
		return err
	}
	t.changed(a, 0)
	return t.delete(keyMAC(tabSubscribe, a, k.MAC("name", []byte(name))))
}

func (t *Tx) subscribed(a AccountID, name string) (bool, error) {
	k, err := t.keys(a)
	if err != nil {
		return false, err
	}
	v, err := t.Get(keyMAC(tabSubscribe, a, k.MAC("name", []byte(name))))
	return v != nil, err
}

// Subscriptions returns the subscribed names, sorted.
func (t *Tx) Subscriptions(a AccountID) ([]string, error) {
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	var names []string
	var failed error
	lo := keyAccount(tabSubscribe, a)
	err = t.Scan(lo, after(lo), func(key, v []byte) bool {
		var name []byte
		name, failed = k.Open(nil, v, subscribeAD(a, [16]byte(key[5:])))
		names = append(names, string(name))
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	slices.Sort(names)
	return names, err
}

// maxKeywords is what the bits of a placement can tell apart.
const maxKeywords = 64

// keywords returns the mailbox's keyword names in the order of their bits.
// Record: the names, each ended by a NUL, sealed ("keywords", account, mailbox).
func (t *Tx) keywords(a AccountID, m MailboxID) ([]string, error) {
	v, err := t.Get(keyMailbox(tabKeywords, a, m))
	if err != nil || v == nil {
		return nil, err
	}
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	b, err := k.Open(nil, v, ad("keywords", uint64(a), uint64(m)))
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

// keywordBits returns the bits of names, which match without regard to case (RFC 9051
// section 2.3.2). When add is set, new names get a bit: ErrKeywordLimit when
// none is left. Otherwise they have none.
func (t *Tx) keywordBits(a AccountID, m MailboxID, names []string, add bool) (bits uint64, err error) {
	if len(names) == 0 {
		return 0, nil
	}
	have, err := t.keywords(a, m)
	if err != nil {
		return 0, err
	}
	n := len(have)
	for _, name := range names {
		i := slices.IndexFunc(have, func(s string) bool { return strings.EqualFold(s, name) })
		if i < 0 && add {
			if len(have) == maxKeywords {
				return 0, ErrKeywordLimit
			}
			i, have = len(have), append(have, name)
		}
		if i >= 0 {
			bits |= 1 << i
		}
	}
	if len(have) == n {
		return bits, nil
	}
	k, err := t.keys(a)
	if err != nil {
		return 0, err
	}
	list := []byte(strings.Join(have, "\x00") + "\x00")
	return bits, t.put(keyMailbox(tabKeywords, a, m), k.Seal(nil, list, ad("keywords", uint64(a), uint64(m))))
}
