package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/bench/process"
)

// What clusters of each size are asked.
const (
	clusterFleet = 2000 // instances
	changes      = 30   // whose way to all nodes is timed
)

// byNodes measures clusters of each number of nodes, as processes and in one.
func (o *options) byNodes(ctx context.Context) (map[string][]float64, error) {
	out := make(map[string][]float64)
	for _, n := range o.nodes {
		out["nodes"] = append(out["nodes"], float64(n))
		fmt.Fprintf(os.Stderr, "%d nodes\n", n)
		for _, kind := range []string{"processes", "one process"} {
			if err := o.cluster(ctx, kind, n, out); err != nil {
				return nil, fmt.Errorf("%d nodes, %s: %w", n, kind, err)
			}
		}
	}
	names := []string{"nodes"}
	for _, kind := range []string{"processes", "one process"} {
		for _, what := range []string{
			"known to all p50, ms", "known to all longest, ms", "a heartbeat on all nodes, us of CPU",
			"memory of all, MB",
		} {
			names = append(names, kind+": "+what)
		}
	}
	table(out, names...)
	return out, nil
}

// cluster measures one cluster.
func (o *options) cluster(ctx context.Context, kind string, n int, out map[string][]float64) error {
	dir, err := os.MkdirTemp("", "growth-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	start := o.processes
	if kind == "one process" {
		start = o.inOne
	}
	servers, owners, err := start(ctx, dir, n)
	defer func() {
		for _, s := range owners {
			if s != nil {
				s.Kill()
			}
		}
	}()
	if err != nil {
		return err
	}
	f := process.Fleet{Size: clusterFleet}
	if err := f.Fill(ctx, o.clients, servers...); err != nil {
		return err
	}
	if err := pause(ctx, 3*time.Second); err != nil { // what was registered is on its way
		return err
	}
	times, err := knownToAll(ctx, f, servers)
	if err != nil {
		return err
	}
	add := func(what string, v float64) { out[kind+": "+what] = append(out[kind+": "+what], v) }
	add("known to all p50, ms", milli(times[len(times)/2]))
	add("known to all longest, ms", milli(times[len(times)-1]))
	cpu, err := o.heartbeats(ctx, f, servers, owners)
	if err != nil {
		return err
	}
	add("a heartbeat on all nodes, us of CPU", micro(cpu))
	memory := 0.0
	for _, s := range owners {
		mb, err := s.Memory()
		if err != nil {
			return err
		}
		memory += mb
	}
	add("memory of all, MB", memory)
	return nil
}

// processes starts a process for each node, whose embedded brokers join each other.
func (o *options) processes(ctx context.Context, dir string, n int) (servers, owners []*process.Server, err error) {
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("of-this-run\n"), 0o600); err != nil {
		return nil, nil, err
	}
	routes := make([]string, n)
	for i := range routes {
		if routes[i], err = process.FreeAddr(ctx); err != nil {
			return nil, nil, err
		}
	}
	servers = make([]*process.Server, n)
	errs := make([]error, n)
	var starting sync.WaitGroup
	for i, route := range routes {
		starting.Go(func() { // each waits for the others
			servers[i], errs[i] = process.Node(ctx, o.registryd, fmt.Sprintf("n%d", i+1), o.clients, nil,
				"--embedded-listen", "127.0.0.1:0", "--embedded-route-listen", route,
				"--embedded-routes", strings.Join(routes, ","), "--cluster-secret-file", secret,
				"--data", "none", "--peers", strconv.Itoa(n-1))
		})
	}
	starting.Wait()
	return servers, servers, errors.Join(errs...)
}

// inOne starts all nodes in one process.
func (o *options) inOne(ctx context.Context, _ string, n int) (servers, owners []*process.Server, err error) {
	addr, err := process.FreeAddr(ctx)
	if err != nil {
		return nil, nil, err
	}
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	first, err := strconv.Atoi(text)
	if err != nil {
		return nil, nil, err
	}
	owner, err := process.Start(ctx, addr, o.clients, []string{"REGISTRYD_LOG_LEVEL=error"}, o.registryd, "dev",
		"--nodes", strconv.Itoa(n), "--listen", addr, "--instances", "0")
	if err != nil {
		return nil, nil, err
	}
	servers = []*process.Server{owner}
	for i := 1; i < n; i++ {
		servers = append(servers, owner.At(net.JoinHostPort(host, strconv.Itoa(first+i))))
		if err := servers[i].Serves(ctx); err != nil {
			return nil, []*process.Server{owner}, err
		}
	}
	return servers, []*process.Server{owner}, nil
}

// knownToAll registers instances one after the other, each at another node, and returns
// how long each took to be known to all, in order.
func knownToAll(ctx context.Context, f process.Fleet, servers []*process.Server) ([]time.Duration, error) {
	var out []time.Duration
	for i := range changes {
		which := f.Size + i
		if err := servers[i%len(servers)].Want(ctx, http.StatusNoContent, f.Register(which)); err != nil {
			return nil, err
		}
		began := time.Now()
		for _, s := range servers {
			for {
				code, _, err := s.Do(ctx, process.Request{Method: http.MethodGet, Path: f.Path(which)})
				if err != nil {
					return nil, err
				}
				if code == http.StatusOK {
					break
				}
				if time.Since(began) > 30*time.Second {
					return nil, fmt.Errorf("%s does not know %s", s.Addr, f.Path(which))
				}
				if err := pause(ctx, 2*time.Millisecond); err != nil {
					return nil, err
				}
			}
		}
		out = append(out, time.Since(began))
	}
	slices.Sort(out)
	return out, nil
}

// heartbeats renews all instances at a steady rate, at all nodes in turn, and returns what
// one costs all nodes, applied everywhere.
func (o *options) heartbeats(
	ctx context.Context, f process.Fleet, servers, owners []*process.Server,
) (time.Duration, error) {
	const rate = 500 // a second
	used := func() (all time.Duration, err error) {
		for _, s := range owners {
			one, failed := s.CPU()
			all, err = all+one, errors.Join(err, failed)
		}
		return all, err
	}
	count := func(send bool) (n int, took time.Duration, err error) {
		before, err := used()
		if err != nil {
			return 0, 0, err
		}
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		for began := time.Now(); time.Since(began) < 2*o.lasts; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return 0, 0, ctx.Err()
			}
			if !send {
				continue
			}
			if err := servers[n%len(servers)].Want(ctx, http.StatusOK, f.Renew(n%f.Size)); err != nil {
				return 0, 0, err
			}
		}
		after, err := used()
		return n, after - before, err
	}
	_, idle, err := count(false)
	if err != nil {
		return 0, err
	}
	n, busy, err := count(true)
	return max(0, busy-idle) / time.Duration(max(1, n)), err
}
