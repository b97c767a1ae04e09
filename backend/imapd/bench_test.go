package imapd

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"telesphore/backend/message"
	"telesphore/storage"
)

// memoryOf returns the resident memory of a process, in KiB.
func memoryOf(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib
}

// BenchmarkIdleMemory holds connections in IDLE over TLS, each with a mailbox
// selected, and reports what one costs the server: heap in use, stacks, and
// resident memory. The clients live in a process of their own.
func BenchmarkIdleMemory(b *testing.B) {
	const many = 1000
	for range b.N {
		l := newLab(b, func(s *Server) {
			s.Limits.PerAccount, s.Limits.PerAddress = 2*many, 2*many
		})
		l.login().fill("INBOX", 10)
		idle(b, l, 50) // what is needed once
		before := measure(b)
		idle(b, l, many)
		after := measure(b)
		b.ReportMetric((after.heap-before.heap)/many, "heap-KiB/conn")
		b.ReportMetric((after.stack-before.stack)/many, "stack-KiB/conn")
		b.ReportMetric((after.rss-before.rss)/many, "rss-KiB/conn")
	}
}

type memory struct{ heap, stack, rss float64 }

func measure(b *testing.B) memory {
	b.Helper()
	var m runtime.MemStats
	for range 3 { // stacks shrink by half at each collection
		debug.FreeOSMemory()
	}
	runtime.ReadMemStats(&m)
	return memory{float64(m.HeapInuse) / 1024, float64(m.StackInuse) / 1024, memoryOf(b, os.Getpid())}
}

// idle starts a process with many clients in IDLE and waits until they are.
func idle(b *testing.B, l *lab, many int) {
	b.Helper()
	ca := b.TempDir() + "/ca.pem"
	cert, _, err := l.trust.PEM()
	if err == nil {
		err = os.WriteFile(ca, cert, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleClients$", "-test.v")
	cmd.Env = append(os.Environ(), "IMAPD_IDLE_CLIENTS="+l.secure, "IMAPD_IDLE_CA="+ca, "IMAPD_IDLE_MANY="+strconv.Itoa(many))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	waitFor(b, out, "all idle")
}

// BenchmarkNoop is one small command on a connection over TLS.
func BenchmarkNoop(b *testing.B) {
	l := newLab(b, nil)
	c := l.dialTLS()
	c.ok("LOGIN " + user + " " + password)
	c.ok("SELECT INBOX")
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	for b.Loop() {
		c.send("a NOOP")
		c.want("a OK NOOP completed")
	}
}

// BenchmarkIdleLatency is the time from an APPEND's begin to the news of it in
// another session's IDLE.
func BenchmarkIdleLatency(b *testing.B) {
	l := newLab(b, nil)
	c, other := l.open("INBOX"), l.login()
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	other.conn.SetDeadline(time.Now().Add(time.Hour))
	c.send("i IDLE")
	c.want("+ idling")
	var late time.Duration
	for b.Loop() {
		other.fill("INBOX", 1)
		answered := time.Now()
		c.want("* … EXISTS", "* … RECENT")
		late += time.Since(answered)
	}
	b.ReportMetric(float64(late.Microseconds())/float64(b.N), "µs-after-OK")
}

// BenchmarkSelect selects a mailbox of 100,000 messages.
func BenchmarkSelect(b *testing.B) {
	l := newLab(b, nil)
	big := l.login()
	big.conn.SetDeadline(time.Now().Add(time.Hour))
	big.ok("CREATE big")
	big.fill("big", 1000)
	big.ok("SELECT big")
	for n := 1000; n < 100_000; n *= 10 {
		for range 9 {
			big.ok(fmt.Sprintf("COPY 1:%d big", n))
		}
	}
	big.ok("STORE 1:* +FLAGS.SILENT (\\Seen)")
	c := l.login()
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	b.Run("warm", func(b *testing.B) {
		for b.Loop() {
			c.ok("SELECT big")
		}
	})
	big.ok("CLOSE")
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			c.ok("SELECT INBOX")
			runtime.GC() // the shared list of UIDs goes
			c.ok("SELECT big")
		}
	})
	b.Run("flags", func(b *testing.B) {
		for b.Loop() {
			c.ok("FETCH 1:* (FLAGS)")
		}
	})
}

// BenchmarkAppend appends 4 KiB messages over TLS, one after another, and
// reports how much longer that takes than filing them without a protocol.
func BenchmarkAppend(b *testing.B) {
	l := newLab(b, nil)
	c := l.dialTLS()
	c.ok("LOGIN " + user + " " + password)
	c.conn.SetDeadline(time.Now().Add(time.Hour))
	octets := []byte("From: a@hopital.test\r\nSubject: rendez-vous\r\n\r\n" + strings.Repeat("une ligne de texte comme une autre\r\n", 110))
	command := fmt.Sprintf("APPEND INBOX (\\Seen) {%d+}\r\n%s", len(octets), octets)
	var direct, wire time.Duration
	for b.Loop() {
		start := time.Now()
		c.send("a " + command)
		c.want("a OK … APPEND completed")
		wire += time.Since(start)
		start = time.Now()
		meta := message.Describe(octets)
		content, err := l.Store.Seal(octets, meta.Marshal(message.MetaLimit))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := l.Store.Accept(b.Context(), content, &storage.Acceptance{Targets: []storage.Target{{Account: l.account, InternalDate: start}}}); err != nil {
			b.Fatal(err)
		}
		direct += time.Since(start)
	}
	b.ReportMetric(float64(wire.Microseconds())/float64(b.N), "us-wire")
	b.ReportMetric(float64(direct.Microseconds())/float64(b.N), "us-direct")
}
