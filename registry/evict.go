package registry

import "github.com/registryd/registryd/eureka"

// Evict hides the instances whose leases have expired and forgets what is
// retired. An eviction is this node's alone: record and override stay as they
// are, nothing is replicated, and a heartbeat's register or a peer with a lease
// that still runs brings the instance back. The owner calls it every 60 s,
// Eureka's evictionIntervalTimerInMs. It returns how many it evicted.
func (r *Registry) Evict() int {
	wall, lease := r.clock()
	r.mu.Lock()
	defer r.mu.Unlock()
	evicted := 0
	for _, a := range r.apps {
		for _, e := range a.entries {
			switch {
			case e.isPresent():
				if r.expired(e, lease) {
					e.evicted = true
					r.refresh(e, true, eureka.Deleted, wall, lease)
					evicted++
				}
			case retired(e.renewed.Load(), e.record.Duration, lease):
				r.remove(e)
			}
		}
	}
	r.stats.evictions.Add(uint64(evicted))
	return evicted
}
