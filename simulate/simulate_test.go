package simulate

import (
	"flag"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone; with -v tell all that happens")
	seedsFlag = flag.Int("seeds", 20, "how many seeds")
	firstFlag = flag.Uint64("first", 1, "the first seed")
	ruleFlag  = flag.Int("rule", 0, "which rule to break")
	skewFlag  = flag.Duration("skew", 50*time.Millisecond, "how far the nodes' clocks are off, at most")
)

func runSeed(t *testing.T, seed uint64, r rule, skew time.Duration, verbose bool) *world {
	w := &world{plan: newPlan(seed, skew), rule: r}
	if verbose {
		w.log = os.Stdout
	}
	synctest.Test(t, func(*testing.T) { w.run() })
	return w
}

func TestClustersHeal(t *testing.T) {
	if *seedFlag != 0 {
		w := runSeed(t, *seedFlag, rule(*ruleFlag), *skewFlag, testing.Verbose())
		for _, v := range w.violations {
			t.Error(v)
		}
		return
	}
	start := time.Now()
	for seed := *firstFlag; seed < *firstFlag+uint64(*seedsFlag); seed++ {
		w := runSeed(t, seed, rule(*ruleFlag), *skewFlag, false)
		for _, v := range w.violations {
			t.Errorf("seed %d: %s", seed, v)
		}
	}
	t.Logf("%d seeds, %v a seed", *seedsFlag, time.Since(start)/time.Duration(*seedsFlag))
}
