package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/registryd/registryd/bench/process"
)

// bySize measures one node with each number of instances.
func (o *options) bySize(ctx context.Context) (map[string][]float64, error) {
	out := make(map[string][]float64)
	var failed error
	for _, size := range o.sizes {
		one := make(map[string]float64)
		if err := o.size(ctx, size, one); err != nil { // what was measured before counts
			failed = fmt.Errorf("%d instances: %w", size, err)
			break
		}
		for name, v := range one {
			out[name] = append(out[name], v)
		}
	}
	table(out, "instances", "memory idle, MB", "memory filled, MB", "memory at the end, MB", "heartbeat, us of CPU",
		"mixed, us of CPU", "mixed p99, ms", "list unchanged p50, ms", "list after a change p99, ms",
		"snapshot and stop, ms", "snapshot, MB", "start from it, ms")
	return out, failed
}

func (o *options) size(ctx context.Context, size int, out map[string]float64) error {
	fmt.Fprintf(os.Stderr, "%d instances\n", size)
	add := func(name string, v float64) { out[name] = v }
	data, err := os.MkdirTemp("", "growth-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data) //nolint:errcheck // a temporary directory
	start := func() (*process.Server, error) {
		return process.Node(ctx, o.registryd, "measured", o.clients, nil, "--embedded-listen", "127.0.0.1:0",
			"--data", data, "--delta-retention", o.retention.String(), "--max-instances", "2000000")
	}
	s, err := start()
	if err != nil {
		return err
	}
	defer func() { s.Kill() }()
	add("instances", float64(size))
	f := process.Fleet{Size: size}
	memory := func(name string) error {
		mb, err := s.Memory()
		add(name, mb)
		return err
	}
	if err := memory("memory idle, MB"); err != nil {
		return err
	}
	if err := f.Fill(ctx, o.clients, s); err != nil {
		return err
	}
	if err := memory("memory filled, MB"); err != nil {
		return err
	}
	if err := pause(ctx, o.settle); err != nil {
		return err
	}
	for _, w := range process.Workloads() {
		m, err := f.Measure(ctx, s, w, o.clients, o.lasts)
		if err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		switch w.Name {
		case "heartbeat":
			add("heartbeat, us of CPU", micro(m.CPU))
		case "mixed":
			add("mixed, us of CPU", micro(m.CPU))
			add("mixed p99, ms", milli(m.P99))
		case "full list unchanged":
			add("list unchanged p50, ms", milli(m.P50))
		case "change, full list":
			add("list after a change p99, ms", milli(m.P99)) // half of the requests are lists, the slower half
		}
	}
	if err := memory("memory at the end, MB"); err != nil {
		return err
	}
	began := time.Now()
	if err := s.Stop(); err != nil {
		return err
	}
	add("snapshot and stop, ms", milli(time.Since(began)))
	info, err := os.Stat(filepath.Join(data, "registry.snapshot"))
	if err != nil {
		return err
	}
	add("snapshot, MB", float64(info.Size())/1e6)
	began = time.Now()
	again, err := start()
	if err != nil {
		return err
	}
	add("start from it, ms", milli(time.Since(began)))
	s = again
	return nil
}

func micro(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
