package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// bus is an in-memory network of nodes, for use inside a synctest bubble.
type bus struct {
	t  *testing.T
	mu sync.Mutex
	// nodes by name; a name that is not in it is absent.
	nodes map[string]*testNode
	sent  []sentBatch
	// onRequest, when set, may fail a request before it is applied (apply
	// false) or lose its reply after it was.
	onRequest func(from, to string) (apply bool, err error)
	payload   atomic.Int64
	// onSync, when set, may fail a sync request.
	onSync func(from, to string, body []byte) error
	// onAnnounce, when set, sees each presence before it is published.
	onAnnounce func(from string)
	// snapshot, when set, fills a starting node's registry before it runs.
	snapshot func(reg *registry.Registry)
	// bareReplies leaves the copies out of conflicts.
	bareReplies bool
	halted      map[string]<-chan struct{} // suspended nodes, until it is closed
	unlinked    map[string]bool            // nodes that start without a connection
	synced      int                        // bytes of sync requests and answers
	line        int                        // bytes of them a second; 0: no bound
	deaf        bool                       // no presence arrives, nor a question for it
}

// sentBatch is one batch as it crossed the bus.
type sentBatch struct {
	From, To string
	At       time.Time
	Items    eureka.ReplicationList
	Results  eureka.ReplicationListResponse
}

type testNode struct {
	bus       *bus
	name      string
	reg       *registry.Registry
	cluster   *cluster.Cluster
	consumer  *consumer.Consumer
	log       *bytes.Buffer
	stop      context.CancelFunc
	done      chan error
	since     time.Time                           // when it came on the bus
	announced atomic.Pointer[membership.Presence] // the last presence
}

func newBus(t *testing.T) *bus {
	b := &bus{t: t, nodes: make(map[string]*testNode), halted: make(map[string]<-chan struct{}), unlinked: make(map[string]bool)}
	b.payload.Store(1 << 20)
	return b
}

// start adds a node to the bus and runs it.
func (b *bus) start(name string, opts ...func(*cluster.Options)) *testNode {
	b.t.Helper()
	n := &testNode{bus: b, name: name, log: new(bytes.Buffer), done: make(chan error, 1)}
	o := cluster.Options{Node: name, URL: "http://" + name + ":8761/eureka/", Version: "test", Logger: slog.New(slog.NewTextHandler(n.log, nil))}
	for _, opt := range opts {
		opt(&o)
	}
	var err error
	if n.reg, err = registry.New(registry.Options{Sink: n}); err != nil {
		b.t.Fatalf("registry.New: %v", err)
	}
	if n.cluster, err = cluster.New(n.reg, n, o); err != nil {
		b.t.Fatalf("cluster.New: %v", err)
	}
	if b.snapshot != nil {
		b.snapshot(n.reg)
	}
	if n.consumer, err = consumer.New(n.reg, consumer.Options{}); err != nil {
		b.t.Fatalf("consumer.New: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	b.mu.Lock()
	if !b.unlinked[name] {
		b.nodes[name], n.since = n, time.Now()
	}
	b.mu.Unlock()
	go func() { n.done <- n.cluster.Run(ctx) }()
	b.t.Cleanup(n.close)
	return n
}

// close stops the node, as its process would.
func (n *testNode) close() {
	n.stop()
	select {
	case <-n.done: //nolint:errcheck // no input has an effect any more
	case <-time.After(time.Minute):
		n.bus.t.Errorf("node %s did not stop", n.name)
	}
	n.done <- nil // closing again is fine
	n.vanish()
	n.consumer.Close()
}

// vanish takes the node off the bus, as a crash does.
func (n *testNode) vanish() {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	if n.bus.nodes[n.name] == n {
		delete(n.bus.nodes, n.name)
	}
}

// comeBack puts the node on the bus again.
func (n *testNode) comeBack() {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	n.bus.nodes[n.name], n.since = n, time.Now()
}

func (n *testNode) Request(ctx context.Context, to, _ string, body []byte) ([]byte, error) {
	b := n.bus
	b.mu.Lock()
	peer, up := b.nodes[to], b.nodes[n.name] == n
	hook, bare := b.onRequest, b.bareReplies
	b.mu.Unlock()
	if !up {
		return nil, batcher.Disconnected
	}
	if peer == nil {
		return nil, batcher.Absent
	}
	apply, err := true, error(nil)
	if hook != nil {
		apply, err = hook(n.name, to)
	}
	if !apply {
		return nil, err
	}
	type answer struct {
		body []byte
		err  error
	}
	answers := make(chan answer, 1)
	items, decodeErr := eureka.DecodeReplicationList(body, eureka.ListOptions{NATS: true})
	if decodeErr != nil {
		b.t.Errorf("batch %s -> %s is not readable: %v", n.name, to, decodeErr)
	}
	if len(body) > n.MaxPayload() {
		return nil, batcher.Malformed // the error that node returns for a message that is too large
	}
	if len(items) > 1 && len(body) > n.MaxPayload()*3/4+64 {
		b.t.Errorf("batch %s -> %s has %d bytes, bound %d", n.name, to, len(body), n.MaxPayload()*3/4)
	}
	peer.consumer.Deliver(consumer.Request{
		From: n.name, Body: body,
		Respond: func(reply []byte) error { answers <- answer{body: reply}; return nil },
		Fail: func(code int, text string) error {
			kind := batcher.Busy
			if code == http.StatusBadRequest {
				kind = batcher.Malformed
			}
			answers <- answer{err: fmt.Errorf("%w: %s", kind, text)}
			return nil
		},
	})
	select {
	case a := <-answers:
		if a.err == nil {
			results, resErr := eureka.DecodeReplicationListResponse(a.body, 0)
			if resErr != nil {
				b.t.Errorf("reply %s -> %s is not readable: %v", to, n.name, resErr)
			}
			b.mu.Lock()
			b.sent = append(b.sent, sentBatch{From: n.name, To: to, At: time.Now(), Items: items, Results: results})
			b.mu.Unlock()
		}
		if err != nil {
			return nil, err // applied, but the reply is lost
		}
		if bare && a.err == nil {
			return bareReply(b.t, a.body), nil
		}
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *testNode) others() []*testNode {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	var out []*testNode
	if n.bus.nodes[n.name] != n {
		return nil
	}
	for _, o := range n.bus.nodes {
		if o != n {
			out = append(out, o)
		}
	}
	return out
}

// Changed implements registry.Sink.
func (n *testNode) Changed(ch registry.Change) { n.cluster.Changed(ch) }

// Link implements cluster.Transport. A suspended node waits here: its
// Run calls Link.
func (n *testNode) Link() membership.Link {
	n.bus.mu.Lock()
	halted := n.bus.halted[n.name]
	n.bus.mu.Unlock()
	if halted != nil {
		<-halted
	}
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	return membership.Link{Up: n.bus.nodes[n.name] == n, Since: n.since}
}

func (n *testNode) Announce(p membership.Presence) error {
	n.announced.Store(&p)
	n.bus.mu.Lock()
	hook, deaf := n.bus.onAnnounce, n.bus.deaf
	n.bus.mu.Unlock()
	if deaf {
		return nil
	}
	if hook != nil {
		hook(n.name)
	}
	n.bus.mu.Lock()
	up := n.bus.nodes[n.name] == n
	n.bus.mu.Unlock()
	if !up {
		return batcher.Disconnected
	}
	n.cluster.HandlePresence(p)
	for _, o := range n.others() {
		o.cluster.HandlePresence(p)
	}
	return nil
}

func (n *testNode) Ask() error {
	n.bus.mu.Lock()
	deaf := n.bus.deaf
	n.bus.mu.Unlock()
	if deaf {
		return nil
	}
	for _, o := range n.others() {
		go o.cluster.HandleAsk() // each in its own time
	}
	return nil
}

func (n *testNode) Sync(ctx context.Context, to string, body []byte) ([]byte, error) {
	b := n.bus
	b.mu.Lock()
	peer, up := b.nodes[to], b.nodes[n.name] == n
	hook := b.onSync
	b.mu.Unlock()
	switch {
	case !up:
		return nil, batcher.Disconnected
	case peer == nil:
		return nil, batcher.Absent
	}
	if hook != nil {
		err := hook(n.name, to, body)
		if errors.Is(err, errHangs) {
			<-ctx.Done()
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
	}
	type answer struct {
		body []byte
		err  error
	}
	answers := make(chan answer, 1)
	peer.cluster.HandleSync(repair.Request{
		From: n.name, Body: body,
		Respond: func(reply []byte) error { answers <- answer{body: reply}; return nil },
		Fail:    func(_ int, text string) error { answers <- answer{err: errors.New(text)}; return nil },
	})
	select {
	case a := <-answers:
		b.mu.Lock()
		b.synced += len(body) + len(a.body)
		line := b.line
		b.mu.Unlock()
		if line > 0 {
			late := time.NewTimer(time.Duration(len(a.body)) * time.Second / time.Duration(line))
			defer late.Stop()
			select {
			case <-late.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if len(a.body) > n.MaxPayload() {
			b.t.Errorf("sync answer %s -> %s has %d bytes, bound %d", to, n.name, len(a.body), n.MaxPayload())
		}
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *testNode) MaxPayload() int { return int(n.bus.payload.Load()) }

// take returns the batches that crossed the bus since the last call.
func (b *bus) take() []sentBatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.sent
	b.sent = nil
	return out
}

func (b *bus) fail(hook func(from, to string) (bool, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onRequest = hook
}

func (b *bus) failSync(hook func(from, to string, body []byte) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onSync = hook
}

// bareReply is the reply to be sent when there is no room for copies.
func bareReply(t *testing.T, body []byte) []byte {
	results, err := eureka.DecodeReplicationListResponse(body, 0)
	if err != nil {
		t.Errorf("reply is not readable: %v", err)
	}
	for i := range results {
		results[i] = eureka.Result{StatusCode: results[i].StatusCode}
	}
	return eureka.AppendReplicationListResponse(nil, results)
}

// refuse makes a hook that fails the requests that match, unapplied.
func refuse(match func(from, to string) bool, err error) func(from, to string) (bool, error) {
	return func(from, to string) (bool, error) {
		if match(from, to) {
			return false, err
		}
		return true, nil
	}
}

var (
	errLost  = errors.New("lost")
	errHangs = errors.New("no answer until the asker gives up")
)

// instance returns a registration, as a client posts it.
func instance(app, id string, status eureka.Status, dirty int64) *eureka.InstanceInfo {
	return &eureka.InstanceInfo{
		InstanceID: new(id), HostName: id + ".test", App: app, IPAddr: "192.0.2.1", Status: status, OverriddenStatus: eureka.StatusUnknown,
		Port: eureka.Port{Number: 8080, Enabled: true}, SecurePort: eureka.Port{Number: 443}, CountryID: 1,
		DataCenterInfo:     eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo:          eureka.LeaseInfo{RenewalIntervalInSecs: 30, DurationInSecs: 90},
		LastDirtyTimestamp: dirty,
	}
}

// status returns the status of an instance that readers of the node see; "" if
// none.
func (n *testNode) status(app, id string) eureka.Status {
	i, ok := n.reg.Instance(registry.NewKey(app, id))
	if !ok {
		return ""
	}
	return i.Status
}

// checkLaw checks the conservation law of all pipelines of a node.
func (n *testNode) checkLaw() {
	n.bus.t.Helper()
	for _, p := range n.cluster.Peers() {
		if u := p.Acceptor.Unaccounted(); u != 0 {
			n.bus.t.Errorf("%s -> %s: %d actions unaccounted for: %+v", n.name, p.Name, u, p.Acceptor)
		}
	}
}
