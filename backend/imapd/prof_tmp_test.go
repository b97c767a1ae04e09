package imapd

import (
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
)

func BenchmarkProfTmp(b *testing.B) {
	if os.Getenv("IMAPD_IDLE_CLIENTS") != "" {
		return
	}
	l := newLab(b, func(s *Server) { s.Limits.PerAccount, s.Limits.PerAddress = 4000, 4000 })
	l.login().fill("INBOX", 10)
	idle(b, l, 2000)
	runtime.GC()
	runtime.GC()
	f, _ := os.Create("/tmp/heap.prof")
	pprof.Lookup("heap").WriteTo(f, 0)
	f.Close()
	g, _ := os.Create("/tmp/gor.txt")
	pprof.Lookup("goroutine").WriteTo(g, 1)
	g.Close()
	b.N = 1
}
