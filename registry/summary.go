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

// AppCounts is how many instances of an application readers see, by status.
type AppCounts struct {
	Name   string
	Counts eureka.StatusCounts
}

// CountsByApp returns the counts of the first limit applications by name, those of all
// together, and how many applications there are. It costs what it returns.
func (r *Registry) CountsByApp(limit int) (first []AppCounts, all eureka.StatusCounts, apps int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	first = make([]AppCounts, min(limit, len(r.sorted)))
	for i := range first {
		first[i] = AppCounts{Name: r.sorted[i].name, Counts: r.sorted[i].counts}
	}
	return first, r.counts, len(r.sorted)
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
