package main

import (
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		text string
		want time.Duration
		back string
	}{
		{"0s", 0, "0s"},
		{"30s", 30 * time.Second, "30s"},
		{"1h30m", 90 * time.Minute, "1h30m"},
		{"24h", day, "24h"},
		{"1d", day, "24h"},
		{"14d", 14 * day, "14d"},
		{"336h", 14 * day, "14d"},
		{"2d12h", 60 * time.Hour, "60h"},
		{"65535d", 65535 * day, "65535d"},
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(c.text)); err != nil || time.Duration(d) != c.want || d.String() != c.back {
			t.Errorf("%s is %v (%v), written %s", c.text, time.Duration(d), err, d)
		}
		if err := d.UnmarshalText([]byte(d.String())); err != nil || time.Duration(d) != c.want {
			t.Errorf("%s does not come back: %v, %v", c.text, time.Duration(d), err)
		}
	}
	for _, text := range []string{"", "d", "14", "14 d", "-1d", "1.5d", "1d-2h", "12h1d", "1d1d", "65536d", "2562047h65535d", "65535d2562047h"} {
		d := Duration(1)
		if err := d.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "no length of time") || d != 1 {
			t.Errorf("%q is %v, %v", text, time.Duration(d), err)
		}
	}
}

func TestTablesDoNotCommandTheTerminal(t *testing.T) {
	var b strings.Builder
	row(&b, "\x1b[2Jgood\n1", "Hélène\tM", "\u202egood", 3, time.Time{})
	if got, want := b.String(), "?[2Jgood?1\tHélène?M\t?good\t3\tnever\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
