package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"
)

// This file is the kill test's senders.

// handout is a message that a sender hands in.
type handout struct {
	id     string // Message-ID
	from   string
	to     []string
	notice bool // of success, for each recipient
	octets string

	acknowledged bool
}

// recipients are whom an operator's sender writes to, in turn: one elsewhere,
// several there, one of them at home.
func (v *victim) recipients(n int) []string {
	switch {
	case n%4 == 2:
		return []string{v.other.person(), "secretariat@" + demoDomain}
	case n%4 == 3 && v.domain == demoPeer:
		return []string{v.other.person(), "medecin@" + demoDomain}
	case n%4 == 3:
		return []string{v.other.person(), "medecin@" + demoDomain, "labo@" + demoDomain}
	}
	return []string{v.other.person()}
}

// person is who writes from here: he has a card.
func (o *operator) person() string {
	if o.domain == demoPeer {
		return "pharmacie@" + o.domain
	}
	return "cardiologue@" + o.domain
}

// handout makes a new message. One that was not acknowledged is never sent again, so that no doubt
// but the servers' makes copies.
func (k *killing) handout(v *victim) *handout {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.handed) + 1
	size := 15
	if n%25 == 0 {
		size = 20 // more than a server holds in memory
	}
	h := &handout{id: fmt.Sprintf("<kill-%d@poste.test>", n), from: v.person(), to: v.recipients(n), notice: n%4 != 0}
	k.handed[h.id] = h
	h.octets = fmt.Sprintf("From: %s\r\nTo: %s\r\nMessage-ID: %s\r\nSubject: essai\r\n\r\n%s", h.from, strings.Join(h.to, ", "), h.id, noisyText(k.texts, size))
	return h
}

// hand hands messages in as long as there is work. Each takes as many tries as it needs.
func (k *killing) hand(v *victim) {
	var l *letterbox
	defer func() { l.close() }()
	for range v.work {
		for acknowledged := false; !acknowledged && k.trouble() == nil && k.t.Context().Err() == nil; {
			if l == nil {
				l = v.dial(k)
			}
			if l == nil {
				<-time.After(10 * time.Millisecond) // it is down
				continue
			}
			h := k.handout(v)
			refused, err := l.hand(h)
			if refused {
				k.fail(fmt.Errorf("%s refused a message: %w", v.domain, err))
				return
			}
			if acknowledged = err == nil; acknowledged {
				k.acknowledge(h)
			} else {
				l.close()
				l = nil
			}
		}
	}
}

func (k *killing) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
}

func (k *killing) acknowledge(h *handout) {
	k.mu.Lock()
	defer k.mu.Unlock()
	h.octets, h.acknowledged = "", true
	k.acknowledged++
}

// letterbox is a connection at which somebody is logged in with a card.
type letterbox struct {
	dialogue
	conn net.Conn
}

func (l *letterbox) close() {
	if l != nil {
		l.conn.Close()
	}
}

// dial connects, nil when nobody answers.
func (v *victim) dial(k *killing) *letterbox {
	card, err := v.identity()
	if err != nil {
		k.fail(err)
		return nil
	}
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{card}}}
	conn, err := d.DialContext(k.t.Context(), "tcp", v.config.Listen.Submissions)
	if err != nil {
		return nil
	}
	l := &letterbox{dialogue{conn, bufio.NewReader(conn)}, conn}
	for _, step := range [][2]string{{"", "220"}, {"EHLO poste.test\r\n", "250 "}, {"AUTH EXTERNAL =\r\n", "235"}} {
		if _, err := l.say(step[0], step[1]); err != nil {
			l.close()
			return nil
		}
	}
	return l
}

// identity is the card of the operator's sender.
func (v *victim) identity() (tls.Certificate, error) {
	for _, a := range v.accounts {
		if a.Address == v.person() {
			return tls.LoadX509KeyPair(a.Cert, a.Key)
		}
	}
	return tls.Certificate{}, fmt.Errorf("%s has no account", v.person())
}

// say asks within the time that anything may take.
func (l *letterbox) say(text, want string) (refused bool, err error) {
	if err := l.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	err = l.ask(text, want)
	return err != nil && strings.HasPrefix(err.Error(), "refused: "), err
}

// hand hands one message in. An error without a refusal leaves in doubt whether it was taken.
func (l *letterbox) hand(h *handout) (refused bool, err error) {
	option := ""
	if h.notice {
		option = " NOTIFY=SUCCESS,FAILURE,DELAY"
	}
	steps := [][2]string{{"MAIL FROM:<" + h.from + ">\r\n", "250"}}
	for _, to := range h.to {
		steps = append(steps, [2]string{"RCPT TO:<" + to + ">" + option + "\r\n", "250"})
	}
	steps = append(steps, [2]string{"DATA\r\n", "354"}, [2]string{h.octets + ".\r\n", "250"})
	for _, step := range steps {
		if refused, err = l.say(step[0], step[1]); err != nil {
			break
		}
	}
	return refused, err
}
