//go:build simulate

package simulate

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone; with -v tell all that happens")
	seedsFlag = flag.Int("seeds", 0, "how many seeds; 0: as many as fit into -budget, at most 500")
	firstFlag = flag.Uint64("first", 1, "the first seed")
	budget    = flag.Duration("budget", 25*time.Second, "how long seeds are begun if -seeds doesn't say how many")
	skewFlag  = flag.Duration("skew", 50*time.Millisecond, "how far the nodes' clocks are off, at most")
	ruleFlag  = flag.String("rule", "as written", "the rule to break")
)

const usualSeeds = 500

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // little lives long here
	os.Exit(m.Run())
}

// runSeed runs one seed in a bubble of its own, and returns what it violated.
func runSeed(t *testing.T, p *plan, r rule, verbose bool) []string {
	t.Helper()
	w := &world{plan: p, rule: r}
	if verbose {
		w.log = os.Stdout
	}
	synctest.Test(t, func(*testing.T) { w.run() })
	return w.violations
}

func ruleNamed(t *testing.T, name string) rule {
	t.Helper()
	for r, n := range ruleNames {
		if n == name {
			return rule(r)
		}
	}
	t.Fatalf("no rule %q; there are %q", name, ruleNames)
	return asWritten
}

// TestClustersHeal is the simulation: one seed after the other, on all cores.
func TestClustersHeal(t *testing.T) {
	broken := ruleNamed(t, *ruleFlag)
	if *seedFlag != 0 {
		for _, v := range runSeed(t, newPlan(*seedFlag, *skewFlag, nil), broken, testing.Verbose()) {
			t.Error(v)
		}
		return
	}
	seeds, until := *seedsFlag, time.Time{}
	if seeds == 0 {
		seeds, until = usualSeeds, time.Now().Add(*budget)
	}
	var next, failed atomic.Int64
	start := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for until.IsZero() || time.Now().Before(until) {
					n := next.Add(1)
					if n > int64(seeds) {
						return
					}
					seed := *firstFlag + uint64(n) - 1
					violations := runSeed(t, newPlan(seed, *skewFlag, nil), broken, false)
					if len(violations) > 0 {
						failed.Add(1)
						t.Errorf("seed %d (replay: go test ./simulate -run ClustersHeal -v -args -seed %d -skew %v): %s",
							seed, seed, *skewFlag, shortened(violations))
					}
				}
			})
		}
	})
	elapsed := time.Since(start)
	done := min(next.Load(), int64(seeds))
	fmt.Printf("simulate: %d seeds from %d, %d failed, %.1f seeds/s, %v a seed\n", done, *firstFlag, failed.Load(),
		float64(done)/elapsed.Seconds(), (elapsed / time.Duration(max(1, done))).Round(10*time.Microsecond))
}

// shortened returns the first few of many.
func shortened(all []string) string {
	const most = 4
	out := ""
	for i, v := range all {
		if i == most {
			return out + fmt.Sprintf("\n\t… and %d more", len(all)-most)
		}
		out += "\n\t" + v
	}
	return out
}

// TestBrokenRulesAreNoticed breaks each rule in turn. Where it takes a certain
// weather to notice, there is more of that.
func TestBrokenRulesAreNoticed(t *testing.T) {
	cut := emphasis{partition: 6, overrideStatus: 7}
	stop := emphasis{standstill: 8, quitting: 1}
	operate := emphasis{partition: 6, overrideStatus: 60}
	tests := []struct {
		rule  rule
		skew  time.Duration
		much  emphasis
		seeds uint64 // at most
	}{
		{rule: noPipeline, seeds: 5},
		{rule: noAntiEntropy, seeds: 30},
		{rule: noTombstones, seeds: 15},
		{rule: evictionCancels, much: cut, seeds: 60},
		{rule: expiredTaken, seeds: 15},
		{rule: noGrace, seeds: 60},
		{rule: noAsking, much: emphasis{cutToEvict: 5}, seeds: 30},
		{rule: noGraceNoAsking, seeds: 60},
		{rule: leaseAsTime, skew: time.Minute, seeds: 30},
		{rule: workOffQueue, much: stop, seeds: 60},
		{rule: evictStalled, much: emphasis{setWeather: 1, partition: 3, standstill: 8}, seeds: 100},
		{rule: trustFuture, seeds: 60},
		{rule: tombstoneTime, seeds: 15},
		{rule: tombstoneDirty, seeds: 15},
		{rule: oneVersion, much: operate, seeds: 60},
	}
	for _, tt := range tests {
		t.Run(tt.rule.String(), func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= tt.seeds; seed++ {
				if v := runSeed(t, newPlan(seed, max(tt.skew, 50*time.Millisecond), tt.much), tt.rule, false); len(v) > 0 {
					t.Logf("seed %d: %s", seed, v[0])
					return
				}
			}
			t.Errorf("nothing noticed in %d seeds", tt.seeds)
		})
	}
	t.Run("and as written nothing is", func(t *testing.T) {
		t.Parallel()
		for seed := uint64(1); seed <= 3; seed++ {
			for _, much := range []emphasis{cut, stop, operate} {
				for _, v := range runSeed(t, newPlan(seed, 50*time.Millisecond, much), asWritten, false) {
					t.Errorf("seed %d: %s", seed, v)
				}
			}
		}
	})
}
