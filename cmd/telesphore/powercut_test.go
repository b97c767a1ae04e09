package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"telesphore/storage/body"
)

// This file is what the tests share that kill servers: a kill loses nothing that was
// written, a power cut what no sync had covered.

const (
	syncedFile  = "synced" // of the last sync: segment 32, offset 64
	lieVariable = "TELESPHORE_TEST_LIE"

	segmentHeader = 48 // octets of the header of a segment
)

// noteSyncs has a log note each of its syncs in a file. With the variable set it leaves
// seven of eight syncs out and says nothing: the negative control.
func noteSyncs(o *body.Options, file string) error {
	note, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	o.Synced = func(p body.Pos) {
		note.WriteAt(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, p.Segment), p.Offset), 0)
	}
	if os.Getenv(lieVariable) != "" {
		n := 0
		o.Skip = func() bool { n++; return n%8 != 0 }
	}
	return nil
}

// cutPower cuts or scrambles the octets of the log in a data directory that no sync had
// covered, as the note in file has it.
func cutPower(random *rand.Rand, data, file string) error {
	note, err := os.ReadFile(file)
	if err != nil || len(note) != 12 {
		return nil // not even one sync
	}
	segment, offset := binary.LittleEndian.Uint32(note), int64(binary.LittleEndian.Uint64(note[4:]))
	files, err := filepath.Glob(filepath.Join(data, bodiesDir, "*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		digits := regexp.MustCompile(`\d+`).FindString(filepath.Base(name))
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || uint32(n) < segment {
			continue
		}
		if uint32(n) > segment { // it was begun, which is synced
			offset = segmentHeader
		}
		if err := hurt(random, name, offset); err != nil {
			return fmt.Errorf("hurt the log: %w", err)
		}
	}
	return nil
}

// hurt cuts or scrambles a file from an offset on.
func hurt(random *rand.Rand, name string, from int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size <= from {
		return err
	}
	if random.IntN(2) == 0 {
		return f.Truncate(from + random.Int64N(size-from))
	}
	_, err = f.WriteAt(noise(random, int(size-from)), from)
	return err
}

func noise(random *rand.Rand, size int) []byte {
	octets := make([]byte, size)
	for i := range octets {
		octets[i] = byte(random.Uint32())
	}
	return octets
}

// noisyText is lines that do not shrink when they are compressed, of some length: some
// messages fill chunks of the log and some do not.
func noisyText(random *rand.Rand, most int) string {
	text := base64.StdEncoding.EncodeToString(noise(random, random.IntN(1<<random.IntN(most)+1)))
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	return b.String() + text + "\r\n"
}
