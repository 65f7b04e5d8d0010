package simulate

import (
	"fmt"
	"time"

	"github.com/registryd/registryd/registry"
)

// silent is how long the network must have been without faults for peers to
// know each other.
const silent = 5 * time.Second

// Reasons for which a cancelled instance may be listed until its lease ends.
const (
	// No node has the tombstone any more, nor has its snapshot, and its time was
	// over when the last one forgot it.
	tombstoneRetired = "a cancel was forgotten everywhere before the nodes met again"
	// The same, but its time was shorter than by the longest term that the instance
	// ever had: those who knew that term had crashed, or were away.
	longestUnknown = "a cancel was forgotten everywhere by nodes that did not know a former life of the instance"
)

// Why an older record or override may be all that is left of an instance: renewals did not reach
// those who had the later one, and they retired it.
const partRetired = "those who had the latest of an instance retired it before they met who had it renewed"

// Times after the end of the faults.
const (
	mendTime = 20 * time.Second // until cancelled instances are gone for good
	// recoverTime is the time until living instances are listed for good: a
	// pipeline may wait for half a minute, and a client too.
	recoverTime = 65 * time.Second
)

// meet is how long nodes may hold an instance differently in calm, in seconds. One node
// forgets what has retired a little before another: what it is handed back takes two
// rounds.
func (p *plan) meet() int { return 12 + int(4*p.batchDelay/time.Second) }

// transit is how much younger than the truth a lease may look: an age does not
// include its own way.
const transit = 15 * time.Second

// termOf is how long the lease of a record lasts after a renewal.
func termOf(r *registry.Record) time.Duration {
	if r.Info == nil {
		return r.Duration
	}
	return lease{time.Duration(r.Info.LeaseInfo.RenewalIntervalInSecs) * time.Second, r.Duration}.term()
}

// forget notes the instances that no node knows any more and that were old
// enough to be forgotten. It is called after each event that may make a node
// forget.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.clients {
		if c == nil {
			continue
		}
		w.expire(c.key, nil)
		if c.phase != cancelled || time.Since(c.restored) <= 5*time.Minute || // a cancel from a snapshot is kept for as long
			w.isKnown(c.key, nil, func(e *registry.Entry) bool { return !e.Record.Live }) {
			continue
		}
		switch age := time.Since(c.changed); {
		case age > retirement(c.longest):
			c.forgotten = tombstoneRetired
		case age > retirement(c.fresh) && !c.apart.IsZero() && time.Now().After(c.apart):
			// Those who knew its former life have not met this one, or the cancel would be
			// known still; by now they have retired the former.
			c.forgotten = longestUnknown
		}
	}
}

// isKnown reports whether a process, beside one, or the snapshot of a node that is
// down, has an instance as it should be. w.mu is held.
func (w *world) isKnown(key registry.Key, beside *proc, should func(*registry.Entry) bool) bool {
	for i := range w.plan.nodes {
		var entry registry.Entry
		var ok bool
		if p := w.procs[i]; p == nil {
			entry, ok = w.snaps[i].entry(key)
		} else if p != beside {
			entry, _, ok = p.reg.Entry(key)
		}
		if ok && should(&entry) {
			return true
		}
	}
	return false
}

// expire takes the floor from under an instance that nobody beside one process knows,
// and everybody was to forget. w.mu is held.
func (w *world) expire(key registry.Key, beside *proc) {
	if f := w.floors[key]; f != nil && time.Since(f.renewed) > retirement(f.longest) &&
		!w.isKnown(key, beside, func(*registry.Entry) bool { return true }) {
		delete(w.floors, key)
		w.client(key).overridden = ""
	}
}

// fate is the true state of a client at one moment.
type fate struct {
	phase                           phase
	known                           time.Time
	changed, heard, late, renewed   time.Time
	forgotten                       string
	lost                            bool
	interval, term, longest, margin time.Duration // term: of the lease that nodes know
}

func (c *client) fate() fate {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	var known time.Time
	term := c.asked.term()
	if f := c.world.floors[c.key]; f != nil {
		known = f.renewed
		if c.lost && f.record.Live { // its heartbeats renew what is left
			term = min(term, termOf(&f.record))
		}
	}
	return fate{
		known: known,
		phase: c.phase, changed: c.changed, heard: c.heard, late: c.late, renewed: c.renewed,
		lost: c.lost, forgotten: c.forgotten,
		interval: c.asked.interval, term: term, longest: c.longest,
		margin: min(30*time.Second, term/3),
	}
}

// since reports whether the client renewed since the faults ended.
func (f *fate) since(w *world) bool { return f.heard.Sub(w.begun) > w.plan.faults+mendTime }

// mustBeListed reports whether some node must know in the end that the client
// lives: it was heard since the faults ended, or its lease is still good and not
// all who knew it have crashed. Where they have, what is left of it may have a lease
// that ends before its next heartbeat.
func (c *client) mustBeListed() bool {
	f := c.fate()
	return f.phase == running && (f.since(c.world) && (!f.lost || time.Since(f.heard) < f.term-f.margin) ||
		!f.lost && f.heard.After(f.changed) && time.Since(f.known) < f.term-f.margin)
}

// leaseEnds returns when the lease that a node holds must have ended.
func (c *client) leaseEnds(h *holding) time.Time {
	f := c.fate()
	renewed := f.renewed.Add(transit)
	if at := time.Now().Add(-h.proc.reg.Up()); at.After(renewed) {
		renewed = at
	}
	return renewed.Add(termOf(&h.entry.Record))
}

// watch checks all nodes each second, from the end of the faults on.
func (w *world) watch() {
	reported, apart := make(map[string]bool), make(map[registry.Key]int)
	violate := func(kind string, c *client, p *proc, format string, args ...any) {
		if key := fmt.Sprint(kind, c.id, p.name); !reported[key] {
			reported[key] = true
			w.violate("%s %s", c.key, fmt.Sprintf(format, args...))
		}
	}
	for w.since() < w.plan.end()-settle-2*time.Second {
		time.Sleep(time.Second)
		calm := w.since() - w.plan.faults
		for _, c := range w.clients {
			f := c.fate()
			w.watchAnywhere(c, &f, calm, violate)
			for i := range w.plan.nodes {
				p := w.proc(i)
				if p == nil || !p.reads() {
					w.watchStart(c, p, calm, violate)
					continue
				}
				w.watchListed(c, &f, p, calm, violate)
				w.watchLease(c, &f, p, calm, violate)
			}
		}
		for i := range w.plan.nodes {
			if p := w.proc(i); p != nil && w.plan.forged {
				w.checkVersions(p)
			}
		}
		if calm > w.plan.recovered() {
			w.watchDigests(apart)
		}
	}
}

// watchDigests counts in apart for how many seconds nodes have held an instance
// differently. The zero key stands for digests that differ while no instance does.
func (w *world) watchDigests(apart map[registry.Key]int) {
	p, q := w.unequal()
	if p == nil {
		clear(apart)
		return
	}
	differ := differing(p, q)
	for key := range apart {
		if !differ[key] {
			delete(apart, key)
		}
	}
	for key := range differ {
		if apart[key]++; apart[key] == w.plan.meet() {
			w.violate("the digests of %s and %s differ for %d s in %q: %s", p.name, q.name, apart[key], key, w.difference(p, q))
		}
	}
}

// differing returns the instances that two nodes, whose digests differ, hold differently.
func differing(p, q *proc) map[registry.Key]bool {
	held := make(map[registry.Versions]int)
	for _, of := range []*proc{p, q} {
		for v := range of.reg.AllVersions() {
			held[v]++
		}
	}
	differ := make(map[registry.Key]bool)
	for v, n := range held {
		if n != 2 {
			differ[v.Key] = true
		}
	}
	if len(differ) == 0 {
		differ[registry.Key{}] = true
	}
	return differ
}

// recovered is how long after the end of the faults every pipeline is in step.
func (p *plan) recovered() time.Duration { return recoverTime + 2*p.batchDelay }

// queue is how long an expired instance may wait for the others to be evicted: of
// so few instances Eureka's policy evicts one in a pass.
func (p *plan) queue() time.Duration {
	if p.evictors {
		return instances * registry.DefaultEvictionInterval
	}
	return 0
}

// violation notes a violation by a client at a node, each kind once.
type violation func(kind string, c *client, p *proc, format string, args ...any)

// watchAnywhere checks that a living instance is listed by some node.
func (w *world) watchAnywhere(c *client, f *fate, calm time.Duration, violate violation) {
	if f.phase != running || !w.plan.exact || f.lost || calm <= silent || !f.heard.After(f.changed) ||
		time.Since(f.known) > f.term-f.margin || time.Since(f.heard) < silent || time.Since(f.late) < f.longest {
		return
	}
	for i := range w.plan.nodes {
		if p := w.proc(i); p == nil || p.present(c.key) {
			return
		}
	}
	violate("nowhere", c, w.proc(0), "lives, was heard at %v and is listed nowhere", f.heard.Sub(w.begun))
}

// watchListed checks that a node lists living instances, and none that was
// cancelled.
func (w *world) watchListed(c *client, f *fate, p *proc, calm time.Duration, violate violation) {
	mend := mendTime + w.plan.batchDelay
	switch listed := p.present(c.key); {
	case f.phase == cancelled && listed:
		switch {
		case !w.plan.exact || calm <= mend || time.Since(f.changed) <= mend || f.lost || f.late.After(f.changed):
		case f.forgotten != "":
			w.excuse(f.forgotten)
		default:
			violate("listed", c, p, "was cancelled at %v and is listed at %s", f.changed.Sub(w.begun), p.name)
		}
	case f.phase == running && !listed && calm > w.plan.recovered() && f.heard.Sub(w.begun) > w.plan.faults+mend &&
		time.Since(f.heard) > 5*time.Second+w.plan.batchDelay && time.Since(f.heard) < f.term-f.margin:
		violate("unlisted", c, p, "lives, was heard at %v and is not listed at %s", f.heard.Sub(w.begun), p.name)
	}
}

// watchStart checks that a node serves lists soon after its start.
func (w *world) watchStart(c *client, p *proc, calm time.Duration, violate violation) {
	if p != nil && calm > w.plan.recovered() && time.Since(p.born) > silent {
		violate("start", c, p, "is on no list of %s, which has been there for %v", p.name, time.Since(p.born))
	}
}

// watchLease checks the age of a lease in a node.
func (w *world) watchLease(c *client, f *fate, p *proc, calm time.Duration, violate violation) {
	entry, evicted, ok := p.reg.Entry(c.key)
	if !ok || evicted || !entry.Record.Live {
		return
	}
	age := time.Since(f.renewed)
	if entry.Age < age-transit {
		violate("younger", c, p, "was renewed %v ago for the last time, %s says %v", age, p.name, entry.Age)
	}
	// In calm a renewal comes each interval, and is everywhere one delay later.
	known := max(age, f.interval+2*time.Second) + w.plan.batchDelay + 3*time.Second
	if f.phase == running && calm > w.plan.recovered()+2*known && entry.Age > known {
		violate("older", c, p, "was renewed %v ago, %s says %v", age, p.name, entry.Age)
	}
	ends := c.leaseEnds(&holding{proc: p, entry: entry})
	patience := 2*registry.DefaultEvictionInterval + w.plan.queue()
	if f.phase == down && p.node != w.plan.preserves && calm > w.plan.recovered() && time.Since(ends) > patience {
		violate("dead", c, p, "is dead since %v and listed at %s: renewed %v ago, %s says %v of a term of %v",
			f.changed.Sub(w.begun), p.name, age, p.name, entry.Age, termOf(&entry.Record))
	}
}

// unequal returns two nodes whose digests differ and ought not to; nil: there are
// none.
func (w *world) unequal() (p, q *proc) {
	w.mu.Lock()
	changed := w.changed
	w.mu.Unlock()
	if time.Since(changed) < silent+w.plan.batchDelay {
		return nil, nil
	}
	for i := range w.plan.nodes {
		if p, q = w.proc(0), w.proc(i); p == nil || q == nil {
			return nil, nil
		}
		if p.reg.Digest() != q.reg.Digest() && !w.mayDiffer() {
			return p, q
		}
	}
	return nil, nil
}

// difference describes the entries in which two nodes differ.
func (w *world) difference(p, q *proc) string {
	text := ""
	for _, c := range w.clients {
		a, b := holdingOf(p, c.key), holdingOf(q, c.key)
		if x, y := a.text(), b.text(); a.known != b.known || a.versions() != b.versions() {
			text += fmt.Sprintf("%s %s, %s; ", c.key, x, y)
		}
	}
	return text
}

// mayDiffer reports whether some node has an instance that another declines: its
// lease has expired, and it is not evicted yet.
func (w *world) mayDiffer() bool {
	for _, c := range w.clients {
		expired, unknown := false, false
		for i := range w.plan.nodes {
			p := w.proc(i)
			if p == nil {
				continue // it restarts
			}
			entry, evicted, ok := p.reg.Entry(c.key)
			unknown = unknown || !ok
			expired = expired || ok && entry.Record.Live && !evicted && entry.Age > termOf(&entry.Record)
		}
		if expired && unknown {
			return true
		}
	}
	return false
}
