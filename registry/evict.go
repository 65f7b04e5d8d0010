package registry

import (
	"slices"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Evict evicts every instance whose lease has expired, without a policy, and forgets
// what is retired. An [Evictor] does it by Eureka's policy. It returns how many it
// evicted.
//
// An eviction is this node's alone: record and override stay as they are, nothing is
// replicated, and a register of the client or a peer that knows a lease that still
// runs brings the instance back.
func (r *Registry) Evict() int {
	evicted := r.EvictExpired(r.Expired(0))
	r.Forget()
	return evicted
}

// Outlived returns the instances that readers see although they are retired: they
// come from an old snapshot, or self-preservation keeps them.
func (r *Registry) Outlived() []Key {
	_, lease := r.clock()
	var out []Key
	add := func(e *entry) {
		if e.isPresent() && e.dueAt() < lease {
			out = append(out, e.key())
		}
	}
	s := r.lockSlices(r.mu.RLocker())
	r.queue.eachBefore(lease, 0, add)
	for e := range r.outlived {
		add(e)
		s.pass(1)
	}
	s.unlock()
	slices.SortFunc(out, Key.compare)
	return out
}

// EvictOutlived evicts those of the keys that are [Registry.Outlived] still and
// were last renewed less than since ago. It returns how many it evicted. Its
// caller has asked a peer, which has known every change for that long and does not know
// them: they were cancelled, or have expired, and even that may be forgotten by
// now. They don't count as expected renewals any more.
func (r *Registry) EvictOutlived(keys []Key, since time.Duration) int {
	_, now := r.clock()
	return r.eachKey(keys, EventEvicted, func(t *tx) bool {
		if t.e.dueAt() >= now || now-t.e.renewed.Load() >= since.Milliseconds() {
			return false
		}
		delete(r.lost, t.key)
		r.evict(t)
		return true
	})
}

// handEvery is after how many changes of a pass their events are handed over.
const handEvery = 1000

// eachKey calls f for those of the keys that readers see, under the lock, in slices. It
// makes an event of this kind of each for which f returns true, and returns how many those
// are.
func (r *Registry) eachKey(keys []Key, kind Kind, f func(*tx) bool) int {
	done := 0
	s := r.lockSlices(&r.mu)
	for _, key := range keys {
		cost := 1
		if e := r.lookupPresent(key); e != nil {
			t := tx{key: key, by: Origin{Way: ByNode}, kind: kind}
			t.wall, t.lease = r.clock() // no change that came between two slices is later
			t.on(e)
			if f(&t) {
				r.note(&t)
				done++
				cost = changeCost
			}
		}
		s.pass(cost)
		if cost > 1 && done%handEvery == 0 {
			s.unlock()
			r.events.hand()
			s.lock.Lock()
		}
	}
	s.unlock()
	r.events.hand()
	return done
}

// noteOver makes the events of instances whose leases are over, and of those that
// self-preservation keeps: one of each kind for one renewal.
func (r *Registry) noteOver(held bool) {
	if r.events.to == nil {
		return
	}
	_, lease := r.clock()
	var over, kept []Key
	r.eachLate(lease, func(e *entry) {
		if !r.expired(e, lease) {
			return
		}
		renewed := e.renewed.Load()
		if e.overAt != renewed {
			over = append(over, e.key())
		}
		if held && e.heldAt != renewed {
			kept = append(kept, e.key())
		}
	})
	slices.SortFunc(over, Key.compare)
	slices.SortFunc(kept, Key.compare)
	r.eachKey(over, EventLeaseOver, func(t *tx) bool {
		t.e.overAt = t.e.renewed.Load()
		return r.expired(t.e, t.lease)
	})
	r.eachKey(kept, EventHeld, func(t *tx) bool {
		t.e.heldAt = t.e.renewed.Load()
		return r.expired(t.e, t.lease)
	})
}

// Expired returns the instances that readers see and whose leases expired more
// than late ago.
func (r *Registry) Expired(late time.Duration) []Key {
	_, lease := r.clock()
	var out []Key
	r.eachLate(lease, func(e *entry) {
		if r.expired(e, lease-late.Milliseconds()) {
			out = append(out, e.key())
		}
	})
	slices.SortFunc(out, Key.compare)
	return out
}

// Evicted returns the instances that this node has evicted and remembers: a peer that
// it has not met for a while may have taken their renewals since.
func (r *Registry) Evicted() []Key {
	s := r.lockSlices(r.mu.RLocker())
	defer s.unlock()
	var out []Key
	for _, a := range r.apps {
		for _, e := range a.entries {
			if e.evicted {
				out = append(out, e.key())
			}
			s.pass(1)
		}
	}
	return out
}

// EvictExpired evicts those of the keys whose leases are expired when it is called: a
// lease may have been renewed since [Registry.Expired] found it. It returns how many
// it evicted. Clients are served in between, and what they renew meanwhile stays.
func (r *Registry) EvictExpired(keys []Key) int {
	_, now := r.clock()
	return r.eachKey(keys, EventEvicted, func(t *tx) bool {
		if !r.expired(t.e, now) {
			return false
		}
		if _, again := r.lost[t.key]; again || len(r.lost) < r.room {
			r.lost[t.key] = now
		}
		r.evict(t)
		return true
	})
}

// evict hides the present entry of t. The lock is held.
func (r *Registry) evict(t *tx) {
	t.e.evicted = true
	r.refresh(t, eureka.Deleted)
	r.stats.evictions.Inc()
}

// lostFor is how long an evicted lease still counts as expected. Else each
// eviction would lower the threshold of self-preservation for the next, and a
// partition would empty the registry in steps; Eureka's does. It is Eureka's
// renewalThresholdUpdateIntervalMs, after which its threshold is computed anew.
const lostFor = 15 * time.Minute

// Restarted makes the registry count as just started: no lease expires before it
// has had its whole duration from now. Its owner calls it after the process
// was suspended, because no client could renew meanwhile.
func (r *Registry) Restarted() {
	_, lease := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.upSince = lease
}

// Up returns how long ago the registry started, or was last Restarted.
func (r *Registry) Up() time.Duration {
	_, lease := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return time.Duration(lease-r.upSince) * time.Millisecond
}

// misses reports whether the lease of key still counts as expected: it was evicted
// lately, and has neither come back nor been cancelled. The lock is held.
func (r *Registry) misses(key Key, evictedAt, lease int64) bool {
	e := r.lookup(key)
	return (e == nil || e.record.Live && e.evicted) && lease-evictedAt < lostFor.Milliseconds()
}

// Leases counts the leases by which self-preservation decides. An instance counts
// as one, however often it says that it renews.
type Leases struct {
	Present  int // instances that readers see
	Expected int // Present, and those evicted in the last quarter of an hour that have not come back
	Missing  int // of Expected: evicted, expired, or silent for too long
}

// Leases returns the state of the leases now. Its cost grows with the number of those
// that are missing.
func (r *Registry) Leases() Leases {
	_, lease := r.clock()
	missing := 0
	r.eachLate(lease, func(*entry) { missing++ })
	s := r.lockSlices(r.mu.RLocker())
	defer s.unlock()
	out := Leases{Present: r.present, Expected: r.present}
	for key, at := range r.lost {
		if r.misses(key, at, lease) {
			out.Expected++
			missing++
		}
		s.pass(1)
	}
	out.Missing = min(missing, out.Expected) // one that was evicted meanwhile counts twice
	return out
}
