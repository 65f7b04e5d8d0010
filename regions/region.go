package regions

import (
	"cmp"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/registryd/registryd/eureka"
	"github.com/registryd/registryd/registry"
)

// region is one region. Its fetcher writes it.
type region struct {
	name  string
	base  *url.URL // without the user
	user  *url.Userinfo
	apps  map[string]bool // that are shown; nil: all
	began time.Time

	held atomic.Pointer[snapshot] // nil: never fetched

	mu      sync.Mutex
	fetched time.Time // guarded by mu; of the last success
	trouble string    // guarded by mu; of the last fetch
}

// instances is all that a region has.
type instances map[registry.Key]*eureka.InstanceInfo

// snapshot is what readers may see of a region. It is never changed.
type snapshot struct {
	apps  []eureka.Application // by name, their instances by id
	byKey instances            // the same
	keys  []registry.Key       // of these, in order
	// counts are those of these.
	counts eureka.StatusCounts
	// changes are the latest, oldest first, each instance once.
	changes []change
}

// change is an instance that came, changed or went. Its ActionType says which.
type change struct {
	key  registry.Key
	at   time.Time
	info *eureka.InstanceInfo
}

func (r *region) isLoaded() bool { return r.held.Load() != nil }

// shows reports whether readers may see an application.
func (r *region) shows(app string) bool { return r.apps == nil || r.apps[app] }

// publish makes all what readers see, as of now. It reports whether lists show another
// state than before.
func (r *region) publish(all instances, now time.Time, retention time.Duration) bool {
	old := r.held.Load()
	first := old == nil
	if first {
		old = &snapshot{}
	}
	next := &snapshot{byKey: make(instances, len(all))}
	var came []change
	for key, info := range all {
		if !r.shows(key.App) {
			continue
		}
		next.byKey[key] = info
		switch was := old.byKey[key]; {
		case was == nil:
			came = append(came, change{key, now, as(info, eureka.Added)})
		case !same(was, info):
			came = append(came, change{key, now, as(info, eureka.Modified)})
		}
	}
	for key, was := range old.byKey {
		if next.byKey[key] == nil {
			came = append(came, change{key, now, as(was, eureka.Deleted)})
		}
	}
	slices.SortFunc(came, func(a, b change) int { return compareKeys(a.key, b.key) })
	next.changes = append(kept(old.changes, came, now.Add(-retention)), came...)
	next.apps, next.keys = list(next.byKey)
	for _, info := range next.byKey {
		next.counts.Add(info.Status)
	}
	r.held.Store(next)
	return first || len(came) > 0 || len(next.changes) != len(old.changes)
}

// kept returns the changes that are not older than since and not followed by a newer one
// of the same instance.
func kept(changes, newer []change, since time.Time) []change {
	again := make(map[registry.Key]struct{}, len(newer))
	for _, c := range newer {
		again[c.key] = struct{}{}
	}
	out := make([]change, 0, len(changes)+len(newer))
	for _, c := range changes {
		if _, ok := again[c.key]; !ok && !c.at.Before(since) {
			out = append(out, c)
		}
	}
	return out
}

// as returns an instance with another action type.
func as(info *eureka.InstanceInfo, action eureka.ActionType) *eureka.InstanceInfo {
	if info.ActionType == action {
		return info
	}
	out := *info
	out.ActionType = action
	return &out
}

// same reports whether readers see no difference but the time of the last renewal.
func same(a, b *eureka.InstanceInfo) bool {
	if a == b {
		return true
	}
	x, y := *a, *b
	x.LeaseInfo.LastRenewalTimestamp, y.LeaseInfo.LastRenewalTimestamp = 0, 0
	return reflect.DeepEqual(&x, &y)
}

func compareKeys(a, b registry.Key) int {
	return cmp.Or(strings.Compare(a.App, b.App), strings.Compare(a.ID, b.ID))
}

// list returns instances as applications by name, each with its instances by id, and
// their keys in this order.
func list(all instances) (apps []eureka.Application, keys []registry.Key) {
	keys = make([]registry.Key, 0, len(all))
	for key := range all {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, compareKeys)
	for _, key := range keys {
		if len(apps) == 0 || apps[len(apps)-1].Name != key.App {
			apps = append(apps, eureka.Application{Name: key.App})
		}
		last := &apps[len(apps)-1]
		last.Instances = append(last.Instances, all[key])
	}
	return apps, keys
}

// application returns an application by its name in upper case.
func (s *snapshot) application(name string) (eureka.Application, bool) {
	i, ok := slices.BinarySearchFunc(s.apps, name, func(a eureka.Application, name string) int {
		return strings.Compare(a.Name, name)
	})
	if !ok {
		return eureka.Application{}, false
	}
	return s.apps[i], true
}

// answered notes how a fetch ended. It reports whether that is another state than
// before.
func (r *region) answered(err error) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := r.trouble != ""
	if err != nil {
		r.trouble = err.Error()
		return !failed
	}
	r.fetched, r.trouble = time.Now(), ""
	return failed
}

func (r *region) status() Status {
	out := Status{Name: r.name, URL: r.base.String(), Age: r.age()}
	if held := r.held.Load(); held != nil {
		out.Loaded, out.Instances = true, len(held.byKey)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Trouble = r.trouble
	return out
}

// age returns the time since the last success, or since the start.
func (r *region) age() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fetched.IsZero() {
		return time.Since(r.began)
	}
	return time.Since(r.fetched)
}
