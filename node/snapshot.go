package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/snapshot"
)

// snapshots writes the registry's snapshots, and counts.
type snapshots struct {
	node    *Node
	writes  *prometheus.CounterVec
	entries prometheus.Gauge
	last    prometheus.Gauge

	wrote   int  // entries in the last one; owned by whoever writes
	failing bool // the last one failed
}

// startSnapshots loads the snapshot, if there is one, and begins to write new
// ones. A file that is not usable is set aside: the node starts without it.
func (n *Node) startSnapshots() error {
	if n.opts.DataDir == "" {
		return nil
	}
	s := &snapshots{
		node: n,
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "registryd_snapshot_writes_total", Help: "Snapshots written, by result.",
		}, []string{"result"}),
		entries: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registryd_snapshot_entries", Help: "Entries in the last snapshot written.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "registryd_snapshot_last_success_timestamp_seconds", Help: "When the last snapshot was written.",
		}),
	}
	for _, c := range []prometheus.Collector{s.writes, s.entries, s.last} {
		if err := n.metrics.Register(c); err != nil {
			return err
		}
	}
	if err := s.load(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	n.onStop("snapshots", func(context.Context) error {
		cancel()
		running.Wait()
		return s.write()
	})
	return nil
}

func (s *snapshots) load() error {
	n := s.node
	log, start := n.log.With("component", "snapshot"), time.Now()
	entries, err := snapshot.Load(n.opts.DataDir, n.opts.Cluster, n.registry)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, snapshot.ErrUnusable):
		aside, asideErr := snapshot.SetAside(n.opts.DataDir)
		log.Error("snapshot set aside, starting without it", "err", err, "file", aside)
		return asideErr
	case err != nil:
		return fmt.Errorf("%w: data: %w", ErrOptions, err)
	}
	log.Info("snapshot loaded", "entries", entries, "elapsed", time.Since(start))
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
			_ = s.write() //nolint:errcheck // told and counted there; the next one may succeed
		}
	}
}

// write writes a snapshot, unless there is nothing to keep. The log tells when
// that begins to fail, and when it works again.
func (s *snapshots) write() error {
	n := s.node
	if s.wrote == 0 && n.registry.Len() == 0 {
		return nil
	}
	log := n.log.With("component", "snapshot")
	entries, err := snapshot.Write(n.opts.DataDir, n.opts.Cluster, n.registry)
	if err != nil {
		s.writes.WithLabelValues("failed").Inc()
		if !s.failing {
			log.Error("snapshots fail, a restart would forget what is new", "err", err)
		}
		s.failing = true
		return err
	}
	if s.failing {
		log.Info("snapshots work again", "entries", entries)
	}
	s.wrote, s.failing = entries, false
	s.writes.WithLabelValues("ok").Inc()
	s.entries.Set(float64(entries))
	s.last.SetToCurrentTime()
	return nil
}
