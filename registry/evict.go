package registry

import (
	"maps"
	"time"

	"github.com/registryd/registryd/eureka"
)

// Evict hides every instance whose lease has expired, and forgets what is
// retired: eviction in its plain form. An [Evictor] does it by Eureka's policy.
// It returns how many it evicted.
//
// An eviction is this node's alone: record and override stay as they are,
// nothing is replicated, and a heartbeat's register or a peer with a lease that
// still runs brings the instance back.
func (r *Registry) Evict() int {
	evicted := r.EvictExpired(r.Expired(0))
	r.Forget()
	return evicted
}

// Outlived returns the instances that readers see although they are retired: they
// come from an old snapshot, or self-preservation keeps them.
func (r *Registry) Outlived() []Key {
	_, lease := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Key
	for _, a := range r.sorted {
		for _, e := range a.present {
			if retired(e.renewed.Load(), e.record.Duration, lease) {
				out = append(out, e.key())
			}
		}
	}
	return out
}

// EvictOutlived evicts those of the keys that are [Registry.Outlived] still and
// were last renewed less than since ago. It returns how many it evicted. Its
// caller has asked a peer, which has been up for that long and does not know
// them: they were cancelled, or have expired, and even that may be forgotten by
// now. They don't count as expected renewals any more.
func (r *Registry) EvictOutlived(keys []Key, since time.Duration) int {
	wall, lease := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	evicted := 0
	for _, key := range keys {
		e := r.lookupPresent(key)
		if e == nil {
			continue
		}
		if at := e.renewed.Load(); retired(at, e.record.Duration, lease) && lease-at < since.Milliseconds() {
			delete(r.lost, key)
			r.evict(e, wall, lease)
			evicted++
		}
	}
	return evicted
}

// Expired returns the instances that readers see and whose leases expired more
// than late ago.
func (r *Registry) Expired(late time.Duration) []Key {
	_, lease := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []Key
	for _, a := range r.sorted {
		for _, e := range a.present {
			if r.expired(e, lease-late.Milliseconds()) {
				out = append(out, e.key())
			}
		}
	}
	return out
}

// EvictExpired evicts those of the keys whose leases are expired now: a lease
// may have been renewed since [Registry.Expired] found it. It returns how many
// it evicted.
func (r *Registry) EvictExpired(keys []Key) int {
	wall, lease := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	evicted := 0
	for _, key := range keys {
		if e := r.lookupPresent(key); e != nil && r.expired(e, lease) {
			r.lost[key] = lostLease{perMinute(e.record.Info), lease}
			r.evict(e, wall, lease)
			evicted++
		}
	}
	return evicted
}

// evict hides a present entry. mu is held.
func (r *Registry) evict(e *entry, wall, lease int64) {
	e.evicted = true
	r.refresh(e, true, eureka.Deleted, wall, lease)
	r.cancelled.add(Event{Time: time.UnixMilli(wall), Key: e.key()})
	r.stats.evictions.Add(1)
}

// Forget deletes tombstones and evicted entries that are retired: two durations
// and five minutes after the last renewal no peer sends or takes them any more.
// What self-preservation keeps in spite of its age leaves just the digest. It
// returns how many it deleted.
func (r *Registry) Forget() int {
	_, lease := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.lost, func(key Key, l lostLease) bool { return !r.misses(key, l, lease) })
	forgotten := 0
	for _, a := range r.apps {
		for _, e := range a.entries {
			switch {
			case !retired(e.renewed.Load(), e.record.Duration, lease):
				if e.sum == 0 {
					r.digest.set(e, false) // renewed after all
				}
			case e.isPresent():
				if e.sum != 0 {
					r.digest.set(e, true)
				}
			default:
				r.remove(e)
				forgotten++
			}
		}
	}
	return forgotten
}

// lostFor is how long an evicted lease still counts as expected. Else each
// eviction would lower the threshold of self-preservation for the next, and a
// partition would empty the registry in steps; Eureka's does. It is Eureka's
// renewalThresholdUpdateIntervalMs, after which its threshold is computed anew.
const lostFor = 15 * time.Minute

// Restarted makes the registry count as just started: no lease expires before it
// has had its whole duration from now. Its owner calls it after the process has
// stood still, because no client could renew meanwhile.
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

// lostLease is a lease that was evicted, also after its entry is forgotten.
type lostLease struct {
	renewals float64 // that were expected, per minute
	at       int64   // of its last eviction; lease clock, ms
}

// misses says whether the lease of key still counts as expected: it was evicted
// lately, and has neither come back nor been cancelled. The lock is held.
func (r *Registry) misses(key Key, l lostLease, lease int64) bool {
	e := r.lookup(key)
	return (e == nil || e.record.Live && e.evicted) && lease-l.at < lostFor.Milliseconds()
}

// Leases tells how many renewals there should be, and how many there are.
type Leases struct {
	Present  int     // instances that readers see
	Expected float64 // renewals per minute, by the intervals of the leases themselves
	Renewals float64 // in the last minute, from clients and peers
	Measured bool    // the node has been up for the minute that Renewals needs
}

// Leases returns the state of the leases now.
func (r *Registry) Leases() Leases {
	_, lease := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := Leases{
		Present: r.present, Renewals: r.meter.perMinute(lease),
		Measured: lease-r.upSince >= time.Minute.Milliseconds(),
	}
	for _, a := range r.sorted {
		for _, e := range a.present {
			out.Expected += perMinute(e.record.Info)
		}
	}
	for key, l := range r.lost {
		if r.misses(key, l, lease) {
			out.Expected += l.renewals
		}
	}
	return out
}

// perMinute is how often an instance renews.
func perMinute(i *eureka.InstanceInfo) float64 {
	return time.Minute.Seconds() / interval(i).Seconds()
}

// interval is how long an instance waits between two renewals.
func interval(i *eureka.InstanceInfo) time.Duration {
	return seconds(leaseSeconds(i.LeaseInfo.RenewalIntervalInSecs, eureka.DefaultRenewalInterval))
}
