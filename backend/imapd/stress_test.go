package imapd

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// follower is a client that keeps its own view from what it is told, as a mail
// program does, and finds fault with whatever does not fit.
type follower struct {
	*client
	uids  []uint32          // 0 while not asked for
	flags map[uint32]string // as told
}

// give runs a command and applies what is told.
func (f *follower) give(command string, maySayExpunge bool) string {
	replies, answer := f.run(command)
	for _, r := range replies {
		f.apply(r, command, maySayExpunge)
	}
	return answer
}

func (f *follower) apply(reply, command string, maySayExpunge bool) {
	words := strings.Fields(reply)
	n, err := strconv.Atoi(words[1])
	if err != nil {
		return
	}
	switch words[2] {
	case "EXISTS":
		if n < len(f.uids) {
			f.t.Errorf("%s: EXISTS shrinks from %d to %d", command, len(f.uids), n)
		}
		for len(f.uids) < n {
			f.uids = append(f.uids, 0)
		}
	case "EXPUNGE":
		if n < 1 || n > len(f.uids) || !maySayExpunge {
			f.t.Errorf("%s: EXPUNGE %d of %d", command, n, len(f.uids))
			return
		}
		delete(f.flags, f.uids[n-1])
		f.uids = slices.Delete(f.uids, n-1, n)
	case "FETCH":
		f.fetched(n, reply, command)
	}
}

func (f *follower) fetched(n int, reply, command string) {
	if n < 1 || n > len(f.uids) {
		f.t.Errorf("%s: FETCH %d of %d", command, n, len(f.uids))
		return
	}
	if _, after, ok := strings.Cut(reply, "UID "); ok {
		var uid uint32
		fmt.Sscan(after, &uid)
		if f.uids[n-1] != 0 && f.uids[n-1] != uid {
			f.t.Errorf("%s: message %d was UID %d and is %d", command, n, f.uids[n-1], uid)
		}
		f.uids[n-1] = uid
	}
	if _, after, ok := strings.Cut(reply, "FLAGS ("); ok {
		flags, _, _ := strings.Cut(after, ")")
		f.flags[f.uids[n-1]] = flags
	}
}

// TestFollowers runs several such clients at once on one mailbox.
func TestFollowers(t *testing.T) {
	l := newLab(t, nil)
	l.login().fill("INBOX", 20)
	var all sync.WaitGroup
	followers := make([]*follower, 6)
	for i := range followers {
		f := &follower{client: l.login(), flags: make(map[uint32]string)}
		followers[i] = f
		f.ok([]string{"ENABLE CONDSTORE", "ENABLE IMAP4rev2", "NOOP"}[i%3])
		f.give("SELECT INBOX", true)
		f.give("UID FETCH 1:* FLAGS", true)
		random := rand.New(rand.NewPCG(uint64(i), 2))
		all.Go(func() {
			for range 150 {
				f.step(random)
			}
		})
	}
	all.Wait()
	for _, f := range followers {
		f.give("NOOP", true)
		told := f.known()
		f.give("UID FETCH 1:* FLAGS", true)
		now := f.known()
		for uid, flags := range told {
			if now[uid] != flags {
				t.Errorf("the client was told that UID %d has %s, it has %s", uid, flags, now[uid])
			}
		}
		if first := followers[0]; !slices.Equal(f.uids, first.uids) {
			t.Errorf("UIDs %v and %v", f.uids, first.uids)
		}
	}
}

// known lists the flags that were told of messages whose UID was.
func (f *follower) known() map[uint32]string {
	known := make(map[uint32]string)
	for uid, flags := range f.flags {
		words := slices.DeleteFunc(strings.Fields(flags), func(s string) bool { return s == `\Recent` })
		slices.Sort(words)
		if known[uid] = strings.Join(words, " "); uid == 0 {
			delete(known, uid)
		}
	}
	return known
}

// step does one thing a mail program does.
func (f *follower) step(random *rand.Rand) {
	some := func() int { return 1 + random.IntN(max(1, len(f.uids))) }
	if len(f.uids) == 0 {
		f.give("NOOP", true)
		f.fill("INBOX", 1)
		return
	}
	switch random.IntN(12) {
	case 0, 1:
		f.give("APPEND INBOX {10+}\r\nSubject: x", true)
	case 2:
		f.give(fmt.Sprintf("STORE %d +FLAGS (\\Deleted)", some()), false)
	case 3:
		f.give(fmt.Sprintf("STORE %d -FLAGS.SILENT (\\Deleted)", some()), false)
		f.give("UID FETCH 1:* FLAGS", true) // a silent change is the client's to note
	case 4, 5:
		f.give(fmt.Sprintf("STORE %d FLAGS (k%d)", some(), random.IntN(5)), false)
	case 6:
		f.give("EXPUNGE", true)
	case 7:
		f.give(fmt.Sprintf("FETCH %d (UID FLAGS BODY[])", some()), false)
	case 8:
		f.give(fmt.Sprintf("MOVE %d INBOX", some()), true)
	case 9:
		f.give("UID FETCH 1:* FLAGS", true)
	case 10:
		f.give("SEARCH ALL", false)
	case 11:
		f.give("NOOP", true)
	}
}

// A command that runs long ends when its client leaves, and only then.
func TestLeavingCancels(t *testing.T) {
	l := newLab(t, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	mine, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := newSession(context.Background(), l.Server, theirs)
	s.link.wait(l.Limits.Idle)
	err = s.watched(s.ctx, func(ctx context.Context) error {
		mine.Close()
		<-ctx.Done()
		return context.Cause(ctx)
	})
	if !errors.Is(err, errGone) {
		t.Errorf("ended with %v", err)
	}
}
