package simulate

import (
	"math"
	"time"

	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
)

// broker holds the faults of the nodes' connections; a bit for each node.
type broker struct {
	down uint8 // it has none
	deaf uint8 // it receives nothing, not even its own presence
	mute uint8 // its messages reach no node, itself included
}

func (b *broker) carries(from, to int) bool {
	return (b.down|b.mute)&(1<<from) == 0 && (b.down|b.deaf)&(1<<to) == 0
}

// change changes the conditions.
func (w *world) change(change func(*conditions)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := *w.now.Load()
	change(&c)
	w.now.Store(&c)
}

// unlink cuts nodes' connections, and restores them one after the other.
func (w *world) unlink(e *event) {
	for i := range w.plan.nodes {
		if e.nodes&(1<<i) == 0 || w.now.Load().down&(1<<i) != 0 {
			continue
		}
		w.change(func(c *conditions) { c.down |= 1 << i })
		w.mu.Lock()
		w.unlinked[i] = time.Now()
		w.mu.Unlock()
		time.AfterFunc(e.downs[i], func() {
			w.logf("n%d has its connection again", i)
			w.change(func(c *conditions) { c.down &^= 1 << i })
			w.linked(i)
			w.touch()
		})
	}
}

// linked notes that a node has a new connection.
func (w *world) linked(node int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.links[node] = time.Now()
}

// linkedSince returns when a process got its present connection.
func (w *world) linkedSince(p *proc) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := w.links[p.node]; at.After(p.born) {
		return at
	}
	return p.born
}

// heal ends all faults.
func (w *world) heal() {
	down := w.now.Load().down
	w.change(func(c *conditions) { *c = conditions{} })
	for i := range w.plan.nodes {
		if down&(1<<i) != 0 {
			w.linked(i)
		}
	}
}

// isLinked reports whether a node has its connection, and has had it for so long.
func (w *world) isLinked(p *proc, since time.Duration) bool {
	return w.now.Load().down&(1<<p.node) == 0 && time.Since(w.linkedSince(p)) >= since
}

// neverLinked reports whether a process has had no connection yet.
func (w *world) neverLinked(p *proc) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now.Load().down&(1<<p.node) != 0 && w.unlinked[p.node].Before(p.born)
}

// deafen makes a node deaf or mute for a while.
func (w *world) deafen(e *event) {
	bit := uint8(1) << e.node
	set := func(on bool) {
		w.change(func(c *conditions) {
			mask := &c.deaf
			if e.choice == 0 {
				mask = &c.mute
			}
			if *mask &^= bit; on {
				*mask |= bit
			}
		})
	}
	set(true)
	time.AfterFunc(e.lasts, func() {
		w.logf("n%d is connected both ways again", e.node)
		set(false)
		w.touch()
	})
}

// losesPage reports whether the answer to a sync request is lost, independent
// of other faults.
func (w *world) losesPage(l linkKind, from, to int) bool {
	return l == syncAnswer && w.plan.pagesLost > 0 && w.since() < w.plan.faults &&
		w.chance(l, from, to, 8) < w.plan.pagesLost
}

// forge sends a node a batch of a faulty peer: an instance that the node knows,
// with a version from the far future.
func (w *world) forge(e *event) {
	p, key := w.proc(e.node), w.clients[e.instance].key
	if p == nil || !p.isUp() {
		return
	}
	entry, _, ok := p.reg.Entry(key)
	if !ok {
		return
	}
	item := entry.Item(key, 0)
	twoDays := time.Now().Add(48 * time.Hour).UnixMilli()
	item.State.RecordVersion = [...]int64{math.MaxInt64, math.MaxInt64 - 1, twoDays}[e.choice]
	body := eureka.JoinReplicationList(nil, [][]byte{eureka.AppendItem(nil, &item)})
	p.cons.Deliver(consumer.Request{
		From: nodeNames[(e.node+1)%w.plan.nodes], Batch: "forged", Body: body,
		Respond: func([]byte) error { return nil },
		Fail:    func(int, string) error { return nil },
	})
}

// checkVersions checks that a node has taken no version from the far future.
func (w *world) checkVersions(p *proc) {
	bound := time.Now().Add(25 * time.Hour).UnixMilli()
	for _, c := range w.clients {
		if h := holdingOf(p, c.key); max(h.entry.Record.Version, h.entry.Override.Version) > bound {
			w.violate("%s holds %s with versions from the far future: %s", p.name, c.key, h.text())
		}
	}
}
