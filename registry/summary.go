package registry

import "github.com/registryd/registryd/eureka"

// Summary is an application in a list that is cut off. Instances are the first of
// Total, by id. Nobody may change them; the time of the last renewal in them may be
// old, see [Registry.Lease].
type Summary struct {
	Name      string
	Total     int
	Instances []*eureka.InstanceInfo
}

// Summary returns all applications that readers see, by name, with the first limit
// instances of all, and the hash code of the whole. It copies no instance.
func (r *Registry) Summary(limit int) (apps []Summary, hashCode string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	apps = make([]Summary, len(r.sorted))
	for n, a := range r.sorted {
		shown := min(limit, len(a.present))
		limit -= shown
		apps[n] = Summary{Name: a.name, Total: len(a.present), Instances: make([]*eureka.InstanceInfo, shown)}
		for i, e := range a.present[:shown] {
			apps[n].Instances[i] = e.view
		}
	}
	return apps, r.counts.HashCode()
}

// Overridden returns the overrides of what readers see, by id. If two applications
// have the same id, it is the override of the first one by name.
func (r *Registry) Overridden() map[string]eureka.Status {
	all := make(map[string]eureka.Status)
	r.eachPresent(func(e *entry) {
		if _, taken := all[e.id]; !taken && e.view.OverriddenStatus != eureka.StatusUnknown {
			all[e.id] = e.view.OverriddenStatus
		}
	})
	return all
}
