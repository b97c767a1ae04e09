package storage

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The audit trail is a directory of files 00000001.jsonl, 00000002.jsonl, ...
// Each line is a JSON object, ended by LF, of at most 64 KiB: the members of
// Event and two more, which come first:
//
//	{"n":7,"prev":"9f86d0...","time":"2026-03-02T08:15:00Z","event":"auth.ok",...}
//
// n counts the lines of the whole trail from 1. prev is the SHA-256, in lower
// case hexadecimal, of the octets of the line before as they are in the file,
// without its LF; the line before the first one of a file is the last one of the
// file before; the first line of the trail has 64 zeros. There is no secret in
// it, so whoever has the files can check them, in any language:
//
//	prev=$(printf %064d 0)
//	cat 0*.jsonl | while IFS= read -r line; do
//		test "$(printf %s "$line" | jq -r .prev)" = "$prev" || echo "broken: $line"
//		prev=$(printf %s "$line" | sha256sum | cut -d ' ' -f 1)
//	done
//
// The hash of the last line is the head. Who can write the files can also make a
// whole new trail, or leave out the last lines; a head that was noted elsewhere
// shows it, so heads are also logged.
//
// What a crash left of an unfinished line is moved, when the trail is next
// opened, to a file beside (00000001.jsonl.torn), and an event says so.
const (
	auditTorn   = "audit.torn"   // an unfinished end was moved aside
	auditBroken = "audit.broken" // the lines before this one do not hold together
)

const (
	maxAuditLine   = 64 << 10 // octets of a line, LF included
	maxAuditText   = 512      // octets of one member: 15 of them, every octet escaped, fit into a line
	maxAuditNumber = 1 << 53  // of a line: what every JSON reader takes exactly
	auditChunk     = 1 << 20  // octets that are written and synced together, and one line more
	auditLook      = 1 << 20  // octets at the end of the last file that are looked at when the trail is opened
)

// Event is one entry of the audit trail. It never holds a secret, nor a name
// that belongs to no account, nor anything of a message. A text of more than 512
// octets is cut.
type Event struct {
	Time     time.Time `json:"time"`
	Event    string    `json:"event"`             // "auth.ok", "auth.fail", "card.link", ...
	Account  string    `json:"account,omitempty"` // primary address
	Unknown  string    `json:"unknown,omitempty"` // stands for a name that is nobody's
	Actor    string    `json:"actor,omitempty"`   // who did it, when not the account's owner
	Proto    string    `json:"proto,omitempty"`   // door
	Mech     string    `json:"mech,omitempty"`
	Level    int       `json:"level,omitempty"`
	Remote   string    `json:"remote,omitempty"` // address of the caller
	TLS      string    `json:"tls,omitempty"`    // version
	Cipher   string    `json:"cipher,omitempty"`
	Resumed  bool      `json:"resumed,omitempty"`
	Identity string    `json:"identity,omitempty"` // of a card
	Serial   string    `json:"serial,omitempty"`   // of its certificate
	Issuer   string    `json:"issuer,omitempty"`
	Via      string    `json:"via,omitempty"`     // "grant 3", "application password 7"
	Outcome  string    `json:"outcome,omitempty"` // reason of a refusal
	Conn     string    `json:"conn,omitempty"`
}

// ErrAuditFull: the disk takes no audit events, and memory has no room for more.
var ErrAuditFull = errors.New("storage: the audit trail takes no more events")

// AuditOptions are the limits of an audit trail. A zero field means the default it names.
type AuditOptions struct {
	FileSize int64         // octets at which the next file is begun; default 64 MiB
	Every    time.Duration // between two syncs; default 1 s
	Queue    int           // events that wait in memory for the disk before Write waits too, or fails; default 10,000
	Logger   *slog.Logger  // is told of disk errors and of heads; nil: nobody is
}

// Audit is the audit trail: files of JSON lines, each bound to the one before by
// a hash, to which only is added. All methods may be called at once, and on a
// nil Audit, where they do nothing.
type Audit struct {
	dir string
	o   AuditOptions

	mu     sync.Mutex
	wait   [][]byte  // events that are not on disk yet, in order
	room   sync.Cond // wait got shorter, or the trail is closed
	closed bool
	refuse bool // the disk took nothing at the last try

	full chan struct{}   // wakes the writer before its time
	asks chan chan error // asks the writer to write now
	stop chan struct{}
	done chan struct{} // closed after the writer has ended
	last error         // of the writer's last work, once done is closed

	// The rest belongs to the writer.
	head   auditHead // of what is on disk
	number int       // of the file in use
	size   int64     // octets of it that are on disk for sure
	fresh  bool      // it is still to be made
	file   *os.File  // nil before it is made and after an error
	failed time.Time // when the disk error of now was logged, zero when there is none
}

// OpenAudit opens the trail in dir, or begins one. It looks at the end of the last
// file only: when lines there do not hold together, the trail goes on all the
// same, after an event audit.broken; VerifyAudit looks at all. The caller sees to it that no other Audit has the
// directory open.
func OpenAudit(dir string, o AuditOptions) (*Audit, error) {
	o.FileSize = cmp.Or(max(o.FileSize, 0), 64<<20)
	o.Every = cmp.Or(max(o.Every, 0), time.Second)
	o.Queue = cmp.Or(max(o.Queue, 0), 10_000)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Audit{
		dir: dir, o: o, head: beginAudit(), number: 1, fresh: true,
		full: make(chan struct{}, 1), asks: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}),
	}
	a.room.L = &a.mu
	found, err := a.resume()
	if err == nil {
		err = a.open()
	}
	if err != nil {
		return nil, fmt.Errorf("open the audit trail: %w", err)
	}
	a.tellHead("audit trail opened")
	go a.run()
	for _, e := range found {
		o.Logger.Warn("the audit trail was not whole", "event", e.Event, "what", e.Outcome)
		a.Write(e)
	}
	return a, nil
}

// Write adds an event; it is on disk within AuditOptions.Every. It waits while
// the disk is too slow. When the disk refuses and memory is full, the event is
// lost and the error says so: whatever must not go unnoticed must not happen then. A
// zero Time means now. A nil Audit writes nothing, nor does one that is closed.
func (a *Audit) Write(e *Event) error {
	if a == nil {
		return nil
	}
	octets, err := encodeEvent(*e)
	if err != nil { // an Event has no value that JSON has not
		a.o.Logger.Error("an audit event cannot be written", "event", e.Event, "error", err)
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.wait) >= a.o.Queue && !a.closed && !a.refuse {
		a.wake()
		a.room.Wait()
	}
	switch {
	case a.closed:
		a.o.Logger.Error("an audit event came after the trail was closed", "event", e.Event)
		return ErrAuditFull
	case len(a.wait) >= a.o.Queue:
		return ErrAuditFull
	}
	a.wait = append(a.wait, octets)
	if len(a.wait) == a.o.Queue/2 {
		a.wake()
	}
	return nil
}

// wake lets the writer begin before its time.
func (a *Audit) wake() {
	select {
	case a.full <- struct{}{}:
	default:
	}
}

// Sync returns when all events so far are on disk, or with the disk's error: then
// they are kept and tried again.
func (a *Audit) Sync() error {
	if a == nil {
		return nil
	}
	reply := make(chan error, 1)
	select {
	case a.asks <- reply:
		return <-reply
	case <-a.done:
		return a.last
	}
}

// Close writes what is left and closes the trail. Its error means that events
// are lost.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.stop)
		a.room.Broadcast()
	}
	a.mu.Unlock()
	<-a.done
	return a.last
}

// run is the writer.
func (a *Audit) run() {
	defer close(a.done)
	tick := time.NewTicker(a.o.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.tell(a.flush())
		case <-a.full:
			a.tell(a.flush())
		case reply := <-a.asks:
			err := a.flush()
			a.tell(err)
			reply <- err
		case <-a.stop:
			a.last = a.flush()
			a.tell(a.last)
			a.closeFile()
			a.tellHead("audit trail closed")
			return
		}
	}
}

// tell logs a disk error, once a minute while it lasts, and its end.
func (a *Audit) tell(err error) {
	switch {
	case err == nil && !a.failed.IsZero():
		a.o.Logger.Info("the audit trail is written again")
		a.failed = time.Time{}
	case err != nil && time.Since(a.failed) >= time.Minute:
		a.o.Logger.Error("audit events wait in memory for the disk", "error", err)
		a.failed = time.Now()
	}
}

func (a *Audit) tellHead(text string) {
	a.o.Logger.Info(text, "events", a.head.next-1, "head", a.head.hash)
}

// flush writes the events that wait, and forgets those that are on disk.
func (a *Audit) flush() (err error) {
	a.mu.Lock()
	batch := a.wait // others only add behind its end
	a.mu.Unlock()
	done := 0
	for done < len(batch) && err == nil {
		var n int
		n, err = a.put(batch[done:])
		done += n
	}
	a.mu.Lock()
	a.wait = slices.Delete(a.wait, 0, done)
	a.refuse = err != nil
	if done > 0 || a.refuse { // else a Write that waits would wake us at once, and so on
		a.room.Broadcast()
	}
	a.mu.Unlock()
	return err
}

// put brings the first events of batch to disk and tells how many. What it wrote
// in vain, open cuts off again: a disk that has failed to sync may have kept
// nothing.
func (a *Audit) put(batch [][]byte) (n int, err error) {
	if a.size >= a.o.FileSize {
		a.nextFile()
		a.tellHead("the audit trail begins its next file")
	}
	if a.file == nil {
		if err := a.open(); err != nil {
			return 0, err
		}
	}
	head, lines := a.head, []byte(nil)
	for n < len(batch) && len(lines) < auditChunk && a.size+int64(len(lines)) < a.o.FileSize {
		lines = head.append(lines, batch[n])
		n++
	}
	if _, err = a.file.Write(lines); err == nil {
		err = a.file.Sync()
	}
	if err != nil {
		a.closeFile()
		return 0, fmt.Errorf("write the audit trail: %w", err)
	}
	a.head, a.size = head, a.size+int64(len(lines))
	return n, nil
}

// nextFile lets open make a new file.
func (a *Audit) nextFile() {
	a.closeFile()
	a.number, a.size, a.fresh = a.number+1, 0, true
}

// closeFile loses nothing: what counts is synced.
func (a *Audit) closeFile() {
	if a.file != nil {
		_ = a.file.Close()
		a.file = nil
	}
}

// open opens the file in use, or makes it. Where somebody has made, removed or
// cut it meanwhile, the next call goes on in another file, and verification
// will name the place.
func (a *Audit) open() error {
	path := filepath.Join(a.dir, auditName(a.number))
	flags := os.O_WRONLY | os.O_APPEND
	if a.fresh {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if errors.Is(err, fs.ErrExist) || !a.fresh && errors.Is(err, fs.ErrNotExist) {
		a.nextFile()
	}
	if err != nil {
		return err
	}
	if a.fresh {
		if err := auditSyncDir(a.dir); err != nil {
			return errors.Join(err, f.Close(), os.Remove(path))
		}
		a.file, a.fresh = f, false
		return nil
	}
	info, err := f.Stat()
	if err == nil && info.Size() > a.size {
		err = f.Truncate(a.size)
	}
	if err == nil && info.Size() < a.size {
		a.nextFile()
		err = fmt.Errorf("%s is shorter than what was written to it", path)
	}
	if err == nil { // a process that was killed may have left octets that no sync has confirmed
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.file = f
	return nil
}

// encodeEvent writes an event as JSON.
func encodeEvent(e Event) ([]byte, error) {
	if year := e.Time.Year(); year <= 1 || year > 9998 { // RFC 3339 has no year of five digits
		e.Time = time.Now()
	}
	e.Time = e.Time.UTC()
	for _, text := range []*string{
		&e.Event, &e.Account, &e.Unknown, &e.Actor, &e.Proto, &e.Mech, &e.Remote, &e.TLS, &e.Cipher,
		&e.Identity, &e.Serial, &e.Issuer, &e.Via, &e.Outcome, &e.Conn,
	} {
		if len(*text) > maxAuditText {
			*text = strings.ToValidUTF8((*text)[:maxAuditText-3], "") + "…"
		}
	}
	return json.Marshal(e)
}

// append adds the line of an event, which it binds to the head and makes the head.
func (h *auditHead) append(lines, event []byte) []byte {
	at := len(lines)
	lines = append(lines, `{"n":`...)
	lines = strconv.AppendUint(lines, h.next, 10)
	lines = append(lines, `,"prev":"`...)
	lines = append(lines, h.hash...)
	lines = append(lines, `",`...)
	lines = append(lines, event[1:]...)
	h.next, h.hash = h.next+1, auditHash(lines[at:])
	return append(lines, '\n')
}
