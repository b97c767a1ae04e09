package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"telesphore/storage"
)

// The crash test runs the demo in a process of its own, lets 16 clients hand it
// messages, half by SMTP and half by IMAP APPEND, kills it, and cuts or scrambles what
// no sync of the log had covered, as a power cut may. Whatever was acknowledged
// must be there afterwards, and the store must be whole.
const (
	crashRounds  = 20
	crashWriters = 16
)

// crashServer is the program that is killed: the demo, which notes each sync of
// its log.
func crashServer() {
	if err := runCrashServer(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runCrashServer(dir, ports string) error {
	base, err := strconv.Atoi(ports)
	if err != nil {
		return err
	}
	ctx := context.Background()
	d := &demo{dir: dir, portBase: base, lang: "en"}
	if err := d.directory(); err != nil {
		return err
	}
	o := d.first // its store is enough
	for _, each := range d.operators() {
		if each.lock, err = lockDirectory(each.dir); err != nil {
			return err
		}
	}
	if err := d.world(); err != nil {
		return err
	}
	if err := o.configure(); err != nil {
		return err
	}
	if err := noteSyncs(&o.config.Bodies, filepath.Join(dir, syncedFile)); err != nil {
		return err
	}
	if err := o.open(ctx); err != nil {
		return err
	}
	return o.server.serve(ctx, func() error {
		octets, err := json.Marshal(demoFile{Operator: o.told(), Accounts: o.accounts})
		if err != nil {
			return err
		}
		return writeFile(d.file(demoReady), octets)
	})
}

func TestCrash(t *testing.T) {
	c := &crash{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(1, 2))}
	for range crashRounds {
		c.round("")
		if problems := c.problems(); len(problems) > 0 {
			t.Fatalf("after %d rounds and %d acknowledged messages:\n%s", c.rounds, len(c.acknowledged), strings.Join(problems, "\n"))
		}
	}
	t.Logf("%d rounds, %d acknowledged messages, none lost; %d were kept that had not been acknowledged",
		c.rounds, len(c.acknowledged), c.extra)
}

// TestCrashCatchesALie is the negative control: a log that skips syncs must be found out.
func TestCrashCatchesALie(t *testing.T) {
	c := &crash{t: t, dir: t.TempDir(), random: rand.New(rand.NewPCG(3, 4))}
	for range crashRounds {
		c.round(lieVariable + "=1")
		if problems := c.problems(); len(problems) > 0 {
			t.Logf("found out in round %d: %s", c.rounds, problems[0])
			return
		}
	}
	t.Errorf("%d rounds with skipped syncs lost nothing: this test proves nothing", c.rounds)
}

type crash struct {
	t      *testing.T
	dir    string
	random *rand.Rand
	rounds int
	extra  int

	mu           sync.Mutex
	acknowledged map[string]bool // guarded by mu; marks of messages
	sent         int             // guarded by mu
}

// round starts the server, writes, kills it in the middle and hurts its log.
func (c *crash) round(env string) {
	t := c.t
	t.Helper()
	c.rounds++
	base, err := freePorts()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(c.dir, demoReady))
	// A round that is killed before its first sync must not be hurt by the note
	// of the round before: what lies behind that one has been synced since.
	os.Remove(filepath.Join(c.dir, syncedFile))
	var said strings.Builder
	cmd := &exec.Cmd{
		Path: program, Args: []string{"crashserver", c.dir, strconv.Itoa(base)},
		Env: append(os.Environ(), env), Stdout: &said, Stderr: &said,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	ready := c.await(ended)
	if ready == nil {
		cmd.Process.Kill()
		<-ended
		t.Fatalf("the server did not start:\n%s", said.String())
	}
	life := time.Duration(300+c.random.IntN(400)) * time.Millisecond
	var writers sync.WaitGroup
	for n := range crashWriters {
		writers.Go(func() { c.write(ready, n) })
	}
	select {
	case <-time.After(life):
	case <-ended:
		t.Fatalf("the server ended by itself:\n%s", said.String())
	}
	cmd.Process.Kill()
	<-ended
	writers.Wait()
	if err := cutPower(c.random, c.dir, filepath.Join(c.dir, syncedFile)); err != nil {
		t.Fatal(err)
	}
}

// ready is what demo.json tells.
type ready struct {
	Operator struct{ IMAPS, Submissions string }
	Accounts []demoAccount
}

// await returns when demo.json appears; nil when it does not.
func (c *crash) await(ended <-chan struct{}) *ready {
	timeout := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return nil
		case <-timeout:
			return nil
		case <-tick.C:
			octets, err := os.ReadFile(filepath.Join(c.dir, demoReady))
			if err != nil {
				continue
			}
			r := new(ready)
			if json.Unmarshal(octets, r) == nil {
				return r
			}
		}
	}
}

// write hands messages over until the server is gone.
func (c *crash) write(r *ready, n int) {
	a := r.Accounts[n%len(r.Accounts)]
	address, talk := r.Operator.IMAPS, c.append
	if n%2 == 0 {
		address, talk = r.Operator.Submissions, c.submit
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return // killed before it began
	}
	defer conn.Close()
	l := &dialogue{conn, bufio.NewReader(conn)}
	if talk(l, a, n) != nil {
		return
	}
}

// mark names a new message; its message carries noise, so that some fill chunks and some do not.
func (c *crash) message(a demoAccount) (mark, octets string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent++
	mark = fmt.Sprintf("mark-%d-%d.", c.rounds, c.sent)
	return mark, fmt.Sprintf("From: %s\r\nSubject: %s\r\n\r\n%s", a.Address, mark, noisyText(c.random, 17))
}

func (c *crash) acknowledge(mark string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acknowledged == nil {
		c.acknowledged = map[string]bool{}
	}
	c.acknowledged[mark] = true
}

// dialogue is a connection that speaks in lines.
type dialogue struct {
	io.Writer
	r *bufio.Reader
}

// ask sends text and reads to the line that begins with want; another code is an error.
func (l *dialogue) ask(text, want string) error {
	if _, err := io.WriteString(l, text); err != nil {
		return err
	}
	for {
		line, err := l.r.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, want) {
			return nil
		}
		if !strings.HasPrefix(line, "* ") && !strings.HasPrefix(line, want[:1]) {
			return errors.New("refused: " + line)
		}
	}
}

// submit sends messages over SMTP, each to two recipients.
func (c *crash) submit(l *dialogue, a demoAccount, n int) error {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + a.Address + "\x00" + a.Password))
	err := errors.Join(l.ask("", "220"), l.ask("EHLO test\r\n", "250 "), l.ask("AUTH PLAIN "+plain+"\r\n", "235"))
	for err == nil {
		mark, octets := c.message(a)
		err = errors.Join(
			l.ask("MAIL FROM:<"+a.Address+">\r\n", "250"),
			l.ask("RCPT TO:<medecin@hopital.test>\r\n", "250"),
			l.ask("RCPT TO:<labo@hopital.test>\r\n", "250"),
			l.ask("DATA\r\n", "354"),
		)
		if err == nil {
			if err = l.ask(octets+".\r\n", "250"); err == nil {
				c.acknowledge(mark)
			}
		}
	}
	return err
}

// append files messages by IMAP and, now and then, moves flags and expunges another one.
func (c *crash) append(l *dialogue, a demoAccount, n int) error {
	err := errors.Join(l.ask("", "* OK"), l.ask(fmt.Sprintf("a LOGIN %s %s\r\n", a.Address, a.Password), "a OK"))
	for err == nil {
		mark, octets := c.message(a)
		if err = l.ask(fmt.Sprintf("b APPEND Archive (\\Seen $Crash) {%d+}\r\n%s\r\n", len(octets), octets), "b OK"); err != nil {
			break
		}
		c.acknowledge(mark)
		if n%4 == 1 {
			err = errors.Join(
				l.ask("c SELECT Archive\r\n", "c OK"),
				l.ask("d UID STORE * +FLAGS (\\Flagged)\r\n", "d OK"),
				l.ask("e UID COPY * Junk\r\n", "e OK"),
			)
		}
	}
	return err
}

// problems opens the store as a restart does and tells what is not as it must be.
func (c *crash) problems() (found []string) {
	t := c.t
	t.Helper()
	ctx := t.Context()
	config, err := loadConfig(filepath.Join(c.dir, demoConfig))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{config: config, logger: slog.New(slog.DiscardHandler)}
	if err := s.openStore(ctx); err != nil {
		return []string{"open: " + err.Error()}
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	report := func(problem string) { found = append(found, problem) }
	if err := s.store.Verify(ctx, report); err != nil {
		report("verify: " + err.Error())
	}
	kept, err := marks(ctx, s.store)
	if err != nil {
		report("read: " + err.Error())
	}
	for mark := range c.acknowledged {
		if !kept[mark] {
			report("lost: " + mark)
		}
	}
	c.extra = len(kept) - len(c.acknowledged)
	return found
}

// marks reads every message and collects their marks.
func marks(ctx context.Context, s *storage.Store) (map[string]bool, error) {
	type message struct {
		account storage.AccountID
		object  storage.ObjectID
	}
	var all []message
	err := s.View(ctx, func(t *storage.Tx) error {
		var ids []storage.AccountID
		if err := t.Accounts(func(a *storage.Account) bool { ids = append(ids, a.ID); return true }); err != nil {
			return err
		}
		for _, a := range ids {
			boxes, err := t.Mailboxes(a)
			if err != nil {
				return err
			}
			for _, m := range boxes {
				err := t.Placements(a, m.ID, storage.AllUIDs, func(p *storage.Placement) bool {
					all = append(all, message{a, p.Object})
					return true
				})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	kept := map[string]bool{}
	pattern := regexp.MustCompile(`mark-\d+-\d+\.`)
	for _, m := range all {
		if err != nil {
			return kept, err
		}
		var b *storage.Body
		if b, err = s.Open(ctx, m.account, m.object); err != nil {
			continue
		}
		octets := make([]byte, min(b.Size(), 2000))
		if _, err = b.ReadAt(octets, 0); err == nil || err == io.EOF {
			kept[pattern.FindString(string(octets))] = true
			err = nil
		}
		b.Close()
	}
	return kept, err
}
