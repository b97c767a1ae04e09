package storage

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"telesphore/storage/body"
)

// ObjectID identifies a message of an account apart from where it is filed.
// COPY and MOVE keep it. Never reused within the account.
type ObjectID uint64

// EmailID is the EMAILID (RFC 8474 section 5.1) of an account's object.
func EmailID(a AccountID, o ObjectID) string { return objectString('M', a, o) }

// ThreadID is the THREADID (RFC 8474 section 5.2) of an account's thread.
func ThreadID(a AccountID, o ObjectID) string { return objectString('T', a, o) }

func objectString(letter byte, a AccountID, o ObjectID) string {
	b := strconv.AppendUint([]byte{letter}, uint64(a), 36)
	return string(strconv.AppendUint(append(b, '-'), uint64(o), 36))
}

// Object is what a message is wherever it is filed.
type Object struct {
	ID     ObjectID
	Thread ObjectID  // the oldest known message of the thread, which names it
	Size   uint32    // octets, the recipient's own prefix included
	Date   time.Time // INTERNALDATE

	refs    uint32   // placements and unfinished copies
	body    body.ID  // shared with the other recipients
	message [16]byte // MAC of the Message-ID, zero when it has none
	key     []byte   // the body's key, sealed ("key", account, body)
	prefix  []byte   // the recipient's own header lines, sealed ("prefix", account, body)
}

// Record: 1, references 32, thread 64, octets 32, date 64, body 64, MAC of the
// Message-ID 16 octets, key, prefix.
const objectVersion = 1

func (t *Tx) putObject(a AccountID, o *Object) error {
	b := make([]byte, 0, 64+len(o.key)+len(o.prefix))
	b = append(b, objectVersion)
	b = le.AppendUint32(b, o.refs)
	b = le.AppendUint64(b, uint64(o.Thread))
	b = le.AppendUint32(b, o.Size)
	b = le.AppendUint64(b, uint64(o.Date.Unix()))
	b = le.AppendUint64(b, uint64(o.body))
	b = append(b, o.message[:]...)
	b = putBytes(b, o.key)
	b = putBytes(b, o.prefix)
	return t.put(key64(tabObject, a, uint64(o.ID)), b)
}

func parseObject(id ObjectID, v []byte) (*Object, error) {
	f := openRecord("object", objectVersion, v)
	o := &Object{ID: id, refs: f.u32(), Thread: ObjectID(f.u64()), Size: f.u32(), Date: f.unix(), body: body.ID(f.u64())}
	copy(o.message[:], f.take(16))
	o.key, o.prefix = f.bytes(), f.bytes()
	return o, f.err
}

// Object returns the object. ErrNoMessage when it is gone.
func (t *Tx) Object(a AccountID, id ObjectID) (*Object, error) {
	v, err := t.Get(key64(tabObject, a, uint64(id)))
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, ErrNoMessage
	}
	return parseObject(id, v)
}

// bodyRef says where a body lies. Record: 1, segment 32, offset 64, length 64, objects that use it 32.
type bodyRef struct {
	body.Ref
	refs uint32
}

const bodyVersion = 1

func (t *Tx) putBody(id body.ID, r bodyRef) error {
	b := make([]byte, 0, 25)
	b = append(b, bodyVersion)
	b = le.AppendUint32(b, r.Segment)
	b = le.AppendUint64(b, r.Offset)
	b = le.AppendUint64(b, r.Length)
	b = le.AppendUint32(b, r.refs)
	return t.put(keyBody(uint64(id)), b)
}

// bodyRef returns the zero value when the body is unknown.
func (t *Tx) bodyRef(id body.ID) (r bodyRef, err error) {
	v, err := t.Get(keyBody(uint64(id)))
	if err != nil || v == nil {
		return r, err
	}
	f := openRecord("body", bodyVersion, v)
	r.Segment, r.Offset, r.Length, r.refs = f.u32(), f.u64(), f.u64(), f.u32()
	return r, f.err
}

// dropBody forgets one use of a body and, with the last one, the body.
func (t *Tx) dropBody(id body.ID) error {
	r, err := t.bodyRef(id)
	if err != nil || r.refs == 0 {
		return err
	}
	if r.refs--; r.refs > 0 {
		return t.putBody(id, r)
	}
	if err := t.dead(r.Ref); err != nil {
		return err
	}
	return t.delete(keyBody(uint64(id)))
}

// dead counts a record that nothing refers to any more. Each time that so much
// of a segment has died, the keeper looks whether to compact it.
func (t *Tx) dead(r body.Ref) error {
	const worth = 16 << 20
	octets, err := getUint64(t, keySegment(r.Segment))
	if err != nil {
		return err
	}
	if octets/worth != (octets+r.Length)/worth {
		t.reap = true
	}
	return putUint64(t.w, keySegment(r.Segment), octets+r.Length)
}

// Body reads one message: the recipient's own prefix, then the octets shared by
// all recipients. It is an io.ReaderAt, not safe for concurrent use.
type Body struct {
	prefix []byte
	shared *body.Reader
}

// Open opens the message for reading. ErrNoMessage when it is gone.
func (s *Store) Open(ctx context.Context, a AccountID, id ObjectID) (*Body, error) {
	k, err := s.accountKeys(a)
	if err != nil {
		return nil, err
	}
	return s.openBody(ctx, func(t *Tx) (*source, error) {
		o, err := t.Object(a, id)
		if err != nil {
			return nil, err
		}
		key, err := openKey(k, a, o)
		if err != nil {
			return nil, err
		}
		prefix, err := k.Open(nil, o.prefix, ad("prefix", uint64(a), uint64(o.body)))
		if err != nil {
			return nil, fmt.Errorf("open the prefix of object %d: %w", id, err)
		}
		return &source{o.body, *key, prefix}, nil
	})
}

// source is what a body is read with.
type source struct {
	id     body.ID
	key    body.Key
	prefix []byte
}

// openBody opens the body that find names. A second look covers the moment in
// which a compaction moves it.
func (s *Store) openBody(ctx context.Context, find func(*Tx) (*source, error)) (*Body, error) {
	for try := 0; ; try++ {
		var src *source
		var ref bodyRef
		err := s.View(ctx, func(t *Tx) (err error) {
			if src, err = find(t); err != nil {
				return err
			}
			ref, err = t.bodyRef(src.id)
			return err
		})
		if err != nil {
			return nil, err
		}
		r, err := s.log.Read(ref.Ref, src.id, &src.key)
		if err == nil {
			return &Body{src.prefix, r}, nil
		}
		if try == 1 {
			return nil, fmt.Errorf("open a message: %w", err)
		}
	}
}

// sealer is the part of an account's keys that opens what was sealed.
type sealer interface {
	Open(dst, sealed, ad []byte) ([]byte, error)
}

func openKey(k sealer, a AccountID, o *Object) (*body.Key, error) {
	var key body.Key
	b, err := k.Open(key[:0], o.key, ad("key", uint64(a), uint64(o.body)))
	if err != nil || len(b) != len(key) {
		return nil, fmt.Errorf("open the key of object %d: %w", o.ID, err)
	}
	copy(key[:], b)
	return &key, nil
}

// Size is the whole message in octets.
func (b *Body) Size() int64 { return int64(len(b.prefix)) + b.shared.Size() }

// Prefix is the length of what is the recipient's own, in octets: metadata
// offsets count from behind it.
func (b *Body) Prefix() int64 { return int64(len(b.prefix)) }

// ReadAt implements io.ReaderAt. Damage is an error, never wrong octets.
func (b *Body) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(b.prefix)) {
		n = copy(p, b.prefix[off:])
		if n == len(p) {
			return n, nil
		}
	}
	m, err := b.shared.ReadAt(p[n:], off+int64(n)-int64(len(b.prefix)))
	return n + m, err
}

// Close releases the body.
func (b *Body) Close() error { return b.shared.Close() }

// thread finds the thread of a message (its own object when it starts one) and
// remembers it under its Message-ID. The thread is that of the oldest known
// message that Message-ID or References name with the same base subject; it never changes.
//
// Entry: 1, object 64 that the Message-ID belongs to, thread 64, MAC of the base subject 64.
func (t *Tx) thread(a AccountID, f *filing) error {
	f.thread = f.object
	for _, mac := range append([][16]byte{f.message}, f.references...) {
		v, err := t.Get(keyMAC(tabThread, a, mac))
		if err != nil {
			return err
		}
		if v == nil {
			continue
		}
		r := openRecord("thread", threadVersion, v)
		_, thread, subject := r.u64(), ObjectID(r.u64()), r.u64()
		if r.err == nil && subject == f.subject && thread < f.thread {
			f.thread = thread
		}
	}
	return nil
}

const threadVersion = 1

func (t *Tx) putThread(a AccountID, f *filing) error {
	key := keyMAC(tabThread, a, f.message)
	if v, err := t.Get(key); err != nil || v != nil || f.message == ([16]byte{}) {
		return err
	}
	b := []byte{threadVersion}
	for _, n := range []uint64{uint64(f.object), uint64(f.thread), f.subject} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return t.put(key, b)
}

// dropThread forgets the object's Message-ID, if it is the one remembered by it.
func (t *Tx) dropThread(a AccountID, o *Object) error {
	key := keyMAC(tabThread, a, o.message)
	v, err := t.Get(key)
	if err != nil || v == nil {
		return err
	}
	if r := openRecord("thread", threadVersion, v); ObjectID(r.u64()) != o.ID {
		return nil
	}
	return t.delete(key)
}
