package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/registryd/registryd/access"
)

// Security says who may use a node's HTTP server, and what it shows.
type Security struct {
	// Access are the logins. Without a file anybody may do anything.
	Access access.Options
	// OpenMetrics shows /metrics to who has no login.
	OpenMetrics bool
	// Debug serves /debug/pprof and /debug/log-level also without logins. With logins
	// they are there, for admins.
	Debug bool
	// LogLevel is what /debug/log-level sets; nil: that path is not served.
	LogLevel *slog.LevelVar
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
