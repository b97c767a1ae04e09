package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"telesphore/backend"
	"telesphore/backend/dkim"
	"telesphore/backend/origin"
	"telesphore/backend/queue"
	"telesphore/backend/relay"
	"telesphore/backend/scan"
	"telesphore/backend/smtpd"
	"telesphore/tls"
)

// This file joins what carries mail between servers.

// openMail makes what takes mail out and lets mail in, around a router that is
// complete but for how messages are signed.
func (s *server) openMail(router *backend.Router) error {
	c := s.config
	signer, err := dkim.Open(c.DKIM, s.logger)
	if err != nil {
		return fmt.Errorf("read the keys that sign mail: %w", err)
	}
	router.Sign = signer.Sign
	if s.peering, err = tls.Open(c.peering()); err != nil {
		return fmt.Errorf("read the certificates for other operators: %w", err)
	}
	routes, err := c.routes()
	if err != nil {
		return err
	}
	s.relay = &relay.Relay{
		Hostname: c.Hostname, Routes: routes, Anchors: s.anchors, Identity: s.peering, Resolver: c.resolver(),
		Trusted: func(domain string) bool {
			// What was accepted for a domain that has left goes nowhere else.
			_, left := router.Left(domain)
			return left || router.Zone(domain) == backend.Trusted
		},
		Covers: func(domain string, leaf *x509.Certificate) bool { return s.whiteList.Covers(domain, leaf) },
		Limits: c.Relay, Logger: s.logger,
	}
	s.onClose(s.relay.Close)
	s.queue = &queue.Runner{
		Store: s.store, Router: router, Send: s.relay.Send, Hostname: c.Hostname, Language: c.Language,
		Limits: c.Queue, Logger: s.logger,
	}
	return nil
}

// doorsOfMail are the two doors for mail.
func (s *server) doorsOfMail(router *backend.Router) {
	c := s.config
	scanner := s.scanner()
	s.smtp = &smtpd.Server{
		Store: s.store, Auth: s.auth, Router: router, TLS: s.identity.Server(s.anchors), Scanner: scanner, Reaches: s.relay.Reaches,
		Hostname: c.Hostname, Language: c.Language, Limits: c.SMTP, Logger: s.logger,
	}
	s.exchange = &smtpd.Server{
		Store: s.store, Auth: s.auth, Router: router, TLS: s.peering.Server(s.anchors), Scanner: scanner, Reaches: s.relay.Reaches,
		Hostname: c.Hostname, Language: c.Language, Limits: c.SMTP, Logger: s.logger,
		Exchange: &smtpd.Exchange{
			Anchors: s.anchors, Peers: s.whiteList, Systems: c.Systems, Mark: c.Origin.OnFailure == "mark",
			Origin: &origin.Checker{Hostname: c.Hostname, Resolver: c.resolver(), Limits: c.Origin.Limits},
		},
	}
}

// peering are the certificates that other operators are shown.
func (c *Config) peering() []tls.Pair {
	if len(c.WhiteList.Certificates) > 0 {
		return c.WhiteList.Certificates
	}
	return c.TLS.Certificates
}

// routes are those of the configuration, with their passwords.
func (c *Config) routes() (routes []relay.Route, err error) {
	for _, r := range c.Routes {
		if r.PasswordFile != "" {
			password, err := os.ReadFile(r.PasswordFile)
			if err != nil {
				return nil, fmt.Errorf("read the password of a route: %w", err)
			}
			r.Password = strings.TrimRight(string(password), "\r\n")
		}
		if r.Security == routeTrusted {
			r.Security = relay.StartTLS
		}
		routes = append(routes, r.Route)
	}
	return routes, nil
}

// scanner asks the mail filter of the configuration, if there is one.
func (s *server) scanner() *scan.Scanner {
	c := s.config
	if c.Scan.Milter == "" {
		return nil
	}
	return &scan.Scanner{
		Address: c.Scan.Milter, Hostname: c.Hostname, Timeout: c.Scan.Timeout, Open: c.Scan.OnFailure == "accept", Fields: c.Scan.Fields, Replies: c.Scan.Replies, Logger: s.logger,
	}
}

// resolver looks names up where the configuration says. One server after the other is
// asked, so that one that is down costs a try and no more.
func (c *Config) resolver() *net.Resolver {
	r := &net.Resolver{PreferGo: true}
	if len(c.DNS.Servers) == 0 {
		return r
	}
	var asked atomic.Uint64
	r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := c.DNS.Servers[int(asked.Add(1)-1)%len(c.DNS.Servers)]
		d := net.Dialer{Timeout: c.DNS.Timeout}
		conn, err := d.DialContext(ctx, network, server)
		if err != nil {
			return nil, err
		}
		if udp, ok := conn.(*net.UDPConn); ok {
			return &datagrams{udp, c.DNS.Timeout}, nil
		}
		return &stream{conn, c.DNS.Timeout}, nil
	}
	return r
}

// datagrams and stream are connections to a name server on which no answer is waited for any longer
// than timeout. They are two, since net.Resolver knows the one that has packets by its methods.
type datagrams struct {
	*net.UDPConn
	timeout time.Duration
}

type stream struct {
	net.Conn
	timeout time.Duration
}

// SetDeadline implements net.Conn.
func (c *datagrams) SetDeadline(t time.Time) error {
	return c.UDPConn.SetDeadline(sooner(t, c.timeout))
}

// SetDeadline implements net.Conn.
func (c *stream) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(sooner(t, c.timeout)) }

func sooner(t time.Time, timeout time.Duration) time.Time {
	if limit := time.Now().Add(timeout); t.IsZero() || limit.Before(t) {
		return limit
	}
	return t
}

// dropOld forgets, once a day, what became of messages that were sent long ago.
func (s *server) dropOld(ctx context.Context) {
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	for {
		before := time.Now().Add(-s.config.Traces)
		if _, err := s.store.DropTraces(ctx, before); err != nil && ctx.Err() == nil {
			s.logger.Error("old traces of messages were not dropped", "err", err)
		}
		if _, err := s.store.DropSent(ctx, before); err != nil && ctx.Err() == nil {
			s.logger.Error("old counts of messages were not dropped", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-daily.C:
		}
	}
}
