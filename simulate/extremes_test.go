package simulate

import (
	"math/rand/v2"
	"time"

	"github.com/registryd/registryd/acceptor"
)

// extremes are further decisions of a seed, from a generator of their own: they
// leave the older events of a seed unchanged.
type extremes struct {
	mixed      bool          // clients ask for leases of all lengths, and change them
	quiet      time.Duration // how long there are no faults before the promises must hold
	batchDelay time.Duration
	evictors   bool // nodes evict by Eureka's policy, not everything expired at once

	absent      *event        // brokerLost from the start on
	pagesLost   float64       // of answers to sync requests
	answersLate time.Duration // answers take up to so long
	payload     int           // what a message may have, in bytes
	away        bool          // nodes are away for so long; many clients end before
	slowDrain   bool          // a restart has much to send, and slow peers
	ballast     int           // instances that no client touches
	restarts    []event       // in calm
	forged      bool          // versions from the far future came
}

// Times of extremes.
const (
	longQuiet  = 11 * time.Minute // tombstones are forgotten meanwhile
	outageTime = 8 * time.Minute  // a node that is away for longer may miss a cancel that all others have forgotten
)

// never is the frequency of a kind that happens only in an emphasis.
const never = 0

// addExtremes draws the extremes of a plan. An emphasis has those that it names,
// and no others.
func (p *plan) addExtremes(much emphasis) {
	rng := rand.New(rand.NewPCG(p.seed, 0x65787472))
	some := func(k kind, oneIn int) bool { // never: in an emphasis only
		drawn := rng.IntN(max(1, oneIn)) == 0 && oneIn != never
		if much != nil {
			return much[k] > 0
		}
		return drawn
	}
	old := p.rng
	p.rng = rng
	defer func() { p.rng = old }()
	p.extremes = extremes{quiet: quietTime, batchDelay: acceptor.DefaultDelay}
	p.mixed = some(mixedLeases, 3)
	if some(slowBatches, 8) {
		p.batchDelay = p.between(2*time.Second, 5*time.Second)
	}
	p.evictors = some(realEvictors, 3)
	if some(quietLong, 24) {
		p.quiet = longQuiet
	}
	if some(outage, 12) {
		p.addOutage()
	}
	for range max(2, much[brokerLost]) {
		if some(brokerLost, 5) {
			p.addBrokerLost(p.between(time.Second, p.faults))
		}
	}
	if some(brokerLost, 8) {
		p.addBrokerLost(0)
	}
	if some(deafness, 6) {
		p.add(event{
			kind: deafness, at: p.sometime(), node: p.rng.IntN(p.nodes),
			lasts: p.between(3*time.Second, time.Minute), choice: p.rng.IntN(2),
		})
	}
	for range max(2, much[machineSuspended]) {
		if some(machineSuspended, 8) {
			p.add(event{
				kind: machineSuspended, at: p.sometime(), node: p.rng.IntN(p.nodes), lasts: p.between(time.Second, 2*time.Minute),
			})
		}
	}
	if some(lostPages, 8) {
		p.pagesLost = 0.1 + 0.2*rng.Float64()
	}
	if some(slowAnswers, 8) {
		p.answersLate = 1900 * time.Millisecond
	}
	p.payload = 1 << 20
	if some(smallMessages, 8) {
		p.payload, p.ballast = 6<<10+rng.IntN(10<<10), 5+rng.IntN(maxBallast-5)
		if much != nil {
			p.payload, p.ballast = 6<<10, maxBallast
		}
		p.evictors = false // so many instances can have self-preservation
	}
	for range max(2, much[forgery]) {
		if some(forgery, 12) {
			p.forged = true
			p.add(event{
				kind: forgery, at: p.sometime(), node: p.rng.IntN(p.nodes), instance: rng.IntN(instances), choice: rng.IntN(3),
			})
		}
	}
	for range 2 {
		if some(restart, 8) {
			p.add(event{
				kind: restart, at: p.sometime(), node: p.rng.IntN(p.nodes),
				lasts: p.between(0, 5*time.Second), choice: p.rng.IntN(2),
			})
		}
	}
	p.slowDrain = some(slowDrain, 24)
	if some(restart, 4) || p.slowDrain {
		at := p.faults + p.recovered() + p.between(0, 60*time.Second)
		p.restarts = append(p.restarts, event{
			kind: restart, at: at, node: p.rng.IntN(p.nodes), lasts: p.between(0, 5*time.Second), choice: p.rng.IntN(2),
		})
	}
}

// batchSize is how many actions a batch has at most; 0: as many as usual.
func (p *plan) batchSize() int {
	if p.slowDrain {
		return 1
	}
	return 0
}

// addOutage keeps one node, or all, away until tombstones may be forgotten.
func (p *plan) addOutage() {
	away := outageTime + rand64(p.rng, 2*time.Minute)
	at := p.between(30*time.Second, faultTime-time.Minute)
	p.away = true
	e := event{kind: crash, at: at, node: p.rng.IntN(p.nodes), lasts: away}
	e.snapshot = p.snapshots()
	if p.rng.IntN(3) > 0 {
		for i := range e.snapshot {
			e.snapshot[i] = rand64(p.rng, 15*time.Second)
		}
	}
	if p.rng.IntN(2) == 0 {
		e.kind = allDown
		for i := range e.downs {
			e.downs[i] = away + p.between(0, 10*time.Second)
		}
	}
	p.add(e)
	p.faults = max(p.faults, at+away+p.between(20*time.Second, 2*time.Minute))
}

// lease is the lease that a client asks for when it registers.
type lease struct{ interval, duration time.Duration }

// usual is the duration that most clients ask for.
const usual = 90 * time.Second

// term is how long a lease lasts after a renewal.
func (l lease) term() time.Duration { return max(l.duration, l.interval+5*time.Second) }

// retirement is how long after the last renewal every node may have forgotten
// an instance whose lease was never longer.
func retirement(longest time.Duration) time.Duration { return 2*longest + 5*time.Minute }

// drawLease returns a lease: in half of all cases the usual one, with the
// interval.
func drawLease(rng *rand.Rand, interval time.Duration) lease {
	seconds := func(lo, hi int) time.Duration { return time.Duration(lo+rng.IntN(hi-lo+1)) * time.Second }
	if rng.IntN(2) == 0 {
		return lease{interval, usual}
	}
	switch rng.IntN(4) {
	case 0:
		duration := seconds(1, 10)
		return lease{max(time.Second, duration/3), duration}
	case 1:
		duration := seconds(5*60, 20*60)
		return lease{[...]time.Duration{interval, duration / 3}[rng.IntN(2)], duration}
	case 2:
		return lease{interval, time.Hour}
	default: // it believes that the duration is counted from the next renewal
		return lease{seconds(100, 600), seconds(10, 90)}
	}
}

// addBrokerLost takes the connections of some nodes, or of all, at 0 from the start
// on. Some start anew meanwhile.
func (p *plan) addBrokerLost(at time.Duration) {
	e := event{kind: brokerLost, at: at, nodes: uint8(1 + p.rng.IntN(1<<p.nodes-1))}
	if p.rng.IntN(2) == 0 {
		e.nodes = 1<<p.nodes - 1
	}
	lasts := [...]time.Duration{
		p.between(0, 4*time.Second), p.between(time.Second, 40*time.Second), 70 * time.Second,
	}[p.rng.IntN(3)]
	for i := range e.downs {
		e.downs[i] = lasts + p.between(0, 5*time.Second)
	}
	node, again := p.rng.IntN(p.nodes), p.rng.IntN(2) == 0
	if at == 0 {
		p.absent = &e
		return
	}
	p.add(e)
	if again && e.nodes&(1<<node) != 0 {
		p.add(event{
			kind: crash, at: at + lasts/4, node: node, snapshot: p.snapshots(), lasts: lasts / 4,
		})
	}
}
