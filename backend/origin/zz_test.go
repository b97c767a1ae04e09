package origin_test

import (
	"strings"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	k := newEd25519(t, "clinique.example", "s1")
	z := zones{
		"clinique.example.": txt("v=spf1 ip4:192.0.2.1 -all"), "_dmarc.clinique.example.": txt("v=DMARC1; p=reject"), k.name(): txt(k.record),
	}
	for name, unit := range map[string]string{"empty lines": "\r\n", "short": "x \r\n", "blanks": strings.Repeat(" ", 70)+"\r\n", "long": strings.Repeat("a", 70) + "\r\n", "nolf": strings.Repeat("b c", 70)} {
		body := strings.Repeat(unit, 30<<20/len(unit))
		message := k.sign(t, letter)
		field := message[:strings.Index(message, "\r\nFrom:")+2]
		m := strings.Repeat(field, 5) + message[strings.Index(message, "\r\nFrom:")+2:] + body
		begin := time.Now()
		r := z.checker().Check(t.Context(), arrival(m))
		t.Logf("%s: %v %s", name, time.Since(begin), r.DKIM)
	}
}
