package simulate

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/registry"
)

// linkKind is the kind of a message: a batch, a sync request, each one's
// answer, and so on. It is part of what decides a message's fate.
type linkKind uint8

const (
	batchLink linkKind = iota
	batchAnswer
	syncLink
	syncAnswer
	presenceLink
	askLink
	clientLink
	clientAnswer
	ownLink // no message: a random choice of a node
)

// world is one run of one seed.
type world struct {
	plan  *plan
	rule  rule
	begun time.Time
	log   io.Writer // nil: no log
	// noReader blocks what the processes write to their logs until the last fault.
	noReader bool

	now   atomic.Pointer[conditions]
	turns turns

	mu         sync.Mutex
	procs      [maxNodes]*proc // guarded by mu; nil: down
	all        []*proc         // guarded by mu; every process there ever was
	graves     sync.WaitGroup
	violations []string            // guarded by mu
	excuses    map[string]bool     // guarded by mu; what is excused, by its reason
	cuts       []uint16            // guarded by mu; partitions in force
	rough      time.Time           // guarded by mu; when the last fault was in force
	storm      bool                // guarded by mu; isStormy at the last touch
	stormy     time.Time           // guarded by mu; when the network last was or became bad, or a link of it
	started    time.Time           // guarded by mu; when a process was last started
	links      [maxNodes]time.Time // guarded by mu; when a node last got its connection back
	unlinked   [maxNodes]time.Time // guarded by mu; when it last lost it
	changed    time.Time           // guarded by mu; when a node last served a request that changed more than a lease

	snaps [maxNodes]*disk // guarded by mu; each node's snapshot

	clients [instances]*client
	ballast []registry.Key          // guarded by mu
	floors  map[registry.Key]*floor // guarded by mu
}

// conditions are the network's present conditions.
type conditions struct {
	weather
	cut uint16
	broker
}

func (w *world) since() time.Duration { return time.Since(w.begun) }

func (w *world) logf(format string, args ...any) {
	if w.log == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(w.log, "%15.9f  %s\n", w.since().Seconds(), fmt.Sprintf(format, args...))
}

func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf("%.3fs: ", w.since().Seconds()) + fmt.Sprintf(format, args...)
	w.logf("VIOLATION %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, text)
}

// excuse notes a deviation from the promises, for a reason that
// docs/convergence.md names.
func (w *world) excuse(reason string) {
	w.logf("EXCUSED %s", reason)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.excuses[reason] = true
}

func (w *world) proc(node int) *proc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.procs[node]
}

// clockOf returns the clock of a process's registry.
func (w *world) clockOf(p *proc) func() time.Time {
	skew := w.plan.skew[p.node]
	return func() time.Time { return time.Now().Add(skew) }
}

// chance returns a number in [0, 1) that the seed, the link and the time
// decide, so that a message's fate does not depend on the order of earlier
// messages.
func (w *world) chance(l linkKind, from, to int, salt uint64) float64 {
	x := w.plan.seed*0x9e3779b97f4a7c15 ^ uint64(w.since())*0xbf58476d1ce4e5b9 ^
		(uint64(l)<<16|uint64(from)<<8|uint64(to))*0x94d049bb133111eb ^ salt*0xd6e8feb86659fd93
	for range 2 {
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		x ^= x >> 31
	}
	return float64(x>>11) / (1 << 53)
}

// travel delivers a message over a link, or loses, delays or repeats it.
func (w *world) travel(l linkKind, from, to int, body []byte, deliver func()) {
	c := w.now.Load()
	if l < clientLink && (c.cut&link(from, to) != 0 || !c.carries(from, to)) ||
		c.loss > 0 && w.chance(l, from, to, 1) < c.loss || w.losesPage(l, from, to) {
		return
	}
	if q := w.proc(to); w.plan.slowDrain && l == batchAnswer && q != nil && q.leaving.Load() {
		w.arrives(drainDelay, l, from, to, body, deliver)
		return
	}
	if late := w.plan.answersLate; late > 0 && (l == syncAnswer || l == batchAnswer) && w.since() < w.plan.faults {
		w.arrives(time.Duration(w.chance(l, from, to, 7)*float64(late)), l, from, to, body, deliver)
		return
	}
	if c.twice > 0 && w.chance(l, from, to, 2) < c.twice {
		w.arrives(time.Duration(w.chance(l, from, to, 3)*float64(4*time.Second)), l, from, to, body, deliver)
	}
	if c.slow > 0 && w.chance(l, from, to, 4) < c.slow {
		w.arrives(time.Duration(w.chance(l, from, to, 5)*float64(c.delay)), l, from, to, body, deliver)
		return
	}
	w.arrives(0, l, from, to, body, deliver)
}

// run runs the plan to its end. It is called in a bubble.
func (w *world) run() {
	w.begun = time.Now()
	w.now.Store(&conditions{})
	w.floors, w.excuses = make(map[registry.Key]*floor), make(map[string]bool)
	rng := rand.New(rand.NewPCG(w.plan.seed, 0x73746172))
	if e := w.plan.absent; e != nil {
		w.unlink(e)
	}
	for i := range w.plan.nodes {
		time.Sleep(rand64(rng, 200*time.Millisecond))
		w.start(i, nil)
		if i == 0 {
			w.load()
		}
	}
	var running sync.WaitGroup
	for i := range w.clients {
		c := newClient(w, i)
		w.mu.Lock()
		w.clients[i] = c
		w.mu.Unlock()
	}
	for _, c := range w.clients {
		running.Go(c.run)
	}
	w.logf("%d nodes, clocks %v, n%d preserves", w.plan.nodes, w.plan.skew, w.plan.preserves)
	for i := range w.plan.events {
		e := &w.plan.events[i]
		time.Sleep(e.at - w.since())
		w.logf("EVENT %v", e)
		w.do(e)
	}
	time.Sleep(w.plan.faults - w.since())
	w.heal()
	w.touch()
	w.logf("HEALED")
	for i := range w.plan.restarts {
		e := &w.plan.restarts[i]
		time.AfterFunc(e.at-w.since(), func() { w.do(e) })
	}
	w.watch()
	time.Sleep(w.plan.end() - settle - w.since())
	w.lastPass()
	time.Sleep(w.plan.end() - w.since())
	running.Wait()
	w.check()
	w.mu.Lock()
	all := w.all
	w.mu.Unlock()
	for _, p := range all {
		p.stop()
	}
	for _, p := range all {
		p.bury()
	}
	w.graves.Wait()
}

// touch notes that a fault was in force until now, or begins now.
func (w *world) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rough = time.Now()
	storm := w.isStormy()
	if storm || w.storm {
		w.stormy = time.Now()
	}
	w.storm = storm
}

// isStormy reports whether messages are lost or late, or a node is deaf or mute.
func (w *world) isStormy() bool {
	c := w.now.Load()
	return c.cut != 0 || c.loss > 0 || c.slow > 0 || c.deaf|c.mute != 0
}

// calmFor returns for how long the network has been without such faults.
func (w *world) calmFor() time.Duration {
	if w.isStormy() {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Since(w.stormy)
}

// isRough reports whether a fault is in force.
func (w *world) isRough() bool {
	c := w.now.Load()
	if c.cut != 0 || c.loss > 0 || c.slow > 0 || c.broker != (broker{}) {
		return true
	}
	for i := range w.plan.nodes {
		if p := w.proc(i); p == nil || !p.isUp() {
			return true
		}
	}
	return false
}

// do does one event.
func (w *world) do(e *event) {
	if e.kind == restart {
		w.restart(e) // it asks whether the weather is fair
		return
	}
	w.touch()
	defer w.touch()
	switch e.kind {
	case setWeather:
		w.change(func(c *conditions) { c.weather = e.weather })
	case partition:
		w.cut(e.links, true)
		time.AfterFunc(e.lasts, func() {
			w.logf("partition %x ends", e.links)
			w.cut(e.links, false)
			w.touch()
		})
	case crash:
		w.crash(e.node, e.lasts, e.snapshot[e.node])
		w.lower()
	case allDown:
		for i := range w.plan.nodes { // none of them noticed another's end
			w.crash(i, e.downs[i], e.snapshot[i])
		}
		w.lower()
	case takeSnapshot:
		if p := w.proc(e.node); p != nil { // the last snapshot of a suspended process
			snap := p.snapshot()
			w.mu.Lock()
			w.snaps[e.node] = snap
			w.mu.Unlock()
		}
	case brokerLost:
		w.unlink(e)
	case deafness:
		w.deafen(e)
	case forgery:
		w.forge(e)
	case processSuspended, machineSuspended:
		p := w.proc(e.node)
		if p == nil || !p.halt(e.kind == machineSuspended) {
			return
		}
		time.AfterFunc(e.lasts, func() {
			w.logf("n%d goes on", e.node)
			p.resume()
			w.touch()
		})
	default:
		w.operate(e)
	}
}

func (w *world) cut(links uint16, on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on {
		w.cuts = append(w.cuts, links)
	} else {
		for i, c := range w.cuts {
			if c == links {
				w.cuts = append(w.cuts[:i], w.cuts[i+1:]...)
				break
			}
		}
	}
	c := *w.now.Load()
	c.cut = 0
	for _, l := range w.cuts {
		c.cut |= l
	}
	w.now.Store(&c)
}

// crash kills a node's process and starts a new one later, from the last
// snapshot, or below age 0 from nothing.
func (w *world) crash(node int, down, age time.Duration) {
	p := w.proc(node)
	if p == nil {
		return
	}
	w.mu.Lock()
	w.procs[node] = nil
	if age < 0 {
		w.snaps[node] = nil
	}
	snap := w.snaps[node]
	w.mu.Unlock()
	p.kill()
	w.forget()
	w.graves.Go(p.bury)
	w.startLater(node, snap, down)
}

func (w *world) startLater(node int, snap *disk, down time.Duration) {
	time.AfterFunc(max(down, time.Millisecond), func() {
		w.logf("n%d starts", node)
		w.start(node, snap)
		w.touch()
	})
}

// logger returns the logger of a process. It discards everything, unless the
// run has a log or the log has no reader.
func (w *world) logger(p *proc) *slog.Logger {
	if w.log == nil && !w.noReader {
		return nil
	}
	var out io.Writer = logWriter{w, p.name}
	if w.noReader {
		p.lines = logqueue.New(out, nil)
		out = p.lines
	}
	return slog.New(slog.NewTextHandler(out, nil))
}

// logWriter writes a process's log lines into the run's log.
type logWriter struct {
	world *world
	name  string
}

func (l logWriter) Write(line []byte) (int, error) {
	if l.world.noReader {
		time.Sleep(l.world.plan.faults - l.world.since())
	}
	_, text, _ := bytes.Cut(bytes.TrimSpace(line), []byte(" level="))
	l.world.logf("%s logs %s", l.name, text)
	return len(line), nil
}
