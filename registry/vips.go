package registry

import (
	"slices"
	"strings"

	"github.com/registryd/registryd/eureka"
)

// VIP returns the instances that have vip among their comma-separated
// vipAddress, with the hash code of just these. Eureka answers an empty list
// where there is none. Blanks around a name don't count. It costs what it returns.
func (r *Registry) VIP(vip string) eureka.Applications { return r.byAddress(&r.vips, vip) }

// SVIP is VIP for secureVipAddress.
func (r *Registry) SVIP(vip string) eureka.Applications { return r.byAddress(&r.svips, vip) }

// addresses holds what readers see by the names in one of its lists of addresses, the
// entries of a name by application and id. The registry's lock guards it.
type addresses struct {
	of     func(*eureka.InstanceInfo) *string
	byName map[string][]*entry
}

func newAddresses(of func(*eureka.InstanceInfo) *string) addresses {
	return addresses{of: of, byName: make(map[string][]*entry)}
}

func vipAddress(i *eureka.InstanceInfo) *string       { return i.VIPAddress }
func secureVIPAddress(i *eureka.InstanceInfo) *string { return i.SecureVIPAddress }

// change moves e from the names in its old view to those in the new one; nil: readers
// do not see it.
func (a *addresses) change(e *entry, old, now *eureka.InstanceInfo) {
	var before, after *string
	if old != nil {
		before = a.of(old)
	}
	if now != nil {
		after = a.of(now)
	}
	if before == after || before != nil && after != nil && *before == *after {
		return
	}
	if before != nil {
		for name := range names(*before) {
			all := a.byName[name]
			if i, in := search(all, e, compareEntries); in {
				all = slices.Delete(all, i, i+1)
			}
			if len(all) == 0 {
				delete(a.byName, name)
			} else {
				a.byName[name] = all
			}
		}
	}
	if after != nil {
		for name := range names(*after) {
			all := a.byName[name]
			if i, in := search(all, e, compareEntries); !in {
				a.byName[name] = slices.Insert(all, i, e)
			}
		}
	}
}

// names returns the names in a list of addresses.
func names(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for one := range strings.SplitSeq(list, ",") {
			if !yield(strings.TrimSpace(one)) {
				return
			}
		}
	}
}

func (r *Registry) byAddress(a *addresses, vip string) eureka.Applications {
	r.mu.RLock()
	entries := a.byName[vip]
	all, counts := make([]seen, len(entries)), eureka.StatusCounts{}
	for i, e := range entries {
		all[i] = e.seen()
		counts.Add(e.visible)
	}
	r.mu.RUnlock()
	out := eureka.Applications{Version: vipsVersion, HashCode: counts.HashCode(), Applications: []eureka.Application{}}
	for _, s := range all {
		i := s.instance()
		if n := len(out.Applications); n == 0 || out.Applications[n-1].Name != i.App {
			out.Applications = append(out.Applications, eureka.Application{Name: i.App})
		}
		last := &out.Applications[len(out.Applications)-1]
		last.Instances = append(last.Instances, i)
	}
	return out
}

// HasAddress reports whether name is in a list of addresses that is separated by commas,
// as vipAddress is. Blanks around a name don't count.
func HasAddress(list, name string) bool {
	for one := range names(list) {
		if one == name {
			return true
		}
	}
	return false
}
