package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/registryd/registryd/access"
	"github.com/registryd/registryd/internal/certs"
)

// Security says who may use a node's HTTP server, and what it shows.
type Security struct {
	// Access are the logins. Without a file anybody may do anything.
	Access access.Options
	// TLSCert and TLSKey are files in PEM: with them the server speaks https alone, HTTP/1.1,
	// TLS 1.2 or newer. TLSClientCA holds the CAs whose client certificates prove logins;
	// without logins each client has to show one. All are reread when they change.
	TLSCert, TLSKey, TLSClientCA string
	// OpenMetrics shows /metrics to who has no login.
	OpenMetrics bool
	// Debug serves /debug/pprof and /debug/log-level also without logins. With logins
	// they are there, for admins.
	Debug bool
	// LogLevel is what /debug/log-level sets; nil: that path is not served.
	LogLevel *slog.LevelVar
}

// secure reports whether clients come by https.
func (s *Security) secure() bool { return s.TLSCert != "" }

// check returns what is wrong.
func (s *Security) check() error {
	if s.TLSCert == "" && s.TLSKey == "" && s.TLSClientCA == "" {
		return nil
	}
	if s.TLSCert == "" || s.TLSKey == "" {
		return errors.New("tls cert and tls key: both are needed for https")
	}
	_, err := s.certificates(nil)
	return err
}

// certificates reads the certificates of the HTTP server.
func (s *Security) certificates(log *slog.Logger) (*certs.Store, error) {
	auth := tls.RequireAndVerifyClientCert
	if s.Access.File != "" {
		auth = tls.VerifyClientCertIfGiven // a password is as good, and probes of health have neither
	}
	store, err := certs.Open("http", certs.Files{CA: s.TLSClientCA, Cert: s.TLSCert, Key: s.TLSKey}, auth, log)
	if err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	return store, nil
}

// startTLS reads the certificates of the HTTP server, and rereads them when they change. It
// returns nil for http.
func (n *Node) startTLS() (*tls.Config, error) {
	s := &n.opts.Security
	if !s.secure() {
		return nil, nil //nolint:nilnil // No files, no TLS: crypto/tls takes nil in that sense too.
	}
	store, err := s.certificates(n.log.With("component", "http"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if err := n.metrics.Register(store); err != nil {
		return nil, fmt.Errorf("http: metrics: %w", err)
	}
	n.run("certificates", store.Run)
	return store.Server(), nil
}

// startAccess reads the logins, and rereads them when they change.
func (n *Node) startAccess() error {
	opts := n.opts.Security.Access
	if opts.File == "" {
		return nil
	}
	opts.Logger = n.log
	guard, err := access.New(opts)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	for _, c := range guard.Collectors() {
		if err := n.metrics.Register(c); err != nil {
			return fmt.Errorf("access: metrics: %w", err)
		}
	}
	n.guard = guard
	n.run("access", guard.Run)
	return nil
}

// run runs a loop until the node stops.
func (n *Node) run(name string, loop func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { loop(ctx) })
	n.onStop(name, func(context.Context) error {
		cancel()
		running.Wait()
		return nil
	})
}
