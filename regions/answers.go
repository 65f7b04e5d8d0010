package regions

import (
	"slices"
	"strconv"
	"strings"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// Applications returns the local instances and those of the selected regions, with the
// hash code of all of them. A local instance hides those of its application and id, and
// an instance of a region those of the regions after it.
//
// Eureka shows the other one in lists, and the local one where it is asked for by its id.
func (s *Set) Applications(sel Selection, reg *registry.Registry) eureka.Applications {
	out := reg.Applications()
	views := s.views(sel)
	if len(views) == 0 {
		return out
	}
	for _, v := range views {
		out.Applications = merge(out.Applications, v.apps)
	}
	counts := out.StatusCounts()
	out.HashCode = counts.HashCode()
	return out
}

// merge returns the applications of two lists by name, with their instances by id. Of two
// instances of one id the one in a stays. Both lists are in this order, and none is
// changed.
func merge(a, b []eureka.Application) []eureka.Application {
	out := make([]eureka.Application, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch order := strings.Compare(a[0].Name, b[0].Name); {
		case order < 0:
			out, a = append(out, a[0]), a[1:]
		case order > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, eureka.Application{
				Name: a[0].Name, Instances: mergeInstances(a[0].Instances, b[0].Instances),
			})
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

func mergeInstances(a, b []*eureka.InstanceInfo) []*eureka.InstanceInfo {
	out := make([]*eureka.InstanceInfo, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch order := strings.Compare(a[0].ID(), b[0].ID()); {
		case order < 0:
			out, a = append(out, a[0]), a[1:]
		case order > 0:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// Delta returns the latest changes of the local instances and of the selected regions.
// It leads from any list that Applications returned within the retention to the present
// one, and has the hash code of that. named says that the reader named the regions:
// these deltas have a version of their own, as in Eureka.
func (s *Set) Delta(sel Selection, reg *registry.Registry, named bool) eureka.Applications {
	views := s.views(sel)
	if len(views) == 0 {
		out := reg.Delta()
		return s.versioned(out, named)
	}
	d := newDelta(views, reg)
	d.add()
	d.out.HashCode = d.counts.HashCode()
	return s.versioned(d.out, named)
}

func (s *Set) versioned(delta eureka.Applications, named bool) eureka.Applications {
	if named {
		delta.Version = strconv.FormatInt(s.version.Add(1), 10)
	}
	return delta
}

// delta is one delta in the making.
type delta struct {
	views  []*snapshot
	local  eureka.Applications
	here   registry.Keys       // local instances that hide one of a region
	counts eureka.StatusCounts // of the full list
	done   registry.Keys       // instances that are in out
	at     map[string]int      // application in out
	out    eureka.Applications
}

// newDelta takes the local side as it is at one moment.
func newDelta(views []*snapshot, reg *registry.Registry) *delta {
	var keys [][]registry.Key
	var gone []registry.Key // perhaps
	for _, v := range views {
		keys = append(keys, v.keys)
		for _, c := range v.changes {
			gone = append(gone, c.key)
		}
	}
	d := &delta{views: views, done: make(registry.Keys), at: make(map[string]int)}
	d.local, d.counts, d.here = reg.DeltaBeside(append(keys, gone)...)
	for n, v := range views {
		d.counts.Plus(v.counts)
		for key := range d.here {
			if info := v.byKey[key]; info != nil {
				d.counts.Remove(info.Status)
			}
		}
		if n == 0 {
			continue
		}
		for _, key := range v.keys {
			if _, here := d.here[key]; !here && find(views[:n], key) != nil {
				d.counts.Remove(v.byKey[key].Status)
			}
		}
	}
	d.out = eureka.Applications{Version: d.local.Version, Applications: []eureka.Application{}}
	return d
}

// find returns the instance that the first of the views has, or nil.
func find(views []*snapshot, key registry.Key) *eureka.InstanceInfo {
	for _, v := range views {
		if info := v.byKey[key]; info != nil {
			return info
		}
	}
	return nil
}

// add puts all changes into out. Where an instance went and another one shows below it,
// that one came.
func (d *delta) add() {
	for _, app := range d.local.Applications {
		for _, i := range app.Instances {
			key := registry.Key{App: app.Name, ID: i.ID()}
			if i.ActionType == eureka.Deleted {
				if below := find(d.views, key); below != nil {
					i = as(below, eureka.Added)
				}
			}
			d.put(key, i)
		}
	}
	for _, v := range d.views {
		for _, c := range v.changes {
			if _, hidden := d.here[c.key]; hidden {
				continue
			}
			switch shown := find(d.views, c.key); shown {
			case nil:
				d.put(c.key, c.info)
			case v.byKey[c.key]:
				d.put(c.key, as(shown, c.info.ActionType))
			default:
				d.put(c.key, as(shown, eureka.Added))
			}
		}
	}
}

// put appends an instance, unless it is in out already.
func (d *delta) put(key registry.Key, info *eureka.InstanceInfo) {
	if _, again := d.done[key]; again {
		return
	}
	d.done[key] = struct{}{}
	i, ok := d.at[key.App]
	if !ok {
		i = len(d.out.Applications)
		d.at[key.App] = i
		d.out.Applications = append(d.out.Applications, eureka.Application{Name: key.App})
	}
	d.out.Applications[i].Instances = append(d.out.Applications[i].Instances, info)
}

// VIP returns the instances that have vip among their comma-separated vipAddress, of the
// local and the selected regions, with the hash code of just these.
func (s *Set) VIP(sel Selection, reg *registry.Registry, vip string) eureka.Applications {
	return s.byAddress(sel, reg, reg.VIP(vip), vip, func(i *eureka.InstanceInfo) *string { return i.VIPAddress })
}

// SVIP is VIP for secureVipAddress.
func (s *Set) SVIP(sel Selection, reg *registry.Registry, vip string) eureka.Applications {
	return s.byAddress(sel, reg, reg.SVIP(vip), vip, func(i *eureka.InstanceInfo) *string { return i.SecureVIPAddress })
}

func (s *Set) byAddress(
	sel Selection, reg *registry.Registry, local eureka.Applications, vip string, of func(*eureka.InstanceInfo) *string,
) eureka.Applications {
	views := s.views(sel)
	found := make(instances)
	var keys []registry.Key
	for n, v := range views {
		for _, app := range v.apps {
			for _, info := range app.Instances {
				if a := of(info); a == nil || !registry.HasAddress(*a, vip) {
					continue
				}
				if key := (registry.Key{App: app.Name, ID: info.ID()}); find(views[:n], key) == nil {
					found[key] = info
					keys = append(keys, key)
				}
			}
		}
	}
	for key := range reg.Present(keys) {
		delete(found, key)
	}
	if len(found) == 0 {
		return local
	}
	apps, _ := list(found)
	local.Applications = merge(local.Applications, apps)
	counts := local.StatusCounts()
	local.HashCode = counts.HashCode()
	return local
}

// Application returns an application, spelled in any case, of the first of the regions
// that readers see by default and that has it.
func (s *Set) Application(name string) (eureka.Application, bool) {
	name = eureka.Upper(name)
	for _, v := range s.views(s.Default()) {
		if app, ok := v.application(name); ok {
			return app, true
		}
	}
	return eureka.Application{}, false
}

// Instance returns an instance of the first of the regions that readers see by default
// and that has it.
func (s *Set) Instance(key registry.Key) (*eureka.InstanceInfo, bool) {
	info := find(s.views(s.Default()), key)
	return info, info != nil
}

// InstanceByID returns an instance of this id, whatever its application, of the first of
// the regions that readers see by default and that has one. Of several it is the one whose
// application's name sorts first.
func (s *Set) InstanceByID(id string) (*eureka.InstanceInfo, bool) {
	for _, v := range s.views(s.Default()) {
		for _, app := range v.apps {
			i, ok := slices.BinarySearchFunc(app.Instances, id, func(i *eureka.InstanceInfo, id string) int {
				return strings.Compare(i.ID(), id)
			})
			if ok {
				return app.Instances[i], true
			}
		}
	}
	return nil, false
}
