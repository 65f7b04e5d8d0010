package cluster_test

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/internal/race"
)

// How many seeds are run, and which: `make simulate` sets them.
var (
	simSeeds = flag.Int("seeds", defaultSeeds(), "pipeline simulation: how many seeds")
	simSeed  = flag.Int64("seed", -1, "pipeline simulation: this seed alone; below 0: -seeds of them")
)

// allSeeds are enough for every event that TestPipelineSeeds counts to happen.
const allSeeds = 2000

// defaultSeeds is a sample where the race detector makes each take longer.
func defaultSeeds() int {
	if race.Enabled {
		return allSeeds / 10
	}
	return allSeeds
}

var simModes = []acceptor.Mode{acceptor.Fixed, acceptor.Adaptive}

// simTally adds up the events of the seeds, so that a kind that never happens
// is noticed.
type simTally struct {
	mu      sync.Mutex
	results map[eureka.Action]map[int]uint64
	stats   acceptor.Stats
	dropped map[acceptor.Reason]uint64
}

func (y *simTally) add(s *sim) {
	y.mu.Lock()
	defer y.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for action, codes := range s.results {
		if y.results[action] == nil {
			y.results[action] = make(map[int]uint64)
		}
		for code, n := range codes {
			y.results[action][code] += n
		}
	}
	for _, n := range s.nodes {
		for _, p := range n.cluster.Peers() {
			y.stats.Offered += p.Acceptor.Offered
			y.stats.Merged += p.Acceptor.Merged
			y.stats.Retried += p.Acceptor.Retried
			for reason, n := range p.Acceptor.Dropped {
				y.dropped[reason] += n
			}
		}
	}
}

// TestPipelineSeeds is the property test of order: items are merged, cut,
// retried, in flight, doubled, late or lost. A peer must end each instance's
// history where the origin did, and must never go back on the way.
func TestPipelineSeeds(t *testing.T) {
	tally := &simTally{results: make(map[eureka.Action]map[int]uint64), dropped: make(map[acceptor.Reason]uint64)}
	if *simSeed >= 0 {
		for _, l := range runSim(t, uint64(*simSeed), tally) {
			t.Log(l)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // Many small worlds, each soon garbage.
	began := time.Now()
	t.Run("groups", func(t *testing.T) {
		groups := 2 * runtime.GOMAXPROCS(0)
		for g := range groups {
			t.Run(fmt.Sprint(g), func(t *testing.T) {
				t.Parallel()
				for seed := g; seed < *simSeeds && !t.Failed(); seed += groups {
					runSim(t, uint64(seed), tally)
				}
			})
		}
	})
	t.Logf("%d seeds in %v: %d actions, %d merged, %d retried, dropped %v, results %v", *simSeeds, time.Since(began).Round(time.Millisecond),
		tally.stats.Offered, tally.stats.Merged, tally.stats.Retried, tally.dropped, tally.results)
	if *simSeeds < allSeeds || t.Failed() {
		return
	}
	if tally.stats.Merged == 0 || tally.stats.Retried == 0 {
		t.Error("nothing was merged, or nothing retried")
	}
	for _, reason := range []acceptor.Reason{acceptor.Overflowed, acceptor.Malformed} {
		if tally.dropped[reason] == 0 {
			t.Errorf("nothing was dropped as %s", reason)
		}
	}
	// Items that carry the override alone: right at once, ahead of the record,
	// late, spoilt.
	for _, code := range []int{200, 404, 409, 400} {
		if tally.results[eureka.ActionStatusUpdate][code]+tally.results[eureka.ActionDeleteStatusOverride][code] == 0 {
			t.Errorf("no item that carries the override alone was answered %d", code)
		}
	}
}

// TestSeedReplays runs some seeds twice. Within one instant the scheduler
// decides the order.
func TestSeedReplays(t *testing.T) {
	tally := &simTally{results: make(map[eureka.Action]map[int]uint64), dropped: make(map[acceptor.Reason]uint64)}
	story := func(seed uint64) (out []string) {
		for _, l := range runSim(t, seed, tally) {
			out = append(out, l.String())
		}
		slices.Sort(out)
		return out
	}
	for seed := range uint64(16) {
		first, second := story(seed), story(seed)
		for i := range min(len(first), len(second)) {
			if first[i] != second[i] {
				t.Errorf("seed %d is not the same twice:\n%s\n%s", seed, first[i], second[i])
				break
			}
		}
		if len(first) != len(second) {
			t.Errorf("seed %d has %d steps, then %d", seed, len(first), len(second))
		}
	}
}
