// Command growth measures how costs grow: with the instances of a node, with the nodes of
// a cluster, and with the peers of a node.
//
//	sizes ──▶ a process for each: filled, asked, stopped, started again
//	nodes ──▶ as many processes, and as many in one process: how soon all know, CPU, memory
//	peers ──▶ the benchmarks of eviction passes and of heartbeats with simulated peers
//	            ──▶ a table for each, and a file of points, from which bench/plot makes pictures
//
// It needs Linux. `make growth` runs it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"
)

type options struct {
	registryd string
	out       string
	sizes     []int
	nodes     []int
	clients   int
	lasts     time.Duration
	settle    time.Duration
	retention time.Duration
}

// points is what is drawn: for each series the values at each x.
type points struct {
	Machine string               `json:"machine"`
	Sizes   map[string][]float64 `json:"sizes"` // by what it is, with its unit; "instances" is x
	Nodes   map[string][]float64 `json:"nodes"` // "nodes" is x
	Peers   map[string][]float64 `json:"peers"` // "peers" is x
}

func main() {
	o := options{}
	flag.StringVar(&o.registryd, "registryd", "bin/registryd", "`FILE` of registryd")
	flag.StringVar(&o.out, "out", "bench/growth.json", "`FILE` for the points")
	sizes := flag.String("sizes", "1000,10000,100000,1000000", "`COUNTS` of instances on one node; empty: none")
	nodes := flag.String("nodes", "2,3,5,9", "`COUNTS` of nodes; empty: none")
	peers := flag.Bool("peers", true, "run the benchmarks with simulated peers")
	flag.IntVar(&o.clients, "clients", 4, "`COUNT` of connections")
	flag.DurationVar(&o.lasts, "lasts", 4*time.Second, "how long each workload lasts")
	flag.DurationVar(&o.retention, "retention", 10*time.Second,
		"the nodes' --delta-retention; what is measured begins when the delta has none of the first registrations")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, *sizes, *nodes, *peers)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, sizes, nodes string, peers bool) error {
	var err, err2 error
	o.sizes, err = counts("sizes", sizes, 100)
	o.nodes, err2 = counts("nodes", nodes, 2)
	if err = errors.Join(err, err2); err != nil {
		return err
	}
	o.settle = o.retention + 31*time.Second // a sweep comes each 30 s
	all, err := load(o.out)
	if err != nil {
		return err
	}
	all.Machine = fmt.Sprintf("%s, %s/%s, %d cores", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	var failed [3]error // the others are measured all the same
	if len(o.sizes) > 0 {
		all.Sizes, failed[0] = o.bySize(ctx)
	}
	if len(o.nodes) > 0 {
		if points, err := o.byNodes(ctx); err == nil {
			all.Nodes = points
		} else {
			failed[1] = err
		}
	}
	if peers {
		if points, err := byPeers(ctx); err == nil {
			all.Peers = points
		} else {
			failed[2] = err
		}
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = os.WriteFile(o.out, append(text, '\n'), 0o644) //nolint:gosec // for everybody to read
	}
	return errors.Join(append(failed[:], err)...)
}

// load reads points of an earlier run: what this one leaves out stays.
func load(file string) (points, error) {
	var all points
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

func counts(name, list string, least int) ([]int, error) {
	var out []int
	for text := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < least {
			return nil, fmt.Errorf("-%s %q: not counts of %d or more", name, list, least)
		}
		out = append(out, n)
	}
	return out, nil
}

// table prints a table, a line for each series in the order of names. The first one is x.
func table(all map[string][]float64, names ...string) {
	fmt.Println()
	for i, name := range names {
		fmt.Printf("| %s |", name)
		for _, v := range all[name] {
			fmt.Printf(" %s |", number(v))
		}
		fmt.Println()
		if i == 0 {
			fmt.Println(strings.Repeat("| --- ", len(all[name])+1) + "|")
		}
	}
}

// number spells a number with two or three digits that count.
func number(v float64) string {
	switch {
	case v >= 100 || v == math.Trunc(v):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}
