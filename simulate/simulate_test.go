package simulate

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/internal/planted"
	"github.com/registryd/registryd/internal/race"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "run this seed alone; with -v tell all that happens")
	seedsFlag = flag.Int("seeds", defaultSeeds(), "how many seeds")
	firstFlag = flag.Uint64("first", 1, "the first seed")
	skewFlag  = flag.Duration("skew", 50*time.Millisecond, "how far the nodes' clocks are off, at most")
	ruleFlag  = flag.String("rule", "as written", "the rule to break, in clusters that bring it out")
)

// defaultSeeds is a sample where the race detector makes each take longer.
func defaultSeeds() int {
	if race.Enabled {
		return 30
	}
	return 500
}

func TestMain(m *testing.M) {
	debug.SetGCPercent(1500) // little lives long here: collect rarely
	os.Exit(m.Run())
}

// runSeed runs one seed in a bubble of its own, and returns what it violated.
func runSeed(t *testing.T, p *plan, r rule, verbose bool) []string {
	t.Helper()
	return runWorld(t, p, r, verbose).violations
}

func runWorld(t *testing.T, p *plan, r rule, verbose bool) *world {
	t.Helper()
	w := &world{plan: p, rule: r}
	if verbose {
		w.log = os.Stdout
	}
	synctest.Test(t, func(*testing.T) { w.run() })
	return w
}

// tally counts the seeds of a run, from any goroutine.
type tally struct {
	mu      sync.Mutex
	done    int                 // guarded by mu
	failed  int                 // guarded by mu
	excused map[string][]uint64 // guarded by mu; seeds, by reason
}

func (y *tally) add(seed uint64, w *world) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.done++
	if y.done%10_000 == 0 {
		fmt.Printf("simulate: %d seeds, %d failed\n", y.done, y.failed)
	}
	if len(w.violations) > 0 {
		y.failed++
	}
	for reason := range w.excuses {
		y.excused[reason] = append(y.excused[reason], seed)
	}
}

func (y *tally) print(elapsed time.Duration) {
	fmt.Printf("simulate: %d seeds from %d, %d failed, %.1f seeds/s, %v a seed on %d cores\n",
		y.done, *firstFlag, y.failed,
		float64(y.done)/elapsed.Seconds(), (elapsed / time.Duration(max(1, y.done))).Round(10*time.Microsecond),
		runtime.GOMAXPROCS(0))
	for _, reason := range slices.Sorted(maps.Keys(y.excused)) {
		seeds := y.excused[reason]
		slices.Sort(seeds)
		fmt.Printf("simulate: excused, %d seeds: %s: %v\n", len(seeds), reason, seeds)
	}
}

// TestClustersHeal is the simulation: one seed after the other, on all cores.
func TestClustersHeal(t *testing.T) {
	b := ruleNamed(t, *ruleFlag)
	if _, built := planted.Chosen(); b.planted != "" && !built {
		runPlanted(t, b.planted)
		return
	}
	if *seedFlag != 0 {
		for _, v := range runSeed(t, b.plan(*seedFlag), b.rule, testing.Verbose()) {
			t.Error(v)
		}
		return
	}
	var next atomic.Int64
	total := tally{excused: make(map[string][]uint64)}
	start := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for n := next.Add(1); n <= int64(*seedsFlag); n = next.Add(1) {
					seed := *firstFlag + uint64(n) - 1
					w := runWorld(t, b.plan(seed), b.rule, false)
					total.add(seed, w)
					if len(w.violations) > 0 {
						t.Errorf("seed %d (replay: go test ./simulate -run ClustersHeal -v -args -seed %d -skew %v -rule %q): %s",
							seed, seed, *skewFlag, &b, shortened(w.violations))
					}
				}
			})
		}
	})
	total.print(time.Since(start))
}

// TestBlockedLog runs seeds with logs that nobody reads. Each client is answered the same
// as where they are read.
func TestBlockedLog(t *testing.T) {
	t.Parallel()
	b, seeds := ruleNamed(t, "as written"), uint64(20)
	if race.Enabled { // which makes each take longer
		seeds = 4
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		var answered [2][]string
		for i, noReader := range []bool{false, true} {
			var log bytes.Buffer
			w := &world{plan: b.plan(seed), rule: b.rule, log: &log, noReader: noReader}
			synctest.Test(t, func(*testing.T) { w.run() })
			for _, v := range w.violations {
				t.Errorf("seed %d, no reader %t: %s", seed, noReader, v)
			}
			if logged := bytes.Contains(log.Bytes(), []byte(" logs ")); !logged {
				t.Errorf("seed %d, no reader %t: nothing was logged", seed, noReader)
			}
			for line := range strings.Lines(log.String()) {
				if answer.MatchString(line) {
					answered[i] = append(answered[i], line)
				}
			}
		}
		read, unread := answered[0], answered[1]
		if len(read) < 50 {
			t.Errorf("seed %d: only %d answers", seed, len(read))
		}
		if !slices.Equal(read, unread) {
			for i := range read {
				if i >= len(unread) || read[i] != unread[i] {
					t.Errorf("seed %d, log read:   %s", seed, read[i])
					t.Errorf("seed %d, log unread: %q", seed, unread[min(i, len(unread)):min(i+1, len(unread))])
					break
				}
			}
		}
	}
}

// answer is the line of the log that tells how a client was answered.
var answer = regexp.MustCompile(` i\d (register|renew|cancel) at n\d: \d+\n$`)

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
