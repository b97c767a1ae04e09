package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"telesphore/backend"
	"telesphore/backend/admind"
	"telesphore/backend/auth"
	"telesphore/backend/imapd"
	"telesphore/backend/notify"
	"telesphore/backend/queue"
	"telesphore/backend/relay"
	"telesphore/backend/smtpd"
	"telesphore/storage"
	"telesphore/tls"
)

// How long a stop may take: the doors say goodbye and finish what they are
// doing, then the store closes. Together it stays under ten seconds.
const shutdownTime = 8 * time.Second

// server is every component of one server, built and joined.
type server struct {
	config    *Config
	logger    *slog.Logger
	level     *slog.LevelVar
	listeners map[string]net.Listener // by the name of the door
	identity  *tls.Identity
	anchors   *tls.Anchors
	whiteList *tls.WhiteList // nil when there is none
	store     *storage.Store
	audit     *storage.Audit
	auth      *auth.Authenticator
	imap      *imapd.Server
	smtp      *smtpd.Server // for our users
	exchange  *smtpd.Server // for other servers
	peering   *tls.Identity // what we show there
	relay     *relay.Relay
	queue     *queue.Runner
	notifier  *notify.Notifier
	admin     *admind.Server
	socket    net.Listener
	socketAt  string         // where the administration socket can be reached
	closers   []func() error // what close undoes, last first
}

// build opens and joins everything that c describes. Every port is taken before
// it returns; nobody is answered before serve. lock, the lock on c's data
// directory, is given up when all is closed again.
func build(ctx context.Context, c *Config, lock *os.File) (*server, error) {
	s := &server{config: c, listeners: make(map[string]net.Listener)}
	s.logger, s.level = loggerTo(os.Stderr, c)
	s.onClose(lock.Close)
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// open is build's work; what it opened before an error is close's to close.
func (s *server) open(ctx context.Context) (err error) {
	c, logger := s.config, s.logger
	if s.identity, err = tls.Open(c.TLS.Certificates); err != nil {
		return fmt.Errorf("read the server's certificates: %w", err)
	}
	if s.anchors, err = s.openAnchors(); err != nil {
		return fmt.Errorf("read the authorities of cards: %w", err)
	}
	if err := s.listen(); err != nil {
		return err
	}
	if err := s.openStore(ctx); err != nil {
		return err
	}
	audit := c.Audit
	audit.Logger = logger
	if s.audit, err = storage.OpenAudit(c.file(auditDir), audit); err != nil {
		return err
	}
	s.onClose(s.audit.Close)
	router := &backend.Router{
		Store: s.store, Domains: c.Domains, Postmaster: c.Postmaster, SubAddress: c.SubAddress, Aliases: c.Aliases,
		Outside: c.outside(), Lifetime: c.Queue.Lifetime, Sending: c.Sending, Documents: c.Documents,
	}
	if err := s.openWhiteList(router); err != nil {
		return fmt.Errorf("read the roots of the white list: %w", err)
	}
	if err := s.openMail(router); err != nil {
		return err
	}
	s.notifier = &notify.Notifier{Router: router, Hostname: c.Hostname, Reach: s.relay.Reaches, Logger: logger}
	s.auth = s.authenticator(router)
	s.imap = &imapd.Server{
		Store: s.store, Auth: s.auth, TLS: s.identity.Server(s.anchors),
		Hostname: c.Hostname, Limits: c.IMAP, Logger: logger,
	}
	s.doorsOfMail(router)
	s.admin = &admind.Server{
		Store: s.store, Auth: s.auth, Anchors: s.anchors, Router: router, WhiteList: s.whiteList, Queue: s.queue, Limits: c.Admin, Log: logger,
	}
	return nil
}

// authenticator is who knows who is calling.
func (s *server) authenticator(router *backend.Router) *auth.Authenticator {
	c, a := s.config, &s.config.Auth
	return &auth.Authenticator{
		Store: s.store, Audit: s.audit, Anchors: s.anchors, Language: c.Language, Policy: c.policy(),
		Ours: router.Local, Notify: s.notifier.Notice, Logger: s.logger,
		Params: a.params(), MaxHashes: a.Hashes, MaxQueue: a.Queue, CacheFor: a.CacheFor, CacheSize: a.CacheSize,
		Cards: c.cardRules(), RecheckCards: c.Cards.Recheck, Codes: a.Codes, Grants: a.Grants,
		AppPasswords: auth.AppPasswordLimits{
			Off: !a.AppPasswords.Enabled, Level: a.AppPasswords.Level,
			Life: a.AppPasswords.Life, PerAccount: a.AppPasswords.PerAccount,
		},
		SCRAM:        auth.SCRAMOptions{Off: !a.SCRAM, AppPasswordsOnly: !a.SCRAMPasswords, Iterations: a.SCRAMIterations},
		Hidden:       map[string][]string{"imap": a.HideIMAP, "smtp": a.HideSMTP},
		TokenSession: a.TokenSession, Throttle: a.Throttle,
	}
}

// openAnchors reads whose cards are believed. Nobody's, and no card is asked for,
// when the configuration names no issuer.
func (s *server) openAnchors() (*tls.Anchors, error) {
	c := &s.config.Cards
	if len(c.Issuers) == 0 {
		return nil, nil
	}
	var issuers []tls.Issuer
	for _, i := range c.Issuers {
		issuers = append(issuers, i.Issuer)
	}
	return tls.OpenAnchors(issuers, tls.AnchorOptions{
		Dir: s.config.file(listsDir), Refresh: c.Refresh, Grace: c.Grace, Size: c.ListSize, Timeout: c.Timeout,
		Answers: c.Answers, AnswerFor: c.AnswerFor, OnChange: s.recheck, Logger: s.logger,
	})
}

// openWhiteList reads the list of the trust space, if there is one, and shows it to
// the router.
func (s *server) openWhiteList(router *backend.Router) (err error) {
	w := &s.config.WhiteList
	if w.Source == "" {
		return nil
	}
	s.whiteList, err = tls.OpenWhiteList(tls.WhiteListOptions{
		Source: w.Source, Roots: w.Roots, File: s.config.file(whiteListFile), Refresh: w.Refresh, MaxAge: w.MaxAge,
		Timeout: w.Timeout, Size: w.Size, Entries: w.Entries, MaxLoss: w.MaxLoss,
		Normal: backend.ParseDomain, Logger: s.logger,
	})
	if err == nil {
		router.WhiteList = s.whiteList
	}
	return err
}

// recheck looks at the cards of open log-ins: a revocation list has changed.
func (s *server) recheck() {
	if s.auth != nil { // lists are read before anybody can log in
		s.auth.Recheck(context.Background())
	}
}

// serve answers at every door until ctx ends or a door fails, then stops: the
// listeners close, IMAP says BYE and SMTP 421, and the store closes last. ready
// is called when every door answers.
func (s *server) serve(ctx context.Context, ready func() error) error {
	// Connections outlive ctx: shutdown ends them.
	running, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	watching, rest := context.WithCancel(ctx)
	defer rest()

	var doors sync.WaitGroup
	failed := make(chan error, len(s.listeners)+1)
	open := func(name string, serve func(context.Context, net.Listener) error, ln net.Listener) {
		doors.Go(func() {
			if err := serve(running, ln); err != nil {
				failed <- fmt.Errorf("door %s: %w", name, err)
			}
		})
	}
	for _, d := range s.config.doors() {
		open(d.name, s.handler(d), s.listeners[d.name])
	}
	open("admin", s.admin.Serve, s.socket)
	doors.Go(func() { s.watch(watching) })
	doors.Go(func() { s.auth.Run(watching) })
	doors.Go(func() { s.dropOld(watching) })
	doors.Go(func() { s.queue.Run(watching) })
	if s.anchors != nil {
		doors.Go(func() { s.anchors.Run(watching) })
	}
	if s.whiteList != nil {
		doors.Go(func() { s.whiteList.Run(watching) })
	}

	err := ready()
	if err == nil {
		select {
		case <-ctx.Done(): // what was asked for
		case err = <-failed:
		}
	}
	rest()
	s.shutdown(ctx)
	cut()
	doors.Wait()
	return errors.Join(err, s.close())
}

// handler is who answers at a door.
func (s *server) handler(d door) func(context.Context, net.Listener) error {
	switch d.protocol {
	case "submission":
		if d.implicit {
			return s.smtp.ServeTLS
		}
		return s.smtp.Serve
	case "smtp":
		return s.exchange.Serve
	}
	if d.implicit {
		return s.imap.ServeTLS
	}
	return s.imap.Serve
}

// shutdown lets every door say goodbye at the same time, and cuts off who is slow.
func (s *server) shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	s.logger.Info("stopping")
	var doors sync.WaitGroup
	for _, shutdown := range []func(context.Context) error{s.imap.Shutdown, s.smtp.Shutdown, s.exchange.Shutdown, s.admin.Shutdown} {
		doors.Go(func() {
			if err := shutdown(ctx); err != nil {
				s.logger.Warn("connections were cut off", "err", err)
			}
		})
	}
	doors.Wait()
}

// onClose adds a step to close.
func (s *server) onClose(f func() error) { s.closers = append(s.closers, f) }

// close undoes build, last things first.
func (s *server) close() error {
	var errs []error
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		errs = append(errs, s.closers[last]())
		s.closers = s.closers[:last]
	}
	return errors.Join(errs...)
}

// listen takes the ports and the administration socket.
func (s *server) listen() error {
	for _, d := range s.config.doors() {
		ln, err := net.Listen("tcp", d.address)
		if err != nil {
			return explainPort(d, err)
		}
		s.listeners[d.name] = ln
		s.onClose(closeQuietly(ln))
	}
	var err error
	if s.socket, s.socketAt, err = admind.Listen(s.config.AdminSocket); err != nil {
		return err
	}
	s.onClose(closeQuietly(s.socket))
	return nil
}

// closeQuietly closes a listener that its door may have closed already.
func closeQuietly(ln net.Listener) func() error {
	return func() error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// explainPort says why a door cannot open and what to do.
func explainPort(d door, err error) error {
	host, port, _ := net.SplitHostPort(d.address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("door %s: port %s is taken by another program: stop that one, or choose another port", d.name, port)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("door %s: port %s is reserved: run as root, or give the program CAP_NET_BIND_SERVICE", d.name, port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("door %s: this machine has no address %s", d.name, host)
	}
	return fmt.Errorf("door %s: listen at %s: %w", d.name, d.address, err)
}
