package smtpd

import (
	"fmt"
	"strings"
	"testing"
)

func TestForbiddenOctets(t *testing.T) {
	l := newLab(t, Limits{})
	for _, body := range []string{"a\nb\r\n", "a\rb\r\n", "a\x00b\r\n", "a\r\r\n", "\n\r\n", strings.Repeat("x", 5000) + "\n"} {
		c := l.ready()
		c.say("DATA", "354 ")
		c.send("%s%s.\r\n", letter, body)
		c.want("550 5.6.0 ")
		c.wantClosed()
	}
	l.wantMail()
}

func TestBodiesArriveUnchanged(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	bodies := []string{
		"", "\r\n", ".\r\n", "..\r\n", ".x\r\n.\r\n", "\x80\xff\x01\x7f\r\n", "\r\n\r\n.\r\n\r\n",
		strings.Repeat("y", 4095) + "\r\n", strings.Repeat("y", 4096) + "\r\n", strings.Repeat("z", 100_000) + "\r\n",
		strings.Repeat("0123456789abcdef\r\n", 100_000),
	}
	for i := range 20 { // line ends at every place of the read buffer
		bodies = append(bodies, strings.Repeat("w", 4080+i)+"\r\n.\r\nend\r\n")
	}
	var want []string
	for _, b := range bodies {
		lines := strings.Split(b, "\r\n")
		for i := range lines {
			if strings.HasPrefix(lines[i], ".") {
				lines[i] = "." + lines[i]
			}
		}
		c.deliver(letter+strings.Join(lines, "\r\n"), "250 ")
		want = append(want, letter+b)
	}
	l.wantMail(want...)
}

func TestMessageSize(t *testing.T) {
	const limit = 100_000
	l := newLab(t, Limits{MessageSize: limit})
	c := l.login()
	fits := letter + strings.Repeat("x", limit-len(letter)-2) + "\r\n"
	c.deliver(fits, "250 ")
	c.deliver("X: y\r\n"+fits, "552 5.3.4 ")
	c.deliver(fits[:limit-2]+"x\r\n", "552 5.3.4 ")
	c.deliver(letter, "250 ") // the connection goes on
	l.wantMail(fits, letter)

	c.begin()
	c.say("DATA", "354 ")
	go func() {
		for range 100 { // more than anybody reads away
			if _, err := c.Write([]byte(fits)); err != nil {
				return
			}
		}
	}()
	c.want("552 5.3.4 ")
	c.wantClosed()
}

func TestMemoryBudget(t *testing.T) {
	l := newLab(t, Limits{Memory: 256 << 10})
	c := l.login()
	c.deliver(letter+strings.Repeat("0123456789\r\n", 50_000), "452 4.3.1 ")
	c.deliver(letter, "250 ")
	l.wantMail(letter)
	if l.memory.left != 256<<10 {
		t.Errorf("%d octets of memory left, want all", l.memory.left)
	}
}

func TestBDAT(t *testing.T) {
	l := newLab(t, Limits{MessageSize: 10_000, Errors: 100})
	c := l.login()
	body := strings.Repeat("x", 5000) // without a line end, in the same packet as its command
	c.begin()
	c.send("BDAT %d LAST\r\n%s%s", len(letter+body), letter, body)
	c.want("250 2.0.0 Accepted as ")
	want := []string{letter + body}

	c.begin()
	c.send("BDAT %d\r\n%sBDAT 0\r\nBDAT 11 last\r\nend\r\n.\r\nx\r\nNOOP\r\n", len(letter), letter)
	for _, r := range []string{"250 ", "250 ", "250 2.0.0 Accepted as ", "250 "} {
		c.want(r)
	}
	want = append(want, letter+"end\r\n.\r\nx\r\n")
	l.wantMail(want...)

	c.send("BDAT 10 LAST\r\nQUIT\r\nQUIT")
	c.want("503 5.5.1 ")
	c.say("NOOP", "250 ")

	c.begin()
	c.send("BDAT 10\r\n0123456789BDAT 9995 LAST\r\n%s", strings.Repeat("y", 9995))
	c.want("250 ")
	c.want("552 5.3.4 ")
	c.say("NOOP", "250 ")

	c.begin()
	c.send("BDAT %d\r\n%sRSET\r\nBDAT 1 LAST\r\nx", len(letter), letter)
	for _, r := range []string{"250 ", "250 ", "503 5.5.1 "} {
		c.want(r)
	}
	c.begin()
	c.send("BDAT %d\r\n%sMAIL FROM:<%s>\r\nDATA\r\n", len(letter), letter, alice)
	for _, r := range []string{"250 ", "503 5.5.1 ", "503 5.5.1 "} {
		c.want(r)
	}
	c.say("RSET", "250 ")
	c.deliver(letter, "250 ")
	l.wantMail(append(want, letter)...)
}

// However a message is cut into chunks, it arrives as it was.
func TestChunksOfEverySize(t *testing.T) {
	l := newLab(t, Limits{})
	c := l.login()
	message := letter + ".\r\n..\r\n.x.\r\n\r\n.\r\n" + strings.Repeat("y", 5000) + "\r\n.end"
	var want []string
	for _, size := range []int{1, 2, 3, 7, 100, 1000, 4096, 10_000} {
		c.begin()
		replies := 0
		for rest := message; rest != ""; replies++ {
			n := min(size, len(rest))
			last := ""
			if n == len(rest) {
				last = " LAST"
			}
			c.send("BDAT %d%s\r\n%s", n, last, rest[:n])
			rest = rest[n:]
			if size > 3 {
				c.want("250 ")
			}
		}
		for range replies {
			if size <= 3 {
				c.want("250 ")
			}
		}
		want = append(want, message)
	}
	l.wantMail(want...)
}

func TestBDATThatMustClose(t *testing.T) {
	l := newLab(t, Limits{MessageSize: 10_000})
	for command, want := range map[string]string{
		"BDAT": "501 ", "BDAT x": "501 ", "BDAT -1": "501 ", "BDAT +1": "501 ", "BDAT 1 2 3": "501 ", "BDAT 1 FIRST": "501 ",
		"BDAT 10001": "552 5.3.4 ", "BDAT 99999999999999999999": "552 5.3.4 ", "BDAT 999999999999999999999999": "501 ",
	} {
		c := l.ready()
		c.send("%s\r\nMAIL FROM:<%s>\r\n", command, alice)
		if r := c.reply(); !strings.HasPrefix(r[0], want) {
			t.Errorf("%q: %q, want %q", command, r[0], want)
		}
		c.wantClosed()
	}
	for _, body := range []string{"a\nb", "a\rb", "a\x00b", "a\r"} {
		c := l.ready()
		c.send("BDAT %d LAST\r\n%s%s", len(letter+body), letter, body)
		c.want("550 5.6.0 ")
		c.wantClosed()
	}
	c := l.ready() // CR and LF apart, in two chunks: they belong together
	c.send("BDAT %d\r\n%sa\rBDAT 1 LAST\r\n\n", len(letter)+2, letter)
	c.want("250 ")
	c.want("250 2.0.0 ")
	l.wantMail(letter + "a\r\n")
}

// A chunk that breaks off is not a short message.
func TestBrokenOffMessages(t *testing.T) {
	l := newLab(t, Limits{})
	for _, begin := range []string{"DATA\r\n", fmt.Sprintf("BDAT %d LAST\r\n", len(letter)+10)} {
		c := l.ready()
		c.send("%s%sx\r\n", begin, letter)
		c.Close()
	}
	c := l.login()
	c.deliver(letter, "250 ")
	if err := l.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	l.wantMail(letter)
}
