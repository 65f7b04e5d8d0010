//go:build faults

package faults_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/client"
	"github.com/registryd/registryd/eureka"
)

// The leases of a fleet: short, so that instances without a cancel are seen to
// expire.
const (
	renewal  = 2 * time.Second
	duration = 6 * time.Second
	// changeEvery is the mean time between two changes of an instance.
	changeEvery = 3 * time.Second
	// unsent is how long a change may be known to one node alone: more than the
	// batching delay and a time-out.
	unsent = 3 * time.Second
	// clientTimeout is the time after which a client turns to the next node.
	clientTimeout = 2 * time.Second
)

// kind is an instance's client's activity beside its heartbeats.
type kind int

const (
	steady     kind = iota // nothing
	registers              // registers again with other metadata and another status
	metadata               // sets metadata
	overrides              // sets and deletes the override of its status
	cancels                // cancels and comes back
	disappears             // ends without a cancel; another takes its place
	kinds
)

type state int

const (
	live state = iota
	cancelled
	left
)

// fleet is a load of clients, and knows the instances that the nodes must list.
type fleet struct {
	lab  *lab
	opts fleetOptions
	ctx  context.Context // of the clients' goroutines
	wg   sync.WaitGroup
	gate sync.RWMutex // held shared for the length of a change

	mu        sync.Mutex
	instances []*instance
	next      int

	registered, renewed, changed, notFound, failed, repeated atomic.Int64
}

// instance is one client and the true state of its instance.
type instance struct {
	fleet *fleet
	kind  kind
	id    string

	op     sync.Mutex // one call at a time
	client *client.Client

	mu       sync.Mutex
	info     eureka.InstanceInfo
	override eureka.Status // "" none
	state    state
	since    time.Time // of state
	revision int
	// The change that one node took, and when. Until the node has sent it to the
	// others, it may be lost with the node.
	node string
	at   time.Time
	lost bool // was
}

// fleetOptions are the differences from clients of all kinds with short leases.
type fleetOptions struct {
	Size     int
	Kinds    []kind // in turn
	Renewal  time.Duration
	Duration time.Duration
	HTTP     *http.Client  // default: the lab's
	Ramp     time.Duration // over which the clients start
}

// startFleet starts clients and waits until each is registered.
func startFleet(l *lab, opts fleetOptions) *fleet {
	l.t.Helper()
	opts.Renewal = cmp.Or(opts.Renewal, renewal)
	opts.Duration = cmp.Or(opts.Duration, duration)
	opts.HTTP = cmp.Or(opts.HTTP, l.http)
	size, only := opts.Size, opts.Kinds
	ctx, cancel := context.WithCancel(context.Background()) // stopped by Cleanup, before the nodes
	f := &fleet{lab: l, ctx: ctx, opts: opts}
	l.t.Cleanup(func() {
		cancel()
		f.wg.Wait()
	})
	if len(only) == 0 {
		// Half of the fleet is steady.
		for k := range kinds {
			only = append(only, k, steady)
		}
	}
	for i := range size {
		f.add(only[i%len(only)])
		if opts.Ramp > 0 && i%100 == 99 {
			pause(opts.Ramp * 100 / time.Duration(size))
		}
	}
	eventually(l.t, "the fleet is registered", func() error {
		if n := f.registered.Load(); n < int64(size) {
			return fmt.Errorf("%d of %d", n, size)
		}
		return nil
	})
	return f
}

// add starts one more client.
func (f *fleet) add(k kind) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.next
	f.next++
	i := &instance{fleet: f, kind: k, id: fmt.Sprintf("10.0.%d.%d:web:%d", n/250, n%250, n), since: time.Now()}
	i.info = eureka.InstanceInfo{
		InstanceID: &i.id, App: fmt.Sprintf("APP-%d", n%7), HostName: "host-" + strconv.Itoa(n), IPAddr: "10.0.0.1",
		Status: eureka.StatusUp, OverriddenStatus: eureka.StatusUnknown, CountryID: eureka.DefaultCountryID,
		DataCenterInfo: eureka.DataCenterInfo{Name: eureka.MyOwn},
		LeaseInfo: eureka.LeaseInfo{
			RenewalIntervalInSecs: int(f.opts.Renewal / time.Second), DurationInSecs: int(f.opts.Duration / time.Second),
		},
		Metadata:           map[string]string{"revision": "0"},
		LastDirtyTimestamp: time.Now().UnixMilli(),
	}
	i.turn(n)
	f.instances = append(f.instances, i)
	f.wg.Go(i.run)
}

// expiry bounds the time from the last heartbeat, or from the node's start, until
// an instance is gone from the list. A lease lives for its duration, at least for
// its renewal interval and five seconds; then comes a pass each second, a second
// to ask the peers, and room for a busy machine.
func (f *fleet) expiry() time.Duration {
	return max(f.opts.Duration, f.opts.Renewal+5*time.Second) + 7*time.Second
}

// all returns the instances so far.
func (f *fleet) all() []*instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*instance(nil), f.instances...)
}

// hold waits until every change under way is acknowledged and lets none begin
// until release; heartbeats go on.
func (f *fleet) hold() { f.gate.Lock() }

func (f *fleet) release() { f.gate.Unlock() }

// loseAll marks the state that only the nodes knew: status overrides and
// metadata are not in a client's registration.
func (f *fleet) loseAll() {
	for _, n := range f.lab.nodes {
		n.setDoomed(true)
	}
	for _, i := range f.all() {
		i.update(func() { i.lost = true })
	}
}

// vanish ends a share of the clients without a cancel, every nth, and returns
// how many.
func (f *fleet) vanish(nth int) int {
	gone := 0
	for k, i := range f.all() {
		if k%nth == 0 && i.current() == live {
			i.update(func() { i.state, i.since = left, time.Now() })
			gone++
		}
	}
	return gone
}

// lose marks the changes that a node took a moment ago, including those whose
// answers the clients have not read yet: the node is about to be killed or
// stopped, and may not have sent them on.
func (f *fleet) lose(n *node) {
	n.setDoomed(true)
	for _, i := range f.all() {
		i.mu.Lock()
		if i.node == n.name && time.Since(i.at) < unsent {
			i.lost = true
		}
		i.mu.Unlock()
	}
}

// turn makes the instance's client begin with another node.
func (i *instance) turn(first int) {
	nodes := i.fleet.lab.nodes
	var urls []string
	for j := range nodes {
		urls = append(urls, nodes[(first+j)%len(nodes)].url())
	}
	c, err := client.New(client.Options{URLs: urls, HTTPClient: i.fleet.opts.HTTP, Timeout: clientTimeout})
	if err != nil {
		panic(err) // the URLs are ours
	}
	i.client = c
}

// run is the client's life.
func (i *instance) run() {
	ctx := i.fleet.ctx
	if !i.insist(ctx, i.register) {
		return
	}
	beat := time.NewTicker(i.fleet.opts.Renewal)
	defer beat.Stop()
	change := time.NewTimer(i.nextChange())
	defer change.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if i.current() == live {
				i.heartbeat(ctx)
			}
		case <-change.C:
			if i.kind != steady && i.fleet.gate.TryRLock() {
				i.change(ctx)
				i.fleet.gate.RUnlock()
			}
			if i.current() == left {
				return
			}
			change.Reset(i.nextChange())
		}
	}
}

func (i *instance) nextChange() time.Duration {
	d := changeEvery/2 + rand.N(changeEvery)
	if i.kind == disappears {
		d *= 4
	}
	return d
}

func (i *instance) current() state {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state
}

// insist repeats a call until it is acknowledged. It reports whether it was.
func (i *instance) insist(ctx context.Context, call func(context.Context) error) bool {
	for {
		if err := i.call(ctx, call); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// call makes one call, and notes which node took it.
func (i *instance) call(ctx context.Context, call func(context.Context) error) error {
	i.op.Lock()
	defer i.op.Unlock()
	var name string
	err := call(servedBy(ctx, &name))
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, client.ErrNotFound) {
			i.fleet.failed.Add(1)
		}
		return err
	}
	i.mu.Lock()
	i.node, i.at = name, time.Now()
	i.lost = i.lost || i.fleet.lab.isDoomed(name)
	i.mu.Unlock()
	return nil
}

// update changes the true state of the instance.
func (i *instance) update(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

// snapshot returns a copy of the true state of the instance.
func (i *instance) snapshot() instance {
	i.mu.Lock()
	defer i.mu.Unlock()
	return instance{
		kind: i.kind, id: i.id, info: i.info, override: i.override, state: i.state, since: i.since, lost: i.lost, node: i.node, at: i.at,
	}
}

func (i *instance) register(ctx context.Context) error {
	info := i.snapshot().info
	err := i.client.Register(ctx, &info)
	if err == nil {
		i.fleet.registered.Add(1)
	}
	return err
}

// heartbeat renews the lease, and registers if the node doesn't know the
// instance.
func (i *instance) heartbeat(ctx context.Context) {
	now := i.snapshot()
	i.op.Lock()
	err := i.client.Heartbeat(ctx, now.info.App, i.id, now.info.Status, now.info.LastDirtyTimestamp)
	i.op.Unlock()
	switch {
	case err == nil:
		i.fleet.renewed.Add(1)
	case errors.Is(err, client.ErrNotFound):
		i.fleet.notFound.Add(1)
		i.touch()
		_ = i.call(ctx, i.register) //nolint:errcheck // the next heartbeat tries again
	case ctx.Err() == nil:
		i.fleet.failed.Add(1)
	}
	// Clients move, except those whose calls a node refuses or ignores when it
	// has not received the one before.
	if i.kind != overrides && i.kind != metadata && rand.N(8) == 0 {
		i.turn(rand.N(labSize))
	}
}

// touch gives the instance a new lastDirtyTimestamp.
func (i *instance) touch() {
	i.update(func() { i.info.LastDirtyTimestamp = max(time.Now().UnixMilli(), i.info.LastDirtyTimestamp+1) })
}

// change makes the instance's usual change.
func (i *instance) change(ctx context.Context) {
	i.fleet.changed.Add(1)
	next := map[string]string{"revision": strconv.Itoa(i.revision + 1)}
	i.revision++
	switch i.kind {
	case registers:
		i.touch()
		i.update(func() {
			i.info.Metadata = next
			i.info.Status = []eureka.Status{eureka.StatusUp, eureka.StatusDown, eureka.StatusStarting}[rand.N(3)]
		})
		i.insist(ctx, i.register)
	case metadata:
		i.update(func() { i.info.Metadata = next })
		i.insist(ctx, i.apply)
	case overrides:
		i.update(func() {
			if i.override == "" {
				i.override = eureka.StatusOutOfService
			} else {
				i.override = ""
			}
		})
		i.insist(ctx, i.apply)
	case cancels:
		if i.current() == cancelled {
			i.touch()
			i.update(func() { i.state, i.since, i.info.Metadata = live, time.Now(), next })
			i.insist(ctx, i.register)
			return
		}
		i.update(func() { i.state, i.since = cancelled, time.Now() })
		i.insist(ctx, i.cancel)
		i.update(func() { i.since = time.Now() })
	case disappears:
		i.update(func() { i.state, i.since = left, time.Now() })
		i.fleet.add(disappears)
	case steady, kinds:
	}
}

// apply sends the nodes the true state, by the instance's usual call. At a node
// that doesn't know the instance it registers first.
func (i *instance) apply(ctx context.Context) error {
	now := i.snapshot()
	var err error
	switch {
	case i.kind == metadata:
		err = i.client.SetMetadata(ctx, now.info.App, i.id, now.info.Metadata)
	case now.override == "":
		err = i.client.DeleteStatus(ctx, now.info.App, i.id, now.info.Status)
	default:
		err = i.client.SetStatus(ctx, now.info.App, i.id, now.override)
	}
	if errors.Is(err, client.ErrNotFound) {
		i.touch()
		return errors.Join(err, i.register(ctx))
	}
	return err
}

// cancel ends the lease. If the node doesn't know the instance another may, and
// it expires there.
func (i *instance) cancel(ctx context.Context) error {
	err := i.client.Cancel(ctx, i.info.App, i.id)
	if errors.Is(err, client.ErrNotFound) {
		i.update(func() { i.lost = true })
		return nil
	}
	return err
}

// again repeats the change that may have been lost with the node that took it.
func (i *instance) again(ctx context.Context) {
	if i.kind == metadata || i.kind == overrides {
		i.fleet.repeated.Add(1)
		_ = i.call(ctx, i.apply) //nolint:errcheck // the next look tries again
	}
}
