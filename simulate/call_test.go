package simulate

import (
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/registry"
)

// How long a client waits for an answer.
const clientTimeout = 5 * time.Second

// Codes of a call that got no answer.
const (
	unreachable = 0 // no server listens there
	timedOut    = 1
)

// call makes a client's request to a node. A suspended node has it in its
// socket, and answers it when it resumes; the client doesn't wait for that.
func (w *world) call(node int, key registry.Key, do func(*proc) int) int {
	p := w.proc(node)
	if p == nil || p.leaving.Load() {
		return unreachable
	}
	codes, came := make(chan int, 2), time.Time{} // when it came to the node
	var over atomic.Bool                          // the client has given up
	var served func()
	served = func() {
		if wait := time.Until(p.opensAt()); wait > 0 && w.rule == openDoor {
			time.AfterFunc(wait, func() { p.arrive(served) })
			return
		}
		if came.Before(p.opensAt()) && w.rule != openDoor || !p.cluster.MayWrite() && w.rule != workOffQueue { // as api does
			w.once(clientAnswer, node, key, func() { codes <- 503 })
			return
		}
		before, _, _ := p.reg.Entry(key)
		code := do(p)
		w.served(p, key, before)
		switch resumed := time.Unix(0, p.resumed.Load()); {
		case came.Before(p.opensAt()):
			w.violate("%s applied a request of %s that came before it served", p.name, key)
		case came.Before(resumed):
			w.violate("%s applied a request of %s that came before it resumed", p.name, key)
		case code == 404 && !p.present(key):
			w.refused(p, key)
		}
		if over.Load() {
			w.logf("%s served a request of %s late: %d", p.name, key.ID, code)
			w.disturb(key)
		}
		w.once(clientAnswer, node, key, func() { codes <- code })
	}
	w.once(clientLink, node, key, func() {
		came = time.Now()
		p.arrive(served)
	})
	select {
	case code := <-codes:
		return code
	default:
	}
	timer := time.NewTimer(clientTimeout)
	defer timer.Stop()
	select {
	case code := <-codes:
		return code
	case <-timer.C:
		over.Store(true)
		return timedOut
	}
}

// once is travel without repetition, as TCP delivers.
func (w *world) once(l linkKind, node int, key registry.Key, deliver func()) {
	c := w.now.Load()
	from := int(key.ID[1])
	if c.loss > 0 && w.chance(l, from, node, 1) < c.loss/2 {
		return
	}
	if c.slow > 0 && w.chance(l, from, node, 4) < c.slow/2 {
		time.AfterFunc(time.Duration(w.chance(l, from, node, 5)*float64(c.delay)), deliver)
		return
	}
	deliver()
}

// serves reports whether the node has synced since it started, or was suspended.
func (p *proc) serves() bool { return p.cluster.MayEvict() }

// reads reports whether the node serves lists, by the same question as api.
func (p *proc) reads() bool {
	select {
	case <-p.cluster.Ready():
		return p.world.rule == workOffQueue || p.cluster.MayRead()
	default:
		return false
	}
}

func (p *proc) present(key registry.Key) bool {
	entry, evicted, ok := p.reg.Entry(key)
	return ok && entry.Record.Live && !evicted
}

// answer is the status code that api gives.
func (p *proc) answer(key registry.Key, out registry.Outcome) int {
	switch {
	case out != registry.NotFound:
		return 200
	case !p.reads() && !p.present(key):
		return 503
	default:
		return 404
	}
}

func (p *proc) cancel(key registry.Key) int {
	if !p.reads() && !p.present(key) {
		return 503
	}
	return p.answer(key, p.reg.Cancel(key, registry.Origin{}))
}

func (p *proc) renew(key registry.Key, lastDirty int64) int {
	out, _ := p.reg.Renew(key, lastDirty, "", registry.Origin{})
	return p.answer(key, out)
}
