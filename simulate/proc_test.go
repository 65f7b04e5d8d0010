package simulate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/registryd/registryd/batcher"
	"github.com/registryd/registryd/cluster"
	"github.com/registryd/registryd/consumer"
	"github.com/registryd/registryd/internal/logqueue"
	"github.com/registryd/registryd/membership"
	"github.com/registryd/registryd/registry"
)

// proc is one process: a node from one start to its end. It is the cluster's
// transport.
type proc struct {
	world *world
	node  int
	name  string
	born  time.Time

	reg     *registry.Registry
	cluster *cluster.Cluster
	cons    *consumer.Consumer
	evictor *registry.Evictor
	lines   *logqueue.Writer // of its log; nil: lines are written at once

	stopTimers func()
	timers     sync.WaitGroup
	stop       context.CancelFunc
	done       chan struct{} // Run has returned

	opens    atomic.Int64               // when it serves clients; what they sent before is not applied; ns
	leaving  atomic.Bool                // it takes no more requests of clients
	left     atomic.Int64               // when it said goodbye, ns; 0: it has not
	served   atomic.Int64               // when it served lists first, ns; 0: it has not
	restored bool                       // from a snapshot with instances
	answered atomic.Int64               // when it last got an answer to a sync request, ns; at first its start
	learned  map[registry.Key]time.Time // guarded by mu; when it got the record that it has, or listed it again
	// newest is the newest incarnation of each node that it has taken for the present
	// one.
	newest    [maxNodes]uuid.UUID // guarded by mu
	slept     atomic.Int64        // for how long the monotonic clock has stopped in all, ns
	suspended bool                // guarded by mu; that clock is stopped now
	halted    time.Time           // guarded by mu; when it was suspended
	resumed   atomic.Int64        // when it last resumed after a suspension that it must notice, ns
	runs      atomic.Int64        // since when it has run: its start, or the end of the last suspension, ns

	mu    sync.Mutex
	dead  bool          // guarded by mu
	still chan struct{} // guarded by mu; nil: it runs. Closed when it resumes
	inbox []func()      // guarded by mu; what arrived while it was suspended
	// holdEvictions is still for the goroutine that evicts.
	holdEvictions chan struct{} // guarded by mu
}

var errDead = fmt.Errorf("%w: crashed", batcher.Disconnected)

// start starts a process of a node from what a snapshot holds.
func (w *world) start(node int, snap *disk) *proc {
	p := &proc{world: w, node: node, name: nodeNames[node], born: time.Now(), done: make(chan struct{})}
	p.learned = make(map[registry.Key]time.Time)
	var err error
	if p.reg, err = registry.New(registry.Options{Sink: p, Now: w.clockOf(p)}); err != nil {
		panic(err)
	}
	snap.load(p)
	p.restored = p.reg.Leases().Present > 0
	if p.cluster, err = cluster.New(p.reg, p, cluster.Options{
		Node: p.name, URL: "http://" + p.name, Version: "test", Logger: w.logger(p), QueueLen: queueLen,
		BatchDelay: w.plan.batchDelay, BatchSize: w.plan.batchSize(),
		Members: membership.Options{Restored: p.restored},
		Rand:    func() float64 { return w.chance(ownLink, node, node, 6) },
		Clock: cluster.Clock{
			Wall:    func() time.Time { return time.Now().Add(w.plan.skew[node]) },
			Elapsed: func() time.Duration { return w.since() - time.Duration(p.slept.Load()) },
		},
	}); err != nil {
		panic(err)
	}
	stale := func() bool { return !p.cluster.MayWrite() }
	if w.rule == workOffQueue {
		stale = nil
	}
	if p.cons, err = consumer.New(p.reg, consumer.Options{Stale: stale}); err != nil {
		panic(err)
	}
	p.answered.Store(p.born.UnixNano())
	p.runs.Store(p.born.UnixNano())
	p.opens.Store(p.born.Add(w.door(node)).UnixNano())
	evict := registry.EvictorOptions{SelfPreservation: registry.SelfPreservation{NoSelfPreservation: true, Threshold: 0.01}}
	if w.plan.evictors {
		evict = registry.EvictorOptions{}
	}
	evict.Shuffle = rand.New(rand.NewPCG(w.plan.seed, uint64(w.since()))).Shuffle
	if p.evictor, err = registry.NewEvictor(p.reg, evict); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stopTimers = func() { cancel(); p.timers.Wait() }
	p.timers.Go(func() {
		time.Sleep(time.Microsecond) // not when the membership has its turn
		tick := time.NewTicker(registry.DefaultEvictionInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if p.mayEvict() {
					p.evict(ctx)
				}
			}
		}
	})
	run, stop := context.WithCancel(context.Background())
	p.stop = func() { cancel(); stop() }
	w.mu.Lock()
	w.procs[node], w.started = p, p.born
	w.all = append(w.all, p)
	w.mu.Unlock()
	w.graves.Go(func() {
		select {
		case <-p.cluster.Ready():
			p.served.Store(time.Now().UnixNano())
			w.firstList(p)
		case <-p.done:
		}
	})
	go func() {
		defer close(p.done)
		if err := p.cluster.Run(run); err != nil {
			w.violate("%s: Run: %v", p.name, err)
		}
	}()
	return p
}

// queueLen is the length of an acceptorQueue: short, since a run has many
// pipelines.
const queueLen = 64

var nodeNames = [maxNodes]string{"n0", "n1", "n2", "n3"}

// evict is an eviction pass, as a node makes it.
func (p *proc) evict(ctx context.Context) {
	w, asked := p.world, asking{Cluster: p.cluster, skip: p.world.rule == noAsking}
	w.renewed(p)
	begun, may := false, false
	p.evictor.Run(ctx, &asked, func() bool {
		may = !begun || p.awake() && p.node != w.plan.preserves
		may = may && (p.serves() || w.rule == evictStalled)
		if begun && may && w.rule == evictionCancels {
			for _, key := range asked.keys {
				p.reg.Cancel(key, registry.Origin{})
			}
		}
		begun = true
		return may
	})
	if !may {
		return
	}
	for _, key := range asked.keys {
		if _, evicted, ok := p.reg.Entry(key); !ok || evicted {
			w.evicted(p, key)
		}
	}
	p.reg.SweepDelta()
	w.forget()
}

// asking is a cluster that records the questions of an eviction pass.
type asking struct {
	*cluster.Cluster
	skip bool
	keys []registry.Key
}

func (a *asking) AskAges(ctx context.Context, keys []registry.Key) {
	a.keys = keys
	if !a.skip {
		a.Cluster.AskAges(ctx, keys)
	}
}

// kill ends the process as a crash does: none of its messages arrives any more.
func (p *proc) kill() {
	p.mu.Lock()
	p.dead, p.inbox = true, nil
	if p.still != nil {
		close(p.still)
		close(p.holdEvictions)
		p.still = nil
	}
	p.mu.Unlock()
	p.stop()
}

// bury waits for the end of all goroutines of the process.
func (p *proc) bury() {
	<-p.done
	p.timers.Wait()
	p.cons.Close()
	if p.lines != nil {
		p.lines.Close() // not all may be written before the last fault
	}
	for _, peer := range p.cluster.Peers() {
		if n := peer.Acceptor.Unaccounted(); n != 0 {
			p.world.violate("%s -> %s: %d actions unaccounted for at the end: %+v", p.name, peer.Name, n, peer.Acceptor)
		}
	}
}

// halt suspends the process.
func (p *proc) halt(suspended bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead || p.still != nil {
		return false
	}
	p.still, p.holdEvictions, p.halted, p.suspended = make(chan struct{}), make(chan struct{}), time.Now(), suspended
	return true
}

// By the seed what came is heard before its own goroutines go on, or after, and
// its eviction goes on before the rest, or after. Each has a moment of its own,
// so that a seed replays.
func (p *proc) resume() {
	p.mu.Lock()
	still, evictions, came := p.still, p.holdEvictions, p.inbox
	if still == nil {
		p.mu.Unlock()
		return
	}
	p.still, p.inbox = nil, nil
	if left := p.opensAt().Sub(p.halted); left >= 0 { // it opens the door itself
		p.opens.Store(time.Now().Add(left).UnixNano())
	}
	if p.suspended {
		p.slept.Add(int64(time.Since(p.halted)))
	}
	p.runs.Store(time.Now().UnixNano())
	noticed := time.Since(p.halted) > 7*time.Second // a tick before, and five seconds
	if noticed {
		p.resumed.Store(time.Now().UnixNano())
	}
	p.mu.Unlock()
	handOver := func() {
		for _, f := range came {
			p.arrive(f)
			time.Sleep(time.Nanosecond)
		}
		if noticed {
			p.world.glance(p)
		}
	}
	steps := []func(){handOver, func() { close(still) }, func() { close(evictions) }}
	rand.New(rand.NewPCG(p.world.plan.seed, uint64(p.world.since()))).Shuffle(len(steps), func(i, j int) {
		steps[i], steps[j] = steps[j], steps[i]
	})
	for _, step := range steps {
		step()
		time.Sleep(time.Nanosecond)
	}
}

// awake waits while the process is suspended; false: it is dead.
func (p *proc) awake() bool {
	for {
		p.mu.Lock()
		still, dead := p.still, p.dead
		p.mu.Unlock()
		if still == nil || dead {
			return !dead
		}
		<-still
	}
}

// mayEvict is awake for the goroutine that evicts.
func (p *proc) mayEvict() bool {
	p.mu.Lock()
	hold := p.holdEvictions
	p.mu.Unlock()
	if hold != nil {
		<-hold
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead
}

// arrive hands the process a message: now, or when it resumes.
func (p *proc) arrive(f func()) {
	p.mu.Lock()
	switch {
	case p.dead:
		p.mu.Unlock()
	case p.still != nil:
		p.inbox = append(p.inbox, f)
		p.mu.Unlock()
	default:
		p.mu.Unlock()
		f()
	}
}

// opensAt returns when it serves clients.
func (p *proc) opensAt() time.Time { return time.Unix(0, p.opens.Load()) }

// runsFor returns for how long the process has run since its start or its last
// suspension: nobody could hear it or ask it before.
func (p *proc) runsFor() time.Duration { return time.Since(time.Unix(0, p.runs.Load())) }

// knowsFor returns for how long the process has had its present record of an
// instance, and known that the lease runs if it had evicted it.
func (p *proc) knowsFor(key registry.Key) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.learned[key])
}

func (p *proc) isUp() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead && p.still == nil
}
