package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// peersMetric is a line of the benchmark of heartbeats with peers.
var peersMetric = regexp.MustCompile( //nolint:gochecknoglobals // fixed
	`^BenchmarkPeers/(\d+)\S*\s.*?([\d.]+) bare-ns.*?([\d.]+) node-ns.*?([\d.]+) x-bare`)

// byPeers runs the benchmark of heartbeats with simulated peers.
func byPeers(ctx context.Context) (map[string][]float64, error) {
	fmt.Fprintln(os.Stderr, "peers")
	bench := exec.CommandContext(ctx, "go", "test", "-run", "^$",
		"-bench", "^BenchmarkPeers$", "-benchtime", "40000x", "./bench")
	bench.Stderr = os.Stderr
	output, err := bench.Output()
	if err != nil {
		return nil, fmt.Errorf("benchmark of peers: %w\n%s", err, output)
	}
	out := make(map[string][]float64)
	for line := range strings.Lines(string(output)) {
		m := peersMetric.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for i, name := range []string{"peers", "bare handler, ns", "heartbeat, ns", "times the bare handler"} {
			v, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				return nil, err
			}
			out[name] = append(out[name], v)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("benchmark of peers: no line understood in\n%s", output)
	}
	table(out, "peers", "bare handler, ns", "heartbeat, ns", "times the bare handler")
	return out, nil
}
