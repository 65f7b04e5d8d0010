package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/history"
	"github.com/registryd/registryd/registry"
)

const (
	// MaxDrainWait bounds the parameter wait of a drain.
	MaxDrainWait = 10 * time.Minute
	// drainPoll is the time between two looks at who has fetched.
	drainPoll = 500 * time.Millisecond
	// maxDrainClients is how many clients that have not fetched a node names.
	maxDrainClients = 100
	// maxDrains bounds the instances whose drain a node remembers, and drainLife for how
	// long it does so when nobody asks.
	maxDrains = 1024
	drainLife = 10 * time.Minute
)

var errDrainWait = errors.New("wait: not a duration from 0 to 10m, such as 60s")

// Drain is the body of an answer about a drain: whether all clients that fetch have been
// served lists in which the instance is not UP, by node.
type Drain struct {
	App      string      `json:"app"`
	Instance string      `json:"instance"`
	Drained  bool        `json:"drained"`
	Nodes    []DrainNode `json:"nodes"`
}

// DrainNode is a node's part of it.
type DrainNode struct {
	Node  string `json:"node"`
	Error string `json:"error,omitempty"` // why it does not say
	// Foreign is true for a Java server, which can't be asked and is not waited for.
	Foreign bool `json:"foreign,omitempty"`
	// Out is true when the instance is not UP for readers of the node.
	Out     bool          `json:"out"`
	Served  int           `json:"served"`  // clients that have been served since
	Waiting int           `json:"waiting"` // clients that come regularly, and have not
	Clients []DrainClient `json:"clients"` // those, at most 100
}

// Drained reports whether nobody of a node is to be waited for.
func (n *DrainNode) Drained() bool { return n.Foreign || n.Error == "" && n.Out && n.Waiting == 0 }

// DrainClient is a client that has not been served since.
type DrainClient struct {
	Address string `json:"address"`
	Name    string `json:"name,omitempty"`    // DiscoveryIdentity-Name
	Version string `json:"version,omitempty"` // DiscoveryIdentity-Version
	ID      string `json:"id,omitempty"`      // DiscoveryIdentity-Id
	Agent   string `json:"agent,omitempty"`   // User-Agent
	Reads   string `json:"reads"`             // all, application, vip, svip, instance, instance-id, watch
	Silent  int64  `json:"silentMs"`          // since it came last
	Every   int64  `json:"intervalMs"`        // how often it comes
}

// drains remembers since when instances are out for readers of this node.
type drains struct {
	mu sync.Mutex
	by map[registry.Key]drainMark
}

// drainMark is from where on what a client is served shows an instance as out.
type drainMark struct {
	version    int64 // of the override, or the record, by which it is out
	generation uint64
	seq        uint64
	asked      time.Time
}

// mark returns from where on what is served shows the instance as it is. It is called after
// the instance was seen to be out, with the version by which it is.
func (d *drains) mark(key registry.Key, version int64, now time.Time, at func() (generation, seq uint64)) drainMark {
	d.mu.Lock()
	defer d.mu.Unlock()
	m, known := d.by[key]
	if !known || m.version != version {
		d.room(now)
		m.version = version
		m.generation, m.seq = at()
	}
	m.asked = now
	d.by[key] = m
	return m
}

// room makes room for another mark. The lock is held.
func (d *drains) room(now time.Time) {
	if d.by == nil {
		d.by = make(map[registry.Key]drainMark)
	}
	if len(d.by) < maxDrains {
		return
	}
	var oldest registry.Key
	var asked time.Time
	for key, m := range d.by {
		if now.Sub(m.asked) > drainLife {
			delete(d.by, key)
		} else if asked.IsZero() || m.asked.Before(asked) {
			oldest, asked = key, m.asked
		}
	}
	if len(d.by) >= maxDrains {
		delete(d.by, oldest) // its drain begins anew, and lasts longer
	}
}

func (d *drains) forget(key registry.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.by, key)
}

// Drained says who of the clients of this node has been served lists in which an instance is
// not UP. Any goroutine may call it.
func (h *Handler) Drained(key registry.Key) DrainNode {
	out := DrainNode{Node: h.opts.Node.Name(), Clients: []DrainClient{}}
	entry, _, _ := h.reg.Entry(key)
	i, listed := h.reg.Listed(key)
	if listed && i.Status == eureka.StatusUp || !h.told(key) {
		h.drains.forget(key)
		return out
	}
	if !listed {
		i = new(eureka.InstanceInfo)
	}
	version := entry.Record.Version
	if entry.Override.Set {
		version = entry.Override.Version
	}
	now := time.Now()
	mark := h.drains.mark(key, version, now, func() (uint64, uint64) {
		if h.opts.History == nil {
			return h.reg.Generation(), 0
		}
		return h.reg.Generation(), h.opts.History.Last()
	})
	out.Out = true
	h.fetchers.sweep(now)
	for _, f := range h.fetchers.of(i, key, now) {
		since := mark.generation
		if f.reads.watches() {
			since = mark.seq
		}
		if f.upTo >= since {
			out.Served++
			continue
		}
		if out.Waiting++; out.Waiting <= maxDrainClients {
			out.Clients = append(out.Clients, f.describe(now))
		}
	}
	return out
}

// told reports whether the history has told that the instance is not UP: what watchers were
// sent is counted by its numbers.
func (h *Handler) told(key registry.Key) bool {
	if h.opts.History == nil {
		return true
	}
	latest, _ := h.opts.History.Query(history.Filter{App: key.App, ID: key.ID, Kinds: changeKinds}, 0, 1)
	return len(latest) == 0 || latest[0].Status != eureka.StatusUp
}

func (f *fetcher) describe(now time.Time) DrainClient {
	_, interval := f.reading(now)
	return DrainClient{
		Address: f.client.address, Name: f.client.name, Version: f.client.version, ID: f.client.id,
		Agent: f.client.agent, Reads: f.reads.String(),
		Silent: now.Sub(f.last).Milliseconds(), Every: interval.Milliseconds(),
	}
}

// Drain takes an instance out of service, as a client's action, which goes to the other nodes,
// and begins to note who is served since. [Handler.DrainState] says how far it is. Any
// goroutine may call it.
func (h *Handler) Drain(key registry.Key, by registry.Origin) registry.Outcome {
	outcome := h.reg.SetStatus(key, eureka.StatusOutOfService, eureka.NoTimestamp, by)
	if outcome != registry.NotFound {
		h.Drained(key)
	}
	return outcome
}

// drain takes an instance out of service and answers when all clients know it, or after the
// time of the parameter wait.
func (h *Handler) drain(w http.ResponseWriter, r *http.Request, t target) int {
	wait, err := drainWait(r.URL.RawQuery)
	if err != nil {
		return text(w, http.StatusBadRequest, err.Error())
	}
	key := registry.NewKey(t.name, t.id)
	reads := h.opts.Node.Readiness().Reads
	if h.Drain(key, registry.Origin{From: r.RemoteAddr, Login: t.login}) == registry.NotFound {
		return h.missing(w, key, reads)
	}
	return h.awaitDrain(w, r, key, wait)
}

// drained answers how far a drain is. With wait it waits for its end.
func (h *Handler) drained(w http.ResponseWriter, r *http.Request, t target) int {
	wait, err := drainWait(r.URL.RawQuery)
	if err != nil {
		return text(w, http.StatusBadRequest, err.Error())
	}
	key := registry.NewKey(t.name, t.id)
	reads := h.opts.Node.Readiness().Reads
	// Nobody reads an instance that there never was. A misspelt name is not to look drained.
	if _, _, known := h.reg.Entry(key); !known {
		return h.missing(w, key, reads)
	}
	return h.awaitDrain(w, r, key, wait)
}

// drainWait reads the parameter wait; 0 if there is none.
func drainWait(query string) (time.Duration, error) {
	given, err := parameters(query, "", "wait")
	if err != nil || len(given) == 0 {
		return 0, err
	}
	d, err := time.ParseDuration(single(given["wait"]))
	if err != nil || d < 0 || d > MaxDrainWait {
		return 0, errDrainWait
	}
	return d, nil
}

// awaitDrain answers with the state of a drain, when it is done or after the time.
func (h *Handler) awaitDrain(w http.ResponseWriter, r *http.Request, key registry.Key, wait time.Duration) int {
	if wait > 0 {
		if !h.streams.enter() {
			return h.refuseStream(w)
		}
		defer h.streams.leave()
		control := http.NewResponseController(w)
		control.SetReadDeadline(time.Time{}) //nolint:errcheck // Then it gets its answer sooner.
		until := time.Now().Add(wait + WriteTimeout)
		control.SetWriteDeadline(until) //nolint:errcheck // the same
	}
	state := h.DrainState(r.Context(), key)
	if !state.Drained && wait > 0 {
		state = h.pollDrain(r.Context(), key, wait, state)
	}
	body, err := json.Marshal(state)
	if err != nil {
		return h.notEncoded(w, "drain", err)
	}
	return document(w, http.StatusOK, eureka.JSON.ContentType(), body)
}

// pollDrain looks again and again until the drain is done or the time is over.
func (h *Handler) pollDrain(ctx context.Context, key registry.Key, wait time.Duration, state Drain) Drain {
	over := time.NewTimer(wait)
	defer over.Stop()
	tick := time.NewTicker(drainPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if state = h.DrainState(ctx, key); state.Drained {
				return state
			}
		case <-over.C:
			return state
		case <-h.streams.ended:
			return state
		case <-ctx.Done():
			return state
		}
	}
}

// DrainState asks this node and all others how far a drain is. It returns when ctx ends, or
// within a few seconds. Any goroutine may call it.
func (h *Handler) DrainState(ctx context.Context, key registry.Key) Drain {
	out := Drain{App: key.App, Instance: key.ID, Drained: true, Nodes: []DrainNode{h.Drained(key)}}
	out.Nodes = append(out.Nodes, h.opts.Node.DrainPeers(ctx, key)...)
	for i := range out.Nodes {
		out.Drained = out.Drained && out.Nodes[i].Drained()
	}
	return out
}
