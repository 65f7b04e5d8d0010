package cluster

import (
	"context"
	"errors"
	"fmt"
	"math"
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
	// answerBytes bounds an answer, unless one entry takes more: over 2 Mbit/s it
	// takes half a second, of the two after which the asker gives up.
	answerBytes = 128 << 10
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
	if !isClosed(c.ended) {
		select {
		case c.syncs <- req:
			return
		default:
		}
	}
	c.metrics.syncRefused.Inc()
	c.failSync(req, codeBusy, "busy")
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
			c.refuseSyncs()
			return
		case req := <-c.syncs:
			body, err := c.serveSync(req.Body, min(c.batchBytes(), answerBytes))
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

// refuseSyncs refuses what waits when the workers end.
func (c *Cluster) refuseSyncs() {
	for {
		select {
		case req := <-c.syncs:
			c.metrics.syncRefused.Inc()
			c.failSync(req, codeBusy, "stopping")
		default:
			return
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
// how far it came, where nil is the end, and for how long the peer has been up.
func (c *Cluster) pullAll(ctx context.Context, from string, at *cursor) (*cursor, int, time.Duration, error) {
	entries := 0
	for {
		asked := time.Now()
		p, err := c.askPage(ctx, from, syncRequest{Ask: askPage, Cursor: at, Evicted: true})
		if time.Since(asked) > standstill { // a request has less time than that
			return at, entries, 0, errors.Join(errStoodStill, err)
		}
		if err != nil {
			return at, entries, 0, err
		}
		entries += len(p.items)
		if p.next == nil {
			return nil, entries, p.up, nil
		}
		if at != nil && *p.next == *at {
			return at, entries, 0, fmt.Errorf("sync: peer %s does not get on: %w", from, errPage)
		}
		at = p.next
	}
}

// AskAges asks all peers that have not left for the leases of these instances, and
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
		if c.hasLeft(p) {
			continue // one that is silent may be about to be heard again
		}
		asked.Go(func() {
			if err := c.fetch(ctx, p.name, keys, askAges); err != nil {
				c.log.Debug("ages not asked", "peer", p.name, "err", err)
			}
		})
	}
	asked.Wait()
}

// EvictOutlived evicts what self-preservation keeps although no peer can ever tell
// of its end: an instance whose lease ended before a cancel would be forgotten,
// and which a peer that has been up since then, and is ready, does not know. A
// node calls it with each eviction pass. It returns within a second.
func (c *Cluster) EvictOutlived(ctx context.Context) {
	keys := c.reg.Outlived()
	if len(keys) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, agesTimeout)
	defer cancel()
	ready, _ := c.syncSources()
	for _, name := range ready {
		known, up := make(map[registry.Key]bool), time.Duration(math.MaxInt64)
		err := c.fetchEach(ctx, name, keys, askAges, func(p *page) {
			up = min(up, p.up)
			for i := range p.items {
				known[registry.NewKey(p.items[i].AppName, p.items[i].ID)] = true
			}
		})
		if err != nil {
			c.log.Debug("ages not asked", "peer", name, "err", err)
			continue
		}
		c.evictOutlived(slices.DeleteFunc(slices.Clone(keys), func(k registry.Key) bool { return known[k] }), up)
	}
}

func (c *Cluster) hasLeft(p *peer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.status == Left
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
	return c.fetchEach(ctx, from, keys, what, func(*page) {})
}

// fetchEach is fetch for one who looks at the answers too.
func (c *Cluster) fetchEach(ctx context.Context, from string, keys []registry.Key, what string, look func(*page)) error {
	for len(keys) > 0 {
		req, room := syncRequest{Ask: what, Evicted: true}, c.batchBytes()
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
		look(&p)
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

// catchUp pulls what the peers that are there know. One that is ready knows all;
// another goes on where it breaks off. Where all are starting each may know what
// no other does. It returns for how long the peer that gave all has been up, and
// no error if all was got that there is to be had.
func (c *Cluster) catchUp(ctx context.Context) (up time.Duration, err error) {
	ready, starting := c.syncSources()
	var at *cursor
	for _, name := range ready {
		resumed := at != nil
		var failed error
		if at, up, failed = c.pull(ctx, name, at); failed == nil {
			if resumed {
				up = 0 // it has not told all of it itself
			}
			return up, nil
		}
		err = errors.Join(err, failed)
	}
	if len(ready) > 0 {
		return 0, err
	}
	for _, name := range starting {
		_, _, failed := c.pull(ctx, name, nil)
		err = errors.Join(err, failed)
	}
	return 0, err
}

// errStoodStill says that this process was stopped while it asked.
var errStoodStill = errors.New("this process has stood still")

// wasStopped says whether this process stood still in a try to catch up, or in the
// pause that followed and began then. That time says nothing of the peers.
func wasStopped(tried error, paused time.Time) bool {
	return errors.Is(tried, errStoodStill) || time.Since(paused) > standstill
}

// pull is pullAll, told.
func (c *Cluster) pull(ctx context.Context, from string, at *cursor) (*cursor, time.Duration, error) {
	start := time.Now()
	next, entries, up, err := c.pullAll(ctx, from, at)
	if err != nil {
		if ctx.Err() != nil {
			return next, 0, err // this node is stopping
		}
		c.log.Warn("sync broke off", "peer", from, "entries", entries, "err", err)
		return next, 0, err
	}
	c.log.Info("synced", "peer", from, "entries", entries, "elapsed", time.Since(start))
	return nil, up, nil
}

// syncSources returns the peers to sync from: those that are ready, and those
// that are starting too. It begins at any of them, so that not all nodes that
// start ask the same one.
func (c *Cluster) syncSources() (ready, starting []string) {
	all := *c.fanOut.Load()
	first := int(c.opts.Rand() * float64(len(all)))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range all {
		switch p := all[(first+i)%len(all)]; {
		case p.status != Reachable:
		case p.said.State == Ready:
			ready = append(ready, p.name)
		default:
			starting = append(starting, p.name)
		}
	}
	return ready, starting
}
