package smtpd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"
)

// This file is FUTURERELEASE (RFC 4865), which go-smtp does not know: a message that is
// handed in now and leaves later.

// holdExtension announces it: the longest time in seconds, and its end.
func holdExtension(longest time.Duration, now time.Time) string {
	return fmt.Sprintf("FUTURERELEASE %d %s", int64(longest/time.Second), now.Add(longest).UTC().Format(time.RFC3339))
}

// takeHold takes HOLDFOR or HOLDUNTIL out of the parameters of MAIL. until is zero
// when neither is there, or when the time has come already.
func takeHold(params string, longest time.Duration, now time.Time) (rest string, until time.Time, refusal *smtp.SMTPError) {
	var others strings.Builder
	found := false
	for p := range strings.FieldsSeq(params) {
		key, value, _ := strings.Cut(p, "=")
		key = strings.ToUpper(key)
		if key != "HOLDFOR" && key != "HOLDUNTIL" {
			others.WriteString(" " + p)
			continue
		}
		var ok bool
		if key == "HOLDFOR" {
			until, ok = holdFor(value, now)
		} else {
			until, ok = holdUntil(value)
		}
		if !ok || found || until.After(now.Add(longest)) {
			return "", time.Time{}, errHold
		}
		found = true
	}
	if until.Before(now) {
		until = time.Time{}
	}
	return others.String(), until, nil
}

// holdFor reads a number of seconds: one to nine digits, the first of them not 0.
func holdFor(value string, now time.Time) (time.Time, bool) {
	if value == "" || len(value) > 9 || value[0] == '0' || strings.Trim(value, "0123456789") != "" {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	return now.Add(time.Duration(seconds) * time.Second), err == nil
}

// holdUntil reads a date-time of RFC 3339 section 5.6 (RFC 4865, erratum 2040).
func holdUntil(value string) (time.Time, bool) {
	value = strings.ToUpper(value) // "t" and "z" are allowed
	// time.Parse takes an hour of one digit, and a comma.
	if len(value) < len("2006-01-02T15:04:05Z") || value[13] != ':' || strings.Contains(value, ",") {
		return time.Time{}, false
	}
	until, err := time.Parse(time.RFC3339, value)
	return until, err == nil
}
