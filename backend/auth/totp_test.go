package auth

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

// RFC 6238 appendix B has 8 digits; ours are the last 6 of them.
func TestTOTPVectors(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{
		59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		if got := totpCode(secret, uint64(at)/totpPeriod); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
		step, ok := matchTOTP(secret, 0, want, time.Unix(at, 0))
		if !ok || step != uint64(at)/totpPeriod {
			t.Errorf("at %d: step %d, %v", at, step, ok)
		}
	}
}

func TestTOTPWindow(t *testing.T) {
	secret := []byte("12345678901234567890")
	now := time.Unix(1111111111, 0)
	present := uint64(now.Unix()) / totpPeriod
	for _, c := range []struct {
		step, last uint64
		want       bool
	}{
		{present - 2, 0, false},
		{present - 1, 0, true},
		{present, 0, true},
		{present + 1, 0, true},
		{present + 2, 0, false},
		{present - 1, present - 2, true},
		{present, present - 1, true},
		{present, present, false}, // used before
		{present - 1, present, false},
		{present + 1, present + 1, false},
		{present + 1, present, true},
	} {
		step, ok := matchTOTP(secret, c.last, totpCode(secret, c.step), now)
		if ok != c.want || ok && step != c.step {
			t.Errorf("step %+d, last used %+d: step %d, %v", int64(c.step-present), int64(c.last-present), step, ok)
		}
	}
	for _, code := range []string{"", "0", "50471", "0504710", " 050471", "05047a", strings.Repeat("9", 1000)} {
		if _, ok := matchTOTP(secret, 0, code, now); ok {
			t.Errorf("%.20q was accepted", code)
		}
	}
	if _, ok := matchTOTP(nil, 0, totpCode(nil, present), now); ok {
		t.Error("a code without a secret was accepted")
	}
	if _, ok := matchTOTP(secret, 0, "000000", time.Unix(0, 0)); ok {
		t.Error("a code was accepted in 1970")
	}
}

func TestTOTPSecretAsText(t *testing.T) {
	text := newTOTP()
	secret, ok := parseTOTPText(strings.ToLower(text[:4] + " " + text[4:]))
	if !ok || len(secret) != 20 || totpText().EncodeToString(secret) != text || text == newTOTP() {
		t.Errorf("%q gives %x, %v", text, secret, ok)
	}
	for _, bad := range []string{"", text[1:], text + "A", text[:31] + "1", "=" + text[1:]} {
		if secret, ok := parseTOTPText(bad); ok {
			t.Errorf("%q gives %x", bad, secret)
		}
	}
	uri, err := url.Parse(totpURI("médecin+garde@hopital.test", text))
	if err != nil || uri.Scheme != "otpauth" || uri.Host != "totp" || uri.Path != "/Telesphore:médecin+garde@hopital.test" {
		t.Fatalf("%v, %v", uri, err)
	}
	q := uri.Query()
	for k, want := range map[string]string{"secret": text, "issuer": "Telesphore", "algorithm": "SHA1", "digits": "6", "period": "30"} {
		if q.Get(k) != want {
			t.Errorf("%s is %q", k, q.Get(k))
		}
	}
}

func TestRecoveryCodes(t *testing.T) {
	codes, left := newRecovery()
	if len(codes) != 10 || len(left) != 10 {
		t.Fatalf("%d codes, %d hashes", len(codes), len(left))
	}
	for i := range codes {
		code := codes[(i+3)%10]
		if len(code) != 12 || strings.Trim(code, "0123456789") != "" {
			t.Errorf("code %q", code)
		}
		if _, ok := matchRecovery(left, code[1:]); ok {
			t.Error("a part of a code was accepted")
		}
		rest, ok := matchRecovery(left, code)
		if !ok || len(rest) != 9-i {
			t.Fatalf("code %d: %v, %d left", i, ok, len(rest))
		}
		if again, ok := matchRecovery(rest, code); ok || len(again) != len(rest) {
			t.Errorf("code %d was accepted twice", i)
		}
		left = rest
	}
}
