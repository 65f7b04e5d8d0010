// Package certs keeps certificates of files up to date, for servers and for clients.
//
//	CA, certificate, key ──reread──▶ Material ──▶ Server: each handshake takes the newest
//	                                          └─▶ Material.Client: a connection takes what is there
//
// Connections that stand go on with what they began with. A certificate that is not valid now is
// not taken while the one before is.
package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/internal/reread"
	"github.com/registryd/registryd/internal/sample"
)

const (
	// soon is how long before its end a certificate is warned of.
	soon = 7 * 24 * time.Hour
	// soonInterval is the time between two such warnings.
	soonInterval = 12 * time.Hour
)

// Files are files in PEM. An empty name means that there is none.
type Files struct {
	CA   string // certificates to trust; on a server: of which a client's must be signed
	Cert string // this side's certificate, with those between it and its CA
	Key  string // the key of Cert
}

// Set reports whether any file is named.
func (f Files) Set() bool { return f != Files{} }

// Material is what the files held. It does not change.
type Material struct {
	Pool  *x509.CertPool    // nil: no CA
	Pairs []tls.Certificate // none or one

	caEnd, certEnd time.Time // of the first that ends
	authorities    []*x509.Certificate
	leaf           *x509.Certificate // nil: none
	server         *tls.Config
}

var _ reread.Timed[Material] = (*Material)(nil)

// Behind implements [reread.Timed]: a certificate that has ended, or not begun, is not taken in
// the place of one that others accept. Neither are CAs of which none is valid.
func (m *Material) Behind(old *Material, now time.Time) error {
	if m.leaf != nil && valid(old.leaf, now) == nil {
		if err := valid(m.leaf, now); err != nil {
			return fmt.Errorf("tls cert: the certificate %w, and the one before is valid until %s", err, day(old.leaf))
		}
	}
	was := anyValid(old.authorities, now)
	if len(m.authorities) > 0 && was != nil && anyValid(m.authorities, now) == nil {
		return fmt.Errorf("tls ca: none is valid now, and one of those before is until %s", day(was))
	}
	return nil
}

// valid returns why a certificate is not valid at a time. There may be none.
func valid(c *x509.Certificate, now time.Time) error {
	switch {
	case c == nil:
		return errors.New("is missing")
	case now.After(c.NotAfter):
		return fmt.Errorf("has ended at %s", day(c))
	case now.Before(c.NotBefore):
		return fmt.Errorf("begins at %s", c.NotBefore.UTC().Format(time.RFC3339))
	default:
		return nil
	}
}

// anyValid returns one of the certificates that is valid at a time, nil if none is.
func anyValid(all []*x509.Certificate, now time.Time) *x509.Certificate {
	for _, c := range all {
		if valid(c, now) == nil {
			return c
		}
	}
	return nil
}

// day returns when a certificate ends.
func day(c *x509.Certificate) string { return c.NotAfter.UTC().Format(time.RFC3339) }

// Client returns a configuration for connections that begin now.
func (m *Material) Client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: m.Pool, Certificates: m.Pairs}
}

// Store is the newest material of some files. One goroutine calls Look, or Run; all else may
// be called from any.
type Store struct {
	use   string
	files Files
	kept  *reread.Files[Material]
	log   *slog.Logger
	ends  sample.Sample
}

// Open reads the files. use names their use in logs and metrics; auth is what a server asks of
// its clients if there is a CA.
func Open(use string, f Files, auth tls.ClientAuthType, log *slog.Logger) (*Store, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("tls cert and tls key: one without the other")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var names []string
	for _, name := range []string{f.CA, f.Cert, f.Key} {
		if name != "" {
			names = append(names, name)
		}
	}
	s := &Store{use: use, files: f, log: log}
	var err error
	s.kept, err = reread.Open(use, names, log, func(contents [][]byte) (*Material, error) {
		return f.parse(contents, auth)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parse makes the material of the contents of the files that are named.
func (f Files) parse(contents [][]byte, auth tls.ClientAuthType) (*Material, error) {
	m := &Material{}
	if f.CA != "" {
		m.Pool = x509.NewCertPool()
		for rest := contents[0]; ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("tls ca %q: %w", f.CA, err)
			}
			m.Pool.AddCert(cert)
			m.authorities = append(m.authorities, cert)
			m.caEnd = first(m.caEnd, cert.NotAfter)
		}
		if m.caEnd.IsZero() {
			return nil, fmt.Errorf("tls ca: no certificate in %q", f.CA)
		}
		contents = contents[1:]
	}
	if f.Cert != "" {
		pair, err := tls.X509KeyPair(contents[0], contents[1])
		if err != nil {
			return nil, fmt.Errorf("tls cert %q, key %q: %w", f.Cert, f.Key, err)
		}
		m.Pairs = []tls.Certificate{pair}
		for i, der := range pair.Certificate {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, fmt.Errorf("tls cert %q: %w", f.Cert, err)
			}
			if i == 0 {
				m.leaf = cert
			}
			m.certEnd = first(m.certEnd, cert.NotAfter)
		}
	}
	m.server = &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: m.Pairs, NextProtos: []string{"http/1.1"},
	}
	if m.Pool != nil {
		m.server.ClientCAs, m.server.ClientAuth = m.Pool, auth
	}
	return m, nil
}

func first(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// Current returns the newest material.
func (s *Store) Current() *Material { return s.kept.Current() }

// Server returns a configuration whose handshakes take the newest certificate and CA. It
// offers HTTP/1.1 alone, where the other side asks.
func (s *Store) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		Certificates: s.Current().Pairs,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.Current().server, nil
		},
	}
}

// Look takes files that have changed, and warns of a certificate that ends soon.
func (s *Store) Look() {
	s.kept.Look()
	now := s.Current()
	end := first(now.certEnd, cmp.Or(now.caEnd, now.certEnd))
	left := time.Until(end)
	if end.IsZero() || left >= soon || !s.ends.Due(soonInterval) {
		return
	}
	where := []any{"use", s.use, "end", end.UTC(), "ca", s.files.CA, "cert", s.files.Cert}
	if left <= 0 {
		s.log.Error("a certificate has ended, others refuse it", where...)
		return
	}
	s.log.Warn("a certificate ends soon", where...)
}

// Run looks at the files until ctx is done.
func (s *Store) Run(ctx context.Context) {
	tick := time.NewTicker(reread.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Look()
		}
	}
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(out chan<- *prometheus.Desc) {
	s.kept.Describe(out)
	out <- s.desc()
}

func (s *Store) desc() *prometheus.Desc {
	return prometheus.NewDesc("registryd_tls_certificate_expiry_seconds",
		"Time until the first certificate of a file ends, below 0 after that, by what it is for.",
		[]string{"part"}, prometheus.Labels{"use": s.use})
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(out chan<- prometheus.Metric) {
	s.kept.Collect(out)
	now, desc := s.Current(), s.desc()
	for part, end := range map[string]time.Time{"certificate": now.certEnd, "ca": now.caEnd} {
		if !end.IsZero() {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, time.Until(end).Seconds(), part)
		}
	}
}
