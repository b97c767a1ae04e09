package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// expiryWarning is how long before its end a certificate is complained about.
const expiryWarning = 30 * 24 * time.Hour

// watch rereads certificates and configuration on SIGHUP, and complains each
// day about certificates that end soon.
func (s *server) watch(ctx context.Context) {
	hangUp := make(chan os.Signal, 1)
	signal.Notify(hangUp, syscall.SIGHUP)
	defer signal.Stop(hangUp)
	daily := time.NewTicker(24 * time.Hour)
	defer daily.Stop()
	for {
		s.warnOfExpiry()
		select {
		case <-ctx.Done():
			return
		case <-daily.C:
		case <-hangUp:
			s.reload(ctx)
		}
	}
}

// reload takes over what may change while running: the certificates, the
// revocation lists and the white list, the level of the log. Whatever is wrong, the server goes on as it was.
func (s *server) reload(ctx context.Context) {
	next := s.config
	if s.config.path != "" {
		c, err := loadConfig(s.config.path)
		if err != nil {
			s.logger.Error("the configuration was not reread", "err", err)
			return
		}
		next = c
	}
	if keys := s.config.locked(next); len(keys) > 0 {
		s.logger.Warn("these keys changed: restart the server to use them", "keys", strings.Join(keys, ", "))
	}
	if level, err := next.level(); err == nil {
		s.level.Set(level)
	}
	if err := s.identity.Reload(next.TLS.Certificates); err != nil {
		s.logger.Error("the certificates were not reread: the old ones stay in use", "err", err)
		return
	}
	if err := s.peering.Reload(next.peering()); err != nil {
		s.logger.Error("the certificates for other operators were not reread: the old ones stay in use", "err", err)
		return
	}
	if s.anchors != nil {
		if err := s.anchors.Refresh(ctx); err != nil {
			s.logger.Error("some revocation lists were not reread: the old ones count until they end", "err", err)
		}
	}
	_ = s.whiteList.Refresh(ctx, false) // logged where it happens
	s.logger.Info("configuration, certificates and revocation lists reread")
}

func (s *server) warnOfExpiry() {
	soon := time.Now().Add(expiryWarning)
	for _, c := range append(s.identity.Expiring(soon), s.peering.Expiring(soon)...) {
		s.logger.Warn("a certificate ends soon: renew it, then send SIGHUP",
			"subject", c.Subject.String(), "names", strings.Join(c.DNSNames, " "), "until", c.NotAfter)
	}
}

// loggerTo writes to out in the form that the configuration asks for; level
// changes what is left out.
func loggerTo(out io.Writer, c *Config) (logger *slog.Logger, level *slog.LevelVar) {
	level = &slog.LevelVar{}
	if l, err := c.level(); err == nil {
		level.Set(l)
	}
	options := &slog.HandlerOptions{Level: level}
	logger = slog.New(slog.NewTextHandler(out, options))
	if c.Log.Format == "json" {
		logger = slog.New(slog.NewJSONHandler(out, options))
	}
	if c.operator != "" {
		logger = logger.With("operator", c.operator)
	}
	return logger, level
}
