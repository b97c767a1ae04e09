package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"telesphore/backend/dkim"
)

// demoTTL is how long the demo's answers hold, in seconds.
const demoTTL = 1

// demoDNS is the demo's name server: what the zones of its domains would say, and
// of nothing else. It asks nobody.
type demoDNS struct {
	records map[string][]dns.RR // by name, in lower case with the last dot
	packets *dns.Server
	streams *dns.Server
}

// newDNS starts it at an address for UDP and TCP, where port 0 lets the system choose.
func newDNS(address string) (*demoDNS, error) {
	packets, streams, err := listenBoth(address)
	if err != nil {
		return nil, err
	}
	s := &demoDNS{records: make(map[string][]dns.RR)}
	s.packets = &dns.Server{PacketConn: packets, Handler: s}
	s.streams = &dns.Server{Listener: streams, Handler: s}
	return s, nil
}

// listenBoth takes one port for UDP and TCP.
func listenBoth(address string) (net.PacketConn, net.Listener, error) {
	const tries = 20 // the system chooses a port for UDP, and TCP may not have it
	var err error
	for range tries {
		var packets net.PacketConn
		var streams net.Listener
		if packets, err = net.ListenPacket("udp", address); err != nil {
			break
		}
		if streams, err = net.Listen("tcp", packets.LocalAddr().String()); err == nil {
			return packets, streams, nil
		}
		_ = packets.Close()
	}
	return nil, nil, explainPort(door{name: "dns", address: address}, err)
}

// Addr is where it listens.
func (s *demoDNS) Addr() string { return s.packets.PacketConn.LocalAddr().String() }

// add takes a record in, as zone files write it.
func (s *demoDNS) add(format string, args ...any) error {
	rr, err := dns.NewRR(fmt.Sprintf(format, args...))
	if err != nil {
		return fmt.Errorf("make a record of the demo's zones: %w", err)
	}
	rr.Header().Ttl = demoTTL
	name := strings.ToLower(rr.Header().Name)
	s.records[name] = append(s.records[name], rr)
	return nil
}

// zones starts the name server with what is to be known of the demo's domains.
func (d *demo) zones(address string) (*demoDNS, error) {
	s, err := newDNS(address)
	if err != nil {
		return nil, err
	}
	for _, o := range d.operators() {
		err = errors.Join(err, s.zone(o.domain, o.host, o.keys()))
	}
	err = errors.Join(err, s.zone(demoInternet, "mail."+demoInternet, nil))
	s.serve()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// zone is what a domain of the demo says about its mail: who takes it, who sends it,
// and that whatever comes from elsewhere without a signature is not its own.
func (s *demoDNS) zone(domain, host string, keys []dkim.Key) error {
	errs := []error{
		s.add("%s. MX 10 %s.", domain, host),
		s.add("%s. TXT %q", domain, "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all"),
		s.add("_dmarc.%s. TXT %q", domain, "v=DMARC1; p=reject"),
		s.add("%s. A 127.0.0.1", host),
		s.add("%s. TXT %q", host, "v=spf1 ip4:127.0.0.0/8 ip6:::1 -all"), // for mail without a sender (RFC 7208 section 2.4)
	}
	for _, k := range keys {
		name, value, err := dkim.Record(k)
		if err != nil {
			return fmt.Errorf("read a key of the demo: %w", err)
		}
		errs = append(errs, s.add("%s TXT %s", dns.Fqdn(name), quoted(value)))
	}
	return errors.Join(errs...)
}

// quoted is a value in strings that a record can hold, which readers put together
// again (RFC 6376 section 3.6.2.2).
func quoted(value string) string {
	const longest = 255 // octets of one string (RFC 1035 section 3.3)
	var b strings.Builder
	for value != "" {
		n := min(len(value), longest)
		fmt.Fprintf(&b, "%q ", value[:n])
		value = value[n:]
	}
	return b.String()
}

// serve answers, in the background.
func (s *demoDNS) serve() {
	for _, server := range []*dns.Server{s.packets, s.streams} {
		begun := make(chan struct{}) // before that it cannot be stopped
		server.NotifyStartedFunc = sync.OnceFunc(func() { close(begun) })
		go func() {
			defer server.NotifyStartedFunc()
			if err := server.ActivateAndServe(); err != nil {
				slog.Warn("the demo's name server stopped", "err", err)
			}
		}()
		<-begun
	}
}

// Close stops it. Who asks something at this moment gets the answer.
func (s *demoDNS) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return errors.Join(s.packets.ShutdownContext(ctx), s.streams.ShutdownContext(ctx))
}

// ServeDNS makes demoDNS a handler of package dns.
func (s *demoDNS) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(query)
	reply.Authoritative = true
	if len(query.Question) != 1 || query.Question[0].Qclass != dns.ClassINET {
		reply.Rcode = dns.RcodeRefused
	} else {
		s.answer(query.Question[0], reply)
	}
	size := dns.MinMsgSize
	if o := query.IsEdns0(); o != nil {
		size = max(size, int(o.UDPSize()))
		reply.SetEdns0(o.UDPSize(), false)
	}
	if _, stream := w.RemoteAddr().(*net.TCPAddr); stream {
		size = dns.MaxMsgSize
	}
	reply.Truncate(size)
	_ = w.WriteMsg(reply) // who asks will ask again
}

// answer looks a name up. One that has no record but names below it exists (RFC 8020).
func (s *demoDNS) answer(question dns.Question, reply *dns.Msg) {
	name := strings.ToLower(question.Name)
	records, exists := s.records[name]
	for _, rr := range records {
		if t := rr.Header().Rrtype; t == question.Qtype || question.Qtype == dns.TypeANY {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	for below := range s.records {
		exists = exists || strings.HasSuffix(below, "."+name)
	}
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
}
