package relay_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/backend/relay"
	"telesphore/storage"
)

func TestConnectionsAreUsedAgain(t *testing.T) {
	p := (&peer{}).serve(t)
	r := plain(p.addr)
	r.Limits.Uses = 4
	for range 10 {
		expect(t, send(t, r, transfer(mail, to)), "relayed")
	}
	r.Close()
	if p.connections() != 3 || len(p.got()) != 10 || len(p.heard("RSET")) != 0 || len(p.heard("EHLO")) != 3 || len(p.heard("QUIT")) != 3 {
		t.Errorf("%d connections, the peer heard %q", p.connections(), p.heard(""))
	}
	// Closed for keeping, not for sending.
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	if p.connections() != 5 {
		t.Errorf("%d connections, want one each", p.connections())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestConnectionsOfTwoMessagesAtOnce(t *testing.T) {
	p := (&peer{}).serve(t)
	r := plain(p.addr)
	r.Limits.Kept = 2
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if o := r.Send(t.Context(), transfer(mail, to))[0]; o.Action != storage.Relayed {
					t.Errorf("%s, %v", told(o), o.Cause)
				}
			}
		})
	}
	all.Wait()
	r.Close()
	if n := len(p.got()); n != 160 {
		t.Errorf("%d messages arrived", n)
	}
	if n := p.connections(); n > 150 {
		t.Errorf("%d connections", n)
	}
}

func TestIdleConnectionSaysGoodbye(t *testing.T) {
	quit := make(chan struct{})
	p := (&peer{answer: func(line string) string {
		if line == "QUIT" {
			close(quit)
		}
		return ""
	}}).serve(t)
	r := plain(p.addr)
	r.Limits.Idle = 20 * time.Millisecond
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	<-quit
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	if p.connections() != 2 {
		t.Errorf("%d connections", p.connections())
	}
}

func TestPeerThatStallsAtTheEndDelaysNobody(t *testing.T) {
	p := (&peer{answer: replying("QUIT", stall)}).serve(t)
	r := plain(p.addr)
	r.Limits.Uses, r.Limits.Quit = 1, 50*time.Millisecond
	for range 3 {
		expect(t, send(t, r, transfer(mail, to)), "relayed")
	}
	r.Close()
	if len(p.got()) != 3 {
		t.Errorf("the peer got %q", p.got())
	}
}

func TestConnectionThatEndedWhileItWaited(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(p *peer) // makes the waiting connection useless
		reply string        // to the second MAIL or DATA
	}{
		"closed":          {func(p *peer) { p.hangUp() }, ""},
		"421 at MAIL":     {nil, "421 4.4.2 idle too long"},
		"450 at MAIL":     {nil, "450 4.7.1 enough for one connection"},
		"550 at MAIL":     {nil, "550 5.7.1 too many messages over this connection"},
		"drops at MAIL":   {nil, drop},
		"garbage at MAIL": {nil, "what"},
	} {
		mails := 0
		p := &peer{offer: []string{"PIPELINING"}}
		p.answer = func(line string) string {
			if strings.HasPrefix(line, "MAIL") {
				if mails++; mails == 2 {
					return c.reply
				}
			}
			return ""
		}
		p.serve(t)
		r := plain(p.addr)
		expect(t, send(t, r, transfer(mail, to)), "relayed")
		if c.end != nil {
			c.end(p)
		}
		expect(t, send(t, r, transfer(mail, to)), "relayed")
		r.Close()
		if len(p.got()) != 2 || p.connections() != 2 {
			t.Errorf("%s: %d messages, %d connections", name, len(p.got()), p.connections())
		}
	}
	// Behind the message nothing is sent twice.
	ends := 0
	p := (&peer{answer: func(line string) string {
		if line == "." {
			if ends++; ends == 2 {
				return drop
			}
		}
		return ""
	}}).serve(t)
	r := plain(p.addr)
	expect(t, send(t, r, transfer(mail, to)), "relayed")
	expect(t, send(t, r, transfer(mail, to)), "delayed 4.4.2")
	r.Close()
	if p.connections() != 1 || len(p.heard("DATA")) != 2 {
		t.Errorf("%d connections, the peer heard %q", p.connections(), p.heard(""))
	}
}

func TestConnectionsAreNotSharedAcrossRoutes(t *testing.T) {
	p := (&peer{}).serve(t)
	r := plain(p.addr)
	_, port, _ := strings.Cut(p.addr, ":")
	r.Routes = append(r.Routes,
		relay.Route{Domain: "same.test", Host: p.addr, Security: relay.None},
		relay.Route{Domain: "name.test", Host: "localhost:" + port, Security: relay.None})
	for _, domain := range []string{"perso.test", "same.test", "name.test"} {
		expect(t, send(t, r, transfer(mail, "a@"+domain)), "relayed")
	}
	r.Close()
	if p.connections() != 2 {
		t.Errorf("%d connections, want 2", p.connections())
	}
	var rcpts []string
	for _, l := range p.got() {
		rcpts = append(rcpts, l.to...)
	}
	if !slices.Equal(rcpts, []string{"<a@perso.test>", "<a@same.test>", "<a@name.test>"}) {
		t.Errorf("recipients %q", rcpts)
	}
}
