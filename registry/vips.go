package registry

import (
	"strings"

	"github.com/registryd/registryd/eureka"
)

// VIP returns the instances that have vip among their comma-separated
// vipAddress, with the hash code of just these. Eureka answers an empty list
// where there is none. Blanks around a name don't count.
func (r *Registry) VIP(vip string) eureka.Applications {
	return r.byAddress(vip, func(i *eureka.InstanceInfo) *string { return i.VIPAddress })
}

// SVIP is VIP for secureVipAddress.
func (r *Registry) SVIP(vip string) eureka.Applications {
	return r.byAddress(vip, func(i *eureka.InstanceInfo) *string { return i.SecureVIPAddress })
}

// byAddress looks at all instances under the shared lock, and copies only those that
// match.
func (r *Registry) byAddress(vip string, of func(*eureka.InstanceInfo) *string) eureka.Applications {
	var names []string
	var lists [][]seen
	var counts eureka.StatusCounts
	r.mu.RLock()
	for _, a := range r.sorted {
		var in []seen
		for _, e := range a.present {
			if s := of(e.view); s != nil && HasAddress(*s, vip) {
				in = append(in, e.seen())
				counts.Add(e.visible)
			}
		}
		if len(in) > 0 {
			names, lists = append(names, a.name), append(lists, in)
		}
	}
	r.mu.RUnlock()
	return newApplications(vipsVersion, counts, names, lists)
}

// HasAddress reports whether name is in a list of addresses that is separated by commas,
// as vipAddress is. Blanks around a name don't count.
func HasAddress(list, name string) bool {
	for more := true; more; {
		var one string
		if one, list, more = strings.Cut(list, ","); strings.TrimSpace(one) == name {
			return true
		}
	}
	return false
}
