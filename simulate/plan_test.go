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
	faultTime = 5 * time.Minute  // of faults
	longTime  = 12 * time.Minute // of faults in some seeds: peers are given up, tombstones forgotten
	quietTime = 4 * time.Minute  // until the promises must hold

	instances = 5
	maxNodes  = 4
)

// gone is the silence after which a peer is given up.
const gone = 5 * time.Minute

// weather is the state of the network between nodes, and between clients and
// nodes.
type weather struct {
	loss  float64       // of messages, each way
	slow  float64       // of messages that are delayed
	delay time.Duration // of those, at most
	twice float64       // of messages that come again
}

// kind is the kind of an event.
type kind uint8

const (
	setWeather       kind = iota
	partition             // the links in links are cut, each one way
	crash                 // a node dies, and starts again
	allDown               // all nodes die together
	processSuspended      // a process is suspended
	overrideStatus        // an operator sets an override
	deleteOverride
	setMetadata
	takeSnapshot
	cutToEvict // in an emphasis: a partition that ends before an eviction pass
	quitting   // in an emphasis: clients cancel often, and stay away
	meeting    // in an emphasis: a node starts just when another has its connection again

	// Events of extremes.
	brokerLost       // the nodes in nodes have no connection, each for its time in downs
	deafness         // a node receives nothing, or reaches no other
	machineSuspended // a machine is suspended: the monotonic clock stops
	forgery          // a faulty peer sends a version from the far future
	restart          // a node is stopped in order, and starts again

	// Of extremes; they are no events.
	slowDrain
	lostPages
	slowAnswers
	smallMessages
	mixedLeases
	slowBatches
	realEvictors
	quietLong
	outage
)

var kindNames = [...]string{
	"weather", "partition", "crash", "all down", "process suspended",
	"override", "delete override", "metadata", "snapshot", "", "", "",
	"broker lost", "deafness", "machine suspended", "forgery", "restart",
}

// event is one thing that the plan does to the cluster.
type event struct {
	at    time.Duration
	kind  kind
	node  int
	lasts time.Duration // partition, crash, a suspended process
	weather
	links    uint16                  // partition: bit from*maxNodes+to
	snapshot [maxNodes]time.Duration // crash: how old the snapshot is; below 0: there is none
	downs    [maxNodes]time.Duration // all down: for how long each
	nodes    uint8                   // broker lost: bit node
	instance int                     // of an operator's call
	choice   int
}

func (e *event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10v %s", e.at.Round(time.Millisecond), kindNames[e.kind])
	switch e.kind {
	case setWeather:
		fmt.Fprintf(&b, " loss %.2f, %.2f up to %v late, %.2f twice",
			e.loss, e.slow, e.delay.Round(time.Millisecond), e.twice)
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
	case processSuspended, machineSuspended, deafness, restart:
		fmt.Fprintf(&b, " n%d for %v (%d)", e.node, e.lasts.Round(time.Millisecond), e.choice)
	case brokerLost:
		fmt.Fprintf(&b, " by %04b for %v", e.nodes, e.downs)
	case takeSnapshot:
		fmt.Fprintf(&b, " n%d", e.node)
	default:
		fmt.Fprintf(&b, " of i%d at n%d (%d)", e.instance, e.node, e.choice)
	}
	return b.String()
}

func link(from, to int) uint16 { return 1 << (from*maxNodes + to) }

// plan holds all decisions of a seed before the run.
type plan struct {
	seed  uint64
	rng   *rand.Rand
	nodes int
	skew  [maxNodes]time.Duration // of each node's clock
	exact bool                    // no clock is off by more than exactly
	// preserves is the node that is in self-preservation and evicts nothing; -1: none.
	preserves int
	faults    time.Duration // how long there are faults
	quits     bool          // clients cancel often, and stay away
	events    []event
	extremes
}

// exactly is how far clocks may be off without changing the order of a client's
// own calls, which are further apart.
const exactly = 100 * time.Millisecond

// emphasis is how often each kind of event comes in five minutes, at most; nil:
// everything in its usual measure. An operator's calls of all kinds count as
// overrideStatus; deleteOverride is overrides and removals alone, setMetadata
// metadata alone.
type emphasis map[kind]int

func (e emphasis) of(k kind, usual int) int {
	if e != nil {
		return e[k]
	}
	return usual
}

// end is when the promises must hold.
func (p *plan) end() time.Duration { return p.faults + p.quiet }

// newPlan makes the plan of a seed; no node's clock is off by more than skew.
func newPlan(seed uint64, skew time.Duration, much emphasis) *plan {
	rng := rand.New(rand.NewPCG(seed, 0x706c616e))
	p := &plan{
		seed: seed, rng: rng, nodes: 3 + rng.IntN(2), exact: skew <= exactly,
		preserves: -1, faults: faultTime, quits: much[quitting] > 0,
	}
	if much == nil && rng.IntN(10) == 0 {
		p.faults = longTime
	}
	if rng.IntN(6) == 0 {
		p.preserves = rng.IntN(p.nodes)
	}
	for i := range p.nodes {
		p.skew[i] = time.Duration((2*rng.Float64() - 1) * float64(skew)).Round(time.Millisecond)
	}
	if much.of(setWeather, 1) > 0 {
		p.addWeather()
	}
	times := func(most int) int { return int(int64(rng.IntN(most+1)) * int64(p.faults) / int64(faultTime)) }
	for range times(much.of(partition, 3)) {
		p.addPartition(0)
	}
	for range times(much.of(cutToEvict, 0)) {
		p.addPartition(time.Duration(2+rng.IntN(4)) * time.Minute)
	}
	for range times(much.of(crash, 3)) {
		p.addCrash()
	}
	if rng.IntN(5) < much.of(allDown, 1) {
		p.addAllDown()
	}
	for range times(much.of(processSuspended, 2)) {
		p.addSuspension()
	}
	for range 2 + times(much.of(overrideStatus, 7)) {
		p.addCall(overrideStatus + kind(rng.IntN(3)))
	}
	if n := much[deleteOverride]; n > 0 {
		for range times(n) {
			p.addCall(overrideStatus + kind(rng.IntN(2)))
		}
	}
	if n := much[setMetadata]; n > 0 {
		for range times(n) {
			p.addCall(setMetadata)
		}
	}
	if n := much[meeting]; n > 0 {
		for range times(n) {
			p.addMeeting()
		}
	}
	p.addExtremes(much)
	p.finish()
	return p
}

func (p *plan) add(e event) { p.events = append(p.events, e) }

// addCall adds an operator's call.
func (p *plan) addCall(k kind) {
	p.add(event{
		kind: k, at: p.sometime(), node: p.rng.IntN(p.nodes), instance: p.rng.IntN(instances), choice: p.rng.IntN(6),
	})
}

func (p *plan) sometime() time.Duration { return p.between(0, p.faults) }

func (p *plan) between(lo, hi time.Duration) time.Duration { return lo + rand64(p.rng, hi-lo) }

func (p *plan) addWeather() {
	rng := p.rng
	for at := p.between(0, 30*time.Second); at < p.faults; at += p.between(10*time.Second, 90*time.Second) {
		w := weather{}
		if rng.IntN(3) > 0 {
			w.loss = [...]float64{0, 0.02, 0.1, 0.3}[rng.IntN(4)]
			w.slow = [...]float64{0, 0.1, 0.5}[rng.IntN(3)]
			w.delay = [...]time.Duration{50 * time.Millisecond, time.Second, 4 * time.Second}[rng.IntN(3)]
			w.twice = [...]float64{0, 0.1, 0.3}[rng.IntN(3)]
		}
		p.add(event{at: at, kind: setWeather, weather: w})
	}
}

// addPartition cuts some nodes off the others, in both ways or in one. With a
// time it ends just before: then leases have run out on one side, and the other
// can be asked.
func (p *plan) addPartition(before time.Duration) {
	e := event{kind: partition, at: p.sometime(), lasts: p.between(3*time.Second, 150*time.Second)}
	if p.faults == longTime && p.rng.IntN(3) == 0 {
		e.lasts = p.between(gone, gone+2*time.Minute)
	}
	if before > 0 {
		e.lasts = p.between(usual+2*time.Second, usual+20*time.Second)
		e.at = max(0, before-e.lasts-p.between(2500*time.Millisecond, 9*time.Second))
	}
	side := uint(1 + p.rng.IntN(1<<p.nodes-2))
	way := p.rng.IntN(4)
	for from := range p.nodes {
		for to := range p.nodes {
			a, b := side>>from&1, side>>to&1
			if a == 1 && b == 0 && way != 1 || a == 0 && b == 1 && way != 2 {
				e.links |= link(from, to)
			}
		}
	}
	p.add(e)
}

// addMeeting starts a node when another one has its connection again, and has not
// exchanged yet what it missed.
func (p *plan) addMeeting() {
	cutOff := p.rng.IntN(p.nodes)
	lost := event{kind: brokerLost, at: p.between(30*time.Second, p.faults-time.Minute), nodes: 1 << cutOff}
	lost.downs[cutOff] = p.between(10*time.Second, 40*time.Second)
	p.add(lost)
	starts, down := lost.at+lost.downs[cutOff]+p.between(0, time.Second), p.between(time.Second, 8*time.Second)
	e := event{kind: crash, at: starts - down, lasts: down, node: (cutOff + 1 + p.rng.IntN(p.nodes-1)) % p.nodes}
	for i := range e.snapshot {
		e.snapshot[i] = -1
	}
	p.add(e)
}

func (p *plan) snapshots() (s [maxNodes]time.Duration) {
	for i := range s {
		s[i] = -1
		if p.rng.IntN(2) == 0 {
			s[i] = rand64(p.rng, 15*time.Second)
		}
	}
	return s
}

func (p *plan) addCrash() {
	p.add(event{
		kind: crash, at: p.sometime(), node: p.rng.IntN(p.nodes), snapshot: p.snapshots(),
		lasts: [...]time.Duration{
			p.between(0, 2*time.Second), p.between(time.Second, 30*time.Second), p.between(30*time.Second, 150*time.Second),
		}[p.rng.IntN(3)],
	})
}

func (p *plan) addAllDown() {
	e := event{kind: allDown, at: p.sometime(), snapshot: p.snapshots()}
	least := p.between(0, 100*time.Second)
	for i := range e.downs {
		e.downs[i] = least + p.between(0, 10*time.Second)
	}
	p.add(e)
}

func (p *plan) addSuspension() {
	e := event{
		kind: processSuspended, at: p.sometime(), node: p.rng.IntN(p.nodes),
		lasts: [...]time.Duration{
			p.between(0, 10*time.Second), p.between(5*time.Second, 60*time.Second), p.between(60*time.Second, 150*time.Second),
		}[p.rng.IntN(3)],
	}
	p.add(e)
	if p.rng.IntN(4) == 0 { // and again, before it has recovered
		e.at += e.lasts + p.between(0, 3*time.Second)
		e.lasts = p.between(0, 120*time.Second)
		if e.at < p.faults {
			p.add(e)
		}
	}
}

// finish adds what events need, has all faults end in time, and puts all in order.
func (p *plan) finish() {
	for _, e := range p.events {
		for i, age := range e.snapshot {
			if (e.kind == allDown || e.kind == crash && e.node == i) && age >= 0 && i < p.nodes {
				p.add(event{at: max(0, e.at-age), kind: takeSnapshot, node: i})
			}
		}
	}
	for i := range p.events {
		e := &p.events[i]
		last := p.faults - time.Duration(i+1)*time.Microsecond // no two end together
		e.lasts = min(e.lasts, max(0, last-e.at))
		for j := range e.downs {
			e.downs[j] = min(e.downs[j], max(0, last-e.at-time.Duration(j)*time.Nanosecond))
		}
	}
	slices.SortStableFunc(p.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
}

// rand64 returns a duration in [0, n), to the nanosecond.
func rand64(rng *rand.Rand, n time.Duration) time.Duration {
	if n <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(n)))
}
