package cluster_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
	"github.com/registryd/registryd/repair"
)

// This file holds a simulation of the pipelines: the real registry, cluster,
// acceptor, batcher and consumer of two or three nodes, and a hostile network.
// Each instance has one node that its client talks to, its origin. The other
// nodes must end its history where the origin did, and must never go back on
// the way.
//
//	seed ─▶ plan ─▶ client's actions ─▶ origin ═▶ pipeline ═▶ network ═▶ consumer ─▶ peer
//	                                                             │ refuses, delays, doubles,
//	                                                             │ loses, spoils
//	        after each action and each delivery: the checks ◀────┘

// weather is how the network behaves in one run.
type weather int

const (
	// calm: every message takes the same time. Every item must be right at the
	// first attempt, and in time.
	calm weather = iota
	// refusing: batches are refused before they are applied (busy, absent,
	// disconnected); those that arrive, arrive in order.
	refusing
	// hostile: also lost, late by up to twice the time-out, doubled, out of
	// order, applied with the answer lost.
	hostile
	// lossy: also items and batches that the peer can't read, and slots that
	// overflow. Anti-entropy is on here only.
	lossy
	weathers
)

func (w weather) String() string {
	return [weathers]string{"calm", "refusing", "hostile", "lossy"}[w]
}

// simPlan holds everything that a seed decides.
type simPlan struct {
	seed         uint64
	weather      weather
	mode         int // index of modes
	overrideOnly bool
	nodes        int
	keys         int // per origin
	steps        int
	batchSize    int
	latency      time.Duration // one way, of a calm network
}

func newSimPlan(seed uint64) (simPlan, *rand.Rand) {
	rnd := rand.New(rand.NewPCG(seed, 1509))
	kind := weather(seed % 16 % 3)
	if seed%16 == 15 {
		kind = lossy // Its anti-entropy costs as much as everything else.
	}
	return simPlan{
		seed: seed, weather: kind, mode: int(seed / 16 % 2), overrideOnly: seed/32%3 == 0,
		nodes: 2 + rnd.IntN(4)/3, keys: 1 + rnd.IntN(4), steps: 8 + rnd.IntN(12), batchSize: 1 + rnd.IntN(4),
		latency: time.Duration(1+rnd.IntN(40))*time.Millisecond + 11*time.Microsecond,
	}, rnd
}

// sim is one run.
type sim struct {
	t     *testing.T
	plan  simPlan
	rnd   *rand.Rand // of the driver alone
	nodes []*simNode
	tally *simTally

	paused int // of the driver alone

	mu      sync.Mutex
	quiet   bool                             // the faults are over
	way     int                              // messages on their way
	failed  bool                             // a check has failed; the rest would only repeat it
	log     []simLine                        // what happened, for a failing seed
	history map[registry.Key]*simHistory     // by instance
	seen    map[simAt]registry.Entry         // the last look at each instance on each node
	links   map[simLink]*simTraffic          // by pipeline
	outage  map[simLink]error                // refuses all on that link
	silent  map[simLink]bool                 // drops presence too
	due     map[simAt][]simExpected          // changes that a calm network must have delivered
	results map[eureka.Action]map[int]uint64 // by action and code
}

type (
	simAt struct {
		node string
		key  registry.Key
	}
	simLink struct{ from, to string }
)

// simHistory is every version that an instance had at its origin.
type simHistory struct {
	origin    *simNode
	records   map[[2]uint64]bool // version and hash
	overrides map[registry.Override]bool
}

// simTraffic is the messages on their way from one pipeline.
type simTraffic struct {
	flying  map[registry.Key]int
	settled map[registry.Key]time.Time // when a batch with that key last came back
}

// simExpected is a change that must arrive.
type simExpected struct {
	at    time.Time
	entry registry.Entry
}

type simNode struct {
	sim      *sim
	name     string
	reg      *registry.Registry
	cluster  *cluster.Cluster
	consumer *consumer.Consumer

	announced atomic.Int64
}

// simLine is an event at one time. It is put into words only when it is needed.
type simLine struct {
	at     time.Duration
	format string
	args   []any
}

func (l simLine) String() string {
	return fmt.Sprintf("%12v ", l.at) + fmt.Sprintf(l.format, l.args...)
}

// runSim runs a seed in a bubble of its own and returns what happened.
func runSim(t *testing.T, seed uint64, tally *simTally) (log []simLine) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		plan, rnd := newSimPlan(seed)
		s := &sim{
			t: t, plan: plan, rnd: rnd, tally: tally, history: make(map[registry.Key]*simHistory),
			seen: make(map[simAt]registry.Entry), links: make(map[simLink]*simTraffic), outage: make(map[simLink]error),
			silent: make(map[simLink]bool), due: make(map[simAt][]simExpected),
			results: make(map[eureka.Action]map[int]uint64),
		}
		stop := s.start()
		s.act()
		s.settle()
		tally.add(s)
		stop()
		log = s.log
	})
	return log
}

// start runs the nodes until they know each other.
func (s *sim) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i := range s.plan.nodes {
		n := &simNode{sim: s, name: fmt.Sprint("n", i+1)}
		opts := cluster.Options{
			Node: n.name, URL: "http://" + n.name, Version: "test", BatchSize: s.plan.batchSize, BatchMode: simModes[s.plan.mode],
			QueueLen: 1 + s.rnd.IntN(8), Rand: func() float64 { return 0.5 },
		}
		if s.plan.weather == lossy {
			opts.MaxPending = 1 + s.rnd.IntN(s.plan.keys)
		}
		var err error
		if n.reg, err = registry.New(registry.Options{Sink: n}); err != nil {
			s.t.Fatalf("registry.New: %v", err)
		}
		if n.cluster, err = cluster.New(n.reg, n, opts); err != nil {
			s.t.Fatalf("cluster.New: %v", err)
		}
		if n.consumer, err = consumer.New(n.reg, consumer.Options{}); err != nil {
			s.t.Fatalf("consumer.New: %v", err)
		}
		s.mu.Lock()
		s.nodes = append(s.nodes, n)
		s.mu.Unlock()
		running.Go(func() {
			if err := n.cluster.Run(ctx); err != nil {
				s.t.Errorf("Run: %v", err)
			}
		})
		time.Sleep(37*time.Millisecond + 3*time.Microsecond) // No two nodes tick together.
	}
	time.Sleep(1500 * time.Millisecond)
	synctest.Wait()
	for _, n := range s.nodes {
		if got := len(n.cluster.Peers()); got != s.plan.nodes-1 {
			s.t.Fatalf("%s knows %d peers, want %d", n.name, got, s.plan.nodes-1)
		}
	}
	return func() {
		cancel()
		running.Wait()
		s.land()
		for _, n := range s.nodes {
			n.consumer.Close()
		}
		for _, n := range s.nodes {
			s.checkLaw(n)
		}
	}
}

// act lets the clients act, and the network fail.
func (s *sim) act() {
	origins := s.nodes[:1]
	if s.plan.nodes > 2 {
		origins = s.nodes[:2] // Replication both ways.
	}
	var keys []registry.Key
	for i, n := range origins {
		for j := range s.plan.keys {
			key := registry.NewKey("APP", fmt.Sprint("i", i, j))
			keys = append(keys, key)
			s.history[key] = &simHistory{
				origin: n, records: make(map[[2]uint64]bool), overrides: make(map[registry.Override]bool),
			}
			if s.plan.overrideOnly {
				s.register(key, eureka.StatusUp)
			}
		}
	}
	if s.plan.overrideOnly {
		s.pause(1500 * time.Millisecond)
	}
	for range s.plan.steps {
		if s.plan.weather != calm && s.rnd.IntN(6) == 0 {
			s.change()
		}
		key := keys[s.rnd.IntN(len(keys))]
		if s.rnd.IntN(8) == 0 { // A client that renews all the time.
			for range 3 + s.rnd.IntN(8) {
				s.renew(key)
				s.pause(100 * time.Millisecond)
			}
		}
		s.client(key)
		switch s.rnd.IntN(8) {
		case 0, 1, 2:
			// The same instant, except that versions must differ.
			s.pause(time.Millisecond)
		case 3, 4, 5:
			s.pause(time.Duration(s.rnd.IntN(120)) * time.Millisecond)
		case 6:
			s.pause(time.Duration(s.rnd.IntN(600)) * time.Millisecond)
		case 7:
			s.pause(time.Duration(s.rnd.IntN(2500)) * time.Millisecond)
		}
	}
}

// pause lets time pass. Clients act at instants of their own, so that a seed
// always does the same.
func (s *sim) pause(d time.Duration) {
	time.Sleep(d.Truncate(time.Millisecond) + 7*time.Microsecond)
	synctest.Wait()
	if s.paused++; s.paused%4 == 0 {
		for _, n := range s.nodes {
			s.checkLaw(n)
		}
	}
}

var simStatuses = []eureka.Status{
	eureka.StatusUp, eureka.StatusUp, eureka.StatusDown, eureka.StatusOutOfService, eureka.StatusStarting, eureka.StatusUnknown,
}

// client does one action of the instance's client or operator.
func (s *sim) client(key registry.Key) {
	status := simStatuses[s.rnd.IntN(len(simStatuses))]
	kind := s.rnd.IntN(12)
	if s.plan.overrideOnly {
		kind = 6 + s.rnd.IntN(4)
	}
	reg := s.history[key].origin.reg
	switch kind {
	case 0, 1, 2:
		s.register(key, status)
	case 3, 4:
		s.do(key, "cancel", func() { reg.Cancel(key, registry.Origin{}) })
	case 5:
		s.do(key, "metadata", func() { reg.SetMetadata(key, map[string]string{"k": fmt.Sprint(s.rnd.IntN(3))}, registry.Origin{}) })
	case 6, 7:
		s.do(key, "status "+string(status), func() { reg.SetStatus(key, status, eureka.NoTimestamp, registry.Origin{}) })
	case 8:
		s.do(key, "delete status", func() { reg.DeleteStatusOverride(key, status, eureka.NoTimestamp, registry.Origin{}) })
	case 9:
		s.renew(key)
	case 10:
		s.do(key, "status with a timestamp", func() { reg.SetStatus(key, status, time.Now().UnixMilli(), registry.Origin{}) })
	case 11: // All in one window, where Java's pipeline ends with the cancel.
		s.register(key, eureka.StatusUp)
		s.pause(time.Millisecond)
		s.do(key, "cancel", func() { reg.Cancel(key, registry.Origin{}) })
		s.pause(time.Millisecond)
		s.register(key, status)
	}
}

func (s *sim) register(key registry.Key, status eureka.Status) {
	info := instance(key.App, key.ID, status, time.Now().UnixMilli()-int64(s.rnd.IntN(3)))
	// The lease outlives any run.
	info.LeaseInfo = eureka.LeaseInfo{RenewalIntervalInSecs: 1, DurationInSecs: 600}
	if s.rnd.IntN(6) == 0 {
		info.OverriddenStatus = eureka.StatusOutOfService
	}
	s.do(key, "register "+string(status), func() { s.history[key].origin.reg.Register(info, registry.Origin{}) })
}

func (s *sim) renew(key registry.Key) {
	s.do(key, "renew", func() { s.history[key].origin.reg.Renew(key, eureka.NoTimestamp, "", registry.Origin{}) })
}

// do performs an action and keeps the instance's state afterwards.
func (s *sim) do(key registry.Key, what string, action func()) {
	h := s.history[key]
	before, _, knew := h.origin.reg.Entry(key)
	// The version must be known before the action's task can arrive anywhere.
	s.mu.Lock()
	action()
	after, _, ok := h.origin.reg.Entry(key)
	if ok {
		h.add(&after)
	}
	changed := ok != knew || after.Record.Version != before.Record.Version || after.Override != before.Override
	if ok && (changed || after.Age == 0) {
		for _, n := range s.nodes {
			if at := (simAt{n.name, key}); n != h.origin && s.plan.weather == calm {
				s.due[at] = append(s.due[at], simExpected{time.Now(), after})
			}
		}
	}
	s.notef("%s: %s at %s: rv %d live %t, ov %d %t %s", key.ID, what, h.origin.name,
		after.Record.Version, after.Record.Live, after.Override.Version, after.Override.Set, after.Override.Status)
	s.mu.Unlock()
	synctest.Wait()
}

func (h *simHistory) add(e *registry.Entry) {
	h.records[[2]uint64{uint64(e.Record.Version), e.Record.Hash}] = true
	h.overrides[e.Override] = true
}

// change begins or ends an outage of one link.
func (s *sim) change() {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, to := s.nodes[s.rnd.IntN(len(s.nodes))], s.nodes[s.rnd.IntN(len(s.nodes))]
	link := simLink{from.name, to.name}
	if s.outage[link] != nil {
		delete(s.outage, link)
		delete(s.silent, link)
		s.notef("%v: outage ends", link)
		return
	}
	kinds := []error{batcher.Busy, batcher.Absent, batcher.Disconnected, errLost}
	if s.plan.weather >= hostile {
		kinds = append(kinds, batcher.Timeout)
	}
	s.outage[link] = kinds[s.rnd.IntN(len(kinds))]
	s.silent[link] = s.rnd.IntN(2) == 0
	s.notef("%v: outage %v", link, s.outage[link])
}

// settle ends the faults, waits until no message is on its way, and compares.
func (s *sim) settle() {
	s.mu.Lock()
	s.quiet = true
	clear(s.outage)
	clear(s.silent)
	s.notef("quiet")
	s.mu.Unlock()
	s.land()
	empty := func() bool {
		synctest.Wait()
		for _, n := range s.nodes {
			for _, p := range n.cluster.Peers() {
				if p.Acceptor.Pending()+p.Acceptor.InFlight > 0 {
					return false
				}
			}
		}
		return true
	}
	equal := func() bool {
		for _, n := range s.nodes[1:] {
			if n.reg.Digest() != s.nodes[0].reg.Digest() {
				return false
			}
		}
		return true
	}
	deadline := time.Now().Add(2 * time.Minute) // Waits of 36 s, and a repair.
	for !empty() || s.plan.weather == lossy && !equal() {
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	s.land()
	for _, n := range s.nodes {
		s.checkLaw(n)
		for _, p := range n.cluster.Peers() {
			if p.Acceptor.Pending()+p.Acceptor.InFlight > 0 {
				s.failf("%s -> %s: not empty in the end: %+v, waiting %q", n.name, p.Name, p.Acceptor, p.Batcher.Waiting)
			}
		}
	}
	for key, h := range s.history {
		want, _, known := h.origin.reg.Entry(key)
		for _, n := range s.nodes {
			got, _, ok := n.reg.Entry(key)
			if ok != known || got.Record.Version != want.Record.Version || got.Record.Hash != want.Record.Hash || got.Override != want.Override {
				s.failf("%s ends %s with %s, its origin %s with %s", n.name, key.ID, versions(&got), h.origin.name, versions(&want))
			}
		}
	}
	s.mu.Lock()
	for at, left := range s.due {
		if len(left) > 0 {
			s.fail("%s has never got %s of %s", at.node, versions(&left[0].entry), at.key.ID)
		}
	}
	s.mu.Unlock()
}

func versions(e *registry.Entry) string {
	return fmt.Sprintf("rv %d live %t, ov %d %t %s", e.Record.Version, e.Record.Live, e.Override.Version, e.Override.Set, e.Override.Status)
}

// look compares a node's state of an instance with its former one. mu is held.
func (s *sim) look(n *simNode, key registry.Key) {
	now, _, ok := n.reg.Entry(key)
	at := simAt{n.name, key}
	before, known := s.seen[at]
	if !ok {
		if known {
			s.fail("%s has forgotten %s", n.name, key.ID)
		}
		return
	}
	s.seen[at] = now
	if before.Record.After(&now.Record) || before.Override.After(&now.Override) {
		s.fail("%s goes back with %s: from %s to %s", n.name, key.ID, versions(&before), versions(&now))
	}
	h := s.history[key]
	if h == nil {
		s.fail("%s has an instance that nobody registered: %s", n.name, key)
		return
	}
	if !h.records[[2]uint64{uint64(now.Record.Version), now.Record.Hash}] || now.Override.Version != 0 && !h.overrides[now.Override] {
		s.fail("%s has a version of %s that its origin never had: %s", n.name, key.ID, versions(&now))
	}
	// On a calm network a change arrives after the window and one way.
	limit := 500*time.Millisecond + s.plan.latency
	s.due[at] = slices.DeleteFunc(s.due[at], func(x simExpected) bool {
		here := !x.entry.Record.After(&now.Record) && !x.entry.Override.After(&now.Override) &&
			now.Age <= time.Since(x.at)+time.Millisecond
		if late := time.Since(x.at); here && late > limit {
			s.fail("%s got %s of %s after %v, want at most %v", n.name, versions(&x.entry), key.ID, late, limit)
		}
		return here
	})
}

// checkLaw checks the conservation law of all pipelines of a node.
func (s *sim) checkLaw(n *simNode) {
	for _, p := range n.cluster.Peers() {
		if u := p.Acceptor.Unaccounted(); u != 0 {
			s.failf("%s -> %s: %d actions unaccounted for: %+v", n.name, p.Name, u, p.Acceptor)
		}
	}
}

func (s *sim) failf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(format, args...)
}

// fail reports the first fault of a seed, with the events before it. mu is
// held.
func (s *sim) fail(format string, args ...any) {
	if s.failed {
		return
	}
	s.failed = true
	var last []string
	for _, l := range s.log[max(0, len(s.log)-60):] {
		last = append(last, l.String())
	}
	s.t.Errorf("seed %d (%s): %s\n%s\nreplay: make simulate SEED=%d", s.plan.seed, s.plan.weather,
		fmt.Sprintf(format, args...), strings.Join(last, "\n"), s.plan.seed)
}

// notef keeps a line for a failing seed. mu is held.
func (s *sim) notef(format string, args ...any) {
	s.log = append(s.log, simLine{time.Since(simEpoch), format, args})
}

// simEpoch is when time begins in a bubble.
var simEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// fate is how the network treats one batch.
type fate struct {
	refuse    error         // not delivered, answered at once
	lost      bool          // not delivered, not answered
	there     time.Duration // until it is delivered
	back      time.Duration // until its answer is
	noAnswer  bool          // applied, not answered
	cut       error         // applied, but answered with this
	again     time.Duration // delivered once more after that; 0: no
	spoilItem int           // makes one item unreadable; -1: none
}

// decide draws a fate from the message and the time, not from the order in
// which goroutines ask: a seed always gives the same. mu is held.
func (s *sim) decide(link simLink, body []byte) fate {
	f := fate{there: s.plan.latency, back: s.plan.latency, spoilItem: -1}
	if err := s.outage[link]; err != nil {
		if errors.Is(err, batcher.Timeout) {
			f.lost = true
		} else {
			f.refuse = err
		}
		return f
	}
	if s.plan.weather == calm || s.quiet {
		return f
	}
	h := fnv.New64a()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Since(simEpoch))))
	h.Write([]byte(link.from + link.to))
	h.Write(body)
	rnd := rand.New(rand.NewPCG(s.plan.seed, h.Sum64()))
	if rnd.IntN(5) == 0 {
		f.refuse = []error{batcher.Busy, batcher.Absent, batcher.Disconnected, errLost}[rnd.IntN(4)]
		return f
	}
	if s.plan.weather == refusing {
		return f
	}
	f.there = time.Duration(rnd.IntN(400))*time.Millisecond + 13*time.Microsecond
	f.back = time.Duration(rnd.IntN(100))*time.Millisecond + 17*time.Microsecond
	switch rnd.IntN(12) {
	case 0:
		f.lost = true
	case 1:
		f.noAnswer = true
	case 2:
		f.cut = batcher.Disconnected
	case 3: // Beyond the time-out: by then the sender has sent it again.
		f.there += time.Duration(rnd.IntN(4000)) * time.Millisecond
	case 4:
		f.again = f.there + time.Duration(rnd.IntN(4000))*time.Millisecond + 19*time.Microsecond
	}
	if s.plan.weather == lossy {
		switch rnd.IntN(12) {
		case 0:
			f.refuse = batcher.Malformed
		case 1:
			f.spoilItem = rnd.IntN(3)
		}
	}
	return f
}

// spoil makes the i-th item of a batch unreadable, if there is one.
func spoil(body []byte, i int) []byte {
	parts := strings.Split(string(body), `"rv":`)
	if i+1 >= len(parts) {
		return body
	}
	return []byte(strings.Join(parts[:i+1], `"rv":`) + `"rv":-` + strings.Join(parts[i+1:], `"rv":`))
}

// Request implements cluster.Transport.
func (n *simNode) Request(ctx context.Context, to, _ string, body []byte) ([]byte, error) {
	s, link := n.sim, simLink{n.name, to}
	items, err := eureka.DecodeReplicationList(body, eureka.ListOptions{NATS: true})
	if err != nil {
		s.failf("%v: batch is not readable: %v", link, err)
	}
	s.mu.Lock()
	overlap := s.depart(link, items)
	f := s.decide(link, body)
	s.notef("%v: %s, %+v", link, sketch(items), f)
	s.mu.Unlock()
	defer s.arrive(link, items)

	if f.refuse != nil {
		time.Sleep(f.back)
		return nil, fmt.Errorf("send: %w", f.refuse)
	}
	if f.lost {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if f.spoilItem >= 0 {
		body = spoil(body, f.spoilItem)
	}
	answers := make(chan simAnswer, 1)
	s.deliver(link, body, items, f.there, answers)
	if f.again > 0 {
		s.deliver(link, body, items, f.again, nil)
	}
	select {
	case a := <-answers:
		time.Sleep(f.back)
		switch {
		case f.noAnswer || ctx.Err() != nil:
			<-ctx.Done()
			return nil, ctx.Err()
		case f.cut != nil:
			return nil, f.cut
		}
		if a.err == nil {
			s.check(link, items, a.body, overlap)
		}
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type simAnswer struct {
	body []byte
	err  error
}

// depart checks a batch that is sent. It returns the instances that are in
// another batch on its way, or in one that came back this instant. mu is held.
func (s *sim) depart(link simLink, items eureka.ReplicationList) map[registry.Key]bool {
	if len(items) == 0 || len(items) > s.plan.batchSize {
		s.fail("%v: batch of %d, want 1 to %d", link, len(items), s.plan.batchSize)
	}
	tr := s.links[link]
	if tr == nil {
		tr = &simTraffic{flying: make(map[registry.Key]int), settled: make(map[registry.Key]time.Time)}
		s.links[link] = tr
	}
	overlap := make(map[registry.Key]bool)
	here := make(map[registry.Key]bool)
	for i := range items {
		key := registry.NewKey(items[i].AppName, items[i].ID)
		if here[key] {
			s.fail("%v: %s is twice in one batch", link, key.ID)
		}
		here[key] = true
		if at, ok := tr.settled[key]; tr.flying[key] > 0 || ok && at.Equal(time.Now()) {
			overlap[key] = true
		}
		tr.flying[key]++
	}
	return overlap
}

func (s *sim) arrive(link simLink, items eureka.ReplicationList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range items {
		key := registry.NewKey(items[i].AppName, items[i].ID)
		s.links[link].flying[key]--
		s.links[link].settled[key] = time.Now()
	}
}

// deliver hands a batch to the peer's consumer later on.
func (s *sim) deliver(link simLink, body []byte, items eureka.ReplicationList, after time.Duration, answers chan<- simAnswer) {
	peer := s.node(link.to)
	answer := func(a simAnswer) {
		if answers != nil {
			answers <- a
		}
	}
	s.mu.Lock()
	s.way++
	s.mu.Unlock()
	go func() {
		time.Sleep(after)
		applied := make(chan struct{})
		peer.consumer.Deliver(consumer.Request{
			From: link.from, Body: body,
			Respond: func(reply []byte) error {
				defer close(applied)
				s.mu.Lock()
				for i := range items {
					s.look(peer, registry.NewKey(items[i].AppName, items[i].ID))
				}
				s.notef("%v: delivered %s", link, sketch(items))
				s.mu.Unlock()
				answer(simAnswer{body: reply})
				return nil
			},
			Fail: func(code int, text string) error {
				defer close(applied)
				kind := batcher.Busy
				if code == http.StatusBadRequest {
					kind = batcher.Malformed
				}
				answer(simAnswer{err: fmt.Errorf("%w: %s", kind, text)})
				return nil
			},
		})
		<-applied
		s.mu.Lock()
		s.way--
		s.mu.Unlock()
	}()
}

// land waits until no message is on its way.
func (s *sim) land() {
	for {
		s.mu.Lock()
		way := s.way
		s.mu.Unlock()
		if way == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// check checks the answer that the sender gets in time.
func (s *sim) check(link simLink, items eureka.ReplicationList, body []byte, overlap map[registry.Key]bool) {
	results, err := eureka.DecodeReplicationListResponse(body, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || len(results) != len(items) {
		s.fail("%v: %d results for %d items, %v", link, len(results), len(items), err)
		return
	}
	for i := range items {
		item, code := &items[i], results[i].StatusCode
		if s.results[item.Action] == nil {
			s.results[item.Action] = make(map[int]uint64)
		}
		s.results[item.Action][code]++
		key := registry.NewKey(item.AppName, item.ID)
		switch {
		case s.plan.weather == lossy || code == 200:
		case s.plan.weather == calm:
			s.fail("%v: %s of %s is answered %d on a calm network, want 200", link, item.Action, key.ID, code)
		case code == 409 && s.plan.weather == refusing:
			s.fail("%v: %s of %s is answered 409 though batches arrive in order: it was older than one before it", link, item.Action, key.ID)
		case code == 404 && !overlap[key]:
			s.fail("%v: %s of %s is answered 404 though no other batch with it was on its way: the slot had lost a part", link, item.Action, key.ID)
		case code == 400 || code >= 500:
			s.fail("%v: %s of %s is answered %d", link, item.Action, key.ID, code)
		}
	}
}

// sketch shows a batch in a line.
type sketch eureka.ReplicationList

func (items sketch) String() string {
	var out []string
	for i := range items {
		st := items[i].State
		out = append(out, fmt.Sprintf("%s %s %d/%d", items[i].Action, items[i].ID, st.RecordVersion, st.OverrideVersion))
	}
	return strings.Join(out, ", ")
}

func (s *sim) node(name string) *simNode {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.nodes, func(n *simNode) bool { return n.name == name })
	return s.nodes[i]
}

// others returns the nodes that receive this one's presence.
func (n *simNode) others() []*simNode {
	s := n.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*simNode
	for _, o := range s.nodes {
		if o != n && !s.silent[simLink{n.name, o.name}] {
			out = append(out, o)
		}
	}
	return out
}

// Announce implements cluster.Transport. It drops two of three presences: a
// peer counts as silent only after five seconds.
func (n *simNode) Announce(p membership.Presence) error {
	if at := n.announced.Add(1); at > 3 && at%3 != 0 {
		return nil
	}
	for _, o := range append(n.others(), n) {
		o.cluster.HandlePresence(p)
	}
	return nil
}

// Changed implements registry.Sink.
func (n *simNode) Changed(ch registry.Change) { n.cluster.Changed(ch) }

// Link implements cluster.Transport.
func (n *simNode) Link() membership.Link { return membership.Link{Up: true} }

// Ask implements cluster.Transport.
func (n *simNode) Ask() error {
	for _, o := range n.others() {
		o.cluster.HandleAsk()
	}
	return nil
}

// Sync implements cluster.Transport.
func (n *simNode) Sync(ctx context.Context, to string, body []byte) ([]byte, error) {
	s := n.sim
	s.mu.Lock()
	down := s.outage[simLink{n.name, to}] != nil || s.outage[simLink{to, n.name}] != nil
	s.mu.Unlock()
	if s.plan.weather != lossy || down {
		return nil, batcher.Disconnected
	}
	answers := make(chan simAnswer, 1)
	s.node(to).cluster.HandleSync(repair.Request{
		From: n.name, Body: body,
		Respond: func(reply []byte) error { answers <- simAnswer{body: reply}; return nil },
		Fail:    func(_ int, text string) error { answers <- simAnswer{err: errors.New(text)}; return nil },
	})
	select {
	case a := <-answers:
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// MaxPayload implements cluster.Transport.
func (n *simNode) MaxPayload() int { return 1 << 20 }
