package body

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// letter is a message of about n octets with the entropy of prose: words of a
// vocabulary drawn with Zipf's law.
func letter(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.3, 4, 4000)
	words := make([]string, 4001)
	for i := range words {
		w := make([]byte, 2+rng.IntN(9))
		for j := range w {
			w[j] = "eeeaaaiioussrrnnttllddccmmppvvqfbghjxyzk"[rng.IntN(40)]
		}
		words[i] = string(w)
	}
	var b bytes.Buffer
	b.WriteString("From: Cardiologie <cardio@hopital.test>\r\nTo: cabinet@clinique.test\r\nSubject: compte rendu\r\nMIME-Version: 1.0\r\n\r\n")
	for line := 0; b.Len() < n; {
		w := words[zipf.Uint64()]
		if line += len(w) + 1; line > 72 {
			b.WriteString("\r\n")
			line = 0
		}
		b.WriteString(w + " ")
	}
	return b.Bytes()[:n]
}

// attachment is a message of n octets, nearly all base64 of compressed data.
func attachment(n int) []byte {
	rng := rand.NewChaCha8([32]byte{1})
	raw := make([]byte, n)
	rng.Read(raw)
	text := base64.StdEncoding.EncodeToString(raw)
	var b strings.Builder
	b.Write(letter(600))
	for b.Len() < n {
		b.WriteString("\r\n" + text[:76])
		text = text[76:]
	}
	return []byte(b.String()[:n])
}

func BenchmarkSeal(b *testing.B) {
	for name, octets := range map[string][]byte{
		"text-4K": letter(4 << 10), "text-100K": letter(100 << 10),
		"base64-4K": attachment(4 << 10), "base64-100K": attachment(100 << 10),
	} {
		b.Run(name, func(b *testing.B) {
			meta := letter(700)
			var key Key
			var stored int
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				s, err := Seal(1, &key, meta, octets)
				if err != nil {
					b.Fatal(err)
				}
				stored = len(s.payload)
			}
			b.ReportMetric(float64(stored)/float64(len(octets)), "stored/plain")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	for name, octets := range map[string][]byte{
		"raw-4K": attachment(4 << 10), "raw-100K": attachment(100 << 10), "raw-5M": attachment(5 << 20),
		"zstd-4K": letter(4 << 10), "zstd-100K": letter(100 << 10),
	} {
		s := newSample(1, string(letter(700)), string(octets))
		l := openLog(b, b.TempDir(), Options{})
		stage(b, l, s)
		flush(b, l)
		b.Run(name+"/WriteTo", func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := l.Read(s.ref, s.id, &s.key)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
		b.Run(name+"/ReadAt", func(b *testing.B) {
			p := make([]byte, len(octets))
			b.SetBytes(int64(len(octets)))
			for b.Loop() {
				r, err := l.Read(s.ref, s.id, &s.key)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := r.ReadAt(p, 0); err != nil {
					b.Fatal(err)
				}
				r.Close()
			}
		})
	}
}

// BenchmarkAppend makes n messages of 4 KiB durable with one Flush, and
// compares the rate of messages to a bare loop of write and fdatasync of one
// message each, taken in turns in the same run: the disk's speed drifts.
func BenchmarkAppend(b *testing.B) {
	octets := attachment(4 << 10)
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("staged-%d", n), func(b *testing.B) {
			dir := b.TempDir()
			l := openLog(b, dir, Options{})
			bare, err := os.Create(filepath.Join(dir, "bare"))
			if err != nil {
				b.Fatal(err)
			}
			defer bare.Close()
			head := make([]byte, 200)
			var key Key
			var ours, theirs []time.Duration
			for b.Loop() {
				begin := time.Now()
				for i := range n {
					s, err := Seal(ID(i), &key, nil, octets)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := l.Stage(s, head, begin, 1); err != nil {
						b.Fatal(err)
					}
				}
				flush(b, l)
				ours = append(ours, time.Since(begin))
				begin = time.Now()
				if _, err := bare.Write(octets); err != nil {
					b.Fatal(err)
				}
				if err := unix.Fdatasync(int(bare.Fd())); err != nil {
					b.Fatal(err)
				}
				theirs = append(theirs, time.Since(begin))
			}
			slices.Sort(ours)
			slices.Sort(theirs)
			mine, other := ours[len(ours)/2], theirs[len(theirs)/2]
			b.ReportMetric(float64(n)*float64(other)/float64(mine), "x-bare")
			b.ReportMetric(float64(n)/mine.Seconds(), "msgs/s")
			b.ReportMetric(float64(other.Microseconds()), "bare-us")
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	l := openLog(b, b.TempDir(), Options{})
	var total int64
	for i := range 2000 {
		s := newSample(1, "", string(attachment(4<<10)))
		s.id = ID(i)
		stage(b, l, s)
		total += int64(s.ref.Length)
	}
	flush(b, l)
	b.SetBytes(total)
	for b.Loop() {
		if err := l.Replay(Pos{}, func(*Record) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
