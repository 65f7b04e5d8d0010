package registry

import (
	"cmp"
	"slices"
	"time"
)

// LeaseState is how far the lease of an instance has run on this node.
type LeaseState struct {
	Silent time.Duration // since the last renewal that this node knows of
	Left   time.Duration // until the lease is over; negative since then
}

// OverdueLease is the lease of an instance that readers see though it is over.
type OverdueLease struct {
	Key Key
	LeaseState
}

// Lease returns the state of an instance's lease. ok is false if readers don't see
// the instance.
func (r *Registry) Lease(key Key) (state LeaseState, ok bool) {
	_, now := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.lookup(key)
	if e == nil || !e.isPresent() {
		return LeaseState{}, false
	}
	return r.leaseState(e, now), true
}

// Overdue returns at most limit of the instances whose leases are over, the longest
// silent first, and how many there are. Its cost grows with that number.
func (r *Registry) Overdue(limit int) (overdue []OverdueLease, total int) {
	_, now := r.clock()
	r.eachLate(now, func(e *entry) {
		if !r.expired(e, now) {
			return
		}
		if total++; limit > 0 {
			overdue = append(overdue, OverdueLease{Key: e.key(), LeaseState: r.leaseState(e, now)})
		}
	})
	slices.SortFunc(overdue, func(a, b OverdueLease) int {
		return cmp.Or(cmp.Compare(b.Silent, a.Silent), a.Key.compare(b.Key))
	})
	return overdue[:min(len(overdue), limit)], total
}

func (r *Registry) leaseState(e *entry, now int64) LeaseState {
	renewed := e.renewed.Load()
	return LeaseState{
		Silent: time.Duration(max(0, now-renewed)) * time.Millisecond,
		Left:   time.Duration(max(renewed, r.upSince)-now)*time.Millisecond + r.lives(e),
	}
}
