// Command capacity shows that three small nodes hold what they are meant to hold, and
// what they do beyond it.
//
//	three nodes, one core and 256 MB each ──▶ filled ──▶ the contract ──▶ more ──▶ the contract again
//	                                                                      ──▶ the contract, while one stands still
//	    each phase: requests at their times, whether or not earlier ones are answered
//	        ──▶ a line for each kind: times from when a request was due, errors, what was shed
//	                                  ──▶ do the nodes list the same, is one gone?
//
// It fails when the contract is not held. It needs Linux. `make capacity` runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// contract is what three nodes hold.
type contract struct {
	instances int
	renewals  float64 // a second, of all nodes
	deltas    float64 // reads a second
	changes   float64 // registrations with another content, a second
	p99       time.Duration
}

type options struct {
	registryd string
	contract  contract
	nodes     int
	lasts     time.Duration
	beyond    time.Duration
	times     float64
	frozen    time.Duration
	retention time.Duration
	memory    string
	workers   int
}

func main() {
	o := options{nodes: 3, memory: "256MiB"}
	flag.StringVar(&o.registryd, "registryd", "bin/registryd", "`FILE` of registryd")
	flag.IntVar(&o.contract.instances, "instances", 100_000, "`COUNT` of instances")
	flag.Float64Var(&o.contract.renewals, "renewals", 3400, "`RATE` of heartbeats, a second")
	flag.Float64Var(&o.contract.deltas, "deltas", 100, "`RATE` of readers of the delta, a second")
	flag.Float64Var(&o.contract.changes, "changes", 10, "`RATE` of changes, a second")
	flag.DurationVar(&o.contract.p99, "p99", 10*time.Millisecond, "bound of the heartbeats' 99th percentile")
	flag.DurationVar(&o.lasts, "lasts", 10*time.Minute, "how long the contract must be held")
	flag.DurationVar(&o.beyond, "beyond", time.Minute,
		"how long the load beyond the contract lasts, and the contract after it; 0: left out")
	flag.Float64Var(&o.times, "times", 2, "the load beyond the contract, in times of it")
	flag.DurationVar(&o.frozen, "frozen", 0,
		"how long one node stands still at the end, under the contract (SIGSTOP); 0: left out")
	flag.DurationVar(&o.retention, "retention", 3*time.Minute,
		"the nodes' --delta-retention; the measurement begins when the delta has none of the first registrations")
	flag.IntVar(&o.workers, "workers", 64, "`COUNT` of requests to a node at a time; others that are due wait")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "capacity:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	short := o.lasts < time.Second || o.retention < time.Second
	if short || o.contract.instances < 100 || o.workers < 1 || o.times <= 0 {
		return errors.New("-instances must be at least 100, -workers 1, -times above 0, -lasts and -retention 1s")
	}
	c, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer c.kill()
	fmt.Printf("%d instances on %d nodes, GOMAXPROCS=1 and GOMEMLIMIT=%s each\n\n",
		o.contract.instances, o.nodes, o.memory)
	fmt.Println("| phase | requests | a second | p50 | p99 | longest | errors | shed (503) |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	held, err := c.phase(ctx, "contract", o.lasts, 1)
	if err != nil {
		return err
	}
	failed := held.breaks(o.contract)
	if o.beyond > 0 {
		if _, err := c.phase(ctx, fmt.Sprintf("%g times the contract", o.times), o.beyond, o.times); err != nil {
			return err
		}
		again, err := c.phase(ctx, "contract again", o.beyond, 1)
		if err != nil {
			return err
		}
		if broken := again.breaks(o.contract); broken != nil {
			failed = errors.Join(failed, fmt.Errorf("after the load beyond the contract: %w", broken))
		}
	}
	if o.frozen > 0 {
		if err := c.freeze(ctx); err != nil {
			return err
		}
	}
	fmt.Println()
	return errors.Join(failed, c.agree(ctx))
}
