package origin_test

import (
	"bufio"
	"bytes"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/authres"

	"telesphore/backend/origin"
)

func TestStrip(t *testing.T) {
	const ar = "Authentication-Results"
	for field, removed := range map[string]bool{
		ar + ": mx.hopital.test; spf=pass\r\n":                           true,
		ar + ":mx.hopital.test;spf=pass\r\n":                             true,
		"AUTHENTICATION-results: MX.Hopital.Test; none\r\n":              true,
		ar + " \t: mx.hopital.test; none\r\n":                            true,
		ar + "\u00a0: mx.hopital.test; none\r\n":                         true,
		ar + ":\r\n mx.hopital.test;\r\n\tspf=pass\r\n":                  true,
		ar + ": (a (nested \\) one)) mx.hopital.test (b); none\r\n":      true,
		ar + ": \"mx.hopital.test\"; none\r\n":                           true,
		ar + ": \"mx\\.hopital.test\"; none\r\n":                         true,
		ar + ": \"mx.hop\r\n ital.test\"; none\r\n":                      true, // a blank is in it, that some reader leaves out
		ar + ": mx.hopital.test 1; none\r\n":                             true,
		ar + ": mx.hopital.test/1; none\r\n":                             true,
		ar + ": mx.hopital.test(c)1(d); none\r\n":                        true,
		ar + ": mx.hopital.test\r\n":                                     true,
		ar + ": mx.hopital.test.; none\r\n":                              true,
		ar + ":\r\n":                                                     true,
		ar + ": ; none\r\n":                                              true,
		ar + ": (never closed mx.other.test; none\r\n":                   true,
		ar + ": \"never closed; none\r\n":                                true,
		ar + ": spf=pass smtp.mailfrom=a.test\r\n":                       true,
		ar + ": mx.other.test mx.hopital.test; none\r\n":                 true,
		ar + ": =?utf-8?q?mx.hopital.test?=; none\r\n":                   true,
		ar + ": mx.hopital.test\x00; none\r\n":                           true,
		ar + ": mx.hopital.test\u00a0; none\r\n":                         true,
		ar + ": \uff4dx.hopital.test; none\r\n":                          true, // a wide m
		ar + ": m\xffx.hopital.test; none\r\n":                           true,
		ar + ": mx.hopital.test; none\n":                                 true,
		ar + ": mx.hopital.test; none":                                   true,
		ar + ": mx.other.test; spf=pass\r\n":                             false,
		ar + ": mx.other.test 1; spf=pass smtp.helo=mx.hopital.test\r\n": false,
		ar + ": (mx.hopital.test) mx.other.test; none\r\n":               false,
		ar + ": a.mx.hopital.test; none\r\n":                             false,
		ar + ": mx.hopital.test.other; none\r\n":                         false,
		ar + ": h\u00f4pital.test; none\r\n":                             false,
		"X-" + ar + ": mx.hopital.test; none\r\n":                        false,
		"ARC-" + ar + ": i=1; mx.hopital.test; none\r\n":                 false,
		ar + "-Original: mx.hopital.test; none\r\n":                      false,
		"Subject: \r\n " + ar + ": mx.hopital.test; none\r\n":            false,
		ar + "\r\n : mx.hopital.test; none\r\n":                          false, // no field
	} {
		for _, frame := range [][2]string{
			{"", ""}, {"", "\r\n"}, {"", "\r\nbody\r\n"}, {"Subject: a\r\n", "To: b@c.test\r\n\r\nbody\r\n"},
			{"Subject: a\n", "To: b\n\nbody\n"}, {"From nobody\r\n", "\r\n" + field},
		} {
			message := []byte(frame[0] + field + frame[1])
			before := bytes.Clone(message)
			got := origin.Strip(message, hostname)
			if !bytes.Equal(message, before) {
				t.Fatalf("%q: the message itself was changed", field)
			}
			want := message
			if removed && (strings.HasSuffix(field, "\n") || frame[1] == "") {
				want = []byte(frame[0] + frame[1])
			} else if removed {
				continue // what follows belongs to the field
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%q:\n got %q\nwant %q", message, got, want)
			}
			if !removed && len(got) > 0 && &got[0] != &message[0] {
				t.Errorf("%q: a copy where nothing was removed", field)
			}
		}
	}
}

func TestStripSeveral(t *testing.T) {
	ours := "Authentication-Results: mx.hopital.test; none\r\n"
	theirs := "Authentication-Results: mx.other.test;\r\n dkim=pass (\xff) \r\n"
	got := origin.Strip([]byte(ours+theirs+ours+"A: b\r\n"+ours+ours+theirs+"\r\n"+ours), hostname)
	if want := theirs + "A: b\r\n" + theirs + "\r\n" + ours; string(got) != want {
		t.Errorf("got %q", got)
	}
	if got := origin.Strip([]byte(ours), "mx.hopital.test."); len(got) != 0 {
		t.Errorf("hostname with a final dot: %q", got)
	}
	if got := origin.Strip(nil, hostname); got != nil {
		t.Errorf("nothing: %q", got)
	}
}

// FuzzStrip reads what is left with other parsers: none may find a field of ours.
func FuzzStrip(f *testing.F) {
	f.Add("Authentication-Results: mx.hopital.test; none\r\nSubject: a\r\n\r\nb")
	f.Add("A: b\r\nauthentication-results :(c)\r\n \"MX.hopital.test\" 1; spf=pass\n\n")
	f.Add("Authentication-Results:mx.hopital.test\u00a0 1;\r\n")
	f.Fuzz(func(t *testing.T, message string) {
		left := origin.Strip([]byte(message), hostname)
		if again := origin.Strip(left, hostname); !bytes.Equal(left, again) {
			t.Errorf("twice makes a difference: %q, %q", left, again)
		}
		lines := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(left, "\r\n\r\n"...))))
		for {
			line, err := lines.ReadContinuedLine()
			if err != nil || line == "" {
				return
			}
			name, value, _ := strings.Cut(line, ":")
			if !strings.EqualFold(strings.TrimSpace(name), "Authentication-Results") {
				continue
			}
			if id, _, err := authres.Parse(value); err == nil && strings.EqualFold(strings.Trim(id, `"`), hostname) {
				t.Errorf("%q is left of %q", line, message)
			}
		}
	})
}
