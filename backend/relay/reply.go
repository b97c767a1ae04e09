package relay

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

// What peers do wrong. Their words are in none of these.
var (
	errGarbage   = errors.New("the peer does not speak SMTP")
	errTalkative = errors.New("the peer sends more than a reply needs")
	errEarly     = errors.New("the peer answers what nobody has asked")
)

// closing is the reply of a peer that closes the connection (RFC 5321 section 3.8).
const closing = 421

// longest is how much of a peer's words is kept, in octets, and maxLine the longest
// line of a reply: RFC 5321 section 4.5.3.1.5 has 512, some send more.
const (
	longest = 500
	maxLine = 4096
)

// reply is what a peer answers (RFC 5321 section 4.2).
type reply struct {
	code     int
	enhanced string   // RFC 2034: "5.1.1"; "" for none that fits the code
	lines    []string // without code and enhanced; as the peer wrote them
}

// readReply reads one reply of at most size octets. r has a buffer of maxLine octets.
func readReply(r *bufio.Reader, size int) (reply, error) {
	var all reply
	for {
		line, err := r.ReadSlice('\n')
		size -= len(line)
		switch {
		case errors.Is(err, bufio.ErrBufferFull) || size < 0:
			return reply{}, errTalkative
		case errors.Is(err, io.EOF):
			return reply{}, io.ErrUnexpectedEOF
		case err != nil:
			return reply{}, err
		}
		code, text, more, ok := replyLine(strings.TrimRight(string(line), "\r\n"))
		if !ok || all.code != 0 && code != all.code {
			return reply{}, errGarbage
		}
		all.code = code
		if enhanced, rest, ok := enhancedCode(text, code); ok {
			all.enhanced, text = enhanced, rest
		}
		all.lines = append(all.lines, text)
		if !more {
			return all, nil
		}
	}
}

// replyLine reads a Reply-line (RFC 5321 section 4.2). A code alone is one too.
func replyLine(line string) (code int, text string, more, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '9' || line[2] < '0' || line[2] > '9' {
		return 0, "", false, false
	}
	code, _ = strconv.Atoi(line[:3]) // three digits
	if len(line) == 3 {
		return code, "", false, true
	}
	return code, line[4:], line[3] == '-', line[3] == '-' || line[3] == ' '
}

// enhancedCode takes the code of RFC 2034 section 4 off a text. Its class must be
// that of the reply.
func enhancedCode(text string, code int) (enhanced, rest string, ok bool) {
	enhanced, rest, _ = strings.Cut(text, " ")
	parts := strings.Split(enhanced, ".")
	if len(parts) != 3 || parts[0] != strconv.Itoa(code/100) || code/100 == 3 {
		return "", "", false
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" || len(p) > 1 && p[0] == '0' {
			return "", "", false
		}
	}
	return enhanced, rest, true
}

func (r reply) good() bool { return r.code/100 == 2 }

// status is the enhanced code, or the class alone.
func (r reply) status() string {
	if r.enhanced != "" {
		return r.enhanced
	}
	return strconv.Itoa(r.code/100) + ".0.0"
}

// tooMany reports whether a recipient may come in another transaction (RFC 5321
// section 4.5.3.1.10).
func (r reply) tooMany() bool {
	return r.code == 452 && (r.enhanced == "" || r.enhanced == "4.5.3")
}

// diagnostic is the reply as people get to see it, "" for none.
func (r reply) diagnostic() string {
	if r.code == 0 {
		return ""
	}
	words := append([]string{strconv.Itoa(r.code), r.enhanced}, r.lines...)
	return clean(strings.Join(strings.Fields(strings.Join(words, " ")), " "), longest)
}

// clean makes of a stranger's text one short line of ASCII.
func clean(text string, size int) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, text[:min(len(text), size)])
	return text
}
