package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// sample is the i-th message of about size octets: plain text, or with an
// attachment in base64 when it is larger than 16 KiB.
func sample(i, size int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), uint64(size)))
	word := func() string {
		w := make([]byte, 3+r.IntN(8))
		for j := range w {
			w[j] = byte('a' + r.IntN(26))
		}
		return string(w)
	}
	var b bytes.Buffer
	date := time.Date(2024, 1, 1, 0, i, 0, 0, time.UTC).Format(time.RFC1123Z)
	fmt.Fprintf(&b, "Return-Path: <%s@example.org>\r\n", word())
	fmt.Fprintf(&b, "Received: from mx.example.org (mx.example.org [192.0.2.1])\r\n\tby mail.example.net with ESMTPS id %08x; %s\r\n", r.Uint32(), date)
	fmt.Fprintf(&b, "From: %s %s <%s@example.org>\r\nTo: %s <%s@example.net>, %s@example.com\r\n", word(), word(), word(), word(), word(), word())
	fmt.Fprintf(&b, "Subject: %s %s %s\r\nDate: %s\r\nMessage-ID: <%d.%x@example.org>\r\n", word(), word(), word(), date, i, r.Uint64())
	fmt.Fprintf(&b, "In-Reply-To: <%d@example.org>\r\nReferences: <%d@example.org>\r\nMIME-Version: 1.0\r\n", i-1, i-1)
	lines := func(until int) {
		for b.Len() < until {
			for range 9 {
				b.WriteString(word() + " ")
			}
			b.WriteString("\r\n")
		}
	}
	if size <= 16<<10 {
		b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
		lines(size)
		return b.Bytes()
	}
	b.WriteString("Content-Type: multipart/mixed; boundary=\"=_bound\"\r\n\r\n--=_bound\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n")
	lines(4 << 10)
	b.WriteString("--=_bound\r\nContent-Type: application/pdf; name=\"a.pdf\"\r\nContent-Disposition: attachment; filename=\"a.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
	line := make([]byte, 57)
	for b.Len() < size {
		for k := range line {
			line[k] = byte(r.Uint32())
		}
		b.WriteString(base64.StdEncoding.EncodeToString(line) + "\r\n")
	}
	b.WriteString("--=_bound--\r\n")
	return b.Bytes()
}

func BenchmarkDescribe(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		octets := sample(1, size)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				Describe(octets)
			}
		})
	}
}

func BenchmarkMarshal(b *testing.B) {
	m := Describe(sample(1, 4<<10))
	b.ReportAllocs()
	for b.Loop() {
		m.Marshal(MetaLimit)
	}
}

func BenchmarkUnmarshalMeta(b *testing.B) {
	kept := Describe(sample(1, 4<<10)).Marshal(MetaLimit)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := UnmarshalMeta(kept); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoot(b *testing.B) {
	m, err := UnmarshalMeta(Describe(sample(1, 100<<10)).Marshal(MetaLimit))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Root()
	}
}

// The fields a mail program asks of every message when it opens a folder.
func BenchmarkFilterHeader(b *testing.B) {
	header := Describe(sample(1, 4<<10)).Header
	names := []string{"From", "To", "Cc", "Bcc", "Subject", "Date", "Message-ID", "Priority", "X-Priority", "References", "Newsgroups", "In-Reply-To", "Content-Type", "Reply-To", "Received"}
	b.ReportAllocs()
	for b.Loop() {
		FilterHeader(header, names, false)
	}
}

func BenchmarkTexts(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		octets := sample(1, size)
		root := Describe(octets).Root()
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				for range root.Texts(octets, false) {
				}
			}
		})
	}
}

func BenchmarkSearchHeader(b *testing.B) {
	header := Describe(sample(1, 4<<10)).Header
	b.Run("subject", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, v := range HeaderValues(header, "Subject") {
				DecodeHeader(v)
			}
		}
	})
	b.Run("to", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Addresses(header, "To")
		}
	})
}
