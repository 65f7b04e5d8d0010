package registry

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/registryd/registryd/eureka"
)

// DefaultMaxInstances bounds the memory of a registry: a million instances of a usual
// size take about 2 GB.
const DefaultMaxInstances = 1_000_000

// DefaultDeltaRetention is how long a change stays in the delta. Eureka's
// retentionTimeInMSInDeltaQueue.
const DefaultDeltaRetention = 180 * time.Second

// Options of a [Registry]. A zero field means its default.
type Options struct {
	// Sink takes every change; nil: nobody does.
	Sink Sink
	// Recorder takes what happened to instances, in order; nil: nobody does.
	Recorder Recorder
	// DeltaRetention is how long a change stays in the delta, at least a
	// second. Default [DefaultDeltaRetention].
	DeltaRetention time.Duration
	// LeaseCompat says how long a lease lives; default Exact.
	LeaseCompat LeaseCompat
	// FutureTimestamps takes a client's lastDirtyTimestamp as Eureka does, also one
	// from the future: an older register is kept out until the clients' clocks have
	// caught up. Java peers would otherwise undo what this node takes. Without it a
	// timestamp from the future counts as the time at which it was accepted.
	FutureTimestamps bool
	// MaxLease bounds the term of every lease, of clients and of peers; a minute
	// to a year. A longer one counts as this: the instance is stored and returned
	// as it was registered. The same on all nodes. Default [DefaultMaxLease].
	MaxLease time.Duration
	// MaxInstances bounds the entries: instances, and the tombstones and evicted
	// ones that are remembered. What would be one more is refused. Above 0.
	// Default [DefaultMaxInstances].
	MaxInstances int
	// Now tells the time; default time.Now. Versions go by its wall clock,
	// leases by its monotonic reading where it has one, so that setting the
	// machine's clock expires nobody.
	Now func() time.Time
	// Logger takes the registry's lines. Default: none.
	Logger *slog.Logger
	// Metrics is where the registry's metrics are registered; nil: nowhere.
	Metrics prometheus.Registerer
}

func (o Options) withDefaults() (Options, error) {
	if o.DeltaRetention == 0 {
		o.DeltaRetention = DefaultDeltaRetention
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Sink == nil {
		o.Sink = nobody{}
	}
	if o.MaxLease == 0 {
		o.MaxLease = DefaultMaxLease
	}
	if o.MaxInstances == 0 {
		o.MaxInstances = DefaultMaxInstances
	}
	var errs []error
	if o.MaxInstances < 0 {
		errs = append(errs, fmt.Errorf("max instances %d: not above 0", o.MaxInstances))
	}
	if o.LeaseCompat > Netflix {
		errs = append(errs, fmt.Errorf("lease compat %d: neither Exact nor Netflix", o.LeaseCompat))
	}
	if o.DeltaRetention < time.Second {
		errs = append(errs, fmt.Errorf("delta retention %v: less than 1s", o.DeltaRetention))
	}
	if o.MaxLease < time.Minute || o.MaxLease > 365*24*time.Hour {
		errs = append(errs, fmt.Errorf("max lease %v: not in 1m..8760h", o.MaxLease))
	}
	return o, errors.Join(errs...)
}

// LeaseCompat says how long a lease lives after its renewal.
type LeaseCompat uint8

const (
	// Exact is as long as its duration says, but at least 5 s beyond its renewal
	// interval.
	Exact LeaseCompat = iota
	// Netflix is twice its duration once it was renewed, as in Eureka, where a
	// renewal adds the duration and the check for expiry adds it again.
	Netflix
)

type nobody struct{}

func (nobody) Changed(Change) {}

// Outcome is Eureka's answer to a call.
type Outcome uint8

// The outcomes, with the HTTP status that Eureka gives them.
const (
	OK       Outcome = iota // 200, for a register 204
	Kept                    // 204: the stored instance is newer than the one registered
	NotFound                // 404
	Conflict                // 409: ours is newer, and comes with the answer
	Refused                 // 400: a bound is passed, see Registry.Refuses; nothing has changed
	Full                    // 507: no room for another instance; nothing has changed
)

// Registry holds the instances of one node.
type Registry struct {
	sink      Sink
	log       *slog.Logger
	compat    LeaseCompat
	future    bool // Options.FutureTimestamps
	now       func() time.Time
	retention int64 // ms
	maxLease  time.Duration
	room      int // for entries
	start     time.Time
	startMs   int64

	// mu guards all below it, and the members of application and entry but
	// for the atomic ones. No I/O and no call out of the package under it.
	mu        sync.RWMutex
	apps      map[string]*application
	sorted    []*application      // those with a present instance, by name
	counts    eureka.StatusCounts // of present instances
	present   int                 // instances that readers see
	entries   int                 // all of them, with tombstones and evicted ones
	all       sequence            // what readers see
	vips      addresses           // by vipAddress
	svips     addresses           // by secureVipAddress
	delta     deltaList           // what changed, each entry once
	changes   sequence            // the same by application and id
	digest    digest
	forgotten map[Key]*entry      // removed, but in the delta still
	queue     queue               // of entries to retire
	outlived  map[*entry]struct{} // what readers see although it is retired
	late      late                // what readers see, by when it can be late
	byID      map[string]*entry   // what readers see; more of one id follow in sameID
	restored  []*entry            // from a snapshot, until exchanged
	exchanged bool                // see Exchanged
	upSince   int64               // lease clock, ms
	lost      map[Key]int64       // evicted lately, and when; lease clock, ms; at most room

	// generation counts what readers can see: an answer made at one
	// generation is the right answer as long as it stands.
	generation   atomic.Uint64
	deltaVersion atomic.Int64
	versions     struct { // of the newest Changes
		sync.Mutex
		of      uint64 // generation
		version string
	}

	// evicting is true while an Evictor may evict what has expired.
	evicting atomic.Bool

	passes atomic.Uint32 // of Entries

	between func() // what a test does between two slices of a pass; else nil

	events outbox

	stats    counters
	cappedAt atomic.Int64 // when the log last said so; lease clock, ms
}

// application is the instances of one application name.
type application struct {
	name    string
	entries map[string]*entry
	present []*entry // what readers see, by id
	counts  eureka.StatusCounts
	shared  [sharedMetadata]metadata // see share
	next    int                      // where share puts the next one
	seed    maphash.Seed             // of the sums of metadata
	texts   [4]*string               // of the instance before, see shareTexts
}

// metadata is the metadata of an instance, and its sum: of equal metadata it is equal.
type metadata struct {
	sum   uint64
	pairs map[string]string
}

// sharedMetadata is how many different metadata an application keeps for its next instances.
const sharedMetadata = 16

// share returns the metadata that another instance of the application had lately, if it is equal, so
// that equal maps are stored once: often the instances of a version and zone have the same.
// Nobody changes a map that is stored.
func (a *application) share(m map[string]string) map[string]string {
	if len(m) == 0 {
		return m
	}
	sum := uint64(0)
	for k, v := range m { // in any order
		sum += maphash.String(a.seed, k) * (maphash.String(a.seed, v) | 1)
	}
	for i := range a.shared {
		if lately := &a.shared[i]; lately.sum == sum && maps.Equal(lately.pairs, m) {
			return lately.pairs
		}
	}
	a.shared[a.next] = metadata{sum, m}
	a.next = (a.next + 1) % sharedMetadata
	return m
}

// shareTexts has the view of e hold texts once that it repeats, or that the instance before it
// in the application has too: usually the addresses. Nobody changes a text that is stored.
func (a *application) shareTexts(e *entry, view *eureka.InstanceInfo) {
	if view.App == a.name {
		view.App = a.name
	}
	if view.InstanceID != nil && *view.InstanceID == e.id {
		view.InstanceID = &e.id
	}
	if strings.HasPrefix(e.id, view.HostName) {
		view.HostName = e.id[:len(view.HostName)]
	}
	for i, text := range [...]**string{
		&view.VIPAddress, &view.SecureVIPAddress, &view.AppGroupName, &view.ASGName,
	} {
		if before := a.texts[i]; *text != nil && before != nil && **text == *before {
			*text = before
		}
		a.texts[i] = *text
	}
}

// entry is one instance: record, override and lease, and this node's view.
type entry struct {
	app *application
	id  string

	parts
	renewed atomic.Int64  // lease clock, ms; written under at least the read lock
	longest time.Duration // the greatest term that the lease ever had; joined by max

	// Local, never merged.
	retires    int64 // when to look at it again in the queue; lease clock, ms
	at         int   // its position in the queue, or notQueued
	kept       int64 // not retired before, see Restore; lease clock, ms
	restored   int64 // the time stands still for kept since; lease clock, ms; 0: it does not
	evicted    bool
	counted    bool          // in the digest: it is not retired
	stale      bool          // its sum is not up to date
	gone       bool          // in the delta as DELETED: its place there
	leaf       uint16        // of the digest
	sum        uint64        // what the sums of the digest hold of it; guarded by their lock
	renewedYet atomic.Bool   // since its registration, see Netflix
	passed     atomic.Uint32 // the last pass of Entries that has seen it
	joinedAt   int64         // renewed when a peer's record was joined; lease clock, ms
	overAt     int64         // renewed when the events tell that its lease is over, and
	heldAt     int64         // when they tell that it is held; lease clock, ms
	registered int64         // wall clock, ms
	accepted   int64         // when the record's lastDirtyTimestamp was, here or at the peer; wall clock, ms
	serviceUp  int64         // wall clock, ms; 0: never UP
	visible    eureka.Status
	// view is what readers get; while a deletion is in the delta, the last
	// one; nil for a tombstone that has left it.
	view *eureka.InstanceInfo

	tick   int64               // where it waits to be late; 0: it does not
	sameID *entry              // the next one of its id, by application; of those that readers see
	blocks [memberships]*block // of the lists that it is in

	deltaAt                int64 // lease clock, ms; 0: not in the delta
	deltaNext, deltaBefore *entry
}

func (e *entry) key() Key { return Key{App: e.app.name, ID: e.id} }

// isPresent reports whether readers see the entry.
func (e *entry) isPresent() bool { return e.record.Live && !e.evicted }

// New returns an empty registry that counts as just started. It fails on an
// option out of bounds.
func New(opts Options) (*Registry, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	start := opts.Now()
	if start.UnixMilli() <= 0 {
		return nil, fmt.Errorf("registry: the clock says %v: not after 1970", start)
	}
	r := &Registry{
		sink: opts.Sink, events: outbox{to: opts.Recorder}, log: opts.Logger, now: opts.Now,
		compat: opts.LeaseCompat, future: opts.FutureTimestamps, maxLease: opts.MaxLease, room: opts.MaxInstances,
		retention: opts.DeltaRetention.Milliseconds(),
		start:     start, startMs: start.UnixMilli(), upSince: start.UnixMilli(),
		all:     sequence{of: inAll, compare: compareEntries},
		changes: sequence{of: inChanges, compare: compareChanges},
		vips:    newAddresses(vipAddress), svips: newAddresses(secureVIPAddress),
		apps: make(map[string]*application), forgotten: make(map[Key]*entry), lost: make(map[Key]int64),
		outlived: make(map[*entry]struct{}), late: newLate(), byID: make(map[string]*entry),
	}
	if r.stats, err = newCounters(r, opts.Metrics); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return r, nil
}

// clock returns both times of now in ms: the wall clock's, for versions and what
// readers see, and the leases'.
func (r *Registry) clock() (wall, lease int64) {
	now := r.now()
	return now.UnixMilli(), r.startMs + now.Sub(r.start).Milliseconds()
}

// lookup returns the entry of key, or nil. The lock is held, shared or not.
func (r *Registry) lookup(key Key) *entry {
	if a := r.apps[key.App]; a != nil {
		return a.entries[key.ID]
	}
	return nil
}

// lookupPresent is lookup for what readers see.
func (r *Registry) lookupPresent(key Key) *entry {
	if e := r.lookup(key); e != nil && e.isPresent() {
		return e
	}
	return nil
}

// create returns a new entry for key, which has none and falls into this leaf.
func (r *Registry) create(key Key, leaf uint16) *entry {
	a := r.apps[key.App]
	if a == nil {
		a = &application{name: key.App, entries: make(map[string]*entry), seed: maphash.MakeSeed()}
		r.apps[a.name] = a
	}
	if old := r.forgotten[key]; old != nil {
		r.settle(old)
		delete(r.forgotten, key)
	}
	e := &entry{app: a, id: key.ID, leaf: leaf, at: notQueued}
	a.entries[e.id] = e
	r.entries++
	return e
}

// remove forgets an entry that readers don't see. Its deletion stays in the
// delta for as long as any other.
func (r *Registry) remove(e *entry) {
	if e.deltaAt != 0 {
		r.forgotten[e.key()] = e
	}
	r.digest.set(e, true)
	if e.at != notQueued {
		heap.Remove(&r.queue, e.at)
	}
	delete(e.app.entries, e.id)
	if len(e.app.entries) == 0 {
		delete(r.apps, e.app.name)
	}
	r.entries--
}

// refresh brings the view of an entry and all that is counted of it up to date after
// its record, override or eviction changed, and puts it into the delta as action. Every
// change that readers can notice passes here, so a list, its hash code and the delta
// always come from one state.
func (r *Registry) refresh(t *tx, action eureka.ActionType) {
	e, is := t.e, t.e.isPresent()
	r.track(e, t.lease)
	var before, after *eureka.InstanceInfo // that readers see in lists
	if t.was {
		before = e.view
	}
	if t.was {
		r.counts.Remove(e.visible)
		e.app.counts.Remove(e.visible)
	}
	switch {
	case is:
		e.visible = Visible(&e.record, &e.override)
		r.counts.Add(e.visible)
		e.app.counts.Add(e.visible)
		if e.visible == eureka.StatusUp && e.serviceUp == 0 && !t.keepsServiceUp {
			e.serviceUp = t.wall
		}
		view := *e.record.Info
		view.Metadata = e.app.share(view.Metadata)
		e.app.shareTexts(e, &view)
		view.Status = e.visible
		view.OverriddenStatus = e.override.Overridden()
		view.ActionType = action
		view.LastUpdatedTimestamp = t.wall
		view.LastDirtyTimestamp = e.record.LastDirty
		view.IsCoordinatingDiscoveryServer = false
		view.LeaseInfo.RegistrationTimestamp = e.registered
		view.LeaseInfo.LastRenewalTimestamp = e.renewed.Load()
		view.LeaseInfo.EvictionTimestamp = 0
		view.LeaseInfo.ServiceUpTimestamp = e.serviceUp
		e.view, e.record.Info = &view, &view
	case t.was:
		view := *e.view
		view.ActionType = eureka.Deleted
		view.LastUpdatedTimestamp = t.wall
		view.LeaseInfo.EvictionTimestamp = t.wall
		e.view = &view
	default:
		return // readers never saw it
	}
	if is != t.was {
		r.show(e, is)
	}
	if is {
		r.all.put(e)
		r.late.put(e, r.lateAt(e))
		after = e.view
	} else {
		r.late.remove(e)
	}
	r.vips.change(e, before, after)
	r.svips.change(e, before, after)
	r.delta.touch(e, t.lease)
	if e.gone == is { // it moves to another place
		r.changes.remove(e)
		e.gone = !is
	}
	r.changes.put(e)
	r.generation.Add(1)
}

// settle takes e out of the delta.
func (r *Registry) settle(e *entry) {
	r.delta.remove(e)
	r.changes.remove(e)
}

// show adds e to what readers see, or takes it out.
func (r *Registry) show(e *entry, in bool) {
	a := e.app
	if in {
		r.indexID(e)
	} else {
		r.all.remove(e)
		r.unindexID(e)
	}
	i, _ := search(a.present, e, compareEntries)
	if in {
		a.present = slices.Insert(a.present, i, e)
		r.present++
	} else {
		a.present = slices.Delete(a.present, i, i+1)
		r.present--
	}
	j, listed := slices.BinarySearchFunc(r.sorted, a.name, func(x *application, name string) int {
		return strings.Compare(x.name, name)
	})
	switch {
	case in && !listed:
		r.sorted = slices.Insert(r.sorted, j, a)
	case !in && len(a.present) == 0:
		r.sorted = slices.Delete(r.sorted, j, j+1)
	}
}

// indexID makes e known by its id.
func (r *Registry) indexID(e *entry) {
	first := r.byID[e.id]
	if first == nil || e.app.name < first.app.name {
		r.byID[e.id], e.sameID = e, first
		return
	}
	for first.sameID != nil && first.sameID.app.name < e.app.name {
		first = first.sameID
	}
	first.sameID, e.sameID = e, first.sameID
}

// unindexID undoes indexID.
func (r *Registry) unindexID(e *entry) {
	switch first := r.byID[e.id]; {
	case first != e:
		for first.sameID != e {
			first = first.sameID
		}
		first.sameID = e.sameID
	case e.sameID != nil:
		r.byID[e.id] = e.sameID
	default:
		delete(r.byID, e.id)
	}
	e.sameID = nil
}

// known returns the greatest version that e has seen.
func (e *entry) known() int64 { return max(e.record.Version, e.override.Version) }

// renew moves the lease to at, never back, and reports whether it did.
func (e *entry) renew(at int64) bool {
	for {
		old := e.renewed.Load()
		if at <= old {
			return false
		}
		if e.renewed.CompareAndSwap(old, at) {
			return true
		}
	}
}
