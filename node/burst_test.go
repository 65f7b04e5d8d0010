package node_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/broker"
	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/natstest"
	"github.com/registryd/registryd/internal/race"
	"github.com/registryd/registryd/node"
)

// TestBigBurst registers 20,000 instances at one node over HTTP, as fast as
// they are taken, and waits for both peers to list them all. It does not run in
// parallel, which would disturb its measurement.
func TestBigBurst(t *testing.T) {
	const workers = 16
	burst, overHTTP, bound := 20_000, 20_000, 5*time.Second
	if race.Enabled {
		// The race detector makes this twenty times as slow. So there are fewer
		// instances, most of them registered without HTTP, and no speed is checked.
		burst, overHTTP, bound = 4_000, 320, patience
	}
	server := natstest.TCP(t)
	nodes := startCluster(t, 3, node.Options{Broker: broker.Access{Server: server}})

	transport := &http.Transport{MaxIdleConnsPerHost: workers}
	defer transport.CloseIdleConnections()
	c, err := client.New(client.Options{
		URLs: []string{nodes[0].URL()}, Timeout: patience, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	id := func(worker, i int) string { return fmt.Sprintf("i-%d-%d", worker, i) }
	began := time.Now()
	var posting sync.WaitGroup
	for worker := range workers {
		posting.Go(func() {
			for i := range burst / workers {
				info := instance(id(worker, i), "1")
				if i >= overHTTP/workers {
					nodes[0].RegisterHere(info)
				} else if err := c.Register(t.Context(), info); err != nil {
					t.Errorf("register %s: %v", info.ID(), err)
					return
				}
			}
		})
	}
	posting.Wait()
	answered := time.Now()
	for _, n := range nodes {
		eventually(t, n.Name()+" has all instances", func() error {
			if got := scrape(t, n).value("registryd_registry_instances"); got != float64(burst) {
				return fmt.Errorf("it has %v of %d", got, burst)
			}
			return nil
		})
	}
	elapsed := time.Since(answered)
	t.Logf("%d registers, %d over HTTP, took %v; on all nodes %v after the last answer",
		burst, overHTTP, answered.Sub(began), elapsed)
	if elapsed > bound {
		t.Errorf("on all nodes %v after the last answer, want at most %v", elapsed, bound)
	}
	for i, n := range nodes {
		for worker := range workers {
			for i := range burst / workers {
				if !n.Listed("ORDERS", id(worker, i)) {
					t.Errorf("%s does not list %s", n.Name(), id(worker, i))
				}
			}
		}
		checkLaw(t, n, others(i)...)
		for _, peer := range others(i) {
			if dropped, _ := scrape(t, n).find("registryd_acceptor_dropped_actions_total", "peer", peer); dropped != 0 {
				t.Errorf("%s to %s: dropped %v actions, want none", n.Name(), peer, dropped)
			}
		}
	}
	// Each register is acknowledged, and once more if a repair sent it again.
	for _, peer := range others(0) {
		eventually(t, peer+" has acknowledged all", func() error {
			got := scrape(t, nodes[0]).value("registryd_cluster_task_results_total",
				"peer", peer, "action", string(eureka.ActionRegister), "code", "200")
			if got < float64(burst) {
				return fmt.Errorf("it has acknowledged %v of %d", got, burst)
			}
			return nil
		})
	}
}
