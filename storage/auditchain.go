package storage

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// auditHead is where a trail goes on.
type auditHead struct {
	next uint64 // number of the next line; 0: any will do
	hash string // of the last line; "": any will do
}

// beginAudit is where a trail begins.
func beginAudit() auditHead {
	return auditHead{next: 1, hash: strings.Repeat("0", 2*sha256.Size)}
}

// auditLine is a line of a trail.
type auditLine struct {
	N    uint64 `json:"n"`
	Prev string `json:"prev"`
	Event
}

// errAuditLine means that a line is none that Audit wrote.
var errAuditLine = errors.New("the line is not an event of an audit trail")

func parseAuditLine(octets []byte) (*auditLine, error) {
	l := new(auditLine)
	if err := json.Unmarshal(octets, l); err != nil {
		return nil, errAuditLine
	}
	if l.N == 0 || l.N > maxAuditNumber || len(l.Prev) != 2*sha256.Size || l.Event.Event == "" {
		return nil, errAuditLine
	}
	return l, nil
}

func auditHash(octets []byte) string {
	sum := sha256.Sum256(octets)
	return hex.EncodeToString(sum[:])
}

// follow makes a line the head and tells in plain words what is wrong with it, ""
// for nothing. The line is nil when it is no event.
func (h *auditHead) follow(octets []byte) (*auditLine, string) {
	before := *h
	h.hash = ""
	if octets != nil {
		h.hash = auditHash(octets)
	}
	l, err := parseAuditLine(octets)
	if err != nil {
		if h.next > 0 {
			h.next++
		}
		return nil, err.Error()
	}
	h.next = l.N + 1
	switch {
	case before.next > 0 && l.N > before.next:
		return l, fmt.Sprintf("it is event %d where %d should be: lines are missing or swapped", l.N, before.next)
	case before.next > 0 && l.N < before.next:
		return l, fmt.Sprintf("it is event %d where %d should be: lines were added or swapped", l.N, before.next)
	case before.hash != "" && l.Prev != before.hash:
		return l, "it does not fit the line before: one of the two was changed"
	}
	return l, ""
}

const auditTornSuffix = ".torn"

func auditName(number int) string { return fmt.Sprintf("%08d.jsonl", number) }

// auditFiles lists the numbers of a trail's files.
func auditFiles(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoAudit
	}
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, entry := range entries {
		digits, _, _ := strings.Cut(entry.Name(), ".")
		n, err := strconv.Atoi(digits)
		if err == nil && n > 0 && entry.Name() == auditName(n) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// auditOctets is a line as it stands in a file.
type auditOctets struct {
	octets []byte // without the line end; nil when the line is too long
	number int    // in the file, from 1
	end    int64  // offset behind it
	whole  bool   // it has its line end
}

// eachAuditLine calls f for every line of a file that begins behind an offset, 0
// for all, until f returns false. The line is valid until f returns.
func eachAuditLine(path string, from int64, f func(*auditOctets) bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(file, maxAuditLine)
	for line := (&auditOctets{end: from}); ; {
		octets, err := r.ReadSlice('\n')
		size := len(octets)
		for errors.Is(err, bufio.ErrBufferFull) {
			var more []byte
			more, err = r.ReadSlice('\n')
			octets, size = nil, size+len(more)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if size == 0 {
			return nil
		}
		line.octets = bytes.TrimSuffix(octets, []byte("\n"))
		line.number++
		line.end += int64(size)
		line.whole = err == nil
		if from > 0 { // the rest of some line
			from = 0
			continue
		}
		if !f(line) {
			return nil
		}
	}
}

// resume finds where the trail goes on, puts aside what a crash left behind its
// last event and returns the events that tell of what it found.
func (a *Audit) resume() ([]*Event, error) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, err
	}
	if err := auditSyncDir(filepath.Dir(a.dir)); err != nil {
		return nil, err
	}
	files, err := auditFiles(a.dir)
	if err != nil {
		return nil, err
	}
	var found []*Event
	for i, number := range slices.Backward(files) {
		t, err := readAuditTail(a.dir, number)
		if err != nil {
			return nil, err
		}
		if i == len(files)-1 {
			a.number, a.size, a.fresh = number, t.end, false
			if t.size > t.end {
				what, err := setAside(filepath.Join(a.dir, auditName(number)), t.end)
				if err != nil {
					return nil, err
				}
				found = append(found, &Event{Event: auditTorn, Outcome: what})
			}
			if t.broken != nil {
				found = append(found, &Event{Event: auditBroken, Outcome: t.broken.Error()})
			}
		}
		if t.end > 0 {
			a.head = t.head
			if a.head.next > maxAuditNumber/2 { // nobody has had so many: it is forged, and would leave no room
				a.head.next = 1
			}
			break
		}
	}
	return found, nil
}

// auditTail is the end of a file.
type auditTail struct {
	head   auditHead   // of its last event
	end    int64       // offset behind that; 0: the file has no event
	size   int64       // of the file
	broken *AuditBreak // the first break before end that no event audit.broken tells of yet
}

// readAuditTail looks at the end of a file, and at all of it only when something
// is wrong there: a server that starts shall not wait for long.
func readAuditTail(dir string, number int) (*auditTail, error) {
	info, err := os.Stat(filepath.Join(dir, auditName(number)))
	if err != nil {
		return nil, err
	}
	if from := info.Size() - auditLook; from > 0 {
		if t, err := findAuditTail(dir, number, from); err != nil || t.end > 0 && t.broken == nil {
			return t, err
		}
	}
	return findAuditTail(dir, number, 0)
}

// findAuditTail reads a file from an offset to its end.
func findAuditTail(dir string, number int, from int64) (*auditTail, error) {
	name := auditName(number)
	t := new(auditTail)
	var head auditHead
	if number == 1 && from == 0 {
		head = beginAudit()
	}
	var broken *AuditBreak // or the beginning of a torn end
	err := eachAuditLine(filepath.Join(dir, name), from, func(line *auditOctets) bool {
		t.size = line.end
		if !line.whole {
			return true
		}
		l, what := head.follow(line.octets)
		if what != "" && broken == nil {
			broken = &AuditBreak{name, line.number, what}
		}
		if l == nil {
			return true
		}
		if what == "" && l.Event.Event == auditBroken {
			broken = nil
		}
		t.head, t.end, t.broken = head, line.end, broken
		return true
	})
	return t, err
}

// setAside moves what a file has from an offset on to the end of the file beside
// it, and tells what it did.
func setAside(path string, from int64) (what string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	torn, err := os.OpenFile(path+auditTornSuffix, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(torn, io.NewSectionReader(f, from, 1<<62))
	if err == nil {
		err = torn.Sync()
	}
	err = errors.Join(err, torn.Close())
	if err == nil {
		err = auditSyncDir(filepath.Dir(path))
	}
	// Only now, with the copy safe, the original goes.
	if err == nil {
		err = f.Truncate(from)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return "", fmt.Errorf("set the torn end of %s aside: %w", path, err)
	}
	name := filepath.Base(path)
	return fmt.Sprintf("%d octets of %s are no event; they are in %s", n, name, name+auditTornSuffix), nil
}

// auditSyncDir makes new names in a directory durable.
func auditSyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
