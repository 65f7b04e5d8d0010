package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/registry"
)

// Bounds of sync on the answering side.
const (
	syncQueue   = 64
	syncWorkers = 2
)

// agesTimeout is how long a node waits for the ages of leases that it is about
// to evict; it goes on without those that have not come.
const agesTimeout = time.Second

// SyncRequest is a request on this node's sync subject. It is answered once, by
// Respond or by Fail; Fail may follow a Respond that returned an error.
type SyncRequest struct {
	From    string
	Body    []byte
	Respond func(body []byte) error
	Fail    func(code int, text string) error
}

// Codes with which a sync request is refused, as in the micro protocol.
const (
	codeMalformed = 400
	codeUnsent    = 500 // the answer is larger than a message
	codeBusy      = 503
)

// HandleSync takes a sync request. It only enqueues; the transport's goroutine
// calls it.
func (c *Cluster) HandleSync(req SyncRequest) {
	select {
	case c.syncs <- req:
	default:
		c.metrics.syncRefused.Inc()
		c.failSync(req, codeBusy, "busy")
	}
}

func (c *Cluster) failSync(req SyncRequest, code int, text string) {
	if err := req.Fail(code, text); err != nil {
		c.log.Debug("sync refusal not sent", "peer", req.From, "err", err)
	}
}

// serveSyncs answers sync requests until ctx ends.
func (c *Cluster) serveSyncs(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case req := <-c.syncs:
			body, err := c.serveSync(req.Body, c.batchBytes())
			if err != nil {
				c.metrics.syncRefused.Inc()
				c.failSync(req, codeMalformed, err.Error())
				continue
			}
			c.metrics.syncServed.Inc()
			c.metrics.syncServedBytes.Add(float64(len(body)))
			if err := req.Respond(body); err != nil {
				c.log.Debug("sync answer not sent", "peer", req.From, "err", err)
				c.failSync(req, codeUnsent, "answer not sent: "+err.Error())
			}
		}
	}
}

// ask sends a sync request to a peer and returns its answer.
func (c *Cluster) ask(ctx context.Context, to string, req syncRequest) ([]byte, error) {
	body, err := c.opts.Codec.Marshal(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, batcher.DefaultTimeout)
	defer cancel()
	reply, err := c.transport.Sync(ctx, to, body)
	if err != nil {
		return nil, fmt.Errorf("sync %s with peer %s: %w", req.Ask, to, err)
	}
	c.metrics.syncAskedBytes.Add(float64(len(body) + len(reply)))
	return reply, nil
}

// askPage is ask for an answer that holds entries, which it joins.
func (c *Cluster) askPage(ctx context.Context, to string, req syncRequest) (page, error) {
	reply, err := c.ask(ctx, to, req)
	if err != nil {
		return page{}, err
	}
	p, err := decodePage(reply)
	if err != nil {
		return page{}, fmt.Errorf("sync %s: answer of peer %s: %w", req.Ask, to, err)
	}
	for i := range p.items {
		entry, carried, err := registry.FromItem(&p.items[i])
		if err != nil {
			c.metrics.syncMalformed.Inc()
			c.log.Debug("synced entry not understood", "peer", to, "err", err)
			continue
		}
		c.reg.Join(registry.NewKey(p.items[i].AppName, p.items[i].ID), entry, carried)
	}
	return p, nil
}

// pullAll joins all entries of a peer, page by page from a cursor on. It returns
// how far it came; nil is the end.
func (c *Cluster) pullAll(ctx context.Context, from string, at *cursor) (*cursor, int, error) {
	entries := 0
	for {
		p, err := c.askPage(ctx, from, syncRequest{Ask: askPage, Cursor: at})
		if err != nil {
			return at, entries, err
		}
		entries += len(p.items)
		if p.next == nil {
			return nil, entries, nil
		}
		if at != nil && *p.next == *at {
			return at, entries, fmt.Errorf("sync: peer %s does not get on: %w", from, errPage)
		}
		at = p.next
	}
}

// AskAges asks all peers that are there for the leases of these instances, and
// joins what they know. A node does so before it evicts: the client may have
// moved. It returns within a second.
func (c *Cluster) AskAges(ctx context.Context, keys []registry.Key) {
	if len(keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, agesTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, p := range *c.fanOut.Load() {
		if !c.isReachable(p) {
			continue
		}
		asked.Go(func() {
			if err := c.fetch(ctx, p.name, keys, askAges); err != nil {
				c.log.Debug("ages not asked", "peer", p.name, "err", err)
			}
		})
	}
	asked.Wait()
}

func (c *Cluster) isReachable(p *peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.status == Reachable
}

// fetchKeys is how many keys one request asks for, and keyRoom what each takes
// beside its names, in bytes.
const (
	fetchKeys = 500
	keyRoom   = 8
)

// fetch asks for the entries, or the ages, of keys and joins them. An answer that
// has no room for all is asked again for the rest.
func (c *Cluster) fetch(ctx context.Context, from string, keys []registry.Key, what string) error {
	for len(keys) > 0 {
		req, room := syncRequest{Ask: what}, c.batchBytes()
		for _, k := range keys[:min(fetchKeys, len(keys))] {
			if room -= keyRoom + escaped*(len(k.App)+len(k.ID)); room < 0 && len(req.Keys) > 0 {
				break
			}
			req.Keys = append(req.Keys, [2]string{k.App, k.ID})
		}
		p, err := c.askPage(ctx, from, req)
		if err != nil {
			return err
		}
		done := len(req.Keys)
		if p.next != nil { // no room from this key on
			done = slices.Index(req.Keys, [2]string{p.next.App, p.next.ID})
			if done < 1 {
				return fmt.Errorf("sync %s: peer %s does not get on: %w", what, from, errPage)
			}
		}
		keys = keys[done:]
	}
	return nil
}

// catchUp pulls everything from the peers that are there, the ready ones first,
// until one has given all. It returns what that one said of itself, and whether
// there was one, or none to ask.
func (c *Cluster) catchUp(ctx context.Context) (source presence, synced bool) {
	var at *cursor
	sources := c.syncSources()
	for _, source := range sources {
		start := time.Now()
		next, entries, err := c.pullAll(ctx, source.Node, at)
		if err == nil {
			c.log.Info("synced", "peer", source.Node, "entries", entries, "elapsed", time.Since(start))
			return source, true
		}
		at = next // another goes on where this one stopped
		c.log.Warn("sync broke off", "peer", source.Node, "entries", entries, "err", err)
		if errors.Is(err, context.Canceled) {
			return presence{}, false
		}
	}
	return presence{}, len(sources) == 0
}

// syncSources returns the peers to sync from: those that are ready, then those
// that are starting too. It begins at any of them, so that not all nodes that
// start ask the same one.
func (c *Cluster) syncSources() []presence {
	all := *c.fanOut.Load()
	first := int(c.opts.Rand() * float64(len(all)))
	c.mu.Lock()
	defer c.mu.Unlock()
	var ready, starting []presence
	for i := range all {
		switch p := all[(first+i)%len(all)]; {
		case p.status != Reachable:
		case p.said.State == Ready:
			ready = append(ready, p.said)
		default:
			starting = append(starting, p.said)
		}
	}
	return append(ready, starting...)
}
