package registry

import (
	"iter"

	"github.com/registryd/registryd/eureka"
)

// Versions that Eureka writes as versions__delta where it doesn't count.
const (
	appsVersion = "1"
	vipsVersion = "-1"
)

// seen is one instance as collected under the lock.
type seen struct {
	view    *eureka.InstanceInfo
	renewed int64
}

func (e *entry) seen() seen { return seen{view: e.view, renewed: e.renewed.Load()} }

// instance returns what readers get: the view with the lease's true renewal.
func (s seen) instance() *eureka.InstanceInfo { return withRenewal(s.view, s.renewed) }

func withRenewal(view *eureka.InstanceInfo, renewed int64) *eureka.InstanceInfo {
	if view.LeaseInfo.LastRenewalTimestamp == renewed {
		return view
	}
	i := *view
	i.LeaseInfo.LastRenewalTimestamp = renewed
	return &i
}

// Generation counts what readers can see. An answer made from a list read after
// Generation returned n is right as long as it returns n, except for the renewal
// timestamps of leases.
func (r *Registry) Generation() uint64 { return r.generation.Load() }

// Instance returns one instance, if readers see it. While leases may be evicted
// one whose lease has expired is not found, even if lists still have it, as in
// Eureka (getInstanceByAppAndId).
func (r *Registry) Instance(key Key) (*eureka.InstanceInfo, bool) {
	r.mu.RLock()
	e := r.lookupPresent(key)
	if e == nil || r.isDue(e) {
		r.mu.RUnlock()
		return nil, false
	}
	s := e.seen()
	r.mu.RUnlock()
	return s.instance(), true
}

// Listed is Instance for what lists show: an instance is in them until it is evicted.
func (r *Registry) Listed(key Key) (*eureka.InstanceInfo, bool) {
	r.mu.RLock()
	e := r.lookupPresent(key)
	if e == nil {
		r.mu.RUnlock()
		return nil, false
	}
	s := e.seen()
	r.mu.RUnlock()
	return s.instance(), true
}

// isDue reports whether the next pass may evict e.
func (r *Registry) isDue(e *entry) bool {
	if !r.evicting.Load() {
		return false
	}
	_, lease := r.clock()
	return r.expired(e, lease)
}

// InstanceByID returns an instance of this id, whatever its application: of
// several the one whose application's name sorts first.
func (r *Registry) InstanceByID(id string) (*eureka.InstanceInfo, bool) {
	r.mu.RLock()
	e := r.byID[id]
	for e != nil && r.isDue(e) {
		e = e.sameID
	}
	if e == nil {
		r.mu.RUnlock()
		return nil, false
	}
	s := e.seen()
	r.mu.RUnlock()
	return s.instance(), true
}

// Application returns the instances of an application, spelled in any case, by
// id. There is none without an instance.
func (r *Registry) Application(name string) (eureka.Application, bool) {
	r.mu.RLock()
	a := r.apps[eureka.Upper(name)]
	if a == nil || len(a.present) == 0 {
		r.mu.RUnlock()
		return eureka.Application{}, false
	}
	all := a.collect()
	r.mu.RUnlock()
	return newApplication(a.name, all), true
}

func (a *application) collect() []seen {
	all := make([]seen, len(a.present))
	for i, e := range a.present {
		all[i] = e.seen()
	}
	return all
}

func newApplication(name string, all []seen) eureka.Application {
	out := eureka.Application{Name: name, Instances: make([]*eureka.InstanceInfo, len(all))}
	for i, s := range all {
		out.Instances[i] = s.instance()
	}
	return out
}

func newApplications(version string, counts eureka.StatusCounts, names []string, lists [][]seen) eureka.Applications {
	out := eureka.Applications{
		Version: version, HashCode: counts.HashCode(), Applications: make([]eureka.Application, len(names)),
	}
	for i, name := range names {
		out.Applications[i] = newApplication(name, lists[i])
	}
	return out
}

// Applications returns all that readers see, sorted by name and id, with the
// hash code of just that.
func (r *Registry) Applications() eureka.Applications {
	r.mu.RLock()
	names := make([]string, len(r.sorted))
	lists := make([][]seen, len(r.sorted))
	for i, a := range r.sorted {
		names[i], lists[i] = a.name, a.collect()
	}
	counts := r.counts
	r.mu.RUnlock()
	return newApplications(appsVersion, counts, names, lists)
}

// Delta returns what changed within the retention, each instance once and in
// its present state, with the hash code of the full list of that moment. Each
// call has the next version.
func (r *Registry) Delta() eureka.Applications {
	r.mu.RLock()
	all, apps, counts := r.collectDelta()
	r.mu.RUnlock()
	return r.newDelta(all, apps, counts)
}

// Keys is a set of keys.
type Keys map[Key]struct{}

// DeltaBeside returns [Registry.Delta], the counts of the full list of that moment, and
// the keys of lists of others that are in that list too.
func (r *Registry) DeltaBeside(
	others ...[]Key,
) (delta eureka.Applications, counts eureka.StatusCounts, present Keys) {
	r.mu.RLock()
	all, apps, counts := r.collectDelta()
	present = r.presentOf(others)
	r.mu.RUnlock()
	return r.newDelta(all, apps, counts), counts, present
}

// Present returns those of the keys that readers see in lists.
func (r *Registry) Present(keys []Key) Keys {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.presentOf([][]Key{keys})
}

// presentOf is Present under the lock.
func (r *Registry) presentOf(lists [][]Key) Keys {
	out := make(Keys)
	for _, keys := range lists {
		for _, key := range keys {
			if r.lookupPresent(key) != nil {
				out[key] = struct{}{}
			}
		}
	}
	return out
}

// collectDelta returns the entries of the delta and their applications. The lock is
// held.
func (r *Registry) collectDelta() (all []seen, apps []string, counts eureka.StatusCounts) {
	r.changes.each(func(e *entry) {
		all = append(all, e.seen())
		apps = append(apps, e.app.name)
	})
	return all, apps, r.counts
}

func (r *Registry) newDelta(all []seen, apps []string, counts eureka.StatusCounts) eureka.Applications {
	out := eureka.Applications{
		Version:      r.nextDelta(),
		HashCode:     counts.HashCode(),
		Applications: []eureka.Application{},
	}
	at := make(map[string]int)
	for i, s := range all {
		j, ok := at[apps[i]]
		if !ok {
			j = len(out.Applications)
			at[apps[i]] = j
			out.Applications = append(out.Applications, eureka.Application{Name: apps[i]})
		}
		out.Applications[j].Instances = append(out.Applications[j].Instances, s.instance())
	}
	return out
}

// Entry returns what travels of an instance; ok is false where nothing is known
// of it. An evicted one is returned, with evicted set.
func (r *Registry) Entry(key Key) (entry Entry, evicted, ok bool) {
	_, lease := r.clock()
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.lookup(key)
	if e == nil {
		return Entry{}, false, false
	}
	return e.copy(lease), e.evicted, true
}

// All returns every key with the bits that tell a new peer of it: Registered, or
// Cancelled for a tombstone. What is evicted or retired is left out. No lock is
// held while the caller's loop runs. A key that comes or goes during the call may be in
// or not.
func (r *Registry) All() iter.Seq2[Key, Bits] {
	_, lease := r.clock()
	s := r.lockSlices(r.mu.RLocker())
	all := make([]Change, 0, r.entries)
	for _, a := range r.apps {
		for _, e := range a.entries {
			switch {
			case e.evicted || e.dueAt() < lease:
			case e.record.Live:
				all = append(all, Change{Key: e.key(), Bits: Registered})
			default:
				all = append(all, Change{Key: e.key(), Bits: Cancelled})
			}
			s.pass(1)
		}
	}
	s.unlock()
	return func(yield func(Key, Bits) bool) {
		for _, c := range all {
			if !yield(c.Key, c.Bits) {
				return
			}
		}
	}
}

// Known is an entry with its key.
type Known struct {
	Key   Key
	Entry Entry
}

// entriesRun is how many entries [Registry.Entries] returns at a time, or somewhat more.
const entriesRun = 256

// Entries returns everything that is not retired, in runs: first what readers see, by
// application and id, then the rest. No lock is held while the caller's loop runs. What
// changes meanwhile may be there as before, as after, or both; what comes may be left out.
func (r *Registry) Entries() iter.Seq[[]Known] {
	return func(yield func([]Known) bool) {
		pass := r.passes.Add(1)
		var run []Known
		add := func(e *entry, lease int64) {
			e.passed.Store(pass)
			k := Known{e.key(), e.copy(lease)}
			k.Entry.Evicted = e.evicted
			run = append(run, k)
		}
		flush := func(least int) bool {
			if len(run) < least || len(run) == 0 {
				return true
			}
			full := run
			run = make([]Known, 0, cap(full))
			return yield(full)
		}
		var last *entry
		for more := true; more; {
			_, lease := r.clock()
			r.rlockRetired()
			block := r.all.after(last)
			for _, e := range block {
				if e.counted {
					add(e, lease)
				}
				last = e
			}
			more = len(block) > 0
			r.mu.RUnlock()
			if !flush(entriesRun) {
				return
			}
		}
		for leaf := range DigestGroups * DigestLeaves {
			_, lease := r.clock()
			r.rlockRetired()
			if g := r.digest.groups[leaf/DigestLeaves]; g != nil {
				for e := range g[leaf%DigestLeaves] {
					if e.passed.Load() != pass {
						add(e, lease)
					}
				}
			}
			r.mu.RUnlock()
			if !flush(entriesRun) {
				return
			}
		}
		flush(1)
	}
}

// Len returns the number of entries, tombstones and evicted ones included.
func (r *Registry) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.entries
}
