package simulate

import (
	"context"
	"fmt"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// floor is the least that must remain of an instance in the end: the latest
// parts that were acknowledged to a client and not lost in a crash with every
// node that knew them.
type floor struct {
	record   registry.Record
	override registry.Override
	longest  time.Duration // the greatest term that the lease ever had

	// The last renewal: of all, and as far as a node knew that has the record, or the
	// override. Those who have a part retire it by what they know.
	renewed, recordRenewed, overrideRenewed time.Time
}

func (f *floor) raise(e *registry.Entry) {
	if e.Record.After(&f.record) {
		f.record, f.recordRenewed = e.Record, time.Time{}
	}
	if e.Override.After(&f.override) {
		f.override, f.overrideRenewed = e.Override, time.Time{}
	}
	f.longest = max(f.longest, e.Longest, termOf(&e.Record))
	f.renew(e)
}

// renew notes what a node knows of the lease.
func (f *floor) renew(e *registry.Entry) {
	at := time.Now().Add(-e.Age)
	later := func(t *time.Time) {
		if at.After(*t) {
			*t = at
		}
	}
	later(&f.renewed)
	if !f.record.After(&e.Record) {
		later(&f.recordRenewed)
	}
	if !f.override.After(&e.Override) {
		later(&f.overrideRenewed)
	}
}

// renewed takes what a process knows of the leases. What it forgets was renewed minutes ago, so that
// it is enough to do that with each eviction pass.
func (w *world) renewed(p *proc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key, f := range w.floors {
		if entry, _, ok := p.reg.Entry(key); ok {
			f.renew(&entry)
		}
	}
}

// served takes the state of an instance in a process before and after a
// client's call.
func (w *world) served(p *proc, key registry.Key, before registry.Entry) {
	entry, _, ok := p.reg.Entry(key)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.client(key)
	if before.Record.Version == 0 {
		w.expire(key, p)
		if f := w.floors[key]; f != nil { // others know a life of it that p doesn't
			c.apart = f.renewed.Add(retirement(f.longest))
		}
		c.fresh = 0
	}
	f := w.floors[key]
	if f == nil {
		f = new(floor)
		w.floors[key] = f
	}
	f.raise(&entry)
	c.longest, c.fresh = max(c.longest, termOf(&entry.Record)), max(c.fresh, termOf(&entry.Record))
	if entry.Age <= time.Millisecond {
		c.renewed = time.Now()
	}
	was, is := before.Override, entry.Override
	if was.Version != is.Version || before.Record.Version != entry.Record.Version {
		w.changed = time.Now()
	}
	if was.Version == is.Version {
		return
	}
	c.overridden = ""
	if is.Set && time.Since(c.overriddenAt) > time.Second {
		c.overridden = is.Status
	}
	c.overriddenAt = time.Now()
}

// lower takes the state that remains after a crash. It returns an instance of
// which a part was lost, if there is one.
func (w *world) lower() (lost string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.floors {
		f := new(floor)
		forfeit := func(renewed time.Time) {
			if time.Since(renewed) < 5*time.Minute { // else it may have retired
				lost = key.String()
			}
		}
		for i, p := range w.procs {
			if p != nil {
				if entry, _, ok := p.reg.Entry(key); ok {
					f.raise(&entry)
				}
				continue
			}
			if entry, ok := w.snaps[i].entry(key); ok {
				f.raise(&entry)
			}
		}
		if before := w.floors[key]; before.record.After(&f.record) {
			w.client(key).lost = true
			forfeit(before.recordRenewed)
		}
		if before := w.floors[key]; before.override.After(&f.override) {
			w.client(key).overridden = ""
			forfeit(before.overrideRenewed)
		}
		w.floors[key] = f
	}
	return lost
}

func (w *world) client(key registry.Key) *client {
	for _, c := range w.clients {
		if c.key == key {
			return c
		}
	}
	return nil
}

// disturb notes that a request was served although its client had given up.
func (w *world) disturb(key registry.Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.client(key).late = time.Now()
}

// evicted checks an eviction. A process that has just started or resumed can't
// know whether clients could renew. A client that lives must not be evicted
// while a peer within reach has a younger lease.
func (w *world) evicted(p *proc, key registry.Key) {
	w.logf("%s evicts %s", p.name, key)
	since := p.born
	if at := time.Unix(0, p.resumed.Load()); at.After(since) {
		since = at
	}
	entry, _, _ := p.reg.Entry(key)
	if up := time.Since(since); entry.Record.Live && up < termOf(&entry.Record)-time.Second {
		w.violate("%s evicts %s when it has been up for %v", p.name, key, up)
	}
	w.mu.Lock()
	phase, heard, rough := w.client(key).phase, w.client(key).heard, w.rough
	w.mu.Unlock()
	if phase != running || w.isRough() || time.Since(rough) < 2*time.Second {
		return
	}
	if w.since() < w.plan.faults && (w.plan.answersLate > 0 || w.plan.pagesLost > 0) {
		return // it may have asked in vain
	}
	for i := range w.plan.nodes {
		q := w.proc(i)
		if q == nil || q == p || !q.isUp() || !q.reads() {
			continue
		}
		if e, evicted, ok := q.reg.Entry(key); ok && !evicted && e.Record.Version == entry.Record.Version &&
			e.Age < termOf(&e.Record)-silent {
			w.violate("%s evicts %s, which lives (last renewal at %v); %s knows a lease renewed %v ago",
				p.name, key, heard.Sub(w.begun), q.name, e.Age)
		}
	}
}

// glance checks the list of a process that resumes after a suspension that it
// must notice, if it serves one.
func (w *world) glance(p *proc) {
	if !p.reads() || p.leaving.Load() {
		return
	}
	for _, c := range w.clients {
		w.mu.Lock()
		phase, changed, late, lost := c.phase, c.changed, c.late, c.lost
		w.mu.Unlock()
		if p.present(c.key) && w.plan.exact && phase == cancelled && !lost && late.Before(changed) &&
			time.Since(changed) > silent {
			w.violate("%s was cancelled at %v and is listed by %s, which was suspended", c.key, changed.Sub(w.begun), p.name)
		}
	}
}

// holding is the state of an instance in one process.
type holding struct {
	proc    *proc
	entry   registry.Entry
	evicted bool
	known   bool
	listed  *eureka.InstanceInfo
}

func holdingOf(p *proc, key registry.Key) holding {
	h := holding{proc: p}
	h.entry, h.evicted, h.known = p.reg.Entry(key)
	return h
}

// versions is what the digest holds of an entry.
type versions struct {
	record   int64
	live     bool
	hash     uint64
	override registry.Override
}

func (h *holding) versions() versions {
	r := &h.entry.Record
	return versions{r.Version, r.Live, r.Hash, h.entry.Override}
}

// settle is how long before the end each process evicts for the last time. An
// entry that one process has forgotten then and another has not is handed back,
// which takes a round.
const settle = 15 * time.Second

// up returns the processes; nil: not all are there.
func (w *world) up() []*proc {
	var procs []*proc
	for i := range w.plan.nodes {
		p := w.proc(i)
		if p == nil || !p.isUp() {
			w.violate("n%d is not up", i)
			return nil
		}
		procs = append(procs, p)
	}
	return procs
}

// lastPass makes each process evict once more, and then no more.
func (w *world) lastPass() {
	for _, p := range w.up() {
		p.stopTimers()
		p.evict(context.Background())
	}
}

// check checks the promises, after one eviction pass each.
func (w *world) check() {
	procs := w.up()
	exact := true
	for _, c := range w.clients {
		all := make([]holding, len(procs))
		for i, p := range procs {
			h := &all[i]
			*h = holdingOf(p, c.key)
			if app, ok := p.reg.Application(c.key.App); ok {
				for _, info := range app.Instances {
					if info.ID() == c.key.ID {
						h.listed = info
					}
				}
			}
		}
		if !w.checkEqual(c, all) {
			exact = false
		}
		w.checkFloor(c, all)
		w.checkListed(c, all)
	}
	for _, p := range procs {
		if exact && p.reg.Digest() != procs[0].reg.Digest() {
			w.violate("digest of %s is %016x, of %s %016x", p.name, p.reg.Digest(), procs[0].name, procs[0].reg.Digest())
		}
		for _, peer := range p.cluster.Peers() {
			if n := peer.Acceptor.Unaccounted(); n != 0 {
				w.violate("%s -> %s: %d actions unaccounted for: %+v", p.name, peer.Name, n, peer.Acceptor)
			}
			if exact && peer.Divergent != 0 {
				w.violate("%s counts %d divergent from %s", p.name, peer.Divergent, peer.Name)
			}
		}
	}
}

// near is how far leases may differ between nodes: by the way of a message, and
// by changes under way.
const near = 30 * time.Second

// checkEqual checks that all processes hold the same of an instance. Exempt are
// those that some may have forgotten by now, or may decline; false: it is one.
func (w *world) checkEqual(c *client, all []holding) bool {
	var first *holding
	exempt, expired := false, true
	for i := range all {
		h := &all[i]
		if !h.known {
			continue
		}
		if first == nil {
			first = h
		}
		age := h.entry.Age
		if !h.entry.Record.Live {
			// An operator may have renewed the lease at a node that had not heard of the
			// cancel. Who has forgotten it went by the cancel itself.
			age = max(age, time.Since(time.UnixMilli(h.entry.Record.Version)))
		}
		exempt = exempt || age > retirement(h.longest())-near
		if h.entry.Age <= termOf(&h.entry.Record) || !h.entry.Record.Live {
			expired = false
		}
	}
	if first == nil {
		return true
	}
	for i := range all {
		h := &all[i]
		switch {
		case !h.known:
			if !exempt && !expired {
				w.violate("%s is unknown at %s; %s holds %s", c.key, h.proc.name, first.proc.name, first.text())
			}
			exempt = true
		case h.versions() != first.versions():
			if !exempt {
				w.violate("%s differs: %s holds %s, %s %s", c.key, h.proc.name, h.text(), first.proc.name, first.text())
			}
		}
	}
	return !exempt
}

// longest is the greatest term that the lease ever had, as the process knows it. The
// client may have asked for a longer one in vain.
func (h *holding) longest() time.Duration { return max(h.entry.Longest, termOf(&h.entry.Record)) }

func (h *holding) text() string {
	r, o := &h.entry.Record, &h.entry.Override
	gen := ""
	if r.Info != nil {
		gen = " gen " + r.Info.Metadata["gen"]
	}
	return fmt.Sprintf("{v %d live %t base %s%s; v %d set %t %s; age %v evicted %t}",
		r.Version, r.Live, r.Base, gen, o.Version, o.Set, o.Status, h.entry.Age, h.evicted)
}

// checkFloor checks that no change is lost that some process still knew.
func (w *world) checkFloor(c *client, all []holding) {
	f := w.floors[c.key]
	if !c.apart.IsZero() && time.Now().After(c.apart) {
		return // those who knew its former life may have retired that before they met
	}
	if f == nil {
		return
	}
	retired := func(renewed time.Time) bool { return time.Since(renewed) > retirement(f.longest)-near }
	if retired(f.renewed) { // all may have forgotten it
		return
	}
	for i := range all {
		h := &all[i]
		if !h.known {
			continue // see checkEqual
		}
		switch back := f.record.After(&h.entry.Record); {
		case back && retired(f.recordRenewed):
			w.excuse(partRetired)
		case back:
			w.violate("%s went back at %s: v %d live %t was stored, it holds %s",
				c.key, h.proc.name, f.record.Version, f.record.Live, h.text())
		}
		// Who never had an override and who has forgotten that it was removed say the same.
		switch back := f.override.After(&h.entry.Override) && (f.override.Set || h.entry.Override.Set); {
		case back && retired(f.overrideRenewed):
			w.excuse(partRetired)
		case back:
			w.violate("%s lost an override at %s: v %d set %t %s was stored, it holds %s",
				c.key, h.proc.name, f.override.Version, f.override.Set, f.override.Status, h.text())
		}
	}
}

// checkListed checks that living instances are listed, with their latest data,
// and no others.
func (w *world) checkListed(c *client, all []holding) {
	w.mu.Lock()
	phase, changed, late, lost := c.phase, c.changed, c.late, c.lost
	w.mu.Unlock()
	must := c.mustBeListed()
	for i := range all {
		h := &all[i]
		switch {
		case phase != running && i == w.plan.preserves:
		case phase != running && h.listed != nil && time.Since(c.leaseEnds(h)) < settle+w.plan.queue():
		case phase != running && h.listed != nil:
			w.violate("%s is dead since %v and listed at %s: %s", c.key, changed.Sub(w.begun), h.proc.name, h.text())
		case phase != running:
		case h.listed == nil && !must:
		case h.listed == nil:
			w.violate("%s lives and is not listed at %s: %s", c.key, h.proc.name, h.text())
		case lost && !must: // it did not renew since, so it could not be asked
		case (c.frozen || c.adjusted) && (lost || !late.IsZero() || !w.plan.exact):
			// Its data may be older; no heartbeat shows that.
		case h.listed.LastDirtyTimestamp != c.dirty || h.listed.Metadata["gen"] != fmt.Sprint(c.gen):
			w.violate("%s has gen %d dirty %d; %s lists gen %s dirty %d",
				c.key, c.gen, c.dirty, h.proc.name, h.listed.Metadata["gen"], h.listed.LastDirtyTimestamp)
		}
		if phase == running && h.listed != nil && w.plan.exact && c.overridden != "" && c.apart.IsZero() &&
			h.listed.OverriddenStatus != c.overridden {
			w.violate("%s was overridden with %s at %v; %s lists %s: %s",
				c.key, c.overridden, c.overriddenAt.Sub(w.begun), h.proc.name, h.listed.OverriddenStatus, h.text())
		}
		if phase == running && h.listed != nil && all[0].listed != nil &&
			(h.listed.Status != all[0].listed.Status || h.listed.OverriddenStatus != all[0].listed.OverriddenStatus) {
			w.violate("%s is %s (%s) at %s, %s (%s) at %s", c.key, h.listed.Status, h.listed.OverriddenStatus, h.proc.name,
				all[0].listed.Status, all[0].listed.OverriddenStatus, all[0].proc.name)
		}
	}
}
