package storage

import (
	"encoding/binary"
	"time"
)

// SendLimits bound what an account may send to other servers in a day (UTC). Zero: no limit.
type SendLimits struct {
	Messages int // recipients each count as one
	First    int // recipients that it has not written to before
}

// Sent is what an account has sent to other servers on one day.
type Sent struct {
	Day      time.Time // its beginning, UTC
	Messages int       // counted by recipient
	First    int       // of them to recipients that it had not written to before
}

// Record of a day: 1, messages 32, of them first ones 32. Its key has the day's
// complement 32, so that the newest day comes first.
//
// Record of a recipient that the account has written to: 1, last day 32. Its key has a MAC of the
// address ("recipient").
//
// A day is its number since 1970 UTC.
const (
	sentVersion  = 1
	wroteVersion = 1
	secondsOfDay = 24 * 60 * 60
)

// dayOf is the number of the day of a moment.
func dayOf(at time.Time) uint32 { return uint32(max(at.Unix(), 0) / secondsOfDay) }

func keySent(a AccountID, day uint32) []byte {
	return binary.BigEndian.AppendUint32(keyAccount(tabSent, a), ^day)
}

func dayOfSent(key []byte) uint32 { return ^binary.BigEndian.Uint32(key[5:]) }

func parseSent(day uint32, v []byte) (Sent, error) {
	f := openRecord("sent", sentVersion, v)
	s := Sent{time.Unix(int64(day)*secondsOfDay, 0).UTC(), int(f.u32()), int(f.u32())}
	return s, f.err
}

func (s *Sent) record() []byte {
	return le.AppendUint32(le.AppendUint32([]byte{sentVersion}, uint32(s.Messages)), uint32(s.First))
}

func wroteRecord(day uint32) []byte { return le.AppendUint32([]byte{wroteVersion}, day) }

func parseWrote(v []byte) (day uint32, err error) {
	f := openRecord("known recipient", wroteVersion, v)
	return f.u32(), f.err
}

// SentOn returns what the account has sent on the day of at.
func (t *Tx) SentOn(a AccountID, at time.Time) (Sent, error) {
	day := dayOf(at)
	v, err := t.Get(keySent(a, day))
	if err != nil {
		return Sent{}, err
	}
	if v == nil {
		v = (&Sent{}).record()
	}
	return parseSent(day, v)
}

// SentDays returns what the account has sent on its last days, the newest first;
// days without mail are left out and not counted.
func (t *Tx) SentDays(a AccountID, days int) (all []Sent, err error) {
	if days <= 0 {
		return nil, nil
	}
	var failed error
	lo := keyAccount(tabSent, a)
	err = t.Scan(lo, after(lo), func(k, v []byte) bool {
		var s Sent
		if s, failed = parseSent(dayOfSent(k), v); failed == nil {
			all = append(all, s)
		}
		return failed == nil && len(all) < days
	})
	if err == nil {
		err = failed
	}
	return all, err
}

// keyWrote is the key of a recipient. ErrNoAccount.
func (t *Tx) keyWrote(a AccountID, address string) ([]byte, error) {
	k, err := t.keys(a)
	if err != nil {
		return nil, err
	}
	return keyMAC(tabWritten, a, k.MAC("recipient", []byte(address))), nil
}

// WroteTo says whether the account has written to a normalised address before.
func (t *Tx) WroteTo(a AccountID, address string) (bool, error) {
	key, err := t.keyWrote(a, address)
	if err != nil {
		return false, err
	}
	v, err := t.Get(key)
	return v != nil, err
}

// MaySend says whether the account may send to further recipients (normalised)
// on the day of at. ErrSendQuota; the next day (Sent.Day and 24 hours) begins anew.
func (t *Tx) MaySend(a AccountID, at time.Time, recipients []string, l SendLimits) error {
	_, err := t.sending(a, at, recipients, l)
	return err
}

// sending is what sending to recipients comes to.
type sending struct {
	Sent           // of the day, the recipients included
	fresh [][]byte // keys of recipients that have not got mail on this day before
}

func (t *Tx) sending(a AccountID, at time.Time, recipients []string, l SendLimits) (s sending, err error) {
	if s.Sent, err = t.SentOn(a, at); err != nil {
		return s, err
	}
	keys := make([][]byte, len(recipients))
	for i, r := range recipients {
		if keys[i], err = t.keyWrote(a, r); err != nil {
			return s, err
		}
	}
	first, seen := 0, map[string]bool{}
	err = t.MultiGet(keys, func(i int, v []byte) error {
		if seen[string(keys[i])] {
			return nil
		}
		seen[string(keys[i])] = true
		if v == nil {
			first++
			s.fresh = append(s.fresh, keys[i])
			return nil
		}
		day, err := parseWrote(v)
		if err == nil && day < dayOf(at) {
			s.fresh = append(s.fresh, keys[i])
		}
		return err
	})
	if err != nil {
		return s, err
	}
	s.Messages += len(recipients)
	s.First += first
	// Whoever writes to nobody new is not refused because others were new.
	if l.Messages > 0 && len(recipients) > 0 && s.Messages > l.Messages || l.First > 0 && first > 0 && s.First > l.First {
		return s, ErrSendQuota
	}
	return s, nil
}

// spend counts recipients (normalised) of a message to other servers, unless
// that is more than the account may send. Without an account nothing is
// counted. Limits that are zero count alone: replay uses them. ErrSendQuota, ErrNoAccount.
func (t *Tx) spend(a AccountID, at time.Time, recipients []string, l SendLimits) error {
	if a == 0 || len(recipients) == 0 {
		return nil
	}
	if err := t.alive(a); err != nil {
		return err
	}
	s, err := t.sending(a, at, recipients, l)
	if err != nil {
		return err
	}
	day := dayOf(at)
	for _, key := range s.fresh {
		if err := t.put(key, wroteRecord(day)); err != nil {
			return err
		}
	}
	return t.put(keySent(a, day), s.record())
}
