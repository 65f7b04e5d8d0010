package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/bench/process"
)

// nodes are the processes under load, and the instances that they hold.
type nodes struct {
	options
	fleet   process.Fleet
	servers []*process.Server
	dir     string // of the secret
}

// start starts the nodes with embedded brokers that join each other, and fills them.
func start(ctx context.Context, o options) (*nodes, error) {
	dir, err := os.MkdirTemp("", "capacity-")
	if err != nil {
		return nil, err
	}
	c := &nodes{options: o, fleet: process.Fleet{Size: o.contract.instances}, dir: dir}
	if err := c.fill(ctx); err != nil {
		c.kill()
		return nil, err
	}
	return c, nil
}

func (c *nodes) fill(ctx context.Context) error {
	secret := filepath.Join(c.dir, "secret")
	if err := os.WriteFile(secret, []byte("of-this-run\n"), 0o600); err != nil {
		return err
	}
	routes := make([]string, c.nodes)
	for i := range routes {
		var err error
		if routes[i], err = process.FreeAddr(ctx); err != nil {
			return err
		}
	}
	c.servers = make([]*process.Server, c.nodes)
	errs := make([]error, c.nodes)
	var starting sync.WaitGroup
	for i, route := range routes {
		starting.Go(func() { // each waits for the others
			c.servers[i], errs[i] = process.Node(ctx, c.registryd, fmt.Sprintf("n%d", i+1), c.workers,
				[]string{"GOMAXPROCS=1", "GOMEMLIMIT=" + c.memory},
				"--embedded-listen", "127.0.0.1:0", "--embedded-route-listen", route,
				"--embedded-routes", strings.Join(routes, ","), "--cluster-secret-file", secret,
				"--data", "none", "--delta-retention", c.retention.String(), "--peers", strconv.Itoa(c.nodes-1))
		})
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "registering %d instances\n", c.fleet.Size)
	if err := c.fleet.Fill(ctx, 4*c.nodes, c.servers...); err != nil {
		return err
	}
	if err := c.agree(ctx); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "waiting %v, until none of them is in the delta\n", c.retention+sweep)
	return wait(ctx, c.retention+sweep)
}

// sweep is how long a node takes to notice that a change has left the delta.
const sweep = 31 * time.Second

// wait waits.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// patience bounds how long nodes may take to agree.
const patience = 2 * time.Minute

// agree waits until all nodes list all instances.
func (c *nodes) agree(ctx context.Context) error {
	for began := time.Now(); ; {
		var counts []int
		same := true
		for i, s := range c.servers {
			if s.Ended() {
				return fmt.Errorf("node %d is gone", i+1)
			}
			body, err := s.Get(ctx, "/status")
			if err != nil {
				return err
			}
			var status struct{ Instances int }
			if err := json.Unmarshal(body, &status); err != nil {
				return err
			}
			counts = append(counts, status.Instances)
			same = same && status.Instances == c.fleet.Size
		}
		if same {
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("nodes list %v instances, want %d each", counts, c.fleet.Size)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// freeze has one node stand still under the contract, and prints when it takes heartbeats
// again. What becomes of the requests is printed, and not judged.
func (c *nodes) freeze(ctx context.Context) error {
	s := c.servers[0]
	probe := process.At(s.Addr, 1) // the load waits for connections of its own
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var took time.Duration
	var failed error
	var freezing sync.WaitGroup
	freezing.Go(func() {
		if failed = s.Freeze(ctx, c.frozen); failed != nil {
			return
		}
		for began := time.Now(); ; {
			code, _, err := probe.Do(ctx, c.fleet.Renew(0))
			if took = time.Since(began); err == nil && code == http.StatusOK {
				return
			}
			if took > patience {
				failed = fmt.Errorf("the node that stood still takes no heartbeat after %v: %d, %w", took, code, err)
				return
			}
			if failed = wait(ctx, 10*time.Millisecond); failed != nil {
				return
			}
		}
	})
	_, err := c.phase(ctx, fmt.Sprintf("one node stands still for %v", c.frozen), c.frozen+aftermath, 1)
	if err != nil {
		cancel()
	}
	freezing.Wait()
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	fmt.Printf("\nThe node that stood still took heartbeats again after %v.\n", took.Round(time.Millisecond))
	return nil
}

// aftermath is how long the load goes on once a frozen node runs again.
const aftermath = 30 * time.Second

func (c *nodes) kill() {
	for _, s := range c.servers {
		if s != nil {
			s.Kill()
		}
	}
	os.RemoveAll(c.dir) //nolint:errcheck // a temporary directory
}
