package imapd

import (
	"bufio"
	cryptotls "crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// waitFor reads lines until one holds word.
func waitFor(t testing.TB, r io.Reader, word string) {
	t.Helper()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if strings.Contains(lines.Text(), word) {
			return
		}
	}
	t.Fatalf("%q never came", word)
}

// TestIdleClients is no test but the other process of BenchmarkIdleMemory: it
// holds connections until its standard input ends.
func TestIdleClients(t *testing.T) {
	addr := os.Getenv("IMAPD_IDLE_CLIENTS")
	if addr == "" {
		return
	}
	pem, err := os.ReadFile(os.Getenv("IMAPD_IDLE_CA"))
	if err != nil {
		t.Fatal(err)
	}
	many, err := strconv.Atoi(os.Getenv("IMAPD_IDLE_MANY"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for range many {
		conn, err := cryptotls.Dial("tcp", addr, &cryptotls.Config{RootCAs: roots, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, conn)
		conn.SetDeadline(time.Now().Add(time.Hour))
		c.want("* OK …")
		c.ok("LOGIN " + user + " " + password)
		c.ok("SELECT INBOX")
		c.send("i IDLE")
		c.want("+ idling")
	}
	fmt.Println("all idle")
	io.Copy(io.Discard, os.Stdin)
}
