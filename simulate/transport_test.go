package simulate

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

var _ cluster.Transport = (*proc)(nil)

// Request implements cluster.Transport.
func (p *proc) Request(ctx context.Context, to, batch string, body []byte) ([]byte, error) {
	return p.ask(ctx, batchLink, to, body, func(q *proc, body []byte, answer func(reply)) {
		q.cons.Deliver(consumer.Request{
			From: p.name, Batch: batch, Body: body,
			Respond: func(body []byte) error { answer(reply{body: body}); return nil },
			Fail: func(code int, text string) error {
				kind := batcher.Busy
				if code == http.StatusBadRequest {
					kind = batcher.Malformed
					p.world.violate("%s -> %s: malformed batch: %s", p.name, to, text)
				}
				answer(reply{err: kind})
				return nil
			},
		})
	})
}

// Sync implements cluster.Transport.
func (p *proc) Sync(ctx context.Context, to string, body []byte) ([]byte, error) {
	return p.ask(ctx, syncLink, to, body, func(q *proc, body []byte, answer func(reply)) {
		q.cluster.HandleSync(repair.Request{
			From: p.name, Body: body,
			Respond: func(body []byte) error { answer(reply{body: body}); return nil },
			Fail:    func(_ int, text string) error { answer(reply{err: errors.New(text)}); return nil },
		})
	})
}

// reply is the answer to a request.
type reply struct {
	body []byte
	err  error
}

// ask sends a request to the process that has a name when the request arrives,
// and waits for the first answer.
func (p *proc) ask(
	ctx context.Context, l linkKind, to string, body []byte, deliver func(*proc, []byte, func(reply)),
) ([]byte, error) {
	if !p.awake() {
		return nil, errDead
	}
	if ctx.Err() != nil {
		return nil, batcher.Timeout
	}
	w := p.world
	at := int(to[1] - '0')
	if len(body) > w.plan.payload {
		w.violate("%s -> %s: a message of %d bytes, at most %d", p.name, to, len(body), w.plan.payload)
	}
	switch c := w.now.Load(); {
	case c.down&(1<<p.node) != 0:
		return nil, batcher.Disconnected
	case w.proc(at) == nil || c.down&(1<<at) != 0:
		return nil, batcher.Absent
	}
	if body = w.onWire(l, p.node, at, body); body == nil {
		<-ctx.Done()
		return nil, batcher.Timeout
	}
	replies := make(chan reply, 2)
	send := func() {
		q := w.proc(at)
		if q == nil {
			return
		}
		q.arrive(func() {
			deliver(q, body, func(r reply) {
				if len(r.body) > w.plan.payload {
					w.violate("%s -> %s: an answer of %d bytes, at most %d", to, p.name, len(r.body), w.plan.payload)
				}
				if r.body != nil {
					r.body = w.onWire(l+1, at, p.node, r.body)
				}
				w.travel(l+1, at, p.node, r.body, func() {
					select {
					case replies <- r:
					default:
					}
				})
			})
		})
	}
	w.travel(l, p.node, at, body, send)
	var r reply
	select {
	case r = <-replies:
		if l == syncLink {
			p.answered.Store(time.Now().UnixNano())
		}
	case <-ctx.Done():
		r.err = batcher.Timeout
	}
	if !p.awake() {
		return nil, errDead
	}
	if ctx.Err() != nil {
		return nil, batcher.Timeout
	}
	return r.body, r.err
}

// Changed implements registry.Sink. An entry of a snapshot is no change.
func (p *proc) Changed(ch registry.Change) {
	again := ch.IsReplication && ch.Bits == registry.Renewed // it was evicted, and a peer knows a lease that runs
	if ch.Bits&registry.Registered != 0 || again {
		p.mu.Lock()
		p.learned[ch.Key] = time.Now()
		p.mu.Unlock()
	}
	if p.world.log != nil && ch.Bits != registry.Renewed {
		h := holdingOf(p, ch.Key)
		p.world.logf("%s stores %s, isReplication %t: %s", p.name, ch.Key, ch.IsReplication, h.text())
	}
	if p.cluster != nil {
		p.cluster.Changed(ch)
	}
}

// Link implements cluster.Transport. A suspended process waits here, because
// Run calls it.
func (p *proc) Link() membership.Link {
	up := p.awake() && p.world.now.Load().down&(1<<p.node) == 0
	return membership.Link{Up: up, Since: p.world.linkedSince(p)}
}

// Announce implements cluster.Transport.
func (p *proc) Announce(presence membership.Presence) error {
	if !p.awake() {
		return errDead
	}
	p.checkIncarnations()
	if p.world.rule == oneOfTwo {
		presence.Meeting = false
	}
	for i := range p.world.plan.nodes {
		p.world.travel(presenceLink, p.node, i, nil, func() {
			if q := p.world.proc(i); q != nil { // the process that has the name now
				q.arrive(func() { q.cluster.HandlePresence(presence) })
			}
		})
	}
	return nil
}

// checkIncarnations checks that no older incarnation of a node has taken the place of
// a newer one. One does so only where the newer one is silent.
func (p *proc) checkIncarnations() {
	p.world.mu.Lock()
	lately := time.Since(p.world.started) < membership.GoneAfter/5
	p.world.mu.Unlock()
	if !lately {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, peer := range p.cluster.Peers() {
		newest := &p.newest[peer.Name[1]-'0']
		if bytes.Compare(peer.Incarnation[:], newest[:]) >= 0 {
			*newest = peer.Incarnation
			continue
		}
		p.world.violate("%s takes an older incarnation of %s for the present one", p.name, peer.Name)
	}
}

// Ask implements cluster.Transport.
func (p *proc) Ask() error {
	if !p.awake() {
		return errDead
	}
	for i := range p.world.plan.nodes {
		q := p.world.proc(i)
		if q == nil || q == p {
			continue
		}
		p.world.travel(askLink, p.node, i, nil, func() { q.arrive(q.cluster.HandleAsk) })
	}
	return nil
}

// MaxPayload implements cluster.Transport.
func (p *proc) MaxPayload() int { return p.world.plan.payload }
