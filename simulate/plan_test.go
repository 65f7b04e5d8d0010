package simulate

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The times of a run.
const (
	faultTime = 5 * time.Minute // of faults
	quietTime = 4 * time.Minute // until the promises must hold
	runTime   = faultTime + quietTime

	instances = 5
	maxNodes  = 4
)

// Lease of every instance.
const (
	leaseDuration = 90 * time.Second
	retirement    = 2*leaseDuration + 5*time.Minute
)

// weather is how the network between nodes, and between clients and nodes, is.
type weather struct {
	loss  float64       // of messages, each way
	slow  float64       // of messages that are delayed
	delay time.Duration // of those, at most
	twice float64       // of messages that come again
}

// kind is the kind of an event.
type kind uint8

const (
	setWeather     kind = iota
	partition           // the links in links are cut, each one way
	crash               // a node dies, and starts again
	allDown             // all nodes die together
	standstill          // a process is stopped
	overrideStatus      // an operator sets an override
	deleteOverride
	setMetadata
	takeSnapshot
)

var kindNames = [...]string{"weather", "partition", "crash", "all down", "standstill", "override", "delete override", "metadata", "snapshot"}

// event is one thing that the plan does to the cluster.
type event struct {
	at    time.Duration
	kind  kind
	node  int
	lasts time.Duration // partition, crash, standstill
	weather
	links    uint16                  // partition: bit from*maxNodes+to
	snapshot [maxNodes]time.Duration // crash: how old the snapshot is; below 0: there is none
	downs    [maxNodes]time.Duration // all down: for how long each
	instance int                     // of an operator's call
	choice   int
}

func (e *event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10v %s", e.at.Round(time.Millisecond), kindNames[e.kind])
	switch e.kind {
	case setWeather:
		fmt.Fprintf(&b, " loss %.2f, %.2f up to %v late, %.2f twice", e.loss, e.slow, e.delay.Round(time.Millisecond), e.twice)
	case partition:
		for from := range maxNodes {
			for to := range maxNodes {
				if e.links&link(from, to) != 0 {
					fmt.Fprintf(&b, " n%d-x->n%d", from, to)
				}
			}
		}
		fmt.Fprintf(&b, " for %v", e.lasts.Round(time.Millisecond))
	case crash:
		fmt.Fprintf(&b, " n%d for %v, snapshot %v old", e.node, e.lasts.Round(time.Millisecond), e.snapshot[e.node])
	case allDown:
		fmt.Fprintf(&b, " for %v, snapshots %v old", e.downs, e.snapshot)
	case standstill:
		fmt.Fprintf(&b, " n%d for %v", e.node, e.lasts.Round(time.Millisecond))
	case takeSnapshot:
		fmt.Fprintf(&b, " n%d", e.node)
	default:
		fmt.Fprintf(&b, " of i%d at n%d (%d)", e.instance, e.node, e.choice)
	}
	return b.String()
}

func link(from, to int) uint16 { return 1 << (from*maxNodes + to) }

// plan is all that a seed decides beforehand.
type plan struct {
	seed   uint64
	nodes  int
	skew   [maxNodes]time.Duration // of each node's clock
	events []event
	// preserves is the node that is in self-preservation and evicts nothing; -1: none.
	preserves int
}

// newPlan makes the plan of a seed; no node's clock is off by more than skew.
func newPlan(seed uint64, skew time.Duration) *plan {
	rng := rand.New(rand.NewPCG(seed, 0x706c616e))
	p := &plan{seed: seed, nodes: 3 + rng.IntN(2), preserves: -1}
	if rng.IntN(6) == 0 {
		p.preserves = rng.IntN(p.nodes)
	}
	for i := range p.nodes {
		p.skew[i] = time.Duration((2*rng.Float64() - 1) * float64(skew)).Round(time.Millisecond)
	}
	between := func(lo, hi time.Duration) time.Duration { return lo + rand64(rng, hi-lo) }
	add := func(e event) { p.events = append(p.events, e) }

	for at := between(0, 30*time.Second); at < faultTime; at += between(10*time.Second, 90*time.Second) {
		w := weather{}
		if rng.IntN(3) > 0 {
			w.loss = [...]float64{0, 0.02, 0.1, 0.3}[rng.IntN(4)]
			w.slow = [...]float64{0, 0.1, 0.5}[rng.IntN(3)]
			w.delay = [...]time.Duration{50 * time.Millisecond, time.Second, 4 * time.Second}[rng.IntN(3)]
			w.twice = [...]float64{0, 0.1, 0.3}[rng.IntN(3)]
		}
		add(event{at: at, kind: setWeather, weather: w})
	}
	for range rng.IntN(4) {
		e := event{kind: partition, at: between(0, faultTime), lasts: between(3*time.Second, 150*time.Second)}
		side := uint(1 + rng.IntN(1<<p.nodes-2))
		way := rng.IntN(4)
		for from := range p.nodes {
			for to := range p.nodes {
				a, b := side>>from&1, side>>to&1
				if a == 1 && b == 0 && way != 1 || a == 0 && b == 1 && way != 2 {
					e.links |= link(from, to)
				}
			}
		}
		add(e)
	}
	snapshots := func() (s [maxNodes]time.Duration) {
		for i := range s {
			s[i] = -1
			if rng.IntN(2) == 0 {
				s[i] = rand64(rng, 15*time.Second)
			}
		}
		return s
	}
	for range rng.IntN(4) {
		add(event{
			kind: crash, at: between(0, faultTime), node: rng.IntN(p.nodes), snapshot: snapshots(),
			lasts: [...]time.Duration{between(0, 2*time.Second), between(time.Second, 30*time.Second), between(30*time.Second, 150*time.Second)}[rng.IntN(3)],
		})
	}
	if rng.IntN(5) == 0 {
		e := event{kind: allDown, at: between(0, faultTime), snapshot: snapshots()}
		least := between(0, 100*time.Second)
		for i := range e.downs {
			e.downs[i] = least + between(0, 10*time.Second)
		}
		add(e)
	}
	for range rng.IntN(3) {
		add(event{
			kind: standstill, at: between(0, faultTime), node: rng.IntN(p.nodes),
			lasts: [...]time.Duration{between(0, 10*time.Second), between(5*time.Second, 60*time.Second), between(60*time.Second, 150*time.Second)}[rng.IntN(3)],
		})
	}
	for range 2 + rng.IntN(8) {
		add(event{
			kind: overrideStatus + kind(rng.IntN(3)), at: between(0, faultTime), node: rng.IntN(p.nodes),
			instance: rng.IntN(instances), choice: rng.IntN(6),
		})
	}
	for _, e := range p.events {
		for i, age := range e.snapshot {
			if (e.kind == allDown || e.kind == crash && e.node == i) && age >= 0 && i < p.nodes {
				add(event{at: max(0, e.at-age), kind: takeSnapshot, node: i})
			}
		}
	}
	for i := range p.events {
		e := &p.events[i]
		e.lasts = min(e.lasts, faultTime-e.at) // all is over then
		for j := range e.downs {
			e.downs[j] = min(e.downs[j], faultTime-e.at)
		}
	}
	slices.SortStableFunc(p.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return p
}

// rand64 returns a duration in [0, n), to the nanosecond.
func rand64(rng *rand.Rand, n time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(n)))
}
