package storage

import (
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// parser reads one kind of sealed record and writes what it has read.
type parser struct {
	name   string
	sample []byte
	again  func(v []byte) (value any, record []byte, err error)
}

func parsers() []parser {
	at := time.Unix(1_800_000_000, 0)
	net4, net6 := netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")
	card := Card{Identity: "igc|800000000001", Organisation: true, Holder: "medecin", By: "operator", Linked: at, Serial: "0a", Issuer: "CN=x", NotAfter: at, LastUsed: at}
	factor := Factor{Contact: "x@ailleurs.test", CodesOn: true, Since: at, By: "medecin", Secret: []byte("secret"), LastStep: 7,
		Recovery: [][32]byte{{1}, {2}}, WrongDay: 20_000, Wrong: 3}
	challenge := Challenge{ID: [16]byte{1}, Contact: "x@ailleurs.test", Created: at, Expires: at, Sent: []time.Time{at, at}, Wrong: 2, Void: true}
	grant := Grant{ID: 9, Tag: [16]byte{1}, Net: net4, Proto: "imap", Mech: "PLAIN", Factor: "code", Created: at, LastUsed: at, Until: at, Asked: true}
	app := AppPassword{ID: 9, Name: "téléphone", Hash: [32]byte{1}, Verifier: Verifier{[32]byte{2}, [32]byte{3}, 10_000}, Protos: []string{"imap", "smtp"},
		Net: net6, Level: 2, Created: at, By: "medecin", Card: "igc|800000000001", Expires: at, LastUsed: at, LastFrom: netip.MustParseAddr("2001:db8::1")}
	key := key64(tabGrant, 1, 9)
	delivery := Delivery{State: Held, Address: "x@ailleurs.test", Notify: NotifyFailure, OriginalType: "rfc822", Original: "x@ailleurs.test", Next: at,
		Attempts: 3, Warned: true, Here: true, Last: Result{Delayed, at, "4.4.1", "451 later", "mx.ailleurs.test"}}
	queued := Queued{ID: 9, Name: "N1", Account: 1, From: "medecin@hopital.test", EnvelopeID: "QQ", Return: "FULL", UTF8: true, RequireTLS: true,
		Priority: Urgent, Arrived: at, Expires: at, Size: 9, Prefix: []byte("P: x\r\n"), key: []byte("key")}
	whole := acceptedSample(queued, delivery)
	trace := Trace{Name: "n", MessageID: "<1@hopital.test>", EnvelopeID: "e", Sent: at, Size: 7, Warnings: []string{"no archive"},
		Recipients: []Traced{{Address: "x@ailleurs.test", Steps: []Step{{Bounced, at, "5.1.1", "550 5.1.1 unknown"}, {Stage: OnHold}}}, {Address: "y@ailleurs.test"}}}
	return []parser{
		{"card", card.record(), func(v []byte) (any, []byte, error) { x, err := parseCard(key, v); return x, x.record(), err }},
		{"factor", factor.record(), func(v []byte) (any, []byte, error) { x, err := parseFactor(v); return x, x.record(), err }},
		{"challenge", challenge.record(), func(v []byte) (any, []byte, error) { x, err := parseChallenge(v); return x, x.record(), err }},
		{"grant", grant.record(), func(v []byte) (any, []byte, error) { x, err := parseGrant(key, v); return x, x.record(), err }},
		{"application password", app.record(), func(v []byte) (any, []byte, error) { x, err := parseAppPassword(key, v); return x, x.record(), err }},
		{"networks", networksRecord([]KnownNetwork{{net4, at}, {net6, at}}), func(v []byte) (any, []byte, error) {
			x, err := parseNetworks(v)
			return x, networksRecord(x), err
		}},
		{"link window", (&LinkWindow{"igc|800000000001", at, "operator"}).record(), func(v []byte) (any, []byte, error) {
			x, err := parseLinkWindow(v)
			return x, x.record(), err
		}},
		{"delivery", delivery.record(), func(v []byte) (any, []byte, error) { x, err := parseDelivery(0, v); return x, x.record(), err }},
		{"message of the queue", queued.record(), func(v []byte) (any, []byte, error) { x, err := parseQueued(9, v); return x, x.record(), err }},
		{"accept", whole.record(), func(v []byte) (any, []byte, error) {
			x, err := parseAccepted(9, v)
			if err != nil {
				return nil, nil, err
			}
			return x, x.record(), err
		}},
		{"verifier", (&Verifier{[32]byte{1}, [32]byte{2}, 10_000}).record(), func(v []byte) (any, []byte, error) {
			x, err := parseVerifier(v)
			return x, x.record(), err
		}},
		{"trace", encodeTrace(&trace), func(v []byte) (any, []byte, error) { x, err := decodeTrace(v); return x, x.record(), err }},
		{"traces of a name", tracesNamedRecord([]QueueID{1 << 40, 2 << 40}), func(v []byte) (any, []byte, error) {
			x, err := parseTracesNamed(v)
			return x, tracesNamedRecord(x), err
		}},
		{"what was sent", (&Sent{Messages: 9, First: 3}).record(), func(v []byte) (any, []byte, error) {
			x, err := parseSent(20_000, v)
			return x, x.record(), err
		}},
		{"recipient", wroteRecord(20_000), func(v []byte) (any, []byte, error) { x, err := parseWrote(v); return x, wroteRecord(x), err }},
	}
}

// acceptedSample has something of everything.
func acceptedSample(q Queued, d Delivery) *accepted {
	q.Deliveries = []Delivery{d, {Number: 1}}
	at := time.Unix(1_800_000_000, 0)
	removed := DeliveryChange{Queue: 7, Delivery: Delivery{Number: 3}, Remove: true}
	return &accepted{
		filed: []filing{{account: 1, mailbox: 2, uidValidity: 3, uid: 4, flags: Seen, modSeq: 5, object: 6, thread: 6, size: 7, date: at, saved: at,
			message: [16]byte{1}, subject: 8, keywords: []string{"$A", "$B"}, key: []byte("key"), prefix: []byte("prefix")}, {account: 2, date: at}},
		queue: &q, account: 1, sealed: []byte("sealed"), changes: []DeliveryChange{{Queue: 7, Delivery: d}, removed},
	}
}

// Records that an older program has written are read.
func TestAcceptRecordOfVersion1(t *testing.T) {
	want := acceptedSample(Queued{}, Delivery{})
	want.queue, want.account, want.sealed, want.changes = nil, 0, nil, nil
	v := want.record()
	v[0] = 1
	v = v[:len(v)-6] // without trace and changes
	got, err := parseAccepted(9, v)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	v[len(v)-1] = 1
	if _, err := parseAccepted(9, v); !errors.Is(err, errRecord) {
		t.Errorf("with deliveries: %v", err)
	}
}

func TestShortRecordsAreRefused(t *testing.T) {
	for _, p := range parsers() {
		if _, _, err := p.again(p.sample); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		for n := range p.sample {
			if _, _, err := p.again(p.sample[:n]); !errors.Is(err, errRecord) {
				t.Errorf("%s cut to %d of %d octets: %v", p.name, n, len(p.sample), err)
			}
		}
		newer := append([]byte{p.sample[0] + 1}, p.sample[1:]...)
		if _, _, err := p.again(newer); !errors.Is(err, errRecord) {
			t.Errorf("%s of a newer version: %v", p.name, err)
		}
	}
}

func TestAddressesThatAreNoneAreRefused(t *testing.T) {
	for name, octets := range map[string][]byte{
		"no length": {1, 0, 0}, "too short": {2, 0, 0, 0, 1, 2}, "more bits than an address has": {5, 0, 0, 0, 192, 0, 2, 0, 33},
		"nothing": {0, 0, 0, 0}, "longer than the record": {255, 255, 255, 255, 1},
	} {
		f := &fields{b: octets}
		if p := f.prefix(); !errors.Is(f.err, errRecord) {
			t.Errorf("prefix, %s: %v, %v", name, p, f.err)
		}
	}
	for name, octets := range map[string][]byte{"no length": {1}, "five octets": {5, 0, 0, 0, 1, 2, 3, 4, 5}} {
		f := &fields{b: octets}
		if a := f.addr(); !errors.Is(f.err, errRecord) {
			t.Errorf("address, %s: %v, %v", name, a, f.err)
		}
	}
}

func FuzzSealedRecords(f *testing.F) {
	for i, p := range parsers() {
		f.Add(byte(i), p.sample)
	}
	f.Fuzz(func(t *testing.T, kind byte, octets []byte) {
		all := parsers()
		p := all[int(kind)%len(all)]
		value, record, err := p.again(octets)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Fatalf("%s: %v", p.name, err)
			}
			return
		}
		same, _, err := p.again(record)
		if err != nil || !reflect.DeepEqual(same, value) {
			t.Fatalf("%s: %+v became %+v, %v", p.name, value, same, err)
		}
	})
}
