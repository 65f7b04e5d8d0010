package simulate

import (
	"time"

	"github.com/registryd/registryd/membership"
)

// door is how long after its start a node serves clients. The first ones do so at
// once.
func (w *world) door(node int) time.Duration {
	if w.since() < time.Second {
		return 0
	}
	return time.Duration(w.chance(ownLink, node, node, 9) * float64(3*time.Second))
}

// restart stops a process in order, and starts the next one.
func (w *world) restart(e *event) {
	p := w.proc(e.node)
	if p == nil || !p.isUp() || p.leaving.Swap(true) {
		return
	}
	begun, fair := time.Now(), !w.isRough()
	w.graves.Go(func() {
		p.stop() // says goodbye, and drains
		<-p.done
		if w.proc(e.node) != p {
			return // it was killed meanwhile
		}
		var snap *disk
		if e.choice == 0 {
			snap = p.snapshot()
		}
		fair = fair && !w.isRough()
		w.mu.Lock()
		w.procs[e.node], w.snaps[e.node] = nil, snap
		fair = fair && begun.Sub(w.rough) > recoverTime
		w.mu.Unlock()
		p.kill()
		w.logf("%s has drained for %v, in fair weather: %t", p.name, time.Since(begun), fair)
		w.forget()
		if lost := w.lower(); fair && lost != "" {
			w.violate("%s lost what it knew of %s when it stopped in order", p.name, lost)
		}
		p.bury()
		w.startLater(e.node, snap, e.lasts)
	})
}

// firstList checks the first list that a process serves.
func (w *world) firstList(p *proc) {
	w.mu.Lock()
	clients := w.clients
	w.mu.Unlock()
	for _, c := range clients {
		if q := w.knowsMore(p, c); q != nil {
			w.violate("%s serves its first list without %s, which %s lists", p.name, c.key, q.name)
		}
	}
}

// refused checks that a process may say that it doesn't know an instance.
func (w *world) refused(p *proc, c *client) {
	if q := w.knowsMore(p, c); q != nil {
		w.violate("%s answers 404 to %s, which %s lists", p.name, c.key, q.name)
	}
}

// knowsMore returns a process that lists an instance that p ought to list too; nil:
// there is none, or p had no way to know.
func (w *world) knowsMore(p *proc, c *client) *proc {
	if c == nil {
		return nil
	}
	up, wait := time.Since(p.born), membership.DefaultStartWait
	if p.restored {
		wait = membership.RestoredWait
	}
	reach := silent + 2*w.plan.batchDelay
	isolated := w.neverLinked(p)
	switch {
	case isolated && up >= wait, // it has given up
		!isolated && w.calmFor() < max(up, reach),
		w.plan.pagesLost > 0 && up >= membership.Patience,
		!isolated && !w.isLinked(p, 0):
		return nil
	}
	entry, _, _ := p.reg.Entry(c.key)
	f := c.fate()
	for i := range w.plan.nodes {
		q := w.proc(i)
		if q == nil || q == p || !q.isUp() || !q.reads() || time.Since(q.born) < reach || !isolated && !w.isLinked(q, reach) {
			continue
		}
		theirs, evicted, ok := q.reg.Entry(c.key)
		if !ok || evicted || !theirs.Record.Live || theirs.Age > termOf(&theirs.Record)-f.margin ||
			time.Since(time.UnixMilli(theirs.Record.Version)) < reach {
			continue
		}
		if !p.present(c.key) && entry.Record.Version <= theirs.Record.Version {
			return q
		}
	}
	return nil
}
