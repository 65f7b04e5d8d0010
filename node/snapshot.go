package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/snapshot"
)

// snapshots writes the registry's snapshots, and counts them.
type snapshots struct {
	node    *Node
	writes  *prometheus.CounterVec
	entries prometheus.Gauge
	last    prometheus.Gauge
	skipped prometheus.Counter

	// Owned by the start, then by the goroutine that writes.
	wrote   int  // entries in the last one
	failing bool // the last one failed
	inWay   bool // an unusable file is in the way, and could not be set aside
}

// openData takes the data directory. If it can't be used, the start ends at once.
func (n *Node) openData() error {
	if n.opts.DataDir == "" {
		return nil
	}
	dir, err := snapshot.Open(n.opts.DataDir, n.opts.Cluster, n.opts.Name)
	switch {
	case errors.Is(err, snapshot.ErrInUse):
		return fmt.Errorf("data: %w", err)
	case err != nil:
		return fmt.Errorf("%w: data: %w", ErrOptions, err)
	}
	n.onStop("data directory", func(context.Context) error { return dir.Close() })
	return nil
}

// loadSnapshot loads the snapshot, if there is one. It returns nil if the node keeps
// none. An unusable file is set aside, and the node starts without it. If that fails
// too, the node starts all the same, but writes no snapshot until the file is out of
// the way: it may be the only copy left to examine.
func (n *Node) loadSnapshot() (*snapshots, error) {
	if n.opts.DataDir == "" {
		return nil, nil //nolint:nilnil // There are none.
	}
	s := &snapshots{
		node: n,
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_snapshot_writes_total", Help: "Snapshots written, by outcome: ok or failed.",
		}, []string{"outcome"}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registryd_snapshot_entries", Help: "Entries in the last snapshot written.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registryd_snapshot_last_success_timestamp_seconds", Help: "When the last snapshot was written.",
		}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "registryd_snapshot_skipped_entries_total",
			Help: "Entries of the snapshot loaded that could not be understood.",
		}),
	}
	for _, c := range []prometheus.Collector{s.writes, s.entries, s.last, s.skipped} {
		if err := n.metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return s, s.load()
}

// startSnapshots begins to write snapshots.
func (n *Node) startSnapshots(s *snapshots) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	n.onStop("snapshots", func(context.Context) error {
		cancel()
		running.Wait()
		return s.write()
	})
}

func (s *snapshots) load() error {
	n := s.node
	log, start := n.log.With("component", "snapshot"), time.Now()
	log.Info("snapshots kept", "dir", n.opts.DataDir, "interval", n.opts.SnapshotInterval)
	if removed, err := snapshot.RemoveLeftovers(n.opts.DataDir); err != nil {
		log.Warn("unfinished snapshots not removed", "removed", removed, "err", err)
	} else if removed > 0 {
		log.Info("unfinished snapshots removed", "removed", removed)
	}
	loaded, err := snapshot.Load(n.opts.DataDir, n.opts.Cluster, n.registry)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, snapshot.ErrUnusable):
		aside, asideErr := snapshot.SetAside(n.opts.DataDir)
		err = errors.Join(err, asideErr)
		if s.inWay = aside == ""; s.inWay {
			log.Error("snapshot unusable and could not be moved, snapshots disabled",
				"err", err, "file", filepath.Join(n.opts.DataDir, snapshot.File))
			return nil
		}
		log.Error("snapshot unusable, set aside", "err", err, "file", aside)
		return nil
	case err != nil:
		return fmt.Errorf("%w: data: %w", ErrOptions, err)
	}
	if loaded.Skipped > 0 {
		s.skipped.Add(float64(loaded.Skipped))
		log.Warn("snapshot entries skipped", "entries", loaded.Skipped, "err", loaded.Sample)
	}
	log.Info("snapshot loaded", "entries", loaded.Entries, "elapsed", time.Since(start))
	return nil
}

func (s *snapshots) run(ctx context.Context) {
	tick := time.NewTicker(s.node.opts.SnapshotInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = s.write() //nolint:errcheck // Logged and counted there; the next one may succeed.
		}
	}
}

// write writes a snapshot, unless there is nothing to keep or the node has not
// started: until then it may lack what its peers know. It logs when writes begin to
// fail, and when they work again.
func (s *snapshots) write() error {
	n := s.node
	select {
	case <-n.cluster.Started():
	default:
		return nil
	}
	if s.wrote == 0 && n.registry.Len() == 0 {
		return nil
	}
	log := n.log.With("component", "snapshot")
	entries, err := s.replace(log)
	if err != nil {
		s.writes.WithLabelValues("failed").Inc()
		if !s.failing {
			log.Error("snapshot failed", "err", err)
		}
		s.failing = true
		return err
	}
	if s.failing {
		log.Info("snapshots recovered", "entries", entries)
	}
	s.wrote, s.failing = entries, false
	s.writes.WithLabelValues("ok").Inc()
	s.entries.Set(float64(entries))
	s.last.SetToCurrentTime()
	return nil
}

// replace writes a snapshot over the previous one. It never overwrites an unusable
// file: it first tries again to set that aside, or finds that it is gone.
func (s *snapshots) replace(log *slog.Logger) (entries int, err error) {
	dir := s.node.opts.DataDir
	if s.inWay {
		aside, err := snapshot.SetAside(dir)
		if aside == "" && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		s.inWay = false
		log.Warn("snapshots enabled again", "file", aside)
	}
	return snapshot.Write(dir, s.node.opts.Cluster, s.node.registry)
}
