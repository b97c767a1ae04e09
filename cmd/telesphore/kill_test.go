package main

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/backend/admind"
)

// The kill test has both operators of the demo in processes of their own. Senders hand
// messages in at both, for accounts of the other one, while one or the other is killed and
// loses what no sync of its log had covered. In the end nothing that was
// acknowledged may be missing, and what came twice must have a kill for a cause: SMTP
// leaves the sender in doubt when the reply to a message is lost (RFC 1047).
const (
	killMessages  = 300
	killKills     = 6
	killSenders   = 4 // at each operator
	killVariable  = "TELESPHORE_KILL"
	killPerKill   = 50              // messages, when the variable says how many
	killSlow      = 2 * time.Minute // what takes longer is stuck
	killImpatient = 100 * time.Millisecond
)

// killServer is the program that is killed: `telesphore serve`, which notes each sync of
// its log, tells all it does and does not wait long.
func killServer() {
	if err := runKillServer(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runKillServer(config, note string) error {
	ctx := context.Background()
	c, err := loadConfig(config)
	if err != nil {
		return err
	}
	c.Log.Level = "info"
	c.Queue.First, c.Queue.FirstShort, c.Queue.Longest = killImpatient, killImpatient, 10*killImpatient
	c.Queue.Gather = killImpatient
	c.Bodies.SegmentSize = 256 << 10 // so that segments are closed and compacted too
	c.Sending.Messages, c.Sending.First = 1_000_000, 1_000_000
	if err := noteSyncs(&c.Bodies, note); err != nil {
		return err
	}
	lock, err := lockDirectory(c.Data)
	if err != nil {
		return err
	}
	s, err := build(ctx, c, lock)
	if err != nil {
		return err
	}
	return s.serve(ctx, func() error { s.logger.Info("ready"); return nil })
}

func TestKill(t *testing.T) {
	messages, kills := killMessages, killKills
	if text := os.Getenv(killVariable); text != "" {
		var err error
		if messages, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		kills = max(killKills, messages/killPerKill)
	}
	begin := time.Now()
	k := newKilling(t, 5, "")
	k.run(messages, kills)
	if err := k.drained(killSlow); err != nil {
		t.Error(err)
	}
	k.powerOff()
	for _, problem := range k.problems() {
		t.Error(problem)
	}
	t.Logf("%v: %s", time.Since(begin).Round(time.Second), k.figures())
}

// TestKillCatchesALie is the negative control: logs that skip syncs must be found out.
func TestKillCatchesALie(t *testing.T) {
	k := newKilling(t, 6, lieVariable+"=1")
	k.run(100, 4)
	_ = k.drained(3 * time.Second) // what cannot be read any more stays in the queue
	k.powerOff()
	problems := k.problems()
	lost := slices.IndexFunc(problems, func(p string) bool { return strings.HasPrefix(p, "lost: ") })
	if lost < 0 {
		t.Fatalf("skipped syncs lost nothing: this test proves nothing\n%s", strings.Join(problems, "\n"))
	}
	t.Logf("found out: %s and %d more problems", problems[lost], len(problems)-1)
}

// killing is one run.
type killing struct {
	t       *testing.T
	random  *rand.Rand // of the one who kills
	cuts    *rand.Rand // of what a power cut takes
	demo    *demo      // the world around the operators
	victims []*victim
	early   int // kills of a server that was not ready yet

	causes   map[string]int // why something was handed over once more; how often
	doubtful int            // messages that were kept though nobody acknowledged them
	slowest  time.Duration  // between a message's arrival and a kill that nothing was written down before

	mu           sync.Mutex
	texts        *rand.Rand          // guarded by mu
	handed       map[string]*handout // guarded by mu; by Message-ID
	acknowledged int                 // guarded by mu; of them
	failed       error               // guarded by mu; of a sender
}

// victim is an operator that is killed.
type victim struct {
	*operator
	env  string
	work chan struct{} // messages to be handed in
	runs []*process    // one after the other
	dead []death       // of each of them
}

// death is when a process was killed: after begin and before end.
type death struct{ begin, end time.Time }

func (d death) between(begin, end time.Time) bool { return d.end.After(begin) && d.begin.Before(end) }

func newKilling(t *testing.T, seed uint64, env string) *killing {
	t.Helper()
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	k := &killing{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), texts: rand.New(rand.NewPCG(seed, 2)), cuts: rand.New(rand.NewPCG(seed, 3)),
		handed: map[string]*handout{},
		demo:   &demo{dir: t.TempDir(), portBase: base, lang: "en"},
	}
	t.Cleanup(func() {
		for _, v := range k.victims {
			if len(v.runs) > 0 {
				v.runs[len(v.runs)-1].kill()
			}
		}
		if err := k.demo.close(); err != nil {
			t.Error(err)
		}
	})
	// The demo makes accounts and configurations, and stays as the world around them.
	if err := k.demo.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, o := range k.demo.operators() {
		if err := o.server.close(); err != nil {
			t.Fatal(err)
		}
		k.victims = append(k.victims, &victim{operator: o, env: env, work: make(chan struct{}, 10_000)})
	}
	for _, v := range k.victims {
		k.start(v)
	}
	return k
}

// note is where a victim notes its syncs.
func (v *victim) note() string { return v.file(syncedFile) }

// start starts a victim, and does not wait until it is ready.
func (k *killing) start(v *victim) {
	k.t.Helper()
	// Who is killed before the first sync must not be hurt by the note of the run before:
	// what lies behind that one has been synced since.
	os.Remove(v.note())
	p, err := startProgram(v.domain, v.dir, append(os.Environ(), v.env), "killserver", filepath.Join(v.dir, demoConfig), v.note())
	if err != nil {
		k.t.Fatal(err)
	}
	v.runs = append(v.runs, p)
}

func (k *killing) ready(v *victim) {
	k.t.Helper()
	if err := v.runs[len(v.runs)-1].await("msg=ready"); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killing) kill(v *victim) {
	k.t.Helper()
	p := v.runs[len(v.runs)-1]
	select {
	case <-p.done:
		k.t.Fatalf("%s ended by itself:\n%s", v.domain, p.output())
	default:
	}
	d := death{begin: time.Now()}
	p.cmd.Process.Kill()
	<-p.done
	d.end = time.Now()
	v.dead = append(v.dead, d)
	if !strings.Contains(p.output(), "msg=ready") {
		k.early++
	}
	if err := cutPower(k.cuts, v.dir, v.note()); err != nil {
		k.t.Fatal(err)
	}
}

// run hands messages in, in as many portions as there are kills, and kills in the
// middle of each. One kill of six comes when all is handed in, while the queues run empty.
func (k *killing) run(messages, kills int) {
	k.t.Helper()
	var senders sync.WaitGroup
	done := sync.OnceFunc(func() {
		for _, v := range k.victims {
			close(v.work)
		}
	})
	defer done()
	for _, v := range k.victims {
		k.ready(v)
		for range killSenders {
			senders.Go(func() { k.hand(v) })
		}
	}
	late := max(1, kills/6)
	portion := (messages + kills - late - 1) / (kills - late)
	for range kills - late {
		before := k.count()
		for m := range portion {
			k.victims[m%2].work <- struct{}{}
		}
		k.await(before + k.random.IntN(portion))
		k.strike()
	}
	done()
	senders.Wait()
	if err := k.trouble(); err != nil {
		k.t.Fatal(err)
	}
	for range late {
		k.strike()
	}
	for _, v := range k.victims {
		k.ready(v)
	}
}

// strike kills somebody after a moment, and at times once more while it starts.
func (k *killing) strike() {
	v := k.victims[k.random.IntN(2)]
	k.pause(100)
	k.kill(v)
	k.pause(200)
	k.start(v)
	if k.random.IntN(3) == 0 {
		k.pause(80)
		k.kill(v)
		k.start(v)
	}
	if k.random.IntN(4) > 0 { // else the other one may be next
		k.ready(v)
	}
}

// pause waits for so many milliseconds, at most.
func (k *killing) pause(most int) {
	<-time.After(time.Duration(k.random.IntN(most)) * time.Millisecond)
}

// await returns when so many messages have been acknowledged.
func (k *killing) await(count int) {
	k.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); k.count() < count; <-tick.C {
		if err := k.trouble(); err != nil || time.Since(begin) > killSlow {
			k.t.Fatalf("%d messages were acknowledged, %d were to be: %v", k.count(), count, err)
		}
	}
}

func (k *killing) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.acknowledged
}

func (k *killing) trouble() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// drained returns when both queues are empty. A message goes from one to the other, and its
// notice back again: who looks three times misses nothing.
func (k *killing) drained(limit time.Duration) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); ; <-tick.C {
		left := []string{}
		for _, v := range []*victim{k.victims[0], k.victims[1], k.victims[0]} {
			queue, err := v.queue(k.t.Context())
			if err != nil {
				return fmt.Errorf("look at the queue of %s: %w", v.domain, err)
			}
			for _, m := range queue {
				left = append(left, fmt.Sprintf("%s: left in the queue: %s from %s, %s, %s", v.domain, m.Name, cmp.Or(m.Sender, "<>"), m.State, m.Reason))
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case time.Since(begin) > limit:
			return fmt.Errorf("%d messages are left after %v:\n%s", len(left), limit, strings.Join(left, "\n"))
		}
	}
}

// queue is the first page of what a victim has still to send.
func (v *victim) queue(ctx context.Context) ([]admind.Queued, error) {
	a := &admin{config: v.config.path}
	res, err := a.ask(ctx, &admind.Request{Op: admind.QueueList})
	if err != nil {
		return nil, err
	}
	return res.Queue, nil
}

// powerOff ends both as all their runs ended.
func (k *killing) powerOff() {
	k.t.Helper()
	for _, v := range k.victims {
		k.kill(v)
	}
}
