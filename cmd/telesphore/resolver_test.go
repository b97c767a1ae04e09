package main

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// A name server that says nothing is given up when the configuration says so.
func TestNameServerThatIsSilent(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ln, err := net.Listen("tcp", silent.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := &Config{DNS: DNSConfig{Servers: []string{silent.LocalAddr().String()}, Timeout: 10 * time.Millisecond}}
	for _, network := range []string{"udp", "tcp"} {
		conn, err := c.resolver().Dial(t.Context(), network, "ignored:53")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, ok := conn.(net.PacketConn); ok != (network == "udp") {
			t.Errorf("%s: packets: %v", network, ok) // how net.Resolver writes its question
		}
		if err := conn.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 512)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", network, err)
		}
	}
	_, err = c.resolver().LookupTXT(t.Context(), "hopital.test.")
	if failed, ok := errors.AsType[*net.DNSError](err); !ok || !failed.IsTimeout {
		t.Errorf("asked: %v", err)
	}
}
