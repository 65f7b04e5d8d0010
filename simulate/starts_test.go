package simulate

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/registryd/registryd/acceptor"
	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
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
	w.mu.Lock()
	calm := time.Since(w.rough)
	w.mu.Unlock()
	begun, fair := time.Now(), calm > recoverTime && !w.isRough()
	if w.plan.slowDrain {
		for i := range drained {
			p.reg.Register(ballast(fmt.Sprint("drained", i), 100), registry.Origin{})
		}
	}
	p.left.Store(begun.UnixNano())
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
		fair = fair && begun.After(w.rough)
		w.mu.Unlock()
		w.touch()
		p.kill()
		w.logf("%s has drained for %v, in fair weather: %t", p.name, time.Since(begun), fair)
		w.forget()
		for _, peer := range p.cluster.Peers() {
			if n := peer.Acceptor.Dropped[acceptor.Shutdown]; fair && n > 0 {
				w.violate("%s -> %s: %d actions dropped when it stopped in order", p.name, peer.Name, n)
			}
		}
		if lost := w.lower(); fair && lost != "" {
			w.violate("%s lost its changes of %s when it stopped in order", p.name, lost)
		}
		p.bury()
		w.startLater(e.node, snap, e.lasts)
	})
}

// What a slow drain has to do: as many batches of one action as keep a pipeline busy
// for almost as long as it may take, with what clients have done just before.
const (
	drained    = 22 * batcher.DefaultInFlight
	drainDelay = 200 * time.Millisecond // of each answer
)

// ballast returns an instance that no client touches.
func ballast(id string, size int) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: &id, HostName: "ballast", App: "BALLAST", IPAddr: "192.0.2.2",
		Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown,
		Port: eureka.Port{Number: 8080, Enabled: true}, SecurePort: eureka.Port{Number: 443}, CountryID: 1,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 12 * 60 * 60},
		Metadata:           map[string]string{"ballast": strings.Repeat("x", size)},
		LastDirtyTimestamp: time.Now().UnixMilli(),
	}
}

// ballastIDs are ids of one leaf of the digest, whose versions take more than a small
// message.
var ballastIDs = sync.OnceValue(func() []string {
	pad := strings.Repeat("<", 60)
	var ids []string
	for i := 0; len(ids) < maxBallast; i++ {
		if id := fmt.Sprint(i, pad); registry.Leaf(registry.NewKey("BALLAST", id)) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
})

// maxBallast is how many such instances there are at most.
const maxBallast = 40

// load registers the ballast at the first node.
func (w *world) load() {
	for i, id := range ballastIDs()[:w.plan.ballast] {
		info := ballast(id, i*20)
		w.proc(0).reg.Register(info, registry.Origin{})
		w.mu.Lock()
		w.ballast = append(w.ballast, registry.NewKey(info.App, id))
		w.mu.Unlock()
	}
}

// firstList checks the first list that a process serves.
func (w *world) firstList(p *proc) {
	w.mu.Lock()
	clients, keys := w.clients, slices.Clone(w.ballast)
	w.mu.Unlock()
	for _, c := range clients {
		if c != nil {
			keys = append(keys, c.key)
		}
	}
	for _, key := range keys {
		if q := w.knowsMore(p, key); q != nil {
			ours, theirs := holdingOf(p, key), holdingOf(q, key)
			w.violate("%s serves its first list without %s, which %s lists: %s, %s",
				p.name, key, q.name, ours.text(), theirs.text())
		}
	}
}

// refused checks that a process may say that it doesn't know an instance.
func (w *world) refused(p *proc, key registry.Key) {
	if q := w.knowsMore(p, key); q != nil {
		w.violate("%s answers 404 to %s, which %s lists", p.name, key, q.name)
	}
}

// gaveUp reports whether the process has served lists before it had its present
// connection.
func (p *proc) gaveUp(linked time.Time) bool {
	served := p.served.Load()
	return served != 0 && time.Unix(0, served).Before(linked)
}

// knowsMore returns a process that lists an instance that p ought to list too; nil:
// there is none, or p had no way to know.
func (w *world) knowsMore(p *proc, key registry.Key) *proc {
	up, wait := time.Since(p.born), membership.DefaultStartWait
	if p.restored {
		wait = membership.RestoredWait
	}
	reach := silent + 2*w.plan.batchDelay
	isolated := w.neverLinked(p)
	synced := reach // after it got its connection
	if w.plan.pagesLost > 0 {
		synced += membership.Patience // a lost page is asked for again after four seconds
	}
	switch {
	case isolated && up >= wait, // it has given up
		!isolated && w.calmFor() < max(up, reach),
		time.Since(time.Unix(0, p.answered.Load())) >= membership.Patience, // no page has come for so long
		!isolated && !w.isLinked(p, 0),
		p.gaveUp(w.linkedSince(p)) && !w.isLinked(p, synced): // it was cut off, as others may be later
		return nil
	}
	entry, expired, _ := p.reg.Entry(key)
	for i := range w.plan.nodes {
		q := w.proc(i)
		if q == nil || q == p || !q.isUp() || !q.reads() || q.runsFor() < reach || !isolated && !w.isLinked(q, reach) {
			continue
		}
		if left := q.left.Load(); left != 0 && time.Unix(0, left).Sub(w.linkedSince(p)) < reach {
			continue // it lists nothing any more, and answers nobody who asks who is there
		}
		theirs, evicted, ok := q.reg.Entry(key)
		if !ok || evicted || !theirs.Record.Live || theirs.Age > termOf(&theirs.Record)*9/10 ||
			q.knowsFor(key) < reach {
			continue
		}
		if expired && entry.Record.Version == theirs.Record.Version && theirs.Age < reach {
			continue // its lease had ended for p, and the renewal is still on its way
		}
		if !p.present(key) && entry.Record.Version <= theirs.Record.Version {
			return q
		}
	}
	return nil
}
