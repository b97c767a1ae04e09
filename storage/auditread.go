package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrNoAudit means that a directory has no audit trail.
var ErrNoAudit = errors.New("there is no audit trail")

// AuditBreak is a place where a trail is not what was written. It is an error.
type AuditBreak struct {
	File string `json:"file"` // name in the directory
	Line int    `json:"line"` // from 1; 0: the file as a whole
	What string `json:"what"` // in plain words
}

// Error tells the place and what is wrong.
func (b *AuditBreak) Error() string {
	if b.Line == 0 {
		return fmt.Sprintf("%s: %s", b.File, b.What)
	}
	return fmt.Sprintf("%s line %d: %s", b.File, b.Line, b.What)
}

// AuditCheck is what VerifyAudit is told beside the files.
type AuditCheck struct {
	Head  string // a head that was noted earlier: AuditReport.HeadAt tells where it is
	After string // the head of older files that were moved elsewhere: the trail goes on from there
}

// AuditReport is what VerifyAudit found.
type AuditReport struct {
	Files      int         `json:"files"`
	Events     int         `json:"events"`          // lines that are events
	First      time.Time   `json:"first,omitzero"`  // time of the first event
	Last       time.Time   `json:"last,omitzero"`   // time of the last event
	Number     uint64      `json:"number"`          // of the last line
	Head       string      `json:"head"`            // hash of the last line: note it elsewhere
	HeadAt     uint64      `json:"head_at"`         // number of the line whose hash AuditCheck.Head is; 0: none
	Breaks     int         `json:"breaks"`          // places where the trail does not hold together
	Break      *AuditBreak `json:"break,omitempty"` // the first of them; nil: the trail is whole
	Unfinished bool        `json:"unfinished"`      // the last line is being written now, or a crash tore it
	Torn       []string    `json:"torn"`            // files with what crashes tore earlier
}

// broken counts a break.
func (r *AuditReport) broken(b *AuditBreak) {
	if r.Breaks++; r.Breaks == 1 {
		r.Break = b
	}
}

// VerifyAudit checks every line of the trail in dir, which may be in use: that it
// is an event, has the next number and the hash of the line before. A changed,
// missing, added or swapped line is a break, so is a missing file; the check goes
// on behind it. Lines missing at the end show only as AuditReport.HeadAt 0, for
// an AuditCheck.Head noted when they were there. The error, such as ErrNoAudit,
// means that the files could not be read.
func VerifyAudit(dir string, c AuditCheck) (*AuditReport, error) {
	files, err := auditFiles(dir)
	if err == nil && len(files) == 0 {
		err = ErrNoAudit
	}
	if err != nil {
		return nil, fmt.Errorf("verify the audit trail in %s: %w", dir, err)
	}
	r := &AuditReport{Files: len(files), Torn: []string{}}
	head, want := beginAudit(), 1
	if c.After != "" {
		head, want = auditHead{hash: strings.ToLower(c.After)}, files[0]
	}
	for _, number := range files {
		if number != want {
			r.broken(&AuditBreak{File: auditName(want), What: "the file is missing"})
			head = auditHead{} // what comes next is as good a beginning as any
		}
		want = number + 1
		if err := r.file(dir, number, number == files[len(files)-1], &head, strings.ToLower(c.Head)); err != nil {
			return nil, fmt.Errorf("verify the audit trail: %w", err)
		}
	}
	r.Head = head.hash
	if head.next > 0 {
		r.Number = head.next - 1
	}
	return r, nil
}

// file checks one file.
func (r *AuditReport) file(dir string, number int, last bool, head *auditHead, noted string) error {
	name := auditName(number)
	if _, err := os.Stat(filepath.Join(dir, name+auditTornSuffix)); err == nil {
		r.Torn = append(r.Torn, name+auditTornSuffix)
	}
	return eachAuditLine(filepath.Join(dir, name), 0, func(line *auditOctets) bool {
		if !line.whole {
			r.Unfinished = last
			if !last {
				r.broken(&AuditBreak{name, line.number, "the line is not finished although another file follows"})
			}
			return true
		}
		l, what := head.follow(line.octets)
		if what != "" {
			r.broken(&AuditBreak{name, line.number, what})
		}
		if l == nil {
			return true
		}
		if r.Events++; r.Events == 1 {
			r.First = l.Time
		}
		r.Last = l.Time
		if head.hash == noted {
			r.HeadAt = l.N
		}
		return true
	})
}

// ReadAudit calls f with each line of the trail in dir, without its line end, and
// the event that it holds, from the oldest on, until f returns false. It checks
// no hashes. The octets and the event are valid until f returns. Lines that are
// no events are passed over; the error is then the *AuditBreak of the first one.
func ReadAudit(dir string, f func(line []byte, e *Event) bool) error {
	files, err := auditFiles(dir)
	if err == nil && len(files) == 0 {
		err = ErrNoAudit
	}
	if err != nil {
		return fmt.Errorf("read the audit trail in %s: %w", dir, err)
	}
	var unread *AuditBreak
	more := true
	for _, number := range files {
		name := auditName(number)
		err := eachAuditLine(filepath.Join(dir, name), 0, func(line *auditOctets) bool {
			l, err := parseAuditLine(line.octets)
			if line.whole && err == nil {
				more = f(line.octets, &l.Event)
			} else if line.whole && unread == nil {
				unread = &AuditBreak{name, line.number, err.Error()}
			}
			return more
		})
		if err != nil {
			return fmt.Errorf("read the audit trail: %w", err)
		}
		if !more {
			break
		}
	}
	if unread != nil {
		return unread
	}
	return nil
}
